//! The thread of one core: one shard, the sockets it serves, and the loop that joins them.
//!
//! ```text
//! turn:  wait → mail → timers → read → end of turn → write → wake the others
//! ```
//! Nothing here waits but the first step, and nothing takes a lock. Only [`Worker::tell`] calls
//! `Shard::handle`; a full drain of its outputs follows each call.

mod carrier;
mod closing;
mod exchange;
mod flush;
mod inbox;
mod lines;
mod link;
mod mailbox;
mod outputs;
mod peers;
mod port;
mod readiness;
mod receive;
mod socket;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use roomcast_core::{
    HubConfig, Input, LinkId, LinkLoss, LogEntry, Now, Restored, ServerReply, Shard, ShardId,
};
use tokio::sync::oneshot;

pub(crate) use self::exchange::{Exchange, Successor};
use self::inbox::Inbox;
use self::lines::Lines;
pub(crate) use self::link::Link;
use self::link::{Flags, Stage};
use self::mailbox::Mailbox;
pub(crate) use self::mailbox::{Address, CALLS_MAX, Mail};
pub(crate) use self::port::Port;
use self::readiness::{Readiness, Ready, Source};
use self::socket::Socket;
use self::timers::{Due, Timer, Timers};
use crate::acceptor::admission::Admission;
use crate::engine::{Engine, Sending};
use crate::hooks::Voice;
use crate::metrics::{self, WorkerCounters};
use crate::server::Shared;
use crate::transport::datagrams::Told;
use crate::transport::{self, Open, Protocol};

/// Bytes read from one link in a turn: one that talks much must not keep the others waiting.
const READ_BYTES: usize = 64 << 10;

/// What small messages are cut from. A message that is kept (history) keeps the whole piece: so
/// not larger than this.
const ARENA_BYTES: usize = 16 << 10;

/// How long a worker waits that has links to read and another worker that can take no more.
const CONGESTED: Duration = Duration::from_millis(1);

/// Links that must have gone before their table is made smaller.
const LINKS_LEFT: usize = 1_024;

/// Words of mail in a turn.
const MAILS_PER_TURN: usize = 4096;

/// The thread of one core.
pub(crate) struct Worker {
    id: ShardId,
    shared: Arc<Shared>,
    /// The ways to all workers, this one included, by number.
    addresses: Arc<[Address]>,
    mailbox: Mailbox,
    readiness: Readiness,
    shard: Shard,
    now: Now,
    links: Lines,
    /// The UDP sockets of this worker.
    ports: Vec<Port>,
    /// What a port has told, while it is listened to.
    told: Vec<Told>,
    /// Peers that are not held any more, or for one reason less.
    freed: Vec<u32>,
    /// The time since the start at the beginning of the turn.
    moment: Duration,
    /// Links that were removed since the table was last made smaller.
    removed: usize,
    generation: u32,
    timers: Timers,
    /// Links that may have something to read.
    ready: Vec<u32>,
    /// Links with something to write that the shard does not know of.
    dirty: Vec<u32>,
    /// Links to be closed at the end of the turn.
    closes: Vec<u32>,
    /// Workers that were sent something in this turn.
    to_wake: Vec<bool>,
    /// The way to other nodes; none: there are no others.
    engine: Option<Engine>,
    /// Words of this turn for other nodes.
    sending: Sending,
    calls: HashMap<u64, oneshot::Sender<ServerReply>>,
    calls_made: u64,
    /// Tells what happens in the shard.
    voice: Voice,
    /// What hooks and handlers decided at once, for the shard.
    decided: VecDeque<Input>,
    /// What durable rooms have for the log.
    log_entries: Vec<LogEntry>,
    /// Kept until nobody is left.
    draining: Option<mpsc::Sender<()>>,
    stopped: bool,
    /// The shard was told something after the end of the turn: take another at once.
    again: bool,
    scratch: Box<[u8]>,
    inbox: Inbox,
    arena: BytesMut,
    counters: Arc<WorkerCounters>,
    io: metrics::IoCounters,
}

/// A worker that can be started as soon as the ways to all others are known.
pub(crate) struct Prepared {
    readiness: Readiness,
    mailbox: Mailbox,
}

impl Prepared {
    /// Opens the worker's epoll and mailbox.
    ///
    /// # Errors
    /// The system gives no epoll or event descriptor.
    pub(crate) fn new() -> io::Result<(Address, Self)> {
        let readiness = Readiness::new()?;
        let (address, mailbox) = mailbox::mailbox(readiness.waker()?);
        Ok((address, Self { readiness, mailbox }))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        self,
        id: ShardId,
        (hub, restored): (Arc<HubConfig>, Arc<Restored>),
        shared: Arc<Shared>,
        addresses: Arc<[Address]>,
    ) -> io::Result<JoinHandle<()>> {
        let name = format!("roomcast-{}", id.worker);
        std::thread::Builder::new().name(name).spawn(move || {
            shared.watch.enter(id);
            abort_on_panic("worker", move || {
                let shard = Shard::restored(hub, id, shared.now(), &restored);
                // It may be much, and has found its places.
                drop(restored);
                Worker::new(self, id, shard, shared, addresses).run();
            });
        })
    }
}

/// Runs `body`. A panic in it is a fault of ours: half a server is worse than none, so the process
/// ends, with a word why, and its supervisor starts another.
pub(crate) fn abort_on_panic(what: &str, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        tracing::error!("a {what} thread panicked (see above); the process ends");
        eprintln!("roomcast: a {what} thread panicked; please report this; the process ends");
        std::process::abort();
    }
}

impl Worker {
    fn new(
        prepared: Prepared,
        id: ShardId,
        shard: Shard,
        shared: Arc<Shared>,
        addresses: Arc<[Address]>,
    ) -> Self {
        let counters = Arc::clone(&shared.counters[usize::from(id.worker)]);
        let voice = shared.hooks.voice();
        Self {
            id,
            to_wake: vec![false; addresses.len()],
            engine: shared.engine.clone(),
            sending: Sending::default(),
            mailbox: prepared.mailbox,
            readiness: prepared.readiness,
            shard,
            now: shared.now(),
            shared,
            addresses,
            links: Lines::default(),
            ports: Vec::new(),
            told: Vec::new(),
            freed: Vec::new(),
            moment: Duration::ZERO,
            removed: 0,
            generation: 0,
            timers: Timers::default(),
            ready: Vec::new(),
            dirty: Vec::new(),
            closes: Vec::new(),
            calls: HashMap::new(),
            calls_made: 0,
            voice,
            decided: VecDeque::new(),
            log_entries: Vec::new(),
            draining: None,
            stopped: false,
            again: true,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            inbox: Inbox::default(),
            arena: BytesMut::with_capacity(ARENA_BYTES),
            counters,
            io: metrics::IoCounters::default(),
        }
    }

    fn run(mut self) {
        while !self.stopped {
            if let Err(error) = self.turn() {
                tracing::error!(worker = self.id.worker, %error, "waiting for sockets failed");
                std::process::abort();
            }
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        self.read_mail();
        self.run_timers();
        self.read_links();
        self.read_ports();
        self.end_turn();
        self.flush_links();
        self.flush_ports();
        self.wake_others();
        self.counters.publish(self.shard.counters(), &self.io);
        if self.draining.is_some() && self.nobody_left() {
            self.draining = None;
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = if std::mem::take(&mut self.again) {
            Some(Duration::ZERO)
        } else if self.ready.is_empty() {
            self.time_to_deadline()
        } else if self.is_congested() {
            Some(CONGESTED)
        } else {
            Some(Duration::ZERO)
        };
        self.readiness.wait(timeout)?;
        self.moment = self.shared.elapsed();
        self.now = Now(self.moment.as_millis() as u64);
        self.io.turns_total += 1;
        for Ready { source, readable, writable, read_closed } in self.readiness.ready() {
            let key = match source {
                Source::Link(key) => key,
                Source::Port(port) => {
                    let Some(port) = self.ports.get_mut(usize::from(port)) else { continue };
                    port.readable |= readable;
                    port.blocked &= !writable;
                    continue;
                }
            };
            let Some(link) = self.links.get_mut(key as usize) else { continue };
            link.flags.read_closed |= read_closed;
            if readable {
                link.flags.readable = true;
                queue(link, key, &mut self.ready);
                self.shard.prefetch(LinkId(key));
            }
            if writable && (link.flags.blocked || link.socket.wants_write()) {
                link.flags.blocked = false;
                mark_dirty(link, key, &mut self.dirty);
            }
        }
        Ok(())
    }

    fn time_to_deadline(&self) -> Option<Duration> {
        let deadlines = [self.shard.next_deadline(), self.timers.next()];
        let deadline = deadlines.into_iter().flatten().min();
        let own = deadline.map(|deadline| self.shared.time_to(deadline));
        own.into_iter().chain(self.time_to_ports()).min()
    }

    /// Whether another worker or the engine has more to read than it should.
    fn is_congested(&self) -> bool {
        self.addresses.iter().any(Address::is_congested)
            || self.engine.as_ref().is_some_and(Engine::is_congested)
    }

    fn read_mail(&mut self) {
        self.mailbox.open();
        for _ in 0..MAILS_PER_TURN {
            let Some(mail) = self.mailbox.take() else { return };
            self.read_one(mail);
        }
        self.again = true;
    }

    fn read_one(&mut self, mail: Mail) {
        match mail {
            Mail::Accepted { stream, listener, admission } => {
                self.take_on(stream, listener, admission);
            }
            Mail::Upgraded { stream, listener, admission, format } => {
                let protocol = transport::websocket(format);
                let link = self.new_link(stream, None, protocol, (listener, admission));
                if let Some(key) = self.add(link) {
                    self.open(key, listener, format, None);
                }
            }
            Mail::Polled { stream, listener, admission, exchange } => {
                self.take_on_polled(stream, (listener, admission), exchange);
            }
            Mail::Port(port) => self.take_port(*port),
            Mail::Envelope { from, envelope } => self.tell(Input::Envelope { from, envelope }),
            Mail::Moved { link, message, line: None } => self.take_over(*link, message),
            Mail::Moved { link, message, line: Some(line) } => {
                self.take_over_carrier(*link, *line, message);
            }
            Mail::Call { call, reply } => {
                self.calls_made += 1;
                let id = self.calls_made;
                self.calls.insert(id, reply);
                self.tell(Input::Call { id, call });
            }
            Mail::TaskDone { room, call, answer } => {
                self.tell(Input::TaskDone { room, call, answer });
            }
            Mail::Decided(input) | Mail::Cluster(input) => self.tell(input),
            Mail::Log(news) => self.tell(Input::Log(news)),
            Mail::Drain { retry_ms_max, left } => {
                self.draining = Some(left);
                self.close_idle_carriers();
                self.tell(Input::Drain { retry_ms_max });
            }
            Mail::Stop => self.stopped = true,
        }
    }

    /// A new connection: its handshake begins.
    fn take_on(&mut self, stream: std::net::TcpStream, listener: u16, admission: Admission) {
        let Some(listening) = self.shared.listeners.get(usize::from(listener)) else {
            return self.mailbox.link_gone();
        };
        let tls = match &listening.tls {
            None => None,
            Some(tls) => match tls.connection() {
                Ok(connection) => Some(Box::new(connection)),
                Err(error) => {
                    tracing::error!(%error, "TLS cannot begin");
                    return self.mailbox.link_gone();
                }
            },
        };
        let patience_ms = if listening.transport.http || tls.is_some() {
            self.shared.limits.handshake_ms
        } else {
            self.shared.limits.first_message_ms
        };
        let Open::Stream(open) = listening.transport.open else {
            return self.mailbox.link_gone();
        };
        let protocol = open(&listening.site);
        let link = self.new_link(stream, tls, protocol, (listener, admission));
        if let Some(key) = self.add(link) {
            self.set_timer(key, patience_ms, Timer::Handshake);
        }
    }

    /// A session that begins with HTTP long-polling, which is spoken elsewhere.
    fn take_on_polled(
        &mut self,
        stream: std::net::TcpStream,
        (listener, admission): (u16, Admission),
        exchange: Arc<Exchange>,
    ) {
        let Some(listening) = self.shared.listeners.get(usize::from(listener)) else {
            return self.mailbox.link_gone();
        };
        let packet_bytes_max = self.shared.socketio.max_payload;
        let protocol = transport::engineio(listening.site.dialect, packet_bytes_max);
        let link = self.new_link(stream, None, protocol, (listener, admission));
        if let Some(key) = self.add(link) {
            self.carry(key, Some(exchange));
        }
    }

    fn new_link(
        &mut self,
        stream: std::net::TcpStream,
        tls: Option<Box<rustls::ServerConnection>>,
        protocol: Box<dyn Protocol>,
        (listener, admission): (u16, Admission),
    ) -> Link {
        let stream = mio::net::TcpStream::from_std(stream);
        self.generation = self.generation.wrapping_add(1);
        Link {
            socket: Socket { stream, tls },
            protocol,
            unread: BytesMut::new(),
            stage: Stage::Handshake,
            generation: self.generation,
            listener,
            paused_until: Now::default(),
            flags: Flags::default(),
            admission,
        }
    }

    /// A link from another worker: its session lives here.
    fn take_over(&mut self, mut link: Link, message: bytes::Bytes) {
        let Some(format) = link.format() else { return self.mailbox.link_gone() };
        self.renew(&mut link);
        let listener = link.listener;
        let Some(key) = self.add(link) else { return };
        self.open(key, listener, format, None);
        if self.is_open(key) {
            self.tell(Input::Message { link: LinkId(key), bytes: message });
        }
        if let Some(link) = self.links.get_mut(key as usize) {
            queue(link, key, &mut self.ready);
        }
    }

    /// Makes a link from another worker one of this.
    fn renew(&mut self, link: &mut Link) {
        self.generation = self.generation.wrapping_add(1);
        link.generation = self.generation;
        link.flags = Flags { read_closed: link.flags.read_closed, ..Flags::default() };
        link.flags.unprocessed = !link.unread.is_empty();
        link.flags.owes_answer = link.protocol.owes_answer();
        // Readiness that was used up over there is not told again here.
        link.flags.readable = true;
    }

    fn add(&mut self, mut link: Link) -> Option<u32> {
        let key = self.links.vacant_key() as u32;
        if let Err(error) = self.readiness.add(&mut link.socket.stream, key) {
            tracing::warn!(%error, "a connection cannot be watched; it is closed");
            self.mailbox.link_gone();
            return None;
        }
        self.links.insert(link);
        Some(key)
    }

    /// Takes a link out of the table. The shard must have forgotten it.
    fn remove(&mut self, key: u32) -> Option<Link> {
        let mut link = self.links.try_remove(key as usize)?;
        // It fails only if the descriptor is not watched, which is what is wanted.
        _ = self.readiness.remove(&mut link.socket.stream);
        self.mailbox.link_gone();
        self.removed += 1;
        // A crowd that has left leaves no table behind; rarely, as this looks through it.
        if self.removed >= LINKS_LEFT.max(self.links.capacity() / 4) {
            self.removed = 0;
            self.links.shrink();
        }
        Some(link)
    }

    /// The shard gets to know a link.
    fn open(
        &mut self,
        key: u32,
        listener: u16,
        format: roomcast_wire::Format,
        namespace: Option<Arc<str>>,
    ) {
        let listening = self.shared.listeners.get(usize::from(listener));
        let namespace =
            namespace.or_else(|| listening.and_then(|listening| listening.namespace.clone()));
        if let Some(link) = self.links.get_mut(key as usize) {
            link.stage = Stage::Open(format);
        }
        self.tell(Input::Opened { link: LinkId(key), format, namespace });
    }

    fn is_open(&self, key: u32) -> bool {
        self.links.get(key as usize).is_some_and(|link| link.format().is_some())
    }

    fn set_timer(&mut self, key: u32, after_ms: u64, timer: Timer) {
        let generation = match self.links.get(key as usize) {
            Some(link) => Some(link.generation),
            None => self.links.peer(key).map(|peer| peer.generation),
        };
        if let Some(generation) = generation {
            self.timers.set(Due { at: self.now.plus(after_ms), link: key, generation, timer });
        }
    }

    fn run_timers(&mut self) {
        if self.shard.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.tell(Input::Tick);
        }
        while let Some(due) = self.timers.take_due(self.now) {
            let Some(link) = self.links.get_mut(due.link as usize) else {
                self.resume_peer(due);
                continue;
            };
            if link.generation != due.generation {
                continue;
            }
            match due.timer {
                Timer::Handshake => self.give_up_handshake(due.link),
                // A longer pause was asked for since: it has a timer of its own.
                Timer::Resume if link.paused_until > self.now => {}
                Timer::Resume => {
                    link.flags.paused = false;
                    queue(link, due.link, &mut self.ready);
                }
                Timer::Ended => self.begin_closing(due.link, None, LinkLoss::Closed),
                Timer::Close => self.give_up_closing(due.link),
                Timer::Ping | Timer::Pong | Timer::Connect | Timer::Attachments => {
                    self.run_carrier_timer(due.link, due.timer);
                }
            }
        }
    }

    /// The only caller of `Shard::handle`.
    fn tell(&mut self, input: Input) {
        self.shard.handle(self.now, input);
        self.drain_outputs();
        while let Some(input) = self.decided.pop_front() {
            self.shard.handle(self.now, input);
            self.drain_outputs();
        }
    }

    fn end_turn(&mut self) {
        self.shard.end_turn(self.now);
        self.drain_outputs();
        self.hand_to_log();
        self.close_links();
    }

    /// The shard forgets a link that is open for it.
    fn lose(&mut self, key: u32, loss: LinkLoss) {
        self.again = true;
        self.tell(Input::Closed { link: LinkId(key), loss });
    }

    fn wake_others(&mut self) {
        if let Some(engine) = &self.engine
            && !self.sending.is_empty()
        {
            engine.send(&mut self.sending);
        }
        for (wake, address) in self.to_wake.iter_mut().zip(self.addresses.iter()) {
            if std::mem::take(wake) {
                address.wake();
            }
        }
    }

    fn nobody_left(&self) -> bool {
        self.links.links().all(|(_, link)| matches!(link.stage, Stage::Handshake))
            && !self.links.has_peers()
            && self.ports.iter().all(Port::is_idle)
    }
}

fn queue(link: &mut Link, key: u32, ready: &mut Vec<u32>) {
    if !link.flags.queued {
        link.flags.queued = true;
        ready.push(key);
    }
}

fn mark_dirty(link: &mut Link, key: u32, dirty: &mut Vec<u32>) {
    if !link.flags.dirty {
        link.flags.dirty = true;
        dirty.push(key);
    }
}
