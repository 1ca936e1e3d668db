//! `roomcast bench` from the outside, against its own floor.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn bench(args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.arg("bench").args(args.split_whitespace()).output().unwrap()
}

fn json(args: &str) -> serde_json::Value {
    let output = bench(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Of all rounds together: a machine that is busy may pass over a short one.
fn deliveries(target: &serde_json::Value) -> u64 {
    let rounds = target["rounds"].as_array().unwrap();
    rounds.iter().map(|round| round["deliveries"].as_u64().unwrap()).sum()
}

#[test]
fn a_flow_counts_what_the_floor_delivers() {
    for load in
        ["fanout --members 20", "fanout --members 20 --burst 7", "rooms --rooms 9 --rate 900"]
    {
        let all = json(&format!("{load} --floor --rounds 1 --seconds 0.3 --json"));
        let round = &all["targets"][0]["rounds"][0];
        assert!(round["deliveries"].as_u64().unwrap() > 100, "{load}: {round}");
        assert!(round["cpu_s"].as_f64().unwrap() > 0.0, "{load}: {round}");
    }
}

#[test]
fn a_server_and_the_floor_take_turns_with_all_links_open() {
    let load = "rooms --rooms 9 --rate 900 --vs-floor --rounds 2 --starts 2 --seconds 0.2";
    let all = json(&format!("{load} --json"));
    for (at, name) in ["roomcast", "floor"].into_iter().enumerate() {
        let target = &all["targets"][at];
        assert_eq!(target["name"], name);
        let rounds = target["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 4, "{name}: two in each of two starts");
        assert!(deliveries(target) > 200, "{name}: {target}");
        for round in rounds.iter().filter(|round| round["deliveries"] != 0) {
            // Offsets grow by a digit now and then.
            let first = all["targets"][0]["rounds"][0]["event_bytes"].as_f64().unwrap();
            assert!(
                (round["event_bytes"].as_f64().unwrap() - first).abs() < 4.0,
                "{name}: {round}"
            );
        }
    }
    let output = bench("rooms --vs-floor --seconds 6");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("more --rounds"), "{output:?}");
}

#[test]
fn members_over_udp_are_measured_beside_those_over_websocket() {
    for load in ["fanout --members 40 --burst 3", "fanout --members 40 --unreliable"] {
        let options = "--transport udp --vs-ws --rounds 2 --seconds 0.2 --json";
        let all = json(&format!("{load} {options}"));
        for (at, name) in ["udp", "roomcast"].into_iter().enumerate() {
            let target = &all["targets"][at];
            assert_eq!(target["name"], name, "{load}");
            assert!(deliveries(target) > 100, "{load}: {target}");
        }
    }
    let load = "idle --transport udp --connections 50 --seconds 0.1 --rounds 1 --json";
    assert_eq!(json(load)["targets"][0]["rounds"][0]["connections"], 50);
}

#[test]
fn socket_io_is_measured_beside_the_native_dialect() {
    for load in ["fanout --members 20 --burst 3", "rooms --rooms 9 --rate 300"] {
        let options = "--dialect socketio --vs-native --rounds 3 --seconds 0.2 --json";
        let all = json(&format!("{load} {options}"));
        for (at, name) in ["socketio", "roomcast"].into_iter().enumerate() {
            let target = &all["targets"][at];
            assert_eq!(target["name"], name, "{load}");
            assert!(deliveries(target) > 50, "{load}: {target}");
        }
    }
    // Pings come while they are idle: the first is due after 50 ms.
    let pings = "--set socketio.ping_interval=50 --set socketio.ping_timeout=1000";
    let load = "idle --connections 20 --seconds 0.4 --rounds 1 --json --dialect socketio";
    let all = json(&format!("{load} {pings}"));
    assert_eq!(all["targets"][0]["rounds"][0]["connections"], 20);
}

#[test]
fn rooms_tick_and_every_member_hears_it() {
    let load = "ticks --rooms 20 --members 3 --period-ms 20 --rounds 1 --seconds 0.5 --json";
    let all = json(load);
    let round = &all["targets"][0]["rounds"][0];
    // 25 ticks a member on a quiet machine; a busy one skips some.
    assert!(round["deliveries"].as_u64().unwrap() >= 60, "{round}");
    assert!(round["jitter_max_ns"].as_u64() >= round["jitter_p99_ns"].as_u64(), "{round}");
    assert!(round["cpu_s"].as_f64().unwrap() > 0.0, "{round}");
}

#[test]
fn a_bad_link_is_late_and_loses_nothing_that_is_reliable() {
    let link = "--link loss=10%,delay=20ms,seed=3 --worse delay=40ms --worse-seconds 0.3";
    let all = json(&format!("link --transport tcp --members 2 --seconds 1 {link} --json"));
    let reliable = &all["reliable"];
    assert!(reliable["wanted"].as_u64().unwrap() > 100, "{all}");
    assert_eq!((&reliable["heard"], &reliable["disordered"]), (&reliable["wanted"], &0.into()));
    assert!(reliable["latency_us"]["p50"].as_f64().unwrap() >= 20_000.0, "{all}");
    assert!(all["packets_lost"].as_u64().unwrap() > 0, "{all}");
    assert!(all["link_kept_us"]["p50"].as_f64().unwrap() >= 20_000.0, "{all}");
    assert!(all["packets_of_server"].as_u64().unwrap() > 0, "{all}");
    assert_eq!(all["links_lost"], 0, "{all}");
}

#[test]
fn another_program_is_measured_behind_the_same_link() {
    let program = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("enet-library");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/enet/library.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-Wall", "-o"]).arg(&program).args([source, "-lenet"]);
    if !compiler.output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "libenet-dev is missing");
        return eprintln!("skipped: apt-get install libenet-dev build-essential");
    }
    let link = "link --transport enet --members 2 --seconds 0.5 --link loss=5%,delay=20ms,seed=3";
    let worse = "--worse loss=10%,delay=20ms --worse-seconds 0.5 --json --beside";
    let all = json(&format!("{link} {worse} {}", program.display()));
    for outcome in [&all, &all["beside"]] {
        assert!(outcome["reliable"]["wanted"].as_u64().unwrap() >= 2 * 90, "{all}");
        let heard = outcome["reliable"]["heard"].as_u64().unwrap();
        assert!(heard >= 2 * 80, "{all}");
        assert!(outcome["reliable"]["latency_us"]["p50"].as_f64().unwrap() >= 20_000.0, "{all}");
        assert!(outcome["packets_lost"].as_u64().unwrap() > 0, "{all}");
    }
    let output = bench("link --transport tcp --members 1 --seconds 0.1 --beside /bin/pwd");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("and not `port`"), "{output:?}");
}

#[test]
fn a_crowd_comes_and_goes() {
    for load in ["storm", "idle --seconds 0.1", "idle --seconds 0.1 --no-join"] {
        let all = json(&format!("{load} --connections 150 --floor --rounds 1 --json"));
        let round = &all["targets"][0]["rounds"][0];
        assert_eq!(round["connections"], 150, "{load}");
        assert!(round["rss_with_kib"].as_u64().unwrap() > 0, "{load}: {round}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    for (args, says) in [
        ("idle --floor --connections 100000000", "open files"),
        ("fanout --url http://127.0.0.1:1", "ws://, tcp:// and udp://"),
        ("fanout --url ws://127.0.0.1:1", "cannot connect"),
        ("fanout --floor --members 2 --publishers 3", "cannot publish"),
        ("fanout --dialect socketio --transport tcp", "spoken over WebSocket"),
        ("fanout --url udp://127.0.0.1:1 --members 1", "nobody listens there"),
        ("ticks --dialect socketio", "in the native dialect"),
        ("ticks --transport udp", "over ws and tcp"),
        ("fanout --peer bun --floor --peers-dir /nowhere", "npm ci"),
    ] {
        let output = bench(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {text}");
        assert!(text.contains(says), "{args}: {text}");
    }
    for (args, says) in [
        ("link --link loss=5", "write it like loss=5%"),
        ("link --transport carrier-pigeon", "one of enet, quic, tcp, "),
    ] {
        let output = bench(args);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {text}");
        assert!(text.contains(says), "{args}: {text}");
    }
}
