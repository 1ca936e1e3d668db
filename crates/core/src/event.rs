//! What happened, for the program around the hub: after-hooks and the stream of events.

use std::sync::Arc;

use roomcast_wire::push::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
use roomcast_wire::{CloseCode, Name, Refusal};

/// What happened. Told only if [`HubConfig::events`](crate::HubConfig::events) is set. What one
/// session does and what happens in one room is told in its order; of two rooms with homes on
/// different shards nobody can say which was first.
#[derive(Debug, Clone, PartialEq)]
pub enum HubEvent {
    /// A session has a link: a new one, or one that is back.
    Connected {
        /// Who.
        who: Arc<Sender>,
        /// In which namespace.
        namespace: Name,
        /// An earlier session was taken up again.
        resumed: bool,
    },
    /// A session has lost its link.
    Disconnected {
        /// Who.
        who: Arc<Sender>,
        /// In which namespace.
        namespace: Name,
        /// Why the server closed the link; none if the peer did.
        reason: Option<CloseCode>,
        /// The session may be resumed: its seats are kept for a while.
        kept: bool,
    },
    /// A session is over; its seats are given up.
    SessionEnded {
        /// Who.
        who: Arc<Sender>,
        /// In which namespace.
        namespace: Name,
        /// Why.
        reason: LeaveReason,
    },
    /// A room was made.
    RoomCreated {
        /// Its full name.
        room: String,
        /// Who made it; none: the server.
        by: Option<Arc<Sender>>,
    },
    /// A room is no more.
    RoomClosed {
        /// Its full name.
        room: String,
        /// Why.
        reason: ClosedReason,
    },
    /// A session took a seat.
    MemberJoined {
        /// The room's full name.
        room: String,
        /// Who.
        member: MemberInfo,
    },
    /// A member gave up its seat, or lost it.
    MemberLeft {
        /// The room's full name.
        room: String,
        /// Who.
        who: Arc<Sender>,
        /// Why.
        reason: LeaveReason,
    },
    /// A member's link was lost; its seat is kept for a while.
    MemberDropped {
        /// The room's full name.
        room: String,
        /// Who.
        who: Arc<Sender>,
    },
    /// A dropped member is back.
    MemberResumed {
        /// The room's full name.
        room: String,
        /// Who.
        who: Arc<Sender>,
    },
    /// Something was said in a room and has its position.
    Published {
        /// The room's full name.
        room: String,
        /// What.
        event: Arc<Event>,
    },
    /// A command was not carried out.
    Refused {
        /// Whose; none if there was no session yet.
        who: Option<Arc<Sender>>,
        /// The word of the command; none if the frame could not be understood.
        command: Option<&'static str>,
        /// Why.
        refusal: Refusal,
    },
    /// A session's link is closed because it did not read as fast as its rooms spoke.
    SlowMember {
        /// Who.
        who: Arc<Sender>,
        /// In which namespace.
        namespace: Name,
    },
}
