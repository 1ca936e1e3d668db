//! Deadlines of one shard.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roomcast_wire::SessionId;

use crate::io::{LinkId, Now};
use crate::key::{RoomKey, SessionKey};

/// Everything a shard waits for. A deadline whose subject is gone is passed over when it comes:
/// cheaper than finding and removing it, and each link has only one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// When to close a link that has said nothing since it was opened.
    FirstMessage { link: LinkId, generation: u32 },
    /// When to look for signs of life on a link.
    Ping { link: LinkId, generation: u32 },
    /// When to give up on a link that was pinged.
    Pong { link: LinkId, generation: u32 },
    /// When to end a session that was not resumed.
    SessionEnds { session: SessionKey, drop: u32 },
    /// When to see whether a session's token has ended.
    TokenEnds { session: SessionKey, at: Now },
    /// When to give up the seat of a member whose link was lost.
    SeatEnds { room: RoomKey, session: SessionId, drop: u32 },
    /// When to close a room that nobody is in.
    RoomEnds { room: RoomKey },
    /// When to deliver what a room has gathered (`merge_ms`, `tick_ms`).
    RoomFlush { room: RoomKey },
    /// When to tell how many there are (`presence: counts`).
    RoomCounts { room: RoomKey },
    /// When to tell a room's logic of a timer or a tick.
    RoomWake { room: RoomKey },
    /// When to give up on the application's word about a command of a link.
    Hook { link: LinkId, generation: u32 },
    /// When every word of other shards has arrived, so that links can be told goodbye.
    Goodbye,
}

/// Deadlines by time; those of one time in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    count: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Now,
    number: u64,
    deadline: Deadline,
}

impl Timers {
    pub fn set(&mut self, at: Now, deadline: Deadline) {
        self.count += 1;
        self.heap.push(Reverse(Entry { at, number: self.count, deadline }));
    }

    /// The next deadline that has come.
    pub fn due(&mut self, now: Now) -> Option<Deadline> {
        if self.heap.peek()?.0.at > now {
            return None;
        }
        let due = self.heap.pop()?.0.deadline;
        if self.heap.capacity() > 4 * self.heap.len() + 1_024 {
            self.heap.shrink_to(2 * self.heap.len());
        }
        Some(due)
    }

    pub fn next(&self) -> Option<Now> {
        Some(self.heap.peek()?.0.at)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_of_time_then_of_setting() {
        let mut timers = Timers::default();
        let ping = |n| Deadline::Ping { link: LinkId(n), generation: 0 };
        timers.set(Now(20), ping(1));
        timers.set(Now(10), ping(2));
        timers.set(Now(10), ping(3));
        assert_eq!(timers.next(), Some(Now(10)));
        assert_eq!(timers.due(Now(9)), None);
        assert_eq!(timers.due(Now(10)), Some(ping(2)));
        assert_eq!(timers.due(Now(10)), Some(ping(3)));
        assert_eq!(timers.due(Now(10)), None);
        assert_eq!(timers.due(Now(30)), Some(ping(1)));
        assert_eq!(timers.next(), None);
    }
}
