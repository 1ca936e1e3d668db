//! Frames by hand, and readers fed with pieces of a stream.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::BytesMut;
use roomcast_wire::ws::frame::{Frame, FrameError, Reader};

/// The bit of a message's last frame.
pub const FIN: u8 = 0x80;
/// The bit of a compressed message.
pub const RSV1: u8 = 0x40;
/// Each byte another, so that a shifted mask shows.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame with any first byte, written apart from the code under test.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// Several, one after another.
pub fn frames(list: &[(u8, &str)]) -> Vec<u8> {
    list.iter().flat_map(|(first, payload)| frame(*first, payload.as_bytes())).collect()
}

/// The stream in pieces of one size.
pub fn pieces(stream: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    stream.chunks(size)
}

/// Feeds all at once.
pub fn read_all(reader: Reader, stream: &[u8], max: usize) -> (Vec<Frame>, Option<FrameError>) {
    read_pieces(reader, [stream], max)
}

/// Feeds piece by piece, reading all there is after each.
pub fn read_pieces<'a>(
    mut reader: Reader,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    max: usize,
) -> (Vec<Frame>, Option<FrameError>) {
    let mut buffer = BytesMut::new();
    let mut read = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match reader.read(&mut buffer, max) {
                Ok(Some(frame)) => read.push(frame),
                Ok(None) => break,
                Err(error) => return (read, Some(error)),
            }
        }
    }
    (read, None)
}
