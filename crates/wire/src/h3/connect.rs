//! The request that begins a WebTransport session: an extended CONNECT (RFC 9220).

use super::{H3Error, frame, qpack, records};
use crate::Codec;
use crate::ws::handshake::{Head, HeadError, SitePolicy};

/// The path of sessions.
pub const PATH: &str = "/wt";

/// The codecs by the word for them in the query, and as an application protocol
/// (`wt-available-protocols`).
const CODECS: &[(&str, &str, Codec)] = &[
    ("json", "roomcast.v1.json", Codec::Json),
    ("msgpack", "roomcast.v1.msgpack", Codec::MsgPack),
];

/// A request for a session.
#[derive(Debug)]
pub struct Connect {
    fields: Vec<qpack::Field>,
}

/// A session that was agreed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    /// How its messages are written.
    pub codec: Codec,
    /// The frame to answer with.
    pub response: Vec<u8>,
}

impl Connect {
    /// Reads the field section of a request.
    ///
    /// # Errors
    /// It is malformed, which ends its stream or the connection.
    pub fn read(section: &[u8]) -> Result<Self, H3Error> {
        let fields = qpack::decode(section)?;
        // RFC 9114 section 4.3: pseudo-fields once, before all others; no upper case in names.
        let mut regular = false;
        for (at, (name, _)) in fields.iter().enumerate() {
            let pseudo = name.starts_with(':');
            let before = fields.get(..at).unwrap_or_default();
            let again = pseudo && before.iter().any(|(other, _)| other == name);
            if again || (pseudo && regular) || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(H3Error::Message);
            }
            regular |= !pseudo;
        }
        Ok(Self { fields })
    }

    /// Whether the session may be.
    ///
    /// # Errors
    /// What it is refused with.
    pub fn accept(&self, policy: &SitePolicy) -> Result<Accepted, HeadError> {
        let refused = |status, message: &str| HeadError { status, message: message.to_owned() };
        let protocol = self.get(":protocol").unwrap_or_default();
        if self.get(":method") != Some("CONNECT") {
            return Err(refused(405, "only WebTransport is spoken here"));
        }
        if !matches!(protocol, "webtransport" | "webtransport-h3") {
            return Err(refused(501, "only :protocol webtransport is spoken here"));
        }
        let target = self.get(":path").unwrap_or_default();
        let authority = self.get(":authority").unwrap_or_default();
        if self.get(":scheme") != Some("https") || authority.is_empty() {
            return Err(refused(400, ":scheme must be https, and :authority be there"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path != PATH {
            return Err(refused(404, "WebTransport sessions are at /wt"));
        }
        self.head(target, authority).check_host(policy)?;
        self.head(target, authority).check_origin(policy)?;
        let chosen = self.protocol();
        let codec = codec_of(query)?.or(chosen.map(|(_, _, codec)| *codec)).unwrap_or(Codec::Json);
        let named = chosen.filter(|(_, _, of)| *of == codec).map(|(_, name, _)| *name);
        Ok(Accepted { codec, response: self.response(named) })
    }

    /// As the checks of WebSockets see it.
    fn head<'a>(&'a self, target: &'a str, authority: &'a str) -> Head<'a> {
        let regular =
            self.fields.iter().filter(|(name, _)| !name.starts_with(':') && name != "host");
        let regular = regular.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let host = ("host", authority.as_bytes());
        let headers = std::iter::once(host).chain(regular).collect();
        Head { method: "CONNECT", target, minor_version: 1, headers, len: 0 }
    }

    /// The first application protocol on offer that is known: a list of strings (RFC 9651).
    fn protocol(&self) -> Option<&'static (&'static str, &'static str, Codec)> {
        let offered = self.get("wt-available-protocols")?;
        let names = offered.split(',').map(|name| name.trim().trim_matches('"'));
        names.filter_map(|name| CODECS.iter().find(|(_, known, _)| *known == name)).next()
    }

    fn response(&self, protocol: Option<&str>) -> Vec<u8> {
        let mut fields = vec![(":status", "200")];
        // Draft 2, which Chromium begins with.
        if self.get("sec-webtransport-http3-draft02").is_some() {
            fields.push(("sec-webtransport-http3-draft", "draft02"));
        }
        let protocol = protocol.map(|name| format!("\"{name}\""));
        fields.extend(protocol.as_deref().map(|name| ("wt-protocol", name)));
        let mut out = Vec::new();
        records::write(&mut out, frame::HEADERS, &qpack::encode(&fields));
        out
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// The frames of an answer that refuses.
pub fn refusal(error: &HeadError) -> Vec<u8> {
    let status = error.status.to_string();
    let fields = [(":status", status.as_str()), ("content-type", "text/plain; charset=utf-8")];
    let mut out = Vec::new();
    records::write(&mut out, frame::HEADERS, &qpack::encode(&fields));
    records::write(&mut out, frame::DATA, format!("{}\n", error.message).as_bytes());
    out
}

fn codec_of(query: &str) -> Result<Option<Codec>, HeadError> {
    let Some(word) = query.split('&').find_map(|pair| pair.strip_prefix("codec=")) else {
        return Ok(None);
    };
    let found = CODECS.iter().find(|(name, _, _)| *name == word);
    let refused = || HeadError { status: 400, message: "codec: json or msgpack".to_owned() };
    found.map(|(_, _, codec)| Some(*codec)).ok_or_else(refused)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PLAIN: &[(&str, &str)] = &[
        (":method", "CONNECT"),
        (":protocol", "webtransport"),
        (":scheme", "https"),
        (":authority", "127.0.0.1:7403"),
        (":path", "/wt"),
    ];

    fn connect(fields: &[(&str, &str)]) -> Connect {
        Connect::read(&qpack::encode(fields)).unwrap()
    }

    fn with<'a>(name: &str, value: &'a str) -> Vec<(&'static str, &'a str)> {
        let changed = PLAIN.iter().map(|(n, v)| (*n, if *n == name { value } else { v }));
        changed.collect()
    }

    #[test]
    fn the_codec_is_in_the_query_or_a_protocol() {
        let policy = SitePolicy::default();
        let codec = |fields: &[_]| connect(fields).accept(&policy).map(|accepted| accepted.codec);
        assert_eq!(codec(PLAIN), Ok(Codec::Json));
        assert_eq!(codec(&with(":path", "/wt?codec=msgpack")), Ok(Codec::MsgPack));
        assert_eq!(codec(&with(":path", "/wt?codec=xml")).unwrap_err().status, 400);
        let mut fields = PLAIN.to_vec();
        fields.push(("wt-available-protocols", "\"other\", \"roomcast.v1.msgpack\""));
        let accepted = connect(&fields).accept(&policy).unwrap();
        assert_eq!(accepted.codec, Codec::MsgPack);
        let answer = String::from_utf8_lossy(&accepted.response);
        assert!(answer.contains("\"roomcast.v1.msgpack\""), "{answer}");
    }

    #[test]
    fn what_is_no_session_is_refused_in_its_own_way() {
        let policy = SitePolicy::default();
        let status = |fields: &[_]| connect(fields).accept(&policy).unwrap_err().status;
        assert_eq!(status(&with(":method", "GET")), 405);
        assert_eq!(status(&with(":protocol", "websocket")), 501);
        assert_eq!(status(&with(":path", "/")), 404);
        assert_eq!(status(&with(":scheme", "http")), 400);
        assert_eq!(status(&with(":authority", "evil.example:7403")), 421);
        let refused = refusal(&HeadError { status: 404, message: "no".to_owned() });
        assert!(refused.ends_with(b"\x00\x03no\n"));
    }

    #[test]
    fn pages_of_this_server_may_connect_and_others_may_not() {
        let policy = SitePolicy { page_ports: vec![7400], ..SitePolicy::default() };
        let may = |origin: &str| {
            let mut fields = PLAIN.to_vec();
            fields.push(("origin", origin));
            connect(&fields).accept(&policy).is_ok()
        };
        for origin in ["http://127.0.0.1:7400", "http://localhost:7400", "https://127.0.0.1:7403"] {
            assert!(may(origin), "{origin}");
        }
        for origin in ["http://127.0.0.1:7401", "http://evil.example:7400", "null", ""] {
            assert!(!may(origin), "{origin}");
        }
    }

    #[test]
    fn malformed_requests_are_errors() {
        for fields in [
            &[(":path", "/wt"), (":path", "/wt")][..],
            &[("origin", "x"), (":path", "/wt")],
            &[("Origin", "x")],
        ] {
            let read = Connect::read(&qpack::encode(fields));
            assert_eq!(read.err(), Some(H3Error::Message), "{fields:?}");
        }
    }
}
