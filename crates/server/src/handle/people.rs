//! Sessions, users and namespaces in the hands of the embedding program.

use std::time::Duration;

use roomcast_core::logic::{IntoData, IntoEvent};
use roomcast_core::{ServerCall, ServerReply};
use roomcast_wire::{ErrorCode, Name, Payload, Refusal, SessionId};

use super::{Asked, RoomHandle, Rooms, ServerHandle, done, reached, said};

/// One session in the hands of the embedding program.
///
/// ```
/// # let server = roomcast::Server::builder().listen("tcp://127.0.0.1:0").start()?;
/// let handle = server.handle();
/// let id: roomcast::SessionId = "AAAAAAAAAAAAAAAAAAAAAA".parse()?; // from an event, say
/// if let Err(error) = handle.session(id).send("hint", "your turn").wait() {
///     eprintln!("not sent: {error}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SessionHandle {
    pub(super) server: ServerHandle,
    pub(super) id: SessionId,
}

/// A user in the hands of the embedding program: all sessions that have its name.
///
/// ```
/// # let server = roomcast::Server::builder().listen("tcp://127.0.0.1:0").start()?;
/// match server.handle().user("mina").send("mail", "3 new ones").wait() {
///     Ok(sessions) => println!("told to {sessions} sessions"),
///     Err(error) => println!("she is not there: {error}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct UserHandle {
    server: ServerHandle,
    namespace: String,
    name: String,
}

/// A namespace in the hands of the embedding program.
///
/// ```
/// let toml = "listen = [\"ws://127.0.0.1:0\"]\n[namespaces.game]\n";
/// let config = roomcast::Config::from_toml(toml, "example")?;
/// let server = roomcast::Server::builder().config(config).start()?;
/// let game = server.handle().namespace("game");
/// game.room("table-1").create(roomcast::RoomOptions::default()).wait()?;
/// assert_eq!(game.rooms().wait()?.rooms[0].room, "game/table-1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct NamespaceHandle {
    pub(super) server: ServerHandle,
    pub(super) name: String,
}

impl SessionHandle {
    /// Which session it is.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Tells it something; it has no sender and belongs to no room. A session whose link is lost
    /// is [`Absent`](super::CallError::Absent).
    pub fn send(&self, event: impl IntoEvent, data: impl IntoData) -> Asked<()> {
        let session = self.id;
        let call = said(event, data).map(|(event, data)| ServerCall::Send {
            session,
            event,
            data,
            reliable: true,
        });
        self.server.ask(call, done)
    }

    /// Asks its client for something, and waits at most `timeout` (1 ms to 1 hour) for what it
    /// answers. Refused with `no_such_target` if the session has no link, or loses it meanwhile;
    /// with `call_timeout` if its client does not answer; with `refused` and the client's words if
    /// it says that nothing came of it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use roomcast::{Server, testing};
    ///
    /// let server = testing::Server::start(Server::builder())?;
    /// let mut anna = server.client("Anna");
    /// let session = server.handle().session(anna.session());
    /// let where_are_you = session.call("where", (), Duration::from_secs(5));
    /// server.advance(Duration::ZERO); // to its client
    /// let asked = anna.expect("call");
    /// anna.say(serde_json::json!({ "type": "result", "id": asked["id"], "data": "at home" }));
    /// let answer = server.run(where_are_you)?.ok_or("no word")?;
    /// assert_eq!(answer.read::<String>()?, "at home");
    /// server.run(session.disconnect())?;
    /// assert!(!anna.is_connected());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn call(
        &self,
        call: impl IntoEvent,
        data: impl IntoData,
        timeout: Duration,
    ) -> Asked<Option<Payload>> {
        let (session, timeout_ms) = (self.id, timeout.as_millis() as u64);
        let asked = said(call, data).map(|(call, data)| ServerCall::Ask {
            session,
            call,
            data,
            timeout_ms,
        });
        self.server.ask(asked, |reply| match reply {
            ServerReply::Answered(data) => Some(data),
            _ => None,
        })
    }

    /// Ends it: its link is closed with `disconnected`, and it cannot be resumed.
    pub fn disconnect(&self) -> Asked<()> {
        self.server.ask(Ok(ServerCall::Disconnect { session: self.id }), done)
    }

    /// The rooms it is in, by full name.
    pub fn rooms(&self) -> Asked<Vec<String>> {
        self.server.ask(Ok(ServerCall::Seats { session: self.id }), |reply| match reply {
            ServerReply::Seats(rooms) => Some(rooms),
            _ => None,
        })
    }
}

impl UserHandle {
    /// Tells every session of the user something; how many have a link and were told.
    pub fn send(&self, event: impl IntoEvent, data: impl IntoData) -> Asked<u32> {
        let namespace = self.namespace.clone();
        let user = Name::new(&self.name).map_err(|error| {
            Refusal::new(ErrorCode::InvalidName, format!("user {:?}: {error}", self.name))
        });
        let call = user.and_then(|user| {
            let (event, data) = said(event, data)?;
            Ok(ServerCall::SendToUser { namespace, user, event, data })
        });
        self.server.ask(call, reached)
    }
}

impl NamespaceHandle {
    /// Tells every session of the namespace something; how many were told.
    pub fn broadcast(&self, event: impl IntoEvent, data: impl IntoData) -> Asked<u32> {
        let namespace = self.name.clone();
        let call = said(event, data).map(|(event, data)| ServerCall::Broadcast {
            namespace,
            event,
            data,
            from: None,
            reliable: true,
        });
        self.server.ask(call, reached)
    }

    /// Its rooms.
    pub fn rooms(&self) -> Asked<Rooms> {
        let call = ServerCall::Rooms { namespace: self.name.clone() };
        self.server.ask(Ok(call), |reply| match reply {
            ServerReply::Rooms { rooms, truncated } => Some(Rooms { rooms, truncated }),
            _ => None,
        })
    }

    /// A room in it.
    pub fn room(&self, name: impl AsRef<str>) -> RoomHandle {
        self.server.room(format!("{}/{}", self.name, name.as_ref()))
    }

    /// A user in it, with all sessions that they have.
    pub fn user(&self, name: impl Into<String>) -> UserHandle {
        let (server, namespace) = (self.server.clone(), self.name.clone());
        UserHandle { server, namespace, name: name.into() }
    }
}
