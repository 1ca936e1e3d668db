//! What a dialect is made of. A new one is a file that implements [`Grammar`], a line in the table
//! of grammars and a line for each of its formats.

use bytes::{Bytes, BytesMut};

use super::{DecodeError, Format};
use crate::{CloseCode, Codec, Offset, Push, Reply, Request, SessionId};

/// What a dialect is made of. What most have in common is the default.
pub trait Grammar: Sync {
    /// Reads one message, as [`Format::decode`] says.
    ///
    /// # Errors
    /// The refusal to answer with; the connection can go on.
    fn decode<'a>(
        &self,
        format: Format,
        message: &'a Bytes,
        standing: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError>;

    /// Appends the frame of a push for `to`; nothing if there is no word for it.
    fn encode_push(&self, format: Format, to: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut);

    /// Appends what goes out together to all members of a room: a frame each.
    fn encode_pushes<'a>(
        &self,
        format: Format,
        pushes: &mut dyn Iterator<Item = Push<'a>>,
        out: &mut BytesMut,
    ) {
        for push in pushes {
            self.encode_push(format, &Receiver::default(), &push, out);
        }
    }

    /// Appends the frame of a reply for the link `to`; nothing if there is no word for it.
    fn encode_reply(
        &self,
        format: Format,
        to: &Receiver<'_>,
        reference: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    );

    /// Cuts a bare byte stream (TCP) into messages; none: it is spoken on WebSockets only.
    fn stream(&self) -> Option<Box<dyn Cutter>> {
        None
    }

    /// Whether it is spoken on WebSockets.
    fn has_ws(&self) -> bool {
        true
    }

    /// The same where the listener names the codec; none: that is not for it to name.
    fn stream_in(&self, codec: Codec) -> Option<Box<dyn Cutter>> {
        _ = codec;
        None
    }

    /// Whether clients name their namespace as the subprotocol of a WebSocket.
    fn ws_subprotocol_is_namespace(&self) -> bool {
        false
    }

    /// How it is spoken on every WebSocket, if the handshake has no say in it.
    fn ws_format(&self) -> Option<Format> {
        None
    }

    /// The only path of its WebSockets, where the handshake has no say in the format; none: any.
    fn ws_path(&self) -> Option<&'static str> {
        None
    }

    /// Cuts the bytes of WebSocket frames into messages, wherever the frames end; none: each frame
    /// is one message.
    fn ws_stream(&self) -> Option<Box<dyn Cutter>> {
        None
    }

    /// Whether its hello names a room too, which the client is there for. Such a hello is read once
    /// more when the session has begun ([`Standing::goes_on`]). The client needs a display name
    /// that nobody in the room has. When something is refused that has a `ref`, or its last seat
    /// is lost, its link is closed, and says why; and its session cannot be resumed.
    fn hello_names_room(&self) -> bool {
        false
    }

    /// Whether a session begins with the link: its clients only listen until they are told more.
    fn begins_session(&self) -> bool {
        false
    }

    /// Whether a message may come in text and in binary frames alike.
    fn takes_any_frame(&self) -> bool {
        false
    }

    /// How a client is spoken to whose last frame was a text frame, and one whose last frame was a
    /// binary one; none: that makes no difference. Only where [`Grammar::ws_stream`] cuts.
    fn ws_formats_by_frame(&self) -> Option<[Format; 2]> {
        None
    }

    /// Largest message that the grammar itself allows, in bytes.
    fn message_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// The id of a new session, drawn from `random`.
    fn session_id(&self, random: u128) -> SessionId {
        SessionId(random)
    }

    /// Whether a client hears rooms of its link's namespace only: what is said in a room is written
    /// once for all its members, with the name of the room's namespace.
    fn hears_own_namespace_only(&self) -> bool {
        false
    }

    /// Whether what is told to some members only names each of them.
    fn names_receiver(&self) -> bool {
        false
    }

    /// Whether a client can come back to its session. If not, its session ends with its link:
    /// nobody could take up the seats that are kept otherwise.
    fn resumes(&self) -> bool {
        true
    }

    /// Whether what its clients are told may bear an [`Offset`], so that they can come back for
    /// what they missed: with a `hello` that resumes, or begins anew if that cannot be.
    fn recovers(&self) -> bool {
        false
    }

    /// Whether [`Grammar::decode`] asks where the sender stands.
    fn reads_standing(&self) -> bool {
        false
    }
}

/// Where the sender of a message stands, as far as the hub knows: for grammars whose messages do
/// not say it themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing<'a> {
    /// Its session; none: it has said no hello yet.
    pub session: Option<SessionId>,
    /// The namespace of its link.
    pub namespace: &'a str,
    /// Whether the namespace has events stand for commands, where a dialect knows only events.
    pub convention: bool,
    /// The full name of the room that it took a seat in last, where its hello named one
    /// ([`Grammar::hello_names_room`]).
    pub room: Option<&'a str>,
    /// The lobby of its namespace, if its logic is there to be spoken to.
    pub lobby: Option<&'a str>,
    /// The message was read before, when there was no session yet, and is now carried out further.
    pub goes_on: bool,
}

/// Whom a frame is written for. Of what goes to all members of a room nothing is known but what
/// the push itself says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Receiver<'a> {
    /// Its session, where the format [names it](Format::names_receiver) and it has one.
    pub session: Option<SessionId>,
    /// The namespace of its link.
    pub namespace: &'a str,
    /// What it may come back with, where the format [recovers](Format::recovers) and the server
    /// has it so.
    pub offset: Option<Offset>,
}

/// Cuts one byte stream into messages.
pub trait Cutter: Send {
    /// Takes the next thing off the bytes that came; `None`: more are needed.
    ///
    /// # Errors
    /// Nothing can be read after it.
    fn cut(&mut self, buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Cut>, CutError>;

    /// The last message of a stream that has ended behind these bytes, if they are one.
    fn rest(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        _ = buffer;
        None
    }
}

/// What a [`Cutter`] has found.
#[derive(Debug)]
pub enum Cut {
    /// Which format it is: once, before any message.
    Begins(Format),
    /// One whole message.
    Message(Bytes),
}

/// The stream cannot be read on.
#[derive(Debug)]
pub struct CutError {
    /// What the link is closed with.
    pub code: CloseCode,
    /// For the person who reads it.
    pub message: String,
    /// What is written to a peer whose format is not known yet.
    pub answer: &'static [u8],
}
