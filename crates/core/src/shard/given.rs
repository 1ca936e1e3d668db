//! Sessions that are resumed on another node than the one they live on.
//!
//! Their ids go on telling the old node, which sends on what is for them while it lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::{CloseCode, Resume, Secret, SessionId};
use subtle::ConstantTimeEq;

use super::Shard;
use crate::directory::{NodeId, ShardId};
use crate::envelope::{Given, GivenSeat, Word};
use crate::io::{LinkId, Now};
use crate::key::SessionKey;
use crate::rate::Rate;
use crate::session::{Again, Rights, Seat, Session};
use crate::timers::Deadline;
use crate::waiting::Waiting;

/// How long a link waits for its session, in milliseconds.
const FETCH_MS: u64 = 5_000;

/// How long a session that was given away is still known: whatever the other node has not taken
/// over by then has left.
const GIVEN_MS: u64 = 10_000;

/// Most sessions given away whose messages are sent on.
const FORWARDED_MAX: usize = 100_000;

/// Most bytes that are kept of what a link says meanwhile. Above it the link is not read.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Sessions on their way.
#[derive(Debug, Default)]
pub(super) struct Travels {
    /// Links that wait for a session of another node.
    fetches: Waiting<NodeId, Fetch>,
    /// The same by link.
    waiting: BTreeMap<LinkId, u64>,
    /// Where sessions went whose ids say that they live here.
    forwarded: BTreeMap<SessionId, ShardId>,
}

#[derive(Debug)]
struct Fetch {
    link: LinkId,
    generation: u32,
    /// What the link has said since, the `hello` first.
    messages: Vec<Bytes>,
    bytes: usize,
}

impl Travels {
    pub fn next_deadline(&self) -> Option<Now> {
        self.fetches.next_deadline()
    }
}

impl Shard {
    /// Where a session is, as far as this shard knows.
    pub(super) fn whereabouts(&self, session: SessionId) -> ShardId {
        let travels = self.cluster.as_ref().map(|cluster| &cluster.travels);
        match travels.and_then(|travels| travels.forwarded.get(&session)) {
            Some(&there) => there,
            None if self.session_by_id.contains_key(&session) => self.id,
            None => self.shard_of_session(session),
        }
    }

    /// Where a word for a session goes that was given away.
    pub(super) fn forward_of(&self, word: &Word) -> Option<ShardId> {
        let travels = &self.cluster.as_ref()?.travels;
        let session = match word {
            Word::Direct { to, .. } => to,
            Word::AskSession { session, .. }
            | Word::Disconnect { session, .. }
            | Word::ListSeats { session, .. }
            | Word::Act { session, .. }
            | Word::TakeSession { session, .. } => session,
            _ => return None,
        };
        travels.forwarded.get(session).copied()
    }

    /// Asks another node for a session; what the link says meanwhile waits. `false`: there is no
    /// such node.
    pub(super) fn fetch_session(&mut self, link: LinkId, resume: &Resume, hello: &Bytes) -> bool {
        let there = self.whereabouts(resume.session);
        let until = self.now.plus(FETCH_MS);
        let generation = self.links.generation(link).unwrap_or_default();
        let namespace = self.links.get(link).map_or(super::DEFAULT, |link| link.namespace);
        let Some(cluster) = &mut self.cluster else { return false };
        if cluster.directory.node(there.node).is_none() {
            return false;
        }
        let (messages, bytes) = (vec![hello.clone()], hello.len());
        let fetch = Fetch { link, generation, messages, bytes };
        let number = cluster.travels.fetches.add(until, there.node, fetch);
        cluster.travels.waiting.insert(link, number);
        let (session, secret, to) = (resume.session, resume.secret, self.id);
        self.send(there, Word::TakeSession { session, secret, namespace, to, number });
        true
    }

    /// Whether a link waits for its session.
    pub(super) fn is_fetching(&self, link: LinkId) -> bool {
        let travels = self.cluster.as_ref().map(|cluster| &cluster.travels);
        travels.is_some_and(|travels| travels.waiting.contains_key(&link))
    }

    /// Keeps a message of a link that waits for its session. `false`: it does not.
    pub(super) fn waits_for_session(&mut self, link: LinkId, message: &Bytes) -> bool {
        let until = self.now.plus(FETCH_MS);
        let generation = self.links.generation(link);
        let Some(cluster) = &mut self.cluster else { return false };
        let travels = &mut cluster.travels;
        let Some(&number) = travels.waiting.get(&link) else { return false };
        let fetch = travels.fetches.get_mut(number);
        let Some(fetch) = fetch.filter(|fetch| Some(fetch.generation) == generation) else {
            return false;
        };
        fetch.bytes += message.len();
        fetch.messages.push(message.clone());
        if fetch.bytes > KEPT_BYTES_MAX {
            self.pause(link, until);
        }
        true
    }

    /// Another node wants a session for its client.
    pub(super) fn on_take_session(
        &mut self,
        (session, secret): (SessionId, Secret),
        namespace: u16,
        to: ShardId,
        number: u64,
    ) {
        let slot = self.session_by_id.get(&session).copied();
        let slot = slot.filter(|&slot| {
            let held = self.sessions.get(slot as usize);
            !self.replays.has(slot)
                && held.is_some_and(|held| {
                    let same = held.secret.0.to_be_bytes().ct_eq(&secret.0.to_be_bytes());
                    held.can_resume && held.namespace == namespace && bool::from(same)
                })
        });
        let given = slot.and_then(|slot| self.give_away(slot, to)).map(Box::new);
        self.send(to, Word::GivenSession { number, given });
    }

    fn give_away(&mut self, slot: u32, to: ShardId) -> Option<Given> {
        let now = self.now;
        self.give_up_calls_to(slot);
        self.quiet_all_seats(slot);
        let session = self.sessions.get_mut(slot as usize)?;
        let link = session.link.take();
        session.can_resume = false;
        session.drops = session.drops.wrapping_add(1);
        let deadline = Deadline::SessionEnds { session: session.key, drop: session.drops };
        let rights = session.rights.as_deref();
        let seats = session.seats.iter().filter_map(|seat| {
            let (name, namespace, room) = (seat.name.clone(), seat.namespace, seat.room?);
            let data = seat.again.as_ref().and_then(|again| again.data.clone());
            Some(GivenSeat { name, namespace, room, invited: seat.invited, data })
        });
        let given = Given {
            dropped: link.is_none(),
            sender: Arc::clone(&session.sender),
            secret: session.secret,
            namespace: session.namespace,
            admin: session.admin,
            grants: rights.and_then(|rights| rights.grants.clone()),
            token_id: rights.and_then(|rights| rights.token_id.clone()),
            expires_ms: rights.and_then(|it| it.expires).map(|at| at.0.saturating_sub(now.0)),
            of_hook: rights.is_some_and(|rights| rights.of_hook),
            seats: seats.collect(),
        };
        let id = session.sender.session;
        self.timers.set(now.plus(GIVEN_MS), deadline);
        if let Some(link) = link {
            self.counters.sessions_dropped += 1;
            self.tell_user_session(slot, false);
            if let Some(entry) = self.links.get_mut(link) {
                entry.session = None;
            }
            let message = "a newer connection took up this session on another node";
            self.close_link(link, CloseCode::Replaced, message, None);
        }
        let forwarded = &mut self.cluster.as_mut()?.travels.forwarded;
        if forwarded.len() >= FORWARDED_MAX {
            forwarded.pop_first();
        }
        forwarded.insert(id, to);
        Some(given)
    }

    /// Whether this is what is left of a session that lives elsewhere by now, or here under another
    /// slot: it speaks for nobody, and its end is nobody's.
    pub(super) fn is_left_behind(&self, slot: u32, session: SessionId) -> bool {
        let travels = self.cluster.as_ref().map(|cluster| &cluster.travels);
        let is_away = travels.is_some_and(|travels| travels.forwarded.contains_key(&session));
        is_away || self.session_by_id.get(&session) != Some(&slot)
    }

    pub(super) fn on_given_session(&mut self, number: u64, given: Option<Given>) {
        let came = given.is_some();
        if let Some(given) = given {
            self.take_in(given);
        }
        let fetch = self.cluster.as_mut().and_then(|it| it.travels.fetches.take(number));
        if let Some(fetch) = fetch {
            self.end_fetch(fetch, came);
        }
    }

    /// The session is here, as one whose link is lost.
    fn take_in(&mut self, given: Given) {
        let generation = self.next_made();
        let resume_ms = self.config.limits.resume_ms;
        let now = self.now;
        let id = given.sender.session;
        let expires = given.expires_ms.map(|ms| now.plus(ms));
        let Given { grants, token_id, of_hook, .. } = given;
        let is_bound = grants.is_some() || token_id.is_some() || expires.is_some() || of_hook;
        let rights = Rights { grants, token_id, expires, of_hook, looked_at: None };
        let seats = given.seats.into_iter().map(|seat| Seat {
            name: seat.name,
            namespace: seat.namespace,
            room: Some(seat.room),
            pending: 0,
            place: None,
            invited: seat.invited,
            again: Some(Box::new(Again { data: seat.data, ..Again::default() })),
        });
        let entry = self.sessions.vacant_entry();
        let slot = entry.key() as u32;
        let key = SessionKey { shard: self.id, slot, generation };
        entry.insert(Session {
            key,
            namespace: given.namespace.min(self.namespaces.len() as u16 - 1),
            admin: given.admin,
            can_resume: true,
            sender: given.sender,
            rights: is_bound.then(|| Box::new(rights)),
            seats: seats.collect(),
            logged: false,
            link: None,
            secret: given.secret,
            drops: 1,
            fanout: Rate::default(),
            creates: Rate::default(),
        });
        self.session_by_id.insert(id, slot);
        self.counters.sessions += 1;
        self.counters.sessions_dropped += 1;
        self.timers.set(now.plus(resume_ms), Deadline::SessionEnds { session: key, drop: 1 });
        self.watch_expiry(slot);
        if let Some(cluster) = &mut self.cluster {
            cluster.travels.forwarded.remove(&id);
        }
        let seats = self.sessions[slot as usize].seats.iter();
        for name in seats.map(|seat| seat.name.clone()).collect::<Vec<_>>() {
            self.reseat(slot, &name, given.dropped);
        }
    }

    /// The link's messages are carried out, the `hello` first. Without its session that is refused.
    fn end_fetch(&mut self, fetch: Fetch, came: bool) {
        let Fetch { link, generation, messages, .. } = fetch;
        if self.links.generation(link) != Some(generation) {
            return;
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.travels.waiting.remove(&link);
        }
        if let Some(entry) = self.links.get_mut(link).filter(|_| !came) {
            entry.refused = true;
        }
        for message in messages {
            self.read_again(link, &message);
        }
    }

    /// A node will not give what it was asked for.
    pub(super) fn give_up_fetches_of(&mut self, node: NodeId) {
        while let Some(fetch) =
            self.cluster.as_mut().and_then(|it| it.travels.fetches.take_of(&node))
        {
            self.end_fetch(fetch, false);
        }
    }

    pub(super) fn give_up_late_fetches(&mut self) {
        let now = self.now;
        while let Some(fetch) =
            self.cluster.as_mut().and_then(|it| it.travels.fetches.take_due(now))
        {
            self.end_fetch(fetch, false);
        }
    }
}
