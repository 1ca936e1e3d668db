//! What rooms homed on this shard decide about seats: who gets one, who loses it, when a room ends.

use std::sync::Arc;

use roomcast_wire::options::{JoinRule, PresenceRule};
use roomcast_wire::push::{ClosedReason, LeaveReason};
use roomcast_wire::{ErrorCode, Payload, Position, Refusal, SessionId};

use super::AROUND_BYTES;
use super::Shard;
use super::logic::Notice;
use crate::envelope::{Answer, Caller, Grant, JoinRights, Joined, RoomOp, Word};
use crate::key::{FullName, ReplyTo, RoomKey};
use crate::record::Record;
use crate::room::{Delivery, Member, no_such_room, not_a_member};
use crate::timers::Deadline;

/// A wish for a seat.
pub(super) struct JoinWish {
    pub since: Option<Position>,
    pub data: Option<Payload>,
    pub grant: Grant,
    pub rights: JoinRights,
    pub created: bool,
    /// The room was only just made, by this wish or by a `create` with it.
    pub made: bool,
}

impl Shard {
    pub(super) fn on_room_op(
        &mut self,
        room: FullName,
        namespace: u16,
        caller: Caller,
        op: RoomOp,
    ) {
        let slot = self.room_by_name.get(room.as_str()).copied();
        match op {
            RoomOp::Publish { publication, echo } => {
                self.publish_op(slot, &caller, publication, echo, false);
            }
            RoomOp::Join { since, data, grant, rights } => {
                let made = slot.is_none();
                let wish = JoinWish { since, data, grant, rights, created: made, made };
                self.join_op(slot, room, namespace, caller, wish);
            }
            RoomOp::Create(wish) => self.create_op(slot, room, namespace, &caller, *wish),
            RoomOp::Found { options, permanent } => {
                self.found_op(slot, room, namespace, &caller, *options, permanent);
            }
            RoomOp::Leave { reason, data } => self.leave_op(slot, &caller, reason, data),
            RoomOp::Unseat => self.unseat_op(slot, &caller),
            RoomOp::Drop => self.drop_op(slot, &caller),
            RoomOp::Resume => self.resume_op(slot, &caller),
            RoomOp::Reseat(reseat) => self.reseat_op(slot, room, namespace, &caller, *reseat),
            RoomOp::Tell { to, event, data } => self.tell_op(slot, &caller, &to, event, data),
            RoomOp::Kick { target, message } => self.kick_op(slot, &caller, &target, message),
            RoomOp::Delete => self.delete_op(slot, &caller),
            RoomOp::Members | RoomOp::History { .. } | RoomOp::Presence | RoomOp::State => {
                self.look_op(slot, &caller, op);
            }
        }
    }

    fn join_op(
        &mut self,
        slot: Option<u32>,
        name: FullName,
        namespace: u16,
        caller: Caller,
        wish: JoinWish,
    ) {
        let slot = match slot {
            Some(slot) => Ok(slot),
            None => {
                let options = self.options_of(namespace, &name).clone();
                let may = match wish.grant {
                    Grant::None | Grant::Rule => {
                        // A static room that ended is made anew, not made up by who comes.
                        let is_static =
                            self.policy(namespace).is_static(self.own_name(namespace, &name));
                        let may =
                            is_static || (wish.rights.create && self.may_make(namespace, &caller));
                        let open = options.join == JoinRule::Open || wish.grant == Grant::Rule;
                        open && may
                    }
                    Grant::Room => {
                        return self.refuse_join(&caller, name, no_such_room());
                    }
                    Grant::Make => true,
                };
                self.make_room(namespace, name.clone(), may, options, &caller)
            }
        };
        match slot {
            Ok(slot) => self.seat_or_refuse(slot, name, &caller, wish),
            Err(refusal) => self.refuse_join(&caller, name, refusal),
        }
    }

    pub(super) fn seat_or_refuse(
        &mut self,
        slot: u32,
        name: FullName,
        caller: &Caller,
        wish: JoinWish,
    ) {
        let made = wish.made;
        // A client that asks again has lost its link, and wants to know; the server's own code has
        // nothing to give to who has a seat.
        let room = &self.rooms[slot as usize];
        if let (true, Some((key, sender))) = (caller.reply.is_call(), &caller.session)
            && room.member(sender.session).is_some()
        {
            let joined = Joined::held(room, caller.reply, *key);
            return self.send(key.shard, Word::Joined(Box::new(joined)));
        }
        if let Err(refusal) = self.seat(slot, caller, wish) {
            let room = self.rooms.get(slot as usize);
            match made && room.is_some_and(|room| !room.permanent) {
                // Nobody may keep a room alive by a seat that it does not get.
                true => self.close_room(slot, ClosedReason::Expired),
                false => self.room_emptied(slot, false),
            }
            self.refuse_join(caller, name, refusal);
        }
    }

    pub(super) fn refuse_join(&mut self, caller: &Caller, room: FullName, refusal: Refusal) {
        match &caller.session {
            Some((key, _)) => {
                let (to, session) = (caller.reply, *key);
                self.send(session.shard, Word::JoinRefused { to, session, room, refusal });
            }
            None => self.answer(caller.reply, Answer::Refused(refusal)),
        }
    }

    pub(super) fn seat(
        &mut self,
        slot: u32,
        caller: &Caller,
        wish: JoinWish,
    ) -> Result<(), Refusal> {
        let Some((key, sender)) = caller.session.clone() else {
            return Err(Refusal::new(ErrorCode::Internal, "only a session can take a seat"));
        };
        let now = self.now;
        let room = &mut self.rooms[slot as usize];
        let has_seat = room.member(sender.session).is_some();
        let emptied = room.emptied;
        if room.options.join == JoinRule::Granted
            && !(wish.grant != Grant::None || has_seat || caller.admin)
        {
            return Err(join_not_granted());
        }
        let data_bytes = wish.data.as_ref().map_or(0, |data| data.bytes().len() as u64);
        let is_new = room.seat(key, &sender, wish.data, wish.rights)?;
        self.counters.seats += u64::from(is_new);
        let has_logic = room.logic.is_some();
        let effects = match (has_logic, is_new) {
            (false, _) => Vec::new(),
            (true, true) => {
                let room = room.key;
                self.ask_to_join(slot, sender.session).inspect_err(|_| {
                    if let Some(room) = self.room_at(room) {
                        room.emptied = emptied;
                    }
                })?
            }
            (true, false) => self.tell_resumed(slot, sender.session)?,
        };
        let room = &mut self.rooms[slot as usize];
        let members = room.member_count();
        let mut told_bytes: u64 = effects.iter().map(|effect| effect.bytes(members)).sum();
        // A logic may tell them as much, when the member goes too.
        if is_new && (has_logic || room.tells_members()) {
            told_bytes += (2 * AROUND_BYTES + data_bytes) * u64::from(members);
        }
        if is_new
            && room.tells_members()
            && let Some(member) = room.member(sender.session).map(Member::info)
        {
            let member = Arc::new(member);
            room.gather(Delivery::Joined { member, except: key });
        }
        if is_new {
            let invited = wish.grant == Grant::Make || matches!(caller.reply, ReplyTo::Call { .. });
            self.log_seat(slot, sender.session, invited);
            self.tell_member_joined(slot, sender.session);
        }
        self.presence_changed(slot);
        // What was said before goes out before the newcomer is among the receivers.
        self.flush_room(slot);
        let room = &mut self.rooms[slot as usize];
        let position = room.position();
        let (recovery, missed) = room.missed(now, wish.since, wish.rights.history);
        let created = wish.created;
        let held = Joined::held(room, caller.reply, key);
        let joined = Joined { position, recovery, missed, created, is_new, told_bytes, ..held };
        self.send(key.shard, Word::Joined(Box::new(joined)));
        self.carry_out(slot, effects);
        Ok(())
    }

    fn leave_op(
        &mut self,
        slot: Option<u32>,
        caller: &Caller,
        reason: LeaveReason,
        data: Option<Payload>,
    ) {
        let Some((slot, session)) = slot.zip(caller.id()) else {
            // The server may know that there is no such room, a client may not (threat S25).
            let refusal = match caller.reply.is_call() {
                true => no_such_room(),
                false => not_a_member(),
            };
            return self.answer(caller.reply, Answer::Refused(refusal));
        };
        let room = self.rooms[slot as usize].key;
        if self.has_moved(slot, caller) {
            // It goes on there, and who is asked here is no more.
            return self.answer(caller.reply, Answer::Refused(not_a_member()));
        }
        self.flush_room(slot);
        match self.unseat(slot, session, reason, data) {
            None => self.answer(caller.reply, Answer::Refused(not_a_member())),
            Some(_) if caller.reply == ReplyTo::Nobody => {}
            Some(member) => {
                let (to, session) = (caller.reply, member.key);
                self.send(session.shard, Word::Left { to, session, room });
            }
        }
    }

    /// Whether the member's session lives on another shard by now than the one that speaks for it.
    fn has_moved(&self, slot: u32, caller: &Caller) -> bool {
        let Some((key, sender)) = &caller.session else { return false };
        let member = self.rooms.get(slot as usize).and_then(|room| room.member(sender.session));
        member.is_some_and(|member| member.key != *key)
    }

    /// Takes a seat away and tells the others. The room may end with it.
    pub(super) fn unseat(
        &mut self,
        slot: u32,
        session: SessionId,
        reason: LeaveReason,
        data: Option<Payload>,
    ) -> Option<Member> {
        let room = self.rooms.get_mut(slot as usize)?;
        let member = room.unseat(session)?;
        self.counters.seats -= 1;
        let logic_hears = room.logic.is_some().then_some(room.key);
        let log = room.durable.as_ref().map(|durable| durable.log);
        if room.tells_members() {
            let (from, data) = (Arc::clone(&member.sender), data.clone());
            room.gather(Delivery::Left { from, reason, data });
        }
        if let Some(log) = log {
            self.log_state(Record::Unseat { log, session });
        }
        self.tell_member_left(slot, &member.sender, reason);
        self.presence_changed(slot);
        match logic_hears {
            None => self.room_emptied(slot, false),
            Some(room) => {
                self.notices.push_back((room, Notice::Left(member.info(), reason, data)));
                if self.rooms[slot as usize].member_count() == 0 {
                    self.notices.push_back((room, Notice::Emptied));
                }
            }
        }
        Some(member)
    }

    /// Ends a room that nobody is in, now or when its time to live is over. A room that was only
    /// just made waits for its first member.
    pub(super) fn room_emptied(&mut self, slot: u32, just_made: bool) {
        let now = self.now;
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        if room.member_count() > 0 || room.permanent {
            return;
        }
        if room.emptied.is_some() {
            // Somebody came in vain: the room waits as it did before.
            return;
        }
        if !room.options.keep_when_empty && !just_made {
            return self.close_room(slot, ClosedReason::Expired);
        }
        room.emptied = Some(now);
        self.watch_end(slot);
    }

    /// Sees to it that an empty room is looked at when its time is over. One deadline a room, but
    /// for one that ends sooner by other options: one for each time it was emptied would let a
    /// single client pile them up.
    pub(super) fn watch_end(&mut self, slot: u32) {
        let now = self.now;
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        let Some(emptied) = room.emptied.filter(|_| !room.permanent) else { return };
        let at = room.ends_at(emptied).max(now);
        if room.end_set.is_none_or(|set| at < set) {
            room.end_set = Some(at);
            self.timers.set(at, Deadline::RoomEnds { room: room.key });
        }
    }

    /// Ends the room if it was empty for long enough, or looks again when it may be.
    pub(super) fn on_room_ends(&mut self, key: RoomKey) {
        let now = self.now;
        let Some(room) = self.room_at(key) else { return };
        if room.end_set.is_some_and(|set| set > now) {
            return;
        }
        room.end_set = None;
        // It may have become permanent since.
        let Some(emptied) = room.emptied.filter(|_| !room.permanent) else { return };
        if room.ends_at(emptied) <= now {
            return self.close_room(key.slot, ClosedReason::Expired);
        }
        self.watch_end(key.slot);
    }

    pub(super) fn drop_op(&mut self, slot: Option<u32>, caller: &Caller) {
        let Some((slot, session)) = slot.zip(caller.id()) else { return };
        if self.has_moved(slot, caller) {
            return;
        }
        let room = &mut self.rooms[slot as usize];
        let Some(drop) = room.drop_member(session) else { return };
        let resume_ms = u64::from(room.options.resume_s) * 1_000;
        let key = room.key;
        if resume_ms == 0 {
            return self.give_up_seat(slot, session);
        }
        if room.logic.is_some() {
            self.notices.push_back((key, Notice::Dropped(session)));
        }
        if room.tells_members()
            && let Some((except, from)) = caller.session.clone()
        {
            room.gather(Delivery::Dropped { from, except });
            self.room_is_dirty(slot);
        }
        self.tell_member_dropped(slot, caller.sender());
        self.timers.set(self.now.plus(resume_ms), Deadline::SeatEnds { room: key, session, drop });
    }

    pub(super) fn resume_op(&mut self, slot: Option<u32>, caller: &Caller) {
        let Some((slot, session)) = slot.zip(caller.id()) else { return };
        let room = &mut self.rooms[slot as usize];
        if !room.resume_member(session) {
            return;
        }
        if room.tells_members()
            && let Some((except, from)) = caller.session.clone()
        {
            room.gather(Delivery::Resumed { from, except });
            self.room_is_dirty(slot);
        }
        self.tell_member_resumed(slot, caller.sender());
    }

    pub(super) fn on_seat_ends(&mut self, key: RoomKey, session: SessionId, drop: u32) {
        let member = self.room_at(key).and_then(|room| room.member(session));
        if member.is_some_and(|member| member.dropped == Some(drop)) {
            self.give_up_seat(key.slot, session);
        }
    }

    fn give_up_seat(&mut self, slot: u32, session: SessionId) {
        let Some(room) = self.rooms.get(slot as usize).map(|room| room.key) else { return };
        if let Some(member) = self.unseat(slot, session, LeaveReason::Lost, None) {
            // A client that is back already was told that it has this seat.
            let reason = Some(ClosedReason::Expired);
            let closed = Word::SeatClosed { session: member.key, room, reason };
            self.send(member.key.shard, closed);
        }
    }

    fn kick_op(
        &mut self,
        slot: Option<u32>,
        caller: &Caller,
        target: &str,
        message: Option<Box<str>>,
    ) {
        let found = slot.map_or(Vec::new(), |slot| self.rooms[slot as usize].find(target));
        let Some(slot) = slot.filter(|_| !found.is_empty()) else {
            let text = format!("nobody called `{}` is in this room", target.escape_debug());
            let refusal = Refusal::new(ErrorCode::NoSuchTarget, text);
            return self.answer(caller.reply, Answer::Refused(refusal));
        };
        let room = self.rooms[slot as usize].key;
        self.flush_room(slot);
        let data = message.map(|text| Payload::text(&text));
        let kicked = found.len() as u32;
        for session in found {
            if let Some(member) = self.unseat(slot, session, LeaveReason::Kicked, data.clone()) {
                let reason = Some(ClosedReason::Kicked);
                let closed = Word::SeatClosed { session: member.key, room, reason };
                self.send(member.key.shard, closed);
            }
        }
        self.answer(caller.reply, Answer::Ok { position: None, delivered: Some(kicked) });
    }

    fn delete_op(&mut self, slot: Option<u32>, caller: &Caller) {
        let Some(slot) = slot else {
            return self.answer(caller.reply, Answer::Refused(no_such_room()));
        };
        let room = &self.rooms[slot as usize];
        if self.policy(room.namespace).is_static(self.own_name(room.namespace, &room.name)) {
            let text = "a static room cannot be deleted: take it out of the configuration";
            let refusal = Refusal::new(ErrorCode::Forbidden, text);
            return self.answer(caller.reply, Answer::Refused(refusal));
        }
        self.close_room(slot, ClosedReason::Deleted);
        self.answer(caller.reply, Answer::Ok { position: None, delivered: None });
    }

    /// Notes that the numbers changed, where members hear numbers.
    fn presence_changed(&mut self, slot: u32) {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        match room.options.presence {
            PresenceRule::Off => {}
            PresenceRule::Members => self.room_is_dirty(slot),
            PresenceRule::Counts if room.counts_are_set => {}
            PresenceRule::Counts => {
                room.counts_are_set = true;
                let deadline = Deadline::RoomCounts { room: room.key };
                self.timers.set(self.now.plus(COUNTS_MS), deadline);
            }
        }
    }

    pub(super) fn on_room_counts_due(&mut self, key: RoomKey) {
        let Some(room) = self.room_at(key) else { return };
        room.counts_are_set = false;
        let (members, users) = (room.member_count(), room.user_count());
        room.gather(Delivery::Counts { members, users });
        self.room_is_dirty(key.slot);
    }
}

/// How often numbers are told at most, in milliseconds.
const COUNTS_MS: u64 = 1_000;

pub(super) fn join_not_granted() -> Refusal {
    let text = "seats in this room are given by the server (`join = \"granted\"`)";
    Refusal::new(ErrorCode::JoinNotGranted, text)
}
