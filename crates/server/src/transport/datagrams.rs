//! Transports on which one UDP socket serves all peers. A datagram transport is a state machine
//! without a socket: the worker gives it what came, asks it what is to be sent, and calls it again
//! when it wants to be. It runs on one worker, waits for nothing and takes no lock.
//!
//! The order of one turn of the worker: every datagram that came goes to [`Datagrams::receive`],
//! [`Datagrams::tick`] is called if [`Datagrams::due`] has passed, then messages are given away
//! with [`Datagrams::send`], and at the end [`Datagrams::transmit`] hands out all that is to be
//! sent. So what one turn has for one peer can share datagrams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roomcast_wire::{CloseCode, Format};

use super::Site;
use crate::acceptor::admission::Admissions;
use crate::config::LimitsConfig;

/// What a datagram transport is opened with.
pub(crate) struct Port {
    /// What its peers have in common.
    pub(crate) site: Arc<Site>,
    /// To be asked (`admit`) before anything is kept for an address. What it gives is kept with
    /// the peer and dropped with it.
    pub(crate) admissions: Arc<Admissions>,
    /// Bounds: `message_bytes`, `message_bytes_unknown_peer`, `ping_ms`, `pong_ms`,
    /// `handshake_ms`, `outbox_bytes`.
    pub(crate) limits: LimitsConfig,
}

/// One peer of a port, by its number there. The transport chooses it, small as an index is, and
/// may use it again once it has told [`Told::Closed`] or [`Datagrams::close`] was called: nothing
/// is told of the peer after either, until it is told [`Told::Opened`] anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(pub(crate) u32);

/// The protocol of one UDP socket. `now` is the time since the server's start; it never goes back.
pub(crate) trait Datagrams: Send {
    /// One datagram came. What follows from it is appended to `told`, in order.
    fn receive(&mut self, now: Duration, from: SocketAddr, datagram: &[u8], told: &mut Vec<Told>);

    /// Gives one chunk to a peer: whole frames of its format, one behind the other (an unreliable
    /// chunk is always one frame). What is reliable arrives in order, or the peer is closed; what
    /// is not goes out at most once, and may be dropped here, too.
    ///
    /// `false`: the window of the peer is full. Nothing of the chunk was taken, and
    /// [`Told::Writable`] follows when there is place. The worker gives nothing more before that,
    /// and the hub's rules for slow readers hold meanwhile.
    fn send(&mut self, now: Duration, peer: Peer, chunk: &Bytes, reliable: bool) -> bool;

    /// While a peer is held nothing of it is told but its end: what comes reliably waits within
    /// its window (and then the peer waits), what comes unreliably may be dropped. What has waited
    /// is told when it is no longer held.
    fn hold(&mut self, now: Duration, peer: Peer, held: bool, told: &mut Vec<Told>);

    /// The peer has a session: from now on its messages may have `limits.message_bytes`; before,
    /// `limits.message_bytes_unknown_peer` (threat S5). A larger one is a fault of the peer:
    /// [`Told::Closed`] with [`CloseCode::TooLarge`].
    fn trust(&mut self, peer: Peer);

    /// Ends a peer. What was given before, a goodbye as the last of it, still goes out with the
    /// usual repetitions, within a bounded time; then the transport's own end, with code and
    /// reason. Nothing more is told of the peer.
    fn close(&mut self, now: Duration, peer: Peer, code: CloseCode, reason: &str);

    /// When [`Datagrams::tick`] wants to be called at the latest.
    fn due(&self) -> Option<Duration>;

    /// Repetitions, timeouts, signs of life.
    fn tick(&mut self, now: Duration, told: &mut Vec<Told>);

    /// Hands out all datagrams that are to be sent now. It is not called while the socket takes
    /// none: what is unreliable must not pile up meanwhile. Datagrams of one address that follow
    /// each other with the same size (the last may be smaller) are sent together.
    fn transmit(&mut self, now: Duration, sink: &mut dyn FnMut(SocketAddr, &[u8]));

    /// Whether nothing is under way to anybody: the server may stop.
    fn is_idle(&self) -> bool;

    /// What was counted since the start.
    fn counts(&self) -> Counts;
}

/// What a port tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// A peer has shown that it receives at its address, and messages may flow.
    Opened {
        /// Its number.
        peer: Peer,
        /// How it speaks. [`Format::JSON_LINE`] and [`Format::MSGPACK_LENGTH`] frame messages as
        /// streams do.
        format: Format,
        /// Where it wants to be; none: where the listener is.
        namespace: Option<Arc<str>>,
    },
    /// A whole message, without framing.
    Message {
        /// From whom.
        peer: Peer,
        /// The message. It is kept with the memory that it is a part of: not a slice of a buffer
        /// much larger than itself.
        bytes: Bytes,
    },
    /// A sign of life without a message.
    Alive {
        /// Of whom.
        peer: Peer,
    },
    /// There is place again after [`Datagrams::send`] had none.
    Writable {
        /// For whom.
        peer: Peer,
    },
    /// The peer is gone.
    Closed {
        /// Who.
        peer: Peer,
        /// How.
        loss: PeerLoss,
    },
}

/// How a peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PeerLoss {
    /// It has said so.
    Closed,
    /// It has fallen silent, or takes nothing more.
    Broken,
    /// The transport has closed it, for a fault.
    Ended(CloseCode),
}

/// What a port counts beside datagrams and bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Datagrams that are none of the protocol, or whose sender could not be who it says.
    pub(crate) refused_total: u64,
    /// Datagrams that came a second time.
    pub(crate) replayed_total: u64,
    /// Pieces that were sent once more because nobody acknowledged them.
    pub(crate) repeated_total: u64,
    /// Peers turned away because of a limit.
    pub(crate) turned_away_total: u64,
}
