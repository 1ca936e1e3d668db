//! Why a group was not made, joined or left: one variant for each cause.

use roomcast_wire::{ErrorCode, Refusal};

use crate::CallError;

/// A group was not made. See [`Groups`](super::Groups) for an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewGroupError {
    /// The time to live is out of bounds.
    #[error("Invalid TTL: {ttl_s} s; more than 10 are needed, 86400 at most")]
    InvalidTtl {
        /// What was asked for, in seconds.
        ttl_s: u64,
    },
    /// Neither may it be empty, nor would anybody be in it.
    #[error("with `allow_empty: false` the group needs `join: true`: it would end at once")]
    WouldBeEmpty,
    /// The server is stopping, or has stopped: no new groups.
    #[error("this server is offline")]
    Offline,
    /// There is no such session.
    #[error("there is no such session")]
    NoSuchUser,
    /// The session is in as many rooms as it may be in (`limits.rooms_per_session`).
    #[error("{0}")]
    TooManyGroupsOfUser(Refusal),
    /// The server has as many rooms as it may have (`limits.rooms`).
    #[error("{0}")]
    TooManyGroups(Refusal),
    /// Anything else: an option out of bounds, or the room's word against it.
    #[error("{0}")]
    Refused(CallError),
}

/// A session was not put into a group. See [`Groups`](super::Groups) for an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It is in there.
    #[error("the session is in the group already")]
    AlreadyInGroup,
    /// There is no such group, or not any more.
    #[error("Failed to add a member: there is no such group")]
    NoSuchGroup,
    /// There is no such session.
    #[error("there is no such session")]
    NoSuchUser,
    /// The session is in as many rooms as it may be in (`limits.rooms_per_session`).
    #[error("{0}")]
    TooManyGroupsOfUser(Refusal),
    /// The group's home does not answer any more: the server is stopping, or has stopped.
    #[error("the group's home does not answer: the server is offline")]
    Unreachable,
    /// Anything else: the group is full, or its logic says no.
    #[error("{0}")]
    Refused(CallError),
}

/// A session was not taken out of a group. See [`Groups`](super::Groups) for an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// It is not in there.
    #[error("the session is not a member of the group")]
    NotAMember,
    /// There is no such group, or not any more.
    #[error("there is no such group")]
    NoSuchGroup,
    /// There is no such session.
    #[error("there is no such session")]
    NoSuchUser,
    /// The group's home does not answer any more: the server is stopping, or has stopped.
    #[error("the group's home does not answer: the server is offline")]
    Unreachable,
    /// Anything else.
    #[error("{0}")]
    Refused(CallError),
}

/// A group's id of the configuration is not one; see
/// [`Groups`](super::Groups) for an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a group's id has 52 characters, `{id}` has {len}")]
pub struct InvalidGroupId {
    /// What it is.
    pub id: String,
    /// How many characters it has.
    pub len: usize,
}

impl NewGroupError {
    pub(super) fn of(error: CallError) -> Self {
        match error {
            CallError::Stopped => Self::Offline,
            CallError::Absent(_) => Self::NoSuchUser,
            CallError::Busy(refusal) if refusal.code == ErrorCode::RoomLimit => {
                Self::TooManyGroups(refusal)
            }
            CallError::Refused(refusal) if refusal.code == ErrorCode::TooManyRooms => {
                Self::TooManyGroupsOfUser(refusal)
            }
            other => Self::Refused(other),
        }
    }
}

impl JoinError {
    /// `Absent` says that either is missing; who asks finds out which.
    pub(super) fn of(error: CallError, user_is_there: bool) -> Self {
        match error {
            CallError::Stopped => Self::Unreachable,
            CallError::Absent(_) if user_is_there => Self::NoSuchGroup,
            CallError::Absent(_) => Self::NoSuchUser,
            CallError::Refused(refusal) if refusal.code == ErrorCode::TooManyRooms => {
                Self::TooManyGroupsOfUser(refusal)
            }
            other => Self::Refused(other),
        }
    }
}

impl LeaveError {
    pub(super) fn of(error: CallError, user_is_there: bool) -> Self {
        match error {
            CallError::Stopped => Self::Unreachable,
            CallError::Absent(refusal) if refusal.code == ErrorCode::NotAMember => Self::NotAMember,
            CallError::Absent(_) if user_is_there => Self::NoSuchGroup,
            CallError::Absent(_) => Self::NoSuchUser,
            other => Self::Refused(other),
        }
    }
}
