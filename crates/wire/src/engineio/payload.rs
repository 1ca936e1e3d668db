//! Payloads of HTTP long-polling: packets joined by the record separator, those of bytes as `b`
//! and base64.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;

use super::packet::{Packet, PacketError};
use crate::ws::frame::Frame;

/// Stands between two packets, and in none of them: JSON escapes it.
const SEPARATOR: u8 = 0x1e;

/// The packets of a payload, one after the other: nothing is gathered, so that a million tiny ones
/// cost no memory. They share the payload's buffer.
#[derive(Debug)]
pub struct Packets {
    /// None: the last was read, or a fault.
    rest: Option<Bytes>,
}

impl Packets {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is no UTF-8.
    pub fn read(body: Bytes) -> Result<Self, PacketError> {
        match simdutf8::basic::from_utf8(&body) {
            Ok(_) => Ok(Self { rest: Some(body) }),
            Err(_) => Err(PacketError::Text),
        }
    }

    fn one(packet: Bytes) -> Result<Packet, PacketError> {
        match packet.split_first() {
            Some((b'b', data)) => {
                let bytes = BASE64_STANDARD.decode(data).map_err(|_| PacketError::Base64)?;
                Ok(Packet::Binary(bytes.into()))
            }
            _ => Packet::read_text(packet),
        }
    }
}

impl Iterator for Packets {
    type Item = Result<Packet, PacketError>;

    /// After an error nothing follows.
    fn next(&mut self) -> Option<Self::Item> {
        let mut packet = self.rest.take()?;
        if let Some(end) = packet.iter().position(|byte| *byte == SEPARATOR) {
            let mut rest = packet.split_off(end);
            self.rest = Some(rest.split_off(1));
        }
        let read = Self::one(packet);
        if read.is_err() {
            self.rest = None;
        }
        Some(read)
    }
}

/// Appends what a server's frame says to the payload that answers a poll; nothing for a frame of
/// the WebSocket itself.
pub fn append(payload: &mut Vec<u8>, frame: &Frame) {
    let (Frame::Text(bytes) | Frame::Binary(bytes)) = frame else { return };
    if !payload.is_empty() {
        payload.push(SEPARATOR);
    }
    if matches!(frame, Frame::Text(_)) {
        payload.extend_from_slice(bytes);
        return;
    }
    payload.push(b'b');
    let start = payload.len();
    // 4 characters for each 3 bytes begun. No frame is near the end of the address space.
    payload.resize(start + bytes.len().div_ceil(3) * 4, 0);
    if let Some(place) = payload.get_mut(start..)
        && let Ok(written) = BASE64_STANDARD.encode_slice(bytes, place)
    {
        payload.truncate(start + written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &'static [u8]) -> Vec<Result<Packet, PacketError>> {
        match Packets::read(Bytes::from_static(body)) {
            Ok(packets) => packets.collect(),
            Err(error) => vec![Err(error)],
        }
    }

    #[test]
    fn packets_are_separated_and_bytes_are_base64() {
        let all = read(b"4a\x1ebAQID\x1e3\x1e4");
        let expected = [
            Packet::Text("a".into()),
            Packet::Binary(Bytes::from_static(&[1, 2, 3])),
            Packet::Pong(Bytes::new()),
            Packet::Text(Bytes::new()),
        ];
        assert_eq!(all, expected.map(Ok));
        assert_eq!(read(b"b"), [Ok(Packet::Binary(Bytes::new()))]);
    }

    #[test]
    fn what_is_wrong_ends_the_payload() {
        assert_eq!(read(b""), [Err(PacketError::Empty)]);
        assert_eq!(read(b"\x1e\x1e\x1e"), [Err(PacketError::Empty)]);
        assert_eq!(read(b"4a\x1e").last(), Some(&Err(PacketError::Empty)));
        assert_eq!(read(b"abc\x1e4a"), [Err(PacketError::Type)]);
        assert_eq!(read(b"b!\x1e4a"), [Err(PacketError::Base64)]);
        assert_eq!(read(b"4\xff"), [Err(PacketError::Text)]);
    }

    #[test]
    fn frames_become_what_is_read_again() {
        let mut payload = Vec::new();
        append(&mut payload, &Frame::Text("4a".into()));
        append(&mut payload, &Frame::Pong);
        append(&mut payload, &Frame::Binary(Bytes::from_static(&[1, 2, 3, 4])));
        append(&mut payload, &Frame::Text("2".into()));
        assert_eq!(payload, b"4a\x1ebAQIDBA==\x1e2");
    }
}
