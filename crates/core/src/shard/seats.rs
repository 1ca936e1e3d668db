//! What homes tell the sessions held on this shard: seats given and taken, things said, answers.

use bytes::Bytes;
use roomcast_wire::Receiver;
use roomcast_wire::push::{ClosedReason, LeaveReason};
use roomcast_wire::reply::Recovery;
use roomcast_wire::{CloseCode, Format, Push, Refusal, Reply};

use super::Shard;
use crate::audience::Audience;
use crate::envelope::{Answer, Joined, RoomOp};
use crate::io::{LinkId, ServerReply};
use crate::key::{ReplyTo, RoomKey, SessionKey};
use crate::replay::Mark;
use crate::room::Delivery;
use crate::session::Seat;

impl Shard {
    pub(super) fn on_joined(&mut self, joined: Joined) {
        let key = joined.session;
        let Some(to) = self.asker_of(joined.to) else { return self.on_joined_late(&joined) };
        if to.is_call() {
            let reply = ServerReply::Seated { is_new: joined.is_new };
            self.answer(to, Answer::Call(reply));
        }
        let Some(session) = self.session_at(key) else { return };
        let link = session.link;
        let is_again = matches!(to, ReplyTo::Again { .. } | ReplyTo::Nobody);
        if is_again && session.seat(&joined.name).is_none() {
            // It was given up, or closed, while its home was told of it.
            return self.on_joined_late(&joined);
        }
        let was_heard = match session.seat_mut(&joined.name) {
            Some(seat) => {
                if !is_again {
                    seat.pending = seat.pending.saturating_sub(1);
                }
                seat.invited |= to.is_call();
                seat.room = Some(joined.room);
                seat.awaits(to)
            }
            None => {
                session.seats.push(Seat {
                    name: joined.name.clone(),
                    namespace: joined.namespace,
                    room: Some(joined.room),
                    pending: 0,
                    place: None,
                    invited: to.is_call(),
                    again: None,
                });
                false
            }
        };
        if joined.durable && !session.logged {
            self.log_session(key.slot);
        }
        if to.is_call() && !joined.is_new {
            return;
        }
        self.charge_fanout(key.slot, joined.told_bytes);
        if joined.created {
            self.charge_created_room(key);
        }
        // The seat stays quiet if the link that asked for it is gone: its client knows nothing of
        // it, and the next one says `join` for itself.
        let (link, reference) = match (to, link) {
            (ReplyTo::Session { link, generation, reference, .. }, Some(now))
                if link == now && self.links.generation(link) == Some(generation) =>
            {
                (link, reference)
            }
            (ReplyTo::Again { .. }, _) if !was_heard => return,
            (ReplyTo::Again { link, generation, .. }, Some(now))
                if link == now && self.links.generation(link) == Some(generation) =>
            {
                (link, None)
            }
            (to, Some(link)) if to.is_call() => (link, None),
            // Who comes back is not asked to join again: it hears the room from here on.
            _ if self.replays.has(key.slot) => (link.unwrap_or(LinkId::NONE), None),
            _ => return,
        };
        self.take_place(key, link, &joined);
        self.tell_joined(key.slot, link, reference, &joined);
    }

    /// A seat that was asked for has come after whoever asked was told that it may not: it is given
    /// back, unless it was asked for again.
    fn on_joined_late(&mut self, joined: &Joined) {
        let Some(session) = self.session_at(joined.session) else { return };
        if session.seat(&joined.name).is_some() {
            return;
        }
        let caller = session.caller(ReplyTo::Nobody);
        let op = RoomOp::Leave { reason: LeaveReason::Left, data: None };
        self.send_to_room(joined.namespace, joined.name.clone(), caller, op);
    }

    fn charge_created_room(&mut self, key: SessionKey) {
        let per_second = self.config.limits.creates_per_s.into();
        let now = self.now;
        let Some(session) = self.session_at(key) else { return };
        let until = session.creates.charge(now, per_second, 1);
        if let (Some(until), Some(link)) = (until, session.link) {
            self.pause(link, until);
        }
    }

    /// Puts the session among the receivers, if it is not there yet.
    fn take_place(&mut self, key: SessionKey, link: LinkId, joined: &Joined) {
        let audience = match self.audience_by_room.get(&joined.room) {
            Some(&audience) => audience,
            None => {
                let number = self.next_made();
                let audience = Audience::new(joined.room, joined.name.clone(), joined.slow, number);
                let audience = self.audiences.insert(audience) as u32;
                self.audience_by_room.insert(joined.room, audience);
                audience
            }
        };
        let Some(format) = self.format_of(key.slot, Some(link)) else { return };
        let session = self.sessions.get_mut(key.slot as usize);
        let Some(seat) = session.and_then(|session| session.seat_mut(&joined.name)) else { return };
        let receivers = &mut self.audiences[audience as usize];
        receivers.room_members = joined.members;
        receivers.heard = Some(joined.position);
        if let Some(again) = &mut seat.again {
            again.heard = None;
        }
        if seat.place.is_none() {
            seat.place = Some((audience, receivers.add(key, link, format)));
        }
    }

    /// What the link hears is written in another format from now on.
    pub(super) fn on_speaks(&mut self, link: LinkId, format: Format) {
        let Some(entry) = self.links.get_mut(link) else { return };
        entry.format = format;
        let session = entry.session.and_then(|slot| self.sessions.get(slot as usize));
        let seats = session.into_iter().flat_map(|session| &session.seats);
        for (audience, place) in seats.filter_map(|seat| seat.place) {
            if let Some(receivers) = self.audiences.get_mut(audience as usize) {
                receivers.set_format(place, format);
            }
        }
    }

    fn tell_joined(&mut self, slot: u32, link: LinkId, reference: Option<u64>, joined: &Joined) {
        match joined.recovery {
            None => {}
            Some(Recovery::Recovered) => self.counters.recovered_total += 1,
            Some(_) => self.counters.unrecovered_total += 1,
        }
        let room = joined.name.as_str();
        let (position, members, recovery) = (joined.position, joined.members, joined.recovery);
        let reply = Reply::Joined { room, position, members, recovery };
        self.links.reply(&mut self.counters, link, reference, &reply);
        let Some(format) = self.format_of(slot, Some(link)) else { return };
        if joined.missed.is_empty() {
            return;
        }
        self.counters.deliveries_total += joined.missed.len() as u64;
        if self.replays.keeps(format) {
            for event in &joined.missed {
                let mark = self.replays.mark(format, true);
                let to = Receiver { offset: mark.offset, ..Receiver::default() };
                let push = Push::Event { room, event };
                let frame = self.links.encode(|out| format.encode_push(&to, &push, out));
                self.replays.keep(slot, mark, &frame);
                self.links.put_granted(&mut self.counters, link, frame);
            }
            return;
        }
        let frames = self.links.encode(|out| {
            for event in &joined.missed {
                format.encode_push(&Receiver::default(), &Push::Event { room, event }, out);
            }
        });
        self.links.put_granted(&mut self.counters, link, frames);
    }

    /// How a session hears that has this link, or is expected back.
    pub(super) fn format_of(&self, slot: u32, link: Option<LinkId>) -> Option<Format> {
        let of_link = link.and_then(|link| self.links.get(link)).map(|link| link.format);
        of_link.or_else(|| self.replays.format_of(slot))
    }

    /// Tells one session something: on its link, and once more if it comes back without having
    /// heard it.
    pub(super) fn push_to(&mut self, slot: u32, push: &Push<'_>, reliable: bool) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let (link, namespace) = (session.link, session.namespace);
        let Some(format) = self.replays.format_of(slot) else {
            if let Some(link) = link {
                self.links.push(&mut self.counters, link, push);
            }
            return;
        };
        let namespace = self.namespaces[usize::from(namespace)].0.clone();
        let mark = self.replays.mark(format, reliable);
        let to = Receiver { offset: mark.offset, namespace: &namespace, session: None };
        let frame = self.links.encode(|out| format.encode_push(&to, push, out));
        self.replays.keep(slot, mark, &frame);
        if let Some(link) = link {
            self.links.put(&mut self.counters, link, frame);
        }
    }

    pub(super) fn on_join_refused(
        &mut self,
        to: ReplyTo,
        key: SessionKey,
        room: &str,
        refusal: Refusal,
    ) {
        let Some(to) = self.asker_of(to) else { return };
        if let Some(session) = self.session_at(key)
            && let Some(at) = session.seats.iter().position(|seat| seat.name == room)
        {
            let seat = &mut session.seats[at];
            seat.pending = seat.pending.saturating_sub(1);
            if seat.pending == 0 && seat.room.is_none() {
                session.seats.remove(at);
                self.tell_later_link(to, key, room);
            }
        }
        self.answer(to, Answer::Refused(refusal));
    }

    /// A client that came back before its join was answered was told of the seat in `welcome`: it
    /// has none.
    fn tell_later_link(&mut self, to: ReplyTo, key: SessionKey, room: &str) {
        let ReplyTo::Session { link, generation, .. } = to else { return };
        let is_same = self.links.generation(link) == Some(generation);
        let now = self.session_at(key).and_then(|session| session.link);
        if now.is_some_and(|now| now != link || !is_same) {
            let reason = ClosedReason::Expired;
            self.push_to(key.slot, &Push::RoomClosed { room, reason }, true);
        }
    }

    pub(super) fn on_left(&mut self, to: ReplyTo, session: SessionKey, room: RoomKey) {
        let Some(to) = self.asker_of(to) else { return };
        let mut answer = Answer::Ok { position: None, delivered: None };
        if to.is_call() {
            // The server left in the session's name: its client has to hear of it.
            self.on_seat_closed(session, room, Some(ClosedReason::Kicked));
        } else if let Some(seat) = self.forget_seat(session, room) {
            answer = Answer::Left { room: seat.name };
        }
        self.answer(to, answer);
    }

    pub(super) fn on_seat_closed(
        &mut self,
        session: SessionKey,
        room: RoomKey,
        reason: Option<ClosedReason>,
    ) {
        let Some(seat) = self.forget_seat(session, room) else { return };
        let Some((reason, held)) = reason.zip(self.session_at(session)) else { return };
        let link = held.link;
        let push = Push::RoomClosed { room: seat.name.as_str(), reason };
        self.push_to(session.slot, &push, true);
        if let Some(link) = link {
            self.close_if_it_was_for_a_room(session, link);
        }
    }

    /// A client that came for a room only has no use for a link without one.
    fn close_if_it_was_for_a_room(&mut self, session: SessionKey, link: LinkId) {
        let is_for_room = self.links.get(link).is_some_and(|entry| entry.format.hello_names_room());
        if is_for_room && self.session_at(session).is_some_and(|one| one.seats.is_empty()) {
            self.close_link(link, CloseCode::Normal, "you are in no room any more", None);
        }
    }

    pub(super) fn on_deliver(&mut self, room: RoomKey, members: u32, deliveries: &[Delivery]) {
        self.deliver_here(self.audience_of(room, None), members, deliveries);
    }

    /// Who of this shard hears a room. `last`: what was found the last time; it is looked at first.
    pub(super) fn audience_of(&self, room: RoomKey, last: Option<u32>) -> Option<u32> {
        let same = |at: &u32| self.audiences.get(*at as usize).is_some_and(|it| it.room == room);
        last.filter(same).or_else(|| self.audience_by_room.get(&room).copied())
    }

    pub(super) fn deliver_here(
        &mut self,
        audience: Option<u32>,
        members: u32,
        deliveries: &[Delivery],
    ) {
        let Some(audience) = audience else { return };
        self.audiences[audience as usize].room_members = members;
        if self.cluster.is_some() {
            let last = deliveries.iter().rev().find_map(Delivery::position);
            let heard = &mut self.audiences[audience as usize].heard;
            *heard = last.or(*heard);
        }
        let mut rest = deliveries;
        while let Some(at) = rest.iter().position(|one| matches!(one, Delivery::Told { .. })) {
            let receivers = &self.audiences[audience as usize];
            let (links, replays) = (&mut self.links, &mut self.replays);
            receivers.deliver(links, replays, &mut self.counters, &rest[..at]);
            self.tell_some(audience, &rest[at]);
            rest = &rest[at + 1..];
        }
        let receivers = &self.audiences[audience as usize];
        receivers.deliver(&mut self.links, &mut self.replays, &mut self.counters, rest);
    }

    /// Delivers what only some members hear to those of them that are held here: without a look
    /// at the others, however many they are.
    fn tell_some(&mut self, audience: u32, delivery: &Delivery) {
        let Delivery::Told { event, to } = delivery else { return };
        let room = self.audiences[audience as usize].room;
        let mut frames: [Option<(Mark, Bytes)>; Format::COUNT] = Default::default();
        let here = self.id;
        for key in to.iter().filter(|key| key.shard == here) {
            let Some(session) = self.session_at(*key) else { continue };
            let hears = session.seats.iter().any(|seat| {
                seat.room == Some(room) && seat.place.is_some_and(|(at, _)| at == audience)
            });
            if !hears {
                continue;
            }
            let link = session.link.unwrap_or(LinkId::NONE);
            let Some(format) = self.format_of(key.slot, Some(link)) else { continue };
            let receivers = &self.audiences[audience as usize];
            let push = Push::Event { room: receivers.name.as_str(), event };
            let own;
            let (mark, frame) = if format.names_receiver() {
                let frame =
                    self.links.encode_for(link, |to, out| format.encode_push(to, &push, out));
                own = (Mark::default(), frame);
                &own
            } else {
                frames[format.index()].get_or_insert_with(|| {
                    let mark = self.replays.mark(format, true);
                    let to = Receiver { offset: mark.offset, ..Receiver::default() };
                    (mark, self.links.encode(|out| format.encode_push(&to, &push, out)))
                })
            };
            self.replays.keep(key.slot, *mark, frame);
            let how = receivers.delivering();
            self.links.deliver(&mut self.counters, link, frame, 1, how);
        }
    }

    pub(super) fn forget_seat(&mut self, key: SessionKey, room: RoomKey) -> Option<Seat> {
        let session = self.session_at(key)?;
        let at = session.seats.iter().position(|seat| seat.room == Some(room))?;
        if session.seats[at].pending > 0 {
            // Another join is on its way to the home: the seat will be given anew.
            let seat = &mut session.seats[at];
            let (name, namespace) = (seat.name.clone(), seat.namespace);
            let (place, invited) = (seat.place.take(), std::mem::take(&mut seat.invited));
            seat.room = None;
            self.leave_place(place);
            let room = Some(room);
            let (pending, place, again) = (0, None, None);
            return Some(Seat { name, namespace, room, pending, place, invited, again });
        }
        let seat = session.seats.remove(at);
        if session.seats.is_empty() {
            session.seats = Vec::new();
        }
        self.leave_place(seat.place);
        Some(seat)
    }

    /// All seats of a session fall quiet: nothing of their rooms reaches it.
    pub(super) fn quiet_all_seats(&mut self, slot: u32) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let seats = session.seats.iter_mut();
        let places = seats.filter_map(|seat| {
            if let Some(again) = &mut seat.again {
                again.heard = None;
            }
            seat.place.take()
        });
        for place in places.collect::<Vec<_>>() {
            self.leave_place(Some(place));
        }
    }

    /// All seats of a session that keeps hearing its rooms have another link from now on, or none.
    pub(super) fn lead_seats(&mut self, slot: u32, link: LinkId) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        for (audience, place) in session.seats.iter().filter_map(|seat| seat.place) {
            if let Some(audience) = self.audiences.get_mut(audience as usize) {
                audience.set_link(place, link);
            }
        }
    }

    pub(super) fn leave_place(&mut self, place: Option<(u32, u32)>) {
        let Some((at, place)) = place else { return };
        let Some(audience) = self.audiences.get_mut(at as usize) else { return };
        if let Some(moved) = audience.remove(place)
            && let Some(session) = self.session_at(moved)
        {
            let seats = session.seats.iter_mut();
            for seat in seats.filter(|seat| seat.place.is_some_and(|(other, _)| other == at)) {
                seat.place = Some((at, place));
            }
        }
        if self.audiences[at as usize].is_empty() {
            let audience = self.audiences.remove(at as usize);
            self.audience_by_room.remove(&audience.room);
        }
    }

    /// An answer has reached the shard of who asked.
    pub(super) fn on_answer(&mut self, to: ReplyTo, answer: Answer) {
        let (session, link, generation, reference) = match to {
            ReplyTo::Session { session, link, generation, reference } => {
                (session, link, generation, reference)
            }
            ReplyTo::Call { id, .. } => return self.call_done(id, answer),
            ReplyTo::Awaited { .. } => {
                if let Some(to) = self.asker_of(to) {
                    self.answer(to, answer);
                }
                return;
            }
            ReplyTo::Again { .. } | ReplyTo::Nobody => return,
        };
        let same_link = self.links.generation(link) == Some(generation);
        if !same_link || self.session_at(session).is_none_or(|one| one.link != Some(link)) {
            return;
        }
        let counters = &mut self.counters;
        let reply = match &answer {
            Answer::Refused(refusal) => return self.refuse_on(link, reference, refusal),
            // Success without a reference is not told, answers that tell something are.
            Answer::Ok { .. } | Answer::Left { .. } if reference.is_none() => return,
            Answer::Call(ServerReply::Answered(data)) => Reply::Result { data: data.as_ref() },
            Answer::Call(_) => return,
            Answer::Ok { position, delivered } => {
                Reply::Ok { position: *position, delivered: *delivered }
            }
            Answer::Left { room } => Reply::Left { room },
            Answer::Created { room, created } => Reply::Created { room, created: *created },
            Answer::Members { room, members, truncated } => {
                Reply::Members { room, members, truncated: *truncated }
            }
            Answer::History { room, position, recovery, events } => {
                Reply::History { room, position: *position, recovery: *recovery, events }
            }
            Answer::Presence { room, members, users } => {
                Reply::Presence { room, members: *members, users: *users }
            }
            Answer::Rooms { rooms, truncated } => Reply::Rooms { rooms, truncated: *truncated },
        };
        self.links.reply(counters, link, reference, &reply);
    }
}
