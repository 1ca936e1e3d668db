//! The logics that come with the server.
#![allow(clippy::unwrap_used)]

mod common;

use common::Hub;
use roomcast_core::{HubConfig, Logics};
use roomcast_wire::RoomOptions;
use roomcast_wire::options::PresenceRule;
use serde_json::{Value, json};

fn options(logic: &str, config: &Value) -> RoomOptions {
    RoomOptions {
        logic: Some(logic.into()),
        logic_config: Some(Box::new(config.clone())),
        presence: PresenceRule::Off,
        ..RoomOptions::default()
    }
}

fn hub(logic: &str, config: &Value) -> Hub {
    let mut hub = HubConfig::default();
    let options = options(logic, config);
    hub.logics.check(&options).unwrap();
    hub.namespaces.get_mut("default").unwrap().options = options;
    Hub::new(hub)
}

/// Opens a link whose client has a name and joins the room; the session, and what it was told
/// after `joined`.
fn join(hub: &mut Hub, link: u32) -> (Value, Vec<Value>) {
    hub.open(link);
    let welcome = hub.ask(link, format!(r#"{{"type":"hello","ref":1,"name":"n{link}"}}"#));
    let mut heard = hub.say(link, r#"{"type":"join","ref":1,"room":"room"}"#);
    assert_eq!(heard.remove(0)["type"], "joined");
    (welcome["session"].clone(), heard)
}

/// Publishes, and returns the answer.
fn publish(hub: &mut Hub, link: u32, event: &str, data: Value) -> Value {
    let mut heard = say(hub, link, event, data);
    let answer = heard.iter().position(|one| one["ref"] == 9).unwrap();
    heard.remove(answer)
}

fn say(hub: &mut Hub, link: u32, event: &str, data: Value) -> Vec<Value> {
    let publish = json!({"type": "publish", "ref": 9, "room": "room", "event": event,
        "data": data, "echo": false});
    hub.say(link, publish.to_string())
}

#[test]
fn latest_tells_who_joins_the_last_value_of_each_event_and_key() {
    let mut hub = hub("latest", &json!({"key": "id", "values_max": 3}));
    let (mina, nothing) = join(&mut hub, 0);
    assert!(nothing.is_empty());
    for (event, data) in [
        ("pos", json!({"id": 1, "x": 1})),
        ("pos", json!({"id": 2, "x": 2})),
        ("title", json!("first")),
        ("pos", json!({"id": 1, "x": 3})),
        ("title", json!("second")),
    ] {
        assert_eq!(publish(&mut hub, 0, event, data)["type"], "ok");
    }
    let (_, heard) = join(&mut hub, 1);
    let told: Vec<_> = heard.iter().map(|one| (&one["event"], &one["data"])).collect();
    let [pos, title] = [json!("pos"), json!("title")];
    let expected = [json!({"id": 2, "x": 2}), json!({"id": 1, "x": 3}), json!("second")];
    assert_eq!(told, [(&pos, &expected[0]), (&pos, &expected[1]), (&title, &expected[2])]);
    assert!(heard.iter().all(|one| one["from"]["session"] == mina && one.get("at").is_none()));
    // One more pushes out the one that was longest unchanged; `null` forgets.
    publish(&mut hub, 0, "pos", json!({"id": 3}));
    publish(&mut hub, 0, "title", json!(null));
    let (_, heard) = join(&mut hub, 2);
    let told: Vec<_> = heard.iter().map(|one| one["data"]["id"].as_u64()).collect();
    assert_eq!(told, [Some(1), Some(3)]);
}

#[test]
fn what_latest_tells_who_joins_is_charged_however_often_it_asks() {
    let mut config = HubConfig::default();
    config.limits.fanout_bytes_per_s = 1 << 20;
    config.namespaces.get_mut("default").unwrap().options = options("latest", &json!({}));
    let mut hub = Hub::new(config);
    join(&mut hub, 0);
    for event in ["a", "b", "c", "d"] {
        publish(&mut hub, 0, event, json!("x".repeat(60_000)));
    }
    join(&mut hub, 1);
    let repeats = 10;
    for _ in 0..repeats {
        let heard = hub.say(1, r#"{"type":"join","ref":2,"room":"room"}"#);
        assert_eq!(heard.len(), 5, "`joined`, and every value");
    }
    let until = hub.paused.get(&1).map_or(0, |until| until.0);
    assert!(until > 1_000, "{repeats} joins of 240,000 bytes at a MiB a second: {until} ms");
    // Leaving between makes no difference.
    join(&mut hub, 2);
    for _ in 0..repeats {
        hub.say(2, r#"{"type":"leave","ref":2,"room":"room"}"#);
        hub.say(2, r#"{"type":"join","ref":3,"room":"room"}"#);
    }
    assert!(hub.paused.get(&2).is_some_and(|until| until.0 > 1_000));
}

#[test]
fn latest_by_sender_forgets_who_leaves_and_keeps_within_its_bytes() {
    let mut hub = hub("latest", &json!({"by_sender": true, "bytes_max": 1_024}));
    join(&mut hub, 0);
    join(&mut hub, 1);
    publish(&mut hub, 0, "pos", json!(0));
    publish(&mut hub, 1, "pos", json!(1));
    let data = |heard: Vec<Value>| heard.iter().map(|one| one["data"].clone()).collect::<Vec<_>>();
    assert_eq!(data(join(&mut hub, 2).1), [json!(0), json!(1)]);
    hub.say(0, r#"{"type":"leave","ref":2,"room":"room"}"#);
    assert_eq!(data(join(&mut hub, 3).1), [json!(1)]);
    publish(&mut hub, 1, "big", json!("x".repeat(700)));
    assert_eq!(join(&mut hub, 4).1.len(), 1, "the older value made room");
    publish(&mut hub, 1, "huge", json!("x".repeat(1_000)));
    assert!(join(&mut hub, 5).1.is_empty(), "what is larger than the bound is not kept");
}

#[test]
fn latest_counts_the_keys_of_its_values_too() {
    let mut hub = hub("latest", &json!({"key": "id", "bytes_max": 4_096}));
    join(&mut hub, 0);
    // Each of them is there three times: in the data, and as the place of the value in two lists.
    for n in 0..3 {
        publish(&mut hub, 0, "pos", json!({"id": format!("{n}{}", "x".repeat(600))}));
    }
    assert_eq!(join(&mut hub, 1).1.len(), 1, "a second one has more than 4,096 bytes");
}

#[test]
fn turns_go_round_in_the_order_of_joining() {
    let mut hub = hub("turns", &json!({"turn_ms": 1_000, "free": ["chat"], "end": "done"}));
    let (first, heard) = join(&mut hub, 0);
    assert_eq!(
        (&heard[0]["event"], &heard[0]["data"]),
        (&json!("turn"), &json!({"turn": 1, "session": first, "name": "n0", "ms": 1_000}))
    );
    hub.advance(400);
    let (second, heard) = join(&mut hub, 1);
    assert_eq!((&heard[0]["data"]["session"], &heard[0]["data"]["ms"]), (&first, &json!(600)));
    let (third, _) = join(&mut hub, 2);
    let refused = publish(&mut hub, 1, "move", json!(1));
    assert_eq!(
        (&refused["code"], &refused["message"]),
        (&json!(4034), &json!("it is not your turn"))
    );
    assert_eq!(publish(&mut hub, 1, "chat", json!("hi"))["type"], "ok");
    assert_eq!(publish(&mut hub, 0, "move", json!(1))["type"], "ok");
    // By its end, by time, and round.
    assert_eq!(publish(&mut hub, 0, "done", json!(null))["type"], "ok");
    assert_eq!(publish(&mut hub, 0, "move", json!(2))["reason"], "refused");
    let whose = |hub: &mut Hub| hub.heard(1).last().unwrap()["data"]["session"].clone();
    assert_eq!(whose(&mut hub), second);
    hub.advance(1_000);
    assert_eq!(whose(&mut hub), third);
    hub.advance(1_000);
    assert_eq!(whose(&mut hub), first);
    // Who is not there is passed over; who leaves ends its turn.
    hub.cut(0);
    hub.end_turn();
    assert_eq!(whose(&mut hub), second);
    hub.advance(2_000);
    assert_eq!(whose(&mut hub), second, "third, then past the one who is away");
    hub.say(2, r#"{"type":"leave","ref":2,"room":"room"}"#);
    hub.heard(1);
    let heard = say(&mut hub, 1, "done", json!(null));
    assert_eq!(heard[0]["type"], "ok");
    assert_eq!(heard[1]["data"]["session"], second, "nobody else is there");
}

#[test]
fn a_turn_waits_until_somebody_is_there() {
    let mut hub = hub("turns", &json!({"turn_ms": 1_000}));
    join(&mut hub, 0);
    join(&mut hub, 1);
    for link in [0, 1] {
        hub.cut(link);
        hub.end_turn();
    }
    hub.advance(30_000);
    let (third, heard) = join(&mut hub, 2);
    assert_eq!((&heard[0]["event"], &heard[0]["data"]["session"]), (&json!("turn"), &third));
}

#[test]
fn a_script_announces_at_its_times() {
    let steps = json!([
        {"event": "start", "at_ms": 500, "data": {"text": "go"}},
        {"event": "tick", "every_ms": 200},
        {"event": "late", "at_ms": 1_000, "every_ms": 5_000},
    ]);
    let mut hub = hub("script", &json!({"steps": steps}));
    join(&mut hub, 0);
    let mut said = Vec::new();
    for _ in 0..61 {
        for one in hub.heard(0) {
            said.push((hub.now.0, one["event"].as_str().unwrap().to_owned(), one["data"].clone()));
        }
        hub.advance(100);
    }
    let at = |name: &str| -> Vec<u64> {
        said.iter().filter(|one| one.1 == name).map(|one| one.0).collect()
    };
    assert_eq!(at("start"), [500]);
    assert_eq!(at("tick"), (1..=30).map(|n| n * 200).collect::<Vec<_>>());
    assert_eq!(at("late"), [1_000, 6_000]);
    assert_eq!(said.iter().find(|one| one.1 == "start").unwrap().2, json!({"text": "go"}));
}

#[test]
fn a_wrong_config_names_its_field() {
    let logics = Logics::default();
    assert_eq!(logics.names(), ["latest", "msgio-demo", "relay", "script", "turns"]);
    for (logic, config, named) in [
        ("latest", json!({"keyy": 1}), "`logic_config.keyy` is not known"),
        (
            "latest",
            json!({"values_max": 0}),
            "`logic_config.values_max` must be a number from 1 to",
        ),
        ("latest", json!({"bytes_max": "1"}), "`logic_config.bytes_max`"),
        ("latest", json!({"key": 1}), "`logic_config.key` must be a text"),
        ("latest", json!([]), "`logic_config` must be a map"),
        ("turns", json!({"turn_ms": 99}), "`logic_config.turn_ms` must be a number from 100 to"),
        ("turns", json!({"free": ["chat", 1]}), "`logic_config.free`"),
        ("turns", json!({"end": ""}), "`logic_config.end`"),
        ("script", json!({"steps": [{"event": "a"}]}), "`logic_config.steps[0]` must have `at_ms`"),
        (
            "script",
            json!({"steps": [{"at_ms": 1}]}),
            "`logic_config.steps[0]` must have an `event`",
        ),
        ("script", json!({"steps": [{"event": "a", "at_ms": 0}]}), "`logic_config.steps[0].at_ms`"),
        ("script", json!({"steps": vec![json!({}); 65]}), "`logic_config.steps` must be a list"),
        ("relay", json!({}), "`logic_config` is for a room with a `logic`"),
    ] {
        let said = logics.check(&options(logic, &config)).unwrap_err();
        assert!(said.contains(named), "{logic} {config}: {said}");
    }
    // A client that may choose the logic hears it as `invalid_option`.
    let mut config = HubConfig::default();
    config.namespaces.get_mut("default").unwrap().client_logics = vec!["turns".to_owned()];
    let mut hub = Hub::new(config);
    hub.open(0);
    let create = json!({"type": "create", "ref": 1, "join": true,
        "options": {"logic": "turns", "logic_config": {"turn_ms": 1}}});
    let refused = hub.ask(0, create.to_string());
    assert_eq!(refused["reason"], "invalid_option");
    assert!(refused["message"].as_str().unwrap().contains("logic_config.turn_ms"), "{refused}");
    let create = create.to_string().replace(r#""turn_ms":1"#, r#""turn_ms":1000"#);
    assert_eq!(hub.ask(0, create)["type"], "joined");
}
