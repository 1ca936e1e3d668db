//! A room's logic with its timers, its ticks and the calls it waits for.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;

use roomcast_wire::SessionId;

use super::RoomLogic;
use crate::contained::discard;
use crate::io::Now;

/// A room's logic at work.
pub(crate) struct Running {
    pub logic: Box<dyn RoomLogic>,
    pub creator: Option<SessionId>,
    pub timers: RoomTimers,
    pub tick: Option<Tick>,
    /// The logic's own numbers of the calls that wait, by ours.
    pub calls: BTreeMap<u64, u64>,
    pub calls_made: u64,
    /// The shard's deadlines for this room, the next one last.
    armed: Vec<Now>,
}

impl Running {
    pub fn new(logic: Box<dyn RoomLogic>, creator: Option<SessionId>) -> Self {
        Self {
            logic,
            creator,
            timers: RoomTimers::default(),
            tick: None,
            calls: BTreeMap::new(),
            calls_made: 0,
            armed: Vec::new(),
        }
    }

    /// The logic, for a callback to have. It is to be put back.
    pub fn take_logic(&mut self) -> Box<dyn RoomLogic> {
        mem::replace(&mut self.logic, Box::new(Absent))
    }

    /// When something is due.
    pub fn next(&self) -> Option<Now> {
        match (self.timers.next(), self.tick.map(Tick::next)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The deadline that the shard has to set, if none stands before what is due next. One that
    /// stands is kept: one more for each short timer would pile up before a long one.
    pub fn arm(&mut self) -> Option<Now> {
        let next = self.next()?;
        if self.armed.last().is_some_and(|&armed| armed <= next) {
            return None;
        }
        self.armed.push(next);
        Some(next)
    }

    /// One of the shard's deadlines has come. That of a timer that was moved or taken back finds
    /// nothing due.
    pub fn woken(&mut self, now: Now) {
        self.armed.pop_if(|armed| *armed <= now);
    }
}

impl Drop for Running {
    /// Wherever a room ends, with its shard too.
    fn drop(&mut self) {
        discard(self.take_logic());
    }
}

/// Stands where a logic is while a callback has it.
struct Absent;

impl RoomLogic for Absent {}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("next", &self.next()).finish_non_exhaustive()
    }
}

/// The timers of one room: by id, and by time in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct RoomTimers {
    by_id: BTreeMap<u64, (Now, u64)>,
    by_time: BTreeMap<(Now, u64), u64>,
    set: u64,
}

impl RoomTimers {
    pub fn set(&mut self, id: u64, at: Now) {
        self.cancel(id);
        self.set += 1;
        self.by_id.insert(id, (at, self.set));
        self.by_time.insert((at, self.set), id);
    }

    pub fn cancel(&mut self, id: u64) {
        if let Some(when) = self.by_id.remove(&id) {
            self.by_time.remove(&when);
        }
    }

    pub fn due(&mut self, now: Now) -> Option<u64> {
        let (&(at, _), _) = self.by_time.first_key_value()?;
        if at > now {
            return None;
        }
        let (_, id) = self.by_time.pop_first()?;
        self.by_id.remove(&id);
        Some(id)
    }

    pub fn next(&self) -> Option<Now> {
        self.by_time.first_key_value().map(|(&(at, _), _)| at)
    }

    pub fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// A room's clock. Its ticks stand on a grid, so that a late one does not delay the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    ms: u64,
    next: Now,
    /// The number of the last tick that was told.
    last: u64,
}

impl Tick {
    /// A clock whose grid goes through `phase`, so that the rooms of a worker do not all tick at
    /// the same instant. `last`: the number of the last tick of the clock it replaces.
    pub fn new(now: Now, ms: u32, phase: u64, last: u64) -> Self {
        let ms = u64::from(ms.max(1));
        let passed = (now.0 + ms - phase % ms) % ms;
        Self { ms, next: now.plus(ms - passed), last }
    }

    pub fn next(self) -> Now {
        self.next
    }

    /// The number of the newest tick that is due.
    pub fn due(&mut self, now: Now) -> Option<u64> {
        let late = now.0.checked_sub(self.next.0)?;
        let due = late / self.ms + 1;
        self.last += due;
        self.next = self.next.plus(due * self.ms);
        Some(self.last)
    }

    pub fn last(self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Relays;

    impl RoomLogic for Relays {}

    #[test]
    fn ticks_stand_on_their_grid_and_late_ones_are_skipped() {
        let mut tick = Tick::new(Now(1_000), 50, 7, 0);
        assert_eq!(tick.next(), Now(1_007));
        assert_eq!(tick.due(Now(1_006)), None);
        assert_eq!(tick.due(Now(1_007)), Some(1));
        assert_eq!(tick.due(Now(1_007)), None);
        assert_eq!(tick.next(), Now(1_057));
        // 3 ms late, and then so late that two are lost: the grid stays.
        assert_eq!(tick.due(Now(1_060)), Some(2));
        assert_eq!(tick.next(), Now(1_107));
        assert_eq!(tick.due(Now(1_220)), Some(5));
        assert_eq!(tick.next(), Now(1_257));
        let faster = Tick::new(Now(1_230), 10, 7, tick.last());
        assert_eq!((faster.next(), faster.last()), (Now(1_237), 5));
    }

    #[test]
    fn a_tick_is_at_least_a_little_later_than_its_start_even_near_zero() {
        for now in 0..30 {
            for phase in 0..30 {
                let tick = Tick::new(Now(now), 10, phase, 0);
                assert!(tick.next() > Now(now) && tick.next() <= Now(now + 10), "{now} {phase}");
            }
        }
    }

    #[test]
    fn short_timers_before_a_long_one_leave_no_deadlines_behind() {
        let mut running = Running::new(Box::new(Relays), None);
        running.timers.set(1, Now(1_000_000));
        assert_eq!(running.arm(), Some(Now(1_000_000)));
        for now in 1..1_000 {
            running.timers.set(2, Now(now));
            assert_eq!(running.arm(), Some(Now(now)));
            running.woken(Now(now));
            assert_eq!(running.timers.due(Now(now)), Some(2));
            assert_eq!(running.arm(), None, "the deadline of the long one stands");
        }
        // Taken back: the deadline that stands looks for what is due after it.
        running.timers.cancel(1);
        running.timers.set(3, Now(2_000_000));
        assert_eq!(running.arm(), None);
        running.woken(Now(1_000_000));
        assert_eq!(running.arm(), Some(Now(2_000_000)));
    }

    #[test]
    fn timers_come_by_time_and_can_be_moved_and_taken_back() {
        let mut timers = RoomTimers::default();
        timers.set(1, Now(30));
        timers.set(2, Now(20));
        timers.set(3, Now(20));
        timers.set(1, Now(10));
        timers.cancel(3);
        timers.cancel(9);
        assert_eq!((timers.len(), timers.next()), (2, Some(Now(10))));
        assert_eq!(timers.due(Now(20)), Some(1));
        assert_eq!(timers.due(Now(20)), Some(2));
        assert_eq!((timers.due(Now(99)), timers.next()), (None, None));
    }
}
