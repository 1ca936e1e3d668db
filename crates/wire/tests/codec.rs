//! Codecs and framings under attack, and the transcoding table of `docs/protocol.md`.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::native;
use roomcast_wire::framing::{Framing, TooLarge, read_length, read_line};
use roomcast_wire::limits::DEPTH_MAX;
use roomcast_wire::ws::frame::{Frame, Reader};
use roomcast_wire::{Codec, ErrorCode, Payload};

fn json(text: &str) -> Result<Payload, String> {
    Payload::new(Codec::Json, Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.0)
}

fn msgpack(bytes: &[u8]) -> Result<Payload, String> {
    Payload::new(Codec::MsgPack, Bytes::copy_from_slice(bytes)).map_err(|error| error.0)
}

/// What a JSON client gets for MessagePack bytes.
fn to_json(bytes: &[u8]) -> String {
    let written = msgpack(bytes).unwrap().to_codec(Codec::Json);
    String::from_utf8(written.bytes().to_vec()).unwrap()
}

/// What a MessagePack client gets for JSON text.
fn to_msgpack(text: &str) -> Vec<u8> {
    json(text).unwrap().to_codec(Codec::MsgPack).bytes().to_vec()
}

/// Runs on a stack that recursion without a bound would overflow, which no test survives.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    #[allow(clippy::disallowed_types)]
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap();
    thread.join().unwrap();
}

/// All that reads a message, which must refuse it.
fn assert_refused_by_all(codec: Codec, message: &[u8], word: &str) {
    let message = Bytes::copy_from_slice(message);
    let error = native::decode(codec, &message).unwrap_err();
    assert_eq!(error.refusal.code, ErrorCode::Malformed, "{}", error.refusal);
    assert!(error.refusal.message.contains(word), "{}", error.refusal);
    native::decode_incoming(codec, &message).unwrap_err();
    Payload::new(codec, message).unwrap_err();
}

/// Threat S22: 100,000 levels, in the payload, in an unknown key and bare.
#[test]
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    on_a_small_stack(|| {
        const LEVELS: usize = 100_000;
        for open in ["[", "{\"a\":", "[{\"a\":"] {
            for key in ["data", "unknown"] {
                let text = format!("{{\"type\":\"ping\",\"{key}\":{}", open.repeat(LEVELS));
                assert_refused_by_all(Codec::Json, text.as_bytes(), "too deep");
            }
            assert!(json(&open.repeat(LEVELS)).unwrap_err().contains("too deep"));
        }
        for open in [&b"\x91"[..], b"\x81\xa1a", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01\xa1a"] {
            let message = [&b"\x82\xa4type\xa4ping\xa4data"[..], &open.repeat(LEVELS)].concat();
            assert_refused_by_all(Codec::MsgPack, &message, "too deep");
            assert!(msgpack(&open.repeat(LEVELS)).unwrap_err().contains("too deep"));
            // As the key of a map.
            let keys = [b"\x81".repeat(LEVELS), vec![0xc0]].concat();
            assert!(msgpack(&keys).unwrap_err().contains("too deep"));
        }
    });
}

#[test]
fn the_deepest_payload_allowed_passes_everywhere() {
    on_a_small_stack(|| {
        let text = format!("{}1{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        let payload = json(&text).unwrap();
        let packed = payload.to_codec(Codec::MsgPack);
        assert_eq!(packed.to_codec(Codec::Json), payload);
        let message =
            format!("{{\"type\":\"publish\",\"room\":\"a\",\"event\":1,\"data\":{text}}}");
        native::decode(Codec::Json, &Bytes::from(message)).unwrap();
        // In the list of a history reply it stands two levels deeper.
        let message = format!(
            "{{\"type\":\"history\",\"room\":\"a\",\"position\":{{\"epoch\":\"AAAAAAAA\",\
             \"offset\":1}},\"events\":[{{\"event\":1,\"data\":{text},\"at\":{{\"epoch\":\
             \"AAAAAAAA\",\"offset\":1}}}}]}}"
        );
        native::decode_incoming(Codec::Json, &Bytes::from(message.clone())).unwrap();
        let packed = json(&message.replace(&text, "1")).unwrap().to_codec(Codec::MsgPack);
        native::decode_incoming(Codec::MsgPack, packed.bytes()).unwrap();
        json(&format!("[{text}]")).unwrap_err();
        msgpack(&[b"\x91".repeat(DEPTH_MAX + 1), vec![0xc0]].concat()).unwrap_err();
    });
}

/// Threat S21: five bytes that announce four billion elements or bytes.
#[test]
fn declared_lengths_are_not_believed() {
    for marker in [0xc6, 0xc9, 0xdb, 0xdd, 0xdf] {
        let bomb = [marker, 0xff, 0xff, 0xff, 0xff];
        assert!(msgpack(&bomb).unwrap_err().contains("goes on after the last of 5 bytes"));
        let message = [&b"\x82\xa4type\xa4ping\xa4data"[..], &bomb].concat();
        assert_refused_by_all(Codec::MsgPack, &message, "goes on after the last");
        let nested = [&b"\xdd\xff\xff\xff\xff"[..], &bomb].concat();
        msgpack(&nested).unwrap_err();
    }
    assert_refused_by_all(Codec::MsgPack, &[0xdf, 0xff, 0xff, 0xff, 0xff], "goes on");
}

#[test]
fn the_frame_is_one_map_and_nothing_more() {
    for text in ["", " ", "null", "5", "[]", "\"ping\"", "{\"type\":\"ping\"} x", "{\"type\":"] {
        let message = Bytes::copy_from_slice(text.as_bytes());
        let error = native::decode(Codec::Json, &message).unwrap_err();
        assert_eq!(error.refusal.code, ErrorCode::Malformed, "{text}");
        assert!(error.refusal.message.contains("for example"), "{text}: {}", error.refusal);
    }
    assert_refused_by_all(Codec::Json, b"{\"type\":\"ping\"}{}", "nothing more");
    assert_refused_by_all(Codec::MsgPack, b"\x81\xa4type\xa4ping\xc0", "1 bytes more");
    assert_refused_by_all(Codec::MsgPack, b"\x81\xa4type\xc1", "0xc1");
    let number_as_key = Bytes::from_static(b"\x82\xa4type\xa4ping\x01\xc0");
    let error = native::decode(Codec::MsgPack, &number_as_key).unwrap_err();
    assert!(error.refusal.message.contains("keys of a frame must be strings"));
}

#[test]
fn text_is_utf8_in_both_codecs() {
    assert_refused_by_all(Codec::Json, b"{\"type\":\"ping\",\"data\":\"\xff\"}", "not UTF-8");
    assert_refused_by_all(Codec::Json, b"{\"type\":\"ping\",\"data\":\"\xed\xa0\x80\"}", "UTF-8");
    assert_refused_by_all(Codec::MsgPack, b"\x82\xa4type\xa4ping\xa4data\xa1\xff", "not UTF-8");
    // Half of a pair stands for no character.
    assert_refused_by_all(Codec::Json, br#"{"type":"ping","data":"\ud83c"}"#, "escape");
    assert_refused_by_all(Codec::Json, br#"{"type":"ping","data":"\udf7e"}"#, "escape");
    assert_eq!(to_msgpack(r#""\ud83c\udf7e""#), [&[0xa4], "🍾".as_bytes()].concat());
}

#[test]
fn a_payload_never_breaks_a_line() {
    let payload = json("\r\n {\n\"a\":\r\n\"b\\n\"}\n").unwrap();
    assert_eq!(payload.bytes(), "{ \"a\":  \"b\\n\"}");
    let message = "{\"type\":\"publish\",\"room\":\"a\",\"event\":\"e\",\"data\":[\n1]}";
    let message = Bytes::from_static(message.as_bytes());
    let request = native::decode(Codec::Json, &message).unwrap();
    let mut out = BytesMut::new();
    native::encode_request(Codec::Json, &request, &mut out);
    assert!(!out.contains(&b'\n'), "{out:?}");
}

#[test]
fn json_to_msgpack() {
    for (text, bytes) in [
        ("null", &b"\xc0"[..]),
        ("true", b"\xc3"),
        ("0", b"\x00"),
        ("127", b"\x7f"),
        ("128", b"\xcc\x80"),
        ("256", b"\xcd\x01\x00"),
        ("65536", b"\xce\x00\x01\x00\x00"),
        ("4294967296", b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        // Too large for an integer: the nearest double.
        ("18446744073709551616", b"\xcb\x43\xf0\x00\x00\x00\x00\x00\x00"),
        ("-1", b"\xff"),
        ("-33", b"\xd0\xdf"),
        ("-129", b"\xd1\xff\x7f"),
        ("-32769", b"\xd2\xff\xff\x7f\xff"),
        ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("-0", b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("1.0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("\"\\u0041\\n\"", b"\xa2A\n"),
        ("[]", b"\x90"),
        ("{ \"a\" : [ 1 , {} ] }", b"\x81\xa1a\x92\x01\x80"),
    ] {
        assert_eq!(to_msgpack(text), bytes, "{text}");
    }
    let sixteen = format!("[{}]", ["7"; 16].join(","));
    assert_eq!(to_msgpack(&sixteen), [&b"\xdc\x00\x10"[..], &[7; 16]].concat());
    let many = format!("[{}]", vec!["7"; 70_000].join(","));
    assert_eq!(to_msgpack(&many)[..5], *b"\xdd\x00\x01\x11\x70");
    assert_eq!(to_msgpack(&format!("\"{}\"", "x".repeat(300)))[..3], *b"\xda\x01\x2c");
}

#[test]
fn msgpack_to_json() {
    for (bytes, text) in [
        (&b"\xc0"[..], "null"),
        (b"\xc2", "false"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xca\x3d\xcc\xcc\xcd", "0.1"),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xca\xff\x80\x00\x00", "null"),
        (b"\xa3a\"\n", "\"a\\\"\\n\""),
        (b"\xa1\x1f", "\"\\u001f\""),
        (b"\xc4\x02hi", "\"aGk=\""),
        (b"\xc4\x00", "\"\""),
        (b"\xd4\x05A", "{\"ext\":5,\"data\":\"QQ==\"}"),
        (b"\xd6\xff\x00\x00\x00\x01", "{\"ext\":-1,\"data\":\"AAAAAQ==\"}"),
        (b"\xc7\x00\x07", "{\"ext\":7,\"data\":\"\"}"),
        (b"\x81\xa1a\x01", "{\"a\":1}"),
        (b"\x81\x07\x01", "{\"7\":1}"),
        (b"\x81\xff\x01", "{\"-1\":1}"),
        (b"\x81\xc3\x01", "{\"true\":1}"),
        (b"\x81\xc0\x01", "{\"null\":1}"),
        (b"\x81\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\x01", "{\"0.5\":1}"),
        (b"\x81\xc4\x02hi\x01", "{\"aGk=\":1}"),
        // Base64 of the key's own bytes, 0x91 0x01.
        (b"\x81\x91\x01\x01", "{\"kQE=\":1}"),
        (b"\x92\x90\x80", "[[],{}]"),
    ] {
        assert_eq!(to_json(bytes), text, "{bytes:x?}");
    }
    let long = [&[0xc4, 100][..], &[0; 100]].concat();
    assert_eq!(to_json(&long), format!("\"{}==\"", "A".repeat(134)));
}

/// Were keys written as JSON within JSON strings, each level would double the escapes.
#[test]
fn maps_as_keys_do_not_grow_without_bound() {
    let mut bytes = vec![0xa1, b'"'];
    for _ in 0..DEPTH_MAX {
        bytes = [&[0x81][..], &bytes, &[0x00]].concat();
    }
    assert!(to_json(&bytes).len() < 4 * bytes.len());
}

#[test]
fn a_line_is_bounded_whether_its_end_has_come_or_not() {
    let too_large = Err(TooLarge::Line { limit: 4 });
    let read = |text: &str| read_line(&mut BytesMut::from(text), &mut 0, 4);
    assert_eq!(read("abcd\n"), Ok(Some(Bytes::from_static(b"abcd"))));
    assert_eq!(read("abcd\r\n"), Ok(Some(Bytes::from_static(b"abcd"))));
    assert_eq!(read("abcde"), Ok(None));
    assert_eq!(read("abcdef"), too_large);
    assert_eq!(read("abcde\n"), too_large);
    let error = read("abcde\n").unwrap_err().to_string();
    assert!(error.contains("more than 4 bytes") && error.contains("at most 4"), "{error}");
}

#[test]
fn a_line_that_comes_byte_by_byte_is_looked_at_once() {
    let (mut buffer, mut scanned) = (BytesMut::new(), 0);
    for count in 1..=1000 {
        buffer.extend_from_slice(b"x");
        assert_eq!(read_line(&mut buffer, &mut scanned, 2000), Ok(None));
        assert_eq!(scanned, count);
    }
    buffer.extend_from_slice(b"\nnext\n");
    let line = read_line(&mut buffer, &mut scanned, 2000).unwrap().unwrap();
    assert_eq!((line.len(), scanned), (1000, 0));
    assert_eq!(read_line(&mut buffer, &mut scanned, 2000).unwrap().unwrap(), "next");
}

#[test]
fn a_length_above_the_limit_is_not_waited_for() {
    let read = |bytes: &[u8]| read_length(&mut BytesMut::from(bytes), 4);
    assert_eq!(read(b"\x00\x00\x00"), Ok(None));
    assert_eq!(read(b"\x00\x00\x00\x04abc"), Ok(None));
    assert_eq!(read(b"\x00\x00\x00\x04abcd"), Ok(Some(Bytes::from_static(b"abcd"))));
    assert_eq!(read(b"\x00\x00\x00\x05"), Err(TooLarge::Length { size: 5, limit: 4 }));
    let all = usize::try_from(u32::MAX).unwrap();
    assert_eq!(read(b"\xff\xff\xff\xff"), Err(TooLarge::Length { size: all, limit: 4 }));
}

#[test]
fn stream_frames_are_delimited_as_they_are_read() {
    let mut out = BytesMut::new();
    for framing in [Framing::Line, Framing::Length] {
        framing.frame(&mut out, |body| body.extend_from_slice(b"one"));
        framing.frame(&mut out, |body| body.extend_from_slice(b"two"));
        assert_eq!(framing.ping(), None);
        for expected in ["one", "two"] {
            let message = match framing {
                Framing::Line => read_line(&mut out, &mut 0, 9).unwrap(),
                _ => read_length(&mut out, 9).unwrap(),
            };
            assert_eq!(message.unwrap(), expected);
        }
        assert!(out.is_empty());
    }
}

/// Sizes around each change of the header, and of the choice to compress.
#[test]
fn websocket_frames_carry_bodies_of_every_size() {
    for (framing, deflate) in [
        (Framing::WsText, false),
        (Framing::WsBinary, false),
        (Framing::WsTextDeflate, true),
        (Framing::WsBinaryDeflate, true),
    ] {
        assert_eq!(framing.ping(), Some(&[0x89, 0][..]));
        let mut out = BytesMut::from(&b"before"[..]);
        let sizes = [0, 1, 125, 126, 127, 511, 512, 65_535, 65_536, 70_000];
        for size in sizes {
            let (body, start) = (vec![b'x'; size], out.len());
            framing.frame(&mut out, |out| out.extend_from_slice(&body));
            assert_eq!(out.len() - start < size, deflate && size >= 512, "{framing:?} {size}");
        }
        let mut stream = out.split_off("before".len());
        let mut reader = Reader::for_client(deflate);
        for size in sizes {
            let body = Bytes::from(vec![b'x'; size]);
            let expected = match framing {
                Framing::WsText | Framing::WsTextDeflate => Frame::Text(body),
                _ => Frame::Binary(body),
            };
            let read = reader.read(&mut stream, 70_000).unwrap();
            assert!(read == Some(expected), "{framing:?} {size}");
        }
        assert!(stream.is_empty());
    }
}

/// What does not become shorter is sent as it is.
#[test]
fn noise_is_not_compressed() {
    let mut seed = 1_u32;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    });
    let body: Vec<u8> = noise.take(1000).collect();
    let mut out = BytesMut::new();
    Framing::WsBinaryDeflate.frame(&mut out, |out| out.extend_from_slice(&body));
    assert_eq!(out[..4], [0x82, 126, 3, 232]);
    assert_eq!(out[4..], body);
}

#[test]
fn bytes_and_texts_of_any_length_are_well_formed() {
    for len in [0, 1, 31, 32, 255, 256, 65_535, 65_536] {
        let bin = Payload::bin(&vec![7; len]);
        assert_eq!(Payload::new(Codec::MsgPack, bin.bytes().clone()), Ok(bin.clone()));
        assert_eq!(bin.to_codec(Codec::Json).bytes().len(), 2 + len.div_ceil(3) * 4, "{len}");
        let text = Payload::text(&"x".repeat(len));
        assert_eq!(Payload::new(Codec::MsgPack, text.bytes().clone()), Ok(text.clone()));
        assert_eq!(text.to_codec(Codec::Json).bytes().len(), 2 + len, "{len}");
    }
}

#[test]
fn a_field_is_found_in_either_codec() {
    let json = Payload::new(Codec::Json, r#"{"a":{"b":[1, 2]},"c":null}"#.into()).unwrap();
    for map in [json.clone(), json.to_codec(Codec::MsgPack)] {
        let inner = map.field("a").and_then(|a| a.field("b")).unwrap();
        assert_eq!(inner.codec(), map.codec());
        assert_eq!(inner.read::<Vec<u32>>().unwrap(), [1, 2]);
        assert!(map.field("c").is_some() && map.field("d").is_none());
        assert_eq!(inner.field("a"), None);
    }
}
