//! Socket.IO: what is read, what is written, byte by byte.
#![allow(clippy::unwrap_used)]

mod socketio_support;

use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::dialect::Standing;
use roomcast_wire::dialect::socketio::{hub_namespace, namespace_of, opens};
use roomcast_wire::push::{ClosedReason, Event, LeaveReason, Sender};
use roomcast_wire::{
    CloseCode, Codec, Command, Epoch, ErrorCode, EventName, Format, Name, Offset, Payload,
    Position, Push, Receiver, Reply, Resume, RoomPath, Secret, SessionId, Target,
};
use socketio_support::{
    JSON, MSGPACK, arguments, as_json, assembled, ok, pushed, read, refused, replied, standing,
};

fn payload(json: &str) -> Payload {
    Payload::new(Codec::Json, Bytes::copy_from_slice(json.as_bytes())).unwrap()
}

fn sender() -> Arc<Sender> {
    let name = Some(Name::new("Mina").unwrap());
    Arc::new(Sender { session: SessionId(7), user: None, name, metadata: None })
}

fn event(name: EventName, payload: Option<Payload>) -> Event {
    let position = Some(Position { epoch: Epoch::new(7), offset: 3 });
    Event { name, payload, from: Some(sender()), position, reliable: true, unreliable: 0 }
}

fn room<'a>(text: &'a str) -> RoomPath<'a> {
    RoomPath::parse(text).unwrap()
}

const MINA: &str = r#"{"session":"AAAAAAAAAAAAAAAAAAAABw","name":"Mina"}"#;

#[test]
fn a_connection_to_a_namespace_is_a_hello() {
    let nobody = Standing { session: None, ..standing() };
    let hello = |text: &str| match read(text, &nobody).unwrap().command {
        Command::Hello { token, name, resume: None, data } => {
            (token.map(String::from), name.map(String::from), data.map(|data| as_json(&data)))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(hello("0"), (None, None, None));
    let auth = r#"{"token":"t","name":"Mina","room":1}"#;
    let own = (Some("t".to_owned()), Some("Mina".to_owned()), Some(auth.to_owned()));
    assert_eq!(hello(&format!("0/chat,{auth}")), own);
    // What is no string is the application's.
    let auth = r#"{"token":{"a":1},"name":2}"#;
    assert_eq!(hello(&format!("0{auth}")), (None, None, Some(auth.to_owned())));
    let long = format!("0{{\"token\":\"{}\"}}", "x".repeat(8_193));
    let error = read(&long, &nobody).unwrap_err();
    assert_eq!((error.refusal.code, error.close), (ErrorCode::InvalidField, None));
}

#[test]
fn events_of_the_convention_are_commands() {
    let own = |json: &str| Some(payload(json));
    let join = |data| Command::Join { room: room("lobby"), since: None, data };
    assert_eq!(ok(r#"2["join","lobby"]"#), (None, join(None)));
    assert_eq!(ok(r#"2/x,7["join",{"room":"lobby","data":[1]}]"#), (Some(7), join(own("[1]"))));
    assert_eq!(ok(r#"20["leave","lobby"]"#).1, Command::Leave { room: room("lobby"), data: None });
    let publish = |event: &str, data, reliable, echo| Command::Publish {
        room: room("lobby"),
        event: EventName::text(event).unwrap(),
        data,
        reliable,
        key: None,
        echo,
    };
    assert_eq!(
        ok(r#"2["publish",{"room":"lobby","event":"chat","data":{"t":1},"reliable":false}]"#).1,
        publish("chat", own(r#"{"t":1}"#), false, None)
    );
    let spread = Some(payload(r#"[1,{"a":2}]"#).into_arguments());
    assert_eq!(
        ok(r#"2["to-room","lobby","chat", 1, {"a":2} ]"#).1,
        publish("chat", spread, true, Some(false))
    );
    let none = Some(payload("[]").into_arguments());
    assert_eq!(ok(r#"2["to-room","lobby","go"]"#).1, publish("go", none, true, Some(false)));
    assert_eq!(
        ok(r#"2["send",{"user":"u17","event":"hi"}]"#).1,
        Command::Send {
            to: Target::User("u17".into()),
            event: EventName::text("hi").unwrap(),
            data: None
        }
    );
    assert_eq!(ok(r#"2["rooms"]"#).1, Command::Rooms { namespace: None });
    assert_eq!(ok(r#"2["rooms","x"]"#).1, Command::Rooms { namespace: Some("x".into()) });
    assert_eq!(ok(r#"2["refresh","t"]"#).1, Command::Refresh { token: "t".into() });
    assert_eq!(ok(r#"2["create"]"#).1, Command::Create { room: None, options: None, join: false });
    for (event, kind) in [("members", "members"), ("presence", "presence"), ("delete", "delete")] {
        assert_eq!(ok(&format!("2[\"{event}\",\"lobby\"]")).1.kind(), kind);
    }
    for text in [
        r#"2["history",{"room":"lobby","limit":5}]"#,
        r#"2["kick",{"room":"lobby","user":"u"}]"#,
        r#"2["broadcast",{"event":"x"}]"#,
        r#"2["announce",{"room":"lobby","event":"x"}]"#,
        r#"2["call",{"call":"x"}]"#,
    ] {
        assert!(text.contains(ok(text).1.kind()), "{text}");
    }
}

#[test]
fn all_other_events_are_calls() {
    let call = |name: &str, json: &str| Command::Call {
        call: EventName::text(name).unwrap(),
        room: None,
        data: Some(payload(json).into_arguments()),
    };
    assert_eq!(ok(r#"212["save",1,"x"]"#), (Some(12), call("save", r#"[1,"x"]"#)));
    assert_eq!(ok("2[\"save\",{\"a\":\r\n1}]").1, call("save", "[{\"a\":  1}]"));
    assert_eq!(ok(r#"2["save"]"#).1, call("save", "[]"));
    let number = Command::Call {
        call: EventName::Number(5),
        room: None,
        data: Some(payload("[1]").into_arguments()),
    };
    assert_eq!(ok("2[5,1]").1, number);
    let off = Standing { convention: false, ..standing() };
    assert_eq!(read(r#"2["join","x"]"#, &off).unwrap().command, call("join", r#"["x"]"#));
    let result = Command::Result { id: 9, data: Some(arguments("[1,2]")), error: None };
    assert_eq!(ok("39[1,2]"), (None, result));
    assert_eq!(ok("1"), (None, Command::Bye));
}

#[test]
fn what_the_server_refuses_leaves_the_connection_open() {
    for (text, code) in [
        (r#"27["join"]"#, ErrorCode::InvalidField),
        (r#"27["join",5]"#, ErrorCode::InvalidField),
        (r#"27["join",""]"#, ErrorCode::InvalidName),
        (r#"27["join",{"room":"a","room":"b"}]"#, ErrorCode::Malformed),
        (r#"27["publish","lobby"]"#, ErrorCode::InvalidField),
        (r#"27["to-room","lobby"]"#, ErrorCode::Malformed),
        (r#"27["to-room","lobby","error",{}]"#, ErrorCode::InvalidName),
        (r#"27["to-room","lobby","room_closed",{}]"#, ErrorCode::InvalidName),
        (r#"27["to-room","lobby","disconnect"]"#, ErrorCode::Malformed),
        (r#"27[""]"#, ErrorCode::InvalidName),
        (r#"27["a\nb"]"#, ErrorCode::InvalidName),
        ("27[-1]", ErrorCode::InvalidName),
        ("27[1.5]", ErrorCode::InvalidName),
    ] {
        let error = refused(text);
        let seen = (error.reference, error.refusal.code, error.close);
        assert_eq!(seen, (Some(7), code, None), "{text}");
    }
}

#[test]
fn namespaces_are_read_off_every_packet() {
    let of = |text: &str| namespace_of(&Bytes::copy_from_slice(text.as_bytes())).map(str::to_owned);
    for (text, namespace) in [
        ("0", Some("/")),
        ("0/chat,", Some("/chat")),
        ("0/chat", Some("/chat")),
        ("0/chat?token=x,{}", Some("/chat")),
        (r#"2/chat,7["a/b,c"]"#, Some("/chat")),
        (r#"27["/x,"]"#, Some("/")),
        ("52-/chat,[]", Some("/chat")),
        ("", None),
        ("7", None),
        ("5[]", None),
        ("a", None),
    ] {
        assert_eq!(of(text).as_deref(), namespace, "{text}");
    }
    for (namespace, own) in [
        ("/", Some("default")),
        ("/chat", Some("chat")),
        ("/default", None),
        ("/a/b", None),
        ("chat", None),
    ] {
        assert_eq!(hub_namespace(namespace), own, "{namespace}");
    }
    let opened = |text: &str| opens(&Bytes::copy_from_slice(text.as_bytes()));
    assert!(opened("0/chat,{}") && !opened(r#"2["a"]"#) && !opened("0["));
}

#[test]
fn events_of_a_room_arrive_under_their_own_names() {
    let chat = |payload| event(EventName::text("chat").unwrap(), payload);
    let say = |event: &Event, room: &str| pushed("", &Push::Event { room, event });
    let around = |room: &str| {
        format!(r#"{{"room":"{room}","from":{MINA},"at":{{"epoch":"AAAAAAAH","offset":3}}}}"#)
    };
    let said = say(&chat(Some(payload(r#"{"t":1}"#))), "lobby");
    assert_eq!(said, format!(r#"42["chat",{{"t":1}},{}]"#, around("lobby")));
    let said = say(&chat(None), "game/lobby");
    assert_eq!(said, format!(r#"42/game,["chat",null,{}]"#, around("game/lobby")));
    assert_eq!(say(&chat(Some(arguments("[1,\"b\"]"))), "lobby"), r#"42["chat",1,"b"]"#);
    assert_eq!(say(&chat(Some(arguments("[]"))), "lobby"), r#"42["chat"]"#);
    let numbered = event(EventName::Number(9), Some(arguments("[null]")));
    assert_eq!(say(&numbered, "lobby"), "42[9,null]");
    let position = event(EventName::text("pos").unwrap(), Some(payload("1")));
    let position = Event { reliable: false, from: None, position: None, ..position };
    assert_eq!(say(&position, "lobby"), r#"42["pos",1,{"room":"lobby","reliable":false}]"#);
}

#[test]
fn what_the_libraries_reserve_arrives_in_the_servers_words() {
    for name in ["connect", "disconnect", "newListener"] {
        let name = EventName::text(name).unwrap();
        let event = Event { from: None, ..event(name.clone(), Some(payload("1"))) };
        let said = pushed("", &Push::Event { room: "lobby", event: &event });
        assert_eq!(
            said,
            format!(
                "42[\"event\",{{\"type\":\"event\",\"room\":\"lobby\",\"event\":\"{name}\",\
                 \"data\":1,\"at\":{{\"epoch\":\"AAAAAAAH\",\"offset\":3}}}}]"
            )
        );
        let said = pushed("default", &Push::Message { event: &name, data: None, from: None });
        let expected = format!(r#"42["message",{{"type":"message","event":"{name}"}}]"#);
        assert_eq!(said, expected);
        assert_eq!(pushed("default", &Push::Call { id: 1, call: &name, data: None }), "");
    }
}

#[test]
fn pushes_to_one_socket_name_its_namespace() {
    let name = EventName::text("hi").unwrap();
    let from = sender();
    let said =
        |data: Option<&Payload>, from| pushed("game", &Push::Message { event: &name, data, from });
    let one = payload("[1]");
    assert_eq!(said(Some(&one), None), r#"42/game,["hi",[1]]"#);
    let expected = format!(r#"42/game,["hi",[1],{{"from":{MINA}}}]"#);
    assert_eq!(said(Some(&one), Some(&*from)), expected);
    assert_eq!(said(Some(&arguments("[1,2]")), Some(&*from)), r#"42/game,["hi",1,2]"#);
    assert_eq!(said(None, None), r#"42/game,["hi"]"#);
    let call = Push::Call { id: 3, call: &name, data: Some(&arguments("[1]")) };
    assert_eq!(pushed("default", &call), r#"423["hi",1]"#);
    let left =
        Push::MemberLeft { room: "game/lobby", from: &from, reason: LeaveReason::Lost, data: None };
    assert_eq!(
        pushed("", &left),
        format!(
            "42/game,[\"member_left\",{{\"type\":\"member_left\",\"room\":\"game/lobby\",\
             \"from\":{MINA},\"reason\":\"lost\"}}]"
        )
    );
    let closed = Push::RoomClosed { room: "lobby", reason: ClosedReason::Deleted };
    assert!(pushed("", &closed).starts_with(r#"42["room_closed",{"#));
}

#[test]
fn only_who_must_not_come_back_is_told_to_disconnect() {
    for code in CloseCode::ALL {
        let push = Push::Goodbye { code: *code, message: "m", retry_ms: Some(5) };
        let told = match code.number() {
            4_820..=4_824 => "41/game,",
            _ => "",
        };
        assert_eq!(pushed("game", &push), told, "{code}");
    }
}

#[test]
fn replies_are_acknowledgements() {
    let done = Reply::Created { room: "lobby", created: true };
    let object = r#"{"type":"created","room":"lobby","created":true}"#;
    assert_eq!(replied("default", Some(7), &done), format!("437[{object}]"));
    assert_eq!(replied("game", Some(0), &done), format!("43/game,0[{object}]"));
    assert_eq!(replied("default", None, &done), "");
    let one = payload("5");
    for (data, expected) in [
        (None, "437[]"),
        (Some(&one), "437[5]"),
        (Some(&arguments("[1,[2]]")), "437[1,[2]]"),
        (Some(&arguments("[]")), "437[]"),
    ] {
        assert_eq!(replied("default", Some(7), &Reply::Result { data }), expected);
        assert_eq!(replied("default", None, &Reply::Result { data }), "");
    }
    let error = |code| Reply::Error { code, message: "no".into(), retry_ms: None };
    let object =
        r#"{"type":"error","code":4030,"reason":"not_a_member","message":"no","retry":false}"#;
    let refused = error(ErrorCode::NotAMember);
    assert_eq!(replied("default", Some(7), &refused), format!("437[{object}]"));
    assert_eq!(replied("default", None, &refused), format!("42[\"error\",{object}]"));
    assert_eq!(replied("default", None, &error(ErrorCode::NoSuchCall)), "");
    assert!(replied("default", Some(7), &error(ErrorCode::NoSuchCall)).starts_with("437[{"));
}

#[test]
fn a_connect_is_answered_by_its_own_kind_of_packet() {
    let nobody = Standing { session: None, ..standing() };
    let reference = read("0", &nobody).unwrap().reference;
    let welcome = socketio_support::welcome(SessionId(7));
    let sid = r#"{"sid":"AAAAAAAAAAAAAAAAAAAABw"}"#;
    assert_eq!(replied("default", reference, &welcome), format!("40{sid}"));
    assert_eq!(replied("game", reference, &welcome), format!("40/game,{sid}"));
    let error =
        Reply::Error { code: ErrorCode::TokenRequired, message: "no".into(), retry_ms: None };
    assert_eq!(
        replied("game", reference, &error),
        r#"44/game,{"message":"no","data":{"code":4010,"reason":"token_required"}}"#
    );
    let mut out = bytes::BytesMut::new();
    roomcast_wire::dialect::socketio::refuse_namespace(Codec::Json, "/random", &mut out);
    assert_eq!(out[2..], br#"44/random,{"message":"Invalid namespace"}"#[..]);
}

#[test]
fn attachments_stand_in_their_places() {
    let text =
        r#"52-/game,7["save",{"a":{"_placeholder":true,"num":1}},{"num":0,"_placeholder":true}]"#;
    let packet = assembled(text, &[b"\x01\x02", b"\xff"]).unwrap();
    assert_eq!(namespace_of(&packet), Some("/game"));
    let request = JSON.decode(&packet, &standing()).unwrap();
    assert_eq!(request.reference, Some(7));
    let Command::Call { data: Some(data), .. } = request.command else { panic!() };
    assert!(data.is_arguments());
    assert_eq!(data.codec(), Codec::MsgPack);
    assert_eq!(&data.bytes()[..], b"\x92\x81\xa1a\xc4\x01\xff\xc4\x02\x01\x02");
    // And back to clients of either parser.
    let name = EventName::text("save").unwrap();
    let push = Push::Call { id: 3, call: &name, data: Some(&data) };
    let frames = socketio_support::frames(JSON, "game", &push);
    assert_eq!(frames.len(), 3);
    let place = |number| format!(r#"{{"_placeholder":true,"num":{number}}}"#);
    let text = format!(r#"452-/game,3["save",{{"a":{}}},{}]"#, place(0), place(1));
    assert_eq!(frames[0], (true, text.into_bytes()));
    assert_eq!(frames[1..], [(false, vec![0xff]), (false, vec![1, 2])]);
    let packed = socketio_support::frames(MSGPACK, "game", &push);
    let map = b"\x84\xa4type\x02\xa4data\x93\xa4save\x81\xa1a\xc4\x01\xff\xc4\x02\x01\x02\
                \xa3nsp\xa5/game\xa2id\x03";
    assert_eq!(packed, [(false, map.to_vec())]);
    let ack = assembled(r#"61-9[{"_placeholder":true,"num":0}]"#, &[b"x"]).unwrap();
    let Command::Result { id: 9, data: Some(data), .. } =
        JSON.decode(&ack, &standing()).unwrap().command
    else {
        panic!()
    };
    assert_eq!(&data.bytes()[..], b"\x91\xc4\x01x");
}

/// Placeholders that nobody wrote as such would make the clients of others close their connection.
#[test]
fn nobody_can_forge_a_placeholder_for_others() {
    let bytes = b"\x92\xc4\x01x\x82\xac_placeholder\xc3\xa3num\x63";
    let data = Payload::new(Codec::MsgPack, Bytes::copy_from_slice(bytes)).unwrap();
    let name = EventName::text("x").unwrap();
    let push = Push::Message { event: &name, data: Some(&data), from: None };
    let said = pushed("default", &push);
    assert_eq!(said, r#"42["x",["eA==",{"_placeholder":true,"num":99}]]"#);
    // So would more attachments than the reference parser takes.
    let many: Vec<u8> = [0x9b].into_iter().chain([0xc4, 1, b'x'].repeat(11)).collect();
    let data = Payload::new(Codec::MsgPack, many.into()).unwrap();
    let push = Push::Message { event: &name, data: Some(&data), from: None };
    assert!(pushed("default", &push).starts_with(r#"42["x",["eA==","#));
}

#[test]
fn a_packet_of_the_msgpack_parser_is_one_map() {
    let read = |bytes: &[u8]| {
        let message = Bytes::copy_from_slice(bytes);
        let request = MSGPACK.decode(&message, &standing()).unwrap();
        (request.reference, request.command.kind(), namespace_of(&message).unwrap().to_owned())
    };
    let join = b"\x85\xa4type\x02\xa4data\x92\xa4join\xa5lobby\xa7options\x81\xa8compress\xc3\
                 \xa3nsp\xa1/\xa2id\x07";
    assert_eq!(read(join), (Some(7), "join", "/".to_owned()));
    let ack = b"\x84\xa4type\x03\xa4data\x91\x01\xa3nsp\xa5/game\xa2id\x02";
    assert_eq!(read(ack), (None, "result", "/game".to_owned()));
    let nobody = Standing { session: None, ..standing() };
    // `undefined` as its older and newer clients write it.
    for data in [&b"\xc0"[..], b"\xd4\0\0", b"\x80"] {
        let message = [&b"\x83\xa4type\0\xa3nsp\xa1/\xa4data"[..], data].concat();
        let message = Bytes::from(message);
        assert_eq!(MSGPACK.decode(&message, &nobody).unwrap().command.kind(), "hello");
    }
    let mut out = bytes::BytesMut::new();
    let to = Receiver { namespace: "game", ..Default::default() };
    let welcome = socketio_support::welcome(SessionId(7));
    MSGPACK.encode_reply(&to, None, &welcome, &mut out);
    assert_eq!(
        out[2..],
        b"\x83\xa4type\0\xa4data\x81\xa3sid\xb6AAAAAAAAAAAAAAAAAAAABw\xa3nsp\xa5/game"[..]
    );
}

#[test]
fn a_list_of_arguments_stays_one() {
    let list = arguments("[1]");
    assert!(list.to_codec(Codec::MsgPack).is_arguments() && list.detached().is_arguments());
    assert!(list.to_codec(Codec::MsgPack).to_codec(Codec::Json).is_arguments());
    assert!(!payload("{}").into_arguments().is_arguments());
    let event = Event { from: None, ..event(EventName::Number(1), Some(list)) };
    let mut out = bytes::BytesMut::new();
    let to = Receiver::default();
    Format::JSON_LINE.encode_push(&to, &Push::Event { room: "r", event: &event }, &mut out);
    assert!(out.windows(10).any(|part| part == br#""data":[1]"#));
}

#[test]
fn a_client_comes_back_with_what_it_was_given() {
    let nobody = Standing { session: None, ..standing() };
    let resume = |auth: &str| match read(&format!("0{auth}"), &nobody).unwrap().command {
        Command::Hello { resume, .. } => resume,
        other => panic!("{other:?}"),
    };
    let pid = format!("{}{}", SessionId(7), Secret(9));
    let offset = Offset { epoch: Epoch::new(7), number: 41 };
    let back = |offset| Some(Resume { session: SessionId(7), secret: Secret(9), offset });
    assert_eq!(resume(&format!(r#"{{"pid":"{pid}","offset":"{offset}"}}"#)), back(Some(offset)));
    // It has heard nothing yet.
    assert_eq!(resume(&format!(r#"{{"pid":"{pid}"}}"#)), back(None));
    assert_eq!(resume(&format!(r#"{{"pid":"{pid}","offset":null}}"#)), back(None));
    // What the server has not written.
    for wrong in ["", "x", "ZZZZ", &pid[1..], &format!("{pid}A"), &"é".repeat(22)] {
        assert_eq!(resume(&format!(r#"{{"pid":"{wrong}"}}"#)), None, "{wrong}");
    }
    for wrong in ["", "7", "AAAAAAAA", "connected", &"9".repeat(10_000)] {
        assert_eq!(resume(&format!(r#"{{"pid":"{pid}","offset":"{wrong}"}}"#)), None, "{wrong}");
    }
    assert_eq!(resume(r#"{"pid":7}"#), None);
}

#[test]
fn offsets_stand_last_in_what_is_told_and_are_not_acknowledged() {
    let offset = Some(Offset { epoch: Epoch::new(7), number: 41 });
    let to = Receiver { offset, namespace: "game", ..Receiver::default() };
    let written = |format: Format, push: &Push<'_>| {
        let mut out = bytes::BytesMut::new();
        format.encode_push(&to, push, &mut out);
        out
    };
    let text = |push: &Push<'_>| {
        let frame = written(JSON, push);
        let head = if frame[1] < 126 { 2 } else { 4 };
        String::from_utf8(frame[head..].to_vec()).unwrap()
    };
    let name = EventName::text("x").unwrap();
    let message = |data| Push::Message { event: &name, data, from: None };
    assert_eq!(text(&message(None)), r#"42/game,["x","AAAAAAAH41"]"#);
    let spread = payload(r#"[1,"a"]"#).into_arguments();
    assert_eq!(text(&message(Some(&spread))), r#"42/game,["x",1,"a","AAAAAAAH41"]"#);
    let closed = Push::RoomClosed { room: "game/r", reason: ClosedReason::Deleted };
    assert!(text(&closed).ends_with(r#","AAAAAAAH41"]"#));
    let call = Push::Call { id: 3, call: &name, data: None };
    assert_eq!(text(&call), r#"42/game,3["x"]"#);
    let bytes = Payload::list(&[Payload::bin(b"ab")]).unwrap().into_arguments();
    let frames = written(JSON, &message(Some(&bytes)));
    let placed = br#"451-/game,["x",{"_placeholder":true,"num":0},"AAAAAAAH41"]"#;
    assert_eq!(&frames[2..2 + placed.len()], placed);
    assert_eq!(&frames[2 + placed.len()..], [0x82, 2, b'a', b'b']);
    // Of the msgpack parser: one element more in the list.
    let packed = written(MSGPACK, &message(None));
    let list = [&b"\xa4data\x92\xa1x\xaa"[..], b"AAAAAAAH41"].concat();
    assert!(packed.windows(list.len()).any(|part| part == list), "{packed:?}");
}
