//! Frames in any pieces: the same messages as in one piece, none above the limit, text is text.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::CloseCode;
use roomcast_wire::ws::frame::{Frame, Reader};

const MAX: usize = 4 << 10;

fuzz_target!(|input: &[u8]| {
    let [flags, size, stream @ ..] = input else { return };
    let reader = || {
        let deflate = flags & 1 != 0;
        if flags & 2 != 0 { Reader::for_client(deflate) } else { Reader::new(deflate) }
    };
    let whole = read(reader(), stream, stream.len().max(1));
    let in_pieces = read(reader(), stream, usize::from(*size).max(1));
    assert_eq!(whole, in_pieces);
    for frame in &whole.0 {
        match frame {
            Frame::Text(body) => {
                assert!(body.len() <= MAX);
                assert!(std::str::from_utf8(body).is_ok());
            }
            Frame::Binary(body) => assert!(body.len() <= MAX),
            Frame::Ping(payload) => assert!(payload.len() <= 125),
            Frame::Pong | Frame::Close(_) => {}
        }
    }
});

fn read(mut reader: Reader, stream: &[u8], size: usize) -> (Vec<Frame>, Option<CloseCode>) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match reader.read(&mut buffer, MAX) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.code)),
            }
        }
    }
    (frames, None)
}
