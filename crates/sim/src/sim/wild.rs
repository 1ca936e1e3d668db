//! A logic that does everything a logic can do wrong: it refuses, kicks, floods, panics, closes its
//! room, keeps timers and asks for answers that may come when the room is gone. What it says names
//! itself, so that the oracle can place it.

use std::any::Any;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};

use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast_wire::push::{ClosedReason, LeaveReason, MemberInfo};
use roomcast_wire::{EventName, Refusal};
use serde_json::json;

/// What its events are called.
pub(crate) const EVENT: &str = "wild";

/// What is said at the end of a schedule: it is left in peace.
const PEACE: EventName = EventName::Number(9);

/// How many ticks it takes after somebody spoke.
const TICKS: u32 = 20;

#[derive(Default)]
pub(super) struct Wild {
    ticks_left: u32,
}

/// Is ready when it was looked at so often; then it may panic.
struct Later {
    looks: u64,
    panics: bool,
}

impl Future for Later {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<u64> {
        if self.looks == 0 {
            return match self.panics {
                true => resume_unwind(Box::new("in a future")),
                false => Poll::Ready(7),
            };
        }
        self.looks -= 1;
        Poll::Pending
    }
}

fn up_to(ctx: &mut RoomCtx<'_>, high: u64) -> u64 {
    ctx.random_u64() % (high + 1)
}

fn say(ctx: &mut RoomCtx<'_>) {
    let number = ctx.random_u64() >> 12;
    ctx.publish(EVENT, json!({ "l": number }));
}

fn any_member(ctx: &mut RoomCtx<'_>) -> Option<MemberInfo> {
    let members = ctx.members();
    let at = up_to(ctx, members.len().max(1) as u64 - 1) as usize;
    members.into_iter().nth(at)
}

fn whisper(ctx: &mut RoomCtx<'_>) {
    let Some(member) = any_member(ctx) else { return };
    let session = member.sender.session;
    match up_to(ctx, 1) {
        0 => ctx.tell(session, EVENT, json!({"to": session.to_string()})),
        _ => ctx.tell_except(session, EVENT, json!({"except": session.to_string()})),
    }
}

impl Wild {
    fn run_riot(&mut self, ctx: &mut RoomCtx<'_>) -> Result<Relay, Refusal> {
        match up_to(ctx, 99) {
            0..40 => {}
            40..48 => return Ok(Relay::Nothing),
            48..56 => return Err(Refusal::refused("not now")),
            56..66 => (0..up_to(ctx, 4)).for_each(|_| say(ctx)),
            66..76 => whisper(ctx),
            76..82 => {
                let (timer, ms) = (up_to(ctx, 3), up_to(ctx, 3_000));
                ctx.set_timer(timer, ms);
            }
            82..84 => ctx.cancel_timer(0),
            84..88 => {
                if let Some(member) = any_member(ctx) {
                    ctx.kick(member.sender.session, "by chance");
                }
            }
            88..94 => {
                let (looks, panics) = (up_to(ctx, 3), up_to(ctx, 9) == 0);
                _ = ctx.call(1, Later { looks, panics });
            }
            94..96 => {
                let mut options = ctx.options().clone();
                options.merge_ms = 100 - options.merge_ms.min(100);
                ctx.set_options(options);
            }
            96 => ctx.close(),
            97 => loop {
                say(ctx);
            },
            98 => {
                say(ctx);
                resume_unwind(Box::new("for the sake of it"));
            }
            _ => ctx.members().iter().for_each(|one| ctx.kick(one.sender.session, "")),
        }
        Ok(Relay::AsIs)
    }
}

impl RoomLogic for Wild {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        say(ctx);
        ctx.set_timer(9, 500);
        if up_to(ctx, 30) == 0 {
            ctx.close();
        }
    }

    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, _member: &MemberInfo) -> Result<(), Refusal> {
        match up_to(ctx, 20) {
            0 => return Err(Refusal::refused("shut")),
            1 => resume_unwind(Box::new("at the door".to_owned())),
            2..5 => say(ctx),
            5..8 => whisper(ctx),
            _ => {}
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        if *event.name == PEACE {
            return Ok(Relay::AsIs);
        }
        if self.ticks_left == 0 {
            ctx.set_tick(50);
        }
        self.ticks_left = TICKS;
        self.run_riot(ctx)
    }

    fn on_drop(&mut self, ctx: &mut RoomCtx<'_>, _member: &MemberInfo) {
        say(ctx);
    }

    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        let session = member.sender.session;
        ctx.tell(session, EVENT, json!({"to": session.to_string()}));
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, _member: &MemberInfo, _reason: LeaveReason) {
        say(ctx);
        if up_to(ctx, 20) == 0
            && let Some(other) = any_member(ctx)
        {
            ctx.kick(other.sender.session, "with it");
        }
    }

    fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, _tick: u64) {
        self.ticks_left = self.ticks_left.saturating_sub(1);
        if self.ticks_left == 0 {
            ctx.set_tick(0);
        }
        let number = ctx.random_u64() >> 12;
        ctx.publish_unreliable(EVENT, json!({ "l": number }));
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, _timer: u64) {
        say(ctx);
    }

    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, call: u64, answer: Box<dyn Any + Send>) {
        match answer.downcast::<u64>() {
            Ok(answer) if *answer == 7 && call == 1 => say(ctx),
            _ => resume_unwind(Box::new("another's answer")),
        }
    }

    fn on_close(&mut self, ctx: &mut RoomCtx<'_>, _reason: ClosedReason) {
        say(ctx);
        whisper(ctx);
        // All of it in vain.
        ctx.set_timer(5, 1);
        _ = ctx.call(1, Later { looks: 0, panics: true });
        ctx.close();
    }
}
