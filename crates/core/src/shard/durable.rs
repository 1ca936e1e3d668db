//! What rooms homed here hand to the log, and what becomes of it.
//!
//! A publication to a durable room gets its place at once and is handed to the log. When the log
//! says that it stands, it is kept, delivered and answered. If the log fails, what has not stood
//! has never been: nobody has heard of it, so its places are given anew. Only rooms with a logic
//! keep it until the log is back: their logic has heard it already.

use std::collections::VecDeque;

use rand_chacha::rand_core::Rng;
use roomcast_wire::options::Durability;
use roomcast_wire::{ErrorCode, Position, Refusal, RoomOptions, SessionId};

use super::Shard;
use crate::contained::discard;
use crate::durable::Durable;
use crate::io::{Note, Output};
use crate::key::{ReplyTo, RoomKey};
use crate::logic::{Effect, Said};
use crate::record::{LogEntry, LogId, LogNews, Record, SeatRecord, SessionRecord};
use crate::room::{Delivery, Publication, Room};

/// When a publisher may try again whose room's log is not there, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// What of this shard is on its way to the log.
#[derive(Debug, Default)]
pub(super) struct LogState {
    /// Of the last entry.
    number: u64,
    /// How often the log has failed.
    term: u64,
    is_down: bool,
    /// Which rooms wait for which entries, oldest first.
    memory: VecDeque<(u64, RoomKey)>,
    sync: VecDeque<(u64, RoomKey)>,
    /// Rooms whose events are handed to the log when it is back.
    kept: Vec<RoomKey>,
    /// What all events that wait count for.
    bytes: usize,
}

/// When a publisher is told what became of its word.
pub(super) enum Told {
    /// Now: where it stands, if it has a place.
    Now(Option<Position>),
    /// When it stands.
    Later,
}

impl Shard {
    /// Whether rooms can have these options here.
    ///
    /// # Errors
    /// They want a log, and there is none.
    pub(super) fn check_durable(&self, options: &RoomOptions) -> Result<(), Refusal> {
        if options.durable == Durability::Off || self.config.log {
            return Ok(());
        }
        let text = "durable rooms need a `data_dir`, which this server does not have";
        Err(Refusal::new(ErrorCode::InvalidOption, text))
    }

    /// Begins the log of a room that was only just made, if it is to have one.
    pub(super) fn begin_log(&mut self, slot: u32, creator: Option<SessionId>) {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        if room.bounds.durable {
            let log = LogId(self.rng.next_u64());
            room.durable = Some(Box::new(Durable::new(log, room, creator)));
            self.log_room(slot);
        }
    }

    /// Tells the log how a room is now.
    pub(super) fn log_room(&mut self, slot: u32) {
        if let Some(record) = self.rooms.get(slot as usize).and_then(Room::record) {
            self.log_state(record);
        }
    }

    /// Tells the log of a seat that was only just given.
    pub(super) fn log_seat(&mut self, slot: u32, session: SessionId, invited: bool) {
        let Some(room) = self.rooms.get(slot as usize) else { return };
        let Some((durable, member)) = room.durable.as_ref().zip(room.member(session)) else {
            return;
        };
        let (number, data) = (member.seat, member.data.clone());
        let seat = Box::new(SeatRecord { session, number, data, invited });
        self.log_state(Record::Seat { log: durable.log, seat });
    }

    /// Tells the log what resumes a session.
    pub(super) fn log_session(&mut self, slot: u32) {
        if self.replays.has(slot) {
            // What it was told is not kept, so that it could not be taken up again.
            return;
        }
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        if !session.can_resume {
            return;
        }
        session.logged = true;
        let token_id = session.rights.as_ref().and_then(|rights| rights.token_id.clone());
        let record = SessionRecord {
            sender: session.sender.clone(),
            namespace: self.namespaces[usize::from(session.namespace)].0.clone(),
            secret: session.secret,
            admin: session.admin,
            token_id,
        };
        self.log_state(Record::Session { session: Box::new(record) });
    }

    /// Hands a record to the log that nobody waits for.
    pub(super) fn log_state(&mut self, record: Record) {
        self.log.number += 1;
        let (number, term) = (self.log.number, self.log.term);
        let entry = LogEntry { number, term, level: Durability::Memory, record };
        self.outputs.push_back(Output::Log(Box::new(entry)));
    }

    /// The room is no more, and its log neither.
    pub(super) fn end_log(&mut self, slot: u32) {
        let durable = self.rooms.get(slot as usize).and_then(|room| room.durable.as_ref());
        if let Some(log) = durable.map(|durable| durable.log) {
            self.log_state(Record::Closed { log });
        }
    }

    /// The room is not here any more. Who waits for its log gets an answer.
    pub(super) fn refuse_waiting(&mut self, room: &mut Room) {
        for event in room.take_back() {
            self.log.bytes = self.log.bytes.saturating_sub(event.bytes());
            let text = "the room ended before its log had the event";
            self.refuse_all(&event.answers, text, None);
        }
    }

    /// A publication to a durable room without a logic, or around it.
    pub(super) fn publish_durable(
        &mut self,
        slot: u32,
        to: ReplyTo,
        mut publication: Publication,
        allowed: Result<(), Refusal>,
    ) {
        let (now, key_ms) = (self.now, self.config.limits.key_ms);
        let told = allowed.and_then(|()| {
            let room = self.rooms.get_mut(slot as usize).ok_or_else(crate::room::no_such_room)?;
            if let Some(position) = room.admit(now, &mut publication, key_ms)? {
                return Ok(self.answer_repeat(slot, position, to));
            }
            self.check_log()?;
            self.place_durable(slot, publication, to);
            Ok(Told::Later)
        });
        self.answer_told(to, told);
    }

    pub(super) fn answer_told(&mut self, to: ReplyTo, told: Result<Told, Refusal>) {
        match told {
            Ok(Told::Later) => {}
            Ok(Told::Now(position)) => self.answer_publish(to, Ok(position)),
            Err(refusal) => self.answer_publish(to, Err(refusal)),
        }
    }

    /// What is said to who publishes again what has a place already: it may still wait for the log.
    pub(super) fn answer_repeat(
        &mut self,
        slot: u32,
        position: Option<Position>,
        to: ReplyTo,
    ) -> Told {
        let durable = self.rooms.get_mut(slot as usize).and_then(|room| room.durable.as_mut());
        let Some((durable, position)) = durable.zip(position) else { return Told::Now(position) };
        let Some(event) = durable.waiting_at(position.offset) else {
            return Told::Now(Some(position));
        };
        event.answers.push(to);
        durable.bytes += size_of::<ReplyTo>();
        self.log.bytes += size_of::<ReplyTo>();
        Told::Later
    }

    /// Whether the log takes events.
    ///
    /// # Errors
    /// It has failed, or has too much to do.
    pub(super) fn check_log(&self) -> Result<(), Refusal> {
        let text = match (self.log.is_down, self.log_is_full()) {
            (true, _) => {
                "the log of durable rooms cannot be written at the moment: nothing was published; \
                 try again"
            }
            (false, true) => {
                "too much waits for the log of durable rooms (`limits.log_waiting_bytes`): nothing \
                 was published; try again"
            }
            (false, false) => return Ok(()),
        };
        Err(unavailable(text, Some(RETRY_MS)))
    }

    fn log_is_full(&self) -> bool {
        self.log.bytes >= self.config.limits.log_waiting_bytes / usize::from(self.shard_count())
    }

    /// Gives a publication its place and hands it to the log.
    pub(super) fn place_durable(&mut self, slot: u32, publication: Publication, to: ReplyTo) {
        let keys_max = self.config.limits.keys_per_room;
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        let before = room.durable.as_ref().map_or(0, |durable| durable.bytes);
        let number = if self.log.is_down { 0 } else { self.log.number + 1 };
        let record = room.place_in_log(self.now, publication, keys_max, number, Some(to));
        let (Some(record), Some(durable)) = (record, &room.durable) else { return };
        self.log.bytes += durable.bytes.saturating_sub(before);
        let (key, level) = (room.key, durable.level);
        if self.log.is_down {
            return self.keep(key);
        }
        self.log.number = number;
        self.hand_over(key, level, number, record);
    }

    fn hand_over(&mut self, room: RoomKey, level: Durability, number: u64, record: Record) {
        let waiting = match level {
            Durability::Sync => &mut self.log.sync,
            Durability::Off | Durability::Memory => &mut self.log.memory,
        };
        waiting.push_back((number, room));
        let entry = LogEntry { number, term: self.log.term, level, record };
        self.outputs.push_back(Output::Log(Box::new(entry)));
    }

    fn keep(&mut self, room: RoomKey) {
        if !self.log.kept.contains(&room) {
            self.log.kept.push(room);
        }
    }

    /// What a logic says by itself. It cannot be refused; but there is a bound to what waits.
    pub(super) fn say_durable(&mut self, slot: u32, publication: Publication) {
        if self.log_is_full() {
            let Some(room) = self.rooms.get_mut(slot as usize) else { return };
            let Some(durable) = &mut room.durable else { return };
            if !std::mem::replace(&mut durable.drops, true) {
                let room = room.name.as_str().into();
                self.outputs.push_back(Output::Note(Note::LogicDropped { room }));
            }
            return;
        }
        self.place_durable(slot, publication, ReplyTo::Nobody);
    }

    /// What the logic of a durable room says at its end: it has no place, as the log ends too.
    pub(super) fn say_last(&mut self, slot: u32, effect: Effect) {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return discard(effect) };
        match effect {
            Effect::Publish { name, data, from, .. } if room.bounds.durable => {
                let event = room.aside(Said { name, data, from });
                room.gathered.push(Delivery::Event { event, except: None });
                self.room_is_dirty(slot);
            }
            effect => self.say(slot, effect),
        }
    }

    pub(super) fn on_log(&mut self, news: LogNews) {
        match news {
            LogNews::Stands { written, synced } => {
                let up_to = |waiting: &mut VecDeque<(u64, RoomKey)>, most: u64| {
                    waiting.pop_front_if(|(number, _)| *number <= most)
                };
                while let Some((number, room)) = up_to(&mut self.log.memory, written) {
                    self.stands(room, number);
                }
                while let Some((number, room)) = up_to(&mut self.log.sync, synced) {
                    self.stands(room, number);
                }
            }
            LogNews::Failed { term } => self.on_log_failed(term),
            LogNews::Back => self.on_log_back(),
        }
    }

    fn stands(&mut self, key: RoomKey, number: u64) {
        let now = self.now;
        let Some(room) = self.room_at(key) else { return };
        let Some(placed) = room.durable.as_mut().and_then(|durable| durable.take(number)) else {
            return;
        };
        let (bytes, position) = (placed.bytes(), placed.event.position);
        room.stand(now, placed.event, placed.except);
        self.log.bytes = self.log.bytes.saturating_sub(bytes);
        self.counters.events_total += 1;
        self.tell_published(key.slot);
        if let Some(room) = self.room_at(key) {
            room.release_behind();
        }
        self.room_is_dirty(key.slot);
        for to in placed.answers {
            self.answer_publish(to, Ok(position));
        }
    }

    fn on_log_failed(&mut self, term: u64) {
        self.log.term = term;
        self.log.is_down = true;
        let waiting = std::mem::take(&mut self.log.memory);
        let waiting = waiting.into_iter().chain(std::mem::take(&mut self.log.sync));
        for (_, key) in waiting {
            let Some(room) = self.room_at(key) else { continue };
            if room.logic.is_some() {
                self.keep(key);
                continue;
            }
            for event in room.take_back() {
                self.log.bytes = self.log.bytes.saturating_sub(event.bytes());
                let text = "the log of durable rooms could not be written: nothing was published; \
                            try again";
                self.refuse_all(&event.answers, text, Some(RETRY_MS));
            }
            self.room_is_dirty(key.slot);
        }
    }

    fn on_log_back(&mut self) {
        self.log.is_down = false;
        for key in std::mem::take(&mut self.log.kept) {
            let mut number = self.log.number;
            let Some(room) = self.room_at(key) else { continue };
            let Some(durable) = &mut room.durable else { continue };
            durable.drops = false;
            let level = durable.level;
            let entries = room.place_again(|| {
                number += 1;
                number
            });
            self.log.number = number;
            for (number, record) in entries {
                self.hand_over(key, level, number, record);
            }
        }
    }

    fn refuse_all(&mut self, answers: &[ReplyTo], text: &'static str, retry_ms: Option<u64>) {
        for &to in answers {
            self.answer_publish(to, Err(unavailable(text, retry_ms)));
        }
    }
}

fn unavailable(text: &'static str, retry_ms: Option<u64>) -> Refusal {
    Refusal { retry_ms, ..Refusal::new(ErrorCode::Unavailable, text) }
}
