//! What clients ask of the application (`call`), and the application of clients (`result`).
//!
//! No link is held for a call: several of one session may wait, and each answer names its own.

use std::sync::Arc;

use roomcast_wire::{ErrorCode, EventName, Payload, Push, Refusal, Reply, RoomPath, SessionId};

use super::Shard;
use super::commands::{Asker, gone};
use super::direct::no_such_target;
use crate::envelope::Answer;
use crate::hook::{Call, CallTicket};
use crate::io::{Now, Output, ServerReply};
use crate::key::{ReplyTo, SessionKey};
use crate::waiting::Waiting;

/// Longest time that the application may wait for a client, in milliseconds: one hour.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// All calls that wait on one shard.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    /// Of clients, for the application. Those of a session that is over stay until they are
    /// answered or due: the application is still at work on them, and what runs is bounded by what
    /// is here.
    asked_by: Waiting<SessionKey, ReplyTo>,
    /// Of the application, for clients.
    asked_of: Waiting<SessionKey, ReplyTo>,
}

impl Dialogue {
    pub fn next_deadline(&self) -> Option<Now> {
        match (self.asked_by.next_deadline(), self.asked_of.next_deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Shard {
    pub(super) fn call_command(
        &mut self,
        asker: Asker,
        call: EventName,
        room: Option<RoomPath<'_>>,
        data: Option<Payload>,
    ) -> Result<(), Refusal> {
        if !self.config.calls {
            return Err(no_such_call(&call));
        }
        let room = match room {
            Some(room) => Some(self.resolve_for(asker.slot, &room, None)?.1.to_string()),
            None => None,
        };
        let most = self.config.limits.calls_per_session;
        let until = self.now.plus(self.config.limits.call_ms);
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let key = session.key;
        if self.dialogue.asked_by.count_of(&key) >= most as usize {
            return Err(too_many_calls(most));
        }
        // The bound of one session says little where anybody may have many, one after the other.
        let most = self.config.limits.calls_waiting / u32::from(self.shard_count());
        if self.dialogue.asked_by.count() >= most.max(1) as usize {
            let text = "too many calls wait for a result already (`limits.calls_waiting`)";
            return Err(try_again(text.into()));
        }
        let from = Arc::clone(&session.sender);
        let (admin, answered) = (session.admin, asker.reference.is_some());
        let namespace = session.namespace;
        let namespace = self.namespaces[usize::from(namespace)].0.clone();
        let number = self.dialogue.asked_by.add(until, key, asker.reply_to(key));
        // The application may keep it for long.
        let data = data.map(|data| data.detached());
        let call = Box::new(Call { from, namespace, admin, answered, call, room, data });
        self.outputs.push_back(Output::Called { ticket: CallTicket(number), call });
        Ok(())
    }

    /// The application has answered. Too late, or twice: nobody waits any more.
    pub(super) fn on_answered(
        &mut self,
        CallTicket(number): CallTicket,
        answer: Result<Option<Payload>, Refusal>,
    ) {
        let Some(to) = self.dialogue.asked_by.take(number) else { return };
        let most = self.config.limits.message_bytes;
        let too_large = |data: &Payload| data.bytes().len() > most;
        let answer = match answer {
            Ok(data) if data.as_ref().is_some_and(too_large) => {
                let text = "the server's own code answered with more than fits in one message";
                Err(Refusal::new(ErrorCode::Internal, text))
            }
            answer => answer,
        };
        match answer {
            Ok(data) => self.answer(to, Answer::Call(ServerReply::Answered(data))),
            Err(refusal) => self.answer(to, Answer::Refused(refusal)),
        }
    }

    /// The application asks a session of this shard.
    pub(super) fn on_ask_session(
        &mut self,
        session: SessionId,
        (call, data): (EventName, Option<Payload>),
        timeout_ms: u64,
        to: ReplyTo,
    ) {
        let most = self.config.limits.calls_per_session;
        let until = self.now.plus(timeout_ms.clamp(1, TIMEOUT_MS_MAX));
        let slot = self.session_by_id.get(&session).copied();
        let held = slot.and_then(|slot| self.sessions.get(slot as usize));
        let Some((held, link)) = held.and_then(|held| held.link.map(|link| (held, link))) else {
            return self.answer(to, Answer::Refused(no_such_target()));
        };
        if self.dialogue.asked_of.count_of(&held.key) >= most as usize {
            return self.answer(to, Answer::Refused(too_many_calls(most)));
        }
        let id = self.dialogue.asked_of.add(until, held.key, to);
        let push = Push::Call { id, call: &call, data: data.as_ref() };
        self.links.push(&mut self.counters, link, &push);
    }

    pub(super) fn result_command(
        &mut self,
        asker: Asker,
        id: u64,
        data: Option<Payload>,
        error: Option<&str>,
    ) -> Result<(), Refusal> {
        let key = self.sessions.get(asker.slot as usize).ok_or_else(gone)?.key;
        // The words for another session's call and for none are the same (threat S25).
        let own = self.dialogue.asked_of.owner(id).is_some_and(|session| *session == key);
        if !own {
            let text =
                format!("no call {id} waits for a result: it was answered, or took too long");
            return Err(Refusal::new(ErrorCode::NoSuchCall, text));
        }
        let answer = match error {
            None => Answer::Call(ServerReply::Answered(data.map(|data| data.detached()))),
            Some(text) => Answer::Refused(Refusal::refused(text.to_owned())),
        };
        if let Some(to) = self.dialogue.asked_of.take(id) {
            self.answer(to, answer);
        }
        if asker.reference.is_some() {
            let done = Reply::Ok { position: None, delivered: None };
            self.links.reply(&mut self.counters, asker.link, asker.reference, &done);
        }
        Ok(())
    }

    /// The session's link is lost: nobody will answer what it was asked.
    pub(super) fn give_up_calls_to(&mut self, slot: u32) {
        let Some(key) = self.sessions.get(slot as usize).map(|session| session.key) else { return };
        while let Some(to) = self.dialogue.asked_of.take_of(&key) {
            let text = "the session's link was lost before it answered";
            let refusal = Refusal::new(ErrorCode::NoSuchTarget, text);
            self.answer(to, Answer::Refused(refusal));
        }
    }

    /// Gives up on calls that nobody has answered in time.
    pub(super) fn end_calls(&mut self) {
        while let Some(to) = self.dialogue.asked_by.take_due(self.now) {
            let text = "the server's own code took too long to answer (`limits.call_ms`)";
            let refusal = Refusal::new(ErrorCode::CallTimeout, text);
            self.answer(to, Answer::Refused(refusal));
        }
        while let Some(to) = self.dialogue.asked_of.take_due(self.now) {
            let refusal = Refusal::new(ErrorCode::CallTimeout, "the client did not answer in time");
            self.answer(to, Answer::Refused(refusal));
        }
    }
}

pub(super) fn no_such_call(call: &EventName) -> Refusal {
    let text = format!("nobody answers calls of the name `{call}` here");
    Refusal::new(ErrorCode::NoSuchCall, text)
}

fn too_many_calls(most: u32) -> Refusal {
    try_again(format!("{most} calls wait for a result already (`limits.calls_per_session`)"))
}

fn try_again(message: String) -> Refusal {
    Refusal { code: ErrorCode::RateLimited, message: message.into(), retry_ms: Some(100) }
}
