//! How soon a dead link is noticed.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::Hub;
use roomcast_core::{HubConfig, Input, LinkId};
use roomcast_wire::{CloseCode, Format};

fn hello(hub: &mut Hub) {
    hub.open_as(0, Format::JSON_WS);
    let bytes = Bytes::from_static(br#"{"type":"hello"}"#);
    hub.input(Input::Message { link: LinkId(0), bytes });
}

/// A sign of life at a time of its own, then none: gone `ping_ms + pong_ms` later, not sooner.
#[test]
fn a_dead_link_is_closed_one_ping_and_one_pong_after_its_last_sign_of_life() {
    for last_sign in [0, 1, 9_999, 10_001, 24_999, 25_001, 70_000] {
        let mut hub = Hub::new(HubConfig::default());
        hello(&mut hub);
        while hub.now.0 + 5_000 < last_sign {
            hub.advance(5_000);
            hub.input(Input::Alive { link: LinkId(0) });
        }
        hub.advance(last_sign - hub.now.0);
        hub.input(Input::Alive { link: LinkId(0) });
        hub.advance(34_999);
        assert_eq!(hub.closed.get(&0), None, "last sign at {last_sign} ms");
        hub.advance(2);
        assert_eq!(hub.closed.get(&0), Some(&CloseCode::NoPong), "last sign at {last_sign} ms");
    }
}

#[test]
fn a_link_that_answers_pings_stays() {
    let mut hub = Hub::new(HubConfig::default());
    hello(&mut hub);
    for _ in 0..100 {
        hub.advance(30_000);
        hub.input(Input::Alive { link: LinkId(0) });
    }
    assert_eq!(hub.closed.get(&0), None);
}
