//! Which sockets are ready: epoll, through mio. What another way to wait (`io_uring`) would have
//! to offer is what stands here.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token, Waker};

/// Events taken from the kernel at once. More come with the next turn.
const EVENTS_MAX: usize = 1024;

/// No link has this number: the table of links ends at `u32::MAX`.
const WAKER: Token = Token(usize::MAX);

/// Ports are numbered from here on, beyond every link.
const PORTS: usize = 1 << 32;

/// Tells which sockets are ready. A socket that is ready is told once, until it was used up.
pub(super) struct Readiness {
    poll: Poll,
    events: Events,
}

/// Whose socket something happened to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Link(u32),
    Port(u16),
}

/// What happened to one socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) source: Source,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) read_closed: bool,
}

impl Readiness {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENTS_MAX) })
    }

    /// What ends a wait from another thread.
    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER)
    }

    pub(super) fn add(&self, socket: &mut TcpStream, link: u32) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(socket, Token(link as usize), both)
    }

    pub(super) fn add_port(&self, socket: &mut UdpSocket, port: u16) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(socket, Token(PORTS + usize::from(port)), both)
    }

    pub(super) fn remove(&self, socket: &mut TcpStream) -> io::Result<()> {
        self.poll.registry().deregister(socket)
    }

    /// Waits until something is ready, the waker is used, or the time is over.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// What the last wait found.
    pub(super) fn ready(&self) -> impl Iterator<Item = Ready> {
        self.events.iter().filter(|event| event.token() != WAKER).map(|event| Ready {
            source: match event.token().0 {
                port @ PORTS.. => Source::Port((port - PORTS) as u16),
                link => Source::Link(link as u32),
            },
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable() || event.is_error(),
            read_closed: event.is_read_closed() || event.is_error(),
        })
    }
}
