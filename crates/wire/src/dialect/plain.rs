//! What is said in a room as text, for grammars that have no other values.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::speech::SERVER;
use crate::codec::json::write_text;
use crate::codec::value::{Kind, Value};
use crate::push::Sender;
use crate::{Codec, EventName, Payload};

/// What people say is an event of this name, in all dialects that know only talk.
pub(super) const SPEECH: &str = "chat";

/// The event that speech is.
pub(super) fn speech() -> Option<EventName> {
    EventName::text(SPEECH).ok()
}

/// Speech as a payload: `{"text": …}`.
pub(super) fn payload(text: &str) -> Payload {
    let mut out = BytesMut::with_capacity(text.len() + 11);
    out.put_slice(b"{\"text\":");
    write_text(&mut out, text);
    out.put_u8(b'}');
    Payload::from_checked(Codec::Json, out.freeze())
}

/// What a payload says: a string, or the `text` of a map, as it is; anything else as JSON without
/// blanks; nothing if there is none.
pub(super) fn text(payload: Option<&Payload>) -> String {
    let Some(payload) = payload else { return String::new() };
    if let Ok(value) = payload.codec().check(payload.bytes()) {
        let said = match value.kind() {
            Kind::Map => value.fields(&["text"]).ok().and_then(|[text]| text),
            _ => Some(value),
        };
        if let Some(text) = said.and_then(Value::text) {
            return text.into_owned();
        }
    }
    json(payload)
}

/// A payload as text: a string as it is, anything else as JSON without blanks.
pub(super) fn string(payload: Option<&Payload>) -> String {
    let Some(payload) = payload else { return String::new() };
    let value = payload.codec().check(payload.bytes()).ok();
    match value.and_then(Value::text) {
        Some(text) => text.into_owned(),
        None => json(payload),
    }
}

fn json(payload: &Payload) -> String {
    let written = payload.to_codec(Codec::Json);
    let mut in_string = false;
    let mut escaped = false;
    let kept = written.bytes().iter().copied().filter(|&byte| {
        let keeps = in_string || !byte.is_ascii_whitespace();
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        keeps
    });
    String::from_utf8_lossy(&kept.collect::<Vec<_>>()).into_owned()
}

/// How a sender is called where everybody has a name: by the display name, else by the first
/// characters of the session's id. None said it: the server did.
pub(super) fn speaker(from: Option<&Sender>) -> Cow<'_, str> {
    const SHORT: usize = 8;
    let Some(from) = from else { return SERVER.into() };
    match &from.name {
        Some(name) => Cow::Borrowed(name),
        None => {
            let mut id = from.session.to_string();
            id.truncate(SHORT);
            id.into()
        }
    }
}

/// Bytes as text. What is no UTF-8 is replaced (U+FFFD): it could not stand in JSON.
pub(super) fn lossy(bytes: &Bytes) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_json(text: &'static str) -> Payload {
        Payload::new(Codec::Json, Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_payload_reads_as_what_a_person_would_say() {
        let table = [
            (r#""plain""#, "plain", "plain"),
            (r#"{"text":"a \"b\"\n"}"#, "a \"b\"\n", r#"{"text":"a \"b\"\n"}"#),
            (r#"{"text":5}"#, r#"{"text":5}"#, r#"{"text":5}"#),
            (r#"{ "x" : [1, 2, " a\" b "] }"#, r#"{"x":[1,2," a\" b "]}"#, ""),
            ("12.50", "12.50", "12.50"),
            ("null", "null", "null"),
        ];
        for (json, said, written) in table {
            assert_eq!(text(Some(&of_json(json))), said);
            let written = if written.is_empty() { said } else { written };
            assert_eq!(string(Some(&of_json(json))), written);
        }
        assert_eq!(text(None), "");
        assert_eq!(text(Some(&Payload::text("packed"))), "packed");
        assert_eq!(text(Some(&payload("a\u{1}\"\\ é"))), "a\u{1}\"\\ é");
    }
}
