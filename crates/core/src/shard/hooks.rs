//! Commands that wait for the application: the question, the verdict, and what happens without one.

use std::sync::Arc;

use roomcast_wire::name::EVENT_NUMBER_MAX;
use roomcast_wire::{Command, ErrorCode, EventName, Payload, Refusal};

use super::Shard;
use super::commands::{Asker, gone};
use crate::held::{Held, HeldCommand};
use crate::hook::{HookMask, Publish, Question, Ticket, Verdict};
use crate::io::{LinkId, Output};
use crate::rights::Right;
use crate::room::Publication;
use crate::timers::Deadline;

impl Shard {
    /// Asks the application, if it wants to be asked about this command; else gives it back.
    ///
    /// # Errors
    /// It cannot be carried out whatever the application says.
    pub(super) fn ask_before<'a>(
        &mut self,
        asker: Asker,
        command: Command<'a>,
    ) -> Result<Option<Command<'a>>, Refusal> {
        let hooks = self.config.hooks;
        match command {
            Command::Publish { room, event, data, reliable, key, echo }
                if hooks.contains(HookMask::PUBLISH) =>
            {
                let (namespace, room) =
                    self.resolve_for(asker.slot, &room, Some(Right::Publish))?;
                let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
                let question = Question::Publish(Box::new(Publish {
                    from: Arc::clone(&session.sender),
                    room: room.to_string(),
                    event,
                    data,
                    reliable,
                }));
                let key = key.map(|key| key.as_ref().into());
                let held = HeldCommand::Publish { namespace, room, reliable, key, echo };
                self.hold(asker.link, asker.reference, held, question)?;
                Ok(None)
            }
            command => Ok(Some(command)),
        }
    }

    /// Holds a link and asks.
    ///
    /// # Errors
    /// Too many commands wait already.
    fn hold(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        command: HeldCommand,
        question: Question,
    ) -> Result<(), Refusal> {
        let most = u64::from(self.config.limits.hooks_waiting) / u64::from(self.shard_count());
        if self.counters.hooks_waiting >= most.max(1) {
            return Err(Refusal {
                code: ErrorCode::RateLimited,
                message: "too many commands wait for hooks (`limits.hooks_waiting`)".into(),
                retry_ms: Some(100),
            });
        }
        let until = self.now.plus(self.config.limits.hook_ms);
        let number = self.counters.hooks_total;
        let Some(entry) = self.links.get_mut(link) else { return Err(gone()) };
        entry.held = Some(Box::new(Held { number, until, reference, command }));
        let generation = entry.generation;
        if !std::mem::replace(&mut entry.hook_timer, true) {
            self.timers.set(until, Deadline::Hook { link, generation });
        }
        self.counters.hooks_waiting += 1;
        self.counters.hooks_total += 1;
        let ticket = Ticket { link, number };
        self.outputs.push_back(Output::Ask { ticket, link, question });
        Ok(())
    }

    pub(super) fn on_verdict(&mut self, ticket: Ticket, verdict: Verdict) {
        let held = self.links.get(ticket.link).and_then(|link| link.held.as_ref());
        if held.is_some_and(|held| held.number == ticket.number)
            && let Some(held) = self.release(ticket.link)
        {
            self.decide(ticket.link, held, verdict);
        }
    }

    /// Gives up on a hook, or looks again when the present one is due. One deadline a link: one
    /// for each command would pile them up, as most verdicts come at once.
    pub(super) fn on_hook_due(&mut self, link: LinkId, generation: u32) {
        let now = self.now;
        let Some(entry) = self.links.get_mut(link).filter(|link| link.generation == generation)
        else {
            return;
        };
        entry.hook_timer = false;
        let Some(until) = entry.held.as_ref().map(|held| held.until) else { return };
        if until > now {
            entry.hook_timer = true;
            return self.timers.set(until, Deadline::Hook { link, generation });
        }
        let Some(held) = self.release(link) else { return };
        self.counters.hook_timeouts_total += 1;
        let text = "the server's own code took too long to decide (`limits.hook_ms`)";
        let refusal = Refusal::new(ErrorCode::HookTimeout, text);
        self.refuse_on(link, held.reference, &refusal);
    }

    /// Takes the command off its link, which is read again.
    fn release(&mut self, link: LinkId) -> Option<Held> {
        let now = self.now;
        let entry = self.links.get_mut(link)?;
        let held = entry.held.take()?;
        // What the peer said meanwhile is still to be read.
        entry.heard = Some(now);
        self.counters.hooks_waiting -= 1;
        self.outputs.push_back(Output::Release { link });
        Some(*held)
    }

    fn decide(&mut self, link: LinkId, held: Held, verdict: Verdict) {
        let Held { reference, command, .. } = held;
        let done = match verdict {
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Go(question) => self.go_on(link, reference, command, question),
        };
        if let Err(refusal) = done {
            self.refuse_on(link, reference, &refusal);
        }
    }

    fn go_on(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        command: HeldCommand,
        question: Question,
    ) -> Result<(), Refusal> {
        let asker = self.asker(link, reference).ok_or_else(gone)?;
        match (command, question) {
            (
                HeldCommand::Publish { namespace, room, reliable, key, echo },
                Question::Publish(publish),
            ) => {
                let Publish { event, data, .. } = *publish;
                check_event(&event)?;
                self.check_payload(data.as_ref())?;
                let publication = |from| Publication {
                    name: event,
                    payload: data,
                    from: Some(from),
                    reliable,
                    key,
                    except: None,
                };
                self.publish_in(asker, namespace, room, echo, publication)
            }
            _ => Err(wrong_kind()),
        }
    }

    fn asker(&self, link: LinkId, reference: Option<u64>) -> Option<Asker> {
        let entry = self.links.get(link)?;
        Some(Asker { slot: entry.session?, link, generation: entry.generation, reference })
    }

    fn check_payload(&self, data: Option<&Payload>) -> Result<(), Refusal> {
        let most = self.config.limits.message_bytes;
        match data {
            Some(data) if data.bytes().len() > most => {
                let text = format!("a hook made `data` larger than {most} bytes");
                Err(Refusal::new(ErrorCode::PayloadTooLarge, text))
            }
            _ => Ok(()),
        }
    }
}

fn check_event(event: &EventName) -> Result<(), Refusal> {
    match event {
        EventName::Number(number) if *number > EVENT_NUMBER_MAX => {
            let text = format!("a hook made `event` larger than {EVENT_NUMBER_MAX}");
            Err(Refusal::new(ErrorCode::InvalidField, text))
        }
        _ => Ok(()),
    }
}

fn wrong_kind() -> Refusal {
    Refusal::new(ErrorCode::Internal, "a hook answered another question than it was asked")
}
