//! `script`: relays, and announces what it is told to at its times.
//!
//! | `logic_config` | |
//! | --- | --- |
//! | `steps` | a list of at most 64 steps |
//! | `steps[].event` | the name of the event; must be there |
//! | `steps[].data` | what it says; default nothing |
//! | `steps[].at_ms` | once, so long after the room was made; 1 to 86,400,000 |
//! | `steps[].every_ms` | again and again, 100 to 86,400,000; with `at_ms`: from then on |

use roomcast_wire::{EventName, Payload};
use serde_json::Value;

use super::settings::Settings;
use super::{RoomCtx, RoomLogic};
use crate::io::Now;

const STEPS_MAX: usize = 64;

const DAY_MS: u64 = 86_400_000;

pub(super) struct Script(Vec<Step>);

struct Step {
    event: EventName,
    data: Option<Payload>,
    first_ms: u64,
    every_ms: Option<u64>,
    /// When it is due.
    due: Now,
}

impl Script {
    pub fn new(config: Option<&Value>) -> Result<Self, String> {
        let mut settings = Settings::new(config)?;
        let mut steps = Vec::new();
        for (at, mut step) in settings.list("steps", STEPS_MAX)?.into_iter().enumerate() {
            let must = |text: &str| format!("`logic_config.steps[{at}]` must have {text}");
            let event = step.event("event")?.ok_or_else(|| must("an `event`"))?;
            let data = step.data("data")?;
            let at_ms = step.number("at_ms", (1, DAY_MS))?;
            let every_ms = step.number("every_ms", (100, DAY_MS))?;
            let first_ms = at_ms.or(every_ms).ok_or_else(|| must("`at_ms` or `every_ms`"))?;
            step.finish()?;
            steps.push(Step { event, data, first_ms, every_ms, due: Now::default() });
        }
        settings.finish()?;
        Ok(Self(steps))
    }
}

impl RoomLogic for Script {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        for (timer, step) in self.0.iter_mut().enumerate() {
            step.due = ctx.now().plus(step.first_ms);
            ctx.set_timer(timer as u64, step.first_ms);
        }
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, timer: u64) {
        let Some(step) = self.0.get_mut(timer as usize) else { return };
        ctx.publish(&step.event, step.data.as_ref());
        let Some(every_ms) = step.every_ms else { return };
        // From when it was due, so that it does not drift; what a busy worker missed is skipped.
        let late = ctx.now().0.saturating_sub(step.due.0);
        step.due = step.due.plus((late / every_ms + 1) * every_ms);
        ctx.set_timer(timer, step.due.0 - ctx.now().0);
    }
}
