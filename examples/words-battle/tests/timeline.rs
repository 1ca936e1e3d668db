//! The times of the original's game, to the millisecond, on a virtual clock; and what depends on
//! connections that come and go.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use roomcast::testing::{Client, Server};
use serde_json::{Value, json};
use words_battle::Setup;

const LOBBY: &str = "mesh-global";
const ROOM: &str = "ROOMabc123";

fn start() -> Server {
    let (builder, door) = words_battle::builder(Setup::default()).unwrap();
    let server = Server::start(builder).unwrap();
    words_battle::open(&door, server.handle());
    server
}

/// Comes through the lobby into the room and sets a name.
fn enter(server: &Server, name: &str) -> Client {
    let mut client = server.client(name);
    client.publish(LOBBY, "join-room", json!({ "roomname": ROOM, "playerlimit": 3 }));
    server.advance(Duration::ZERO);
    client.expect_event("know-yourself");
    client.publish(ROOM, "set-client-name", json!({ "setname": name }));
    client.expect_event("client-list-notify");
    client
}

/// The names of the original's events that were heard since the last look.
fn heard(client: &mut Client) -> Vec<String> {
    let is_told = |told: &Value| told["type"] == "event" && told["event"] != "game-state";
    let heard = client.take_heard().into_iter().filter(is_told);
    heard.map(|told| told["event"].as_str().unwrap().to_owned()).collect()
}

fn after(server: &Server, ms: u64) {
    server.advance(Duration::from_millis(ms));
}

#[test]
fn a_game_of_40_seconds_keeps_the_times_of_the_original() {
    let server = start();
    let mut anna = enter(&server, "Anna");
    let mut bert = enter(&server, "Bert");
    anna.publish(ROOM, "room-settings", json!({ "game_duration": "40", "player_limit": "2" }));
    anna.take_heard();
    anna.publish(ROOM, "start-the-game", json!({ "message": ROOM }));
    assert_eq!(heard(&mut anna), ["room-bot-greetings"]);
    let steps: [(u64, &[&str]); 3] =
        [(1_000, &["send-message"]), (1_000, &["message-by-bot"]), (10_000, &["message-by-bot"])];
    for (ms, told) in steps {
        after(&server, ms - 1);
        assert!(heard(&mut anna).is_empty(), "{told:?} came early");
        after(&server, 1);
        assert_eq!(heard(&mut anna), told);
    }

    // 12 s have passed. Who has the turn says a word; 1 s later the other has it.
    anna.publish(ROOM, "game-state", json!({}));
    let state = anna.expect_event("game-state")["data"].clone();
    let is_annas = state["turn"] == state["you"];
    let (first, second) = if is_annas { (&mut anna, &mut bert) } else { (&mut bert, &mut anna) };
    second.take_heard();
    let refused = second.try_publish(ROOM, "attempt-word", json!({ "message": "water" }));
    assert_eq!(refused.unwrap_err().reason(), "refused");
    first.publish(ROOM, "attempt-word", json!({ "message": "water" }));
    assert_eq!(heard(second), ["send-message", "send-message"]);
    after(&server, 1_000);
    assert_eq!(heard(second).last().unwrap(), "message-by-bot");
    // 13 s: nothing for 11 s, then the turn is over, and 1 s later it is the other's.
    after(&server, 10_999);
    assert!(heard(second).is_empty());
    after(&server, 1);
    assert_eq!(heard(second)[0], "send-message");
    after(&server, 1_000);
    assert_eq!(heard(second)[0], "message-by-bot");
    // 25 s: at 36 s that turn is over too, at 37 s the next begins, at 40 s the game ends.
    after(&server, 14_999);
    assert!(!heard(second).contains(&"room-bot-end-game".to_owned()));
    after(&server, 1);
    assert_eq!(heard(second)[0], "send-message");
    after(&server, 690);
    let board = second.expect_event("room-bot-end-game")["data"].clone();
    assert_eq!(board["word_list"], json!(["water"]));
    assert_eq!(board["client_list"][0]["score"], 1);
    assert!(server.take_faults().is_empty());
}

#[test]
fn a_lost_connection_keeps_the_seat_and_the_points() {
    let server = start();
    let mut anna = enter(&server, "Anna");
    let mut bert = enter(&server, "Bert");
    anna.publish(ROOM, "game-state", json!({}));
    anna.take_heard();
    bert.cut();
    assert_eq!(anna.expect_event("game-state")["data"]["away"].as_array().unwrap().len(), 1);
    bert.resume().unwrap();
    bert.join(ROOM);
    assert_eq!(anna.expect_event("game-state")["data"]["away"], json!([]));
    bert.cut();
    after(&server, 120_000);
    anna.take_heard();
    anna.publish(ROOM, "game-state", json!({}));
    let state = anna.expect_event("game-state")["data"].clone();
    assert_eq!(state["players"].as_array().map(Vec::len), Some(1));
    let refused = anna.try_publish(ROOM, "start-the-game", Value::Null);
    assert_eq!(refused.unwrap_err().reason(), "refused");
}

#[test]
fn rooms_are_the_lobbys_to_make_and_not_too_many_at_once() {
    let server = start();
    let mut anna = server.client("Anna");
    assert!(anna.try_join("nowhere").is_err());
    for (name, comes) in [("one", true), ("two", false), ("three", false)] {
        anna.publish(LOBBY, "join-room", json!({ "roomname": name }));
        server.advance(Duration::ZERO);
        match comes {
            true => _ = anna.expect_event("know-yourself"),
            false => _ = anna.expect_event("fail-join-room-notify"),
        }
    }
    after(&server, 500);
    anna.publish(LOBBY, "join-random-room", json!({ "roomname": "one" }));
    server.advance(Duration::ZERO);
    // The proposed name is that of friends: strangers get another.
    let found = anna.expect("message")["data"]["roomname"].clone();
    assert_ne!(found, "one");
    let mut bert = server.client("Bert");
    bert.publish(LOBBY, "join-random-room", json!({}));
    server.advance(Duration::ZERO);
    assert_eq!(bert.expect("message")["data"]["roomname"], found);
}

#[test]
fn who_waits_and_leaves_is_not_waited_for() {
    let server = start();
    let mut anna = server.client("Anna");
    anna.publish(LOBBY, "join-random-room", json!({ "roomname": "aaaaa" }));
    server.advance(Duration::ZERO);
    anna.expect_event("know-yourself");
    anna.publish("aaaaa", "leave-room", json!({}));
    let mut bert = server.client("Bert");
    bert.publish(LOBBY, "join-random-room", json!({ "roomname": "bbbbb" }));
    server.advance(Duration::ZERO);
    assert_eq!(bert.expect("message")["data"]["roomname"], "bbbbb");
}
