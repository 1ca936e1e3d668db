//! GoMeshStream's envelope: what is read, what is written, byte by byte.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::mesh::{MESSAGE_BYTES_MAX, session_id, session_of, slug};
use roomcast_wire::dialect::{Receiver, Standing};
use roomcast_wire::push::{Event, MemberInfo, Sender};
use roomcast_wire::{
    CloseCode, Codec, Command, Epoch, ErrorCode, EventName, Format, Name, Payload, Position, Push,
    Reply, RoomPath, SessionId, Target,
};

const MESH: Format = Format::MESH_WS;

fn frame(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn refused(text: &str) -> ErrorCode {
    let message = frame(text);
    let error = MESH.decode(&message, &Standing::default()).unwrap_err();
    assert_eq!(error.reference, None);
    error.refusal.code
}

fn body(json: &str) -> Option<Payload> {
    Some(Payload::new(Codec::Json, frame(json)).unwrap())
}

/// A frame without its WebSocket header.
fn text(frame: &[u8]) -> &str {
    assert_eq!(frame[0], 0x81, "a text frame");
    let header = if frame[1] < 126 { 2 } else { 4 };
    std::str::from_utf8(&frame[header..]).unwrap()
}

fn to_session(session: Option<SessionId>) -> Receiver<'static> {
    Receiver { session, namespace: "default", offset: None }
}

fn pushed(to: Option<SessionId>, push: &Push<'_>) -> String {
    let mut out = BytesMut::new();
    MESH.encode_push(&to_session(to), push, &mut out);
    if out.is_empty() { String::new() } else { text(&out).to_owned() }
}

fn sender(session: SessionId, name: Option<&str>) -> Arc<Sender> {
    let name = name.map(|name| Name::new(name).unwrap());
    Arc::new(Sender { session, user: None, name, metadata: None })
}

fn event(name: &str, payload: Option<Payload>, from: Option<Arc<Sender>>) -> Event {
    Event {
        name: EventName::text(name).unwrap(),
        payload,
        from,
        position: Some(Position { epoch: Epoch::new(7), offset: 1 }),
        reliable: true,
        unreliable: 0,
    }
}

fn anna() -> SessionId {
    session_of("ZePyT817").unwrap()
}

#[test]
fn a_message_to_a_room_is_a_publish_that_its_sender_hears() {
    let message = frame(concat!(
        r#"{"action":"chat","message_body":{"x": 1},"#,
        r#""IsTargetClient":false,"target":"r1","sender":"me"}"#,
    ));
    let request = MESH.decode(&message, &Standing::default()).unwrap();
    let expected = Command::Publish {
        room: RoomPath::parse("r1").unwrap(),
        event: EventName::text("chat").unwrap(),
        data: body(r#"{"x": 1}"#),
        reliable: true,
        key: None,
        echo: Some(true),
    };
    assert_eq!((request.reference, request.command), (None, expected));
}

#[test]
fn a_body_may_be_missing_and_keys_stand_in_any_order() {
    for text in [
        r#"{"target":"mesh-global","action":"hi"}"#,
        r#"{"target":"mesh-global","message_body":null,"action":"hi","surplus":[1]}"#,
    ] {
        let message = frame(text);
        let Command::Publish { room, data, .. } =
            MESH.decode(&message, &Standing::default()).unwrap().command
        else {
            panic!("{text}")
        };
        assert_eq!((room.as_str(), data), ("mesh-global", None));
    }
}

#[test]
fn a_message_to_a_client_is_a_direct_one() {
    for key in ["IsTargetClient", "isTargetClient", "istargetclient"] {
        let text = format!(r#"{{"action":"psst","{key}":true,"target":"ZePyT817"}}"#);
        let message = frame(&text);
        let Command::Send { to, event, data } =
            MESH.decode(&message, &Standing::default()).unwrap().command
        else {
            panic!("{key}")
        };
        assert_eq!((to, data), (Target::Session(anna()), None));
        assert_eq!(event, EventName::text("psst").unwrap());
    }
}

/// The frames that ended the original's process, and their like.
#[test]
fn what_cannot_be_understood_is_refused() {
    for text in ["", "{", "17", "[]", "\"x\"", "null", "nonsense", r#"{"action":"a"} x"#] {
        assert_eq!(refused(text), ErrorCode::Malformed, "{text}");
    }
    let raw = Bytes::from_static(b"\x00\xff\xfe");
    assert_eq!(
        MESH.decode(&raw, &Standing::default()).unwrap_err().refusal.code,
        ErrorCode::Malformed
    );
    for text in [
        "{}",
        r#"{"action":"a"}"#,
        r#"{"target":"r"}"#,
        r#"{"action":7,"target":"r"}"#,
        r#"{"action":"a","target":7}"#,
        r#"{"action":"a","target":"r","message_body":7}"#,
        r#"{"action":"a","target":"r","message_body":"x"}"#,
        r#"{"action":"a","target":"r","message_body":[]}"#,
    ] {
        assert_eq!(refused(text), ErrorCode::InvalidField, "{text}");
    }
    for text in [
        r#"{"action":"","target":"r"}"#,
        r#"{"action":"a","target":""}"#,
        r#"{"action":"a","target":"other/r"}"#,
        r#"{"action":"a\u0000","target":"r"}"#,
    ] {
        assert_eq!(refused(text), ErrorCode::InvalidName, "{text}");
    }
    let nobody = r#"{"action":"a","IsTargetClient":true,"target":"nobody"}"#;
    assert_eq!(refused(nobody), ErrorCode::NoSuchTarget);
}

#[test]
fn an_event_is_written_in_the_bytes_of_the_original() {
    let from = Some(sender(anna(), Some("Anna")));
    let chat = event("chat", body(r#"{"x": 1}"#), from);
    let push = Push::Event { room: "r1", event: &chat };
    assert_eq!(
        pushed(None, &push),
        concat!(
            r#"{"action":"chat","message_body":{"x":1},"#,
            r#""IsTargetClient":false,"target":"r1","sender":"ZePyT817"}"#,
        )
    );
    // For all of a room the receiver makes no difference, and the namespace is not said.
    let push = Push::Event { room: "game/r1", event: &chat };
    assert_eq!(pushed(Some(session_id(5)), &push), pushed(None, &push));
    assert!(pushed(None, &push).contains(r#""target":"r1""#));
}

#[test]
fn an_event_for_some_names_its_receiver() {
    let told = Event { position: None, ..event("know-yourself", body("{}"), None) };
    let push = Push::Event { room: "r1", event: &told };
    assert_eq!(
        pushed(Some(anna()), &push),
        concat!(
            r#"{"action":"know-yourself","message_body":{},"#,
            r#""IsTargetClient":true,"target":"ZePyT817","sender":"bot-of-the-room"}"#,
        )
    );
}

#[test]
fn bodies_are_written_as_go_writes_them() {
    let written = |json: &str| {
        let push = event("a", body(json), None);
        let whole = pushed(None, &Push::Event { room: "r", event: &push });
        let whole = whole.strip_prefix(r#"{"action":"a","message_body":"#).unwrap();
        let (body, _) = whole.rsplit_once(r#","IsTargetClient""#).unwrap();
        body.to_owned()
    };
    for (from, to) in [
        (r#"{"b":1,"a":{"d":[],"c":{}},"B":null}"#, r#"{"B":null,"a":{"c":{},"d":[]},"b":1}"#),
        (
            r#"{"m":"<b>&'é👀\u2028\n\t\u0001\"\\\/"}"#,
            r#"{"m":"\u003cb\u003e\u0026'é👀\u2028\n\t\u0001\"\\/"}"#,
        ),
        (r#"{"<k>":true}"#, r#"{"\u003ck\u003e":true}"#),
        (
            "[1.0,1.5,-0.0,1e3,1e21,-2.5e-7,9007199254740991]",
            "[1,1.5,-0,1000,1e+21,-2.5e-7,9007199254740991]",
        ),
        (r#""just text""#, r#""just text""#),
    ] {
        assert_eq!(written(from), to);
    }
    let nothing = event("a", None, None);
    let push = Push::Event { room: "r", event: &nothing };
    assert!(pushed(None, &push).contains(r#""message_body":null,"#));
    let packed = body(r#"{"b":1,"a":"x"}"#).map(|body| body.to_codec(Codec::MsgPack));
    let packed = event("a", packed, None);
    let push = Push::Event { room: "r", event: &packed };
    assert!(pushed(None, &push).contains(r#""message_body":{"a":"x","b":1},"#));
}

#[test]
fn names_of_senders() {
    let of = |from: Option<Arc<Sender>>| {
        let said = event("a", None, from);
        let whole = pushed(None, &Push::Event { room: "r", event: &said });
        whole.rsplit_once(r#""sender":"#).unwrap().1.trim_end_matches('}').to_owned()
    };
    assert_eq!(of(None), r#""bot-of-the-room""#);
    assert_eq!(of(Some(sender(anna(), None))), r#""ZePyT817""#);
    // A name of the program's own: no session has the id 0.
    assert_eq!(of(Some(sender(SessionId(0), Some("Gawd")))), r#""Gawd""#);
    let native = SessionId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
    assert_eq!(of(Some(sender(native, None))), format!("\"{}\"", slug(native)));
}

#[test]
fn direct_messages_and_broadcasts() {
    let (name, data) = (EventName::Number(7), body(r#"{"x":1}"#));
    let from = sender(session_id(0), None);
    let push = Push::Message { event: &name, data: data.as_ref(), from: Some(&from) };
    assert_eq!(
        pushed(Some(anna()), &push),
        concat!(
            r#"{"action":"7","message_body":{"x":1},"#,
            r#""IsTargetClient":true,"target":"ZePyT817","sender":"AAAAA000"}"#,
        )
    );
    assert_eq!(
        pushed(None, &push),
        concat!(
            r#"{"action":"7","message_body":{"x":1},"#,
            r#""IsTargetClient":false,"target":"mesh-global","sender":"AAAAA000"}"#,
        )
    );
}

#[test]
fn what_the_grammar_has_no_word_for_is_not_said() {
    let from = sender(anna(), None);
    let member = MemberInfo { sender: Arc::clone(&from), data: None, dropped: false };
    for push in [
        Push::MemberJoined { room: "r", member: &member },
        Push::MemberDropped { room: "r", from: &from },
        Push::Presence { room: "r", members: 1, users: 1 },
        Push::Goodbye { code: CloseCode::Drain, message: "bye", retry_ms: None },
    ] {
        assert_eq!(pushed(Some(anna()), &push), "", "{push:?}");
    }
    let mut out = BytesMut::new();
    for reply in [Reply::Pong, Reply::Ok { position: None, delivered: None }] {
        MESH.encode_reply(&to_session(Some(anna())), Some(1), &reply, &mut out);
    }
    assert!(out.is_empty());
}

#[test]
fn a_refusal_is_an_error_in_the_same_envelope() {
    let reply =
        Reply::Error { code: ErrorCode::NotAMember, message: "say \"r1\"".into(), retry_ms: None };
    let said = |to| {
        let mut out = BytesMut::new();
        MESH.encode_reply(&to_session(to), None, &reply, &mut out);
        text(&out).to_owned()
    };
    assert_eq!(
        said(Some(anna())),
        concat!(
            r#"{"action":"error","#,
            r#""message_body":{"code":4030,"message":"say \"r1\"","reason":"not_a_member"},"#,
            r#""IsTargetClient":true,"target":"ZePyT817","sender":"bot-of-the-room"}"#,
        )
    );
    assert!(said(None).contains(r#""target":"","#));
}

#[test]
fn what_the_original_allowed_is_the_bound() {
    assert_eq!((MESH.message_bytes_max(), MESSAGE_BYTES_MAX), (10_000, 10_000));
    assert!(MESH.begins_session() && !Format::JSON_WS.begins_session());
}
