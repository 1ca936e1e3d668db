//! Ways to be connected to. A transport knows bytes and messages, never rooms or sessions.
//!
//! A new transport is a file beside this one and a line in [`TABLE`].

pub(crate) mod datagrams;
mod enet;
mod engineio;
mod tcp;
mod udp;
pub(crate) mod ws;

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::Dialect;
use roomcast_wire::ws::handshake::SitePolicy;
use roomcast_wire::{CloseCode, Codec, Format};

use self::datagrams::{Datagrams, Port};
use crate::config::listener::Scheme;

/// A way to be connected to.
pub(crate) struct Transport {
    /// The word in the listener's URL.
    pub(crate) scheme: Scheme,
    /// Whether TLS comes first.
    pub(crate) secure: bool,
    /// Whether connections begin with HTTP.
    pub(crate) http: bool,
    pub(crate) open: Open,
}

/// What a transport opens.
#[derive(Clone, Copy)]
pub(crate) enum Open {
    /// The protocol of one new connection.
    Stream(fn(&Arc<Site>) -> Box<dyn Protocol>),
    /// The protocol of one UDP socket and all its peers.
    Datagrams(fn(Port) -> io::Result<Box<dyn Datagrams>>),
}

/// Sorted by scheme.
pub(crate) const TABLE: &[Transport] = &[
    Transport {
        scheme: Scheme::Enet,
        secure: false,
        http: false,
        open: Open::Datagrams(enet::open),
    },
    Transport { scheme: Scheme::Tcp, secure: false, http: false, open: Open::Stream(tcp::open) },
    Transport { scheme: Scheme::Tls, secure: true, http: false, open: Open::Stream(tcp::open) },
    Transport { scheme: Scheme::Udp, secure: false, http: false, open: Open::Datagrams(udp::open) },
    Transport { scheme: Scheme::Ws, secure: false, http: true, open: Open::Stream(ws::open) },
    Transport { scheme: Scheme::Wss, secure: true, http: true, open: Open::Stream(ws::open) },
];

/// The transport of a scheme, by its place in [`TABLE`].
pub(crate) fn of(scheme: Scheme) -> &'static Transport {
    let found = TABLE.iter().find(|transport| transport.scheme == scheme);
    // The table has a line for each scheme (tested below); the first stands for none.
    found.unwrap_or(&TABLE[0])
}

/// The protocol of a connection that has become a WebSocket elsewhere.
pub(crate) fn websocket(format: Format) -> Box<dyn Protocol> {
    ws::opened(format)
}

/// The protocol of an Engine.IO session whose WebSocket stands. What belongs together has at most
/// `packet_bytes_max` bytes.
pub(crate) fn engineio(dialect: Dialect, packet_bytes_max: usize) -> Box<dyn Protocol> {
    engineio::opened(dialect, packet_bytes_max)
}

/// What the connections of one listener have in common.
#[derive(Debug, Default)]
pub(crate) struct Site {
    /// Which pages may connect, and under which host names.
    pub(crate) policy: SitePolicy,
    /// Whether compression is offered.
    pub(crate) deflate: bool,
    /// The grammar of those who connect.
    pub(crate) dialect: Dialect,
    /// Where Engine.IO is spoken, with a slash before and behind it; none: nowhere.
    pub(crate) engineio_path: Option<Box<str>>,
    /// What they speak, where the dialect leaves that to the listener.
    pub(crate) codec: Option<Codec>,
    /// What ENet's peers have agreed on beforehand.
    pub(crate) enet: roomcast_wire::enet::Options,
    /// What the subprotocol may name, where it names the namespace.
    pub(crate) namespaces: Vec<Arc<str>>,
}

/// How one connection speaks. Boxed once for each link: what stands in it is paid for by every
/// idle connection.
pub(crate) trait Protocol: Send {
    /// Takes the next thing off the bytes that came; `None`: more are needed.
    ///
    /// # Errors
    /// Nothing can be read after a fault.
    fn read(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Option<Received>, Fault>;

    /// What the protocol itself has to say; asked for when nothing else waits for the link, so
    /// that answers to a flood become one (threat S10).
    fn answer(&mut self) -> Option<Bytes> {
        None
    }

    /// Whether [`Protocol::answer`] has something.
    fn owes_answer(&self) -> bool {
        false
    }

    /// The last message of a stream that has ended behind these bytes, if they are one.
    fn rest(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        let _ = buffer;
        None
    }

    /// Whether a stream that ends between two messages has ended in good order.
    fn may_end_anywhere(&self) -> bool {
        false
    }

    /// Whether a message has begun that is whole only with others to come.
    fn awaits_rest(&self) -> bool {
        false
    }

    /// The format of the one line that such a connection carries from its beginning on; none:
    /// lines come with its messages.
    fn carries_alone(&self) -> Option<Format> {
        None
    }

    /// The frame that ends the messages of this side, if there is one.
    fn closing(&mut self, code: Option<u16>, reason: &str) -> Option<Bytes> {
        let _ = (code, reason);
        None
    }
}

/// What came from a peer.
#[derive(Debug)]
pub(crate) enum Received {
    /// The handshake is done: write this, then messages may flow.
    Opened {
        /// How the peer speaks.
        format: Format,
        /// Bytes to be written before anything else.
        response: Vec<u8>,
        /// Where the peer wants to be; none: where its listener is.
        namespace: Option<Arc<str>>,
    },
    /// A whole message.
    Message(Bytes),
    /// What is written from now on is in another format of the dialect.
    Speaks(Format),
    /// The handshake of Engine.IO is done: write this, then go on with [`engineio`], whose
    /// messages are those of several lines.
    Carries(Vec<u8>),
    /// A whole message of one of the lines.
    Carried {
        /// How the peer speaks.
        format: Format,
        /// The message.
        bytes: Bytes,
    },
    /// The answer to a ping of the carrying protocol.
    Pong,
    /// The peer goes on over another connection, if one was agreed on.
    Upgrade,
    /// A sign of life.
    Alive,
    /// The peer wants no more, with its code if it gave one.
    Closed(Option<u16>),
    /// The bytes are an HTTP request that asks for no WebSocket: not for this transport.
    Request,
}

/// The peer broke the rules of the transport.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The close code.
    pub(crate) code: CloseCode,
    /// For the person who reads it.
    pub(crate) message: String,
    /// What is written instead of a goodbye while the handshake is not done.
    pub(crate) answer: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_has_its_line_and_the_lines_are_sorted() {
        for &scheme in Scheme::all() {
            let transport = of(scheme);
            assert_eq!(transport.scheme, scheme);
            assert_eq!((transport.secure, transport.http), (scheme.is_tls(), scheme.is_http()));
            let datagrams = matches!(transport.open, Open::Datagrams(_));
            assert_eq!(datagrams, scheme.is_datagrams());
        }
        assert!(TABLE.windows(2).all(|pair| pair[0].scheme.as_str() < pair[1].scheme.as_str()));
    }
}
