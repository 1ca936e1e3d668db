//! The native dialect: what is read, what is written, and what is refused in which words.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::{DecodeError, native};
use roomcast_wire::{Codec, Command, ErrorCode, EventName, Payload, Request, RoomPath};

fn json(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The same command written in MessagePack.
fn as_msgpack(text: &str) -> Bytes {
    Payload::new(Codec::Json, json(text)).unwrap().to_codec(Codec::MsgPack).bytes().clone()
}

/// The refusal of a message, which is the same in both codecs.
fn refused(text: &str) -> DecodeError {
    let message = json(text);
    let error = native::decode(Codec::Json, &message).unwrap_err();
    if let Ok(payload) = Payload::new(Codec::Json, message.clone()) {
        let message = payload.to_codec(Codec::MsgPack).bytes().clone();
        let other = native::decode(Codec::MsgPack, &message).unwrap_err();
        assert_eq!(other.refusal.code, error.refusal.code, "{text}: {other:?}");
        assert_eq!(other.reference, error.reference, "{text}");
    }
    error
}

#[test]
fn a_publish_borrows_and_shares() {
    let text = r#"{"type":"publish","ref":3,"room":"lobby","event":"chat","data": {"a": [1]} }"#;
    let message = json(text);
    let request = native::decode(Codec::Json, &message).unwrap();
    let Command::Publish { data, .. } = &request.command else { panic!("{request:?}") };
    let data = data.as_ref().unwrap();
    assert_eq!(data.bytes(), &br#"{"a": [1]}"#[..]);
    assert!(message.as_ptr_range().contains(&data.bytes().as_ptr()), "the payload was copied");
    let expected = Request {
        reference: Some(3),
        command: Command::Publish {
            room: RoomPath::parse("lobby").unwrap(),
            event: EventName::text("chat").unwrap(),
            data: Some(data.clone()),
            reliable: true,
            key: None,
            echo: None,
        },
    };
    assert_eq!(request, expected);
    let packed = as_msgpack(text);
    let again = native::decode(Codec::MsgPack, &packed).unwrap();
    assert_eq!(again.reference, Some(3));
    let Command::Publish { data: Some(data), .. } = again.command else { panic!("no data") };
    assert_eq!(data.to_codec(Codec::Json).bytes(), &br#"{"a":[1]}"#[..]);
}

#[test]
fn requests_are_written_as_they_are_read() {
    let text = concat!(
        r#"{"type":"publish","ref":3,"room":"a \"b\"","event":65537,"data":"x","#,
        r#""reliable":false,"key":"k","echo":false}"#
    );
    let message = json(text);
    let request = native::decode(Codec::Json, &message).unwrap();
    let mut out = BytesMut::new();
    native::encode_request(Codec::Json, &request, &mut out);
    assert_eq!(std::str::from_utf8(&out).unwrap(), text);
    out.clear();
    native::encode_request(Codec::MsgPack, &request, &mut out);
    assert_eq!(out, as_msgpack(text));
}

#[test]
fn a_refusal_names_the_field_and_the_reference() {
    let error = refused(r#"{"type":"join","ref":9,"room":5}"#);
    assert_eq!(error.reference, Some(9));
    assert_eq!(error.refusal.code, ErrorCode::InvalidField);
    let message = &error.refusal.message;
    assert!(message.contains("`room` must be the name of a room, for example"), "{message}");
}

/// Message, code, and words that the text of the refusal must hold.
const REFUSALS: &[(&str, ErrorCode, &[&str])] = &[
    (r#"{"ref":9}"#, ErrorCode::UnknownType, &["`type` is missing", "\"join\""]),
    (r#"{"type":7,"ref":9}"#, ErrorCode::UnknownType, &["`type` is a number"]),
    (r#"{"type":"jion","ref":9}"#, ErrorCode::UnknownType, &["\"jion\"", "hello, join, leave"]),
    (r#"{"type":"join","ref":9}"#, ErrorCode::InvalidField, &["`room` is missing", "\"lobby\""]),
    (r#"{"type":"join","ref":9,"room":null}"#, ErrorCode::InvalidField, &["`room` is missing"]),
    (r#"{"type":"join","ref":9,"room":[]}"#, ErrorCode::InvalidField, &["found an array"]),
    (r#"{"type":"join","ref":9,"room":""}"#, ErrorCode::InvalidName, &["`room`", "1 byte"]),
    (r#"{"type":"join","ref":9,"room":"a/b/c"}"#, ErrorCode::InvalidName, &["namespace/room"]),
    (r#"{"type":"join","ref":9,"room":"r\r\nPUB"}"#, ErrorCode::InvalidName, &["U+000D"]),
    (r#"{"type":"join","ref":9,"room":"a\u0000"}"#, ErrorCode::InvalidName, &["U+0000"]),
    (r#"{"type":"join","ref":9,"room":"a\u202eb"}"#, ErrorCode::InvalidName, &["U+202E"]),
    (r#"{"type":"join","ref":9,"room":"a\u200db"}"#, ErrorCode::InvalidName, &["U+200D"]),
    (
        r#"{"type":"join","ref":9,"room":"a","since":5}"#,
        ErrorCode::InvalidField,
        &["`since` must be a map of", "\"epoch\"", "found 5"],
    ),
    (
        r#"{"type":"join","ref":9,"room":"a","since":{"epoch":"q83vEjRW"}}"#,
        ErrorCode::InvalidField,
        &["`since` must be a map of"],
    ),
    (
        r#"{"type":"join","ref":9,"room":"a","since":{"epoch":"short","offset":1}}"#,
        ErrorCode::InvalidField,
        &["in `since`", "not a valid epoch"],
    ),
    (
        r#"{"type":"join","ref":9,"room":"a","since":{"epoch":"q83vEjRW","offset":-1}}"#,
        ErrorCode::InvalidField,
        &["`since` must be a map of"],
    ),
    (
        r#"{"type":"hello","ref":9,"resume":{"session":"x","secret":"y"}}"#,
        ErrorCode::InvalidField,
        &["in `resume`", "not a valid session id"],
    ),
    (r#"{"type":"hello","ref":9,"resume":{}}"#, ErrorCode::InvalidField, &["`session` and"]),
    (r#"{"type":"hello","ref":9,"token":""}"#, ErrorCode::InvalidField, &["1 to 8192 bytes"]),
    (r#"{"type":"hello","ref":9,"name":"a\tb"}"#, ErrorCode::InvalidName, &["`name`", "U+0009"]),
    (r#"{"type":"publish","ref":9,"room":"a"}"#, ErrorCode::InvalidField, &["`event` is missing"]),
    (
        r#"{"type":"publish","ref":9,"room":"a","event":true}"#,
        ErrorCode::InvalidField,
        &["`event` must be a string or a number", "found a boolean"],
    ),
    (
        r#"{"type":"publish","ref":9,"room":"a","event":9007199254740992}"#,
        ErrorCode::InvalidField,
        &["`event` must be", "9007199254740991"],
    ),
    (r#"{"type":"publish","ref":9,"room":"a","event":1.5}"#, ErrorCode::InvalidField, &["event"]),
    (r#"{"type":"publish","ref":9,"room":"a","event":""}"#, ErrorCode::InvalidName, &["event"]),
    (
        r#"{"type":"publish","ref":9,"room":"a","event":"e","reliable":1}"#,
        ErrorCode::InvalidField,
        &["`reliable` must be true or false"],
    ),
    (
        r#"{"type":"publish","ref":9,"room":"a","event":"e","key":""}"#,
        ErrorCode::InvalidField,
        &["`key` has 0 bytes", "1 to 128 bytes"],
    ),
    (
        r#"{"type":"create","ref":9,"options":[]}"#,
        ErrorCode::InvalidField,
        &["`options` must be a map", "found an array"],
    ),
    (r#"{"type":"send","ref":9,"event":"e"}"#, ErrorCode::InvalidField, &["to whom?"]),
    (
        r#"{"type":"send","ref":9,"event":"e","user":"u","session":"ASNFZ4mrze8AESIzRFVmdw"}"#,
        ErrorCode::InvalidField,
        &["both"],
    ),
    (
        r#"{"type":"send","ref":9,"event":"e","session":"me"}"#,
        ErrorCode::InvalidField,
        &["in `session`", "22 characters"],
    ),
    (
        r#"{"type":"history","ref":9,"room":"a","limit":4294967296}"#,
        ErrorCode::InvalidField,
        &["`limit` must be", "4294967295"],
    ),
    (r#"{"type":"refresh","ref":9}"#, ErrorCode::InvalidField, &["`token` is missing"]),
    (
        r#"{"type":"kick","ref":9,"room":"a","user":"u","message":"a\u001b[31m"}"#,
        ErrorCode::InvalidName,
        &["`message`", "U+001B"],
    ),
];

#[test]
fn every_refusal_says_which_field_and_what_was_expected() {
    for (text, code, words) in REFUSALS {
        let error = refused(text);
        assert_eq!(error.refusal.code, *code, "{text}: {}", error.refusal);
        assert_eq!(error.reference, Some(9), "{text}");
        for word in *words {
            assert!(error.refusal.message.contains(word), "{text}: {}", error.refusal);
        }
    }
}

#[test]
fn bounds_are_exact() {
    let publish =
        |key: &str| json(&format!(r#"{{"type":"publish","room":"a","event":"e","key":"{key}"}}"#));
    assert!(native::decode(Codec::Json, &publish(&"k".repeat(128))).is_ok());
    assert!(native::decode(Codec::Json, &publish(&"k".repeat(129))).is_err());
    let hello = |len| json(&format!(r#"{{"type":"hello","token":"{}"}}"#, "t".repeat(len)));
    assert!(native::decode(Codec::Json, &hello(8192)).is_ok());
    assert!(native::decode(Codec::Json, &hello(8193)).is_err());
    for kind in ["join", "leave"] {
        let data = |len: usize| {
            let text = "d".repeat(len - 2);
            json(&format!(r#"{{"type":"{kind}","ref":9,"room":"a","data":"{text}"}}"#))
        };
        assert!(native::decode(Codec::Json, &data(4096)).is_ok());
        let message = data(4097);
        let error = native::decode(Codec::Json, &message).unwrap_err();
        assert_eq!(error.refusal.code, ErrorCode::InvalidField);
        let text = &error.refusal.message;
        assert!(text.contains("4096") && text.contains("4097"), "{text}");
    }
    // Threat S24: a name of 1 MiB.
    let name = json(&format!(r#"{{"type":"join","room":"{}"}}"#, "n".repeat(1 << 20)));
    let error = native::decode(Codec::Json, &name).unwrap_err();
    assert_eq!(error.refusal.code, ErrorCode::InvalidName);
    assert!(error.refusal.message.len() < 200, "{}", error.refusal);
}

/// Threat S24: names that mean something to others are just names here.
#[test]
fn names_with_a_meaning_elsewhere_are_taken_as_they_are() {
    for name in ["a.*", ">", "x y", "$JS.API.>", "..", "%2e", "' OR 1=1", "{}"] {
        let message = json(&format!(r#"{{"type":"join","room":"{name}"}}"#));
        let request = native::decode(Codec::Json, &message).unwrap();
        let Command::Join { room, .. } = request.command else { panic!("{name}") };
        assert_eq!(room.room(), name);
    }
}

#[test]
fn a_key_that_comes_twice_is_an_error_with_its_reference() {
    for text in [
        r#"{"type":"ping","ref":9,"type":"bye"}"#,
        r#"{"ref":9,"type":"join","room":"a","room":"b"}"#,
        r#"{"ref":9,"type":"join","room":"a","\u0072oom":"b"}"#,
        r#"{"ref":9,"type":"join","room":"a","room":null}"#,
        r#"{"ref":9,"type":"join","room":"a","since":{"epoch":"q83vEjRW","epoch":"q83vEjRW"}}"#,
    ] {
        let error = refused(text);
        assert_eq!(error.refusal.code, ErrorCode::Malformed, "{text}");
        assert!(error.refusal.message.contains("twice"), "{text}: {}", error.refusal);
        assert_eq!(error.reference, Some(9), "{text}");
    }
    // Keys that are not known are not looked at; those within `data` are the application's.
    for text in [r#"{"type":"ping","x":1,"x":2}"#, r#"{"type":"ping","data":{"a":1,"a":2}}"#] {
        native::decode(Codec::Json, &json(text)).unwrap();
        native::decode(Codec::MsgPack, &as_msgpack(text)).unwrap();
    }
}

#[test]
fn the_reference_is_known_as_far_as_the_message_could_be_read() {
    let reference = |text: &str| native::decode(Codec::Json, &json(text)).unwrap_err().reference;
    assert_eq!(reference(r#"{"ref":9,"type":"join","room":"#), Some(9));
    assert_eq!(reference(r#"{"ref":9,"type":"join" "room""#), Some(9));
    assert_eq!(reference(r#"{"type":"join","room":x,"ref":9}"#), None);
    for bad in ["-1", "1.5", "9007199254740992", "\"9\"", "[]"] {
        let error = refused(&format!(r#"{{"type":"ping","ref":{bad}}}"#));
        assert_eq!(error.refusal.code, ErrorCode::InvalidField);
        assert!(error.refusal.message.contains("`ref` must be"), "{}", error.refusal);
        assert_eq!(error.reference, None);
    }
    // Languages that know floating numbers only write them so.
    for (text, expected) in [("9.0", 9), ("9e0", 9), ("9007199254740991", (1 << 53) - 1)] {
        let text = format!(r#"{{"type":"ping","ref":{text}}}"#);
        let message = json(&text);
        let read = native::decode(Codec::Json, &message).unwrap();
        assert_eq!(read.reference, Some(expected));
        let message = as_msgpack(&text);
        assert_eq!(native::decode(Codec::MsgPack, &message).unwrap().reference, Some(expected));
    }
}

#[test]
fn null_is_as_good_as_absent_and_unknown_keys_are_passed_over() {
    let text = concat!(
        r#"{"type":"publish","ref":null,"room":"a","event":"e","data":null,"reliable":null,"#,
        r#""key":null,"echo":null,"future":{"a":[1,{"b":null}]}}"#
    );
    let expected = Request {
        reference: None,
        command: Command::Publish {
            room: RoomPath::parse("a").unwrap(),
            event: EventName::text("e").unwrap(),
            data: None,
            reliable: true,
            key: None,
            echo: None,
        },
    };
    assert_eq!(native::decode(Codec::Json, &json(text)).unwrap(), expected);
    assert_eq!(native::decode(Codec::MsgPack, &as_msgpack(text)).unwrap(), expected);
}

#[test]
fn what_a_newer_server_says_is_passed_over() {
    use roomcast_wire::incoming::Body;
    let message = json(r#"{"type":"fireworks","room":"a","from":5}"#);
    let incoming = native::decode_incoming(Codec::Json, &message).unwrap();
    assert_eq!(incoming.body, Body::Unknown { kind: "fireworks".to_owned() });
    let message = json(r#"{"type":"pong","ref":1,"type_of_day":"nice"}"#);
    assert_eq!(native::decode_incoming(Codec::Json, &message).unwrap().body, Body::Pong);
}

#[test]
fn what_a_client_cannot_read_is_named() {
    for (text, word) in [
        (r#"{"type":"event","event":"e","at":{}}"#, "`room` is missing"),
        (r#"{"type":"event","room":"a","event":"e","at":{}}"#, "`epoch` is missing"),
        (r#"{"type":"joined","room":5}"#, "`room` is a number"),
        (r#"{"type":"member_left","room":"a","from":{}}"#, "`session` is missing"),
        (r#"{"type":"room_closed","room":"a","reason":"bored"}"#, "`reason`"),
    ] {
        let error = native::decode_incoming(Codec::Json, &json(text)).unwrap_err();
        assert!(error.0.contains(word), "{text}: {error}");
    }
}
