//! One value of either codec, found but not yet read.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Codec, CodecError, json, msgpack};
use crate::Payload;
use crate::limits::DEPTH_MAX;
use crate::name::EVENT_NUMBER_MAX;

/// The bytes of one well-formed value. Cheap to copy; reading what it says costs as it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// Written in JSON.
    Json(json::Value<'a>),
    /// Written in MessagePack.
    MsgPack(msgpack::Value<'a>),
}

/// What sort of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    /// MessagePack only.
    Binary,
    /// MessagePack only.
    Extension,
    Array,
    Map,
}

impl Kind {
    /// For error texts.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Binary => "binary data",
            Self::Extension => "an extension value",
            Self::Array => "an array",
            Self::Map => "a map",
        }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Json(value) => value.kind(),
            Self::MsgPack(value) => value.kind(),
        }
    }

    /// What binary data hold; MessagePack only.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Json(_) => None,
            Self::MsgPack(value) => value.bytes(),
        }
    }

    /// The text of a string. A JSON string without escapes borrows.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(value) => value.text(),
            Self::MsgPack(value) => value.text().map(Cow::Borrowed),
        }
    }

    /// A whole number from 0 to 2^53 - 1, the largest that JavaScript reads exactly. `1.0` counts:
    /// some languages have no other numbers.
    pub(crate) fn uint(self) -> Option<u64> {
        let number = match self {
            Self::Json(value) => value.uint(),
            Self::MsgPack(value) => value.uint(),
        };
        number.filter(|&number| number <= EVENT_NUMBER_MAX)
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        match self {
            Self::Json(value) => value.boolean(),
            Self::MsgPack(value) => value.boolean(),
        }
    }

    /// How many bytes it takes.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Json(value) => value.raw().len(),
            Self::MsgPack(value) => value.raw().len(),
        }
    }

    /// The value as a payload that shares the buffer of `message`, in which it was found.
    pub(crate) fn payload(self, message: &Bytes) -> Payload {
        match self {
            // A line break between tokens would end the frame of those who read lines, so the few
            // payloads that have one are copied with blanks instead.
            Self::Json(value) if value.has_breaks() => {
                Payload::from_checked(Codec::Json, json::without_breaks(value.raw()))
            }
            Self::Json(value) => {
                Payload::from_checked(Codec::Json, message.slice_ref(value.raw().as_bytes()))
            }
            Self::MsgPack(value) => {
                Payload::from_checked(Codec::MsgPack, message.slice_ref(value.raw()))
            }
        }
    }

    /// Appends it as an element of a list, `first` or after another.
    pub(crate) fn write_element(self, out: &mut BytesMut, first: bool) {
        match self {
            Self::Json(value) => {
                if !first {
                    out.put_u8(b',');
                }
                if value.has_breaks() {
                    out.extend_from_slice(&json::without_breaks(value.raw()));
                } else {
                    out.extend_from_slice(value.raw().as_bytes());
                }
            }
            Self::MsgPack(value) => out.extend_from_slice(value.raw()),
        }
    }

    /// The values of some keys of a map; other keys are passed over.
    pub(crate) fn fields<const N: usize>(
        self,
        names: &[&str; N],
    ) -> Result<[Option<Value<'a>>; N], CodecError> {
        let mut slots = [None; N];
        match self {
            Self::Json(value) => json::fields(value.raw(), names, &mut slots, NESTED_DEPTH_MAX)?,
            Self::MsgPack(value) => {
                msgpack::fields(value.raw(), names, &mut slots, NESTED_DEPTH_MAX)?;
            }
        }
        Ok(slots)
    }

    /// Calls `each` with every element of an array.
    pub(crate) fn items(
        self,
        each: impl FnMut(Value<'a>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        match self {
            Self::Json(value) => json::items(value.raw(), each),
            Self::MsgPack(value) => msgpack::items(value.raw(), each),
        }
    }
}

/// Depth of the values in a frame of the server: a payload of full depth may stand in the map of an
/// event, in the list of a `history` reply.
pub(crate) const NESTED_DEPTH_MAX: usize = DEPTH_MAX + 2;

/// Reads one map: the values of `names`, each at most `depth` deep, go to `slots`; other keys are
/// passed over. What was read before an error stays in `slots`.
pub(crate) fn read_fields<'a, const N: usize>(
    codec: Codec,
    message: &'a [u8],
    names: &[&str; N],
    slots: &mut [Option<Value<'a>>; N],
    depth: usize,
) -> Result<(), CodecError> {
    match codec {
        Codec::Json => json::fields(json::utf8(message)?, names, slots, depth),
        Codec::MsgPack => msgpack::fields(message, names, slots, depth),
    }
}

/// A floating number as a whole one, if it is one and small enough to be exact.
pub(super) fn whole(number: f64) -> Option<u64> {
    let range = 0.0..=EVENT_NUMBER_MAX as f64;
    (range.contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// Puts the value of `key` in its slot. A key that comes twice is an error: two readers of the
/// same frame could take it for different things.
pub(super) fn put<'a, const N: usize>(
    names: &[&str; N],
    slots: &mut [Option<Value<'a>>; N],
    key: &str,
    value: Value<'a>,
) -> Result<(), CodecError> {
    // Names are sorted by how often they come, so this ends after a few comparisons of lengths.
    let Some(slot) = names.iter().position(|name| *name == key) else {
        return Ok(());
    };
    if slots[slot].replace(value).is_some() {
        return Err(CodecError(format!("the key `{key}` stands there twice")));
    }
    Ok(())
}
