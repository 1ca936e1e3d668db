//! Attacks that the hub alone must withstand, with default settings. The numbers are those of
//! SECURITY.md.
#![allow(clippy::unwrap_used)]
// A stopwatch needs a clock; the crate has none.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{Hub, cpu_time};
use roomcast_core::{HubConfig, KeyGrant, Limits};
use roomcast_wire::{CloseCode, Name};

fn unbounded() -> HubConfig {
    let limits = Limits {
        commands_per_s: 0,
        creates_per_s: 0,
        rooms_per_session: u32::MAX,
        rooms: u32::MAX,
        ..Limits::default()
    };
    HubConfig { limits, ..HubConfig::default() }
}

/// Joins every name and returns the CPU time that took.
fn join_all(names: &[String]) -> Duration {
    let mut hub = Hub::new(unbounded());
    for link in 0..names.len() as u32 / 1_000 + 1 {
        hub.open(link);
    }
    let start = cpu_time();
    for (number, name) in names.iter().enumerate() {
        let join = format!(r#"{{"type":"join","ref":1,"room":"{name}"}}"#);
        let heard = hub.say((number / 1_000) as u32, join);
        assert_eq!(heard[0]["type"], "joined", "{heard:?}");
    }
    cpu_time().saturating_sub(start)
}

/// The hash function `fx` as peers know it: unkeyed, so that collisions can be made beforehand.
fn fx(bytes: &[u8]) -> u64 {
    let mut hash = 0u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word))
            .wrapping_mul(0x51_7c_c1_b7_27_22_0a_95);
    }
    hash
}

#[test]
fn s23_names_made_to_collide_cost_no_more_than_others() {
    // Names that collide in the highest 10 bits of an unkeyed hash.
    let candidates = (0u64..).map(|n| format!("room-{n:08x}"));
    let colliding: Vec<_> =
        candidates.filter(|name| fx(name.as_bytes()) >> 54 == 0).take(2_000).collect();
    let random: Vec<_> =
        (0..2_000).map(|n: u64| format!("{:016x}", fx(&n.to_le_bytes()))).collect();
    // In turn, and the best of several: what else the machine does must not count.
    let rounds = (0..7).map(|_| (join_all(&colliding), join_all(&random)));
    let (colliding, random): (Vec<_>, Vec<_>) = rounds.unzip();
    let (colliding, random) =
        (colliding.into_iter().min().unwrap(), random.into_iter().min().unwrap());
    assert!(colliding < random * 2 + Duration::from_millis(50), "{colliding:?} {random:?}");
}

#[test]
fn s25_a_room_that_is_absent_and_one_that_is_closed_look_the_same() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    hub.open(1);
    hub.ask(0, r#"{"type":"join","ref":1,"room":"secret"}"#);
    for command in ["members", "history", "presence", "leave"] {
        let ask = |hub: &mut Hub, room| {
            hub.ask(1, format!(r#"{{"type":"{command}","ref":1,"room":"{room}"}}"#))
        };
        let (there, absent) = (ask(&mut hub, "secret"), ask(&mut hub, "absent"));
        assert_eq!(there, absent);
        assert_eq!(there["reason"], "not_a_member");
    }
    let publish = |hub: &mut Hub, room| {
        hub.ask(1, format!(r#"{{"type":"publish","ref":1,"room":"{room}","event":"x","data":1}}"#))
    };
    assert_eq!(publish(&mut hub, "secret"), publish(&mut hub, "absent"));
    // The room list shows only what one is in.
    let rooms = hub.ask(1, r#"{"type":"rooms","ref":1}"#);
    assert_eq!(rooms["rooms"], serde_json::json!([]));
    assert_eq!(hub.ask(0, r#"{"type":"rooms","ref":1}"#)["rooms"][0]["room"], "secret");
}

#[test]
fn s25_absent_and_closed_rooms_take_the_same_time() {
    let mut hub = Hub::new(unbounded());
    hub.open(0);
    hub.open(1);
    hub.ask(0, r#"{"type":"join","ref":1,"room":"secret"}"#);
    let mut median = |room: &str| {
        let ask = format!(r#"{{"type":"history","ref":1,"room":"{room}"}}"#);
        let mut times: Vec<_> = (0..1_000)
            .map(|_| {
                let start = Instant::now();
                hub.ask(1, ask.clone());
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[500]
    };
    let (there, absent) = (median("secret"), median("absent"));
    assert!(there.abs_diff(absent) < Duration::from_millis(1), "{there:?} {absent:?}");
}

#[test]
fn s26_rooms_seats_and_their_rate_are_bounded() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    let mut refused = BTreeSet::new();
    for number in 0..200 {
        let join = format!(r#"{{"type":"join","ref":1,"room":"room-{number}"}}"#);
        let answer = hub.ask(0, join);
        if answer["type"] == "error" {
            refused.insert(answer["reason"].as_str().unwrap().to_owned());
        }
    }
    assert!(refused.contains("too_many_rooms"));
    assert_eq!(hub.shard.counters().rooms, 128);
    // 20 a second: the link is not read until the debt is paid off.
    assert!(hub.paused[&0].0 > 4_000, "{:?}", hub.paused);
    for _ in 0..40 {
        let answer = hub.ask(0, r#"{"type":"create","ref":1}"#);
        if answer["type"] == "error" {
            refused.insert(answer["reason"].as_str().unwrap().to_owned());
        }
    }
    assert!(refused.contains("rate_limited"));
    let data = "x".repeat(5_000);
    let join = format!(r#"{{"type":"join","ref":1,"room":"room-1","data":"{data}"}}"#);
    assert_eq!(hub.ask(0, join)["type"], "error");
}

#[test]
fn s26_a_client_cannot_make_rooms_that_hold_much_for_long() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    for options in [
        r#"{"keep_when_empty":true,"ttl_s":86400}"#,
        r#"{"history":{"bytes":67108864}}"#,
        r#"{"history":{"size":100000}}"#,
    ] {
        let create = format!(r#"{{"type":"create","ref":1,"room":"big","options":{options}}}"#);
        assert_eq!(hub.ask(0, create)["reason"], "invalid_option", "{options}");
    }
    assert_eq!(hub.shard.counters().rooms, 0);
}

#[test]
fn s28_a_resume_secret_is_used_once_and_by_its_user() {
    let grant = |key: &str, user| KeyGrant {
        key: key.to_owned(),
        user: Some(Name::new(user).unwrap()),
        admin: false,
        grants: None,
    };
    let keys = vec![grant("key-of-mina-0000", "mina"), grant("key-of-mallory-0", "mallory")];
    let mut hub = Hub::new(HubConfig { keys, ..HubConfig::default() });
    hub.open(0);
    let welcome = hub.ask(0, r#"{"type":"hello","ref":1,"token":"key-of-mina-0000"}"#);
    hub.cut(0);
    let hello = |token: &str| {
        let (session, secret) = (&welcome["session"], &welcome["resume"]);
        let resume = format!(r#"{{"session":{session},"secret":{secret}}}"#);
        format!(r#"{{"type":"hello","ref":1{token},"resume":{resume}}}"#)
    };
    let mut attempt = |link, token| {
        hub.open(link);
        hub.ask(link, hello(token))["reason"].as_str().unwrap_or("welcome").to_owned()
    };
    assert_eq!(attempt(1, ""), "cannot_resume");
    assert_eq!(attempt(2, r#","token":"key-of-mallory-0""#), "cannot_resume");
    assert_eq!(attempt(3, r#","token":"key-of-mina-0000""#), "welcome");
    assert_eq!(attempt(4, r#","token":"key-of-mina-0000""#), "cannot_resume");
}

#[test]
fn s29_identities_show_no_pattern() {
    let mut hub = Hub::new(unbounded());
    let mut seen = BTreeSet::new();
    let mut ones = [0u32; 128];
    const COUNT: u32 = 20_000;
    for link in 0..COUNT {
        hub.open(link);
        let welcome = hub.ask(link, r#"{"type":"hello","ref":1}"#);
        let id: roomcast_wire::SessionId = welcome["session"].as_str().unwrap().parse().unwrap();
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += (id.0 >> bit) as u32 & 1;
        }
        assert!(seen.insert(id));
        assert!(seen.insert(welcome["resume"].as_str().unwrap().parse().unwrap()));
    }
    // Each bit is set in half of them: 6 standard deviations of a binomial are 424.
    for ones in ones {
        assert!(ones.abs_diff(COUNT / 2) < 424, "{ones}");
    }
}

#[test]
fn s30_one_client_cannot_make_the_server_shout() {
    let mut hub = Hub::new(HubConfig::default());
    for link in 0..500 {
        hub.open(link);
        hub.ask(link, r#"{"type":"join","ref":1,"room":"lobby"}"#);
        for link in 0..=link {
            hub.heard(link);
        }
    }
    let data = "x".repeat(60_000);
    let publish = format!(r#"{{"type":"publish","room":"lobby","event":"x","data":"{data}"}}"#);
    for _ in 0..10 {
        hub.say(0, publish.clone());
        for link in 0..500 {
            hub.heard(link);
        }
    }
    // 10 × 60,000 B × 500 members against 100 MiB a second with a second's worth at once.
    assert!((1_700..2_000).contains(&hub.paused[&0].0), "{:?}", hub.paused);
}

#[test]
fn wrong_frames_in_a_row_end_the_link_and_disturb_nobody() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    hub.open(1);
    hub.ask(1, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    for _ in 0..16 {
        hub.say(0, r#"{"type":"publish""#);
    }
    assert_eq!(hub.closed[&0], CloseCode::TooManyErrors);
    assert!(hub.heard(1).is_empty());
}
