//! What games on the original library can count on.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::game::{Game, Told};
use super::peer::{Lines, Ws, address, start as start_with};
use super::start;

fn publish(event: &str, data: &str, rest: &str) -> String {
    format!(r#"{{"type":"publish","room":"arena","event":"{event}","data":{data}{rest}}}"#)
}

#[test]
fn a_game_and_a_program_on_tcp_hear_each_other_reliably_and_not() {
    let (server, port) = start("");
    let Some(mut game) = Game::connected(port) else { return };
    game.say(r#"{"type":"hello","ref":1,"name":"Mina"}"#);
    assert_eq!(game.expect("welcome").0, 0);
    game.join("arena");
    let mut lines = Lines::connect(&server);
    lines.join("arena");
    for (mode, channel) in [
        ("reliable", 0),
        ("unreliable", 1),
        ("unsequenced", 1),
        ("reliable", 1),
        ("unsequenced", 0),
    ] {
        game.send(channel, mode, publish("move", "[1,2]", "").as_bytes());
        let event = lines.expect("event");
        assert_eq!((&event["data"][1], &event["from"]["name"]), (&2.into(), &"Mina".into()));
    }
    lines.send(&publish("shot", "7", ""));
    assert_eq!(game.event("shot").0, 0);
    lines.send(&publish("seen", "8", r#","reliable":false"#));
    let (channel, event) = game.event("seen");
    assert_eq!((channel, &event["data"], &event["reliable"]), (1, &8.into(), &false.into()));
}

#[test]
fn a_game_and_a_program_on_websocket_hear_each_other() {
    let server = start_with(|config| {
        config.listen = vec!["ws://127.0.0.1:0".into(), "enet://127.0.0.1:0".into()];
    });
    let Some(mut game) = Game::connected(address(&server, "enet").port()) else { return };
    game.join("arena");
    let mut ws = Ws::connect(&server);
    ws.send(r#"{"type":"join","ref":1,"room":"arena"}"#);
    ws.expect("joined");
    for (mode, channel, reliable) in [("reliable", 0, true), ("unsequenced", 1, false)] {
        let rest = format!(r#","reliable":{reliable},"echo":false"#);
        game.send(channel, mode, publish("there", "[1,2]", &rest).as_bytes());
        let event = ws.expect("event");
        assert_eq!((&event["event"], &event["data"][1]), (&"there".into(), &2.into()));
        assert_eq!(event["reliable"], if reliable { Value::Null } else { false.into() });
        ws.send(&publish("back", "3", &rest));
        assert_eq!(game.event("back").0, channel);
    }
}

#[test]
fn messages_of_many_datagrams_arrive_whole() {
    let (server, port) = start("");
    let Some(mut game) = Game::connected(port) else { return };
    game.join("arena");
    let mut lines = Lines::connect(&server);
    lines.join("arena");
    let long = format!("\"{}\"", "long ".repeat(4_000));
    game.say(&publish("reliable", &long, ""));
    assert_eq!(lines.expect("event")["data"].to_string(), long);
    game.send(1, "pieces", publish("pieces", &long, "").as_bytes());
    assert_eq!(lines.expect("event")["event"], "pieces");
    for (name, rest) in [("back", ""), ("seen", r#","reliable":false"#)] {
        lines.send(&publish(name, &long, rest));
        assert_eq!(game.event(name).1["data"].to_string(), long);
    }
    // Just below the limit, and above.
    let fitting = format!("\"{}\"", "x".repeat(65_000));
    game.say(&publish("most", &fitting, ""));
    while lines.expect("event")["event"] != "most" {}
    game.say(&publish("more", &format!("\"{}\"", "x".repeat(66_000)), ""));
    assert_eq!(game.end(), Told::Disconnected(1009));
}

#[test]
fn messagepack_is_told_by_the_first_byte() {
    let (_server, port) = start("");
    let Some(mut game) = Game::connected(port) else { return };
    game.send(0, "reliable", b"\x82\xa4type\xa4ping\xa3ref\x05");
    let Told::Message(0, pong) = game.next() else { panic!("no answer") };
    assert!(pong.starts_with(b"\x82\xa4type\xa4pong"), "{pong:?}");
}

#[test]
fn checksums_and_compression_are_those_of_the_library() {
    for (query, options) in [
        ("?checksum=crc32", &["checksum"][..]),
        ("?compression=range", &["compression"][..]),
        ("?checksum=crc32&compression=range", &["checksum", "compression"][..]),
    ] {
        let (server, port) = start(query);
        let Some(mut game) = Game::start(port, 2, options) else { return };
        game.order("connect 0");
        assert_eq!(game.next(), Told::Connected, "{query}");
        game.join("arena");
        let mut lines = Lines::connect(&server);
        lines.join("arena");
        for number in 0..100 {
            let data = format!("\"{}{number}\"", "abc ".repeat(number * 50));
            game.say(&publish("there", &data, ""));
            assert_eq!(lines.expect("event")["data"].to_string(), data);
            lines.send(&publish("back", &data, ""));
            assert_eq!(game.event("back").1["data"].to_string(), data, "{query}");
            lines.expect("event");
        }
        // Who has not agreed on the same is not heard, and does no harm.
        let Some(mut other) = Game::start(port, 2, &[]) else { return };
        other.order("connect 0");
        game.say(r#"{"type":"ping","ref":9}"#);
        game.expect("pong");
    }
}

#[test]
fn who_leaves_is_gone_at_once_and_can_come_back() {
    let (server, port) = start("");
    let Some(mut game) = Game::connected(port) else { return };
    game.join("arena");
    let mut lines = Lines::connect(&server);
    lines.join("arena");
    for round in 0..4 {
        if round % 2 == 1 {
            // A session that could be resumed if its game had only vanished.
            game.say(r#"{"type":"leave","ref":5,"room":"arena"}"#);
            lines.expect("member_left");
            game.order("disconnect 0");
            assert_eq!(game.end(), Told::Disconnected(0));
            game.order("connect 0");
            assert_eq!(game.next(), Told::Connected);
            game.say(r#"{"type":"hello","ref":6}"#);
            game.join("arena");
            lines.expect("member_joined");
        }
        game.order("disconnect 7");
        assert_eq!(game.end(), Told::Disconnected(0));
        lines.expect("member_left");
        game.order("connect 0");
        assert_eq!(game.next(), Told::Connected);
        game.join("arena");
        lines.expect("member_joined");
    }
    // `bye` is answered with the connection's end, and its code.
    game.say(r#"{"type":"bye"}"#);
    assert_eq!(game.end(), Told::Disconnected(1000));
}

#[test]
fn a_session_is_resumed_by_a_game_that_vanished_and_came_back() {
    let server = start_with(|config| {
        config.listen = vec!["tcp://127.0.0.1:0".into(), "enet://127.0.0.1:0".into()];
        config.workers = 1;
    });
    let port = address(&server, "enet").port();
    let Some(mut game) = Game::connected(port) else { return };
    game.say(r#"{"type":"hello","ref":0}"#);
    let (_, welcome) = game.expect("welcome");
    game.join("arena");
    let mut lines = Lines::connect(&server);
    lines.join("arena");
    game.order("vanish");
    assert_eq!(game.end(), Told::Vanished);
    lines.send(&publish("missed", "1", ""));
    lines.expect("event");
    game.order("connect 0");
    assert_eq!(game.next(), Told::Connected);
    let resume = format!(
        r#"{{"type":"hello","ref":1,"resume":{{"session":{},"secret":{}}}}}"#,
        welcome["session"], welcome["resume"]
    );
    game.say(&resume);
    assert_eq!(game.expect("welcome").1["resumed"], Value::Bool(true));
    game.join("arena");
}

#[test]
fn a_server_that_stops_says_so_and_a_new_one_is_found() {
    let (server, port) = start("");
    let Some(mut game) = Game::connected(port) else { return };
    game.join("arena");
    server.drain_and_stop();
    let (channel, goodbye) = game.expect("goodbye");
    assert_eq!((channel, &goodbye["code"]), (0, &4802.into()));
    assert_eq!(game.end(), Told::Disconnected(4802));
    let server = start_with(|config| {
        config.listen = vec![format!("enet://127.0.0.1:{port}")];
    });
    game.order("connect 0");
    assert_eq!(game.next(), Told::Connected);
    game.join("arena");
    drop(server);
}

#[test]
fn a_game_of_one_channel_hears_everything_on_it() {
    let (server, port) = start("");
    let Some(mut game) = Game::start(port, 1, &[]) else { return };
    game.order("connect 0");
    assert_eq!(game.next(), Told::Connected);
    game.join("arena");
    let mut lines = Lines::connect(&server);
    lines.join("arena");
    lines.send(&publish("seen", "8", r#","reliable":false"#));
    assert_eq!(game.event("seen").0, 0);
}

#[test]
fn who_says_nothing_is_sent_away() {
    let (_server, port) = start("");
    let Some(mut game) = Game::connected(port) else { return };
    assert_eq!(game.next(), Told::Disconnected(4821));
}

#[test]
fn a_game_in_python_talks_with_a_program_on_tcp() {
    // `.ci/run` names a Python with pyenet.
    let Some(python) = std::env::var_os("PYENET") else {
        assert!(std::env::var_os("CI").is_none(), "PYENET names no Python with pyenet");
        return eprintln!("skipped: PYENET names no Python with pyenet");
    };
    let (server, port) = start("");
    let mut lines = Lines::connect(&server);
    lines.join("arena");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/enet/game.py");
    let mut game = Command::new(python);
    let game = game.args([script, &port.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    // An unreliable packet may be dropped behind a reliable one that came later.
    let mut came: Vec<_> = (0..7).map(|_| lines.expect("event")).collect();
    assert!(came.iter().all(|event| event["from"]["name"] == "Pia"));
    let long = came.iter().position(|event| event["event"] == "long").unwrap();
    assert_eq!(came.remove(long)["data"].as_str().unwrap().len(), 20_000);
    let mut ways: Vec<_> =
        came.iter().map(|event| (event["event"].to_string(), event["data"].as_u64())).collect();
    ways.sort();
    ways.dedup();
    assert_eq!(ways.len(), 6, "{ways:?}");
    lines.send(&publish("seen", "8", r#","reliable":false"#));
    lines.send(&publish("leave", "9", ""));
    lines.expect("member_left");
    let said = String::from_utf8(game.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.ends_with("disconnected\n"), "{said}");
    let heard = |channel, name: &str| {
        let name = format!(r#""event":"{name}""#);
        said.lines().any(|line| line.starts_with(channel) && line.contains(&name))
    };
    assert!(heard("1 ", "seen") && heard("0 ", "leave"), "{said}");
}

#[test]
fn a_game_in_love_talks_with_a_program_on_tcp() {
    let (server, port) = start("");
    let mut lines = Lines::connect(&server);
    lines.join("arena");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/enet/love");
    let mut game = Command::new("love");
    let game = game.args([directory, &port.to_string()]).stdout(Stdio::piped()).spawn();
    let Ok(game) = game else {
        assert!(std::env::var_os("CI").is_none(), "LÖVE is missing");
        return eprintln!("skipped: apt-get install love");
    };
    let mut came: Vec<_> = (0..2).map(|_| lines.expect("event")).collect();
    came.sort_by_key(|event| event["event"].to_string());
    for (event, (name, data)) in came.iter().zip([("move", 2), ("shot", 1)]) {
        assert_eq!((&event["event"], &event["data"]), (&name.into(), &data.into()));
        assert_eq!(event["from"]["name"], "Luna");
    }
    lines.send(&publish("seen", "8", r#","reliable":false"#));
    lines.send(&publish("leave", "9", ""));
    lines.expect("member_left");
    let said = String::from_utf8(game.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.ends_with("disconnected\n"), "{said}");
    assert!(said.lines().any(|line| line.starts_with('1') && line.contains("seen")), "{said}");
}
