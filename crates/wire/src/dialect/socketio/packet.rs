//! The parts of a packet.

use bytes::Bytes;

use super::ATTACHMENTS_MAX;
use crate::codec::value::{Kind as ValueKind, Value, read_fields};
use crate::codec::{CodecError, json};
use crate::limits::DEPTH_MAX;
use crate::name::EVENT_NUMBER_MAX;
use crate::{Codec, Payload};

/// What a packet is for. BINARY_EVENT and BINARY_ACK are an event and an acknowledgement whose
/// attachments are still to come: the [`Assembler`](super::Assembler) makes those of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
}

/// A packet that has all its parts.
pub(super) struct Packet<'a> {
    pub kind: Kind,
    pub id: Option<u64>,
    pub data: Option<Value<'a>>,
}

/// What stands before the data of a packet in text.
pub(super) struct Head<'a> {
    pub kind: Kind,
    /// How many binary messages follow.
    pub attachments: usize,
    /// With its `/`.
    pub namespace: &'a str,
    pub id: Option<u64>,
    /// The data, or nothing.
    pub rest: &'a str,
}

/// The namespace that a packet is for, with its `/` and without a query; `/` if it names none.
/// None: it cannot be read, which ends the connection.
pub fn namespace_of(packet: &Bytes) -> Option<&str> {
    let namespace = if is_text(packet) {
        head(json::utf8(packet).ok()?).ok()?.namespace
    } else {
        let mut slots = [None];
        read_fields(Codec::MsgPack, packet, &["nsp"], &mut slots, DEPTH_MAX).ok()?;
        match slots {
            [Some(Value::MsgPack(value))] => value.text().filter(|text| text.starts_with('/'))?,
            _ => return None,
        }
    };
    Some(without_query(namespace))
}

/// Whether a packet asks for its namespace to be opened: the first of a namespace has to.
pub fn opens(packet: &Bytes) -> bool {
    read(packet).is_ok_and(|packet| packet.kind == Kind::Connect)
}

/// Reads a packet of either parser.
pub(super) fn read(message: &Bytes) -> Result<Packet<'_>, CodecError> {
    if !is_text(message) {
        return read_map(message);
    }
    let head = head(json::utf8(message)?)?;
    if head.attachments > 0 {
        return Err(error("its attachments are missing"));
    }
    let data = match head.rest {
        "" => None,
        rest => Some(Value::Json(json::read(rest.as_bytes(), DEPTH_MAX)?)),
    };
    Ok(Packet { kind: head.kind, id: head.id, data })
}

/// Reads what stands before the data of a packet in text.
pub(super) fn head(text: &str) -> Result<Head<'_>, CodecError> {
    let (kind, mut rest) = split_digits(text, 1);
    let (kind, binary) = match kind {
        "0" => (Kind::Connect, false),
        "1" => (Kind::Disconnect, false),
        "2" => (Kind::Event, false),
        "3" => (Kind::Ack, false),
        "4" => (Kind::ConnectError, false),
        "5" => (Kind::Event, true),
        "6" => (Kind::Ack, true),
        _ => return Err(error("a packet begins with a digit from 0 to 6")),
    };
    let mut attachments = 0;
    if binary {
        let (digits, after) = split_digits(rest, usize::MAX);
        rest =
            after.strip_prefix('-').ok_or_else(|| error("expected the number of attachments"))?;
        let count = digits.parse().map_err(|_| error("expected the number of attachments"))?;
        if count > ATTACHMENTS_MAX {
            return Err(error("too many attachments"));
        }
        attachments = count;
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
    }
    let (digits, rest) = split_digits(rest, usize::MAX);
    let id = match digits {
        "" => None,
        digits => Some(id(digits.parse().ok())?),
    };
    Ok(Head { kind, attachments, namespace, id, rest })
}

fn read_map(message: &Bytes) -> Result<Packet<'_>, CodecError> {
    let mut slots = [None; 4];
    let names = ["type", "data", "id", "nsp"];
    read_fields(Codec::MsgPack, message, &names, &mut slots, DEPTH_MAX)?;
    let [kind, data, number, _] = slots.map(|slot| slot.filter(|value| !is_undefined(*value)));
    let kind = match kind.and_then(Value::uint) {
        Some(0) => Kind::Connect,
        Some(1) => Kind::Disconnect,
        Some(2) => Kind::Event,
        Some(3) => Kind::Ack,
        Some(4) => Kind::ConnectError,
        _ => return Err(error("`type` must be a number from 0 to 4")),
    };
    let id = number.map(|value| id(value.uint())).transpose()?;
    Ok(Packet { kind, id, data })
}

/// `undefined` of JavaScript: nil, or an extension of one zero byte in older clients.
fn is_undefined(value: Value<'_>) -> bool {
    match value {
        Value::Json(_) => value.kind() == ValueKind::Null,
        Value::MsgPack(value) => matches!(value.raw(), [0xc0] | [0xd4, 0, 0]),
    }
}

fn id(number: Option<u64>) -> Result<u64, CodecError> {
    number
        .filter(|number| *number <= EVENT_NUMBER_MAX)
        .ok_or_else(|| error("the number of an acknowledgement is too large"))
}

/// Whether a packet is of the library's own parser: a map in MessagePack begins with no character.
pub(super) fn is_text(packet: &[u8]) -> bool {
    packet.first().is_none_or(|byte| *byte < 0x80)
}

fn without_query(namespace: &str) -> &str {
    namespace.split_once('?').map_or(namespace, |(name, _)| name)
}

fn split_digits(text: &str, most: usize) -> (&str, &str) {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

fn error(what: &str) -> CodecError {
    CodecError(what.to_owned())
}

impl Packet<'_> {
    /// The elements of the data from `first` on, as a list of arguments.
    pub fn arguments(&self, first: usize) -> Result<Payload, CodecError> {
        match self.data {
            Some(data) => Payload::list_of(data, first),
            None => Err(error("a packet of this kind has a list")),
        }
    }
}
