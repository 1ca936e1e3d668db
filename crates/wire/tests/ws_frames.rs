//! Reading frames: the rules of RFC 6455 and RFC 7692, case by case.
#![allow(clippy::unwrap_used)]
// One test bounds how long a frame may take.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod ws_support;

use bytes::{Bytes, BytesMut};
use roomcast_wire::CloseCode;
use roomcast_wire::ws::frame::{Frame, FrameError, Reader, deflate, inflate};
use ws_support::{FIN, MASK, RSV1, frame, frames, pieces, read_all, read_pieces};

const MAX: usize = 1 << 20;

/// What a stream of frames comes to: what was read, and the code of the error that ended it.
fn read(bytes: &[u8]) -> (Vec<Frame>, Option<CloseCode>) {
    let (read, error) = read_all(Reader::new(false), bytes, MAX);
    (read, error.map(|error| error.code))
}

fn code(bytes: &[u8]) -> Option<CloseCode> {
    read(bytes).1
}

fn text(text: &str) -> Frame {
    Frame::Text(Bytes::copy_from_slice(text.as_bytes()))
}

fn binary(bytes: &[u8]) -> Frame {
    Frame::Binary(Bytes::copy_from_slice(bytes))
}

#[test]
fn the_examples_of_rfc_6455_section_5_7() {
    let masked_hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&masked_hello), (vec![text("Hello")], None));
    let masked_pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&masked_pong), (vec![Frame::Pong], None));
    let server = |bytes: &[u8]| read_all(Reader::for_client(false), bytes, MAX);
    let hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(server(&hello), (vec![text("Hello")], None));
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
    assert_eq!(server(&fragments), (vec![text("Hello")], None));
}

/// Framing: every size at which the header changes its shape.
#[test]
fn messages_of_every_size_class_arrive_whole() {
    for len in [0, 1, 7, 8, 9, 63, 64, 125, 126, 127, 128, 65_535, 65_536, 65_537, MAX] {
        let payload: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
        let as_text = text(std::str::from_utf8(&payload).unwrap());
        assert_eq!(read(&frame(FIN | 1, &payload)), (vec![as_text], None), "{len}");
        assert_eq!(read(&frame(FIN | 2, &payload)), (vec![binary(&payload)], None), "{len}");
    }
}

/// Pings and pongs.
#[test]
fn control_frames_hold_up_to_125_bytes() {
    for payload in [&b""[..], b"hello", &[0xfe; 125]] {
        let ping = Frame::Ping(Bytes::copy_from_slice(payload));
        assert_eq!(read(&frame(FIN | 9, payload)), (vec![ping], None));
        assert_eq!(read(&frame(FIN | 10, payload)), (vec![Frame::Pong], None));
    }
    for opcode in [8, 9, 10] {
        assert_eq!(code(&frame(FIN | opcode, &[b'x'; 126])), Some(CloseCode::Protocol));
        assert_eq!(code(&frame(opcode, b"")), Some(CloseCode::Protocol), "fragmented");
    }
    // Known from the first two bytes, whatever follows or does not.
    assert_eq!(code(&[FIN | 9, 0x80 | 126]), Some(CloseCode::Protocol));
}

/// Reserved bits and types.
#[test]
fn reserved_bits_and_types_are_refused() {
    for rsv in 1..8_u8 {
        for opcode in [0, 1, 2, 8, 9, 10] {
            let first = FIN | rsv << 4 | opcode;
            let stream = [frame(FIN | 1, b"before"), frame(first, b"")].concat();
            let expected = (vec![text("before")], Some(CloseCode::Protocol));
            assert_eq!(read(&stream), expected, "{first:#x}");
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for fin in [0, FIN] {
            assert_eq!(code(&frame(fin | opcode, b"")), Some(CloseCode::Protocol), "{opcode}");
        }
    }
}

/// Threat S13, and its mirror image for a client.
#[test]
fn masks_are_required_of_clients_and_refused_of_servers() {
    for first in [FIN | 1, FIN | 2, FIN | 8, FIN | 9, FIN | 10, 1] {
        assert_eq!(code(&[first, 0]), Some(CloseCode::Protocol), "{first:#x}");
        let (_, error) = read_all(Reader::for_client(false), &frame(first, b""), MAX);
        assert_eq!(error.unwrap().code, CloseCode::Protocol, "{first:#x}");
    }
}

/// First bytes and payloads of frames.
type Stream<'a> = &'a [(u8, &'a str)];

#[test]
fn fragments_come_together() {
    let ping = || Frame::Ping(Bytes::from_static(b"p"));
    let cases: &[(Stream<'_>, &[Frame])] = &[
        (&[(1, "a"), (FIN, "b")], &[text("ab")]),
        (&[(2, "a"), (0, "b"), (0, ""), (FIN, "c")], &[binary(b"abc")]),
        (&[(1, ""), (0, ""), (FIN, "")], &[text("")]),
        (&[(1, "a"), (FIN | 9, "p"), (FIN, "b")], &[ping(), text("ab")]),
        (
            &[(1, "a"), (FIN | 9, "p"), (0, "b"), (FIN | 10, "q"), (FIN, "c"), (FIN | 2, "d")],
            &[ping(), Frame::Pong, text("abc"), binary(b"d")],
        ),
        (&[(1, "a"), (FIN | 8, "")], &[Frame::Close(None)]),
    ];
    for (stream, expected) in cases {
        let bytes = frames(stream);
        let (read, error) = read(&bytes);
        assert_eq!((read.as_slice(), error), (*expected, None), "{stream:?}");
    }
    let refused: &[Stream<'_>] = &[
        &[(FIN, "a")],
        &[(0, "a")],
        &[(FIN | 1, "a"), (FIN, "b")],
        &[(1, "a"), (FIN | 1, "b")],
        &[(1, "a"), (FIN | 2, "b")],
        &[(1, "a"), (2, "b")],
        &[(1, "a"), (FIN, "b"), (FIN, "c")],
    ];
    for stream in refused {
        assert_eq!(code(&frames(stream)), Some(CloseCode::Protocol), "{stream:?}");
    }
}

/// Threat S12.
#[test]
fn text_is_utf8() {
    let good =
        ["κόσμε", "\u{0}", "\u{7f}", "\u{80}", "\u{7ff}", "\u{800}", "\u{ffff}", "\u{10ffff}"];
    let bad: &[&[u8]] = &[
        b"\x80",
        b"\xbf",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc3",
        b"\xc3\x28",
        b"\xe0\x80\xaf",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x9f\x8e",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80\xaf",
        b"\xfe",
        b"\xff",
        b"ok\xed\xa0\x80edited",
    ];
    for pad in [0, 1, 61, 200] {
        let padding = "x".repeat(pad);
        for word in good {
            let payload = padding.clone() + word;
            assert_eq!(read(&frame(FIN | 1, payload.as_bytes())), (vec![text(&payload)], None));
            for cut in 0..=payload.len() {
                let (front, back) = payload.as_bytes().split_at(cut);
                let stream = [frame(1, front), frame(0, b""), frame(FIN, back)].concat();
                assert_eq!(read(&stream), (vec![text(&payload)], None), "{word:?} {cut}");
            }
        }
        for word in bad {
            let payload = [padding.as_bytes(), word].concat();
            assert_eq!(code(&frame(FIN | 1, &payload)), Some(CloseCode::InvalidText), "{word:?}");
            for cut in 0..=payload.len() {
                let (front, back) = payload.split_at(cut);
                let stream = [frame(1, front), frame(FIN, back)].concat();
                assert_eq!(code(&stream), Some(CloseCode::InvalidText), "{word:?} {cut}");
            }
            assert_eq!(code(&frame(FIN | 2, &payload)), None, "binary may be anything");
        }
    }
}

#[test]
fn text_that_no_continuation_can_mend_fails_at_once() {
    let fails = |payload: &[u8]| code(&frame(1, payload)) == Some(CloseCode::InvalidText);
    assert!(fails(b"\xce\xba\xff") && fails(b"\xed\xa0") && fails(b"\xf4\x90"));
    assert!(!fails(b"\xce") && !fails(b"\xed\x9f") && !fails(b"\xf4\x8f\xbf"));
}

#[test]
fn close_frames_are_read_and_nothing_after_them() {
    let close = |code: u16, reason: &[u8]| frame(FIN | 8, &[&code.to_be_bytes(), reason].concat());
    for number in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 4999] {
        let expected = (vec![Frame::Close(Some(number))], None);
        assert_eq!(read(&close(number, b"")), expected);
        assert_eq!(read(&close(number, "bye é".as_bytes())), expected);
        assert_eq!(read(&close(number, &[b'x'; 123])), expected);
    }
    for number in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(code(&close(number, b"")), Some(CloseCode::Protocol), "{number}");
    }
    assert_eq!(code(&frame(FIN | 8, b"\x03")), Some(CloseCode::Protocol));
    assert_eq!(code(&close(1000, b"\xff")), Some(CloseCode::InvalidText));
    assert_eq!(code(&close(1000, &[b'x'; 124])), Some(CloseCode::Protocol));

    let stream = [frame(FIN | 8, b""), frame(FIN | 1, b"late"), vec![0xff; 99]].concat();
    assert_eq!(read(&stream), (vec![Frame::Close(None)], None));
    let mut reader = Reader::new(false);
    let mut buffer = BytesMut::from(&frame(FIN, b"")[..]);
    assert!(reader.read(&mut buffer, MAX).is_err());
    let mut buffer = BytesMut::from(&frame(FIN | 1, b"late")[..]);
    assert_eq!(reader.read(&mut buffer, MAX), Ok(None));
    assert!(buffer.is_empty(), "thrown away");
}

#[test]
fn lengths_are_written_in_the_fewest_bytes() {
    let header = |len: &[u8]| [&[FIN | 2][..], len, &MASK].concat();
    for len in [
        &[0x80 | 126, 0, 125][..],
        &[0x80 | 126, 0, 0],
        &[0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
    ] {
        assert_eq!(code(&header(len)), Some(CloseCode::Protocol), "{len:?}");
    }
}

/// Threat S6: nothing is waited for, let alone reserved, that is above the limit.
#[test]
fn announced_sizes_above_the_limit_are_refused_by_the_header() {
    for len in [(MAX + 1) as u64, 1 << 31, 1 << 32, 1 << 40, i64::MAX as u64] {
        let header = [&[FIN | 2, 0x80 | 127][..], &len.to_be_bytes(), &MASK].concat();
        let (_, error) = read_all(Reader::new(false), &header, MAX);
        let error = error.unwrap();
        assert_eq!(error.code, CloseCode::TooLarge);
        let message = &error.message;
        assert!(message.contains(&len.to_string()) && message.contains("1048576"), "{message}");
    }
    for len in [1 << 63, u64::MAX] {
        let header = [&[FIN | 2, 0x80 | 127][..], &len.to_be_bytes(), &MASK].concat();
        assert_eq!(code(&header), Some(CloseCode::Protocol));
    }
    assert_eq!(read_all(Reader::new(false), &frame(FIN | 1, b"12345"), 5).1, None);
    let error = read_all(Reader::new(false), &frame(FIN | 1, b"123456"), 5).1.unwrap();
    assert_eq!(error.code, CloseCode::TooLarge);
}

/// Threat S8: fragments that never end.
#[test]
fn the_limit_counts_over_fragments() {
    let max = 64 << 10;
    let mut stream = frame(1, b"x");
    for _ in 0..max - 1 {
        stream.extend(frame(0, b"x"));
    }
    let (read, error) = read_all(Reader::new(false), &stream, max);
    assert_eq!((read.len(), error), (0, None), "exactly the limit");
    let whole = [stream.clone(), frame(FIN, b"")].concat();
    assert_eq!(read_all(Reader::new(false), &whole, max).0, [text(&"x".repeat(max))]);
    stream.extend(frame(0, b"x"));
    let error = read_all(Reader::new(false), &stream, max).1.unwrap();
    assert_eq!(error.code, CloseCode::TooLarge);
    assert!(error.message.contains("65537") && error.message.contains("65536"), "{error}");
}

/// Threat S7: fragments that say nothing.
#[test]
fn empty_fragments_end_after_a_thousand() {
    let stream =
        |empty: usize| [frame(1, b"a"), frame(0, b"").repeat(empty), frame(FIN, b"b")].concat();
    assert_eq!(read(&stream(1_000)), (vec![text("ab")], None));
    assert_eq!(code(&stream(1_001)), Some(CloseCode::Protocol));
    let pings =
        [frame(1, b""), [frame(0, b""), frame(FIN | 9, b"")].concat().repeat(2_000)].concat();
    assert_eq!(code(&pings), Some(CloseCode::Protocol), "pings between do not count anew");
    let flushed = [frame(0, b""), frame(0, b"x")].concat().repeat(5_000);
    assert_eq!(code(&[frame(1, b""), flushed].concat()), None, "an honest stream flushes");
}

#[test]
fn a_message_in_one_frame_shares_the_buffer() {
    let mut buffer = BytesMut::from(&frame(FIN | 1, &[b'x'; 200])[..]);
    let payload_at = buffer.as_ptr() as usize + 8;
    let read = Reader::new(false).read(&mut buffer, MAX);
    let Ok(Some(Frame::Text(body))) = read else { panic!("{read:?}") };
    assert_eq!(body.as_ptr() as usize, payload_at);
}

#[test]
fn any_pieces_make_the_same_messages() {
    let stream = frames(&[
        (FIN | 1, "whole"),
        (1, "frag κό"),
        (FIN | 9, "ping"),
        (0, "σμε"),
        (FIN, " end"),
        (FIN | 2, &"x".repeat(300)),
        (FIN | 8, ""),
    ]);
    let expected = read_all(Reader::new(false), &stream, MAX);
    assert_eq!(expected.0.len(), 5);
    for size in 1..stream.len() {
        let in_pieces = read_pieces(Reader::new(false), pieces(&stream, size), MAX);
        assert_eq!(in_pieces, expected, "pieces of {size}");
    }
}

#[test]
fn a_stream_cut_anywhere_waits_for_the_rest() {
    let stream =
        frames(&[(1, "héllo"), (FIN | 9, "ping"), (FIN, &"é".repeat(100)), (FIN | 1, "x")]);
    let (whole, _) = read(&stream);
    for cut in 0..stream.len() {
        let (read, error) = read(&stream[..cut]);
        assert_eq!(error, None, "{cut}");
        assert_eq!(read, whole[..read.len()], "{cut}");
    }
}

/// A frame that comes byte by byte is looked at once: the bound is far above what this takes, and
/// far below what unmasking or checking the frame again for each byte would (10^12 steps).
#[test]
fn a_large_frame_may_trickle_in() {
    let stream = frame(FIN | 1, &vec![b'x'; MAX]);
    let begin = std::time::Instant::now();
    let (read, error) = read_pieces(Reader::new(false), pieces(&stream, 1), MAX);
    assert_eq!((read.len(), error), (1, None));
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    deflate(body, &mut out);
    out.to_vec()
}

fn read_deflated(bytes: &[u8], max: usize) -> (Vec<Frame>, Option<FrameError>) {
    read_all(Reader::new(true), bytes, max)
}

/// The examples of RFC 7692 section 7.2.3.
#[test]
fn compressed_messages_of_the_rfc_are_read() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    for body in [&hello[..], &stored, &last_block, &two_blocks] {
        let expected = (vec![text("Hello")], None);
        assert_eq!(read_deflated(&frame(FIN | RSV1 | 1, body), MAX), expected, "{body:x?}");
        let (front, back) = body.split_at(3);
        let fragments = [frame(RSV1 | 1, front), frame(FIN | 9, b""), frame(FIN, back)].concat();
        assert_eq!(read_deflated(&fragments, MAX).0.last(), Some(&text("Hello")));
    }
    for empty in [&b"\0"[..], b""] {
        let read = read_deflated(&frame(FIN | RSV1 | 1, empty), MAX);
        assert_eq!(read, (vec![text("")], None));
    }
    let plain = read_deflated(&frame(FIN | 1, b"not compressed"), MAX);
    assert_eq!(plain, (vec![text("not compressed")], None));
}

#[test]
fn compression_goes_there_and_back() {
    let noise: Vec<u8> =
        (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for len in [0, 1, 2, 63, 511, 512, 741, 4_096, 40_000, 100_000] {
        for body in [&noise[..len], &vec![b'a'; len]] {
            let sent = compressed(body);
            assert!(!sent.is_empty() && !sent.ends_with(&[0, 0, 0xff, 0xff]), "{len}");
            let stream = frame(FIN | RSV1 | 2, &sent);
            assert_eq!(read_deflated(&stream, len), (vec![binary(body)], None), "{len}");
        }
    }
    assert_eq!(compressed(b""), [0], "RFC 7692 section 7.2.3.6");
    let mut out = BytesMut::from(&b"before"[..]);
    deflate(b"abc", &mut out);
    assert!(out.starts_with(b"before"), "appended");
}

#[test]
fn damaged_compression_is_refused() {
    let body = compressed("a message of some length, a message of some length".as_bytes());
    let refused = |body: &[u8]| {
        let (read, error) = read_deflated(&frame(FIN | RSV1 | 1, body), MAX);
        read.is_empty() && error.is_some_and(|error| error.code == CloseCode::Protocol)
    };
    for cut in 1..body.len() - 1 {
        assert!(refused(&body[..cut]), "cut at {cut}");
    }
    assert!(refused(b"\xff\xff\xff") && refused(b"\x07"), "no such block");
    assert!(
        refused(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x01]),
        "more after the last block"
    );
    // A distance that reaches before the message, where a context taken over would have been.
    assert!(refused(&[0x02, 0x13, 0x00, 0x00]));
    assert_eq!(
        read_deflated(&frame(FIN | RSV1 | 1, &compressed(b"\xff")), MAX).1.unwrap().code,
        CloseCode::InvalidText
    );
    let stream = [frame(1, b"a"), frame(FIN | RSV1, b"")].concat();
    assert_eq!(read_deflated(&stream, MAX).1.unwrap().code, CloseCode::Protocol);
}

/// Threat S9: 64 KiB that would become 64 MiB stop at the limit.
#[test]
fn a_bomb_stops_at_the_limit() {
    let mut stream = flate2::Compress::new(flate2::Compression::best(), false);
    let mut sent = Vec::with_capacity(1 << 20);
    let zeros = vec![0; 64 << 20];
    stream.compress_vec(&zeros, &mut sent, flate2::FlushCompress::Sync).unwrap();
    assert!(sent.len() < 128 << 10 && stream.total_in() == 64 << 20);
    for max in [0, 1, 64 << 10, 1 << 20] {
        let error = inflate(&sent, max).unwrap_err();
        assert_eq!(error.code, CloseCode::TooLarge, "{max}");
        assert!(error.message.contains(&max.to_string()), "{error}");
    }
    let (_, error) = read_deflated(&frame(FIN | RSV1 | 1, &sent), 1 << 20);
    assert_eq!(error.unwrap().code, CloseCode::TooLarge);
    // Compressed fragments count too, before anything is inflated.
    let endless = [frame(RSV1 | 2, &[0; 1_000]), frame(0, &[0; 1_000]).repeat(200)].concat();
    assert_eq!(read_deflated(&endless, 64 << 10).1.unwrap().code, CloseCode::TooLarge);
}
