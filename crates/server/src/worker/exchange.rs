//! How the socket of a connection is exchanged for another: a session that began with HTTP
//! long-polling goes on over a WebSocket.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use rustls::ServerConnection;

use super::carrier::carrier;
use super::socket::Socket;
use super::{Worker, mark_dirty, queue};
use crate::acceptor::admission::Admission;

/// What a worker and the HTTP thread know together of a connection on long-polling.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Where the HTTP thread leaves a socket for the worker. A lock: taken once by each, in the
    /// life of a connection.
    place: Mutex<Option<Successor>>,
    /// Whether one of its lines has had a session: then its peer may send more (threat S5).
    is_known: AtomicBool,
}

/// A socket that takes the place of a link's own.
#[derive(Debug)]
pub(crate) struct Successor {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<ServerConnection>>,
    pub(crate) admission: Admission,
    /// The other end of the link's own socket: what the worker has written there and nobody has
    /// read goes to the peer first.
    pub(crate) pair: UnixStream,
    /// What was read there and not given to the peer.
    pub(crate) unsent: Bytes,
    /// What was read from the peer already.
    pub(crate) unread: Bytes,
}

impl Exchange {
    pub(crate) fn leave(&self, successor: Successor) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(successor);
    }

    pub(crate) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Acquire)
    }

    pub(crate) fn set_known(&self) {
        self.is_known.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Successor> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Worker {
    /// The peer has asked for the exchange, behind all that it said on the old socket. Nobody else
    /// writes to that or reads from it any more, so that what stands in its buffers is all there
    /// is: nothing is lost and nothing overtakes. Without a successor the word means nothing.
    pub(super) fn exchange(&mut self, key: u32) {
        let Some(carrier) = carrier(&mut self.links, key) else { return };
        let Some(successor) = carrier.exchange.as_ref().and_then(|place| place.take()) else {
            return;
        };
        carrier.exchange = None;
        let Successor { stream, tls, admission, mut pair, unsent, unread } = successor;
        let mut unsent = BytesMut::from(unsent);
        // Bounded by the buffer of a socket pair. A fault would have shown as an end.
        while let Ok(count @ 1..) = pair.read(&mut self.scratch) {
            unsent.extend_from_slice(self.scratch.get(..count).unwrap_or_default());
        }
        let waiting = std::mem::take(&mut carrier.outbox);
        if !unsent.is_empty() {
            carrier.outbox.push_control(unsent.freeze());
        }
        carrier.outbox.append(waiting);
        let Some(link) = self.links.get_mut(key as usize) else { return };
        // It fails only if the descriptor is not watched, which is what is wanted.
        _ = self.readiness.remove(&mut link.socket.stream);
        link.socket = Socket { stream: mio::net::TcpStream::from_std(stream), tls };
        link.admission = admission;
        link.unread.extend_from_slice(&unread);
        link.flags.read_closed = false;
        link.flags.readable = true;
        link.flags.blocked = false;
        if let Err(error) = self.readiness.add(&mut link.socket.stream, key) {
            return self.broke(key, &error);
        }
        mark_dirty(link, key, &mut self.dirty);
        queue(link, key, &mut self.ready);
        self.again = true;
        self.io.upgrades_total += 1;
    }
}
