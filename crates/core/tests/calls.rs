//! Calls between clients and the application: what a peer may do wrong.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::Hub;
use roomcast_core::{HubConfig, HubEvent, Input, LinkId, ServerCall, ServerReply};
use roomcast_wire::push::Sender;
use roomcast_wire::{Codec, ErrorCode, EventName, Format, Payload};

fn hub() -> Hub {
    let mut config = HubConfig { calls: true, ..HubConfig::default() };
    config.limits.message_bytes = 2_048;
    Hub::new(config)
}

#[test]
fn a_result_can_only_be_given_by_who_was_asked_and_only_once() {
    let mut hub = hub();
    hub.open(0);
    hub.open(1);
    let welcome = hub.ask(0, r#"{"type":"hello","ref":1}"#);
    hub.ask(1, r#"{"type":"hello","ref":1}"#);
    let session = welcome["session"].as_str().unwrap().parse().unwrap();
    let call = EventName::Number(1);
    let call = ServerCall::Ask { session, call, data: None, timeout_ms: 1_000 };
    hub.input(Input::Call { id: 1, call });
    let id = hub.heard(0)[0]["id"].clone();
    let result = format!(r#"{{"type":"result","ref":2,"id":{id},"data":1}}"#);
    assert_eq!(hub.ask(1, result.clone())["reason"], "no_such_call", "another's");
    assert_eq!(hub.ask(0, result.clone())["type"], "ok");
    assert_eq!(hub.ask(0, result)["reason"], "no_such_call", "twice");
    assert_eq!(hub.shard.next_deadline().unwrap().0, 10_000, "nothing waits for the timeout");
    for id in ["9007199254740991", "0", "-1", "\"1\""] {
        let result = format!(r#"{{"type":"result","ref":3,"id":{id}}}"#);
        assert_eq!(hub.ask(0, result)["type"], "error", "{id}");
    }
    let error = format!(r#"{{"type":"result","ref":3,"id":1,"error":"{}"}}"#, "x".repeat(256));
    assert_eq!(hub.ask(0, error)["reason"], "invalid_name");
}

#[test]
fn an_application_that_answers_with_too_much_is_stopped() {
    let mut hub = hub();
    hub.open(0);
    assert_eq!(hub.say(0, r#"{"type":"call","ref":1,"call":"much"}"#).len(), 0);
    let (ticket, call) = hub.called.pop().unwrap();
    assert_eq!(call.call.to_string(), "much");
    let much = Bytes::from(format!("\"{}\"", "x".repeat(4_096)));
    let answer = Ok(Some(Payload::new(Codec::Json, much).unwrap()));
    hub.input(Input::Answered { ticket, answer: answer.clone() });
    assert_eq!(hub.heard(0)[0]["reason"], "internal");
    hub.input(Input::Answered { ticket, answer });
    assert_eq!(hub.heard(0).len(), 0, "twice");
}

#[test]
fn what_a_session_asked_is_answered_to_nobody_else() {
    let mut config = HubConfig { calls: true, ..HubConfig::default() };
    config.limits.call_ms = 4_000;
    let mut hub = Hub::new(config);
    hub.open(0);
    hub.ask(0, r#"{"type":"hello","ref":1}"#);
    for reference in 0..32 {
        let call = format!(r#"{{"type":"call","ref":{reference},"call":"slow"}}"#);
        assert_eq!(hub.say(0, call).len(), 0);
    }
    assert_eq!(hub.ask(0, r#"{"type":"call","ref":33,"call":"slow"}"#)["reason"], "rate_limited");
    assert_eq!(hub.shard.next_deadline().unwrap().0, 4_000, "the calls'");
    hub.say(0, r#"{"type":"bye","ref":34}"#);
    // The application answers all the same.
    for (ticket, _) in std::mem::take(&mut hub.called) {
        hub.input(Input::Answered { ticket, answer: Ok(None) });
    }
    assert_eq!(hub.shard.next_deadline().unwrap().0, 10_000, "the link's: none of a call");
    hub.cut(0);
    hub.open(1);
    assert_eq!(hub.say(1, r#"{"type":"call","ref":1,"call":"slow"}"#).len(), 0);
}

#[test]
fn the_application_is_told_of_what_hello_says_to_it_and_where_a_call_comes_from() {
    let mut hub = Hub::new(HubConfig { calls: true, events: true, ..HubConfig::default() });
    hub.open(0);
    hub.ask(0, r#"{"type":"hello","ref":1,"data":{"app":"3.2"}}"#);
    let Some(HubEvent::Connected(connected)) = hub.events.pop() else { panic!("no session") };
    assert_eq!(connected.data.unwrap().bytes().as_ref(), br#"{"app":"3.2"}"#);
    hub.say(0, r#"{"type":"call","call":"save"}"#);
    hub.say(0, r#"{"type":"call","ref":2,"call":"save"}"#);
    let told = hub.called.drain(..).map(|(_, call)| (call.namespace.to_string(), call.answered));
    let told: Vec<_> = told.collect();
    assert_eq!(told, [("default".to_owned(), false), ("default".to_owned(), true)]);
}

#[test]
fn only_so_many_calls_of_all_clients_may_wait_for_the_application() {
    let mut config = HubConfig { calls: true, ..HubConfig::default() };
    config.limits.calls_waiting = 2;
    let mut hub = Hub::new(config);
    for link in 0..3 {
        hub.open(link);
    }
    let call = r#"{"type":"call","ref":1,"call":"slow"}"#;
    assert_eq!(hub.say(0, call).len() + hub.say(1, call).len(), 0);
    let refused = hub.ask(2, call);
    assert_eq!((&refused["reason"], &refused["retry_ms"]), (&"rate_limited".into(), &100.into()));
    assert!(refused["message"].as_str().unwrap().contains("limits.calls_waiting"), "{refused}");
    assert_eq!(hub.called.len(), 2, "the application is not asked");
    // It goes on with what a session asked that is over since.
    hub.say(0, r#"{"type":"bye"}"#);
    assert_eq!(hub.ask(2, call)["reason"], "rate_limited");
    let (ticket, _) = hub.called.remove(0);
    hub.input(Input::Answered { ticket, answer: Ok(None) });
    assert_eq!(hub.say(2, call).len(), 0, "one was answered");
}

/// What the application says in a session's name that session does not hear, and what may be
/// dropped does not wait for a link that takes nothing.
#[test]
fn what_is_said_to_all_passes_by_its_sender_and_who_does_not_read() {
    let mut hub = hub();
    let mut sessions = Vec::new();
    for link in 0..3 {
        hub.open(link);
        let welcome = hub.ask(link, r#"{"type":"hello","ref":1}"#);
        sessions.push(welcome["session"].as_str().unwrap().parse().unwrap());
    }
    hub.shard.set_blocked(LinkId(2), true);
    let from = Sender { session: sessions[0], user: None, name: None, metadata: None };
    for (id, reliable) in [(1, true), (2, false)] {
        let (event, data) = (EventName::Number(id), None);
        let (namespace, from) = ("default".to_owned(), Some(Arc::new(from.clone())));
        let call = ServerCall::Broadcast { namespace, event, data, from, reliable };
        hub.input(Input::Call { id, call });
    }
    assert_eq!(hub.done, [(1, ServerReply::Reached(2)), (2, ServerReply::Reached(1))]);
    let (session, event, data) = (sessions[2], EventName::Number(3), None);
    let call = ServerCall::Send { session, event, data, reliable: false };
    hub.input(Input::Call { id: 3, call });
    let heard = |link| {
        hub.heard(link).iter().map(|push| push["event"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!([0, 1, 2].map(heard), [vec![], vec![1, 2], vec![1]]);
}

#[test]
fn who_is_asked_and_leaves_is_not_waited_for() {
    let mut hub = hub();
    hub.open(0);
    let welcome = hub.ask(0, r#"{"type":"hello","ref":1}"#);
    let session = welcome["session"].as_str().unwrap().parse().unwrap();
    let call = EventName::Number(1);
    let call = ServerCall::Ask { session, call, data: None, timeout_ms: 60_000 };
    hub.input(Input::Call { id: 1, call });
    assert_eq!(hub.done, []);
    hub.say(0, r#"{"type":"bye"}"#);
    let Some((1, ServerReply::Refused(refusal))) = hub.done.pop() else { panic!("it waits") };
    assert_eq!(refusal.code, ErrorCode::NoSuchTarget);
}

#[test]
fn only_so_many_calls_may_wait_for_one_session() {
    let mut hub = hub();
    hub.open(0);
    let welcome = hub.ask(0, r#"{"type":"hello","ref":1}"#);
    let session = welcome["session"].as_str().unwrap().parse().unwrap();
    for id in 0..=32 {
        let call = EventName::Number(id);
        let call = ServerCall::Ask { session, call, data: None, timeout_ms: 1_000 };
        hub.input(Input::Call { id, call });
    }
    assert_eq!(hub.heard(0).len(), 32, "`limits.calls_per_session`");
    let Some((32, ServerReply::Refused(refusal))) = hub.done.pop() else { panic!("it waits") };
    assert_eq!((refusal.code, hub.done.len()), (ErrorCode::RateLimited, 0));
}

/// Clients of nimMsgIo say all to the server's own code: a lobby that only relays is none.
#[test]
fn a_lobby_is_spoken_to_where_it_has_a_logic() {
    for logic in [None, Some("latest")] {
        let mut config = HubConfig { calls: true, ..HubConfig::default() };
        let namespace = config.namespaces.get_mut("default").unwrap();
        namespace.lobby = Some("hall".to_owned());
        namespace.options.logic = logic.map(Into::into);
        let mut hub = Hub::new(config);
        hub.open_as(0, Format::MSGIO_WS);
        let text = r#"{"namespace":"","event":"foo","payload":"baa"}"#;
        hub.input(Input::Message { link: LinkId(0), bytes: text.into() });
        assert_eq!(hub.called.len(), usize::from(logic.is_none()), "{logic:?}");
        assert_eq!(hub.shard.counters().events_total, u64::from(logic.is_some()), "{logic:?}");
    }
}
