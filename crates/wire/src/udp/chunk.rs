//! Chunks of the framing of TCP, cut into messages.

use bytes::{Buf as _, Bytes};

use crate::Codec;

/// Takes the next message off a chunk.
pub(super) fn cut(codec: Codec, rest: &mut Bytes) -> Option<Bytes> {
    match codec {
        Codec::Json => {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let mut line = rest.split_to(end + 1);
            line.truncate(end);
            Some(line)
        }
        Codec::MsgPack => {
            let len = u32::from_be_bytes(*rest.first_chunk()?) as usize;
            if rest.len() < 4 + len {
                return None;
            }
            rest.advance(4);
            Some(rest.split_to(len))
        }
    }
}
