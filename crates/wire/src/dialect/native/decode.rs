//! Reads commands. Each refusal says which field is wrong, what was expected, and gives an example.

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;

use super::{DecodeError, plain};
use crate::codec::json;
use crate::codec::value::{Kind, Value, read_fields};
use crate::command::{Resume, Target};
use crate::limits::{DEPTH_MAX, KEY_BYTES_MAX, MEMBER_DATA_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::name::{NameError, check_name};
use crate::{Codec, Command, ErrorCode, EventName, Payload, Position, Refusal, Request, RoomPath};

/// The fields a command may have: constant, key, what is expected of it. The most frequent first,
/// because keys are looked up from the first on.
macro_rules! fields {
    ($($field:ident = $key:literal, $expected:literal;)*) => {
        #[derive(Clone, Copy)]
        enum Field { $($field,)* }
        const KEYS: [&str; COUNT] = [$($key,)*];
        const EXPECTED: [&str; COUNT] = [$($expected,)*];
        const COUNT: usize = [$($key,)*].len();
    };
}

fields! {
    Type = "type", "the word of a command, for example \"join\"";
    Room = "room", "the name of a room, for example \"lobby\" or \"game/lobby\"";
    Event = "event", "a string or a number from 0 to 9007199254740991, for example \"chat\"";
    Data = "data", "any value, for example {\"text\":\"hi\"}";
    Ref = "ref", "a whole number from 0 to 9007199254740991, for example 1";
    Reliable = "reliable", "true or false";
    Echo = "echo", "true or false";
    Key = "key", "a string of 1 to 128 bytes, for example \"order-17\"";
    Since = "since",
        "a map of `epoch` and `offset`, for example {\"epoch\":\"q83vEjRW\",\"offset\":41}";
    Token = "token", "a string of 1 to 8192 bytes";
    Name = "name", "a display name, for example \"Mina\"";
    Resume = "resume", "a map of `session` and `secret`, as the last `welcome` gave them";
    Session = "session", "a session's identity of 22 characters, as in `from` of its events";
    User = "user", "the name of a user, for example \"u17\"";
    Options = "options", "a map of room options, for example {\"members_max\":8}";
    Join = "join", "true or false";
    Namespace = "namespace", "the name of a namespace, for example \"game\"";
    Limit = "limit", "a whole number from 0 to 4294967295, for example 50";
    Message = "message", "a text of 1 to 255 bytes without control characters";
    Call = "call", "a string or a number from 0 to 9007199254740991, for example \"version\"";
    Id = "id", "the number of a call, as the server gave it";
    Error = "error", "a text of 1 to 255 bytes without control characters";
}

/// Reads a command.
pub(super) fn request(codec: Codec, message: &Bytes) -> Result<Request<'_>, DecodeError> {
    if codec == Codec::Json
        && let Ok(text) = json::utf8(message)
        && let Some(request) = plain::publish(text, message)
    {
        return Ok(request);
    }
    any_request(codec, message)
}

#[inline(never)]
fn any_request(codec: Codec, message: &Bytes) -> Result<Request<'_>, DecodeError> {
    let mut fields = Fields { message, slots: [None; COUNT] };
    let read = read_fields(codec, message, &KEYS, &mut fields.slots, DEPTH_MAX);
    let reference = fields.uint(Field::Ref);
    let refused = |refusal| {
        let reference = reference.as_ref().ok().copied().flatten();
        DecodeError { reference, refusal, close: None }
    };
    read.map_err(|error| refused(malformed(codec, &error.0)))?;
    let command = match &reference {
        Ok(_) => fields.command(),
        Err(refusal) => Err(refusal.clone()),
    };
    match command {
        Ok(command) => Ok(Request { reference: reference.ok().flatten(), command }),
        Err(refusal) => Err(refused(refusal)),
    }
}

/// Reads a command of a dialect that has the same ones under the same names: from a map of the
/// same fields, or from the one field that it cannot do without.
///
/// # Errors
/// The refusal to answer with.
pub(in crate::dialect) fn command<'a>(
    message: &'a Bytes,
    kind: &str,
    argument: Option<Value<'a>>,
) -> Result<Command<'a>, Refusal> {
    let mut slots = [None; COUNT];
    match argument {
        Some(map) if map.kind() == Kind::Map => {
            slots =
                map.fields(&KEYS).map_err(|error| Refusal::new(ErrorCode::Malformed, error.0))?;
        }
        argument => {
            let field = match kind {
                "refresh" => Field::Token,
                "rooms" => Field::Namespace,
                _ => Field::Room,
            };
            slots[field as usize] = argument;
        }
    }
    Fields { message, slots }.command_of(kind)
}

#[cold]
fn malformed(codec: Codec, what: &str) -> Refusal {
    let message = match codec {
        Codec::Json => format!(
            "a message is one JSON object, for example {{\"type\":\"join\",\"ref\":1,\
             \"room\":\"lobby\"}}; {what}"
        ),
        Codec::MsgPack => format!("a message is one MessagePack map with string keys; {what}"),
    };
    Refusal::new(ErrorCode::Malformed, message)
}

type Fallible<T> = Result<T, Refusal>;

struct Fields<'a> {
    message: &'a Bytes,
    slots: [Option<Value<'a>>; COUNT],
}

impl<'a> Fields<'a> {
    fn command(&self) -> Fallible<Command<'a>> {
        self.command_of(&self.kind()?)
    }

    fn command_of(&self, kind: &str) -> Fallible<Command<'a>> {
        Ok(match kind {
            "publish" => self.publish()?,
            "hello" => self.hello()?,
            "join" => Command::Join {
                room: self.room()?,
                since: self.position(Field::Since)?,
                data: self.member_data()?,
            },
            "leave" => Command::Leave { room: self.room()?, data: self.member_data()? },
            "create" => self.create()?,
            "send" => Command::Send {
                to: self.target()?,
                event: self.event()?,
                data: self.payload(Field::Data),
            },
            "broadcast" => Command::Broadcast {
                namespace: self.name(Field::Namespace)?,
                event: self.event()?,
                data: self.payload(Field::Data),
            },
            "announce" => Command::Announce {
                room: self.room()?,
                event: self.event()?,
                data: self.payload(Field::Data),
            },
            "rooms" => Command::Rooms { namespace: self.name(Field::Namespace)? },
            "members" => Command::Members { room: self.room()? },
            "history" => Command::History {
                room: self.room()?,
                since: self.position(Field::Since)?,
                limit: self.limit()?,
            },
            "presence" => Command::Presence { room: self.room()? },
            "refresh" => {
                Command::Refresh { token: self.token()?.ok_or_else(|| missing(Field::Token))? }
            }
            "kick" => Command::Kick {
                room: self.room()?,
                target: self.target()?,
                message: self.name(Field::Message)?,
            },
            "delete" => Command::Delete { room: self.room()? },
            "call" => self.call()?,
            "result" => Command::Result {
                id: self.uint(Field::Id)?.ok_or_else(|| missing(Field::Id))?,
                data: self.payload(Field::Data),
                error: self.name(Field::Error)?,
            },
            "ping" => Command::Ping,
            "bye" => Command::Bye,
            other => return Err(unknown_type(other)),
        })
    }

    fn publish(&self) -> Fallible<Command<'a>> {
        Ok(Command::Publish {
            room: self.room()?,
            event: self.event()?,
            data: self.payload(Field::Data),
            reliable: self.boolean(Field::Reliable)?.unwrap_or(true),
            key: self.bounded(Field::Key, KEY_BYTES_MAX)?,
            echo: self.boolean(Field::Echo)?,
        })
    }

    fn hello(&self) -> Fallible<Command<'a>> {
        let resume = match self.get(Field::Resume) {
            None => None,
            Some(value) => Some(resume(value)?),
        };
        Ok(Command::Hello {
            token: self.token()?,
            name: self.name(Field::Name)?,
            resume,
            data: self.payload(Field::Data),
        })
    }

    fn create(&self) -> Fallible<Command<'a>> {
        let room = self.optional_room()?;
        let options = match self.get(Field::Options) {
            Some(value) if value.kind() != Kind::Map => return Err(wrong(Field::Options, value)),
            _ => self.payload(Field::Options),
        };
        Ok(Command::Create { room, options, join: self.boolean(Field::Join)?.unwrap_or(false) })
    }

    fn call(&self) -> Fallible<Command<'a>> {
        let call = self.event_name(Field::Call)?;
        Ok(Command::Call { call, room: self.optional_room()?, data: self.payload(Field::Data) })
    }

    fn kind(&self) -> Fallible<Cow<'a, str>> {
        let value = self.get(Field::Type).ok_or_else(|| no_type("is missing"))?;
        value.text().ok_or_else(|| no_type(&format!("is {}", value.kind().describe())))
    }

    fn room(&self) -> Fallible<RoomPath<'a>> {
        let text = self.text(Field::Room)?.ok_or_else(|| missing(Field::Room))?;
        RoomPath::parse(text).map_err(|error| bad_name(Field::Room, error))
    }

    fn optional_room(&self) -> Fallible<Option<RoomPath<'a>>> {
        self.get(Field::Room).map(|_| self.room()).transpose()
    }

    fn event(&self) -> Fallible<EventName> {
        self.event_name(Field::Event)
    }

    fn event_name(&self, field: Field) -> Fallible<EventName> {
        let value = self.get(field).ok_or_else(|| missing(field))?;
        if let Some(text) = value.text() {
            return EventName::text(&text).map_err(|error| bad_name(field, error));
        }
        let number = value.uint().ok_or_else(|| wrong(field, value))?;
        Ok(EventName::Number(number))
    }

    fn target(&self) -> Fallible<Target<'a>> {
        let session = self.text(Field::Session)?;
        let user = self.name(Field::User)?;
        match (session, user) {
            (Some(session), None) => Ok(Target::Session(parse(Field::Session, &session)?)),
            (None, Some(user)) => Ok(Target::User(user)),
            (None, None) => Err(invalid(
                "`session` or `user` is missing: to whom? For example \"user\":\"u17\"".to_owned(),
            )),
            (Some(_), Some(_)) => {
                Err(invalid("`session` and `user` are both there: give one of them".to_owned()))
            }
        }
    }

    fn member_data(&self) -> Fallible<Option<Payload>> {
        match self.get(Field::Data) {
            Some(value) if value.len() > MEMBER_DATA_BYTES_MAX => Err(invalid(format!(
                "`data` here may have at most {MEMBER_DATA_BYTES_MAX} bytes, this one has {}",
                value.len()
            ))),
            _ => Ok(self.payload(Field::Data)),
        }
    }

    fn limit(&self) -> Fallible<Option<u32>> {
        let Some(value) = self.get(Field::Limit) else { return Ok(None) };
        let limit = value.uint().and_then(|limit| u32::try_from(limit).ok());
        limit.map(Some).ok_or_else(|| wrong(Field::Limit, value))
    }

    fn position(&self, field: Field) -> Fallible<Option<Position>> {
        self.get(field).map(|value| position(field, value)).transpose()
    }

    fn token(&self) -> Fallible<Option<Cow<'a, str>>> {
        self.bounded(Field::Token, TOKEN_BYTES_MAX)
    }

    fn name(&self, field: Field) -> Fallible<Option<Cow<'a, str>>> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        check_name(&text).map_err(|error| bad_name(field, error))?;
        Ok(Some(text))
    }

    fn bounded(&self, field: Field, bytes_max: usize) -> Fallible<Option<Cow<'a, str>>> {
        match self.text(field)? {
            Some(text) if text.is_empty() || text.len() > bytes_max => Err(invalid(format!(
                "`{}` has {} bytes, but must be {}",
                KEYS[field as usize],
                text.len(),
                EXPECTED[field as usize]
            ))),
            text => Ok(text),
        }
    }

    fn text(&self, field: Field) -> Fallible<Option<Cow<'a, str>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.text().map(Some).ok_or_else(|| wrong(field, value))
    }

    fn uint(&self, field: Field) -> Fallible<Option<u64>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.uint().map(Some).ok_or_else(|| wrong(field, value))
    }

    fn boolean(&self, field: Field) -> Fallible<Option<bool>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.boolean().map(Some).ok_or_else(|| wrong(field, value))
    }

    fn payload(&self, field: Field) -> Option<Payload> {
        self.get(field).map(|value| value.payload(self.message))
    }

    /// `null` is as good as absent.
    #[inline]
    fn get(&self, field: Field) -> Option<Value<'a>> {
        self.slots[field as usize].filter(|value| value.kind() != Kind::Null)
    }
}

fn resume(value: Value<'_>) -> Fallible<Resume> {
    let [session, secret] = parts(Field::Resume, value, &["session", "secret"])?;
    let (session, secret) = (parse(Field::Resume, &session)?, parse(Field::Resume, &secret)?);
    Ok(Resume { session, secret, offset: None })
}

fn position(field: Field, value: Value<'_>) -> Fallible<Position> {
    let [epoch, offset] = map_of(field, value, &["epoch", "offset"])?;
    let epoch = epoch.and_then(Value::text).ok_or_else(|| wrong(field, value))?;
    let offset = offset.and_then(Value::uint).ok_or_else(|| wrong(field, value))?;
    Ok(Position { epoch: parse(field, &epoch)?, offset })
}

/// The strings of a map inside of a field.
fn parts<'a, const N: usize>(
    field: Field,
    value: Value<'a>,
    keys: &[&str; N],
) -> Fallible<[Cow<'a, str>; N]> {
    let values = map_of(field, value, keys)?;
    let texts = values.map(|value| value.and_then(Value::text));
    if texts.iter().any(Option::is_none) {
        return Err(wrong(field, value));
    }
    Ok(texts.map(Option::unwrap_or_default))
}

fn map_of<'a, const N: usize>(
    field: Field,
    value: Value<'a>,
    keys: &[&str; N],
) -> Fallible<[Option<Value<'a>>; N]> {
    if value.kind() != Kind::Map {
        return Err(wrong(field, value));
    }
    let key = KEYS[field as usize];
    value
        .fields(keys)
        .map_err(|error| Refusal::new(ErrorCode::Malformed, format!("in `{key}`: {}", error.0)))
}

fn parse<T: FromStr<Err: std::fmt::Display>>(field: Field, text: &str) -> Fallible<T> {
    let key = KEYS[field as usize];
    let expected = EXPECTED[field as usize];
    text.parse().map_err(|error| {
        invalid(format!("in `{key}`, {}: {error}; expected {expected}", excerpt(text)))
    })
}

/// What a peer wrote, safe to show and not too long.
fn excerpt(text: &str) -> String {
    let shown: String = text.chars().take(32).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{more}")
}

#[cold]
fn missing(field: Field) -> Refusal {
    invalid(format!("`{}` is missing: {}", KEYS[field as usize], EXPECTED[field as usize]))
}

#[cold]
fn wrong(field: Field, found: Value<'_>) -> Refusal {
    let (key, expected) = (KEYS[field as usize], EXPECTED[field as usize]);
    let found = match (found.kind(), found) {
        // Digits, signs and the like: safe to show.
        (Kind::Number, Value::Json(value)) => value.raw().chars().take(32).collect(),
        (Kind::Number, _) => "another number".to_owned(),
        (Kind::Map, _) => "a map without them".to_owned(),
        (kind, _) => kind.describe().to_owned(),
    };
    invalid(format!("`{key}` must be {expected}; found {found}"))
}

#[cold]
fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidField, message)
}

#[cold]
fn bad_name(field: Field, error: NameError) -> Refusal {
    let message = format!("`{}`: {error}", KEYS[field as usize]);
    Refusal::new(ErrorCode::InvalidName, message)
}

#[cold]
fn no_type(what: &str) -> Refusal {
    let message = format!("`type` {what}: expected {}", EXPECTED[Field::Type as usize]);
    Refusal::new(ErrorCode::UnknownType, message)
}

#[cold]
fn unknown_type(found: &str) -> Refusal {
    let message = format!(
        "`type` is {}, which is no command; the commands are hello, join, leave, create, publish, \
         send, broadcast, announce, rooms, members, history, presence, refresh, kick, delete, \
         call, result, ping and bye",
        excerpt(found)
    );
    Refusal::new(ErrorCode::UnknownType, message)
}
