//! Decompression stops at its limit, and undoes compression.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::ws::frame::{deflate, inflate};

fuzz_target!(|input: &[u8]| {
    let [high, low, body @ ..] = input else { return };
    let max = usize::from(u16::from_be_bytes([*high, *low]));
    if let Ok(message) = inflate(body, max) {
        assert!(message.len() <= max);
    }
    let mut sent = BytesMut::new();
    deflate(body, &mut sent);
    assert_eq!(inflate(&sent, body.len()).expect("what was compressed"), body);
});
