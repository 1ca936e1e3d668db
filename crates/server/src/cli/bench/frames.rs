//! The client's side of WebSocket framing, just as much as a load generator needs.
//!
//! Frames of the client are built once with their masking key; a message then costs one copy and
//! the patching of its stamp.

use anyhow::{Result, bail};

/// Frame types (RFC 6455 section 5.2).
pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Appends a whole frame, masked if there is a key (clients must, servers must not).
pub fn write_frame(out: &mut Vec<u8>, opcode: u8, key: Option<[u8; 4]>, payload: &[u8]) {
    let mask_bit = if key.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(mask_bit | len as u8),
        len @ 126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let Some(key) = key else { return out.extend_from_slice(payload) };
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Where one frame stands in the bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    /// Start of the payload.
    pub start: usize,
    /// End of the payload: the next frame begins here.
    pub end: usize,
    /// The masking key; servers send none.
    pub key: Option<[u8; 4]>,
}

/// Finds the frame that `bytes` begin with; `None` if it is not complete.
///
/// Fragments and reserved bits are refused: none of what is measured here sends any.
pub fn read_frame(bytes: &[u8]) -> Result<Option<Frame>> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 {
        bail!("a fragment or a reserved bit came: the first byte of a frame is {first:#04x}");
    }
    let (len, extended) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(&len) => (u64::from(u16::from_be_bytes(len)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(&len) => (u64::from_be_bytes(len), 8),
            None => return Ok(None),
        },
        len => (u64::from(len), 0),
    };
    if len > 16 << 20 {
        bail!("a frame of {len} bytes came; at most 16 MiB are read");
    }
    let masked = second & 0x80 != 0;
    let start = 2 + extended + if masked { 4 } else { 0 };
    let end = start + len as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let key = if masked { bytes[..start].last_chunk().copied() } else { None };
    Ok(Some(Frame { opcode: first & 0x0f, start, end, key }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_every_length_form() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            for key in [None, Some([1, 2, 3, 4])] {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut bytes = Vec::new();
                write_frame(&mut bytes, TEXT, key, &payload);
                let frame = read_frame(&bytes).unwrap().unwrap();
                assert_eq!((frame.opcode, frame.end, frame.key), (TEXT, bytes.len(), key));
                let key = key.unwrap_or_default();
                let read: Vec<u8> = bytes[frame.start..frame.end]
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| byte ^ key[i % 4])
                    .collect();
                assert_eq!(read, payload);
                for cut in 0..bytes.len().min(20) {
                    assert_eq!(read_frame(&bytes[..cut]).unwrap(), None);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(read_frame(&[0x01, 0]).is_err());
        assert!(read_frame(&[0xc1, 0]).is_err());
        assert!(read_frame(&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]).is_err());
    }
}
