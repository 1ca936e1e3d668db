//! What happens: in a room, and to the client.

use std::sync::Arc;
use std::time::Duration;

use roomcast_wire::push::{self, ClosedReason, LeaveReason, MemberInfo, Sender};
use roomcast_wire::reply::Recovery;
use roomcast_wire::{CloseCode, EventName, Payload, Position, SessionId};
use serde::de::DeserializeOwned;

use crate::payload::{json_of, value_of};
use crate::queue::FromMissed;
use crate::room::Given;
use crate::{Error, Refused, Transport};

/// What happens in a room, in the room's order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RoomEvent {
    /// Something was said.
    Event(Event),
    /// Somebody took a seat.
    MemberJoined(Member),
    /// Somebody gave up a seat, or lost it.
    MemberLeft {
        /// Who.
        from: Sender,
        /// Why.
        reason: LeaveReason,
    },
    /// A member's link was lost; its seat is kept for a while.
    MemberDropped(Sender),
    /// A dropped member is back.
    MemberResumed(Sender),
    /// How many there are, where the room tells numbers only.
    Presence {
        /// Sessions with a seat.
        members: u32,
        /// Users they belong to.
        users: u32,
    },
    /// The client was away and has everything it missed: the events that follow continue those
    /// before, without gap or repeat.
    Recovered,
    /// Something is missing before the events that follow. Read the state of the room anew.
    Lost(LostReason),
    /// The room, or the client's seat in it, is no more. The stream ends.
    Closed {
        /// Why, if the server closed it.
        reason: Option<ClosedReason>,
        /// The refusal, if the seat could not be taken again after a lost link.
        refused: Option<Refused>,
    },
}

/// Why something is missing in a room's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// The room's log began anew while the client was away.
    Epoch,
    /// The room no longer keeps all that was said while the client was away.
    Trimmed,
    /// The client's position lies after the newest event.
    Ahead,
    /// The token does not give the right `history`.
    Forbidden,
    /// The application did not read the stream, and its oldest things were dropped.
    Unread {
        /// How many.
        missed: u64,
    },
}

impl LostReason {
    /// The verdict of a join as something missing; none if all is there.
    pub(crate) fn of(recovery: Recovery) -> Option<Self> {
        match recovery {
            Recovery::Recovered => None,
            Recovery::Epoch => Some(Self::Epoch),
            Recovery::Trimmed => Some(Self::Trimmed),
            Recovery::Ahead => Some(Self::Ahead),
            Recovery::Forbidden => Some(Self::Forbidden),
        }
    }
}

impl FromMissed for RoomEvent {
    fn from_missed(missed: u64) -> Self {
        Self::Lost(LostReason::Unread { missed })
    }
}

/// One thing said in a room.
#[derive(Debug, Clone)]
pub struct Event(pub(crate) Arc<push::Event>, pub(crate) Missed);

/// What did not come between one event of a room and the next. On UDP an event that can be dropped
/// may overtake others: those count here, although they still come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    /// Events that could not be dropped: the room's `slow` rule dropped them nevertheless, or they
    /// are the client's own, from which it wanted no echo.
    pub reliable: u64,
    /// Events that could be dropped.
    pub unreliable: u64,
}

impl Event {
    /// From a list, in which nothing is missing that is kept.
    pub(crate) fn listed(event: Arc<push::Event>) -> Self {
        Self(event, Missed::default())
    }

    /// What it is called.
    pub fn name(&self) -> &EventName {
        &self.0.name
    }

    /// Whether it is called `word`.
    pub fn is(&self, word: &str) -> bool {
        matches!(&self.0.name, EventName::Text(name) if name.as_str() == word)
    }

    /// What it says, as a value of the application. Absent data is read as `null`.
    ///
    /// ```no_run
    /// # fn run(event: roomcast_client::Event) -> Result<(), roomcast_client::Error> {
    /// #[derive(serde::Deserialize)]
    /// struct Chat {
    ///     text: String,
    /// }
    /// let chat: Chat = event.data()?;
    /// println!("{}", chat.text);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Payload`] if the data has another shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        value_of(self.raw())
    }

    /// What it says, as it was written.
    pub fn raw(&self) -> Option<&Payload> {
        self.0.payload.as_ref()
    }

    /// What it says, as JSON text.
    pub fn json(&self) -> String {
        json_of(self.raw())
    }

    /// Who said it, stamped by the server; none: the server.
    pub fn from(&self) -> Option<&Sender> {
        self.0.from.as_deref()
    }

    /// The sender's display name, or user, or session; `server` if the server said it.
    pub fn sender_name(&self) -> String {
        self.from().map_or_else(|| "server".to_owned(), name_of)
    }

    /// Where it stands in the room's order; none: the room told it to some members only.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    /// `false`: it might as well have been dropped.
    pub fn reliable(&self) -> bool {
        self.0.reliable
    }

    /// What did not come between the event heard before and this one, told from the positions.
    /// Nothing, if this one is the first since the seat was taken, or comes late itself.
    pub fn missed(&self) -> Missed {
        self.1
    }
}

/// A member of a room as others see it.
#[derive(Debug, Clone)]
pub struct Member(pub(crate) MemberInfo);

impl Member {
    /// Who.
    pub fn sender(&self) -> &Sender {
        &self.0.sender
    }

    /// The display name, or user, or session.
    pub fn name(&self) -> String {
        name_of(&self.0.sender)
    }

    /// What it gave with `join`.
    ///
    /// # Errors
    /// [`Error::Payload`] if the data has another shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        value_of(self.0.data.as_ref())
    }

    /// What it gave with `join`, as it was written.
    pub fn raw(&self) -> Option<&Payload> {
        self.0.data.as_ref()
    }

    /// Whether its link is lost and its seat kept.
    pub fn dropped(&self) -> bool {
        self.0.dropped
    }
}

pub(crate) fn name_of(sender: &Sender) -> String {
    let name = sender.name.as_ref().or(sender.user.as_ref());
    name.map_or_else(|| sender.session.to_string(), ToString::to_string)
}

/// What happens to the client itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Something was said to this session, its user or its namespace.
    Message(Message),
    /// The server gave this session a seat that it had not asked for: in a lobby, or by its own
    /// code. [`Given::open`] makes a [`Room`](crate::Room) of it.
    Joined(Given),
    /// A command that asked for no answer was refused, or a new token of
    /// [`Builder::token_with`](crate::Builder::token_with).
    Refused(Refused),
    /// The server is about to close the link.
    Goodbye {
        /// Why, if this version knows the code.
        code: Option<CloseCode>,
        /// For a person.
        message: String,
    },
    /// The link was lost.
    ConnectionLost {
        /// How.
        reason: String,
    },
    /// The client will connect again.
    Reconnecting {
        /// How many attempts went before since the link was lost.
        attempt: u32,
        /// How long it waits first.
        delay: Duration,
    },
    /// The client is connected again.
    Reconnected {
        /// The session.
        session: SessionId,
        /// Whether it is the session from before. Otherwise others saw it leave and join anew.
        resumed: bool,
        /// By which transport: another than before, perhaps, where there are
        /// [several](crate::Builder::fall_back_to).
        transport: Transport,
    },
    /// So many events were dropped here because nobody read them.
    Unread {
        /// How many.
        missed: u64,
    },
    /// The client has ended and will not connect again. The stream ends.
    Closed {
        /// Why.
        reason: String,
    },
}

impl FromMissed for ClientEvent {
    fn from_missed(missed: u64) -> Self {
        Self::Unread { missed }
    }
}

/// Something said to this session, its user or its namespace.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) name: EventName,
    pub(crate) payload: Option<Payload>,
    pub(crate) from: Option<Sender>,
}

impl Message {
    /// What it is called.
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// Whether it is called `word`.
    pub fn is(&self, word: &str) -> bool {
        matches!(&self.name, EventName::Text(name) if name.as_str() == word)
    }

    /// What it says, as a value of the application.
    ///
    /// # Errors
    /// [`Error::Payload`] if the data has another shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        value_of(self.payload.as_ref())
    }

    /// What it says, as it was written.
    pub fn raw(&self) -> Option<&Payload> {
        self.payload.as_ref()
    }

    /// What it says, as JSON text.
    pub fn json(&self) -> String {
        json_of(self.raw())
    }

    /// Who said it; none: the server.
    pub fn from(&self) -> Option<&Sender> {
        self.from.as_ref()
    }

    /// The sender's display name, or user, or session; `server` if the server said it.
    pub fn sender_name(&self) -> String {
        self.from().map_or_else(|| "server".to_owned(), name_of)
    }
}
