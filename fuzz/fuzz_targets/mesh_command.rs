//! A message in GoMeshStream's envelope: whatever it is, it is read or refused.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::dialect::mesh;

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    let _ = mesh::decode(&message);
});
