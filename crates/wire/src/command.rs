//! What a client asks for. Names borrow from the frame; a payload shares its buffer.

use std::borrow::Cow;

use crate::{EventName, Offset, Payload, Position, RoomPath, Secret, SessionId};

/// A command and the number its reply will carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// The client's number for this command (`ref`). Without it no success is reported; errors
    /// always are.
    pub reference: Option<u64>,
    /// What is asked.
    pub command: Command<'a>,
}

/// Every command of the protocol. `docs/protocol.md` has an example of each.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'a> {
    /// Say who is there; optional where anonymous sessions are allowed. Must be the first frame.
    Hello {
        /// What proves who the user is.
        token: Option<Cow<'a, str>>,
        /// The display name.
        name: Option<Cow<'a, str>>,
        /// The session to take up again.
        resume: Option<Resume>,
        /// What the client says to the server's own code (the `auth` of Socket.IO).
        data: Option<Payload>,
    },
    /// Take a seat in a room. Joining again is no error: it answers with the current position and
    /// replays from `since`.
    Join {
        /// Which room. It is created if it may be.
        room: RoomPath<'a>,
        /// The last position seen: everything after it is sent again, if it is still known.
        since: Option<Position>,
        /// What the other members see of this one; at most 4 KiB.
        data: Option<Payload>,
    },
    /// Give up the seat.
    Leave {
        /// Which room.
        room: RoomPath<'a>,
        /// A last word that the others see with `member_left`.
        data: Option<Payload>,
    },
    /// Make a room.
    Create {
        /// Its name; without one the server makes up a name of 52 characters.
        room: Option<RoomPath<'a>>,
        /// A map of room options that differ from the namespace's.
        options: Option<Payload>,
        /// Whether to join it at once.
        join: bool,
    },
    /// Say something in a room.
    Publish {
        /// Which room.
        room: RoomPath<'a>,
        /// What the event is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
        /// `false`: may be dropped, the newest wins.
        reliable: bool,
        /// Idempotency key: a repeated publish with the same key is answered, not repeated.
        key: Option<Cow<'a, str>>,
        /// Whether the sender receives its own event; the room decides if absent.
        echo: Option<bool>,
    },
    /// Say something to one session, or to all sessions of a user.
    Send {
        /// To whom.
        to: Target<'a>,
        /// What the message is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
    },
    /// Say something to every session of a namespace. Needs the right `admin`.
    Broadcast {
        /// Which namespace; the session's own if absent.
        namespace: Option<Cow<'a, str>>,
        /// What the message is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
    },
    /// Say something in a room in the server's name. Needs the right `admin`.
    Announce {
        /// Which room.
        room: RoomPath<'a>,
        /// What the event is called.
        event: EventName,
        /// What it says.
        data: Option<Payload>,
    },
    /// Which rooms there are.
    Rooms {
        /// Which namespace; the session's own if absent.
        namespace: Option<Cow<'a, str>>,
    },
    /// Who is in a room.
    Members {
        /// Which room.
        room: RoomPath<'a>,
    },
    /// What was said in a room.
    History {
        /// Which room.
        room: RoomPath<'a>,
        /// Only what came after this position.
        since: Option<Position>,
        /// At most so many of the newest (of the oldest after `since`, if given).
        limit: Option<u32>,
    },
    /// How many members and users a room has.
    Presence {
        /// Which room.
        room: RoomPath<'a>,
    },
    /// Replace the token, so that rights go on.
    Refresh {
        /// The new token.
        token: Cow<'a, str>,
    },
    /// Put a member out of a room. Needs the right `admin`.
    Kick {
        /// Which room.
        room: RoomPath<'a>,
        /// Whom: one session, or all sessions of a user.
        target: Target<'a>,
        /// Why; the member and the others are told.
        message: Option<Cow<'a, str>>,
    },
    /// Close a room. Needs the right `admin`.
    Delete {
        /// Which room.
        room: RoomPath<'a>,
    },
    /// Ask the application for something of its own.
    Call {
        /// What is asked.
        call: EventName,
        /// About which room; the server passes it on and checks nothing.
        room: Option<RoomPath<'a>>,
        /// What belongs to it.
        data: Option<Payload>,
    },
    /// Answer what the application asked of this client.
    Result {
        /// The `id` of the call.
        id: u64,
        /// What came of it.
        data: Option<Payload>,
        /// Why nothing came of it; then `data` says nothing.
        error: Option<Cow<'a, str>>,
    },
    /// Show that somebody is there; answered with `pong`.
    Ping,
    /// End the session: seats are given up at once.
    Bye,
}

impl Command<'_> {
    /// The word of the protocol for this command: the `type` of its frame.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::Create { .. } => "create",
            Self::Publish { .. } => "publish",
            Self::Send { .. } => "send",
            Self::Broadcast { .. } => "broadcast",
            Self::Announce { .. } => "announce",
            Self::Rooms { .. } => "rooms",
            Self::Members { .. } => "members",
            Self::History { .. } => "history",
            Self::Presence { .. } => "presence",
            Self::Refresh { .. } => "refresh",
            Self::Kick { .. } => "kick",
            Self::Delete { .. } => "delete",
            Self::Call { .. } => "call",
            Self::Result { .. } => "result",
            Self::Ping => "ping",
            Self::Bye => "bye",
        }
    }
}

/// Proof that a client owns a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The session, as `welcome` named it.
    pub session: SessionId,
    /// The `resume` secret of the last `welcome`. It is used once: each `welcome` brings a new one,
    /// but for clients that [recover](crate::Format::recovers).
    pub secret: Secret,
    /// Up to where the client has heard what the session was told, where its dialect has offsets;
    /// none: nothing yet.
    pub offset: Option<Offset>,
}

/// Whom a direct message or a kick is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// One session.
    Session(SessionId),
    /// Every session of a user.
    User(Cow<'a, str>),
}
