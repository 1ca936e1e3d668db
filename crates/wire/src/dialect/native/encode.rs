//! Writes commands, replies and pushes: each once, for every codec.

use bytes::BytesMut;

use crate::codec::write::{Key, Map, Writer, key};
use crate::command::{Resume, Target};
use crate::push::{Event, MemberInfo, Sender};
use crate::reply::{Recovery, RoomInfo};
use crate::{Command, EventName, Next, Position, Push, Reply, Request, SessionId};

const TYPE: Key = key!("type");
const REF: Key = key!("ref");
const ROOM: Key = key!("room");
const EVENT: Key = key!("event");
const CALL: Key = key!("call");
const ID: Key = key!("id");
const DATA: Key = key!("data");
const FROM: Key = key!("from");
const SESSION: Key = key!("session");
const USER: Key = key!("user");
const NAME: Key = key!("name");
const REASON: Key = key!("reason");
const MESSAGE: Key = key!("message");
const RETRY_MS: Key = key!("retry_ms");
const CODE: Key = key!("code");
const MEMBERS: Key = key!("members");
const USERS: Key = key!("users");
const POSITION: Key = key!("position");
const TRUNCATED: Key = key!("truncated");

/// Writes a push.
pub(super) fn push<W: Writer>(push: &Push<'_>, out: &mut BytesMut) {
    Map::<W>::write(out, |map| match *push {
        Push::Event { room, event } => {
            map.plain(TYPE, "event");
            map.text(ROOM, room);
            event_fields(map, event);
        }
        Push::MemberJoined { room, member } => {
            map.plain(TYPE, "member_joined");
            map.text(ROOM, room);
            map.map(key!("member"), |map| member_fields(map, member));
        }
        Push::MemberLeft { room, from, reason, data } => {
            member_change(map, "member_left", room, from);
            map.plain(REASON, reason.as_str());
            map.payload(DATA, data);
        }
        Push::MemberDropped { room, from } => member_change(map, "member_dropped", room, from),
        Push::MemberResumed { room, from } => member_change(map, "member_resumed", room, from),
        Push::Presence { room, members, users } => {
            presence(map, None, room, members, users);
        }
        Push::RoomClosed { room, reason } => {
            map.plain(TYPE, "room_closed");
            map.text(ROOM, room);
            map.plain(REASON, reason.as_str());
        }
        Push::Message { event, data, from } => {
            map.plain(TYPE, "message");
            event_name(map, EVENT, event);
            map.payload(DATA, data);
            if let Some(from) = from {
                map.map(FROM, |map| sender_fields(map, from));
            }
        }
        Push::Call { id, call, data } => {
            map.plain(TYPE, "call");
            map.uint(ID, id);
            event_name(map, CALL, call);
            map.payload(DATA, data);
        }
        Push::Goodbye { code, message, retry_ms } => {
            map.plain(TYPE, "goodbye");
            map.uint(CODE, code.number().into());
            map.plain(REASON, code.reason());
            map.text(MESSAGE, message);
            optional_uint(map, RETRY_MS, retry_ms);
        }
    });
}

/// Writes a reply.
pub(super) fn reply<W: Writer>(reference: Option<u64>, reply: &Reply<'_>, out: &mut BytesMut) {
    Map::<W>::write(out, |map| match reply {
        Reply::Welcome { .. } => welcome(map, reference, reply),
        Reply::Joined { room, position, members, recovery } => {
            head(map, "joined", reference);
            map.text(ROOM, room);
            position_field(map, POSITION, *position);
            map.uint(MEMBERS, (*members).into());
            recovery_fields(map, *recovery);
        }
        Reply::Created { room, created } => {
            head(map, "created", reference);
            map.text(ROOM, room);
            map.boolean(key!("created"), *created);
        }
        Reply::Left { .. } => head(map, "ok", reference),
        Reply::Ok { position, delivered } => {
            head(map, "ok", reference);
            if let Some(position) = position {
                position_field(map, POSITION, *position);
            }
            optional_uint(map, key!("delivered"), delivered.map(u64::from));
        }
        Reply::Rooms { rooms, truncated } => {
            head(map, "rooms", reference);
            map.array(key!("rooms"), rooms, room_line::<W>);
            map.boolean(TRUNCATED, *truncated);
        }
        Reply::Members { room, members, truncated } => {
            head(map, "members", reference);
            map.text(ROOM, room);
            map.array(MEMBERS, members, |out, member| {
                Map::<W>::write(out, |map| member_fields(map, member));
            });
            map.boolean(TRUNCATED, *truncated);
        }
        Reply::History { room, position, recovery, events } => {
            head(map, "history", reference);
            map.text(ROOM, room);
            position_field(map, POSITION, *position);
            recovery_fields(map, *recovery);
            map.array(key!("events"), events, |out, event| {
                Map::<W>::write(out, |map| event_fields(map, event));
            });
        }
        Reply::Presence { room, members, users } => {
            presence(map, reference, room, *members, *users);
        }
        Reply::Result { data } => {
            head(map, "result", reference);
            map.payload(DATA, *data);
        }
        Reply::Pong => head(map, "pong", reference),
        Reply::Error { code, message, retry_ms } => {
            head(map, "error", reference);
            map.uint(CODE, code.number().into());
            map.plain(REASON, code.reason());
            map.text(MESSAGE, message);
            map.boolean(key!("retry"), code.next() == Next::Retry);
            optional_uint(map, RETRY_MS, *retry_ms);
        }
    });
}

/// Writes a command.
pub(super) fn request<W: Writer>(request: &Request<'_>, out: &mut BytesMut) {
    let command = &request.command;
    Map::<W>::write(out, |map| {
        head(map, command.kind(), request.reference);
        match command {
            Command::Hello { token, name, resume, data } => {
                optional_text(map, key!("token"), token.as_deref());
                optional_text(map, NAME, name.as_deref());
                if let Some(resume) = resume {
                    map.map(key!("resume"), |map| resume_fields(map, *resume));
                }
                map.payload(DATA, data.as_ref());
            }
            Command::Join { room, since, data } => {
                map.text(ROOM, room.as_str());
                if let Some(since) = since {
                    position_field(map, key!("since"), *since);
                }
                map.payload(DATA, data.as_ref());
            }
            Command::Leave { room, data } => {
                map.text(ROOM, room.as_str());
                map.payload(DATA, data.as_ref());
            }
            Command::Create { room, options, join } => {
                optional_text(map, ROOM, room.as_ref().map(crate::RoomPath::as_str));
                map.payload(key!("options"), options.as_ref());
                map.boolean(key!("join"), *join);
            }
            Command::Rooms { namespace } => {
                optional_text(map, key!("namespace"), namespace.as_deref());
            }
            Command::Members { room } | Command::Presence { room } | Command::Delete { room } => {
                map.text(ROOM, room.as_str());
            }
            Command::History { room, since, limit } => {
                map.text(ROOM, room.as_str());
                if let Some(since) = since {
                    position_field(map, key!("since"), *since);
                }
                optional_uint(map, key!("limit"), limit.map(u64::from));
            }
            Command::Refresh { token } => map.text(key!("token"), token),
            Command::Kick { room, target, message } => {
                map.text(ROOM, room.as_str());
                target_field(map, target);
                optional_text(map, MESSAGE, message.as_deref());
            }
            Command::Call { call, room, data } => {
                event_name(map, CALL, call);
                optional_text(map, ROOM, room.as_ref().map(crate::RoomPath::as_str));
                map.payload(DATA, data.as_ref());
            }
            Command::Result { id, data, error } => {
                map.uint(ID, *id);
                map.payload(DATA, data.as_ref());
                optional_text(map, key!("error"), error.as_deref());
            }
            Command::Ping | Command::Bye => {}
            Command::Publish { .. }
            | Command::Send { .. }
            | Command::Broadcast { .. }
            | Command::Announce { .. } => saying(map, command),
        }
    });
}

/// The commands that carry an event.
fn saying<W: Writer>(map: &mut Map<'_, W>, command: &Command<'_>) {
    match command {
        Command::Publish { room, event, data, reliable, key, echo } => {
            map.text(ROOM, room.as_str());
            event_name(map, EVENT, event);
            map.payload(DATA, data.as_ref());
            if !reliable {
                map.boolean(key!("reliable"), false);
            }
            optional_text(map, key!("key"), key.as_deref());
            if let Some(echo) = echo {
                map.boolean(key!("echo"), *echo);
            }
        }
        Command::Announce { room, event, data } => {
            map.text(ROOM, room.as_str());
            event_name(map, EVENT, event);
            map.payload(DATA, data.as_ref());
        }
        Command::Send { to, event, data } => {
            target_field(map, to);
            event_name(map, EVENT, event);
            map.payload(DATA, data.as_ref());
        }
        Command::Broadcast { namespace, event, data } => {
            optional_text(map, key!("namespace"), namespace.as_deref());
            event_name(map, EVENT, event);
            map.payload(DATA, data.as_ref());
        }
        _ => {}
    }
}

fn head<W: Writer>(map: &mut Map<'_, W>, kind: &str, reference: Option<u64>) {
    map.plain(TYPE, kind);
    optional_uint(map, REF, reference);
}

fn welcome<W: Writer>(map: &mut Map<'_, W>, reference: Option<u64>, reply: &Reply<'_>) {
    let Reply::Welcome { session, user, resume, resumed, rooms, ping_ms, limits } = reply else {
        return;
    };
    head(map, "welcome", reference);
    session_field(map, *session);
    optional_text(map, USER, *user);
    map.plain(key!("resume"), resume.write(&mut [0; 22]));
    map.boolean(key!("resumed"), *resumed);
    map.array(key!("rooms"), rooms, |out, room| W::text(out, room));
    map.uint(key!("ping_ms"), *ping_ms);
    map.map(key!("limits"), |map| {
        map.uint(key!("message_bytes"), limits.message_bytes);
        map.uint(key!("rooms"), limits.rooms.into());
        map.uint(key!("resume_ms"), limits.resume_ms);
    });
}

fn member_change<W: Writer>(map: &mut Map<'_, W>, kind: &str, room: &str, from: &Sender) {
    map.plain(TYPE, kind);
    map.text(ROOM, room);
    map.map(FROM, |map| sender_fields(map, from));
}

fn presence<W: Writer>(
    map: &mut Map<'_, W>,
    reference: Option<u64>,
    room: &str,
    members: u32,
    users: u32,
) {
    head(map, "presence", reference);
    map.text(ROOM, room);
    map.uint(MEMBERS, members.into());
    map.uint(USERS, users.into());
}

/// What there is to know of an event beside what it is called and says: for dialects that tell it
/// apart. `room`: where it was said.
pub(in crate::dialect) fn event_circumstances<W: Writer>(
    room: &str,
    event: &Event,
    out: &mut BytesMut,
) {
    Map::<W>::write(out, |map| {
        map.text(ROOM, room);
        circumstances(map, event);
    });
}

/// A map of nothing but who said something.
pub(in crate::dialect) fn sender_only<W: Writer>(from: &Sender, out: &mut BytesMut) {
    Map::<W>::write(out, |map| map.map(FROM, |map| sender_fields(map, from)));
}

#[inline]
fn event_fields<W: Writer>(map: &mut Map<'_, W>, event: &Event) {
    event_name(map, EVENT, &event.name);
    map.payload(DATA, event.payload.as_ref());
    circumstances(map, event);
}

#[inline]
fn circumstances<W: Writer>(map: &mut Map<'_, W>, event: &Event) {
    if let Some(from) = &event.from {
        map.map(FROM, |map| sender_fields(map, from));
    }
    if let Some(position) = event.position {
        position_field(map, key!("at"), position);
    }
    if !event.reliable {
        map.boolean(key!("reliable"), false);
    }
    if event.unreliable > 0 {
        map.uint(key!("unreliable"), event.unreliable);
    }
}

#[inline]
fn event_name<W: Writer>(map: &mut Map<'_, W>, key: Key, name: &EventName) {
    match name {
        EventName::Text(name) => map.text(key, name),
        EventName::Number(number) => map.uint(key, *number),
    }
}

fn member_fields<W: Writer>(map: &mut Map<'_, W>, member: &MemberInfo) {
    sender_fields(map, &member.sender);
    map.payload(DATA, member.data.as_ref());
    if member.dropped {
        map.boolean(key!("dropped"), true);
    }
}

#[inline]
fn sender_fields<W: Writer>(map: &mut Map<'_, W>, sender: &Sender) {
    session_field(map, sender.session);
    optional_text(map, USER, sender.user.as_deref());
    optional_text(map, NAME, sender.name.as_deref());
}

#[inline]
fn session_field<W: Writer>(map: &mut Map<'_, W>, session: SessionId) {
    map.plain(SESSION, session.write_bytes(&mut [0; 22]));
}

#[inline]
fn position_field<W: Writer>(map: &mut Map<'_, W>, key: Key, position: Position) {
    map.map(key, |map| {
        map.plain(key!("epoch"), position.epoch.write_bytes(&mut [0; 8]));
        map.uint(key!("offset"), position.offset);
    });
}

fn recovery_fields<W: Writer>(map: &mut Map<'_, W>, recovery: Option<Recovery>) {
    let Some(recovery) = recovery else { return };
    map.boolean(key!("recovered"), recovery == Recovery::Recovered);
    if let Some(reason) = recovery.reason() {
        map.plain(REASON, reason);
    }
}

fn room_line<W: Writer>(out: &mut BytesMut, line: &RoomInfo) {
    Map::<W>::write(out, |map| {
        map.text(ROOM, &line.room);
        map.uint(MEMBERS, line.members.into());
    });
}

fn resume_fields<W: Writer>(map: &mut Map<'_, W>, resume: Resume) {
    session_field(map, resume.session);
    map.plain(key!("secret"), resume.secret.write(&mut [0; 22]));
}

fn target_field<W: Writer>(map: &mut Map<'_, W>, target: &Target<'_>) {
    match target {
        Target::Session(session) => session_field(map, *session),
        Target::User(user) => map.text(USER, user),
    }
}

fn optional_text<W: Writer>(map: &mut Map<'_, W>, key: Key, text: Option<&str>) {
    if let Some(text) = text {
        map.text(key, text);
    }
}

fn optional_uint<W: Writer>(map: &mut Map<'_, W>, key: Key, number: Option<u64>) {
    if let Some(number) = number {
        map.uint(key, number);
    }
}
