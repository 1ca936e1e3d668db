//! How messages are delimited on a link.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ws::frame::{Opcode, deflate, write_header};

/// Bodies below this many bytes are not compressed: the time (about 9 µs for 741 bytes) buys
/// nothing while the frame fits into one packet anyway.
const DEFLATE_BYTES_MIN: usize = 512;

/// The longest header of a frame from the server: 2, 4 or 10 bytes (RFC 6455 section 5.2).
const WS_HEADER_BYTES_MAX: usize = 10;

/// How messages are delimited on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Nothing: a message shows by itself where it ends.
    Bare,
    /// Each message ends with `\n`.
    Line,
    /// Each message stands behind its length, a u32 in big-endian order.
    Length,
    /// The same with a u32 in little-endian order.
    LengthLe,
    /// WebSocket text frames (RFC 6455).
    WsText,
    /// WebSocket text frames, compressed where that helps (RFC 7692, no context takeover).
    WsTextDeflate,
    /// WebSocket binary frames.
    WsBinary,
    /// WebSocket binary frames, compressed where that helps.
    WsBinaryDeflate,
    /// WebSocket frames of a connection that carries several links: the grammar writes them
    /// whole, and the connection looks for signs of life itself. A body that is framed nevertheless
    /// is one text frame.
    Carried,
    /// The same for a link that its peer knows as the main one of its connection: what is written
    /// for it bears no name of a namespace.
    CarriedMain,
}

impl Framing {
    /// Appends one frame, whose body `write` appends.
    #[inline]
    pub fn frame(self, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        match self {
            Self::Bare => write(out),
            Self::Line => {
                write(out);
                out.put_u8(b'\n');
            }
            Self::Length => length_frame(out, u32::to_be_bytes, write),
            Self::LengthLe => length_frame(out, u32::to_le_bytes, write),
            Self::WsText | Self::Carried | Self::CarriedMain => ws_frame(out, Opcode::Text, write),
            Self::WsBinary => ws_frame(out, Opcode::Binary, write),
            Self::WsTextDeflate => ws_deflate_frame(out, Opcode::Text, write),
            Self::WsBinaryDeflate => ws_deflate_frame(out, Opcode::Binary, write),
        }
    }

    /// A frame that makes a living peer answer by itself, if the framing has one.
    pub fn ping(self) -> Option<&'static [u8]> {
        match self {
            Self::Bare
            | Self::Line
            | Self::Length
            | Self::LengthLe
            | Self::Carried
            | Self::CarriedMain => None,
            // RFC 6455 section 5.5.2: FIN, opcode 9, no payload.
            _ => Some(&[0x89, 0x00]),
        }
    }
}

/// A message above the limit. Nothing can be read after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// A line; how long it is would be known only at its end.
    #[error("a line of more than {limit} bytes; at most {limit} are allowed")]
    Line {
        /// The most it may have.
        limit: usize,
    },
    /// A message behind its length.
    #[error("a message of {size} bytes; at most {limit} are allowed")]
    Length {
        /// How many bytes the message has.
        size: usize,
        /// The most it may have.
        limit: usize,
    },
}

/// Takes the next line off `buffer`, without its `\n` or `\r\n`; lines of blanks are passed over.
/// `None`: more bytes are needed. `scanned` is the reader's own note of how far it has looked (0
/// at first), so that a line that comes byte by byte is looked at once.
///
/// # Errors
/// The line is longer than `bytes_max`, whether its end has come or not.
pub fn read_line(
    buffer: &mut BytesMut,
    scanned: &mut usize,
    bytes_max: usize,
) -> Result<Option<Bytes>, TooLarge> {
    loop {
        let start = (*scanned).min(buffer.len());
        let Some(found) = line_end(buffer.get(start..).unwrap_or_default()) else {
            *scanned = buffer.len();
            // One byte more may be the `\r` of an ending that is still to come.
            return match buffer.len() {
                size if size > bytes_max + 1 => Err(TooLarge::Line { limit: bytes_max }),
                _ => Ok(None),
            };
        };
        let mut line = buffer.split_to(start + found + 1);
        *scanned = 0;
        line.truncate(start + found);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > bytes_max {
            return Err(TooLarge::Line { limit: bytes_max });
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(line.freeze()));
        }
    }
}

/// Takes the next message behind its length off `buffer`. `None`: more bytes are needed.
///
/// # Errors
/// The length is above `bytes_max`; no byte of the message is waited for.
pub fn read_length(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, TooLarge> {
    read_behind(buffer, u32::from_be_bytes, bytes_max)
}

/// The same with a length in little-endian order.
///
/// # Errors
/// As [`read_length`].
pub fn read_length_le(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, TooLarge> {
    read_behind(buffer, u32::from_le_bytes, bytes_max)
}

fn read_behind(
    buffer: &mut BytesMut,
    order: fn([u8; 4]) -> u32,
    bytes_max: usize,
) -> Result<Option<Bytes>, TooLarge> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let size = usize::try_from(order(*prefix)).unwrap_or(usize::MAX);
    if size > bytes_max {
        return Err(TooLarge::Length { size, limit: bytes_max });
    }
    if rest.len() < size {
        return Ok(None);
    }
    let mut message = buffer.split_to(4 + size).freeze();
    Ok(Some(message.split_off(4)))
}

fn length_frame(out: &mut BytesMut, order: fn(u32) -> [u8; 4], write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    write(out);
    // No message is larger than 16 MiB.
    let len = (out.len() - start - 4) as u32;
    if let Some(prefix) = out.get_mut(start..start + 4) {
        prefix.copy_from_slice(&order(len));
    }
}

/// The body is written in place. How long the header is depends on it, so the place for one of 4
/// bytes, which most frames need, is kept free, and the body moved in the other cases.
fn ws_frame(out: &mut BytesMut, opcode: Opcode, write: impl FnOnce(&mut BytesMut)) {
    const USUAL: usize = 4;
    let start = out.len();
    out.put_bytes(0, USUAL);
    write(out);
    let end = out.len();
    write_header(out, opcode, false, end - start - USUAL);
    let mut header = [0; WS_HEADER_BYTES_MAX];
    let len = (out.len() - end).min(header.len());
    header[..len].copy_from_slice(&out[end..end + len]);
    out.truncate(end);
    if len > USUAL {
        out.put_bytes(0, len - USUAL);
    }
    out.copy_within(start + USUAL..end, start + len);
    out.truncate(end + len - USUAL);
    out[start..start + len].copy_from_slice(&header[..len]);
}

/// Compresses where it helps: a body that is short or comes out longer is sent as it is, which
/// RFC 7692 section 6 allows for each message.
fn ws_deflate_frame(out: &mut BytesMut, opcode: Opcode, write: impl FnOnce(&mut BytesMut)) {
    let mut body = BytesMut::new();
    write(&mut body);
    if body.len() >= DEFLATE_BYTES_MIN {
        let mut compressed = BytesMut::with_capacity(body.len());
        deflate(&body, &mut compressed);
        if compressed.len() < body.len() {
            write_header(out, opcode, true, compressed.len());
            out.extend_from_slice(&compressed);
            return;
        }
    }
    write_header(out, opcode, false, body.len());
    out.extend_from_slice(&body);
}

/// Where the first `\n` is, eight bytes at a time.
fn line_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk) ^ (ONES * b'\n' as u64);
        // The highest bit of the first byte that is 0.
        let hits = word.wrapping_sub(ONES) & !word & (ONES * 0x80);
        if hits != 0 {
            return Some(index * 8 + (hits.trailing_zeros() / 8) as usize);
        }
    }
    let tail = rest.iter().position(|&byte| byte == b'\n')?;
    Some(chunks.len() * 8 + tail)
}
