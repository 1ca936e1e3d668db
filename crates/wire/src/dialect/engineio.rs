//! Engine.IO by itself, without Socket.IO on top: a session begins with the connection, a message
//! is a call of the name `message`, and what is sent to the session under that name is a message
//! to it. A text is a text, bytes are bytes. There are no words for rooms and refusals.

use bytes::{Bytes, BytesMut};

use super::{DecodeError, Format, Grammar, Receiver, Standing};
use crate::codec::value::Kind;
use crate::ws::frame::{Opcode, write_header};
use crate::{Codec, Command, ErrorCode, EventName, Payload, Push, Refusal, Reply, Request};

/// What a message is called, both ways.
const MESSAGE: &str = "message";

/// What stands before a message's text; the packet's type.
const TEXT: u8 = b'4';

/// What stands before a message of bytes, so that it is told from a text.
const BYTES: u8 = b'b';

pub(super) struct Engineio;

impl Grammar for Engineio {
    fn decode<'a>(
        &self,
        _: Format,
        message: &'a Bytes,
        _: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        let data = match message.split_first() {
            Some((&TEXT, text)) => std::str::from_utf8(text).ok().map(Payload::text),
            Some((&BYTES, bytes)) => Some(Payload::bin(bytes)),
            _ => None,
        };
        let Some((data, call)) = data.zip(EventName::text(MESSAGE).ok()) else {
            let refusal = Refusal::new(ErrorCode::Malformed, "no message of Engine.IO");
            return Err(DecodeError { reference: None, refusal, close: None });
        };
        let command = Command::Call { call, room: None, data: Some(data) };
        Ok(Request { reference: None, command })
    }

    fn encode_push(&self, _: Format, _: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        let Push::Message { event, data, .. } = push else { return };
        if event.as_text() != Some(MESSAGE) {
            return;
        }
        let Some(data) = data else { return text(out, b"") };
        // Its events have one argument.
        let only = data.items().filter(|_| data.is_arguments()).and_then(|mut it| it.pop());
        let data = only.as_ref().unwrap_or(data);
        let Ok(value) = data.codec().check(data.bytes()) else { return };
        match value.kind() {
            Kind::Text => text(out, value.text().unwrap_or_default().as_bytes()),
            Kind::Binary => {
                let bytes = value.bytes().unwrap_or_default();
                write_header(out, Opcode::Binary, false, bytes.len());
                out.extend_from_slice(bytes);
            }
            _ => text(out, data.to_codec(Codec::Json).bytes()),
        }
    }

    fn encode_reply(
        &self,
        _: Format,
        _: &Receiver<'_>,
        _: Option<u64>,
        _: &Reply<'_>,
        _: &mut BytesMut,
    ) {
    }

    fn ws_format(&self) -> Option<Format> {
        Some(Format::ENGINEIO)
    }

    fn begins_session(&self) -> bool {
        true
    }

    fn takes_any_frame(&self) -> bool {
        true
    }
}

fn text(out: &mut BytesMut, text: &[u8]) {
    write_header(out, Opcode::Text, false, 1 + text.len());
    out.extend_from_slice(&[TEXT]);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(message: &'static [u8]) -> Option<Payload> {
        let message = Bytes::from_static(message);
        let request = Format::ENGINEIO.decode(&message, &Standing::default()).ok()?;
        let Command::Call { call, room: None, data } = request.command else { return None };
        assert_eq!((call.as_text(), request.reference), (Some(MESSAGE), None));
        data
    }

    fn gone(data: &Payload) -> Vec<u8> {
        let mut out = BytesMut::new();
        let event = EventName::text(MESSAGE).expect("a name");
        let push = Push::Message { event: &event, data: Some(data), from: None };
        Format::ENGINEIO.encode_push(&Receiver::default(), &push, &mut out);
        out.to_vec()
    }

    #[test]
    fn what_comes_goes_out_as_it_came() {
        let text = come(b"4h\xc3\xa9\"").expect("a text");
        assert_eq!(gone(&text), b"\x81\x054h\xc3\xa9\"");
        assert_eq!(gone(&text.to_codec(Codec::Json)), b"\x81\x054h\xc3\xa9\"");
        let bytes = come(b"b\x00\xff").expect("bytes");
        assert_eq!(gone(&bytes), b"\x82\x02\x00\xff");
        let empty = come(b"4").expect("a text");
        assert_eq!(gone(&empty), b"\x81\x014");
        let map = Payload::new(Codec::Json, Bytes::from_static(b"{\"a\":1}")).expect("JSON");
        assert_eq!(gone(&map), b"\x81\x084{\"a\":1}");
        for bad in [&b""[..], b"2", b"4\xff"] {
            assert_eq!(come(bad), None);
        }
    }
}
