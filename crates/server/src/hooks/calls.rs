//! The application's own commands: a client asks with `call`, a handler answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use roomcast_core::hook::Call;
use roomcast_core::logic::IntoData;
use roomcast_wire::{ErrorCode, EventName, Payload, Refusal};

use super::chain::Running;
use super::{Builder, Hooks};

/// What a handler makes of a call.
///
/// ```
/// use roomcast::{Answer, EventName, Refusal, Server};
///
/// let server = Server::builder()
///     .listen("tcp://127.0.0.1:0")
///     .on_call(EventName::text("version")?, |call| match &call.data {
///         None => Answer::data("1.4.2"),
///         Some(_) => Err(Refusal::refused("it takes no data")),
///     })
///     .start()?;
/// # server.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The client is told so.
    Data(Option<Payload>),
    /// The next handler of this name decides; behind the last one, nobody does (`no_such_call`).
    Next,
}

impl Answer {
    /// Anything serde can write by reference, a JSON value, a payload, or nothing (`()`).
    ///
    /// # Errors
    /// It cannot be written: the refusal to give the client.
    pub fn data(data: impl IntoData) -> Result<Self, Refusal> {
        let written = data.into_data().map(Self::Data);
        written.map_err(|error| Refusal::new(ErrorCode::Internal, error))
    }
}

type Soon = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;
type AtOnce = dyn Fn(&Call) -> Result<Answer, Refusal> + Send + Sync;
type InTime = dyn Fn(Call) -> Soon + Send + Sync;

enum Handler {
    Sync(Box<AtOnce>),
    Async(Box<InTime>),
}

/// All handlers, each name's in the order of registration.
#[derive(Default)]
pub(super) struct Handlers(BTreeMap<Key, Vec<Handler>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(u64),
    Text(String),
}

impl Key {
    fn of(name: &EventName) -> Self {
        match name {
            EventName::Number(number) => Self::Number(*number),
            EventName::Text(name) => Self::Text(name.to_string()),
        }
    }
}

/// What a client is told.
pub(crate) type Answered = Result<Option<Payload>, Refusal>;

impl Hooks {
    /// Whether any call is answered.
    pub(crate) fn wants_calls(&self) -> bool {
        !self.handlers.0.is_empty() || self.sockets.is_some()
    }

    /// Asks the handlers of a call's name. Nothing happens before the first poll.
    pub(crate) fn answer(self: &Arc<Self>, call: Call) -> Running<Answered> {
        let handling = handle(Arc::clone(self), call);
        Running::new(handling, Err)
    }
}

async fn handle(hooks: Arc<Hooks>, call: Call) -> Answered {
    let handlers = hooks.handlers.0.get(&Key::of(&call.call));
    for handler in handlers.into_iter().flatten() {
        let answer = match handler {
            Handler::Sync(handler) => handler(&call)?,
            Handler::Async(handler) => handler(call.clone()).await?,
        };
        if let Answer::Data(data) = answer {
            return Ok(data);
        }
    }
    if let Some(sockets) = hooks.sockets() {
        return sockets.answer(call).await;
    }
    let text = format!("nobody answers calls of the name `{}` here", call.call);
    Err(Refusal::new(ErrorCode::NoSuchCall, text))
}

/// Handlers of the application's own commands (`call`). Those of one name are asked in the order of
/// registration, until one answers or refuses. No link is held for a call: several of one session
/// may wait for their answers, each at most `limits.call_ms`.
///
/// A closure runs on the thread of the session's worker and must not block. An async function that
/// is ready at once costs no change of threads; else it goes on beside the workers. A handler that
/// panics refuses its call with `internal`.
impl Builder {
    /// Answers calls of a name.
    ///
    /// ```
    /// use roomcast::{Answer, EventName, Server};
    ///
    /// let server = Server::builder()
    ///     .listen("ws://127.0.0.1:0")
    ///     .on_call(EventName::text("version")?, |_call| Answer::data("1.4.2"))
    ///     .start()?;
    /// # server.stop();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_call<F>(self, name: EventName, handler: F) -> Self
    where
        F: Fn(&Call) -> Result<Answer, Refusal> + Send + Sync + 'static,
    {
        self.handler(&name, Handler::Sync(Box::new(handler)))
    }

    /// [`Builder::on_call`] for an async function.
    pub fn on_call_async<F, A>(self, name: EventName, handler: F) -> Self
    where
        F: Fn(Call) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Answer, Refusal>> + Send + 'static,
    {
        let handler = move |call| -> Soon { Box::pin(handler(call)) };
        self.handler(&name, Handler::Async(Box::new(handler)))
    }

    fn handler(mut self, name: &EventName, handler: Handler) -> Self {
        self.hooks.handlers.0.entry(Key::of(name)).or_default().push(handler);
        self
    }
}
