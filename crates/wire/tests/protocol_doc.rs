//! `docs/protocol.md` is true: every example in it is read, written again in both codecs and
//! compared, and everything that can be said is in it.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::{COMMANDS, PUSHES, REPLIES, payloads_in_json, write_incoming, write_request};
use roomcast_wire::dialect::native;
use roomcast_wire::name::NAME_BYTES_MAX;
use roomcast_wire::{CloseCode, Codec, ErrorCode, Next, Payload, limits};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The lines of all blocks that are opened with "```json" and the word.
fn examples(word: &str) -> Vec<&'static str> {
    let open = format!("```json {word}");
    let mut lines = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match line {
            "```" => inside = false,
            _ if line == open => inside = true,
            _ if inside => lines.push(line),
            _ => {}
        }
    }
    assert!(!lines.is_empty(), "no example of a {word}");
    lines
}

fn frame(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn text(frame: &Bytes) -> &str {
    std::str::from_utf8(frame).unwrap()
}

#[test]
fn every_block_of_json_is_checked() {
    for line in DOCUMENT.lines().filter(|line| line.starts_with("```json")) {
        let known = ["```json command", "```json reply", "```json push"];
        assert!(known.contains(&line), "{line}: which of {known:?}?");
    }
}

#[test]
fn commands_are_read_and_written_again() {
    let mut seen = BTreeSet::new();
    for line in examples("command") {
        let message = frame(line);
        let request = native::decode(Codec::Json, &message)
            .unwrap_or_else(|error| panic!("{line}: {}", error.refusal));
        seen.insert(request.command.kind());
        let again = write_request(Codec::Json, &request);
        assert_eq!(native::decode(Codec::Json, &again).unwrap(), request, "{line}");
        let packed = write_request(Codec::MsgPack, &request);
        let unpacked = native::decode(Codec::MsgPack, &packed).unwrap();
        assert_eq!(write_request(Codec::Json, &unpacked), again, "{line}");
    }
    assert_eq!(seen, BTreeSet::from(COMMANDS), "commands without an example");
}

/// What the server says stands there byte for byte.
#[test]
fn replies_and_pushes_are_as_they_are_written() {
    let mut replies = BTreeSet::new();
    let mut pushes = BTreeSet::new();
    for (word, seen) in [("reply", &mut replies), ("push", &mut pushes)] {
        for line in examples(word) {
            let incoming = native::decode_incoming(Codec::Json, &frame(line))
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(text(&write_incoming(Codec::Json, &incoming)), line);
            let packed = write_incoming(Codec::MsgPack, &incoming);
            let unpacked = native::decode_incoming(Codec::MsgPack, &packed).unwrap();
            assert_eq!(payloads_in_json(unpacked), incoming, "{line}");
            let kind = match word {
                "reply" => common::reply_kind(&common::reply(&incoming).unwrap()),
                _ => common::push(&incoming.body).unwrap().kind(),
            };
            assert!(line.contains(&format!("{{\"type\":\"{kind}\"")), "{line}");
            seen.insert(kind);
        }
    }
    assert_eq!(replies, BTreeSet::from(REPLIES), "replies without an example");
    assert_eq!(pushes, BTreeSet::from(PUSHES), "pushes without an example");
}

#[test]
fn every_code_has_its_row() {
    let next = |next| match next {
        Next::Fix => "fix",
        Next::Retry => "retry",
        Next::Resume => "resume",
        Next::Stop => "stop",
    };
    let rows = |start: &str| -> BTreeSet<(String, String, String)> {
        let section = DOCUMENT.split(start).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
        rows.map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].to_owned(), cells[2].replace('`', ""), cells[4].to_owned())
        })
        .collect()
    };
    let errors = ErrorCode::ALL.iter().map(|code| {
        (code.number().to_string(), code.reason().to_owned(), next(code.next()).to_owned())
    });
    assert_eq!(rows("\n## 11. Error codes"), errors.collect());
    let closes = CloseCode::ALL.iter().map(|code| {
        (code.number().to_string(), code.reason().to_owned(), next(code.next()).to_owned())
    });
    assert_eq!(rows("\n## 12. Close codes"), closes.collect());
}

#[test]
fn the_limits_stand_there() {
    for (text, number) in [
        ("64 levels", limits::DEPTH_MAX),
        ("64 KiB (at most 16 MiB)", limits::MESSAGE_BYTES_DEFAULT / 1024),
        ("16 MiB", limits::MESSAGE_BYTES_CEILING >> 20),
        ("16 KiB", limits::MESSAGE_BYTES_UNKNOWN_PEER / 1024),
        ("4 KiB", limits::MEMBER_DATA_BYTES_MAX / 1024),
        ("128 bytes", limits::KEY_BYTES_MAX),
        ("8 KiB", limits::TOKEN_BYTES_MAX / 1024),
        ("255 bytes of UTF-8", NAME_BYTES_MAX),
    ] {
        assert!(text.starts_with(&number.to_string()), "{text} is now {number}");
        assert!(DOCUMENT.contains(text), "{text}");
    }
}

#[test]
fn the_msgpack_example_is_what_is_written() {
    let block = DOCUMENT.split("these 20 bytes:").nth(1).unwrap();
    let block = block.split("```").nth(1).unwrap().trim_start_matches("text");
    let digits = block.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace());
    let bytes: Vec<u8> = digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let ping = Payload::new(Codec::Json, frame(r#"{"type":"ping","ref":1}"#)).unwrap();
    let body = ping.to_codec(Codec::MsgPack).bytes().clone();
    assert_eq!(bytes, [&16u32.to_be_bytes()[..], &body].concat());
}
