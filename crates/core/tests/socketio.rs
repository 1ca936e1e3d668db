//! Clients of Socket.IO in the hub: calls both ways, one frame for all, the end of a session.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::Hub;
use roomcast_core::{
    Act, HubConfig, Input, LinkId, NamespaceConfig, Output, ServerCall, ServerReply,
};
use roomcast_wire::{Codec, ErrorCode, EventName, Format, Payload, SessionId};

fn hub(config: HubConfig) -> Hub {
    Hub::new(config)
}

/// A Socket.IO link with a session.
fn connect(hub: &mut Hub, link: u32) -> SessionId {
    hub.open_as(link, Format::SOCKETIO_JSON);
    let heard = said(hub, link, "0");
    let sid = heard.strip_prefix("40{\"sid\":\"").and_then(|rest| rest.strip_suffix("\"}"));
    sid.unwrap_or_else(|| panic!("{heard}")).parse().unwrap()
}

/// The text frames that a link hears when it says something, joined.
fn said(hub: &mut Hub, link: u32, text: &str) -> String {
    hub.input(Input::Message {
        link: LinkId(link),
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    });
    heard(hub, link)
}

fn heard(hub: &mut Hub, link: u32) -> String {
    hub.end_turn();
    pieces(hub, link).iter().map(|(_, piece)| text(piece)).collect()
}

/// What waits for a link: where each piece is, and what is in it.
fn pieces(hub: &mut Hub, link: u32) -> Vec<(*const u8, Vec<u8>)> {
    let Some(outbox) = hub.shard.outbox(LinkId(link)) else { return Vec::new() };
    let mut pieces = Vec::new();
    while !outbox.is_empty() {
        let piece = outbox.first();
        let len = piece.len();
        pieces.push((piece.as_ptr(), piece.to_vec()));
        outbox.consume(len);
    }
    pieces
}

/// What is in the one frame of a piece.
fn text(piece: &[u8]) -> &str {
    assert_eq!(piece[0], 0x81, "a text frame");
    std::str::from_utf8(&piece[if piece[1] < 126 { 2 } else { 4 }..]).unwrap()
}

#[test]
fn the_application_answers_with_arguments() {
    let mut hub = hub(HubConfig { calls: true, ..HubConfig::default() });
    connect(&mut hub, 0);
    assert_eq!(said(&mut hub, 0, r#"27["save",{"a":1},2]"#), "");
    assert_eq!(said(&mut hub, 0, r#"2["save"]"#), "");
    let mut called = std::mem::take(&mut hub.called).into_iter();
    let (ticket, call) = called.next().unwrap();
    assert!(call.answered);
    let data = call.data.unwrap();
    assert_eq!((data.is_arguments(), &data.bytes()[..]), (true, &br#"[{"a":1},2]"#[..]));
    let answer = Payload::new(Codec::Json, r#"["done",3]"#.into()).unwrap().into_arguments();
    hub.input(Input::Answered { ticket, answer: Ok(Some(answer)) });
    assert_eq!(heard(&mut hub, 0), r#"437["done",3]"#);
    let (ticket, call) = called.next().unwrap();
    assert!(!call.answered);
    hub.input(Input::Answered { ticket, answer: Ok(Some(Payload::text("nobody"))) });
    assert_eq!(heard(&mut hub, 0), "", "nobody waits for it");
}

#[test]
fn a_client_answers_the_application() {
    let mut hub = hub(HubConfig::default());
    let session = connect(&mut hub, 0);
    connect(&mut hub, 1);
    let call = EventName::text("sure?").unwrap();
    let call = ServerCall::Ask { session, call, data: None, timeout_ms: 1_000 };
    hub.input(Input::Call { id: 5, call });
    let asked = heard(&mut hub, 0);
    let id = asked.strip_prefix("42").and_then(|rest| rest.strip_suffix(r#"["sure?"]"#));
    let id = id.unwrap_or_else(|| panic!("{asked}"));
    // Another's, one too late, and one for nothing are passed over.
    assert_eq!(said(&mut hub, 1, &format!("3{id}[\"no\"]")), "");
    let bytes = Bytes::from(format!("3{id}[\"yes\",1]"));
    hub.shard.handle(hub.now, Input::Message { link: LinkId(0), bytes });
    let outputs: Vec<_> = std::iter::from_fn(|| hub.shard.poll_output()).collect();
    let data = outputs.into_iter().find_map(|output| match output {
        Output::CallDone { id: 5, reply: ServerReply::Answered(data) } => data,
        _ => None,
    });
    let data = data.unwrap();
    assert_eq!((data.is_arguments(), &data.bytes()[..]), (true, &br#"["yes",1]"#[..]));
    assert_eq!(said(&mut hub, 0, &format!("3{id}[\"yes\",1]")), "");
    assert!(hub.closed.is_empty());
}

#[test]
fn an_event_is_written_once_for_all_members_of_a_format() {
    let mut hub = hub(HubConfig::default());
    for link in 0..3 {
        connect(&mut hub, link);
        said(&mut hub, link, r#"2["join","lobby"]"#);
    }
    for link in 0..3 {
        pieces(&mut hub, link);
    }
    let text = r#"2["publish",{"room":"lobby","event":"chat","data":"hi"}]"#;
    hub.input(Input::Message { link: LinkId(0), bytes: Bytes::from_static(text.as_bytes()) });
    hub.end_turn();
    let heard: Vec<_> = (0..3).map(|link| pieces(&mut hub, link).remove(0)).collect();
    assert!(heard.iter().all(|(at, _)| *at == heard[0].0), "one buffer");
}

#[test]
fn a_session_that_nobody_could_come_back_to_ends_with_its_link() {
    let mut hub = hub(HubConfig::default());
    let session = connect(&mut hub, 0);
    hub.cut(0);
    assert_eq!(hub.shard.counters().sessions, 0, "no resume window");
    connect(&mut hub, 1);
    let send = format!(r#"21["send",{{"session":"{session}","event":"x"}}]"#);
    assert!(said(&mut hub, 1, &send).contains("no_such_target"));
}

/// What is said there would come under the name of a namespace that its client has not opened.
#[test]
fn a_room_of_another_namespace_is_not_for_a_client_that_would_not_hear_it() {
    let mut config = HubConfig::default();
    config.namespaces.insert("game".to_owned(), NamespaceConfig::default());
    let mut hub = hub(config);
    let session = connect(&mut hub, 0);
    for command in [
        r#"21["join","game/hall"]"#,
        r#"21["join",{"room":"game/hall"}]"#,
        r#"21["create",{"room":"game/hall","join":true}]"#,
    ] {
        let refused = said(&mut hub, 0, command);
        assert!(refused.contains(r#""reason":"invalid_name""#), "{refused}");
    }
    for act in [Act::Join { data: None, make: true }, Act::Create { options: None, join: true }] {
        let call = ServerCall::Act { room: "game/hall".to_owned(), session, act };
        hub.input(Input::Call { id: 1, call });
        let (_, reply) = hub.done.pop().unwrap();
        let ServerReply::Refused(refusal) = reply else { panic!("{reply:?}") };
        assert_eq!(refusal.code, ErrorCode::InvalidName);
    }
    assert_eq!(heard(&mut hub, 0), "");
    // It need not hear a room to speak there, or to make it.
    let made = said(&mut hub, 0, r#"21["create",{"room":"game/hall"}]"#);
    assert!(made.contains(r#""type":"created""#), "{made}");
}

#[test]
fn without_the_convention_every_event_is_the_applications() {
    for convention in [true, false] {
        let mut config = HubConfig { calls: true, ..HubConfig::default() };
        config.namespaces.get_mut("default").unwrap().convention = convention;
        let mut hub = hub(config);
        connect(&mut hub, 0);
        let heard = said(&mut hub, 0, r#"21["join","lobby"]"#);
        assert_eq!(heard.contains("joined"), convention, "{heard}");
        let called: Vec<_> = hub.called.iter().map(|(_, call)| call.call.as_text()).collect();
        assert_eq!(called, if convention { vec![] } else { vec![Some("join")] });
    }
}

#[test]
fn who_is_put_out_is_told_to_stay_away() {
    let mut hub = hub(HubConfig::default());
    let session = connect(&mut hub, 0);
    hub.input(Input::Call { id: 1, call: ServerCall::Disconnect { session } });
    assert_eq!(heard(&mut hub, 0), "41");
    assert_eq!(hub.closed[&0].number(), 4_824);
}
