//! How to connect.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use roomcast_wire::Codec;
use tokio::sync::mpsc;

use crate::calls::Calls;
use crate::client::{Client, Shared};
use crate::driver::{Driver, connect};
use crate::ledger::Ledger;
use crate::link::{BoxIo, Dialer, Io, Trust};
use crate::queue::Queue;
use crate::token::{Asking, Provider, Renewal, Token};
use crate::url::{ServerUrl, Transport};
use crate::{Error, backoff};

/// Commands that wait to be written; above it their callers wait.
const OPS_MAX: usize = 256;

/// Client events that wait to be read; above it the oldest go.
const CLIENT_EVENTS_MAX: usize = 256;

/// How to connect. Made by [`Client::builder`].
///
/// ```no_run
/// # async fn run() -> Result<(), roomcast_client::Error> {
/// use roomcast_client::{Client, Codec};
///
/// let client = Client::builder("tls://rooms.example.com:7401")
///     .name("Mina")
///     .token("a key of at least 16 characters")
///     .codec(Codec::MsgPack)
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `connect`"]
pub struct Builder {
    urls: Vec<String>,
    token: Option<String>,
    settings: Settings,
}

/// What stays the same for a client's life.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The best first.
    pub(crate) urls: Vec<ServerUrl>,
    pub(crate) name: Option<String>,
    pub(crate) codec: Codec,
    pub(crate) ack_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) room_queue: usize,
    pub(crate) overflow: Overflow,
    pub(crate) trust: Trust,
    pub(crate) dialer: Option<Dialer>,
    pub(crate) provider: Option<Provider>,
}

impl Settings {
    /// What the way of this number is.
    pub(crate) fn transport(&self, way: usize) -> Transport {
        self.urls.get(way).map_or(Transport::Tcp, ServerUrl::transport)
    }
}

/// When to connect again after the link was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnect {
    /// Bound of the first delay; it doubles with every attempt. The delay itself is anything
    /// between zero and the bound, so that the clients of one server do not come back at once.
    pub base: Duration,
    /// The bound grows no further than this.
    pub cap: Duration,
    /// Give up after so many attempts in a row; never, if absent.
    pub attempts_max: Option<u32>,
}

impl Default for Reconnect {
    /// 250 ms, doubling up to 20 s, for ever.
    fn default() -> Self {
        Self { base: Duration::from_millis(250), cap: Duration::from_secs(20), attempts_max: None }
    }
}

/// What happens when the application does not take what a room's stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The oldest things go, and the stream tells how many:
    /// [`LostReason::Unread`](crate::LostReason::Unread).
    #[default]
    DropOldest,
    /// Nothing is read from the server until there is room again. Nothing is lost on this side;
    /// answers to commands wait too, so read the stream in another task than the one that sends.
    /// A server that can deliver no more closes the link in the end; the client then resumes and
    /// recovers what the room still keeps.
    Wait,
}

impl Builder {
    pub(crate) fn new(url: &str) -> Self {
        let settings = Settings {
            urls: Vec::new(),
            name: None,
            codec: Codec::Json,
            ack_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            reconnect: Some(Reconnect::default()),
            room_queue: 1_024,
            overflow: Overflow::default(),
            trust: Trust::default(),
            dialer: None,
            provider: None,
        };
        Self { urls: vec![url.to_owned()], token: None, settings }
    }

    /// A further way to the same server, for where those before do not get through: the best comes
    /// first, `quic://` or `udp://` perhaps, then `wss://`.
    ///
    /// When half a second has passed without a link, or as soon as a way fails, the next is tried
    /// beside it; the first that opens is taken, and only there the client introduces itself.
    /// All of them together have [`connect_timeout`](Self::connect_timeout). A lost link is made
    /// again by the way that worked last; when that was found more than ten minutes ago, the better
    /// ones are tried before it again. [`Client::transport`] tells which it is.
    ///
    /// A server that answers and refuses has refused: no other way is tried then.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), roomcast_client::Error> {
    /// let client = roomcast_client::Client::builder("quic://rooms.example.com:7403")
    ///     .fall_back_to("wss://rooms.example.com")
    ///     .connect()
    ///     .await?;
    /// println!("connected by {}", client.transport());
    /// # Ok(())
    /// # }
    /// ```
    pub fn fall_back_to(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// The display name that others see.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// The key or token that proves who the user is.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Asks `provide` for the token, in place of [`token`](Self::token): for the first connection
    /// and for each reconnect, at most [`connect_timeout`](Self::connect_timeout) each time, and
    /// once more before a token ends of which it is known how long it is
    /// [lasting](Token::lasting). So a session outlives its first token, also where the server
    /// closes the link because the token has ended.
    ///
    /// ```no_run
    /// # struct Login { access_token: String, expires_in: u64 }
    /// # async fn log_in() -> std::io::Result<Login> { std::future::pending().await }
    /// # async fn run() -> Result<(), roomcast_client::Error> {
    /// use std::time::Duration;
    ///
    /// use roomcast_client::{Client, Token};
    ///
    /// let client = Client::builder("wss://rooms.example.com")
    ///     .token_with(|| async {
    ///         let login = log_in().await?;
    ///         let token = Token::new(login.access_token);
    ///         Ok::<_, std::io::Error>(token.lasting(Duration::from_secs(login.expires_in)))
    ///     })
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn token_with<F, A, T, E>(mut self, provide: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Token>,
        E: fmt::Display,
    {
        let provide = move || -> Asking {
            let asking = provide();
            Box::pin(async move { asking.await.map(Into::into).map_err(|error| error.to_string()) })
        };
        self.settings.provider = Some(Provider(Arc::new(provide)));
        self
    }

    /// How messages are written. JSON by default, because it can be read on the wire; MessagePack
    /// is smaller and carries binary data.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.settings.codec = codec;
        self
    }

    /// How long a command waits for its answer; 10 s by default.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.settings.ack_timeout = timeout;
        self
    }

    /// How long connecting may take, each time; 10 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// When to connect again after the link was lost; `None`: never.
    pub fn reconnect(mut self, reconnect: impl Into<Option<Reconnect>>) -> Self {
        self.settings.reconnect = reconnect.into();
        self
    }

    /// How many things each room's stream holds; 1,024 by default.
    pub fn room_queue(mut self, bound: usize) -> Self {
        self.settings.room_queue = bound;
        self
    }

    /// What happens when a room's stream is full.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.overflow = overflow;
        self
    }

    /// Trusts the certificates in `pem` beside those of the system, for `wss://`, `tls://` and
    /// `quic://`. Without any, `quic://` to this machine (`localhost` or a loopback address) takes
    /// every certificate: a server without one makes its own there.
    pub fn trust(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.settings.trust.roots.push(pem.into());
        self
    }

    /// Accepts any certificate. Whoever stands between can then read and change everything: for
    /// development only.
    pub fn trust_anybody(mut self) -> Self {
        self.settings.trust.anybody = true;
        self
    }

    /// Opens the stream below everything else by `dial`, in place of a TCP connection to the URL's
    /// host: for Unix sockets, proxies, tests. It is called anew for each reconnect.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), roomcast_client::Error> {
    /// let client = roomcast_client::Client::builder("tcp://proxied")
    ///     .dial_with(|| tokio::net::TcpStream::connect("10.0.0.7:7401"))
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn dial_with<F, D, S>(mut self, dial: F) -> Self
    where
        F: Fn() -> D + Send + Sync + 'static,
        D: Future<Output = io::Result<S>> + Send + 'static,
        S: Io + 'static,
    {
        let dial = move || {
            let dialing = dial();
            Box::pin(async move { Ok(Box::new(dialing.await?) as BoxIo) }) as _
        };
        self.settings.dialer = Some(Dialer(Arc::new(dial)));
        self
    }

    /// Connects and introduces the client. Must be called within a tokio runtime, because a task
    /// of its own serves the client from then on.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and [`Error::Handshake`] if there is no server; [`Error::Refused`]
    /// if it does not let the client in; [`Error::Token`] if there is none to show;
    /// [`Error::Invalid`] if the URL is none. The first
    /// connection is not tried again by itself: whoever starts a program wants to know.
    pub async fn connect(self) -> Result<Client, Error> {
        let mut settings = self.settings;
        settings.urls = self.urls.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
        let settings = Arc::new(settings);
        let mut renewal = Renewal::new(settings.provider.clone());
        let token = renewal.token(self.token, settings.connect_timeout).await?;
        let (taken, link, welcome) = connect(&settings, None, token.clone(), None).await?;
        let (ops, ops_taken) = mpsc::channel(OPS_MAX);
        let (closing, closing_taken) = mpsc::channel(1);
        let events = Queue::new(CLIENT_EVENTS_MAX);
        let calls = Calls::new(&ops);
        let status = welcome.status(token, settings.transport(taken.way));
        let driver = Driver {
            settings: Arc::clone(&settings),
            status: Arc::clone(&status),
            ops: ops_taken,
            closing: closing_taken,
            events: Arc::clone(&events),
            ledger: Ledger::new(&settings, Arc::clone(&events), Arc::clone(&calls)),
            welcome,
            renewal,
            taken,
        };
        tokio::spawn(driver.run(link));
        let shared =
            Shared { settings, status, ops, closing, events, calls, keys: backoff::random() };
        Ok(Client::new(shared))
    }
}
