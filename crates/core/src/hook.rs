//! Hooks: commands that wait until the application has said what becomes of them.
//!
//! A command whose bit stands in [`HookMask`] is not carried out: the shard says
//! [`Output::Ask`](crate::Output::Ask), handles no further message of that link, and goes on at
//! [`Input::Verdict`](crate::Input::Verdict). So the order of a session's commands is kept, and
//! nobody else waits. A verdict that does not come within `hook_ms` is a refusal.
//!
//! The question is the command itself. The application changes its fields and gives it back; what
//! it changed is checked again as if the client had said it. Fields that tell who asks are read
//! only: a change of them is passed over.

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use roomcast_wire::push::Sender;
use roomcast_wire::{EventName, Name, Payload, Position, Refusal, RoomOptions};

use crate::io::LinkId;
use crate::rights::{Grants, Identity};

/// Which commands are asked about.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct HookMask(u8);

impl HookMask {
    /// None: the shard asks nothing.
    pub const NONE: Self = Self(0);
    /// Before a session begins or is resumed, with `hello` or without.
    pub const CONNECT: Self = Self(1);
    /// Before `create`.
    pub const CREATE: Self = Self(2);
    /// Before `join`, and before the seat that `create` with `join` asks for.
    pub const JOIN: Self = Self(4);
    /// Before `leave`.
    pub const LEAVE: Self = Self(8);
    /// Before `publish`.
    pub const PUBLISH: Self = Self(16);
    /// Before `refresh`.
    pub const REFRESH: Self = Self(32);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no bit is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for HookMask {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for HookMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = [
            (Self::CONNECT, "connect"),
            (Self::CREATE, "create"),
            (Self::JOIN, "join"),
            (Self::LEAVE, "leave"),
            (Self::PUBLISH, "publish"),
            (Self::REFRESH, "refresh"),
        ];
        let set = bits.into_iter().filter(|(bit, _)| self.contains(*bit));
        f.debug_set().entries(set.map(|(_, word)| word)).finish()
    }
}

/// Which question a verdict answers. Of one shard; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) link: LinkId,
    pub(crate) number: u64,
}

/// Which call an answer belongs to. Of one shard; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallTicket(pub(crate) u64);

/// What a client asks of the application: a `call`. No link is held for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Who asks.
    pub from: Arc<Sender>,
    /// The namespace of its session.
    pub namespace: Name,
    /// Whether it may do everything.
    pub admin: bool,
    /// Whether its client waits for an answer: it gave a `ref`.
    pub answered: bool,
    /// What is asked.
    pub call: EventName,
    /// The full name of the room it is about, if the client named one. The session need not be in
    /// it, and the room need not be there.
    pub room: Option<String>,
    /// What belongs to it.
    pub data: Option<Payload>,
}

/// What the application is asked before a command is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// May this session begin?
    Connect(Box<Connect>),
    /// May this room be made?
    Create(Box<Create>),
    /// May this seat be taken?
    Join(Box<Join>),
    /// Shall this seat be given up?
    Leave(Box<Leave>),
    /// Shall this be said?
    Publish(Box<Publish>),
    /// May this session go on with a new token?
    Refresh(Box<Refresh>),
}

/// What becomes of the command.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is carried out as the question stands now. Another kind of question than was asked
    /// refuses the command with `internal`.
    Go(Question),
    /// It is not carried out; the client is told why.
    Refuse(Refusal),
}

/// A session that wants to begin.
#[derive(Clone, PartialEq)]
pub struct Connect {
    /// The namespace of the listener. Read only.
    pub namespace: Name,
    /// The `token` of `hello` as it came, whether the server knows it or not. Read only.
    pub token: Option<Box<str>>,
    /// The `data` of `hello`: what the client says to the server's own code. Read only.
    pub data: Option<Payload>,
    /// It wants to take up an earlier session, which must be of the same user. Read only.
    pub resumes: bool,
    /// Why the server would refuse the session: `token_required` or `invalid_token`. Read only;
    /// [`Connect::granted`] lets the session begin all the same.
    pub refusal: Option<Refusal>,
    /// The session begins although the server itself would refuse it.
    pub granted: bool,
    /// Who the token says it is, with the display name of `hello` if the token has none, and what
    /// it may do. An empty one if the server would refuse.
    pub identity: Identity,
}

impl fmt::Debug for Connect {
    /// Without the token: it must not come to stand in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("namespace", &self.namespace)
            .field("resumes", &self.resumes)
            .field("refusal", &self.refusal)
            .field("granted", &self.granted)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// A room that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    /// Who asks. Read only.
    pub from: Arc<Sender>,
    /// The room's full name, made up if the client gave none.
    pub room: String,
    /// Its options: the namespace's with what the client asked for. A hook may set what a client
    /// may not.
    pub options: RoomOptions,
    /// Whether the client wants a seat at once. Read only; [`HookMask::JOIN`] asks about it.
    pub join: bool,
    /// The room is made although the namespace does not let clients make rooms.
    pub granted: bool,
}

/// A seat that is to be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// Who asks. Read only.
    pub from: Arc<Sender>,
    /// The room's full name. The session is led to another room by changing it: its client learns
    /// which from the `room` of `joined`.
    pub room: String,
    /// What the other members see of this one; at most 4 KiB.
    pub data: Option<Payload>,
    /// After which position the client wants what it missed. Read only.
    pub since: Option<Position>,
    /// The seat is given although the room's rule is `join = "granted"`.
    pub granted: bool,
}

/// A seat that is to be given up.
#[derive(Debug, Clone, PartialEq)]
pub struct Leave {
    /// Who asks. Read only.
    pub from: Arc<Sender>,
    /// The room's full name. Read only.
    pub room: String,
    /// A last word that the others see; at most 4 KiB.
    pub data: Option<Payload>,
}

/// Something that is to be said in a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// Who says it. Read only.
    pub from: Arc<Sender>,
    /// The room's full name. Read only.
    pub room: String,
    /// What the event is called.
    pub event: EventName,
    /// What it says; at most `limits.message_bytes`, and the room's own `payload_max`.
    pub data: Option<Payload>,
    /// `false`: may be dropped, the newest wins. Read only.
    pub reliable: bool,
}

/// A session that shows a new token.
#[derive(Clone, PartialEq)]
pub struct Refresh {
    /// Who asks. Read only.
    pub from: Arc<Sender>,
    /// The namespace of the session. Read only.
    pub namespace: Name,
    /// The new token as it came, whether the server knows it or not. Read only.
    pub token: Box<str>,
    /// Why the server would refuse the token: `invalid_token`. Read only; [`Refresh::granted`] lets
    /// the session go on all the same.
    pub refusal: Option<Refusal>,
    /// The session goes on although the server itself would refuse the token.
    pub granted: bool,
    /// What the session is from now on: as the token says, but with the rules that a hook gave the
    /// session before; if the server would refuse the token, as the session is, without an end. The
    /// user cannot become another, nor an admin somebody else.
    pub identity: Identity,
    /// The rules of the new token itself, which do not count unless they stand in
    /// [`Refresh::identity`]. Read only.
    pub token_grants: Option<Arc<Grants>>,
}

impl fmt::Debug for Refresh {
    /// Without the token: it must not come to stand in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("from", &self.from)
            .field("namespace", &self.namespace)
            .field("refusal", &self.refusal)
            .field("granted", &self.granted)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
