//! The bytes of `docs/protocol.md`, section 16, are those that are sent.

use std::time::Duration;

use roomcast_wire::udp::HELLO_BYTES_MIN;
use roomcast_wire::udp::greeting::{Greeted, Greeter, Greeting};
use roomcast_wire::udp::session::{Event, Role, Session};
use roomcast_wire::{Codec, udp};

use super::pair::{MS, client_address, server_address, terms};

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");

/// The bytes of each block of the section.
fn blocks() -> Vec<Vec<u8>> {
    let section = DOCUMENT.split("\n## 16. UDP").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let bytes = |block: &str| {
        let lines = block.lines().map(|line| line.split('#').next().unwrap());
        let digits = lines.flat_map(str::split_whitespace);
        digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    blocks.map(bytes).collect()
}

#[test]
fn a_session_begins_as_it_is_written() {
    let [mut hello, retry, accept, from_client, from_server] =
        <[_; 5]>::try_from(blocks()).unwrap();
    hello.resize(HELLO_BYTES_MIN, 0);
    let mut greeter = Greeter::new(0x0102_0304_0506_0708, Codec::Json, Duration::ZERO);
    assert_eq!(greeter.transmit(MS).unwrap(), hello);
    assert_eq!(greeter.receive(MS, &retry), None);
    let with_cookie = greeter.transmit(MS).unwrap();
    assert_eq!(with_cookie[13..25], retry[12..]);
    let Some(Greeted::Accepted { id, key }) = greeter.receive(MS, &accept) else {
        panic!("{:?}", Greeting::decode(&accept));
    };
    let mut client = Session::new(id, key, terms(Role::Client), server_address(), MS);
    let mut server = Session::new(id, key, terms(Role::Server), client_address(), MS);
    let mut events = Vec::new();
    assert!(client.send(&br#"{"type":"ping","ref":1}"#[..].into(), true));
    let sent = |session: &mut Session| {
        let mut sent = Vec::new();
        session.transmit(MS, &mut Vec::new(), &mut |_, datagram| sent.push(datagram.to_vec()));
        sent
    };
    assert_eq!(sent(&mut client), std::slice::from_ref(&from_client));
    server.receive(MS, client_address(), &from_client, &mut events).unwrap();
    assert!(server.send(&br#"{"type":"pong","ref":1}"#[..].into(), true));
    assert_eq!(sent(&mut server), std::slice::from_ref(&from_server));
    client.receive(MS, server_address(), &from_server, &mut events).unwrap();
    let said = [r#"{"type":"ping","ref":1}"#, r#"{"type":"pong","ref":1}"#];
    assert_eq!(events, said.map(|text| Event::Message(text.into())));
}

#[test]
fn the_numbers_stand_there() {
    for (text, number) in [
        ("at most 1,200 bytes", udp::DATAGRAM_BYTES_MAX),
        ("up to 1,200 bytes", HELLO_BYTES_MIN),
        ("pieces** of at most 1,100 bytes", udp::PIECE_BYTES_MAX),
        ("At most 256 may be under way", udp::WINDOW_PIECES),
    ] {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(digits, number.to_string());
        assert!(DOCUMENT.contains(text), "{text}");
    }
}
