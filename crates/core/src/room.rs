//! A room at its home: who has a seat, what was said, and in which order.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use roomcast_wire::options::{NameRule, PresenceRule, PublishRule};
use roomcast_wire::push::{Event, LeaveReason, MemberInfo, Sender};
use roomcast_wire::reply::Recovery;
use roomcast_wire::{
    Epoch, ErrorCode, EventName, Name, Payload, Position, Refusal, RoomOptions, SessionId,
};

use crate::bounds::Bounds;
use crate::durable::Durable;
use crate::envelope::JoinRights;
use crate::history::History;
use crate::io::{Now, RoomState, ShardId};
use crate::key::{FullName, RoomKey, SessionKey};
use crate::logic::Said;
use crate::logic::running::Running;
use crate::names::Names;
use crate::rate::Rate;
use crate::repeats::{Keys, owned_key};

/// A room at its home. What a publish needs comes first, in as few cache lines as it fits.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Room {
    pub key: RoomKey,
    pub namespace: u16,
    pub flush_is_set: bool,
    pub counts_are_set: bool,
    pub(crate) offset: u64,
    /// How many of the events up to `offset` could be dropped.
    pub(crate) unreliable: u64,
    pub epoch: Epoch,
    /// Deliveries gathered since the last flush.
    pub gathered: Vec<Delivery>,
    // The second cache line.
    /// Where its receivers on this shard stood at the last delivery.
    pub audience: Option<u32>,
    /// What the room does beside relaying.
    pub logic: Option<Box<Running>>,
    pub(crate) bounds: Bounds,
    /// As many as `members` has.
    seated: u32,
    /// Members are held by other shards than the home.
    has_others: bool,
    pub history: History,
    // From here on: what few publications need.
    rate_events: Rate,
    rate_bytes: Rate,
    /// How many members each shard holds.
    shards: Vec<(ShardId, u32)>,
    members: HashMap<SessionId, Member, FixedState>,
    pub options: RoomOptions,
    pub name: FullName,
    /// Never removed by itself.
    pub permanent: bool,
    /// A deadline looks whether the room has been empty for long enough.
    pub end_set: Option<Now>,
    /// Counts lost links of members: the end of one drop's window must not end a later seat of the
    /// same session.
    drops: u32,
    seats_given: u64,
    /// Sessions of each user, so that several sessions count as one user.
    users: HashMap<Name, u32, FixedState>,
    anonymous: u32,
    names: Names,
    pub(crate) keys: Keys,
    /// When the last member left, while nobody is in it.
    pub emptied: Option<Now>,
    /// What of it waits for the log, if it has one.
    pub durable: Option<Box<Durable>>,
}

/// A session's place in a room.
#[derive(Debug)]
pub(crate) struct Member {
    pub key: SessionKey,
    pub sender: Arc<Sender>,
    pub data: Option<Payload>,
    /// The number of its drop, if its link is lost.
    pub dropped: Option<u32>,
    pub seat: u64,
}

/// One thing for all receivers of a room.
#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    Event {
        event: Arc<Event>,
        except: Option<SessionKey>,
    },
    /// What only some members hear.
    Told {
        event: Arc<Event>,
        to: Box<[SessionKey]>,
    },
    Joined {
        member: Arc<MemberInfo>,
        except: SessionKey,
    },
    Left {
        from: Arc<Sender>,
        reason: LeaveReason,
        data: Option<Payload>,
    },
    Dropped {
        from: Arc<Sender>,
        except: SessionKey,
    },
    Resumed {
        from: Arc<Sender>,
        except: SessionKey,
    },
    Counts {
        members: u32,
        users: u32,
    },
}

/// What somebody wants to say in a room.
#[derive(Debug)]
pub(crate) struct Publication {
    pub name: EventName,
    pub payload: Option<Payload>,
    pub from: Option<Arc<Sender>>,
    pub reliable: bool,
    pub key: Option<Box<str>>,
    /// Who does not receive its own event.
    pub except: Option<SessionKey>,
}

impl Room {
    pub fn new(
        key: RoomKey,
        (namespace, name): (u16, FullName),
        options: RoomOptions,
        epoch: Epoch,
        hasher: &FixedState,
    ) -> Self {
        Self {
            key,
            name,
            namespace,
            history: History::new(options.history),
            bounds: Bounds::new(&options),
            options,
            seated: 0,
            has_others: false,
            permanent: false,
            epoch,
            offset: 0,
            unreliable: 0,
            members: HashMap::with_hasher(hasher.clone()),
            seats_given: 0,
            drops: 0,
            users: HashMap::with_hasher(hasher.clone()),
            anonymous: 0,
            names: Names::default(),
            shards: Vec::new(),
            keys: Keys::new(hasher),
            rate_events: Rate::default(),
            rate_bytes: Rate::default(),
            gathered: Vec::new(),
            audience: None,
            flush_is_set: false,
            counts_are_set: false,
            emptied: None,
            end_set: None,
            logic: None,
            durable: None,
        }
    }

    /// Whether a session may publish; `seated`: it is known to have a seat.
    ///
    /// # Errors
    /// The refusal. A room that is not there is refused with the same words (threat S25).
    pub fn may_publish(
        &self,
        session: Option<SessionId>,
        admin: bool,
        seated: bool,
    ) -> Result<(), Refusal> {
        let is_member = || session.is_some_and(|session| self.members.contains_key(&session));
        debug_assert!(!seated || is_member(), "a seat and its room say different things");
        match self.bounds.publish {
            _ if admin => Ok(()),
            PublishRule::Anyone => Ok(()),
            _ if !(seated || is_member()) => Err(not_a_member()),
            PublishRule::Members => Ok(()),
            PublishRule::Server => Err(Refusal::new(
                ErrorCode::PublishNotAllowed,
                "only the server publishes in this room (`publish = \"server\"`)",
            )),
        }
    }

    /// Makes a publication: [`Room::admit`], then [`Room::place`].
    ///
    /// # Errors
    /// Too large, or too much at once.
    pub fn publish(
        &mut self,
        now: Now,
        mut publication: Publication,
        limits: (u64, u32),
    ) -> Result<Option<Position>, Refusal> {
        let (key_ms, keys_max) = limits;
        match self.admit(now, &mut publication, key_ms)? {
            Some(known) => Ok(known),
            None => Ok(Some(self.place(now, publication, keys_max))),
        }
    }

    /// Checks what bounds say about a publication, and makes its key the room's. If the key is
    /// known: the position it had, if it got one.
    ///
    /// # Errors
    /// Too large, or too much at once.
    pub fn admit(
        &mut self,
        now: Now,
        publication: &mut Publication,
        key_ms: u64,
    ) -> Result<Option<Option<Position>>, Refusal> {
        let len = publication.payload.as_ref().map_or(0, |payload| payload.bytes().len());
        if len > self.bounds.payload_max as usize {
            return Err(self.too_large(len));
        }
        if let Some(key) = publication.key.take() {
            let key = owned_key(publication.from.as_deref(), &key);
            if let Some(offset) = self.keys.find(now, &key, key_ms) {
                let position = Position { epoch: self.epoch, offset };
                return Ok(Some((offset > 0).then_some(position)));
            }
            publication.key = Some(key);
        }
        self.charge(now, len)?;
        Ok(None)
    }

    #[cold]
    fn too_large(&self, len: usize) -> Refusal {
        let most = self.options.payload_max;
        let text = format!("the payload has {len} bytes, this room takes {most} (`payload_max`)");
        Refusal::new(ErrorCode::PayloadTooLarge, text)
    }

    /// Gives a publication its position, keeps it in history and gathers it for delivery.
    pub fn place(&mut self, now: Now, publication: Publication, keys_max: u32) -> Position {
        self.offset += 1;
        self.unreliable += u64::from(!publication.reliable);
        let position = self.position();
        if let Some(key) = publication.key {
            self.keys.keep(now, key, position.offset, keys_max as usize);
        }
        let keeps = self.bounds.keeps && publication.reliable;
        let payload = match publication.payload {
            Some(payload) if keeps || self.waits() => Some(payload.detached()),
            payload => payload,
        };
        let event = Arc::new(Event {
            name: publication.name,
            payload,
            from: publication.from,
            position: Some(position),
            reliable: publication.reliable,
            unreliable: self.unreliable,
        });
        if keeps {
            self.history.push(now, &event);
        } else if publication.reliable {
            self.history.pass_over(position.offset);
        }
        self.gathered.push(Delivery::Event { event, except: publication.except });
        position
    }

    /// Remembers the key of a publication that got no position.
    pub fn remember(&mut self, now: Now, publication: &mut Publication, keys_max: u32) {
        if let Some(key) = publication.key.take() {
            self.keys.keep(now, key, 0, keys_max as usize);
        }
    }

    /// An event that only some hear: outside the order of what all hear.
    pub fn aside(&self, said: Said) -> Arc<Event> {
        let Said { name, data, from } = said;
        let payload = match data {
            Some(payload) if self.waits() => Some(payload.detached()),
            payload => payload,
        };
        Arc::new(Event { name, payload, from, position: None, reliable: true, unreliable: 0 })
    }

    /// Whether deliveries wait for more than the end of the turn.
    fn waits(&self) -> bool {
        self.bounds.merges || (self.bounds.ticks && self.logic.is_none())
    }

    /// When what was gathered is to be delivered; none: at the end of the turn.
    #[inline]
    pub fn delivery_at(&self, now: Now) -> Option<Now> {
        if !self.waits() {
            return None;
        }
        Some(match u64::from(self.delivery_tick_ms()) {
            0 => now.plus(self.options.merge_ms.into()),
            // Ticks are multiples of the period, so that they do not drift.
            tick_ms => now.plus(tick_ms - now.0 % tick_ms),
        })
    }

    /// Whether a sender hears its own events, if it does not say.
    pub fn echoes(&self) -> bool {
        self.bounds.echo
    }

    /// The period at whose ticks deliveries are made; 0: not so. A logic has the ticks for itself.
    fn delivery_tick_ms(&self) -> u32 {
        if self.logic.is_some() { 0 } else { self.options.tick_ms }
    }

    /// Changes the options, all but those that were used up when the room was made.
    pub fn set_options(&mut self, now: Now, options: RoomOptions) {
        let old = std::mem::replace(&mut self.options, options);
        self.options.slow = old.slow;
        self.options.durable = old.durable;
        self.options.logic = old.logic;
        self.options.logic_config = old.logic_config;
        self.history.set_options(now, self.options.history);
        self.bounds = Bounds::new(&self.options);
    }

    fn charge(&mut self, now: Now, len: usize) -> Result<(), Refusal> {
        let limited = |retry_ms| Refusal {
            code: ErrorCode::RateLimited,
            message: "this room hears too much at once (`rate`)".into(),
            retry_ms: Some(retry_ms),
        };
        let Bounds { events_per_s, fanout_bytes_per_s, .. } = self.bounds;
        if events_per_s > 0 {
            self.rate_events.try_charge(now, events_per_s.into(), 1).map_err(limited)?;
        }
        if fanout_bytes_per_s == 0 {
            return Ok(());
        }
        let bytes = len as u64 * u64::from(self.seated);
        self.rate_bytes.try_charge(now, fanout_bytes_per_s, bytes).map_err(limited)
    }

    /// Gives a session a seat. `false`: it has one already.
    ///
    /// # Errors
    /// Full, or its display name is taken.
    pub fn seat(
        &mut self,
        key: SessionKey,
        sender: &Arc<Sender>,
        data: Option<Payload>,
        rights: JoinRights,
    ) -> Result<bool, Refusal> {
        self.check_name(sender, rights.needs_own_name)?;
        if self.members.contains_key(&sender.session) {
            self.move_member(sender.session, key);
            return Ok(false);
        }
        if self.members.len() >= self.options.members_max as usize {
            let most = self.options.members_max;
            return Err(Refusal::new(
                ErrorCode::RoomFull,
                format!("the room has {most} members, as many as it may have (`members_max`)"),
            ));
        }
        self.take_in(key, sender, data, self.seats_given + 1);
        Ok(true)
    }

    /// Gives a seat without a look at the rules.
    pub fn take_in(
        &mut self,
        key: SessionKey,
        sender: &Arc<Sender>,
        data: Option<Payload>,
        seat: u64,
    ) {
        self.names.add(sender.name.as_ref());
        self.seats_given = self.seats_given.max(seat);
        self.count_user(sender, true);
        self.count_shard(key.shard, true);
        let data = data.map(|data| data.detached());
        let member = Member { key, sender: Arc::clone(sender), data, dropped: None, seat };
        self.members.insert(sender.session, member);
        // `members_max` is at most 1,000,000.
        self.seated = self.members.len() as u32;
        self.emptied = None;
    }

    /// Looks whether the sender may be called as it is, in a room whose names are unique, or by a
    /// client to whom a name says who speaks (`needs_own_name`).
    fn check_name(&mut self, sender: &Sender, needs_own_name: bool) -> Result<(), Refusal> {
        let own = self.members.contains_key(&sender.session);
        let is_unique = self.options.names == NameRule::Unique && !own;
        if !is_unique && !needs_own_name {
            return Ok(());
        }
        self.count_names();
        match &sender.name {
            Some(name) => self.names.check_is_free(name, own.into()),
            None if is_unique => Err(Refusal::new(
                ErrorCode::NameTaken,
                "members of this room need names of their own: give one as the session begins",
            )),
            None => Ok(()),
        }
    }

    fn count_names(&mut self) {
        let members = self.members.values();
        self.names.count(self.members.hasher(), members.map(|member| member.sender.name.as_ref()));
    }

    /// A member's session has moved.
    pub fn move_member(&mut self, session: SessionId, key: SessionKey) {
        let Some(member) = self.members.get_mut(&session) else { return };
        let before = std::mem::replace(&mut member.key, key).shard;
        if before != key.shard {
            self.count_shard(before, false);
            self.count_shard(key.shard, true);
        }
    }

    /// Takes a session's seat away.
    pub fn unseat(&mut self, session: SessionId) -> Option<Member> {
        let member = self.members.remove(&session)?;
        self.seated = self.members.len() as u32;
        self.names.remove(member.sender.name.as_ref());
        self.count_user(&member.sender, false);
        self.count_shard(member.key.shard, false);
        Some(member)
    }

    /// Marks a member as dropped; returns the number of this drop, none if it was dropped already.
    pub fn drop_member(&mut self, session: SessionId) -> Option<u32> {
        let member = self.members.get_mut(&session).filter(|member| member.dropped.is_none())?;
        self.drops = self.drops.wrapping_add(1);
        member.dropped = Some(self.drops);
        member.dropped
    }

    /// Marks a dropped member as back; `false` if it was not dropped.
    pub fn resume_member(&mut self, session: SessionId) -> bool {
        let member = self.members.get_mut(&session);
        member.is_some_and(|member| member.dropped.take().is_some())
    }

    pub fn member(&self, session: SessionId) -> Option<&Member> {
        self.members.get(&session)
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub fn member_count(&self) -> u32 {
        self.seated
    }

    pub fn user_count(&self) -> u32 {
        self.users.len() as u32 + self.anonymous
    }

    /// The members in the order of joining, `most` of them; whether there are more.
    pub fn member_list(&self, most: usize) -> (Vec<MemberInfo>, bool) {
        let mut members: Vec<_> = self.members.values().collect();
        members.sort_unstable_by_key(|member| member.seat);
        let more = members.len() > most;
        (members.into_iter().take(most).map(Member::info).collect(), more)
    }

    /// The sessions a name stands for: a session's id, or a user's.
    pub fn find(&self, target: &str) -> Vec<SessionId> {
        if let Ok(session) = target.parse()
            && self.members.contains_key(&session)
        {
            return vec![session];
        }
        let of_user = |member: &&Member| member.sender.user.as_deref() == Some(target);
        self.members.values().filter(of_user).map(|member| member.sender.session).collect()
    }

    /// What it is like, for the server's own code.
    pub fn state(&self) -> RoomState {
        RoomState {
            options: self.options.clone(),
            permanent: self.permanent,
            creator: self.logic.as_ref().and_then(|running| running.creator),
            members: self.member_count(),
            position: self.position(),
        }
    }

    /// The shards that hold members.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        self.shards.iter().map(|&(shard, _)| shard)
    }

    /// Whether all members are held by the home's own shard.
    pub fn is_local(&self) -> bool {
        !self.has_others
    }

    /// Whether members hear who comes and goes.
    pub fn tells_members(&self) -> bool {
        self.options.presence == PresenceRule::Members
    }

    /// What was said since, if it is asked for and may be repeated, and whether that is all.
    pub fn missed(
        &mut self,
        now: Now,
        since: Option<Position>,
        allowed: bool,
    ) -> (Option<Recovery>, Vec<Arc<Event>>) {
        match since {
            None => (None, Vec::new()),
            Some(_) if !allowed => (Some(Recovery::Forbidden), Vec::new()),
            Some(since) => {
                let (recovery, missed) = self.history.since(now, since, self.position());
                (Some(recovery), missed)
            }
        }
    }

    /// When the room ends if nobody comes.
    pub fn ends_at(&self, emptied: Now) -> Now {
        emptied.plus(self.options.ttl_s.saturating_mul(1_000))
    }

    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.offset }
    }

    fn count_user(&mut self, sender: &Sender, seated: bool) {
        match (&sender.user, seated) {
            (None, true) => self.anonymous += 1,
            (None, false) => self.anonymous -= 1,
            (Some(user), true) => *self.users.entry(user.clone()).or_insert(0) += 1,
            (Some(user), false) => {
                if let Some(sessions) = self.users.get_mut(user) {
                    *sessions -= 1;
                    if *sessions == 0 {
                        self.users.remove(user);
                    }
                }
            }
        }
    }

    fn count_shard(&mut self, shard: ShardId, seated: bool) {
        let at = self.shards.iter().position(|&(known, _)| known == shard);
        match (at, seated) {
            (Some(at), true) => self.shards[at].1 += 1,
            (None, true) => self.shards.push((shard, 1)),
            (Some(at), false) => {
                self.shards[at].1 -= 1;
                if self.shards[at].1 == 0 {
                    self.shards.swap_remove(at);
                }
            }
            (None, false) => {}
        }
        self.has_others = self.shards.iter().any(|&(shard, _)| shard != self.key.home);
    }
}

impl Member {
    pub fn info(&self) -> MemberInfo {
        MemberInfo {
            sender: Arc::clone(&self.sender),
            data: self.data.clone(),
            dropped: self.dropped.is_some(),
        }
    }
}

/// The words for a room one is not in, whether it is there or not.
pub(crate) fn not_a_member() -> Refusal {
    Refusal::new(ErrorCode::NotAMember, "you have no seat in this room: send `join` first")
}

/// The words for who may know that a room is not there.
pub(crate) fn no_such_room() -> Refusal {
    let text = "there is no such room: it is there once somebody joins it, or `create` makes it";
    Refusal::new(ErrorCode::NoSuchTarget, text)
}
