//! One physical link between a client and a worker: two queues and a window.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_core::{LinkId, LinkLoss};
use roomcast_wire::Format;

use super::reader::Reader;

/// One physical link. It is never used again once it has ended.
#[derive(Debug)]
pub(super) struct Wire {
    pub format: Format,
    pub namespace: Option<Arc<str>>,
    pub place: Place,
    /// From the client, with the time of arrival.
    pub up: VecDeque<(u64, Up)>,
    /// To the client, with the time of arrival.
    pub down: VecDeque<(u64, Down)>,
    /// Longest time on the way, in milliseconds.
    pub delay_ms: u64,
    /// How many bytes the link takes that the client has not read.
    pub window: usize,
    /// How many bytes are on their way or unread.
    pub unread: usize,
    pub reader: Reader,
    /// Whether the client reads.
    pub reads: bool,
    /// Whether the client answers pings.
    pub pongs: bool,
    /// Nothing passes any more, and neither end knows.
    pub half_open: bool,
    /// It broke, and both ends are told.
    pub cut: bool,
    /// The client knows that it has ended.
    pub ended: bool,
    /// The worker's view: the last write was short.
    pub blocked: bool,
    /// It ever was.
    pub was_blocked: bool,
    /// The worker reads nothing until then.
    pub paused_until: u64,
    /// Its last message waits for a hook: nothing more is read.
    pub asking: bool,
    /// The shard asked for the close, with this code.
    pub closing: Option<u16>,
    /// The last bytes and the end are written.
    pub finished: bool,
    /// Most bytes that ever waited in its outbox at the end of a turn.
    pub outbox_most: usize,
}

/// Where the server's end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On its way to a worker, with the message that it is to be opened with.
    Moving { message: Option<Bytes> },
    /// At a worker.
    At { shard: u16, link: LinkId },
    /// Closed.
    Gone,
}

/// What a client sends.
#[derive(Debug)]
pub(super) enum Up {
    Message(Bytes),
    Alive,
    End(LinkLoss),
}

/// What a server sends.
#[derive(Debug)]
pub(super) enum Down {
    Bytes(Bytes),
    /// The end: with the close code if the server closed it in good order.
    End(Option<u16>),
}

impl Wire {
    /// Adds to a queue, behind everything that is in it.
    pub fn push_up(&mut self, at: u64, up: Up) -> u64 {
        let at = self.up.back().map_or(at, |&(last, _)| last.max(at));
        self.up.push_back((at, up));
        at
    }

    /// Adds to the queue to the client.
    pub fn push_down(&mut self, at: u64, down: Down) -> u64 {
        let at = self.down.back().map_or(at, |&(last, _)| last.max(at));
        if let Down::Bytes(bytes) = &down {
            self.unread += bytes.len();
        }
        // Of a link that broke, only that it did is still noticed.
        if self.half_open || (self.cut && !matches!(down, Down::End(None))) {
            return at;
        }
        self.down.push_back((at, down));
        at
    }
}
