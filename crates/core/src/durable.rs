//! What a durable room has given a place in its order, and what the log has not said to stand yet.
//! Nobody has heard of it: until then the room's position is that of what stands.

use std::collections::VecDeque;
use std::sync::Arc;

use roomcast_wire::options::Durability;
use roomcast_wire::push::Event;
use roomcast_wire::{Payload, Position, SessionId};

use crate::io::Now;
use crate::key::{ReplyTo, SessionKey};
use crate::record::{LogId, Record, RestoredEvent, RoomRecord};
use crate::room::{Delivery, Publication, Room};

/// What an event that waits counts for, beside its payload.
const AROUND_BYTES: usize = 256;

/// The part of a durable room that has to do with its log.
#[derive(Debug)]
pub(crate) struct Durable {
    pub log: LogId,
    pub level: Durability,
    pub creator: Option<SessionId>,
    placed: VecDeque<Placed>,
    /// Of the newest event that has a place.
    offset: u64,
    unreliable: u64,
    /// What the events that wait count for.
    pub bytes: usize,
    /// The logic said more than may wait, and an operator knows.
    pub drops: bool,
}

#[derive(Debug)]
enum Placed {
    Event(PlacedEvent),
    /// What is no event, but comes behind those before it.
    Behind(Delivery),
}

/// An event that waits for the log.
#[derive(Debug)]
pub(crate) struct PlacedEvent {
    /// Of its entry; 0: it is not handed to the log yet.
    pub number: u64,
    pub event: Arc<Event>,
    pub except: Option<SessionKey>,
    pub key: Option<Box<str>>,
    /// Who is told what becomes of it: who published it, and who did so again.
    pub answers: Vec<ReplyTo>,
}

impl PlacedEvent {
    pub fn bytes(&self) -> usize {
        let answers = self.answers.len() * size_of::<ReplyTo>();
        AROUND_BYTES + answers + self.event.payload.as_ref().map_or(0, |it| it.bytes().len())
    }

    fn offset(&self) -> u64 {
        self.event.position.map_or(0, |position| position.offset)
    }
}

impl Durable {
    pub fn new(log: LogId, room: &Room, creator: Option<SessionId>) -> Self {
        Self {
            log,
            level: room.options.durable,
            creator,
            placed: VecDeque::new(),
            offset: room.offset,
            unreliable: room.unreliable,
            bytes: 0,
            drops: false,
        }
    }

    /// Whether events wait.
    pub fn waits(&self) -> bool {
        !self.placed.is_empty()
    }

    /// Puts what is no event behind the events that wait.
    pub fn put_behind(&mut self, delivery: Delivery) {
        self.placed.push_back(Placed::Behind(delivery));
    }

    /// The event that waits at an offset.
    pub fn waiting_at(&mut self, offset: u64) -> Option<&mut PlacedEvent> {
        self.events_mut().find(|event| event.offset() == offset)
    }

    /// The events that wait, oldest first.
    pub fn events_mut(&mut self) -> impl Iterator<Item = &mut PlacedEvent> {
        self.placed.iter_mut().filter_map(|placed| match placed {
            Placed::Event(event) => Some(event),
            Placed::Behind(_) => None,
        })
    }

    /// The oldest event that waits, if its number is not above this one.
    pub fn take(&mut self, number: u64) -> Option<PlacedEvent> {
        let stands =
            |placed: &mut Placed| matches!(placed, Placed::Event(it) if it.number <= number);
        match self.placed.pop_front_if(stands)? {
            Placed::Event(event) => {
                self.bytes = self.bytes.saturating_sub(event.bytes());
                Some(event)
            }
            Placed::Behind(_) => None,
        }
    }

    /// What nothing is waited for any more, oldest first.
    fn take_behind(&mut self) -> Option<Delivery> {
        match self.placed.pop_front_if(|placed| matches!(placed, Placed::Behind(_)))? {
            Placed::Behind(delivery) => Some(delivery),
            Placed::Event(_) => None,
        }
    }
}

impl Room {
    /// Gathers what is no event for delivery, behind the events that wait for the log.
    pub fn gather(&mut self, delivery: Delivery) {
        match &mut self.durable {
            Some(durable) if durable.waits() => durable.put_behind(delivery),
            _ => self.gathered.push(delivery),
        }
    }

    /// What the log is told of the room.
    pub fn record(&self) -> Option<Record> {
        let durable = self.durable.as_ref()?;
        let room = RoomRecord {
            name: self.name.as_str().into(),
            options: self.options.clone(),
            epoch: self.epoch,
            permanent: self.permanent,
            creator: durable.creator,
            offset: self.offset,
            unreliable: self.unreliable,
            floor: self.history.floor(),
        };
        Some(Record::Room { log: durable.log, room: Box::new(room) })
    }

    /// Gives a publication its place, and says what the log has to take before it stands.
    pub fn place_in_log(
        &mut self,
        now: Now,
        publication: Publication,
        keys_max: u32,
        number: u64,
        answer: Option<ReplyTo>,
    ) -> Option<Record> {
        let epoch = self.epoch;
        let durable = self.durable.as_mut()?;
        durable.offset += 1;
        durable.unreliable += u64::from(!publication.reliable);
        let position = Position { epoch, offset: durable.offset };
        if let Some(key) = &publication.key {
            self.keys.keep(now, key.clone(), position.offset, keys_max as usize);
        }
        let event = Arc::new(Event {
            name: publication.name,
            payload: publication.payload.map(|payload| payload.detached()),
            from: publication.from,
            position: Some(position),
            reliable: publication.reliable,
            unreliable: durable.unreliable,
        });
        let (except, key) = (publication.except, publication.key);
        let answers = answer.into_iter().collect();
        let placed = PlacedEvent { number, event, except, key, answers };
        let record = entry_of(durable.log, self.history.floor(), &placed);
        durable.bytes += placed.bytes();
        durable.placed.push_back(Placed::Event(placed));
        Some(record)
    }

    /// Hands the events that wait to the log anew: `number` gives each its number.
    pub fn place_again(&mut self, mut number: impl FnMut() -> u64) -> Vec<(u64, Record)> {
        let floor = self.history.floor();
        let Some(durable) = &mut self.durable else { return Vec::new() };
        let log = durable.log;
        let events = durable.events_mut().map(|event| {
            event.number = number();
            (event.number, entry_of(log, floor, event))
        });
        events.collect()
    }

    /// An event stands: it is kept, and gathered for delivery.
    pub fn stand(&mut self, now: Now, event: Arc<Event>, except: Option<SessionKey>) {
        if let Some(position) = event.position {
            self.offset = position.offset;
            self.unreliable = event.unreliable;
            if event.reliable && self.bounds.keeps {
                self.history.push(now, &event);
            } else if event.reliable {
                self.history.pass_over(position.offset);
            }
        }
        self.gathered.push(Delivery::Event { event, except });
    }

    /// Gathers what stood behind events that wait no more.
    pub fn release_behind(&mut self) {
        while let Some(delivery) = self.durable.as_mut().and_then(|durable| durable.take_behind()) {
            self.gathered.push(delivery);
        }
    }

    /// Takes back all that waits: it has never been. Who waits for an answer is told by the caller.
    pub fn take_back(&mut self) -> Vec<PlacedEvent> {
        let mut taken = Vec::new();
        while let Some(durable) = &mut self.durable
            && durable.waits()
        {
            match durable.take(u64::MAX) {
                Some(event) => taken.push(event),
                None => self.release_behind(),
            }
        }
        if let Some(durable) = &mut self.durable {
            (durable.offset, durable.unreliable) = (self.offset, self.unreliable);
        }
        for key in taken.iter().filter_map(|event| event.key.as_deref()) {
            self.keys.forget(key);
        }
        taken
    }

    /// Takes what a log has kept.
    pub fn take_restored(
        &mut self,
        now: Now,
        (room, events): (&RoomRecord, &[RestoredEvent]),
        keys_max: u32,
    ) {
        (self.offset, self.unreliable) = (room.offset, room.unreliable);
        self.history.pass_over(room.floor);
        for RestoredEvent { age_ms, key, event } in events {
            let Some(at) = event.position else { continue };
            // Mostly before this server's time began: the way numbers wrap.
            let then = Now(now.0.wrapping_sub(*age_ms));
            if let Some(key) = key {
                self.keys.keep(then, key.clone(), at.offset, keys_max as usize);
            }
            if self.bounds.keeps {
                let position = Some(Position { epoch: self.epoch, offset: at.offset });
                let payload = event.payload.as_ref().map(Payload::detached);
                let event = Event { position, payload, ..Event::clone(event) };
                self.history.keep(then, &Arc::new(event));
            } else {
                self.history.pass_over(at.offset);
            }
        }
        self.history.trim(now);
    }
}

/// The log's line for an event. Of what may be dropped on its way, only its place is kept.
fn entry_of(log: LogId, floor: u64, placed: &PlacedEvent) -> Record {
    let (event, key) = (Arc::clone(&placed.event), placed.key.clone());
    if event.reliable {
        return Record::Event { log, floor, key, event };
    }
    let bare = Event { payload: None, from: None, name: event.name.clone(), ..*event };
    Record::Event { log, floor, key, event: Arc::new(bare) }
}
