//! nimMsgIo's grammar: an event and its payload, both texts, under a namespace that is always
//! empty. JSON or MessagePack behind a length on TCP, JSON on WebSockets.
//!
//! `docs/dialects.md` says what is read and written, and what differs from the original.

mod stream;

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Cutter, DecodeError, Format, Grammar, Receiver, Standing, speech};
use crate::codec::json::write_text;
use crate::codec::msgpack;
use crate::codec::value::{Value, read_fields};
use crate::limits::DEPTH_MAX;
use crate::{
    CloseCode, Codec, Command, ErrorCode, EventName, Payload, Push, Refusal, Reply, Request,
    RoomPath, SessionId,
};

pub use self::stream::MAGIC;

/// Largest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64_000;

/// What the server calls a refusal.
const ERROR: &str = "error";

/// nimMsgIo's grammar.
pub(super) struct MsgIo;

impl Grammar for MsgIo {
    fn decode<'a>(
        &self,
        format: Format,
        message: &'a Bytes,
        standing: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        match command(format.codec(), message, standing) {
            Ok(command) => Ok(Request { reference: None, command }),
            Err(refusal) => Err(DecodeError { reference: None, refusal, close: None }),
        }
    }

    fn encode_push(&self, format: Format, _: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        match push {
            Push::Event { event, .. } => said(format, &event.name, event.payload.as_ref(), out),
            Push::Message { event, data, .. } => said(format, event, *data, out),
            Push::Goodbye { code, .. } if *code == CloseCode::Normal => {}
            Push::Goodbye { message, .. } => write(format, ERROR, message, out),
            // Who comes and goes is told by the server's own code only.
            _ => {}
        }
    }

    fn encode_reply(
        &self,
        format: Format,
        _: &Receiver<'_>,
        _: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        if let Reply::Error { message, .. } = reply {
            write(format, ERROR, message, out);
        }
    }

    fn stream(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::<stream::MagicThenLengths>::default())
    }

    fn stream_in(&self, codec: Codec) -> Option<Box<dyn Cutter>> {
        Some(Box::new(stream::MagicThenLengths::speaking(codec)))
    }

    fn ws_format(&self) -> Option<Format> {
        Some(Format::MSGIO_WS)
    }

    fn ws_subprotocol_is_namespace(&self) -> bool {
        true
    }

    fn begins_session(&self) -> bool {
        true
    }

    fn message_bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    fn session_id(&self, random: u128) -> SessionId {
        // The upper half tells them from ids of other dialects.
        const MARK: u128 = 0x6d73_6769_6f2d_6964 << 64;
        SessionId(MARK | (random & u128::from(u64::MAX)))
    }

    fn reads_standing(&self) -> bool {
        true
    }
}

/// What clients say is for the server's own code: the logic of the lobby, if there is one, else
/// what the program does with calls. It reaches nobody else by itself.
fn command<'a>(
    codec: Codec,
    message: &Bytes,
    standing: &Standing<'a>,
) -> Result<Command<'a>, Refusal> {
    let (event, payload) = read(codec, message)?;
    let event = EventName::text(&event)
        .map_err(|error| Refusal::new(ErrorCode::InvalidName, format!("`event`: {error}")))?;
    let data = Some(Payload::text(&payload));
    match standing.lobby.map(RoomPath::parse) {
        Some(Ok(room)) => {
            Ok(Command::Publish { room, event, data, reliable: true, key: None, echo: None })
        }
        _ => Ok(Command::Call { call: event, room: None, data }),
    }
}

/// The event and the payload of a message.
fn read(codec: Codec, message: &Bytes) -> Result<(String, String), Refusal> {
    let mut slots = [None; 3];
    let read = match codec {
        Codec::Json => {
            let keys = &["namespace", "event", "payload"];
            read_fields(codec, message, keys, &mut slots, DEPTH_MAX)
        }
        Codec::MsgPack => {
            let mut at = 0;
            codec.check(message).and_then(|value| {
                value.items(|item| {
                    if let Some(slot) = slots.get_mut(at) {
                        *slot = Some(item);
                    }
                    at += 1;
                    Ok(())
                })
            })
        }
    };
    let texts = slots.map(|slot| slot.and_then(Value::text).map(Cow::into_owned));
    match (read, texts) {
        (Ok(()), [Some(_), Some(event), Some(payload)]) => Ok((event, payload)),
        (Ok(()), _) => Err(malformed("")),
        (Err(error), _) => Err(malformed(&error.0)),
    }
}

fn malformed(error: &str) -> Refusal {
    let colon = if error.is_empty() { "" } else { ": " };
    let text = format!("a message is the three texts namespace, event and payload{colon}{error}");
    Refusal::new(ErrorCode::Malformed, text)
}

fn said(format: Format, event: &EventName, data: Option<&Payload>, out: &mut BytesMut) {
    let payload = speech::string(data);
    match event {
        EventName::Text(event) => write(format, event, &payload, out),
        EventName::Number(number) => write(format, &number.to_string(), &payload, out),
    }
}

fn write(format: Format, event: &str, payload: &str, out: &mut BytesMut) {
    format.framing().frame(out, |out| match format.codec() {
        Codec::Json => {
            out.put_slice(b"{\"namespace\":\"\",\"event\":");
            write_text(out, event);
            out.put_slice(b",\"payload\":");
            write_text(out, payload);
            out.put_u8(b'}');
        }
        Codec::MsgPack => {
            msgpack::write_array(out, 3);
            for text in ["", event, payload] {
                msgpack::write_text(out, text);
            }
        }
    });
}
