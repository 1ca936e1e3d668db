//! The frame reader beside tungstenite, on streams drawn at random and in random pieces; and that
//! no bytes whatever make a reader panic.
#![allow(clippy::unwrap_used)]

mod ws_support;

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_wire::ws::frame::{Frame, Opcode, Reader, deflate, inflate, write_masked};
use roomcast_wire::ws::handshake::{SitePolicy, accept, read_head};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};
use ws_support::{FIN, RSV1, frame, frames, read_all, read_pieces};

/// Small, so that sizes on both sides of it are drawn often.
const MAX: usize = 200;

/// A stream that hands out one piece for each read and takes whatever is written.
struct Pieces(VecDeque<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.0.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let len = piece.len().min(out.len());
        out[..len].copy_from_slice(&piece[..len]);
        if len < piece.len() {
            self.0.push_front(piece.split_off(len));
        }
        Ok(len)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of the pieces, and whether it refused to go on.
fn theirs(pieces: &[Vec<u8>]) -> (Vec<Frame>, bool) {
    let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut stream = Pieces(pieces.iter().filter(|piece| !piece.is_empty()).cloned().collect());
    let mut read = Vec::new();
    loop {
        match context.read(&mut stream) {
            Ok(Message::Text(text)) => read.push(Frame::Text(text.into())),
            Ok(Message::Binary(body)) => read.push(Frame::Binary(body)),
            Ok(Message::Ping(payload)) => read.push(Frame::Ping(payload)),
            Ok(Message::Pong(_)) => read.push(Frame::Pong),
            Ok(Message::Close(close)) => {
                read.push(Frame::Close(close.map(|close| close.code.into())));
                return (read, false);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (read, false);
            }
            Err(_) => return (read, true),
        }
    }
}

fn ours(pieces: &[Vec<u8>]) -> (Vec<Frame>, bool) {
    let pieces = pieces.iter().map(Vec::as_slice);
    let (read, error) = read_pieces(Reader::new(false), pieces, MAX);
    (read, error.is_some())
}

/// One thing that a client might send, right more often than wrong.
fn some_frames() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(String::new()),
        "[a-zé漢🎲]{0,12}",
        Just("x".repeat(MAX)),
        Just("x".repeat(MAX + 1)),
    ];
    let payload = prop_oneof![
        4 => word.prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..12),
    ];
    let fragmented = (1..=2_u8, vec((payload.clone(), any::<Option<bool>>()), 1..5)).prop_map(
        |(opcode, parts)| {
            let last = parts.len() - 1;
            let mut out = Vec::new();
            for (i, (part, ping)) in parts.iter().enumerate() {
                let first = if i == 0 { opcode } else { 0 };
                let fin = if i == last { FIN } else { 0 };
                out.extend(frame(first | fin, part));
                out.extend(match ping {
                    Some(true) => frame(FIN | 9, b"ping"),
                    Some(false) => frame(FIN | 10, b""),
                    None => Vec::new(),
                });
            }
            out
        },
    );
    let close = (prop::sample::select(vec![1000_u16, 1001, 1011, 3000, 4999]), "[a-zé]{0,9}");
    prop_oneof![
        6 => (1..=2_u8, payload.clone()).prop_map(|(opcode, body)| frame(FIN | opcode, &body)),
        6 => fragmented,
        2 => payload.prop_map(|body| frame(FIN | 9, &body)),
        1 => close.prop_map(|(code, reason)| {
            frame(FIN | 8, &[&code.to_be_bytes(), reason.as_bytes()].concat())
        }),
        1 => any::<u8>().prop_map(|first| frame(first, b"\x03\xe8")),
    ]
}

fn cut(stream: &[u8], mut cuts: Vec<prop::sample::Index>) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = cuts.drain(..).map(|cut| cut.index(stream.len() + 1)).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whole_frames_are_read_as_tungstenite_reads_them(
        stream in vec(some_frames(), 1..8).prop_map(|frames| frames.concat()),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let pieces = cut(&stream, cuts);
        prop_assert_eq!(ours(&pieces), theirs(&pieces));
    }

    /// Here a frame may be cut off, and a rule of ours that needs no payload may speak before it
    /// arrives; some rules (lengths in the fewest bytes, codes of close frames) are ours alone.
    /// So: what both read is the same, and what tungstenite refuses is refused.
    #[test]
    fn damaged_frames_are_never_read_as_something_else(
        stream in vec(some_frames(), 1..6).prop_map(|frames| frames.concat()),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut stream = stream;
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let pieces = cut(&stream, cuts);
        let (mut our_frames, we_refused) = ours(&pieces);
        // Registered after the RFC; tungstenite does not know it yet and reads it as a fault.
        for frame in our_frames.iter_mut().filter(|frame| **frame == Frame::Close(Some(1014))) {
            *frame = Frame::Close(Some(1002));
        }
        let (their_frames, they_refused) = theirs(&pieces);
        if we_refused {
            prop_assert!(their_frames.starts_with(&our_frames), "{our_frames:?} {their_frames:?}");
        } else {
            prop_assert_eq!((our_frames, false), (their_frames, they_refused));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in vec(any::<u8>(), 0..400),
        deflate in any::<bool>(),
        max in 0..300_usize,
    ) {
        for reader in [Reader::new(deflate), Reader::for_client(deflate)] {
            let _ = read_all(reader, &bytes, max);
        }
        let _ = read_all(Reader::new(true), &frame(FIN | RSV1 | 1, &bytes), max);
        if let Ok(body) = inflate(&bytes, max) {
            prop_assert!(body.len() <= max);
        }
    }

    #[test]
    fn any_head_is_read_or_refused(
        text in "(GET /ws HTTP/1.1\r\n)?([A-Za-z:;,=\" \r\n-]|\\PC){0,200}",
    ) {
        if let Ok(Some(head)) = read_head(text.as_bytes()) {
            let _ = accept(&head, &SitePolicy::default(), true, None);
        }
    }

    #[test]
    fn any_offer_is_answered_or_refused(
        offer in "([a-z;,=\" ]|permessage-deflate|(client|server)_max_window_bits|=15){0,9}",
        host in "[a-z0-9.:\\[\\]@]{0,12}",
        origin in "(https?|x)?(://)?[a-z0-9.:\\[\\]@/]{0,12}",
    ) {
        let bytes = format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\n\
             Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Extensions: {offer}\r\n\r\n"
        );
        let policy = SitePolicy { any_host: true, ..SitePolicy::default() };
        if let Ok(Some(head)) = read_head(bytes.as_bytes()) {
            let _ = accept(&head, &policy, true, None);
        }
    }

    #[test]
    fn compression_goes_there_and_back(
        body in vec(prop_oneof![Just(b'a'), any::<u8>()], 0..3_000),
    ) {
        let mut sent = BytesMut::new();
        deflate(&body, &mut sent);
        prop_assert_eq!(inflate(&sent, body.len()).unwrap(), &body);
        if !body.is_empty() {
            prop_assert!(inflate(&sent, body.len() - 1).is_err());
        }
        let expected = vec![Frame::Binary(Bytes::from(body.clone()))];
        let stream = frame(FIN | RSV1 | 2, &sent);
        prop_assert_eq!(read_all(Reader::new(true), &stream, body.len()), (expected, None));
    }

    #[test]
    fn what_a_client_writes_is_read(body in vec(any::<u8>(), 0..300), mask in any::<[u8; 4]>()) {
        let mut out = BytesMut::new();
        write_masked(&mut out, Opcode::Binary, mask, &body);
        let expected = vec![Frame::Binary(Bytes::from(body))];
        prop_assert_eq!(read_all(Reader::new(false), &out, 300), (expected, None));
    }
}

/// The two readers do see the same: a test of the test.
#[test]
fn both_read_the_same_example() {
    let stream = frames(&[(1, "a"), (FIN | 9, "p"), (FIN, "b"), (FIN | 8, "")]);
    let expected = (
        vec![
            Frame::Ping(Bytes::from_static(b"p")),
            Frame::Text(Bytes::from_static(b"ab")),
            Frame::Close(None),
        ],
        false,
    );
    assert_eq!(ours(std::slice::from_ref(&stream)), expected);
    assert_eq!(theirs(&[stream]), expected);
}
