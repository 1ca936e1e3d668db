//! Records of the log: what is written reads back, and any bytes give a value or an error.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use proptest::option::of;
use proptest::prelude::*;
use roomcast_core::Record;
use roomcast_core::record::{LogId, Restoring, RoomRecord, SeatRecord, SessionRecord};
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{
    Codec, Epoch, EventName, Name, Payload, Position, RoomOptions, Secret, SessionId,
};

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        "[a-z]{0,40}".prop_map(|text| Payload::text(&text)),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|data| Payload::bin(&data)),
        any::<i32>().prop_map(|number| {
            Payload::new(Codec::Json, format!("[{number}]").into()).unwrap().into_arguments()
        }),
    ]
}

fn sender() -> impl Strategy<Value = Arc<Sender>> {
    let name = || of("[a-zäöü]{1,30}").prop_map(|name| name.and_then(|name| Name::new(&name).ok()));
    let parts = (any::<u128>(), name(), name(), of(payload().prop_map(Box::new)));
    parts.prop_map(|(session, user, name, metadata)| {
        Arc::new(Sender { session: SessionId(session), user, name, metadata })
    })
}

fn event() -> impl Strategy<Value = Event> {
    let name = prop_oneof![
        "[a-z]{1,40}".prop_map(|name| EventName::text(&name).unwrap()),
        (0..1_u64 << 53).prop_map(EventName::Number),
    ];
    let place = (any::<u64>(), any::<u64>(), any::<bool>(), any::<u64>());
    (name, of(payload()), of(sender()), place).prop_map(
        |(name, payload, from, (epoch, offset, reliable, unreliable))| {
            let position = Some(Position { epoch: Epoch::new(epoch), offset });
            Event { name, payload, from, position, reliable, unreliable }
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let log = any::<u64>().prop_map(LogId);
    let id = any::<u128>().prop_map(SessionId);
    let room = (log, "[a-z/]{1,30}", any::<[u64; 4]>(), any::<bool>(), of(id));
    let room = room.prop_map(|(log, name, numbers, permanent, creator)| {
        let [epoch, offset, unreliable, floor] = numbers;
        let (name, epoch) = (name.into(), Epoch::new(epoch));
        let options = RoomOptions { merge_ms: offset as u32, ..RoomOptions::default() };
        let room =
            RoomRecord { name, options, epoch, permanent, creator, offset, unreliable, floor };
        Record::Room { log, room: Box::new(room) }
    });
    let log = any::<u64>().prop_map(LogId);
    let said = (log, any::<u64>(), of("[a-z\n]{1,30}"), event());
    let said = said.prop_map(|(log, floor, key, event)| {
        let (key, event) = (key.map(Into::into), Arc::new(event));
        Record::Event { log, floor, key, event }
    });
    let log = || any::<u64>().prop_map(LogId);
    let id = || any::<u128>().prop_map(SessionId);
    let seat = (log(), id(), any::<u64>(), of(payload()), any::<bool>());
    let seat = seat.prop_map(|(log, session, number, data, invited)| Record::Seat {
        log,
        seat: Box::new(SeatRecord { session, number, data, invited }),
    });
    let session = (sender(), any::<u128>(), any::<bool>(), of("[a-z]{1,20}"));
    let session = session.prop_map(|(sender, secret, admin, token_id)| {
        let (namespace, secret) = (Name::default_namespace(), Secret(secret));
        let token_id = token_id.map(Into::into);
        let session = SessionRecord { sender, namespace, secret, admin, token_id };
        Record::Session { session: Box::new(session) }
    });
    let state = (log(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..60));
    let state = state.prop_map(|(log, offset, state)| {
        let state = state.into();
        Record::Snapshot { log, offset, state }
    });
    prop_oneof![
        room,
        said,
        seat,
        session,
        state,
        log().prop_map(|log| Record::Closed { log }),
        (log(), id()).prop_map(|(log, session)| Record::Unseat { log, session }),
        id().prop_map(|session| Record::SessionEnded { session }),
    ]
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

proptest! {
    #[test]
    fn what_is_written_reads_back(record in record()) {
        prop_assert_eq!(Record::decode(&encoded(&record).into()), Ok(record));
    }

    #[test]
    fn any_bytes_give_a_record_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = Bytes::from(bytes);
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&encoded(&record).into()), Ok(record));
        }
    }

    #[test]
    fn a_record_with_a_byte_changed_or_cut_gives_no_panic(
        record in record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        prop_assert!(Record::decode(&Bytes::from(bytes[..at].to_vec())).is_err());
        bytes[at] = byte;
        if let Ok(record) = Record::decode(&bytes.into()) {
            let mut restoring = Restoring::default();
            restoring.add(0, record);
            restoring.finish();
        }
    }
}
