//! Threats S41 to S45 against the real server.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use roomcast_wire::Codec;
use roomcast_wire::udp::greeting::Greeting;

use crate::peer::{PATIENCE, until};
use crate::raw::{Raw, socket};
use crate::{start, total};

fn hello(nonce: u64, cookie: Option<&[u8]>) -> Vec<u8> {
    let mut hello = Greeting::Hello { nonce, codec: Codec::Json, cookie: None }.encode();
    if let Some(cookie) = cookie {
        hello[13..25].copy_from_slice(cookie);
    }
    hello
}

/// The answer to a datagram, if one comes soon.
fn answer(socket: &UdpSocket, server: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
    socket.send_to(datagram, server).unwrap();
    let mut buffer = [0; 2_048];
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        if let Ok((count, _)) = socket.recv_from(&mut buffer) {
            return Some(buffer[..count].to_vec());
        }
    }
    None
}

fn certain(socket: &UdpSocket, server: SocketAddr, datagram: &[u8]) -> Vec<u8> {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "no answer");
        if let Some(answer) = answer(socket, server, datagram) {
            return answer;
        }
    }
}

/// S41, S42: 100,000 hellos from 100 addresses that never go on.
#[test]
fn hellos_that_lead_nowhere_leave_nothing_and_nobody_waits() {
    let (server, address) = start(|_| {});
    let senders: Vec<_> = (2..102).map(|last| socket(&format!("127.0.0.{last}"))).collect();
    senders.iter().for_each(|sender| sender.set_nonblocking(true).unwrap());
    let (mut out, mut back) = (0, 0);
    let mut slowest = Duration::ZERO;
    let mut buffer = [0; 2_048];
    for nonce in 0..100_000_u64 {
        let sender = &senders[nonce as usize % senders.len()];
        // What does not fit into the kernel's buffers never came.
        out += sender.send_to(&hello(nonce, None), address).unwrap_or(0);
        while let Ok((count, _)) = sender.recv_from(&mut buffer) {
            back += count;
        }
        if nonce % 10_000 == 5_000 {
            let began = Instant::now();
            Raw::connect(address).join("lobby");
            slowest = slowest.max(began.elapsed());
        }
    }
    until("answers are still to come", || total(&server, "roomcast_datagrams_read_total") > 10_000);
    for sender in &senders {
        while let Ok((count, _)) = sender.recv_from(&mut buffer) {
            back += count;
        }
    }
    // 24 bytes for 1,200: 0.02.
    assert!(back > 0 && back <= out / 40, "{back} bytes for {out}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(server.take_connections_most() <= 12, "only those who went on count");
}

/// S44: a cookie is good for the address that it was sent to, and for one session.
#[test]
fn a_cookie_opens_one_session_at_one_address() {
    let (server, address) = start(|_| {});
    let (here, there) = (socket("127.0.0.1"), socket("127.0.0.1"));
    let retry = certain(&here, address, &hello(5, None));
    assert_eq!((retry[0], retry.len()), (0x02, 24));
    let with_cookie = hello(5, Some(&retry[12..]));
    // From elsewhere, and with another nonce: another retry, and nothing kept.
    assert_eq!(certain(&there, address, &with_cookie)[0], 0x02);
    assert_eq!(certain(&here, address, &hello(6, Some(&retry[12..])))[0], 0x02);
    assert_eq!(server.connections(), 0);
    let accept = certain(&here, address, &with_cookie);
    assert_eq!((accept[0], server.connections()), (0x03, 1));
    // The answer may have been lost: the same comes again, and no second session.
    assert_eq!(certain(&here, address, &with_cookie), accept);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_cookie_that_was_used_means_nothing_more() {
    let (server, address) = start(|_| {});
    let mut phone = Raw::connect(address);
    phone.join("lobby");
    phone.rest();
    let with_cookie = phone.sent.iter().rfind(|sent| sent[0] == 0x01).unwrap().clone();
    assert_ne!(with_cookie[13..25], [0; 12]);
    assert_eq!(answer(&phone.socket, address, &with_cookie), None);
    phone.say(r#"{"type":"bye"}"#);
    phone.end();
    until("the session is not over", || server.connections() == 0);
    assert_eq!(answer(&phone.socket, address, &with_cookie), None);
    assert_eq!(server.connections(), 0);
}

/// S44, S45: what was said before, from the same and other addresses, forged and guessed.
#[test]
fn repeated_forged_and_guessed_datagrams_do_nothing() {
    let (server, address) = start(|_| {});
    let mut phone = Raw::connect(address);
    phone.join("lobby");
    phone.say(r#"{"type":"publish","ref":2,"room":"lobby","event":"e"}"#);
    phone.expect("ok");
    let read = total(&server, "roomcast_messages_total");
    let other = socket("127.0.0.3");
    let sealed: Vec<_> = phone.sent.iter().filter(|sent| sent[0] == 0x11).cloned().collect();
    for datagram in &sealed {
        assert_eq!(answer(&other, address, datagram), None);
        let mut forged = datagram.clone();
        forged[20] ^= 1;
        // A number that has not come yet.
        forged[9] = 1;
        other.send_to(&forged, address).unwrap();
        // An id that nobody has: told so, with less than was sent.
        forged[1] ^= 1;
        let gone = certain(&other, address, &forged);
        assert_eq!((gone[0], gone.len()), (0x05, 12));
        assert!(gone.len() < forged.len());
    }
    assert!(total(&server, "roomcast_datagrams_replayed_total") >= sealed.len() as u64);
    assert!(total(&server, "roomcast_datagrams_refused_total") >= 2 * sealed.len() as u64);
    assert_eq!(total(&server, "roomcast_messages_total"), read);
    phone.say(r#"{"type":"publish","ref":3,"room":"lobby","event":"e"}"#);
    assert_eq!(phone.expect("ok")["ref"], 3);
}

/// S45: a million datagrams of chance; those who speak meanwhile are heard.
#[test]
fn datagrams_of_chance_disturb_nobody() {
    let (server, address) = start(|_| {});
    let mut phone = Raw::connect(address);
    phone.join("lobby");
    let sender = socket("127.0.0.4");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = vec![0; 1_400];
    for count in 0..1_000_000 {
        for word in bytes.chunks_mut(8).take(8) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.copy_from_slice(&random.rotate_left(17).to_le_bytes()[..word.len()]);
        }
        bytes[0] = [0x01, 0x11, 0x12, bytes[0]][count % 4];
        let len = random as usize % bytes.len();
        _ = sender.send_to(&bytes[..len], address);
        if count % 250_000 == 125_000 {
            phone.say(r#"{"type":"ping","ref":9}"#);
            phone.expect("pong");
        }
    }
    assert_eq!(server.connections(), 1);
    assert!(total(&server, "roomcast_datagrams_refused_total") > 1_000);
}

/// S43: pieces of messages that never become whole.
#[test]
fn a_session_that_only_begins_messages_is_ended() {
    let (server, address) = start(|_| {});
    let mut phone = Raw::connect(address);
    let half = "a".repeat(17_000);
    // Before a hello no message may have more than 16 KiB.
    phone.say(&half);
    assert_eq!(phone.end(), 1009);
    until("it is still there", || server.connections() == 0);
}
