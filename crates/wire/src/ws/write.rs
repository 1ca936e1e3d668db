//! Writing frames: unmasked ones of a server, masked ones of a client.

use bytes::{BufMut, BytesMut};

use super::header::{CONTROL_BYTES_MAX, Opcode};
use super::mask;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

/// Appends the header of an unfragmented server frame (2, 4 or 10 bytes).
pub fn write_header(out: &mut BytesMut, opcode: Opcode, compressed: bool, len: usize) {
    out.put_u8(FIN | if compressed { RSV1 } else { 0 } | opcode as u8);
    write_length(out, 0, len);
}

/// Appends a whole unmasked control frame; a payload above 125 bytes is cut at a character.
pub fn write_control(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    let payload = cut(payload, CONTROL_BYTES_MAX);
    write_header(out, opcode, false, payload.len());
    out.put_slice(payload);
}

/// Appends a close frame with a code and a reason.
pub fn write_close(out: &mut BytesMut, code: u16, reason: &str) {
    let reason = cut(reason.as_bytes(), CONTROL_BYTES_MAX - 2);
    write_header(out, Opcode::Close, false, 2 + reason.len());
    out.put_u16(code);
    out.put_slice(reason);
}

/// Appends a whole frame of a client.
pub fn write_masked(out: &mut BytesMut, opcode: Opcode, mask: [u8; 4], payload: &[u8]) {
    out.put_u8(FIN | opcode as u8);
    write_length(out, MASKED, payload.len());
    out.put_slice(&mask);
    let start = out.len();
    out.put_slice(payload);
    if let Some(payload) = out.get_mut(start..) {
        mask::apply(payload, mask);
    }
}

fn write_length(out: &mut BytesMut, masked: u8, len: usize) {
    match len {
        0..126 => out.put_u8(masked | len as u8),
        126..0x1_0000 => {
            out.put_u8(masked | 126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(masked | 127);
            out.put_u64(len as u64);
        }
    }
}

/// At most `bytes_max` bytes, without the beginning of a character whose end is cut off.
fn cut(text: &[u8], bytes_max: usize) -> &[u8] {
    if text.len() <= bytes_max {
        return text;
    }
    // Byte `end` is the first that is left out: while it goes on with a character, so does the cut.
    // A character has at most 4 bytes; what is not UTF-8 is cut anywhere.
    let ends = bytes_max.saturating_sub(3)..=bytes_max;
    let goes_on = |end: &usize| text.get(*end).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = ends.rev().find(|end| !goes_on(end)).unwrap_or(bytes_max);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    }

    #[test]
    fn lengths_take_the_fewest_bytes() {
        let header = |len| written(|out| write_header(out, Opcode::Binary, false, len));
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(0xffff), [0x82, 126, 0xff, 0xff]);
        assert_eq!(header(0x1_0000), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(written(|out| write_header(out, Opcode::Text, true, 5)), [0xc1, 5]);
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        assert_eq!(
            written(|out| write_masked(out, Opcode::Text, mask, b"Hello")),
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
        assert_eq!(
            written(|out| write_control(out, Opcode::Ping, b"Hello")),
            [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]
        );
    }

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        for pad in 0..4 {
            let reason = "x".repeat(pad) + &"🎲".repeat(40);
            let frame = written(|out| write_close(out, 4800, &reason));
            let text = std::str::from_utf8(&frame[4..]).expect("whole characters");
            assert!(reason.starts_with(text) && (120..=123).contains(&text.len()));
            assert_eq!(usize::from(frame[1]), frame.len() - 2);
        }
        let exact = written(|out| write_close(out, 1000, &"é".repeat(61)));
        assert_eq!(exact.len(), 2 + 2 + 122);
        let noise = written(|out| write_control(out, Opcode::Pong, &[0x80; 300]));
        assert_eq!(noise.len(), 2 + 125);
    }
}
