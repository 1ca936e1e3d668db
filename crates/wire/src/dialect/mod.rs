//! The grammars of client protocols, and the table of formats: each a dialect, a codec and a
//! framing. A session has one format; an event is encoded once for each format that is present.

mod engineio;
mod grammar;
pub mod machat;
pub mod mesh;
pub mod msgio;
pub mod native;
pub mod simple_chat;
pub mod socketio;
mod speech;

use std::fmt;

use bytes::{Bytes, BytesMut};

pub use self::grammar::{Cut, CutError, Cutter, Grammar, Receiver, Standing};
use crate::framing::Framing;
use crate::{CloseCode, Codec, Push, Refusal, Reply, Request, SessionId};

/// The grammar of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// Engine.IO without Socket.IO on top.
    Engineio,
    /// MaChat's hello and lines.
    MaChat,
    /// GoMeshStream's envelope.
    Mesh,
    /// nimMsgIo's events.
    MsgIo,
    /// roomcast's own protocol.
    #[default]
    Native,
    /// simple-chat-server's values of Go's gob.
    SimpleChat,
    /// Socket.IO.
    SocketIo,
}

/// Sorted by name.
const GRAMMARS: &[(Dialect, &dyn Grammar)] = &[
    (ENGINEIO, &engineio::Engineio),
    (MACHAT, &machat::MaChat),
    (MESH, &mesh::Mesh),
    (MSGIO, &msgio::MsgIo),
    (NATIVE, &native::Native),
    (SIMPLE_CHAT, &simple_chat::SimpleChat),
    (SOCKETIO, &socketio::SocketIo),
];

impl Dialect {
    /// All dialects, by name.
    pub const ALL: &'static [Self] =
        &[ENGINEIO, MACHAT, MESH, MSGIO, NATIVE, SIMPLE_CHAT, SOCKETIO];

    /// The word in a listener's URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Engineio => "engineio",
            Self::MaChat => "machat",
            Self::Mesh => "mesh",
            Self::MsgIo => "msgio",
            Self::Native => "native",
            Self::SimpleChat => "simple-chat",
            Self::SocketIo => "socketio",
        }
    }

    /// What it is made of.
    pub fn grammar(self) -> &'static dyn Grammar {
        // Each dialect has its line (tested below).
        let line = GRAMMARS.get(self as usize).or(GRAMMARS.first());
        line.map_or(&native::Native, |(_, grammar)| *grammar)
    }

    /// How it is spoken on every WebSocket, if the handshake has no say in it.
    pub fn ws_format(self) -> Option<Format> {
        self.grammar().ws_format()
    }

    /// Whether it is spoken on WebSockets.
    pub fn has_ws(self) -> bool {
        self.grammar().has_ws()
    }

    /// The only path of its WebSockets; none: any.
    pub fn ws_path(self) -> Option<&'static str> {
        self.grammar().ws_path()
    }

    /// Whether the subprotocol of its WebSockets names the namespace.
    pub fn ws_subprotocol_is_namespace(self) -> bool {
        self.grammar().ws_subprotocol_is_namespace()
    }

    /// Whether it is spoken on bare TCP.
    pub fn has_tcp(self) -> bool {
        self.grammar().stream().is_some()
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
    /// Nothing can be read after it: the link is closed, and the refusal not told.
    pub close: Option<CloseCode>,
}

struct Entry {
    dialect: Dialect,
    codec: Codec,
    framing: Framing,
}

/// Sorted by dialect, codec and framing.
const TABLE: &[Entry] = &[
    Entry { dialect: ENGINEIO, codec: Codec::Json, framing: Framing::Carried },
    Entry { dialect: MACHAT, codec: Codec::Json, framing: Framing::Line },
    Entry { dialect: MACHAT, codec: Codec::Json, framing: Framing::WsText },
    Entry { dialect: MACHAT, codec: Codec::Json, framing: Framing::WsBinary },
    Entry { dialect: MESH, codec: Codec::Json, framing: Framing::WsText },
    Entry { dialect: MSGIO, codec: Codec::Json, framing: Framing::LengthLe },
    Entry { dialect: MSGIO, codec: Codec::Json, framing: Framing::WsText },
    Entry { dialect: MSGIO, codec: Codec::MsgPack, framing: Framing::LengthLe },
    Entry { dialect: NATIVE, codec: Codec::Json, framing: Framing::Line },
    Entry { dialect: NATIVE, codec: Codec::Json, framing: Framing::WsText },
    Entry { dialect: NATIVE, codec: Codec::Json, framing: Framing::WsTextDeflate },
    Entry { dialect: NATIVE, codec: Codec::MsgPack, framing: Framing::Length },
    Entry { dialect: NATIVE, codec: Codec::MsgPack, framing: Framing::WsBinary },
    Entry { dialect: NATIVE, codec: Codec::MsgPack, framing: Framing::WsBinaryDeflate },
    Entry { dialect: SIMPLE_CHAT, codec: Codec::Json, framing: Framing::Bare },
    Entry { dialect: SOCKETIO, codec: Codec::Json, framing: Framing::Carried },
    Entry { dialect: SOCKETIO, codec: Codec::Json, framing: Framing::CarriedMain },
    Entry { dialect: SOCKETIO, codec: Codec::MsgPack, framing: Framing::Carried },
    Entry { dialect: SOCKETIO, codec: Codec::MsgPack, framing: Framing::CarriedMain },
];

const ENGINEIO: Dialect = Dialect::Engineio;
const MACHAT: Dialect = Dialect::MaChat;
const MESH: Dialect = Dialect::Mesh;
const MSGIO: Dialect = Dialect::MsgIo;
const NATIVE: Dialect = Dialect::Native;
const SIMPLE_CHAT: Dialect = Dialect::SimpleChat;
const SOCKETIO: Dialect = Dialect::SocketIo;

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = TABLE.len();
    /// Engine.IO without Socket.IO on top.
    pub const ENGINEIO: Self = Self::of(ENGINEIO, Codec::Json, Framing::Carried);
    /// MaChat's lines on TCP.
    pub const MACHAT_LINE: Self = Self::of(MACHAT, Codec::Json, Framing::Line);
    /// MaChat's lines in WebSocket text frames.
    pub const MACHAT_WS: Self = Self::of(MACHAT, Codec::Json, Framing::WsText);
    /// MaChat's lines in WebSocket binary frames.
    pub const MACHAT_WS_BINARY: Self = Self::of(MACHAT, Codec::Json, Framing::WsBinary);
    /// GoMeshStream's envelope in WebSocket text frames.
    pub const MESH_WS: Self = Self::of(MESH, Codec::Json, Framing::WsText);
    /// nimMsgIo's JSON, each message behind its length (u32, little-endian).
    pub const MSGIO_JSON: Self = Self::of(MSGIO, Codec::Json, Framing::LengthLe);
    /// nimMsgIo's JSON in WebSocket text frames.
    pub const MSGIO_WS: Self = Self::of(MSGIO, Codec::Json, Framing::WsText);
    /// nimMsgIo's MessagePack, each message behind its length (u32, little-endian).
    pub const MSGIO_MSGPACK: Self = Self::of(MSGIO, Codec::MsgPack, Framing::LengthLe);
    /// Native JSON, one object a line.
    pub const JSON_LINE: Self = Self::of(NATIVE, Codec::Json, Framing::Line);
    /// Native JSON in WebSocket text frames.
    pub const JSON_WS: Self = Self::of(NATIVE, Codec::Json, Framing::WsText);
    /// Native JSON in WebSocket text frames, compressed (RFC 7692).
    pub const JSON_WS_DEFLATE: Self = Self::of(NATIVE, Codec::Json, Framing::WsTextDeflate);
    /// Native MessagePack, each message behind its length (u32, big-endian).
    pub const MSGPACK_LENGTH: Self = Self::of(NATIVE, Codec::MsgPack, Framing::Length);
    /// Native MessagePack in WebSocket binary frames.
    pub const MSGPACK_WS: Self = Self::of(NATIVE, Codec::MsgPack, Framing::WsBinary);
    /// Native MessagePack in WebSocket binary frames, compressed (RFC 7692).
    pub const MSGPACK_WS_DEFLATE: Self = Self::of(NATIVE, Codec::MsgPack, Framing::WsBinaryDeflate);

    /// simple-chat-server's values of Go's gob.
    pub const SIMPLE_CHAT: Self = Self::of(SIMPLE_CHAT, Codec::Json, Framing::Bare);
    /// Socket.IO with its own parser, in WebSocket frames.
    pub const SOCKETIO_JSON: Self = Self::of(SOCKETIO, Codec::Json, Framing::Carried);
    /// Socket.IO with the msgpack parser, in WebSocket frames.
    pub const SOCKETIO_MSGPACK: Self = Self::of(SOCKETIO, Codec::MsgPack, Framing::Carried);

    /// Socket.IO with its own parser, for the namespace that its client knows as `/`.
    pub const SOCKETIO_JSON_MAIN: Self = Self::of(SOCKETIO, Codec::Json, Framing::CarriedMain);
    /// Socket.IO with the msgpack parser, for the namespace that its client knows as `/`.
    pub const SOCKETIO_MSGPACK_MAIN: Self =
        Self::of(SOCKETIO, Codec::MsgPack, Framing::CarriedMain);

    /// The place of a line of the table. Without such a line the constants do not compile.
    const fn of(dialect: Dialect, codec: Codec, framing: Framing) -> Self {
        let mut at = 0;
        loop {
            let entry = &TABLE[at];
            if entry.dialect as u8 == dialect as u8
                && entry.codec as u8 == codec as u8
                && entry.framing as u8 == framing as u8
            {
                return Self(at as u8);
            }
            at += 1;
        }
    }

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

    fn grammar(self) -> &'static dyn Grammar {
        self.dialect().grammar()
    }

    /// Whether a session begins with the link: its clients only listen until they are told more.
    pub fn begins_session(self) -> bool {
        self.grammar().begins_session()
    }

    /// Whether a message may come in text and in binary frames alike.
    pub fn takes_any_frame(self) -> bool {
        self.grammar().takes_any_frame()
    }

    /// How clients of text frames and of binary ones are spoken to: see
    /// [`Grammar::ws_formats_by_frame`].
    pub fn ws_formats_by_frame(self) -> Option<[Self; 2]> {
        self.grammar().ws_formats_by_frame()
    }

    /// Largest message that the dialect itself allows, in bytes.
    pub fn message_bytes_max(self) -> usize {
        self.grammar().message_bytes_max()
    }

    /// The id of a new session, drawn from `random`.
    pub fn session_id(self, random: u128) -> SessionId {
        self.grammar().session_id(random)
    }

    /// Whether what is told to some members only names each of them: then
    /// [`Format::encode_push`] writes it for each.
    pub fn names_receiver(self) -> bool {
        self.grammar().names_receiver()
    }

    /// Whether a client hears rooms of its link's namespace only.
    pub fn hears_own_namespace_only(self) -> bool {
        self.grammar().hears_own_namespace_only()
    }

    /// Whether a client can come back to its session.
    pub fn resumes(self) -> bool {
        self.grammar().resumes()
    }

    /// Whether what its clients are told may bear an offset: see [`Grammar::recovers`].
    pub fn recovers(self) -> bool {
        self.grammar().recovers()
    }

    /// Whether [`Format::decode`] asks where its sender stands.
    pub fn reads_standing(self) -> bool {
        self.grammar().reads_standing()
    }

    /// Whether its hello names a room too: see [`Grammar::hello_names_room`].
    pub fn hello_names_room(self) -> bool {
        self.grammar().hello_names_room()
    }

    /// Cuts the bytes of its WebSocket frames into messages; none: each frame is one.
    pub fn ws_stream(self) -> Option<Box<dyn Cutter>> {
        self.grammar().ws_stream()
    }

    /// Reads one message (without its framing). Names borrow from it, payloads share its buffer.
    /// What the sender's [`Standing`] is counts only where the format
    /// [`reads_standing`](Format::reads_standing).
    ///
    /// # Errors
    /// The refusal to answer with, or what the link is closed with.
    pub fn decode<'a>(
        self,
        message: &'a Bytes,
        standing: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        self.grammar().decode(self, message, standing)
    }

    /// Appends the frame of a push for `to`; nothing if the dialect has no word for it.
    pub fn encode_push(self, to: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        self.grammar().encode_push(self, to, push, out);
    }

    /// Appends what goes out together to all members of a room: a frame each, or, where the
    /// dialect has its messages in lines, one frame.
    pub fn encode_pushes<'a>(self, mut pushes: impl Iterator<Item = Push<'a>>, out: &mut BytesMut) {
        self.grammar().encode_pushes(self, &mut pushes, out);
    }

    /// Appends the frame of a reply for the link `to`; nothing if the dialect has no word for it.
    pub fn encode_reply(
        self,
        to: &Receiver<'_>,
        reference: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        self.grammar().encode_reply(self, to, reference, reply, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_whole() {
        assert!(Dialect::ALL.is_sorted_by_key(|dialect| dialect.as_str()));
        let named: Vec<_> = GRAMMARS.iter().map(|(dialect, _)| *dialect).collect();
        assert_eq!(named, Dialect::ALL);
        for (at, dialect) in Dialect::ALL.iter().enumerate() {
            assert_eq!(*dialect as usize, at);
            assert!(Format::all().any(|format| format.dialect() == *dialect), "{dialect}");
            assert!(dialect.ws_format().is_none_or(|format| format.dialect() == *dialect));
        }
        let keys =
            TABLE.iter().map(|line| (line.dialect as u8, line.codec as u8, line.framing as u8));
        assert!(keys.is_sorted_by(|a, b| a < b));
    }
}
