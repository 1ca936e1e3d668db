//! Commands that wait for the application: what it may change, and what happens while it thinks.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::Hub;
use roomcast_core::{
    Grants, HookMask, HubConfig, KeyGrant, Question, Rule, RulesOf, Ticket, Verdict, hook,
};
use roomcast_wire::{Codec, ErrorCode, EventName, Name, Payload, Refusal};
use serde_json::{Value, json};

fn hub(hooks: HookMask) -> Hub {
    Hub::new(HubConfig { hooks, ..HubConfig::default() })
}

fn json(text: &str) -> Payload {
    Payload::new(Codec::Json, Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn refusal() -> Verdict {
    Verdict::Refuse(Refusal::new(ErrorCode::Refused, "no swearing"))
}

fn join(hub: &mut Hub, link: u32) {
    hub.open(link);
    let joined = hub.ask(link, r#"{"type":"join","ref":1,"room":"lobby"}"#);
    assert_eq!(joined["type"], "joined");
    // The others hear of it; that is not what these tests are about.
    (0..link).for_each(|link| _ = hub.heard(link));
}

fn publish(reference: u32) -> String {
    format!(
        r#"{{"type":"publish","ref":{reference},"room":"lobby","event":"chat","data":{reference}}}"#
    )
}

fn publish_of(question: Question) -> Box<hook::Publish> {
    let Question::Publish(publish) = question else { panic!("{question:?}") };
    publish
}

#[test]
fn what_is_said_waits_for_the_hook_and_the_hook_may_change_it() {
    let mut hub = hub(HookMask::PUBLISH);
    join(&mut hub, 0);
    join(&mut hub, 1);
    assert_eq!(hub.say(0, publish(2)), Vec::<Value>::new());
    assert_eq!(hub.shard.counters().hooks_waiting, 1);
    let (ticket, question) = hub.question();
    let mut asked = publish_of(question);
    assert_eq!((asked.room.as_str(), asked.reliable), ("lobby", true));
    assert_eq!(asked.data, Some(json("2")));
    asked.event = EventName::text("whisper").unwrap();
    asked.data = Some(json(r#"{"text":"***"}"#));
    asked.room = "another".to_owned();
    let said = hub.decide(0, ticket, Verdict::Go(Question::Publish(asked)));
    assert_eq!((&said[0]["type"], &said[0]["ref"]), (&json!("ok"), &json!(2)));
    assert_eq!(hub.released, [0]);
    for heard in [&said[1], &hub.heard(1)[0]] {
        assert_eq!(heard["event"], "whisper");
        assert_eq!(heard["data"]["text"], "***");
        assert_eq!(heard["room"], "lobby", "the room is read only");
    }
    assert_eq!(hub.shard.counters().hooks_waiting, 0);
}

#[test]
fn a_refusal_is_told_and_nothing_is_said() {
    let mut hub = hub(HookMask::PUBLISH);
    join(&mut hub, 0);
    hub.say(0, publish(2));
    let (ticket, _) = hub.question();
    let said = hub.decide(0, ticket, refusal());
    assert_eq!(said.len(), 1);
    assert_eq!((&said[0]["code"], &said[0]["message"]), (&json!(4034), &json!("no swearing")));
    assert_eq!((&said[0]["ref"], &said[0]["retry"]), (&json!(2), &json!(false)));
    assert_eq!(hub.shard.counters().events_total, 0);
}

#[test]
fn a_hook_that_never_answers_meets_its_deadline_and_its_late_word_is_passed_over() {
    let mut hub = hub(HookMask::PUBLISH);
    join(&mut hub, 0);
    hub.say(0, publish(2));
    hub.advance(4_999);
    assert_eq!(hub.heard(0), Vec::<Value>::new());
    hub.advance(1);
    let said = hub.heard(0);
    assert_eq!((&said[0]["reason"], &said[0]["retry"]), (&json!("hook_timeout"), &json!(true)));
    assert_eq!((hub.released.as_slice(), hub.shard.counters().hook_timeouts_total), (&[0][..], 1));
    let (ticket, question) = hub.question();
    assert_eq!(hub.decide(0, ticket, Verdict::Go(question)), Vec::<Value>::new());
    // The next command has its whole time, though the deadline of the first one is still set.
    hub.say(0, publish(3));
    hub.advance(3_000);
    let (ticket, question) = hub.question();
    assert_eq!(hub.decide(0, ticket, Verdict::Go(question.clone()))[0]["type"], "ok");
    assert_eq!(hub.decide(0, ticket, Verdict::Go(question)), Vec::<Value>::new(), "twice");
    hub.say(0, publish(4));
    hub.advance(4_999);
    assert_eq!(hub.heard(0), Vec::<Value>::new());
    let (ticket, question) = hub.question();
    assert_eq!(hub.decide(0, ticket, Verdict::Go(question))[0]["type"], "ok");
}

#[test]
fn a_verdict_for_a_link_that_is_gone_is_passed_over() {
    let mut hub = hub(HookMask::PUBLISH);
    join(&mut hub, 0);
    hub.say(0, publish(2));
    let (ticket, question) = hub.question();
    hub.cut(0);
    assert_eq!(hub.shard.counters().hooks_waiting, 0);
    // Another link with the same number waits for its own verdict.
    join(&mut hub, 0);
    hub.say(0, publish(2));
    assert_eq!(hub.decide(0, ticket, Verdict::Go(question)), Vec::<Value>::new());
    let (ticket, question) = hub.question();
    assert_eq!(hub.decide(0, ticket, Verdict::Go(question))[0]["type"], "ok");
    assert_eq!(hub.shard.counters().events_total, 1);
}

#[test]
fn what_a_hook_made_too_large_is_refused() {
    let mut hub = hub(HookMask::PUBLISH);
    join(&mut hub, 0);
    hub.say(0, publish(2));
    let (ticket, question) = hub.question();
    let mut asked = publish_of(question);
    asked.data = Some(json(&format!("\"{}\"", "x".repeat(64 << 10))));
    let said = hub.decide(0, ticket, Verdict::Go(Question::Publish(asked.clone())));
    assert_eq!(said[0]["reason"], "payload_too_large");
    hub.say(0, publish(3));
    let (ticket, _) = hub.question();
    asked.data = None;
    asked.event = EventName::Number(1 << 53);
    let said = hub.decide(0, ticket, Verdict::Go(Question::Publish(asked)));
    assert_eq!(said[0]["reason"], "invalid_field");
    assert_eq!(hub.shard.counters().events_total, 0);
}

#[test]
fn only_so_many_commands_may_wait() {
    let mut config = HubConfig { hooks: HookMask::PUBLISH, ..HubConfig::default() };
    config.limits.hooks_waiting = 2;
    let mut hub = Hub::new(config);
    for link in 0..3 {
        join(&mut hub, link);
    }
    assert_eq!(hub.say(0, publish(2)).len() + hub.say(1, publish(2)).len(), 0);
    let refused = hub.ask(2, publish(2));
    assert_eq!((&refused["reason"], &refused["retry_ms"]), (&json!("rate_limited"), &json!(100)));
    assert!(refused["message"].as_str().unwrap().contains("limits.hooks_waiting"));
    let (ticket, _) = hub.question();
    hub.decide(0, ticket, refusal());
    assert_eq!(hub.say(2, publish(3)), Vec::<Value>::new());
}

#[test]
fn commands_without_a_hook_do_not_wait() {
    let mut hub = hub(HookMask::JOIN | HookMask::LEAVE);
    hub.open(0);
    assert_eq!(hub.ask(0, publish(2))["reason"], "not_a_member");
    assert_eq!(hub.asked.len(), 0);
}

fn rules(room: &str) -> Option<Arc<Grants>> {
    let rule = Rule::new(room, ["join", "create"]).unwrap();
    Some(Arc::new(Grants::new(RulesOf::Token, vec![rule])))
}

const KEY: &str = "a-key-of-some-length";

/// A session whose key has no rules, and to whom a hook gave some.
fn narrowed(hooks: HookMask) -> Hub {
    let key =
        KeyGrant { key: KEY.into(), user: Name::new("mina").ok(), admin: false, grants: None };
    let hooks = hooks | HookMask::CONNECT;
    let mut hub = Hub::new(HubConfig { hooks, keys: vec![key], ..HubConfig::default() });
    hub.open(0);
    assert!(hub.say(0, format!(r#"{{"type":"hello","ref":1,"token":"{KEY}"}}"#)).is_empty());
    let (ticket, question) = hub.question();
    let Question::Connect(mut asked) = question else { panic!("{question:?}") };
    asked.identity.grants = rules("easy-*");
    let said = hub.decide(0, ticket, Verdict::Go(Question::Connect(asked)));
    assert_eq!(said[0]["type"], "welcome");
    hub
}

fn may_join(hub: &mut Hub, room: &str) -> bool {
    hub.ask(0, format!(r#"{{"type":"join","ref":9,"room":"{room}"}}"#))["type"] == "joined"
}

#[test]
fn what_a_hook_took_at_the_beginning_does_not_come_back_with_a_refresh() {
    let mut hub = narrowed(HookMask::NONE);
    assert!(may_join(&mut hub, "easy-1") && !may_join(&mut hub, "hard-1"));
    for _ in 0..2 {
        let refresh = format!(r#"{{"type":"refresh","ref":2,"token":"{KEY}"}}"#);
        assert_eq!(hub.ask(0, refresh)["type"], "ok");
        assert!(may_join(&mut hub, "easy-2") && !may_join(&mut hub, "hard-1"));
    }
    let refresh = r#"{"type":"refresh","ref":3,"token":"guessed"}"#;
    assert_eq!(hub.ask(0, refresh)["reason"], "invalid_token");
}

fn refresh(hub: &mut Hub, token: &str) -> (Ticket, Box<hook::Refresh>) {
    let said = hub.say(0, format!(r#"{{"type":"refresh","ref":2,"token":"{token}"}}"#));
    assert!(said.is_empty(), "it waits for the hook: {said:?}");
    let (ticket, question) = hub.question();
    let Question::Refresh(asked) = question else { panic!("{question:?}") };
    assert_eq!((asked.from.user.as_deref(), &*asked.token), (Some("mina"), token));
    (ticket, asked)
}

#[test]
fn a_hook_before_refresh_may_give_more_rules_or_refuse() {
    let mut hub = narrowed(HookMask::REFRESH);
    let (ticket, asked) = refresh(&mut hub, KEY);
    assert_eq!((&asked.identity.grants, &asked.token_grants), (&rules("easy-*"), &None));
    let said = hub.decide(0, ticket, Verdict::Go(Question::Refresh(asked)));
    assert_eq!((&said[0]["type"], &said[0]["ref"]), (&json!("ok"), &json!(2)));
    assert!(!may_join(&mut hub, "hard-1"), "the hook said nothing");

    let (ticket, mut asked) = refresh(&mut hub, KEY);
    asked.identity.grants = rules("hard-*");
    hub.decide(0, ticket, Verdict::Go(Question::Refresh(asked)));
    assert!(may_join(&mut hub, "hard-1") && !may_join(&mut hub, "easy-1"));

    let (ticket, _) = refresh(&mut hub, KEY);
    assert_eq!(hub.decide(0, ticket, refusal())[0]["code"], 4034);
    assert!(may_join(&mut hub, "hard-2"), "nothing has changed");

    // The token's own rules: none.
    let (ticket, mut asked) = refresh(&mut hub, KEY);
    asked.identity.grants = asked.token_grants.take();
    hub.decide(0, ticket, Verdict::Go(Question::Refresh(asked)));
    assert!(may_join(&mut hub, "easy-1") && may_join(&mut hub, "harder-1"));
}

#[test]
fn a_hook_before_refresh_may_know_a_token_that_the_server_does_not() {
    let mut hub = narrowed(HookMask::REFRESH);
    let (ticket, asked) = refresh(&mut hub, "foreign");
    assert_eq!(asked.refusal.as_ref().unwrap().code, ErrorCode::InvalidToken);
    let said = hub.decide(0, ticket, Verdict::Go(Question::Refresh(asked)));
    assert_eq!(said[0]["reason"], "invalid_token");

    let (ticket, mut asked) = refresh(&mut hub, "foreign");
    asked.granted = true;
    asked.identity.expires = Some(hub.now.plus(5_000));
    let said = hub.decide(0, ticket, Verdict::Go(Question::Refresh(asked)));
    assert_eq!(said[0]["type"], "ok");
    assert!(!may_join(&mut hub, "hard-1"));

    let (ticket, mut asked) = refresh(&mut hub, "foreign");
    asked.granted = true;
    asked.identity.user = Name::new("eve").ok();
    let said = hub.decide(0, ticket, Verdict::Go(Question::Refresh(asked)));
    assert_eq!(said[0]["reason"], "invalid_token", "a session keeps its user");
}
