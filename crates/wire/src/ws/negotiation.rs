//! What client and server agree on in the handshake: subprotocol and compression.

use super::handshake::{Head, HeadError};
use crate::Format;

/// A subprotocol, with and without compression.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subprotocol {
    pub(super) name: &'static str,
    pub(super) plain: Format,
    pub(super) deflate: Format,
}

/// What is spoken with a client that names no subprotocol.
pub(super) const DEFAULT: &Subprotocol = &SUBPROTOCOLS[0];

/// Sorted by name.
const SUBPROTOCOLS: &[Subprotocol] = &[
    Subprotocol {
        name: "roomcast.v1.json",
        plain: Format::JSON_WS,
        deflate: Format::JSON_WS_DEFLATE,
    },
    Subprotocol {
        name: "roomcast.v1.msgpack",
        plain: Format::MSGPACK_WS,
        deflate: Format::MSGPACK_WS_DEFLATE,
    },
];

/// The first of the client's subprotocols that is known; `None` if it names none.
pub(super) fn subprotocol(head: &Head<'_>) -> Result<Option<&'static Subprotocol>, HeadError> {
    let mut offered = false;
    let mut chosen = None;
    for name in head.values("sec-websocket-protocol").flat_map(|value| value.split(|b| *b == b','))
    {
        offered = true;
        let name = name.trim_ascii();
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(HeadError::new(400, "Sec-WebSocket-Protocol is not a list of names"));
        }
        if chosen.is_none() {
            chosen = SUBPROTOCOLS.iter().find(|known| known.name.as_bytes() == name);
        }
    }
    if offered && chosen.is_none() {
        let names: Vec<_> = SUBPROTOCOLS.iter().map(|known| known.name).collect();
        let message = format!("none of the subprotocols is known; offer {}", names.join(" or "));
        return Err(HeadError::new(400, message));
    }
    Ok(chosen)
}

/// The answer to the first acceptable offer of permessage-deflate (RFC 7692 section 7.1).
pub(super) fn compression(head: &Head<'_>) -> Result<Option<&'static str>, HeadError> {
    let mut answer = None;
    for value in head.values("sec-websocket-extensions") {
        let mut offers = Offers { rest: value };
        loop {
            let offer = offers.next().ok_or_else(|| {
                HeadError::new(400, "Sec-WebSocket-Extensions is not a list of extensions")
            })?;
            answer = answer.or(offer.answer);
            if offer.last {
                break;
            }
        }
    }
    Ok(answer)
}

/// What each message is compressed for: neither side keeps a context, so that one compressed
/// event serves all receivers.
const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const ANSWER_WITH_WINDOW: &str = "permessage-deflate; server_no_context_takeover; \
                                  client_no_context_takeover; server_max_window_bits=15";

/// One extension of the list.
struct Offer {
    answer: Option<&'static str>,
    last: bool,
}

/// Reads `extension *( "," extension )`, each `token *( ";" token [ "=" ( token / quoted ) ] )`
/// (RFC 6455 section 9.1), in one pass.
struct Offers<'a> {
    rest: &'a [u8],
}

/// Which parameters of permessage-deflate an offer has.
#[derive(Default)]
struct Deflate {
    seen: [bool; 4],
    window: bool,
    declined: bool,
}

impl<'a> Offers<'a> {
    /// The next one; `None` if it is malformed.
    fn next(&mut self) -> Option<Offer> {
        let name = self.token()?;
        let mut deflate = Deflate {
            declined: !name.eq_ignore_ascii_case(b"permessage-deflate"),
            ..Deflate::default()
        };
        while self.take(b';') {
            let parameter = self.token()?;
            let value = if self.take(b'=') { Some(self.value()?) } else { None };
            deflate.parameter(parameter, value);
        }
        let last = !self.take(b',');
        if last && !self.rest.is_empty() {
            return None;
        }
        Some(Offer { answer: deflate.answer(), last })
    }

    /// Takes one separator, with the blanks around it.
    fn take(&mut self, separator: u8) -> bool {
        let rest = trim_start(self.rest);
        let Some((first, after)) = rest.split_first() else {
            self.rest = rest;
            return false;
        };
        let found = *first == separator;
        self.rest = if found { trim_start(after) } else { rest };
        found
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        let rest = trim_start(self.rest);
        let len = rest.iter().position(|byte| !is_token(*byte)).unwrap_or(rest.len());
        let (token, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// A token, bare or in quotes.
    fn value(&mut self) -> Option<&'a [u8]> {
        let Some(quoted) = self.rest.strip_prefix(b"\"") else { return self.token() };
        self.rest = quoted;
        let value = self.token()?;
        self.rest = self.rest.strip_prefix(b"\"")?;
        Some(value)
    }
}

impl Deflate {
    /// An offer with an unknown, repeated or impossible parameter is declined, not refused
    /// (RFC 7692 section 5.1).
    fn parameter(&mut self, name: &[u8], value: Option<&[u8]>) {
        let (index, fits) = match name {
            b"server_no_context_takeover" => (0, value.is_none()),
            b"client_no_context_takeover" => (1, value.is_none()),
            // A smaller window would need each event compressed again for that client.
            b"server_max_window_bits" => (2, value == Some(b"15")),
            b"client_max_window_bits" => (3, value.is_none_or(is_window)),
            _ => {
                self.declined = true;
                return;
            }
        };
        let repeated = self.seen.get_mut(index).is_none_or(|seen| std::mem::replace(seen, true));
        self.declined |= repeated || !fits;
        self.window |= index == 2;
    }

    fn answer(&self) -> Option<&'static str> {
        match (self.declined, self.window) {
            (true, _) => None,
            (false, true) => Some(ANSWER_WITH_WINDOW),
            (false, false) => Some(ANSWER),
        }
    }
}

fn is_window(value: &[u8]) -> bool {
    matches!(value, b"8" | b"9" | b"10" | b"11" | b"12" | b"13" | b"14" | b"15")
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let len = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    bytes.get(len..).unwrap_or_default()
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
