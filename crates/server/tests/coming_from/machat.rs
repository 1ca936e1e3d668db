//! `docs/coming-from-machat.md`.

use roomcast::{RoomOptions, Server, Speaks};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::peer::{Lines, Ws, start};
use crate::{client, run};

/// A client as theirs: it says who it is and where it wants to be.
fn named(server: &Server, name: &str, room: &str) -> Lines {
    let mut peer = Lines::connect(server);
    let hello = json!({ "type": "hello", "ref": 1, "name": name });
    assert_eq!(peer.ask(&hello)["type"], "welcome");
    assert_eq!(peer.ask(&join(room))["type"], "joined");
    peer
}

fn join(room: &str) -> Value {
    json!({ "type": "join", "ref": 2, "room": room })
}

fn line(room: &str, text: &str) -> Value {
    json!({ "type": "publish", "room": room, "event": "chat", "data": text })
}

/// The next line of a chat, as theirs is printed.
fn heard(peer: &mut Lines) -> String {
    printed(&peer.expect("event"))
}

fn printed(event: &Value) -> String {
    format!("{}:{}", event["from"]["name"].as_str().unwrap(), event["data"].as_str().unwrap())
}

/// Display names are unique in each room.
fn unique() -> Server {
    start(|config| config.rooms.names = roomcast_wire::options::NameRule::Unique)
}

#[test]
fn a_line_reaches_every_member_its_sender_too() {
    let server = start(|_| {});
    let mut mina = named(&server, "Mina", "devroom");
    let mut bob = named(&server, "Bob", "devroom");
    let mut zed = named(&server, "Zed", "lounge");
    mina.send(&line("devroom", "hello").to_string());
    assert_eq!(heard(&mut mina), "Mina:hello");
    assert_eq!(heard(&mut bob), "Mina:hello");
    zed.send(&line("lounge", "alone").to_string());
    assert_eq!(heard(&mut zed), "Zed:alone");
    // An empty line is a line.
    bob.send(&line("devroom", "").to_string());
    assert_eq!(heard(&mut mina), "Bob:");
}

#[test]
fn tcp_and_websocket_meet_in_one_server_and_not_in_two() {
    let (shared, other) = (start(|_| {}), start(|_| {}));
    let mut tcp = named(&shared, "Mina", "devroom");
    let mut ws = Ws::connect(&shared);
    ws.join("devroom");
    let mut apart = named(&other, "Zed", "devroom");
    tcp.send(&line("devroom", "hello").to_string());
    assert_eq!(printed(&ws.expect("event")), "Mina:hello");
    apart.send(&line("devroom", "anybody?").to_string());
    assert_eq!(heard(&mut apart), "Zed:anybody?");
}

#[test]
fn listeners_with_namespaces_of_their_own_do_not_meet() {
    let server = start(|config| {
        config.listen = vec!["tcp://127.0.0.1:0".into(), "ws://127.0.0.1:0?namespace=web".into()];
        config.namespaces.insert("web".into(), Default::default());
    });
    let mut tcp = named(&server, "Mina", "devroom");
    let mut ws = Ws::connect(&server);
    ws.join("devroom");
    tcp.send(&line("devroom", "from tcp").to_string());
    assert_eq!(heard(&mut tcp), "Mina:from tcp");
    ws.send(&line("devroom", "from the web").to_string());
    assert_eq!(ws.expect("event")["data"], "from the web");
}

#[test]
fn any_byte_stream_is_a_client() {
    let server = start(|_| {});
    let mut mina = named(&server, "Mina", "devroom");
    run(async {
        let (ours, theirs) = tokio::io::duplex(4096);
        tokio::spawn(server.entrance().add_client(theirs, Speaks::Stream));
        let (reader, mut writer) = tokio::io::split(ours);
        writer.write_all(format!("{}\n", join("devroom")).as_bytes()).await.unwrap();
        writer.write_all(format!("{}\n", line("devroom", "from a pipe")).as_bytes()).await.unwrap();
        let mut lines = BufReader::new(reader).lines();
        assert!(lines.next_line().await.unwrap().unwrap().contains("joined"));
        assert!(lines.next_line().await.unwrap().unwrap().contains("from a pipe"));
    });
    assert_eq!(mina.expect("event")["data"], "from a pipe");
}

#[test]
fn a_name_is_one_members_at_a_time() {
    let server = unique();
    let mina = named(&server, "Mina", "devroom");
    let mut other = named(&server, "Mina", "lounge");
    assert_eq!(other.ask(&join("devroom"))["reason"], "name_taken");
    // It is told, and goes on.
    other.send(&line("lounge", "still here").to_string());
    assert_eq!(heard(&mut other), "Mina:still here");
    let mut nameless = Lines::connect(&server);
    assert_eq!(nameless.ask(&join("devroom"))["reason"], "name_taken");
    let mut mina = mina;
    mina.send(r#"{"type":"bye"}"#);
    mina.expect("goodbye");
    let is_free = || server.handle().room("devroom").presence().wait().is_err();
    crate::peer::until("the name is free", is_free);
    assert_eq!(other.ask(&join("devroom"))["type"], "joined");
}

#[test]
fn a_name_cannot_pretend_to_be_a_line() {
    let server = start(|_| {});
    let mut evil = Lines::connect(&server);
    let hello = json!({ "type": "hello", "ref": 1, "name": "evil\nadmin" });
    assert_eq!(evil.ask(&hello)["reason"], "invalid_name");
    let hello = json!({ "type": "hello", "ref": 2, "name": "evil" });
    assert_eq!(evil.ask(&hello)["type"], "welcome");
}

#[test]
fn a_bad_hello_is_answered() {
    let server = start(|_| {});
    for (said, reason) in [
        (r#"{"name":"Mina","room":"devroom"}"#, "unknown_type"),
        (r#"{"type":"hello","name":7}"#, "invalid_field"),
        ("{", "malformed"),
    ] {
        let mut peer = Lines::connect(&server);
        peer.send(said);
        assert_eq!(peer.expect("error")["reason"], reason, "{said}");
        peer.join("devroom");
    }
}

#[test]
fn what_comes_behind_the_hello_is_not_lost_and_lines_keep_their_order() {
    let server = start(|_| {});
    let mut hearer = named(&server, "Hearer", "devroom");
    let mut peer = Lines::connect(&server);
    let mut text = format!("{}\n{}\n", json!({ "type": "hello", "name": "Mina" }), join("devroom"));
    for n in 0..500 {
        text.push_str(&format!("{}\n", line("devroom", &n.to_string())));
    }
    peer.send(text.trim_end());
    for n in 0..500 {
        assert_eq!(heard(&mut hearer), format!("Mina:{n}"));
    }
}

#[test]
fn rooms_are_made_used_and_closed_by_code() {
    let server = start(|_| {});
    let (mut mina, mina_id) = client(&server);
    let room = server.handle().room("devroom");
    assert_eq!(room.create(RoomOptions::default()).wait(), Ok(true));
    assert_eq!(room.join(mina_id, ()).wait(), Ok(true));
    assert_eq!(mina.expect("joined")["room"], "devroom");
    assert_eq!(room.presence().wait().unwrap().members, 1);
    room.publish("chat", "from the server").wait().unwrap();
    assert_eq!(mina.expect("event")["data"], "from the server");
    room.leave(mina_id, ()).wait().unwrap();
    assert_eq!(mina.expect("room_closed")["room"], "devroom");
    assert!(room.presence().wait().is_err(), "it ended with its last member");
    room.join(mina_id, ()).wait().unwrap();
    room.delete().wait().unwrap();
    assert_eq!(mina.expect("room_closed")["reason"], "deleted");
}

#[test]
fn a_room_may_stay_when_all_have_left() {
    let server = start(|config| config.rooms.keep_when_empty = true);
    let mut mina = named(&server, "Mina", "devroom");
    mina.ask(&json!({ "type": "leave", "ref": 3, "room": "devroom" }));
    assert_eq!(server.handle().room("devroom").presence().wait().unwrap().members, 0);
}

#[test]
fn what_was_said_can_be_read_later() {
    let server = start(|_| {});
    let mut mina = named(&server, "Mina", "devroom");
    mina.send(&line("devroom", "first").to_string());
    heard(&mut mina);
    let mut bob = named(&server, "Bob", "devroom");
    let history = bob.ask(&json!({ "type": "history", "ref": 3, "room": "devroom" }));
    assert_eq!(printed(&history["events"][0]), "Mina:first");
}
