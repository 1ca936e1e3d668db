//! Names that mean something elsewhere (threat S24), as every decoder reads them: each is taken as
//! it is or refused in words, and none ends the connection. What is written of those that are taken
//! is what was meant, and nothing beside it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::socketio::Assembler;
use roomcast_wire::dialect::{Cut, DecodeError, Dialect, Receiver, Standing};
use roomcast_wire::engineio::{Packet, Packets};
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{
    Codec, Command, ErrorCode, EventName, Format, Name, Payload, Push, Request, SessionId,
};
use serde_json::{Value, json};

const TAKEN: [&str; 12] = [
    "a.*",
    ">",
    "*",
    "x y",
    "$JS.API.>",
    "..",
    "%2e%2e%2f",
    "{}\",\"type\"",
    "\\\\\"",
    "_placeholder",
    "__proto__",
    "42[\"leave\"]",
];

const REFUSED: [&str; 16] = [
    "",
    "r\r\nPUB",
    "r\nadmin:hi",
    "\0",
    "a\0b",
    "a\u{1e}b",
    "\u{1b}[31mred",
    "\u{7f}",
    "a\u{85}b",
    "a\u{ad}b",
    "a\u{200d}b",
    "a\u{202e}b",
    "a\u{2028}b",
    "a\u{2066}b",
    "a\u{feff}b",
    "\u{e0041}",
];

/// What a decoder makes of a name: what it is in the command, or why there is none.
type Read = Result<String, ErrorCode>;

fn standing() -> Standing<'static> {
    Standing {
        session: Some(SessionId(1)),
        namespace: "default",
        convention: true,
        ..Standing::default()
    }
}

fn name_in(read: Result<Request<'_>, DecodeError>) -> Read {
    match read.map(|request| request.command) {
        Ok(Command::Join { room, .. } | Command::Publish { room, .. }) => {
            Ok(room.as_str().to_owned())
        }
        Ok(Command::Call { call, .. }) => Ok(call.to_string()),
        Ok(Command::Hello { name, .. }) => Ok(name.unwrap_or_default().into_owned()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert_eq!(error.close, None, "the client can go on: {}", error.refusal.message);
            // What a person or a log is shown holds no part of it that a terminal would obey.
            assert!(!error.refusal.message.contains(char::is_control), "{}", error.refusal.message);
            Err(error.refusal.code)
        }
    }
}

fn packed(value: &Value) -> Bytes {
    Payload::json(value).unwrap().to_codec(Codec::MsgPack).bytes().clone()
}

fn native(codec: Codec, name: &str) -> Read {
    let value = json!({"type": "join", "ref": 1, "room": name});
    let (format, message) = match codec {
        Codec::Json => (Format::JSON_LINE, Bytes::from(value.to_string())),
        Codec::MsgPack => (Format::MSGPACK_WS, packed(&value)),
    };
    name_in(format.decode(&message, &standing()))
}

/// A packet of Socket.IO as it comes over WebSocket, or in a payload of HTTP long-polling with
/// others before and behind it.
fn socketio(codec: Codec, polled: bool, data: &Value) -> Read {
    let packet = match codec {
        Codec::Json => Packet::Text(format!("2{data}").into()),
        Codec::MsgPack => Packet::Binary(packed(&json!({"type": 2, "data": data, "nsp": "/"}))),
    };
    let packet = if polled { through_payload(&packet) } else { packet };
    let mut assembler = Assembler::new(1 << 16);
    let whole = match packet {
        Packet::Text(text) => assembler.text(text),
        Packet::Binary(bytes) => assembler.binary(bytes),
        other => panic!("{other:?}"),
    };
    let (whole, format) = (whole.unwrap().unwrap(), assembler.format().unwrap());
    assert_eq!(format.codec(), codec);
    name_in(format.decode(&whole, &standing()))
}

fn through_payload(packet: &Packet) -> Packet {
    let one = match packet {
        Packet::Text(text) => format!("4{}", std::str::from_utf8(text).unwrap()),
        Packet::Binary(bytes) => format!("b{}", BASE64_STANDARD.encode(bytes)),
        other => panic!("{other:?}"),
    };
    let payload = format!("3\u{1e}{one}\u{1e}6");
    let packets = Packets::read(payload.into()).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let [Packet::Pong(_), read, Packet::Noop] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(read, packet);
    read.clone()
}

/// A hello of MaChat's in frames of a WebSocket that are cut anywhere.
fn machat(hello: &Value, entered: bool) -> Read {
    let text = hello.to_string() + "\nhi\n";
    let mut cutter = Dialect::MaChat.grammar().ws_stream().unwrap();
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for frame in text.as_bytes().chunks(7) {
        buffer.extend_from_slice(frame);
        while let Some(Cut::Message(message)) = cutter.cut(&mut buffer, 1 << 16).unwrap() {
            messages.push(message);
        }
    }
    assert_eq!(messages.len(), 2, "the name ends no message");
    let place = match entered {
        true => Standing { goes_on: true, ..standing() },
        false => Standing::default(),
    };
    let read = [Format::MACHAT_WS, Format::MACHAT_WS_BINARY]
        .map(|format| name_in(format.decode(&messages[0], &place)));
    assert_eq!(read[0], read[1]);
    read[0].clone()
}

fn msgio(format: Format, name: &str) -> Read {
    let text = json!({"namespace": name, "event": name, "payload": name});
    let message = match format.codec() {
        Codec::Json => Bytes::from(text.to_string()),
        Codec::MsgPack => packed(&json!([name, name, name])),
    };
    name_in(format.decode(&message, &standing()))
}

fn mesh(name: &str) -> Read {
    let message = json!({"action": "say", "message_body": {"x": 1}, "target": name});
    name_in(Format::MESH_WS.decode(&message.to_string().into(), &standing()))
}

/// JoinRoom of simple-chat-server.
fn simple_chat(name: &str) -> Read {
    let mut request = b"\x1d\xff\x81\x03\x01\x01\x06Action\x01\xff\x82\x00\x01\x01\x01\x04Name\
        \x01\x04\x00\x00\x00\x05\xff\x82\x01\x02\x00\x1b\xff\x83\x03\x01\x01\x04Room\x01\xff\x84\
        \x00\x01\x01\x01\x04Name\x01\x0c\x00\x00\x00"
        .to_vec();
    let uint = |number: usize| match number {
        0..0x80 => vec![number as u8],
        _ => vec![0xfe, (number >> 8) as u8, number as u8],
    };
    let body = [b"\xff\x84\x01", &uint(name.len())[..], name.as_bytes(), b"\x00"].concat();
    request.extend([uint(body.len()), body].concat());
    name_in(Format::SIMPLE_CHAT.decode(&request.into(), &standing()))
}

/// Every way by which a name comes in.
fn read_everywhere(name: &str) -> Vec<(&'static str, Read)> {
    let mut read = vec![
        ("native json", native(Codec::Json, name)),
        ("native msgpack", native(Codec::MsgPack, name)),
        ("machat room", machat(&json!({"name": "Mina", "room": name}), true)),
        ("machat person", machat(&json!({"name": name, "room": "r"}), false)),
        ("msgio ws", msgio(Format::MSGIO_WS, name)),
        ("msgio json", msgio(Format::MSGIO_JSON, name)),
        ("msgio msgpack", msgio(Format::MSGIO_MSGPACK, name)),
        ("mesh", mesh(name)),
        ("simple-chat", simple_chat(name)),
    ];
    for &codec in Codec::ALL {
        for polled in [false, true] {
            for (what, data) in [
                ("socketio room", json!(["join", name])),
                ("socketio map", json!(["join", {"room": name}])),
                ("socketio to-room", json!(["to-room", name, "say", 1])),
                ("socketio event", json!([name, 1])),
            ] {
                read.push((what, socketio(codec, polled, &data)));
            }
        }
    }
    read
}

#[test]
fn s24_names_are_taken_as_they_are_or_refused_by_every_decoder() {
    for name in TAKEN {
        for (what, read) in read_everywhere(name) {
            assert_eq!(read.as_deref(), Ok(name), "{what}");
        }
    }
    let long = "n".repeat(256);
    for name in REFUSED.into_iter().chain([&*long]) {
        for (what, read) in read_everywhere(name) {
            // MaChat's clients may leave both out.
            let left_out = name.is_empty() && what.starts_with("machat");
            let expected = match what {
                "machat room" if left_out => Ok("lounge"),
                "machat person" if left_out => Ok(""),
                _ => Err(&ErrorCode::InvalidName),
            };
            assert_eq!(read.as_deref(), expected, "{what}: {name:?}");
        }
    }
}

/// Whoever says something under such a name in such a room: each format writes one event, from
/// which the name comes out as it went in.
#[test]
fn s24_names_are_written_so_that_they_end_nothing() {
    for name in TAKEN {
        let sender = Sender {
            session: SessionId(7),
            user: None,
            name: Some(Name::new(name).unwrap()),
            metadata: None,
        };
        let event = Event {
            name: EventName::text(name).unwrap(),
            payload: Some(Payload::text(name)),
            from: Some(Arc::new(sender)),
            position: None,
            reliable: true,
            unreliable: 0,
        };
        let push = Push::Event { room: name, event: &event };
        for format in Format::all() {
            let mut out = BytesMut::new();
            format.encode_push(&Receiver::default(), &push, &mut out);
            // Engine.IO by itself has no word for it.
            assert_eq!(out.is_empty(), format == Format::ENGINEIO);
            match (format.dialect(), format.codec()) {
                (Dialect::MaChat, _) => {
                    let shown = name.replace(':', "_");
                    let line = format!("{shown}:[{name}] {name}\n");
                    assert!(out.ends_with(line.as_bytes()), "{name}: {out:?}");
                }
                (Dialect::SocketIo, Codec::Json) => {
                    let text = String::from_utf8_lossy(&out);
                    let list = &text[text.find('[').unwrap()..];
                    let list: Value = serde_json::from_str(list).unwrap();
                    assert_eq!((&list[0], &list[1]), (&json!(name), &json!(name)));
                    assert_eq!(list[2]["from"]["name"], name);
                }
                (Dialect::MsgIo, Codec::Json) => {
                    let start = out.iter().position(|&byte| byte == b'{').unwrap();
                    let read: Value = serde_json::from_slice(&out[start..]).unwrap();
                    assert_eq!(read, json!({"namespace": "", "event": name, "payload": name}));
                }
                _ => {}
            }
        }
    }
}
