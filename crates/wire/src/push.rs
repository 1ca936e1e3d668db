//! What the server tells unasked: the same bytes for all receivers.

use std::sync::Arc;

use crate::{CloseCode, EventName, Name, Payload, Position, SessionId};

/// Every push of the protocol. `docs/protocol.md` has an example of each.
#[derive(Debug, Clone, PartialEq)]
pub enum Push<'a> {
    /// Something was said in a room.
    Event {
        /// The room's full name.
        room: &'a str,
        /// What was said.
        event: &'a Event,
    },
    /// Somebody took a seat.
    MemberJoined {
        /// The room's full name.
        room: &'a str,
        /// Who.
        member: &'a MemberInfo,
    },
    /// Somebody gave up a seat, or lost it.
    MemberLeft {
        /// The room's full name.
        room: &'a str,
        /// Who.
        from: &'a Sender,
        /// Why.
        reason: LeaveReason,
        /// The last word given with `leave`.
        data: Option<&'a Payload>,
    },
    /// A member's link was lost; its seat is kept for a while.
    MemberDropped {
        /// The room's full name.
        room: &'a str,
        /// Who.
        from: &'a Sender,
    },
    /// A dropped member is back.
    MemberResumed {
        /// The room's full name.
        room: &'a str,
        /// Who.
        from: &'a Sender,
    },
    /// How many there are, where the room tells numbers only.
    Presence {
        /// The room's full name.
        room: &'a str,
        /// Sessions with a seat.
        members: u32,
        /// Users they belong to.
        users: u32,
    },
    /// The room is no more.
    RoomClosed {
        /// The room's full name.
        room: &'a str,
        /// Why.
        reason: ClosedReason,
    },
    /// Something was said to this session, to its user, or to its namespace.
    Message {
        /// What the message is called.
        event: &'a EventName,
        /// What it says.
        data: Option<&'a Payload>,
        /// Who said it; none: the server.
        from: Option<&'a Sender>,
    },
    /// The application asks this client for something; it answers with `result`.
    Call {
        /// What the answer names.
        id: u64,
        /// What is asked.
        call: &'a EventName,
        /// What belongs to it.
        data: Option<&'a Payload>,
    },
    /// The link is about to be closed by the server.
    Goodbye {
        /// Why, and what to do next.
        code: CloseCode,
        /// For the person who reads it.
        message: &'a str,
        /// Wait so long before connecting again, in milliseconds; differs by session.
        retry_ms: Option<u64>,
    },
}

impl Push<'_> {
    /// The word of the protocol for this push: the `type` of its frame.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Event { .. } => "event",
            Self::MemberJoined { .. } => "member_joined",
            Self::MemberLeft { .. } => "member_left",
            Self::MemberDropped { .. } => "member_dropped",
            Self::MemberResumed { .. } => "member_resumed",
            Self::Presence { .. } => "presence",
            Self::RoomClosed { .. } => "room_closed",
            Self::Message { .. } => "message",
            Self::Call { .. } => "call",
            Self::Goodbye { .. } => "goodbye",
        }
    }
}

/// One thing said in a room, with its place in the order.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What it is called.
    pub name: EventName,
    /// What it says.
    pub payload: Option<Payload>,
    /// Who said it, stamped by the server; none: the server.
    pub from: Option<Arc<Sender>>,
    /// Where it stands in the room's order; none: the room told it to some members only, so it has
    /// no place in what all hear, and is not kept in history.
    pub position: Option<Position>,
    /// `false`: may be dropped, the newest wins; not kept in history.
    pub reliable: bool,
    /// How many events of the room's epoch up to this one, itself included, could be dropped.
    /// Offsets and this count together tell which kind is missing between two events.
    pub unreliable: u64,
}

/// Who said something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The session.
    pub session: SessionId,
    /// Who the token says it is; none: anonymous.
    pub user: Option<Name>,
    /// The display name.
    pub name: Option<Name>,
    /// What the token says about its user, for the server's own code: it is never written, so that
    /// what is read has none.
    pub metadata: Option<Box<Payload>>,
}

/// A member as others see it.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberInfo {
    /// Who.
    pub sender: Arc<Sender>,
    /// What it gave with `join`.
    pub data: Option<Payload>,
    /// Its link is lost, its seat kept.
    pub dropped: bool,
}

/// Why a member is no longer in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveReason {
    /// It asked to leave, or said `bye`.
    Left,
    /// Its link was lost and it did not come back in time.
    Lost,
    /// It was put out.
    Kicked,
}

impl LeaveReason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Kicked => "kicked",
        }
    }
}

/// Why a room (or a seat in it, for the one who hears it) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedReason {
    /// Somebody with the right deleted it.
    Deleted,
    /// Its time to live was over.
    Expired,
    /// The receiver was put out of it.
    Kicked,
    /// The receiver's new token does not cover it.
    Revoked,
    /// Its logic ended it.
    Ended,
    /// Its logic is at fault; the server's log has the reason.
    Failed,
}

impl ClosedReason {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::Deleted, Self::Expired, Self::Kicked, Self::Revoked, Self::Ended, Self::Failed];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Kicked => "kicked",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}
