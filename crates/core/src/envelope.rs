//! What crosses shards. Between any two shards order is kept; a room's members hear it in order
//! because everything its home says to a shard goes one way.

mod bytes;

use std::sync::Arc;

pub use self::bytes::PackedError;
use roomcast_wire::options::SlowRule;
use roomcast_wire::push::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
use roomcast_wire::reply::{Recovery, RoomInfo};
use roomcast_wire::{EventName, Name, Payload, Position, Refusal, RoomOptions, Secret, SessionId};

use crate::directory::Partition;
use crate::io::{Act, Revoked, ServerReply, ShardId};
use crate::key::{FullName, ReplyTo, RoomKey, SessionKey};
use crate::rights::Grants;
use crate::room::{Delivery, Publication, Room};

/// Word from one shard to another. Opaque to the worker that carries it.
#[derive(Debug)]
pub struct Envelope(pub(crate) Word);

#[derive(Debug)]
pub(crate) enum Word {
    /// To a room's home.
    Room { room: FullName, namespace: u16, caller: Caller, op: RoomOp },
    /// To a room's home, about this life of the room only. The word is [`Word::Room`].
    Within { life: RoomKey, word: Box<Word> },
    /// To a partition's home, with the fence that the sender knows. In a cluster only; the word is
    /// one for a room or a user.
    Homed(Homed),
    /// Back to the sender: the receiver is not home to the partition with this fence, and has done
    /// nothing.
    NotHome { at: Partition, fence: u64, tries: u8, word: Box<Word> },
    /// To the home that a partition had: what it does not take comes back before the answer.
    Echo { at: Partition, from: ShardId },
    /// The answer.
    Echoed { at: Partition, from: ShardId },
    /// To a shard with which words were lost: tell again who has seats and users with me.
    TellSeats { to: ShardId },
    /// To a shard with which words were lost: what you know of my seats and users may be wrong; I
    /// tell you all of them, then `SeatsTold`.
    SeatsFollow { from: ShardId },
    /// Seats of the sender that were not told since `SeatsFollow` are no more.
    SeatsTold { from: ShardId },
    /// To the shard that a session's id belongs to: its client wants to go on with it here.
    TakeSession { session: SessionId, secret: Secret, namespace: u16, to: ShardId, number: u64 },
    /// The session; none: there is none, or the secret is another.
    GivenSession { number: u64, given: Option<Box<Given>> },
    /// To whom a command came from.
    Answer { to: ReplyTo, answer: Answer },
    /// To a session's shard: it has a seat.
    Joined(Box<Joined>),
    /// To a session's shard: it has none.
    JoinRefused { to: ReplyTo, session: SessionKey, room: FullName, refusal: Refusal },
    /// To a session's shard: it gave up its seat.
    Left { to: ReplyTo, session: SessionKey, room: RoomKey },
    /// To a session's shard: its seat was taken away. With a reason, the client is told.
    SeatClosed { session: SessionKey, room: RoomKey, reason: Option<ClosedReason> },
    /// To every shard with members of a room.
    Deliver { room: RoomKey, members: u32, deliveries: Arc<Vec<Delivery>> },
    /// To the shard that a session's id belongs to.
    Direct { to: SessionId, caller: Caller, message: Arc<Message> },
    /// To the shard that keeps a user's sessions.
    DirectToUser { user: Name, caller: Caller, message: Arc<Message> },
    /// To a session's shard.
    Message { session: SessionKey, message: Arc<Message> },
    /// To the shard that keeps a user's sessions: one came, or went.
    UserSession { namespace: u16, user: Name, session: SessionKey, here: bool },
    /// To every shard: a part of an answer is wanted.
    Survey { query: u32, from: ShardId, survey: Survey },
    /// The part.
    Told { query: u32, shard: ShardId, part: Part },
    /// To the shard that a session's id belongs to: its client is asked for something.
    AskSession {
        session: SessionId,
        call: (EventName, Option<Payload>),
        timeout_ms: u64,
        to: ReplyTo,
    },
    /// To the shard that a session's id belongs to: end it.
    Disconnect { session: SessionId, to: ReplyTo },
    /// To the shard that a session's id belongs to: which rooms it is in.
    ListSeats { session: SessionId, to: ReplyTo },
    /// To the shard that a session's id belongs to: the server does something in its name.
    Act {
        session: SessionId,
        room: FullName,
        namespace: u16,
        act: Act,
        to: ReplyTo,
        life: Option<RoomKey>,
    },
}

/// A word for a partition's home, wherever that is.
#[derive(Debug)]
pub(crate) struct Homed {
    pub from: ShardId,
    pub at: Partition,
    pub fence: u64,
    /// How often it has come back.
    pub tries: u8,
    pub word: Box<Word>,
}

/// A session that is given to another node.
#[derive(Debug)]
pub(crate) struct Given {
    /// Its link is lost, as far as its homes know.
    pub dropped: bool,
    pub sender: Arc<Sender>,
    pub secret: Secret,
    pub namespace: u16,
    pub admin: bool,
    pub grants: Option<Arc<Grants>>,
    pub token_id: Option<Box<str>>,
    /// How long its token lasts still.
    pub expires_ms: Option<u64>,
    pub of_hook: bool,
    pub seats: Vec<GivenSeat>,
}

/// One of its seats.
#[derive(Debug)]
pub(crate) struct GivenSeat {
    pub name: FullName,
    pub namespace: u16,
    pub room: RoomKey,
    pub invited: bool,
    pub data: Option<Payload>,
}

/// Who asks a room's home for something.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The session; none: the server itself.
    pub session: Option<(SessionKey, Arc<Sender>)>,
    pub namespace: u16,
    pub admin: bool,
    pub reply: ReplyTo,
}

impl Caller {
    pub fn sender(&self) -> Option<&Arc<Sender>> {
        self.session.as_ref().map(|(_, sender)| sender)
    }

    pub fn id(&self) -> Option<SessionId> {
        self.sender().map(|sender| sender.session)
    }
}

/// Who lets a session in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// It asks for itself: the rules hold.
    None,
    /// A hook, past the room's `join` rule.
    Rule,
    /// The server, into a room that is there.
    Room,
    /// The server; the room is made if it is not there.
    Make,
}

/// What a session that joins may do beside that, and what it must.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JoinRights {
    /// The room may be made for it.
    pub create: bool,
    /// What it missed may be repeated.
    pub history: bool,
    /// Nobody there may have its display name, whatever the room allows to others.
    pub needs_own_name: bool,
}

impl JoinRights {
    pub const ALL: Self = Self { create: true, history: true, needs_own_name: false };
}

/// A wish for a room.
#[derive(Debug)]
pub(crate) struct CreateWish {
    pub options: WantedOptions,
    /// Whether or not clients may make rooms there.
    pub granted: bool,
    pub seat: Option<SeatWish>,
}

/// A wish for a seat in a room that is made with it.
#[derive(Debug)]
pub(crate) struct SeatWish {
    pub data: Option<Payload>,
    /// If the room is there already.
    pub grant: Grant,
}

/// The options that a room is to have.
#[derive(Debug)]
pub(crate) enum WantedOptions {
    /// What rooms of its name have.
    Default,
    /// What a client wants to be different; checked.
    Patch(Payload),
    /// By the server's own code.
    Whole(Box<RoomOptions>),
}

/// What a room's home is asked for.
#[derive(Debug)]
pub(crate) enum RoomOp {
    Join {
        since: Option<Position>,
        data: Option<Payload>,
        grant: Grant,
        rights: JoinRights,
    },
    Leave {
        reason: LeaveReason,
        data: Option<Payload>,
    },
    Create(Box<CreateWish>),
    /// By the server's own code: the whole options.
    Found {
        options: Box<RoomOptions>,
        permanent: bool,
    },
    Publish {
        publication: Publication,
        echo: Option<bool>,
    },
    Members,
    History {
        since: Option<Position>,
        limit: Option<u32>,
    },
    Presence,
    State,
    Tell {
        to: Vec<SessionId>,
        event: EventName,
        data: Option<Payload>,
    },
    Kick {
        target: Box<str>,
        message: Option<Box<str>>,
    },
    Delete,
    /// The member's token does not cover its seat any more.
    Unseat,
    /// The member's link was lost.
    Drop,
    /// The member is back.
    Resume,
    /// The member has a seat, as far as its own shard knows: the home is another than before, or
    /// words were lost on the way.
    Reseat(Box<Reseat>),
}

/// A seat, as the member's own shard knows it.
#[derive(Debug)]
pub(crate) struct Reseat {
    /// The room's life of which it was.
    pub life: RoomKey,
    /// What it has heard last.
    pub since: Option<Position>,
    pub data: Option<Payload>,
    /// Its link is lost.
    pub dropped: bool,
}

impl RoomOp {
    /// Whether who asks gets a seat, if it is done.
    pub fn takes_seat(&self) -> bool {
        match self {
            Self::Join { .. } => true,
            Self::Create(wish) => wish.seat.is_some(),
            _ => false,
        }
    }
}

/// What a command is answered with, on its way between shards.
#[derive(Debug)]
pub(crate) enum Answer {
    Ok {
        position: Option<Position>,
        delivered: Option<u32>,
    },
    Left {
        room: FullName,
    },
    Created {
        room: FullName,
        created: bool,
    },
    Members {
        room: FullName,
        members: Vec<MemberInfo>,
        truncated: bool,
    },
    History {
        room: FullName,
        position: Position,
        recovery: Option<Recovery>,
        events: Vec<Arc<Event>>,
    },
    Presence {
        room: FullName,
        members: u32,
        users: u32,
    },
    /// What only the server's own code is told.
    Call(ServerReply),
    Rooms {
        rooms: Vec<RoomInfo>,
        truncated: bool,
    },
    Refused(Refusal),
}

/// A seat that was given, and what its holder missed.
#[derive(Debug)]
pub(crate) struct Joined {
    pub to: ReplyTo,
    pub session: SessionKey,
    pub room: RoomKey,
    pub name: FullName,
    pub namespace: u16,
    pub slow: SlowRule,
    pub position: Position,
    pub members: u32,
    pub recovery: Option<Recovery>,
    pub missed: Vec<Arc<Event>>,
    /// The room was made for it.
    pub created: bool,
    /// It had no seat before.
    pub is_new: bool,
    /// The room outlives the server.
    pub durable: bool,
    /// Bytes that members are told because of it: of its coming and going if it is new, and what
    /// the room's logic has to say.
    pub told_bytes: u64,
}

impl Joined {
    /// What is told of a seat that the session has already, and nothing else.
    pub fn held(room: &Room, to: ReplyTo, session: SessionKey) -> Self {
        Self {
            to,
            session,
            room: room.key,
            name: room.name.clone(),
            namespace: room.namespace,
            slow: room.options.slow,
            position: room.position(),
            members: room.member_count(),
            recovery: None,
            missed: Vec::new(),
            created: false,
            is_new: false,
            durable: room.durable.is_some(),
            told_bytes: 0,
        }
    }
}

/// A direct message.
#[derive(Debug)]
pub(crate) struct Message {
    pub event: EventName,
    pub data: Option<Payload>,
    pub from: Option<Arc<Sender>>,
    /// `false`: dropped where a link takes nothing at the moment.
    pub reliable: bool,
    /// Who does not hear it.
    pub except: Option<SessionId>,
}

/// What every shard is asked.
#[derive(Debug, Clone)]
pub(crate) enum Survey {
    /// Which rooms of a namespace it is home to.
    Rooms { namespace: u16, grants: Option<Arc<Grants>> },
    /// To end sessions, and to refuse tokens from now on.
    Revoke(Revoked),
    /// To tell all sessions of a namespace.
    Broadcast { namespace: u16, message: Arc<Message> },
}

/// What one shard says to a [`Survey`].
#[derive(Debug)]
pub(crate) enum Part {
    Rooms { rooms: Vec<RoomInfo>, truncated: bool },
    Broadcast { delivered: u32 },
    Revoke { ended: u32, kept: bool },
}
