//! What the values mean together: bounds, and whether the server can be reached safely.

use std::fs::File;
use std::path::Path;

use roomcast_core::Logics;
use roomcast_wire::limits::{MESSAGE_BYTES_CEILING, TOKEN_BYTES_MAX};
use roomcast_wire::name::DEFAULT_NAMESPACE;
use tracing_subscriber::EnvFilter;

use super::listener::{ListenerUrl, Scheme};
use super::problem::{ConfigError, Problem, none_of};
use super::suggest::hint;
use super::{Config, hub};
use crate::auth::Tokens;
use crate::http::ApiKeys;

/// Shortest key of a client, in characters. Guessing 16 random letters or digits (95 bits) is out
/// of reach at any rate the server answers at.
const KEY_CHARS_MIN: usize = 16;

/// First parts of paths that stand for something else.
const TAKEN: [&str; 7] = ["api", "health", "metrics", "sse", "stream", "webtransport", "ws"];

impl Config {
    /// Looks at everything that can be known before the start: bounds, listeners (host names are
    /// resolved), certificates (whether the files can be opened), namespaces, room options, keys.
    ///
    /// # Errors
    /// Every problem there is.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_for(&Logics::default())
    }

    /// The same for a program with logics of its own.
    ///
    /// # Errors
    /// Every problem there is.
    pub fn check_for(&self, logics: &Logics) -> Result<(), ConfigError> {
        let mut problems = self.problems(logics);
        if self.listen.is_empty() {
            let message = "there is no listener, so nobody could connect";
            problems.push(Problem::new("listen", message));
        }
        none_of(problems)
    }

    /// The problems of a server that may do without listeners: the embedding program brings
    /// clients.
    pub(super) fn problems(&self, logics: &Logics) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_bounds(self, &mut problems);
        let listeners = read_listeners(self, &mut problems);
        check_listeners(self, &listeners, &mut problems);
        check_keys(self, &mut problems);
        problems.extend(Tokens::load(self).err().into_iter().flat_map(|error| error.problems));
        problems.extend(ApiKeys::load(self).err().into_iter().flat_map(|error| error.problems));
        check_http(self, &mut problems);
        check_socketio(&self.socketio.path, &mut problems);
        self.cluster.check(&mut problems);
        check_log(&self.log.level, &mut problems);
        problems.extend(self.rooms.check().err().map(|message| Problem::new("rooms", message)));
        hub::check_logic("rooms", &self.rooms, logics, &mut problems);
        hub::check_durable(self, "rooms", &self.rooms, &mut problems);
        if self.data_dir.is_some() && !self.cluster.is_alone() {
            // A room's home moves between nodes, its log would not.
            let text = "the log of durable rooms is for a server that is alone: take `data_dir` \
                        away, or the cluster";
            problems.push(Problem::new("data_dir", text));
        }
        hub::namespaces(self, logics, false, &mut problems);
        hub::keys(self, &mut problems);
        problems
    }

    /// The listeners, their host names resolved.
    ///
    /// # Errors
    /// Every URL that cannot be used.
    pub fn listeners(&self) -> Result<Vec<ListenerUrl>, ConfigError> {
        let mut problems = Vec::new();
        let listeners = read_listeners(self, &mut problems);
        none_of(problems).map(|()| listeners)
    }
}

/// The numbers outside `[rooms]`, each with its lowest and highest value.
fn bounds(config: &Config) -> [(&'static str, u64, u64, u64); 41] {
    let (limits, socketio) = (&config.limits, &config.socketio);
    let count = |n: usize| n as u64;
    [
        ("workers", count(config.workers), 0, 1_024),
        ("drain_ms", config.drain_ms, 0, 600_000),
        ("drain_retry_ms", config.drain_retry_ms, 0, 600_000),
        ("cluster.lease_s", config.cluster.lease_s, 2, 60),
        ("cluster.replicas", count(config.cluster.replicas), 1, 5),
        ("api.batch_max", config.api.batch_max.into(), 1, 10_000),
        ("api.batch_bytes", count(config.api.batch_bytes), 1_024, count(MESSAGE_BYTES_CEILING)),
        ("socketio.ping_interval", socketio.ping_interval, 10, 3_600_000),
        ("socketio.ping_timeout", socketio.ping_timeout, 10, 600_000),
        ("socketio.max_payload", count(socketio.max_payload), 0, count(MESSAGE_BYTES_CEILING)),
        ("socketio.connect_timeout", socketio.connect_timeout, 10, 600_000),
        ("socketio.attachments_timeout", socketio.attachments_timeout, 10, 600_000),
        ("socketio.recovery_bytes", count(socketio.recovery_bytes), 4_096, 1 << 30),
        ("limits.connections", count(limits.connections), 1, 10_000_000),
        ("limits.connections_per_address", count(limits.connections_per_address), 1, 10_000_000),
        ("limits.handshake_ms", limits.handshake_ms, 10, 600_000),
        ("limits.message_bytes", count(limits.message_bytes), 1_024, count(MESSAGE_BYTES_CEILING)),
        (
            "limits.message_bytes_unknown_peer",
            count(limits.message_bytes_unknown_peer),
            1_024,
            1 << 20,
        ),
        ("limits.outbox_bytes", count(limits.outbox_bytes), 4_096, 1 << 30),
        ("limits.rooms_per_session", limits.rooms_per_session.into(), 1, 100_000),
        ("limits.rooms", limits.rooms.into(), 1, 10_000_000),
        ("limits.sessions_dropped", limits.sessions_dropped.into(), 0, 10_000_000),
        ("limits.ping_ms", limits.ping_ms, 10, 3_600_000),
        ("limits.pong_ms", limits.pong_ms, 10, 600_000),
        ("limits.first_message_ms", limits.first_message_ms, 10, 600_000),
        ("limits.resume_ms", limits.resume_ms, 0, 3_600_000),
        ("limits.commands_per_s", limits.commands_per_s.into(), 0, 1_000_000),
        ("limits.fanout_bytes_per_s", limits.fanout_bytes_per_s, 0, 1 << 40),
        ("limits.creates_per_s", limits.creates_per_s.into(), 1, 100_000),
        ("limits.errors_in_a_row", limits.errors_in_a_row.into(), 1, 10_000),
        ("limits.key_ms", limits.key_ms, 0, 86_400_000),
        ("limits.keys_per_room", limits.keys_per_room.into(), 0, 1_000_000),
        ("limits.token_ms", limits.token_ms, 1_000, 31_622_400_000),
        ("limits.revocations", limits.revocations.into(), 0, 10_000_000),
        ("limits.list_max", limits.list_max.into(), 1, 100_000),
        ("limits.hook_ms", limits.hook_ms, 10, 60_000),
        ("limits.hooks_waiting", limits.hooks_waiting.into(), 1, 10_000_000),
        ("limits.call_ms", limits.call_ms, 10, 600_000),
        ("limits.calls_per_session", limits.calls_per_session.into(), 1, 10_000),
        ("limits.calls_waiting", limits.calls_waiting.into(), 1, 10_000_000),
        ("limits.log_waiting_bytes", count(limits.log_waiting_bytes), 65_536, 1 << 30),
    ]
}

fn check_bounds(config: &Config, problems: &mut Vec<Problem>) {
    for (key, value, low, high) in bounds(config) {
        if !(low..=high).contains(&value) {
            let message = format!("is {value}, but must be {low} to {high}");
            problems.push(Problem::new(key, message));
        }
    }
    let limits = &config.limits;
    let payload = config.socketio.max_payload;
    if limits.outbox_bytes / 2 < payload {
        let message = format!(
            "is {payload}, but limits.outbox_bytes ({}) must be at least twice as large",
            limits.outbox_bytes
        );
        problems.push(Problem::new("socketio.max_payload", message));
    }
    if config.socketio.recovery && limits.resume_ms == 0 {
        let message = "needs limits.resume_ms: a session that ends with its link has nobody to \
                       come back to it";
        problems.push(Problem::new("socketio.recovery", message));
    }
    if limits.outbox_bytes / 2 < limits.message_bytes {
        // Else one large event would always close the links that should receive it.
        let twice = limits.message_bytes.saturating_mul(2);
        let message = format!(
            "is {}, but must be at least twice limits.message_bytes ({twice})",
            limits.outbox_bytes
        );
        problems.push(Problem::new("limits.outbox_bytes", message));
    }
}

fn read_listeners(config: &Config, problems: &mut Vec<Problem>) -> Vec<ListenerUrl> {
    let urls = config.listen.iter();
    let read =
        urls.map(|url| ListenerUrl::parse(url).map_err(|e| Problem::new("listen", e.to_string())));
    read.filter_map(|url| url.map_err(|problem| problems.push(problem)).ok()).collect()
}

fn check_listeners(config: &Config, listeners: &[ListenerUrl], problems: &mut Vec<Problem>) {
    for url in listeners {
        let namespace = url.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let known = config.namespaces.keys().map(String::as_str).chain([DEFAULT_NAMESPACE]);
        if !known.clone().any(|known| known == namespace) {
            let hint = hint(namespace, known);
            let message = format!("{url}: there is no section [namespaces.{namespace}]{hint}");
            problems.push(Problem::new("listen", message));
        }
        if !config.insecure
            && !url.is_loopback()
            && matches!(url.scheme, Scheme::Enet | Scheme::Udp)
        {
            let message = format!(
                "{url} is open to other machines, and whoever reads along reads tokens, and can \
                 speak for others: use wss:// or tls:// there, or say that this is \
                 meant (--insecure, insecure = true)"
            );
            problems.push(Problem::new("listen", message));
        } else if !config.insecure && !url.is_loopback() && config.is_anonymous_allowed(namespace) {
            let message = format!(
                "{url} is open to other machines and anybody may connect: set auth.anonymous = \
                 false and a key, or say that this is meant (--insecure, insecure = true)"
            );
            problems.push(Problem::new("listen", message));
        }
    }
    let tls = &config.tls;
    let files = [("tls.cert", &tls.cert), ("tls.key", &tls.key)];
    let wanted = listeners.iter().any(ListenerUrl::needs_certificate);
    for (key, path) in files {
        match path {
            Some(path) => problems.extend(unreadable(key, path)),
            None if wanted || tls.cert.is_some() || tls.key.is_some() => {
                let message = "is missing: wss://, tls:// and quic:// need certificate and key";
                problems.push(Problem::new(key, message));
            }
            None => {}
        }
    }
}

fn unreadable(key: &str, path: &Path) -> Option<Problem> {
    let error = File::open(path).err()?;
    Some(Problem::new(key, format!("{} cannot be opened: {error}", path.display())))
}

fn check_keys(config: &Config, problems: &mut Vec<Problem>) {
    let keys = &config.auth.keys;
    for (at, key) in keys.iter().enumerate() {
        let place = format!("auth.keys[{at}].key");
        let chars = key.key.chars().count();
        if chars < KEY_CHARS_MIN || key.key.len() > TOKEN_BYTES_MAX {
            let message = format!(
                "has {chars} characters, but must have {KEY_CHARS_MIN} to {TOKEN_BYTES_MAX}"
            );
            problems.push(Problem::new(place, message));
        } else if keys[..at].iter().any(|other| other.key == key.key) {
            problems.push(Problem::new(place, "is given twice"));
        }
    }
    let open =
        config.auth.anonymous || config.namespaces.values().any(|n| n.anonymous == Some(true));
    if keys.is_empty() && config.auth.tokens.is_empty() && !open {
        let message = "there is no key and auth.anonymous is false, so nobody could connect";
        problems.push(Problem::new("auth.keys", message));
    }
}

fn check_log(level: &str, problems: &mut Vec<Problem>) {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    // A filter takes any single word for the name of a module and would then say nothing at all.
    let is_word = level.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word && !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
        let (meant, levels) = (hint(level, LEVELS), LEVELS.join(", "));
        let message = format!("unknown level `{level}`{meant}; there are {levels}");
        problems.push(Problem::new("log.level", message));
    } else if let Err(error) = EnvFilter::try_new(level) {
        problems.push(Problem::new("log.level", error.to_string()));
    }
}

fn check_socketio(path: &str, problems: &mut Vec<Problem>) {
    // RFC 3986 section 3.3, without what is written with `%`.
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
    let whole = path.len() >= 3 && path.starts_with('/') && path.ends_with('/');
    if !whole || path.contains("//") || !path.bytes().all(is_path) {
        let message = format!("`{path}`: write it as /name/");
        problems.push(Problem::new("socketio.path", message));
    } else if TAKEN.contains(&path.trim_matches('/')) {
        let message = format!("`{path}`: something else is there");
        problems.push(Problem::new("socketio.path", message));
    }
}

fn check_http(config: &Config, problems: &mut Vec<Problem>) {
    for origin in &config.http.origins {
        let host = origin.split_once("://").map(|(_, host)| host);
        if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '@'])) {
            let message = format!("`{origin}`: write it as https://host or https://host:port");
            problems.push(Problem::new("http.origins", message));
        }
    }
    for host in &config.http.hosts {
        if host.is_empty() || host.contains([':', '/', '*', '@']) {
            let message = format!("`{host}`: only the name, without scheme and port");
            problems.push(Problem::new("http.hosts", message));
        }
    }
}
