//! What the server's own code asks of a shard, and what it is answered.

use std::sync::Arc;

use roomcast_wire::push::{Event, MemberInfo, Sender};
use roomcast_wire::reply::{Recovery, RoomInfo};
use roomcast_wire::{EventName, Name, Payload, Position, Refusal, RoomOptions, SessionId};

use crate::logic::RoomRef;

/// What the server's own code may ask of any shard; the shard passes it on to the room's home.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerCall {
    /// Make a room. No error if it is there.
    Create {
        /// Namespace and room, as `room` or `namespace/room`.
        room: String,
        /// Its options.
        options: RoomOptions,
        /// Never removed, even when empty.
        permanent: bool,
    },
    /// Make a room with the options of its namespace, but for some. No error if it is there.
    CreateWith {
        /// Namespace and room, as `room` or `namespace/room`.
        room: String,
        /// Options that differ from those of the namespace: a map.
        options: Payload,
    },
    /// Close a room; static ones of the configuration are not closed so.
    Delete {
        /// Which.
        room: String,
    },
    /// Say something in a room, whatever its `publish` rule says. Its logic is not asked.
    Publish {
        /// Which.
        room: String,
        /// What it is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
        /// Whose word it is; none: it has no sender.
        from: Option<Arc<Sender>>,
        /// Whether it is delivered in order, or may be dropped.
        reliable: bool,
        /// Idempotency key: what the room heard with it already is not repeated. Keys of calls
        /// without a sender are the room's, not those of who calls.
        key: Option<Box<str>>,
    },
    /// Say something to some members of a room only, so that it has no position.
    Tell {
        /// Which.
        room: String,
        /// Whom; those without a seat are passed over.
        to: Vec<SessionId>,
        /// What it is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
    },
    /// Put every session of a user, or one session, out of a room.
    Kick {
        /// Which room.
        room: String,
        /// Session id or user id.
        target: String,
    },
    /// Do something in a room in a session's name, whatever the room's rules say.
    Act {
        /// Which room.
        room: String,
        /// Whose name.
        session: SessionId,
        /// What.
        act: Act,
    },
    /// Take a token's rights back: its sessions end at once, on all shards, and it is refused from
    /// now on.
    Revoke {
        /// Whose.
        revoked: Revoked,
    },
    /// End a session.
    Disconnect {
        /// Which.
        session: SessionId,
    },
    /// Tell one session, whatever its namespace.
    Send {
        /// Which.
        session: SessionId,
        /// What it is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
        /// `false`: dropped if its link takes nothing at the moment.
        reliable: bool,
    },
    /// Tell every session of a user that has a link.
    SendToUser {
        /// The user's namespace.
        namespace: String,
        /// Who.
        user: Name,
        /// What it is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
    },
    /// Tell every session of a namespace that has a link.
    Broadcast {
        /// Which.
        namespace: String,
        /// What it is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
        /// Whose word it is: that session alone does not hear it. None: it has no sender.
        from: Option<Arc<Sender>>,
        /// `false`: dropped where a link takes nothing at the moment.
        reliable: bool,
    },
    /// Who is in a room.
    Members {
        /// Which.
        room: String,
    },
    /// How many are in a room.
    Presence {
        /// Which.
        room: String,
    },
    /// What a room is like.
    State {
        /// Which.
        room: String,
    },
    /// What a room remembers.
    History {
        /// Which.
        room: String,
        /// From where on; none: the newest.
        since: Option<Position>,
        /// How many at most; none: 100.
        limit: Option<u32>,
    },
    /// The rooms of a namespace.
    Rooms {
        /// Which.
        namespace: String,
    },
    /// The rooms that a session is in.
    Seats {
        /// Which.
        session: SessionId,
    },
    /// Ask a session's client for something, and wait for its `result`.
    Ask {
        /// Which.
        session: SessionId,
        /// What is asked.
        call: EventName,
        /// What belongs to it.
        data: Option<Payload>,
        /// How long to wait, in milliseconds: 1 to 3,600,000.
        timeout_ms: u64,
    },
    /// What is done in a room, in one life of it only: refused once that has ended, though there
    /// may be a room of the name again.
    Within {
        /// That of [`RoomCtx::life`](crate::RoomCtx::life).
        life: RoomRef,
        /// What is to be done.
        call: Box<ServerCall>,
    },
}

/// What is revoked. Keys of the configuration are not: they end where they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// All sessions of a user in all namespaces, and all its tokens issued up to now.
    User(Name),
    /// All sessions that came with the token of this name, and the token.
    Token(String),
    /// One session. Its token may begin another.
    Session(SessionId),
}

impl ServerCall {
    /// The room, session, user or namespace that it is about. Calls about the same one keep their
    /// order if they are given to the same shard; only [`ServerCall::Act`] goes by way of its
    /// session, so that what comes after it may be done before it.
    pub fn subject(&self) -> impl std::hash::Hash + '_ {
        let call = match self {
            Self::Within { call, .. } => call,
            call => call,
        };
        let text = match call {
            Self::Create { room, .. }
            | Self::CreateWith { room, .. }
            | Self::Delete { room }
            | Self::Publish { room, .. }
            | Self::Tell { room, .. }
            | Self::Kick { room, .. }
            | Self::Act { room, .. }
            | Self::Members { room }
            | Self::Presence { room }
            | Self::State { room }
            | Self::History { room, .. } => room.as_str(),
            Self::SendToUser { user, .. } => user.as_str(),
            Self::Broadcast { namespace, .. } | Self::Rooms { namespace } => namespace.as_str(),
            Self::Revoke { .. }
            | Self::Disconnect { .. }
            | Self::Send { .. }
            | Self::Seats { .. }
            | Self::Ask { .. }
            | Self::Within { .. } => "",
        };
        let session = match call {
            Self::Disconnect { session }
            | Self::Send { session, .. }
            | Self::Seats { session }
            | Self::Ask { session, .. } => Some(*session),
            _ => None,
        };
        (text, session)
    }
}

/// What the server's own code does in a room in a session's name.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Make the room. No error if it is there.
    Create {
        /// Options that differ from those of the namespace: a map.
        options: Option<Payload>,
        /// Whether the session gets a seat in it at once.
        join: bool,
    },
    /// Give the session a seat. Its client is told with a `joined` without `ref`. Who has it
    /// already keeps it as it is, and nobody hears of it.
    Join {
        /// What the others see of the member.
        data: Option<Payload>,
        /// Make the room if it is not there; else that is refused.
        make: bool,
    },
    /// Give up its seat. The others hear that it left; its client gets `room_closed`.
    Leave {
        /// A last word for the others.
        data: Option<Payload>,
    },
    /// Say something with the session as its sender, whether it has a seat or not.
    Publish {
        /// What it is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
        /// `false`: may be dropped on its way, the newest wins.
        reliable: bool,
        /// Whether the session receives it too; the room's setting if none.
        echo: Option<bool>,
        /// Idempotency key: what the room heard with it already from this session, or its user,
        /// is not repeated.
        key: Option<Box<str>>,
    },
}

/// What became of a [`ServerCall`].
#[derive(Debug, Clone, PartialEq)]
pub enum ServerReply {
    /// It was done.
    Done,
    /// What the client answered.
    Answered(Option<Payload>),
    /// The session has a seat.
    Seated {
        /// `false`: it had one before.
        is_new: bool,
    },
    /// The event stands there.
    At(Position),
    /// The room is there; whether it was made for this.
    Created(bool),
    /// So many sessions were told, or put out.
    Reached(u32),
    /// Who is in the room.
    Members {
        /// In the order of joining.
        members: Vec<MemberInfo>,
        /// Whether there are more than `limits.list_max`.
        truncated: bool,
    },
    /// How many are in the room.
    Presence {
        /// Sessions.
        members: u32,
        /// Users, where sessions of one user count once.
        users: u32,
    },
    /// What the room is like.
    State(Box<RoomState>),
    /// What the room remembers.
    History {
        /// The room's position now.
        position: Position,
        /// Whether `since` could be continued, if there was one.
        recovery: Option<Recovery>,
        /// Oldest first.
        events: Vec<Arc<Event>>,
    },
    /// Rooms by name.
    Rooms {
        /// The rooms.
        rooms: Vec<RoomInfo>,
        /// Whether there are more than `limits.list_max`.
        truncated: bool,
    },
    /// The rooms that a session is in, in the order of joining.
    Seats(Vec<String>),
    /// It was not done.
    Refused(Refusal),
}

/// What a room is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomState {
    /// Its options.
    pub options: RoomOptions,
    /// Whether it stays when nobody is in it, for ever.
    pub permanent: bool,
    /// Who made it; none: configuration, the program, or nobody knows, as it has no logic.
    pub creator: Option<SessionId>,
    /// How many sessions have a seat.
    pub members: u32,
    /// Its newest position.
    pub position: Position,
}
