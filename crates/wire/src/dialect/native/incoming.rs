//! Reads replies and pushes: what clients do. Keys that a newer server adds are passed over.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::value::{Kind, NESTED_DEPTH_MAX, Value, read_fields};
use crate::incoming::{Body, Incoming};
use crate::push::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
use crate::reply::{Recovery, RoomInfo, SessionLimits};
use crate::{Codec, EventName, Name, Payload, Position};

type Fallible<T> = Result<T, CodecError>;

/// The keys a frame of the server may have, the most frequent first. A field is asked for by its
/// key: here clarity counts for more than the few nanoseconds of looking it up.
const KEYS: [&str; 32] = [
    "type",
    "room",
    "event",
    "data",
    "from",
    "at",
    "ref",
    "position",
    "delivered",
    "reliable",
    "unreliable",
    "members",
    "users",
    "code",
    "reason",
    "message",
    "retry",
    "retry_ms",
    "recovered",
    "member",
    "session",
    "user",
    "resume",
    "resumed",
    "rooms",
    "ping_ms",
    "limits",
    "created",
    "truncated",
    "events",
    "call",
    "id",
];

/// Reads a reply or push.
pub(super) fn incoming(codec: Codec, message: &Bytes) -> Fallible<Incoming> {
    let mut slots = [None; KEYS.len()];
    read_fields(codec, message, &KEYS, &mut slots, NESTED_DEPTH_MAX)?;
    let frame = Fields { message, keys: &KEYS, slots };
    let kind = frame.text("type")?;
    let reference = frame.optional("ref", Value::uint)?;
    let body = match &*kind {
        "event" => Body::Event { room: frame.text("room")?, event: frame.event()? },
        "ok" => Body::Ok {
            position: frame.optional_position("position")?,
            delivered: frame.optional("delivered", uint32)?,
        },
        "welcome" => frame.welcome()?,
        "joined" => Body::Joined {
            room: frame.text("room")?,
            position: frame.position("position")?,
            members: frame.required("members", uint32)?,
            recovery: frame.recovery()?,
        },
        "created" => Body::Created {
            room: frame.text("room")?,
            created: frame.required("created", Value::boolean)?,
        },
        "rooms" => Body::Rooms {
            rooms: frame.list("rooms", room_line)?,
            truncated: frame.required("truncated", Value::boolean)?,
        },
        "members" => Body::Members {
            room: frame.text("room")?,
            members: frame.list("members", |value| member(message, value))?,
            truncated: frame.required("truncated", Value::boolean)?,
        },
        "history" => Body::History {
            room: frame.text("room")?,
            position: frame.position("position")?,
            recovery: frame.recovery()?,
            events: frame.list("events", |value| {
                Fields::of(message, value, &EVENT_KEYS)?.event().map(Arc::new)
            })?,
        },
        "presence" => Body::Presence {
            room: frame.text("room")?,
            members: frame.required("members", uint32)?,
            users: frame.required("users", uint32)?,
        },
        "pong" => Body::Pong,
        "error" => frame.error()?,
        "goodbye" => frame.goodbye()?,
        "result" => Body::Result { data: frame.payload("data") },
        "call" => Body::Call {
            id: frame.required("id", Value::uint)?,
            call: frame.event_name("call")?,
            data: frame.payload("data"),
        },
        "message" => Body::Message {
            event: frame.event_name("event")?,
            data: frame.payload("data"),
            from: frame.optional_sender()?.map(Arc::unwrap_or_clone),
        },
        "room_closed" => {
            Body::RoomClosed { room: frame.text("room")?, reason: frame.closed_reason()? }
        }
        _ => frame.member_change(kind)?,
    };
    Ok(Incoming { reference, body })
}

const EVENT_KEYS: [&str; 6] = ["event", "data", "from", "at", "reliable", "unreliable"];
const SENDER_KEYS: [&str; 3] = ["session", "user", "name"];
const MEMBER_KEYS: [&str; 5] = ["session", "user", "name", "data", "dropped"];

struct Fields<'a, const N: usize> {
    message: &'a Bytes,
    keys: &'static [&'static str; N],
    slots: [Option<Value<'a>>; N],
}

impl<'a, const N: usize> Fields<'a, N> {
    fn of(
        message: &'a Bytes,
        value: Value<'a>,
        keys: &'static [&'static str; N],
    ) -> Fallible<Self> {
        Ok(Self { message, keys, slots: value.fields(keys)? })
    }

    fn event(&self) -> Fallible<Event> {
        Ok(Event {
            name: self.event_name("event")?,
            payload: self.payload("data"),
            from: self.optional_sender()?,
            position: self.optional_position("at")?,
            reliable: self.optional("reliable", Value::boolean)?.unwrap_or(true),
            unreliable: self.optional("unreliable", Value::uint)?.unwrap_or(0),
        })
    }

    fn event_name(&self, key: &str) -> Fallible<EventName> {
        self.required(key, |value| match value.text() {
            Some(text) => EventName::text(&text).ok(),
            None => value.uint().map(EventName::Number),
        })
    }

    fn welcome(&self) -> Fallible<Body> {
        let limits = self.value("limits").ok_or_else(|| missing("limits"))?;
        let limits = Fields::of(self.message, limits, &["message_bytes", "rooms", "resume_ms"])?;
        Ok(Body::Welcome {
            session: self.parsed("session")?,
            user: self.optional("user", name)?,
            resume: self.parsed("resume")?,
            resumed: self.required("resumed", Value::boolean)?,
            rooms: self.list("rooms", |value| {
                value.text().map(Into::into).ok_or_else(|| missing("rooms"))
            })?,
            ping_ms: self.required("ping_ms", Value::uint)?,
            limits: SessionLimits {
                message_bytes: limits.required("message_bytes", Value::uint)?,
                rooms: limits.required("rooms", uint32)?,
                resume_ms: limits.required("resume_ms", Value::uint)?,
            },
        })
    }

    fn error(&self) -> Fallible<Body> {
        Ok(Body::Error {
            code: self.required("code", uint16)?,
            reason: self.text("reason")?,
            message: self.text("message")?,
            retry: self.required("retry", Value::boolean)?,
            retry_ms: self.optional("retry_ms", Value::uint)?,
        })
    }

    fn goodbye(&self) -> Fallible<Body> {
        Ok(Body::Goodbye {
            code: self.required("code", uint16)?,
            reason: self.text("reason")?,
            message: self.text("message")?,
            retry_ms: self.optional("retry_ms", Value::uint)?,
        })
    }

    fn member_change(&self, kind: String) -> Fallible<Body> {
        let room = || self.text("room");
        Ok(match &*kind {
            "member_joined" => {
                let value = self.value("member").ok_or_else(|| missing("member"))?;
                Body::MemberJoined { room: room()?, member: member(self.message, value)? }
            }
            "member_left" => Body::MemberLeft {
                room: room()?,
                from: self.sender()?,
                reason: self.leave_reason()?,
                data: self.payload("data"),
            },
            "member_dropped" => Body::MemberDropped { room: room()?, from: self.sender()? },
            "member_resumed" => Body::MemberResumed { room: room()?, from: self.sender()? },
            _ => Body::Unknown { kind },
        })
    }

    fn leave_reason(&self) -> Fallible<LeaveReason> {
        let reasons = [LeaveReason::Left, LeaveReason::Lost, LeaveReason::Kicked];
        self.required("reason", |value| {
            let word = value.text()?;
            reasons.into_iter().find(|reason| reason.as_str() == word)
        })
    }

    fn closed_reason(&self) -> Fallible<ClosedReason> {
        self.required("reason", |value| {
            let word = value.text()?;
            ClosedReason::ALL.iter().find(|reason| reason.as_str() == word).copied()
        })
    }

    fn recovery(&self) -> Fallible<Option<Recovery>> {
        use Recovery::{Ahead, Epoch, Forbidden, Trimmed};
        let reasons = [Epoch, Trimmed, Ahead, Forbidden];
        Ok(match self.optional("recovered", Value::boolean)? {
            None => None,
            Some(true) => Some(Recovery::Recovered),
            Some(false) => Some(self.required("reason", |value| {
                let word = value.text()?;
                reasons.into_iter().find(|reason| reason.reason() == Some(&*word))
            })?),
        })
    }

    fn sender(&self) -> Fallible<Sender> {
        let sender = self.optional_sender()?.ok_or_else(|| missing("from"))?;
        Ok(Arc::unwrap_or_clone(sender))
    }

    fn optional_sender(&self) -> Fallible<Option<Arc<Sender>>> {
        let Some(value) = self.value("from") else { return Ok(None) };
        Fields::of(self.message, value, &SENDER_KEYS)?.sender_fields().map(Arc::new).map(Some)
    }

    fn sender_fields(&self) -> Fallible<Sender> {
        Ok(Sender {
            session: self.parsed("session")?,
            user: self.optional("user", name)?,
            name: self.optional("name", name)?,
            metadata: None,
        })
    }

    fn position(&self, key: &str) -> Fallible<Position> {
        self.optional_position(key)?.ok_or_else(|| missing(key))
    }

    fn optional_position(&self, key: &str) -> Fallible<Option<Position>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let position = Fields::of(self.message, value, &["epoch", "offset"])?;
        Ok(Some(Position {
            epoch: position.parsed("epoch")?,
            offset: position.required("offset", Value::uint)?,
        }))
    }

    fn list<T>(&self, key: &str, read: impl Fn(Value<'a>) -> Fallible<T>) -> Fallible<Vec<T>> {
        let mut list = Vec::new();
        self.value(key).ok_or_else(|| missing(key))?.items(|value| {
            list.push(read(value)?);
            Ok(())
        })?;
        Ok(list)
    }

    fn payload(&self, key: &str) -> Option<Payload> {
        self.value(key).map(|value| value.payload(self.message))
    }

    fn text(&self, key: &str) -> Fallible<String> {
        self.required(key, |value| value.text().map(Into::into))
    }

    fn parsed<T: std::str::FromStr>(&self, key: &str) -> Fallible<T> {
        self.required(key, |value| value.text()?.parse().ok())
    }

    fn required<T>(&self, key: &str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Fallible<T> {
        self.optional(key, read)?.ok_or_else(|| missing(key))
    }

    fn optional<T>(
        &self,
        key: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Fallible<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| {
            let found = value.kind().describe();
            CodecError(format!("`{key}` is {found} of the wrong kind or out of bounds"))
        })
    }

    fn value(&self, key: &str) -> Option<Value<'a>> {
        let slot = self.keys.iter().position(|name| *name == key)?;
        self.slots[slot].filter(|value| value.kind() != Kind::Null)
    }
}

#[cold]
fn missing(key: &str) -> CodecError {
    CodecError(format!("`{key}` is missing"))
}

fn room_line(value: Value<'_>) -> Fallible<RoomInfo> {
    let [room, members] = value.fields(&["room", "members"])?;
    Ok(RoomInfo {
        room: room.and_then(Value::text).ok_or_else(|| missing("room"))?.into(),
        members: members.and_then(uint32).ok_or_else(|| missing("members"))?,
    })
}

fn member(message: &Bytes, value: Value<'_>) -> Fallible<MemberInfo> {
    let fields = Fields::of(message, value, &MEMBER_KEYS)?;
    Ok(MemberInfo {
        sender: Arc::new(fields.sender_fields()?),
        data: fields.payload("data"),
        dropped: fields.optional("dropped", Value::boolean)?.unwrap_or(false),
    })
}

fn name(value: Value<'_>) -> Option<Name> {
    Name::new(&value.text()?).ok()
}

fn uint32(value: Value<'_>) -> Option<u32> {
    value.uint()?.try_into().ok()
}

fn uint16(value: Value<'_>) -> Option<u16> {
    value.uint()?.try_into().ok()
}
