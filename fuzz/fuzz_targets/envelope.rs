//! A word of another node: what can be read can be written, and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomcast_core::Envelope;

fuzz_target!(|data: &[u8]| {
    if let Ok(word) = Envelope::decode(&Bytes::copy_from_slice(data)) {
        let mut bytes = Vec::new();
        word.encode(&mut bytes);
        let again = Envelope::decode(&Bytes::from(bytes));
        assert!(again.is_ok_and(|again| format!("{again:?}") == format!("{word:?}")));
    }
});
