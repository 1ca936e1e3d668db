//! The handle of a room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roomcast_wire::incoming::Body;
use roomcast_wire::reply::Recovery;
use roomcast_wire::{Command, Payload, Position, RoomPath};
use serde::Serialize;

use crate::client::{Client, path, unexpected};
use crate::event::{Event, Member, RoomEvent};
use crate::ledger::RoomQueue;
use crate::payload::{IntoEventName, payload_of};
use crate::queue::Events;
use crate::{Codec, Error};

/// A seat in a room. Clones are handles to the same seat and share one stream of events. Dropping
/// a handle does not give up the seat: [`leave`](Self::leave) does. When all handles and streams
/// of a room are dropped, what is said there is no longer kept.
#[derive(Debug, Clone)]
pub struct Room {
    client: Client,
    name: Arc<str>,
    position: Position,
    members: u32,
    recovery: Option<Recovery>,
    queue: RoomQueue,
}

/// A seat that the server gave unasked; [`ClientEvent::Joined`](crate::ClientEvent::Joined) tells
/// of it. What is said in the room is kept for it, at most
/// [`Builder::room_queue`](crate::Builder::room_queue) things, until it is dropped.
#[derive(Debug, Clone)]
pub struct Given {
    pub(crate) room: Arc<str>,
    pub(crate) position: Position,
    pub(crate) members: u32,
    pub(crate) queue: RoomQueue,
    pub(crate) opened: Arc<AtomicBool>,
}

impl Given {
    /// The room's full name.
    pub fn name(&self) -> &str {
        &self.room
    }

    /// The handle of the seat, for the client that was told of it.
    ///
    /// ```no_run
    /// # async fn run(client: roomcast_client::Client) {
    /// use roomcast_client::ClientEvent;
    /// let mut events = client.events();
    /// while let Some(event) = events.next().await {
    ///     if let ClientEvent::Joined(given) = event {
    ///         let room = given.open(&client);
    ///         println!("in {} with {} others", room.name(), room.members_at_join() - 1);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn open(self, client: &Client) -> Room {
        self.opened.store(true, Ordering::Relaxed);
        let Self { room: name, position, members, queue, .. } = self;
        Room { client: client.clone(), name, position, members, recovery: None, queue }
    }
}

/// How to take a seat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JoinOptions {
    /// The last position seen: everything after it comes first. The stream begins with
    /// [`RoomEvent::Recovered`] or [`RoomEvent::Lost`].
    pub since: Option<Position>,
    /// What the other members see of this one; at most 4 KiB. See
    /// [`payload_of`].
    pub data: Option<Payload>,
}

impl JoinOptions {
    /// With everything after `position`.
    #[must_use]
    pub fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    /// With `data` for the other members.
    ///
    /// # Errors
    /// [`Error::Payload`] if the value has no form in the codec.
    pub fn data<T: Serialize + ?Sized>(mut self, codec: Codec, data: &T) -> Result<Self, Error> {
        self.data = Some(payload_of(codec, data)?);
        Ok(self)
    }
}

/// How to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PublishOptions {
    reliable: bool,
    echo: Option<bool>,
    key: Key,
    answer: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Automatic,
    None,
    Given(String),
}

impl Default for PublishOptions {
    /// Reliable, answered, with a key of the client's making, echoed as the room says.
    fn default() -> Self {
        Self { reliable: true, echo: None, key: Key::Automatic, answer: true }
    }
}

impl PublishOptions {
    /// May be dropped, and the newest wins.
    pub fn unreliable(mut self) -> Self {
        (self.reliable, self.key) = (false, Key::None);
        self
    }

    /// Whether the sender receives its own event.
    pub fn echo(mut self, echo: bool) -> Self {
        self.echo = Some(echo);
        self
    }

    /// An idempotency key: while the room remembers it, a second publish of this user (of this
    /// session, if it has no user) with the same key is answered but not repeated.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Key::Given(key.into());
        self
    }

    /// No idempotency key: if the link is lost before the answer comes, the publish ends with
    /// [`Error::Disconnected`] and is not repeated.
    pub fn without_key(mut self) -> Self {
        self.key = Key::None;
        self
    }

    /// Wants no answer: returns as soon as the event is on its way. A refusal is told by
    /// [`ClientEvent::Refused`](crate::ClientEvent::Refused).
    pub fn without_answer(mut self) -> Self {
        (self.answer, self.key) = (false, Key::None);
        self
    }
}

/// Who is in a room.
#[derive(Debug, Clone)]
pub struct MemberList {
    /// In the order of joining.
    pub members: Vec<Member>,
    /// There are more than the answer may hold.
    pub truncated: bool,
}

/// How many are in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Sessions with a seat.
    pub members: u32,
    /// Users they belong to; an anonymous session counts as a user of its own.
    pub users: u32,
}

/// What was said in a room.
#[derive(Debug, Clone)]
pub struct History {
    /// Oldest first.
    pub events: Vec<Event>,
    /// The position of the newest event, listed or not.
    pub position: Position,
    /// Whether everything after `since` was still known, if it was given.
    pub recovery: Option<Recovery>,
}

impl Room {
    pub(crate) fn new(
        client: Client,
        name: String,
        position: Position,
        members: u32,
        recovery: Option<Recovery>,
        queue: RoomQueue,
    ) -> Self {
        Self { client, name: name.into(), position, members, recovery, queue }
    }

    /// The room's full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The room's newest position when this handle was made.
    pub fn position_at_join(&self) -> Position {
        self.position
    }

    /// How many members there were when this handle was made, this one included.
    pub fn members_at_join(&self) -> u32 {
        self.members
    }

    /// Whether everything after [`JoinOptions::since`] was still known, if it was given.
    pub fn recovery_at_join(&self) -> Option<Recovery> {
        self.recovery
    }

    /// Says something to everybody in the room and waits until the room has given it its place;
    /// none if the room's logic took it and nobody else heard it. If the link is lost meanwhile, it
    /// is repeated under the same key on the next one, so that the room hears it once.
    ///
    /// ```no_run
    /// # async fn run(lobby: roomcast_client::Room) -> Result<(), roomcast_client::Error> {
    /// #[derive(serde::Serialize)]
    /// struct Chat {
    ///     text: &'static str,
    /// }
    /// if let Some(position) = lobby.publish("chat", &Chat { text: "hi" }).await? {
    ///     println!("event number {}", position.offset);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason; [`Error::Timeout`] (it may still have been said).
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        event: impl IntoEventName,
        data: &T,
    ) -> Result<Option<Position>, Error> {
        let data = payload_of(self.client.codec(), data)?;
        self.publish_with(event, Some(data), PublishOptions::default()).await
    }

    /// Says something that may be dropped on its way, where the newest wins (positions of a game,
    /// a cursor). Returns as soon as it is handed over.
    ///
    /// # Errors
    /// [`Error::Payload`], [`Error::Invalid`], [`Error::Closed`].
    pub async fn publish_unreliable<T: Serialize + ?Sized>(
        &self,
        event: impl IntoEventName,
        data: &T,
    ) -> Result<(), Error> {
        let data = payload_of(self.client.codec(), data)?;
        let options = PublishOptions::default().unreliable().without_answer();
        self.publish_with(event, Some(data), options).await.map(|_| ())
    }

    /// Says something as `options` say, with data that is a payload already. Returns the position
    /// if an answer was wanted and the event has one.
    ///
    /// ```no_run
    /// # async fn run(room: roomcast_client::Room) -> Result<(), roomcast_client::Error> {
    /// use roomcast_client::PublishOptions;
    /// let options = PublishOptions::default().echo(false).key("order-17");
    /// room.publish_with("ordered", None, options).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`publish`](Self::publish).
    pub async fn publish_with(
        &self,
        event: impl IntoEventName,
        data: Option<Payload>,
        options: PublishOptions,
    ) -> Result<Option<Position>, Error> {
        let PublishOptions { reliable, echo, key, answer } = options;
        let key = match key {
            Key::Automatic => Some(self.client.next_key().into()),
            Key::Given(key) => Some(key.into()),
            Key::None => None,
        };
        let (room, event) = (self.path()?, event.into_event_name()?);
        let command = Command::Publish { room, event, data, reliable, key, echo };
        if !answer {
            return self.client.tell(command).await.map(|()| None);
        }
        match self.client.ask(command).await?.body {
            Body::Ok { position, .. } => Ok(position),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives up the seat. The stream ends with what came before.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Closed`].
    pub async fn leave(&self) -> Result<(), Error> {
        self.client.ask(Command::Leave { room: self.path()?, data: None }).await.map(|_| ())
    }

    /// Who is here.
    ///
    /// ```no_run
    /// # async fn run(room: roomcast_client::Room) -> Result<(), roomcast_client::Error> {
    /// for member in room.members().await?.members {
    ///     println!("{}", member.name());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn members(&self) -> Result<MemberList, Error> {
        self.client.members(&self.name).await
    }

    /// How many are here.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn presence(&self) -> Result<Presence, Error> {
        self.client.presence(&self.name).await
    }

    /// What was said here: the newest `limit` events, or with `since` the first `limit` after
    /// that position.
    ///
    /// ```no_run
    /// # async fn run(room: roomcast_client::Room) -> Result<(), roomcast_client::Error> {
    /// for event in room.history(None, Some(20)).await?.events {
    ///     println!("{} {}", event.name(), event.json());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn history(
        &self,
        since: Option<Position>,
        limit: Option<u32>,
    ) -> Result<History, Error> {
        self.client.history(&self.name, since, limit).await
    }

    /// What happens here, as a stream.
    ///
    /// ```no_run
    /// # async fn run(room: roomcast_client::Room) {
    /// use futures_util::StreamExt as _;
    /// let texts = room.events().map(|event| format!("{event:?}"));
    /// texts.for_each(|text| async move { println!("{text}") }).await;
    /// # }
    /// ```
    pub fn events(&self) -> Events<RoomEvent> {
        Events(Arc::clone(&self.queue))
    }

    /// The next thing that happens here; none after the seat was given up or lost. Cancel-safe.
    pub async fn next_event(&self) -> Option<RoomEvent> {
        self.queue.take().await
    }

    fn path(&self) -> Result<RoomPath<'static>, Error> {
        path(&self.name)
    }
}

impl MemberList {
    pub(crate) fn of(body: Body) -> Result<Self, Error> {
        match body {
            Body::Members { members, truncated, .. } => {
                Ok(Self { members: members.into_iter().map(Member).collect(), truncated })
            }
            other => Err(unexpected(&other)),
        }
    }
}

impl Presence {
    pub(crate) fn of(body: &Body) -> Result<Self, Error> {
        match body {
            Body::Presence { members, users, .. } => Ok(Self { members: *members, users: *users }),
            other => Err(unexpected(other)),
        }
    }
}

impl History {
    pub(crate) fn of(body: Body) -> Result<Self, Error> {
        match body {
            Body::History { position, recovery, events, .. } => Ok(Self {
                events: events.into_iter().map(Event::listed).collect(),
                position,
                recovery,
            }),
            other => Err(unexpected(&other)),
        }
    }
}
