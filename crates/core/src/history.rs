//! What a room keeps of what was said.

use std::collections::VecDeque;
use std::sync::Arc;

use roomcast_wire::Position;
use roomcast_wire::options::HistoryOptions;
use roomcast_wire::push::Event;
use roomcast_wire::reply::Recovery;

use crate::io::Now;

/// The newest reliable events of one epoch, bounded in number, bytes and age.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct History {
    /// The newest reliable event that is no longer kept; 0 if none was ever let go. The first, so
    /// that a room that keeps nothing has it beside what else a publish needs.
    trimmed: u64,
    options: HistoryOptions,
    kept: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    event: Arc<Event>,
    at: Now,
}

impl History {
    pub fn new(options: HistoryOptions) -> Self {
        Self { options, kept: VecDeque::new(), bytes: 0, trimmed: 0 }
    }

    /// Changes the bounds.
    pub fn set_options(&mut self, now: Now, options: HistoryOptions) {
        self.options = options;
        self.trim(now);
    }

    /// Keeps an event, as long as the bounds allow. Its payload must have bytes of its own
    /// ([`Payload::detached`](roomcast_wire::Payload::detached)).
    pub fn push(&mut self, now: Now, event: &Arc<Event>) {
        self.keep(now, event);
        self.trim(now);
    }

    /// The same without a look at the bounds.
    pub fn keep(&mut self, at: Now, event: &Arc<Event>) {
        self.bytes += size(event);
        self.kept.push_back(Kept { event: Arc::clone(event), at });
    }

    /// The newest reliable event that is no longer kept.
    pub fn floor(&self) -> u64 {
        self.trimmed
    }

    /// Passes over an event: nothing is kept ([`HistoryOptions::size`] is 0).
    #[inline]
    pub fn pass_over(&mut self, offset: u64) {
        self.trimmed = offset;
    }

    /// Lets go what is beyond the bounds.
    pub fn trim(&mut self, now: Now) {
        let age_ms = self.options.age_s.saturating_mul(1_000);
        while let Some(oldest) = self.kept.front() {
            let beyond = self.kept.len() > self.options.size as usize
                || self.bytes > self.options.bytes
                // What is older than the server was written before zero, the way numbers wrap.
                || now.0.wrapping_sub(oldest.at.0) > age_ms;
            if !beyond {
                break;
            }
            self.trimmed = offset(&oldest.event);
            self.bytes -= size(&oldest.event);
            self.kept.pop_front();
        }
    }

    /// Everything after `since`, if it is all still here. `head` is the room's newest position.
    pub fn since(
        &mut self,
        now: Now,
        since: Position,
        head: Position,
    ) -> (Recovery, Vec<Arc<Event>>) {
        self.trim(now);
        let verdict = self.verdict(since, head);
        let events = match verdict {
            Recovery::Recovered => self.after(since.offset).cloned().collect(),
            _ => Vec::new(),
        };
        (verdict, events)
    }

    fn verdict(&self, since: Position, head: Position) -> Recovery {
        if since.epoch != head.epoch {
            Recovery::Epoch
        } else if since.offset > head.offset {
            Recovery::Ahead
        } else if since.offset < self.trimmed {
            Recovery::Trimmed
        } else {
            Recovery::Recovered
        }
    }

    /// The newest `limit` events, or the oldest `limit` after `since`; oldest first, and no more
    /// payload than `bytes_max`.
    pub fn page(
        &mut self,
        now: Now,
        since: Option<Position>,
        head: Position,
        limit: usize,
        bytes_max: usize,
    ) -> (Option<Recovery>, Vec<Arc<Event>>) {
        self.trim(now);
        let verdict = since.map(|since| self.verdict(since, head));
        let mut left = bytes_max;
        let mut fits = |event: &&Arc<Event>| {
            let size = size(event);
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        };
        let events = match (since, verdict) {
            (Some(since), Some(Recovery::Recovered)) => {
                self.after(since.offset).take(limit).take_while(&mut fits).cloned().collect()
            }
            _ => {
                let newest = self.kept.iter().rev().map(|kept| &kept.event);
                let mut events: Vec<_> =
                    newest.take(limit).take_while(&mut fits).cloned().collect();
                events.reverse();
                events
            }
        };
        (verdict, events)
    }

    fn after(&self, offset: u64) -> impl Iterator<Item = &Arc<Event>> {
        let start = self.kept.partition_point(|kept| self::offset(&kept.event) <= offset);
        self.kept.range(start..).map(|kept| &kept.event)
    }
}

/// Only events with a position come here.
fn offset(event: &Event) -> u64 {
    event.position.map_or(0, |position| position.offset)
}

/// What an event counts for: its payload and what surrounds it in a frame, roughly.
fn size(event: &Event) -> usize {
    128 + event.payload.as_ref().map_or(0, |payload| payload.bytes().len())
}
