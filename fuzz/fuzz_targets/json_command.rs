//! A command in JSON: what is read is written and read again, and says the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roomcast_wire::Codec;
use roomcast_wire::dialect::native;

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    let Ok(request) = native::decode(Codec::Json, &message) else { return };
    let mut out = BytesMut::new();
    native::encode_request(Codec::Json, &request, &mut out);
    assert!(!out.contains(&b'\n'), "a frame must fit in a line");
    let written = out.freeze();
    assert_eq!(native::decode(Codec::Json, &written).expect("reads back"), request);
});
