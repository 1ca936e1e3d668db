//! GoMeshStream's grammar: one JSON envelope for everything, both ways, in text frames.
//!
//! ```text
//! {"action":"chat","message_body":{},"IsTargetClient":false,"target":"r1","sender":"ZePyT817"}
//! ```
//! `docs/mesh.md` says what is read and written, and what differs.

mod decode;
mod go;
mod slug;

use bytes::{BufMut, Bytes, BytesMut};

use super::speech::own_name;
use super::{DecodeError, Format, Grammar, Receiver, Standing};
use crate::codec::json::write_uint;
use crate::push::{Event, Sender};
use crate::{ErrorCode, EventName, Payload, Push, Reply, Request, SessionId};

pub use self::slug::{session_id, session_of, slug};

/// The room that stands for a whole namespace: every client is in it from the start.
pub const LOBBY: &str = "mesh-global";

/// Largest message from a client, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 10_000;

/// Who says what the server says in no client's name.
pub const SERVER: &str = "bot-of-the-room";

/// What the server calls a refusal.
const ERROR: &str = "error";

/// GoMeshStream's grammar.
pub(super) struct Mesh;

impl Grammar for Mesh {
    fn decode<'a>(
        &self,
        _: Format,
        message: &'a Bytes,
        _: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        decode(message)
    }

    fn encode_push(&self, format: Format, to: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        if says_push(push) {
            format.framing().frame(out, |body| encode_push(to.session, push, body));
        }
    }

    fn encode_pushes<'a>(
        &self,
        format: Format,
        pushes: &mut dyn Iterator<Item = Push<'a>>,
        out: &mut BytesMut,
    ) {
        let mut said = pushes.filter(says_push).peekable();
        if said.peek().is_some() {
            format.framing().frame(out, |body| encode_pushes(said, body));
        }
    }

    fn encode_reply(
        &self,
        format: Format,
        to: &Receiver<'_>,
        _: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        if says_reply(reply) {
            format.framing().frame(out, |body| encode_reply(to.session, reply, body));
        }
    }

    fn ws_format(&self) -> Option<Format> {
        Some(Format::MESH_WS)
    }

    fn begins_session(&self) -> bool {
        true
    }

    fn takes_any_frame(&self) -> bool {
        true
    }

    fn message_bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    fn session_id(&self, random: u128) -> SessionId {
        session_id(random)
    }

    fn names_receiver(&self) -> bool {
        true
    }
}

/// Reads a command.
///
/// # Errors
/// The refusal to answer with.
pub fn decode(message: &Bytes) -> Result<Request<'_>, DecodeError> {
    decode::request(message)
}

/// Whether the grammar has words for a push. Who comes and goes is told by the room's logic only.
fn says_push(push: &Push<'_>) -> bool {
    matches!(push, Push::Event { .. } | Push::Message { .. })
}

/// Whether the grammar has words for a reply: nothing is answered but what was refused.
fn says_reply(reply: &Reply<'_>) -> bool {
    matches!(reply, Reply::Error { .. })
}

/// Writes a push that [`says_push`] names, for the client `to`; none: for all receivers.
fn encode_push(to: Option<SessionId>, push: &Push<'_>, out: &mut BytesMut) {
    match push {
        Push::Event { room, event } => {
            let Event { name, payload, from, .. } = event;
            let target = match to.filter(|_| is_for_some(event)) {
                Some(client) => Target::Client(client),
                None => Target::Room(room),
            };
            envelope(name, payload.as_ref(), target, from.as_deref(), out);
        }
        Push::Message { event, data, from } => {
            let target = to.map_or(Target::Room(LOBBY), Target::Client);
            envelope(event, *data, target, *from, out);
        }
        _ => {}
    }
}

/// Writes pushes that [`says_push`] names, for all their receivers: a line each.
fn encode_pushes<'a>(pushes: impl Iterator<Item = Push<'a>>, out: &mut BytesMut) {
    for (number, push) in pushes.enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\n");
        }
        encode_push(None, &push, out);
    }
}

/// Writes a reply that [`says_reply`] names, for the client `to`; none: it has no session.
fn encode_reply(to: Option<SessionId>, reply: &Reply<'_>, out: &mut BytesMut) {
    let Reply::Error { code, message, .. } = reply else { return };
    let write = |out: &mut BytesMut| refusal(*code, message, out);
    write_envelope(ERROR, write, Target::Own(to), None, out);
}

/// Whether an event went to some members only: it has no place in the room's order then.
pub fn is_for_some(event: &Event) -> bool {
    event.position.is_none()
}

/// Whom an envelope is for.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// All members of a room.
    Room(&'a str),
    /// One client.
    Client(SessionId),
    /// The one that is answered, which may have no session yet.
    Own(Option<SessionId>),
}

fn envelope(
    name: &EventName,
    body: Option<&Payload>,
    target: Target<'_>,
    from: Option<&Sender>,
    out: &mut BytesMut,
) {
    let write = |out: &mut BytesMut| go::payload(body, out);
    match name {
        EventName::Text(action) => write_envelope(action, write, target, from, out),
        EventName::Number(number) => {
            write_envelope(&number.to_string(), write, target, from, out);
        }
    }
}

fn write_envelope(
    action: &str,
    body: impl FnOnce(&mut BytesMut),
    target: Target<'_>,
    from: Option<&Sender>,
    out: &mut BytesMut,
) {
    out.put_slice(b"{\"action\":");
    go::text(action, out);
    out.put_slice(b",\"message_body\":");
    body(out);
    out.put_slice(b",\"IsTargetClient\":");
    match target {
        Target::Room(_) => out.put_slice(b"false"),
        Target::Client(_) | Target::Own(_) => out.put_slice(b"true"),
    }
    out.put_slice(b",\"target\":");
    match target {
        Target::Room(room) => go::text(own_name(room), out),
        Target::Client(client) | Target::Own(Some(client)) => go::text(&slug(client), out),
        Target::Own(None) => out.put_slice(b"\"\""),
    }
    out.put_slice(b",\"sender\":");
    match from {
        None => go::text(SERVER, out),
        // What a program says in a name of its own comes from no session.
        Some(Sender { session: SessionId(0), name, .. }) => {
            go::text(name.as_deref().unwrap_or(SERVER), out);
        }
        Some(sender) => go::text(&slug(sender.session), out),
    }
    out.put_u8(b'}');
}

fn refusal(code: ErrorCode, message: &str, out: &mut BytesMut) {
    out.put_slice(b"{\"code\":");
    write_uint(out, code.number().into());
    out.put_slice(b",\"message\":");
    go::text(message, out);
    out.put_slice(b",\"reason\":");
    go::text(code.reason(), out);
    out.put_u8(b'}');
}
