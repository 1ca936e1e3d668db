//! What makes several servers one: an engine leases a number and a share of the homes to this
//! process, tells who else is there, and carries words between them as bytes.
//!
//! An engine knows no room, no session and no link. Whoever has none is alone, and home of
//! everything; it needs nothing of this.
//!
//! ```text
//! workers → Sending (a turn's words) → engine → Told (words, tables, the lease) → workers
//! ```
//! Promises: words between two nodes keep their order; where one may be missing, the receiver is
//! told [`Told::Disturbed`]. No two nodes hold a partition at the same time, as long as each stops
//! at the end of its own [`Told::Lease`].

#![cfg_attr(not(feature = "nats"), allow(dead_code, reason = "no other engine needs them"))]

mod incoming;
#[cfg(feature = "nats")]
mod nats;
mod registry;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::config::ClusterConfig;

pub(crate) use self::words::Sending;

/// Homes are leased in so many parts. Fixed: all nodes must agree.
pub(crate) const PARTITIONS: usize = 256;

/// Bytes of words that may wait for the engine before workers stop reading from their links.
const CONGESTED_BYTES: usize = 16 << 20;

/// Bytes of words that may wait; more are dropped, and the nodes they were for are disturbed.
const QUEUE_BYTES: usize = 64 << 20;

/// Parcels that may wait: two turns of each of 1,024 workers.
const QUEUE_PARCELS: usize = 2_048;

/// What an engine tells, from its own thread. Whoever is told must not wait.
#[derive(Debug)]
pub(crate) enum Told {
    /// Who is there and who holds what has changed.
    Table(Arc<Table>),
    /// The node's own lease is good until then, by this machine's clock. Nothing may be accepted
    /// at its homes afterwards.
    Lease(Instant),
    /// A word of another node's worker.
    Word {
        /// Of which node.
        from: u16,
        /// Of which of its workers.
        from_worker: u16,
        /// For which worker here.
        to_worker: u16,
        /// The word.
        bytes: Bytes,
    },
    /// Words from or to that node may be missing.
    Disturbed(u16),
    /// That node has left, or its lease has ended. Its number may come back as another process.
    Gone(u16),
}

/// Who is told.
pub(crate) type Tell = Box<dyn FnMut(Told) + Send>;

/// Who is there, and who holds what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Live nodes by number, this one included.
    pub(crate) nodes: Vec<Node>,
    /// By partition: its holder, if it is live.
    pub(crate) homes: Box<[Option<Holder>]>,
}

/// One live node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its number.
    pub(crate) number: u16,
    /// Which process has the number.
    pub(crate) incarnation: u64,
    /// How many workers it has.
    pub(crate) workers: u16,
    /// Whether it is about to leave, so that it is given nothing more.
    pub(crate) draining: bool,
    /// What people call it.
    pub(crate) name: String,
}

/// Who holds a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The node's number.
    pub(crate) node: u16,
    /// Grows with each change of holder.
    pub(crate) fence: u64,
}

/// What a node tells of itself.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// How many workers it has.
    pub(crate) workers: u16,
    /// Of what all nodes of a cluster must have alike; one that differs does not start.
    pub(crate) digest: String,
}

/// What a node is in its cluster from its start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Its number, for as long as it runs.
    pub(crate) node: u16,
    /// What all nodes of the cluster hash names with.
    pub(crate) home_seed: [u8; 32],
}

/// The way to a running engine. Dropping the last one ends it without leave: the others wait for
/// the lease to end.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) membership: Membership,
    pub(crate) state: Arc<State>,
    orders: tokio::sync::mpsc::Sender<Order>,
    parcels: tokio::sync::mpsc::Sender<Parcel>,
}

/// A turn's words of one worker for one node.
#[derive(Debug)]
struct Parcel {
    to: u16,
    /// With room for the head of a message in front.
    bytes: Vec<u8>,
}

/// What the server wants of its engine.
#[derive(Debug)]
enum Order {
    /// Give all homes away and take no more.
    Drain,
    /// Leave the cluster; dropped when done.
    Leave(std::sync::mpsc::Sender<()>),
}

/// What an engine counts and how it is.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Why the node should get no new clients; none: it may.
    unready: ArcSwapOption<String>,
    queued_bytes: AtomicUsize,
    /// Words were dropped because the queue was full, for whichever node.
    overflowed: AtomicBool,
    pub(crate) counters: Counters,
}

/// What an engine counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) nodes: AtomicU64,
    pub(crate) homes: AtomicU64,
    pub(crate) disturbed_total: AtomicU64,
    pub(crate) dropped_total: AtomicU64,
    pub(crate) leases_lost_total: AtomicU64,
    pub(crate) messages_received_total: AtomicU64,
    pub(crate) messages_sent_total: AtomicU64,
    pub(crate) readings_total: AtomicU64,
    pub(crate) reconnects_total: AtomicU64,
    pub(crate) renewals_failed_total: AtomicU64,
    pub(crate) takeovers_total: AtomicU64,
    pub(crate) words_received_total: AtomicU64,
    pub(crate) bytes_received_total: AtomicU64,
    pub(crate) bytes_sent_total: AtomicU64,
}

/// The engine of the configuration did not start.
///
/// ```
/// use roomcast::{EngineError, StartError};
///
/// /// Whether it may go better in a while.
/// fn is_passing(error: &StartError) -> bool {
///     matches!(error, StartError::Engine(EngineError::Unreachable { .. }))
/// }
///
/// let (url, problem) = ("nats://10.0.0.1:4222".to_owned(), "nobody answers there".to_owned());
/// assert!(is_passing(&StartError::Engine(EngineError::Unreachable { url, problem })));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing answers at the address.
    #[error("cluster.engine {url}: {problem}")]
    Unreachable {
        /// The address, without secrets.
        url: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// What answers cannot be used, or does not let this node in.
    #[error("cluster.engine {url}: {problem}")]
    Unusable {
        /// The address, without secrets.
        url: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The system gives no thread or no random bytes.
    #[error("the system gives no {0}")]
    System(&'static str),
}

impl Engine {
    /// Starts the configured engine and joins the cluster; none: this server is alone. Returns
    /// when the node has its number. `tell` is called before that, too.
    ///
    /// # Errors
    /// The cluster cannot be joined; nothing has been left behind.
    pub(crate) fn start(
        config: &ClusterConfig,
        member: Member,
        tell: Tell,
    ) -> Result<Option<Self>, EngineError> {
        if config.is_alone() {
            return Ok(None);
        }
        #[cfg(feature = "nats")]
        return nats::start(config, member, tell).map(Some);
        #[cfg(not(feature = "nats"))]
        {
            _ = (member, tell);
            let problem = "this program was built without the feature `nats`".to_owned();
            Err(EngineError::Unusable { url: config.engine_shown(), problem })
        }
    }

    /// Hands over a turn's words. Never waits: what finds the queue full is dropped, and its node
    /// is disturbed.
    pub(crate) fn send(&self, sending: &mut Sending) {
        for (to, bytes) in sending.take() {
            let (state, length) = (&self.state, bytes.len());
            let queued = state.queued_bytes.fetch_add(length, Ordering::Relaxed);
            let is_full = queued > QUEUE_BYTES;
            if is_full || self.parcels.try_send(Parcel { to, bytes }).is_err() {
                state.queued_bytes.fetch_sub(length, Ordering::Relaxed);
                state.counters.dropped_total.fetch_add(1, Ordering::Relaxed);
                state.overflowed.store(true, Ordering::Release);
            }
        }
    }

    /// Whether so much waits that no more should be read from links.
    pub(crate) fn is_congested(&self) -> bool {
        self.state.queued_bytes.load(Ordering::Relaxed) > CONGESTED_BYTES
    }

    /// Gives all homes to other nodes, if there are any, and takes no more.
    pub(crate) fn drain(&self) {
        _ = self.orders.try_send(Order::Drain);
    }

    /// Leaves, so that the others need not wait for the lease to end. At most `longest`.
    pub(crate) fn leave(&self, longest: Duration) {
        let (done, wait) = std::sync::mpsc::channel();
        if self.orders.try_send(Order::Leave(done)).is_ok() {
            // Nobody ever sends: the engine drops its end.
            _ = wait.recv_timeout(longest);
        }
    }
}

impl State {
    /// Why the node should get no new clients; none: it may.
    pub(crate) fn unready(&self) -> Option<Arc<String>> {
        self.unready.load_full()
    }

    fn set_unready(&self, reason: Option<String>) {
        self.unready.store(reason.map(Arc::new));
    }
}

#[cfg(all(test, feature = "nats"))]
#[allow(clippy::unwrap_used)]
mod tests;
