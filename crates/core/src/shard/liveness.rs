//! Links come, go and fall silent; deadlines.

use std::sync::Arc;

use bytes::Bytes;
use rand_chacha::rand_core::Rng;
use roomcast_wire::push::LeaveReason;
use roomcast_wire::{CloseCode, Format, Next};

use super::{DEFAULT, Shard};
use crate::hook::HookMask;
use crate::io::{LinkId, LinkLoss, Note, Output};
use crate::timers::Deadline;

/// How long after the start of a drain the links are told goodbye, in milliseconds: by then what
/// other shards had accepted has arrived and stands in the outboxes.
const GOODBYE_DELAY_MS: u64 = 100;

impl Shard {
    pub(super) fn on_opened(&mut self, link: LinkId, format: Format, namespace: Option<Arc<str>>) {
        let namespace = namespace.and_then(|name| self.namespace_index(&name)).unwrap_or(DEFAULT);
        let generation = self.links.open(link, format, namespace);
        self.counters.links += 1;
        let at = self.now.plus(self.config.limits.first_message_ms);
        self.timers.set(at, Deadline::FirstMessage { link, generation });
        if let Some(retry_ms_max) = self.draining {
            self.say_goodbye_drain(link, retry_ms_max);
        } else if format.begins_session() {
            self.begin_at_once(link);
        }
    }

    /// The session that a link asked for is elsewhere, and the link cannot go there.
    pub(super) fn on_stays(
        &mut self,
        link: LinkId,
        format: Format,
        namespace: Option<Arc<str>>,
        message: &Bytes,
    ) {
        self.on_opened(link, format, namespace);
        if let Some(entry) = self.links.get_mut(link) {
            entry.refused = true;
        }
        self.on_message(link, message);
    }

    /// The session of a link whose clients wait for nothing and say no `hello`.
    fn begin_at_once(&mut self, link: LinkId) {
        if self.config.hooks.contains(HookMask::CONNECT) {
            self.ask_first(link, None, None);
        } else if let Err(refusal) = self.new_anonymous_session(link) {
            self.refuse_on(link, None, &refusal);
            self.close_link(link, CloseCode::Unauthorized, &refusal.message, None);
        }
    }

    pub(super) fn on_alive(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(link) {
            link.heard = Some(self.now);
        }
    }

    pub(super) fn on_closed(&mut self, link: LinkId, loss: LinkLoss) {
        let Some(entry) = self.links.remove(link) else { return };
        self.counters.links -= 1;
        self.counters.hooks_waiting -= u64::from(entry.held.is_some());
        let Some(slot) = entry.session else { return };
        let code = match loss {
            LinkLoss::Ended(code) => Some(code),
            LinkLoss::Closed | LinkLoss::Broken => None,
        };
        let session = self.sessions.get(slot as usize).map(|session| session.sender.session);
        self.outputs.push_back(Output::Note(Note::LinkEnded { session, code }));
        let heard = self.heard_of(Some(slot));
        self.drop_session(slot, loss);
        self.tell_disconnected(heard, code);
    }

    /// Says why, closes the link, and detaches its session: dropped if it may be resumed, ended
    /// otherwise.
    pub(super) fn close_link(
        &mut self,
        link: LinkId,
        code: CloseCode,
        message: &str,
        retry_ms: Option<u64>,
    ) {
        let Some(entry) = self.links.get_mut(link) else { return };
        if entry.closing {
            return;
        }
        let slot = entry.session.take();
        self.counters.hooks_waiting -= u64::from(entry.held.take().is_some());
        self.links.say_goodbye(&mut self.counters, link, (code, message), retry_ms);
        self.outputs.push_back(Output::Close { link, code });
        let session = slot.and_then(|slot| self.sessions.get(slot as usize));
        let session = session.map(|session| session.sender.session);
        self.outputs.push_back(Output::Note(Note::LinkEnded { session, code: Some(code) }));
        let Some(slot) = slot else { return };
        let heard = self.heard_of(Some(slot));
        match code.next() {
            Next::Resume => self.drop_session(slot, LinkLoss::Broken),
            _ if matches!(code, CloseCode::Disconnected | CloseCode::Unauthorized) => {
                self.end_session(slot, LeaveReason::Kicked);
            }
            _ => self.end_session(slot, LeaveReason::Left),
        }
        self.tell_disconnected(heard, Some(code));
    }

    pub(super) fn on_drain(&mut self, retry_ms_max: u64) {
        if self.draining.is_none() {
            self.draining = Some(retry_ms_max);
            // What waits for a tick goes now: there may be none before the goodbye.
            let waiting = self.rooms.iter().filter(|(_, room)| !room.gathered.is_empty());
            self.dirty_rooms.extend(waiting.map(|(slot, _)| slot as u32));
            self.timers.set(self.now.plus(GOODBYE_DELAY_MS), Deadline::Goodbye);
        }
    }

    fn say_goodbye_to_all(&mut self) {
        let Some(retry_ms_max) = self.draining else { return };
        let mut dirty = std::mem::take(&mut self.dirty_rooms);
        for slot in dirty.drain(..) {
            self.flush_room(slot);
        }
        self.settle();
        let links: Vec<_> = self.links.ids().collect();
        for link in links {
            self.say_goodbye_drain(link, retry_ms_max);
        }
    }

    fn say_goodbye_drain(&mut self, link: LinkId, retry_ms_max: u64) {
        let retry_ms = self.rng.next_u64() % retry_ms_max.saturating_add(1).max(1);
        let message = "the server is stopping";
        self.close_link(link, CloseCode::Drain, message, Some(retry_ms));
    }

    pub(super) fn on_tick(&mut self) {
        while let Some(deadline) = self.timers.due(self.now) {
            match deadline {
                Deadline::FirstMessage { link, generation } => {
                    self.on_first_message_due(link, generation);
                }
                Deadline::Ping { link, generation } => self.on_ping_due(link, generation),
                Deadline::Pong { link, generation } => self.on_pong_due(link, generation),
                Deadline::SessionEnds { session, drop } => self.on_session_ends(session, drop),
                Deadline::TokenEnds { session, at } => self.on_token_ends(session, at),
                Deadline::SeatEnds { room, session, drop } => {
                    self.on_seat_ends(room, session, drop);
                }
                Deadline::RoomEnds { room } => self.on_room_ends(room),
                Deadline::RoomFlush { room } => self.on_room_flush_due(room),
                Deadline::RoomCounts { room } => self.on_room_counts_due(room),
                Deadline::RoomWake { room } => self.on_room_wake(room),
                Deadline::Hook { link, generation } => self.on_hook_due(link, generation),
                Deadline::Goodbye => self.say_goodbye_to_all(),
            }
            self.settle();
        }
        self.end_calls();
        if self.cluster.is_some() {
            self.give_up_late();
            self.give_up_late_fetches();
            self.give_up_waiting();
        }
        self.replays.forget_old(self.now);
    }

    fn is_open(&self, link: LinkId, generation: u32) -> bool {
        let link = self.links.get(link);
        link.is_some_and(|link| link.generation == generation && !link.closing)
    }

    pub(super) fn on_first_message_due(&mut self, link: LinkId, generation: u32) {
        if !self.is_open(link, generation) {
            return;
        }
        let Some(entry) = self.links.get_mut(link) else { return };
        if entry.session.is_some() {
            return self.on_ping_due(link, generation);
        }
        if entry.held.is_some() {
            // It has said who it is; the application decides first.
            entry.overdue = true;
            return;
        }
        if self.is_fetching(link) {
            let at = self.now.plus(self.config.limits.first_message_ms);
            return self.timers.set(at, Deadline::FirstMessage { link, generation });
        }
        let Some(entry) = self.links.get_mut(link) else { return };
        let seconds = self.config.limits.first_message_ms.div_ceil(1_000);
        let (code, message) = match entry.heard {
            None => (CloseCode::Silent, format!("nothing was said within {seconds} s")),
            Some(_) => {
                (CloseCode::Unauthorized, format!("no session has begun within {seconds} s"))
            }
        };
        self.close_link(link, code, &message, None);
    }

    /// Asks a link that has been silent for `ping_ms` for a sign of life, if its framing can; of
    /// the others the kernel's keepalive takes care. So a dead link is closed `ping_ms + pong_ms`
    /// after its last sign of life.
    fn on_ping_due(&mut self, link: LinkId, generation: u32) {
        if !self.is_open(link, generation) {
            return;
        }
        let limits = &self.config.limits;
        let (ping_ms, pong_ms) = (limits.ping_ms, limits.pong_ms);
        let Some(entry) = self.links.get(link) else { return };
        let due = entry.heard.unwrap_or_default().plus(ping_ms);
        if self.now < due {
            return self.timers.set(due, Deadline::Ping { link, generation });
        }
        if entry.held.is_some() {
            // It is not read: whether it is alive shows when it is.
            return self.timers.set(self.now.plus(pong_ms), Deadline::Ping { link, generation });
        }
        match entry.format.framing().ping() {
            Some(ping) => {
                self.links.put(&mut self.counters, link, Bytes::from_static(ping));
                self.timers.set(self.now.plus(pong_ms), Deadline::Pong { link, generation });
            }
            None => self.timers.set(self.now.plus(ping_ms), Deadline::Ping { link, generation }),
        }
    }

    fn on_pong_due(&mut self, link: LinkId, generation: u32) {
        if !self.is_open(link, generation) {
            return;
        }
        let pong_ms = self.config.limits.pong_ms;
        let Some(entry) = self.links.get(link) else { return };
        let is_alive = entry.heard.is_some_and(|heard| heard.plus(pong_ms) >= self.now);
        if is_alive || entry.held.is_some() {
            return self.on_ping_due(link, generation);
        }
        self.close_link(link, CloseCode::NoPong, "no sign of life after a ping", None);
    }
}
