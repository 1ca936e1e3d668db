//! What a hub is told once.

use std::collections::BTreeMap;
use std::sync::Arc;

use roomcast_wire::limits::{MESSAGE_BYTES_DEFAULT, MESSAGE_BYTES_UNKNOWN_PEER};
use roomcast_wire::{Name, RoomOptions};

use crate::glob;
use crate::hook::HookMask;
use crate::logic::Logics;
use crate::rights::{Authenticate, Grants, Rule};

/// The configuration of a hub, the same for all its shards.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// How many shards there are; of a cluster's node at most
    /// [`ShardId::WORKERS_MAX`](crate::ShardId::WORKERS_MAX).
    pub shards: u16,
    /// What says where rooms, users and sessions are at home: the same on all nodes of a cluster,
    /// and known to nobody else. None: drawn from `seed`. Default none.
    pub home_seed: Option<[u8; 32]>,
    /// Whether this is a node of a cluster: home to what the
    /// [`Directory`](crate::Directory) says, while its lease lasts. If not, it is home to
    /// everything. Default no.
    pub in_cluster: bool,
    /// What all chance is drawn from. The server takes it from the operating system, the simulator
    /// from its seed.
    pub seed: [u8; 32],
    /// The namespaces. `default` is always there.
    pub namespaces: BTreeMap<String, NamespaceConfig>,
    /// Keys that may stand in the `token` of `hello`.
    pub keys: Vec<KeyGrant>,
    /// Who knows other tokens; none: there are none but the keys.
    pub authenticate: Option<Arc<dyn Authenticate>>,
    /// Bounds.
    pub limits: Limits,
    /// What is kept for clients that come back for what they missed, where their dialect has
    /// offsets; none: their sessions end with their links, and nothing bears an offset. Default
    /// none.
    pub recovery: Option<ReplayBounds>,
    /// What rooms may do beside relaying.
    pub logics: Logics,
    /// Which commands wait for the application's word. Default none.
    pub hooks: HookMask,
    /// Whether the application answers calls of clients. Default no: each is refused.
    pub calls: bool,
    /// Whether [`Output::Event`](crate::Output::Event) tells what happens. Default no.
    pub events: bool,
    /// Whether there is a log for durable rooms. Without one they cannot be made. Default no.
    pub log: bool,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            shards: 1,
            home_seed: None,
            in_cluster: false,
            seed: [0; 32],
            namespaces: BTreeMap::from([("default".to_owned(), NamespaceConfig::default())]),
            keys: Vec::new(),
            authenticate: None,
            limits: Limits::default(),
            recovery: None,
            logics: Logics::default(),
            hooks: HookMask::NONE,
            calls: false,
            events: false,
            log: false,
        }
    }
}

impl HubConfig {
    /// A number that stands for the names of the namespaces. Words between nodes number these, so
    /// that all nodes of a cluster must have the same.
    pub fn namespaces_digest(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x100_0000_01b3;
        // FNV-1a: the same in every version. No name holds a line break.
        let bytes = self.namespaces.keys().flat_map(|name| name.bytes().chain([b'\n']));
        bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
    }
}

/// All namespaces by their numbers, which are the same on all shards.
pub(crate) type Namespaces = Arc<[(Name, NamespaceConfig)]>;

/// What is kept of what one session was told, while it has a link and while it is expected back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayBounds {
    /// Most bytes: frames, and 48 for each. What is oldest goes first.
    pub bytes: usize,
    /// How long at least, in milliseconds; twice as long at most.
    pub ms: u64,
}

/// Isolation and policy of one namespace.
#[derive(Debug, Clone)]
pub struct NamespaceConfig {
    /// Whether sessions without a token are let in.
    pub anonymous: bool,
    /// What such sessions may do in its rooms; none: what the rooms allow. The namespaces that the
    /// rules name are passed over: they are for this one.
    pub anonymous_grants: Option<Vec<Rule>>,
    /// Whether clients may make rooms: by joining one that is not there, or by `create`.
    pub create: bool,
    /// Whether `rooms` lists all rooms; otherwise only those the session is in.
    pub list_rooms: bool,
    /// Options of its rooms.
    pub options: RoomOptions,
    /// Rooms that are always there, with their options.
    pub static_rooms: BTreeMap<String, RoomOptions>,
    /// Options of rooms whose name (without the namespace) fits a pattern of
    /// [`glob::matches`]; the first that fits counts. A static room has its own.
    pub patterns: Vec<(String, RoomOptions)>,
    /// The logics that clients may name in `create`. Others come by configuration only.
    pub client_logics: Vec<String>,
    /// Whether events stand for commands (`join`, `publish` and so on), where a dialect knows only
    /// events. If not, all of them are the application's.
    pub convention: bool,
    /// A room that every session of the namespace is given a seat in when it starts. It is always
    /// there, as static rooms are.
    pub lobby: Option<String>,
}

impl NamespaceConfig {
    /// The options of a room that is made by its name (without the namespace).
    pub fn options_of(&self, room: &str) -> &RoomOptions {
        let fits = |(pattern, _): &&(String, RoomOptions)| glob::matches(pattern, room);
        self.static_rooms
            .get(room)
            .or_else(|| self.patterns.iter().find(fits).map(|(_, options)| options))
            .unwrap_or(&self.options)
    }

    /// Whether a room (by its name without the namespace) is always there.
    pub fn is_static(&self, room: &str) -> bool {
        self.static_rooms.contains_key(room) || self.lobby.as_deref() == Some(room)
    }
}

impl Default for NamespaceConfig {
    fn default() -> Self {
        Self {
            anonymous: true,
            anonymous_grants: None,
            create: true,
            list_rooms: false,
            options: RoomOptions::default(),
            static_rooms: BTreeMap::new(),
            patterns: Vec::new(),
            client_logics: Vec::new(),
            convention: true,
            lobby: None,
        }
    }
}

/// What a key allows.
#[derive(Clone)]
pub struct KeyGrant {
    /// The key itself. Compared in constant time; never written to a log.
    pub key: String,
    /// Who has it; none: sessions stay anonymous.
    pub user: Option<Name>,
    /// Whether broadcast, announce, kick and delete are allowed.
    pub admin: bool,
    /// What it is bound to; none: what namespaces and rooms allow.
    pub grants: Option<Arc<Grants>>,
}

impl std::fmt::Debug for KeyGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyGrant").field("user", &self.user).field("admin", &self.admin).finish()
    }
}

/// Bounds, each with its default. Rates are per second with a second's worth at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message from a client, in bytes. Default 64 KiB.
    pub message_bytes: usize,
    /// Largest message before `welcome`, in bytes. Default 16 KiB.
    pub message_bytes_unknown_peer: usize,
    /// Most bytes that may wait for one link. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Most rooms a session may be in. Default 128.
    pub rooms_per_session: u32,
    /// Most rooms in the server. Default 100,000.
    pub rooms: u32,
    /// Most sessions whose link is lost and whose seats are kept. Default 100,000.
    pub sessions_dropped: u32,
    /// How often a sign of life is looked for, in milliseconds. Default 25,000.
    pub ping_ms: u64,
    /// How long it may take after a ping, in milliseconds. Default 10,000.
    pub pong_ms: u64,
    /// How long a new link may stay silent, in milliseconds. Default 10,000.
    pub first_message_ms: u64,
    /// How long a session outlives its link, in milliseconds. Default 60,000.
    pub resume_ms: u64,
    /// Commands a second of one session; above it reading pauses. 0: no bound. Default 1,000.
    pub commands_per_s: u32,
    /// Bytes a second of one session, those of each event (at least 128) and of each coming and
    /// going counted once for every member; above it reading pauses. 0: no bound. Default
    /// 100 MiB.
    pub fanout_bytes_per_s: u64,
    /// Rooms a second that one session may make. Default 20.
    pub creates_per_s: u32,
    /// Frames in a row that could not be understood before the link is closed. Default 16.
    pub errors_in_a_row: u32,
    /// How long an idempotency key is remembered, in milliseconds. Default 300,000.
    pub key_ms: u64,
    /// Most idempotency keys a room remembers. Default 1,024.
    pub keys_per_room: u32,
    /// Longest time until a token ends, in milliseconds: what lasts longer is refused, and
    /// revocations are kept so long. Default 31 days.
    pub token_ms: u64,
    /// Most revocations that are kept. Default 100,000.
    pub revocations: u32,
    /// Most lines of a `rooms` or `members` reply. Default 1,000.
    pub list_max: u32,
    /// How long a command waits for a hook, in milliseconds. Default 5,000.
    pub hook_ms: u64,
    /// Most commands that may wait for hooks. Default 10,000.
    pub hooks_waiting: u32,
    /// How long a call waits for its result, in milliseconds. Default 10,000.
    pub call_ms: u64,
    /// Most calls of one session that may wait for a result, in either direction. Default 32.
    pub calls_per_session: u32,
    /// Most calls of all clients that may wait for the application. Default 10,000.
    pub calls_waiting: u32,
    /// Most bytes of events that may wait for the log, with 256 for each. Default 16 MiB.
    pub log_waiting_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: MESSAGE_BYTES_DEFAULT,
            message_bytes_unknown_peer: MESSAGE_BYTES_UNKNOWN_PEER,
            outbox_bytes: 1 << 20,
            rooms_per_session: 128,
            rooms: 100_000,
            sessions_dropped: 100_000,
            ping_ms: 25_000,
            pong_ms: 10_000,
            first_message_ms: 10_000,
            resume_ms: 60_000,
            commands_per_s: 1_000,
            fanout_bytes_per_s: 100 << 20,
            creates_per_s: 20,
            errors_in_a_row: 16,
            key_ms: 300_000,
            keys_per_room: 1_024,
            token_ms: 31 * 86_400_000,
            revocations: 100_000,
            list_max: 1_000,
            hook_ms: 5_000,
            hooks_waiting: 10_000,
            call_ms: 10_000,
            calls_per_session: 32,
            calls_waiting: 10_000,
            log_waiting_bytes: 16 << 20,
        }
    }
}
