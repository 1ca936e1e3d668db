//! Plain UDP, against the real server.

#![allow(clippy::unwrap_used)]

mod attacks;
#[path = "../peer/mod.rs"]
mod peer;
mod raw;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use peer::{Ws, address, get, until};
use raw::{Raw, Refused, socket};
use roomcast::{Config, Server};

/// A server with a WebSocket and a UDP listener.
fn start(change: impl FnOnce(&mut Config)) -> (Server, SocketAddr) {
    let server = peer::start(|config| {
        config.listen = vec!["ws://127.0.0.1:0".into(), "udp://127.0.0.1:0".into()];
        change(config);
    });
    let address = address(&server, "udp");
    (server, address)
}

/// A counter, of all workers.
fn total(server: &Server, name: &str) -> u64 {
    let (_, _, text) = get(address(server, "ws"), "/metrics");
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn members_on_udp_and_on_websockets_hear_each_other() {
    let (server, address) = start(|_| {});
    let mut dashboard = Ws::connect(&server);
    dashboard.join("lobby");
    let mut phones = [Raw::connect(address), Raw::connect(address)];
    phones.iter_mut().for_each(|phone| phone.join("lobby"));
    let long = "x".repeat(50_000);
    for (reliable, text) in [(true, "a"), (false, "b"), (true, long.as_str()), (false, &long)] {
        let how = format!(r#""data":"{text}","reliable":{reliable}"#);
        let publish = format!(r#"{{"type":"publish","room":"lobby","event":"e",{how}}}"#);
        phones[0].say_as(&publish, reliable);
        for phone in &mut phones {
            assert_eq!(phone.expect("event")["data"], text);
        }
        assert_eq!(dashboard.expect("event")["data"], text);
    }
    dashboard.send(r#"{"type":"publish","room":"lobby","event":"e","data":"c"}"#);
    assert_eq!(phones[1].expect("event")["data"], "c");
    phones[1].say(r#"{"type":"bye","ref":7}"#);
    assert_eq!(phones[1].expect("goodbye")["code"], 1000);
    assert_eq!(phones[1].end(), 1000);
    until("the seat is not given up", || {
        server.handle().room("lobby").presence().wait().is_ok_and(|p| p.members == 2)
    });
}

#[test]
fn the_client_library_speaks_it_in_both_codecs() {
    let (server, address) = start(|_| {});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for codec in [roomcast_client::Codec::Json, roomcast_client::Codec::MsgPack] {
            let url = format!("udp://{address}");
            let client = roomcast_client::Client::builder(&url).codec(codec);
            let client = client.connect().await.unwrap();
            let room = client.join("lobby").await.unwrap();
            let first = room.publish("chat", &"hi").await.unwrap().unwrap();
            room.publish_unreliable("move", &[1, 2]).await.unwrap();
            let large = vec![7_u8; 20_000];
            let second = room.publish("blob", &large).await.unwrap().unwrap();
            assert_eq!(second.offset, first.offset + 2);
            let began = Instant::now();
            client.close().await;
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        }
    });
    until("somebody is still there", || server.connections() == 0);
}

/// The new server knows nothing of the old one's sessions, and says so at the first word.
#[test]
fn the_client_library_comes_back_to_a_server_that_was_restarted() {
    let (server, address) = start(|_| {});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = roomcast_client::Client::connect(&format!("udp://{address}")).await.unwrap();
        let room = client.join("lobby").await.unwrap();
        room.publish("chat", &1).await.unwrap();
        server.stop();
        let _server = start(|config| config.listen = vec![format!("udp://{address}")]);
        let began = Instant::now();
        room.publish("chat", &2).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        client.close().await;
    });
}

#[test]
fn the_client_in_python_says_and_hears() {
    let (server, address) = start(|_| {});
    let mut listener = Ws::connect(&server);
    listener.join("lobby");
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/udp-client/udp_client.py");
    assert!(std::fs::read_to_string(client).unwrap().lines().count() < 150);
    let mut python = Command::new("python3");
    python.arg(client).args([&address.ip().to_string(), &address.port().to_string()]);
    python.args(["lobby", "Mina"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().expect("python3 is needed");
    let mut stdin = python.stdin.take().unwrap();
    let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
    let mut hear = |kind: &str| loop {
        let line = lines.next().unwrap().unwrap();
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        if message["type"] == kind {
            return message;
        }
    };
    hear("joined");
    let long = "y".repeat(3_000);
    writeln!(stdin, "{long}").unwrap();
    assert_eq!(listener.expect("event")["data"]["text"], long.as_str());
    assert_eq!(hear("event")["from"]["name"], "Mina");
    listener.send(r#"{"type":"publish","room":"lobby","event":"e","data":1,"reliable":false}"#);
    assert_eq!(hear("event")["data"], 1);
    drop(stdin);
    assert_eq!(hear("goodbye")["code"], 1000);
    assert!(python.wait().unwrap().success());
}

#[test]
fn a_server_that_stops_takes_leave() {
    let (server, address) = start(|config| config.drain_retry_ms = 7);
    let mut phone = Raw::connect(address);
    phone.join("lobby");
    let stopping = std::thread::spawn(move || {
        let began = Instant::now();
        server.drain_and_stop();
        began.elapsed()
    });
    let goodbye = phone.expect("goodbye");
    assert_eq!((goodbye["code"].as_u64(), phone.end()), (Some(4802), 4802));
    assert!(stopping.join().unwrap() < Duration::from_secs(3));
}

#[test]
fn connections_count_towards_the_limits() {
    let (server, address) = start(|config| config.limits.connections = 2);
    let mut kept = [Raw::connect(address), Raw::connect(address)];
    let refused = Raw::greet(socket("127.0.0.1"), address).map(|_| ());
    assert_eq!(refused, Err(Refused(4810)));
    kept[0].say(r#"{"type":"bye"}"#);
    kept[0].end();
    until("the place is not given back", || server.connections() == 1);
    Raw::connect(address).join("lobby");
}

#[test]
fn who_gets_a_new_address_goes_on_without_a_gap() {
    let (_server, address) = start(|_| {});
    let mut phone = Raw::connect(address);
    phone.join("lobby");
    phone.socket = socket("127.0.0.9");
    for text in ["one", "two", "three"] {
        let publish = format!(r#"{{"type":"publish","room":"lobby","event":"e","data":"{text}"}}"#);
        phone.say(&publish);
        assert_eq!(phone.expect("event")["data"], text);
    }
}

#[test]
fn a_session_is_resumed_from_another_address() {
    let (_server, address) = start(|config| config.workers = 1);
    let mut phone = Raw::connect(address);
    phone.say(r#"{"type":"hello","ref":1,"name":"Mina"}"#);
    let welcome = phone.expect("welcome");
    phone.join("lobby");
    let mut again = Raw::connect(address);
    let (session, secret) = (&welcome["session"], &welcome["resume"]);
    let resume = format!(r#"{{"session":{session},"secret":{secret}}}"#);
    again.say(&format!(r#"{{"type":"hello","ref":1,"resume":{resume}}}"#));
    assert_eq!(again.expect("welcome")["resumed"], true);
    assert_eq!(phone.end(), 4820);
}

/// Its session is with another worker, where its socket is not.
#[test]
fn a_session_that_is_elsewhere_is_begun_anew() {
    let (server, address) = start(|config| config.workers = 2);
    // One of a few lives there.
    let mut elsewhere = false;
    for _ in 0..40 {
        let mut other = Ws::connect(&server);
        other.send(r#"{"type":"hello","ref":1}"#);
        let welcome = other.expect("welcome");
        let mut phone = Raw::connect(address);
        let (session, secret) = (&welcome["session"], &welcome["resume"]);
        let resume = format!(r#"{{"session":{session},"secret":{secret}}}"#);
        let hello = format!(r#"{{"type":"hello","ref":1,"resume":{resume}}}"#);
        phone.say(&hello);
        let start = Instant::now();
        let answer = phone.expect_any(&["welcome", "error"]);
        assert!(start.elapsed() < Duration::from_secs(10));
        if answer["type"] == "error" {
            elsewhere = true;
            assert_eq!(answer["code"], 4012);
            phone.say(r#"{"type":"hello","ref":2}"#);
            assert_eq!(phone.expect("welcome")["resumed"], false);
            break;
        }
    }
    assert!(elsewhere, "all sessions were with one worker");
}

#[test]
fn a_reader_that_takes_nothing_is_dropped_and_nobody_else_notices() {
    let (server, address) = start(|config| config.limits.outbox_bytes = 256 << 10);
    let mut deaf = Raw::connect(address);
    deaf.join("lobby");
    let mut others = [Ws::connect(&server), Ws::connect(&server)];
    others.iter_mut().for_each(|other| other.join("lobby"));
    let data = "z".repeat(10_000);
    for _ in 0..100 {
        let publish = format!(r#"{{"type":"publish","room":"lobby","event":"e","data":"{data}"}}"#);
        others[0].send(&publish);
        others.iter_mut().for_each(|other| assert_eq!(other.expect("event")["event"], "e"));
    }
    until("it is not dropped", || total(&server, "roomcast_slow_readers_total") == 1);
    assert!(total(&server, "roomcast_datagrams_repeated_total") < 2_000);
}
