//! The thread that accepts connections and hands them to the workers.

pub(crate) mod admission;
pub(crate) mod refusal;
mod reserve;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::{TcpListener, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use self::admission::Admissions;
use self::refusal::Farewells;
use self::reserve::Reserve;
use crate::config::LimitsConfig;
use crate::server::Shared;
use crate::transport::Transport;
use crate::worker::{Address, Mail, abort_on_panic};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// What the kernel may keep of datagrams that come, or go, while a worker does something else.
const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;

/// How long to wait before accepting again when descriptors have run out and even the reserve
/// could not be had back.
const EXHAUSTED: Duration = Duration::from_millis(100);

const WAKER: Token = Token(usize::MAX);

/// What the acceptor counts.
#[derive(Debug, Default)]
pub(crate) struct AcceptorCounters {
    pub(crate) accepted_total: AtomicU64,
    pub(crate) refused_total: AtomicU64,
    /// Connections dropped because the process had no descriptor left.
    pub(crate) exhausted_total: AtomicU64,
}

/// Opens one listening socket.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    // A restart must not wait for connections of the run before to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` stand for one family each, on every system.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Opens one socket for datagrams.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn bind_datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // One buffer for all peers. The system may give less (net.core.rmem_max, wmem_max).
    socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES)?;
    socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// The running thread.
pub(crate) struct Acceptor {
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Starts accepting. `listeners` come with their places in `shared.listeners`.
    ///
    /// # Errors
    /// The system gives no epoll, descriptor or thread.
    pub(crate) fn start(
        listeners: Vec<(u16, TcpListener)>,
        shared: Arc<Shared>,
        workers: Arc<[Address]>,
        admissions: Arc<Admissions>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = Running {
            poll,
            listeners,
            shared,
            workers,
            admissions,
            reserve: Reserve::new()?,
            farewells: Farewells::default(),
            stop: Arc::clone(&stop),
        };
        for (index, (_, listener)) in running.listeners.iter_mut().enumerate() {
            running.poll.registry().register(listener, Token(index), Interest::READABLE)?;
        }
        let thread = std::thread::Builder::new()
            .name("roomcast-accept".to_owned())
            .spawn(move || abort_on_panic("acceptor", move || running.run()))?;
        Ok(Self { waker, stop, thread: Some(thread) })
    }

    /// Stops listening.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic in it has ended the process already.
            _ = thread.join();
        }
    }
}

struct Running {
    poll: Poll,
    listeners: Vec<(u16, TcpListener)>,
    shared: Arc<Shared>,
    workers: Arc<[Address]>,
    admissions: Arc<Admissions>,
    reserve: Reserve,
    farewells: Farewells,
    stop: Arc<AtomicBool>,
}

impl Running {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        let mut waiting = vec![true; self.listeners.len()];
        while !self.stop.load(Ordering::Acquire) {
            let mut exhausted = false;
            for (index, waiting) in waiting.iter_mut().enumerate() {
                if *waiting {
                    *waiting = self.accept_all(index);
                    exhausted |= *waiting;
                }
            }
            self.farewells.let_go();
            let timeout = if exhausted { Some(EXHAUSTED) } else { self.farewells.time_left() };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "waiting for connections failed");
                    std::process::abort();
                }
            }
            for event in &events {
                if let Some(waiting) = waiting.get_mut(event.token().0) {
                    *waiting = true;
                }
            }
        }
    }

    /// Accepts until nobody waits. Returns whether somebody may still wait.
    fn accept_all(&mut self, index: usize) -> bool {
        loop {
            let Some((place, listener)) = self.listeners.get(index) else { return false };
            match listener.accept() {
                Ok((stream, from)) => {
                    self.reserve.has_recovered();
                    self.hand_on(*place, stream.into(), from);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if reserve::is_exhaustion(&error) => {
                    let counters = &self.shared.acceptor;
                    counters.exhausted_total.fetch_add(1, Ordering::Relaxed);
                    if !self.reserve.shed(listener, &error) {
                        return true;
                    }
                }
                // The peer has gone before it was accepted (accept(2) lists the errors), or a
                // packet filter has refused it.
                Err(error) => tracing::debug!(%error, "a connection was not accepted"),
            }
            if self.stop.load(Ordering::Acquire) {
                return false;
            }
        }
    }

    fn hand_on(&mut self, listener: u16, stream: TcpStream, from: SocketAddr) {
        let Some(listening) = self.shared.listeners.get(usize::from(listener)) else { return };
        let admission = match self.admissions.admit(from.ip()) {
            Ok(admission) => admission,
            Err(refused) => {
                self.shared.acceptor.refused_total.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(peer = %from, ?refused, "connection refused");
                return self.farewells.refuse(stream, listening.transport, refused);
            }
        };
        if let Err(error) = set_options(&stream, listening.transport, &self.shared.limits) {
            tracing::debug!(%error, "a connection has gone before it was set up");
            return;
        }
        self.shared.acceptor.accepted_total.fetch_add(1, Ordering::Relaxed);
        if let Some(worker) = self.workers.iter().min_by_key(|worker| worker.links()) {
            worker.send(Mail::Accepted { stream, listener, admission });
        }
    }
}

/// The kernel finds out about links whose peer is silently gone: an idle one by probes, one with
/// bytes on their way by their age.
fn set_options(stream: &TcpStream, transport: &Transport, limits: &LimitsConfig) -> io::Result<()> {
    let socket = SockRef::from(stream);
    stream.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let idle = Duration::from_millis(limits.ping_ms.max(1_000));
    let probes = Duration::from_millis((limits.pong_ms / 2).max(1_000));
    // WebSocket links are pinged by the hub; on others the kernel asks.
    if !transport.http {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(probes).with_retries(2);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    let unanswered = Duration::from_millis(limits.ping_ms + limits.pong_ms);
    socket.set_tcp_user_timeout(Some(unanswered))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::listener::Scheme;
    use crate::transport;

    #[test]
    fn the_kernel_is_told_when_a_silent_peer_is_gone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let limits = LimitsConfig { ping_ms: 25_000, pong_ms: 10_000, ..LimitsConfig::default() };
        set_options(&stream, transport::of(Scheme::Tcp), &limits).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(25));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(35)));
    }
}
