//! How a value is written: the table of codecs.
//!
//! Both readers hold the same rules, whatever a declared length or a nesting says: no allocation
//! before the bytes are there, at most [`DEPTH_MAX`] levels, nothing after the value.

pub(crate) mod json;
pub(crate) mod msgpack;
pub(crate) mod value;
pub(crate) mod write;

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::DEPTH_MAX;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 8259.
    Json,
    /// The MessagePack specification.
    MsgPack,
}

/// The bytes are not one well-formed value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

impl CodecError {
    #[cold]
    pub(crate) fn at(position: usize, what: impl std::fmt::Display) -> Self {
        Self(format!("at byte {position}: {what}"))
    }
}

impl Codec {
    /// All codecs.
    pub const ALL: &'static [Self] = &[Self::Json, Self::MsgPack];

    /// Makes a list of what [`Value::write_element`](value::Value::write_element) has appended to
    /// an empty buffer.
    pub(crate) fn enclose(self, elements: &mut BytesMut, count: usize) {
        match self {
            Self::Json => {
                elements.put_u8(b'[');
                elements.rotate_right(1);
                elements.put_u8(b']');
            }
            Self::MsgPack => msgpack::insert_header(elements, 0, false, count),
        }
    }

    /// Whether `bytes` hold exactly one value, nested at most
    /// [`DEPTH_MAX`](crate::limits::DEPTH_MAX) deep; answers with that value.
    pub(crate) fn check(self, bytes: &[u8]) -> Result<value::Value<'_>, CodecError> {
        match self {
            Self::Json => json::read(bytes, DEPTH_MAX).map(value::Value::Json),
            Self::MsgPack => msgpack::read(bytes, DEPTH_MAX).map(value::Value::MsgPack),
        }
    }
}

/// Writes a checked value of codec `from` in codec `to`. Total: what the other codec cannot say
/// is written as near as it can be (`docs/protocol.md` lists each case).
pub(crate) fn transcode(from: Codec, bytes: &Bytes, to: Codec) -> Bytes {
    if from == to {
        return bytes.clone();
    }
    let mut out = BytesMut::with_capacity(bytes.len() + bytes.len() / 4);
    transcode_into(from, bytes, &mut out);
    out.freeze()
}

/// Appends a checked value of codec `from` in the other codec.
pub(crate) fn transcode_into(from: Codec, bytes: &[u8], out: &mut BytesMut) {
    let start = out.len();
    let (written, null): (bool, &[u8]) = match from {
        Codec::Json => (json::to_msgpack(bytes, out), b"\xc0"),
        Codec::MsgPack => (msgpack::to_json(bytes, out), b"null"),
    };
    // A payload was checked when it was made, so this is not reached; if it were, the frame around
    // it would still be well-formed.
    debug_assert!(written);
    if !written {
        out.truncate(start);
        out.extend_from_slice(null);
    }
}
