//! A running server: its workers, the acceptor and the HTTP thread.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UdpSocket};
use roomcast_core::{HubConfig, NodeId, Now, Restored, ShardId};
use roomcast_wire::dialect::Dialect;
use roomcast_wire::ws::handshake::SitePolicy;

use crate::acceptor::admission::Admissions;
use crate::acceptor::{self, Acceptor, AcceptorCounters};
use crate::auth::Tokens;
use crate::builder::Builder;
use crate::cluster;
use crate::config::listener::{ListenerUrl, Scheme};
use crate::config::{Config, ConfigError, LimitsConfig, QuicConfig, SocketioConfig};
use crate::engine::{Engine, EngineError};
use crate::entrance::{self, Entrance, Entrances};
use crate::handle::{ServerHandle, Workers};
use crate::hooks::Hooks;
use crate::http::{self, ApiAccess, Handed, Http, Lines, Sessions};
use crate::metrics::WorkerCounters;
use crate::store::{self, Job, Store};
use crate::system::{raise_descriptor_limit, random, runtime, worker_count};
use crate::tls::{CertificateError, Tls};
use crate::transport::{self, Open, Site, Transport};
use crate::watch::Watch;
use crate::worker::{Address, Mail, Port, Prepared};

/// How long a stop waits for NATS to hear that the node leaves; else the others wait for its lease
/// to end.
const LEAVE: Duration = Duration::from_secs(1);

/// A running server. Dropping it ends it at once; [`Server::drain_and_stop`] takes leave first.
///
/// ```
/// let server = roomcast::Server::builder().listen("ws://127.0.0.1:0").start()?;
/// println!("{}", server.listeners()[0].url); // with the port that was free
/// server.handle().namespace("default").broadcast("news", "open").wait()?;
/// assert_eq!((server.connections(), server.take_connections_most()), (0, 0));
/// assert_eq!(server.node(), None); // no part of a cluster
/// server.reload_certificates()?; // after new ones were put in place
/// server.reload_token_keys()?;
/// server.drain_and_stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    listeners: Vec<Listener>,
    handle: ServerHandle,
    shared: Arc<Shared>,
    tls: Option<Arc<Tls>>,
    tokens: Option<Arc<Tokens>>,
    acceptor: Acceptor,
    addresses: Arc<[Address]>,
    workers: Vec<JoinHandle<()>>,
    http: Http,
    /// Ends after the workers.
    store: Option<Store>,
    drain: Drain,
}

/// One address that is listened on. See [`Server`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where clients connect, with the port that the system chose for port 0.
    pub url: String,
    /// The same as an address.
    pub address: SocketAddr,
    /// The grammar of its clients.
    pub dialect: Dialect,
}

/// The server did not start.
///
/// ```
/// use roomcast::{Server, StartError};
///
/// match Server::builder().listen("http://127.0.0.1:0").start() {
///     Err(StartError::Config(error)) => println!("{error}"), // did you mean `ws`?
///     Err(error) => println!("it does not start: {error}"),
///     Ok(server) => server.stop(),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used as it stands.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener needs a certificate that cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The folder of durable rooms (`data_dir`) cannot be used: it is another server's, damaged,
    /// of another version, or cannot be read or written.
    #[error("data_dir: {0}")]
    DataDir(String),
    /// The cluster cannot be joined.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An address cannot be listened on.
    #[error("{url}: cannot listen on {address}: {hint}")]
    Listen {
        /// The listener.
        url: String,
        /// The address.
        address: SocketAddr,
        /// What is wrong and what to do.
        hint: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system does not give what every server needs.
    #[error("the system gives no {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// How leave is taken.
struct Drain {
    longest: Duration,
    retry_ms_max: u64,
}

impl Drain {
    fn of(drain_ms: u64, retry_ms_max: u64) -> Self {
        Self { longest: Duration::from_millis(drain_ms), retry_ms_max }
    }
}

/// What all threads of one server know.
pub(crate) struct Shared {
    started: Instant,
    pub(crate) limits: LimitsConfig,
    /// Its `max_payload` is never 0.
    pub(crate) socketio: SocketioConfig,
    pub(crate) quic: QuicConfig,
    /// Those that listen, then those of [`Shared::entrances`].
    pub(crate) listeners: Vec<Listening>,
    /// Where clients of a namespace stand among the listeners whom the embedding program brings.
    pub(crate) entrances: Entrances,
    pub(crate) counters: Vec<Arc<WorkerCounters>>,
    pub(crate) acceptor: AcceptorCounters,
    pub(crate) http: tokio::sync::mpsc::Sender<Handed>,
    /// Where work that waits is done: the HTTP thread's own.
    pub(crate) tasks: tokio::runtime::Handle,
    pub(crate) watch: Arc<Watch>,
    pub(crate) hooks: Arc<Hooks>,
    /// The way to the log of durable rooms, if there is one.
    pub(crate) log: Option<mpsc::Sender<Job>>,
    pub(crate) admissions: Arc<Admissions>,
    /// Sessions of Engine.IO that are with long-polling.
    pub(crate) polling: Sessions,
    /// Answers that go on, whose peers speak by POST.
    pub(crate) lines: Lines,
    pub(crate) api: ApiAccess,
    /// The way to other nodes; none: this server is alone.
    pub(crate) engine: Option<Engine>,
    draining: AtomicBool,
}

/// What the connections of one listener have in common.
pub(crate) struct Listening {
    pub(crate) transport: &'static Transport,
    pub(crate) site: Arc<Site>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Where it listens; none: the embedding program brings its clients.
    pub(crate) address: Option<SocketAddr>,
}

/// The certificates of all listeners.
struct Certificates {
    configured: Option<Arc<Tls>>,
    /// For QUIC on loopback, if none is configured.
    development: Option<Arc<Tls>>,
}

impl Certificates {
    fn load(urls: &[ListenerUrl], config: &Config) -> Result<Self, CertificateError> {
        let is_quic = urls.iter().any(|url| url.scheme == Scheme::Quic);
        let needed = urls.iter().any(ListenerUrl::needs_certificate);
        let configured = match needed || (is_quic && config.tls.cert.is_some()) {
            true => Some(Arc::new(Tls::load(&config.tls)?)),
            false => None,
        };
        let development = match is_quic && configured.is_none() {
            true => Some(Arc::new(Tls::development()?)),
            false => None,
        };
        Ok(Self { configured, development })
    }

    fn of(&self, transport: &Transport) -> Option<Arc<Tls>> {
        let tls = match transport.scheme {
            Scheme::Quic => self.configured.as_ref().or(self.development.as_ref()),
            _ => self.configured.as_ref(),
        };
        tls.filter(|_| transport.secure).cloned()
    }
}

impl Server {
    /// The way to a server: say what it is to be, then start it. Several may run in one process.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(mut builder: Builder) -> Result<Self, StartError> {
        raise_descriptor_limit();
        let count = worker_count(builder.config.workers);
        let seed = random().ok_or_else(|| no("random bytes")(io::ErrorKind::Other.into()))?;
        let mut hub = builder.hub_config(seed, count)?;
        let watch = Arc::new(Watch::new(count));
        hub.logics = watch.around(hub.logics);
        let (tokens, config) = (builder.tokens, builder.config);
        let urls = config.listeners()?;
        let certificates = Certificates::load(&urls, &config)?;
        let mut bound = listen(&urls, &config, &certificates, &namespaces_of(&hub))?;
        let entrances = entrance::listening(&hub, &config, &mut bound.listening);
        let (http_sender, http_queue) = tokio::sync::mpsc::channel(http::QUEUE);
        let LimitsConfig { connections, connections_per_address, .. } = config.limits;
        let admissions = Admissions::new(connections, connections_per_address);
        let runtime = runtime().map_err(no("epoll"))?;
        let (addresses, prepared) = prepare_workers(count)?;
        let (store, restored) = store::open(config.data_dir.as_deref(), &addresses)?;
        let started = Instant::now();
        let engine = cluster::join(&config.cluster, &addresses, started, &mut hub)?;
        let shared = Arc::new(Shared {
            started,
            api: ApiAccess::load(&config)?,
            socketio: config.socketio.within(&config.limits),
            limits: config.limits,
            quic: config.quic,
            listeners: bound.listening,
            entrances,
            counters: (0..count).map(|_| Arc::default()).collect(),
            acceptor: AcceptorCounters::default(),
            http: http_sender,
            tasks: runtime.handle().clone(),
            watch,
            hooks: Arc::new(builder.hooks),
            log: store.as_ref().map(|store| store.jobs.clone()),
            admissions: Arc::clone(&admissions),
            polling: Sessions::default(),
            lines: Lines::default(),
            engine,
            draining: AtomicBool::new(false),
        });
        give_ports(bound.ports, &shared, &addresses)?;
        let handle = shared.handle(&addresses);
        // The rooms that are always there are made as soon as a worker starts.
        _ = builder.running.set(handle.clone());
        shared.hooks.open(&handle, shared.socketio.recovery);
        let workers = start_workers(prepared, (hub, restored), &shared, &addresses)?;
        if let Some(tokens) = &tokens {
            tokens.keep_fetching(runtime.handle());
        }
        let http = Http::start(runtime, &shared, &addresses, http_queue);
        let http = http.map_err(no("HTTP thread"))?;
        let (all, to_workers) = (Arc::clone(&shared), Arc::clone(&addresses));
        let acceptor = Acceptor::start(bound.sockets, all, to_workers, admissions);
        let acceptor = acceptor.map_err(no("acceptor thread"))?;
        Ok(Self {
            listeners: bound.public,
            handle,
            shared,
            tls: certificates.configured,
            tokens,
            acceptor,
            addresses,
            workers,
            http,
            store,
            drain: Drain::of(config.drain_ms, config.drain_retry_ms),
        })
    }

    /// Where the server listens, in the order of the configuration.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The way in for the embedding program.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// The way in for clients whom the embedding program brings, to the default namespace.
    pub fn entrance(&self) -> Entrance {
        Entrance::new(Arc::clone(&self.addresses), Arc::clone(&self.shared))
    }

    /// Its number in its cluster; none: it is alone.
    pub fn node(&self) -> Option<u16> {
        self.shared.engine.as_ref().map(|engine| engine.membership.node)
    }

    /// How many connections count towards the limit.
    pub fn connections(&self) -> usize {
        self.shared.admissions.total()
    }

    /// The most connections there were at a time since this was last asked, by anybody.
    pub fn take_connections_most(&self) -> usize {
        self.shared.admissions.take_most()
    }

    /// Reads the certificate again; links that are open keep theirs. A certificate that cannot be
    /// used leaves the old one in place.
    ///
    /// # Errors
    /// What is wrong with the new one.
    pub fn reload_certificates(&self) -> Result<(), CertificateError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        match tls.reload() {
            Ok(()) => tracing::info!("certificate read again"),
            Err(error) => {
                tracing::error!(%error, "the new certificate is not used; the old one stays");
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads the key files of `[[auth.tokens]]` again, and has key sets fetched at once. What
    /// cannot be used leaves the old keys in place. Sessions go on until their token ends.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub fn reload_token_keys(&self) -> Result<(), ConfigError> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let reloaded = tokens.reload();
        match &reloaded {
            Ok(()) => tracing::info!("token keys read again"),
            Err(error) => tracing::error!(%error, "not all token keys are new"),
        }
        reloaded
    }

    /// Takes leave: readiness fails at once, every client is told to go and when to come back,
    /// and the server ends when all have gone, or after `drain_ms`. Returns when it has ended.
    pub fn drain_and_stop(mut self) {
        self.shared.draining.store(true, Ordering::Release);
        if let Some(engine) = &self.shared.engine {
            engine.drain();
        }
        let (left, all_left) = mpsc::channel();
        for worker in self.addresses.iter() {
            let retry_ms_max = self.drain.retry_ms_max;
            worker.send(Mail::Drain { retry_ms_max, left: left.clone() });
        }
        drop(left);
        // Nobody ever sends: each worker drops its end when its last client has gone.
        if all_left.recv_timeout(self.drain.longest) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("some clients did not go in time; they are cut off");
        }
        self.end();
    }

    /// Ends the server at once.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.acceptor.stop();
        if let Some(engine) = &self.shared.engine {
            engine.leave(LEAVE);
        }
        for worker in self.addresses.iter() {
            worker.send(Mail::Stop);
        }
        for worker in self.workers.drain(..) {
            // A panic in it has ended the process already.
            _ = worker.join();
        }
        self.http.stop();
        if let Some(mut store) = self.store.take() {
            store.stop();
        }
        self.shared.hooks.close();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn handle(self: &Arc<Self>, addresses: &Arc<[Address]>) -> ServerHandle {
        let line = Workers { addresses: Arc::clone(addresses), shared: Arc::clone(self) };
        ServerHandle::new(Arc::new(line))
    }

    pub(crate) fn now(&self) -> Now {
        Now(self.started.elapsed().as_millis() as u64)
    }

    /// The time since the start, finer than [`Shared::now`].
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn time_to(&self, deadline: Now) -> Duration {
        Duration::from_millis(deadline.0).saturating_sub(self.started.elapsed())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.admissions.total() as u64
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("draining", &self.draining).finish_non_exhaustive()
    }
}

fn namespaces_of(hub: &HubConfig) -> Vec<Arc<str>> {
    hub.namespaces.keys().map(|name| Arc::from(name.as_str())).collect()
}

#[derive(Default)]
struct Bound {
    public: Vec<Listener>,
    listening: Vec<Listening>,
    /// With their places among `listening`.
    sockets: Vec<(u16, TcpListener)>,
    ports: Vec<UnopenedPort>,
}

/// A UDP socket whose transport is not opened yet.
struct UnopenedPort {
    url: String,
    address: SocketAddr,
    socket: UdpSocket,
    listener: u16,
}

impl UnopenedPort {
    fn open(self, shared: &Shared) -> Result<Port, StartError> {
        let Self { url, address, socket, listener } = self;
        let opened = Port::open(socket, listener, shared);
        opened.map_err(|source| StartError::Listen { url, address, hint: hint(&source), source })
    }
}

fn listen(
    urls: &[ListenerUrl],
    config: &Config,
    certificates: &Certificates,
    namespaces: &[Arc<str>],
) -> Result<Bound, StartError> {
    let mut bound = Bound::default();
    for url in urls {
        let http = &config.http;
        let policy = SitePolicy {
            origins: http.origins.clone(),
            hosts: http.hosts.clone(),
            any_host: !url.is_loopback(),
            page_ports: Vec::new(),
        };
        let site = Arc::new(Site {
            policy,
            deflate: http.deflate,
            dialect: url.dialect,
            engineio_path: config.socketio.path_for(url.dialect),
            codec: url.codec,
            enet: url.enet,
            namespaces: namespaces.to_vec(),
        });
        for &address in &url.addresses {
            let transport = transport::of(url.scheme);
            let failed = |source: io::Error| StartError::Listen {
                url: url.to_string(),
                address,
                hint: hint(&source),
                source,
            };
            // Links number their listener with 16 bits.
            let Ok(listener) = u16::try_from(bound.listening.len()) else { break };
            let address = match transport.open {
                Open::Stream(_) => {
                    let socket = acceptor::bind(address).map_err(failed)?;
                    let address = socket.local_addr().map_err(failed)?;
                    bound.sockets.push((listener, socket));
                    address
                }
                Open::Datagrams(_) => {
                    let socket = acceptor::bind_datagrams(address).map_err(failed)?;
                    let address = socket.local_addr().map_err(failed)?;
                    let url = url.to_string();
                    bound.ports.push(UnopenedPort { url, address, socket, listener });
                    address
                }
            };
            let public = format!("{}://{address}", url.scheme);
            bound.public.push(Listener { url: public, address, dialect: url.dialect });
            bound.listening.push(Listening {
                transport,
                site: Arc::clone(&site),
                namespace: url.namespace.as_ref().map(|name| Arc::from(name.as_str())),
                tls: certificates.of(transport),
                address: Some(address),
            });
        }
    }
    know_pages(&mut bound.listening);
    Ok(bound)
}

/// WebTransport is spoken on another port than that of the page that uses it.
fn know_pages(listening: &mut [Listening]) {
    let pages = listening.iter().filter(|l| l.transport.http).filter_map(|l| l.address);
    let ports: Vec<u16> = pages.map(|address| address.port()).collect();
    for one in listening.iter_mut().filter(|l| l.transport.scheme == Scheme::Quic) {
        let mut site = Site::clone(&one.site);
        site.policy.page_ports.clone_from(&ports);
        one.site = Arc::new(site);
    }
}

/// Each port goes to one worker, in turn.
fn give_ports(
    ports: Vec<UnopenedPort>,
    shared: &Shared,
    workers: &[Address],
) -> Result<(), StartError> {
    for (port, worker) in ports.into_iter().zip(workers.iter().cycle()) {
        worker.send(Mail::Port(Box::new(port.open(shared)?)));
    }
    Ok(())
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or choose another port with --listen \
             (port 0: any free one)"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not allowed; ports below 1024 need the capability CAP_NET_BIND_SERVICE".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

fn prepare_workers(count: u16) -> Result<(Arc<[Address]>, Vec<Prepared>), StartError> {
    let both: io::Result<Vec<_>> = (0..count).map(|_| Prepared::new()).collect();
    let (addresses, prepared): (Vec<_>, Vec<_>) = both.map_err(no("epoll"))?.into_iter().unzip();
    Ok((addresses.into(), prepared))
}

fn start_workers(
    prepared: Vec<Prepared>,
    (hub, restored): (HubConfig, Arc<Restored>),
    shared: &Arc<Shared>,
    addresses: &Arc<[Address]>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let hub = Arc::new(hub);
    let node = shared.engine.as_ref().and_then(|engine| NodeId::new(engine.membership.node));
    let node = node.unwrap_or(NodeId::ALONE);
    let mut workers = Vec::new();
    for (worker, prepared) in (0..).zip(prepared) {
        let begin = (Arc::clone(&hub), Arc::clone(&restored));
        let (shared, addresses) = (Arc::clone(shared), Arc::clone(addresses));
        let id = ShardId { node, worker };
        workers.push(prepared.start(id, begin, shared, addresses).map_err(no("thread"))?);
    }
    Ok(workers)
}

fn no(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}
