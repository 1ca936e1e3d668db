//! What a callback sees of its room, and what it may do.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::Rng;
use roomcast_wire::push::{MemberInfo, Sender};
use roomcast_wire::{EventName, Payload, RoomOptions, SessionId};

use super::running::Running;
use super::{IntoData, IntoEvent, RoomRef, Task};
use crate::io::Now;
use crate::key::SessionKey;
use crate::room::{Member, Room};
use crate::shard::AROUND_BYTES;

/// Most effects that one callback may collect. One more is a fault, and closes the room.
pub const EFFECTS_MAX: usize = 65_536;

/// Most timers that a room may have set at a time. One more is a fault, and closes the room.
pub const TIMERS_MAX: usize = 4_096;

/// Most calls of a room that may wait for their answer.
pub const CALLS_MAX: usize = 64;

/// A room as one callback of its logic sees it. Reading shows the room as it was when the callback
/// began; what is asked for is done when the callback has returned, in the order it was asked for.
///
/// # Panics
/// Methods that take an event's name or data panic if the name is no valid name or the data cannot
/// be written as JSON. Like any panic of a callback, that closes the room and nothing else.
pub struct RoomCtx<'a> {
    pub(crate) now: Now,
    pub(crate) room: &'a Room,
    pub(crate) running: &'a Running,
    pub(crate) rng: &'a mut ChaCha12Rng,
    pub(crate) effects: Vec<Effect>,
    pub(crate) last_word: Option<Payload>,
    /// Timers that will be set when the callback has returned, and those among them, or no longer
    /// among them, because of it.
    pub(crate) timers: usize,
    pub(crate) timers_changed: BTreeMap<u64, bool>,
    pub(crate) calls: usize,
}

/// What a callback wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    Publish { name: EventName, data: Option<Payload>, from: Option<Arc<Sender>>, reliable: bool },
    Tell { to: Box<[SessionKey]>, said: Said },
    TellExcept { except: SessionKey, said: Said },
    SetTimer { id: u64, at: Now },
    CancelTimer { id: u64 },
    SetTick { ms: u32 },
    Kick { session: SessionId, text: Box<str> },
    SetOptions(Box<RoomOptions>),
    Close,
    Call { id: u64, task: Task },
}

/// What only some members are told.
#[derive(Debug)]
pub(crate) struct Said {
    pub name: EventName,
    pub data: Option<Payload>,
    pub from: Option<Arc<Sender>>,
}

impl Effect {
    /// How much this makes a room of so many members say, in bytes.
    pub(crate) fn bytes(&self, members: u32) -> u64 {
        let (data, heard_by) = match self {
            Self::Publish { data, .. } => (data, members as usize),
            Self::Tell { to, said } => (&said.data, to.len()),
            Self::TellExcept { said, .. } => (&said.data, members as usize),
            _ => return 0,
        };
        let data = data.as_ref().map_or(0, |data| data.bytes().len() as u64);
        (AROUND_BYTES + data) * heard_by as u64
    }
}

impl RoomCtx<'_> {
    /// Milliseconds since the server started.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Chance: the same for the same seed of the hub.
    pub fn random_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// The room's full name: `room`, or `namespace/room`.
    pub fn room(&self) -> &str {
        &self.room.name
    }

    /// This life of the room, for who speaks in it from outside.
    #[doc(hidden)]
    pub fn life(&self) -> RoomRef {
        RoomRef(self.room.key)
    }

    /// The room's options.
    pub fn options(&self) -> &RoomOptions {
        &self.room.options
    }

    /// The members in the order of joining, those whose link is lost among them.
    pub fn members(&self) -> Vec<MemberInfo> {
        self.room.member_list(usize::MAX).0
    }

    /// One member; none if that session has no seat.
    pub fn member(&self, session: SessionId) -> Option<MemberInfo> {
        self.room.member(session).map(Member::info)
    }

    /// How many members there are.
    pub fn member_count(&self) -> u32 {
        self.room.member_count()
    }

    /// Whose `join` or `create` made the room; none: configuration or program.
    pub fn creator(&self) -> Option<SessionId> {
        self.running.creator
    }

    /// In [`on_leave`](super::RoomLogic::on_leave): what the member gave with `leave`, or what was
    /// said when it was kicked.
    pub fn last_word(&self) -> Option<&Payload> {
        self.last_word.as_ref()
    }

    /// Says something to all members. It gets a position, is kept in history, and has no sender.
    pub fn publish(&mut self, event: impl IntoEvent, data: impl IntoData) {
        let (name, data) = said(event, data);
        self.push(Effect::Publish { name, data, from: None, reliable: true });
    }

    /// Says something to all members, in somebody's name.
    pub fn publish_from(&mut self, from: &Arc<Sender>, event: impl IntoEvent, data: impl IntoData) {
        let (name, data) = said(event, data);
        self.push(Effect::Publish { name, data, from: Some(Arc::clone(from)), reliable: true });
    }

    /// Says something to all members that may be dropped on its way: the newest wins.
    pub fn publish_unreliable(&mut self, event: impl IntoEvent, data: impl IntoData) {
        let (name, data) = said(event, data);
        self.push(Effect::Publish { name, data, from: None, reliable: false });
    }

    /// Says something to one member. As others do not hear it, it has no position and is not kept
    /// in history. Nothing happens if that session has no seat.
    pub fn tell(&mut self, session: SessionId, event: impl IntoEvent, data: impl IntoData) {
        self.tell_some(&[session], event, data);
    }

    /// Says something to some members, as [`RoomCtx::tell`].
    pub fn tell_some(
        &mut self,
        sessions: &[SessionId],
        event: impl IntoEvent,
        data: impl IntoData,
    ) {
        let (name, data) = said(event, data);
        self.tell_them(sessions, Said { name, data, from: None });
    }

    /// The same in somebody's name, to one member.
    pub fn tell_from(
        &mut self,
        from: &Arc<Sender>,
        session: SessionId,
        event: impl IntoEvent,
        data: impl IntoData,
    ) {
        let (name, data) = said(event, data);
        self.tell_them(&[session], Said { name, data, from: Some(Arc::clone(from)) });
    }

    fn tell_them(&mut self, sessions: &[SessionId], said: Said) {
        let members = sessions.iter().filter_map(|&session| self.room.member(session));
        let to: Box<[_]> = members.map(|member| member.key).collect();
        if !to.is_empty() {
            self.push(Effect::Tell { to, said });
        }
    }

    /// Says something to all members but one, as [`RoomCtx::tell`].
    pub fn tell_except(&mut self, session: SessionId, event: impl IntoEvent, data: impl IntoData) {
        let (name, data) = said(event, data);
        self.tell_all_but(session, Said { name, data, from: None });
    }

    /// Says something in somebody's name to all other members, as [`RoomCtx::tell`].
    pub fn tell_others(&mut self, from: &Arc<Sender>, event: impl IntoEvent, data: impl IntoData) {
        let (name, data) = said(event, data);
        self.tell_all_but(from.session, Said { name, data, from: Some(Arc::clone(from)) });
    }

    fn tell_all_but(&mut self, session: SessionId, said: Said) {
        match self.room.member(session).map(|member| member.key) {
            Some(except) => self.push(Effect::TellExcept { except, said }),
            None => {
                let to = self.room.members().map(|member| member.key).collect();
                self.push(Effect::Tell { to, said });
            }
        }
    }

    /// Has [`on_timer`](super::RoomLogic::on_timer) called with `id` once, `after_ms` milliseconds
    /// from now (1 at least). A timer of that id that waits already is moved.
    ///
    /// # Panics
    /// More than [`TIMERS_MAX`] are set.
    pub fn set_timer(&mut self, id: u64, after_ms: u64) {
        if !self.is_timer_set(id) {
            self.timers += 1;
            self.timers_changed.insert(id, true);
        }
        if self.timers > TIMERS_MAX {
            fault(format!("more than {TIMERS_MAX} timers were set"));
        }
        self.push(Effect::SetTimer { id, at: self.now.plus(after_ms.max(1)) });
    }

    /// Takes a timer back, if it is set.
    pub fn cancel_timer(&mut self, id: u64) {
        if self.is_timer_set(id) {
            self.timers -= 1;
            self.timers_changed.insert(id, false);
        }
        self.push(Effect::CancelTimer { id });
    }

    fn is_timer_set(&self, id: u64) -> bool {
        let before = || self.running.timers.contains(id);
        self.timers_changed.get(&id).copied().unwrap_or_else(before)
    }

    /// Has [`on_tick`](super::RoomLogic::on_tick) called every `ms` milliseconds from now on: 10
    /// to 60,000, or 0 for never again.
    ///
    /// # Panics
    /// Any other number.
    pub fn set_tick(&mut self, ms: u32) {
        if ms != 0 && !(10..=60_000).contains(&ms) {
            fault(format!("set_tick({ms}): must be 0, or 10 to 60000"));
        }
        self.push(Effect::SetTick { ms });
    }

    /// Puts a member out. It hears `room_closed` with `kicked`; the others hear that it left, with
    /// `text`, unless that is empty.
    pub fn kick(&mut self, session: SessionId, text: &str) {
        self.push(Effect::Kick { session, text: text.into() });
    }

    /// Gives the room other options. `logic`, `logic_config` and `slow` stay as they are. Members
    /// stay, though there are more than `members_max`, or names are no longer unique; the time of
    /// a room that is empty (`ttl_s`) counts from when it became so.
    ///
    /// # Panics
    /// An option is out of bounds.
    pub fn set_options(&mut self, options: RoomOptions) {
        if let Err(text) = options.check() {
            fault(format!("set_options: {text}"));
        }
        self.push(Effect::SetOptions(Box::new(options)));
    }

    /// Ends the room. Its members hear `room_closed` with `ended`. A static room is made anew when
    /// somebody comes.
    pub fn close(&mut self) {
        self.push(Effect::Close);
    }

    /// Has a future carried out outside the hub; what it comes to arrives with
    /// [`on_answer`](super::RoomLogic::on_answer) under `id`, unless the room is gone by then. A
    /// future that panics is the logic's fault and closes the room. `false`: [`CALLS_MAX`] wait
    /// already, and this one was dropped.
    #[must_use = "too many calls at once are dropped"]
    pub fn call<F>(&mut self, id: u64, future: F) -> bool
    where
        F: Future<Output: Any + Send> + Send + 'static,
    {
        if self.calls >= CALLS_MAX {
            return false;
        }
        self.calls += 1;
        self.push(Effect::Call { id, task: Task::new(future) });
        true
    }

    fn push(&mut self, effect: Effect) {
        if self.effects.len() >= EFFECTS_MAX {
            fault(format!("one callback asked for more than {EFFECTS_MAX} things"));
        }
        self.effects.push(effect);
    }
}

impl std::fmt::Debug for RoomCtx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoomCtx").field("room", &self.room.name).finish_non_exhaustive()
    }
}

fn said(event: impl IntoEvent, data: impl IntoData) -> (EventName, Option<Payload>) {
    let name = event.into_event().unwrap_or_else(|text| fault(text));
    let data = data.into_data().unwrap_or_else(|text| fault(text));
    (name, data)
}

/// Ends the callback as a panic does: even one that loops for ever gets out this way.
fn fault(text: String) -> ! {
    resume_unwind(Box::new(text))
}
