//! HTTP/3 as a WebTransport client may send it: arbitrary bytes, cut anywhere.

#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_wire::h3::connect::Connect;
use roomcast_wire::h3::records::{self, Records};
use roomcast_wire::h3::{FRAME_BYTES_MAX, frame, qpack, varint};
use roomcast_wire::ws::handshake::SitePolicy;

fn field() -> impl Strategy<Value = (String, String)> {
    ("[a-z:-]{0,20}", "[ -~]{0,200}")
}

/// What is cut off a stream that comes in these pieces.
fn cut(pieces: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    let (mut records, mut buffer, mut all) = (Records::default(), BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match records.next(&mut buffer, &[frame::DATA, frame::HEADERS]) {
                Ok(Some((kind, value))) => all.push((kind, value.to_vec())),
                Ok(None) => break,
                Err(_) => return all,
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        if let Some((value, len)) = varint::read(&bytes) {
            prop_assert!(value <= varint::MAX && len <= bytes.len());
        }
        for (_, value) in cut(std::slice::from_ref(&bytes)) {
            prop_assert!(value.len() <= FRAME_BYTES_MAX);
        }
        _ = qpack::decode(&bytes);
        // The prefix that says that no dynamic table is needed.
        let section = [&[0, 0], &bytes[..]].concat();
        if let Ok(connect) = Connect::read(&section) {
            _ = connect.accept(&SitePolicy::default());
        }
    }

    #[test]
    fn fields_come_back(fields in vec(field(), 0..20)) {
        let written: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        prop_assert_eq!(qpack::decode(&qpack::encode(&written)).unwrap(), fields);
    }

    #[test]
    fn it_does_not_matter_where_a_stream_is_cut(
        values in vec((0..6_u64, vec(any::<u8>(), 0..100)), 0..8),
        step in 1..50_usize,
    ) {
        let mut stream = Vec::new();
        for (kind, value) in &values {
            records::write(&mut stream, *kind, value);
        }
        let wanted: Vec<_> = values.into_iter().filter(|(kind, _)| *kind <= 1).collect();
        let pieces: Vec<_> = stream.chunks(step).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(cut(&pieces), wanted.clone());
        prop_assert_eq!(cut(&[stream]), wanted);
    }

    #[test]
    fn numbers_come_back(value in 0..=varint::MAX, behind in vec(any::<u8>(), 0..4)) {
        let mut out = Vec::new();
        varint::write(&mut out, value);
        let len = out.len();
        out.extend(behind);
        prop_assert_eq!(varint::read(&out), Some((value, len)));
        prop_assert_eq!(varint::read(&out[..len - 1]), None);
    }
}
