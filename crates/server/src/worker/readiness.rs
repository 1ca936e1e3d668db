//! Which sockets are ready: epoll, through mio. What another way to wait (`io_uring`) would have
//! to offer is what stands here.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Events taken from the kernel at once. More come with the next turn.
const EVENTS_MAX: usize = 1024;

/// `epoll_wait` counts milliseconds, and mio rounds up: a room that ticks would be half of one late
/// in the middle.
const EPOLL_STEP: Duration = Duration::from_millis(1);

/// No link has this number: the table of links ends at `u32::MAX`.
const WAKER: Token = Token(usize::MAX);

/// Tells which sockets are ready. A socket that is ready is told once, until it was used up.
pub(super) struct Readiness {
    poll: Poll,
    events: Events,
}

/// What happened to one link's socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) link: u32,
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

    pub(super) fn remove(&self, socket: &mut TcpStream) -> io::Result<()> {
        self.poll.registry().deregister(socket)
    }

    /// Waits until something is ready, the waker is used, or the time is over: then at most as
    /// long as it says. Of a longer time the last part of a millisecond is left for another call.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = match timeout {
            Some(short) if !short.is_zero() && short < EPOLL_STEP => {
                self.wait_finely(short)?;
                Some(Duration::ZERO)
            }
            Some(long) => Some(Duration::from_millis(long.as_millis() as u64)),
            None => None,
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// `ppoll` on the epoll itself knows nanoseconds.
    fn wait_finely(&self, timeout: Duration) -> io::Result<()> {
        let mut this = [PollFd::new(self.poll.registry(), PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        match event::poll(&mut this, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the last wait found.
    pub(super) fn ready(&self) -> impl Iterator<Item = Ready> {
        self.events.iter().filter(|event| event.token() != WAKER).map(|event| Ready {
            link: event.token().0 as u32,
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable() || event.is_error(),
            read_closed: event.is_read_closed() || event.is_error(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_ends_in_the_millisecond_in_which_its_time_does() {
        let mut readiness = Readiness::new().unwrap();
        let mut took = |wait: Duration| {
            let from = Instant::now();
            readiness.wait(Some(wait)).unwrap();
            from.elapsed()
        };
        // The shortest of some: this thread may not run when it could.
        let short = (0..50).map(|_| took(Duration::from_micros(300))).min().unwrap();
        assert!(short >= Duration::from_micros(300) && short < EPOLL_STEP, "{short:?}");
        let long = (0..50).map(|_| took(Duration::from_micros(2_400))).min().unwrap();
        assert!(long >= 2 * EPOLL_STEP && long < Duration::from_micros(2_400), "{long:?}");
    }

    #[test]
    fn a_short_wait_ends_when_it_is_woken() {
        let mut readiness = Readiness::new().unwrap();
        let waker = readiness.waker().unwrap();
        waker.wake().unwrap();
        let from = Instant::now();
        readiness.wait(Some(Duration::from_micros(999))).unwrap();
        assert_eq!(readiness.events.iter().count(), 1, "{:?}", from.elapsed());
    }
}
