//! Messages on a plain byte stream; the first byte decides how they are delimited.

use bytes::BytesMut;

use super::super::{Cut, CutError, Cutter, Format};
use crate::CloseCode;
use crate::framing::{self, TooLarge};

/// What is said to a peer that begins with something else.
const WHAT_TO_SEND: &str = concat!(
    r#"{"type":"error","code":4000,"reason":"malformed","message":"send one JSON object a line, "#,
    r#"for example {\"type\":\"join\",\"ref\":1,\"room\":\"lobby\"}, or MessagePack maps, each "#,
    r#"behind its length (u32, big-endian)","retry":false}"#,
    "\n"
);

#[derive(Default)]
pub(super) struct FirstByte {
    /// How the peer speaks; not known before its first byte.
    format: Option<Format>,
    /// How much of an unfinished line was looked at.
    scanned: usize,
}

impl Cutter for FirstByte {
    fn cut(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Cut>, CutError> {
        let read = match self.format {
            None => return self.read_first_byte(buffer),
            Some(Format::MSGPACK_LENGTH) => framing::read_length(buffer, bytes_max),
            Some(_) => framing::read_line(buffer, &mut self.scanned, bytes_max),
        };
        Ok(read?.map(Cut::Message))
    }
}

impl FirstByte {
    fn read_first_byte(&mut self, buffer: &BytesMut) -> Result<Option<Cut>, CutError> {
        let format = match buffer.first() {
            None => return Ok(None),
            Some(b'{' | b' ' | b'\t' | b'\r' | b'\n') => Format::JSON_LINE,
            // The highest byte of the length of any message below 16 MiB.
            Some(0) => Format::MSGPACK_LENGTH,
            Some(byte) => {
                return Err(CutError {
                    code: CloseCode::Protocol,
                    message: format!("the first byte is {byte:#04x}, not `{{` or 0x00"),
                    answer: WHAT_TO_SEND.as_bytes(),
                });
            }
        };
        self.format = Some(format);
        Ok(Some(Cut::Begins(format)))
    }
}

impl From<TooLarge> for CutError {
    fn from(error: TooLarge) -> Self {
        Self { code: CloseCode::TooLarge, message: error.to_string(), answer: b"" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &[u8]) -> Vec<Result<Cut, CutError>> {
        let mut buffer = BytesMut::from(text);
        let mut cutter = FirstByte::default();
        let mut all = Vec::new();
        while let Some(one) = cutter.cut(&mut buffer, 64).transpose() {
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
        let lines = cut(b"{\"a\":1}\r\n\n{\"b\":2}\n{");
        assert!(matches!(&lines[0], Ok(Cut::Begins(Format::JSON_LINE))));
        assert!(matches!(&lines[1], Ok(Cut::Message(bytes)) if &bytes[..] == b"{\"a\":1}"));
        assert!(matches!(&lines[2], Ok(Cut::Message(bytes)) if &bytes[..] == b"{\"b\":2}"));
        assert_eq!(lines.len(), 3);
        let packed = cut(&[0, 0, 0, 2, 0x81, 0x80, 0, 0]);
        assert!(matches!(&packed[0], Ok(Cut::Begins(Format::MSGPACK_LENGTH))));
        assert!(matches!(&packed[1], Ok(Cut::Message(bytes)) if bytes.len() == 2));
        assert_eq!(packed.len(), 2);
    }

    #[test]
    fn anything_else_is_told_what_to_send() {
        let other = cut(b"GET / HTTP/1.1\r\n\r\n");
        let fault = other[0].as_ref().unwrap_err();
        assert!(fault.answer.ends_with(b"}\n"));
        let answer: serde_json::Value = serde_json::from_slice(fault.answer).unwrap();
        assert_eq!(answer["code"], 4000);
        assert!(answer["message"].as_str().unwrap().contains("{\"type\":\"join\""));
    }

    #[test]
    fn what_is_too_large_names_size_and_limit() {
        let long = cut(&[b'{'; 100]);
        let fault = long[1].as_ref().unwrap_err();
        assert_eq!(fault.code, CloseCode::TooLarge);
        assert!(fault.message.contains("64"), "{}", fault.message);
    }
}
