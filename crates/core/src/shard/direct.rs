//! Messages to sessions, users and namespaces; questions to all shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::Receiver;
use roomcast_wire::push::LeaveReason;
use roomcast_wire::reply::RoomInfo;
use roomcast_wire::{CloseCode, ErrorCode, Format, Name, Push, Refusal, SessionId};

use super::Shard;
use crate::directory::{NodeId, ShardId};
use crate::envelope::{Answer, Caller, Message, Part, Survey, Word};
use crate::io::LinkId;
use crate::key::{ReplyTo, SessionKey};
use crate::replay::Mark;
use crate::rights::{Grants, Right};

/// Surveys whose parts are being gathered, by number: a late part must not be taken for one of a
/// later survey.
#[derive(Debug, Default)]
pub(super) struct Queries {
    open: BTreeMap<u32, Query>,
    last: u32,
}

#[derive(Debug)]
struct Query {
    to: ReplyTo,
    /// What is asked, to be asked again.
    survey: Survey,
    /// Whose parts are missing.
    waiting: Vec<ShardId>,
    rooms: Option<Vec<RoomInfo>>,
    /// Not all of it could be told, or done.
    truncated: bool,
    delivered: u32,
}

impl Shard {
    pub(super) fn on_direct(&mut self, to: SessionId, caller: Caller, message: Arc<Message>) {
        let key = self.session_by_id.get(&to).and_then(|&slot| {
            let session = self.sessions.get(slot as usize)?;
            // The server's own code reaches every namespace.
            let reachable = caller.session.is_none() || session.namespace == caller.namespace;
            let is_here = session.link.is_some() || self.replays.has(slot);
            (reachable && is_here).then_some(session.key)
        });
        let answer = match key {
            Some(key) => {
                self.on_direct_message(key, &message);
                Answer::Ok { position: None, delivered: Some(1) }
            }
            None => Answer::Refused(no_such_target()),
        };
        self.answer(caller.reply, answer);
    }

    pub(super) fn on_direct_to_user(&mut self, user: Name, caller: Caller, message: Arc<Message>) {
        let keys = self.users.get(&(caller.namespace, user)).cloned().unwrap_or_default();
        if keys.is_empty() {
            return self.answer(caller.reply, Answer::Refused(no_such_target()));
        }
        for &session in &keys {
            let message = Arc::clone(&message);
            self.send(session.shard, Word::Message { session, message });
        }
        let delivered = Some(keys.len() as u32);
        self.answer(caller.reply, Answer::Ok { position: None, delivered });
    }

    pub(super) fn on_direct_message(&mut self, session: SessionKey, message: &Message) {
        let Some(link) = self.session_at(session).map(|session| session.link) else { return };
        if !message.reliable && link.is_none_or(|link| self.links.skips(&mut self.counters, link)) {
            return;
        }
        self.push_to(session.slot, &message.push(), message.reliable);
    }

    pub(super) fn on_user_session(&mut self, user: (u16, Name), session: SessionKey, here: bool) {
        if here {
            let in_cluster = self.cluster.is_some();
            let sessions = self.users.entry(user).or_default();
            // There sessions are told again.
            if !in_cluster || !sessions.contains(&session) {
                sessions.push(session);
            }
            return;
        }
        if let Some(sessions) = self.users.get_mut(&user) {
            sessions.retain(|known| *known != session);
            if sessions.is_empty() {
                self.users.remove(&user);
            }
        }
    }

    /// Asks every shard, this one included, and answers when all have told their part.
    pub(super) fn survey_all(&mut self, to: ReplyTo, survey: Survey) {
        let rooms = matches!(survey, Survey::Rooms { .. }).then(Vec::new);
        let waiting: Vec<_> = match &self.cluster {
            None => (0..self.shard_count()).map(|worker| ShardId { worker, ..self.id }).collect(),
            // This one first: it asks itself whatever the directory says.
            Some(cluster) => {
                let others = cluster.directory.shards().filter(|shard| *shard != self.id);
                std::iter::once(self.id).chain(others).collect()
            }
        };
        let shards = waiting.clone();
        let asked = survey.clone();
        let query = Query { to, survey, waiting, rooms, truncated: false, delivered: 0 };
        self.queries.last = self.queries.last.wrapping_add(1);
        let number = self.queries.last;
        self.queries.open.insert(number, query);
        for shard in shards {
            let survey = asked.clone();
            self.send(shard, Word::Survey { query: number, from: self.id, survey });
        }
    }

    /// What a node has not answered is taken as nothing.
    pub(super) fn end_surveys_of(&mut self, node: NodeId) {
        for query in self.queries.open.values_mut() {
            query.waiting.retain(|shard| shard.node != node);
        }
        self.answer_surveys();
    }

    /// Questions to a node, or its answers, may be lost. What may not be done twice is taken as
    /// done by nobody there.
    pub(super) fn ask_surveys_again(&mut self, node: NodeId) {
        let mut again = Vec::new();
        for (&query, open) in &mut self.queries.open {
            match &open.survey {
                Survey::Broadcast { .. } => open.waiting.retain(|shard| shard.node != node),
                survey => {
                    let shards = open.waiting.iter().filter(|shard| shard.node == node);
                    again.extend(shards.map(|&shard| (shard, query, survey.clone())));
                }
            }
        }
        for (shard, query, survey) in again {
            self.send(shard, Word::Survey { query, from: self.id, survey });
        }
        self.answer_surveys();
    }

    pub(super) fn on_survey(&mut self, query: u32, from: ShardId, survey: Survey) {
        let part = match survey {
            Survey::Rooms { namespace, grants } => self.rooms_part(namespace, grants.as_deref()),
            Survey::Revoke(revoked) => {
                let (ended, kept) = self.revoke_part(&revoked);
                Part::Revoke { ended, kept }
            }
            Survey::Broadcast { namespace, message } => {
                Part::Broadcast { delivered: self.broadcast_part(namespace, &message) }
            }
        };
        let shard = self.id;
        self.send(from, Word::Told { query, shard, part });
    }

    fn rooms_part(&self, namespace: u16, grants: Option<&Grants>) -> Part {
        let rooms = self.rooms.iter().filter(|(_, room)| {
            let own_name = self.own_name(namespace, &room.name);
            let may_see = |grants: &Grants| {
                let of = self.namespace_name(namespace);
                grants.decide(Right::Presence, of, Some(own_name)).allowed
            };
            room.namespace == namespace && grants.is_none_or(may_see)
        });
        let mut rooms: Vec<_> = rooms
            .map(|(_, room)| RoomInfo { room: room.name.to_string(), members: room.member_count() })
            .collect();
        let truncated = cut(&mut rooms, self.config.limits.list_max);
        Part::Rooms { rooms, truncated }
    }

    fn broadcast_part(&mut self, namespace: u16, message: &Message) -> u32 {
        let mut frames: [Option<(Mark, Bytes)>; Format::COUNT] = Default::default();
        let sessions = self.sessions.iter().filter(|(_, one)| {
            one.namespace == namespace && message.except != Some(one.sender.session)
        });
        let sessions: Vec<_> = sessions.map(|(slot, one)| (slot as u32, one.link)).collect();
        let mut delivered = 0;
        let name = self.namespace_name(namespace).to_owned();
        for (slot, link) in sessions {
            let Some(format) = self.format_of(slot, link) else { continue };
            let skips = |link| self.links.skips(&mut self.counters, link);
            if !message.reliable && link.is_none_or(skips) {
                continue;
            }
            let link = link.unwrap_or(LinkId::NONE);
            let (mark, frame) = frames[format.index()].get_or_insert_with(|| {
                let mark = self.replays.mark(format, message.reliable);
                let to = Receiver { session: None, namespace: &name, offset: mark.offset };
                (mark, self.links.encode(|out| format.encode_push(&to, &message.push(), out)))
            });
            self.replays.keep(slot, *mark, frame);
            self.links.put(&mut self.counters, link, frame.clone());
            delivered += 1;
        }
        delivered
    }

    pub(super) fn on_told(&mut self, query: u32, shard: ShardId, part: Part) {
        let Some(gathered) = self.queries.open.get_mut(&query) else { return };
        let Some(at) = gathered.waiting.iter().position(|waits| *waits == shard) else { return };
        gathered.waiting.swap_remove(at);
        match part {
            Part::Rooms { rooms, truncated } => {
                gathered.rooms.get_or_insert_default().extend(rooms);
                gathered.truncated |= truncated;
            }
            Part::Broadcast { delivered } => gathered.delivered += delivered,
            Part::Revoke { ended, kept } => {
                gathered.delivered += ended;
                gathered.truncated |= !kept;
            }
        }
        self.answer_surveys();
    }

    fn answer_surveys(&mut self) {
        let done = self.queries.open.extract_if(.., |_, query| query.waiting.is_empty());
        for query in done.map(|(_, query)| query).collect::<Vec<_>>() {
            self.answer_survey(query);
        }
    }

    fn answer_survey(&mut self, query: Query) {
        let Query { to, rooms, truncated, delivered, .. } = query;
        let answer = match rooms {
            None if truncated => Answer::Refused(too_many_revocations()),
            None => Answer::Ok { position: None, delivered: Some(delivered) },
            Some(mut rooms) => {
                let cut = cut(&mut rooms, self.config.limits.list_max);
                Answer::Rooms { rooms, truncated: truncated || cut }
            }
        };
        self.answer(to, answer);
    }

    pub(super) fn on_disconnect(&mut self, session: SessionId, to: ReplyTo) {
        let Some(&slot) = self.session_by_id.get(&session) else {
            return self.answer(to, Answer::Refused(no_such_target()));
        };
        match self.sessions.get(slot as usize).and_then(|session| session.link) {
            Some(link) => {
                let message = "an operator ended this session";
                self.close_link(link, CloseCode::Disconnected, message, None);
            }
            None => self.end_session(slot, LeaveReason::Kicked),
        }
        self.answer(to, Answer::Ok { position: None, delivered: Some(1) });
    }
}

impl Message {
    fn push(&self) -> Push<'_> {
        Push::Message { event: &self.event, data: self.data.as_ref(), from: self.from.as_deref() }
    }
}

/// Sorts by name and keeps the first `most`; whether any were cut off.
fn cut(rooms: &mut Vec<RoomInfo>, most: u32) -> bool {
    rooms.sort_unstable_by(|a, b| a.room.cmp(&b.room));
    let truncated = rooms.len() > most as usize;
    rooms.truncate(most as usize);
    truncated
}

fn too_many_revocations() -> Refusal {
    let text = "the sessions were ended, but there are as many revocations as may be kept \
                (`limits.revocations`): the token will be let in again";
    Refusal::new(ErrorCode::RateLimited, text)
}

pub(super) fn no_such_target() -> Refusal {
    Refusal::new(ErrorCode::NoSuchTarget, "no session or user of this name is connected")
}
