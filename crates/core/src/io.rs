//! What goes into a shard and what comes out.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::{CloseCode, Format, Payload, Refusal, SessionId};

pub use crate::call::{Act, Revoked, RoomState, ServerCall, ServerReply};
pub use crate::counters::Counters;
pub use crate::directory::ShardId;
use crate::directory::{Directory, NodeId};
use crate::envelope::Envelope;
use crate::event::HubEvent;
use crate::hook::{Call, CallTicket, Question, Ticket, Verdict};
use crate::logic::{RoomRef, Task};
use crate::record::{LogEntry, LogNews};

/// Milliseconds since the server started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(pub u64);

impl Now {
    /// The time `ms` milliseconds later.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// One open link of a shard. The worker chooses the number (its slab key) and may use it again
/// once it has said [`Input::Closed`] or handled [`Output::Move`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

impl LinkId {
    /// None: no table is so large.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Everything that can happen to a shard.
#[derive(Debug)]
pub enum Input {
    /// A link is ready for messages: its transport's handshake is done.
    Opened {
        /// Which.
        link: LinkId,
        /// How it speaks.
        format: Format,
        /// The namespace of its listener; `default` if none is named.
        namespace: Option<Arc<str>>,
    },
    /// One whole message, without its framing.
    Message {
        /// From which link.
        link: LinkId,
        /// The message.
        bytes: Bytes,
    },
    /// The link of an [`Output::Move`] cannot be handed over: it is opened again here, where its
    /// session is not, and this message is its first.
    Stays {
        /// Which.
        link: LinkId,
        /// How it speaks.
        format: Format,
        /// The namespace of its listener; `default` if none is named.
        namespace: Option<Arc<str>>,
        /// The message.
        message: Bytes,
    },
    /// The peer is spoken to in another format of its dialect from now on.
    Speaks {
        /// Which link.
        link: LinkId,
        /// The format.
        format: Format,
    },
    /// The peer showed life without a message (a pong, say).
    Alive {
        /// Which link.
        link: LinkId,
    },
    /// The link is gone. Never answered with [`Output::Close`].
    Closed {
        /// Which.
        link: LinkId,
        /// How.
        loss: LinkLoss,
    },
    /// Word from another shard, in the order it was sent.
    Envelope {
        /// From which.
        from: ShardId,
        /// The word.
        envelope: Envelope,
    },
    /// The cluster has changed: the whole table as this node sees it, told to all its shards.
    Directory(Arc<Directory>),
    /// Until when this node's lease lasts at least, by its own clock: the time when the last
    /// renewal that was confirmed was sent, plus the lease, less a margin. Told to all shards of
    /// the node at every renewal. Later, and before the first one, homes of a cluster's node accept
    /// nothing: another node may have taken their place.
    Lease {
        /// Until when.
        until: Now,
    },
    /// A node is gone: it left, or its lease is over. Told to all shards, before the
    /// [`Input::Directory`] in which it is missing or has another incarnation.
    NodeGone {
        /// Which.
        node: NodeId,
    },
    /// Words to or from a node may be lost. Told to all shards, after the last word that came
    /// before the loss and before the first that came after it.
    Disturbed {
        /// Which.
        node: NodeId,
    },
    /// The time of [`Shard::next_deadline`](crate::Shard::next_deadline) has come.
    Tick,
    /// The server is about to stop: no new sessions or rooms. Every link is told `goodbye` with a
    /// retry delay drawn from 0 to `retry_ms_max`, then closed.
    Drain {
        /// Longest delay.
        retry_ms_max: u64,
    },
    /// What the future of an [`Output::Task`] came to.
    TaskDone {
        /// Which room asked.
        room: RoomRef,
        /// The number of its call.
        call: u64,
        /// What it came to; none: it panicked, or was given up.
        answer: Option<Box<dyn Any + Send>>,
    },
    /// The embedding program, the command line or the HTTP API asks for something.
    Call {
        /// Comes back with [`Output::CallDone`].
        id: u64,
        /// What is asked.
        call: ServerCall,
    },
    /// What the log of durable rooms has to say.
    Log(LogNews),
    /// The application has decided. A verdict that comes too late, or twice, is passed over.
    Verdict {
        /// Which question.
        ticket: Ticket,
        /// What becomes of the command.
        verdict: Verdict,
    },
    /// The application has answered a client's call. An answer that comes too late, or twice, is
    /// passed over.
    Answered {
        /// Which call.
        ticket: CallTicket,
        /// What the client is told.
        answer: Result<Option<Payload>, Refusal>,
    },
}

/// How a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLoss {
    /// The peer closed it in good order (WebSocket close frame, TCP end of stream).
    Closed,
    /// It broke: reset, or ended in the middle.
    Broken,
    /// The worker closed it: a fault, or no sign of life.
    Ended(CloseCode),
}

/// Everything a shard can ask of its worker.
#[derive(Debug)]
pub enum Output {
    /// Write what waits in the outbox, then close the link in its transport's way with this code.
    /// The worker answers with [`Input::Closed`] when it is gone.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        code: CloseCode,
    },
    /// Read nothing more from the link until then: it talks faster than it may.
    Pause {
        /// Which.
        link: LinkId,
        /// Until when.
        until: Now,
    },
    /// The link's session lives on another shard: hand the link over and open it there with this
    /// message as its first, or say [`Input::Stays`]. This shard has forgotten the link already.
    Move {
        /// Which.
        link: LinkId,
        /// Where to.
        to: ShardId,
        /// Its first message.
        message: Bytes,
    },
    /// Word for another shard; order is kept between any two.
    Envelope {
        /// For which.
        to: ShardId,
        /// The word.
        envelope: Envelope,
    },
    /// The end of a [`ServerCall`].
    CallDone {
        /// Its number.
        id: u64,
        /// What became of it.
        reply: ServerReply,
    },
    /// The logic of a room wants a future carried out. What it comes to goes back to this shard
    /// with [`Input::TaskDone`].
    Task {
        /// Which room asks.
        room: RoomRef,
        /// The number of its call.
        call: u64,
        /// The future.
        task: Task,
    },
    /// A command waits for the application. Until [`Output::Release`] the worker hands over no
    /// further message of the link; everything else about it goes on.
    Ask {
        /// What the verdict names.
        ticket: Ticket,
        /// Whose message it is.
        link: LinkId,
        /// The command.
        question: Question,
    },
    /// The command no longer waits: messages of the link are handled again.
    Release {
        /// Which.
        link: LinkId,
    },
    /// A client asks the application for something; [`Input::Answered`] answers.
    Called {
        /// What the answer names.
        ticket: CallTicket,
        /// What is asked.
        call: Box<Call>,
    },
    /// A durable room has something for the log; [`Input::Log`] says when it stands. Entries of one
    /// shard are taken in their order.
    Log(Box<LogEntry>),
    /// Something happened that the program around the hub may want to know.
    Event(Box<HubEvent>),
    /// Something an operator wants to read in the log.
    Note(Note),
}

/// What is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A session ended or lost its link.
    LinkEnded {
        /// Which session; none if the link never had one.
        session: Option<SessionId>,
        /// Why the server closed it; none if the peer did.
        code: Option<CloseCode>,
    },
    /// The logic of a durable room says more than may wait for the log: what it says is dropped
    /// until the log can be written again.
    LogicDropped {
        /// The room's full name.
        room: Box<str>,
    },
    /// A room stays in the log, but is not there.
    NotRestored {
        /// The room's full name.
        room: Box<str>,
        /// What has to be different for it to be there.
        reason: Box<str>,
    },
    /// The logic of a room panicked, or asked for what cannot be; the room was closed.
    LogicFailed {
        /// The room's full name.
        room: Box<str>,
        /// The logic's name.
        logic: Box<str>,
        /// What it said.
        fault: Box<str>,
    },
}
