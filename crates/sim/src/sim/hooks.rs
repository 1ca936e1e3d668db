//! An application with hooks of every temper: quick, slow, late, silent; it refuses and changes.

use roomcast_core::{HookMask, Question, ShardId, Ticket, Verdict};
use roomcast_wire::{EventName, Refusal};

use super::Sim;
use crate::chance::Chance;

/// What the application has decided and says later.
#[derive(Debug)]
pub(super) struct Late {
    at: u64,
    shard: ShardId,
    ticket: Ticket,
    verdict: Verdict,
}

/// What is called so was changed by a hook.
pub(crate) const CHANGED: EventName = EventName::Number(4_711);

/// Which commands wait, of which each kind in a third of the schedules.
pub(super) fn draw_mask(chance: &mut Chance) -> HookMask {
    // No schedule refreshes.
    let bits =
        [HookMask::CONNECT, HookMask::CREATE, HookMask::JOIN, HookMask::LEAVE, HookMask::PUBLISH];
    bits.into_iter().fold(HookMask::NONE, |mask, bit| match chance.percent(33) {
        true => mask | bit,
        false => mask,
    })
}

impl Sim {
    pub(super) fn on_asked(&mut self, shard: ShardId, ticket: Ticket, mut question: Question) {
        self.oracle.counts.asked += 1;
        if self.finishing {
            return self.world.decide(shard, ticket, Verdict::Go(question));
        }
        let hook_ms = self.plan.config.limits.hook_ms;
        // Who is not let in at all tries for ever: that would be a schedule without events.
        let only_slow = matches!(question, Question::Connect(_));
        let late = self.world.now() + self.chance.up_to(hook_ms + hook_ms / 4);
        let soon = self.world.now() + self.chance.up_to(50);
        let (at, verdict) = match self.chance.up_to(99) {
            0..50 => (self.world.now(), Verdict::Go(question)),
            50..80 => (soon, Verdict::Go(question)),
            80..85 if !only_slow => (late, Verdict::Go(question)),
            85..88 if !only_slow => return,
            88..94 if !only_slow => (soon, Verdict::Refuse(Refusal::refused("not today"))),
            94..100 => {
                change(&mut question);
                (soon, Verdict::Go(question))
            }
            _ => (soon, Verdict::Go(question)),
        };
        self.late.push(Late { at, shard, ticket, verdict });
    }

    pub(super) fn next_verdict(&self) -> Option<u64> {
        self.late.iter().map(|late| late.at).min()
    }

    pub(super) fn decides_before(&self, until: u64) -> bool {
        self.next_verdict().is_some_and(|at| at < until)
    }

    pub(super) fn decide_due(&mut self) {
        let now = self.world.now();
        for Late { shard, ticket, verdict, .. } in self.late.extract_if(.., |late| late.at <= now) {
            self.world.decide(shard, ticket, verdict);
        }
    }
}

/// What may be changed without another room, another seat, another word being heard.
fn change(question: &mut Question) {
    match question {
        Question::Connect(connect) => connect.granted = true,
        Question::Create(create) => create.options.history.size += 1,
        Question::Join(join) => join.granted = true,
        Question::Leave(leave) => leave.data = None,
        Question::Publish(publish) => publish.event = CHANGED,
        Question::Refresh(refresh) => refresh.granted = true,
    }
}
