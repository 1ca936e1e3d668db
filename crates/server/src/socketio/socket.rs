//! One client of a namespace in the hands of its handlers.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roomcast_core::ServerCall;
use roomcast_core::logic::IntoEvent;
use roomcast_wire::dialect::socketio;
use roomcast_wire::push::Sender;
use roomcast_wire::{CloseCode, Payload, SessionId};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::args::{Args, IntoArgs};
use super::io::Io;
use crate::handle::{Asked, CallError, ServerHandle, SessionHandle};

/// How long an acknowledgement is waited for where nothing else is said.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// One client of a namespace, whatever protocol it speaks: cheap to clone, to be used from any
/// thread or task, and of no more use once the client has gone.
///
/// ```
/// use roomcast::socketio::{Outcome, Socket};
///
/// async fn greet(socket: Socket) -> Outcome {
///     socket.join("hall").await?;
///     socket.to("hall").emit("newcomer", socket.id())?; // to all but this one
///     let answer = socket.emit_with_ack("who are you?", ()).await?;
///     socket.set(answer.get::<String>(0)?);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

/// A value of the application's, by its type.
type Kept = (TypeId, Arc<dyn Any + Send + Sync>);

pub(super) struct Inner {
    pub(super) sender: Arc<Sender>,
    /// The server's name of it.
    pub(super) namespace: Box<str>,
    auth: Option<Payload>,
    io: Io,
    server: ServerHandle,
    data: Mutex<Vec<Kept>>,
    /// Whether anything was said to it since [`Socket::settle`].
    spoken_to: AtomicBool,
    /// Why its link was lost, while it may come back.
    lost: Mutex<Option<DisconnectReason>>,
    recovered: AtomicBool,
}

impl Socket {
    pub(super) fn new(
        server: ServerHandle,
        io: Io,
        namespace: &str,
        sender: Arc<Sender>,
        auth: Option<Payload>,
    ) -> Self {
        let (data, spoken_to, lost, recovered) = Default::default();
        let namespace = namespace.into();
        let inner = Inner { sender, namespace, auth, io, server, data, spoken_to, lost, recovered };
        Self(Arc::new(inner))
    }

    /// Its id: that of its session.
    pub fn id(&self) -> SessionId {
        self.0.sender.session
    }

    /// Who it is: the user of its token, its display name, what the token says.
    pub fn sender(&self) -> &Arc<Sender> {
        &self.0.sender
    }

    /// What it said when it connected: `auth` of a Socket.IO client, `data` of the `hello` of
    /// others. Without it: what `null` is read as.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match &self.0.auth {
            Some(auth) => auth.read(),
            None => T::deserialize(serde_json::Value::Null),
        }
    }

    /// Whether it has come back after a lost connection: with its id, its rooms and what was
    /// [kept](Socket::set) with it, and told what it missed (`socketio.recovery`).
    ///
    /// ```
    /// use roomcast::socketio::{Outcome, Socket};
    ///
    /// async fn on_connect(socket: Socket) -> Outcome {
    ///     if !socket.recovered() {
    ///         socket.join("hall").await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn recovered(&self) -> bool {
        self.0.recovered.load(Ordering::Acquire)
    }

    /// Its namespace: all sockets of it.
    pub fn io(&self) -> &Io {
        &self.0.io
    }

    /// Says something to it.
    ///
    /// # Errors
    /// The event's name or an argument cannot be used, or as many calls wait as may
    /// ([`CallError::Busy`]). That the client has gone is no error.
    pub fn emit(&self, event: impl IntoEvent, args: impl IntoArgs) -> Result<(), CallError> {
        self.0.spoken_to.store(true, Ordering::Release);
        self.0.server.send_to(self.id(), event, args, true)
    }

    /// Says something to it and waits for its acknowledgement, for 10 seconds if
    /// [`Asking::timeout`] says nothing else. Nothing is said before it is awaited.
    pub fn emit_with_ack(&self, event: impl IntoEvent, args: impl IntoArgs) -> Asking {
        let said = said(event, args);
        Asking { socket: self.session(), said, timeout: ACK_TIMEOUT }
    }

    /// The same socket, for what may be dropped if it takes nothing at the moment.
    #[must_use]
    pub fn volatile(&self) -> Io {
        self.0.spoken_to.store(true, Ordering::Release);
        self.0.io.only(self.id()).volatile()
    }

    /// All others in a room. What is said there has this socket as its sender.
    #[must_use]
    pub fn to(&self, room: impl Into<String>) -> Io {
        self.broadcast().to(room)
    }

    /// All others of the namespace.
    #[must_use]
    pub fn broadcast(&self) -> Io {
        self.0.io.of_sender(&self.0.sender)
    }

    /// Gives it a seat in a room of its namespace, whatever the room's `join` rule; `false`: it has
    /// one already.
    pub fn join(&self, room: impl AsRef<str>) -> Asked<bool> {
        self.0.server.room(self.0.io.full_name(room.as_ref())).join(self.id(), ())
    }

    /// Takes its seat in a room away.
    pub fn leave(&self, room: impl AsRef<str>) -> Asked<()> {
        self.0.server.room(self.0.io.full_name(room.as_ref())).leave(self.id(), ())
    }

    /// The rooms that it is in, by full name.
    pub fn rooms(&self) -> Asked<Vec<String>> {
        self.session().rooms()
    }

    /// Ends it: its client hears that the server has disconnected it.
    pub fn disconnect(&self) -> Asked<()> {
        self.session().disconnect()
    }

    /// Keeps something with the socket: one value of each type, in place of an earlier one.
    pub fn set<T: Any + Send + Sync>(&self, value: T) {
        let new: Kept = (TypeId::of::<T>(), Arc::new(value));
        let mut data = self.0.data.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = match data.iter_mut().find(|(kind, _)| *kind == new.0) {
            Some(place) => Some(std::mem::replace(place, new)),
            None => {
                data.push(new);
                None
            }
        };
        drop(data);
        // Only now: it may use the socket when it is dropped.
        drop(earlier);
    }

    /// What was kept of that type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let data = self.0.data.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, value) = data.iter().find(|(kind, _)| *kind == TypeId::of::<T>())?;
        Arc::clone(value).downcast().ok()
    }

    pub(super) fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Waits until what was said to it is on its way, so that an acknowledgement comes behind it:
    /// answers go straight to the session's worker, what handles say may take another first.
    pub(super) async fn settle(&self) {
        if self.0.spoken_to.swap(false, Ordering::AcqRel) {
            // It goes the same way as what was said. A socket that has gone hears nothing anyway.
            _ = self.rooms().await;
        }
    }

    /// Its link is lost and it may come back, or it is back: why it had gone.
    pub(super) fn may_come_back(&self, lost: Option<DisconnectReason>) -> Option<DisconnectReason> {
        std::mem::replace(&mut *self.0.lost.lock().unwrap_or_else(PoisonError::into_inner), lost)
    }

    pub(super) fn is_away(&self) -> bool {
        self.0.lost.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn set_recovered(&self) {
        self.0.recovered.store(true, Ordering::Release);
    }

    fn session(&self) -> SessionHandle {
        self.0.server.session(self.id())
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.id().to_string()).finish()
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Socket {}

/// Why a socket has gone, in Socket.IO's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// Its client said so (`socket.disconnect()`, or `bye`).
    ClientDisconnect,
    /// The server ended it.
    ServerDisconnect,
    /// The server is about to stop.
    ServerShuttingDown,
    /// The client showed no life in time.
    PingTimeout,
    /// The client broke the rules of its protocol.
    ParseError,
    /// The connection is closed by the client, or lost. A client that may resume its session had
    /// its time to, but where `socketio.recovery` has it told at once.
    TransportClose,
}

impl DisconnectReason {
    /// `code`: why the server closed the link; none: the client did, or it broke.
    pub(super) fn of(code: Option<CloseCode>) -> Self {
        match code {
            None => Self::TransportClose,
            Some(CloseCode::Normal) => Self::ClientDisconnect,
            Some(CloseCode::NoPong | CloseCode::Silent) => Self::PingTimeout,
            Some(CloseCode::Drain) => Self::ServerShuttingDown,
            Some(
                CloseCode::Protocol
                | CloseCode::Unsupported
                | CloseCode::InvalidText
                | CloseCode::TooLarge
                | CloseCode::TooManyErrors,
            ) => Self::ParseError,
            Some(_) => Self::ServerDisconnect,
        }
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientDisconnect => "client namespace disconnect",
            Self::ServerDisconnect => "server namespace disconnect",
            Self::ServerShuttingDown => "server shutting down",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::TransportClose => "transport close",
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Said = Result<(roomcast_wire::EventName, Option<Payload>), String>;

pub(super) fn said(event: impl IntoEvent, args: impl IntoArgs) -> Said {
    let event = event.into_event()?;
    if socketio::is_reserved(&event) {
        return Err(format!("`{event}` is an event of the client libraries: choose another name"));
    }
    Ok((event, Some(args.into_args()?.into_payload()?)))
}

/// What a client is to acknowledge. Await it.
#[derive(Debug)]
#[must_use = "nothing is said before it is awaited"]
pub struct Asking {
    pub(super) socket: SessionHandle,
    pub(super) said: Said,
    pub(super) timeout: Duration,
}

impl Asking {
    /// How long to wait: 1 ms to 1 hour.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl IntoFuture for Asking {
    type Output = Result<Args, CallError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (event, data) = self.said.map_err(CallError::unsayable)?;
            let answer = self.socket.call(event, data, self.timeout).await?;
            Ok(Args::read_from(answer))
        })
    }
}

/// The way back to who emitted an event with an acknowledgement. One that is dropped without a
/// word acknowledges without arguments.
#[derive(Debug)]
pub struct Ack(Option<oneshot::Sender<Result<Args, String>>>);

impl Ack {
    pub(super) fn new(way: Option<oneshot::Sender<Result<Args, String>>>) -> Self {
        Self(way)
    }

    /// Whether anybody waits for it.
    pub fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Acknowledges; nothing happens if nobody waits, or not any more.
    pub fn send(self, args: impl IntoArgs) {
        if let Some(way) = self.0 {
            // The server may have given up on the handler.
            _ = way.send(args.into_args());
        }
    }
}

impl ServerHandle {
    /// Says something to one session without waiting for what becomes of it.
    pub(super) fn send_to(
        &self,
        session: SessionId,
        event: impl IntoEvent,
        args: impl IntoArgs,
        reliable: bool,
    ) -> Result<(), CallError> {
        let (event, data) = said(event, args).map_err(CallError::unsayable)?;
        let call = ServerCall::Send { session, event, data, reliable };
        self.ask(Ok(call), |_| Some(())).let_go()
    }
}
