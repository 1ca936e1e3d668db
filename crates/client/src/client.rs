//! The client's handle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roomcast_wire::incoming::Body;
use roomcast_wire::reply::{RoomInfo, SessionLimits};
use roomcast_wire::{Codec, Command, Name, Payload, RoomOptions, RoomPath, SessionId, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::builder::{Builder, Settings};
use crate::calls::Calls;
use crate::driver::{Closing, Status};
use crate::event::{ClientEvent, Message};
use crate::ledger::{Answer, Op};
use crate::payload::{IntoEventName, payload_of, value_of};
use crate::queue::{Events, Queue};
use crate::room::{History, JoinOptions, MemberList, Presence, Room};
use crate::{Error, Position, Transport};

/// A connection to a roomcast server that survives the loss of its link. Clones are handles to
/// the same client; it says `bye` and ends when the last of them, and of its [`Room`]s, is
/// dropped, or when [`close`](Self::close) is called.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) status: Arc<Status>,
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) closing: mpsc::Sender<Closing>,
    pub(crate) events: Arc<Queue<ClientEvent>>,
    pub(crate) calls: Arc<Calls>,
    /// Beginning of this client's idempotency keys.
    pub(crate) keys: u64,
}

/// Whom a direct message or a kick is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// One session.
    Session(SessionId),
    /// Every session of a user.
    User(String),
}

impl To {
    fn target(self) -> Target<'static> {
        match self {
            Self::Session(session) => Target::Session(session),
            Self::User(user) => Target::User(user.into()),
        }
    }
}

/// The rooms of a namespace, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomList {
    /// The rooms.
    pub rooms: Vec<RoomInfo>,
    /// There are more than the answer may hold.
    pub truncated: bool,
}

/// A room that was made, or was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The room's full name.
    pub room: String,
    /// `false`: it was there already, and keeps its options.
    pub created: bool,
}

impl Client {
    /// Connects anonymously with the usual settings; see [`builder`](Self::builder) for others.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), roomcast_client::Error> {
    /// let client = roomcast_client::Client::connect("ws://127.0.0.1:7400").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Builder::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// Settings for a connection to `url`: `ws://host:port`, `wss://…`, `tcp://…`, `tls://…`,
    /// `udp://…`, `quic://…` or `enet://…`. The path of a WebSocket is `/ws` if none is given.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Takes a seat in a room, which is made if it may be. A second join gives another handle to
    /// the same seat.
    ///
    /// ```no_run
    /// # async fn run(client: roomcast_client::Client) -> Result<(), roomcast_client::Error> {
    /// let lobby = client.join("lobby").await?;
    /// println!("{} members", lobby.members_at_join());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn join(&self, room: &str) -> Result<Room, Error> {
        self.join_with(room, JoinOptions::default()).await
    }

    /// Takes a seat with data that others see, or from a position on.
    ///
    /// # Errors
    /// Those of [`join`](Self::join).
    pub async fn join_with(&self, room: &str, options: JoinOptions) -> Result<Room, Error> {
        let JoinOptions { since, data } = options;
        let room = path(room)?;
        self.seat(Command::Join { room, since, data }).await
    }

    /// Makes a room without taking a seat. Without a name the server makes one up that cannot be
    /// guessed. `options` is a map of those room options that differ from the namespace's.
    ///
    /// ```no_run
    /// # async fn run(client: roomcast_client::Client) -> Result<(), roomcast_client::Error> {
    /// #[derive(serde::Serialize)]
    /// struct Options {
    ///     members_max: u32,
    /// }
    /// let made = client.create(None, &Options { members_max: 4 }).await?;
    /// println!("invite others to {}", made.room);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn create<T: Serialize + ?Sized>(
        &self,
        room: Option<&str>,
        options: &T,
    ) -> Result<Created, Error> {
        let command = self.create_command(room, options, false)?;
        match self.ask(command).await?.body {
            Body::Created { room, created } => Ok(Created { room, created }),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a room and takes a seat in it; see [`create`](Self::create).
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub async fn create_and_join<T: Serialize + ?Sized>(
        &self,
        room: Option<&str>,
        options: &T,
    ) -> Result<Room, Error> {
        let command = self.create_command(room, options, true)?;
        self.seat(command).await
    }

    fn create_command<T: Serialize + ?Sized>(
        &self,
        room: Option<&str>,
        options: &T,
        join: bool,
    ) -> Result<Command<'static>, Error> {
        let room = room.map(path).transpose()?;
        let options = payload_of(self.codec(), options)?;
        // Checked here too, so that a misspelt option is found without a round trip.
        RoomOptions::default().patched(&options).map_err(Error::Invalid)?;
        Ok(Command::Create { room, options: Some(options), join })
    }

    /// Says something to one session, or to all sessions of a user. Returns how many it went to.
    ///
    /// ```no_run
    /// # async fn run(client: roomcast_client::Client) -> Result<(), roomcast_client::Error> {
    /// use roomcast_client::To;
    /// client.send(To::User("mina".into()), "invite", "lobby").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if there is nobody, and those of every command.
    pub async fn send<T: Serialize + ?Sized>(
        &self,
        to: To,
        event: impl IntoEventName,
        data: &T,
    ) -> Result<u32, Error> {
        let (event, data) = self.said(event, data)?;
        self.deliver(Command::Send { to: to.target(), event, data }).await
    }

    /// Says something to every session of a namespace (the client's own, if none is named). Needs
    /// the right `admin`. Returns how many it went to.
    ///
    /// # Errors
    /// [`Error::Refused`] without the right, and those of every command.
    pub async fn broadcast<T: Serialize + ?Sized>(
        &self,
        namespace: Option<&str>,
        event: impl IntoEventName,
        data: &T,
    ) -> Result<u32, Error> {
        let (event, data) = self.said(event, data)?;
        let namespace = namespace.map(|namespace| namespace.to_owned().into());
        self.deliver(Command::Broadcast { namespace, event, data }).await
    }

    /// Says something in a room in the server's name. Needs the right `admin`.
    ///
    /// # Errors
    /// [`Error::Refused`] without the right, and those of every command.
    pub async fn announce<T: Serialize + ?Sized>(
        &self,
        room: &str,
        event: impl IntoEventName,
        data: &T,
    ) -> Result<Option<Position>, Error> {
        let (event, data) = self.said(event, data)?;
        match self.ask(Command::Announce { room: path(room)?, event, data }).await?.body {
            Body::Ok { position, .. } => Ok(position),
            other => Err(unexpected(&other)),
        }
    }

    /// Puts a member out of a room. Needs the right `admin`.
    ///
    /// # Errors
    /// [`Error::Refused`] without the right or the member, and those of every command.
    pub async fn kick(&self, room: &str, who: To, message: Option<&str>) -> Result<(), Error> {
        let message = message.map(|message| message.to_owned().into());
        let command = Command::Kick { room: path(room)?, target: who.target(), message };
        self.ask(command).await.map(|_| ())
    }

    /// Closes a room. Needs the right `admin`.
    ///
    /// # Errors
    /// [`Error::Refused`] without the right or the room, and those of every command.
    pub async fn delete(&self, room: &str) -> Result<(), Error> {
        self.ask(Command::Delete { room: path(room)? }).await.map(|_| ())
    }

    /// Which rooms a namespace has (the client's own, if none is named).
    ///
    /// # Errors
    /// [`Error::Refused`] where the list is not public, and those of every command.
    pub async fn rooms(&self, namespace: Option<&str>) -> Result<RoomList, Error> {
        let namespace = namespace.map(|namespace| namespace.to_owned().into());
        match self.ask(Command::Rooms { namespace }).await?.body {
            Body::Rooms { rooms, truncated } => Ok(RoomList { rooms, truncated }),
            other => Err(unexpected(&other)),
        }
    }

    /// Who is in a room. Like [`Room::members`], for a room without a handle.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn members(&self, room: &str) -> Result<MemberList, Error> {
        let answer = self.ask(Command::Members { room: path(room)? }).await?;
        MemberList::of(answer.body)
    }

    /// How many are in a room. Like [`Room::presence`], for a room without a handle.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn presence(&self, room: &str) -> Result<Presence, Error> {
        let answer = self.ask(Command::Presence { room: path(room)? }).await?;
        Presence::of(&answer.body)
    }

    /// What was said in a room: the newest `limit` events, or with `since` the first `limit`
    /// after that position. Like [`Room::history`], for a room without a handle.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason, and those of every command.
    pub async fn history(
        &self,
        room: &str,
        since: Option<Position>,
        limit: Option<u32>,
    ) -> Result<History, Error> {
        let answer = self.ask(Command::History { room: path(room)?, since, limit }).await?;
        History::of(answer.body)
    }

    /// Asks the application behind the server for something of its own, and waits for its answer.
    /// It is not asked again by itself if the link is lost.
    ///
    /// ```no_run
    /// # async fn run(client: roomcast_client::Client) -> Result<(), roomcast_client::Error> {
    /// let version: String = client.call("version", &()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] if the application refuses, or nobody answers calls of this name;
    /// [`Error::Payload`] if the answer has another shape; and those of every command.
    pub async fn call<T, A>(&self, name: impl IntoEventName, data: &T) -> Result<A, Error>
    where
        T: Serialize + ?Sized,
        A: DeserializeOwned,
    {
        let (call, data) = self.said(name, data)?;
        match self.ask(Command::Call { call, room: None, data }).await?.body {
            Body::Result { data } => value_of(data.as_ref()),
            other => Err(unexpected(&other)),
        }
    }

    /// Answers calls of the application behind the server. A later handler of the same name takes
    /// the place of an earlier one; calls that nobody answers are refused at once. Each call is
    /// answered by a task of its own.
    ///
    /// ```no_run
    /// # fn run(client: roomcast_client::Client) -> Result<(), roomcast_client::Error> {
    /// client.on_call("where", |call| async move {
    ///     let precise: bool = call.data().map_err(|error| error.to_string())?;
    ///     Ok::<_, String>(if precise { [35.6895, 139.6917] } else { [36.0, 140.0] })
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is none.
    pub fn on_call<F, A, T>(&self, name: impl IntoEventName, handler: F) -> Result<(), Error>
    where
        F: Fn(Message) -> A + Send + Sync + 'static,
        A: Future<Output = Result<T, String>> + Send + 'static,
        T: Serialize,
    {
        let codec = self.codec();
        let handler = move |call| -> Pin<Box<dyn Future<Output = _> + Send>> {
            let answering = handler(call);
            Box::pin(async move {
                let answer = answering.await?;
                payload_of(codec, &answer).map_err(|error| error.to_string())
            })
        };
        self.shared.calls.set(name.into_event_name()?, Arc::new(handler));
        Ok(())
    }

    /// Replaces the token, so that rights go on; it is used for reconnects too.
    ///
    /// # Errors
    /// [`Error::Refused`] if the token is not valid, and those of every command.
    pub async fn refresh(&self, token: &str) -> Result<(), Error> {
        self.ask(Command::Refresh { token: token.to_owned().into() }).await?;
        self.shared.status.set(|known| known.token = Some(token.to_owned()));
        Ok(())
    }

    /// How long the way to the server and back takes now.
    ///
    /// # Errors
    /// Those of every command.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let began = Instant::now();
        self.ask(Command::Ping).await.map(|_| began.elapsed())
    }

    /// What happens to the client: messages to it, and what becomes of its link. All handles share
    /// one stream.
    ///
    /// ```no_run
    /// # async fn run(client: roomcast_client::Client) {
    /// use roomcast_client::ClientEvent;
    /// let mut events = client.events();
    /// while let Some(event) = events.next().await {
    ///     if let ClientEvent::ConnectionLost { reason } = event {
    ///         eprintln!("offline: {reason}");
    ///     }
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> Events<ClientEvent> {
        Events(Arc::clone(&self.shared.events))
    }

    /// The session. It changes when the client connects again and cannot resume.
    pub fn session(&self) -> SessionId {
        self.shared.status.get().session
    }

    /// Who the token says the user is.
    pub fn user(&self) -> Option<Name> {
        self.shared.status.get().user
    }

    /// What the server allows this session.
    pub fn limits(&self) -> SessionLimits {
        self.shared.status.get().limits
    }

    /// By what it is connected, or was last: one of those that the builder was given.
    pub fn transport(&self) -> Transport {
        self.shared.status.get().transport
    }

    /// The codec of this client's payloads.
    pub fn codec(&self) -> Codec {
        self.shared.settings.codec
    }

    /// Says `bye`, so that all seats are given up at once, and ends the client.
    pub async fn close(&self) {
        let (said, heard) = oneshot::channel();
        if self.shared.closing.send(said).await.is_ok() {
            // An error says that the client has ended by another way: just as well.
            let _ = heard.await;
        }
    }

    /// Sends any command of the protocol and returns its answer as it came.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason; [`Error::Timeout`]; [`Error::Disconnected`];
    /// [`Error::Closed`].
    pub async fn request(&self, command: Command<'static>) -> Result<Body, Error> {
        self.ask(command).await.map(|answer| answer.body)
    }

    pub(crate) async fn ask(&self, command: Command<'static>) -> Result<Answer, Error> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            let op = Op { command, answer: Some(answer) };
            self.shared.ops.send(op).await.map_err(|_| self.ended())?;
            answered.await.unwrap_or_else(|_| Err(self.ended()))
        };
        let within = self.shared.settings.ack_timeout;
        timeout(within, asking).await.unwrap_or(Err(Error::Timeout(within)))
    }

    /// Sends a command that wants no answer; waits while too many stand before it.
    pub(crate) async fn tell(&self, command: Command<'static>) -> Result<(), Error> {
        self.shared.ops.send(Op { command, answer: None }).await.map_err(|_| self.ended())
    }

    /// A key that no other publish has: 64 random bits of this client and a count.
    pub(crate) fn next_key(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{count:x}", self.shared.keys)
    }

    pub(crate) fn said<T: Serialize + ?Sized>(
        &self,
        event: impl IntoEventName,
        data: &T,
    ) -> Result<(roomcast_wire::EventName, Option<Payload>), Error> {
        Ok((event.into_event_name()?, Some(payload_of(self.codec(), data)?)))
    }

    async fn seat(&self, command: Command<'static>) -> Result<Room, Error> {
        match self.ask(command).await? {
            Answer {
                body: Body::Joined { room, position, members, recovery },
                seat: Some(queue),
            } => Ok(Room::new(self.clone(), room, position, members, recovery, queue)),
            other => Err(unexpected(&other.body)),
        }
    }

    async fn deliver(&self, command: Command<'static>) -> Result<u32, Error> {
        match self.ask(command).await?.body {
            Body::Ok { delivered, .. } => Ok(delivered.unwrap_or_default()),
            other => Err(unexpected(&other)),
        }
    }

    fn ended(&self) -> Error {
        let reason = self.shared.status.get().ended;
        Error::Closed { reason: reason.unwrap_or_else(|| "its task is gone".to_owned()) }
    }
}

pub(crate) fn path(room: &str) -> Result<RoomPath<'static>, Error> {
    RoomPath::parse(room.to_owned()).map_err(|error| Error::Invalid(format!("room name: {error}")))
}

pub(crate) fn unexpected(body: &Body) -> Error {
    Error::Unexpected(format!("{body:?}"))
}
