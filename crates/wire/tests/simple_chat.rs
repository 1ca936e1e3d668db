//! simple-chat-server's dialect: what is read from any definitions, and what is no request.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_wire::dialect::simple_chat::{FIELDS_MAX, TYPES_MAX};
use roomcast_wire::dialect::{Cut, CutError, Dialect, Receiver, Standing};
use roomcast_wire::{CloseCode, Command, ErrorCode, EventName, Format, Payload, Push};

const FORMAT: Format = Format::SIMPLE_CHAT;
const BYTES_MAX: usize = 4_096;
const INT: i64 = 2;
const STRING: i64 = 6;

fn uint(number: u64, out: &mut Vec<u8>) {
    if number < 0x80 {
        return out.push(number as u8);
    }
    let bytes = number.to_be_bytes();
    let bytes = &bytes[(number.leading_zeros() / 8) as usize..];
    out.push(0_u8.wrapping_sub(bytes.len() as u8));
    out.extend(bytes);
}

fn int(number: i64, out: &mut Vec<u8>) {
    let shifted = number.cast_unsigned() << 1;
    uint(if number < 0 { !shifted } else { shifted }, out);
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    uint(bytes.len() as u64, out);
    out.extend(bytes);
}

fn built(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn behind_len(body: &[u8]) -> Vec<u8> {
    built(|out| text(body, out))
}

/// The definition of a struct.
fn define(id: i64, fields: &[(&str, i64)]) -> Vec<u8> {
    behind_len(&built(|out| {
        int(-id, out);
        // StructT, its common part, its own id, and its fields.
        out.extend([3, 1, 2]);
        int(id, out);
        out.extend([0, 1]);
        uint(fields.len() as u64, out);
        for (name, id) in fields {
            out.push(1);
            text(name.as_bytes(), out);
            out.push(1);
            int(*id, out);
            out.push(0);
        }
        out.extend([0, 0]);
    }))
}

/// The definition of a slice (sort 2) or an array (sort 1, of 3).
fn define_list(id: i64, sort: u8, element: i64) -> Vec<u8> {
    behind_len(&built(|out| {
        int(-id, out);
        out.extend([sort, 1, 2]);
        int(id, out);
        out.extend([0, 1]);
        int(element, out);
        if sort == 1 {
            out.extend([1, 6]);
        }
        out.extend([0, 0]);
    }))
}

fn value(id: i64, body: &[u8]) -> Vec<u8> {
    behind_len(&built(|out| {
        int(id, out);
        out.extend(body);
    }))
}

fn action(number: i64) -> Vec<u8> {
    let body = built(|out| {
        if number != 0 {
            out.push(1);
            int(number, out);
        }
        out.push(0);
    });
    [define(65, &[("Name", INT)]), value(65, &body)].concat()
}

/// A value with texts as its fields, by their order.
fn texts(fields: &[&[u8]]) -> Vec<u8> {
    built(|out| {
        for field in fields {
            out.push(1);
            text(field, out);
        }
        out.push(0);
    })
}

fn named(room: &[u8]) -> Vec<u8> {
    [define(66, &[("Name", STRING)]), value(66, &texts(&[room]))].concat()
}

/// All that is cut off a stream that comes in parts of `step` bytes, and how it ended.
fn cut(stream: &[u8], step: usize) -> (Vec<Bytes>, Option<CutError>) {
    let mut cutter = Dialect::SimpleChat.grammar().stream().unwrap();
    let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
    for part in stream.chunks(step.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            match cutter.cut(&mut buffer, BYTES_MAX) {
                Ok(Some(Cut::Message(message))) => messages.push(message),
                Ok(Some(Cut::Begins(format))) => assert_eq!(format, FORMAT),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

/// The words of a request for a room.
fn asked(request: &[u8]) -> Result<(String, String), ErrorCode> {
    let message = Bytes::copy_from_slice(request);
    let request = FORMAT.decode(&message, &Standing::default());
    let request = request.map_err(|error| error.refusal.code)?;
    let room = match &request.command {
        Command::Join { room, .. } | Command::Leave { room, .. } => room.as_str(),
        Command::Create { room, .. } => room.as_ref().unwrap().as_str(),
        Command::Publish { room, .. } => room.as_str(),
        _ => "",
    };
    Ok((request.command.kind().to_owned(), room.to_owned()))
}

fn ok(kind: &str, room: &str) -> Result<(String, String), ErrorCode> {
    Ok((kind.to_owned(), room.to_owned()))
}

#[test]
fn what_is_asked_stands_in_fields_of_these_names() {
    assert_eq!(asked(&action(0)), ok("rooms", ""));
    for (number, kind) in [(1, "join"), (3, "leave"), (4, "create")] {
        assert_eq!(asked(&[action(number), named(b"red")].concat()), ok(kind, "red"));
    }
    // In any order, among others, with types of any id.
    let fields = [("Message", STRING), ("X", 900), ("Room", STRING)];
    let body = built(|out| {
        out.push(1);
        text(b"hello", out);
        // Two floats in a slice, passed over.
        out.extend([1, 2, 0x40, 0x41, 1]);
        text(b"red", out);
        out.push(0);
    });
    let post = [define_list(900, 2, 4), define(70_000, &fields), value(70_000, &body)].concat();
    let message = Bytes::from([action(2), post].concat());
    let request = FORMAT.decode(&message, &Standing::default()).unwrap();
    assert_eq!(request.reference, None);
    let Command::Publish { room, event, data, echo, .. } = request.command else { panic!() };
    assert_eq!((room.as_str(), event.as_text(), echo), ("red", Some("chat"), Some(true)));
    assert_eq!(&data.unwrap().bytes()[..], br#"{"text":"hello"}"#);
}

#[test]
fn what_is_no_value_of_these_is_refused_and_the_link_can_go_on() {
    use ErrorCode::{InvalidField, InvalidName, Malformed};
    let nested = |depth: usize| {
        let body = [vec![1], vec![1; depth], vec![0; depth + 2]].concat();
        [define(66, &[("Next", 66)]), value(66, &body)].concat()
    };
    let bomb = |count: &[u8]| {
        let body = [&[1][..], count, &[0, 0]].concat();
        [define_list(67, 2, 66), define(66, &[("Members", 67)]), value(66, &body)].concat()
    };
    let many: Vec<_> = (0..=TYPES_MAX as i64).map(|at| define(100 + at, &[])).collect();
    let wide: Vec<_> = (0..=FIELDS_MAX).map(|_| ("F", INT)).collect();
    let huge = [0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for (what, code, value) in [
        ("an empty name", InvalidName, named(b"")),
        ("a control character", InvalidName, named(b"a\r\nb")),
        ("a namespace", InvalidName, named(b"a/b")),
        ("no UTF-8", InvalidField, named(b"\xff")),
        (
            "a number as a name",
            Malformed,
            [define(66, &[("Name", 1)]), value(66, &[1, 1, 0])].concat(),
        ),
        (
            "an int as a name",
            InvalidField,
            [define(66, &[("Name", INT)]), value(66, &[1, 2, 0])].concat(),
        ),
        ("no struct", Malformed, [define_list(66, 2, STRING), value(66, &[0, 0])].concat()),
        ("an unknown type", Malformed, [define(66, &[]), value(67, &[0])].concat()),
        ("a field that is not there", Malformed, [define(66, &[]), value(66, &[1, 0])].concat()),
        ("a field far off", Malformed, [define(66, &[]), value(66, &huge)].concat()),
        ("a count of 2^64 - 1", Malformed, bomb(&huge)),
        ("a count beyond its message", Malformed, bomb(&[3])),
        ("a type that holds itself, deep", Malformed, nested(64)),
        ("a type twice", Malformed, [define(66, &[]), define(66, &[]), value(66, &[0])].concat()),
        ("33 types", Malformed, [many.concat(), value(100, &[0])].concat()),
        ("65 fields", Malformed, [define(66, &wide), value(66, &[0])].concat()),
        (
            "an empty definition",
            Malformed,
            [behind_len(&[0xff, 0x83, 0]), value(66, &[0])].concat(),
        ),
        ("more than a value", Malformed, [define(66, &[]), value(66, &[0, 7])].concat()),
    ] {
        let request = [action(1), value].concat();
        assert_eq!(asked(&request), Err(code), "{what}");
        // However it is wrong, its end is known: what follows is read.
        let (messages, error) = cut(&[request, action(0)].concat(), usize::MAX);
        assert_eq!((messages.len(), error.is_none()), (2, true), "{what}: {error:?}");
    }
    assert_eq!(asked(&[action(1), nested(20)].concat()), Err(InvalidName));
}

#[test]
fn what_cannot_be_a_request_ends_the_link() {
    let unknown = [action(5), named(b"red")].concat();
    for (what, code, stream) in [
        ("an unknown action", CloseCode::Protocol, &unknown[..]),
        ("a negative action", CloseCode::Protocol, &action(-1)),
        ("HTTP", CloseCode::Protocol, b"GET / HTTP/1.1\r\n\r\n"),
        ("TLS", CloseCode::Protocol, b"\x16\x03\x01\x02\x00\x01"),
        ("JSON", CloseCode::Protocol, b"{\"type\":\"ping\"}\n"),
        ("zeros", CloseCode::Protocol, &[0; 8]),
        ("a number of 127 bytes", CloseCode::Protocol, &[0x81; 8]),
        ("a value without definition", CloseCode::Protocol, &value(65, &[0])),
        ("a type that all know", CloseCode::Protocol, &define(23, &[])),
        ("an id beyond its message", CloseCode::Protocol, b"\x01\xff\xff\x40\xff\x81"),
        ("the most negative id", CloseCode::Protocol, &behind_len(&[0xf8; 9])),
        ("a length of 2^63", CloseCode::TooLarge, &[0xf8, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("a length above the limit", CloseCode::TooLarge, &[0xfe, 0x10, 0x00]),
    ] {
        for step in [1, usize::MAX] {
            let (messages, error) = cut(stream, step);
            let error = error.unwrap_or_else(|| panic!("{what}: {messages:?}"));
            assert_eq!((messages.len(), error.code), (0, code), "{what}: {}", error.message);
        }
    }
    // All of a request counts, not only its last message.
    let long = [action(1), vec![define(66, &[]); 600].concat()].concat();
    assert_eq!(cut(&long, 1).1.unwrap().code, CloseCode::TooLarge);
}

/// Definitions as another program might send them.
fn types() -> impl Strategy<Value = (Vec<u8>, i64)> {
    let own = (64..1_i64 << 40, vec(("[a-zA-Z]{1,8}", 1..8_i64), 0..4));
    vec(own, 0..6).prop_map(|types| {
        let mut out = Vec::new();
        let mut ids: Vec<i64> = Vec::new();
        for (id, fields) in types {
            if ids.contains(&id) {
                continue;
            }
            ids.push(id);
            let fields: Vec<_> = fields.iter().map(|(name, id)| (name.as_str(), *id)).collect();
            out.extend(define(id, &fields));
        }
        (out, ids.iter().max().map_or(64, |id| id + 1))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_ids_and_definitions_around_mean_the_same(
        (before, id) in types(),
        name in "[a-z ]{1,40}",
        at in 0..3_usize,
        step in 1..200_usize,
    ) {
        let mut fields = vec![("Xy", STRING), ("Zz", STRING)];
        let mut said: Vec<&[u8]> = vec![b"x", b"z"];
        fields.insert(at, ("Name", STRING));
        said.insert(at, name.as_bytes());
        let value = [before, define(id, &fields), value(id, &texts(&said))].concat();
        let request = [action(3), value].concat();
        let (messages, error) = cut(&[&request[..], &request].concat(), step);
        prop_assert!(error.is_none());
        prop_assert_eq!(&messages, &[Bytes::from(request.clone()), Bytes::from(request)]);
        prop_assert_eq!(asked(&messages[0]), ok("leave", &name));
    }

    #[test]
    fn a_request_cut_anywhere_is_waited_for_and_refused(end in any::<prop::sample::Index>()) {
        let request = [action(1), named(b"red")].concat();
        let end = end.index(request.len());
        let (messages, error) = cut(&request[..end], 1);
        prop_assert!(messages.is_empty() && error.is_none());
        prop_assert!(asked(&request[..end]).is_err());
    }

    #[test]
    fn random_bytes_do_no_harm(
        bytes in vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
        step in 1..40_usize,
    ) {
        let mut request = [action(2), named(b"red")].concat();
        let at = at.index(request.len());
        let end = request.len().min(at + bytes.len());
        request.splice(at..end, bytes.clone());
        for stream in [bytes, request] {
            let (whole, error) = cut(&stream, usize::MAX);
            let (parts, other) = cut(&stream, step);
            prop_assert_eq!(&whole, &parts);
            prop_assert_eq!(error.is_some(), other.is_some());
            for message in whole {
                let _ = FORMAT.decode(&message, &Standing::default());
            }
            let _ = FORMAT.decode(&Bytes::from(stream), &Standing::default());
        }
    }
}

/// A byte looks at no more than the head of the message it belongs to: a megabyte byte by byte
/// takes no longer than many small requests. (With a scan from the start it is 5 * 10^11 looks.)
#[test]
fn what_comes_byte_by_byte_is_looked_at_once() {
    let mut cutter = Dialect::SimpleChat.grammar().stream().unwrap();
    let size = 1 << 20;
    let request = [action(1), named(&vec![b'x'; size])].concat();
    let mut buffer = BytesMut::new();
    let mut found = 0;
    for byte in request {
        buffer.extend_from_slice(&[byte]);
        while let Some(cut) = cutter.cut(&mut buffer, 2 * size).unwrap() {
            found += usize::from(matches!(cut, Cut::Message(_)));
        }
    }
    assert_eq!((found, buffer.len()), (1, 0));
}

/// Fields that are empty are not sent: the next one stands further on. Numbers have as few bytes
/// as they need.
#[test]
fn posts_are_written_as_go_writes_them() {
    let event = EventName::text("chat").unwrap();
    let written = |said: &str| {
        let (data, mut out) = (Payload::text(said), BytesMut::new());
        let push = Push::Message { event: &event, data: Some(&data), from: None };
        FORMAT.encode_push(&Receiver::default(), &push, &mut out);
        out
    };
    let short = written("hi");
    assert!(short.ends_with(b"\x0f\xff\x8c\x02\x06server\x01\x02hi\x00"), "{short:?}");
    assert!(written("").ends_with(b"\x0b\xff\x8c\x02\x06server\x00"));
    let long = written(&"x".repeat(300));
    let head = b"\xfe\x01\x3b\xff\x8c\x02\x06server\x01\xfe\x01\x2cxxx";
    assert!(long.windows(head.len()).any(|window| window == head), "{long:?}");
    let middle = written(&"x".repeat(200));
    let head = b"\xff\xd6\xff\x8c\x02\x06server\x01\xff\xc8xxx";
    assert!(middle.windows(head.len()).any(|window| window == head), "{middle:?}");
}
