//! A client that is spoken to in another format of its dialect from now on.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::Hub;
use roomcast_core::{Act, HubConfig, Input, LinkId, ServerCall};
use roomcast_wire::options::PresenceRule;
use roomcast_wire::{EventName, Format, Payload, RoomOptions, SessionId};

const ROOMS: [&str; 3] = ["one", "two", "three"];

/// A MaChat client in room `one`, seated by the server in the others.
fn client(hub: &mut Hub, link: u32) -> SessionId {
    hub.open_as(link, Format::MACHAT_WS);
    let hello = format!(r#"{{"name":"client {link}","room":"one"}}"#);
    hub.input(Input::Message { link: LinkId(link), bytes: hello.into() });
    let [session] = newest(hub, 9)[..] else { panic!("one more") };
    ROOMS[1..].iter().for_each(|room| seat(hub, session, room));
    assert_eq!(newest(hub, 9), [session; 2]);
    frames(hub, link);
    session
}

fn seat(hub: &mut Hub, session: SessionId, room: &str) {
    let act = Act::Join { data: None, make: true };
    let call = ServerCall::Act { room: room.to_owned(), session, act };
    hub.input(Input::Call { id: 1, call });
}

/// The sessions that came to rooms since it was last asked, as a member is told.
fn newest(hub: &mut Hub, observer: u32) -> Vec<SessionId> {
    hub.end_turn();
    let told = hub.heard(observer).into_iter();
    let came = told.filter(|push| push["type"] == "member_joined");
    came.map(|push| push["member"]["session"].as_str().unwrap().parse().unwrap()).collect()
}

/// The WebSocket frames that a link hears: the first byte of each, and what is in it.
fn frames(hub: &mut Hub, link: u32) -> Vec<(u8, String)> {
    let Some(outbox) = hub.shard.outbox(LinkId(link)) else { return Vec::new() };
    let mut bytes = Vec::new();
    while !outbox.is_empty() {
        let piece = outbox.first().to_vec();
        outbox.consume(piece.len());
        bytes.extend(piece);
    }
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while let [first, len, after @ ..] = rest {
        let (text, behind) = after.split_at((*len).into());
        frames.push((*first, String::from_utf8(text.to_vec()).unwrap()));
        rest = behind;
    }
    frames
}

/// Says something in each room; what the client hears of it.
fn heard_of_all(hub: &mut Hub, link: u32) -> Vec<(u8, String)> {
    for room in ROOMS {
        let publish =
            format!(r#"{{"type":"publish","room":"{room}","event":"chat","data":"{room}"}}"#);
        hub.say(9, publish);
    }
    frames(hub, link)
}

fn hear_all(hub: &mut Hub, clients: &[u32]) {
    clients.iter().for_each(|&link| drop(frames(hub, link)));
}

fn expected(first: u8) -> Vec<(u8, String)> {
    ROOMS.map(|room| (first, format!("observer:{room}\n"))).into()
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

#[test]
fn it_hears_all_its_rooms_so_and_nobody_else_does() {
    let mut config = HubConfig::default();
    let options = RoomOptions { presence: PresenceRule::Members, ..RoomOptions::default() };
    config.namespaces.get_mut("default").unwrap().options = options;
    let mut hub = Hub::new(config);
    hub.open(9);
    hub.ask(9, r#"{"type":"hello","ref":1,"name":"observer"}"#);
    for room in ROOMS {
        hub.say(9, format!(r#"{{"type":"join","room":"{room}"}}"#));
    }
    let clients = [0, 1, 2, 3];
    let sessions = clients.map(|link| client(&mut hub, link));
    // What was said in this turn before and what is said after it is written when the turn ends.
    let before = r#"{"type":"publish","room":"two","event":"chat","data":"before"}"#;
    hub.input(Input::Message { link: LinkId(9), bytes: Bytes::from(before) });
    for link in [1, 2] {
        hub.input(Input::Speaks { link: LinkId(link), format: Format::MACHAT_WS_BINARY });
    }
    hub.end_turn();
    let firsts = [TEXT, BINARY, BINARY, TEXT];
    for (link, first) in clients.into_iter().zip(firsts) {
        assert_eq!(frames(&mut hub, link), [(first, "observer:before\n".to_owned())]);
    }
    for (link, first) in clients.into_iter().zip(firsts) {
        assert_eq!(heard_of_all(&mut hub, link), expected(first), "client {link}");
        hear_all(&mut hub, &clients);
    }
    // Those who stay move into the places of those who go: each keeps its own format.
    hub.cut(0);
    hub.input(Input::Speaks { link: LinkId(2), format: Format::MACHAT_WS });
    hub.end_turn();
    for (link, first) in [(1, BINARY), (2, TEXT), (3, TEXT)] {
        assert_eq!(heard_of_all(&mut hub, link), expected(first), "client {link}");
        hear_all(&mut hub, &clients);
    }
    hub.cut(1);
    hub.end_turn();
    for link in [2, 3] {
        assert_eq!(heard_of_all(&mut hub, link), expected(TEXT), "client {link}");
        hear_all(&mut hub, &clients);
    }
    // What its client is told itself comes in the same frames, and one that is gone has none.
    hub.input(Input::Speaks { link: LinkId(1), format: Format::MACHAT_WS });
    hub.input(Input::Speaks { link: LinkId(3), format: Format::MACHAT_WS_BINARY });
    hub.say(9, r#"{"type":"publish","room":"three","event":"chat","data":"x"}"#);
    hub.input(Input::Message { link: LinkId(3), bytes: Bytes::from("own") });
    hub.end_turn();
    let said = frames(&mut hub, 3);
    assert_eq!(said, [(BINARY, "observer:x\n".to_owned()), (BINARY, "client 3:own\n".to_owned())]);
    // So does what is told to it alone, and what is said in a room that it enters now.
    let (event, data) = (EventName::text("chat").unwrap(), Some(Payload::text("aside")));
    let call = ServerCall::Send { session: sessions[3], event, data, reliable: true };
    hub.input(Input::Call { id: 1, call });
    seat(&mut hub, sessions[3], "four");
    hub.say(9, r#"{"type":"join","room":"four"}"#);
    hub.say(9, r#"{"type":"publish","room":"four","event":"chat","data":"new"}"#);
    let said = frames(&mut hub, 3);
    let expected = ["server:aside\n", "observer:new\n"].map(|text| (BINARY, text.to_owned()));
    assert_eq!(said, expected);
}
