//! One open line as its worker sees it.

use bytes::BytesMut;
use roomcast_core::{Now, Outbox};
use roomcast_wire::{CloseCode, Format};

use super::carrier::Carrier;
use super::socket::Socket;
use crate::acceptor::admission::Admission;
use crate::transport::Protocol;

/// One open line. Kept small: an idle one must cost no more than this, its protocol's box and
/// what the shard keeps. What every write needs comes first and fills one cache line: in small
/// rooms that take turns, each is read from memory.
#[repr(C, align(64))]
pub(crate) struct Link {
    pub(super) socket: Socket,
    pub(super) stage: Stage,
    /// The latest of all pauses asked for: the first to end must not end the others.
    pub(super) paused_until: Now,
    pub(super) flags: Flags,
    /// Tells this link from an earlier one with the same number.
    pub(super) generation: u32,
    pub(super) listener: u16,
    // From here on: what only reading needs.
    pub(super) protocol: Box<dyn Protocol>,
    /// What came and is not understood yet. Holds no memory when empty.
    pub(super) unread: BytesMut,
    /// Counts towards the limits until it is dropped.
    pub(super) admission: Admission,
}

/// How far a link has come.
pub(super) enum Stage {
    /// The shard does not know it yet.
    Handshake,
    /// The shard knows it.
    Open(Format),
    /// The shard knows what it carries.
    Carrying(Box<Carrier>),
    /// The shard has forgotten it; the last bytes are on their way.
    Closing(Box<Closing>),
}

/// A link that goes.
pub(super) struct Closing {
    /// What still has to be written.
    pub(super) outbox: Outbox,
    /// Whether the peer is given time to close its side.
    pub(super) await_peer: bool,
    /// Whether what the peer says is no longer understood.
    pub(super) deaf: bool,
    /// Whether everything was written and said to be the last.
    pub(super) finished: bool,
    /// When it is over anyway.
    pub(super) until: Now,
}

/// Facts of a link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// The socket may have something to read.
    pub(super) readable: bool,
    /// It stands in the list of those to be read.
    pub(super) queued: bool,
    /// The peer has said that it sends nothing more.
    pub(super) read_closed: bool,
    /// `unread` may hold whole messages.
    pub(super) unprocessed: bool,
    /// `unread` is a part of the worker's read buffer.
    pub(super) shared: bool,
    /// The protocol has an answer of its own to write. Asking the protocol itself at every write
    /// costs a cache miss a delivery.
    pub(super) owes_answer: bool,
    /// It talks faster than it may: not read until `paused_until`.
    pub(super) paused: bool,
    /// Its last message waits for the application: not read until the shard releases it.
    pub(super) asking: bool,
    /// It asks for more than it reads: not read until its outbox has drained.
    pub(super) stalled: bool,
    /// The socket took no more at the last write.
    pub(super) blocked: bool,
    /// It stands in the list of those to be written to.
    pub(super) dirty: bool,
    /// The silence before the first byte was given its longer time.
    pub(super) patient: bool,
    /// The peer has ended its side; what was asked before is still answered.
    pub(super) ended: bool,
    /// The shard was told that it is blocked.
    pub(super) told_blocked: bool,
    /// The shard wants it closed at the end of the turn.
    pub(super) close: Option<CloseCode>,
}

impl Link {
    /// Whether nothing may be read now.
    pub(super) fn is_held(&self) -> bool {
        let flags = &self.flags;
        flags.paused || flags.asking || flags.stalled || flags.ended || flags.close.is_some()
    }

    pub(super) fn format(&self) -> Option<Format> {
        match self.stage {
            Stage::Open(format) => Some(format),
            _ => None,
        }
    }

    /// Puts what was read behind what waits. A link with nothing waiting takes its bytes from the
    /// worker's buffer, so that an idle one holds none.
    pub(super) fn take_in(&mut self, bytes: &[u8], arena: &mut BytesMut) {
        if self.unread.is_empty() {
            arena.extend_from_slice(bytes);
            self.unread = arena.split();
            self.flags.shared = true;
        } else {
            self.unread.extend_from_slice(bytes);
        }
    }

    /// Gives the worker's buffer free: a remainder moves to memory of its own.
    pub(super) fn settle(&mut self) {
        if self.unread.is_empty() {
            self.unread = BytesMut::new();
        } else if self.flags.shared {
            self.unread = BytesMut::from(&self.unread[..]);
        }
        self.flags.shared = false;
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn an_idle_link_is_small_and_a_write_needs_one_cache_line_of_it() {
        // Where mio checks itself, its sockets are larger.
        let (first, whole) = if cfg!(debug_assertions) { (72, 192) } else { (64, 128) };
        assert_eq!((offset_of!(Link, protocol), size_of::<Link>()), (first, whole));
    }
}
