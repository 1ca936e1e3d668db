//! Connections to NATS: credentials, TLS, and what is said when it cannot be.

use std::error::Error;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::super::EngineError;
use super::super::registry::hex;
use crate::config::ClusterConfig;

/// How long a start tries before it gives up: containers that start together need a moment.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries of a start.
const RETRY: Duration = Duration::from_millis(250);

/// A connection without a sign of life for two of these is closed and made again.
const PING: Duration = Duration::from_secs(2);

/// Longest wait before a connection is made again.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// Messages that wait in the client for the socket. Of words, each has up to 512 KiB.
const CLIENT_QUEUE: usize = 64;

/// Messages of others that wait to be taken apart; more are dropped, and their numbers tell.
const SUBSCRIPTION_QUEUE: usize = 4096;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Leases and records.
    Control,
    /// Words between nodes.
    Words,
}

/// Where the cluster is on NATS.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// Without secrets.
    shown: String,
    prefix: String,
    cluster: String,
}

impl Address {
    pub(super) fn new(config: &ClusterConfig) -> Self {
        let (prefix, cluster) = (config.prefix.clone(), config.name.clone());
        Self { shown: config.engine_shown(), prefix, cluster }
    }

    /// Where words for a node go.
    pub(super) fn subject(&self, node: u16, incarnation: u64) -> String {
        format!("{}.{}.n.{node}.{}", self.prefix, self.cluster, hex(incarnation))
    }

    /// Where words for a node go, whichever process it is.
    pub(super) fn subjects(&self, node: u16) -> String {
        format!("{}.{}.n.{node}.*", self.prefix, self.cluster)
    }

    /// Neither name has a `_`, so that no two clusters share a bucket.
    pub(super) fn bucket(&self) -> String {
        format!("{}_{}", self.prefix, self.cluster)
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn unusable(&self, problem: String) -> EngineError {
        EngineError::Unusable { url: self.shown.clone(), problem }
    }
}

/// Connects, and tries again for a while if nobody answers.
pub(super) async fn connect(
    config: &ClusterConfig,
    address: &Address,
    purpose: Purpose,
    events: Sender<(Purpose, Event)>,
) -> Result<Client, EngineError> {
    let until = Instant::now() + PATIENCE;
    let client = loop {
        let options = options(config, address, purpose, events.clone()).await?;
        match options.connect(config.urls()).await {
            Ok(client) => break client,
            Err(error) if is_passing(&error) && Instant::now() < until => {
                tracing::info!(engine = %address.shown, %error, "NATS does not answer yet");
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(refused(address, &error)),
        }
    };
    let version = client.server_info().version;
    if !client.is_server_compatible(2, 12, 0) {
        let problem = format!("nats-server is {version}; 2.12 or newer is needed");
        return Err(address.unusable(problem));
    }
    if !client.server_info().jetstream {
        let problem = "JetStream is off; start nats-server with `-js`, or with `jetstream {}` in \
                       its configuration";
        return Err(address.unusable(problem.to_owned()));
    }
    Ok(client)
}

async fn options(
    config: &ClusterConfig,
    address: &Address,
    purpose: Purpose,
    events: Sender<(Purpose, Event)>,
) -> Result<ConnectOptions, EngineError> {
    let name = match purpose {
        Purpose::Control => "control",
        Purpose::Words => "words",
    };
    let mut options = ConnectOptions::new()
        .name(format!("roomcast {} {} {name}", config.name, config.display_name()))
        .connection_timeout(Duration::from_secs(2))
        .request_timeout(Some(Duration::from_secs(2)))
        .ping_interval(PING)
        .client_capacity(CLIENT_QUEUE)
        .subscription_capacity(SUBSCRIPTION_QUEUE)
        .reconnect_delay_callback(|tries| {
            RECONNECT_MAX.min(Duration::from_millis(50 * tries as u64))
        })
        .event_callback(move |event| {
            let events = events.clone();
            async move {
                // Nobody listens when the engine has ended.
                _ = events.send((purpose, event)).await;
            }
        });
    if let Some(ca) = &config.tls_ca {
        options = options.require_tls(true).add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if let Some(path) = &config.credentials {
        let read = options.credentials_file(path).await;
        options = read.map_err(|error| {
            address.unusable(format!("cluster.credentials {}: {error}", path.display()))
        })?;
    } else if let Some(path) = &config.nkey {
        let seed = std::fs::read_to_string(path);
        let seed = seed.map_err(|error| {
            address.unusable(format!("cluster.nkey {}: {error}", path.display()))
        })?;
        options = options.nkey(seed.trim().to_owned());
    } else if let Some(user) = &config.user {
        let password = config.password.clone().unwrap_or_default();
        options = options.user_and_password(user.clone(), password);
    }
    Ok(options)
}

/// Whether the next try may go better.
fn is_passing(error: &ConnectError) -> bool {
    matches!(
        error.kind(),
        ConnectErrorKind::Io | ConnectErrorKind::TimedOut | ConnectErrorKind::Dns
    ) && !is_of_tls(error)
}

/// The client tells a refused certificate like any other loss of the connection.
fn is_of_tls(error: &ConnectError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(found) = cause {
        let inside = found.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inside = inside.and_then(|inside| inside.downcast_ref::<rustls::Error>());
        if found.is::<rustls::Error>() || inside.is_some() {
            return true;
        }
        cause = found.source();
    }
    error.kind() == ConnectErrorKind::Tls
}

fn refused(address: &Address, error: &ConnectError) -> EngineError {
    let url = address.shown.clone();
    let problem = match error.kind() {
        _ if is_of_tls(error) => format!(
            "TLS fails: {}; the certificate must be for the name in the URL, and signed by \
             cluster.tls_ca or an authority that this machine trusts",
            innermost(error)
        ),
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "NATS does not let this node in; check cluster.credentials, cluster.nkey, or \
             cluster.user and cluster.password"
                .to_owned()
        }
        ConnectErrorKind::ServerParse => format!("cannot be read: {}", innermost(error)),
        _ => {
            let problem = format!(
                "nobody answers there ({}); start nats-server with `-js`, or correct the address",
                innermost(error)
            );
            return EngineError::Unreachable { url, problem };
        }
    };
    EngineError::Unusable { url, problem }
}

fn innermost(error: &ConnectError) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
