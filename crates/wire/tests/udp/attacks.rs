//! Datagrams of those who are not the peer, and of peers who break the rules (threats S41 to S45).

use std::time::Duration;

use roomcast_wire::CloseCode;
use roomcast_wire::udp::frame::Frame;
use roomcast_wire::udp::greeting::Greeting;
use roomcast_wire::udp::seal::Key;
use roomcast_wire::udp::session::{Event, Refused, Role, Session};

use super::numbered;
use super::pair::{ID, KEY, MS, Pair, Way, client_address, server_address, terms};

fn server() -> Session {
    Session::new(ID, KEY, terms(Role::Server), client_address(), Duration::ZERO)
}

/// A datagram from the client, as only one who has the key can make it.
fn sealed(key: Key, id: u64, seq: u64, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = vec![0x11];
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    frames.iter().for_each(|frame| frame.put(&mut out));
    let tag = key.tag(&out);
    out.extend_from_slice(&tag);
    out
}

fn receive(session: &mut Session, datagram: &[u8]) -> (Result<(), Refused>, Vec<Event>) {
    let mut events = Vec::new();
    let outcome = session.receive(MS, client_address(), datagram, &mut events);
    (outcome, events)
}

/// S44.
#[test]
fn every_datagram_of_a_session_counts_once() {
    let mut pair = Pair::new(Way::default(), 1);
    for said in 0..3_000 {
        pair.client.session.send(&numbered(said, 10), said % 3 == 0);
        let until = pair.now + MS;
        pair.run_until(until);
    }
    assert_eq!(pair.server.take_messages().len(), 3_000);
    let now = pair.now;
    for (to, from, datagram) in std::mem::take(&mut pair.log) {
        let end = if to == server_address() { &mut pair.server } else { &mut pair.client };
        let outcome = end.session.receive(now, from, &datagram, &mut end.events);
        assert_eq!(outcome, Err(Refused::Replayed));
        // What one side has sent is nothing that it takes, either.
        let end = if to == server_address() { &mut pair.client } else { &mut pair.server };
        let outcome = end.session.receive(now, from, &datagram, &mut end.events);
        assert_eq!(outcome, Err(Refused::Foreign));
    }
    assert!(pair.server.take_messages().is_empty());
}

/// S45.
#[test]
fn what_is_changed_or_guessed_is_passed_over() {
    let mut session = server();
    let message = [Frame::Unreliable(b"hello")];
    let good = sealed(KEY, ID, 0, &message);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut forged = good.clone();
            forged[at] ^= 1 << bit;
            let (outcome, events) = receive(&mut session, &forged);
            assert!(outcome.is_err() && events.is_empty(), "byte {at} bit {bit}: {outcome:?}");
        }
    }
    for end in 0..good.len() {
        assert!(receive(&mut session, &good[..end]).0.is_err());
    }
    let other = sealed(Key::new([1; 16]), ID, 0, &message);
    assert_eq!(receive(&mut session, &other).0, Err(Refused::Forged));
    let other = sealed(KEY, ID + 1, 0, &message);
    assert_eq!(receive(&mut session, &other).0, Err(Refused::Foreign));
    assert!(!session.is_confirmed());
    assert_eq!(receive(&mut session, &good), (Ok(()), vec![Event::Message("hello".into())]));
}

#[test]
fn numbers_of_datagrams_end_where_they_would_begin_again() {
    let mut session = server();
    let message = [Frame::Unreliable(b"x")];
    for (seq, expected) in [
        (5, Ok(())),
        (u64::MAX - 1, Ok(())),
        (u64::MAX, Err(Refused::Replayed)),
        (0, Err(Refused::Replayed)),
        (6, Err(Refused::Replayed)),
        (u64::MAX - 2, Ok(())),
    ] {
        assert_eq!(receive(&mut session, &sealed(KEY, ID, seq, &message)).0, expected, "{seq}");
    }
}

/// S43: pieces behind one that never comes, as many and as large as there may be.
#[test]
fn pieces_that_never_become_a_message_are_few_and_given_up() {
    let mut session = server();
    let piece = [7; 1_100];
    for number in 1..100_000 {
        let frames = [Frame::Piece { number, more: true, bytes: &piece }];
        let (outcome, events) = receive(&mut session, &sealed(KEY, ID, u64::from(number), &frames));
        assert_eq!((outcome, events), (Ok(()), vec![Event::Alive]));
    }
    // At most 256 pieces of 1,100 bytes; here as many as the largest message has bytes.
    let mut events = Vec::new();
    session.tick(9_000 * MS, &mut events);
    assert!(events.is_empty());
    session.tick(10_001 * MS, &mut events);
    assert_eq!(events, [Event::Fault(CloseCode::Protocol)]);
}

#[test]
fn a_message_above_the_limit_ends_the_session() {
    let mut session = server();
    session.set_message_bytes_max(1_000);
    let large = [7; 1_001];
    let frames = [Frame::Piece { number: 0, more: true, bytes: &large }];
    let (_, events) = receive(&mut session, &sealed(KEY, ID, 0, &frames));
    assert_eq!(events, [Event::Fault(CloseCode::TooLarge)]);
    let mut session = server();
    session.set_message_bytes_max(1_000);
    let (_, events) = receive(&mut session, &sealed(KEY, ID, 0, &[Frame::Unreliable(&large)]));
    assert_eq!(events, [Event::Fault(CloseCode::TooLarge)]);
}

#[test]
fn a_peer_that_acknowledges_what_was_never_sent_gains_nothing() {
    let mut session = server();
    session.send(&numbered(1, 10), true);
    let ack =
        |seen, next| Frame::Ack(roomcast_wire::udp::frame::Ack { seen, next, bitmap: &[0xff; 32] });
    // The piece was not sent yet.
    let (_, events) = receive(&mut session, &sealed(KEY, ID, 0, &[ack(0, 1)]));
    assert_eq!(events, [Event::Fault(CloseCode::Protocol)]);
}

/// An address that somebody writes in the name of the client is asked, within what it has sent.
#[test]
fn a_forged_source_address_gets_less_than_it_sends() {
    let mut session = server();
    let victim = "198.51.100.1:53".parse().unwrap();
    let (mut came, mut went) = (0, 0);
    let mut events = Vec::new();
    for seq in 0..200_u32 {
        session.send(&numbered(1, 1_000), true);
        let datagram = sealed(KEY, ID, seq.into(), &[Frame::Ping]);
        came += datagram.len();
        let now = MS * (300 * seq);
        session.receive(now, victim, &datagram, &mut events).unwrap();
        session.transmit(now, &mut Vec::new(), &mut |to, out| {
            went += if to == victim { out.len() } else { 0 };
        });
        assert!(went <= came, "{went} of {came}");
        // An answer that the client makes up is none: the token is the server's secret.
        let made_up = sealed(KEY, ID, 1_000 + u64::from(seq), &[Frame::Response([0; 8])]);
        came += made_up.len();
        session.receive(now, victim, &made_up, &mut events).unwrap();
        assert_eq!(session.peer(), client_address());
    }
    assert!(went > 0 && !events.contains(&Event::Moved));
}

/// 200,000 datagrams of chance, half of them with the right head; a fuzz target goes on from here.
#[test]
fn bytes_of_chance_do_nothing() {
    let mut pair = Pair::new(Way::default(), 99);
    let mut session = server();
    let mut events = Vec::new();
    for _ in 0..200_000 {
        let len = pair.random() as usize % 64;
        let mut bytes: Vec<u8> = (0..len).map(|_| pair.random() as u8).collect();
        if len > 17 && pair.random().is_multiple_of(2) {
            bytes[0] = 0x11;
            bytes[1..9].copy_from_slice(&ID.to_be_bytes());
        }
        assert!(session.receive(MS, client_address(), &bytes, &mut events).is_err());
        let greeting = Greeting::decode(&bytes);
        assert!(!matches!(greeting, Some(Greeting::Hello { .. })));
        // With a key, too, frames of chance end a session at the worst.
        let mut broken = server();
        let mut datagram = bytes.clone();
        if datagram.len() >= 17 {
            datagram[0] = 0x11;
            datagram[1..9].copy_from_slice(&ID.to_be_bytes());
            datagram[9..17].copy_from_slice(&[0; 8]);
            let tag = KEY.tag(&datagram);
            datagram.extend_from_slice(&tag);
            broken.receive(MS, client_address(), &datagram, &mut events).unwrap();
        }
    }
}
