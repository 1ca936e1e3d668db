//! What a WebTransport client may send: records, field sections, requests for a session.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roomcast_wire::h3::connect::{Connect, refusal};
use roomcast_wire::h3::records::Records;
use roomcast_wire::h3::{CLOSE_SESSION, FRAME_BYTES_MAX, frame, qpack, varint};
use roomcast_wire::ws::handshake::SitePolicy;

fuzz_target!(|bytes: &[u8]| {
    if let Some((value, len)) = varint::read(bytes) {
        assert!(value <= varint::MAX && len <= 8);
    }
    let mut buffer = BytesMut::from(bytes);
    let mut records = Records::default();
    let wanted = [frame::DATA, frame::HEADERS, frame::SETTINGS, CLOSE_SESSION];
    while let Ok(Some((kind, value))) = records.next(&mut buffer, &wanted) {
        assert!(wanted.contains(&kind) && value.len() <= FRAME_BYTES_MAX);
    }
    if let Ok(fields) = qpack::decode(bytes) {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let again = qpack::decode(&qpack::encode(&fields)).expect("what was written is read");
        assert!(again.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(fields));
    }
    let Ok(connect) = Connect::read(bytes) else { return };
    for any_host in [false, true] {
        let policy = SitePolicy { any_host, ..SitePolicy::default() };
        if let Err(error) = connect.accept(&policy) {
            assert!(!refusal(&error).is_empty());
        }
    }
});
