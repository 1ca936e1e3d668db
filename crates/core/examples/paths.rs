//! Times the hub alone, without sockets: `cargo run --release -p roomcast-core --example paths`.
//! Prints; asserts nothing but that the deliveries were made.
//!
//! `paths rooms 6000` runs only what has `rooms` in its name, without history, and for 6,000 turns:
//! the difference of two such runs under callgrind or cachegrind is what turns cost.
#![allow(clippy::unwrap_used)]
// A stopwatch needs a clock and has to tell what it saw; the crate does neither.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use roomcast_core::{HubConfig, Input, Limits, LinkId, Now, Shard, ShardId};
use roomcast_wire::options::{HistoryOptions, PresenceRule};
use roomcast_wire::{Format, RoomOptions};

const PUBLISH: &str =
    r#","event":"chat","data":"0123456789012345678901234567890123456789012345678901234567890123"}"#;

/// Name, rooms, members of each, events in a turn, turns.
const PATHS: [(&str, u32, u32, u32, u32); 4] = [
    ("1 room of 1,000, alone", 1, 1_000, 1, 300),
    ("1 room of 1,000, 16 merged", 1, 1_000, 16, 300),
    ("1 room of 1,000, 64 merged", 1, 1_000, 64, 300),
    ("1,000 rooms of 5, alone", 1_000, 5, 1, 30_000),
];

fn main() {
    let mut args = std::env::args().skip(1);
    let (only, turns) = (args.next(), args.next().map(|turns| turns.parse().unwrap()));
    for history in [0, 128] {
        if history > 0 && turns.is_some() {
            return;
        }
        for (what, rooms, members, burst, usual) in PATHS {
            if only.as_ref().is_none_or(|only| what.contains(only)) {
                run(what, rooms, members, burst, turns.unwrap_or(usual), history);
            }
        }
    }
}

fn run(what: &str, rooms: u32, members: u32, burst: u32, turns: u32, history: u32) {
    let mut config = HubConfig::default();
    config.limits =
        Limits { commands_per_s: 0, fanout_bytes_per_s: 0, creates_per_s: 0, ..config.limits };
    let options = RoomOptions {
        presence: PresenceRule::Off,
        history: HistoryOptions { size: history, ..HistoryOptions::default() },
        ..RoomOptions::default()
    };
    config.namespaces.get_mut("default").unwrap().options = options;
    let mut shard = Shard::new(Arc::new(config), ShardId(0));
    for link in 0..rooms * members {
        let room = link % rooms;
        let id = LinkId(link);
        shard
            .handle(Now(0), Input::Opened { link: id, format: Format::JSON_LINE, namespace: None });
        let join = format!(r#"{{"type":"join","ref":1,"room":"room-{room}"}}"#);
        shard.handle(Now(0), Input::Message { link: id, bytes: join.into() });
        while shard.poll_output().is_some() {}
    }
    flush(&mut shard);
    let messages: Vec<_> = (0..rooms)
        .map(|room| Bytes::from(format!(r#"{{"type":"publish","room":"room-{room}"{PUBLISH}"#)))
        .collect();
    let before = shard.counters().deliveries_total;
    let start = Instant::now();
    for turn in 0..turns {
        for _ in 0..burst {
            let room = turn % rooms;
            let bytes = messages[room as usize].clone();
            shard.handle(Now(1), Input::Message { link: LinkId(room), bytes });
            while shard.poll_output().is_some() {}
        }
        flush(&mut shard);
    }
    let ns = start.elapsed().as_nanos() as f64;
    let deliveries = shard.counters().deliveries_total - before;
    assert_eq!(deliveries, u64::from(turns * burst * members));
    let each = ns / deliveries as f64;
    println!("{what:30} history {history:3}: {each:7.1} ns a delivery");
}

fn flush(shard: &mut Shard) {
    shard.end_turn(Now(1));
    while shard.poll_output().is_some() {}
    while let Some(link) = shard.take_dirty() {
        let outbox = shard.outbox(link).unwrap();
        let waiting = outbox.bytes();
        outbox.consume(waiting);
    }
}
