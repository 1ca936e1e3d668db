//! The configuration of a server: file, environment and flags end up in one [`Config`].

mod api;
mod check;
mod cluster;
mod hub;
pub mod listener;
mod load;
mod problem;
mod schema;
pub(crate) mod suggest;
mod token;

use std::collections::BTreeMap;
use std::path::PathBuf;

use roomcast_core::ReplayBounds;
use roomcast_wire::RoomOptions;
use roomcast_wire::dialect::socketio::ASSEMBLE_MS;
use roomcast_wire::engineio::Handshake;
use serde::{Deserialize, Serialize};

pub use api::{ApiConfig, ApiKeyConfig};
pub use cluster::ClusterConfig;
pub use listener::{Dialect, ListenerError, ListenerUrl, Scheme};
pub use load::{ENV_OTHER, FILE_DEFAULT};
pub(crate) use problem::none_of;
pub use problem::{ConfigError, Problem};
pub use token::{Algorithm, RuleConfig, TokenConfig};

pub use crate::http::{api_key_hash, new_api_key};

/// The whole default configuration with a comment for every key: what `roomcast config default`
/// prints.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// A short file to begin with: what `roomcast config init` writes.
pub const STARTER_TOML: &str = include_str!("starter.toml");

/// Where Engine.IO is spoken by itself, on listeners of that dialect.
const ENGINEIO_PATH: &str = "/engine.io/";

/// Everything that can be configured. `roomcast config default` prints it with its comments.
///
/// ```
/// use roomcast::config::{Algorithm, Config, LargeUnreliable, LogFormat, Scheme};
///
/// let toml = r#"
/// listen = ["ws://127.0.0.1:7400", "tcp://127.0.0.1:7401?namespace=game"]
///
/// [auth]
/// anonymous = false
/// [[auth.keys]]
/// key = "a-key-of-some-length"
/// user = "mina"
/// rooms = [{ room = "*", can = ["join", "publish"] }]
///
/// [[auth.tokens]]
/// algorithm = "HS256"
/// secret = "never in a file that others can read"
///
/// [http]
/// origins = ["https://game.example"]
///
/// [quic]
/// large_unreliable = "drop"
///
/// [cluster]
/// engine = "nats://127.0.0.1:4222"
/// name = "europe"
///
/// [limits]
/// connections = 5_000
///
/// [namespaces.game]
/// create = false
/// static.lobby = { members_max = 50 }
///
/// [log]
/// format = "json"
/// "#;
/// let config = Config::from_toml(toml, "roomcast.toml")?;
/// config.check()?;
/// assert_eq!((config.limits.connections, config.log.format), (5_000, LogFormat::Json));
/// assert_eq!(config.quic.large_unreliable, LargeUnreliable::Drop);
/// assert_eq!((config.cluster.name.as_str(), config.cluster.lease_s), ("europe", 10));
/// assert_eq!(config.auth.tokens[0].algorithm, Algorithm::HS256);
/// assert_eq!(config.auth.keys[0].user.as_deref(), Some("mina"));
/// assert!(config.namespaces["game"].r#static.contains_key("lobby"));
/// assert!(config.tls.cert.is_none() && !config.is_anonymous_allowed("game"));
/// let listeners = config.listeners()?;
/// assert_eq!((listeners[1].scheme, listeners[1].port), (Scheme::Tcp, 7401));
///
/// // As the binary reads it: a file, and over it the environment.
/// let env = [("ROOMCAST_WORKERS".into(), "2".into())];
/// assert_eq!(Config::load(None, env)?.workers, 2);
/// let file = Config::file(Some("my.toml".as_ref()), [("ROOMCAST_CONFIG", "theirs.toml")]);
/// assert_eq!(file, Some("my.toml".into()));
///
/// // What is wrong is told with its place.
/// let error = Config::from_toml("[limits]\nconections = 1\n", "a.toml").expect_err("a typo");
/// assert_eq!(error.problems[0].place, "a.toml:2:1");
/// # Ok::<(), roomcast::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen: `ws://127.0.0.1:7400?namespace=game`.
    pub listen: Vec<String>,
    /// Start although a listener is open to others and nobody needs a key.
    pub insecure: bool,
    /// Worker threads; 0: one for each core.
    pub workers: usize,
    /// How long a stop waits for clients to go, in milliseconds.
    pub drain_ms: u64,
    /// Longest retry delay told to clients at a stop, in milliseconds.
    pub drain_retry_ms: u64,
    /// Folder of the log of durable rooms; none: no room can be durable.
    pub data_dir: Option<PathBuf>,
    /// Certificate of `wss://`, `tls://` and `quic://` listeners.
    pub tls: TlsConfig,
    /// Who may connect.
    pub auth: AuthConfig,
    /// The HTTP API.
    pub api: ApiConfig,
    /// WebSocket and HTTP.
    pub http: HttpConfig,
    /// Socket.IO.
    pub socketio: SocketioConfig,
    /// QUIC and WebTransport.
    pub quic: QuicConfig,
    /// What makes several servers one.
    pub cluster: ClusterConfig,
    /// Bounds.
    pub limits: LimitsConfig,
    /// Options of all rooms, unless a namespace says otherwise.
    pub rooms: RoomOptions,
    /// Policy by namespace; `default` is always there.
    pub namespaces: BTreeMap<String, NamespaceSection>,
    /// Log lines.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![
                "ws://127.0.0.1:7400".into(),
                "tcp://127.0.0.1:7401".into(),
                "udp://127.0.0.1:7402".into(),
                "quic://127.0.0.1:7403".into(),
                "enet://127.0.0.1:7404".into(),
            ],
            insecure: false,
            workers: 0,
            drain_ms: 10_000,
            drain_retry_ms: 5_000,
            data_dir: None,
            tls: TlsConfig::default(),
            auth: AuthConfig::default(),
            api: ApiConfig::default(),
            http: HttpConfig::default(),
            socketio: SocketioConfig::default(),
            quic: QuicConfig::default(),
            cluster: ClusterConfig::default(),
            limits: LimitsConfig::default(),
            rooms: RoomOptions::default(),
            namespaces: BTreeMap::new(),
            log: LogConfig::default(),
        }
    }
}

/// Certificate of `wss://`, `tls://` and `quic://` listeners; read again on SIGHUP. See [`Config`]
/// for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
}

/// Who may connect. See [`Config`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether sessions without a key are let in.
    pub anonymous: bool,
    /// Keys that clients give as `token` in `hello`.
    pub keys: Vec<KeyConfig>,
    /// Who signs tokens that clients give there.
    pub tokens: Vec<TokenConfig>,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { anonymous: true, keys: Vec::new(), tokens: Vec::new() }
    }
}

/// One key. See [`Config`] for an example.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The key: at least 16 characters.
    pub key: String,
    /// The user whom it stands for; without one its sessions stay anonymous.
    #[serde(default)]
    pub user: Option<String>,
    /// Whether broadcast, announce, kick and delete are allowed.
    #[serde(default)]
    pub admin: bool,
    /// What it may do where; none: what namespaces and rooms allow.
    #[serde(default)]
    pub rooms: Option<Vec<RuleConfig>>,
}

impl std::fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyConfig").field("user", &self.user).field("admin", &self.admin).finish()
    }
}

/// WebSocket and HTTP. See [`Config`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Origins of web pages that may connect, beside the server's own.
    pub origins: Vec<String>,
    /// Host names of this server, beside localhost (needed on loopback behind a proxy).
    pub hosts: Vec<String>,
    /// Offer permessage-deflate (RFC 7692).
    pub deflate: bool,
}

/// Socket.IO, a part of [`Config`]. It is spoken on every `ws://` and `wss://` listener of the
/// native dialect. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketioConfig {
    /// Where it is: begins and ends with `/`.
    pub path: String,
    /// How long after the last sign of life the server asks for another.
    pub ping_interval: u64,
    /// How long it waits for it before it closes the connection.
    pub ping_timeout: u64,
    /// Largest message of a client, and largest body of a request, in bytes; 0: as
    /// `limits.message_bytes`.
    pub max_payload: usize,
    /// How long a connection may be open without a namespace that it is connected to.
    pub connect_timeout: u64,
    /// How long the attachments of a packet may take, from its text on.
    pub attachments_timeout: u64,
    /// Whether a client that comes back within `limits.resume_ms` goes on with its session and is
    /// told what it missed (connection state recovery). An offset is then the last argument of
    /// every event.
    pub recovery: bool,
    /// Most bytes of what one client was told that are kept for that.
    pub recovery_bytes: usize,
}

impl Default for SocketioConfig {
    fn default() -> Self {
        Self {
            path: "/socket.io/".to_owned(),
            ping_interval: 25_000,
            ping_timeout: 20_000,
            max_payload: 0,
            connect_timeout: 45_000,
            attachments_timeout: ASSEMBLE_MS,
            recovery: false,
            recovery_bytes: 256 << 10,
        }
    }
}

impl SocketioConfig {
    /// The same without a 0 for what another limit says.
    pub(crate) fn within(self, limits: &LimitsConfig) -> Self {
        let max_payload = match self.max_payload {
            0 => limits.message_bytes,
            bytes => bytes,
        };
        Self { max_payload, ..self }
    }

    /// What is kept for clients that come back. It may take `ping_interval` and `ping_timeout`
    /// until a link is known to be lost; who comes back at the last moment then misses what was
    /// said since.
    pub(crate) fn replay_bounds(&self, limits: &LimitsConfig) -> Option<ReplayBounds> {
        let ms = self.ping_interval + self.ping_timeout + limits.resume_ms;
        self.recovery.then_some(ReplayBounds { bytes: self.recovery_bytes, ms })
    }

    /// Where Engine.IO is spoken on a listener; none: nowhere.
    pub(crate) fn path_for(&self, dialect: Dialect) -> Option<Box<str>> {
        match dialect {
            Dialect::Engineio => Some(Box::from(ENGINEIO_PATH)),
            Dialect::Native | Dialect::SocketIo => Some(Box::from(self.path.as_str())),
            _ => None,
        }
    }

    /// What a session is told first.
    pub(crate) fn handshake(&self, sid: u128, upgrades: bool) -> Handshake {
        Handshake {
            sid,
            upgrades,
            ping_interval_ms: self.ping_interval,
            ping_timeout_ms: self.ping_timeout,
            max_payload_bytes: self.max_payload,
        }
    }
}

/// QUIC and WebTransport. See [`Config`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuicConfig {
    /// What becomes of unreliable events that are larger than a datagram.
    pub large_unreliable: LargeUnreliable,
}

/// What becomes of unreliable events that are larger than a datagram of QUIC takes, about 1,150
/// bytes. See [`Config`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LargeUnreliable {
    /// They go the way of reliable ones.
    #[default]
    Reliable,
    /// They are dropped, and counted.
    Drop,
}

/// Bounds. Those of the hub are documented in `roomcast_core::Limits`. See [`Config`] for an
/// example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct LimitsConfig {
    /// Most connections in total.
    pub connections: usize,
    /// Most connections of one address (IPv4 address, IPv6 /64); loopback is not counted.
    pub connections_per_address: usize,
    /// How long a handshake (TLS, HTTP head) may take, in milliseconds.
    pub handshake_ms: u64,
    pub message_bytes: usize,
    pub message_bytes_unknown_peer: usize,
    pub outbox_bytes: usize,
    pub rooms_per_session: u32,
    pub rooms: u32,
    pub sessions_dropped: u32,
    pub ping_ms: u64,
    pub pong_ms: u64,
    pub first_message_ms: u64,
    pub resume_ms: u64,
    pub commands_per_s: u32,
    pub fanout_bytes_per_s: u64,
    pub creates_per_s: u32,
    pub errors_in_a_row: u32,
    pub key_ms: u64,
    pub keys_per_room: u32,
    pub token_ms: u64,
    pub revocations: u32,
    pub list_max: u32,
    pub hook_ms: u64,
    pub hooks_waiting: u32,
    pub call_ms: u64,
    pub calls_per_session: u32,
    pub calls_waiting: u32,
    /// Most bytes of events that may wait for the log of durable rooms, with 256 for each.
    pub log_waiting_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let hub = roomcast_core::Limits::default();
        Self {
            connections: 100_000,
            connections_per_address: 1_000,
            handshake_ms: 5_000,
            message_bytes: hub.message_bytes,
            message_bytes_unknown_peer: hub.message_bytes_unknown_peer,
            outbox_bytes: hub.outbox_bytes,
            rooms_per_session: hub.rooms_per_session,
            rooms: hub.rooms,
            sessions_dropped: hub.sessions_dropped,
            ping_ms: hub.ping_ms,
            pong_ms: hub.pong_ms,
            first_message_ms: hub.first_message_ms,
            resume_ms: hub.resume_ms,
            commands_per_s: hub.commands_per_s,
            fanout_bytes_per_s: hub.fanout_bytes_per_s,
            creates_per_s: hub.creates_per_s,
            errors_in_a_row: hub.errors_in_a_row,
            key_ms: hub.key_ms,
            keys_per_room: hub.keys_per_room,
            token_ms: hub.token_ms,
            revocations: hub.revocations,
            list_max: hub.list_max,
            hook_ms: hub.hook_ms,
            hooks_waiting: hub.hooks_waiting,
            call_ms: hub.call_ms,
            calls_per_session: hub.calls_per_session,
            calls_waiting: hub.calls_waiting,
            log_waiting_bytes: hub.log_waiting_bytes,
        }
    }
}

/// One namespace. See [`Config`] for an example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct NamespaceSection {
    /// Overrides `auth.anonymous`.
    pub anonymous: Option<bool>,
    /// What sessions without a token may do in its rooms; none: what the rooms allow.
    pub anonymous_rooms: Option<Vec<RuleConfig>>,
    /// Whether clients may make rooms; default true.
    pub create: Option<bool>,
    /// Whether `rooms` lists all rooms. Default: only where every listener is on loopback and no
    /// key is needed.
    pub list_rooms: Option<bool>,
    /// Whether events of Socket.IO clients stand for commands. Default yes.
    pub convention: Option<bool>,
    /// A room that every session of the namespace is given a seat in when it starts.
    pub lobby: Option<String>,
    /// The logics that clients may name in `create`.
    pub client_logics: Vec<String>,
    /// Room options that differ from `[rooms]`.
    pub rooms: toml::Table,
    /// Rooms whose name fits `match` have options that differ from the namespace's; the first that
    /// fits counts.
    pub patterns: Vec<toml::Table>,
    /// Rooms that are always there, with the options that differ from the namespace's.
    pub r#static: BTreeMap<String, toml::Table>,
}

/// Log lines. See [`Config`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter like `info,roomcast=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

/// How log lines look. See [`Config`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}
