//! Engine.IO: what is written is read again, and whatever comes is read or refused.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use roomcast_wire::engineio::{self, Handshake, Packet, PacketError, Packets, Query};
use roomcast_wire::ws::frame::{Frame, Reader};

/// A message: a text without separators, as JSON has none, or bytes.
fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        "[^\u{1e}]{0,40}".prop_map(|text| Frame::Text(format!("4{text}").into())),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Frame::Binary(bytes.into())),
        Just(()).prop_map(|()| Frame::Text("2".into())),
    ]
}

fn packet(frame: &Frame) -> Packet {
    match frame {
        Frame::Text(text) => Packet::read_text(text.clone()).unwrap(),
        Frame::Binary(bytes) => Packet::Binary(bytes.clone()),
        _ => panic!("no packet"),
    }
}

proptest! {
    #[test]
    fn a_payload_holds_what_was_put_in(frames in proptest::collection::vec(frame(), 1..20)) {
        let mut payload = Vec::new();
        for frame in &frames {
            engineio::append(&mut payload, frame);
        }
        let read: Result<Vec<_>, PacketError> = Packets::read(payload.into()).unwrap().collect();
        let expected: Vec<_> = frames.iter().map(packet).collect();
        prop_assert_eq!(read, Ok(expected));
    }

    #[test]
    fn whatever_comes_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let Ok(packets) = Packets::read(Bytes::from(body.clone())) else {
            prop_assert!(std::str::from_utf8(&body).is_err());
            return Ok(());
        };
        let separators = body.iter().filter(|byte| **byte == 0x1e).count();
        let packets: Vec<_> = packets.collect();
        prop_assert!(packets.len() <= separators + 1);
        // Nothing is passed over but behind a fault.
        let whole = packets.iter().all(Result::is_ok);
        prop_assert!(!whole || packets.len() == separators + 1);
        prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
    }

    #[test]
    fn a_session_is_named_as_it_was_told(sid in any::<u128>(), text in ".{0,60}") {
        let open = Handshake {
            sid,
            upgrades: false,
            ping_interval_ms: 1,
            ping_timeout_ms: 2,
            max_payload_bytes: 3,
        };
        let mut out = BytesMut::new();
        open.write_frame(&mut out);
        let frame = Reader::for_client(false).read(&mut out, 1_000).unwrap();
        let Some(Frame::Text(packet)) = frame else { panic!("{frame:?}") };
        let told: serde_json::Value = serde_json::from_slice(&packet[1..]).unwrap();
        let query = format!("EIO=4&sid={}", told["sid"].as_str().unwrap());
        prop_assert_eq!(Query::read(&query).session(), Some(sid));
        let _ = Query::read(&text).session();
    }
}

/// A million packets of a byte each: read in one go, and nothing is gathered.
#[test]
fn a_million_tiny_packets_are_read_one_by_one() {
    let body = Bytes::from("4\u{1e}".repeat(1_000_000) + "4");
    let packets = Packets::read(body).unwrap();
    assert_eq!(packets.filter(|packet| matches!(packet, Ok(Packet::Text(_)))).count(), 1_000_001);
}
