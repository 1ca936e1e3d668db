//! Random commands, replies, pushes and payloads.

use std::borrow::Cow;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use roomcast_wire::incoming::{Body, Incoming};
use roomcast_wire::push::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
use roomcast_wire::reply::{Recovery, RoomInfo, SessionLimits};
use roomcast_wire::{
    CloseCode, Codec, Command, Epoch, ErrorCode, EventName, Name, Next, Payload, Position, Request,
    Resume, RoomPath, Secret, SessionId, Target,
};

const EXACT: std::ops::Range<u64> = 0..1 << 53;

/// A payload in JSON, without blanks.
pub fn payload() -> impl Strategy<Value = Payload> {
    value().prop_map(|value| {
        let text = serde_json::to_string(&value).unwrap();
        Payload::new(Codec::Json, text.into()).unwrap()
    })
}

/// Absent or not `null`, which is the same as absent.
fn data() -> impl Strategy<Value = Option<Payload>> {
    option::of(payload().prop_filter("null is absent", |payload| payload.bytes() != "null"))
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let number = prop_oneof![
        any::<u64>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<i8>().prop_map(serde_json::Value::from),
        prop::num::f64::NORMAL.prop_map(serde_json::Value::from),
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        number,
        any::<String>().prop_map(serde_json::Value::from),
        "[a-z]{0,40}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(serde_json::Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..20)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Text that is JSON about as often as not.
pub fn nearly_json() -> impl Strategy<Value = String> {
    let tokens = vec![
        "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\"k\":", "\\", "\\n", "\\u00e9", "\\ud83c",
        "\\udf7e", "0", "-", "1", "12", ".5", "e", "E+", "1e999", "-1e400", "1e-999", "true",
        "false", "null", " ", "\n", "\t", "\u{1}", "é", "/",
    ];
    let soup = vec(select(tokens), 0..12).prop_map(|tokens| tokens.concat());
    let spoilt = (value(), any::<prop::sample::Index>(), any::<char>()).prop_map(
        |(value, at, character)| {
            let text = serde_json::to_string_pretty(&value).unwrap();
            let at = at.index(text.chars().count());
            let mut chars: Vec<char> = text.chars().collect();
            chars[at] = character;
            chars.into_iter().collect()
        },
    );
    let quoted = vec(select(vec!["\\ud83c", "\\udf7e", "\\", "u", "n", "\"", "x", "\\u00"]), 0..6)
        .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let number = "-?[0-9]{0,2}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,3})?";
    let valid = value().prop_map(|value| serde_json::to_string_pretty(&value).unwrap());
    prop_oneof![soup, spoilt, quoted, number, valid]
}

fn name_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9._-]{1,24}", "[\"\\\\é🍾 <>]{1,12}"]
}

fn name() -> impl Strategy<Value = Name> {
    name_text().prop_map(|text| Name::new(&text).unwrap())
}

fn room_text() -> impl Strategy<Value = String> {
    prop_oneof![name_text(), (name_text(), name_text()).prop_map(|(a, b)| format!("{a}/{b}"))]
}

fn room() -> impl Strategy<Value = RoomPath<'static>> {
    room_text().prop_map(|text| RoomPath::parse(text).unwrap())
}

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    name_text().prop_map(Cow::Owned)
}

fn event_name() -> impl Strategy<Value = EventName> {
    prop_oneof![name().prop_map(EventName::Text), EXACT.prop_map(EventName::Number)]
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), EXACT).prop_map(|(epoch, offset)| Position { epoch: Epoch::new(epoch), offset })
}

fn session() -> impl Strategy<Value = SessionId> {
    any::<u128>().prop_map(SessionId)
}

fn target() -> impl Strategy<Value = Target<'static>> {
    prop_oneof![session().prop_map(Target::Session), text().prop_map(Target::User)]
}

fn resume() -> impl Strategy<Value = Resume> {
    (session(), any::<u128>().prop_map(Secret)).prop_map(|(session, secret)| Resume {
        session,
        secret,
        offset: None,
    })
}

fn options() -> impl Strategy<Value = Option<Payload>> {
    option::of((1..9u32).prop_map(|members| {
        Payload::new(Codec::Json, format!("{{\"members_max\":{members}}}").into()).unwrap()
    }))
}

/// Any command.
pub fn request() -> impl Strategy<Value = Request<'static>> {
    let small = data().prop_filter("of a member", |data| {
        data.as_ref().is_none_or(|data| data.to_codec(Codec::MsgPack).bytes().len() <= 4096)
            && data.as_ref().is_none_or(|data| data.bytes().len() <= 4096)
    });
    let small = small.boxed();
    let command =
        prop_oneof![
            (option::of(text()), option::of(text()), option::of(resume()), small.clone()).prop_map(
                |(token, name, resume, data)| Command::Hello { token, name, resume, data }
            ),
            (room(), option::of(position()), small.clone())
                .prop_map(|(room, since, data)| Command::Join { room, since, data }),
            (room(), small).prop_map(|(room, data)| Command::Leave { room, data }),
            (option::of(room()), options(), any::<bool>())
                .prop_map(|(room, options, join)| Command::Create { room, options, join }),
            publish(),
            (target(), event_name(), data()).prop_map(|(to, event, data)| Command::Send {
                to,
                event,
                data
            }),
            (option::of(text()), event_name(), data()).prop_map(|(namespace, event, data)| {
                Command::Broadcast { namespace, event, data }
            }),
            (room(), event_name(), data()).prop_map(|(room, event, data)| Command::Announce {
                room,
                event,
                data
            }),
            option::of(text()).prop_map(|namespace| Command::Rooms { namespace }),
            room().prop_map(|room| Command::Members { room }),
            (room(), option::of(position()), option::of(any::<u32>()))
                .prop_map(|(room, since, limit)| Command::History { room, since, limit }),
            room().prop_map(|room| Command::Presence { room }),
            text().prop_map(|token| Command::Refresh { token }),
            (room(), target(), option::of(text()))
                .prop_map(|(room, target, message)| Command::Kick { room, target, message }),
            room().prop_map(|room| Command::Delete { room }),
            (event_name(), option::of(room()), data())
                .prop_map(|(call, room, data)| Command::Call { call, room, data }),
            (EXACT, data(), option::of(text())).prop_map(|(id, data, error)| Command::Result {
                id,
                data,
                error
            }),
            Just(Command::Ping),
            Just(Command::Bye),
        ];
    (option::of(EXACT), command).prop_map(|(reference, command)| Request { reference, command })
}

fn publish() -> impl Strategy<Value = Command<'static>> {
    let switches = (any::<bool>(), option::of(any::<bool>()));
    (room(), event_name(), data(), switches, option::of(text())).prop_map(
        |(room, event, data, (reliable, echo), key)| Command::Publish {
            room,
            event,
            data,
            reliable,
            key,
            echo,
        },
    )
}

fn sender() -> impl Strategy<Value = Sender> {
    (session(), option::of(name()), option::of(name())).prop_map(|(session, user, name)| Sender {
        session,
        user,
        name,
        metadata: None,
    })
}

fn event() -> impl Strategy<Value = Event> {
    (event_name(), data(), option::of(sender()), option::of(position()), (any::<bool>(), EXACT))
        .prop_map(|(name, payload, from, position, (reliable, unreliable))| Event {
            name,
            payload,
            from: from.map(Arc::new),
            position,
            reliable,
            unreliable,
        })
}

fn member() -> impl Strategy<Value = MemberInfo> {
    (sender(), data(), any::<bool>()).prop_map(|(sender, data, dropped)| MemberInfo {
        sender: Arc::new(sender),
        data,
        dropped,
    })
}

fn recovery() -> impl Strategy<Value = Option<Recovery>> {
    use Recovery::{Ahead, Epoch, Forbidden, Recovered, Trimmed};
    option::of(select(vec![Recovered, Epoch, Trimmed, Ahead, Forbidden]))
}

fn message() -> impl Strategy<Value = String> {
    any::<String>()
}

/// Any reply or push.
pub fn incoming() -> impl Strategy<Value = Incoming> {
    let reply =
        (option::of(EXACT), reply()).prop_map(|(reference, body)| Incoming { reference, body });
    let push = push().prop_map(|body| Incoming { reference: None, body });
    // Boxed: a tree of values by value overflows the stack of a test's thread.
    prop_oneof![reply.boxed(), push.boxed()]
}

fn reply() -> impl Strategy<Value = Body> {
    prop_oneof![
        welcome().boxed(),
        (room_text(), position(), any::<u32>(), recovery()).prop_map(
            |(room, position, members, recovery)| Body::Joined {
                room,
                position,
                members,
                recovery
            }
        ),
        (room_text(), any::<bool>()).prop_map(|(room, created)| Body::Created { room, created }),
        (option::of(position()), option::of(any::<u32>()))
            .prop_map(|(position, delivered)| Body::Ok { position, delivered }),
        (vec((room_text(), any::<u32>()), 0..20), any::<bool>()).prop_map(|(rooms, truncated)| {
            let line = |(room, members)| RoomInfo { room, members };
            Body::Rooms { rooms: rooms.into_iter().map(line).collect(), truncated }
        }),
        (room_text(), vec(member(), 0..20), any::<bool>())
            .prop_map(|(room, members, truncated)| Body::Members { room, members, truncated })
            .boxed(),
        (room_text(), position(), recovery(), vec(event().prop_map(Arc::new), 0..20))
            .prop_map(|(room, position, recovery, events)| Body::History {
                room,
                position,
                recovery,
                events
            })
            .boxed(),
        data().prop_map(|data| Body::Result { data }),
        Just(Body::Pong),
        (select(ErrorCode::ALL), message(), option::of(EXACT)).prop_map(
            |(code, message, retry_ms)| Body::Error {
                code: code.number(),
                reason: code.reason().to_owned(),
                message,
                retry: code.next() == Next::Retry,
                retry_ms,
            }
        ),
    ]
}

fn welcome() -> impl Strategy<Value = Body> {
    let rooms = vec(room_text(), 0..20);
    let limits = (EXACT, any::<u32>(), EXACT).prop_map(|(message_bytes, rooms, resume_ms)| {
        SessionLimits { message_bytes, rooms, resume_ms }
    });
    (session(), option::of(name()), any::<u128>(), any::<bool>(), rooms, EXACT, limits).prop_map(
        |(session, user, resume, resumed, rooms, ping_ms, limits)| Body::Welcome {
            session,
            user,
            resume: Secret(resume),
            resumed,
            rooms,
            ping_ms,
            limits,
        },
    )
}

fn push() -> impl Strategy<Value = Body> {
    use LeaveReason::{Kicked, Left, Lost};
    prop_oneof![
        (room_text(), event()).prop_map(|(room, event)| Body::Event { room, event }),
        (room_text(), member()).prop_map(|(room, member)| Body::MemberJoined { room, member }),
        (room_text(), sender(), select(vec![Left, Lost, Kicked]), data())
            .prop_map(|(room, from, reason, data)| Body::MemberLeft { room, from, reason, data }),
        (room_text(), sender()).prop_map(|(room, from)| Body::MemberDropped { room, from }),
        (room_text(), sender()).prop_map(|(room, from)| Body::MemberResumed { room, from }),
        (room_text(), any::<u32>(), any::<u32>())
            .prop_map(|(room, members, users)| Body::Presence { room, members, users }),
        (room_text(), select(ClosedReason::ALL))
            .prop_map(|(room, reason)| Body::RoomClosed { room, reason }),
        (event_name(), data(), option::of(sender()))
            .prop_map(|(event, data, from)| Body::Message { event, data, from }),
        (EXACT, event_name(), data()).prop_map(|(id, call, data)| Body::Call { id, call, data }),
        (select(CloseCode::ALL), message(), option::of(EXACT)).prop_map(
            |(code, message, retry_ms)| Body::Goodbye {
                code: code.number(),
                reason: code.reason().to_owned(),
                message,
                retry_ms,
            }
        ),
    ]
}
