//! What several tests of the dialect need: writing what a client has read.
#![allow(dead_code)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::native;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::push::Event;
use roomcast_wire::{CloseCode, Codec, ErrorCode, Push, Reply, Request};

/// A command as a frame.
pub fn write_request(codec: Codec, request: &Request<'_>) -> Bytes {
    let mut out = BytesMut::new();
    native::encode_request(codec, request, &mut out);
    out.freeze()
}

/// What a client has read as the frame that the server wrote.
pub fn write_incoming(codec: Codec, incoming: &Incoming) -> Bytes {
    let mut out = BytesMut::new();
    let reference = incoming.reference;
    if let Some(reply) = reply(incoming) {
        native::encode_reply(codec, reference, &reply, &mut out);
    } else if let Some(push) = push(&incoming.body) {
        native::encode_push(codec, &push, &mut out);
    } else {
        panic!("neither a reply nor a push: {incoming:?}");
    }
    out.freeze()
}

/// The word of a reply; a new one must be added here, which adds it to what the tests look for.
pub fn reply_kind(reply: &Reply<'_>) -> &'static str {
    match reply {
        Reply::Welcome { .. } => "welcome",
        Reply::Joined { .. } => "joined",
        Reply::Created { .. } => "created",
        Reply::Left { .. } | Reply::Ok { .. } => "ok",
        Reply::Rooms { .. } => "rooms",
        Reply::Members { .. } => "members",
        Reply::History { .. } => "history",
        Reply::Presence { .. } => "presence",
        Reply::Result { .. } => "result",
        Reply::Pong => "pong",
        Reply::Error { .. } => "error",
    }
}

/// All words of commands, replies and pushes.
pub const COMMANDS: [&str; 19] = [
    "hello",
    "join",
    "leave",
    "create",
    "publish",
    "send",
    "broadcast",
    "announce",
    "rooms",
    "members",
    "history",
    "presence",
    "refresh",
    "kick",
    "delete",
    "call",
    "result",
    "ping",
    "bye",
];
pub const REPLIES: [&str; 11] = [
    "welcome", "joined", "created", "ok", "rooms", "members", "history", "presence", "result",
    "pong", "error",
];
pub const PUSHES: [&str; 10] = [
    "event",
    "member_joined",
    "member_left",
    "member_dropped",
    "member_resumed",
    "presence",
    "room_closed",
    "message",
    "call",
    "goodbye",
];

/// The reply that was read, if it was one.
pub fn reply(incoming: &Incoming) -> Option<Reply<'_>> {
    Some(match &incoming.body {
        Body::Welcome { session, user, resume, resumed, rooms, ping_ms, limits } => {
            Reply::Welcome {
                session: *session,
                user: user.as_deref(),
                resume: *resume,
                resumed: *resumed,
                rooms,
                ping_ms: *ping_ms,
                limits: *limits,
            }
        }
        Body::Joined { room, position, members, recovery } => {
            Reply::Joined { room, position: *position, members: *members, recovery: *recovery }
        }
        Body::Created { room, created } => Reply::Created { room, created: *created },
        Body::Ok { position, delivered } => {
            Reply::Ok { position: *position, delivered: *delivered }
        }
        Body::Rooms { rooms, truncated } => Reply::Rooms { rooms, truncated: *truncated },
        Body::Members { room, members, truncated } => {
            Reply::Members { room, members, truncated: *truncated }
        }
        Body::History { room, position, recovery, events } => {
            Reply::History { room, position: *position, recovery: *recovery, events }
        }
        Body::Presence { room, members, users } if incoming.reference.is_some() => {
            Reply::Presence { room, members: *members, users: *users }
        }
        Body::Result { data } => Reply::Result { data: data.as_ref() },
        Body::Pong => Reply::Pong,
        Body::Error { code, message, retry_ms, .. } => Reply::Error {
            code: ErrorCode::from_number(*code).expect("a code of ours"),
            message: message.into(),
            retry_ms: *retry_ms,
        },
        _ => return None,
    })
}

/// The push that was read, if it was one.
pub fn push(body: &Body) -> Option<Push<'_>> {
    Some(match body {
        Body::Event { room, event } => Push::Event { room, event },
        Body::MemberJoined { room, member } => Push::MemberJoined { room, member },
        Body::MemberLeft { room, from, reason, data } => {
            Push::MemberLeft { room, from, reason: *reason, data: data.as_ref() }
        }
        Body::MemberDropped { room, from } => Push::MemberDropped { room, from },
        Body::MemberResumed { room, from } => Push::MemberResumed { room, from },
        Body::Presence { room, members, users } => {
            Push::Presence { room, members: *members, users: *users }
        }
        Body::RoomClosed { room, reason } => Push::RoomClosed { room, reason: *reason },
        Body::Message { event, data, from } => {
            Push::Message { event, data: data.as_ref(), from: from.as_ref() }
        }
        Body::Call { id, call, data } => Push::Call { id: *id, call, data: data.as_ref() },
        Body::Goodbye { code, message, retry_ms, .. } => Push::Goodbye {
            code: CloseCode::from_number(*code).expect("a code of ours"),
            message,
            retry_ms: *retry_ms,
        },
        _ => return None,
    })
}

/// The same frame with every payload in JSON, for comparing.
pub fn payloads_in_json(mut incoming: Incoming) -> Incoming {
    let event_in_json = |event: &mut Event| {
        event.payload = event.payload.take().map(|payload| payload.to_codec(Codec::Json));
    };
    match &mut incoming.body {
        Body::Event { event, .. } => event_in_json(event),
        Body::MemberJoined { member, .. } => {
            member.data = member.data.take().map(|data| data.to_codec(Codec::Json));
        }
        Body::MemberLeft { data, .. }
        | Body::Message { data, .. }
        | Body::Result { data }
        | Body::Call { data, .. } => {
            *data = data.take().map(|data| data.to_codec(Codec::Json));
        }
        Body::Members { members, .. } => {
            for member in members {
                member.data = member.data.take().map(|data| data.to_codec(Codec::Json));
            }
        }
        Body::History { events, .. } => {
            for event in events {
                event_in_json(Arc::make_mut(event));
            }
        }
        _ => {}
    }
    incoming
}
