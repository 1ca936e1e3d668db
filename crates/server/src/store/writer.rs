//! The thread of the log: takes what shards hand over, writes it in groups, says what stands.
//!
//! While it waits for the disk, what comes meanwhile gathers and is the next group: so the rate of
//! groups is the disk's, and their size the load's.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roomcast_core::record::LogId;
use roomcast_core::{LogEntry, LogNews, Record};
use roomcast_wire::SessionId;
use roomcast_wire::options::Durability;

use super::frame::Line;
use super::log::Log;

/// How long what needs no sync may be without one.
const SYNC: Duration = Duration::from_secs(1);

/// How long a log that has failed is left alone.
const RETRY: Duration = Duration::from_millis(500);

/// Bytes of payload that make a group; 16 times as much waits for the disk at most, as shards
/// hand over no more (`limits.log_waiting_bytes`).
const GROUP_BYTES: usize = 1 << 20;

/// What the thread is told.
pub(crate) enum Job {
    /// What a shard hands over.
    Entries { shard: usize, entries: Vec<LogEntry> },
    /// Write what is there, and end in good order.
    Stop,
}

/// Tells a shard.
pub(crate) type Tell = Box<dyn Fn(usize, LogNews) + Send>;

/// The writer of a log.
pub(super) struct Writer {
    log: Log,
    shards: Vec<ShardState>,
    tell: Tell,
    /// Why nothing is taken, and when to try again.
    failed: Option<Instant>,
    /// What has to be written first when the log is back: the newest of each.
    owed: BTreeMap<Owed, Record>,
    synced_at: Instant,
}

#[derive(Default)]
struct ShardState {
    term: u64,
    written: u64,
    synced: u64,
    told: (u64, u64),
}

/// What a record says how it is: a later one of the same takes its place. Sorted so that a room
/// comes before what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    Room(LogId),
    Session(SessionId),
    Seat(LogId, SessionId),
}

impl Writer {
    pub fn new(log: Log, shards: usize, tell: Tell) -> Self {
        Self {
            log,
            shards: (0..shards).map(|_| ShardState::default()).collect(),
            tell,
            failed: None,
            owed: BTreeMap::new(),
            synced_at: Instant::now(),
        }
    }

    /// Works until it is told to stop.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut is_tidy = false;
        loop {
            let patience = match self.failed {
                Some(until) => until.saturating_duration_since(Instant::now()),
                None if !is_tidy => Duration::ZERO,
                None if self.log.is_unsynced() => SYNC.saturating_sub(self.synced_at.elapsed()),
                None => Duration::from_secs(60),
            };
            let first = match jobs.recv_timeout(patience) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Job::Stop),
            };
            let mut group = Group::default();
            let mut next = first;
            while let Some(job) = next {
                group.take(job);
                next = (group.bytes < GROUP_BYTES).then(|| jobs.try_recv().ok()).flatten();
            }
            let stops = group.stops;
            self.write(group);
            if stops {
                return self.end();
            }
            is_tidy = self.look_after();
        }
    }

    /// What is done beside writing. Whether nothing is left to do.
    fn look_after(&mut self) -> bool {
        if self.failed.is_some_and(|until| until <= Instant::now()) {
            self.try_again();
        }
        if self.failed.is_some() {
            return true;
        }
        if self.log.is_unsynced() && self.synced_at.elapsed() >= SYNC {
            self.sync();
        }
        match self.log.tidy(now_ms()) {
            Ok(more) => !more,
            Err(error) => {
                self.fail(&error);
                true
            }
        }
    }

    fn write(&mut self, group: Group) {
        let mut lines = Vec::with_capacity(group.entries.len());
        let mut waits = false;
        for (shard, entry) in group.entries {
            let Some(state) = self.shards.get_mut(shard) else { continue };
            let is_event = matches!(entry.record, Record::Event { .. } | Record::Snapshot { .. });
            if is_event && (self.failed.is_some() || entry.term != state.term) {
                continue;
            }
            if self.failed.is_some() {
                owe(&mut self.owed, entry.record);
                continue;
            }
            state.written = entry.number;
            let stands = !is_event || entry.level != Durability::Sync;
            waits |= !stands;
            lines.push((0, Line::Record(entry.record), stands));
        }
        if lines.is_empty() {
            return;
        }
        let now = now_ms();
        lines.iter_mut().for_each(|line| line.0 = now);
        // They are needed once more if this fails.
        let states: Vec<_> = lines.iter().filter_map(|(_, line, _)| is_state(line)).collect();
        if let Err(error) = self.log.append_each(lines) {
            states.into_iter().for_each(|record| owe(&mut self.owed, record));
            return self.fail(&error);
        }
        self.tell_all();
        if waits || self.log.unsynced_bytes() > 4 * GROUP_BYTES as u64 {
            self.sync();
        }
    }

    fn sync(&mut self) {
        match self.log.sync() {
            Ok(()) => {
                self.synced_at = Instant::now();
                for shard in &mut self.shards {
                    shard.synced = shard.written;
                }
                self.tell_all();
            }
            Err(error) => self.fail(&error),
        }
    }

    fn tell_all(&mut self) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let (written, synced) = (shard.written, shard.synced);
            if shard.told != (written, synced) {
                shard.told = (written, synced);
                (self.tell)(number, LogNews::Stands { written, synced });
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if self.failed.is_none() {
            tracing::error!(
                %error,
                "the log cannot be written: publications to durable rooms are refused until it can"
            );
            for (number, shard) in self.shards.iter_mut().enumerate() {
                shard.term += 1;
                (self.tell)(number, LogNews::Failed { term: shard.term });
            }
        }
        self.failed = Some(Instant::now() + RETRY);
    }

    fn try_again(&mut self) {
        let owed = self.owed.values().cloned().map(Line::Record).collect();
        if let Err(error) = self.log.begin_again(now_ms(), owed) {
            tracing::debug!(%error, "the log can still not be written");
            return self.failed = Some(Instant::now() + RETRY);
        }
        tracing::info!("the log can be written again");
        self.owed.clear();
        self.failed = None;
        self.synced_at = Instant::now();
        for (number, _) in self.shards.iter().enumerate() {
            (self.tell)(number, LogNews::Back);
        }
    }

    fn end(mut self) {
        if self.failed.is_some() {
            self.try_again();
        }
        let ended = self.log.sync().and_then(|()| {
            self.log.append(now_ms(), [Line::Stopped], true)?;
            self.log.sync()
        });
        if let Err(error) = ended {
            tracing::error!(%error, "the log did not end in good order");
        }
    }
}

/// What is written together.
#[derive(Default)]
struct Group {
    entries: Vec<(usize, LogEntry)>,
    bytes: usize,
    stops: bool,
}

impl Group {
    fn take(&mut self, job: Job) {
        match job {
            Job::Entries { shard, entries } => {
                let bytes = |entry: &LogEntry| match &entry.record {
                    Record::Event { event, .. } => {
                        event.payload.as_ref().map_or(0, |payload| payload.bytes().len())
                    }
                    Record::Snapshot { state, .. } => state.len(),
                    _ => 0,
                };
                self.bytes += entries.iter().map(|entry| 128 + bytes(entry)).sum::<usize>();
                self.entries.extend(entries.into_iter().map(|entry| (shard, entry)));
            }
            Job::Stop => self.stops = true,
        }
    }
}

/// A record that says how something is, not what happened.
fn is_state(line: &Line) -> Option<Record> {
    match line {
        Line::Record(Record::Event { .. } | Record::Snapshot { .. }) => None,
        Line::Record(record) => Some(record.clone()),
        _ => None,
    }
}

fn owe(owed: &mut BTreeMap<Owed, Record>, record: Record) {
    let what = match &record {
        Record::Room { log, .. } => Owed::Room(*log),
        Record::Closed { log } => {
            let of_room = |what: &Owed| matches!(what, Owed::Seat(of, _) if of == log);
            owed.retain(|what, _| !of_room(what));
            Owed::Room(*log)
        }
        Record::Seat { log, seat } => Owed::Seat(*log, seat.session),
        Record::Unseat { log, session } => Owed::Seat(*log, *session),
        Record::Session { session } => Owed::Session(session.sender.session),
        Record::SessionEnded { session } => Owed::Session(*session),
        Record::Event { .. } | Record::Snapshot { .. } => return,
    };
    owed.insert(what, record);
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as u64
}
