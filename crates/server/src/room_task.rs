//! Rooms for people who think in tasks: an async function for each room, which takes what happens
//! from a queue and answers through a handle. A [`RoomLogic`] fills the queue.

use std::any::Any;
use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast_wire::push::{ClosedReason, LeaveReason, MemberInfo, Sender};
use roomcast_wire::{ErrorCode, EventName, Payload, Refusal};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::builder::Builder;
use crate::handle::{RoomHandle, ServerHandle};

/// Events that may wait for a task before members are told to come again.
const EVENTS_MAX: usize = 1_024;

/// Room in the queue beyond [`EVENTS_MAX`] for what cannot be refused: who left, dropped, resumed.
const RESERVE: usize = 1_024;

/// When a member that was told to come again does so, in milliseconds.
const RETRY_MS: u64 = 500;

/// How long a task may go on after its room has ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// The room of a task: what happens in it, and, as a [`RoomHandle`], what may be done to it. That
/// handle, and its clones, are for this room only: when it has ended, all is
/// [`Absent`](crate::CallError::Absent), though there may be another room of its name.
///
/// ```
/// use roomcast::{Config, RoomEvent, RoomTask, Server};
///
/// async fn parrot(mut room: RoomTask) {
///     while let Some(event) = room.next().await {
///         if let RoomEvent::Message(said) = event {
///             drop(room.publish(&said.event, said.payload)); // it need not be waited for
///             drop(room.server().room("log").publish("parroted", ()));
///         }
///     }
/// }
///
/// let rooms = "listen = ['tcp://127.0.0.1:0']\n[rooms]\nlogic = 'parrot'\n";
/// let server = Server::builder()
///     .config(Config::from_toml(rooms, "rooms.toml")?)
///     .room_task("parrot", parrot)
///     .start()?;
/// # server.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RoomTask {
    handle: RoomHandle,
    server: ServerHandle,
    events: mpsc::Receiver<RoomEvent>,
    tick_waits: Arc<AtomicBool>,
}

/// What happens in a room. See [`RoomTask`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub enum RoomEvent {
    /// A member said something. Nobody else has heard it: the task says what they hear.
    Message(Said),
    /// Somebody took a seat.
    Joined(MemberInfo),
    /// A member's link was lost; its seat is kept for a while.
    Dropped(MemberInfo),
    /// A member is back.
    Resumed(MemberInfo),
    /// A member is gone for good.
    Left(MemberInfo, LeaveReason),
    /// The room's clock (option `tick_ms`). A tick that comes while one waits is skipped, which
    /// the number shows.
    Tick(u64),
    /// The room has ended; nothing comes after this.
    Closing(ClosedReason),
}

/// What a member said. See [`RoomTask`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Who.
    pub from: Arc<Sender>,
    /// What it is called.
    pub event: EventName,
    /// What it says.
    pub payload: Option<Payload>,
    /// `false`: the member would not mind if it were lost.
    pub reliable: bool,
}

impl Said {
    /// The event's name, if it is a word.
    pub fn name(&self) -> Option<&str> {
        self.event.as_text()
    }

    /// What it says, as a type of the application's. Without data: what `null` is read as.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match &self.payload {
            Some(payload) => payload.read(),
            None => T::deserialize(serde_json::Value::Null),
        }
    }
}

impl RoomTask {
    /// What happens next; none when the room has ended. A future that is dropped before it is
    /// ready has taken nothing, so it may stand in `tokio::select!` and `tokio::time::timeout`:
    /// that is how a task has timers.
    pub async fn next(&mut self) -> Option<RoomEvent> {
        let event = self.events.recv().await;
        if let Some(RoomEvent::Tick(_)) = event {
            self.tick_waits.store(false, Ordering::Release);
        }
        event
    }

    /// The server that the room is in.
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }
}

impl Deref for RoomTask {
    type Target = RoomHandle;

    fn deref(&self) -> &RoomHandle {
        &self.handle
    }
}

impl Builder {
    /// Adds a room logic in the form of a task: `run` is called for each room whose options name
    /// it, and what it gives is run until the room ends.
    ///
    /// - What members publish goes to the task and to nobody else; the task says what is heard.
    /// - A task that returns closes its room (`ended`); one that panics closes it, too (`failed`).
    ///   Static rooms are made anew when somebody comes.
    /// - When the room ends otherwise, the task gets [`RoomEvent::Closing`] and then none; it is
    ///   dropped 5 seconds later, wherever it is.
    /// - A task that falls behind by 1,024 events has its members refused with
    ///   `rate_limited` until it has caught up; one that is so far behind that there is no room
    ///   for leavings and losses either has failed, and its room is closed.
    /// - All tasks of a server share one thread, so that they must not block.
    ///
    /// A task cannot refuse a seat or an event, because it hears of them afterwards: that is what
    /// hooks are for, or [`Builder::logic`].
    ///
    /// ```
    /// use roomcast::{RoomEvent, RoomTask};
    ///
    /// async fn echo(mut room: RoomTask) {
    ///     while let Some(event) = room.next().await {
    ///         match event {
    ///             RoomEvent::Joined(member) => {
    ///                 drop(room.tell(&[member.sender.session], "welcome", ()));
    ///             }
    ///             RoomEvent::Message(said) => {
    ///                 drop(room.publish_from(&said.from, &said.event, said.payload));
    ///             }
    ///             _ => {}
    ///         }
    ///     }
    /// }
    ///
    /// let server = roomcast::Server::builder()
    ///     .listen("ws://127.0.0.1:0")
    ///     .room_task("echo", echo)
    ///     .start()?;
    /// # drop(server);
    /// # Ok::<(), roomcast::StartError>(())
    /// ```
    pub fn room_task<F, A>(self, name: &str, run: F) -> Self
    where
        F: Fn(RoomTask) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let server = Arc::clone(&self.running);
        let run: Run = Arc::new(move |room| Box::pin(run(room)));
        self.logic(name, move |_| Tasked {
            server: Arc::clone(&server),
            run: Arc::clone(&run),
            queue: None,
        })
    }
}

/// Makes the future of a room.
type Run =
    Arc<dyn Fn(RoomTask) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The logic of a room that has a task.
struct Tasked {
    /// Set before the first room is made.
    server: Arc<OnceLock<ServerHandle>>,
    run: Run,
    queue: Option<Queue>,
}

/// The way to a room's task.
struct Queue {
    events: mpsc::Sender<RoomEvent>,
    tick_waits: Arc<AtomicBool>,
    /// Dropped with the room.
    _room: oneshot::Sender<()>,
}

impl Queue {
    /// Puts in what may be refused.
    fn offer(&self, event: impl FnOnce() -> RoomEvent) -> Result<(), Refusal> {
        if self.events.capacity() <= RESERVE {
            return Err(Refusal {
                code: ErrorCode::RateLimited,
                message: format!("{EVENTS_MAX} events wait for the room's task").into(),
                retry_ms: Some(RETRY_MS),
            });
        }
        self.put(event());
        Ok(())
    }

    /// Puts in what cannot be refused. A task that has returned hears nothing more.
    fn put(&self, event: RoomEvent) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event) {
            panic!("the room's task is more than {} events behind", EVENTS_MAX + RESERVE);
        }
    }
}

impl RoomLogic for Tasked {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        let Some(server) = self.server.get().cloned() else { return };
        let (sender, events) = mpsc::channel(EVENTS_MAX + RESERVE);
        let (open, closed) = oneshot::channel();
        let tick_waits = Arc::new(AtomicBool::new(false));
        self.queue =
            Some(Queue { events: sender, tick_waits: Arc::clone(&tick_waits), _room: open });
        let handle = server.room(ctx.room()).within(ctx.life());
        let task = (self.run)(RoomTask { handle, server, events, tick_waits });
        // Nothing else calls, so there is always a place.
        _ = ctx.call(0, until_closed(task, closed));
    }

    fn on_join(&mut self, _: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        self.queue
            .as_ref()
            .map_or(Ok(()), |queue| queue.offer(|| RoomEvent::Joined(member.clone())))
    }

    fn on_event(&mut self, _: &mut RoomCtx<'_>, event: &LogicEvent<'_>) -> Result<Relay, Refusal> {
        if let Some(queue) = &self.queue {
            queue.offer(|| {
                RoomEvent::Message(Said {
                    from: Arc::clone(event.from),
                    event: event.name.clone(),
                    payload: event.payload.map(Payload::detached),
                    reliable: event.reliable,
                })
            })?;
        }
        Ok(Relay::Nothing)
    }

    fn on_drop(&mut self, _: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.put(RoomEvent::Dropped(member.clone()));
    }

    fn on_resume(&mut self, _: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.put(RoomEvent::Resumed(member.clone()));
    }

    fn on_leave(&mut self, _: &mut RoomCtx<'_>, member: &MemberInfo, reason: LeaveReason) {
        self.put(RoomEvent::Left(member.clone(), reason));
    }

    fn on_tick(&mut self, _: &mut RoomCtx<'_>, tick: u64) {
        let Some(queue) = &self.queue else { return };
        if !queue.tick_waits.swap(true, Ordering::AcqRel) {
            queue.put(RoomEvent::Tick(tick));
        }
    }

    /// The task has returned.
    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, _: u64, _: Box<dyn Any + Send>) {
        ctx.close();
    }

    fn on_close(&mut self, _: &mut RoomCtx<'_>, reason: ClosedReason) {
        // A task whose queue is full hears of the end by the end of the queue.
        if let Some(queue) = &self.queue {
            _ = queue.events.try_send(RoomEvent::Closing(reason));
        }
    }
}

impl Tasked {
    fn put(&self, event: RoomEvent) {
        if let Some(queue) = &self.queue {
            queue.put(event);
        }
    }
}

/// Runs a room's task to its end, or until it has had its time after the room's end.
async fn until_closed(task: impl Future<Output = ()>, closed: oneshot::Receiver<()>) {
    let gone = async {
        // Nobody ever sends: the other end goes with the room.
        _ = closed.await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = task => {}
        () = gone => tracing::warn!("a room's task did not end with its room; it is dropped"),
    }
}
