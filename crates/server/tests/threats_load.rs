//! Attacks on memory, CPU time and descriptors (S1, S5, S7, S9, S10), each against the real binary
//! in a process of its own. The bounds are those of the threat table, with [`ROUNDING_KIB`] on
//! top of those of memory.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{Read, Write};
use std::time::Duration;

use bytes::BytesMut;
use peer::child::{Child, Setup};
use peer::{HANDSHAKE, Ws, connect, frame, get, is_closed, until};

const MIB: i64 = 1 << 10;

/// The allocator takes pieces of up to 4 MiB from the system, whatever it is asked for.
const ROUNDING_KIB: i64 = 4 * MIB;

/// A child that has served once, so that what is set up at first use is in its memory.
fn warm(setup: &Setup<'_>) -> Child {
    let child = Child::start(setup);
    let mut peer = Ws::over(connect(child.address(0)));
    peer.hello();
    peer.join("warm");
    assert_eq!(get(child.address(0), "/metrics").0, 200);
    child
}

fn canary(child: &Child) {
    let mut peer = Ws::over(connect(child.address(0)));
    peer.send(r#"{"type":"ping","ref":1}"#);
    assert_eq!(peer.expect("pong")["ref"], 1);
}

#[test]
fn s1_an_endless_header_costs_next_to_nothing() {
    let child = warm(&Setup::default());
    let before = child.cpu_ticks();
    for _ in 0..10 {
        let mut stream = connect(child.address(0));
        stream.write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX: ").unwrap();
        for _ in 0..1_024 {
            if stream.write_all(&[b'a'; 64]).is_err() {
                break;
            }
        }
        assert!(is_closed(&mut stream));
    }
    // 50 ms each; the tests run the server without optimisation.
    let ticks = child.cpu_ticks() - before;
    assert!(ticks <= 50, "{ticks} hundredths of a second for 10 attacks");
    canary(&child);
}

#[test]
fn s5_unknown_peers_get_little_memory() {
    let settings = [("LIMITS__HANDSHAKE_MS", "60000"), ("LIMITS__FIRST_MESSAGE_MS", "60000")];
    let child = warm(&Setup { settings: &settings, ..Setup::default() });
    let before = child.resident_kib();
    let mut peers = Vec::new();
    let mut half = frame(0x81, &[b'a'; 16 << 10]);
    half.truncate(15 << 10);
    for _ in 0..2_000 {
        let mut peer = Ws::over(connect(child.address(0)));
        peer.stream.write_all(&half).unwrap();
        peers.push(peer.stream);
    }
    canary(&child);
    let grown = child.resident_kib() - before;
    assert!(grown < 40 * MIB, "{grown} KiB");
    // Above the limit for unknown peers nothing is gathered at all.
    let mut peer = Ws::over(connect(child.address(0)));
    peer.stream.write_all(&frame(0x81, &[b'a'; (16 << 10) + 1])[..8]).unwrap();
    assert_eq!(peer.expect("goodbye")["code"], 1009);
    drop(peers);
    // The server looks every few seconds whether many have gone.
    until("memory comes back", || {
        canary(&child);
        child.resident_kib() - before < 12 * MIB
    });
}

#[test]
fn s6_declared_lengths_cost_no_memory() {
    let child = warm(&Setup::default());
    let before = child.resident_kib();
    for _ in 0..100 {
        let mut peer = Ws::over(connect(child.address(0)));
        let mut head = vec![0x81, 0xff];
        head.extend((1_u64 << 40).to_be_bytes());
        head.extend([0; 4]);
        peer.stream.write_all(&head).unwrap();
        assert_eq!(peer.expect_close(), 1009);
    }
    let grown = child.resident_kib() - before;
    assert!(grown <= ROUNDING_KIB, "{grown} KiB");
}

#[test]
fn s7_fragments_without_number_cost_their_bytes_only() {
    let child = warm(&Setup::default());
    let before = child.resident_kib();
    let mut one_byte = Ws::over(connect(child.address(0)));
    one_byte.hello();
    one_byte.send_frame(0x01, b"a");
    let many = frame(0x00, b"a").repeat(60_000);
    one_byte.stream.write_all(&many).unwrap();
    canary(&child);
    let grown = child.resident_kib() - before;
    assert!(grown <= ROUNDING_KIB + MIB, "{grown} KiB");
    // Empty ones: closed after a while, or for nothing.
    let mut empty = Ws::over(connect(child.address(0)));
    empty.hello();
    empty.send_frame(0x01, b"");
    let many = frame(0x00, b"").repeat(10_000);
    for _ in 0..50 {
        if empty.stream.write_all(&many).is_err() {
            break;
        }
    }
    canary(&child);
    let grown = child.resident_kib() - before;
    assert!(grown <= ROUNDING_KIB + MIB, "{grown} KiB");
}

#[test]
fn s9_a_compressed_bomb_is_stopped_at_the_limit() {
    let child = warm(&Setup::default());
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut stream = connect(child.address(0));
    stream.write_all(format!("{HANDSHAKE}{offer}\r\n").as_bytes()).unwrap();
    let head = peer::read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(!head.to_ascii_lowercase().contains("permessage-deflate"), "off by default: {head}");
    drop(stream);

    let child = warm(&Setup { settings: &[("HTTP__DEFLATE", "true")], ..Setup::default() });
    let mut bomb = BytesMut::new();
    roomcast_wire::ws::frame::deflate(&vec![b'a'; 1 << 20], &mut bomb);
    assert!(bomb.len() < 16 << 10, "{}", bomb.len());
    let before = child.resident_kib();
    for _ in 0..10 {
        let mut stream = connect(child.address(0));
        stream.write_all(format!("{HANDSHAKE}{offer}\r\n").as_bytes()).unwrap();
        assert!(peer::read_head(&mut stream).contains("permessage-deflate"));
        let mut peer = Ws { stream };
        peer.send_frame(0xc1, &bomb);
        assert_eq!(peer.expect_close(), 1009);
    }
    let grown = child.resident_kib() - before;
    assert!(grown <= ROUNDING_KIB + 2 * MIB, "{grown} KiB");
}

#[test]
fn s10_pings_without_number_are_answered_by_few_pongs() {
    let child = warm(&Setup::default());
    let before = child.resident_kib();
    let mut peer = Ws::over(connect(child.address(0)));
    peer.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    peer.hello();
    // 200,000 pings of a peer that reads nothing.
    let many = frame(0x89, &[b'p'; 125]).repeat(1_000);
    for _ in 0..200 {
        if peer.stream.write_all(&many).is_err() {
            break;
        }
    }
    canary(&child);
    let grown = child.resident_kib() - before;
    assert!(grown <= ROUNDING_KIB + MIB, "{grown} KiB");
}

#[test]
fn descriptors_may_run_out_and_come_back() {
    let mut child = Child::start(&Setup { descriptors: Some(48), ..Setup::default() });
    let mut peers: Vec<_> = (0..100).map(|_| connect(child.address(0))).collect();
    // Those that found no place are closed, so that their clients know.
    let mut last = peers.pop().unwrap();
    assert!(is_closed(&mut last));
    assert!(child.is_running());
    drop(peers);
    until("somebody is let in again", || {
        let mut stream = connect(child.address(0));
        let begun = stream.write_all(format!("{HANDSHAKE}\r\n").as_bytes());
        begun.is_ok() && stream.read(&mut [0; 12]).is_ok_and(|count| count == 12)
    });
    canary(&child);
    let (_, _, metrics) = get(child.address(0), "/metrics");
    let counted = metrics.lines().find(|line| line.starts_with("roomcast_accept_exhausted_total "));
    assert!(!counted.unwrap().ends_with(" 0"), "{counted:?}");
}

/// The same as S5 for connections without a namespace and for long-polling, where what is unknown
/// are bodies.
#[test]
fn s5_unknown_peers_of_engineio_get_little_memory() {
    let settings = [("SOCKETIO__CONNECT_TIMEOUT", "60000"), ("SOCKETIO__PING_TIMEOUT", "60000")];
    let child = warm(&Setup { settings: &settings, ..Setup::default() });
    let address = child.address(0);
    let sid = open_polling(&child);
    let before = child.resident_kib();
    let mut half = frame(0x81, &[b'4'; 16 << 10]);
    half.truncate(15 << 10);
    let mut peers = Vec::new();
    for _ in 0..2_000 {
        let mut peer = connect(address);
        let target = "/socket.io/?EIO=4&transport=websocket";
        let request = HANDSHAKE.replacen("/ws", target, 1);
        peer.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        assert!(peer::read_head(&mut peer).starts_with("HTTP/1.1 101 "));
        peer.write_all(&half).unwrap();
        peers.push(peer);
    }
    canary(&child);
    let grown = child.resident_kib() - before;
    assert!(grown < 40 * MIB, "WebSockets: {grown} KiB");
    drop(peers);
    until("memory comes back", || {
        canary(&child);
        child.resident_kib() - before < 12 * MIB
    });
    // Sessions on long-polling to which nobody has connected.
    let before = child.resident_kib();
    let sids: Vec<_> = (0..2_000).map(|_| open_polling(&child)).collect();
    canary(&child);
    let grown = child.resident_kib() - before;
    assert!(grown < 40 * MIB, "sessions: {grown} KiB");
    assert!(sids.iter().all(|other| *other != sid));
    // A body that is larger than an unknown peer may send is not waited for.
    let mut large = post(address, &sid, 17 << 10);
    let head = peer::read_head(&mut large);
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    // Bodies that do not come to an end.
    let mut peers = Vec::new();
    let before = child.resident_kib();
    for sid in &sids {
        let mut peer = post(address, sid, 16 << 10);
        peer.write_all(&half).unwrap();
        peers.push(peer);
    }
    canary(&child);
    let grown = child.resident_kib() - before;
    assert!(grown < 80 * MIB, "bodies: {grown} KiB");
}

fn open_polling(child: &Child) -> String {
    let (status, _, body) = get(child.address(0), "/socket.io/?EIO=4&transport=polling");
    assert_eq!(status, 200, "{body}");
    body.split('"').nth(3).unwrap().to_owned()
}

fn post(address: std::net::SocketAddr, sid: &str, length: usize) -> std::net::TcpStream {
    let mut stream = connect(address);
    let request = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}
