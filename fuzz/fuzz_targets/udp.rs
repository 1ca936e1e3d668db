//! Datagrams of plain UDP: greetings and frames that are read are written again as they were, and
//! a session takes whatever comes, with a right tag or without, within its bounds.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::udp::frame::Frame;
use roomcast_wire::udp::greeting::Greeting;
use roomcast_wire::udp::seal::Key;
use roomcast_wire::udp::session::{Event, Role, Session, Terms};
use roomcast_wire::udp::{DATAGRAM_BYTES_MAX, HELLO_BYTES_MIN};

const KEY: Key = Key::new([7; 16]);
const MESSAGE_BYTES_MAX: usize = 4_096;

fuzz_target!(|data: &[u8]| {
    let mut padded = data.to_vec();
    padded.resize(data.len().max(HELLO_BYTES_MIN), 0);
    for datagram in [data, &padded] {
        if let Some(greeting) = Greeting::decode(datagram) {
            assert_eq!(Greeting::decode(&greeting.encode()), Some(greeting));
        }
    }
    let mut rest = data;
    while let Some(frame) = Frame::take(&mut rest) {
        let mut again = Vec::new();
        frame.put(&mut again);
        assert_eq!((again.len(), Frame::take(&mut &again[..])), (frame.len(), Some(frame)));
    }
    let peer: SocketAddr = ([192, 0, 2, 1], 5).into();
    let terms = Terms {
        role: Role::Server,
        message_bytes_max: MESSAGE_BYTES_MAX,
        ping: Duration::from_secs(25),
        silence: Duration::from_secs(35),
        secret: Key::new([8; 16]),
    };
    let mut session = Session::new(1, KEY, terms, peer, Duration::ZERO);
    let mut events = Vec::new();
    session.send(&Bytes::from_static(b"what is acknowledged"), true);
    for (seq, frames) in data.split(|byte| *byte == 0xff).enumerate() {
        let now = Duration::from_millis(seq as u64 * 100);
        _ = session.receive(now, peer, frames, &mut events);
        let mut datagram = vec![0x11];
        datagram.extend_from_slice(&1_u64.to_be_bytes());
        datagram.extend_from_slice(&(seq as u64).to_be_bytes());
        datagram.extend_from_slice(frames);
        let tag = KEY.tag(&datagram);
        datagram.extend_from_slice(&tag);
        _ = session.receive(now, peer, &datagram, &mut events);
        session.tick(now, &mut events);
        session.transmit(now, &mut Vec::new(), &mut |_, sent| {
            assert!(sent.len() <= DATAGRAM_BYTES_MAX);
        });
    }
    for event in events {
        assert!(!matches!(event, Event::Message(bytes) if bytes.len() > MESSAGE_BYTES_MAX));
    }
});
