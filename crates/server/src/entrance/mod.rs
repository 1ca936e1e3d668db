//! The way in for clients whom the embedding program brings: connections that it has accepted,
//! decrypted or made up itself.

mod bridge;
mod router;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use roomcast_core::HubConfig;
use roomcast_wire::Format;
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::ws::handshake::SitePolicy;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::acceptor::admission::Admission;
use crate::config::listener::EnetOptions;
use crate::config::{Config, Dialect, Scheme};
use crate::server::{Listening, Shared};
use crate::transport::{self, Site};
use crate::worker::{Address, Mail};

/// The way in for clients whom the embedding program brings. Cheap to clone.
///
/// Such clients are clients like any other: they join the same rooms, and the same limits hold.
/// One connection counts as one; all of them count as coming from this machine, so that
/// `limits.connections_per_address` does not bound them.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = roomcast::Server::builder().without_listeners().start()?;
/// let (mut client, io) = tokio::io::duplex(4096);
/// tokio::spawn(server.entrance().add_client(io, roomcast::Speaks::Stream));
/// client.write_all(b"{\"type\":\"join\",\"ref\":1,\"room\":\"lobby\"}\n").await?;
/// let mut said = [0; 16];
/// client.read_exact(&mut said).await?;
/// assert_eq!(&said, b"{\"type\":\"joined\"");
///
/// let nowhere = server.entrance().namespace("game"); // not in the configuration
/// let refused = nowhere.add_client(tokio::io::empty(), roomcast::Speaks::Stream).await;
/// assert!(matches!(refused, Err(roomcast::EntranceError::NoNamespace(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Entrance {
    workers: Arc<[Address]>,
    shared: Arc<Shared>,
    namespace: Arc<str>,
}

/// A place among the connections: a socket pair, whose second end is the worker's, the listener,
/// and what counts the connection.
type Place = ((UnixStream, TcpStream), u16, Admission);

/// What a client that the embedding program brings will say. See [`Entrance`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// What is said on a `tcp://` listener: JSON lines, or MessagePack behind lengths.
    Stream,
    /// What is said on a `ws://` listener: an HTTP request for `/ws`, then WebSocket frames.
    /// Requests for anything else are answered, too.
    WebSocket,
}

/// A client could not be brought in; what [`Entrance::add_client`] ends with.
#[derive(Debug, thiserror::Error)]
pub enum EntranceError {
    /// The server has as many connections as it may have: later there may be room.
    #[error("the server has as many connections as it may have (`limits.connections`)")]
    Full,
    /// The namespace is not configured.
    #[error("there is no namespace `{0}`: add it to the configuration")]
    NoNamespace(Arc<str>),
    /// The connection, or the socket pair that joins it to a worker, broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

impl Entrance {
    pub(crate) fn new(workers: Arc<[Address]>, shared: Arc<Shared>) -> Self {
        Self { workers, shared, namespace: DEFAULT_NAMESPACE.into() }
    }

    /// The way into another namespace.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Self {
        Self { namespace: name.into(), ..self.clone() }
    }

    /// Serves a client on any connection, and returns when it has gone: spawn it. A dropped
    /// future cuts the client off.
    ///
    /// The connection's bytes go through a socket pair to the worker that has the fewest links.
    /// What waits there is bounded by the kernel; a client that does not read is dropped as one on
    /// a socket of its own is, and one that takes nothing for `limits.ping_ms + limits.pong_ms`
    /// is cut off.
    ///
    /// # Errors
    /// It could not be brought in, or its connection broke.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn add_client<I>(self, io: I, speaks: Speaks) -> Result<(), EntranceError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let (stream, listener, admission) = self.open(speaks)?;
        let (ours, theirs) = stream;
        self.give(Mail::Accepted { stream: theirs, listener, admission });
        Ok(bridge::join(io, ours, self.patience()).await?)
    }

    /// The same for a connection that has become a WebSocket already, and whose place is taken.
    async fn add_websocket<I>(self, io: I, place: Place, format: Format) -> io::Result<()>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let ((ours, theirs), listener, admission) = place;
        self.give(Mail::Upgraded { stream: theirs, listener, admission, format });
        bridge::join(io, ours, self.patience()).await
    }

    fn open(&self, speaks: Speaks) -> Result<Place, EntranceError> {
        let listener = self.shared.entrances.of(&self.namespace, speaks);
        let listener =
            listener.ok_or_else(|| EntranceError::NoNamespace(Arc::clone(&self.namespace)))?;
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admission = self.shared.admissions.admit(local).map_err(|_| EntranceError::Full)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        // What a worker does with a socket (read, write, shut down, watch) is the same for both.
        let theirs = TcpStream::from(OwnedFd::from(theirs));
        Ok(((ours, theirs), listener, admission))
    }

    /// As long as the kernel waits for the peer of a socket of the server's own.
    fn patience(&self) -> Duration {
        let limits = &self.shared.limits;
        Duration::from_millis(limits.ping_ms.saturating_add(limits.pong_ms))
    }

    fn give(&self, mail: Mail) {
        if let Some(worker) = self.workers.iter().min_by_key(|worker| worker.links()) {
            // If the worker has ended, the socket is dropped, which ends the bridge.
            worker.send(mail);
        }
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The places among the listeners of those whom the embedding program brings, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Entrances(BTreeMap<Box<str>, [u16; 2]>);

impl Entrances {
    /// Whether there is such a namespace.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        self.0.contains_key(namespace)
    }

    pub(crate) fn of(&self, namespace: &str, speaks: Speaks) -> Option<u16> {
        self.0.get(namespace).map(|places| places[speaks as usize])
    }
}

/// Adds two listeners without a socket for each namespace.
pub(crate) fn listening(
    hub: &HubConfig,
    config: &Config,
    listeners: &mut Vec<Listening>,
) -> Entrances {
    let http = &config.http;
    // The host name is checked, as the program may listen on loopback.
    let policy = SitePolicy {
        origins: http.origins.clone(),
        hosts: http.hosts.clone(),
        ..SitePolicy::default()
    };
    let dialect = Dialect::Native;
    let site = Arc::new(Site {
        policy,
        deflate: http.deflate,
        dialect,
        engineio_path: config.socketio.path_for(dialect),
        codec: None,
        enet: EnetOptions::default(),
        namespaces: Vec::new(),
    });
    let mut places = BTreeMap::new();
    for name in hub.namespaces.keys() {
        // Links number their listener with 16 bits.
        let Ok(first @ 0..0xFFFE) = u16::try_from(listeners.len()) else { break };
        for scheme in [Scheme::Tcp, Scheme::Ws] {
            listeners.push(Listening {
                transport: transport::of(scheme),
                site: Arc::clone(&site),
                namespace: Some(Arc::from(name.as_str())),
                tls: None,
                address: None,
            });
        }
        places.insert(Box::from(name.as_str()), [first, first + 1]);
    }
    Entrances(places)
}
