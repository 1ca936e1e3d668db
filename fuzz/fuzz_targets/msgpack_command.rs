//! A command in MessagePack: what is read is written and read again, and says the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roomcast_wire::Codec;
use roomcast_wire::dialect::native;

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    let Ok(request) = native::decode(Codec::MsgPack, &message) else { return };
    let mut out = BytesMut::new();
    native::encode_request(Codec::MsgPack, &request, &mut out);
    let written = out.freeze();
    assert_eq!(native::decode(Codec::MsgPack, &written).expect("reads back"), request);
});
