//! What happens, as the program around the hub is told.
#![allow(clippy::unwrap_used)]

mod common;

use common::Hub;
use roomcast_core::{HubConfig, HubEvent};

fn hub() -> Hub {
    let mut hub = Hub::new(HubConfig { events: true, ..HubConfig::default() });
    hub.advance(1);
    hub
}

/// What was told since it was last asked, one word each.
fn told(hub: &mut Hub) -> Vec<String> {
    let words = hub.events.drain(..).map(|event| match event {
        HubEvent::Connected(one) => format!("connected {}", one.resumed),
        HubEvent::Disconnected(one) => {
            let reason = one.reason.map_or("the peer", |code| code.reason());
            format!("disconnected by {reason}, kept {}", one.kept)
        }
        HubEvent::SessionEnded(one) => format!("session ended {}", one.reason.as_str()),
        HubEvent::RoomCreated(one) => format!("created {} {}", one.room, one.by.is_some()),
        HubEvent::RoomClosed(one) => format!("closed {} {}", one.room, one.reason.as_str()),
        HubEvent::MemberJoined(one) => format!("joined {}", one.room),
        HubEvent::MemberLeft(one) => format!("left {} {}", one.room, one.reason.as_str()),
        HubEvent::MemberDropped(one) => format!("dropped {}", one.room),
        HubEvent::MemberResumed(one) => format!("resumed {}", one.room),
        HubEvent::Published(one) => format!("published {} {}", one.room, one.event.name),
        HubEvent::Refused(one) => {
            format!("refused {} {:?}", one.refusal.code.reason(), one.reference)
        }
        HubEvent::SlowMember(_) => "slow".to_owned(),
    });
    words.collect()
}

#[test]
fn a_visit_is_told_from_the_first_word_to_the_last() {
    let mut hub = hub();
    hub.open(0);
    let welcome = hub.ask(0, r#"{"type":"hello","ref":1}"#);
    assert_eq!(told(&mut hub), ["connected false"]);
    hub.ask(0, r#"{"type":"join","ref":2,"room":"lobby"}"#);
    assert_eq!(told(&mut hub), ["created lobby true", "joined lobby"]);
    // Twice the same key is said once.
    for _ in 0..2 {
        hub.say(0, r#"{"type":"publish","ref":3,"room":"lobby","event":"chat","key":"k"}"#);
    }
    assert_eq!(told(&mut hub), ["published lobby chat"]);
    hub.say(0, r#"{"type":"publish","ref":4,"room":"nowhere","event":"chat"}"#);
    hub.say(0, "what?");
    assert_eq!(told(&mut hub), ["refused not_a_member Some(4)", "refused malformed None"]);
    hub.cut(0);
    assert_eq!(told(&mut hub), ["disconnected by the peer, kept true", "dropped lobby"]);
    hub.open(1);
    let resume = format!(
        r#"{{"type":"hello","ref":1,"resume":{{"session":{},"secret":{}}}}}"#,
        welcome["session"], welcome["resume"]
    );
    hub.say(1, resume);
    assert_eq!(told(&mut hub), ["connected true", "resumed lobby"]);
    hub.say(1, r#"{"type":"leave","ref":2,"room":"lobby"}"#);
    assert_eq!(told(&mut hub), ["left lobby left", "closed lobby expired"]);
    hub.say(1, r#"{"type":"bye"}"#);
    assert_eq!(told(&mut hub), ["session ended left", "disconnected by normal, kept false"]);
}

#[test]
fn who_does_not_come_back_and_who_does_not_read_is_told() {
    let mut config = HubConfig { events: true, ..HubConfig::default() };
    config.limits.outbox_bytes = 4_096;
    config.limits.message_bytes = 2_048;
    let mut hub = Hub::new(config);
    hub.open(0);
    hub.say(0, r#"{"type":"hello"}"#);
    hub.say(0, r#"{"type":"join","ref":2,"room":"lobby"}"#);
    told(&mut hub);
    hub.shard.set_blocked(roomcast_core::LinkId(0), true);
    let data = "x".repeat(1_500);
    for _ in 0..4 {
        let bytes = format!(
            r#"{{"type":"publish","room":"lobby","event":"x","reliable":true,"data":"{data}"}}"#
        );
        hub.input(roomcast_core::Input::Message {
            link: roomcast_core::LinkId(0),
            bytes: bytes.into(),
        });
        hub.end_turn();
    }
    let events = told(&mut hub);
    let from = events.iter().position(|event| event == "slow").unwrap();
    assert_eq!(
        events[from..from + 3],
        ["slow", "disconnected by slow_reader, kept true", "dropped lobby"]
    );
    hub.advance(60_000);
    assert_eq!(told(&mut hub), ["session ended lost", "left lobby lost", "closed lobby expired"]);
}

#[test]
fn nobody_is_told_what_nobody_wants_to_hear() {
    let mut hub = Hub::new(HubConfig::default());
    hub.open(0);
    hub.ask(0, r#"{"type":"join","ref":2,"room":"lobby"}"#);
    hub.say(0, r#"{"type":"publish","room":"lobby","event":"x"}"#);
    hub.cut(0);
    assert_eq!(hub.events, []);
}
