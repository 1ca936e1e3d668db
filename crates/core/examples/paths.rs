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

/// What is timed: rooms, members of each, events in a turn, turns.
struct Path {
    name: &'static str,
    talk: Talk,
    sizes: [u32; 4],
}

/// What a dialect says: the link's first message, and what stands around a command and its fields.
struct Talk {
    format: Format,
    first: &'static str,
    join: [&'static str; 2],
    publish: [&'static str; 2],
}

const NATIVE: Talk = Talk {
    format: Format::JSON_LINE,
    first: r#"{"type":"hello","ref":0}"#,
    join: [r#"{"type":"join","ref":1,"#, "}"],
    publish: [r#"{"type":"publish","#, ""],
};

const SOCKETIO: Talk = Talk {
    format: Format::SOCKETIO_JSON,
    first: "0",
    join: [r#"20["join",{"#, "}]"],
    publish: [r#"2["publish",{"#, "]"],
};

const PATHS: [Path; 6] = [
    Path { name: "1 room of 1,000, alone", talk: NATIVE, sizes: [1, 1_000, 1, 300] },
    Path { name: "1 room of 1,000, 16 merged", talk: NATIVE, sizes: [1, 1_000, 16, 300] },
    Path { name: "1 room of 1,000, 64 merged", talk: NATIVE, sizes: [1, 1_000, 64, 300] },
    Path { name: "1,000 rooms of 5, alone", talk: NATIVE, sizes: [1_000, 5, 1, 30_000] },
    Path { name: "Socket.IO, 1 x 1,000", talk: SOCKETIO, sizes: [1, 1_000, 1, 300] },
    Path { name: "Socket.IO, 1,000 x 5", talk: SOCKETIO, sizes: [1_000, 5, 1, 30_000] },
];

fn main() {
    let mut args = std::env::args().skip(1);
    let (only, turns) = (args.next(), args.next().map(|turns| turns.parse().unwrap()));
    for history in [0, 128] {
        if history > 0 && turns.is_some() {
            return;
        }
        for path in &PATHS {
            if only.as_ref().is_none_or(|only| path.name.contains(only)) {
                let [.., usual] = path.sizes;
                run(path, turns.unwrap_or(usual), history);
            }
        }
    }
}

fn run(path: &Path, turns: u32, history: u32) {
    let Path { name, talk, sizes: [rooms, members, burst, _] } = path;
    let (rooms, members, burst) = (*rooms, *members, *burst);
    let mut config = HubConfig::default();
    config.limits =
        Limits { commands_per_s: 0, fanout_bytes_per_s: 0, creates_per_s: 0, ..config.limits };
    let options = RoomOptions {
        presence: PresenceRule::Off,
        history: HistoryOptions { size: history, ..HistoryOptions::default() },
        ..RoomOptions::default()
    };
    config.namespaces.get_mut("default").unwrap().options = options;
    let mut shard = Shard::new(Arc::new(config), ShardId::alone(0));
    for link in 0..rooms * members {
        let room = link % rooms;
        let id = LinkId(link);
        shard.handle(Now(0), Input::Opened { link: id, format: talk.format, namespace: None });
        let [before, after] = talk.join;
        let join = format!(r#"{before}"room":"room-{room}"{after}"#);
        for bytes in [Bytes::from_static(talk.first.as_bytes()), join.into()] {
            shard.handle(Now(0), Input::Message { link: id, bytes });
            while shard.poll_output().is_some() {}
        }
    }
    flush(&mut shard);
    let messages: Vec<_> = (0..rooms)
        .map(|room| {
            let [before, after] = talk.publish;
            Bytes::from(format!(r#"{before}"room":"room-{room}"{PUBLISH}{after}"#))
        })
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
    println!("{name:30} history {history:3}: {each:7.1} ns a delivery");
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
