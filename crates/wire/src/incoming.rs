//! What a client reads: replies and pushes with owned fields. The server never uses this.

use std::sync::Arc;

use crate::push::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
use crate::reply::{Recovery, RoomInfo, SessionLimits};
use crate::{EventName, Name, Payload, Position, Secret, SessionId};

/// One frame from the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The `ref` of the command this answers; pushes have none.
    pub reference: Option<u64>,
    /// What it says.
    pub body: Body,
}

/// What a frame from the server says. The fields are those of [`Reply`](crate::Reply) and
/// [`Push`](crate::Push).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Body {
    Welcome {
        session: SessionId,
        user: Option<Name>,
        resume: Secret,
        resumed: bool,
        rooms: Vec<String>,
        ping_ms: u64,
        limits: SessionLimits,
    },
    Joined {
        room: String,
        position: Position,
        members: u32,
        recovery: Option<Recovery>,
    },
    Created {
        room: String,
        created: bool,
    },
    Ok {
        position: Option<Position>,
        delivered: Option<u32>,
    },
    Rooms {
        rooms: Vec<RoomInfo>,
        truncated: bool,
    },
    Members {
        room: String,
        members: Vec<MemberInfo>,
        truncated: bool,
    },
    History {
        room: String,
        position: Position,
        recovery: Option<Recovery>,
        events: Vec<Arc<Event>>,
    },
    Presence {
        room: String,
        members: u32,
        users: u32,
    },
    Pong,
    Error {
        code: u16,
        reason: String,
        message: String,
        retry: bool,
        retry_ms: Option<u64>,
    },
    Event {
        room: String,
        event: Event,
    },
    MemberJoined {
        room: String,
        member: MemberInfo,
    },
    MemberLeft {
        room: String,
        from: Sender,
        reason: LeaveReason,
        data: Option<Payload>,
    },
    MemberDropped {
        room: String,
        from: Sender,
    },
    MemberResumed {
        room: String,
        from: Sender,
    },
    RoomClosed {
        room: String,
        reason: ClosedReason,
    },
    Message {
        event: EventName,
        data: Option<Payload>,
        from: Option<Sender>,
    },
    Result {
        data: Option<Payload>,
    },
    Call {
        id: u64,
        call: EventName,
        data: Option<Payload>,
    },
    Goodbye {
        code: u16,
        reason: String,
        message: String,
        retry_ms: Option<u64>,
    },
    /// A `type` that this version does not know; to be passed over.
    Unknown {
        kind: String,
    },
}
