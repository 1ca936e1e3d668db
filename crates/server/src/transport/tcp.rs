//! Messages on a plain byte stream; the first byte decides how they are delimited.

use std::sync::Arc;

use bytes::BytesMut;
use roomcast_wire::framing::{self, TooLarge};
use roomcast_wire::{CloseCode, Format};

use super::{Fault, Protocol, Received, Site};

/// What is said to a peer that begins with something else.
const WHAT_TO_SEND: &str = concat!(
    r#"{"type":"error","code":4000,"reason":"malformed","message":"send one JSON object a line, "#,
    r#"for example {\"type\":\"join\",\"ref\":1,\"room\":\"lobby\"}, or MessagePack maps, each "#,
    r#"behind its length (u32, big-endian)","retry":false}"#,
    "\n"
);

pub(super) fn open(_: &Arc<Site>) -> Box<dyn Protocol> {
    Box::new(Tcp { format: None, scanned: 0 })
}

struct Tcp {
    /// How the peer speaks; not known before its first byte.
    format: Option<Format>,
    /// How much of an unfinished line was looked at.
    scanned: usize,
}

impl Protocol for Tcp {
    fn read(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Option<Received>, Fault> {
        let read = match self.format {
            None => return self.read_first_byte(buffer),
            Some(Format::MSGPACK_LENGTH) => framing::read_length(buffer, message_bytes_max),
            Some(_) => framing::read_line(buffer, &mut self.scanned, message_bytes_max),
        };
        read.map(|message| message.map(Received::Message)).map_err(fault)
    }

    fn may_end_anywhere(&self) -> bool {
        true
    }
}

impl Tcp {
    fn read_first_byte(&mut self, buffer: &BytesMut) -> Result<Option<Received>, Fault> {
        let format = match buffer.first() {
            None => return Ok(None),
            Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => Format::JSON_LINE,
            // The highest byte of the length of any message below 16 MiB.
            Some(0) => Format::MSGPACK_LENGTH,
            Some(byte) => {
                return Err(Fault {
                    code: CloseCode::Protocol,
                    message: format!("the first byte is {byte:#04x}, not `{{` or 0x00"),
                    answer: WHAT_TO_SEND.into(),
                });
            }
        };
        self.format = Some(format);
        Ok(Some(Received::Opened { format, response: Vec::new() }))
    }
}

fn fault(error: TooLarge) -> Fault {
    Fault { code: CloseCode::TooLarge, message: error.to_string(), answer: Vec::new() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn received(text: &[u8]) -> Vec<Result<Received, Fault>> {
        let mut buffer = BytesMut::from(text);
        let mut protocol = open(&Arc::default());
        let mut all = Vec::new();
        while let Some(one) = protocol.read(&mut buffer, 64).transpose() {
            let over = one.is_err();
            all.push(one);
            if over {
                break;
            }
        }
        all
    }

    #[test]
    fn the_first_byte_decides() {
        let lines = received(b"{\"a\":1}\r\n\n{\"b\":2}\n{");
        assert!(matches!(&lines[0], Ok(Received::Opened { format: Format::JSON_LINE, .. })));
        assert!(matches!(&lines[1], Ok(Received::Message(bytes)) if &bytes[..] == b"{\"a\":1}"));
        assert!(matches!(&lines[2], Ok(Received::Message(bytes)) if &bytes[..] == b"{\"b\":2}"));
        assert_eq!(lines.len(), 3);
        let packed = received(&[0, 0, 0, 2, 0x81, 0x80, 0, 0]);
        assert!(matches!(&packed[0], Ok(Received::Opened { format: Format::MSGPACK_LENGTH, .. })));
        assert!(matches!(&packed[1], Ok(Received::Message(bytes)) if bytes.len() == 2));
        assert_eq!(packed.len(), 2);
    }

    #[test]
    fn anything_else_is_told_what_to_send() {
        let other = received(b"GET / HTTP/1.1\r\n\r\n");
        let fault = other[0].as_ref().unwrap_err();
        assert!(fault.answer.ends_with(b"}\n"));
        let answer: serde_json::Value = serde_json::from_slice(&fault.answer).unwrap();
        assert_eq!(answer["code"], 4000);
        assert!(answer["message"].as_str().unwrap().contains("{\"type\":\"join\""));
    }

    #[test]
    fn what_is_too_large_names_size_and_limit() {
        let long = received(&[b'{'; 100]);
        let fault = long[1].as_ref().unwrap_err();
        assert_eq!(fault.code, CloseCode::TooLarge);
        assert!(fault.message.contains("64"), "{}", fault.message);
    }
}
