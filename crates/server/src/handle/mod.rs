//! The way into a running server for the program that embeds it.
//!
//! | file | what |
//! |---|---|
//! | `asked.rs` | [`Asked`]: the answer on its way; [`CallError`] |
//! | `room.rs` | [`RoomHandle`] |
//! | `workers.rs` | what a handle of a running server speaks to |
//! | `people.rs` | [`SessionHandle`], [`UserHandle`], [`NamespaceHandle`] |

mod asked;
mod people;
mod room;
mod workers;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use roomcast_core::logic::{IntoData, IntoEvent};
use roomcast_core::{Counters, ServerCall, ServerReply};
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::{EventName, Payload, Refusal, SessionId};
use tokio::sync::oneshot;

pub use self::asked::{Asked, CallError};
pub use self::people::{NamespaceHandle, SessionHandle, UserHandle};
pub use self::room::{History, Members, Presence, RoomHandle, Rooms};
pub(crate) use self::workers::Workers;
use crate::hooks::Events;
use crate::socketio::{Io, Sockets};

/// The way into a running server for the program that embeds it: cheap to clone, and to be used
/// from any thread or task. What is asked is asked at once; the [`Asked`] it gives can be awaited,
/// waited for, or dropped. What one thread asks of one room is done in that order, but
/// for `join` and `leave`: they go by way of the session, so await them before you ask for what has
/// to come after. While 65,536 wait for a worker, more are refused ([`CallError::Busy`]).
///
/// ```
/// let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").start()?;
/// let handle = server.handle();
/// handle.room("lobby").create(roomcast::RoomOptions::default()).wait()?;
/// assert_eq!(handle.rooms().wait()?.rooms[0].room, "lobby");
/// assert_eq!(handle.namespace("default").broadcast("news", "hi all").wait()?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ServerHandle {
    hub: Arc<dyn Hub>,
}

/// What a handle speaks to: the workers of a server, or a server on a virtual clock.
pub(crate) trait Hub: Send + Sync {
    /// Has something done. `reply` is dropped if nobody is left to do it.
    fn call(&self, call: ServerCall, reply: oneshot::Sender<ServerReply>);

    /// What all shards have counted.
    fn counters(&self) -> Counters;

    /// What happens from now on; none if no events are kept.
    fn events(&self) -> Option<Events>;

    /// Who speaks Socket.IO's way; none if no such namespaces were said.
    fn sockets(&self) -> Option<Arc<Sockets>>;

    /// Carries out the application's code. What needs not wait is done when this returns; else it
    /// goes on beside the workers.
    fn run(&self, code: Code);
}

/// The application's code on its way.
pub(crate) type Code = Pin<Box<dyn Future<Output = ()> + Send>>;

impl ServerHandle {
    pub(crate) fn new(hub: Arc<dyn Hub>) -> Self {
        Self { hub }
    }

    /// A room, whether it is there or not: `lobby`, or `game/lobby` in another namespace.
    pub fn room(&self, name: impl Into<String>) -> RoomHandle {
        RoomHandle { server: self.clone(), name: name.into(), life: None }
    }

    /// A session, whatever its namespace.
    pub fn session(&self, id: SessionId) -> SessionHandle {
        SessionHandle { server: self.clone(), id }
    }

    /// A user of the default namespace, with all sessions that they have.
    pub fn user(&self, name: impl Into<String>) -> UserHandle {
        self.namespace(DEFAULT_NAMESPACE).user(name)
    }

    /// A namespace.
    pub fn namespace(&self, name: impl Into<String>) -> NamespaceHandle {
        NamespaceHandle { server: self.clone(), name: name.into() }
    }

    /// The rooms of the default namespace.
    pub fn rooms(&self) -> Asked<Rooms> {
        self.namespace(DEFAULT_NAMESPACE).rooms()
    }

    /// What the hub has counted. Each worker publishes its counters at the end of a turn.
    pub fn counters(&self) -> Counters {
        self.hub.counters()
    }

    /// What happens from now on, as a stream. None if the server keeps no events: see
    /// [`Builder::events`](crate::Builder::events).
    pub fn events(&self) -> Option<Events> {
        self.hub.events()
    }

    /// The sockets of a Socket.IO namespace (`/`, `/chat`). None: [`SocketIo`] was told of no
    /// such namespace.
    ///
    /// [`SocketIo`]: crate::socketio::SocketIo
    pub fn socketio(&self, namespace: &str) -> Option<Io> {
        Io::new(self.clone(), self.hub.sockets()?, namespace)
    }

    /// Carries out the application's code: see [`Hub::run`].
    pub(crate) fn run(&self, code: impl Future<Output = ()> + Send + 'static) {
        self.hub.run(Box::pin(code));
    }

    /// Asks, and gives the reply as it is. Its sender is dropped if nobody is left to reply.
    pub(crate) fn call(&self, call: ServerCall) -> oneshot::Receiver<ServerReply> {
        let (reply, answer) = oneshot::channel();
        self.hub.call(call, reply);
        answer
    }

    pub(crate) fn ask<T>(
        &self,
        call: Result<ServerCall, Refusal>,
        read: fn(ServerReply) -> Option<T>,
    ) -> Asked<T> {
        Asked::new(&*self.hub, call, read)
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").finish_non_exhaustive()
    }
}

/// What is said: an event's name and data.
fn said(
    event: impl IntoEvent,
    data: impl IntoData,
) -> Result<(EventName, Option<Payload>), Refusal> {
    let name = event.into_event().map_err(CallError::invalid)?;
    Ok((name, data.into_data().map_err(CallError::invalid)?))
}

fn done(reply: ServerReply) -> Option<()> {
    matches!(reply, ServerReply::Done | ServerReply::Reached(_)).then_some(())
}

pub(crate) fn reached(reply: ServerReply) -> Option<u32> {
    match reply {
        ServerReply::Reached(count) => Some(count),
        _ => None,
    }
}
