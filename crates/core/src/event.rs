//! What happened, for the program around the hub: after-hooks and the stream of events.

use std::sync::Arc;

use roomcast_wire::push::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
use roomcast_wire::{CloseCode, Name, Payload, Refusal};

/// What happened. Told only if [`HubConfig::events`](crate::HubConfig::events) is set. What one
/// session does and what happens in one room is told in its order; of two rooms with homes on
/// different shards nobody can say which was first.
#[derive(Debug, Clone, PartialEq)]
pub enum HubEvent {
    /// A session has a link: a new one, or one that is back.
    Connected(Connected),
    /// A session has lost its link.
    Disconnected(Disconnected),
    /// A session is over; its seats are given up.
    SessionEnded(SessionEnded),
    /// A room was made.
    RoomCreated(RoomCreated),
    /// A room is no more.
    RoomClosed(RoomClosed),
    /// A session took a seat.
    MemberJoined(MemberJoined),
    /// A member gave up its seat, or lost it.
    MemberLeft(MemberLeft),
    /// A member's link was lost; its seat is kept for a while.
    MemberDropped(MemberDropped),
    /// A dropped member is back.
    MemberResumed(MemberResumed),
    /// Something was said in a room and has its position.
    Published(Published),
    /// A command was not carried out.
    Refused(Refused),
    /// A session's link is closed because it did not read as fast as its rooms spoke.
    SlowMember(SlowMember),
}

/// See [`HubEvent::Connected`].
#[derive(Debug, Clone, PartialEq)]
pub struct Connected {
    /// Who.
    pub who: Arc<Sender>,
    /// In which namespace.
    pub namespace: Name,
    /// An earlier session was taken up again.
    pub resumed: bool,
    /// The `data` of its `hello`; none of one that was resumed.
    pub data: Option<Payload>,
}

/// See [`HubEvent::Disconnected`].
#[derive(Debug, Clone, PartialEq)]
pub struct Disconnected {
    /// Who.
    pub who: Arc<Sender>,
    /// In which namespace.
    pub namespace: Name,
    /// Why the server closed the link; none if the peer did, or if it broke.
    pub reason: Option<CloseCode>,
    /// The session may be resumed: its seats are kept for a while.
    pub kept: bool,
}

/// See [`HubEvent::SessionEnded`].
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEnded {
    /// Who.
    pub who: Arc<Sender>,
    /// In which namespace.
    pub namespace: Name,
    /// Why.
    pub reason: LeaveReason,
}

/// See [`HubEvent::RoomCreated`].
#[derive(Debug, Clone, PartialEq)]
pub struct RoomCreated {
    /// Its full name.
    pub room: String,
    /// Who made it; none: the server.
    pub by: Option<Arc<Sender>>,
}

/// See [`HubEvent::RoomClosed`].
#[derive(Debug, Clone, PartialEq)]
pub struct RoomClosed {
    /// Its full name.
    pub room: String,
    /// Why.
    pub reason: ClosedReason,
}

/// See [`HubEvent::MemberJoined`].
#[derive(Debug, Clone, PartialEq)]
pub struct MemberJoined {
    /// The room's full name.
    pub room: String,
    /// Who.
    pub member: MemberInfo,
}

/// See [`HubEvent::MemberLeft`].
#[derive(Debug, Clone, PartialEq)]
pub struct MemberLeft {
    /// The room's full name.
    pub room: String,
    /// Who.
    pub who: Arc<Sender>,
    /// Why.
    pub reason: LeaveReason,
}

/// See [`HubEvent::MemberDropped`].
#[derive(Debug, Clone, PartialEq)]
pub struct MemberDropped {
    /// The room's full name.
    pub room: String,
    /// Who.
    pub who: Arc<Sender>,
}

/// See [`HubEvent::MemberResumed`].
#[derive(Debug, Clone, PartialEq)]
pub struct MemberResumed {
    /// The room's full name.
    pub room: String,
    /// Who.
    pub who: Arc<Sender>,
}

/// See [`HubEvent::Published`].
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The room's full name.
    pub room: String,
    /// What.
    pub event: Arc<Event>,
}

/// See [`HubEvent::Refused`].
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Whose command; none if there was no session yet.
    pub who: Option<Arc<Sender>>,
    /// The `ref` of the command, if it had one.
    pub reference: Option<u64>,
    /// Why.
    pub refusal: Refusal,
}

/// See [`HubEvent::SlowMember`].
#[derive(Debug, Clone, PartialEq)]
pub struct SlowMember {
    /// Who.
    pub who: Arc<Sender>,
    /// In which namespace.
    pub namespace: Name,
}
