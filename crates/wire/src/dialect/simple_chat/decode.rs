//! Reads what clients send.

use bytes::Bytes;

use super::super::DecodeError;
use super::super::speech::said;
use super::gob::{Field, GobError, Reader, read_struct};
use crate::{Command, ErrorCode, Refusal, Request, RoomPath};

/// What is asked. Each has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    GetRooms,
    JoinRoom,
    Post,
    LeaveRoom,
    CreateRoom,
}

impl Action {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 5] =
        [Self::GetRooms, Self::JoinRoom, Self::Post, Self::LeaveRoom, Self::CreateRoom];
}

/// Reads the `Action` of a request.
pub(super) fn action(reader: &mut Reader<'_>) -> Result<Action, GobError> {
    // What is not sent is 0.
    let number = match read_struct(reader, &["Name"])? {
        [None] => 0,
        [Some(Field::Int(number))] => number,
        [Some(Field::Text(_))] => return Err(GobError("`Action.Name` is no number")),
    };
    let found = usize::try_from(number).ok().and_then(|number| Action::ALL.get(number));
    found.copied().ok_or(GobError("`Action.Name` is none of 0 to 4"))
}

pub(super) fn request(message: &Bytes) -> Result<Request<'_>, DecodeError> {
    let (action, command) = match command(message) {
        Ok(read) => read,
        Err(refusal) => return Err(DecodeError { reference: None, refusal, close: None }),
    };
    // What was posted comes back to its author as to all others: it is not answered.
    let reference = (action != Action::Post).then_some(action as u64);
    Ok(Request { reference, command })
}

fn command(message: &Bytes) -> Result<(Action, Command<'_>), Refusal> {
    let mut reader = Reader(message);
    let action = action(&mut reader).map_err(malformed)?;
    let command = match action {
        Action::GetRooms => Command::Rooms { namespace: None },
        Action::JoinRoom => Command::Join { room: named(&mut reader)?, since: None, data: None },
        Action::LeaveRoom => Command::Leave { room: named(&mut reader)?, data: None },
        Action::CreateRoom => {
            Command::Create { room: Some(named(&mut reader)?), options: None, join: false }
        }
        Action::Post => post(&mut reader)?,
    };
    reader.expect_end().map_err(malformed)?;
    Ok((action, command))
}

fn named<'a>(reader: &mut Reader<'a>) -> Result<RoomPath<'a>, Refusal> {
    let [name] = read_struct(reader, &["Name"]).map_err(malformed)?;
    room(name, "`Room.Name`")
}

fn post<'a>(reader: &mut Reader<'a>) -> Result<Command<'a>, Refusal> {
    let [to, text] = read_struct(reader, &["Room", "Message"]).map_err(malformed)?;
    let room = room(to, "`Message.Room`")?;
    let (event, data) = said(utf8(text, "`Message.Message`")?);
    let data = Some(data);
    Ok(Command::Publish { room, event, data, reliable: true, key: None, echo: Some(true) })
}

fn room<'a>(field: Option<Field<'a>>, what: &str) -> Result<RoomPath<'a>, Refusal> {
    let name = utf8(field, what)?;
    let invalid = |why: &str| Refusal::new(ErrorCode::InvalidName, format!("{what}: {why}"));
    if name.contains('/') {
        // Names of other namespaces would come back without theirs.
        return Err(invalid("a name may not hold `/` here"));
    }
    RoomPath::parse(name).map_err(|error| invalid(&error.to_string()))
}

/// A text; what was not sent is empty.
fn utf8<'a>(field: Option<Field<'a>>, what: &str) -> Result<&'a str, Refusal> {
    let text = match field {
        None => Ok(""),
        Some(Field::Text(bytes)) => std::str::from_utf8(bytes),
        Some(Field::Int(_)) => {
            return Err(Refusal::new(ErrorCode::InvalidField, format!("{what} is no string")));
        }
    };
    text.map_err(|_| Refusal::new(ErrorCode::InvalidField, format!("{what} is not UTF-8")))
}

fn malformed(error: GobError) -> Refusal {
    Refusal::new(ErrorCode::Malformed, format!("the request cannot be read: {error}"))
}
