//! Reads what clients send.

use bytes::Bytes;

use super::super::DecodeError;
use super::session_of;
use crate::codec::value::{Kind, Value, read_fields};
use crate::command::Target;
use crate::limits::DEPTH_MAX;
use crate::{Codec, Command, ErrorCode, EventName, Payload, Refusal, Request, RoomPath};

/// What is read; `sender` is the server's to say. `IsTargetClient` has no fixed spelling among the
/// clients there are.
const KEYS: [&str; 6] =
    ["action", "message_body", "target", "IsTargetClient", "isTargetClient", "istargetclient"];

pub(super) fn request(message: &Bytes) -> Result<Request<'_>, DecodeError> {
    match command(message) {
        Ok(command) => Ok(Request { reference: None, command }),
        Err(refusal) => Err(DecodeError { reference: None, refusal, close: None }),
    }
}

fn command(message: &Bytes) -> Result<Command<'_>, Refusal> {
    let mut slots = [None; KEYS.len()];
    read_fields(Codec::Json, message, &KEYS, &mut slots, DEPTH_MAX).map_err(|error| {
        let text = format!("a message is one JSON object with action and target; {}", error.0);
        Refusal::new(ErrorCode::Malformed, text)
    })?;
    let [action, body, target, direct @ ..] = slots;
    let event = event(action)?;
    let data = payload(body, message)?;
    let target = target.and_then(Value::text).ok_or_else(|| invalid("`target` is no text"))?;
    let direct = direct.into_iter().flatten().next().and_then(Value::boolean).unwrap_or(false);
    if direct {
        let client = session_of(&target).ok_or_else(|| {
            Refusal::new(ErrorCode::NoSuchTarget, "no client has such a name: `target`")
        })?;
        return Ok(Command::Send { to: Target::Session(client), event, data });
    }
    if target.contains('/') {
        // Names of other namespaces would come back without theirs.
        return Err(Refusal::new(ErrorCode::InvalidName, "`target` may not hold `/`"));
    }
    let room = RoomPath::parse(target)
        .map_err(|error| Refusal::new(ErrorCode::InvalidName, format!("`target`: {error}")))?;
    Ok(Command::Publish { room, event, data, reliable: true, key: None, echo: Some(true) })
}

fn event(action: Option<Value<'_>>) -> Result<EventName, Refusal> {
    let text = action.and_then(Value::text).ok_or_else(|| invalid("`action` is no text"))?;
    EventName::text(&text)
        .map_err(|error| Refusal::new(ErrorCode::InvalidName, format!("`action`: {error}")))
}

fn payload(body: Option<Value<'_>>, message: &Bytes) -> Result<Option<Payload>, Refusal> {
    match body.map(|body| (body, body.kind())) {
        None | Some((_, Kind::Null)) => Ok(None),
        Some((body, Kind::Map)) => Ok(Some(body.payload(message))),
        Some(_) => Err(invalid("`message_body` is no object")),
    }
}

fn invalid(text: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidField, text)
}
