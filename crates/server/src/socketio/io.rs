//! Sockets of a namespace: all of them, or some.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use roomcast_core::logic::IntoEvent;
use roomcast_core::{Act, ServerCall};
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::push::Sender;
use roomcast_wire::{EventName, Payload, SessionId};

use super::Sockets;
use super::args::{Args, IntoArgs};
use super::socket::{Socket, said};
use crate::handle::{CallError, RoomHandle, ServerHandle};

/// Sockets of a namespace: all of them, until [`to`](Io::to) and [`except`](Io::except) choose
/// some. [`ServerHandle::socketio`] and [`Socket::io`] give it.
///
/// ```
/// use roomcast::Server;
/// use roomcast::socketio::SocketIo;
///
/// let server = Server::builder()
///     .listen("ws://127.0.0.1:0")
///     .socketio(SocketIo::new().namespace("/chat", |_| {}))
///     .start()?;
/// let chat = server.handle().socketio("/chat").ok_or("there is no /chat")?;
/// chat.emit("news", "open")?; // to everybody
/// chat.to("tea").to("cake").except("diet").emit("sale", ("now", 3))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Io {
    server: ServerHandle,
    sockets: Arc<Sockets>,
    /// The server's name of the namespace.
    namespace: Arc<str>,
    /// Whose word it is, who does not hear it.
    from: Option<Arc<Sender>>,
    only: Option<SessionId>,
    rooms: Vec<String>,
    except: Vec<String>,
    reliable: bool,
}

/// What sockets acknowledged.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Acks {
    /// Who answered in time, and what.
    pub answers: Vec<(SessionId, Args)>,
    /// Who did not: too late, gone, or a client that cannot answer.
    pub missing: Vec<SessionId>,
}

impl Io {
    pub(crate) fn new(
        server: ServerHandle,
        sockets: Arc<Sockets>,
        namespace: &str,
    ) -> Option<Self> {
        let namespace = sockets.space(namespace)?;
        Some(Self::of_space(server, sockets, namespace))
    }

    pub(super) fn of_space(
        server: ServerHandle,
        sockets: Arc<Sockets>,
        namespace: Arc<str>,
    ) -> Self {
        let (from, only, rooms, except) = (None, None, Vec::new(), Vec::new());
        Self { server, sockets, namespace, from, only, rooms, except, reliable: true }
    }

    pub(super) fn of_sender(&self, sender: &Arc<Sender>) -> Self {
        Self { from: Some(Arc::clone(sender)), ..self.clone() }
    }

    pub(super) fn only(&self, session: SessionId) -> Self {
        Self { only: Some(session), ..self.clone() }
    }

    /// Another namespace: all sockets of it.
    pub fn of(&self, namespace: &str) -> Option<Self> {
        Self::new(self.server.clone(), Arc::clone(&self.sockets), namespace)
    }

    /// Chooses those in a room, or the socket of that id; a second one adds to the first.
    #[must_use]
    pub fn to(&self, room: impl Into<String>) -> Self {
        let mut chosen = self.clone();
        chosen.rooms.push(room.into());
        chosen
    }

    /// Leaves out those in a room, or the socket of that id.
    #[must_use]
    pub fn except(&self, room: impl Into<String>) -> Self {
        let mut chosen = self.clone();
        chosen.except.push(room.into());
        chosen
    }

    /// What is said may be dropped for those who take nothing at the moment.
    #[must_use]
    pub fn volatile(&self) -> Self {
        Self { reliable: false, ..self.clone() }
    }

    /// Says something to them. In one room it is an event of that room, with its place in the
    /// order and in the history; what several rooms or exceptions choose has none. Who is chosen so
    /// is looked up, so that it may be overtaken by what is said later.
    ///
    /// # Errors
    /// The event's name or an argument cannot be used, or as many calls wait as may
    /// ([`CallError::Busy`]). That nobody is there is no error.
    pub fn emit(&self, event: impl IntoEvent, args: impl IntoArgs) -> Result<(), CallError> {
        let (event, data) = said(event, args).map_err(CallError::unsayable)?;
        if let Some(session) = self.only {
            return self.send(session, event, data);
        }
        match (self.rooms.as_slice(), self.except.is_empty()) {
            ([], true) => self.broadcast(event, data),
            ([room], true) => self.publish(room, event, data),
            _ => {
                let chosen = self.clone();
                self.server.run(async move {
                    if let Err(error) = chosen.send_each(event, data).await {
                        tracing::warn!(%error, "an event for several rooms has not reached all");
                    }
                });
                Ok(())
            }
        }
    }

    async fn send_each(&self, event: EventName, data: Option<Payload>) -> Result<(), CallError> {
        for socket in self.chosen().await? {
            self.send(socket.id(), event.clone(), data.clone())?;
        }
        Ok(())
    }

    /// Says something to each of them and waits at most `timeout` (1 ms to 1 hour) for their
    /// acknowledgements.
    ///
    /// # Errors
    /// The event's name or an argument cannot be used, or the rooms cannot be looked up.
    pub async fn emit_with_ack(
        &self,
        event: impl IntoEvent,
        args: impl IntoArgs,
        timeout: Duration,
    ) -> Result<Acks, CallError> {
        let (event, data) = said(event, args).map_err(CallError::unsayable)?;
        // Each is asked at once; then they are waited for, whichever comes first.
        let asked: Vec<_> = (self.sockets().await?.iter().map(Socket::id))
            .map(|id| (id, self.server.session(id).call(event.clone(), data.clone(), timeout)))
            .collect();
        let mut acks = Acks::default();
        for (id, answer) in asked {
            match answer.await {
                Ok(answer) => acks.answers.push((id, Args::read_from(answer))),
                Err(_) => acks.missing.push(id),
            }
        }
        Ok(acks)
    }

    /// They, one by one, without those that have lost their connection and may come back to it
    /// (`socketio.recovery`).
    ///
    /// # Errors
    /// The rooms cannot be looked up.
    pub async fn sockets(&self) -> Result<Vec<Socket>, CallError> {
        let mut chosen = self.chosen().await?;
        if self.sockets.recovers() {
            chosen.retain(|socket| !socket.is_away());
        }
        Ok(chosen)
    }

    async fn chosen(&self) -> Result<Vec<Socket>, CallError> {
        let mut chosen = match (self.only, self.rooms.is_empty()) {
            (Some(session), _) => self.sockets.get(session).into_iter().collect(),
            (None, true) => self.sockets.of(&self.namespace),
            (None, false) => self.in_rooms(&self.rooms).await?,
        };
        let mut out: HashSet<_> = self.from.iter().map(|from| from.session).collect();
        out.extend(self.in_rooms(&self.except).await?.iter().map(Socket::id));
        chosen.retain(|socket| out.insert(socket.id()));
        Ok(chosen)
    }

    /// Gives them seats in a room; how many had none.
    ///
    /// # Errors
    /// The rooms cannot be looked up.
    pub async fn join(&self, room: &str) -> Result<usize, CallError> {
        let mut new = 0;
        for socket in self.chosen().await? {
            // Who has gone meanwhile, or is in too many rooms, stays out.
            new += usize::from(socket.join(room).await.unwrap_or(false));
        }
        Ok(new)
    }

    /// Takes their seats in a room away.
    ///
    /// # Errors
    /// The rooms cannot be looked up.
    pub async fn leave(&self, room: &str) -> Result<(), CallError> {
        for socket in self.chosen().await? {
            // Who is not in it need not leave it.
            _ = socket.leave(room).await;
        }
        Ok(())
    }

    /// Ends them.
    ///
    /// # Errors
    /// The rooms cannot be looked up.
    pub async fn disconnect(&self) -> Result<(), CallError> {
        for socket in self.chosen().await? {
            // It may have gone by itself.
            _ = socket.disconnect().await;
        }
        Ok(())
    }

    /// A room's full name.
    pub(super) fn full_name(&self, room: &str) -> String {
        format!("{}/{room}", self.namespace)
    }

    /// A room of the namespace, for what rooms have beside their members: history, options.
    pub fn room(&self, room: &str) -> RoomHandle {
        self.server.room(self.full_name(room))
    }

    /// The socket that a room's name means, as in Socket.IO every socket is in a room of its id.
    fn socket_of(&self, room: &str) -> Option<Socket> {
        let socket = room.parse().ok().and_then(|id| self.sockets.get(id))?;
        (socket.namespace() == &*self.namespace).then_some(socket)
    }

    async fn in_rooms(&self, rooms: &[String]) -> Result<Vec<Socket>, CallError> {
        let mut found = Vec::new();
        for room in rooms {
            if let Some(socket) = self.socket_of(room) {
                found.push(socket);
                continue;
            }
            match self.room(room).members().await {
                Ok(members) if members.truncated => found.extend(self.seated_in(room).await?),
                Ok(members) => {
                    let sessions = members.members.iter().map(|member| member.sender.session);
                    found.extend(sessions.filter_map(|session| self.sockets.get(session)));
                }
                Err(CallError::Absent(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Asks each socket where it is, as the list of a room's members has a bound.
    async fn seated_in(&self, room: &str) -> Result<Vec<Socket>, CallError> {
        let full_name = match &*self.namespace {
            DEFAULT_NAMESPACE => room.to_owned(),
            _ => self.full_name(room),
        };
        let mut found = Vec::new();
        for socket in self.sockets.of(&self.namespace) {
            match socket.rooms().await {
                Ok(rooms) if rooms.contains(&full_name) => found.push(socket),
                Ok(_) | Err(CallError::Absent(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn send(
        &self,
        session: SessionId,
        event: EventName,
        data: Option<Payload>,
    ) -> Result<(), CallError> {
        self.tell(ServerCall::Send { session, event, data, reliable: self.reliable })
    }

    fn broadcast(&self, event: EventName, data: Option<Payload>) -> Result<(), CallError> {
        let (namespace, from) = (self.namespace.to_string(), self.from.clone());
        let reliable = self.reliable;
        self.tell(ServerCall::Broadcast { namespace, event, data, from, reliable })
    }

    fn publish(
        &self,
        room: &str,
        event: EventName,
        data: Option<Payload>,
    ) -> Result<(), CallError> {
        if let Some(socket) = self.socket_of(room) {
            return self.send(socket.id(), event, data);
        }
        let (room, reliable) = (self.full_name(room), self.reliable);
        self.tell(match &self.from {
            None => ServerCall::Publish { room, event, data, from: None, reliable, key: None },
            Some(from) => {
                let act = Act::Publish { event, data, reliable, echo: Some(false), key: None };
                ServerCall::Act { room, session: from.session, act }
            }
        })
    }

    fn tell(&self, call: ServerCall) -> Result<(), CallError> {
        self.server.ask(Ok(call), |_| Some(())).let_go()
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, rooms, except, .. } = self;
        let mut io = f.debug_struct("Io");
        io.field("namespace", namespace).field("rooms", rooms).field("except", except).finish()
    }
}
