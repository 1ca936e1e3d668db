//! Rooms with a logic: its callbacks are run here, and what they ask for is done.

use std::any::Any;
use std::collections::BTreeMap;
use std::mem;

use roomcast_wire::push::{ClosedReason, LeaveReason, MemberInfo};
use roomcast_wire::{ErrorCode, Payload, Refusal, RoomOptions, SessionId};

use super::Shard;
use super::durable::Told;
use crate::contained::{contained, discard};
use crate::envelope::{Caller, Word};
use crate::io::{Note, Output};
use crate::key::RoomKey;
use crate::logic::running::{Running, Tick};
use crate::logic::{Effect, LogicEvent, Relay, RoomCtx, RoomLogic, RoomRef, RoomSetup};
use crate::room::{Delivery, Member, Publication, not_a_member};
use crate::timers::Deadline;

/// What a room's logic is to be told as soon as the work at hand is done. Told at once, a logic
/// that puts out whom it hears leaving would go as deep as there are members.
pub(super) enum Notice {
    Dropped(SessionId),
    Left(MemberInfo, LeaveReason, Option<Payload>),
    /// A timer or a tick may be due.
    Due,
    Answer(u64, Box<dyn Any + Send>),
    /// The last member may have gone.
    Emptied,
}

/// How soon a logic that is due is looked at again while the node's lease is over, in milliseconds.
const LEASE_LOOK_MS: u64 = 250;

impl Shard {
    /// Makes the logic that a room with these options has; none: it relays.
    pub(super) fn new_logic(
        &self,
        room: &str,
        options: &RoomOptions,
    ) -> Result<Option<Box<dyn RoomLogic>>, Refusal> {
        let factory = self.config.logics.factory(options);
        let factory = factory.map_err(|text| Refusal::new(ErrorCode::InvalidOption, text))?;
        let Some(make) = factory else { return Ok(None) };
        let setup = RoomSetup { room, options, config: options.logic_config.as_deref() };
        contained(|| make(&setup)).map(Some).map_err(|_| failed())
    }

    /// Gives a new room its logic. The room may be gone after it.
    pub(super) fn start_logic(
        &mut self,
        slot: u32,
        logic: Box<dyn RoomLogic>,
        creator: Option<SessionId>,
    ) {
        let now = self.now;
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        let mut running = Box::new(Running::new(logic, creator));
        if room.options.tick_ms > 0 {
            running.tick = Some(Tick::new(now, room.options.tick_ms, phase(room.key), 0));
        }
        room.logic = Some(running);
        if let Some(((), effects)) = self.ask_logic(slot, |logic, ctx| logic.on_create(ctx)) {
            self.carry_out(slot, effects);
        }
    }

    /// Runs one callback. None: the room has no logic, or it failed and the room is gone.
    pub(super) fn ask_logic<T>(
        &mut self,
        slot: u32,
        callback: impl FnOnce(&mut dyn RoomLogic, &mut RoomCtx<'_>) -> T,
    ) -> Option<(T, Vec<Effect>)> {
        let mut running = self.rooms.get_mut(slot as usize)?.logic.take()?;
        let room = &self.rooms[slot as usize];
        let (timers, calls) = (running.timers.len(), running.calls.len());
        // The callback has the logic, and the context the rest.
        let mut logic = running.take_logic();
        let mut ctx = RoomCtx {
            now: self.now,
            room,
            running: &running,
            rng: &mut self.rng,
            effects: Vec::new(),
            last_word: None,
            timers,
            timers_changed: BTreeMap::new(),
            calls,
        };
        let outcome = contained(|| callback(&mut *logic, &mut ctx));
        let effects = mem::take(&mut ctx.effects);
        running.logic = logic;
        self.rooms[slot as usize].logic = Some(running);
        match outcome {
            Ok(told) => Some((told, effects)),
            Err(fault) => {
                discard(effects);
                self.fail_room(slot, fault);
                None
            }
        }
    }

    /// Does what a callback asked for, in its order.
    pub(super) fn carry_out(&mut self, slot: u32, effects: Vec<Effect>) {
        let Some(room) = self.rooms.get(slot as usize).map(|room| room.key) else { return };
        let mut rest = effects.into_iter();
        while self.room_at(room).is_some()
            && let Some(effect) = rest.next()
        {
            match effect {
                Effect::Publish { .. } | Effect::Tell { .. } | Effect::TellExcept { .. } => {
                    self.say(slot, effect);
                }
                Effect::Kick { session, text } => {
                    let data = (!text.is_empty()).then(|| Payload::text(&text));
                    self.put_out(slot, session, data);
                }
                Effect::Close => self.close_room(slot, ClosedReason::Ended),
                Effect::SetOptions(options) => self.set_options(slot, *options),
                effect => self.set_running(slot, effect),
            }
        }
        // What a room that closed itself wanted after that.
        discard(rest);
        self.arm(slot);
    }

    pub(super) fn say(&mut self, slot: u32, effect: Effect) {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        match effect {
            Effect::Publish { name, data: payload, from, reliable } => {
                let publication =
                    Publication { name, payload, from, reliable, key: None, except: None };
                if room.bounds.durable {
                    return self.say_durable(slot, publication);
                }
                room.place(self.now, publication, 0);
                self.counters.events_total += 1;
                self.tell_published(slot);
            }
            Effect::Tell { to, said } => {
                let event = room.aside(said);
                room.gather(Delivery::Told { event, to });
            }
            Effect::TellExcept { except, said } => {
                let event = room.aside(said);
                room.gather(Delivery::Event { event, except: Some(except) });
            }
            other => return discard(other),
        }
        self.room_is_dirty(slot);
    }

    /// What concerns the logic itself.
    fn set_running(&mut self, slot: u32, effect: Effect) {
        let now = self.now;
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        let key = room.key;
        let Some(running) = &mut room.logic else { return };
        match effect {
            Effect::SetTimer { id, at } => running.timers.set(id, at),
            Effect::CancelTimer { id } => running.timers.cancel(id),
            Effect::SetTick { ms } => running.set_tick(now, ms, phase(key)),
            Effect::Call { id, task } => {
                running.calls_made += 1;
                running.calls.insert(running.calls_made, id);
                let (room, call) = (RoomRef(key), running.calls_made);
                self.outputs.push_back(Output::Task { room, call, task });
            }
            _ => {}
        }
    }

    fn set_options(&mut self, slot: u32, options: RoomOptions) {
        let now = self.now;
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        let tick_ms = options.tick_ms;
        let other_tick = tick_ms != room.options.tick_ms;
        room.set_options(now, options);
        let key = room.key;
        if other_tick && let Some(running) = &mut room.logic {
            running.set_tick(now, tick_ms, phase(key));
        }
        // An empty room may have less time now.
        self.watch_end(slot);
        self.log_room(slot);
    }

    fn put_out(&mut self, slot: u32, session: SessionId, data: Option<Payload>) {
        let Some(room) = self.rooms.get(slot as usize).map(|room| room.key) else { return };
        self.flush_room(slot);
        if let Some(member) = self.unseat(slot, session, LeaveReason::Kicked, data) {
            let reason = Some(ClosedReason::Kicked);
            let closed = Word::SeatClosed { session: member.key, room, reason };
            self.send(member.key.shard, closed);
        }
    }

    /// Makes sure that there is a deadline for what is due next.
    fn arm(&mut self, slot: u32) {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return };
        let key = room.key;
        let Some(running) = &mut room.logic else { return };
        if let Some(next) = running.arm() {
            self.timers.set(next, Deadline::RoomWake { room: key });
        }
    }

    pub(super) fn on_room_wake(&mut self, key: RoomKey) {
        let now = self.now;
        if self.lease_is_over() {
            // Another node may tell another life of this room by now.
            return self.timers.set(now.plus(LEASE_LOOK_MS), Deadline::RoomWake { room: key });
        }
        let Some(running) = self.room_at(key).and_then(|room| room.logic.as_mut()) else { return };
        running.woken(now);
        self.notices.push_back((key, Notice::Due));
    }

    /// Tells a logic of the timer that is due, or of the tick if there is none. The next is looked
    /// up when this one's callback is over, which may have moved it or taken it back.
    fn tell_due(&mut self, key: RoomKey) {
        let (now, slot) = (self.now, key.slot);
        let Some(running) = self.room_at(key).and_then(|room| room.logic.as_mut()) else { return };
        let asked = if let Some(timer) = running.timers.due(now) {
            self.ask_logic(slot, |logic, ctx| logic.on_timer(ctx, timer))
        } else if let Some(tick) = running.tick.as_mut().and_then(|tick| tick.due(now)) {
            self.ask_logic(slot, |logic, ctx| logic.on_tick(ctx, tick))
        } else {
            return self.arm(slot);
        };
        if let Some(((), effects)) = asked {
            self.carry_out(slot, effects);
            self.notices.push_back((key, Notice::Due));
        }
    }

    /// What a call of a room's logic came to; none: its future panicked.
    pub(super) fn on_task_done(
        &mut self,
        room: RoomRef,
        call: u64,
        answer: Option<Box<dyn Any + Send>>,
    ) {
        let room = room.0;
        let running = self.room_at(room).and_then(|room| room.logic.as_mut());
        let Some(id) = running.and_then(|running| running.calls.remove(&call)) else {
            return discard(answer);
        };
        match answer {
            Some(answer) => self.notices.push_back((room, Notice::Answer(id, answer))),
            None => self.fail_room(room.slot, format!("the future of call {id} panicked")),
        }
    }

    /// Tells logics what they have to hear. What they ask for then may bring more, but each time
    /// with fewer members.
    pub(super) fn tell_logics(&mut self) {
        while let Some((room, notice)) = self.notices.pop_front() {
            self.tell_logic(room, notice);
        }
    }

    fn tell_logic(&mut self, key: RoomKey, notice: Notice) {
        let slot = key.slot;
        let Some(room) = self.room_at(key) else { return discard(notice) };
        let member = |session| room.member(session).map(Member::info);
        let asked = match notice {
            Notice::Dropped(session) => {
                let Some(member) = member(session) else { return };
                self.ask_logic(slot, |logic, ctx| logic.on_drop(ctx, &member))
            }
            Notice::Left(member, reason, last_word) => self.ask_logic(slot, |logic, ctx| {
                ctx.last_word = last_word;
                logic.on_leave(ctx, &member, reason);
            }),
            Notice::Due => return self.tell_due(key),
            Notice::Answer(call, answer) => {
                self.ask_logic(slot, |logic, ctx| logic.on_answer(ctx, call, answer))
            }
            Notice::Emptied => {
                let waits = |(room, notice): &(RoomKey, Notice)| {
                    *room == key && !matches!(notice, Notice::Emptied)
                };
                if self.notices.iter().any(waits) {
                    // It hears of everybody who left before it ends.
                    return self.notices.push_back((key, Notice::Emptied));
                }
                return self.room_emptied(slot, false);
            }
        };
        if let Some(((), effects)) = asked {
            self.carry_out(slot, effects);
        }
    }

    /// Asks the logic about somebody who has just been given a seat. What the callback wants done
    /// comes back, for after the answer.
    pub(super) fn ask_to_join(
        &mut self,
        slot: u32,
        session: SessionId,
    ) -> Result<Vec<Effect>, Refusal> {
        let Some(room) = self.rooms.get_mut(slot as usize) else { return Err(failed()) };
        let Some(member) = room.member(session).map(Member::info) else { return Err(failed()) };
        let asked = self.ask_logic(slot, |logic, ctx| logic.on_join(ctx, &member));
        let (verdict, effects) = asked.ok_or_else(failed)?;
        if let Err(refusal) = verdict {
            discard(effects);
            if let Some(room) = self.rooms.get_mut(slot as usize) {
                room.unseat(session);
                self.counters.seats -= 1;
            }
            return Err(refusal);
        }
        Ok(effects)
    }

    /// Tells the logic of somebody who joined again on the seat that it had. What the callback
    /// wants done comes back, for after the answer.
    pub(super) fn tell_resumed(
        &mut self,
        slot: u32,
        session: SessionId,
    ) -> Result<Vec<Effect>, Refusal> {
        let room = self.rooms.get(slot as usize);
        let Some(member) = room.and_then(|room| room.member(session)).map(Member::info) else {
            return Err(failed());
        };
        let told = self.ask_logic(slot, |logic, ctx| logic.on_resume(ctx, &member));
        told.map(|((), effects)| effects).ok_or_else(failed)
    }

    /// A publication in a room with a logic, which the options allow. What the callback wants done
    /// comes back, for after the answer.
    pub(super) fn publish_by_logic(
        &mut self,
        slot: u32,
        caller: &Caller,
        mut publication: Publication,
        keys: (u64, u32),
    ) -> Result<(Told, Vec<Effect>), Refusal> {
        let now = self.now;
        let from = caller.sender().ok_or_else(not_a_member)?;
        let room = self.rooms.get_mut(slot as usize).ok_or_else(not_a_member)?;
        if let Some(position) = room.admit(now, &mut publication, keys.0)? {
            return Ok((self.answer_repeat(slot, position, caller.reply), Vec::new()));
        }
        if room.bounds.durable {
            self.check_log()?;
        }
        let event = LogicEvent {
            from,
            name: &publication.name,
            payload: publication.payload.as_ref(),
            reliable: publication.reliable,
        };
        let asked = self.ask_logic(slot, |logic, ctx| logic.on_event(ctx, &event));
        let (verdict, effects) = asked.ok_or_else(failed)?;
        let relay = match verdict {
            Ok(relay) => relay,
            Err(refusal) => {
                discard(effects);
                return Err(refusal);
            }
        };
        let room = self.rooms.get_mut(slot as usize).ok_or_else(failed)?;
        if relay == Relay::Nothing {
            room.remember(now, &mut publication, keys.1);
            return Ok((Told::Now(None), effects));
        }
        if room.bounds.durable {
            self.place_durable(slot, publication, caller.reply);
            return Ok((Told::Later, effects));
        }
        let position = room.place(now, publication, keys.1);
        self.counters.events_total += 1;
        self.tell_published(slot);
        self.room_is_dirty(slot);
        Ok((Told::Now(Some(position)), effects))
    }

    /// Ends a room: its logic has the last word, then the members are told why.
    pub(super) fn close_room(&mut self, slot: u32, reason: ClosedReason) {
        if self.rooms.get(slot as usize).is_some_and(|room| room.logic.is_some()) {
            let asked = self.ask_logic(slot, |logic, ctx| logic.on_close(ctx, reason));
            let Some(((), effects)) = asked else { return };
            for effect in effects {
                self.say_last(slot, effect);
            }
        }
        self.end_room(slot, reason);
    }

    /// A logic at fault takes its room with it, and nothing else.
    fn fail_room(&mut self, slot: u32, fault: String) {
        let Some(room) = self.rooms.get(slot as usize) else { return };
        let logic = room.options.logic.clone().unwrap_or_default();
        let room = room.name.as_str().into();
        self.counters.logics_failed_total += 1;
        self.outputs.push_back(Output::Note(Note::LogicFailed {
            room,
            logic,
            fault: fault.into(),
        }));
        self.end_room(slot, ClosedReason::Failed);
    }

    /// Takes a room away and tells its members why.
    fn end_room(&mut self, slot: u32, reason: ClosedReason) {
        let Some(room) = self.rooms.get(slot as usize) else { return };
        let key = room.key;
        if room.member_count() > 0 {
            self.flush_room(slot);
        }
        self.tell_room_closed(slot, reason);
        let Some(room) = self.rooms.get(slot as usize) else { return };
        let members: Vec<_> = room.members().map(|member| member.key).collect();
        for session in members {
            let reason = Some(reason);
            self.send(session.shard, Word::SeatClosed { session, room: key, reason });
        }
        self.end_log(slot);
        self.remove_room(slot);
    }

    pub(super) fn remove_room(&mut self, slot: u32) {
        if let Some(mut room) = self.rooms.try_remove(slot as usize) {
            self.refuse_waiting(&mut room);
            self.room_by_name.remove(&room.name);
            self.counters.rooms -= 1;
            self.counters.seats -= u64::from(room.member_count());
        }
    }
}

impl Running {
    fn set_tick(&mut self, now: crate::Now, ms: u32, phase: u64) {
        let last = self.tick.map_or(0, Tick::last);
        self.tick = (ms > 0).then(|| Tick::new(now, ms, phase, last));
    }
}

/// Where a room's ticks stand on the grid: spread over the period, so that a worker with a
/// thousand rooms has a few to tick at any time instead of all at once.
fn phase(room: RoomKey) -> u64 {
    // The golden ratio spreads rooms made one after the other evenly over any period.
    u64::from(room.generation.wrapping_mul(2_654_435_769) >> 16)
}

/// The refusal of somebody whose room's logic is at fault.
fn failed() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the room's logic failed; the server's log has the reason")
}
