//! What a log keeps of durable rooms, and how a shard begins with what was kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use roomcast_wire::options::Durability;
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{Epoch, Name, Payload, RoomOptions, Secret, SessionId};

pub use crate::packed::PackedError;
use crate::packed::{Packed, Unpack, packed_enum, packed_struct, unpack_all};

/// One life of a durable room in the log: a random number. A room that ended and is made again has
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u64);

/// One thing that a log keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A room was made, or is different now.
    Room {
        /// Which.
        log: LogId,
        /// What it is like.
        room: Box<RoomRecord>,
    },
    /// Something was said in a room. What may be dropped on its way is kept without payload and
    /// sender: its offset must not be given again.
    Event {
        /// In which.
        log: LogId,
        /// The newest reliable event that the room no longer keeps.
        floor: u64,
        /// Its idempotency key, with its owner's name.
        key: Option<Box<str>>,
        /// What, with its position.
        event: Arc<Event>,
    },
    /// A room is no more.
    Closed {
        /// Which.
        log: LogId,
    },
    /// A session took a seat.
    Seat {
        /// In which room.
        log: LogId,
        /// The seat.
        seat: Box<SeatRecord>,
    },
    /// A session has no seat any more.
    Unseat {
        /// In which room.
        log: LogId,
        /// Whose.
        session: SessionId,
    },
    /// The state of a room's logic.
    Snapshot {
        /// Of which room.
        log: LogId,
        /// The newest event that it knows.
        offset: u64,
        /// The state, in the logic's own words.
        state: Bytes,
    },
    /// A session with a seat in a durable room has begun, or has another secret.
    Session {
        /// What is needed to resume it.
        session: Box<SessionRecord>,
    },
    /// A session is over.
    SessionEnded {
        /// Which.
        session: SessionId,
    },
}

/// What a durable room is like.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomRecord {
    /// Its full name.
    pub name: Box<str>,
    /// Its options.
    pub options: RoomOptions,
    /// Which life of the log clients know.
    pub epoch: Epoch,
    /// Never removed by itself.
    pub permanent: bool,
    /// Who made it, if that is known.
    pub creator: Option<SessionId>,
    /// Its newest event when this was written.
    pub offset: u64,
    /// How many of its events up to there could be dropped.
    pub unreliable: u64,
    /// The newest reliable event that it no longer keeps.
    pub floor: u64,
}

/// A seat in a durable room.
#[derive(Debug, Clone, PartialEq)]
pub struct SeatRecord {
    /// Whose.
    pub session: SessionId,
    /// Its place in the order of joining.
    pub number: u64,
    /// What the others see of the member.
    pub data: Option<Payload>,
    /// The server gave it, so that no rule takes it away.
    pub invited: bool,
}

/// A session that can be resumed.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// Who.
    pub sender: Arc<Sender>,
    /// Where.
    pub namespace: Name,
    /// What resumes it.
    pub secret: Secret,
    /// Whether everything is allowed to it.
    pub admin: bool,
    /// The name of its token, by which it can be revoked.
    pub token_id: Option<Box<str>>,
}

packed_enum!(Record {
    1 = Room { log, room },
    2 = Event { log, floor, key, event },
    3 = Closed { log },
    4 = Seat { log, seat },
    5 = Unseat { log, session },
    6 = Snapshot { log, offset, state },
    7 = Session { session },
    8 = SessionEnded { session },
});
packed_struct!(RoomRecord { name, options, epoch, permanent, creator, offset, unreliable, floor });
packed_struct!(SeatRecord { session, number, data, invited });
packed_struct!(SessionRecord { sender, namespace, secret, admin, token_id });

impl Packed for LogId {
    fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn unpack(from: &mut Unpack<'_>) -> Result<Self, PackedError> {
        from.array().map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl Record {
    /// Writes it behind what `out` holds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.pack(out);
    }

    /// Reads what [`Record::encode`] wrote. Payloads share `bytes`.
    ///
    /// # Errors
    /// It was not written so.
    pub fn decode(bytes: &Bytes) -> Result<Self, PackedError> {
        unpack_all(bytes)
    }

    /// The room that it is about; none: a session.
    pub fn log(&self) -> Option<LogId> {
        match self {
            Self::Room { log, .. }
            | Self::Event { log, .. }
            | Self::Closed { log }
            | Self::Seat { log, .. }
            | Self::Unseat { log, .. }
            | Self::Snapshot { log, .. } => Some(*log),
            Self::Session { .. } | Self::SessionEnded { .. } => None,
        }
    }
}

/// A record on its way to the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Counts what the shard hands to the log, from 1.
    pub number: u64,
    /// How often the log has failed since the shard began, as far as the shard knew: what was
    /// handed out in ignorance of a failure must not follow what is missing.
    pub term: u64,
    /// What it has to survive before it stands. Only events are waited for.
    pub level: Durability,
    /// What is to be kept.
    pub record: Record,
}

/// What the log tells a shard, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogNews {
    /// All entries up to these numbers stand.
    Stands {
        /// With the operating system: they survive the process.
        written: u64,
        /// On the disk: they survive the machine.
        synced: u64,
    },
    /// What does not stand now is not in the log and will not be, but for what only says how rooms
    /// and sessions are: that is kept until it can be written. Until [`LogNews::Back`] nothing is
    /// taken; then only what bears this term.
    Failed {
        /// The new term.
        term: u64,
    },
    /// The log takes entries again.
    Back,
}

/// What a log kept, for the shards of a server that begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Restored {
    /// The rooms, by name.
    pub rooms: Vec<RestoredRoom>,
    /// The sessions that have a seat in one of them, by id.
    pub sessions: Vec<SessionRecord>,
}

/// A room as the log knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoredRoom {
    /// Which life of it.
    pub log: LogId,
    /// What it is like, and its newest position.
    pub room: RoomRecord,
    /// What it keeps, oldest first.
    pub events: Vec<RestoredEvent>,
    /// Who is in it, in the order of joining.
    pub seats: Vec<SeatRecord>,
    /// The newest state of its logic, and the newest event that it knows.
    pub snapshot: Option<(u64, Bytes)>,
}

/// An event as the log knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoredEvent {
    /// How long ago it was written, in milliseconds.
    pub age_ms: u64,
    /// Its idempotency key.
    pub key: Option<Box<str>>,
    /// What was said.
    pub event: Arc<Event>,
}

/// Makes a [`Restored`] of records, given in the order in which they were written. Records may
/// occur twice: the log copies what is still needed before it lets go of what it wrote first.
#[derive(Debug, Default)]
pub struct Restoring {
    rooms: HashMap<LogId, Growing, FixedState>,
    sessions: HashMap<SessionId, SessionRecord, FixedState>,
}

#[derive(Debug, Default)]
struct Growing {
    room: Option<RoomRecord>,
    events: Vec<RestoredEvent>,
    floor: u64,
    seats: HashMap<SessionId, SeatRecord, FixedState>,
    snapshot: Option<(u64, Bytes)>,
}

impl Restoring {
    /// Takes the next record, which was written so long ago.
    pub fn add(&mut self, age_ms: u64, record: Record) {
        match record {
            Record::Session { session } => {
                self.sessions.insert(session.sender.session, *session);
            }
            Record::SessionEnded { session } => {
                self.sessions.remove(&session);
            }
            Record::Closed { log } => {
                self.rooms.remove(&log);
            }
            Record::Room { log, room } => {
                let growing = self.rooms.entry(log).or_default();
                growing.floor = growing.floor.max(room.floor);
                growing.room = Some(*room);
            }
            Record::Event { log, floor, key, event } => {
                let growing = self.rooms.entry(log).or_default();
                growing.floor = growing.floor.max(floor);
                growing.events.push(RestoredEvent { age_ms, key, event });
                growing.let_go();
            }
            Record::Seat { log, seat } => {
                let growing = self.rooms.entry(log).or_default();
                growing.seats.insert(seat.session, *seat);
            }
            Record::Unseat { log, session } => {
                let growing = self.rooms.entry(log).or_default();
                growing.seats.remove(&session);
            }
            Record::Snapshot { log, offset, state } => {
                let growing = self.rooms.entry(log).or_default();
                if growing.snapshot.as_ref().is_none_or(|(old, _)| *old <= offset) {
                    growing.snapshot = Some((offset, state));
                }
            }
        }
    }

    /// All that is there. What belongs to no room is left out, and seats of sessions that nobody
    /// could resume.
    pub fn finish(self) -> Restored {
        let sessions = self.sessions;
        let rooms = self.rooms.into_iter().filter_map(|(log, growing)| {
            let seated = |session: &SessionId| sessions.contains_key(session);
            growing.finish(log, seated)
        });
        let mut rooms: Vec<_> = rooms.collect();
        rooms.sort_unstable_by(|a, b| a.room.name.cmp(&b.room.name).then(a.log.cmp(&b.log)));
        // Two lives of a name cannot be there at once.
        rooms.dedup_by(|b, a| a.room.name == b.room.name);
        let seats = rooms.iter().flat_map(|room| &room.seats);
        let seated: BTreeSet<_> = seats.map(|seat| seat.session).collect();
        let seated = sessions.into_iter().filter(|(session, _)| seated.contains(session));
        let mut sessions: Vec<_> = seated.map(|(_, session)| session).collect();
        sessions.sort_unstable_by_key(|session| session.sender.session);
        Restored { rooms, sessions }
    }
}

impl Growing {
    /// Forgets what is below the floor, now and then: all that was ever said does not fit.
    fn let_go(&mut self) {
        if self.events.len().is_power_of_two() || self.events.len().is_multiple_of(4_096) {
            let floor = self.floor;
            let newest = self.events.iter().map(offset).max();
            let needed = |event: &RestoredEvent| event.event.reliable && offset(event) > floor;
            self.events.retain(|event| needed(event) || Some(offset(event)) == newest);
        }
    }

    fn finish(mut self, log: LogId, is_known: impl Fn(&SessionId) -> bool) -> Option<RestoredRoom> {
        let mut room = self.room?;
        // Copies stand behind what was said after them.
        self.events.sort_by_key(offset);
        self.events.dedup_by_key(|event| offset(event));
        if let Some(newest) = self.events.last()
            && offset(newest) > room.offset
        {
            room.offset = offset(newest);
            room.unreliable = newest.event.unreliable;
        }
        room.floor = self.floor;
        let floor = self.floor;
        self.events.retain(|event| offset(event) > floor && event.event.reliable);
        let seats = self.seats.into_values().filter(|seat| is_known(&seat.session));
        let mut seats: Vec<_> = seats.collect();
        seats.sort_unstable_by_key(|seat| seat.number);
        let snapshot = self.snapshot.filter(|(offset, _)| *offset <= room.offset);
        Some(RestoredRoom { log, room, events: self.events, seats, snapshot })
    }
}

fn offset(event: &RestoredEvent) -> u64 {
    event.event.position.map_or(0, |position| position.offset)
}
