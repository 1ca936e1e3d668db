//! `turns`: members take turns in the order of joining; only the one whose turn it is publishes.
//!
//! | `logic_config` | |
//! | --- | --- |
//! | `turn_ms` | how long a turn lasts at most, 100 to 3,600,000; default 30,000 |
//! | `end` | the event that ends the sender's turn; default `end_turn` |
//! | `free` | events that everybody may publish at any time: `["chat"]`; default none |
//!
//! All hear `turn` when one begins: `{"turn":7,"session":"…","user":"…","name":"…","ms":30000}`,
//! with the milliseconds that are left; who joins meanwhile is told. A member whose link is lost
//! is passed over until it is back.

use std::collections::VecDeque;

use roomcast_wire::push::{LeaveReason, MemberInfo};
use roomcast_wire::{EventName, Refusal, SessionId};
use serde_json::{Value, json};

use super::settings::Settings;
use super::{LogicEvent, Relay, RoomCtx, RoomLogic};
use crate::io::Now;

/// The timer that ends a turn.
const TURN: u64 = 0;

pub(super) struct Turns {
    turn_ms: u64,
    end: EventName,
    free: Vec<EventName>,
    /// The members; the first has the turn, if there is one.
    order: VecDeque<SessionId>,
    turns: u64,
    /// When the turn is over; none: nobody has it.
    until: Option<Now>,
}

impl Turns {
    pub fn new(config: Option<&Value>) -> Result<Self, String> {
        let mut settings = Settings::new(config)?;
        let end = match settings.event("end")? {
            Some(end) => end,
            None => EventName::text("end_turn").map_err(|error| error.to_string())?,
        };
        let turns = Self {
            turn_ms: settings.number("turn_ms", (100, 3_600_000))?.unwrap_or(30_000),
            end,
            free: settings.events("free")?,
            order: VecDeque::new(),
            turns: 0,
            until: None,
        };
        settings.finish()?;
        Ok(turns)
    }

    fn whose(&self) -> Option<SessionId> {
        self.until.and_then(|_| self.order.front().copied())
    }

    /// Gives the turn to the first in the order whose link is there.
    fn begin(&mut self, ctx: &mut RoomCtx<'_>) {
        self.until = None;
        for _ in 0..self.order.len() {
            let member = self.order.front().and_then(|&session| ctx.member(session));
            if let Some(member) = member.filter(|member| !member.dropped) {
                self.turns += 1;
                self.until = Some(ctx.now().plus(self.turn_ms));
                ctx.set_timer(TURN, self.turn_ms);
                let turn = self.told(&member, self.turn_ms);
                return ctx.publish("turn", turn);
            }
            self.order.rotate_left(1);
        }
        ctx.cancel_timer(TURN);
    }

    fn pass_on(&mut self, ctx: &mut RoomCtx<'_>) {
        if !self.order.is_empty() {
            self.order.rotate_left(1);
        }
        self.begin(ctx);
    }

    fn told(&self, member: &MemberInfo, ms: u64) -> Value {
        let sender = &member.sender;
        let mut told = json!({"turn": self.turns, "session": sender.session.to_string(), "ms": ms});
        for (key, name) in [("user", &sender.user), ("name", &sender.name)] {
            if let Some(name) = name {
                told[key] = name.as_str().into();
            }
        }
        told
    }

    /// Who comes learns whose turn it is, or has it, if nobody has.
    fn tell_or_begin(&mut self, ctx: &mut RoomCtx<'_>, session: SessionId) {
        let now = ctx.now();
        match self.until.zip(self.whose().and_then(|whose| ctx.member(whose))) {
            None => self.begin(ctx),
            Some((until, member)) => {
                let turn = self.told(&member, until.0.saturating_sub(now.0));
                ctx.tell(session, "turn", turn);
            }
        }
    }
}

impl RoomLogic for Turns {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        self.order.push_back(member.sender.session);
        self.tell_or_begin(ctx, member.sender.session);
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        if self.free.contains(event.name) {
            return Ok(Relay::AsIs);
        }
        if self.whose() != Some(event.from.session) {
            return Err(Refusal::refused("it is not your turn"));
        }
        if *event.name == self.end {
            self.pass_on(ctx);
        }
        Ok(Relay::AsIs)
    }

    fn on_drop(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        if self.whose() == Some(member.sender.session) {
            self.pass_on(ctx);
        }
    }

    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        self.tell_or_begin(ctx, member.sender.session);
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, _reason: LeaveReason) {
        let had_it = self.whose() == Some(member.sender.session);
        self.order.retain(|&session| session != member.sender.session);
        if had_it {
            self.begin(ctx);
        }
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, _timer: u64) {
        self.pass_on(ctx);
    }
}
