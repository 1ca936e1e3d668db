//! What dialects need that know less than roomcast does: what is said is text, a sender has one
//! name, and a room's name has no namespace.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::codec::json::write_text;
use crate::codec::value::{Kind, Value};
use crate::push::Sender;
use crate::{Codec, EventName, Payload, SessionId};

/// What the chat page and `roomcast chat` call what a person says; its data is `{"text": …}`.
const CHAT: &str = "chat";

/// Who says what the server says in no client's name.
pub(super) const SERVER: &str = "server";

/// What a person says, as an event and its data.
pub(super) fn said(text: &str) -> (EventName, Payload) {
    let mut out = BytesMut::with_capacity(text.len() + 11);
    out.put_slice(b"{\"text\":");
    write_text(&mut out, text);
    out.put_u8(b'}');
    (EventName::plain(CHAT), Payload::from_checked(Codec::Json, out.freeze()))
}

/// An event as one text: what its data says. That it is no speech is told by its name before it,
/// in brackets.
pub(super) fn text_of<'a>(name: &EventName, payload: Option<&'a Payload>) -> Cow<'a, str> {
    let text = payload.map(|payload| spoken(payload).unwrap_or_else(|| written(payload).into()));
    match text {
        text if name.as_text() == Some(CHAT) => text.unwrap_or_default(),
        Some(text) => format!("[{name}] {text}").into(),
        None => format!("[{name}]").into(),
    }
}

/// The text that a map has as its `text`, or that the payload is.
fn spoken(payload: &Payload) -> Option<Cow<'_, str>> {
    let value = payload.codec().check(payload.bytes()).ok()?;
    let said = match value.kind() {
        Kind::Map => value.fields(&["text"]).ok().and_then(|[text]| text)?,
        _ => value,
    };
    said.text()
}

/// A payload as text: a string as it is, anything else as JSON without blanks.
pub(super) fn string(payload: Option<&Payload>) -> Cow<'_, str> {
    let Some(payload) = payload else { return Cow::default() };
    let value = payload.codec().check(payload.bytes()).ok();
    value.and_then(Value::text).unwrap_or_else(|| written(payload).into())
}

/// JSON without blanks.
fn written(payload: &Payload) -> String {
    let json = payload.to_codec(Codec::Json);
    let mut in_string = false;
    let mut escaped = false;
    let kept = json.bytes().iter().copied().filter(|&byte| {
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

/// The one name of a sender: its display name, else its user, else its session. All of the
/// session's id: ids of some dialects begin alike. Who is no part of the server and called like it
/// has a `_` behind the name.
pub(super) fn author(from: Option<&Sender>) -> Cow<'_, str> {
    let Some(from) = from else { return SERVER.into() };
    match from.name.as_ref().or(from.user.as_ref()) {
        Some(name) if is_servers(name) && from.session != SessionId(0) => format!("{name}_").into(),
        Some(name) => name.as_str().into(),
        None => from.session.to_string().into(),
    }
}

/// Whether people would take what has this name for the server's word: blanks around it and the
/// case of its letters make no difference to them.
pub(super) fn is_servers(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case(SERVER)
}

/// A room's name without its namespace.
pub(super) fn own_name(room: &str) -> &str {
    room.split_once('/').map_or(room, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn of_json(text: &'static str) -> Payload {
        Payload::new(Codec::Json, Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[test]
    fn a_payload_reads_as_what_a_person_would_say() {
        let chat = EventName::text("chat").unwrap();
        let other = EventName::text("move").unwrap();
        let table = [
            (r#""plain""#, "plain", "plain"),
            (r#"{"text":"a \"b\"\n"}"#, "a \"b\"\n", r#"{"text":"a \"b\"\n"}"#),
            (r#"{"text":5}"#, r#"{"text":5}"#, r#"{"text":5}"#),
            (r#"{ "x" : [1, 2, " a\" b "] }"#, r#"{"x":[1,2," a\" b "]}"#, ""),
            ("12.50", "12.50", "12.50"),
            ("null", "null", "null"),
        ];
        for (json, said, written) in table {
            let payload = of_json(json);
            assert_eq!(text_of(&chat, Some(&payload)), said);
            assert_eq!(text_of(&other, Some(&payload)), format!("[move] {said}"));
            let written = if written.is_empty() { said } else { written };
            assert_eq!(string(Some(&payload)), written);
        }
        assert_eq!(text_of(&chat, None), "");
        assert_eq!(text_of(&EventName::Number(7), None), "[7]");
        assert_eq!(text_of(&chat, Some(&Payload::text("packed"))), "packed");
        let (event, payload) = said("a\u{1}\"\\ é");
        assert_eq!(text_of(&event, Some(&payload)), "a\u{1}\"\\ é");
    }
}
