//! Deadlines of links.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roomcast_core::Now;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// When to give up on a handshake.
    Handshake,
    /// When to read again from a link that talked too fast.
    Resume,
    /// When to forget a link whose peer sends nothing more.
    Ended,
    /// When to stop waiting for the last bytes or the peer's close.
    Close,
    /// When to ask the peer of a connection that carries lines for a sign of life.
    Ping,
    /// When to give up waiting for it.
    Pong,
    /// When to close a connection that carries nothing.
    Connect,
    /// When to stop waiting for the attachments of a packet.
    Attachments,
}

/// One deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: Now,
    pub(super) link: u32,
    /// A deadline of an earlier link with the same number is passed over.
    pub(super) generation: u32,
    pub(super) timer: Timer,
}

/// Deadlines, earliest first. They are not taken back: one that does not matter any more is
/// passed over when its time comes, at most seconds later.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Due>>,
}

impl Timers {
    pub(super) fn set(&mut self, due: Due) {
        self.heap.push(Reverse(due));
    }

    pub(super) fn next(&self) -> Option<Now> {
        self.heap.peek().map(|due| due.0.at)
    }

    pub(super) fn take_due(&mut self, now: Now) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        let due = self.heap.pop().map(|due| due.0);
        // A storm of connections must not leave its memory behind.
        if self.heap.is_empty() {
            self.heap = BinaryHeap::new();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_none_before_its_time() {
        let mut timers = Timers::default();
        for at in [30, 10, 20] {
            let timer = Timer::Handshake;
            timers.set(Due { at: Now(at), link: at as u32, generation: 0, timer });
        }
        assert_eq!(timers.next(), Some(Now(10)));
        assert_eq!(timers.take_due(Now(9)), None);
        assert_eq!(timers.take_due(Now(20)).map(|due| due.link), Some(10));
        assert_eq!(timers.take_due(Now(20)).map(|due| due.link), Some(20));
        assert_eq!(timers.take_due(Now(20)), None);
    }
}
