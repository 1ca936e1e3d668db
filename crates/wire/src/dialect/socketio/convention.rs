//! Events that stand for commands, where the namespace has them so.

use bytes::Bytes;

use super::super::native::decode;
use super::packet::Packet;
use super::{RESERVED, decode::event_name};
use crate::codec::value::Value;
use crate::{Command, ErrorCode, EventName, Refusal, RoomPath};

/// What the server says under names of its own. Arguments that another client has chosen must not
/// look like it.
const OWN_WORDS: [&str; 7] = [
    "error",
    "member_joined",
    "member_left",
    "member_dropped",
    "member_resumed",
    "presence",
    "room_closed",
];

/// The command that an event stands for, if it stands for one. `arguments`: the first two.
pub(super) fn command<'a>(
    message: &'a Bytes,
    event: &str,
    arguments: [Option<Value<'a>>; 2],
    packet: &Packet<'a>,
) -> Option<Result<Command<'a>, Refusal>> {
    Some(match event {
        "to-room" => to_room(arguments, packet),
        "join" | "leave" | "publish" | "send" | "create" | "rooms" | "members" | "history"
        | "presence" | "refresh" | "call" | "kick" | "delete" | "broadcast" | "announce" => {
            decode::command(message, event, arguments[0])
        }
        _ => return None,
    })
}

/// `to-room`, a room, an event and its arguments: what `socket.to(room).emit(…)` says on a server
/// of Socket.IO, so its sender does not hear it.
fn to_room<'a>(
    [room, event]: [Option<Value<'a>>; 2],
    packet: &Packet<'a>,
) -> Result<Command<'a>, Refusal> {
    let invalid = |text: &'static str| Refusal::new(ErrorCode::InvalidField, text);
    let room = room.and_then(Value::text).ok_or_else(|| invalid("the first argument: a room"))?;
    let room = RoomPath::parse(room)
        .map_err(|error| Refusal::new(ErrorCode::InvalidName, format!("the room: {error}")))?;
    let event = event_name(event).map_err(|error| error.refusal)??;
    if event.as_text().is_some_and(|name| OWN_WORDS.contains(&name)) {
        let text = "the server's own word: `publish` may say it, in the name of its sender";
        return Err(Refusal::new(ErrorCode::InvalidName, text));
    }
    let data = packet.arguments(3).map_err(|error| Refusal::new(ErrorCode::Malformed, error.0))?;
    let data = Some(data);
    Ok(Command::Publish { room, event, data, reliable: true, key: None, echo: Some(false) })
}

/// Whether the client libraries raise an event of that name themselves: none is written.
pub fn is_reserved(event: &EventName) -> bool {
    event.as_text().is_some_and(|name| RESERVED.contains(&name))
}
