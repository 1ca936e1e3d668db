//! Addresses of servers.

use std::fmt;
use std::str::FromStr;

use roomcast_wire::enet::Options;

use crate::Error;

/// What is spoken below the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Enet,
    Quic,
    Stream,
    Udp,
    WebSocket,
}

/// How a client is connected to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// ENet (`enet://`).
    Enet,
    /// QUIC (`quic://`).
    Quic,
    /// TCP (`tcp://`).
    Tcp,
    /// TLS on TCP (`tls://`).
    Tls,
    /// Plain UDP (`udp://`).
    Udp,
    /// WebSocket without TLS (`ws://`).
    Ws,
    /// WebSocket with TLS (`wss://`).
    Wss,
}

impl Transport {
    /// As its URLs begin.
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
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a server is: `ws://host:port/path?query`, `wss://…`, `tcp://host:port`, `tls://…`,
/// `udp://…`, `quic://…`, `enet://…?checksum=crc32&compression=range`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    pub(crate) kind: Kind,
    pub(crate) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query of a WebSocket's request, or the options of ENet.
    pub(crate) target: String,
}

impl ServerUrl {
    /// `host:port`, with brackets where they are needed.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(crate) const fn transport(&self) -> Transport {
        match (self.kind, self.tls) {
            (Kind::WebSocket, false) => Transport::Ws,
            (Kind::WebSocket, true) => Transport::Wss,
            (Kind::Stream, false) => Transport::Tcp,
            (Kind::Stream, true) => Transport::Tls,
            (Kind::Quic, _) => Transport::Quic,
            (Kind::Udp, _) => Transport::Udp,
            (Kind::Enet, _) => Transport::Enet,
        }
    }

    /// What both ends of ENet have agreed on.
    pub(crate) fn enet_options(&self) -> Options {
        read_enet(&self.target).unwrap_or_default()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.transport(), self.authority(), self.target)
    }
}

impl FromStr for ServerUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::Invalid(format!(
                "`{text}` is no server URL: {what}; write one like ws://127.0.0.1:7400, \
                 tcp://127.0.0.1:7401, udp://127.0.0.1:7402, quic://127.0.0.1:7403 or \
                 enet://127.0.0.1:7404"
            ))
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (kind, tls, default_port) = match scheme {
            "ws" | "http" => (Kind::WebSocket, false, 80),
            "wss" | "https" => (Kind::WebSocket, true, 443),
            "tcp" => (Kind::Stream, false, 7401),
            "tls" => (Kind::Stream, true, 7401),
            "quic" => (Kind::Quic, true, 7403),
            "udp" => (Kind::Udp, false, 7402),
            "enet" => (Kind::Enet, false, 7404),
            _ => return Err(wrong("the scheme must be ws, wss, tcp, tls, udp, quic or enet")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(wrong("credentials go into the token, not into the URL"));
        }
        let (host, port) = split_authority(authority).ok_or_else(|| wrong("bad host or port"))?;
        let target = match kind {
            Kind::WebSocket => websocket_target(target),
            Kind::Enet if read_enet(target).is_none() => {
                return Err(wrong("ENet has checksum=crc32 and compression=range"));
            }
            Kind::Enet => target.trim_start_matches('/').to_owned(),
            Kind::Quic | Kind::Stream | Kind::Udp => String::new(),
        };
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !printable(host) || !printable(&target) {
            return Err(wrong("the host is missing, or there is a character that must be escaped"));
        }
        Ok(Self { kind, tls, host: host.to_owned(), port: port.unwrap_or(default_port), target })
    }
}

fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    match port {
        None => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok()?))),
    }
}

/// Reads the options of ENet, as a listener's URL has them; none: there is something else.
fn read_enet(target: &str) -> Option<Options> {
    let target = target.strip_prefix('/').unwrap_or(target);
    let mut options = Options::default();
    for pair in target.strip_prefix('?').unwrap_or(target).split('&') {
        match pair {
            "" => {}
            "checksum=crc32" => options.checksum = true,
            "compression=range" => options.compression = true,
            _ => return None,
        }
    }
    Some(options)
}

/// Servers listen at `/ws`; a path in the URL is for proxies that put them elsewhere.
fn websocket_target(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    match target.strip_prefix('/').unwrap_or(target) {
        "" => "/ws".to_owned(),
        query if query.starts_with('?') => format!("/ws{query}"),
        _ => target.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_filled_in() {
        for (text, expected) in [
            ("ws://127.0.0.1:7400", "ws://127.0.0.1:7400/ws"),
            ("ws://127.0.0.1:7400/", "ws://127.0.0.1:7400/ws"),
            ("ws://h:1?x=1", "ws://h:1/ws?x=1"),
            ("wss://example.com/rooms/ws?x=1", "wss://example.com:443/rooms/ws?x=1"),
            ("tcp://localhost", "tcp://localhost:7401"),
            ("tls://[::1]:9", "tls://[::1]:9"),
            ("quic://localhost", "quic://localhost:7403"),
            ("udp://localhost", "udp://localhost:7402"),
            ("enet://localhost", "enet://localhost:7404"),
            ("enet://h:1/?checksum=crc32", "enet://h:1?checksum=crc32"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_an_example() {
        for text in [
            "",
            "127.0.0.1:7400",
            "ftp://x",
            "ws://",
            "ws://h:x",
            "ws://a@b",
            "ws://h/a b",
            "tcp://[::1",
            "enet://h:1?checksum=md5",
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(error.contains("ws://127.0.0.1:7400"), "{text}: {error}");
        }
    }
}
