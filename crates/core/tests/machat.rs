//! Clients whose hello names a room: they are there for it, and under a name that nobody else has.
#![allow(clippy::unwrap_used)]

mod common;

use common::Hub;
use roomcast_core::{HubConfig, Input, LinkId, ServerCall};
use roomcast_wire::{CloseCode, Format};

/// The lines that a client hears when it says something.
fn said(hub: &mut Hub, link: u32, text: &str) -> String {
    hub.input(Input::Message { link: LinkId(link), bytes: text.to_owned().into() });
    heard(hub, link)
}

fn heard(hub: &mut Hub, link: u32) -> String {
    hub.end_turn();
    let Some(outbox) = hub.shard.outbox(LinkId(link)) else { return String::new() };
    let mut bytes = Vec::new();
    while !outbox.is_empty() {
        let piece = outbox.first().to_vec();
        outbox.consume(piece.len());
        bytes.extend(piece);
    }
    String::from_utf8(bytes).unwrap()
}

fn come(hub: &mut Hub, link: u32, name: &str) -> String {
    hub.open_as(link, Format::MACHAT_LINE);
    said(hub, link, &format!(r#"{{"name":"{name}","room":"r"}}"#))
}

#[test]
fn a_name_is_one_members_though_the_room_asks_for_no_unique_names() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    hub.ask(0, r#"{"type":"hello","ref":1,"name":"Mina"}"#);
    hub.ask(0, r#"{"type":"join","ref":2,"room":"r"}"#);
    let refused = come(&mut hub, 1, "Mina");
    assert!(refused.starts_with("error: ") && refused.contains("`Mina`"), "{refused}");
    assert_eq!(hub.closed.remove(&1), Some(CloseCode::Unauthorized));
    let refused = come(&mut hub, 1, "a:b");
    assert!(refused.starts_with("error: `name`"), "{refused}");
    assert_eq!(hub.closed.remove(&1), Some(CloseCode::Unauthorized));
    assert_eq!(come(&mut hub, 2, "Bob"), "");
    assert_eq!(said(&mut hub, 2, "hello"), "Bob:hello\n");
    assert!(hub.closed.is_empty());
    let members = hub.shard.counters();
    assert_eq!((members.seats, members.sessions), (2, 2), "who was refused left nothing behind");
}

#[test]
fn who_loses_its_last_seat_is_told_and_closed() {
    let mut hub = Hub::new(HubConfig::default());
    come(&mut hub, 0, "Mina");
    hub.input(Input::Call { id: 1, call: ServerCall::Delete { room: "r".to_owned() } });
    let told = heard(&mut hub, 0);
    assert!(told.starts_with("error: the room is closed to you"), "{told}");
    assert_eq!(hub.closed.remove(&0), Some(CloseCode::Normal));
    assert_eq!(hub.shard.counters().sessions, 0);
}
