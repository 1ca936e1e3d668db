//! What a seed decides before anything happens: the server, the weather, the people.

use std::collections::BTreeMap;

use roomcast_core::{HubConfig, KeyGrant, Limits, Logics, NamespaceConfig};
use roomcast_wire::options::{HistoryOptions, PresenceRule, PublishRule, SlowRule};
use roomcast_wire::{Name, RoomOptions};

use super::hooks::draw_mask;
use super::wild::Wild;
use crate::chance::Chance;
use crate::world::Dials;

/// The key of those who may do everything.
pub(super) const ADMIN_KEY: &str = "sesame";
/// How many users have keys; several sessions may be one user's.
const USERS: u64 = 3;
/// The rooms that players go to, in each namespace.
const ROOMS: &[&str] = &["lobby", "den", "busy", "kept", "brief", "town", "wild"];
/// The namespaces.
const NAMESPACES: &[&str] = &["default", "game"];

/// What a seed decides before anything happens.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub config: HubConfig,
    /// The weather.
    pub dials: Dials,
    /// How often which fault is injected.
    pub faults: Faults,
    /// How many clients there are.
    pub players: usize,
    /// How many of them no fault is aimed at.
    pub calm: usize,
    /// How many steps are taken.
    pub steps: u32,
    /// Longest time between two steps, in milliseconds.
    pub step_ms: u64,
    /// How many nodes there are.
    pub nodes: u16,
}

/// How many of 1,000 steps are which fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// A link breaks.
    pub cut: u64,
    /// A link goes silent in both directions.
    pub half_open: u64,
    /// A client stops or begins to read.
    pub stop_reading: u64,
    /// Most links break at once.
    pub mass_cut: u64,
    /// The server drains, stops, and another starts.
    pub restart: u64,
    /// A client sends bytes that mean nothing.
    pub garbage: u64,
    /// Something happens to a node, or between two.
    pub node: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(chance: &mut Chance) -> Self {
        let steps = chance.between(80, 260) as u32;
        let faults = match chance.up_to(3) {
            0 => Faults { garbage: 20, ..Faults::default() },
            1 => Faults { cut: 40, half_open: 10, garbage: 20, mass_cut: 5, ..Faults::default() },
            2 => Faults { stop_reading: 80, cut: 8, garbage: 10, ..Faults::default() },
            _ => Faults {
                cut: 30,
                half_open: 15,
                stop_reading: 40,
                mass_cut: 8,
                restart: 5,
                garbage: 20,
                node: 0,
            },
        };
        let players = chance.between(3, 10) as usize;
        let window = chance.pick(&[300, 2_000, 8_000]).unwrap_or(2_000);
        Self {
            dials: Dials {
                delay_ms: chance.pick(&[0, 5, 80, 400]).unwrap_or(0),
                envelope_delay_ms_min: 0,
                envelope_delay_ms: chance.pick(&[0, 1, 30, 200]).unwrap_or(0),
                window_bytes_min: window,
                window_bytes_max: 4 * window,
                short_writes: chance.pick(&[0, 20, 60]).unwrap_or(0),
                log_delay_ms: 0,
            },
            config: config(chance),
            faults,
            players,
            calm: chance.between(1, players as u64) as usize,
            steps,
            step_ms: chance.pick(&[5, 50, 400, 2_000]).unwrap_or(50),
            nodes: 1,
        }
    }

    /// The same with several nodes, to which things happen.
    pub fn spread(&mut self, chance: &mut Chance) {
        self.nodes = chance.between(2, 4) as u16;
        self.faults.restart = 0;
        self.faults.node = chance.pick(&[0, 10, 40, 100]).unwrap_or(40);
        self.step_ms = chance.pick(&[50, 400, 2_000]).unwrap_or(400);
        self.config.shards = chance.between(1, 2) as u16;
        self.config.in_cluster = true;
        self.config.home_seed = Some(chance.seed());
        for namespace in self.config.namespaces.values_mut() {
            let patterns = namespace.patterns.iter_mut().map(|(_, options)| options);
            let rooms = patterns.chain(namespace.static_rooms.values_mut());
            for options in rooms.chain([&mut namespace.options]) {
                // What a slow member was told before its home was lost, only the server knows.
                options.slow = SlowRule::Close;
            }
        }
    }

    /// The rooms players go to, by full name.
    pub fn rooms(&self) -> Vec<String> {
        let all = NAMESPACES.iter().flat_map(|namespace| {
            ROOMS.iter().map(|room| match *namespace {
                "default" => (*room).to_owned(),
                namespace => format!("{namespace}/{room}"),
            })
        });
        all.collect()
    }

    /// The options of a room.
    pub fn options(&self, room: &str) -> RoomOptions {
        let (namespace, room) = room.split_once('/').unwrap_or(("default", room));
        let Some(namespace) = self.config.namespaces.get(namespace) else {
            return RoomOptions::default();
        };
        namespace.options_of(room).clone()
    }

    /// Whether the room is always there.
    pub fn is_static(&self, room: &str) -> bool {
        let (namespace, room) = room.split_once('/').unwrap_or(("default", room));
        let namespace = self.config.namespaces.get(namespace);
        namespace.is_some_and(|namespace| namespace.is_static(room))
    }

    /// Whether the room's logic does what it likes.
    pub fn is_wild(&self, room: &str) -> bool {
        self.options(room).logic.is_some()
    }

    /// After how many milliseconds nothing is left of a lost link.
    pub fn aftermath_ms(&self) -> u64 {
        let limits = &self.config.limits;
        // Links are looked at after the first message's deadline, then at every `ping_ms`.
        limits.first_message_ms + 3 * limits.ping_ms + limits.pong_ms + limits.resume_ms + 40_000
    }
}

fn config(chance: &mut Chance) -> HubConfig {
    let user = |n: u64| Name::new(&format!("user{n}")).ok();
    let mut keys: Vec<_> = (0..USERS)
        .map(|n| KeyGrant { key: format!("key{n}"), user: user(n), admin: false, grants: None })
        .collect();
    let root = Name::new("root").ok();
    keys.push(KeyGrant { key: ADMIN_KEY.to_owned(), user: root, admin: true, grants: None });
    let limits = Limits {
        outbox_bytes: chance.pick(&[3_000, 8_192, 1 << 20]).unwrap_or(8_192),
        ping_ms: chance.pick(&[5_000, 25_000]).unwrap_or(25_000),
        pong_ms: 5_000,
        resume_ms: chance.pick(&[1_000, 10_000, 60_000]).unwrap_or(10_000),
        hook_ms: chance.pick(&[200, 2_000]).unwrap_or(2_000),
        commands_per_s: chance.pick(&[0, 10, 1_000]).unwrap_or(0),
        creates_per_s: chance.pick(&[1, 20]).unwrap_or(20),
        rooms_per_session: chance.pick(&[4, 128]).unwrap_or(128),
        ..Limits::default()
    };
    let mut namespaces = BTreeMap::new();
    for name in NAMESPACES {
        let policy = NamespaceConfig {
            list_rooms: chance.percent(50),
            options: options(chance),
            patterns: vec![(
                "wi*".to_owned(),
                RoomOptions { logic: Some("wild".into()), ..options(chance) },
            )],
            static_rooms: BTreeMap::from([
                ("busy".to_owned(), options(chance)),
                ("town".to_owned(), options(chance)),
            ]),
            ..NamespaceConfig::default()
        };
        namespaces.insert((*name).to_owned(), policy);
    }
    let shards = chance.between(1, 4) as u16;
    let mut logics = Logics::default();
    // The name is a valid one.
    _ = logics.insert("wild", |_| Box::new(Wild::default()));
    let seed = chance.seed();
    let hooks = draw_mask(chance);
    HubConfig { shards, seed, namespaces, keys, limits, logics, hooks, ..HubConfig::default() }
}

fn options(chance: &mut Chance) -> RoomOptions {
    let slow = [SlowRule::Close, SlowRule::Close, SlowRule::DropOldest, SlowRule::Latest];
    let presence =
        [PresenceRule::Members, PresenceRule::Members, PresenceRule::Counts, PresenceRule::Off];
    let publish = [PublishRule::Members, PublishRule::Members, PublishRule::Anyone];
    RoomOptions {
        keep_when_empty: chance.percent(30),
        ttl_s: 20,
        members_max: chance.pick(&[2, 100, 100]).unwrap_or(100),
        publish: chance.pick(&publish).unwrap_or(PublishRule::Members),
        echo: chance.percent(80),
        history: HistoryOptions {
            size: chance.pick(&[0, 5, 128]).unwrap_or(128),
            bytes: chance.pick(&[2_000, 262_144]).unwrap_or(262_144),
            age_s: chance.pick(&[2, 300]).unwrap_or(300),
        },
        merge_ms: chance.pick(&[0, 0, 0, 100]).unwrap_or(0),
        tick_ms: chance.pick(&[0, 0, 0, 50]).unwrap_or(0),
        presence: chance.pick(&presence).unwrap_or(PresenceRule::Members),
        resume_s: chance.pick(&[0, 1, 60, 60]).unwrap_or(60),
        slow: chance.pick(&slow).unwrap_or(SlowRule::Close),
        ..RoomOptions::default()
    }
}
