//! What is thrown at ENet's port: nothing of it may cost more than it should, or disturb others.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use roomcast_wire::enet::{Closed, Heard};

use super::own::Own;
use super::peer::child::{Child, Setup};

const LISTEN: &[&str] = &["enet://127.0.0.1:0", "tcp://127.0.0.1:0"];

/// Draws numbers; the same each time.
struct Chances(u64);

impl Chances {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

fn server() -> (Child, SocketAddr) {
    let child = Child::start(&Setup { listen: LISTEN, ..Setup::default() });
    let address = child.address(0);
    (child, address)
}

/// A client that is let in and answered, and how long that took.
fn a_client_comes(server: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut own = Own::connected(server);
    own.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
    own.expect("joined");
    start.elapsed()
}

/// Bytes that wait at a socket.
fn waiting(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).sum()
}

/// 20,000 questions for connections, from 500 addresses in as many networks, 4,000 a second: what
/// a server without optimisation keeps up with on a busy machine.
/// Returns how many bytes went, and the sockets.
fn forge(server: SocketAddr) -> (usize, Vec<UdpSocket>) {
    let mut askers: Vec<_> = (0..500_u32)
        .map(|network| {
            let from = format!("127.{}.{}.9", 1 + network / 250, network % 250);
            let mut asking = Own::asking(&from, server, 0);
            let question = asking.datagrams().remove(0).to_vec();
            (asking.socket, question)
        })
        .collect();
    let (start, mut went, mut count) = (Instant::now(), 0, 0_u32);
    for number in 0..40_u32 {
        for (socket, question) in &mut askers {
            // What the asking side draws stands before the last word.
            let at = question.len() - 8;
            question[at..at + 4].copy_from_slice(&number.to_be_bytes());
            went += question.len();
            let _ = socket.send(question);
            count += 1;
            let due = Duration::from_micros(250) * count;
            if count.is_multiple_of(50) {
                std::thread::park_timeout(due.saturating_sub(start.elapsed()));
            }
        }
    }
    (went, askers.into_iter().map(|(socket, _)| socket).collect())
}

#[test]
fn forged_questions_fill_no_table_and_keep_nobody_out() {
    let (child, server) = server();
    a_client_comes(server);
    let before = child.resident_kib();
    let forging = std::thread::spawn(move || forge(server));
    let mut slowest = Duration::ZERO;
    while !forging.is_finished() {
        slowest = slowest.max(a_client_comes(server));
        // One network may ask 512 times a second.
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let (went, sockets) = forging.join().unwrap();
    let came: usize = sockets.iter().map(waiting).sum();
    let after = child.resident_kib();
    println!("20,000 forged questions: {went} B there, {came} B back, slowest client {slowest:?}");
    println!("resident before {before} KiB, after {after} KiB");
    assert!(came <= went, "{came} for {went}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(after - before < 24 << 10, "{before} {after}");
}

#[test]
fn nothing_is_repeated_to_who_never_answers() {
    let (_child, server) = server();
    let mut asking = Own::asking("127.0.0.1", server, 1);
    let question = asking.datagrams().remove(0);
    asking.socket.send(&question).unwrap();
    // Another client's whole life lies between, and a second of its silence.
    a_client_comes(server);
    let until = Instant::now() + Duration::from_millis(1500);
    let mut other = Own::connected(server);
    while Instant::now() < until {
        other.turn();
    }
    let came = waiting(&asking.socket);
    assert!((1..=question.len()).contains(&came), "{came} for {}", question.len());
}

#[test]
fn random_datagrams_disturb_nobody() {
    let (mut child, server) = server();
    let mut honest = Own::connected(server);
    honest.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
    honest.expect("joined");
    let before = child.resident_kib();
    let mut chances = Chances(11);
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    noise.connect(server).unwrap();
    let mut went = 0;
    for round in 0..200_000 {
        let length = chances.next() as usize % 100;
        let datagram: Vec<u8> = (0..length).map(|_| chances.next() as u8).collect();
        went += datagram.len();
        let _ = noise.send(&datagram);
        if round % 10_000 == 0 {
            honest.say(r#"{"type":"ping","ref":5}"#);
            honest.expect("pong");
        }
    }
    assert!(waiting(&noise) < went);
    assert!(child.is_running());
    assert!(child.resident_kib() - before < 16 << 10);
}

#[test]
fn broken_datagrams_of_a_client_end_its_own_connection_at_most() {
    let (mut child, server) = server();
    let mut honest = Own::connected(server);
    honest.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
    honest.expect("joined");
    let mut chances = Chances(12);
    let mut hostile = Own::connected(server);
    let mut ended = 0;
    for round in 0..20_000_u32 {
        let long = "x".repeat(chances.next() as usize % 4000);
        hostile.say(&format!(r#"{{"type":"ping","ref":{round},"data":"{long}"}}"#));
        for datagram in hostile.datagrams() {
            let mut bytes = datagram.to_vec();
            for _ in 0..chances.next() % 4 {
                // Behind whom it is for: it reaches the connection.
                let at = 2 + chances.next() as usize % 40;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = chances.next() as u8;
                }
            }
            let _ = hostile.socket.send(&bytes);
        }
        if round % 50 == 0 {
            hostile.turn();
            if !hostile.connection.is_open() {
                ended += 1;
                hostile = Own::connected(server);
            }
        }
        if round % 1_000 == 0 {
            honest.say(r#"{"type":"ping","ref":5}"#);
            honest.expect("pong");
        }
    }
    println!("{ended} connections were ended by what they sent");
    assert!(ended > 0);
    assert!(child.is_running());
}

/// The first words of the datagrams of a connected client, with a time.
fn head(own: &mut Own) -> [u8; 4] {
    own.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
    let datagrams = own.datagrams();
    let head = *datagrams[0].first_chunk().unwrap();
    for datagram in datagrams {
        own.socket.send(&datagram).unwrap();
    }
    own.expect("joined");
    head
}

#[test]
fn pieces_that_are_never_completed_are_bounded() {
    let (child, server) = server();
    let mut clients: Vec<_> = (0..40).map(|_| Own::connected(server)).collect();
    let heads: Vec<_> = clients.iter_mut().map(head).collect();
    let before = child.resident_kib();
    for number in 0..2_000_u32 {
        for (own, head) in clients.iter().zip(&heads) {
            let mut datagram = head.to_vec();
            let start = (number * 10 + 2) as u16;
            datagram.extend([0x88, 0]);
            datagram.extend(start.to_be_bytes());
            datagram.extend(start.to_be_bytes());
            datagram.extend(1_000_u16.to_be_bytes());
            for word in [60, 0, 60_000, 0] {
                datagram.extend(u32::to_be_bytes(word));
            }
            datagram.resize(datagram.len() + 1_000, b'x');
            let _ = own.socket.send(&datagram);
        }
        a_moment(&mut clients, number);
    }
    let after = child.resident_kib();
    println!("80 MB of first pieces from 40 clients: {before} KiB before, {after} KiB after");
    assert!(after - before < 16 << 10, "{before} {after}");
    assert!(a_client_comes(server) < Duration::from_secs(1));
}

/// Keeps the sockets from filling up.
fn a_moment(clients: &mut [Own], number: u32) {
    if number.is_multiple_of(20) {
        clients.iter().for_each(|own| {
            waiting(&own.socket);
            own.socket.set_nonblocking(false).unwrap();
        });
    }
}

#[test]
fn a_flood_of_commands_is_answered_within_bounds_and_others_are_served() {
    let (mut child, server) = server();
    let mut honest = Own::connected(server);
    honest.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
    honest.expect("joined");
    let mut hostile = Own::connected(server);
    let mut ping = head(&mut hostile).to_vec();
    // 340 pings, each of which wants an acknowledgement.
    for sequence in 100..440_u16 {
        ping.extend([0x85, 0xff]);
        ping.extend(sequence.to_be_bytes());
    }
    let before = child.resident_kib();
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    for round in 1..=4_000_u32 {
        let _ = hostile.socket.send(&ping);
        let due = Duration::from_millis(1) * round;
        std::thread::park_timeout(due.saturating_sub(start.elapsed()));
        if round % 100 == 0 {
            let asked = Instant::now();
            honest.say(r#"{"type":"ping","ref":5}"#);
            honest.expect("pong");
            slowest = slowest.max(asked.elapsed());
        }
        if round % 20 == 0 {
            waiting(&hostile.socket);
        }
    }
    println!("340,000 commands a second for 4 s; slowest answer to another {slowest:?}");
    assert!(child.is_running());
    assert!(child.resident_kib() - before < 16 << 10);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn what_is_repeated_is_done_once() {
    let (_child, server) = server();
    let mut own = Own::connected(server);
    own.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
    own.expect("joined");
    own.say(r#"{"type":"publish","ref":2,"room":"lobby","event":"once","data":1,"echo":true}"#);
    let datagrams = own.datagrams();
    for _ in 0..20 {
        for datagram in &datagrams {
            own.socket.send(datagram).unwrap();
        }
    }
    own.say(r#"{"type":"publish","ref":3,"room":"lobby","event":"twice","data":2,"echo":true}"#);
    let first = own.expect("event");
    let second = own.expect("event");
    assert_eq!((&first["event"], &second["event"]), (&"once".into(), &"twice".into()));
    assert_eq!(second["at"]["offset"], 2);
}

#[test]
fn a_place_has_one_connection_however_often_its_program_begins_anew() {
    let settings = [("LIMITS__CONNECTIONS", "4")];
    let child = Child::start(&Setup { listen: LISTEN, settings: &settings, ..Setup::default() });
    let server = child.address(0);
    let mut own = Own::connected(server);
    for id in 10..30 {
        own.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
        own.expect("joined");
        own.connection = Own::asking("127.0.0.1", server, id).connection;
        assert_eq!(own.next(), Heard::Connected);
    }
    // Those beyond the limit are told so, by a datagram smaller than theirs.
    let mut others: Vec<_> = (0..3).map(|_| Own::connected(server)).collect();
    others.iter_mut().for_each(|other| {
        other.say(r#"{"type":"ping","ref":1}"#);
        other.expect("pong");
    });
    let mut late = Own::connected(server);
    assert_eq!(late.next(), Heard::Closed(Closed::Left(4810)));
}
