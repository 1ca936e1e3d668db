//! Socket.IO: whatever a client sends, packets come out or its connection ends; what one client
//! says, another hears the same, bytes and all, whichever parser each has.
#![allow(clippy::unwrap_used)]

mod socketio_support;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use roomcast_wire::dialect::Standing;
use roomcast_wire::dialect::socketio::{ATTACHMENTS_MAX, Assembler, namespace_of};
use roomcast_wire::{Codec, Command, EventName, Format, Payload, Push};
use serde_json::Value as Json;
use socketio_support::{JSON, MSGPACK, frames, standing};

/// A value with bytes in it, as MessagePack has it.
#[derive(Debug, Clone)]
enum Value {
    Plain(Json),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<Value>),
}

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Bytes(_) => 1,
            Self::List(items) | Self::Map(items) => items.iter().map(Self::bytes).sum(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Plain(plain) => {
                let plain = Payload::json(plain).unwrap().to_codec(Codec::MsgPack);
                out.extend_from_slice(plain.bytes());
            }
            Self::Bytes(bytes) => {
                out.extend_from_slice(&[0xc4, bytes.len() as u8]);
                out.extend_from_slice(bytes);
            }
            Self::List(items) => {
                out.push(0x90 | items.len() as u8);
                items.iter().for_each(|item| item.write(out));
            }
            Self::Map(items) => {
                out.push(0x80 | items.len() as u8);
                for (at, item) in items.iter().enumerate() {
                    out.extend_from_slice(&[0xa1, b'a' + at as u8]);
                    item.write(out);
                }
            }
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<u32>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
    ];
    let leaf =
        prop_oneof![plain.prop_map(Value::Plain), vec(any::<u8>(), 0..20).prop_map(Value::Bytes),];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            vec(inner, 0..4).prop_map(Value::Map),
        ]
    })
}

/// The packet that a client reads from frames, as the server would read it from a client.
fn said_back(format: Format, frames: Vec<(bool, Vec<u8>)>) -> Bytes {
    let mut assembler = Assembler::new(1 << 20);
    let mut whole = None;
    for (is_text, data) in frames {
        assert_eq!(whole, None, "more after a whole packet");
        whole = match is_text {
            true => assembler.text(Bytes::from(data[1..].to_vec())).unwrap(),
            false => assembler.binary(data.into()).unwrap(),
        };
    }
    assert_eq!(assembler.format(), Some(format));
    whole.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arguments_come_as_they_were_given(list in vec(value(), 0..5), id in 0..1u64 << 53) {
        prop_assume!(list.iter().map(Value::bytes).sum::<usize>() <= ATTACHMENTS_MAX);
        let mut bytes = Vec::new();
        Value::List(list).write(&mut bytes);
        let given = Payload::new(Codec::MsgPack, bytes.into()).unwrap().into_arguments();
        let call = EventName::text("save").unwrap();
        let push = Push::Call { id, call: &call, data: Some(&given) };
        for format in [JSON, MSGPACK] {
            let packet = said_back(format, frames(format, "game", &push));
            prop_assert_eq!(namespace_of(&packet), Some("/game"));
            let place = Standing { namespace: "game", ..standing() };
            let request = format.decode(&packet, &place).unwrap();
            prop_assert_eq!(request.reference, Some(id));
            let Command::Call { data: Some(data), .. } = request.command else { panic!() };
            prop_assert!(data.is_arguments());
            let data = data.to_codec(Codec::MsgPack);
            prop_assert_eq!(data.bytes(), given.bytes());
        }
    }

    #[test]
    fn no_message_makes_a_reader_panic(
        messages in vec((any::<bool>(), "[0-6]{0,2}-?(/[a-z?,]{0,3})?,?[0-9]{0,2}.{0,24}"), 0..4),
    ) {
        let mut assembler = Assembler::new(1 << 16);
        for (is_text, message) in messages {
            let bytes = Bytes::from(message);
            let whole = if is_text { assembler.text(bytes) } else { assembler.binary(bytes) };
            let Ok(whole) = whole else { break };
            if let (Some(packet), Some(format)) = (whole, assembler.format()) {
                let place = standing();
                let is_refused = format.decode(&packet, &place).is_err();
                prop_assert!(format == MSGPACK || is_refused || namespace_of(&packet).is_some());
            }
        }
    }

    #[test]
    fn no_map_makes_a_reader_panic(bytes in vec(any::<u8>(), 0..64)) {
        let head = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data";
        for message in [Bytes::from(bytes.clone()), [&head[..], &bytes].concat().into()] {
            let place = standing();
            let _ = (namespace_of(&message), MSGPACK.decode(&message, &place));
        }
    }
}
