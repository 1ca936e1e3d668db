//! Packets as they stand in WebSocket frames: a text frame is a digit and its data, a binary frame
//! is a message as it is.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use crate::ws::frame::{Opcode, write_header};

/// A whole WebSocket frame with the packet that asks for a sign of life.
pub const PING: &[u8] = b"\x81\x012";

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// `0`: only servers send it.
    Open(Bytes),
    /// `1`: the session ends.
    Close,
    /// `2`: to be answered; a client sends it with `probe` on a second transport only.
    Ping(Bytes),
    /// `3`: the answer.
    Pong(Bytes),
    /// `4` and a text.
    Text(Bytes),
    /// A message of bytes.
    Binary(Bytes),
    /// `5`: the second transport takes over.
    Upgrade,
    /// `6`: nothing, so that a waiting poll returns.
    Noop,
}

/// What is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Nothing at all, as between two separators of a payload.
    #[error("an empty packet")]
    Empty,
    /// The first character is none of `0` to `6`.
    #[error("a packet begins with a digit from 0 to 6")]
    Type,
    /// Text that is no UTF-8.
    #[error("a packet of text is no UTF-8")]
    Text,
    /// `b` and something that is no base64 (RFC 4648 section 4).
    #[error("a packet of bytes is no base64")]
    Base64,
}

impl Packet {
    /// Reads the payload of a text frame.
    ///
    /// # Errors
    /// It is empty or has no type.
    pub fn read_text(mut text: Bytes) -> Result<Self, PacketError> {
        let Some(&kind) = text.first() else { return Err(PacketError::Empty) };
        let data = text.split_off(1);
        Ok(match kind {
            b'0' => Self::Open(data),
            b'1' => Self::Close,
            b'2' => Self::Ping(data),
            b'3' => Self::Pong(data),
            b'4' => Self::Text(data),
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            _ => return Err(PacketError::Type),
        })
    }
}

/// What a server says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The name of the session: a secret of 128 bits.
    pub sid: u128,
    /// Whether a WebSocket may take over.
    pub upgrades: bool,
    /// How long after the last sign of life the server asks for another, in milliseconds.
    pub ping_interval_ms: u64,
    /// How long it waits for it, in milliseconds.
    pub ping_timeout_ms: u64,
    /// Largest payload of a request, in bytes.
    pub max_payload_bytes: usize,
}

impl Handshake {
    /// The whole packet `0{…}`.
    pub fn packet(&self) -> String {
        let upgrades = if self.upgrades { "[\"websocket\"]" } else { "[]" };
        let mut packet = String::with_capacity(128);
        // Writing to a string does not fail.
        _ = write!(
            packet,
            "0{{\"sid\":\"{:032x}\",\"upgrades\":{upgrades},\"pingInterval\":{},\
             \"pingTimeout\":{},\"maxPayload\":{}}}",
            self.sid, self.ping_interval_ms, self.ping_timeout_ms, self.max_payload_bytes
        );
        packet
    }

    /// Appends the packet as a WebSocket frame.
    pub fn write_frame(&self, out: &mut BytesMut) {
        let packet = self.packet();
        write_header(out, Opcode::Text, false, packet.len());
        out.extend_from_slice(packet.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_known_and_nothing_else() {
        let read = |text: &'static str| Packet::read_text(Bytes::from_static(text.as_bytes()));
        assert_eq!(read("0{}"), Ok(Packet::Open("{}".into())));
        assert_eq!(read("1"), Ok(Packet::Close));
        assert_eq!(read("2probe"), Ok(Packet::Ping("probe".into())));
        assert_eq!(read("3"), Ok(Packet::Pong(Bytes::new())));
        assert_eq!(read("4"), Ok(Packet::Text(Bytes::new())));
        assert_eq!(read("4\u{1e}é"), Ok(Packet::Text("\u{1e}é".into())));
        assert_eq!(read("5"), Ok(Packet::Upgrade));
        assert_eq!(read("6"), Ok(Packet::Noop));
        assert_eq!(read(""), Err(PacketError::Empty));
        for text in ["7", "abc", "bAQID", " 4", "\u{1e}"] {
            assert_eq!(read(text), Err(PacketError::Type), "{text:?}");
        }
    }

    #[test]
    fn a_session_opens_with_what_its_client_needs() {
        let handshake = Handshake {
            sid: 0xab,
            upgrades: true,
            ping_interval_ms: 25_000,
            ping_timeout_ms: 20_000,
            max_payload_bytes: 65_536,
        };
        assert_eq!(
            handshake.packet(),
            "0{\"sid\":\"000000000000000000000000000000ab\",\"upgrades\":[\"websocket\"],\
             \"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":65536}"
        );
        let mut out = BytesMut::new();
        handshake.write_frame(&mut out);
        assert_eq!(out[..4], [0x81, 126, 0, (out.len() - 4) as u8]);
    }
}
