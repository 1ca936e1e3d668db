//! `roomcast serve`: the server until a signal ends it.

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use roomcast::config::{Dialect, LogConfig, LogFormat};
use roomcast::{Config, Listener, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::memory::{LOOK_S, Trimming};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without settings the server listens on this machine only and lets everybody in. Flags are stronger
than the environment (ROOMCAST_SECTION__KEY), the environment is stronger than the file
(roomcast.toml, if it is there).

Signals: SIGTERM and SIGINT tell the clients and wait for them to go (drain_ms), a second one stops
at once; SIGHUP reads the certificate and the keys of tokens again.

Examples:
  roomcast serve --listen ws://127.0.0.1:8080 --listen tcp://127.0.0.1:0
  roomcast serve --listen ws://127.0.0.1:7400?namespace=game --config game.toml
  ROOMCAST_LOG__LEVEL=debug roomcast serve --workers 2")]
pub struct Args {
    /// Where to listen: tcp, tls, ws or wss URL; repeat for more. Replaces all other listeners.
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// The settings file; otherwise $ROOMCAST_CONFIG, otherwise roomcast.toml if it is there.
    #[arg(long, short, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Start although other machines can connect without a key.
    #[arg(long)]
    insecure: bool,
    /// Worker threads; 0: one for each core.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// PEM file with the certificate chain, for wss and tls.
    #[arg(long, value_name = "PATH")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key.
    #[arg(long, value_name = "PATH")]
    tls_key: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter like info,roomcast=debug.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", value_parser = ["auto", "pretty", "json"])]
    log_format: Option<String>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = configure(args)?;
    config.check()?;
    start_log(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the start, so that a signal never finds its default action, which is to cut everybody.
    let signals = runtime.block_on(async { Signals::new() })?;
    let cluster = config.cluster.clone();
    let server = Server::builder().config(config).start()?;
    if let Some(node) = server.node() {
        // Standard output may be closed; the server is there all the same.
        _ = writeln!(io::stdout(), "node {node} of {cluster}");
    }
    for listener in server.listeners() {
        _ = writeln!(io::stdout(), "{}", invitation(listener));
    }
    runtime.block_on(run_until_signal(server, signals))
}

async fn run_until_signal(server: Server, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let mut trimming = Trimming::default();
    loop {
        let look = tokio::time::sleep(Duration::from_secs(LOOK_S));
        let wish = tokio::select! {
            wish = signals.next() => wish,
            () = look => {
                // Sessions outlive their connections, and take as much memory.
                let sessions = server.handle().counters().sessions as usize;
                let most = server.take_connections_most() + sessions;
                trimming.look(most, server.connections() + sessions);
                continue;
            }
        };
        match wish {
            Wish::End(name) => {
                tracing::info!(signal = name, "taking leave; a second signal stops at once");
                break;
            }
            // What is wrong with a new certificate is in the log; the old one stays.
            Wish::Reload => {
                _ = server.reload_certificates();
                _ = server.reload_token_keys();
            }
        }
    }
    let (ended, mut has_ended) = oneshot::channel();
    std::thread::Builder::new().name("drain".into()).spawn(move || {
        server.drain_and_stop();
        // Nobody listens any more after a second signal.
        _ = ended.send(());
    })?;
    loop {
        tokio::select! {
            _ = &mut has_ended => return Ok(ExitCode::SUCCESS),
            wish = signals.next() => if let Wish::End(name) = wish {
                tracing::warn!(signal = name, "stopped at once");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

/// What a signal asks for.
enum Wish {
    /// To end; with the signal's name.
    End(&'static str),
    /// To read the certificate again.
    Reload,
}

struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.interrupt.recv() => Wish::End("SIGINT"),
            _ = self.terminate.recv() => Wish::End("SIGTERM"),
        }
    }
}

/// What listens, and how to try it.
fn invitation(listener: &Listener) -> String {
    let url = &listener.url;
    if listener.dialect != Dialect::Native {
        return format!("listening on {url} -- for clients of the dialect {}", listener.dialect);
    }
    let at = reachable(listener.address);
    let (host, port) = (at.ip(), at.port());
    let hello = r#"{"type":"join","ref":1,"room":"lobby"}"#;
    let how = match url.split_once("://").map_or("", |(scheme, _)| scheme) {
        "ws" => format!("open http://{at}/ in a browser, or run: roomcast chat ws://{at}"),
        "wss" => format!("open https://{at}/ in a browser, or run: roomcast chat wss://{at}"),
        scheme @ ("enet" | "quic" | "udp") => format!("run: roomcast chat {scheme}://{at}"),
        "tcp" => format!("run: nc {host} {port}, then type {hello}"),
        _ => format!("run: openssl s_client -quiet -connect {at}, then type {hello}"),
    };
    format!("listening on {url} -- {how}")
}

/// Every address (0.0.0.0, ::) can be listened on, but not connected to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// File, then environment, then flags.
fn configure(args: Args) -> anyhow::Result<Config> {
    let mut config = Config::load(args.config.as_deref(), std::env::vars_os())?;
    if !args.listen.is_empty() {
        config.listen = args.listen;
    }
    config.insecure |= args.insecure;
    config.workers = args.workers.unwrap_or(config.workers);
    config.tls.cert = args.tls_cert.or(config.tls.cert);
    config.tls.key = args.tls_key.or(config.tls.key);
    config.log.level = args.log_level.unwrap_or(config.log.level);
    config.log.format = match args.log_format.as_deref() {
        Some("pretty") => LogFormat::Pretty,
        Some("json") => LogFormat::Json,
        Some(_) => LogFormat::Auto,
        None => config.log.format,
    };
    Ok(config)
}

/// The engine says itself what matters of what its client library says.
fn filter(level: &str) -> String {
    match level.contains("async_nats") {
        true => level.to_owned(),
        false => format!("{level},async_nats=off"),
    }
}

fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    let terminal = io::stderr().is_terminal();
    let pretty = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_new(filter(&config.level)).context("log.level")?,
        )
        .with_writer(io::stderr)
        .with_ansi(terminal);
    let set = if pretty { log.try_init() } else { log.json().flatten_event(true).try_init() };
    set.map_err(|error| anyhow::anyhow!(error)).context("log")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn said(url: &str, address: &str) -> String {
        said_in(Dialect::Native, url, address)
    }

    fn said_in(dialect: Dialect, url: &str, address: &str) -> String {
        let address = address.parse().unwrap();
        invitation(&Listener { url: url.to_owned(), address, dialect })
    }

    #[test]
    fn clients_of_other_dialects_are_not_told_to_speak_the_native_one() {
        let line = said_in(Dialect::Mesh, "ws://127.0.0.1:1", "127.0.0.1:1");
        assert_eq!(line, "listening on ws://127.0.0.1:1 -- for clients of the dialect mesh");
    }

    #[test]
    fn an_invitation_can_be_followed_as_it_stands() {
        let line = said("ws://0.0.0.0:7400", "0.0.0.0:7400");
        assert!(line.starts_with("listening on ws://0.0.0.0:7400 -- "), "{line}");
        assert!(line.contains("http://127.0.0.1:7400/"), "{line}");
        assert!(line.ends_with("roomcast chat ws://127.0.0.1:7400"), "{line}");
        let line = said("tcp://[::]:7401", "[::]:7401");
        assert!(line.contains("nc ::1 7401"), "{line}");
        let line = said("tls://127.0.0.1:9", "127.0.0.1:9");
        assert!(line.contains("openssl s_client -quiet -connect 127.0.0.1:9"), "{line}");
        let line = said("enet://0.0.0.0:7404", "0.0.0.0:7404");
        assert!(line.ends_with("roomcast chat enet://127.0.0.1:7404"), "{line}");
        let line = said("wss://[::1]:9", "[::1]:9");
        assert!(line.contains("https://[::1]:9/"), "{line}");
    }
}
