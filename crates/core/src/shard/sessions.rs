//! `hello`, resume, drop, end.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::name::NameError;
use roomcast_wire::push::{LeaveReason, Sender};
use roomcast_wire::reply::SessionLimits;
use roomcast_wire::{
    CloseCode, ErrorCode, Name, Payload, Refusal, Reply, Resume, Secret, SessionId,
};
use subtle::ConstantTimeEq;

use super::Shard;
use super::commands::Asker;
use super::identity::is_same_user;
use crate::directory::ShardId;
use crate::envelope::{Grant, JoinRights, RoomOp, Word};
use crate::hook::HookMask;
use crate::io::{LinkId, LinkLoss, Output};
use crate::key::{ReplyTo, SessionKey};
use crate::rate::Rate;
use crate::record::Record;
use crate::rights::Identity;
use crate::session::{Rights, Session};
use crate::timers::Deadline;

/// What a `hello` says.
pub(super) struct Hello<'a> {
    pub token: Option<Cow<'a, str>>,
    pub name: Option<Cow<'a, str>>,
    pub resume: Option<Resume>,
    pub data: Option<Payload>,
}

/// What a new session says of itself.
#[derive(Default)]
pub(super) struct Introduction {
    pub name: Option<Name>,
    pub data: Option<Payload>,
}

impl Shard {
    pub(super) fn on_hello(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        hello: &Hello<'_>,
        message: &Bytes,
    ) {
        if let Some(resume) = &hello.resume
            && self.whereabouts(resume.session) != self.id
        {
            let home = self.whereabouts(resume.session);
            let is_own_node = home.node == self.id.node;
            // Moved again and again, it would never meet its deadline; and what it was answered
            // may still wait in the outbox.
            let stays = self.links.get(link).is_none_or(|entry| entry.refused);
            if !stays && is_own_node {
                return self.move_link(link, home, message);
            }
            if !self.recovers(link) {
                if stays || !self.fetch_session(link, resume, message) {
                    self.refuse_on(link, reference, &cannot_resume());
                }
                return;
            }
        }
        let format = self.links.get(link).map(|entry| entry.format);
        let more = format.filter(|format| format.hello_names_room()).map(|_| message);
        match self.greet(link, reference, hello, more) {
            Ok(Some((slot, _))) if more.is_some() => {
                self.join_lobby(slot, link);
                self.go_on_with(link, message);
            }
            Ok(Some((slot, resumed))) => self.greeted(link, reference, slot, resumed),
            Ok(None) => {}
            Err(refusal) => {
                self.charge_failed_token(link, &refusal);
                self.refuse_on(link, reference, &refusal);
            }
        }
    }

    fn move_link(&mut self, link: LinkId, to: ShardId, message: &Bytes) {
        self.links.remove(link);
        self.counters.links -= 1;
        self.outputs.push_back(Output::Move { link, to, message: message.clone() });
    }

    /// Whether a client that comes back begins anew where it cannot go on.
    fn recovers(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|entry| self.replays.keeps(entry.format))
    }

    /// Whether a client can come back to its session.
    pub(super) fn takes_back(&self, link: LinkId) -> bool {
        self.recovers(link) || self.links.get(link).is_some_and(|entry| entry.format.resumes())
    }

    /// The session, and whether it was resumed; none if the application decides first.
    fn greet(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        hello: &Hello<'_>,
        more: Option<&Bytes>,
    ) -> Result<Option<(u32, bool)>, Refusal> {
        let Some(entry) = self.links.get(link) else {
            return Err(Refusal::new(ErrorCode::Internal, "the link is gone"));
        };
        let namespace = entry.namespace;
        let token = hello.token.as_deref();
        let identity = self.identify(namespace, token);
        let asks = self.config.hooks.contains(HookMask::CONNECT);
        let identity = if asks { identity } else { Ok(identity?) };
        let name = match hello.resume {
            Some(_) if !self.recovers(link) => None,
            _ => hello.name.as_deref().map(Name::new).transpose().map_err(invalid_name)?,
        };
        // The application may keep it for long.
        let data = hello.data.as_ref().map(Payload::detached);
        let own = Introduction { name, data };
        if asks {
            let first = more.cloned();
            self.ask_connect(link, reference, identity, token, (own, hello.resume), first)?;
            return Ok(None);
        }
        self.let_in(link, identity?, own, hello.resume).map(Some)
    }

    /// Begins or resumes a session.
    ///
    /// # Errors
    /// There is no such session, or it is another's.
    pub(super) fn let_in(
        &mut self,
        link: LinkId,
        identity: Identity,
        own: Introduction,
        resume: Option<Resume>,
    ) -> Result<(u32, bool), Refusal> {
        let Some(resume) = resume else {
            return Ok((self.new_session(link, identity, own), false));
        };
        let Some(entry) = self.links.get(link) else { return Err(cannot_resume()) };
        let (namespace, format) = (entry.namespace, entry.format);
        let resumable = self.resumable(&resume, namespace, &identity);
        let slot = if self.recovers(link) {
            let found = resumable.ok();
            match found.filter(|&slot| self.replays.rewind(slot, format, resume.offset)) {
                Some(slot) => {
                    self.counters.recovered_total += 1;
                    slot
                }
                None => {
                    self.counters.unrecovered_total += 1;
                    self.give_up(found);
                    return Ok((self.new_session(link, identity, own), false));
                }
            }
        } else {
            resumable.ok().filter(|&slot| !self.replays.has(slot)).ok_or_else(cannot_resume)?
        };
        self.resume_session(slot, link);
        self.take_up(slot, &identity, false);
        Ok((slot, true))
    }

    /// Ends a session whose client begins anew, as it cannot be told all that it missed.
    fn give_up(&mut self, slot: Option<u32>) {
        let Some((slot, session)) =
            slot.and_then(|slot| Some((slot, self.sessions.get(slot as usize)?)))
        else {
            return;
        };
        match session.link {
            Some(old) => {
                let message = "a newer connection begins anew";
                self.close_link(old, CloseCode::Replaced, message, None);
            }
            None => self.end_session(slot, LeaveReason::Lost),
        }
    }

    pub(super) fn greeted(
        &mut self,
        link: LinkId,
        reference: Option<u64>,
        slot: u32,
        resumed: bool,
    ) {
        self.welcome(link, reference, slot, resumed);
        if !resumed {
            return self.join_lobby(slot, link);
        }
        for frame in self.replays.frames(slot) {
            self.links.put_granted(&mut self.counters, link, frame);
        }
    }

    /// Makes a session for a link that speaks without `hello`.
    ///
    /// # Errors
    /// A token is required.
    pub(super) fn new_anonymous_session(&mut self, link: LinkId) -> Result<u32, Refusal> {
        let namespace = self.links.get(link).map_or(super::DEFAULT, |link| link.namespace);
        let identity = self.identify(namespace, None)?;
        Ok(self.begin_unasked(link, identity))
    }

    /// Begins a session that nobody said `hello` for.
    pub(super) fn begin_unasked(&mut self, link: LinkId, identity: Identity) -> u32 {
        let slot = self.new_session(link, identity, Introduction::default());
        self.join_lobby(slot, link);
        slot
    }

    /// Gives a new session a seat in its namespace's lobby, if there is one.
    fn join_lobby(&mut self, slot: u32, link: LinkId) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let namespace = session.namespace;
        let Some(lobby) = &self.policy(namespace).lobby else { return };
        let room = self.full_name(namespace, lobby);
        if self.draining.is_some() || self.expect_seat(slot, namespace, &room, None).is_err() {
            return;
        }
        let session = self.sessions.get_mut(slot as usize);
        if let Some(seat) = session.and_then(|session| session.seat_mut(&room)) {
            seat.invited = true;
        }
        let generation = self.links.generation(link).unwrap_or_default();
        let asker = Asker { slot, link, generation, reference: None };
        let op =
            RoomOp::Join { since: None, data: None, grant: Grant::Make, rights: JoinRights::ALL };
        self.word_to_home(asker, namespace, room, op);
    }

    fn resumable(
        &self,
        resume: &Resume,
        namespace: u16,
        identity: &Identity,
    ) -> Result<u32, Refusal> {
        let slot = *self.session_by_id.get(&resume.session).ok_or_else(cannot_resume)?;
        let session = self.sessions.get(slot as usize).ok_or_else(cannot_resume)?;
        if !session.can_resume {
            return Err(cannot_resume());
        }
        let same_secret: bool =
            session.secret.0.to_be_bytes().ct_eq(&resume.secret.0.to_be_bytes()).into();
        if same_secret && is_same_user(session, identity) && session.namespace == namespace {
            return Ok(slot);
        }
        Err(cannot_resume())
    }

    fn new_session(&mut self, link: LinkId, identity: Identity, own: Introduction) -> u32 {
        let namespace = self.links.get(link).map_or(super::DEFAULT, |link| link.namespace);
        let id = self.new_session_id(link);
        let generation = self.next_made();
        let entry = self.sessions.vacant_entry();
        let slot = entry.key() as u32;
        let key = SessionKey { shard: self.id, slot, generation };
        if let Some(link) = self.links.get(link) {
            self.replays.begin(key, link.format);
        }
        let rights = Rights::of(&identity);
        let Identity { user, name: known_as, admin, metadata, .. } = identity;
        // What the token says counts more than what its holder says.
        let name = known_as.or(own.name);
        let metadata = metadata.map(Box::new);
        entry.insert(Session {
            key,
            sender: Arc::new(Sender { session: id, user, name, metadata }),
            secret: Secret(0),
            can_resume: false,
            namespace,
            admin,
            rights,
            link: Some(link),
            drops: 0,
            logged: false,
            seats: Vec::new(),
            fanout: Rate::default(),
            creates: Rate::default(),
        });
        self.session_by_id.insert(id, slot);
        self.counters.sessions += 1;
        if let Some(link) = self.links.get_mut(link) {
            link.session = Some(slot);
            link.owner = link.format.names_receiver().then(|| Box::new(id));
        }
        self.tell_connected(slot, false, own.data);
        self.tell_user_session(slot, true);
        self.watch_expiry(slot);
        slot
    }

    /// A session's id says which shard holds it, so that any shard can find it.
    fn new_session_id(&mut self, link: LinkId) -> SessionId {
        let format = self.links.get(link).map(|link| link.format);
        loop {
            let random = self.random_u128();
            let mut id = format.map_or(SessionId(random), |format| format.session_id(random));
            if let Some(cluster) = &self.cluster {
                id = cluster.homes.mark(id, self.id);
            }
            if self.shard_of_session(id) == self.id && !self.session_by_id.contains_key(&id) {
                return id;
            }
        }
    }

    fn resume_session(&mut self, slot: u32, link: LinkId) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let old = session.link.replace(link);
        if let Some(link) = self.links.get_mut(link) {
            link.session = Some(slot);
            let id = session.sender.session;
            link.owner = link.format.names_receiver().then(|| Box::new(id));
        }
        self.counters.resumed_total += 1;
        self.tell_connected(slot, true, None);
        if let Some(old) = old {
            if let Some(entry) = self.links.get_mut(old) {
                entry.session = None;
            }
            self.give_up_calls_to(slot);
            self.seats_change_link(slot, Some(link));
            let message = "a newer connection took up this session";
            self.close_link(old, CloseCode::Replaced, message, None);
            return;
        }
        self.counters.sessions_dropped -= 1;
        self.seats_change_link(slot, Some(link));
        if !self.replays.has(slot) {
            self.tell_user_session(slot, true);
        }
        self.tell_all_homes(slot, || RoomOp::Resume);
    }

    /// Seats fall quiet when their session's link is lost or exchanged, unless what is said
    /// meanwhile is kept for it.
    fn seats_change_link(&mut self, slot: u32, link: Option<LinkId>) {
        if self.replays.has(slot) {
            self.lead_seats(slot, link.unwrap_or(LinkId::NONE));
        } else {
            self.quiet_all_seats(slot);
        }
    }

    fn welcome(&mut self, link: LinkId, reference: Option<u64>, slot: u32, resumed: bool) {
        // Clients that recover know by the same secret that they have.
        let is_kept = resumed && self.replays.has(slot);
        let fresh = (!is_kept).then(|| Secret(self.random_u128()));
        let can_resume = self.takes_back(link);
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let secret = fresh.unwrap_or(session.secret);
        session.secret = secret;
        session.can_resume = can_resume;
        let rooms: Vec<_> = session.seats.iter().map(|seat| seat.name.to_string()).collect();
        let sender = Arc::clone(&session.sender);
        let reply = Reply::Welcome {
            session: sender.session,
            user: sender.user.as_deref(),
            resume: secret,
            resumed,
            rooms: &rooms,
            ping_ms: limits.ping_ms,
            limits: SessionLimits {
                message_bytes: limits.message_bytes as u64,
                rooms: limits.rooms_per_session,
                resume_ms: limits.resume_ms,
            },
        };
        let format = self.links.get(link).map(|link| link.format);
        let offset = format.and_then(|format| self.replays.mark(format, false).offset);
        self.links.reply_with(&mut self.counters, link, reference, &reply, offset);
        if session.logged {
            self.log_session(slot);
        }
    }

    /// The session's link is lost: it keeps its seats for a while, if somebody could resume it.
    pub(super) fn drop_session(&mut self, slot: u32, loss: LinkLoss) {
        let limits = &self.config.limits;
        let shards = u64::from(self.shard_count());
        let room_left =
            self.counters.sessions_dropped < u64::from(limits.sessions_dropped) / shards;
        let resume_ms = limits.resume_ms;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        if !session.can_resume || resume_ms == 0 || !room_left {
            let reason = match loss {
                LinkLoss::Closed => LeaveReason::Left,
                LinkLoss::Broken | LinkLoss::Ended(_) => LeaveReason::Lost,
            };
            return self.end_session(slot, reason);
        }
        session.link = None;
        self.give_up_calls_to(slot);
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        session.drops = session.drops.wrapping_add(1);
        let deadline = Deadline::SessionEnds { session: session.key, drop: session.drops };
        self.timers.set(self.now.plus(resume_ms), deadline);
        self.counters.sessions_dropped += 1;
        if !self.replays.has(slot) {
            self.tell_user_session(slot, false);
        }
        self.seats_change_link(slot, None);
        self.tell_all_homes(slot, || RoomOp::Drop);
    }

    pub(super) fn on_session_ends(&mut self, key: SessionKey, drop: u32) {
        let session = self.session_at(key);
        if session.is_some_and(|session| session.link.is_none() && session.drops == drop) {
            self.end_session(key.slot, LeaveReason::Lost);
        }
    }

    /// The session is over: all seats are given up.
    pub(super) fn end_session(&mut self, slot: u32, reason: LeaveReason) {
        if !self.sessions.contains(slot as usize) {
            return;
        }
        self.give_up_calls_to(slot);
        let session = &self.sessions[slot as usize];
        if !self.is_left_behind(slot, session.sender.session) {
            self.tell_session_ended(slot, reason);
        }
        self.quiet_all_seats(slot);
        self.tell_all_homes(slot, || RoomOp::Leave { reason, data: None });
        let is_away = self.sessions[slot as usize].link.is_none();
        if !is_away || self.replays.has(slot) {
            self.tell_user_session(slot, false);
        }
        self.counters.sessions_dropped -= u64::from(is_away);
        self.replays.end(slot);
        let session = self.sessions.remove(slot as usize);
        let id = session.sender.session;
        // One that was given away may be back under another slot.
        if self.session_by_id.get(&id) == Some(&slot) {
            self.session_by_id.remove(&id);
            if session.logged {
                self.log_state(Record::SessionEnded { session: id });
            }
        }
        self.counters.sessions -= 1;
        if let Some(link) = session.link.and_then(|link| self.links.get_mut(link))
            && link.session == Some(slot)
        {
            link.session = None;
        }
        self.shrink_tables();
    }

    fn tell_all_homes(&mut self, slot: u32, op: impl Fn() -> RoomOp) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let caller = session.caller(ReplyTo::Nobody);
        let seats: Vec<_> =
            session.seats.iter().map(|seat| (seat.name.clone(), seat.namespace)).collect();
        for (room, namespace) in seats {
            self.send_to_room(namespace, room, caller.clone(), op());
        }
    }

    pub(super) fn tell_user_session(&mut self, slot: u32, here: bool) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        let Some(user) = session.sender.user.clone() else { return };
        let (namespace, key) = (session.namespace, session.key);
        let home = self.home_of_user(namespace, &user);
        self.send_home(home, Word::UserSession { namespace, user, session: key, here });
    }
}

fn invalid_name(error: NameError) -> Refusal {
    Refusal::new(ErrorCode::InvalidName, error.to_string())
}

/// One text for all causes: whether a session exists is nobody else's business.
fn cannot_resume() -> Refusal {
    let text = "the session is over or not yours; say `hello` without `resume`";
    Refusal::new(ErrorCode::CannotResume, text)
}
