//! Rooms with a logic of their own.
#![allow(clippy::unwrap_used)]

mod common;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::Hub;
use roomcast_core::{HubConfig, Input, LogicEvent, NamespaceConfig, Relay, RoomCtx, RoomLogic};
use roomcast_wire::options::PresenceRule;
use roomcast_wire::push::{ClosedReason, LeaveReason, MemberInfo};
use roomcast_wire::{Refusal, RoomOptions};
use serde_json::{Value, json};

/// Tells all what it hears, and does what events say.
#[derive(Default)]
struct Diary {
    closed: Arc<AtomicU64>,
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("dropped"));
    }
}

impl RoomLogic for Diary {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        let by = ctx.creator().is_some();
        ctx.publish("created", json!({"room": ctx.room(), "by_a_client": by}));
    }

    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        match member.data.as_ref().map(|data| data.read::<String>().unwrap()).as_deref() {
            Some("no") => {
                ctx.publish("never", ());
                return Err(Refusal::refused("the door is shut"));
            }
            Some("panic") => std::panic::resume_unwind(Box::new("on_join")),
            Some("quiet") => return Ok(()),
            _ => {}
        }
        ctx.tell(member.sender.session, "hello", json!({"members": ctx.member_count()}));
        ctx.tell_except(member.sender.session, "somebody", ());
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        let member = event.from.session;
        match event.name() {
            Some("secret") => return Ok(Relay::Nothing),
            Some("refuse") => return Err(Refusal::refused("not now")),
            Some("sum") => {
                let numbers: Vec<i64> = event.data()?;
                ctx.publish("sum", json!(numbers.iter().sum::<i64>()));
                return Ok(Relay::Nothing);
            }
            Some("kick_all") => {
                for other in ctx.members() {
                    ctx.kick(other.sender.session, "out");
                }
            }
            Some("close") => ctx.close(),
            Some("panic") => {
                ctx.publish("never", ());
                std::panic::resume_unwind(Box::new("on_event".to_owned()));
            }
            Some("flood") => loop {
                ctx.publish("flood", ());
            },
            Some("bad name") => ctx.publish("", ()),
            Some("call") => {
                let number: u64 = event.data()?;
                let accepted = ctx.call(number, std::future::ready(number * 2));
                ctx.tell(member, "called", json!(accepted));
            }
            Some("bomb") => {
                let bomb = Bomb;
                ctx.close();
                _ = ctx.call(1, async move { drop(bomb) });
            }
            Some("timer") => ctx.set_timer(7, event.data()?),
            Some("tick") => ctx.set_tick(event.data()?),
            _ => {}
        }
        Ok(Relay::AsIs)
    }

    fn on_drop(&mut self, ctx: &mut RoomCtx<'_>, _member: &MemberInfo) {
        ctx.publish("dropped", ());
    }

    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) {
        ctx.tell(member.sender.session, "welcome_back", ());
    }

    fn on_leave(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo, reason: LeaveReason) {
        assert!(ctx.member(member.sender.session).is_none());
        ctx.publish("left", json!({"why": reason.as_str(), "members": ctx.member_count()}));
    }

    fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, tick: u64) {
        ctx.publish_unreliable("tick", json!(tick));
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, timer: u64) {
        ctx.publish("timer", json!(timer));
    }

    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, call: u64, answer: Box<dyn Any + Send>) {
        let answer: u64 = *answer.downcast().unwrap();
        ctx.publish("answer", json!([call, answer]));
    }

    fn on_close(&mut self, ctx: &mut RoomCtx<'_>, _reason: ClosedReason) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        ctx.publish("closing", ());
        ctx.close();
    }
}

fn diary() -> RoomOptions {
    RoomOptions { logic: Some("diary".into()), ..RoomOptions::default() }
}

fn config() -> (HubConfig, Arc<AtomicU64>) {
    let mut config = HubConfig::default();
    let closed = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&closed);
    let make = move |_: &roomcast_core::RoomSetup<'_>| {
        Box::new(Diary { closed: Arc::clone(&counter) }) as Box<dyn RoomLogic>
    };
    config.logics.insert("diary", make).unwrap();
    let namespace = NamespaceConfig {
        patterns: vec![("diary-*".to_owned(), diary())],
        ..NamespaceConfig::default()
    };
    config.namespaces.insert("default".to_owned(), namespace);
    (config, closed)
}

/// A hub and so many links in the room `diary-1`.
fn room_of(members: u32) -> (Hub, Arc<AtomicU64>) {
    let (config, closed) = config();
    let mut hub = Hub::new(config);
    for link in 0..members {
        hub.open(link);
        hub.say(link, r#"{"type":"hello","ref":1}"#);
        hub.say(link, r#"{"type":"join","ref":1,"room":"diary-1"}"#);
    }
    for link in 0..members {
        hub.heard(link);
    }
    (hub, closed)
}

fn publish(event: &str, data: Value) -> String {
    json!({"type": "publish", "ref": 9, "room": "diary-1", "event": event, "data": data})
        .to_string()
}

/// Names of the events among what was heard, and other types.
fn names(heard: &[Value]) -> Vec<String> {
    let name = |one: &Value| match one["type"].as_str() {
        Some("event") => one["event"].as_str().unwrap().to_owned(),
        other => format!("<{}>", other.unwrap()),
    };
    heard.iter().map(name).collect()
}

#[test]
fn a_logic_hears_of_joins_and_tells_some_without_a_position() {
    let (config, _) = config();
    let mut hub = Hub::new(config);
    hub.open(0);
    hub.open(1);
    let heard = hub.say(0, r#"{"type":"join","ref":1,"room":"diary-1"}"#);
    assert_eq!(names(&heard), ["<joined>", "hello"]);
    assert_eq!(heard[0]["position"]["offset"], 1, "what was said at the making is behind");
    assert_eq!((&heard[1]["data"], &heard[1]["at"]), (&json!({"members": 1}), &Value::Null));
    let heard = hub.say(1, r#"{"type":"join","ref":1,"room":"diary-1"}"#);
    assert_eq!(names(&heard), ["<joined>", "hello"]);
    assert_eq!(names(&hub.heard(0)), ["<member_joined>", "somebody"]);
    let history = hub.ask(1, r#"{"type":"history","ref":2,"room":"diary-1"}"#);
    let events = history["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["data"], json!({"room": "diary-1", "by_a_client": true}));
}

#[test]
fn a_refused_join_leaves_no_trace() {
    let (mut hub, closed) = room_of(1);
    hub.open(1);
    let no = r#"{"type":"join","ref":1,"room":"diary-1","data":"no"}"#;
    let refused = hub.ask(1, no);
    assert_eq!((&refused["code"], &refused["message"]), (&json!(4034), &json!("the door is shut")));
    assert!(hub.heard(0).is_empty());
    assert_eq!(hub.shard.counters().seats, 1);
    assert_eq!(hub.ask(0, r#"{"type":"presence","ref":2,"room":"diary-1"}"#)["members"], 1);
    let refused = hub.ask(1, no.replace("diary-1", "diary-2"));
    assert_eq!(refused["reason"], "refused");
    assert_eq!(hub.shard.counters().rooms, 1, "a room made for that seat ends");
    assert_eq!(closed.load(Ordering::Relaxed), 1);
    let kept = json!({"type": "create", "ref": 1, "room": "diary-3", "join": true,
        "options": {"keep_when_empty": true, "names": "unique"}});
    assert_eq!(hub.ask(1, kept.to_string())["reason"], "name_taken");
    assert_eq!(hub.shard.counters().rooms, 1, "even one that is kept when empty");
}

#[test]
fn events_are_relayed_kept_or_refused() {
    let (mut hub, _) = room_of(2);
    let heard = hub.say(0, publish("chat", json!("hi")));
    assert_eq!(names(&heard), ["<ok>", "chat"]);
    assert_eq!(heard[0]["position"], heard[1]["at"]);
    assert_eq!(names(&hub.heard(1)), ["chat"]);
    let heard = hub.say(0, publish("secret", json!("hi")));
    assert_eq!((names(&heard), heard[0].get("position")), (vec!["<ok>".to_owned()], None));
    let heard = hub.say(0, publish("refuse", json!(null)));
    assert_eq!((&heard[0]["reason"], &heard[0]["message"]), (&json!("refused"), &json!("not now")));
    let heard = hub.say(0, publish("sum", json!("no list")));
    assert_eq!(heard[0]["reason"], "invalid_field");
    assert!(heard[0]["message"].as_str().unwrap().contains("`data` of `sum`"), "{heard:?}");
    let heard = hub.say(0, publish("sum", json!([1, 2, 39])));
    assert_eq!((names(&heard), &heard[1]["data"]), (vec!["<ok>".into(), "sum".into()], &json!(42)));
    assert_eq!(heard[1].get("from"), None);
    assert_eq!(names(&hub.heard(1)), ["sum"]);
}

#[test]
fn a_repeated_key_is_answered_without_the_logic() {
    let (mut hub, _) = room_of(1);
    let with_key = |event| publish(event, json!([1])).replace(r#""ref""#, r#""key":"k","ref""#);
    let first = hub.say(0, with_key("sum"));
    assert_eq!(names(&first), ["<ok>", "sum"]);
    assert_eq!(names(&hub.say(0, with_key("sum"))), ["<ok>"]);
}

#[test]
fn a_kicked_crowd_is_out_and_the_room_ends_with_its_last_member() {
    let (mut hub, closed) = room_of(300);
    let heard = hub.say(0, publish("kick_all", json!(null)));
    assert_eq!(names(&heard), ["<ok>", "kick_all", "<room_closed>"], "{heard:?}");
    for link in 1..300 {
        let heard = hub.heard(link);
        assert_eq!(heard.last().unwrap()["reason"], "kicked", "{link}: {heard:?}");
        let lefts = heard.iter().filter(|one| one["type"] == "member_left").count();
        assert_eq!(lefts as u32, link, "those who were put out before it");
    }
    assert_eq!((hub.shard.counters().rooms, hub.shard.counters().seats), (0, 0));
    assert_eq!(closed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_room_that_closes_itself_has_the_last_word() {
    let (mut hub, _) = room_of(2);
    let heard = hub.say(0, publish("close", json!(null)));
    assert_eq!(names(&heard), ["<ok>", "close", "closing", "<room_closed>"]);
    let heard = hub.heard(1);
    assert_eq!(names(&heard), ["close", "closing", "<room_closed>"]);
    assert_eq!(heard[2]["reason"], "ended");
    assert_eq!((hub.shard.counters().rooms, hub.shard.counters().seats), (0, 0));
}

#[test]
fn a_fault_closes_its_room_and_nothing_else() {
    for event in ["panic", "flood", "bad name"] {
        let (mut hub, closed) = room_of(3);
        hub.open(9);
        hub.say(9, r#"{"type":"join","ref":1,"room":"diary-2"}"#);
        let heard = hub.say(0, publish(event, json!(null)));
        assert_eq!(names(&heard), ["<error>", "<room_closed>"], "{event}");
        assert_eq!(
            (&heard[0]["reason"], &heard[1]["reason"]),
            (&json!("internal"), &json!("failed"))
        );
        assert_eq!(
            names(&hub.heard(1)),
            ["<room_closed>"],
            "{event}: what it asked for is dropped"
        );
        let counters = *hub.shard.counters();
        assert_eq!((counters.logics_failed_total, counters.rooms, counters.seats), (1, 1, 1));
        let [room, logic, fault] = &hub.faults[0];
        assert_eq!((&**room, &**logic), ("diary-1", "diary"));
        assert!(!fault.is_empty());
        assert_eq!(closed.load(Ordering::Relaxed), 0, "a logic at fault is not called again");
        let other = hub.say(9, publish("chat", json!(1)).replace("diary-1", "diary-2"));
        assert_eq!(names(&other), ["<ok>", "chat"]);
        // The room is made anew by who comes next, with a logic of its own.
        let again = hub.say(0, r#"{"type":"join","ref":3,"room":"diary-1"}"#);
        assert_eq!(names(&again), ["<joined>", "hello"]);
    }
}

#[test]
fn a_panic_in_a_join_refuses_it_and_ends_the_room() {
    let (mut hub, _) = room_of(1);
    hub.open(1);
    let heard = hub.say(1, r#"{"type":"join","ref":1,"room":"diary-1","data":"panic"}"#);
    assert_eq!(
        (names(&heard), &heard[0]["reason"]),
        (vec!["<error>".to_owned()], &json!("internal"))
    );
    assert_eq!(names(&hub.heard(0)), ["<room_closed>"]);
    assert_eq!((hub.shard.counters().rooms, hub.shard.counters().seats), (0, 0));
}

#[test]
fn timers_run_out_once_can_be_moved_and_end_with_the_room() {
    let (mut hub, _) = room_of(1);
    hub.say(0, publish("timer", json!(500)));
    hub.say(0, publish("timer", json!(100)));
    hub.heard(0);
    hub.advance(99);
    assert!(hub.heard(0).is_empty());
    hub.advance(1);
    assert_eq!(names(&hub.heard(0)), ["timer"]);
    hub.advance(10_000);
    assert!(hub.heard(0).is_empty());
    hub.say(0, publish("timer", json!(100)));
    hub.say(0, publish("close", json!(null)));
    assert_eq!(names(&hub.say(0, r#"{"type":"join","ref":1,"room":"diary-1"}"#)).len(), 2);
    hub.advance(1_000);
    assert!(hub.heard(0).is_empty(), "a timer of a room that is gone");
}

/// Its first timer takes back the second, moves the third, and stops the ticks.
struct First;

impl RoomLogic for First {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        for timer in 1..=3 {
            ctx.set_timer(timer, 100);
        }
        ctx.set_tick(10);
    }

    fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, _tick: u64) {
        ctx.publish("tick", ());
    }

    fn on_timer(&mut self, ctx: &mut RoomCtx<'_>, timer: u64) {
        ctx.publish("timer", json!(timer));
        if timer == 1 {
            ctx.cancel_timer(2);
            ctx.set_timer(3, 50);
            ctx.set_tick(0);
        }
    }
}

#[test]
fn what_a_callback_takes_back_does_not_come_though_it_was_due_with_it() {
    let mut config = HubConfig::default();
    config.logics.insert("first", |_| Box::new(First)).unwrap();
    config.namespaces.get_mut("default").unwrap().options.logic = Some("first".into());
    let mut hub = Hub::new(config);
    hub.open(0);
    hub.say(0, r#"{"type":"join","ref":1,"room":"a"}"#);
    // A worker that is busy for so long that all is due at once.
    hub.now = hub.now.plus(120);
    hub.input(Input::Tick);
    hub.end_turn();
    let told = |heard: &[Value]| heard.iter().map(|one| one["data"].clone()).collect::<Vec<_>>();
    assert_eq!(told(&hub.heard(0)), [json!(1)]);
    hub.advance(49);
    assert!(hub.heard(0).is_empty());
    hub.advance(1);
    assert_eq!(told(&hub.heard(0)), [json!(3)]);
    hub.advance(10_000);
    assert!(hub.heard(0).is_empty());
}

#[test]
fn ticks_do_not_drift_and_those_missed_are_skipped() {
    let (mut hub, _) = room_of(1);
    hub.say(0, publish("tick", json!(50)));
    let mut at = Vec::new();
    for _ in 0..500 {
        hub.advance(1);
        at.extend(hub.heard(0).iter().map(|tick| (hub.now.0, tick["data"].as_u64().unwrap())));
    }
    let (first, _) = at[0];
    let expected: Vec<_> = (0..10).map(|n| (first + n * 50, n + 1)).collect();
    assert_eq!(at, expected);
    // A worker that is busy for 230 ms: one tick at once, the others on the grid.
    hub.now = hub.now.plus(230);
    hub.input(Input::Tick);
    hub.end_turn();
    let late = hub.heard(0);
    let number = (hub.now.0 - first) / 50 + 1;
    assert_eq!((late.len(), &late[0]["data"]), (1, &json!(number)));
    let next = hub.shard.next_deadline().unwrap();
    assert_eq!((next.0 - first) % 50, 0);
    hub.say(0, publish("tick", json!(0)));
    hub.heard(0);
    hub.advance(1_000);
    assert!(hub.heard(0).is_empty());
}

#[test]
fn rooms_of_one_period_tick_spread_over_it() {
    let (mut config, _) = config();
    config.limits.commands_per_s = 0;
    let pattern = RoomOptions { tick_ms: 50, ..diary() };
    config.namespaces.get_mut("default").unwrap().patterns = vec![("*".to_owned(), pattern)];
    let mut hub = Hub::new(config);
    hub.open(0);
    for room in 0..100 {
        hub.say(0, format!(r#"{{"type":"join","ref":1,"room":"room-{room}"}}"#));
    }
    hub.heard(0);
    let mut most = 0;
    for _ in 0..50 {
        hub.advance(1);
        most = most.max(hub.heard(0).len());
    }
    assert!(most <= 10, "{most} of 100 rooms ticked in one of 50 ms");
}

#[test]
fn who_is_dropped_and_comes_back_is_told_of() {
    let (mut hub, _) = room_of(2);
    hub.open(2);
    let welcome = hub.ask(2, r#"{"type":"hello","ref":1}"#);
    hub.say(2, r#"{"type":"join","ref":1,"room":"diary-1"}"#);
    hub.heard(0);
    hub.cut(2);
    hub.end_turn();
    assert_eq!(names(&hub.heard(0)), ["<member_dropped>", "dropped"]);
    hub.open(3);
    let resume = json!({"type": "hello", "ref": 1, "resume":
        {"session": welcome["session"], "secret": welcome["resume"]}});
    assert_eq!(hub.ask(3, resume.to_string())["resumed"], true);
    let heard = hub.say(3, r#"{"type":"join","ref":2,"room":"diary-1"}"#);
    assert_eq!(names(&heard), ["<joined>", "welcome_back"]);
    hub.heard(0);
    hub.cut(3);
    hub.advance(61_000);
    let names = names(&hub.heard(0));
    assert!(names.contains(&"<member_left>".to_owned()) && names.contains(&"left".to_owned()));
}

#[test]
fn what_a_call_comes_to_is_brought_to_the_room_unless_it_is_gone() {
    let (mut hub, _) = room_of(1);
    hub.say(0, publish("call", json!(21)));
    let (room, call) = hub.tasks.remove(0);
    let done = |answer| Input::TaskDone { room, call, answer };
    hub.input(done(Some(Box::new(42_u64))));
    hub.end_turn();
    assert_eq!(hub.heard(0).last().unwrap()["data"], json!([21, 42]));
    hub.input(done(Some(Box::new(42_u64))));
    hub.end_turn();
    assert!(hub.heard(0).is_empty(), "an answer counts once");
    for _ in 0..64 {
        assert_eq!(hub.say(0, publish("call", json!(1))).last().unwrap()["data"], json!(true));
    }
    assert_eq!(hub.say(0, publish("call", json!(1))).last().unwrap()["data"], json!(false));
    assert_eq!(hub.tasks.len(), 64);
    hub.say(0, publish("close", json!(null)));
    hub.say(0, r#"{"type":"join","ref":1,"room":"diary-1"}"#);
    for (room, call) in std::mem::take(&mut hub.tasks) {
        let answer: Option<Box<dyn Any + Send>> = Some(Box::new(1_u64));
        hub.input(Input::TaskDone { room, call, answer });
    }
    hub.end_turn();
    assert!(hub.heard(0).is_empty(), "answers after the room is gone");
    assert_eq!(hub.shard.counters().logics_failed_total, 0);
}

#[test]
fn a_future_that_panicked_is_the_logics_fault() {
    let (mut hub, _) = room_of(1);
    hub.say(0, publish("call", json!(21)));
    let (room, call) = hub.tasks.remove(0);
    hub.input(Input::TaskDone { room, call, answer: None });
    hub.end_turn();
    assert_eq!(hub.heard(0).last().unwrap()["reason"], "failed");
}

#[test]
fn a_future_that_nobody_wants_any_more_harms_nobody_when_it_is_dropped() {
    let (mut hub, _) = room_of(1);
    assert_eq!(names(&hub.say(0, publish("bomb", json!(null))))[0], "<ok>");
    assert_eq!((hub.shard.counters().rooms, hub.tasks.len()), (0, 0));
    assert_eq!(hub.ask(0, r#"{"type":"ping","ref":1}"#)["type"], "pong");
}

#[test]
fn every_session_is_given_a_seat_in_the_lobby() {
    let (mut config, _) = config();
    let namespace = config.namespaces.get_mut("default").unwrap();
    namespace.lobby = Some("diary-lobby".to_owned());
    namespace.create = false;
    let mut hub = Hub::new(config);
    assert_eq!(hub.shard.counters().rooms, 1, "it is always there");
    hub.open(0);
    let heard = hub.say(0, r#"{"type":"hello","ref":1}"#);
    assert_eq!(names(&heard), ["<welcome>", "<joined>", "hello"]);
    assert_eq!((&heard[1]["room"], heard[1].get("ref")), (&json!("diary-lobby"), None));
    // A session without `hello` begins with its first command.
    hub.open(1);
    let heard = hub.say(1, r#"{"type":"ping","ref":1}"#);
    assert_eq!(names(&heard), ["<pong>", "<joined>", "hello"]);
    // Even a lobby whose logic failed is there again for who comes next.
    let panic = publish("panic", json!(null)).replace("diary-1", "diary-lobby");
    assert_eq!(names(&hub.say(0, panic)).last().unwrap(), "<room_closed>");
    hub.open(2);
    let heard = hub.say(2, r#"{"type":"hello","ref":1}"#);
    assert_eq!(names(&heard), ["<welcome>", "<joined>", "hello"]);
}

#[test]
fn the_first_pattern_that_fits_counts_and_clients_choose_what_they_may() {
    let (mut config, _) = config();
    let namespace = config.namespaces.get_mut("default").unwrap();
    namespace.patterns.insert(0, ("diary-quiet-*".to_owned(), RoomOptions::default()));
    let mut hub = Hub::new(config.clone());
    hub.open(0);
    let join = |room: &str| format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#);
    assert_eq!(names(&hub.say(0, join("diary-quiet-1"))), ["<joined>"]);
    assert_eq!(names(&hub.say(0, join("diary-loud"))), ["<joined>", "hello"]);
    let create = |options: Value| {
        json!({"type": "create", "ref": 1, "join": true, "options": options}).to_string()
    };
    let refused = hub.ask(0, create(json!({"logic": "diary"})));
    assert_eq!(refused["reason"], "invalid_option");
    assert!(refused["message"].as_str().unwrap().contains("namespaces.default.client_logics"));
    assert_eq!(hub.ask(0, create(json!({"logic_config": {"a": 1}})))["reason"], "invalid_option");
    assert_eq!(hub.ask(0, create(json!({"logic": "relay"})))["reason"], "invalid_option");
    config.namespaces.get_mut("default").unwrap().client_logics = vec!["diary".into(), "no".into()];
    let mut hub = Hub::new(config);
    hub.open(0);
    assert_eq!(names(&hub.say(0, create(json!({"logic": "diary"})))), ["<joined>", "hello"]);
    let refused = hub.ask(0, create(json!({"logic": "no"})));
    assert!(refused["message"].as_str().unwrap().contains("diary"), "{refused}: names those known");
}

#[test]
fn a_room_of_a_thousand_that_closes_while_all_publish_answers_each_once() {
    let (mut config, _) = config();
    for (_, options) in &mut config.namespaces.get_mut("default").unwrap().patterns {
        options.presence = PresenceRule::Off;
    }
    let mut hub = Hub::new(config);
    for link in 0..1_000 {
        hub.open(link);
        let join = r#"{"type":"join","ref":1,"room":"diary-1","data":"quiet"}"#;
        hub.input(Input::Message { link: roomcast_core::LinkId(link), bytes: join.into() });
    }
    hub.end_turn();
    for link in 0..1_000 {
        hub.heard(link);
    }
    hub.open(1_000);
    hub.say(1_000, r#"{"type":"join","ref":1,"room":"diary-2"}"#);
    for link in 0..1_000 {
        let event = if link == 20 { "close" } else { "chat" };
        let bytes = publish(event, json!(link)).into();
        hub.input(Input::Message { link: roomcast_core::LinkId(link), bytes });
    }
    hub.end_turn();
    for link in 0..1_000 {
        let heard = hub.heard(link);
        let replies: Vec<_> = heard.iter().filter(|one| one["ref"] == 9).collect();
        assert_eq!(replies.len(), 1, "{link}");
        let kind = if link <= 20 { "ok" } else { "error" };
        assert_eq!(replies[0]["type"], kind, "{link}");
        let events = heard.iter().filter(|one| one["type"] == "event").count();
        assert_eq!(events, 22, "{link}: 20 before, the closing one, and the last word");
        let closed = heard.iter().filter(|one| one["type"] == "room_closed").count();
        assert_eq!(closed, 1, "{link}");
    }
    assert_eq!((hub.shard.counters().rooms, hub.shard.counters().seats), (1, 1));
    let other = publish("chat", json!(1)).replace("diary-1", "diary-2");
    assert_eq!(names(&hub.say(1_000, other)), ["<ok>", "chat"]);
}
