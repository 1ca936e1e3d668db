//! What a client does with the bytes of its link: cuts messages out of them.

use bytes::{Buf, Bytes, BytesMut};
use roomcast_wire::framing::Framing;

/// Cuts messages out of the bytes that a server sends.
#[derive(Debug)]
pub struct Reader {
    framing: Framing,
    buffer: BytesMut,
}

/// One thing a server sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A message, without its framing.
    Message(Bytes),
    /// A ping of the transport; a living client answers.
    Ping,
    /// Bytes that no server may send.
    Broken(String),
}

impl Reader {
    /// A reader for a link with this framing. Compressed ones are not read.
    pub fn new(framing: Framing) -> Self {
        Self { framing, buffer: BytesMut::new() }
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes off the next whole piece.
    pub fn next_piece(&mut self) -> Option<Piece> {
        match self.framing {
            Framing::Line => self.next_line(),
            Framing::Length => self.next_length(),
            Framing::WsText => self.next_frame(1),
            Framing::WsBinary => self.next_frame(2),
            // A new framing of some dialect is no reason to change the simulator.
            framing => Some(Piece::Broken(format!("{framing:?} is not simulated"))),
        }
    }

    fn next_line(&mut self) -> Option<Piece> {
        let end = self.buffer.iter().position(|&byte| byte == b'\n')?;
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        Some(Piece::Message(line))
    }

    fn next_length(&mut self) -> Option<Piece> {
        let head: [u8; 4] = self.buffer.get(..4)?.try_into().ok()?;
        self.take(4, u32::from_be_bytes(head) as usize).map(Piece::Message)
    }

    /// RFC 6455 section 5.2: servers send unmasked frames, ours never fragments them.
    fn next_frame(&mut self, wanted: u8) -> Option<Piece> {
        let (&first, &second) = (self.buffer.first()?, self.buffer.get(1)?);
        let (head, len) = match second {
            126 => (4, usize::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(self.buffer.get(2..10)?.try_into().ok()?) as usize),
            0..126 => (2, usize::from(second)),
            _ => return Some(Piece::Broken(format!("a masked frame: {second:#x}"))),
        };
        let body = self.take(head, len)?;
        match first {
            0x89 => Some(Piece::Ping),
            _ if first == 0x80 | wanted => Some(Piece::Message(body)),
            _ => Some(Piece::Broken(format!("a frame that begins with {first:#x}"))),
        }
    }

    fn take(&mut self, head: usize, len: usize) -> Option<Bytes> {
        if self.buffer.len() < head + len {
            return None;
        }
        self.buffer.advance(head);
        Some(self.buffer.split_to(len).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(framing: Framing, bytes: &[u8]) -> Vec<Piece> {
        let mut reader = Reader::new(framing);
        let mut found = Vec::new();
        for byte in bytes {
            reader.push(&[*byte]);
            found.extend(reader.next_piece());
        }
        found
    }

    #[test]
    fn messages_are_cut_out_byte_by_byte() {
        let message = |text: &'static str| Piece::Message(Bytes::from_static(text.as_bytes()));
        assert_eq!(pieces(Framing::Line, b"{}\n[]\n"), [message("{}"), message("[]")]);
        assert_eq!(pieces(Framing::Length, b"\0\0\0\x02ab"), [message("ab")]);
        let frames = b"\x81\x02hi\x89\x00\x81\x7e\x00\x01x";
        assert_eq!(pieces(Framing::WsText, frames), [message("hi"), Piece::Ping, message("x")]);
        assert!(matches!(pieces(Framing::WsBinary, b"\x81\x00")[..], [Piece::Broken(_)]));
    }
}
