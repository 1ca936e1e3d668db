//! `docs/coming-from-nimmsgio.md`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use roomcast::{CallError, Config, ErrorCode, Name, Refusal, RoomOptions, Server, SessionId};
use roomcast_client::{Client, RoomEvent};
use roomcast_wire::Codec;
use roomcast_wire::options::JoinRule;
use serde_json::json;

use crate::peer::{Lines, PATIENCE, start, until};
use crate::{client, run};

/// A server with a second namespace, in which only the server lets sessions into rooms.
fn server() -> Server {
    start(|config| {
        config.rooms.join = JoinRule::Granted;
        config.namespaces.insert("control".into(), Default::default());
    })
}

/// The rooms of some sessions, as their server sees them.
fn shares_a_room_with(server: &Server, session: SessionId) -> BTreeSet<SessionId> {
    let handle = server.handle();
    let rooms = handle.session(session).rooms().wait().unwrap();
    let members = rooms.iter().flat_map(|room| handle.room(room).members().wait().unwrap().members);
    members.map(|member| member.sender.session).filter(|other| *other != session).collect()
}

#[test]
fn clients_join_by_the_grant_of_the_server_only() {
    let server = server();
    let (mut mina, mina_id) = client(&server);
    let join = json!({ "type": "join", "ref": 1, "room": "tcp" });
    assert_eq!(mina.ask(&join)["reason"], "join_not_granted");
    let room = server.handle().room("tcp");
    assert_eq!(room.join(mina_id, ()).wait(), Ok(true));
    assert_eq!(mina.expect("joined")["room"], "tcp");
    assert_eq!(room.join(mina_id, ()).wait(), Ok(false), "a set: twice is once");
    assert_eq!(room.presence().wait().unwrap().members, 1);
    room.leave(mina_id, ()).wait().unwrap();
    assert!(room.presence().wait().is_err(), "a room ends with its last member");
    let CallError::Absent(refusal) = room.leave(mina_id, ()).wait().unwrap_err() else { panic!() };
    assert_eq!(refusal.code, ErrorCode::NoSuchTarget);
}

#[test]
fn send_crosses_namespaces() {
    let server = start(|config| {
        config.listen.push("tcp://127.0.0.1:0?namespace=control".into());
        config.namespaces.insert("control".into(), Default::default());
    });
    let (mut mina, mina_id) = client(&server);
    let control = server.listeners().last().unwrap().address;
    let mut root = Lines::over(crate::peer::connect(control));
    let root_id = crate::session(&root.hello());
    for (peer, id) in [(&mut mina, mina_id), (&mut root, root_id)] {
        server.handle().session(id).send("event", "data").wait().unwrap();
        let message = peer.expect("message");
        assert_eq!((&message["event"], &message["data"]), (&json!("event"), &json!("data")));
    }
    let refused = server.handle().session(SessionId(1)).send("event", "data").wait();
    assert!(matches!(refused, Err(CallError::Absent(_))));
    // To every client: once for each namespace.
    let handle = server.handle();
    for namespace in ["default", "control"] {
        assert_eq!(handle.namespace(namespace).broadcast("news", "all").wait(), Ok(1));
    }
    assert_eq!(mina.expect("message")["data"], "all");
    assert_eq!(root.expect("message")["data"], "all");
}

#[test]
fn a_room_of_one_name_is_another_in_each_namespace() {
    let server = server();
    let (mut mina, mina_id) = client(&server);
    let handle = server.handle();
    let (here, there) = (handle.room("tcp"), handle.namespace("control").room("tcp"));
    for room in [&here, &there] {
        room.join(mina_id, ()).wait().unwrap();
    }
    there.publish("eventcontrol", "payload").wait().unwrap();
    let event = mina.expect("event");
    assert_eq!((&event["room"], &event["event"]), (&json!("control/tcp"), &json!("eventcontrol")));
    here.publish("event", "payload").wait().unwrap();
    assert_eq!(mina.expect("event")["room"], "tcp");
    let rooms = handle.session(mina_id).rooms().wait().unwrap();
    assert_eq!(rooms, ["tcp", "control/tcp"]);
}

#[test]
fn a_namespace_or_room_that_is_not_there_is_an_error() {
    let server = server();
    let (mut mina, mina_id) = client(&server);
    let handle = server.handle();
    assert!(matches!(handle.room("nowhere").publish("e", ()).wait(), Err(CallError::Absent(_))));
    let unknown = handle.namespace("nowhere").room("tcp").join(mina_id, ()).wait();
    assert!(unknown.is_err());
    assert!(handle.room("tcp").join(SessionId(1), ()).wait().is_err());
    let join = json!({ "type": "join", "ref": 1, "room": "nowhere/tcp" });
    assert_eq!(mina.ask(&join)["reason"], "unknown_namespace");
}

#[test]
fn several_transports_with_their_codecs_meet_in_one_room() {
    let server = start(|_| {});
    let listeners = server.listeners();
    run(async {
        let mut rooms = Vec::new();
        for listener in listeners {
            for codec in [Codec::Json, Codec::MsgPack] {
                let client = Client::builder(&listener.url).codec(codec).connect().await.unwrap();
                rooms.push(client.join("mixed").await.unwrap());
            }
        }
        for room in &rooms {
            room.publish("msg", &json!({ "n": [1, "zwei"] })).await.unwrap();
        }
        for room in &rooms {
            let mut heard = 0;
            while heard < rooms.len() {
                let RoomEvent::Event(event) = room.next_event().await.unwrap() else { continue };
                assert_eq!(event.json(), r#"{"n":[1,"zwei"]}"#);
                heard += 1;
            }
        }
    });
}

#[test]
fn who_shares_a_room_with_a_client_can_be_asked() {
    let server = start(|_| {});
    let ids: Vec<_> = (0..4).map(|_| client(&server)).collect();
    let handle = server.handle();
    for (room, members) in [("a", &[0, 1][..]), ("b", &[0, 2, 1]), ("c", &[3])] {
        for &member in members {
            handle.room(room).join(ids[member].1, ()).wait().unwrap();
        }
    }
    assert_eq!(shares_a_room_with(&server, ids[0].1), [ids[1].1, ids[2].1].into());
    assert_eq!(shares_a_room_with(&server, ids[3].1), [].into());
    let members = handle.room("b").members().wait().unwrap().members;
    let order: Vec<_> = members.iter().map(|member| member.sender.session).collect();
    assert_eq!(order, [ids[0].1, ids[2].1, ids[1].1]);
    assert!(!order.contains(&ids[3].1));
}

#[test]
fn a_client_that_the_server_disconnects_leaves_all_rooms_of_all_namespaces() {
    let server = server();
    let (mut mina, mina_id) = client(&server);
    let handle = server.handle();
    let rooms = [handle.room("tcp"), handle.namespace("control").room("tcp")];
    for room in &rooms {
        room.join(mina_id, ()).wait().unwrap();
    }
    handle.session(mina_id).disconnect().wait().unwrap();
    assert_eq!(mina.expect("goodbye")["code"], 4824);
    for room in &rooms {
        until("the room has ended", || room.presence().wait().is_err());
    }
    assert!(handle.session(mina_id).rooms().wait().is_err());
}

#[test]
fn the_sender_in_a_room_gets_its_own_message() {
    let server = start(|_| {});
    let (mut mina, _) = client(&server);
    mina.join("tcp");
    mina.send(r#"{"type":"publish","room":"tcp","event":"msg","data":"to tcp room"}"#);
    assert_eq!(mina.expect("event")["data"], "to tcp room");
    let quiet = RoomOptions { echo: false, ..RoomOptions::default() };
    server.handle().room("quiet").create(quiet).wait().unwrap();
    mina.join("quiet");
    for echo in ["", r#","echo":true"#] {
        mina.send(&format!(r#"{{"type":"publish","room":"quiet","event":"msg"{echo}}}"#));
    }
    assert_eq!(mina.expect("event")["at"]["offset"], 2, "an option of the room, or of the message");
}

#[test]
fn the_next_message_of_a_client_can_be_awaited() {
    let server = server();
    let (mut mina, mina_id) = client(&server);
    let session = server.handle().session(mina_id);
    let asked = session.call("name", "who are you?", PATIENCE);
    let push = mina.expect("call");
    assert_eq!((&push["call"], &push["data"]), (&json!("name"), &json!("who are you?")));
    mina.send(&json!({ "type": "result", "id": push["id"], "data": "Mina" }).to_string());
    assert_eq!(asked.wait().unwrap().unwrap().bytes(), "\"Mina\"");
    // A client that is gone is not waited for.
    let asked = session.call("name", (), PATIENCE);
    drop(mina);
    assert!(asked.wait().is_err());
}

#[test]
fn a_hook_refuses_a_client_or_says_who_it_is() {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").before_connect(|asked| {
        let name = asked.identity.name.as_deref().unwrap_or_default();
        if name == "Eve" {
            return Err(Refusal::refused("not you"));
        }
        asked.identity.user = Name::new(&format!("{name}-1643238995")).ok();
        Ok(())
    });
    let server = builder.start().unwrap();
    let hello = |name: &str| json!({ "type": "hello", "ref": 1, "name": name });
    let mut eve = Lines::connect(&server);
    let refused = eve.ask(&hello("Eve"));
    assert_eq!((&refused["reason"], &refused["message"]), (&json!("refused"), &json!("not you")));
    let mut mina = Lines::connect(&server);
    assert_eq!(mina.ask(&hello("Mina"))["user"], "Mina-1643238995");
    server.handle().user("Mina-1643238995").send("event", "data").wait().unwrap();
    assert_eq!(mina.expect("message")["data"], "data");
}

/// As their example: everybody is greeted, and everybody hears who has gone.
#[test]
fn coming_and_going_are_told_to_server_code() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (came, gone) = (Arc::clone(&seen), Arc::clone(&seen));
    let builder = Server::builder()
        .listen("tcp://127.0.0.1:0")
        .after_connect(move |event| came.lock().unwrap().push(("came", event.who.session)))
        .on_disconnect(move |event| gone.lock().unwrap().push(("gone", event.who.session)));
    let server = builder.start().unwrap();
    let (mina, mina_id) = client(&server);
    drop(mina);
    until("both were told", || seen.lock().unwrap().len() == 2);
    assert_eq!(*seen.lock().unwrap(), [("came", mina_id), ("gone", mina_id)]);
}

/// Clients may ask the server and nobody else; the server's own code reaches everybody.
#[test]
fn clients_reach_each_other_by_the_servers_code_only() {
    let text = "listen = [\"tcp://127.0.0.1:0\"]\n[namespaces.default]\n\
                anonymous_rooms = [{ room = \"*\", can = [\"publish\", \"presence\"] }]\n";
    let config = Config::from_toml(text, "roomcast.toml").unwrap();
    let server = Server::builder().config(config).start().unwrap();
    let (mut mina, mina_id) = client(&server);
    let (mut tom, tom_id) = client(&server);
    let send = json!({ "type": "send", "ref": 1, "session": tom_id.to_string(), "event": "psst" });
    assert_eq!(mina.ask(&send)["reason"], "forbidden");
    let join = json!({ "type": "join", "ref": 2, "room": "tcp" });
    assert_eq!(mina.ask(&join)["reason"], "forbidden");
    for session in [mina_id, tom_id] {
        server.handle().room("tcp").join(session, ()).wait().unwrap();
    }
    server.handle().session(tom_id).send("psst", &mina_id.to_string()).wait().unwrap();
    assert_eq!(tom.expect("message")["data"], mina_id.to_string());
    mina.send(r#"{"type":"publish","room":"tcp","event":"msg","data":"to all"}"#);
    assert_eq!(tom.expect("event")["data"], "to all");
}
