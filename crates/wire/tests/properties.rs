//! Properties of the readers and writers: what is written reads back the same in both codecs, and
//! no bytes whatever make a reader panic.
#![allow(clippy::unwrap_used)]

mod common;
mod generate;

use bytes::Bytes;
use common::{payloads_in_json, write_incoming, write_request};
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_wire::dialect::{mesh, native};
use roomcast_wire::framing::{read_length, read_line};
use roomcast_wire::{Codec, Command, Payload, Request};

/// The same request with every payload in JSON, for comparing.
fn request_in_json(mut request: Request<'_>) -> Request<'_> {
    match &mut request.command {
        Command::Join { data, .. }
        | Command::Leave { data, .. }
        | Command::Publish { data, .. }
        | Command::Send { data, .. }
        | Command::Broadcast { data, .. }
        | Command::Announce { data, .. }
        | Command::Call { data, .. }
        | Command::Result { data, .. }
        | Command::Hello { data, .. }
        | Command::Create { options: data, .. } => {
            *data = data.take().map(|data| data.to_codec(Codec::Json));
        }
        _ => {}
    }
    request
}

/// All readers of frames; what they answer is not looked at.
fn read_with_all(bytes: &Bytes) {
    let _ = mesh::decode(bytes);
    for &codec in Codec::ALL {
        let _ = native::decode(codec, bytes);
        let _ = native::decode_incoming(codec, bytes);
        if let Ok(payload) = Payload::new(codec, bytes.clone()) {
            for &other in Codec::ALL {
                let written = payload.to_codec(other);
                Payload::new(other, written.bytes().clone()).expect("transcoded is well-formed");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_read_back(request in generate::request()) {
        for &codec in Codec::ALL {
            let frame = write_request(codec, &request);
            let read = native::decode(codec, &frame).unwrap();
            prop_assert_eq!(request_in_json(read), request.clone());
        }
    }

    #[test]
    fn the_reader_of_plain_publishes_says_what_the_other_says(
        reference in prop::option::of("0?[0-9]{1,17}"),
        room in "[a-c /\u{e9}\\\\]{0,3}",
        event in "[a-c/\u{200b}]{0,3}|b{254,257}",
        data in concat!(
            "\"[a-z\\\\\"\u{7f}\u{e9}\n]{0,12}\"",
            "|[\\[\\]{}:,0-9 \n]{0,8}|null|true|-0|1e999",
        ),
        cut in any::<prop::sample::Index>(),
        put in prop::option::of(any::<u8>()),
    ) {
        let reference = reference.map(|number| format!(r#""ref":{number},"#)).unwrap_or_default();
        let frame = format!(
            r#"{{"type":"publish",{reference}"room":"{room}","event":"{event}","data":{data}}}"#
        );
        let mut frame = frame.into_bytes();
        if let Some(byte) = put {
            let at = cut.index(frame.len());
            frame[at] = byte;
        }
        let plain = Bytes::from(frame.clone());
        // The blank is nothing to the reader of all commands, and too much for the other.
        frame.push(b' ');
        let spaced = Bytes::from(frame);
        match (native::decode(Codec::Json, &plain), native::decode(Codec::Json, &spaced)) {
            (Ok(one), Ok(other)) => prop_assert_eq!(one, other),
            (one, other) => prop_assert_eq!(one.is_ok(), other.is_ok()),
        }
    }

    #[test]
    fn replies_and_pushes_read_back(incoming in generate::incoming()) {
        for &codec in Codec::ALL {
            let frame = write_incoming(codec, &incoming);
            let read = native::decode_incoming(codec, &frame).unwrap();
            prop_assert_eq!(payloads_in_json(read), incoming.clone());
        }
    }

    #[test]
    fn frames_in_json_are_one_line_of_json(incoming in generate::incoming()) {
        let frame = write_incoming(Codec::Json, &incoming);
        prop_assert!(!frame.contains(&b'\n'));
        serde_json::from_slice::<serde_json::Value>(&frame).unwrap();
    }

    #[test]
    fn payloads_transcode_there_and_back(payload in generate::payload()) {
        let packed = payload.to_codec(Codec::MsgPack);
        let checked = Payload::new(Codec::MsgPack, packed.bytes().clone()).unwrap();
        prop_assert_eq!(checked.to_codec(Codec::Json), payload);
        prop_assert_eq!(packed.to_codec(Codec::Json).to_codec(Codec::MsgPack), packed);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        read_with_all(&bytes.into());
    }

    #[test]
    fn mutated_frames_do_no_harm(
        request in generate::request(),
        incoming in generate::incoming(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for &codec in Codec::ALL {
            for frame in [write_request(codec, &request), write_incoming(codec, &incoming)] {
                let mut bytes = frame.to_vec();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                read_with_all(&bytes.clone().into());
                bytes.remove(at);
                read_with_all(&bytes.into());
            }
        }
    }

    #[test]
    fn frames_cut_anywhere_are_refused(
        request in generate::request(),
        incoming in generate::incoming(),
    ) {
        for &codec in Codec::ALL {
            let frame = write_request(codec, &request);
            for end in 0..frame.len() {
                prop_assert!(native::decode(codec, &frame.slice(..end)).is_err());
            }
            let frame = write_incoming(codec, &incoming);
            for end in 0..frame.len() {
                prop_assert!(native::decode_incoming(codec, &frame.slice(..end)).is_err());
            }
        }
    }

    #[test]
    fn what_is_json_is_what_serde_json_takes(text in generate::nearly_json()) {
        let ours = Payload::new(Codec::Json, text.clone().into());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?}, {:?}", text, ours, theirs);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            // What it says survives both the trimming and the way through the other codec.
            let trimmed: serde_json::Value = serde_json::from_slice(ours.bytes()).unwrap();
            prop_assert_eq!(&trimmed, &theirs);
            let back = ours.to_codec(Codec::MsgPack).to_codec(Codec::Json);
            let back: serde_json::Value = serde_json::from_slice(back.bytes()).unwrap();
            prop_assert_eq!(back, theirs);
        }
    }

    #[test]
    fn lines_come_out_whatever_the_cuts(
        lines in vec("[a-z]{1,20}", 1..8),
        ending in prop::sample::select(vec!["\n", "\r\n", "\n\r\n", "\n \t\n"]),
        step in 1..30usize,
    ) {
        let stream: String = lines.iter().map(|line| format!("{line}{ending}")).collect();
        let mut buffer = bytes::BytesMut::new();
        let (mut scanned, mut read) = (0, Vec::new());
        for part in stream.as_bytes().chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(line) = read_line(&mut buffer, &mut scanned, 20).unwrap() {
                read.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        prop_assert_eq!(read, lines);
    }

    #[test]
    fn messages_behind_lengths_come_out_whatever_the_cuts(
        messages in vec(vec(any::<u8>(), 0..50), 1..8),
        step in 1..30usize,
    ) {
        let mut stream = Vec::new();
        for message in &messages {
            stream.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            stream.extend_from_slice(message);
        }
        let mut buffer = bytes::BytesMut::new();
        let mut read = Vec::new();
        for part in stream.chunks(step) {
            buffer.extend_from_slice(part);
            while let Some(message) = read_length(&mut buffer, 50).unwrap() {
                read.push(message.to_vec());
            }
        }
        prop_assert_eq!(read, messages);
    }
}
