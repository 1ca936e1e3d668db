//! What rooms homed on this shard decide about what is said: publish, deliver, look back.

use std::sync::Arc;

use roomcast_wire::{EventName, Payload, Position, Refusal, SessionId};

use super::Shard;
use crate::envelope::{Answer, Caller, RoomOp, Word};
use crate::io::ServerReply;
use crate::key::{ReplyTo, RoomKey};
use crate::logic::Said;
use crate::room::{Delivery, Publication, no_such_room, not_a_member};
use crate::timers::Deadline;

/// How many events a `history` without `limit` answers with.
const HISTORY_LIMIT_DEFAULT: u32 = 100;

/// Deliveries that the shard keeps memory for, for the next room that has one: what was used last
/// is in the cache. Kept by each room, it was two cache misses an event.
const GATHERED_KEPT: usize = 8;

impl Shard {
    /// `seated`: the caller is known to have a seat in the room.
    pub(super) fn publish_op(
        &mut self,
        slot: Option<u32>,
        caller: &Caller,
        mut publication: Publication,
        echo: Option<bool>,
        seated: bool,
    ) {
        let Some(room) = slot.and_then(|slot| self.rooms.get_mut(slot as usize)) else {
            // The same words as for a room that is there (threat S25); the server may know.
            let refusal = match caller.admin {
                true => no_such_room(),
                false => not_a_member(),
            };
            return self.answer(caller.reply, Answer::Refused(refusal));
        };
        // What the end of the turn asks of it is loaded beside the room.
        let audience = room.audience.and_then(|at| self.audiences.get(at as usize));
        std::hint::black_box(audience.map(|audience| audience.room));
        let limits = &self.config.limits;
        let keys = (limits.key_ms, limits.keys_per_room);
        let is_announcement = publication.from.is_none();
        let outcome = match is_announcement {
            true => Ok(()),
            false => room.may_publish(caller.id(), caller.admin, seated),
        };
        if !echo.unwrap_or_else(|| room.echoes()) && !is_announcement {
            let spoken = caller.session.as_ref().map(|(key, _)| *key);
            // It may have gone on elsewhere meanwhile.
            let seat = caller.id().filter(|_| self.cluster.is_some());
            let now = seat.and_then(|id| room.member(id)).map(|member| member.key);
            publication.except = now.or(spoken);
        }
        // A logic hears what members say, not what the server's own code says around it.
        if room.logic.is_some() && !is_announcement && caller.session.is_some() {
            let slot = room.key.slot;
            let outcome =
                outcome.and_then(|()| self.publish_by_logic(slot, caller, publication, keys));
            let (outcome, effects) = outcome.map_or_else(
                |refusal| (Err(refusal), Vec::new()),
                |(at, effects)| (Ok(at), effects),
            );
            self.answer_told(caller.reply, outcome);
            return self.carry_out(slot, effects);
        }
        if room.bounds.durable {
            let slot = room.key.slot;
            return self.publish_durable(slot, caller.reply, publication, outcome);
        }
        if room.gathered.capacity() == 0 {
            room.gathered = std::mem::take(&mut self.spare_gathered);
        }
        let before = room.position();
        let outcome = outcome.and_then(|()| room.publish(self.now, publication, keys));
        let (key, after) = (room.key, room.position());
        if before != after {
            self.counters.events_total += 1;
            self.tell_published(key.slot);
            self.room_is_dirty(key.slot);
        }
        self.answer_publish(caller.reply, outcome);
    }

    pub(super) fn answer_publish(
        &mut self,
        to: ReplyTo,
        outcome: Result<Option<Position>, Refusal>,
    ) {
        match outcome {
            Ok(position) if wants_answer(to) => {
                self.answer(to, Answer::Ok { position, delivered: None });
            }
            Ok(_) => {}
            Err(refusal) => self.answer(to, Answer::Refused(refusal)),
        }
    }

    /// The server's own code says something to some members.
    pub(super) fn tell_op(
        &mut self,
        slot: Option<u32>,
        caller: &Caller,
        to: &[SessionId],
        name: EventName,
        data: Option<Payload>,
    ) {
        let Some(room) = slot.and_then(|slot| self.rooms.get_mut(slot as usize)) else {
            return self.answer(caller.reply, Answer::Refused(no_such_room()));
        };
        let members = to.iter().filter_map(|&session| room.member(session));
        let to: Box<[_]> = members.map(|member| member.key).collect();
        let told = Answer::Ok { position: None, delivered: Some(to.len() as u32) };
        let event = room.aside(Said { name, data, from: None });
        let key = room.key;
        room.gather(Delivery::Told { event, to });
        self.room_is_dirty(key.slot);
        self.answer(caller.reply, told);
    }

    /// The room has something to deliver: at the end of the turn, or when its interval is over.
    pub(super) fn room_is_dirty(&mut self, slot: u32) {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        if room.flush_is_set || room.gathered.is_empty() {
            return;
        }
        room.flush_is_set = true;
        // The next tick may come after the goodbye.
        let at = room.delivery_at(self.now).filter(|_| self.draining.is_none());
        match at {
            None => self.dirty_rooms.push(slot),
            Some(at) => self.timers.set(at, Deadline::RoomFlush { room: room.key }),
        }
    }

    pub(super) fn on_room_flush_due(&mut self, key: RoomKey) {
        if self.room_at(key).is_some() {
            self.flush_room(key.slot);
        }
    }

    /// Sends what was gathered to every shard with members: once each, never once a member.
    pub(super) fn flush_room(&mut self, slot: u32) {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        room.flush_is_set = false;
        if room.gathered.is_empty() {
            return;
        }
        let (key, members, last) = (room.key, room.member_count(), room.audience);
        let mut deliveries = std::mem::take(&mut room.gathered);
        if self.own.is_empty() && room.is_local() {
            // Nothing is on its way that this could overtake.
            let audience = self.audience_of(key, last);
            self.rooms[slot as usize].audience = audience;
            self.deliver_here(audience, members, &deliveries);
            deliveries.clear();
            if deliveries.capacity() <= GATHERED_KEPT {
                self.spare_gathered = deliveries;
            }
            return;
        }
        let deliveries = Arc::new(deliveries);
        for shard in room.shards() {
            let deliveries = Arc::clone(&deliveries);
            let word = Word::Deliver { room: key, members, deliveries };
            if shard == self.id {
                self.own.push_back(word);
            } else {
                let envelope = crate::Envelope(word);
                self.outputs.push_back(crate::Output::Envelope { to: shard, envelope });
            }
        }
    }

    /// Answers what only looks. The same words for a room that is not there and for one that the
    /// asker is not in (threat S25).
    pub(super) fn look_op(&mut self, slot: Option<u32>, caller: &Caller, op: RoomOp) {
        let limits = &self.config.limits;
        let (list_max, bytes_max) = (limits.list_max as usize, limits.outbox_bytes / 4);
        let now = self.now;
        let room = slot
            .and_then(|slot| self.rooms.get_mut(slot as usize))
            .filter(|room| caller.admin || caller.id().is_some_and(|id| room.member(id).is_some()));
        let answer = match (room, op) {
            (Some(room), RoomOp::Members) => {
                let (members, truncated) = room.member_list(list_max);
                Answer::Members { room: room.name.clone(), members, truncated }
            }
            (Some(room), RoomOp::History { since, limit }) => {
                let head = room.position();
                let limit = limit.unwrap_or(HISTORY_LIMIT_DEFAULT) as usize;
                let (recovery, events) = room.history.page(now, since, head, limit, bytes_max);
                Answer::History { room: room.name.clone(), position: head, recovery, events }
            }
            (Some(room), RoomOp::Presence) => {
                let (members, users) = (room.member_count(), room.user_count());
                Answer::Presence { room: room.name.clone(), members, users }
            }
            (Some(room), RoomOp::State) => Answer::Call(ServerReply::State(Box::new(room.state()))),
            _ if caller.session.is_none() => Answer::Refused(no_such_room()),
            _ => Answer::Refused(not_a_member()),
        };
        self.answer(caller.reply, answer);
    }

    /// Brings an answer to who asked.
    pub(super) fn answer(&mut self, to: ReplyTo, answer: Answer) {
        match to.shard() {
            None => {}
            Some(shard) if shard == self.id => self.on_answer(to, answer),
            Some(shard) => self.send(shard, Word::Answer { to, answer }),
        }
    }
}

/// Success without a reference is not told.
fn wants_answer(to: ReplyTo) -> bool {
    match to {
        ReplyTo::Session { reference, .. } => reference.is_some(),
        ReplyTo::Call { .. } | ReplyTo::Awaited { .. } => true,
        ReplyTo::Again { .. } | ReplyTo::Nobody => false,
    }
}
