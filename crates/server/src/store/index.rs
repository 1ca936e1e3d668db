//! Which lines of the log are still needed, and where they stand.

use std::collections::{BTreeMap, HashMap, VecDeque};

use roomcast_core::Record;
use roomcast_core::record::{LogId, RoomRecord};
use roomcast_wire::SessionId;

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub file: u32,
    pub at: u32,
    pub len: u32,
}

/// What is needed of all lines: 24 bytes for each event that a room keeps.
#[derive(Debug, Default)]
pub(super) struct Index {
    rooms: HashMap<LogId, RoomIndex>,
    sessions: HashMap<SessionId, Place>,
    /// Bytes that are needed, by file.
    live: BTreeMap<u32, u64>,
}

#[derive(Debug, Default)]
struct RoomIndex {
    /// The room as it was said last, and where. None: only parts of it are known.
    room: Option<(Box<RoomRecord>, Place)>,
    offset: u64,
    unreliable: u64,
    floor: u64,
    /// The events above the floor, by offset.
    events: VecDeque<(u64, Place)>,
    seats: HashMap<SessionId, Place>,
    snapshot: Option<(u64, Place)>,
}

impl Index {
    /// Takes note of a line that was written.
    pub fn apply(&mut self, record: &Record, place: Place) {
        let Self { rooms, sessions, live } = self;
        let mut live = Live(live);
        let Some(log) = record.log() else {
            match record {
                Record::Session { session } => {
                    live.replace(sessions.insert(session.sender.session, place), Some(place));
                }
                Record::SessionEnded { session } => live.replace(sessions.remove(session), None),
                _ => {}
            }
            return;
        };
        if let Record::Closed { .. } = record {
            if let Some(room) = rooms.remove(&log) {
                room.places().for_each(|place| live.replace(Some(place), None));
            }
            return;
        }
        rooms.entry(log).or_default().apply(&mut live, record, place);
    }

    /// Whether a line is needed that stands there.
    pub fn is_live(&self, record: &Record, place: Place) -> bool {
        let at = |found: Option<&Place>| found == Some(&place);
        let Some(log) = record.log() else {
            return match record {
                Record::Session { session } => at(self.sessions.get(&session.sender.session)),
                _ => false,
            };
        };
        let Some(room) = self.rooms.get(&log) else { return false };
        match record {
            Record::Room { .. } => at(room.room.as_ref().map(|(_, place)| place)),
            Record::Event { event, .. } => {
                let offset = event.position.map_or(0, |position| position.offset);
                at(room.event(offset).map(|at| &room.events[at].1))
            }
            Record::Seat { seat, .. } => at(room.seats.get(&seat.session)),
            Record::Snapshot { .. } => at(room.snapshot.as_ref().map(|(_, place)| place)),
            _ => false,
        }
    }

    /// A room as it is now, with its newest position: what is written in place of an older line.
    pub fn room_now(&self, log: LogId) -> Option<RoomRecord> {
        let known = self.rooms.get(&log)?;
        let (room, _) = known.room.as_ref()?;
        let (offset, unreliable, floor) = (known.offset, known.unreliable, known.floor);
        Some(RoomRecord { offset, unreliable, floor, ..RoomRecord::clone(room) })
    }

    /// Rooms whose newest position stands in no line that is needed: before the lines of this file
    /// go, it has to be written with the room.
    pub fn rooms_behind(&self, file: u32) -> Vec<LogId> {
        let behind = self.rooms.iter().filter(|(_, known)| {
            let newest = known.events.back().map(|(offset, _)| *offset);
            known.room.as_ref().is_some_and(|(room, place)| {
                place.file == file
                    || (room.offset < known.offset && newest.is_none_or(|at| at < known.offset))
            })
        });
        behind.map(|(log, _)| *log).collect()
    }

    /// Forgets rooms of which only parts are known.
    pub fn forget_parts(&mut self) {
        let mut live = Live(&mut self.live);
        self.rooms.retain(|_, room| {
            if room.room.is_none() {
                room.places().for_each(|place| live.replace(Some(place), None));
            }
            room.room.is_some()
        });
    }

    /// Bytes that are needed, in a file.
    pub fn live_in(&self, file: u32) -> u64 {
        self.live.get(&file).copied().unwrap_or(0)
    }

    /// Bytes that are needed, in all files.
    pub fn live(&self) -> u64 {
        self.live.values().sum()
    }
}

impl RoomIndex {
    fn apply(&mut self, live: &mut Live<'_>, record: &Record, place: Place) {
        match record {
            Record::Room { room, .. } => {
                self.offset = self.offset.max(room.offset);
                self.unreliable = self.unreliable.max(room.unreliable);
                let old = self.room.replace((room.clone(), place));
                live.replace(old.map(|(_, place)| place), Some(place));
                self.raise_floor(live, room.floor);
            }
            Record::Event { floor, event, .. } => {
                self.raise_floor(live, *floor);
                let offset = event.position.map_or(0, |position| position.offset);
                self.offset = self.offset.max(offset);
                self.unreliable = self.unreliable.max(event.unreliable);
                // Of what could be dropped on its way the offset alone counts.
                if event.reliable && offset > self.floor {
                    live.replace(self.keep_event(offset, place), Some(place));
                }
            }
            Record::Seat { seat, .. } => {
                live.replace(self.seats.insert(seat.session, place), Some(place));
            }
            Record::Unseat { session, .. } => live.replace(self.seats.remove(session), None),
            Record::Snapshot { offset, .. } => {
                if self.snapshot.is_none_or(|(old, _)| old <= *offset) {
                    let old = self.snapshot.replace((*offset, place));
                    live.replace(old.map(|(_, place)| place), Some(place));
                }
            }
            Record::Closed { .. } | Record::Session { .. } | Record::SessionEnded { .. } => {}
        }
    }

    /// Where the event stood before.
    fn keep_event(&mut self, offset: u64, place: Place) -> Option<Place> {
        match self.events.binary_search_by_key(&offset, |(offset, _)| *offset) {
            Ok(at) => Some(std::mem::replace(&mut self.events[at].1, place)),
            Err(at) => {
                self.events.insert(at, (offset, place));
                None
            }
        }
    }

    fn event(&self, offset: u64) -> Option<usize> {
        self.events.binary_search_by_key(&offset, |(offset, _)| *offset).ok()
    }

    fn raise_floor(&mut self, live: &mut Live<'_>, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some((_, place)) = self.events.pop_front_if(|(offset, _)| *offset <= self.floor) {
            live.replace(Some(place), None);
        }
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let events = self.events.iter().map(|(_, place)| *place);
        let room = self.room.as_ref().map(|(_, place)| *place);
        let snapshot = self.snapshot.map(|(_, place)| place);
        events.chain(room).chain(snapshot).chain(self.seats.values().copied())
    }
}

struct Live<'a>(&'a mut BTreeMap<u32, u64>);

impl Live<'_> {
    fn replace(&mut self, old: Option<Place>, new: Option<Place>) {
        if let Some(old) = old
            && let Some(bytes) = self.0.get_mut(&old.file)
        {
            *bytes = bytes.saturating_sub(old.len.into());
            if *bytes == 0 {
                self.0.remove(&old.file);
            }
        }
        if let Some(new) = new {
            *self.0.entry(new.file).or_default() += u64::from(new.len);
        }
    }
}
