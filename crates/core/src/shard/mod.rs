//! The hub of one core. This file holds the state and the turn; the work stands beside it:
//!
//! | file | what |
//! |---|---|
//! | `cluster.rs` | words to homes anywhere in a cluster |
//! | `awaited.rs` | answers that other nodes owe |
//! | `nodes.rs` | nodes come and go, partitions move, words are lost |
//! | `reseat.rs` | seats that homes are told of again |
//! | `given.rs` | sessions that are resumed on another node |
//! | `liveness.rs` | links come, go, fall silent; deadlines |
//! | `identity.rs` | who a session is, what it may do, for how long |
//! | `sessions.rs` | `hello`, resume, drop, end |
//! | `commands.rs` | what sessions ask, handed to where it is decided |
//! | `entry.rs` | `join`, `leave` and `create` on their way to the home |
//! | `home.rs` | what rooms homed here decide: seats |
//! | `making.rs` | how rooms are made at their home |
//! | `speech.rs` | what rooms homed here decide: publish, flush, lists |
//! | `logic.rs` | what rooms homed here do beside relaying |
//! | `seats.rs` | what homes tell the sessions held here |
//! | `direct.rs` | messages to sessions, users, namespaces; questions to all shards |
//! | `durable.rs` | what rooms homed here hand to the log, and what becomes of it |
//! | `restore.rs` | how a shard begins with what a log kept |
//! | `calls.rs` | what the server's own code asks |
//! | `dialogue.rs` | what clients ask of the application, and it of them |
//! | `hooks.rs` | commands that wait for the application |
//! | `telling.rs` | what happened, for the application |

mod awaited;
mod calls;
mod cluster;
mod commands;
mod dialogue;
mod direct;
mod durable;
mod entry;
mod given;
mod home;
mod hooks;
mod identity;
mod liveness;
mod logic;
mod making;
mod nodes;
mod reseat;
mod restore;
mod seats;
mod sessions;
mod speech;
mod telling;

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use roomcast_wire::{CloseCode, ErrorCode, Name, Refusal, RoomPath, SessionId};
use slab::Slab;

use self::cluster::Home;
pub(crate) use self::commands::AROUND_BYTES;
use self::dialogue::Dialogue;
use crate::audience::Audience;
use crate::config::{HubConfig, NamespaceConfig, Namespaces};
use crate::envelope::{Envelope, Word};
use crate::io::{Counters, Input, LinkId, Now, Output, ShardId};
use crate::key::{FullName, RoomKey, SessionKey};
use crate::links::Links;
use crate::outbox::Outbox;
use crate::record::Restored;
use crate::replay::Replays;
use crate::revocations::Revocations;
use crate::rights::Grants;
use crate::room::{Delivery, Room};
use crate::session::Session;
use crate::timers::Timers;

/// The hub of one core: the sessions whose links its worker holds, and the rooms homed on it.
pub struct Shard {
    config: Arc<HubConfig>,
    id: ShardId,
    now: Now,
    rng: ChaCha12Rng,
    /// Seeded: names come from the network (threat S23).
    hasher: FixedState,
    /// The same on all shards of a lone node: says where a room, a session, a user is at home.
    home_hasher: FixedState,
    namespaces: Namespaces,
    links: Links,
    replays: Replays,
    sessions: Slab<Session>,
    session_by_id: HashMap<SessionId, u32, FixedState>,
    /// The linked sessions of the users that are kept here, wherever they are held.
    users: HashMap<(u16, Name), Vec<SessionKey>, FixedState>,
    rooms: Slab<Room>,
    room_by_name: HashMap<FullName, u32, FixedState>,
    audiences: Slab<Audience>,
    audience_by_room: HashMap<RoomKey, u32, FixedState>,
    /// Sessions that ended since the tables were last made smaller.
    ended: usize,
    /// Counts sessions, rooms and audiences made, to tell a slot's uses apart.
    made: u32,
    dirty_rooms: Vec<u32>,
    /// Empty: memory for what the next room gathers.
    spare_gathered: Vec<Delivery>,
    queries: direct::Queries,
    dialogue: Dialogue,
    /// What rooms' logics are yet to be told.
    notices: VecDeque<(RoomKey, logic::Notice)>,
    timers: Timers,
    /// What is on its way to the log of durable rooms.
    log: durable::LogState,
    /// What sessions without a token are bound to.
    anonymous: Option<Arc<Grants>>,
    revocations: Revocations,
    /// Words to this very shard, in order.
    own: VecDeque<Word>,
    outputs: VecDeque<Output>,
    counters: Counters,
    draining: Option<u64>,
    /// None: the server is alone.
    cluster: Option<Box<cluster::Cluster>>,
}

impl Shard {
    /// A shard with nothing in it but the static rooms homed on it. Fewer than 1 shard in the
    /// configuration counts as 1; a namespace whose name is no valid [`Name`] is left out.
    pub fn new(config: Arc<HubConfig>, id: ShardId) -> Self {
        Self::restored(config, id, Now::default(), &Restored::default())
    }

    /// A shard that begins with those rooms and sessions of a log that are at home with it, and
    /// the static rooms as [`Shard::new`] has them. Every session is dropped: what it has is kept
    /// as long as after a lost link. All shards of a server must begin with the same.
    pub fn restored(config: Arc<HubConfig>, id: ShardId, now: Now, restored: &Restored) -> Self {
        let mut seeds = ChaCha12Rng::from_seed(config.home_seed.unwrap_or(config.seed));
        let home_hasher = FixedState::with_seed(seeds.next_u64());
        // Every shard draws from a stream of its own.
        let mut rng = ChaCha12Rng::from_seed(config.seed);
        rng.set_stream(u64::from(id.worker) + 1);
        let hasher = FixedState::with_seed(rng.next_u64());
        let namespaces = namespaces(&config);
        let mut shard = Self {
            id,
            now,
            home_hasher,
            anonymous: identity::anonymous_grants(&namespaces),
            revocations: Revocations::new(&hasher),
            links: Links::new(config.limits.outbox_bytes, Arc::clone(&namespaces)),
            replays: Replays::new(config.recovery, config.recovery.map_or(0, |_| rng.next_u64())),
            namespaces,
            sessions: Slab::new(),
            session_by_id: HashMap::with_hasher(hasher.clone()),
            users: HashMap::with_hasher(hasher.clone()),
            rooms: Slab::new(),
            room_by_name: HashMap::with_hasher(hasher.clone()),
            audiences: Slab::new(),
            audience_by_room: HashMap::with_hasher(hasher.clone()),
            ended: 0,
            made: 0,
            dirty_rooms: Vec::new(),
            spare_gathered: Vec::new(),
            queries: direct::Queries::default(),
            dialogue: Dialogue::default(),
            notices: VecDeque::new(),
            timers: Timers::default(),
            log: durable::LogState::default(),
            own: VecDeque::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            draining: None,
            cluster: config
                .in_cluster
                .then(|| Box::new(cluster::Cluster::new(config.home_seed.unwrap_or(config.seed)))),
            rng,
            hasher,
            config,
        };
        shard.restore(restored);
        shard.found_static_rooms();
        shard
    }

    /// Takes one input. Drain [`Shard::poll_output`] before the next.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.set_now(now);
        match input {
            Input::Opened { link, format, namespace } => self.on_opened(link, format, namespace),
            Input::Stays { link, format, namespace, message } => {
                self.on_stays(link, format, namespace, &message);
            }
            Input::Message { link, bytes } => self.on_message(link, &bytes),
            Input::Speaks { link, format } => self.on_speaks(link, format),
            Input::Alive { link } => self.on_alive(link),
            Input::Closed { link, loss } => self.on_closed(link, loss),
            Input::Envelope { from, envelope: Envelope(word) } => self.on_envelope(from, word),
            Input::Directory(directory) => self.on_directory(directory),
            Input::Lease { until } => self.on_lease(until),
            Input::NodeGone { node } => self.on_node_gone(node),
            Input::Disturbed { node } => self.on_disturbed(node),
            Input::Tick => self.on_tick(),
            Input::Drain { retry_ms_max } => self.on_drain(retry_ms_max),
            Input::Call { id, call } => self.on_call(id, call),
            Input::TaskDone { room, call, answer } => self.on_task_done(room, call, answer),
            Input::Log(news) => self.on_log(news),
            Input::Verdict { ticket, verdict } => self.on_verdict(ticket, verdict),
            Input::Answered { ticket, answer } => self.on_answered(ticket, answer),
        }
        self.settle();
    }

    /// What the worker must do, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Delivers what the turn has gathered. Drain [`Shard::poll_output`] and
    /// [`Shard::take_dirty`] after it.
    pub fn end_turn(&mut self, now: Now) {
        self.set_now(now);
        if self.cluster.is_some() {
            self.tell_moved();
        }
        let mut dirty = std::mem::take(&mut self.dirty_rooms);
        for slot in dirty.drain(..) {
            self.flush_room(slot);
        }
        self.settle();
        if self.dirty_rooms.is_empty() {
            // Keeps the allocation for the next turn.
            self.dirty_rooms = dirty;
        }
    }

    /// A link with something to write since it was last taken. Blocked links are not named.
    pub fn take_dirty(&mut self) -> Option<LinkId> {
        self.links.take_dirty()
    }

    /// The links that [`Shard::take_dirty`] is likely to name next, at most `most`.
    pub fn next_dirty(&self, most: usize) -> impl Iterator<Item = LinkId> {
        self.links.next_dirty(most)
    }

    /// To be called some time before a message of a link is handled, with what else is loaded for
    /// it: cache misses that do not need each other are waited for together.
    pub fn prefetch(&self, link: LinkId) {
        self.links.prefetch_speaker(link);
    }

    /// What waits for a link; none if the shard does not know it (any more).
    pub fn outbox(&mut self, link: LinkId) -> Option<&mut Outbox> {
        self.links.get_mut(link).map(|link| &mut link.outbox)
    }

    /// Tells whether the link could take no more at the last write (`true`), or can again: then it
    /// is dirty if something waits.
    pub fn set_blocked(&mut self, link: LinkId, blocked: bool) {
        self.links.set_blocked(link, blocked);
    }

    /// Largest message the link may send now, in bytes: smaller before `welcome`.
    pub fn message_bytes_max(&self, link: LinkId) -> usize {
        let limits = &self.config.limits;
        match self.links.get(link) {
            Some(link) if link.session.is_some() => {
                limits.message_bytes.min(link.format.message_bytes_max())
            }
            _ => limits.message_bytes_unknown_peer.min(limits.message_bytes),
        }
    }

    /// Whether the link has a session.
    pub fn has_session(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.session.is_some())
    }

    /// When [`Input::Tick`] is due, if ever.
    pub fn next_deadline(&self) -> Option<Now> {
        let due = [self.timers.next(), self.dialogue.next_deadline(), self.replays.next_deadline()];
        let of_cluster = self.cluster.as_ref().and_then(|cluster| cluster.next_deadline());
        due.into_iter().flatten().chain(of_cluster).min()
    }

    /// The counters as they stand.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn set_now(&mut self, now: Now) {
        self.now = self.now.max(now);
        self.replays.set_now(self.now);
    }

    /// Carries out what follows from an input within this shard.
    fn settle(&mut self) {
        loop {
            if !self.notices.is_empty() {
                self.tell_logics();
            } else if let Some(word) = self.own.pop_front() {
                self.on_word(word);
            } else if let Some(link) = self.links.overflowed.pop() {
                self.counters.slow_readers_total += 1;
                self.tell_slow_member(link);
                let message = "more waited for this link than the outbox may hold; read faster, \
                               or resume to recover";
                self.close_link(link, CloseCode::SlowReader, message, None);
            } else {
                break;
            }
        }
    }

    fn on_word(&mut self, word: Word) {
        if let Some(there) = self.forward_of(&word) {
            return self.send(there, word);
        }
        match word {
            Word::Room { room, namespace, caller, op } => {
                self.on_room_op(room, namespace, caller, op);
            }
            Word::Homed(homed) => self.on_homed(homed),
            Word::NotHome { at, fence, tries, word } => self.on_not_home(at, fence, tries, *word),
            Word::Echo { at, from } => self.on_echo(at, from),
            Word::Echoed { at, from } => self.on_echoed(at, from),
            Word::TakeSession { session, secret, namespace, to, number } => {
                self.on_take_session((session, secret), namespace, to, number);
            }
            Word::GivenSession { number, given } => {
                self.on_given_session(number, given.map(|given| *given));
            }
            Word::TellSeats { to } => self.on_tell_seats(to),
            Word::SeatsFollow { from } => self.on_seats_follow(from),
            Word::SeatsTold { from } => self.on_seats_told(from),
            Word::Answer { to, answer } => self.on_answer(to, answer),
            Word::Joined(joined) => self.on_joined(*joined),
            Word::JoinRefused { to, session, room, refusal } => {
                self.on_join_refused(to, session, &room, refusal);
            }
            Word::Left { to, session, room } => self.on_left(to, session, room),
            Word::SeatClosed { session, room, reason } => {
                self.on_seat_closed(session, room, reason);
            }
            Word::Deliver { room, members, deliveries } => {
                self.on_deliver(room, members, &deliveries);
            }
            Word::Direct { to, caller, message } => self.on_direct(to, caller, message),
            Word::DirectToUser { user, caller, message } => {
                self.on_direct_to_user(user, caller, message);
            }
            Word::Message { session, message } => {
                self.on_direct_message(session, &message);
            }
            Word::UserSession { namespace, user, session, here } => {
                self.on_user_session((namespace, user), session, here);
            }
            Word::Survey { query, from, survey } => self.on_survey(query, from, survey),
            Word::Told { query, shard, part } => self.on_told(query, shard, part),
            Word::ListSeats { session, to } => self.on_list_seats(session, to),
            Word::AskSession { session, call, timeout_ms, to } => {
                self.on_ask_session(session, call, timeout_ms, to);
            }
            Word::Disconnect { session, to } => self.on_disconnect(session, to),
            Word::Within { life, word } => self.on_within(life, *word),
            Word::Act { session, room, namespace, act, to, life } => {
                self.on_act(session, (namespace, room), act, (to, life));
            }
        }
    }

    /// Sends a word to a shard, this one included.
    fn send(&mut self, to: ShardId, word: Word) {
        if to == self.id {
            self.own.push_back(word);
        } else if to.node == self.id.node {
            self.outputs.push_back(Output::Envelope { to, envelope: Envelope(word) });
        } else {
            self.send_abroad(to, word);
        }
    }

    /// Word from another shard. Nodes that are gone say nothing any more.
    fn on_envelope(&mut self, from: ShardId, word: Word) {
        let is_known = |cluster: &cluster::Cluster| cluster.directory.node(from.node).is_some();
        if from.node == self.id.node || self.cluster.as_deref().is_some_and(is_known) {
            self.on_word(word);
        }
    }

    fn shard_count(&self) -> u16 {
        self.config.shards.max(1)
    }

    /// Where something is at home on this node, where it is alone.
    fn home_of(&self, what: impl std::hash::Hash) -> ShardId {
        if self.config.shards <= 1 {
            return self.id;
        }
        let hash = self.home_hasher.hash_one(what);
        ShardId { worker: (hash % u64::from(self.shard_count())) as u16, ..self.id }
    }

    fn home_of_room(&self, name: &str) -> Home {
        match &self.cluster {
            None => Home::Shard(self.home_of(name)),
            Some(cluster) => Home::Partition(cluster.homes.of_room(name)),
        }
    }

    /// Which shard holds the session of this id, if there is one.
    fn shard_of_session(&self, session: SessionId) -> ShardId {
        match &self.cluster {
            None => self.home_of(session.0),
            Some(cluster) => cluster.homes.of_session(session),
        }
    }

    fn home_of_user(&self, namespace: u16, user: &Name) -> Home {
        match &self.cluster {
            None => Home::Shard(self.home_of((namespace, user.as_str()))),
            Some(cluster) => {
                let namespace = self.namespace_name(namespace);
                Home::Partition(cluster.homes.of_user(namespace, user))
            }
        }
    }

    /// Whether this shard is the home.
    fn is_home(&self, home: Home) -> bool {
        match (home, &self.cluster) {
            (Home::Shard(shard), _) => shard == self.id,
            (Home::Partition(at), Some(cluster)) => {
                cluster.directory.home(at).is_some_and(|(shard, _)| shard == self.id)
            }
            (Home::Partition(_), None) => false,
        }
    }

    fn namespace_index(&self, name: &str) -> Option<u16> {
        self.namespaces.iter().position(|(known, _)| known.as_str() == name).map(|at| at as u16)
    }

    /// The full name of a path as a session of namespace `own` wrote it.
    ///
    /// # Errors
    /// The namespace is not there.
    fn resolve(&self, own: u16, path: &RoomPath<'_>) -> Result<(u16, FullName), Refusal> {
        let namespace = match path.namespace() {
            None => own,
            Some(name) => self.find_namespace(name)?,
        };
        Ok((namespace, self.full_name(namespace, path.room())))
    }

    fn find_namespace(&self, name: &str) -> Result<u16, Refusal> {
        self.namespace_index(name).ok_or_else(|| {
            let text = format!(
                "there is no namespace `{name}`: add `[namespaces.{name}]` to the configuration"
            );
            Refusal::new(ErrorCode::UnknownNamespace, text)
        })
    }

    fn full_name(&self, namespace: u16, room: &str) -> FullName {
        match self.namespaces.get(usize::from(namespace)) {
            Some((name, _)) if namespace != DEFAULT => {
                let mut full = FullName::with_capacity(name.len() + 1 + room.len());
                full.push_str(name);
                full.push('/');
                full.push_str(room);
                full
            }
            _ => FullName::new(room),
        }
    }

    fn policy(&self, namespace: u16) -> &NamespaceConfig {
        let at = usize::from(namespace).min(self.namespaces.len() - 1);
        &self.namespaces[at].1
    }

    fn session_at(&mut self, key: SessionKey) -> Option<&mut Session> {
        let session = self.sessions.get_mut(key.slot as usize)?;
        (session.key == key).then_some(session)
    }

    fn room_at(&mut self, key: RoomKey) -> Option<&mut Room> {
        let room = self.rooms.get_mut(key.slot as usize)?;
        (room.key == key).then_some(room)
    }

    /// Gives back what a crowd that has left took in the tables: 240 to 370 bytes a session. Only
    /// after so many have ended that looking through the tables costs next to nothing each.
    fn shrink_tables(&mut self) {
        self.ended += 1;
        if self.ended < 1_024.max(self.sessions.capacity() / 4) {
            return;
        }
        self.ended = 0;
        if self.sessions.capacity() > 2 * self.sessions.len() {
            self.sessions.shrink_to_fit();
            self.session_by_id.shrink_to_fit();
            self.users.shrink_to_fit();
            self.rooms.shrink_to_fit();
            self.room_by_name.shrink_to_fit();
            self.audiences.shrink_to_fit();
            self.audience_by_room.shrink_to_fit();
        }
    }

    fn next_made(&mut self) -> u32 {
        self.made = self.made.wrapping_add(1);
        self.made
    }

    fn random_u128(&mut self) -> u128 {
        u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64())
    }
}

/// The index of the namespace `default`.
const DEFAULT: u16 = 0;

/// The namespaces with `default` first, the others sorted: the same indices on all shards.
fn namespaces(config: &HubConfig) -> Namespaces {
    let default = Name::default_namespace();
    let policy = config.namespaces.get(default.as_str()).cloned().unwrap_or_default();
    let others = config.namespaces.iter().filter(|(name, _)| name.as_str() != default.as_str());
    let others = others.filter_map(|(name, policy)| Some((Name::new(name).ok()?, policy.clone())));
    std::iter::once((default.clone(), policy)).chain(others).collect()
}
