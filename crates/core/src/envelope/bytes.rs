//! Words as bytes, for other nodes.

use bytes::Bytes;
use compact_str::CompactString;
use roomcast_wire::options::SlowRule;
use roomcast_wire::push::{ClosedReason, LeaveReason, MemberInfo};
use roomcast_wire::reply::{Recovery, RoomInfo};
use roomcast_wire::{ErrorCode, Refusal, RoomPath};

use super::{
    Answer, Caller, CreateWish, Envelope, Given, GivenSeat, Grant, Homed, JoinRights, Joined,
    Message, Part, Reseat, RoomOp, SeatWish, Survey, WantedOptions, Word,
};
use crate::directory::{NodeId, Partition, ShardId};
use crate::io::{Act, LinkId, Revoked, RoomState, ServerReply};
use crate::key::{FullName, ReplyTo, RoomKey, SessionKey};
pub use crate::packed::PackedError;
use crate::packed::{Packed, Unpack, packed_enum, packed_struct, unpack_all};
use crate::rights::{Grants, RightSet, Rule, RulesOf};
use crate::room::{Delivery, Publication};

/// What the bytes begin with. Nodes of another version are not understood, nor do they understand:
/// the words between them are lost, as if there were no way.
const VERSION: u8 = 1;

impl Envelope {
    /// Appends the word as bytes: as many as what is in it has, and some 50 to 100 more. What a
    /// room's history holds may be in one word, up to 64 MiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        self.0.pack(out);
    }

    /// Reads what [`Envelope::encode`] wrote. Payloads share the bytes.
    ///
    /// # Errors
    /// The bytes are no word, or one of another version. No bytes panic, and none make it take more
    /// memory than a small multiple of them.
    pub fn decode(bytes: &Bytes) -> Result<Self, PackedError> {
        match bytes.first() {
            Some(&VERSION) => unpack_all(&bytes.slice(1..)).map(Self),
            Some(_) => Err(PackedError::Invalid("a word of this version")),
            None => Err(PackedError::Short),
        }
    }
}

packed_enum!(Word {
    0 = Room { room, namespace, caller, op },
    1 = Within { life, word },
    2 = Homed (homed),
    3 = NotHome { at, fence, tries, word },
    4 = Echo { at, from },
    5 = Echoed { at, from },
    6 = TellSeats { to },
    7 = SeatsFollow { from },
    8 = SeatsTold { from },
    9 = Answer { to, answer },
    10 = Joined (joined),
    11 = JoinRefused { to, session, room, refusal },
    12 = Left { to, session, room },
    13 = SeatClosed { session, room, reason },
    14 = Deliver { room, members, deliveries },
    15 = Direct { to, caller, message },
    16 = DirectToUser { user, caller, message },
    17 = Message { session, message },
    18 = UserSession { namespace, user, session, here },
    19 = Survey { query, from, survey },
    20 = Told { query, shard, part },
    21 = AskSession { session, call, timeout_ms, to },
    22 = Disconnect { session, to },
    23 = ListSeats { session, to },
    24 = Act { session, room, namespace, act, to, life },
    25 = TakeSession { session, secret, namespace, to, number },
    26 = GivenSession { number, given },
});
packed_struct!(Homed { from, at, fence, tries, word });
packed_struct!(Given {
    dropped,
    sender,
    secret,
    namespace,
    admin,
    grants,
    token_id,
    expires_ms,
    of_hook,
    seats,
});
packed_struct!(GivenSeat { name, namespace, room, invited, data });
packed_struct!(Caller { session, namespace, admin, reply });
packed_enum!(Grant { 0 = None, 1 = Rule, 2 = Room, 3 = Make });
packed_struct!(JoinRights { create, history, needs_own_name });
packed_struct!(CreateWish { options, granted, seat });
packed_struct!(SeatWish { data, grant });
packed_enum!(WantedOptions { 0 = Default, 1 = Patch (patch), 2 = Whole (options) });
packed_enum!(RoomOp {
    0 = Join { since, data, grant, rights },
    1 = Leave { reason, data },
    2 = Create (wish),
    3 = Found { options, permanent },
    4 = Publish { publication, echo },
    5 = Members,
    6 = History { since, limit },
    7 = Presence,
    8 = State,
    9 = Tell { to, event, data },
    10 = Kick { target, message },
    11 = Delete,
    12 = Unseat,
    13 = Drop,
    14 = Resume,
    15 = Reseat (reseat),
});
packed_struct!(Reseat { life, since, data, dropped });
packed_enum!(Answer {
    0 = Ok { position, delivered },
    1 = Left { room },
    2 = Created { room, created },
    3 = Members { room, members, truncated },
    4 = History { room, position, recovery, events },
    5 = Presence { room, members, users },
    6 = Call (reply),
    7 = Rooms { rooms, truncated },
    8 = Refused (refusal),
});
packed_struct!(Joined {
    to,
    session,
    room,
    name,
    namespace,
    slow,
    position,
    members,
    recovery,
    missed,
    created,
    is_new,
    durable,
    told_bytes,
});
packed_struct!(Message { event, data, from, reliable, except });
packed_enum!(Survey {
    0 = Rooms { namespace, grants },
    1 = Revoke (revoked),
    2 = Broadcast { namespace, message },
});
packed_enum!(Part {
    0 = Rooms { rooms, truncated },
    1 = Broadcast { delivered },
    2 = Revoke { ended, kept },
});
packed_enum!(Delivery {
    0 = Event { event, except },
    1 = Told { event, to },
    2 = Joined { member, except },
    3 = Left { from, reason, data },
    4 = Dropped { from, except },
    5 = Resumed { from, except },
    6 = Counts { members, users },
});
packed_struct!(Publication { name, payload, from, reliable, key, except });

packed_struct!(SessionKey { shard, slot, generation });
packed_struct!(RoomKey { home, slot, generation });
packed_enum!(ReplyTo {
    0 = Session { session, link, generation, reference },
    1 = Call { shard, id },
    2 = Awaited { shard, number, is_call },
    3 = Again { link, generation, round },
    4 = Nobody,
});
packed_struct!(ShardId { node, worker });

packed_enum!(Act {
    0 = Create { options, join },
    1 = Join { data, make },
    2 = Leave { data },
    3 = Publish { event, data, reliable, echo, key },
});
packed_enum!(Revoked { 0 = User (user), 1 = Token (id), 2 = Session (session) });
packed_enum!(ServerReply {
    0 = Done,
    1 = Answered (data),
    2 = Seated { is_new },
    3 = At (position),
    4 = Created (created),
    5 = Reached (count),
    6 = Members { members, truncated },
    7 = Presence { members, users },
    8 = State (state),
    9 = History { position, recovery, events },
    10 = Rooms { rooms, truncated },
    11 = Seats (rooms),
    12 = Refused (refusal),
});
packed_struct!(RoomState { options, permanent, creator, members, position });

packed_struct!(MemberInfo { sender, data, dropped });
packed_struct!(RoomInfo { room, members });
packed_enum!(LeaveReason { 0 = Left, 1 = Lost, 2 = Kicked });
packed_enum!(ClosedReason {
    0 = Deleted, 1 = Expired, 2 = Kicked, 3 = Revoked, 4 = Ended, 5 = Failed,
});
packed_enum!(Recovery { 0 = Recovered, 1 = Epoch, 2 = Trimmed, 3 = Ahead, 4 = Forbidden });
packed_enum!(SlowRule { 0 = Close, 1 = DropOldest, 2 = Latest });
packed_enum!(RulesOf { 0 = Token, 1 = Key, 2 = Anonymous });
packed_struct!(Grants { of, rules });
packed_struct!(Rule { namespace, room, can });

/// Types of one field.
macro_rules! packed_wrappers {
    ($($name:ident),*) => { $(
        impl Packed for $name {
            fn pack(&self, out: &mut Vec<u8>) {
                self.0.pack(out);
            }

            fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
                Packed::unpack(from).map(Self)
            }
        }
    )* };
}
packed_wrappers!(LinkId, Partition, RightSet);

impl Packed for NodeId {
    fn pack(&self, out: &mut Vec<u8>) {
        self.number().pack(out);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        Self::new(u16::unpack(from)?).ok_or(PackedError::Invalid("a node's number"))
    }
}

/// A room's full name.
impl Packed for FullName {
    fn pack(&self, out: &mut Vec<u8>) {
        self.len().pack(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        let text = from.text()?;
        RoomPath::parse(text).map_err(|_| PackedError::Invalid("a room's name"))?;
        Ok(CompactString::new(text))
    }
}

impl Packed for Refusal {
    fn pack(&self, out: &mut Vec<u8>) {
        self.code.number().pack(out);
        self.message.len().pack(out);
        out.extend_from_slice(self.message.as_bytes());
        self.retry_ms.pack(out);
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        let code = ErrorCode::from_number(u16::unpack(from)?);
        let code = code.ok_or(PackedError::Invalid("an error's number"))?;
        let message = String::unpack(from)?;
        Ok(Self { code, message: message.into(), retry_ms: Option::unpack(from)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "bytes_tests.rs"]
mod tests;
