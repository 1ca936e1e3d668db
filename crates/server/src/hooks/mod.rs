//! The application's own code around commands: before they are carried out, and after.
//! `docs/hooks.md` says when each is asked and what it may change.
//!
//! | file | what |
//! |---|---|
//! | `calls.rs` | handlers of the application's own commands |
//! | `chain.rs` | the hooks before a command, one after the other |
//! | `events.rs` | after-hooks and streams |

mod calls;
mod chain;
mod events;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use roomcast_core::event::{
    Connected, Disconnected, MemberJoined, MemberLeft, Published, Refused, RoomClosed, RoomCreated,
    SlowMember,
};
use roomcast_core::hook::{Connect, Create, Join, Leave, Publish, Refresh};
use roomcast_core::{HookMask, HubEvent, Question, Verdict};
use roomcast_wire::Refusal;
use tokio::sync::broadcast;

pub use self::calls::Answer;
use self::calls::Handlers;
use self::chain::Hook;
pub(crate) use self::chain::Running;
use self::events::Ears;
pub use self::events::{Events, Heard};
use crate::builder::Builder;
use crate::config::Problem;
use crate::handle::ServerHandle;
use crate::socketio::{SocketIo, Sockets};

/// All hooks of one server, each chain in the order of registration.
#[derive(Default)]
pub(crate) struct Hooks {
    connect: Vec<Hook<Connect>>,
    create: Vec<Hook<Create>>,
    join: Vec<Hook<Join>>,
    leave: Vec<Hook<Leave>>,
    publish: Vec<Hook<Publish>>,
    refresh: Vec<Hook<Refresh>>,
    handlers: Handlers,
    ears: Ears,
    /// Whose handlers answer what `handlers` do not.
    sockets: Option<Arc<Sockets>>,
}

impl Hooks {
    /// Which commands the hub asks about.
    pub(crate) fn mask(&self) -> HookMask {
        let bits = [
            (HookMask::CONNECT, self.connect.is_empty()),
            (HookMask::CREATE, self.create.is_empty()),
            (HookMask::JOIN, self.join.is_empty()),
            (HookMask::LEAVE, self.leave.is_empty()),
            (HookMask::PUBLISH, self.publish.is_empty()),
            (HookMask::REFRESH, self.refresh.is_empty()),
        ];
        let wanted = bits.into_iter().filter(|(_, is_empty)| !is_empty);
        wanted.fold(HookMask::NONE, |mask, (bit, _)| mask | bit)
    }

    /// Whether the hub tells what happens.
    pub(crate) fn wants_events(&self) -> bool {
        self.ears.is_wanted() || self.sockets.is_some()
    }

    /// Asks the hooks of a question's chain. Nothing happens before the first poll.
    pub(crate) fn ask(self: &Arc<Self>, question: Question) -> Running<Verdict> {
        Running::new(chain::decide(Arc::clone(self), question), Verdict::Refuse)
    }

    /// What one worker tells what happens.
    pub(crate) fn voice(self: &Arc<Self>) -> Voice {
        Voice { stream: self.ears.speaker(), hooks: Arc::clone(self) }
    }

    /// A stream of what happens from now on; none if the server keeps no events.
    pub(crate) fn listen(&self) -> Option<Events> {
        self.ears.listen()
    }

    /// The server has started. `recovers`: see [`Sockets::open`].
    pub(crate) fn open(&self, server: &ServerHandle, recovers: bool) {
        if let Some(sockets) = &self.sockets {
            sockets.open(server, recovers);
        }
    }

    pub(crate) fn sockets(&self) -> Option<Arc<Sockets>> {
        self.sockets.clone()
    }

    /// The server has ended: so do the streams.
    pub(crate) fn close(&self) {
        self.ears.close();
        if let Some(sockets) = &self.sockets {
            sockets.close();
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.wants_events();
        f.debug_struct("Hooks").field("mask", &self.mask()).field("events", &events).finish()
    }
}

/// Tells what happens. Each worker has its own.
pub(crate) struct Voice {
    stream: Option<broadcast::Sender<Arc<HubEvent>>>,
    hooks: Arc<Hooks>,
}

impl Voice {
    /// Tells after-hooks, then streams.
    pub(crate) fn tell(&self, event: HubEvent) {
        self.hooks.ears.tell_after(&event);
        if let Some(sockets) = &self.hooks.sockets {
            sockets.hear(&event);
        }
        // Nothing is copied for nobody.
        if let Some(stream) = self.stream.as_ref().filter(|stream| stream.receiver_count() > 0) {
            _ = stream.send(Arc::new(events::detached(event)));
        }
    }
}

macro_rules! before {
    ($($(#[$doc:meta])* $chain:ident, $question:ident, $sync:ident, $async:ident;)*) => {
        /// Hooks before commands. Each chain is run in the order of registration: every hook sees
        /// what the ones before it made of the command, and the first refusal is the last word.
        /// While a hook thinks, its session's further commands wait, and nobody else's.
        ///
        /// A closure runs on the thread of the session's worker and must not block. An async
        /// function that is ready at once costs no change of threads; else it goes on beside the
        /// workers, at most `limits.hook_ms`. A hook that panics refuses its command with
        /// `internal`.
        impl Builder {
            $($(#[$doc])*
            pub fn $sync<F>(mut self, hook: F) -> Self
            where
                F: Fn(&mut $question) -> Result<(), Refusal> + Send + Sync + 'static,
            {
                self.hooks.$chain.push(Hook::Sync(Box::new(hook)));
                self
            }

            #[doc = concat!("[`Builder::", stringify!($sync), "`] for an async function: it takes \
                             the question and gives it back.")]
            pub fn $async<F, A>(mut self, hook: F) -> Self
            where
                F: Fn($question) -> A + Send + Sync + 'static,
                A: Future<Output = Result<$question, Refusal>> + Send + 'static,
            {
                self.hooks.$chain.push(Hook::Async(Box::new(move |asked| Box::pin(hook(asked)))));
                self
            })*
        }
    };
}

before! {
    /// Before a session begins or is resumed: with `hello`, or with the first command where that is
    /// optional.
    connect, Connect, before_connect, before_connect_async;
    /// Before `create` makes a room. A room that `join` makes is asked about as a join only; where
    /// rooms must not be made so, the namespace says `create = false` and this hook grants.
    create, Create, before_create, before_create_async;
    /// Before `join`, and before the seat that `create` with `join` asks for.
    join, Join, before_join, before_join_async;
    /// Before `leave`. A lost link, a kick and the end of a session ask nobody.
    leave, Leave, before_leave, before_leave_async;
    /// Before `publish`.
    ///
    /// ```
    /// use roomcast::{Payload, Refusal, Server, hook::Publish};
    ///
    /// let server = Server::builder()
    ///     .listen("ws://127.0.0.1:0")
    ///     .before_publish(|said: &mut Publish| match &said.data {
    ///         None => Err(Refusal::refused("say something")),
    ///         Some(_) => Ok(()),
    ///     })
    ///     .start()?;
    /// # server.stop();
    /// # Ok::<(), roomcast::StartError>(())
    /// ```
    publish, Publish, before_publish, before_publish_async;
    /// Before `refresh` gives a session another token. Without such a hook, the session goes on as
    /// the token says; rules that [`Builder::before_connect`] gave it stay.
    refresh, Refresh, before_refresh, before_refresh_async;
}

macro_rules! after {
    ($($(#[$doc:meta])* $event:ident, $after:ident;)*) => {
        /// Hooks after the fact. Each runs on the thread of a worker and must not block; what
        /// takes time belongs behind [`ServerHandle::events`](crate::ServerHandle::events). A
        /// panic in one is logged.
        impl Builder {
            $($(#[$doc])*
            pub fn $after<F>(mut self, hook: F) -> Self
            where
                F: Fn(&$event) + Send + Sync + 'static,
            {
                self.hooks.ears.after.push(Box::new(move |event| {
                    if let HubEvent::$event(event) = event {
                        hook(event);
                    }
                }));
                self
            })*
        }
    };
}

after! {
    /// After a session began, or was resumed.
    Connected, after_connect;
    /// After a session has lost its link.
    Disconnected, on_disconnect;
    /// After a room was made, by whatever means.
    RoomCreated, after_create;
    /// After a room has ended.
    RoomClosed, after_close;
    /// After a session took a seat.
    MemberJoined, after_join;
    /// After a member gave up its seat, or lost it.
    MemberLeft, after_leave;
    /// After something was said in a room, by a member or by the server.
    Published, after_publish;
    /// After a command was refused, by whomever.
    Refused, on_refused;
    /// When a link is closed because it did not read as fast as its rooms spoke.
    SlowMember, on_slow_member;
}

impl Builder {
    /// Sets the handlers for clients by namespace and event, the way users of Socket.IO write them:
    /// once, for all namespaces. [`Builder::start`] refuses a second call.
    pub fn socketio(mut self, sockets: SocketIo) -> Self {
        if self.hooks.sockets.is_some() {
            let message = "was called twice: give it one `SocketIo` with all namespaces";
            self.problems.push(Problem::new("socketio", message));
            return self;
        }
        self.namespaces.extend(sockets.conventions());
        let has_middleware = sockets.has_middleware();
        let sockets = Arc::new(Sockets::new(sockets));
        self.hooks.sockets = Some(Arc::clone(&sockets));
        match has_middleware {
            true => self.before_connect_async(move |asked| Arc::clone(&sockets).admit(asked)),
            false => self,
        }
    }

    /// Lets the program listen to what happens: [`ServerHandle::events`]. A stream that is more
    /// than `capacity` events behind loses the oldest and is told how many (1 to 1,048,576). One
    /// takes some hundred bytes and what was said: at most `payload_max` of its room, which is
    /// 64 KiB unless options say otherwise. Streams share what is kept.
    ///
    /// [`ServerHandle::events`]: crate::ServerHandle::events
    pub fn events(mut self, capacity: usize) -> Self {
        self.hooks.ears.open(capacity);
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use roomcast_wire::push::{Event, Sender};
    use roomcast_wire::{Codec, ErrorCode, EventName, Payload, SessionId};

    use super::*;

    /// Ready at once, and panics when it is dropped.
    struct Bomb;

    impl Future for Bomb {
        type Output = Result<Publish, Refusal>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Ready(Err(Refusal::refused("no")))
        }
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("dropped"));
        }
    }

    #[test]
    fn a_hook_that_panics_when_it_is_dropped_refuses_its_command() {
        let hooks = Arc::new(Builder::default().before_publish_async(|_| Bomb).hooks);
        let from =
            Arc::new(Sender { session: SessionId(1), user: None, name: None, metadata: None });
        let (room, event) = ("a".to_owned(), EventName::Number(1));
        let asked = Publish { from, room, event, data: None, reliable: true };
        let mut running = hooks.ask(Question::Publish(Box::new(asked)));
        let polled = Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Verdict::Refuse(refusal)) = polled else { panic!("{polled:?}") };
        assert_eq!(refusal.code, ErrorCode::Internal);
        drop(running);
    }

    /// A stream that is behind by `capacity` events of a few bytes must not keep as many buffers.
    #[test]
    fn what_a_stream_keeps_is_no_part_of_a_buffer() {
        let mut hooks = Hooks::default();
        hooks.ears.open(8);
        let hooks = Arc::new(hooks);
        let mut stream = hooks.listen().unwrap();
        let buffer = Bytes::from(vec![b'7'; 16 << 10]);
        let payload = Some(Payload::new(Codec::Json, buffer.slice(..5)).unwrap());
        let (name, reliable) = (EventName::Number(1), true);
        let (from, position) = (None, None);
        let event = Arc::new(Event { name, payload, from, position, reliable, unreliable: 0 });
        let published = HubEvent::Published(Published { room: "a".to_owned(), event });
        hooks.voice().tell(published.clone());
        assert_eq!(stream.next_blocking(), Some(Heard::Event(Arc::new(published.clone()))));
        hooks.voice().tell(published);
        assert!(buffer.is_unique());
    }
}
