//! The section `[cluster]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Problem;

/// Of a server that is alone.
const LOCAL: &str = "local";

/// Schemes of `cluster.engine`.
const SCHEMES: [&str; 2] = ["nats", "tls"];

/// Characters of `cluster.name` and `cluster.prefix`.
const NAME_CHARS: usize = 32;

/// What makes several servers one. See [`Config`](super::Config) for an example.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// `local`, or addresses of one NATS: `nats://host:4222`, several with commas.
    pub engine: String,
    /// Which cluster: nodes with the same name on the same NATS are one.
    pub name: String,
    /// First part of all subjects on NATS.
    pub prefix: String,
    /// What people call this node; empty: the machine's name.
    pub node: String,
    /// How long a node that does not answer keeps its rooms, in seconds.
    pub lease_s: u64,
    /// Copies of the cluster's records among the servers of a NATS cluster.
    pub replicas: usize,
    /// File with a user's JWT and nkey seed.
    pub credentials: Option<PathBuf>,
    /// File with an nkey seed.
    pub nkey: Option<PathBuf>,
    /// User name at NATS.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// PEM file with the authorities that sign the certificate of NATS, in place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with this node's certificate for NATS.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub tls_key: Option<PathBuf>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            engine: LOCAL.to_owned(),
            name: "default".to_owned(),
            prefix: "roomcast".to_owned(),
            node: String::new(),
            lease_s: 10,
            replicas: 1,
            credentials: None,
            nkey: None,
            user: None,
            password: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

impl std::fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let engine = self.engine_shown();
        f.debug_struct("ClusterConfig").field("engine", &engine).finish_non_exhaustive()
    }
}

impl std::fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cluster {} on {}, lease {} s", self.name, self.engine_shown(), self.lease_s)
    }
}

impl ClusterConfig {
    /// Every key filled in, for the schema.
    pub(super) fn full() -> Self {
        let (path, text) = (|| Some(PathBuf::from("file")), || Some("text".to_owned()));
        Self {
            credentials: path(),
            nkey: path(),
            user: text(),
            password: text(),
            tls_ca: path(),
            tls_cert: path(),
            tls_key: path(),
            ..Self::default()
        }
    }

    /// Whether the server is no part of a cluster.
    pub(crate) fn is_alone(&self) -> bool {
        self.engine == LOCAL
    }

    /// The addresses of NATS.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.engine.split(',').map(|url| url.trim().to_owned()).collect()
    }

    /// The same without user names and passwords.
    pub(crate) fn engine_shown(&self) -> String {
        let urls = self.urls().into_iter().map(|url| match url.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                format!("{scheme}://{host}")
            }
            None => url,
        });
        urls.collect::<Vec<_>>().join(",")
    }

    /// How long a node that does not answer keeps its rooms.
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_s)
    }

    /// What people call this node.
    pub(crate) fn display_name(&self) -> String {
        if !self.node.is_empty() {
            return self.node.clone();
        }
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let mut say = |key: &str, message: String| {
            problems.push(Problem::new(format!("cluster.{key}"), message));
        };
        for (key, name) in [("name", &self.name), ("prefix", &self.prefix)] {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > NAME_CHARS || !name.chars().all(is_plain) {
                say(key, format!("must have 1 to {NAME_CHARS} characters of a-z, 0-9 and -"));
            }
        }
        if self.node.len() > 64 || self.node.chars().any(char::is_control) {
            say("node", "must have at most 64 bytes and no control characters".to_owned());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            say("tls_cert", "cert and key go together: give both or none".to_owned());
        }
        let ways = [self.credentials.is_some(), self.nkey.is_some(), self.user.is_some()];
        if ways.iter().filter(|given| **given).count() > 1 {
            say("credentials", "give one of credentials, nkey and user".to_owned());
        }
        for url in self.urls().iter().filter(|_| !self.is_alone()) {
            if let Some(problem) = problem_of(url) {
                say("engine", problem);
            }
        }
    }
}

fn problem_of(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(format!("`{url}`: write `local` or `nats://host:4222`"));
    };
    if !SCHEMES.contains(&scheme) {
        return Some(format!("unknown scheme `{scheme}`; there are `local`, nats:// and tls://"));
    }
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "4222"));
    let wrong = name.is_empty() || port.parse::<u16>().is_err() || host.contains(['/', ' ', '?']);
    wrong.then(|| format!("`{scheme}://{host}`: write {scheme}://host:port"))
}
