//! How a server starts, bounds its connections, takes leave and ends.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::Read;
use std::time::{Duration, Instant};

use peer::{Lines, Ws, address, connect, get, http, start, until};
use roomcast::{CallError, Config, Server, StartError};

fn refused(change: impl FnOnce(&mut Config)) -> StartError {
    let mut config = Config { listen: vec!["ws://127.0.0.1:0".into()], ..Config::default() };
    change(&mut config);
    Server::builder().config(config).start().unwrap_err()
}

#[test]
fn what_is_unsafe_or_wrong_does_not_start_and_says_what_to_do() {
    let open = refused(|config| config.listen = vec!["ws://0.0.0.0:0".into()]).to_string();
    assert!(open.contains("insecure"), "{open}");
    let typo = refused(|config| config.listen = vec!["wsx://127.0.0.1:0".into()]).to_string();
    assert!(typo.contains("did you mean"), "{typo}");
    let tls = refused(|config| config.listen = vec!["wss://127.0.0.1:0".into()]).to_string();
    assert!(tls.contains("tls"), "{tls}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let busy = refused(|config| config.listen = vec![format!("tcp://{taken}")]);
    assert!(matches!(&busy, StartError::Listen { address, .. } if *address == taken), "{busy}");
    assert!(busy.to_string().contains(&taken.to_string()), "{busy}");
    let meant =
        Config { listen: vec!["tcp://0.0.0.0:0".into()], insecure: true, ..Config::default() };
    Server::builder().config(meant).start().unwrap().stop();
}

#[test]
fn several_servers_in_one_process_do_not_hear_each_other() {
    let servers = [start(|_| {}), start(|_| {})];
    let mut peers: Vec<_> = servers.iter().map(Ws::connect).collect();
    peers.iter_mut().for_each(|peer| peer.join("lobby"));
    peers[0].send(r#"{"type":"publish","room":"lobby","event":"first"}"#);
    assert_eq!(peers[0].expect("event")["event"], "first");
    peers[1].send(r#"{"type":"publish","room":"lobby","event":"second"}"#);
    assert_eq!(peers[1].expect("event")["event"], "second");
    let [one, other] = servers;
    one.stop();
    peers[1].send(r#"{"type":"publish","room":"lobby","event":"third"}"#);
    assert_eq!(peers[1].expect("event")["event"], "third");
    other.stop();
    assert_eq!(peers[1].next_frame(), None);
}

#[test]
fn connections_are_bounded_and_refused_with_a_reason() {
    let server = start(|config| config.limits.connections = 3);
    let mut kept: Vec<_> = (0..3).map(|_| Lines::connect(&server)).collect();
    kept.iter_mut().for_each(|peer| peer.join("lobby"));
    let (status, head, _) = http(address(&server, "ws"), "");
    assert_eq!((status, head.contains("retry-after: ")), (503, true), "{head}");
    let mut refused = Lines::connect(&server);
    let goodbye = refused.next().unwrap();
    assert_eq!((&goodbye["type"], &goodbye["code"]), (&"goodbye".into(), &4810.into()));
    assert_eq!(refused.next(), None);
    kept.pop();
    until("a place is free", || server.connections() < 3);
    Ws::connect(&server).join("lobby");
}

#[test]
fn a_drain_tells_everybody_and_loses_nothing_that_was_accepted() {
    let server = start(|config| config.drain_retry_ms = 1_000);
    let mut ws: Vec<_> = (0..8).map(|_| Ws::connect(&server)).collect();
    let mut tcp: Vec<_> = (0..8).map(|_| Lines::connect(&server)).collect();
    ws.iter_mut().for_each(|peer| peer.join("lobby"));
    tcp.iter_mut().for_each(|peer| peer.join("lobby"));
    let asked = 200;
    for n in 1..=asked {
        tcp[0].send(&format!(
            r#"{{"type":"publish","ref":{n},"room":"lobby","event":"e","echo":false}}"#
        ));
    }
    // Read by the server, though perhaps not yet delivered.
    until("all were read", || server.handle().counters().commands_total >= 16 + asked);
    let drain = std::thread::spawn(move || server.drain_and_stop());
    for peer in &mut ws {
        for n in 1..=asked {
            assert_eq!(peer.expect("event")["at"]["offset"], n);
        }
        let goodbye = peer.expect("goodbye");
        assert_eq!(goodbye["code"], 4802);
        assert!(goodbye["retry_ms"].as_u64().unwrap() <= 1_000);
        assert_eq!(peer.expect_close(), 4802);
        peer.send_frame(0x88, &4802_u16.to_be_bytes());
        assert_eq!(peer.next_frame(), None);
    }
    for n in 1..=asked {
        assert_eq!(tcp[0].expect("ok")["position"]["offset"], n);
    }
    for peer in &mut tcp {
        assert_eq!(peer.expect("goodbye")["code"], 4802);
        assert_eq!(peer.next(), None);
    }
    drop(tcp);
    drain.join().unwrap();
}

#[test]
fn a_drain_fails_readiness_and_has_an_end() {
    let server = start(|config| config.drain_ms = 700);
    let ws = address(&server, "ws");
    // It never says goodbye, and reads nothing.
    let mut stays = Ws::connect(&server);
    stays.join("lobby");
    let handle = server.handle();
    let began = Instant::now();
    let drain = std::thread::spawn(move || server.drain_and_stop());
    until("readiness fails", || get(ws, "/health/ready").0 == 503);
    assert_eq!(get(ws, "/health/live").0, 200);
    drain.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(handle.room("lobby").delete().wait(), Err(CallError::Stopped));
}

#[test]
fn a_stop_ends_at_once_and_frees_the_address() {
    let server = start(|_| {});
    let ws = address(&server, "ws");
    let mut peer = Ws::connect(&server);
    peer.join("lobby");
    let mut silent = connect(ws);
    server.stop();
    assert_eq!(peer.next_frame(), None);
    assert_eq!(silent.read(&mut [0; 16]).unwrap_or(0), 0);
    let again = start(|config| config.listen = vec![format!("ws://{ws}")]);
    Ws::connect(&again).join("lobby");
}
