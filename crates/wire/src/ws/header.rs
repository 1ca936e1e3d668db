//! The header of a frame (RFC 6455 section 5.2), and what is wrong with a frame.

use crate::CloseCode;

/// Largest payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Frame types (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with a fragmented message.
    Continuation = 0,
    /// Text.
    Text = 1,
    /// Binary.
    Binary = 2,
    /// Close.
    Close = 8,
    /// Ping.
    Ping = 9,
    /// Pong.
    Pong = 10,
}

impl Opcode {
    /// Whether it is about the connection: such frames may stand between fragments.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// The peer broke the rules: close with this code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct FrameError {
    /// The close code.
    pub code: CloseCode,
    /// What was wrong, with sizes and limits.
    pub message: String,
}

impl FrameError {
    #[cold]
    pub(super) fn new(code: CloseCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    #[cold]
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new(CloseCode::Protocol, message)
    }
}

/// The header of a frame, checked as far as it can be checked alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// Whether it begins a compressed message (RFC 7692 section 6).
    pub compressed: bool,
    /// The type.
    pub opcode: Opcode,
    /// The mask of the payload: clients set it, servers do not.
    pub mask: Option<[u8; 4]>,
    /// How many bytes this header takes.
    pub len: usize,
    /// How many bytes the payload takes.
    pub payload_len: u64,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None`: more bytes needed.
    ///
    /// # Errors
    /// What is against the rules whatever came before: reserved bits and types, a control frame
    /// that is large or fragmented, a length not written in the shortest way.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let opcode = check_first(first)?;
        let fin = first & 0x80 != 0;
        let short_len = second & 0x7f;
        if opcode.is_control() {
            check_control(fin, short_len)?;
        }
        let (payload_len, rest) = match short_len {
            126 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*len), rest)
            }
            len => (u64::from(len), rest),
        };
        check_length(short_len, payload_len)?;
        let mut header = Self {
            fin,
            compressed: first & 0x40 != 0,
            opcode,
            mask: None,
            len: bytes.len() - rest.len(),
            payload_len,
        };
        if second & 0x80 != 0 {
            let Some((mask, _)) = rest.split_first_chunk() else { return Ok(None) };
            header.mask = Some(*mask);
            header.len += 4;
        }
        Ok(Some(header))
    }
}

fn check_first(first: u8) -> Result<Opcode, FrameError> {
    if first & 0x30 != 0 {
        return Err(FrameError::protocol("a reserved bit (RSV2 or RSV3) is set"));
    }
    let Some(opcode) = Opcode::from_number(first & 0x0f) else {
        return Err(FrameError::protocol(format!("frame type {} is reserved", first & 0x0f)));
    };
    // RFC 7692 section 6.1: the bit stands on the first frame of a message only.
    if first & 0x40 != 0 && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(FrameError::protocol(format!("RSV1 is set on a {opcode:?} frame")));
    }
    Ok(opcode)
}

fn check_control(fin: bool, short_len: u8) -> Result<(), FrameError> {
    if !fin {
        return Err(FrameError::protocol("a control frame must not be fragmented"));
    }
    if usize::from(short_len) > CONTROL_BYTES_MAX {
        return Err(FrameError::protocol("a control frame holds at most 125 bytes"));
    }
    Ok(())
}

fn check_length(short_len: u8, len: u64) -> Result<(), FrameError> {
    let least = match short_len {
        126 => 126,
        127 => 1 << 16,
        _ => return Ok(()),
    };
    if len < least {
        return Err(FrameError::protocol("the length is not written in the fewest bytes"));
    }
    if len >> 63 != 0 {
        return Err(FrameError::protocol("the highest bit of the length is set"));
    }
    Ok(())
}
