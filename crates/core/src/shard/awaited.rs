//! Answers that other nodes owe. Every one of them comes, or is given up: when the node is gone,
//! when words of it are lost, or when it takes too long.

use std::borrow::Cow;

use roomcast_wire::{ErrorCode, Refusal};

use super::Shard;
use super::direct::no_such_target;
use crate::directory::NodeId;
use crate::envelope::{Answer, Homed, RoomOp, Word};
use crate::io::ShardId;
use crate::key::{FullName, ReplyTo, SessionKey};

/// How long an answer of another node is waited for, in milliseconds, where its loss is not noticed
/// otherwise: longer than a lease and a take-over.
const ANSWER_MS: u64 = 15_000;

/// Most answers that one shard waits for: at 150 bytes each some 10 MB.
const AWAITED_MAX: usize = 65_536;

/// An answer that is owed.
#[derive(Debug)]
pub(super) struct Awaited {
    to: ReplyTo,
    about: About,
}

/// What was asked, as far as it matters when no answer comes.
#[derive(Debug)]
enum About {
    Seat { session: SessionKey, room: FullName },
    Leave { session: SessionKey, room: FullName, namespace: u16 },
    Other { timeout_ms: u64 },
}

impl Shard {
    /// Brings a word to a shard of another node, if that is there.
    pub(super) fn send_abroad(&mut self, to: ShardId, mut word: Word) {
        let Some(cluster) = &self.cluster else { return };
        if cluster.directory.node(to.node).is_none_or(|node| to.worker >= node.workers) {
            // Who is asked for by a session's id was there and is no more, or never was.
            return self.refuse_word(word, no_such_target());
        }
        match self.expect_answer(to.node, &mut word) {
            Ok(()) => {
                let envelope = crate::Envelope(word);
                self.outputs.push_back(crate::Output::Envelope { to, envelope });
            }
            Err(refusal) => self.refuse_word(word, refusal),
        }
    }

    /// Notes that an answer is owed, if one is.
    fn expect_answer(&mut self, node: NodeId, word: &mut Word) -> Result<(), Refusal> {
        let here = self.id;
        let about = word.about(here);
        let Some(to) = word.asker() else { return Ok(()) };
        let is_ours = to.shard().is_some_and(|shard| shard.node == here.node);
        let is_told = match (&about, *to) {
            (_, ReplyTo::Nobody | ReplyTo::Again { .. }) => false,
            (About::Seat { .. }, _) => true,
            (_, ReplyTo::Session { reference, .. }) => is_ours && reference.is_some(),
            (_, ReplyTo::Call { .. } | ReplyTo::Awaited { .. }) => is_ours,
        };
        if !is_told {
            return Ok(());
        }
        let timeout_ms = match about {
            About::Other { timeout_ms } => timeout_ms,
            _ => 0,
        };
        let until = self.now.plus(ANSWER_MS.saturating_add(timeout_ms));
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        if cluster.awaited.count() >= AWAITED_MAX {
            return Err(unavailable("too many answers of other nodes are awaited: try again"));
        }
        let is_call = to.is_call();
        let number = cluster.awaited.add(until, node, Awaited { to: *to, about });
        *to = ReplyTo::Awaited { shard: here, number, is_call };
        Ok(())
    }

    /// Whom an answer is for that came here; none: it came too late.
    pub(super) fn asker_of(&mut self, to: ReplyTo) -> Option<ReplyTo> {
        match to {
            ReplyTo::Awaited { shard, number, .. } if shard == self.id => {
                Some(self.cluster.as_mut()?.awaited.take(number)?.to)
            }
            to => Some(to),
        }
    }

    /// A word that came back is as if it had not been sent. `false`: its answer was given up.
    pub(super) fn recall(&mut self, word: &mut Word) -> bool {
        let here = self.id;
        let Some(to) = word.asker() else { return true };
        if let ReplyTo::Awaited { shard, number, .. } = *to
            && shard == here
        {
            let taken = self.cluster.as_mut().and_then(|cluster| cluster.awaited.take(number));
            let Some(awaited) = taken else { return false };
            *to = awaited.to;
        }
        true
    }

    /// Gives up what a node owes.
    pub(super) fn give_up_on(&mut self, node: NodeId) {
        while let Some(awaited) =
            self.cluster.as_mut().and_then(|cluster| cluster.awaited.take_of(&node))
        {
            self.end_waiting(awaited);
        }
    }

    /// Gives up what was not answered in time.
    pub(super) fn give_up_late(&mut self) {
        let now = self.now;
        while let Some(awaited) =
            self.cluster.as_mut().and_then(|cluster| cluster.awaited.take_due(now))
        {
            self.end_waiting(awaited);
        }
    }

    fn end_waiting(&mut self, Awaited { to, about }: Awaited) {
        let text = "the node that was asked did not answer: it is not known whether this was done; \
                    try again";
        match about {
            About::Seat { session, room } => {
                self.on_join_refused(to, session, &room, unavailable(text));
            }
            About::Leave { session, room, namespace } => {
                self.leave_unheard(to, session, (namespace, room));
            }
            About::Other { .. } => self.answer(to, Answer::Refused(unavailable(text))),
        }
    }

    /// Whoever wants to leave has left, whether the home heard of it or not: it is told again,
    /// and to whom it listens next it says nothing of this seat.
    fn leave_unheard(
        &mut self,
        to: ReplyTo,
        session: SessionKey,
        (namespace, room): (u16, FullName),
    ) {
        if let Some(held) = self.session_at(session) {
            let caller = held.caller(ReplyTo::Nobody);
            let known = held.seat(&room).and_then(|seat| seat.room);
            let reason = roomcast_wire::push::LeaveReason::Left;
            let op = RoomOp::Leave { reason, data: None };
            self.send_to_room(namespace, room.clone(), caller, op);
            if let Some(known) = known {
                self.forget_seat(session, known);
            }
        }
        self.answer(to, Answer::Left { room });
    }

    /// Answers a word that cannot be carried out, in the place of whom it was for.
    pub(super) fn refuse_word(&mut self, mut word: Word, refusal: Refusal) {
        let reply = word.asker().copied();
        match word {
            // Seats are told again until there is a home that hears it.
            Word::Room { op: RoomOp::Reseat(_), .. } => {}
            Word::Room { room, caller, op, .. } if op.takes_seat() => {
                self.refuse_join(&caller, room, refusal);
            }
            Word::Within { word, .. }
            | Word::Homed(Homed { word, .. })
            | Word::NotHome { word, .. } => {
                self.refuse_word(*word, refusal);
            }
            _ => {
                if let Some(to) = reply {
                    self.answer(to, Answer::Refused(refusal));
                }
            }
        }
    }
}

impl Word {
    /// Who is to be answered, if this asks for something.
    pub(super) fn asker(&mut self) -> Option<&mut ReplyTo> {
        match self {
            Self::Room { caller, .. }
            | Self::Direct { caller, .. }
            | Self::DirectToUser { caller, .. } => Some(&mut caller.reply),
            Self::Within { word, .. }
            | Self::Homed(Homed { word, .. })
            | Self::NotHome { word, .. } => word.asker(),
            Self::AskSession { to, .. }
            | Self::Disconnect { to, .. }
            | Self::ListSeats { to, .. }
            | Self::Act { to, .. } => Some(to),
            _ => None,
        }
    }

    fn about(&self, here: ShardId) -> About {
        match self {
            Self::Room { room, namespace, caller, op } => {
                let session = caller.session.as_ref().map(|(key, _)| *key);
                let (room, namespace) = (room.clone(), *namespace);
                match session.filter(|key| key.shard == here) {
                    Some(session) if op.takes_seat() => About::Seat { session, room },
                    Some(session) if matches!(op, RoomOp::Leave { .. }) => {
                        About::Leave { session, room, namespace }
                    }
                    _ => About::Other { timeout_ms: 0 },
                }
            }
            Self::Within { word, .. } | Self::Homed(Homed { word, .. }) => word.about(here),
            Self::AskSession { timeout_ms, .. } => About::Other { timeout_ms: *timeout_ms },
            _ => About::Other { timeout_ms: 0 },
        }
    }
}

/// Something that is there again later, as soon as the cluster has recovered.
pub(super) fn unavailable(text: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { code: ErrorCode::Unavailable, message: text.into(), retry_ms: Some(RETRY_MS) }
}

/// When trying again makes sense, in milliseconds.
const RETRY_MS: u64 = 1_000;
