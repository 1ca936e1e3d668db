//! The HTTP API: what each verb does, who may use it, and what becomes of bad requests.

#![allow(clippy::unwrap_used)]

mod peer;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use peer::{Lines, address, connect, http, start, until};
use roomcast::config::{ApiKeyConfig, Config, api_key_hash};
use roomcast::{RoomOptions, Server};
use serde_json::{Value, json};

const KEY: &str = "rck_a key of the tests, which is no secret";

fn key(name: &str, key: &str) -> ApiKeyConfig {
    ApiKeyConfig { name: name.into(), hash: api_key_hash(key), verbs: None, rooms: None }
}

fn open(change: impl FnOnce(&mut Config)) -> (Server, Api) {
    let server = start(|config| {
        config.api.keys.push(key("backend", KEY));
        config.namespaces.insert("game".into(), Default::default());
        change(config);
    });
    let api = Api { address: address(&server, "ws"), key: KEY.into() };
    (server, api)
}

struct Api {
    address: SocketAddr,
    key: String,
}

impl Api {
    fn with(&self, key: &str) -> Self {
        Self { address: self.address, key: key.into() }
    }

    fn raw(&self, request: &str, headers: &str, body: &str) -> (u16, String, Value) {
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Length: {length}\r\n{headers}\r\n{body}",
            self.key
        );
        let (status, head, body) = http(self.address, &request);
        (status, head, serde_json::from_str(&body).unwrap())
    }

    fn post(&self, verb: &str, body: &Value) -> (u16, Value) {
        let (status, _, answer) = self.raw(&format!("POST /api/v1/{verb}"), "", &body.to_string());
        (status, answer)
    }

    /// What is asked, which must succeed.
    fn ask(&self, verb: &str, body: Value) -> Value {
        let (status, answer) = self.post(verb, &body);
        assert_eq!(status, 200, "{verb} {body}: {answer}");
        answer
    }

    /// Status, code and message of what must be refused.
    fn refused(&self, verb: &str, body: Value) -> (u16, u64, String) {
        let (status, answer) = self.post(verb, &body);
        assert_eq!(answer["type"], "error", "{verb} {body}: {answer}");
        (status, answer["code"].as_u64().unwrap(), answer["message"].as_str().unwrap().to_owned())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, answer) = self.raw(&format!("GET /api/v1/{path}"), "", "");
        (status, answer)
    }
}

#[test]
fn what_is_published_is_heard_byte_for_byte_and_has_a_position() {
    let (server, api) = open(|_| {});
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    let body = r#"{"room":"lobby","event":"chat","data":{"n":1.50,"t":"\u00e9"}}"#;
    let (status, _, answer) = api.raw("POST /api/v1/publish", "", body);
    assert_eq!((status, &answer["type"]), (200, &json!("ok")));
    let event = peer.expect("event");
    assert_eq!((&event["event"], &event["at"]), (&json!("chat"), &answer["position"]));
    assert!(event.get("from").is_none());
    // As it was written, but for nothing.
    let (_, history) = api.get("history?room=lobby");
    assert_eq!(history["events"][0]["data"], json!({"n": 1.5, "t": "é"}));

    let announced = api.ask("announce", json!({"room": "default/lobby", "event": 65538}));
    assert_eq!(announced["position"]["offset"], 2);
    assert_eq!(peer.expect("event")["event"], 65538);
}

#[test]
fn a_session_can_be_spoken_for_seated_and_put_out() {
    let (server, api) =
        open(|config| config.rooms.join = roomcast_wire::options::JoinRule::Granted);
    let mut peer = Lines::connect(&server);
    let session = peer.hello()["session"].clone();
    let seat = json!({"room": "game/den", "session": session, "data": {"seat": 1}});
    assert_eq!(api.ask("join", seat.clone())["new"], true);
    assert_eq!(peer.expect("joined")["room"], "game/den");
    assert_eq!(api.ask("join", seat)["new"], false);
    let members = api.ask("members", json!({"room": "game/den"}));
    assert_eq!(
        (&members["room"], &members["members"][0]["data"]["seat"]),
        (&json!("game/den"), &json!(1))
    );
    let presence = api.get("presence?room=game%2Fden");
    assert_eq!(presence.1, json!({"type":"presence","room":"game/den","members":1,"users":1}));

    let said = json!({"room": "game/den", "event": "chat", "session": session, "echo": true});
    api.ask("publish", said);
    assert_eq!(peer.expect("event")["from"]["session"], session);

    assert_eq!(
        api.ask("send", json!({"session": session, "event": "psst", "data": [1]}))["delivered"],
        1
    );
    assert_eq!(peer.expect("message")["data"], json!([1]));
    assert_eq!(api.ask("broadcast", json!({"event": "noon"}))["delivered"], 1);
    assert_eq!(peer.expect("message")["event"], "noon");

    api.ask("leave", json!({"room": "game/den", "session": session}));
    peer.expect("room_closed");
    api.ask("join", json!({"room": "game/den", "session": session}));
    assert_eq!(api.ask("kick", json!({"room": "game/den", "session": session}))["delivered"], 1);
    assert_eq!(peer.expect("room_closed")["reason"], "kicked");
    api.ask("disconnect", json!({"session": session}));
    assert_eq!(peer.expect("goodbye")["reason"], "disconnected");
    assert_eq!(peer.next(), None);
    let (status, code, _) = api.refused("disconnect", json!({"session": session}));
    assert_eq!((status, code), (404, 4041));
}

#[test]
fn rooms_are_made_looked_at_and_deleted() {
    let (_server, api) = open(|config| config.rooms.members_max = 7);
    let options = json!({"keep_when_empty": true, "history": {"size": 3}});
    let made = api.ask("create", json!({"room": "game/den", "options": options}));
    assert_eq!(made, json!({"type":"created","room":"game/den","created":true}));
    assert_eq!(api.ask("create", json!({"room": "game/den"}))["created"], false);
    let (status, room) = api.get("room?room=game/den");
    assert_eq!((status, &room["options"]["history"]["size"]), (200, &json!(3)));
    // What was not said is the namespace's own.
    assert_eq!((&room["options"]["members_max"], &room["members"]), (&json!(7), &json!(0)));
    for n in 0..5 {
        api.ask("publish", json!({"room": "game/den", "event": "n", "data": n}));
    }
    let history = api.ask("history", json!({"room": "game/den", "limit": 2}));
    assert_eq!(history["events"][1]["data"], 4);
    let epoch = history["position"]["epoch"].as_str().unwrap();
    let (_, since) = api.get(&format!("history?room=game/den&since={epoch}:4&limit=10"));
    assert_eq!((&since["recovered"], since["events"].as_array().unwrap().len()), (&json!(true), 1));
    let (_, trimmed) = api.get(&format!("history?room=game/den&since={epoch}:0"));
    assert_eq!(trimmed["reason"], "trimmed");
    let (_, rooms) = api.get("rooms?namespace=game");
    assert_eq!(rooms["rooms"], json!([{"room": "game/den", "members": 0}]));
    let (status, info) = api.get("info");
    assert_eq!((status, &info["rooms"], &info["draining"]), (200, &json!(1), &json!(false)));
    api.ask("delete", json!({"room": "game/den"}));
    let (status, code, message) = api.refused("room", json!({"room": "game/den"}));
    assert_eq!((status, code), (404, 4041), "{message}");
    assert_eq!(api.refused("create", json!({"room": "x", "options": {"ttl": 5}})).1, 4004);
}

#[test]
fn a_publish_that_is_repeated_with_its_key_is_not_repeated_in_the_room() {
    let (server, api) = open(|_| {});
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    let order = json!({"room": "lobby", "event": "order", "key": "order-17"});
    let first = api.ask("publish", order.clone());
    assert_eq!(api.ask("publish", order.clone()), first);
    // The header is another way to write it, with quotes or without.
    let body = json!({"room": "lobby", "event": "order"}).to_string();
    for header in ["Idempotency-Key: order-17\r\n", "idempotency-key: \"order-17\"\r\n"] {
        assert_eq!(api.raw("POST /api/v1/announce", header, &body).2, first);
    }
    assert_eq!(
        api.raw("POST /api/v1/publish", "Idempotency-Key: 18\r\n", &order.to_string()).0,
        400
    );
    let (status, _, refused) =
        api.raw("POST /api/v1/broadcast", "Idempotency-Key: 1\r\n", r#"{"event":"x"}"#);
    assert_eq!(status, 400, "{refused}");
    api.ask("publish", json!({"room": "lobby", "event": "last"}));
    assert_eq!(peer.expect("event")["event"], "order");
    assert_eq!(peer.expect("event")["event"], "last");
}

#[test]
fn a_batch_has_one_result_each_in_order() {
    let (server, api) = open(|config| config.api.batch_max = 5);
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    let publish = |n: u32| json!({"publish": {"room": "lobby", "event": "n", "data": n}});
    let commands = [
        publish(1),
        json!({"publisch": {}}),
        publish(2),
        json!({"members": {"room": "lobby"}}),
        publish(3),
    ];
    let answer = api.ask("batch", json!({"commands": commands}));
    let kinds: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|one| &one["type"]).collect();
    assert_eq!(kinds, ["ok", "error", "ok", "members", "ok"]);
    assert!(answer["results"][1]["message"].as_str().unwrap().contains("did you mean `publish`"));
    for n in 1..4 {
        assert_eq!(peer.expect("event")["data"], n);
    }
    assert_eq!(api.ask("batch", json!({"commands": []}))["results"], json!([]));
    let body = json!({"commands": []}).to_string();
    assert_eq!(api.raw("POST /api/v1/batch", "Idempotency-Key: 1\r\n", &body).0, 400);
    let six: Vec<_> = (0..6).map(publish).collect();
    assert_eq!(api.refused("batch", json!({"commands": six})).0, 400);
    for wrong in [json!([]), json!({}), json!({"commands": 1}), json!({"commands": [], "x": 1})] {
        assert_eq!(api.refused("batch", wrong).0, 400);
    }
    let nested = api.ask("batch", json!({"commands": [{"batch": {"commands": []}}, 7, {}]}));
    assert!(nested["results"].as_array().unwrap().iter().all(|one| one["type"] == "error"));
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let (_server, api) = open(|_| {});
    let cases = [
        ("publish", json!({"room": "lobby"}), 400, "`event` is missing"),
        ("publish", json!({"romo": "lobby", "event": "x"}), 400, "did you mean `room`?"),
        ("publish", json!({"room": "a/b/c", "event": "x"}), 400, "one `/` at most"),
        ("publish", json!({"room": "lobby", "event": ""}), 400, "at least 1 byte"),
        ("publish", json!({"room": "lobby", "event": -1}), 400, "whole number"),
        ("publish", json!({"room": "lobby", "event": "x", "key": ""}), 400, "1 to 128"),
        ("publish", json!({"room": "lobby", "event": "x", "reliable": 1}), 400, "true or false"),
        ("publish", json!({"room": "lobby", "event": "x", "echo": true}), 400, "`session`"),
        ("publish", json!({"room": "nowhere", "event": "x"}), 404, "no such room"),
        ("publish", json!({"room": "nospace/x", "event": "x"}), 400, "namespace"),
        ("publish", json!("text"), 400, "map"),
        ("join", json!({"room": "lobby", "session": "short"}), 400, "22 characters"),
        ("kick", json!({"room": "lobby"}), 400, "exactly one of"),
        ("send", json!({"user": "u", "session": "x", "event": "e"}), 400, "exactly one of"),
        ("history", json!({"room": "lobby", "since": {"epoch": "x", "offset": 1}}), 400, "epoch"),
        ("pubish", json!({}), 404, "did you mean `publish`?"),
    ];
    for (verb, body, status, words) in cases {
        let refused = api.refused(verb, body.clone());
        assert_eq!(refused.0, status, "{verb} {body}: {refused:?}");
        assert!(refused.2.contains(words), "{verb} {body}: {refused:?}");
    }
    for body in ["{", "[1", "{\"room\":\"a\",\"room\":\"b\",\"event\":\"x\"}", "\u{0}", "nul"] {
        let (status, _, answer) = api.raw("POST /api/v1/publish", "", body);
        assert_eq!((status, &answer["code"]), (400, &json!(4000)), "{body}: {answer}");
    }
    let deep = format!(r#"{{"room":"r","event":"e","data":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    assert_eq!(api.raw("POST /api/v1/publish", "", &deep).0, 400);
    let many: serde_json::Map<_, _> = (0..20).map(|n| (n.to_string(), json!(n))).collect();
    assert_eq!(api.refused("publish", many.into()).0, 400);
    let (status, head, _) = api.raw("PUT /api/v1/rooms", "", "");
    assert_eq!((status, head.contains("allow: get, post")), (405, true), "{head}");
    assert_eq!(api.get("publish?room=lobby&event=x").0, 405);
    assert_eq!(api.get("rooms?name=x").0, 400);
    assert_eq!(api.get("history?room=lobby&limit=-1").0, 400);
    assert_eq!(api.get("history?room=lobby&since=x").0, 400);
    assert_eq!(api.raw("OPTIONS /api/v1/publish", "", "").0, 405);
}

#[test]
fn s38_without_a_right_key_nothing_is_done_and_guessing_is_slow() {
    let (_server, api) = open(|_| {});
    let (status, head, body) = http(
        api.address,
        "GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((status, head.contains("www-authenticate: bearer")), (401, true), "{body}");
    let wrong = api.with("rck_wrong");
    let began = Instant::now();
    let statuses: Vec<_> = (0..12).map(|_| wrong.get("info").0).collect();
    // A second may end in between, once or more on a slow machine.
    let allowed = 5 * (began.elapsed().as_secs() as usize + 2);
    let told = statuses.iter().filter(|status| **status == 401).count();
    assert!((5..=allowed).contains(&told), "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)));
    let (status, head, _) = {
        let mut last = wrong.raw("GET /api/v1/info", "", "");
        while last.0 != 429 {
            last = wrong.raw("GET /api/v1/info", "", "");
        }
        last
    };
    assert_eq!((status, head.contains("retry-after: 1")), (429, true));
    // Who has a key is not shut out by those who guess.
    assert_eq!(api.get("info").0, 200);
    let hash = api.with(&api_key_hash(KEY));
    assert!([401, 429].contains(&hash.get("info").0), "the hash is no key");
}

#[test]
fn without_keys_the_api_is_closed_and_says_what_to_do() {
    let server = start(|_| {});
    let api = Api { address: address(&server, "ws"), key: KEY.into() };
    let (status, _, message) = api.refused("rooms", json!({}));
    assert_eq!(status, 403);
    assert!(message.contains("roomcast config key"), "{message}");
}

#[test]
fn s27_a_key_does_only_what_it_is_for_by_every_path() {
    let (server, api) = open(|config| {
        let rooms = Some(vec!["battle-*".into(), "game/*".into()]);
        config.api.keys.push(ApiKeyConfig { rooms, ..key("rooms", "rck_rooms") });
        let verbs = Some(vec!["publish".into(), "batch".into()]);
        config.api.keys.push(ApiKeyConfig { verbs, ..key("verbs", "rck_verbs") });
    });
    for room in ["battle-1", "lobby", "game/den"] {
        server.handle().room(room).create(RoomOptions::default()).wait().unwrap();
    }
    let of_rooms = api.with("rck_rooms");
    let in_room = |verb: &str, room: &str| match verb {
        "publish" | "announce" => json!({"room": room, "event": "x"}),
        "join" | "leave" => json!({"room": room, "session": "AAAAAAAAAAAAAAAAAAAAAA"}),
        "kick" => json!({"room": room, "user": "u"}),
        _ => json!({"room": room}),
    };
    let verbs = [
        "announce", "create", "delete", "history", "join", "kick", "leave", "members", "presence",
        "publish", "room",
    ];
    for verb in verbs {
        for (room, may) in [
            ("lobby", false),
            ("default/lobby", false),
            ("battle-1", true),
            ("game/den", true),
            ("gamex/den", false),
        ] {
            let body = in_room(verb, room);
            let (status, answer) = of_rooms.post(verb, &body);
            assert_eq!(status == 403, !may, "{verb} {room}: {status} {answer}");
            let batch = of_rooms.ask("batch", json!({"commands": [{verb: body}]}));
            assert_eq!(batch["results"][0]["code"] == 4031, !may, "{verb} {room}: {batch}");
        }
        assert_eq!(
            api.with("rck_verbs").post(verb, &in_room(verb, "lobby")).0 == 403,
            verb != "publish"
        );
    }
    for (verb, body, may) in [
        ("broadcast", json!({"event": "x"}), false),
        ("broadcast", json!({"event": "x", "namespace": "game"}), true),
        ("rooms", json!({"namespace": "default"}), false),
        ("rooms", json!({"namespace": "game"}), true),
        ("send", json!({"user": "u", "event": "x"}), false),
        ("send", json!({"user": "u", "event": "x", "namespace": "game"}), true),
        ("send", json!({"session": "AAAAAAAAAAAAAAAAAAAAAA", "event": "x"}), false),
        ("revoke", json!({"user": "u"}), false),
        ("disconnect", json!({"session": "AAAAAAAAAAAAAAAAAAAAAA"}), false),
        ("info", json!({}), false),
    ] {
        assert_eq!(of_rooms.post(verb, &body).0 == 403, !may, "{verb} {body}");
    }
    let nested =
        api.with("rck_verbs").ask("batch", json!({"commands": [{"delete": {"room": "lobby"}}]}));
    assert_eq!(nested["results"][0]["code"], 4031);
}

#[test]
fn s15_pages_of_other_sites_get_nothing_done() {
    let (server, api) = open(|config| config.http.origins = vec!["https://game.example".into()]);
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    let body = r#"{"room":"lobby","event":"x"}"#;
    let publish = |headers: &str| api.raw("POST /api/v1/publish", headers, body);
    assert_eq!(publish("Origin: https://evil.example\r\n").0, 403);
    assert_eq!(publish("Origin: null\r\n").0, 403);
    let (status, head, _) = publish("Origin: https://game.example\r\n");
    assert_eq!((status, head.contains("access-control")), (200, false), "{head}");
    let bad_host = http(
        api.address,
        "GET /api/v1/info HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    );
    assert!((400..500).contains(&bad_host.0) && bad_host.2.contains("wrong_host"), "{bad_host:?}");
}

#[test]
fn s4_large_slow_and_broken_bodies_do_no_harm() {
    let (server, api) = open(|config| config.limits.handshake_ms = 300);
    let large = json!({"room": "r", "event": "e", "data": "x".repeat(65_536)});
    assert_eq!(api.refused("publish", large).0, 413);
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    );
    // Chunks without an end, and a length that is a lie.
    let mut stream = connect(api.address);
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
    for _ in 0..20 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    assert!(peer::read_head(&mut stream).starts_with("HTTP/1.1 413 "));
    let mut slow = connect(api.address);
    slow.write_all(format!("{head}Content-Length: 100\r\n\r\n{{").as_bytes()).unwrap();
    assert!(peer::read_head(&mut slow).starts_with("HTTP/1.1 408 "));
    let mut fields = String::new();
    for n in 0..200 {
        fields.push_str(&format!("X-{n}: 1\r\n"));
    }
    let (status, ..) = http(api.address, &format!("{head}{fields}Connection: close\r\n\r\n"));
    assert_eq!(status, 431);
    let mut both = connect(api.address);
    let smuggled = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /api/v1/info HTTP/1.1\r\n\r\n";
    both.write_all(format!("{head}{smuggled}").as_bytes()).unwrap();
    let mut answer = String::new();
    _ = both.read_to_string(&mut answer);
    assert!(!answer.contains("\"info\""), "{answer}");
    drop((stream, slow, both));
    until("connections are given back", || server.connections() == 0);
    assert_eq!(api.get("info").0, 200);
}

#[test]
fn one_connection_serves_many_requests() {
    let (_server, api) = open(|_| {});
    let body = r#"{"room":"lobby"}"#;
    let mut stream = connect(api.address);
    let request = format!(
        "POST /api/v1/create HTTP/1.1\r\nHost: localhost\r\nAuthorization: bearer {KEY}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Two on their way at a time: answered in their order.
    stream.write_all(request.repeat(2).as_bytes()).unwrap();
    for created in ["true", "false"] {
        let head = peer::read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let expected = r#"{"type":"created","room":"lobby","created":"#;
        let expected = format!("{expected}{created}}}\n");
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
}

#[test]
fn the_openapi_document_says_what_is_served() {
    let (_server, api) = open(|_| {});
    let (status, head, body) = peer::get(api.address, "/api/v1/openapi.json");
    assert_eq!((status, head.contains("application/json")), (200, true));
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        let verb = path.strip_prefix("/api/v1/").unwrap();
        for method in ["get", "post"] {
            let has = methods.get(method).is_some();
            let (status, answer) = match method {
                "get" => api.get(verb),
                _ => api.post(verb, &json!({})),
            };
            assert_eq!(status == 405, !has, "{method} {verb}: {answer}");
            assert_ne!(answer["code"], 4001 * u64::from(has), "{method} {verb}: {answer}");
        }
    }
    let known = "publish, broadcast, announce, send, join, leave, kick, disconnect, revoke, \
                 create, delete, rooms, room, members, presence, history, info, batch";
    assert_eq!(paths.len(), known.split(", ").count());
    assert!(known.split(", ").all(|verb| paths.contains_key(&format!("/api/v1/{verb}"))));
}

#[test]
fn keys_of_the_configuration_are_checked() {
    let problem = |change: fn(&mut ApiKeyConfig)| {
        let mut one = key("backend", KEY);
        change(&mut one);
        let mut config = Config::default();
        config.api.keys.push(one);
        config.check().unwrap_err().to_string()
    };
    assert!(problem(|key| key.hash = KEY.into()).contains("roomcast config key"));
    assert!(!problem(|key| key.hash = KEY.into()).contains(KEY));
    assert!(
        problem(|key| key.verbs = Some(vec!["publsh".into()])).contains("did you mean `publish`")
    );
    assert!(problem(|key| key.rooms = Some(vec!["a/b/c".into()])).contains("one `/` at most"));
    assert!(problem(|key| key.name = String::new()).contains("api.keys[0].name"));
    let mut config = Config::default();
    config.api.keys = vec![key("one", "a"), key("one", "b")];
    assert!(config.check().unwrap_err().to_string().contains("given twice"));
}

#[test]
fn a_key_that_is_made_on_the_command_line_opens_the_api() {
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_roomcast"))
        .args(["config", "key", "back \"end\""])
        .output()
        .unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    let section = text.split_once("[[api.keys]]").unwrap().1;
    let config = Config::from_toml(&format!("[[api.keys]]{section}"), "made").unwrap();
    assert_eq!(config.api.keys[0].name, "back \"end\"");
    let made = text.split_once("Bearer ").unwrap().1.lines().next().unwrap();
    assert_eq!(config.api.keys[0].hash, api_key_hash(made));
    let (_server, api) = open(|of_server| of_server.api.keys = config.api.keys);
    assert_eq!(api.with(made).get("info").0, 200);
}
