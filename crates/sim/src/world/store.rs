//! A log in a box: it takes its time, fails, and outlives the server.

use std::collections::VecDeque;

use roomcast_core::record::{Restored, Restoring};
use roomcast_core::{Input, LogEntry, LogNews, Record};
use roomcast_wire::options::Durability;

use super::{Due, World};

/// The log of all servers of a world.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// What was written, with its time.
    lines: Vec<Line>,
    /// On their way to it, with the time of arrival.
    inbox: VecDeque<(u64, u16, LogEntry)>,
    shards: Vec<ShardLog>,
    /// Until when nothing can be written or synced.
    fails_until: u64,
    is_down: bool,
    /// What says how something is, and could not be written.
    owed: Vec<Record>,
    /// When what is written will be on the disk.
    sync_at: Option<u64>,
}

#[derive(Debug)]
struct Line {
    at: u64,
    record: Record,
    /// It counts, though the disk may not have it.
    stands: bool,
}

#[derive(Debug, Default)]
struct ShardLog {
    term: u64,
    written: u64,
    synced: u64,
}

impl Store {
    /// A new server takes the place of the old one; nothing is on its way any more.
    pub fn begin(&mut self, shards: u16, now: u64) -> Restored {
        self.inbox.clear();
        self.shards = (0..shards).map(|_| ShardLog::default()).collect();
        (self.is_down, self.sync_at) = (false, None);
        self.owed.clear();
        let mut restoring = Restoring::default();
        for line in &mut self.lines {
            // What was written and not refused is there, acknowledged or not.
            line.stands = true;
            restoring.add(now - line.at, line.record.clone());
        }
        restoring.finish()
    }

    /// The server ends in good order: what is on its way is written.
    pub fn end(&mut self, now: u64) {
        for (_, shard, entry) in std::mem::take(&mut self.inbox) {
            self.write(now, shard, entry);
        }
        let owed = std::mem::take(&mut self.owed);
        self.lines.extend(owed.into_iter().map(|record| Line { at: now, record, stands: true }));
        for line in &mut self.lines {
            line.stands = true;
        }
    }

    /// Takes an entry, or what of it must not be lost. Whether it is written.
    fn write(&mut self, now: u64, shard: u16, entry: LogEntry) -> bool {
        let is_event = matches!(entry.record, Record::Event { .. } | Record::Snapshot { .. });
        let state = &mut self.shards[usize::from(shard)];
        if is_event && (self.is_down || entry.term != state.term) {
            return false;
        }
        if self.is_down {
            self.owed.push(entry.record);
            return false;
        }
        state.written = entry.number;
        let stands = !is_event || entry.level != Durability::Sync;
        self.lines.push(Line { at: now, record: entry.record, stands });
        true
    }
}

impl World {
    /// From now on, for so long, nothing can be written to the log, nor brought to the disk.
    pub fn fail_log(&mut self, ms: u64) {
        self.store.fails_until = self.now + ms;
    }

    pub(super) fn hand_to_store(&mut self, shard: u16, entry: LogEntry) {
        let at = self.now + self.chance.up_to(self.dials.log_delay_ms);
        let at = self.store.inbox.back().map_or(at, |&(last, ..)| last.max(at));
        self.store.inbox.push_back((at, shard, entry));
        self.set(at, Due::Log);
    }

    /// What has arrived at the log is written, and what was written comes to the disk.
    pub(super) fn work_on_log(&mut self) {
        let now = self.now;
        if self.store.is_down && now >= self.store.fails_until {
            self.log_is_back();
        }
        if self.store.sync_at.is_some_and(|at| at <= now) {
            self.sync_log();
        }
        let mut wrote = false;
        while let Some((_, shard, entry)) = self.store.inbox.pop_front_if(|(at, ..)| *at <= now) {
            if !self.store.is_down && now < self.store.fails_until {
                self.fail();
            }
            wrote |= self.store.write(now, shard, entry);
        }
        if wrote {
            self.tell_what_stands();
            if self.store.sync_at.is_none() {
                let at = now + self.chance.up_to(self.dials.log_delay_ms);
                self.store.sync_at = Some(at);
                self.set(at, Due::Log);
            }
        }
    }

    fn sync_log(&mut self) {
        self.store.sync_at = None;
        if self.now < self.store.fails_until {
            return self.fail();
        }
        for shard in &mut self.store.shards {
            shard.synced = shard.written;
        }
        self.store.lines.iter_mut().for_each(|line| line.stands = true);
        self.tell_what_stands();
    }

    fn fail(&mut self) {
        if self.store.is_down {
            return;
        }
        self.store.is_down = true;
        self.store.lines.retain(|line| line.stands);
        self.store.sync_at = None;
        for shard in 0..self.store.shards.len() as u16 {
            let state = &mut self.store.shards[usize::from(shard)];
            state.term += 1;
            let term = state.term;
            self.news(shard, LogNews::Failed { term });
        }
        self.set(self.store.fails_until, Due::Log);
    }

    fn log_is_back(&mut self) {
        self.store.is_down = false;
        let at = self.now;
        let owed = std::mem::take(&mut self.store.owed);
        let owed = owed.into_iter().map(|record| Line { at, record, stands: true });
        self.store.lines.extend(owed);
        for shard in 0..self.store.shards.len() as u16 {
            self.news(shard, LogNews::Back);
        }
    }

    fn tell_what_stands(&mut self) {
        for shard in 0..self.store.shards.len() as u16 {
            let ShardLog { written, synced, .. } = self.store.shards[usize::from(shard)];
            self.news(shard, LogNews::Stands { written, synced });
        }
    }

    fn news(&mut self, shard: u16, news: LogNews) {
        if let Some(worker) = self.workers.get_mut(usize::from(shard)) {
            worker.news.push_back(Input::Log(news));
            self.set_turn(shard, self.now);
        }
    }
}
