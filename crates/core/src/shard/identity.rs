//! Who a session is, what it may do, and for how long.

use std::sync::Arc;

use roomcast_wire::push::{ClosedReason, LeaveReason};
use roomcast_wire::{CloseCode, ErrorCode, Name, Push, Refusal, Reply};
use subtle::ConstantTimeEq;

use super::Shard;
use super::commands::{Asker, gone};
use crate::config::NamespaceConfig;
use crate::envelope::{Caller, RoomOp, Word};
use crate::hook::Refresh;
use crate::io::{LinkId, Now, Revoked};
use crate::key::{ReplyTo, SessionKey};
use crate::rights::{Grants, Identity, Right, Rule, RulesOf};
use crate::session::{Rights, Session};
use crate::timers::Deadline;

/// How long a session's expiry is waited for at a time, in milliseconds. Tokens last for hours: a
/// deadline for all of it would stay in the heap long after its session has ended.
const LOOK_MS: u64 = 60_000;

/// What a token that was not accepted costs, in commands: checking a signature takes some 50 µs.
const FAILED_TOKEN_COMMANDS: u64 = 50;

impl Shard {
    /// Whom a token stands for on a listener of `namespace`; without one, what is allowed to
    /// sessions without one.
    ///
    /// # Errors
    /// A token is required, or this one stands for nobody.
    pub(super) fn identify(
        &self,
        namespace: u16,
        token: Option<&str>,
    ) -> Result<Identity, Refusal> {
        let Some(token) = token else {
            if self.policy(namespace).anonymous {
                return Ok(Identity { grants: self.anonymous.clone(), ..Identity::default() });
            }
            let text = "this server wants a key: begin with \
                        {\"type\":\"hello\",\"ref\":1,\"token\":\"…\"}";
            return Err(Refusal::new(ErrorCode::TokenRequired, text));
        };
        // Every key is compared, in constant time each: how long it takes tells nothing.
        let mut found = None;
        for grant in &self.config.keys {
            if bool::from(grant.key.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(grant);
            }
        }
        if let Some(grant) = found {
            let (user, admin, grants) = (grant.user.clone(), grant.admin, grant.grants.clone());
            let identity = Identity { user, admin, grants, ..Identity::default() };
            // A key has no date: what is revoked of its user is older than any moment.
            self.check_identity(&identity)?;
            return Ok(identity);
        }
        let Some(known) = &self.config.authenticate else {
            return Err(invalid_token("the token is not one of this server's keys"));
        };
        let identity = known.authenticate(self.now, self.namespace_name(namespace), token)?;
        self.check_identity(&identity)?;
        Ok(identity)
    }

    pub(super) fn check_identity(&self, identity: &Identity) -> Result<(), Refusal> {
        let latest = self.now.plus(self.config.limits.token_ms);
        match identity.expires {
            Some(expires) if expires <= self.now => {
                return Err(invalid_token("the token has expired: get a new one"));
            }
            // Else a revocation could be forgotten while the token is still good.
            Some(expires) if expires > latest => {
                return Err(invalid_token("the token lasts longer than `limits.token_ms` allows"));
            }
            _ => {}
        }
        if self.revocations.hit(identity) {
            return Err(invalid_token("the token was revoked"));
        }
        Ok(())
    }

    /// A token that was not accepted counts for many commands: above the rate the link is not read.
    pub(super) fn charge_failed_token(&mut self, link: LinkId, refusal: &Refusal) {
        if refusal.code != ErrorCode::InvalidToken {
            return;
        }
        let per_second = self.config.limits.commands_per_s.into();
        let now = self.now;
        let Some(entry) = self.links.get_mut(link) else { return };
        if let Some(until) = entry.commands.charge(now, per_second, FAILED_TOKEN_COMMANDS) {
            self.pause(link, until);
        }
    }

    /// Whether a session may do this in a room of a namespace; `room` is its own name, none for
    /// rights of the namespace. Decided before the room is looked for: the answer and its time are
    /// the same whether or not it is there (threat S25).
    ///
    /// # Errors
    /// The rule that refuses.
    pub(super) fn check_right(
        &self,
        slot: u32,
        right: Right,
        namespace: u16,
        room: Option<&str>,
    ) -> Result<(), Refusal> {
        let session = self.sessions.get(slot as usize);
        let Some(rights) = session.and_then(|session| session.rights.as_deref()) else {
            return Ok(());
        };
        if rights.expires.is_some_and(|expires| expires <= self.now) {
            return Err(invalid_token("the token has expired: get a new one"));
        }
        let Some(grants) = &rights.grants else { return Ok(()) };
        grants.check(right, self.namespace_name(namespace), room)
    }

    /// A session without a token stays out of namespaces that want one.
    pub(super) fn check_namespace(&self, slot: u32, namespace: u16) -> Result<(), Refusal> {
        let session = self.sessions.get(slot as usize).ok_or_else(gone)?;
        // The commonest first; the last two are not in the session's own cache line.
        if namespace == session.namespace
            || session.admin
            || session.sender.user.is_some()
            || self.policy(namespace).anonymous
        {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::TokenRequired,
            "this namespace wants a token: as that of `hello`, or of `auth` with Socket.IO",
        ))
    }

    pub(super) fn need_admin(&self, slot: u32) -> Result<(), Refusal> {
        if self.sessions.get(slot as usize).is_some_and(|session| session.admin) {
            return Ok(());
        }
        let text = "this needs a session that began with an admin's key or token";
        Err(Refusal::new(ErrorCode::Forbidden, text))
    }

    pub(super) fn has_right(&self, slot: u32, right: Right, namespace: u16, room: &str) -> bool {
        self.check_right(slot, right, namespace, Some(room)).is_ok()
    }

    pub(super) fn namespace_name(&self, namespace: u16) -> &str {
        self.namespaces.get(usize::from(namespace)).map_or("default", |(name, _)| name.as_str())
    }

    /// Gives a session what a token says, and takes away the seats that it does not cover.
    /// `told`: whether the client hears of each.
    pub(super) fn take_up(&mut self, slot: u32, identity: &Identity, told: bool) {
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        session.rights = Rights::of(identity);
        self.watch_expiry(slot);
        self.end_uncovered_seats(slot, told);
    }

    fn end_uncovered_seats(&mut self, slot: u32, told: bool) {
        let Some(session) = self.sessions.get(slot as usize) else { return };
        if session.rights.is_none() {
            return;
        }
        let caller = session.caller(ReplyTo::Nobody);
        let uncovered = session.seats.iter().filter(|seat| {
            let room = self.own_name(seat.namespace, &seat.name);
            !seat.invited && !self.has_right(slot, Right::Join, seat.namespace, room)
        });
        let names: Vec<_> = uncovered.map(|seat| seat.name.clone()).collect();
        for name in names {
            let Some(session) = self.sessions.get_mut(slot as usize) else { return };
            let Some(at) = session.seats.iter().position(|seat| seat.name == name) else {
                continue;
            };
            let seat = session.seats.swap_remove(at);
            self.leave_place(seat.place);
            if told {
                let push = Push::RoomClosed { room: &name, reason: ClosedReason::Revoked };
                self.push_to(slot, &push, true);
            }
            let (namespace, caller) = (seat.namespace, caller.clone());
            self.send_to_room(namespace, name, caller, RoomOp::Unseat);
        }
    }

    /// The shard of the session has taken its seat away already; one still on its way to it
    /// is closed there.
    pub(super) fn unseat_op(&mut self, slot: Option<u32>, caller: &Caller) {
        let Some((slot, session)) = slot.zip(caller.id()) else { return };
        let room = self.rooms[slot as usize].key;
        self.flush_room(slot);
        if let Some(member) = self.unseat(slot, session, LeaveReason::Kicked, None) {
            let reason = Some(ClosedReason::Revoked);
            let closed = Word::SeatClosed { session: member.key, room, reason };
            self.send(member.key.shard, closed);
        }
    }

    /// Sees to it that the session's link is closed when its token ends.
    pub(super) fn watch_expiry(&mut self, slot: u32) {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(slot as usize) else { return };
        let session_key = session.key;
        let Some(rights) = session.rights.as_deref_mut() else { return };
        let Some(expires) = rights.expires else { return };
        let at = expires.min(now.plus(LOOK_MS));
        rights.looked_at = Some(at);
        self.timers.set(at, Deadline::TokenEnds { session: session_key, at });
    }

    pub(super) fn on_token_ends(&mut self, key: SessionKey, at: Now) {
        let now = self.now;
        let Some(session) = self.session_at(key) else { return };
        // A dropped session shows a token when it comes back.
        let Some(link) = session.link else { return };
        let Some(rights) = session.rights.as_deref_mut() else { return };
        if rights.looked_at != Some(at) {
            return;
        }
        if rights.expires.is_some_and(|expires| expires <= now) {
            let message = "the token has expired: get a new one, then resume with it";
            return self.close_link(link, CloseCode::TokenExpired, message, None);
        }
        self.watch_expiry(key.slot);
    }

    /// What becomes of a session by a new token, for the application to think about.
    ///
    /// # Errors
    /// The session is gone.
    pub(super) fn refresh_question(&self, asker: Asker, token: &str) -> Result<Refresh, Refusal> {
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        let rights = session.rights.as_deref();
        let grants = rights.and_then(|rights| rights.grants.clone());
        let (mut identity, refusal) = match self.identify(session.namespace, Some(token)) {
            Ok(identity) => (identity, None),
            Err(refusal) => {
                let (user, admin) = (session.sender.user.clone(), session.admin);
                let grants = grants.clone();
                (Identity { user, admin, grants, ..Identity::default() }, Some(refusal))
            }
        };
        let token_grants = identity.grants.clone().filter(|_| refusal.is_none());
        if rights.is_some_and(|rights| rights.of_hook) {
            identity.admin = session.admin;
            identity.grants = grants;
        }
        Ok(Refresh {
            from: Arc::clone(&session.sender),
            namespace: self.namespaces[usize::from(session.namespace)].0.clone(),
            token: token.into(),
            refusal,
            granted: false,
            identity,
            token_grants,
        })
    }

    /// A new token of the same user: rights and their end are those of the new one from now on,
    /// but for rules that a hook gave.
    pub(super) fn refresh_command(&mut self, asker: Asker, token: &str) -> Result<(), Refusal> {
        let mut asked = self.refresh_question(asker, token)?;
        let (refusal, token_grants) = (asked.refusal.take(), asked.token_grants.take());
        self.refresh_held(asker, asked, refusal, token_grants)
    }

    /// The application has thought about it.
    pub(super) fn refresh_held(
        &mut self,
        asker: Asker,
        refresh: Refresh,
        refusal: Option<Refusal>,
        token_grants: Option<Arc<Grants>>,
    ) -> Result<(), Refusal> {
        let Refresh { granted, identity, .. } = refresh;
        if let Some(refusal) = refusal.filter(|_| !granted) {
            self.charge_failed_token(asker.link, &refusal);
            return Err(refusal);
        }
        self.check_identity(&identity)?;
        let session = self.sessions.get(asker.slot as usize).ok_or_else(gone)?;
        if !is_same_user(session, &identity) {
            return Err(invalid_token("the token is another user's: connect anew with it"));
        }
        let rights = session.rights.as_deref();
        let kept = rights.is_some_and(|old| old.of_hook && old.grants == identity.grants);
        let of_hook = kept || identity.grants != token_grants;
        if asker.reference.is_some() {
            let done = Reply::Ok { position: None, delivered: None };
            self.links.reply(&mut self.counters, asker.link, asker.reference, &done);
        }
        self.take_up(asker.slot, &identity, true);
        if let Some(session) = self.sessions.get_mut(asker.slot as usize) {
            session.set_of_hook(of_hook);
        }
        Ok(())
    }

    /// Ends what a revocation is about on this shard, and keeps it for tokens that come later.
    /// How many sessions ended, and whether it could be kept.
    pub(super) fn revoke_part(&mut self, revoked: &Revoked) -> (u32, bool) {
        let limits = &self.config.limits;
        let (token_ms, most) = (limits.token_ms, limits.revocations as usize);
        let kept = self.revocations.keep(self.now, revoked, token_ms, most);
        let hit = self.sessions.iter().filter(|(_, session)| is_hit(session, revoked));
        let slots: Vec<_> = hit.map(|(slot, session)| (slot as u32, session.link)).collect();
        for &(slot, link) in &slots {
            match link {
                Some(link) => {
                    let message = "the right to be here was revoked";
                    self.close_link(link, CloseCode::Unauthorized, message, None);
                }
                None => self.end_session(slot, LeaveReason::Kicked),
            }
        }
        (slots.len() as u32, kept)
    }
}

/// Whether a token stands for the one whose session this is.
pub(super) fn is_same_user(session: &Session, identity: &Identity) -> bool {
    identity.user == session.sender.user && identity.admin == session.admin
}

fn is_hit(session: &Session, revoked: &Revoked) -> bool {
    match revoked {
        Revoked::Session(id) => session.sender.session == *id,
        Revoked::User(user) => session.sender.user.as_ref() == Some(user),
        Revoked::Token(id) => {
            let rights = session.rights.as_deref();
            rights.and_then(|rights| rights.token_id.as_deref()) == Some(id.as_str())
        }
    }
}

fn invalid_token(text: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidToken, text)
}

/// What all sessions without a token are bound to: the rules of every namespace that has some, and
/// everything in the others. None if no namespace has any.
pub(super) fn anonymous_grants(namespaces: &[(Name, NamespaceConfig)]) -> Option<Arc<Grants>> {
    if namespaces.iter().all(|(_, policy)| policy.anonymous_grants.is_none()) {
        return None;
    }
    let rules = namespaces.iter().flat_map(|(name, policy)| match &policy.anonymous_grants {
        Some(rules) => rules.iter().map(|rule| rule.within(name)).collect(),
        None => vec![Rule::everything(name)],
    });
    Some(Arc::new(Grants::new(RulesOf::Anonymous, rules.collect())))
}
