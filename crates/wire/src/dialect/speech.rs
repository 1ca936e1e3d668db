//! What dialects need that know less than roomcast does: speech is plain text, a sender has one
//! name, and all rooms are of one namespace.

use std::borrow::Cow;

use serde_json::json;

use crate::codec::CodecError;
use crate::push::{Event, Sender};
use crate::{Codec, EventName, Payload, SessionId};

/// What the chat page and `roomcast chat` call what a person says; its data is `{"text": …}`.
pub(super) const CHAT: &str = "chat";

/// Who says what the server says in no client's name.
pub(super) const SERVER: &str = "server";

/// What a person said, as the event [`CHAT`] carries it.
pub(super) fn said(text: &str) -> Result<Payload, CodecError> {
    Payload::json(&json!({ "text": text }))
}

/// An event as one text: what a person said, or `[event]` with its data in JSON, as
/// `roomcast chat` shows it.
pub(super) fn text_of(name: &EventName, payload: Option<&Payload>) -> String {
    if name.as_text() == Some(CHAT)
        && let Some(text) = payload.and_then(|payload| payload.field("text"))
        && let Ok(text) = text.read()
    {
        return text;
    }
    let Some(payload) = payload.map(|payload| payload.to_codec(Codec::Json)) else {
        return format!("[{name}]");
    };
    format!("[{name}] {}", String::from_utf8_lossy(payload.bytes()))
}

/// [`text_of`] what was said in a room.
pub(super) fn text_of_event(event: &Event) -> String {
    text_of(&event.name, event.payload.as_ref())
}

/// The one name of a sender: its display name, else its user, else its session. Who is no part of
/// the server and called like it has a `_` behind the name.
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
