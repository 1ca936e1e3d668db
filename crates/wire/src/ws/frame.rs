//! Frames (RFC 6455 section 5) and their compression (RFC 7692).

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::mask;
use crate::CloseCode;

pub use super::deflate::{deflate, inflate};
pub use super::header::{CONTROL_BYTES_MAX, FrameError, Header, Opcode};
pub use super::write::{write_close, write_control, write_header, write_masked};

/// Most empty fragments in a row. They take no memory and say nothing, so a peer that sends more
/// wants to keep the server busy; an honest stream flushes an empty fragment now and then.
const EMPTY_FRAGMENTS_MAX: u16 = 1_000;

/// Reads the frames of one peer. An idle reader holds no buffer.
///
/// Bytes may come in any pieces: [`Reader::read`] looks at a header again each time, and at a
/// payload once, when the whole frame has arrived.
#[derive(Debug, Default)]
pub struct Reader {
    client: bool,
    deflate: bool,
    /// After an error or a close frame whatever follows is thrown away.
    done: bool,
    partial: Option<Box<Partial>>,
}

/// What a peer sent: whole messages and control frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message: valid UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// A sign of life.
    Pong,
    /// The peer closes, with a code if it gave one.
    Close(Option<u16>),
}

/// A fragmented message of which the end has not come.
#[derive(Debug)]
struct Partial {
    text: bool,
    compressed: bool,
    body: Vec<u8>,
    /// How much of `body` is known to be whole characters.
    valid: usize,
    /// Empty fragments in a row.
    empty: u16,
}

impl Reader {
    /// Reads what a client sends; `deflate` if compression was agreed on.
    pub fn new(deflate: bool) -> Self {
        Self { deflate, ..Self::default() }
    }

    /// Reads what a server sends, whose frames have no mask.
    pub fn for_client(deflate: bool) -> Self {
        Self { client: true, deflate, ..Self::default() }
    }

    /// Takes the next complete message or control frame off `buffer`; `None`: more bytes needed.
    /// Payloads are unmasked in place and share the buffer.
    ///
    /// # Errors
    /// The close code; nothing can be read after that, nor after a close frame: both here and
    /// there further bytes are thrown away.
    #[inline]
    pub fn read(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Option<Frame>, FrameError> {
        if self.done {
            buffer.clear();
            return Ok(None);
        }
        let read = self.next(buffer, message_bytes_max);
        if matches!(read, Err(_) | Ok(Some(Frame::Close(_)))) {
            self.done = true;
            self.partial = None;
        }
        read
    }

    fn next(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Option<Frame>, FrameError> {
        loop {
            let Some(header) = Header::parse(buffer)? else { return Ok(None) };
            let payload_len = self.check(&header, message_bytes_max)?;
            if buffer.len() < header.len + payload_len {
                return Ok(None);
            }
            let end = header.len + payload_len;
            let payload = buffer.get_mut(header.len..end).unwrap_or_default();
            if let Some(mask) = header.mask {
                mask::apply(payload, mask);
            }
            if header.opcode.is_control() {
                return control(header.opcode, take(buffer, header.len..end)).map(Some);
            }
            if header.fin && self.partial.is_none() {
                let payload = take(buffer, header.len..end);
                return message(&header, payload, message_bytes_max).map(Some);
            }
            // Fragments are copied out, so that many small ones do not pin many read buffers.
            let message = self.fragment(&header, payload, message_bytes_max)?;
            buffer.advance(end);
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Checks a header against what came before and the limit, before its payload is waited for.
    fn check(&self, header: &Header, message_bytes_max: usize) -> Result<usize, FrameError> {
        match (header.mask.is_some(), self.client) {
            (false, false) => return Err(FrameError::protocol("a client's frame has no mask")),
            (true, true) => return Err(FrameError::protocol("a server's frame has a mask")),
            _ => {}
        }
        if header.compressed && !self.deflate {
            return Err(FrameError::protocol("RSV1 is set, but no compression was agreed on"));
        }
        let (compressed, held) = match (header.opcode, &self.partial) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => (false, 0),
            (Opcode::Continuation, None) => {
                return Err(FrameError::protocol("a continuation of no message"));
            }
            (Opcode::Continuation, Some(partial)) => (partial.compressed, partial.body.len()),
            (_, Some(_)) => {
                return Err(FrameError::protocol("a message within a fragmented message"));
            }
            (_, None) => (header.compressed, 0),
        };
        let bytes_max =
            if compressed { compressed_max(message_bytes_max) } else { message_bytes_max };
        match usize::try_from(header.payload_len) {
            Ok(len) if header.opcode.is_control() || len <= bytes_max.saturating_sub(held) => {
                Ok(len)
            }
            _ => {
                Err(too_large((held as u64).saturating_add(header.payload_len), message_bytes_max))
            }
        }
    }

    /// Adds a fragment; the message, if it was the last.
    fn fragment(
        &mut self,
        header: &Header,
        payload: &[u8],
        message_bytes_max: usize,
    ) -> Result<Option<Frame>, FrameError> {
        let partial = self.partial.get_or_insert_with(|| Partial::begin(header));
        partial.push(payload, message_bytes_max)?;
        if !header.fin {
            return Ok(None);
        }
        self.partial.take().map(|partial| partial.finish(message_bytes_max)).transpose()
    }
}

impl Partial {
    fn begin(header: &Header) -> Box<Self> {
        Box::new(Self {
            text: header.opcode == Opcode::Text,
            compressed: header.compressed,
            body: Vec::new(),
            valid: 0,
            empty: 0,
        })
    }

    fn push(&mut self, payload: &[u8], message_bytes_max: usize) -> Result<(), FrameError> {
        self.empty = if payload.is_empty() { self.empty + 1 } else { 0 };
        if self.empty > EMPTY_FRAGMENTS_MAX {
            return Err(FrameError::protocol(format!(
                "more than {EMPTY_FRAGMENTS_MAX} empty fragments in a row"
            )));
        }
        let needed = self.body.len() + payload.len();
        if needed > self.body.capacity() {
            // Doubled as a vector does by itself, but never above what a message may have.
            let capacity = needed.max((self.body.capacity() * 2).min(message_bytes_max));
            self.body.reserve_exact(capacity - self.body.len());
        }
        self.body.extend_from_slice(payload);
        if self.text && !self.compressed {
            self.check_text()?;
        }
        Ok(())
    }

    /// Fails at the first fragment that no continuation can make valid (each byte is looked at
    /// once, but for the up to three of a character that is not whole yet).
    fn check_text(&mut self) -> Result<(), FrameError> {
        let tail = self.body.get(self.valid..).unwrap_or_default();
        match simdutf8::compat::from_utf8(tail) {
            Ok(_) => self.valid = self.body.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(invalid_text()),
        }
        Ok(())
    }

    fn finish(self, message_bytes_max: usize) -> Result<Frame, FrameError> {
        if self.compressed {
            let body = inflate(&self.body, message_bytes_max)?;
            return if self.text { text(body) } else { Ok(Frame::Binary(body)) };
        }
        if !self.text {
            return Ok(Frame::Binary(self.body.into()));
        }
        if self.valid != self.body.len() {
            return Err(invalid_text());
        }
        Ok(Frame::Text(self.body.into()))
    }
}

/// A message in one frame.
fn message(header: &Header, payload: Bytes, message_bytes_max: usize) -> Result<Frame, FrameError> {
    let body = if header.compressed { inflate(&payload, message_bytes_max)? } else { payload };
    if header.opcode == Opcode::Text { text(body) } else { Ok(Frame::Binary(body)) }
}

fn text(body: Bytes) -> Result<Frame, FrameError> {
    match simdutf8::basic::from_utf8(&body) {
        Ok(_) => Ok(Frame::Text(body)),
        Err(_) => Err(invalid_text()),
    }
}

fn control(opcode: Opcode, payload: Bytes) -> Result<Frame, FrameError> {
    match opcode {
        Opcode::Ping => Ok(Frame::Ping(payload)),
        Opcode::Close => close(&payload),
        _ => Ok(Frame::Pong),
    }
}

fn close(payload: &[u8]) -> Result<Frame, FrameError> {
    if payload.is_empty() {
        return Ok(Frame::Close(None));
    }
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Err(FrameError::protocol("a close code has two bytes"));
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455 section 7.4: 1004 to 1006 and 1015 are never sent, 1012 to 1014 were registered
    // later, 3000 to 4999 are for libraries and applications.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(FrameError::protocol(format!("close code {code} must not be sent")));
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(invalid_text());
    }
    Ok(Frame::Close(Some(code)))
}

/// The payload at the front of the buffer, shared; an empty one does not pin the buffer.
fn take(buffer: &mut BytesMut, payload: Range<usize>) -> Bytes {
    if payload.is_empty() {
        buffer.advance(payload.end);
        return Bytes::new();
    }
    let mut frame = buffer.split_to(payload.end).freeze();
    frame.advance(payload.start);
    frame
}

/// Most bytes of a compressed message. What cannot be compressed grows by 5 bytes for each stored
/// block, and the smallest buffers of zlib (memLevel 1) make blocks of about 500 bytes.
fn compressed_max(message_bytes_max: usize) -> usize {
    message_bytes_max.saturating_add(message_bytes_max / 64).saturating_add(64)
}

#[cold]
pub(super) fn too_large(size: u64, message_bytes_max: usize) -> FrameError {
    FrameError::new(
        CloseCode::TooLarge,
        format!("a message of at least {size} bytes is above the limit of {message_bytes_max}"),
    )
}

#[cold]
fn invalid_text() -> FrameError {
    FrameError::new(CloseCode::InvalidText, "the text is not valid UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_reader_is_tiny() {
        assert!(size_of::<Reader>() <= 16, "{}", size_of::<Reader>());
    }
}
