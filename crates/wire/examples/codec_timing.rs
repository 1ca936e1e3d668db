//! How long the hot path takes in each codec: reading a `publish`, writing an `event`, each with a
//! payload of 64 bytes. Prints; run it with `--release`. An argument picks the lines that hold it.
#![allow(clippy::unwrap_used)]
// A stopwatch needs a clock and has to tell what it saw; the crate does neither.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use roomcast_wire::dialect::native;
use roomcast_wire::push::{Event, Sender};
use roomcast_wire::{Codec, Epoch, EventName, Name, Payload, Position, Push, SessionId};

const ROUNDS: u32 = 1_000_000;

fn main() {
    let data = r#"{"text":"The quick brown fox jumps over the lazy dog, again.."}"#;
    let text =
        format!(r#"{{"type":"publish","ref":3,"room":"lobby","event":"chat","data":{data}}}"#);
    let publish = Payload::new(Codec::Json, text.into()).unwrap();
    let data = Payload::new(Codec::Json, data.into()).unwrap();
    for &codec in Codec::ALL {
        let message = publish.to_codec(codec).bytes().clone();
        time(&format!("decode publish, {codec:?}, {} bytes", message.len()), || {
            black_box(native::decode(codec, black_box(&message)).unwrap());
        });
        let event = event(&data.to_codec(codec));
        let push = Push::Event { room: "lobby", event: &event };
        let mut out = BytesMut::with_capacity(1024);
        time(&format!("encode event, {codec:?}"), || {
            out.clear();
            native::encode_push(codec, black_box(&push), &mut out);
            black_box(&out);
        });
        let other = publish.to_codec(codec);
        time(&format!("transcode from {codec:?}"), || {
            let to = if codec == Codec::Json { Codec::MsgPack } else { Codec::Json };
            black_box(black_box(&other).to_codec(to));
        });
    }
    let message = publish.bytes().clone();
    time("decode publish, serde_json with a flat struct", || {
        let text = simdutf8::basic::from_utf8(black_box(&message)).unwrap();
        let flat: Flat<'_> = serde_json::from_str(text).unwrap();
        black_box(message.slice_ref(flat.data.unwrap().get().as_bytes()));
        black_box(&flat);
    });
}

/// What the reader is compared with.
#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Flat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(rename = "ref")]
    reference: Option<u64>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
    reliable: Option<bool>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    echo: Option<bool>,
}

fn event(data: &Payload) -> Event {
    Event {
        name: EventName::text("chat").unwrap(),
        payload: Some(data.clone()),
        from: Some(Arc::new(Sender {
            session: SessionId(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
            user: Some(Name::new("u17").unwrap()),
            name: Some(Name::new("Mina").unwrap()),
            metadata: None,
        })),
        position: Some(Position { epoch: Epoch::new(12345), offset: 67890 }),
        reliable: true,
        unreliable: 0,
    }
}

/// The best of five runs.
fn time(what: &str, mut run: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|wanted| !what.contains(&wanted)) {
        return;
    }
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                run();
            }
            start.elapsed() / ROUNDS
        })
        .min()
        .unwrap();
    println!("{what}: {} ns", best.as_nanos());
}
