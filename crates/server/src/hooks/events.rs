//! What happened, told to after-hooks and to streams.

use std::sync::{Arc, Mutex, PoisonError};

use roomcast_core::HubEvent;
use roomcast_core::contained::contained;
use roomcast_core::event::Published;
use roomcast_wire::Payload;
use roomcast_wire::push::Event;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::watch::must_not_be_a_worker;

/// One hook after the fact.
type After = dyn Fn(&HubEvent) + Send + Sync;

/// Who wants to hear what happened.
#[derive(Default)]
pub(super) struct Ears {
    pub(super) after: Vec<Box<After>>,
    /// None: nobody may listen, or the server has ended. Locked for a clone only: by who begins to
    /// listen, and by each worker when it starts.
    stream: Mutex<Option<broadcast::Sender<Arc<HubEvent>>>>,
}

/// What a stream brings. See [`Events`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Something happened.
    Event(Arc<HubEvent>),
    /// The stream was read too slowly: so many events are lost to it. The next is the oldest that
    /// is still there.
    Lost(u64),
}

/// What happens in a server: see [`ServerHandle::events`](crate::ServerHandle::events).
/// What one session does and what happens in one room comes in its order.
///
/// ```
/// use roomcast::{Heard, HubEvent, Server};
///
/// let server = Server::builder().listen("tcp://127.0.0.1:0").events(1024).start()?;
/// let mut events = server.handle().events().ok_or("no events are kept")?;
/// server.stop(); // else the loop waits for more
/// while let Some(heard) = events.next_blocking() {
///     match heard {
///         Heard::Event(event) => match &*event {
///             HubEvent::MemberJoined(joined) => println!("{joined:?}"),
///             _ => {}
///         },
///         Heard::Lost(count) => eprintln!("read too slowly: {count} are lost"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Arc<HubEvent>>);

impl Events {
    /// What happens next; none when the server has ended.
    pub async fn next(&mut self) -> Option<Heard> {
        heard(self.0.recv().await)
    }

    /// The same, for a thread that may block.
    ///
    /// # Panics
    /// In an asynchronous task, and in a closure that the server calls.
    pub fn next_blocking(&mut self) -> Option<Heard> {
        must_not_be_a_worker();
        heard(self.0.blocking_recv())
    }
}

/// The event with bytes of its own: streams keep it for long, and what was only just read is part
/// of a buffer that holds much else.
pub(super) fn detached(event: HubEvent) -> HubEvent {
    match event {
        HubEvent::Published(Published { room, event }) => {
            let payload = event.payload.as_ref().map(Payload::detached);
            let event = Arc::new(Event { payload, ..Event::clone(&event) });
            HubEvent::Published(Published { room, event })
        }
        // What others say is kept by the hub, and detached there.
        event => event,
    }
}

fn heard(received: Result<Arc<HubEvent>, RecvError>) -> Option<Heard> {
    match received {
        Ok(event) => Some(Heard::Event(event)),
        Err(RecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
        Err(RecvError::Closed) => None,
    }
}

impl Ears {
    /// Keeps `capacity` events for streams that are behind.
    pub(super) fn open(&mut self, capacity: usize) {
        let (sender, _) = broadcast::channel(capacity.clamp(1, 1 << 20));
        self.stream = Mutex::new(Some(sender));
    }

    pub(super) fn is_wanted(&self) -> bool {
        !self.after.is_empty() || self.speaker().is_some()
    }

    pub(super) fn listen(&self) -> Option<Events> {
        self.speaker().map(|sender| Events(sender.subscribe()))
    }

    pub(super) fn speaker(&self) -> Option<broadcast::Sender<Arc<HubEvent>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Streams end when the workers have gone too.
    pub(super) fn close(&self) {
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn tell_after(&self, event: &HubEvent) {
        for hook in &self.after {
            if contained(|| hook(event)).is_err() {
                tracing::error!("an after-hook panicked (see above)");
            }
        }
    }
}
