//! What an application says: bytes that nobody parses on their way.

use bytes::{Bytes, BytesMut};

use crate::Codec;
use crate::codec::value::{Kind, Value};
use crate::codec::{CodecError, msgpack};

/// One value in a codec: the text of one JSON value, or one MessagePack value. It was checked to
/// be exactly one well-formed value when it was read, because it will stand inside other frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    codec: Codec,
    /// A list whose elements are the arguments of an event, see [`Payload::into_arguments`].
    arguments: bool,
    bytes: Bytes,
}

impl Payload {
    /// Wraps bytes that a codec's reader has found to be one well-formed value.
    pub(crate) fn from_checked(codec: Codec, bytes: Bytes) -> Self {
        Self { codec, arguments: false, bytes }
    }

    /// The elements of a list from `first` on, as arguments.
    pub(crate) fn list_of(list: Value<'_>, first: usize) -> Result<Self, CodecError> {
        let mut bytes = BytesMut::with_capacity(list.len());
        let mut at = 0;
        let codec = match list {
            Value::Json(_) => Codec::Json,
            Value::MsgPack(_) => Codec::MsgPack,
        };
        list.items(|item| {
            at += 1;
            if at > first {
                item.write_element(&mut bytes, at == first + 1);
            }
            Ok(())
        })?;
        codec.enclose(&mut bytes, at.saturating_sub(first));
        Ok(Self { codec, arguments: true, bytes: bytes.freeze() })
    }

    /// Checks that `bytes` hold exactly one value of `codec`, nested at most
    /// [`DEPTH_MAX`](crate::limits::DEPTH_MAX) deep.
    ///
    /// The payload shares the buffer of `bytes`. JSON loses the blanks around the value; a line
    /// break between its tokens becomes a blank, because a payload may stand in one line.
    ///
    /// # Errors
    /// Where the value is not well-formed.
    #[expect(clippy::needless_pass_by_value, reason = "the payload goes on with the buffer")]
    pub fn new(codec: Codec, bytes: Bytes) -> Result<Self, CodecError> {
        codec.check(&bytes).map(|value| value.payload(&bytes))
    }

    /// A payload that is just a text.
    pub fn text(text: &str) -> Self {
        let mut bytes = BytesMut::with_capacity(text.len() + 5);
        msgpack::write_text(&mut bytes, text);
        Self::from_checked(Codec::MsgPack, bytes.freeze())
    }

    /// A payload that is just bytes: `bin` in MessagePack, base64 in JSON.
    pub fn bin(data: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(data.len() + 5);
        msgpack::write_bin(&mut bytes, data);
        Self::from_checked(Codec::MsgPack, bytes.freeze())
    }

    /// The same list, its elements meant as the arguments of an event: dialects whose events have
    /// several spread it, for the others it stays a list. The payload itself if it is no list.
    #[must_use]
    pub fn into_arguments(mut self) -> Self {
        self.arguments = self.codec.check(&self.bytes).is_ok_and(|it| it.kind() == Kind::Array);
        self
    }

    /// Whether it is a list of arguments.
    pub fn is_arguments(&self) -> bool {
        self.arguments
    }

    /// The value under a key, if this is a map that has it. It shares the buffer.
    pub fn field(&self, key: &str) -> Option<Self> {
        let map = self.codec.check(&self.bytes).ok()?;
        let [value] = map.fields(&[key]).ok()?;
        Some(value?.payload(&self.bytes))
    }

    /// A payload that says what `value` does, written as JSON.
    ///
    /// # Errors
    /// The value cannot be JSON (a map whose keys are no texts, say), or is nested too deeply.
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, CodecError> {
        let bytes = serde_json::to_vec(value).map_err(|error| CodecError(error.to_string()))?;
        Self::new(Codec::Json, bytes.into())
    }

    /// The value as an application's own type.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.to_codec(Codec::Json).bytes())
    }

    /// The codec the bytes are written in.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The value as it was written.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same value with bytes of its own: a slice of a read buffer would keep the whole
    /// buffer alive for as long as the history keeps the payload.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { bytes: Bytes::copy_from_slice(&self.bytes), ..*self }
    }

    /// The value in `codec`: shared bytes if it is written so already, else transcoded.
    #[must_use]
    pub fn to_codec(&self, codec: Codec) -> Self {
        if self.codec == codec {
            return self.clone();
        }
        let bytes = crate::codec::transcode(self.codec, &self.bytes, codec);
        Self { codec, arguments: self.arguments, bytes }
    }
}
