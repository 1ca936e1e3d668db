//! How shards name each other's sessions and rooms.

use compact_str::CompactString;

use crate::io::{LinkId, ShardId};

/// A room's full name: `room` in the default namespace, else `namespace/room`. Up to 24 bytes are
/// stored without allocation.
pub(crate) type FullName = CompactString;

/// Where a session is held. The generation tells a slot's present use from an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey {
    /// First: in a fan-out each receiver is compared with the sender, and the slots of two sessions
    /// mostly differ, their shards do not. 6 instructions of 180 a delivery.
    pub slot: u32,
    pub generation: u32,
    pub shard: ShardId,
}

/// Where a room has its home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoomKey {
    pub home: ShardId,
    pub slot: u32,
    pub generation: u32,
}

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// A command of a session, on the link it came from: an answer must not reach a later link,
    /// whose client counts its references anew, even if that one has the same number.
    Session { session: SessionKey, link: LinkId, generation: u32, reference: Option<u64> },
    /// A call of the server's own code.
    Call { shard: ShardId, id: u64 },
    /// Whoever another node's answer is for: the shard that asked knows. Whether it is a call of
    /// the server's own code.
    Awaited { shard: ShardId, number: u64, is_call: bool },
    /// A seat that its home is told of again: the link that heard the room so far, and which time
    /// it is told. Only the last answer counts.
    Again { link: LinkId, generation: u32, round: u32 },
    /// Nobody.
    Nobody,
}

impl ReplyTo {
    /// Where the answer goes, if anybody wants one.
    pub fn shard(&self) -> Option<ShardId> {
        match self {
            Self::Session { session, .. } => Some(session.shard),
            Self::Call { shard, .. } | Self::Awaited { shard, .. } => Some(*shard),
            Self::Again { .. } | Self::Nobody => None,
        }
    }

    /// Whether the server's own code asks.
    pub fn is_call(&self) -> bool {
        matches!(self, Self::Call { .. } | Self::Awaited { is_call: true, .. })
    }
}
