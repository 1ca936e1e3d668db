//! The grammars of client protocols, and the table of formats: each a dialect, a codec and a
//! framing. A session has one format; an event is encoded once for each format that is present.

pub mod mesh;
pub mod native;

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::framing::Framing;
use crate::{Codec, Push, Refusal, Reply, Request, SessionId};

/// The grammar of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// GoMeshStream's envelope.
    Mesh,
    /// roomcast's own protocol.
    #[default]
    Native,
}

impl Dialect {
    /// All dialects, by name.
    pub const ALL: &'static [Self] = &[Self::Mesh, Self::Native];

    /// The word in a listener's URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Native => "native",
        }
    }

    /// How it is spoken on every WebSocket, if the handshake has no say in it.
    pub fn ws_format(self) -> Option<Format> {
        match self {
            Self::Mesh => Some(Format::MESH_WS),
            Self::Native => None,
        }
    }

    /// Whether it is spoken on bare TCP.
    pub fn has_tcp(self) -> bool {
        self == Self::Native
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    dialect: Dialect,
    codec: Codec,
    framing: Framing,
}

/// Sorted by dialect, codec and framing.
const TABLE: &[Entry] = &[
    Entry { dialect: MESH, codec: Codec::Json, framing: Framing::WsText },
    Entry { dialect: NATIVE, codec: Codec::Json, framing: Framing::Line },
    Entry { dialect: NATIVE, codec: Codec::Json, framing: Framing::WsText },
    Entry { dialect: NATIVE, codec: Codec::Json, framing: Framing::WsTextDeflate },
    Entry { dialect: NATIVE, codec: Codec::MsgPack, framing: Framing::Length },
    Entry { dialect: NATIVE, codec: Codec::MsgPack, framing: Framing::WsBinary },
    Entry { dialect: NATIVE, codec: Codec::MsgPack, framing: Framing::WsBinaryDeflate },
];

const MESH: Dialect = Dialect::Mesh;
const NATIVE: Dialect = Dialect::Native;

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = TABLE.len();
    /// GoMeshStream's envelope in WebSocket text frames.
    pub const MESH_WS: Self = Self(0);
    /// Native JSON, one object a line.
    pub const JSON_LINE: Self = Self(1);
    /// Native JSON in WebSocket text frames.
    pub const JSON_WS: Self = Self(2);
    /// Native JSON in WebSocket text frames, compressed (RFC 7692).
    pub const JSON_WS_DEFLATE: Self = Self(3);
    /// Native MessagePack, each message behind its length (u32, big-endian).
    pub const MSGPACK_LENGTH: Self = Self(4);
    /// Native MessagePack in WebSocket binary frames.
    pub const MSGPACK_WS: Self = Self(5);
    /// Native MessagePack in WebSocket binary frames, compressed (RFC 7692).
    pub const MSGPACK_WS_DEFLATE: Self = Self(6);

    /// All formats, in the order of their indices.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len() as u8).map(Self)
    }

    /// Below [`Format::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The dialect.
    pub fn dialect(self) -> Dialect {
        TABLE[self.index()].dialect
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        TABLE[self.index()].codec
    }

    /// The framing.
    pub fn framing(self) -> Framing {
        TABLE[self.index()].framing
    }

    /// Whether a session begins with the link: its clients only listen until they are told more.
    pub fn begins_session(self) -> bool {
        self.dialect() == Dialect::Mesh
    }

    /// Whether a message may come in text and in binary frames alike.
    pub fn takes_any_frame(self) -> bool {
        self.dialect() == Dialect::Mesh
    }

    /// Largest message that the dialect itself allows, in bytes.
    pub fn message_bytes_max(self) -> usize {
        match self.dialect() {
            Dialect::Mesh => mesh::MESSAGE_BYTES_MAX,
            Dialect::Native => usize::MAX,
        }
    }

    /// The id of a new session, drawn from `random`.
    pub fn session_id(self, random: u128) -> SessionId {
        match self.dialect() {
            Dialect::Mesh => mesh::session_id(random),
            Dialect::Native => SessionId(random),
        }
    }

    /// Whether what is told to some members only names each of them: then
    /// [`Format::encode_push_to`] writes it for each.
    pub fn names_receiver(self) -> bool {
        self.dialect() == Dialect::Mesh
    }

    /// Reads one message (without its framing). Names borrow from it, payloads share its buffer.
    ///
    /// # Errors
    /// The refusal to answer with; the connection can go on.
    pub fn decode(self, message: &Bytes) -> Result<Request<'_>, DecodeError> {
        match self.dialect() {
            Dialect::Mesh => mesh::decode(message),
            Dialect::Native => native::decode(self.codec(), message),
        }
    }

    /// Appends the frame of a push for all its receivers; nothing if the dialect has no word for
    /// it.
    pub fn encode_push(self, push: &Push<'_>, out: &mut BytesMut) {
        match self.dialect() {
            Dialect::Mesh => self.mesh_push(None, push, out),
            Dialect::Native => {
                let codec = self.codec();
                self.framing().frame(out, |body| native::encode_push(codec, push, body));
            }
        }
    }

    /// Appends the frame of a push for one session; nothing if the dialect has no word for it.
    pub fn encode_push_to(self, to: Option<SessionId>, push: &Push<'_>, out: &mut BytesMut) {
        match self.dialect() {
            Dialect::Mesh => self.mesh_push(to, push, out),
            Dialect::Native => self.encode_push(push, out),
        }
    }

    /// Appends what goes out together to all receivers: a frame each, or, where the dialect has
    /// its messages in lines, one frame.
    pub fn encode_pushes<'a>(self, pushes: impl Iterator<Item = Push<'a>>, out: &mut BytesMut) {
        match self.dialect() {
            Dialect::Native => pushes.for_each(|push| self.encode_push(&push, out)),
            Dialect::Mesh => {
                let mut said = pushes.filter(mesh::says_push).peekable();
                if said.peek().is_some() {
                    self.framing().frame(out, |body| mesh::encode_pushes(said, body));
                }
            }
        }
    }

    fn mesh_push(self, to: Option<SessionId>, push: &Push<'_>, out: &mut BytesMut) {
        if mesh::says_push(push) {
            self.framing().frame(out, |body| mesh::encode_push(to, push, body));
        }
    }

    /// Appends the frame of a reply for the session `to`, if there is one; nothing if the dialect
    /// has no word for it.
    pub fn encode_reply(
        self,
        to: Option<SessionId>,
        reference: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        match self.dialect() {
            Dialect::Mesh if !mesh::says_reply(reply) => {}
            Dialect::Mesh => {
                self.framing().frame(out, |body| mesh::encode_reply(to, reply, body));
            }
            Dialect::Native => {
                let codec = self.codec();
                let write = |body: &mut BytesMut| {
                    native::encode_reply(codec, reference, reply, body);
                };
                self.framing().frame(out, write);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_name_their_lines() {
        let found = |format: Format| (format.dialect(), format.codec(), format.framing());
        assert_eq!(found(Format::MESH_WS), (MESH, Codec::Json, Framing::WsText));
        assert_eq!(found(Format::JSON_LINE), (NATIVE, Codec::Json, Framing::Line));
        assert_eq!(found(Format::JSON_WS), (NATIVE, Codec::Json, Framing::WsText));
        assert_eq!(found(Format::JSON_WS_DEFLATE), (NATIVE, Codec::Json, Framing::WsTextDeflate));
        assert_eq!(found(Format::MSGPACK_LENGTH), (NATIVE, Codec::MsgPack, Framing::Length));
        assert_eq!(found(Format::MSGPACK_WS), (NATIVE, Codec::MsgPack, Framing::WsBinary));
        let deflate = (NATIVE, Codec::MsgPack, Framing::WsBinaryDeflate);
        assert_eq!(found(Format::MSGPACK_WS_DEFLATE), deflate);
        assert!(Dialect::ALL.is_sorted_by_key(|dialect| dialect.as_str()));
    }
}
