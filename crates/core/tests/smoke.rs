//! One shard, two links, the path of one message.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use roomcast_core::{HubConfig, Input, LinkId, Now, Output, Shard, ShardId};
use roomcast_wire::Format;

fn said(shard: &mut Shard, link: u32) -> String {
    let outbox = shard.outbox(LinkId(link)).unwrap();
    let mut text = String::new();
    while !outbox.is_empty() {
        let piece = outbox.first().to_vec();
        outbox.consume(piece.len());
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    text
}

fn say(shard: &mut Shard, link: u32, text: &'static str) {
    let bytes = Bytes::from_static(text.as_bytes());
    shard.handle(Now(1), Input::Message { link: LinkId(link), bytes });
    while let Some(output) = shard.poll_output() {
        assert!(!matches!(output, Output::Close { .. }), "{output:?}");
    }
    shard.end_turn(Now(1));
    while shard.take_dirty().is_some() {}
}

#[test]
fn what_one_says_the_other_hears() {
    let mut shard = Shard::new(Arc::new(HubConfig::default()), ShardId::alone(0));
    for link in [0, 1] {
        let link = LinkId(link);
        shard.handle(Now(0), Input::Opened { link, format: Format::JSON_LINE, namespace: None });
    }
    say(&mut shard, 0, r#"{"type":"hello","ref":1,"name":"Mina"}"#);
    assert!(said(&mut shard, 0).contains(r#""type":"welcome""#));
    say(&mut shard, 0, r#"{"type":"join","ref":2,"room":"lobby"}"#);
    assert!(said(&mut shard, 0).contains(r#""members":1"#));
    say(&mut shard, 1, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    assert!(said(&mut shard, 1).contains(r#""members":2"#));
    assert!(said(&mut shard, 0).contains(r#""type":"member_joined""#));
    say(
        &mut shard,
        0,
        r#"{"type":"publish","ref":3,"room":"lobby","event":"chat","data":{"text":"hi"}}"#,
    );
    let heard = said(&mut shard, 1);
    assert!(heard.contains(r#""data":{"text":"hi"}"#) && heard.contains("Mina"), "{heard}");
    let echo = said(&mut shard, 0);
    assert!(echo.contains(r#""type":"ok""#) && echo.contains(r#""offset":1"#), "{echo}");
}
