//! A frame of the server, as a client reads it, in both codecs.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::Codec;
use roomcast_wire::dialect::native;

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    for &codec in Codec::ALL {
        let _ = native::decode_incoming(codec, &message);
    }
});
