//! Handlers for clients, the way users of Socket.IO write them: by namespace and event, with a
//! socket that can join rooms, emit and be disconnected. `docs/coming-from-socketio.md` has the
//! table of what is called how.
//!
//! | file | what |
//! |---|---|
//! | `args.rs` | [`Args`]: the arguments of an event |
//! | `io.rs` | [`Io`]: sockets of a namespace, all or some |
//! | `socket.rs` | [`Socket`], [`Ack`], [`DisconnectReason`] |
//! | `sockets.rs` | who is there, and which handler is called when |

mod args;
mod io;
mod socket;
mod sockets;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use roomcast_core::hook::Connect;
use roomcast_wire::Refusal;
use roomcast_wire::name::DEFAULT_NAMESPACE;

pub use self::args::{Args, IntoArg, IntoArgs};
pub use self::io::{Acks, Io};
pub use self::socket::{Ack, Asking, DisconnectReason, Socket};
pub(crate) use self::sockets::Sockets;

/// What a handler comes to. A [`Refusal`] is told to a client that waits for an acknowledgement;
/// of any other error it is told only that there was one, and the log has the rest.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type OnConnect = dyn Fn(Socket) -> Soon<Outcome> + Send + Sync;
type OnEvent = dyn Fn(Socket, Args, Ack) -> Soon<Outcome> + Send + Sync;
type OnAny = dyn Fn(Socket, String, Args) -> Soon<Outcome> + Send + Sync;
type OnDisconnect = dyn Fn(Socket, DisconnectReason) -> Soon<Outcome> + Send + Sync;
type Middleware = dyn Fn(Connect) -> Soon<Result<Connect, Refusal>> + Send + Sync;

/// Handlers for clients by namespace, for [`Builder::socketio`](crate::Builder::socketio).
///
/// ```
/// use roomcast::Server;
/// use roomcast::socketio::SocketIo;
///
/// let sockets = SocketIo::new().namespace("/", |io| {
///     io.on_connect(|socket| async move {
///         socket.join("hall").await?;
///         Ok(())
///     });
///     io.on("chat message", |socket, args, ack| async move {
///         socket.io().to("hall").emit("chat message", args)?;
///         ack.send("heard");
///         Ok(())
///     });
///     io.on_disconnect(|socket, reason| async move {
///         println!("{} has gone: {reason}", socket.id());
///         Ok(())
///     });
/// });
/// let server = Server::builder().listen("ws://127.0.0.1:0").socketio(sockets).start()?;
/// # server.stop();
/// # Ok::<(), roomcast::StartError>(())
/// ```
#[derive(Default)]
pub struct SocketIo {
    /// By the server's name of the namespace.
    namespaces: BTreeMap<String, Namespace>,
}

/// The handlers of one namespace. Those of one socket are called in the order of what they are
/// about, each up to its first wait; what waits goes on beside them, and may be overtaken. Of one
/// event there is one handler: a name that is given twice means the later one.
///
/// The handler of an event has the time of a call (`limits.call_ms`, 10 s) and is then dropped; at
/// most `limits.calls_per_session` (32) of one socket may wait at a time, further events are
/// refused. What it does after its acknowledgement has no such bounds, nor have handlers of who
/// comes and goes. One that panics harms its own event only.
#[derive(Default)]
pub struct Namespace {
    middleware: Vec<Box<Middleware>>,
    connect: Vec<Box<OnConnect>>,
    events: BTreeMap<String, Box<OnEvent>>,
    any: Vec<Box<OnAny>>,
    disconnect: Vec<Box<OnDisconnect>>,
    /// Whether events stand for commands.
    convention: bool,
}

impl SocketIo {
    /// No namespaces yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what a namespace (`/`, `/chat`) does. It is made if the configuration does not name
    /// it; `/` is the namespace `default`. Its clients are those of all protocols: an event that
    /// others say with `call` comes to the same handlers.
    #[must_use]
    pub fn namespace(mut self, name: &str, handlers: impl FnOnce(&mut Namespace)) -> Self {
        handlers(self.namespaces.entry(name_of(name).to_owned()).or_default());
        self
    }

    /// The names of its namespaces, and whether events stand for commands there.
    pub(crate) fn conventions(&self) -> impl Iterator<Item = (String, bool)> {
        self.namespaces.iter().map(|(name, said)| (name.clone(), said.convention))
    }

    pub(crate) fn has_middleware(&self) -> bool {
        self.namespaces.values().any(|namespace| !namespace.middleware.is_empty())
    }
}

impl Namespace {
    /// Decides who may connect, as a hook before it does
    /// ([`Builder::before_connect`](crate::Builder::before_connect)): what a client says of itself
    /// is in `data` and `token`. A refusal is a `connect_error`. Where the server itself does not
    /// know the token, [`Connect::granted`] lets the client in all the same.
    ///
    /// ```
    /// use roomcast::Refusal;
    /// use roomcast::socketio::SocketIo;
    ///
    /// let sockets = SocketIo::new().namespace("/", |io| {
    ///     io.use_(|mut asked| async move {
    ///         if asked.token.as_deref() != Some("sesame") {
    ///             return Err(Refusal::refused("that is not the word"));
    ///         }
    ///         asked.granted = true;
    ///         Ok(asked)
    ///     });
    /// });
    /// # drop(sockets);
    /// ```
    pub fn use_<F, A>(&mut self, middleware: F) -> &mut Self
    where
        F: Fn(Connect) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Connect, Refusal>> + Send + 'static,
    {
        self.middleware.push(Box::new(move |asked| Box::pin(middleware(asked))));
        self
    }

    /// Lets Socket.IO clients act by events as others do by commands: `join`, `publish`, `members`
    /// and the rest, with the same rights. Without this all their events are the handlers' own.
    pub fn convention(&mut self) -> &mut Self {
        self.convention = true;
        self
    }

    /// Is called when a client has connected; not when one resumes its session, but with
    /// `socketio.recovery`, where [`Socket::recovered`] tells it.
    pub fn on_connect<F, A>(&mut self, handler: F) -> &mut Self
    where
        F: Fn(Socket) -> A + Send + Sync + 'static,
        A: Future<Output = Outcome> + Send + 'static,
    {
        self.connect.push(Box::new(move |socket| Box::pin(handler(socket))));
        self
    }

    /// Is called for an event of that name.
    pub fn on<F, A>(&mut self, event: &str, handler: F) -> &mut Self
    where
        F: Fn(Socket, Args, Ack) -> A + Send + Sync + 'static,
        A: Future<Output = Outcome> + Send + 'static,
    {
        let handler: Box<OnEvent> =
            Box::new(move |socket, args, ack| Box::pin(handler(socket, args, ack)));
        self.events.insert(event.to_owned(), handler);
        self
    }

    /// Is called for every event, before the handler of its name. An event that no handler is
    /// there for is passed over, or refused with `no_such_call` if an acknowledgement is wanted.
    pub fn on_any<F, A>(&mut self, handler: F) -> &mut Self
    where
        F: Fn(Socket, String, Args) -> A + Send + Sync + 'static,
        A: Future<Output = Outcome> + Send + 'static,
    {
        self.any.push(Box::new(move |socket, event, args| Box::pin(handler(socket, event, args))));
        self
    }

    /// Is called when a client has gone for good: at once with a Socket.IO client, after its time
    /// to come back (`limits.resume_ms`) with one that could resume its session. With
    /// `socketio.recovery` it is called whenever a client has lost its connection, at once;
    /// [`Namespace::on_connect`] follows if it comes back.
    pub fn on_disconnect<F, A>(&mut self, handler: F) -> &mut Self
    where
        F: Fn(Socket, DisconnectReason) -> A + Send + Sync + 'static,
        A: Future<Output = Outcome> + Send + 'static,
    {
        self.disconnect.push(Box::new(move |socket, reason| Box::pin(handler(socket, reason))));
        self
    }
}

impl fmt::Debug for SocketIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.namespaces.keys()).finish()
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: Vec<_> = self.events.keys().collect();
        f.debug_struct("Namespace").field("events", &events).finish_non_exhaustive()
    }
}

/// The server's name of a Socket.IO namespace.
fn name_of(namespace: &str) -> &str {
    match namespace.strip_prefix('/').unwrap_or(namespace) {
        "" => DEFAULT_NAMESPACE,
        name => name,
    }
}
