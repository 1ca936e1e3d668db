//! The grammars of client protocols, and the table of formats: each a dialect, a codec and a
//! framing. A session has one format; an event is encoded once for each format that is present.

pub mod native;

use bytes::{Bytes, BytesMut};

use crate::framing::Framing;
use crate::{Codec, Push, Refusal, Reply, Request};

/// An index into the table of formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format(u8);

/// A frame that could not be read.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeError {
    /// The `ref`, if it could be read.
    pub reference: Option<u64>,
    /// What is wrong.
    pub refusal: Refusal,
}

struct Entry {
    codec: Codec,
    framing: Framing,
}

/// Sorted by name.
const TABLE: &[Entry] = &[
    Entry { codec: Codec::Json, framing: Framing::Line },
    Entry { codec: Codec::Json, framing: Framing::WsText },
    Entry { codec: Codec::Json, framing: Framing::WsTextDeflate },
    Entry { codec: Codec::MsgPack, framing: Framing::Length },
    Entry { codec: Codec::MsgPack, framing: Framing::WsBinary },
    Entry { codec: Codec::MsgPack, framing: Framing::WsBinaryDeflate },
];

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = TABLE.len();
    /// Native JSON, one object a line.
    pub const JSON_LINE: Self = Self(0);
    /// Native JSON in WebSocket text frames.
    pub const JSON_WS: Self = Self(1);
    /// Native JSON in WebSocket text frames, compressed (RFC 7692).
    pub const JSON_WS_DEFLATE: Self = Self(2);
    /// Native MessagePack, each message behind its length (u32, big-endian).
    pub const MSGPACK_LENGTH: Self = Self(3);
    /// Native MessagePack in WebSocket binary frames.
    pub const MSGPACK_WS: Self = Self(4);
    /// Native MessagePack in WebSocket binary frames, compressed (RFC 7692).
    pub const MSGPACK_WS_DEFLATE: Self = Self(5);

    /// All formats, in the order of their indices.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len() as u8).map(Self)
    }

    /// Below [`Format::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        TABLE[self.index()].codec
    }

    /// The framing.
    pub fn framing(self) -> Framing {
        TABLE[self.index()].framing
    }

    /// Reads one message (without its framing). Names borrow from it, payloads share its buffer.
    ///
    /// # Errors
    /// The refusal to answer with; the connection can go on.
    pub fn decode(self, message: &Bytes) -> Result<Request<'_>, DecodeError> {
        native::decode(self.codec(), message)
    }

    /// Appends the frame of a push.
    pub fn encode_push(self, push: &Push<'_>, out: &mut BytesMut) {
        self.framing().frame(out, |body| native::encode_push(self.codec(), push, body));
    }

    /// Appends the frame of a reply.
    pub fn encode_reply(self, reference: Option<u64>, reply: &Reply<'_>, out: &mut BytesMut) {
        self.framing()
            .frame(out, |body| native::encode_reply(self.codec(), reference, reply, body));
    }
}
