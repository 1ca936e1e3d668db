//! What a command is answered with, once.

use std::borrow::Cow;
use std::sync::Arc;

use crate::push::{Event, MemberInfo};
use crate::{ErrorCode, Payload, Position, Secret, SessionId};

/// Every answer of the protocol. `docs/protocol.md` has an example of each.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply<'a> {
    /// To `hello`.
    Welcome {
        /// The session's public identity.
        session: SessionId,
        /// Who the token says the user is; absent for anonymous sessions.
        user: Option<&'a str>,
        /// What resumes this session next time.
        resume: Secret,
        /// Whether an earlier session was taken up again.
        resumed: bool,
        /// The rooms in which the session still has a seat. Each is quiet until it is joined
        /// again, with `since` to receive what was missed.
        rooms: &'a [String],
        /// How often the server looks for a sign of life, in milliseconds.
        ping_ms: u64,
        /// What the server allows.
        limits: SessionLimits,
    },
    /// To `join`, and to `create` with `join`.
    Joined {
        /// The room's full name.
        room: &'a str,
        /// The position after which live events follow.
        position: Position,
        /// How many members there are, this one included.
        members: u32,
        /// Present if `since` was given.
        recovery: Option<Recovery>,
    },
    /// To `create` without `join`.
    Created {
        /// The room's full name.
        room: &'a str,
        /// `false`: it was there already.
        created: bool,
    },
    /// To `leave`. The native dialect writes it as [`Reply::Ok`].
    Left {
        /// The room's full name.
        room: &'a str,
    },
    /// To what has nothing to tell but that it was done.
    Ok {
        /// To `publish` and `announce`: where the event stands.
        position: Option<Position>,
        /// To `send` and `broadcast`: how many sessions it went to.
        delivered: Option<u32>,
    },
    /// To `rooms`: sorted by name.
    Rooms {
        /// The rooms.
        rooms: &'a [RoomInfo],
        /// There are more than the reply may hold.
        truncated: bool,
    },
    /// To `members`: in the order of joining.
    Members {
        /// The room's full name.
        room: &'a str,
        /// The members.
        members: &'a [MemberInfo],
        /// There are more than the reply may hold.
        truncated: bool,
    },
    /// To `history`: oldest first.
    History {
        /// The room's full name.
        room: &'a str,
        /// The position of the newest event, listed or not.
        position: Position,
        /// Present if `since` was given.
        recovery: Option<Recovery>,
        /// The events.
        events: &'a [Arc<Event>],
    },
    /// To `presence`.
    Presence {
        /// The room's full name.
        room: &'a str,
        /// How many sessions have a seat.
        members: u32,
        /// How many users they belong to; an anonymous session counts as a user of its own.
        users: u32,
    },
    /// To `call`.
    Result {
        /// What the application answers.
        data: Option<&'a Payload>,
    },
    /// To `ping`.
    Pong,
    /// To anything that could not be done.
    Error {
        /// Which kind; says what the client does next.
        code: ErrorCode,
        /// For the person who reads it: what was wrong and what to do.
        message: Cow<'a, str>,
        /// When trying again makes sense, in milliseconds from now.
        retry_ms: Option<u64>,
    },
}

/// Whether everything after the client's last position is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Every event since is sent, exactly once, then live ones.
    Recovered,
    /// The room's log began anew: `reason: "epoch"`.
    Epoch,
    /// Events between are no longer kept: `reason: "trimmed"`.
    Trimmed,
    /// The position lies after the newest event: `reason: "ahead"`.
    Ahead,
    /// The session has a seat, but not the right `history`: `reason: "forbidden"`.
    Forbidden,
}

impl Recovery {
    /// The `reason` on the wire; none if recovered.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Recovered => None,
            Self::Epoch => Some("epoch"),
            Self::Trimmed => Some("trimmed"),
            Self::Ahead => Some("ahead"),
            Self::Forbidden => Some("forbidden"),
        }
    }
}

/// What a session may do, told in `welcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Largest message, in bytes.
    pub message_bytes: u64,
    /// Most rooms a session may be in.
    pub rooms: u32,
    /// How long a lost session keeps its seats, in milliseconds.
    pub resume_ms: u64,
}

/// One line of the room list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomInfo {
    /// The room's full name.
    pub room: String,
    /// How many members it has.
    pub members: u32,
}
