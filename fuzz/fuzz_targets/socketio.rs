//! Messages of a Socket.IO client, texts and attachments: whatever they are, packets come out or
//! the connection ends, and each packet is read or refused.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::dialect::Standing;
use roomcast_wire::dialect::socketio::{Assembler, namespace_of, opens};
use roomcast_wire::{Format, SessionId};

fuzz_target!(|data: &[u8]| {
    let mut assembler = Assembler::new(1 << 16);
    // 0xff ends a message; its first byte says whether it is text.
    for message in data.split(|&byte| byte == 0xff) {
        let Some((kind, rest)) = message.split_first() else { continue };
        let bytes = Bytes::copy_from_slice(rest);
        let whole = match (kind % 2, std::str::from_utf8(rest)) {
            (0, Ok(_)) => assembler.text(bytes),
            _ => assembler.binary(bytes),
        };
        let Ok(whole) = whole else { return };
        let Some(packet) = whole else { continue };
        let format = assembler.format().expect("a packet came");
        let named = namespace_of(&packet).is_some();
        for session in [None, Some(SessionId(1))] {
            for convention in [false, true] {
                let namespace = "default";
                let standing =
                    Standing { session, namespace, convention, ..Standing::default() };
                let read = format.decode(&packet, &standing);
                // Only a packet of text names its namespace by naming none.
                assert!(named || read.is_err() || format == Format::SOCKETIO_MSGPACK);
            }
        }
        let _ = opens(&packet);
    }
});
