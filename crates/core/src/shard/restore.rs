//! How a shard begins with what a log kept.
//!
//! Every shard looks at everything in the same order and so knows, without asking, which numbers
//! the others give to the sessions and rooms that are at home with them.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use roomcast_wire::options::Durability;
use roomcast_wire::{RoomOptions, SessionId};

use super::cluster::Home;
use super::{DEFAULT, Shard};
use crate::durable::Durable;
use crate::io::{Note, Output, ShardId};
use crate::key::{FullName, RoomKey, SessionKey};
use crate::rate::Rate;
use crate::record::{Restored, RestoredRoom, SessionRecord};
use crate::room::Room;
use crate::session::{Rights, Seat, Session};
use crate::timers::Deadline;

/// The number of the drop that every restored session and member begins with.
const FIRST_DROP: u32 = 1;

/// Numbers for what is restored, the same on all shards.
#[derive(Default)]
struct Numbers {
    given: Vec<(ShardId, u32)>,
}

/// A room that is to be there, and with what.
struct Wanted<'a> {
    restored: &'a RestoredRoom,
    key: RoomKey,
    namespace: u16,
    options: RoomOptions,
}

impl Numbers {
    fn next(&mut self, shard: ShardId) -> u32 {
        let at = self.given.iter().position(|(known, _)| *known == shard);
        let at = at.unwrap_or_else(|| {
            self.given.push((shard, 0));
            self.given.len() - 1
        });
        self.given[at].1 += 1;
        self.given[at].1 - 1
    }
}

impl Shard {
    pub(super) fn restore(&mut self, restored: &Restored) {
        let mut slots = Numbers::default();
        let mut sessions = HashMap::with_hasher(self.hasher.clone());
        for session in &restored.sessions {
            if self.namespace_index(&session.namespace).is_none() {
                continue;
            }
            let shard = self.shard_of_session(session.sender.session);
            let slot = slots.next(shard);
            // Generations need only differ from those of what takes the slot later.
            let key = SessionKey { shard, slot, generation: slot };
            sessions.insert(session.sender.session, (key, session));
        }
        let mut slots = Numbers::default();
        let mut wanted = Vec::new();
        for room in &restored.rooms {
            match self.wanted(room) {
                Ok((namespace, options)) => {
                    let Home::Shard(home) = self.home_of_room(&room.room.name) else { continue };
                    let slot = slots.next(home);
                    let key = RoomKey { home, slot, generation: slot };
                    wanted.push(Wanted { restored: room, key, namespace, options });
                }
                Err(reason) if self.is_home(self.home_of_room(&room.room.name)) => {
                    let (room, reason) = (room.room.name.clone(), reason.into());
                    self.outputs.push_back(Output::Note(Note::NotRestored { room, reason }));
                }
                Err(_) => {}
            }
        }
        for session in &restored.sessions {
            if let Some((key, _)) = sessions.get(&session.sender.session)
                && key.shard == self.id
            {
                self.restore_session(*key, session);
            }
        }
        let own: Vec<_> = wanted.iter().filter(|room| room.key.home == self.id).collect();
        for room in &own {
            self.restore_room(room, &sessions);
        }
        for room in &wanted {
            self.restore_seats(room);
        }
        self.made = (self.sessions.len() + self.rooms.len()) as u32;
        for room in own {
            self.begin_restored(room);
        }
    }

    /// How a room is to be; or why it is not.
    fn wanted(&self, room: &RestoredRoom) -> Result<(u16, RoomOptions), &'static str> {
        let name = FullName::new(&room.room.name);
        let namespace = match name.split_once('/') {
            None => Some(DEFAULT),
            Some((namespace, _)) => self.namespace_index(namespace),
        };
        let namespace = namespace.ok_or("its namespace is not in the configuration")?;
        if !self.policy(namespace).is_static(self.own_name(namespace, &name)) {
            return Ok((namespace, room.room.options.clone()));
        }
        // The configuration has the last word on rooms that it names.
        let options = self.options_of(namespace, &name);
        match options.durable {
            Durability::Off => Err("it is static, and not durable in the configuration"),
            _ => Ok((namespace, options.clone())),
        }
    }

    fn restore_session(&mut self, key: SessionKey, record: &SessionRecord) {
        let namespace = self.namespace_index(&record.namespace).unwrap_or(DEFAULT);
        let rights = record
            .token_id
            .clone()
            .map(|token_id| Box::new(Rights { token_id: Some(token_id), ..Rights::default() }));
        self.session_by_id.insert(record.sender.session, key.slot);
        self.counters.sessions += 1;
        self.counters.sessions_dropped += 1;
        let deadline = Deadline::SessionEnds { session: key, drop: FIRST_DROP };
        self.timers.set(self.now.plus(self.config.limits.resume_ms), deadline);
        self.sessions.insert(Session {
            key,
            namespace,
            admin: record.admin,
            can_resume: true,
            sender: record.sender.clone(),
            // What its token allows it says when it comes back with it.
            rights,
            seats: Vec::new(),
            link: None,
            secret: record.secret,
            drops: FIRST_DROP,
            logged: true,
            fanout: Rate::default(),
            creates: Rate::default(),
        });
    }

    fn restore_room(
        &mut self,
        wanted: &Wanted<'_>,
        sessions: &HashMap<SessionId, (SessionKey, &SessionRecord), FixedState>,
    ) {
        let Wanted { restored, key, namespace, options } = wanted;
        let record = &restored.room;
        let name = FullName::new(&record.name);
        let resume_ms = u64::from(options.resume_s) * 1_000;
        let epoch = record.epoch;
        let mut room =
            Room::new(*key, (*namespace, name.clone()), options.clone(), epoch, &self.hasher);
        let kept = (record, restored.events.as_slice());
        room.take_restored(self.now, kept, self.config.limits.keys_per_room);
        room.permanent =
            record.permanent || self.policy(*namespace).is_static(self.own_name(*namespace, &name));
        room.durable = Some(Box::new(Durable::new(restored.log, &room, record.creator)));
        for seat in &restored.seats {
            let Some((session, known)) = sessions.get(&seat.session) else { continue };
            room.take_in(*session, &known.sender, seat.data.clone(), seat.number);
            let Some(drop) = room.drop_member(seat.session) else { continue };
            let deadline = Deadline::SeatEnds { room: *key, session: seat.session, drop };
            self.timers.set(self.now.plus(resume_ms), deadline);
        }
        self.counters.rooms += 1;
        self.counters.seats += u64::from(room.member_count());
        self.room_by_name.insert(name, key.slot);
        self.rooms.insert(room);
    }

    /// Gives its seats to the sessions held here.
    fn restore_seats(&mut self, wanted: &Wanted<'_>) {
        for seat in &wanted.restored.seats {
            let Some(&slot) = self.session_by_id.get(&seat.session) else { continue };
            let Some(session) = self.sessions.get_mut(slot as usize) else { continue };
            session.seats.push(Seat {
                name: FullName::new(&wanted.restored.room.name),
                namespace: wanted.namespace,
                room: Some(wanted.key),
                pending: 0,
                place: None,
                invited: seat.invited,
                again: None,
            });
        }
    }

    /// The room begins to live.
    fn begin_restored(&mut self, wanted: &Wanted<'_>) {
        let slot = wanted.key.slot;
        if wanted.options != wanted.restored.room.options {
            self.log_room(slot);
        }
        self.tell_room_created(slot, None);
        match self.new_logic(&wanted.restored.room.name, &wanted.options) {
            Ok(Some(logic)) => self.start_logic(slot, logic, wanted.restored.room.creator),
            Ok(None) => {}
            Err(refusal) => {
                // It must not do less than it is to do. The log keeps it.
                let (room, reason) =
                    (wanted.restored.room.name.clone(), refusal.message.into_owned().into());
                self.outputs.push_back(Output::Note(Note::NotRestored { room, reason }));
                if let Some(room) = self.rooms.try_remove(slot as usize) {
                    self.room_by_name.remove(&room.name);
                    self.counters.rooms -= 1;
                    self.counters.seats -= u64::from(room.member_count());
                }
                return;
            }
        }
        if self.room_at(wanted.key).is_some() {
            self.room_emptied(slot, true);
        }
    }
}
