//! A payload of long-polling and a query: whatever they are, each is read or refused, and what is
//! read is written so that it is read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::engineio::{self, Packet, Packets, Query};
use roomcast_wire::ws::frame::Frame;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Query::read(text).session();
    }
    let Ok(packets) = Packets::read(Bytes::copy_from_slice(data)) else { return };
    for packet in packets {
        let Ok(Packet::Binary(bytes)) = packet else { continue };
        let mut payload = Vec::new();
        engineio::append(&mut payload, &Frame::Binary(bytes.clone()));
        let again = Packets::read(payload.into()).map(Iterator::collect::<Vec<_>>);
        assert_eq!(again, Ok(vec![Ok(Packet::Binary(bytes))]));
    }
});
