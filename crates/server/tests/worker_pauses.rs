//! Links that talk faster than they may.

#![allow(clippy::unwrap_used)]

mod peer;

use std::time::{Duration, Instant};

use peer::{Lines, start};

#[test]
fn the_end_of_a_short_pause_does_not_end_a_long_one() {
    let server = start(|config| {
        config.limits.commands_per_s = 20;
        config.limits.fanout_bytes_per_s = 2_000;
    });
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    for n in 0..19 {
        peer.send(&format!(r#"{{"type":"ping","ref":{n}}}"#));
        peer.expect("pong");
    }
    let start = Instant::now();
    // Over both bounds: about 50 ms for the commands, more than 1 s for the bytes.
    let data = "x".repeat(4_000);
    let publish = format!(r#"{{"type":"publish","room":"lobby","event":"x","data":"{data}"}}"#);
    peer.send(&publish);
    peer.send(&publish);
    peer.send(r#"{"type":"ping","ref":20}"#);
    while peer.next().unwrap()["type"] != "pong" {}
    let took = start.elapsed();
    assert!(took > Duration::from_millis(800), "{took:?}");
}
