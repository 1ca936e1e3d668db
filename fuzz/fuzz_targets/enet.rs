//! Datagrams of ENet: commands that are read are written again as they were, and a connection takes
//! whatever comes, compressed and with a checksum or not.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roomcast_wire::enet::greeting::{asks, Chance, Greeting};
use roomcast_wire::enet::{Command, Connection, Datagram, Options, Settings};

fuzz_target!(|data: &[u8]| {
    let mut rest = Bytes::copy_from_slice(data);
    while let Some(command) = Command::read(&mut rest) {
        let mut again = BytesMut::new();
        command.write(&mut again);
        assert_eq!(again.len(), command.size());
        assert_eq!(Command::read(&mut again.freeze()), Some(command));
    }
    let first = data.first().copied().unwrap_or_default();
    let (checksum, compression) = (first & 1 != 0, first & 2 != 0);
    let settings = Settings {
        options: Options { checksum, compression },
        message_bytes_max: 4_096,
        waiting_bytes_max: 8_192,
        ping_ms: 1_000,
    };
    let mut connection = Connection::connect(0, settings, 2, [1, 2, 3, 4], 0);
    let (mut told, mut out) = (Vec::new(), BytesMut::new());
    for (at, datagram) in data.chunks(97).enumerate() {
        let now = at as u64 * 50;
        let Some(datagram) = Datagram::read(datagram, settings.options) else { continue };
        if let Some(connect) = asks(&datagram) {
            let chance = Chance { peer: 5, bits: 6 };
            let _ = Greeting::new(connect, chance, 2).answer(now, 52, &settings, &mut out);
        }
        connection.receive(now, &datagram, &mut told);
        connection.tick(now, &mut told);
        while connection.transmit(now, &mut out) {}
        out.clear();
    }
});
