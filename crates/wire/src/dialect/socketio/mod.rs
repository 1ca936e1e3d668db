//! Socket.IO, protocol revision 5 (the document of that name in the repository
//! `socketio/socket.io-protocol`), as it stands on Engine.IO.
//!
//! ```text
//! 0/chat,{"token":"…"}                         CONNECT to the namespace /chat
//! 2/chat,7["join","lobby"]                     EVENT that wants an acknowledgement
//! 3/chat,7[{"type":"joined","room":"lobby"}]   ACK
//! 51-/chat,["photo",{"_placeholder":true,"num":0}]   and one binary message
//! ```
//! What is read is one whole packet, without the `4` of Engine.IO: the text as it came, a packet
//! of the msgpack parser, or what an [`Assembler`] made of a text and its attachments. What is
//! written are whole WebSocket frames. `docs/dialects.md` has the events that stand for commands.

mod assembler;
mod convention;
mod decode;
mod encode;
mod packet;

use bytes::{Bytes, BytesMut};

use super::{DecodeError, Format, Grammar, Receiver, Standing};
use crate::framing::Framing;
use crate::name::DEFAULT_NAMESPACE;
use crate::{Codec, Push, Reply, Request};

pub use self::assembler::{ASSEMBLE_MS, ATTACHMENTS_MAX, AssembleError, Assembler};
pub use self::convention::is_reserved;
pub use self::packet::{namespace_of, opens};

/// What the answer to CONNECT names: no acknowledgement has such a number.
const CONNECT: u64 = u64::MAX;

/// Events that the libraries raise themselves. A packet with such a name makes them close the
/// connection, so none is read and none is written.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Socket.IO's grammar.
pub(super) struct SocketIo;

impl Grammar for SocketIo {
    fn decode<'a>(
        &self,
        _: Format,
        message: &'a Bytes,
        standing: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        decode::request(message, standing)
    }

    fn encode_push(&self, format: Format, to: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        encode::push(format.codec(), &as_known(format, to), push, out);
    }

    fn encode_reply(
        &self,
        format: Format,
        to: &Receiver<'_>,
        reference: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        encode::reply(format.codec(), &as_known(format, to), reference, reply, out);
    }

    fn reads_standing(&self) -> bool {
        true
    }

    fn hears_own_namespace_only(&self) -> bool {
        true
    }

    fn resumes(&self) -> bool {
        false
    }

    fn recovers(&self) -> bool {
        true
    }
}

/// A receiver in the namespace in which its client takes itself to be.
fn as_known<'a>(format: Format, to: &Receiver<'a>) -> Receiver<'a> {
    match format.framing() {
        Framing::CarriedMain => Receiver { namespace: DEFAULT_NAMESPACE, ..*to },
        _ => *to,
    }
}

/// How the packets of a client are written that it expects in a namespace: in `/` they bear no
/// name, whatever the server calls it.
pub fn format_in(format: Format, namespace: &str) -> Format {
    match (namespace, format) {
        ("/", Format::SOCKETIO_JSON) => Format::SOCKETIO_JSON_MAIN,
        ("/", Format::SOCKETIO_MSGPACK) => Format::SOCKETIO_MSGPACK_MAIN,
        _ => format,
    }
}

/// The namespace of the server that a Socket.IO namespace stands for: `default` for `/`, `chat` for
/// `/chat`. None: no namespace of the server can have that name.
pub fn hub_namespace(namespace: &str) -> Option<&str> {
    match namespace.strip_prefix('/')? {
        "" => Some(DEFAULT_NAMESPACE),
        DEFAULT_NAMESPACE => None,
        name => Some(name).filter(|name| !name.contains('/')),
    }
}

/// Appends the frame that says that a Socket.IO namespace is not there.
pub fn refuse_namespace(codec: Codec, namespace: &str, out: &mut BytesMut) {
    encode::refuse_namespace(codec, namespace, out);
}
