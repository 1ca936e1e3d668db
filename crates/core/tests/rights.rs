//! Threat S27: who may do what, by every path there is. A rule must not be passed by asking for
//! the same thing another way: by history, presence, a member list, a resumed session, or from
//! another namespace.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::Hub;
use roomcast_core::{Act, HubConfig, Input, KeyGrant, NamespaceConfig, ServerCall};
use roomcast_wire::options::{JoinRule, PublishRule};
use roomcast_wire::{Name, RoomOptions};

const OUTSIDER: u32 = 0;
const MEMBER: u32 = 1;
const ADMIN: u32 = 2;

/// A room that the server lets in and where only the server speaks, in a namespace that wants a
/// key and one that does not.
fn hub() -> Hub {
    let closed = RoomOptions {
        join: JoinRule::Granted,
        publish: PublishRule::Server,
        ..RoomOptions::default()
    };
    let rooms = BTreeMap::from([("closed".to_owned(), closed)]);
    let open = NamespaceConfig { static_rooms: rooms.clone(), ..NamespaceConfig::default() };
    let keyed = NamespaceConfig { anonymous: false, ..open.clone() };
    let namespaces = BTreeMap::from([("default".to_owned(), open), ("keyed".to_owned(), keyed)]);
    let admin = KeyGrant {
        key: "key-of-the-operator".to_owned(),
        user: Some(Name::new("operator").unwrap()),
        admin: true,
        grants: None,
    };
    let mut hub = Hub::new(HubConfig { namespaces, keys: vec![admin], ..HubConfig::default() });
    for link in [OUTSIDER, MEMBER, ADMIN] {
        hub.open(link);
    }
    hub.ask(OUTSIDER, r#"{"type":"hello","ref":1}"#);
    let welcome = hub.ask(MEMBER, r#"{"type":"hello","ref":1}"#);
    hub.ask(ADMIN, r#"{"type":"hello","ref":1,"token":"key-of-the-operator"}"#);
    let session = welcome["session"].as_str().unwrap().parse().unwrap();
    let act = Act::Join { data: None, make: false };
    let call = ServerCall::Act { room: "closed".to_owned(), session, act };
    hub.input(Input::Call { id: 1, call });
    hub.end_turn();
    assert_eq!(hub.heard(MEMBER)[0]["type"], "joined");
    hub
}

fn outcome(link: u32, command: &str) -> String {
    let mut hub = hub();
    let heard = hub.say(link, command);
    let answer = heard.iter().find(|frame| frame["ref"] == 2).unwrap();
    answer["reason"].as_str().unwrap_or(answer["type"].as_str().unwrap()).to_owned()
}

#[test]
fn every_verb_asks_for_the_same_rights() {
    // (command, outsider, member, admin)
    let table = [
        (r#""join","room":"closed""#, "join_not_granted", "joined", "joined"),
        (r#""create","room":"closed","join":true"#, "join_not_granted", "joined", "joined"),
        (r#""leave","room":"closed""#, "not_a_member", "ok", "not_a_member"),
        (r#""publish","room":"closed","event":"x""#, "not_a_member", "publish_not_allowed", "ok"),
        (r#""history","room":"closed""#, "not_a_member", "history", "history"),
        (r#""members","room":"closed""#, "not_a_member", "members", "members"),
        (r#""presence","room":"closed""#, "not_a_member", "presence", "presence"),
        (r#""announce","room":"closed","event":"x""#, "forbidden", "forbidden", "ok"),
        (r#""broadcast","event":"x""#, "forbidden", "forbidden", "ok"),
        (r#""kick","room":"closed","user":"operator""#, "forbidden", "forbidden", "no_such_target"),
        (r#""delete","room":"closed""#, "forbidden", "forbidden", "forbidden"),
        // The same by the way of another namespace that wants a key.
        (r#""join","room":"keyed/closed""#, "token_required", "token_required", "joined"),
        (r#""history","room":"keyed/closed""#, "token_required", "token_required", "history"),
        (r#""members","room":"keyed/closed""#, "token_required", "token_required", "members"),
        (r#""rooms","namespace":"keyed""#, "token_required", "token_required", "rooms"),
        (
            r#""publish","room":"keyed/closed","event":"x""#,
            "token_required",
            "token_required",
            "ok",
        ),
    ];
    for (command, outsider, member, admin) in table {
        let command = format!(r#"{{"type":{command},"ref":2}}"#);
        assert_eq!(outcome(OUTSIDER, &command), outsider, "an outsider: {command}");
        assert_eq!(outcome(MEMBER, &command), member, "a member: {command}");
        assert_eq!(outcome(ADMIN, &command), admin, "an admin: {command}");
    }
}

#[test]
fn a_resumed_session_has_the_rights_it_had_and_no_more() {
    let mut hub = hub();
    hub.open(3);
    let welcome = hub.ask(3, r#"{"type":"hello","ref":1}"#);
    hub.cut(3);
    hub.open(4);
    let (session, secret) = (&welcome["session"], &welcome["resume"]);
    let resume = format!(r#""resume":{{"session":{session},"secret":{secret}}}"#);
    // Not even with a better key: the session's rights were those of nobody.
    let hello = format!(r#"{{"type":"hello","ref":1,"token":"key-of-the-operator",{resume}}}"#);
    assert_eq!(hub.ask(4, hello)["reason"], "cannot_resume");
    assert_eq!(hub.ask(4, format!(r#"{{"type":"hello","ref":2,{resume}}}"#))["resumed"], true);
    let history = hub.ask(4, r#"{"type":"history","ref":3,"room":"closed"}"#);
    assert_eq!(history["reason"], "not_a_member");
}
