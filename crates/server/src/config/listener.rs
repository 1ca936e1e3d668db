//! Where to listen, as a URL: `ws://127.0.0.1:7400?namespace=game`.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Part of a [`ListenerUrl`], which has an example.
pub use roomcast_wire::dialect::Dialect;
/// Part of a [`ListenerUrl`], which has an example.
pub use roomcast_wire::enet::Options as EnetOptions;
use roomcast_wire::{Codec, Name};

use super::suggest::hint;

/// One listener, read from its URL. A host name has been resolved: `addresses` has at least one
/// address, and each of them is listened on.
///
/// ```
/// use roomcast::config::listener::{EnetOptions, ListenerProblem, ListenerUrl, Scheme};
///
/// let url = ListenerUrl::parse("wss://127.0.0.1:0?namespace=game")?;
/// assert_eq!((url.scheme.as_str(), url.to_string().as_str()), ("wss", "wss://127.0.0.1:0"));
/// assert!(url.is_loopback() && url.scheme.is_tls() && url.scheme.is_http());
/// assert!(!url.scheme.is_datagrams()); // as `udp` is
/// assert!(Scheme::all().contains(&url.scheme) && url.needs_certificate());
///
/// let game = ListenerUrl::parse("enet://127.0.0.1:0?checksum=crc32")?;
/// assert_eq!(game.enet, EnetOptions { checksum: true, compression: false });
/// assert!(game.scheme.is_datagrams());
///
/// let error = ListenerUrl::parse("http://127.0.0.1:0").expect_err("it is no scheme of ours");
/// assert!(matches!(error.problem, ListenerProblem::UnknownScheme { .. }));
/// println!("{error}"); // says what to write
/// # Ok::<(), roomcast::config::ListenerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerUrl {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// The host as it was written, without the brackets of IPv6.
    pub host: String,
    /// The port; 0 lets the system choose one.
    pub port: u16,
    /// What host and port stand for.
    pub addresses: Vec<SocketAddr>,
    /// The namespace of its sessions; `default` if none is named.
    pub namespace: Option<Name>,
    /// The grammar of its clients.
    pub dialect: Dialect,
    /// The codec of its clients, where the dialect leaves that to the listener.
    pub codec: Option<Codec>,
    /// What ENet's clients have agreed on beforehand.
    pub enet: EnetOptions,
}

/// How a listener is spoken to. See [`ListenerUrl`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// ENet, the reliable UDP of many games.
    Enet,
    /// QUIC and WebTransport.
    Quic,
    /// JSON lines or length-prefixed MessagePack on TCP.
    Tcp,
    /// The same inside TLS.
    Tls,
    /// One message a datagram on UDP.
    Udp,
    /// HTTP with WebSocket at `/ws`.
    Ws,
    /// The same inside TLS.
    Wss,
}

/// A listener URL that cannot be used. See [`ListenerUrl`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("listener `{url}`: {problem}")]
pub struct ListenerError {
    /// The URL as it was written.
    pub url: String,
    /// What is wrong with it.
    pub problem: ListenerProblem,
}

/// What is wrong with a listener URL. See [`ListenerUrl`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenerProblem {
    /// There is no `://`.
    #[error("write it as scheme://host:port, for example ws://127.0.0.1:7400")]
    NoScheme,
    /// The scheme is none of [`Scheme::all`].
    #[error("unknown scheme `{scheme}`{hint}; there are {}", names(Scheme::all()))]
    UnknownScheme {
        /// What was written.
        scheme: String,
        /// The suggestion, if there is one.
        hint: String,
    },
    /// There is no host.
    #[error("the host is missing: 127.0.0.1 is this machine only, 0.0.0.0 every IPv4 address")]
    NoHost,
    /// There is no port, or none from 0 to 65,535.
    #[error("the port must be a number from 0 to 65535 (0: the system chooses one)")]
    BadPort,
    /// An IPv6 address without brackets, or brackets that do not close.
    #[error("an IPv6 address stands in brackets: [::1]:7400")]
    BadBrackets,
    /// Something stands where a path, a user or a fragment would.
    #[error("only scheme, host, port and query may stand here, not `{0}`")]
    Surplus(String),
    /// The query has a key that is not known.
    #[error("unknown key `{key}`{hint}; there are {}", KEYS.join(", "))]
    UnknownKey {
        /// What was written.
        key: String,
        /// The suggestion, if there is one.
        hint: String,
    },
    /// The query has a key twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// The namespace cannot be a name.
    #[error("namespace: {0}")]
    BadNamespace(String),
    /// The dialect is none of [`Dialect::ALL`].
    #[error("unknown dialect `{dialect}`{hint}; there are {}", names(Dialect::ALL))]
    UnknownDialect {
        /// What was written.
        dialect: String,
        /// The suggestion, if there is one.
        hint: String,
    },
    /// The dialect is spoken on WebSockets only.
    #[error("dialect `{0}` is spoken on WebSockets: begin with ws:// or wss://")]
    NeedsWs(Dialect),
    /// The dialect is spoken on bare TCP only.
    #[error("dialect `{0}` is spoken on TCP: begin with tcp:// or tls://")]
    NeedsTcp(Dialect),
    /// Only the native dialect is spoken by datagrams.
    #[error("dialect `{0}` is not spoken on {1}: begin with ws:// or tcp://")]
    NeedsStream(Dialect, Scheme),
    /// The codec is neither of [`Codec`], or the dialect has no choice.
    #[error("codec: dialect `{dialect}` on {scheme} has no codec `{codec}`; {}", codecs(*.dialect))]
    NoCodec {
        /// What was written.
        codec: String,
        /// The grammar.
        dialect: Dialect,
        /// How it is carried.
        scheme: Scheme,
    },
    /// An option of ENet on another transport, or one that ENet does not have.
    #[error("{key}: only enet:// has it, as `{key}={word}`")]
    NotEnet {
        /// The key.
        key: &'static str,
        /// Its only value.
        word: &'static str,
    },
    /// The host name stands for no address.
    #[error("the host cannot be resolved: {0}")]
    Unresolved(String),
}

/// The keys of a listener's query. Sorted.
const KEYS: &[&str] = &["checksum", "codec", "compression", "dialect", "namespace"];

/// The words for what ENet's peers must agree on.
const CHECKSUM: &str = "crc32";
const COMPRESSION: &str = "range";

/// The words for codecs. Sorted.
const CODECS: &[(&str, Codec)] = &[("json", Codec::Json), ("msgpack", Codec::MsgPack)];

/// What people write for a WebSocket listener.
const SCHEME_ALIASES: &[(&str, &str)] = &[("http", "ws"), ("https", "wss"), ("ssl", "tls")];

impl ListenerUrl {
    /// Reads a URL and resolves its host.
    ///
    /// # Errors
    /// What is wrong with it, in words for the person who wrote it.
    pub fn parse(url: &str) -> Result<Self, ListenerError> {
        read(url).map_err(|problem| ListenerError { url: url.to_owned(), problem })
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Whether a certificate must be configured for it. QUIC on loopback makes its own.
    pub fn needs_certificate(&self) -> bool {
        self.scheme.is_tls() && !(self.scheme == Scheme::Quic && self.is_loopback())
    }
}

impl FromStr for ListenerUrl {
    type Err = ListenerError;

    fn from_str(url: &str) -> Result<Self, ListenerError> {
        Self::parse(url)
    }
}

impl fmt::Display for ListenerUrl {
    /// Scheme, host and port; the query says nothing to a client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.scheme, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

impl Scheme {
    /// All schemes, by name.
    pub const fn all() -> &'static [Self] {
        &[Self::Enet, Self::Quic, Self::Tcp, Self::Tls, Self::Udp, Self::Ws, Self::Wss]
    }

    /// The word in the URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enet => "enet",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether TLS is spoken: [`ListenerUrl::needs_certificate`] says for which listeners a
    /// certificate must be configured.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Quic | Self::Tls | Self::Wss)
    }

    /// Whether it is carried by datagrams: one UDP socket for all clients.
    pub const fn is_datagrams(self) -> bool {
        matches!(self, Self::Enet | Self::Quic | Self::Udp)
    }

    /// Whether it begins with HTTP.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn names(all: &[impl fmt::Display]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn read(url: &str) -> Result<ListenerUrl, ListenerProblem> {
    let (scheme, rest) = url.split_once("://").ok_or(ListenerProblem::NoScheme)?;
    let scheme = read_scheme(scheme)?;
    if let Some(at) = rest.find('#') {
        return Err(ListenerProblem::Surplus(rest[at..].to_owned()));
    }
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match authority.find('/') {
        Some(at) => authority.split_at(at),
        None => (authority, ""),
    };
    if !matches!(path, "" | "/") {
        return Err(ListenerProblem::Surplus(path.to_owned()));
    }
    if let Some(at) = authority.find('@') {
        return Err(ListenerProblem::Surplus(authority[..=at].to_owned()));
    }
    let (host, port) = read_authority(authority)?;
    let Query { namespace, dialect, codec, checksum, compression } = read_query(query)?;
    let dialect = dialect.unwrap_or_default();
    let codec = codec.map(|codec| read_codec(codec, dialect, scheme)).transpose()?;
    if scheme.is_datagrams() && dialect != Dialect::Native {
        return Err(ListenerProblem::NeedsStream(dialect, scheme));
    }
    if !scheme.is_http() && !dialect.has_tcp() {
        return Err(ListenerProblem::NeedsWs(dialect));
    }
    if scheme.is_http() && !dialect.has_ws() {
        return Err(ListenerProblem::NeedsTcp(dialect));
    }
    let enet = EnetOptions {
        checksum: read_enet("checksum", checksum, CHECKSUM, scheme)?,
        compression: read_enet("compression", compression, COMPRESSION, scheme)?,
    };
    let addresses = resolve(host, port)?;
    let host = host.to_owned();
    Ok(ListenerUrl { scheme, host, port, addresses, namespace, dialect, codec, enet })
}

fn read_scheme(word: &str) -> Result<Scheme, ListenerProblem> {
    let all = Scheme::all();
    all.iter().copied().find(|scheme| scheme.as_str() == word).ok_or_else(|| {
        let alias = SCHEME_ALIASES.iter().find(|(alias, _)| *alias == word);
        let hint = match alias {
            Some((_, meant)) => format!("; did you mean `{meant}`?"),
            None => hint(word, all.iter().map(|scheme| scheme.as_str())),
        };
        ListenerProblem::UnknownScheme { scheme: word.to_owned(), hint }
    })
}

fn read_authority(authority: &str) -> Result<(&str, u16), ListenerProblem> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(ListenerProblem::BadBrackets)?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(ListenerProblem::BadBrackets);
            }
            (host, port.strip_prefix(':').ok_or(ListenerProblem::BadPort)?)
        }
        None => authority.rsplit_once(':').ok_or(ListenerProblem::BadPort)?,
    };
    if host.is_empty() {
        return Err(ListenerProblem::NoHost);
    }
    if host.contains(':') && !authority.starts_with('[') {
        return Err(ListenerProblem::BadBrackets);
    }
    // `u16::from_str` would take a sign.
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { port.parse().ok() } else { None };
    Ok((host, port.ok_or(ListenerProblem::BadPort)?))
}

#[derive(Default)]
struct Query<'a> {
    namespace: Option<Name>,
    dialect: Option<Dialect>,
    codec: Option<&'a str>,
    checksum: Option<&'a str>,
    compression: Option<&'a str>,
}

fn read_query(query: &str) -> Result<Query<'_>, ListenerProblem> {
    let mut read = Query::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let before = match key {
            "namespace" => read.namespace.replace(read_namespace(value)?).is_some(),
            "dialect" => read.dialect.replace(read_dialect(value)?).is_some(),
            "codec" => read.codec.replace(value).is_some(),
            "checksum" => read.checksum.replace(value).is_some(),
            "compression" => read.compression.replace(value).is_some(),
            _ => {
                let hint = hint(key, KEYS.iter().copied());
                return Err(ListenerProblem::UnknownKey { key: key.to_owned(), hint });
            }
        };
        if before {
            return Err(ListenerProblem::Twice(key.to_owned()));
        }
    }
    Ok(read)
}

/// Whether an option of ENet is chosen. Each has one word.
fn read_enet(
    key: &'static str,
    value: Option<&str>,
    word: &'static str,
    scheme: Scheme,
) -> Result<bool, ListenerProblem> {
    match value {
        None => Ok(false),
        Some(value) if scheme == Scheme::Enet && value == word => Ok(true),
        Some(_) => Err(ListenerProblem::NotEnet { key, word }),
    }
}

fn read_codec(word: &str, dialect: Dialect, scheme: Scheme) -> Result<Codec, ListenerProblem> {
    let found = CODECS.iter().find(|(name, _)| *name == word).map(|(_, codec)| *codec);
    let chosen =
        found.filter(|&codec| !scheme.is_http() && dialect.grammar().stream_in(codec).is_some());
    chosen.ok_or_else(|| ListenerProblem::NoCodec { codec: word.to_owned(), dialect, scheme })
}

/// What may be written instead.
fn codecs(dialect: Dialect) -> String {
    let may = CODECS.iter().filter(|(_, codec)| dialect.grammar().stream_in(*codec).is_some());
    match may.map(|(name, _)| *name).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "leave it out: the client chooses".to_owned(),
        names => format!("on tcp and tls there are {names}"),
    }
}

fn read_namespace(value: &str) -> Result<Name, ListenerProblem> {
    if value.contains(['/', '%']) {
        let problem = "`/` and `%` may not stand in it".to_owned();
        return Err(ListenerProblem::BadNamespace(problem));
    }
    Name::new(value).map_err(|error| ListenerProblem::BadNamespace(error.to_string()))
}

fn read_dialect(value: &str) -> Result<Dialect, ListenerProblem> {
    let all = Dialect::ALL;
    all.iter().copied().find(|dialect| dialect.as_str() == value).ok_or_else(|| {
        let hint = hint(value, all.iter().map(|dialect| dialect.as_str()));
        ListenerProblem::UnknownDialect { dialect: value.to_owned(), hint }
    })
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ListenerProblem> {
    let unresolved = |reason: String| ListenerProblem::Unresolved(reason);
    let found = (host, port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
    let mut addresses: Vec<_> = found.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(unresolved("no address".to_owned()));
    }
    Ok(addresses)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn problem(url: &str) -> ListenerProblem {
        ListenerUrl::parse(url).unwrap_err().problem
    }

    #[test]
    fn a_url_names_scheme_address_namespace_and_dialect() {
        let url = ListenerUrl::parse("ws://127.0.0.1:7400?namespace=game&dialect=native").unwrap();
        assert_eq!(url.scheme, Scheme::Ws);
        assert_eq!(url.addresses, ["127.0.0.1:7400".parse().unwrap()]);
        assert_eq!(url.namespace.as_deref(), Some("game"));
        assert_eq!(url.dialect, Dialect::Native);
        assert_eq!(url.to_string(), "ws://127.0.0.1:7400");
        let url = ListenerUrl::parse("wss://127.0.0.1:8080?dialect=mesh").unwrap();
        assert_eq!(url.dialect, Dialect::Mesh);
        assert_eq!(
            problem("tcp://127.0.0.1:8080?dialect=mesh"),
            ListenerProblem::NeedsWs(Dialect::Mesh)
        );
        let url = ListenerUrl::parse("tls://127.0.0.1:5001?dialect=simple-chat").unwrap();
        assert_eq!(url.dialect, Dialect::SimpleChat);
        let error = ListenerUrl::parse("ws://127.0.0.1:5001?dialect=simple-chat").unwrap_err();
        assert_eq!(error.problem, ListenerProblem::NeedsTcp(Dialect::SimpleChat));
        assert!(error.to_string().contains("begin with tcp:// or tls://"), "{error}");
        let url = ListenerUrl::parse("tcp://127.0.0.1:1?dialect=msgio&codec=msgpack").unwrap();
        assert_eq!((url.dialect, url.codec), (Dialect::MsgIo, Some(Codec::MsgPack)));
        for other in ["tcp://h:1?codec=json", "ws://h:1?dialect=msgio&codec=json"] {
            assert!(matches!(problem(other), ListenerProblem::NoCodec { .. }), "{other}");
        }
        let url = ListenerUrl::parse("udp://127.0.0.1:0?namespace=game").unwrap();
        assert_eq!((url.scheme, url.dialect), (Scheme::Udp, Dialect::Native));
        let error = ListenerUrl::parse("udp://127.0.0.1:0?dialect=machat").unwrap_err();
        assert_eq!(error.problem, ListenerProblem::NeedsStream(Dialect::MaChat, Scheme::Udp));
        let url = ListenerUrl::parse("tls://0.0.0.0:0/").unwrap();
        assert_eq!((url.scheme, url.port, url.namespace), (Scheme::Tls, 0, None));
    }

    #[test]
    fn ipv6_stands_in_brackets() {
        let url = ListenerUrl::parse("tcp://[::1]:7401").unwrap();
        assert_eq!(url.addresses, ["[::1]:7401".parse().unwrap()]);
        assert_eq!(url.to_string(), "tcp://[::1]:7401");
        assert_eq!(problem("tcp://::1:7401"), ListenerProblem::BadBrackets);
        assert_eq!(problem("tcp://[::1:7401"), ListenerProblem::BadBrackets);
        assert_eq!(problem("tcp://[example]:7401"), ListenerProblem::BadBrackets);
        assert_eq!(problem("tcp://[::1]"), ListenerProblem::BadPort);
    }

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        for url in ["ws://127.0.0.1:1", "ws://127.8.8.8:1", "ws://[::1]:1", "ws://localhost:1"] {
            assert!(ListenerUrl::parse(url).unwrap().is_loopback(), "{url}");
        }
        assert!(ListenerUrl::parse("ws://[::ffff:127.0.0.1]:1").unwrap().is_loopback());
        for url in ["ws://0.0.0.0:1", "ws://[::]:1", "ws://192.0.2.1:1"] {
            assert!(!ListenerUrl::parse(url).unwrap().is_loopback(), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_out() {
        let said = |url| ListenerUrl::parse(url).unwrap_err().to_string();
        assert!(said("127.0.0.1:7400").contains("ws://127.0.0.1:7400"));
        assert!(said("http://127.0.0.1:7400").contains("did you mean `ws`?"));
        assert!(said("sctp://127.0.0.1:7403").contains("there are enet, quic, tcp,"));
        assert!(said("ws://127.0.0.1:1?namepsace=a").contains("did you mean `namespace`?"));
        let unknown = said("ws://127.0.0.1:1?dialect=gopher");
        assert!(unknown.contains("there are ") && unknown.contains("native"), "{unknown}");
        assert!(said("ws://127.0.0.1:1?dialect=nativ").contains("did you mean `native`?"));
    }

    #[test]
    fn nothing_is_guessed() {
        assert_eq!(problem("ws://:7400"), ListenerProblem::NoHost);
        for url in ["ws://127.0.0.1", "ws://h:", "ws://h:65536", "ws://h:+1", "ws://h:x"] {
            assert_eq!(problem(url), ListenerProblem::BadPort, "{url}");
        }
        assert_eq!(problem("ws://h:1/ws"), ListenerProblem::Surplus("/ws".into()));
        assert_eq!(problem("ws://a:b@h:1"), ListenerProblem::Surplus("a:b@".into()));
        assert_eq!(problem("ws://h:1#x"), ListenerProblem::Surplus("#x".into()));
        let twice = "ws://127.0.0.1:1?namespace=a&namespace=b";
        assert_eq!(problem(twice), ListenerProblem::Twice("namespace".into()));
        for bad in ["", "a/b", "a%20b", "a\u{202e}b"] {
            let found = problem(&format!("ws://127.0.0.1:1?namespace={bad}"));
            assert!(matches!(found, ListenerProblem::BadNamespace(_)), "{bad:?}: {found:?}");
        }
    }
}
