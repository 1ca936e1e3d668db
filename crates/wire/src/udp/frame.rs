//! What stands in the datagrams of a session: frames, one behind the other.

/// Header of a datagram: kind (1), connection id (8), number (8).
pub const HEADER_BYTES: usize = 17;

/// First byte of a datagram from the client.
pub const FROM_CLIENT: u8 = 0x11;

/// First byte of a datagram from the server.
pub const FROM_SERVER: u8 = 0x12;

/// Bytes of the longest bitmap of an acknowledgement: a bit for each piece of a window.
const BITMAP_BYTES_MAX: usize = super::WINDOW_PIECES / 8;

/// Longest reason of a close, in bytes; what is longer is cut.
pub const REASON_BYTES_MAX: usize = 512;

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const ACK: u8 = 0x02;
const UNRELIABLE: u8 = 0x03;
const PIECE_LAST: u8 = 0x04;
const PIECE: u8 = 0x05;
const CHALLENGE: u8 = 0x06;
const RESPONSE: u8 = 0x07;
const CLOSE: u8 = 0x08;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Asks for an acknowledgement.
    Ping,
    /// What has come.
    Ack(Ack<'a>),
    /// A message that is sent once.
    Unreliable(&'a [u8]),
    /// A piece of a message that is repeated until it is acknowledged.
    Piece {
        /// Its number; the first of a session is 0, and 0 follows `u32::MAX`.
        number: u32,
        /// Whether the message goes on in the next piece.
        more: bool,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// To be sent back from the address that it came to.
    Challenge([u8; 8]),
    /// A challenge sent back.
    Response([u8; 8]),
    /// The end of the session.
    Close {
        /// Why, as a number of [`CloseCode`](crate::CloseCode).
        code: u16,
        /// For the person who reads it.
        reason: &'a str,
    },
}

/// What has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The highest number of a datagram.
    pub seen: u64,
    /// The first piece that has not come.
    pub next: u32,
    /// Which of those behind it have: the lowest bit of the first byte is `next + 1`.
    pub bitmap: &'a [u8],
}

impl Ack<'_> {
    /// Whether the piece that stands `offset` behind [`Ack::next`] has come.
    pub fn has(&self, offset: usize) -> bool {
        let Some(at) = offset.checked_sub(1) else { return false };
        self.bitmap.get(at / 8).is_some_and(|byte| byte & 1 << (at % 8) != 0)
    }
}

impl<'a> Frame<'a> {
    /// Takes the next frame off `rest`. `None` at the end, and where none can be read: then `rest`
    /// is not empty.
    pub fn take(rest: &mut &'a [u8]) -> Option<Self> {
        while let [PADDING, after @ ..] = *rest {
            *rest = after;
        }
        let (&kind, mut body) = rest.split_first()?;
        let frame = match kind {
            PING => Self::Ping,
            ACK => {
                let seen = u64::from_be_bytes(array(&mut body)?);
                let next = u32::from_be_bytes(array(&mut body)?);
                let [len] = array(&mut body)?;
                let bitmap = slice(&mut body, usize::from(len), BITMAP_BYTES_MAX)?;
                Self::Ack(Ack { seen, next, bitmap })
            }
            UNRELIABLE => Self::Unreliable(message(&mut body)?),
            PIECE_LAST | PIECE => Self::Piece {
                number: u32::from_be_bytes(array(&mut body)?),
                more: kind == PIECE,
                bytes: message(&mut body)?,
            },
            CHALLENGE => Self::Challenge(array(&mut body)?),
            RESPONSE => Self::Response(array(&mut body)?),
            CLOSE => {
                let code = u16::from_be_bytes(array(&mut body)?);
                let len = u16::from_be_bytes(array(&mut body)?);
                let reason = slice(&mut body, usize::from(len), REASON_BYTES_MAX)?;
                Self::Close { code, reason: std::str::from_utf8(reason).ok()? }
            }
            _ => return None,
        };
        *rest = body;
        Some(frame)
    }

    /// How many bytes it takes.
    pub fn len(&self) -> usize {
        match self {
            Self::Ping => 1,
            Self::Ack(ack) => 14 + ack.bitmap.len(),
            Self::Unreliable(bytes) => 3 + bytes.len(),
            Self::Piece { bytes, .. } => 7 + bytes.len(),
            Self::Challenge(_) | Self::Response(_) => 9,
            Self::Close { reason, .. } => 5 + cut(reason).len(),
        }
    }

    /// Never: a frame has at least its kind.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Appends it. A message longer than 65,535 bytes is cut.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping => out.push(PING),
            Self::Ack(ack) => {
                out.push(ACK);
                out.extend_from_slice(&ack.seen.to_be_bytes());
                out.extend_from_slice(&ack.next.to_be_bytes());
                out.push(ack.bitmap.len() as u8);
                out.extend_from_slice(ack.bitmap);
            }
            Self::Unreliable(bytes) => {
                out.push(UNRELIABLE);
                put_message(out, bytes);
            }
            Self::Piece { number, more, bytes } => {
                out.push(if *more { PIECE } else { PIECE_LAST });
                out.extend_from_slice(&number.to_be_bytes());
                put_message(out, bytes);
            }
            Self::Challenge(token) => {
                out.push(CHALLENGE);
                out.extend_from_slice(token);
            }
            Self::Response(token) => {
                out.push(RESPONSE);
                out.extend_from_slice(token);
            }
            Self::Close { code, reason } => {
                out.push(CLOSE);
                out.extend_from_slice(&code.to_be_bytes());
                put_message(out, cut(reason).as_bytes());
            }
        }
    }
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

fn put_message(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(len)]);
}

fn array<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = body.split_first_chunk()?;
    *body = rest;
    Some(*taken)
}

fn slice<'a>(body: &mut &'a [u8], len: usize, len_max: usize) -> Option<&'a [u8]> {
    let (taken, rest) = body.split_at_checked(len).filter(|_| len <= len_max)?;
    *body = rest;
    Some(taken)
}

fn message<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u16::from_be_bytes(array(body)?);
    slice(body, usize::from(len), usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_and_are_as_long_as_they_say() {
        let frames = [
            Frame::Ping,
            Frame::Ack(Ack { seen: 7, next: u32::MAX, bitmap: &[0b101] }),
            Frame::Unreliable(b"{}"),
            Frame::Piece { number: 9, more: true, bytes: b"" },
            Frame::Piece { number: 10, more: false, bytes: b"abc" },
            Frame::Challenge(*b"12345678"),
            Frame::Response(*b"12345678"),
            Frame::Close { code: 1000, reason: "grüß" },
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            let before = bytes.len();
            frame.put(&mut bytes);
            assert_eq!(bytes.len() - before, frame.len());
        }
        let mut rest = &bytes[..];
        let mut read = Vec::new();
        while let Some(frame) = Frame::take(&mut rest) {
            read.push(frame);
        }
        assert_eq!((read.as_slice(), rest), (&frames[..], &[][..]));
        // Cut anywhere, the last frame is none, and the rest stays.
        for end in 0..bytes.len() {
            let mut rest = &bytes[..end];
            while Frame::take(&mut rest).is_some() {}
        }
    }

    #[test]
    fn a_bitmap_tells_the_pieces_behind_the_first_missing_one() {
        let ack = Ack { seen: 0, next: 5, bitmap: &[0b101, 1] };
        let has: Vec<_> = (0..20).filter(|offset| ack.has(*offset)).collect();
        assert_eq!(has, [1, 3, 9]);
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let reason = "ä".repeat(400);
        let mut bytes = Vec::new();
        Frame::Close { code: 1, reason: &reason }.put(&mut bytes);
        let read = Frame::take(&mut &bytes[..]);
        assert!(matches!(read, Some(Frame::Close { reason, .. }) if reason.len() == 512));
    }
}
