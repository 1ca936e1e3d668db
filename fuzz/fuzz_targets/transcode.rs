//! Payloads: what one codec takes can be written in the other, and is taken there. JSON is what
//! `serde_json` takes, but for our lower limit of depth.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::{Codec, Payload};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    for (codec, other) in [(Codec::Json, Codec::MsgPack), (Codec::MsgPack, Codec::Json)] {
        let Ok(payload) = Payload::new(codec, bytes.clone()) else { continue };
        let there = payload.to_codec(other);
        let checked = Payload::new(other, there.bytes().clone()).expect("taken by the other");
        // The first way may lose what the other codec cannot say; from then on nothing is lost.
        assert_same(&checked.to_codec(codec).to_codec(other), &there);
        // Nine bytes for one: `d4 80 00` becomes {"ext":-128,"data":"AA=="}.
        assert!(there.bytes().len() <= 9 * payload.bytes().len());
    }
    let ours = Payload::new(Codec::Json, bytes.clone());
    let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
    match (ours, theirs) {
        (Ok(ours), theirs) => {
            let trimmed: serde_json::Value = serde_json::from_slice(ours.bytes()).expect("taken");
            assert_eq!(trimmed, theirs.expect("taken by serde_json too"));
        }
        (Err(error), Ok(_)) => assert!(error.0.contains("too deep"), "{error}"),
        (Err(_), Err(_)) => {}
    }
});

/// JSON may write one number in several ways (a float 32 comes back as a float 64).
fn assert_same(left: &Payload, right: &Payload) {
    let read = |payload: &Payload| -> serde_json::Value {
        serde_json::from_slice(payload.bytes()).expect("taken")
    };
    match left.codec() {
        Codec::Json => assert_eq!(read(left), read(right)),
        Codec::MsgPack => assert_eq!(left, right),
    }
}
