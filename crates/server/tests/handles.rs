//! What the embedding program does through handles, with clients on real sockets.

#![allow(clippy::unwrap_used)]

mod peer;

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use peer::{Lines, PATIENCE, start, until};
use roomcast::{CallError, ErrorCode, RoomOptions, Server, ServerHandle, SessionId};
use serde_json::{Value, json};

fn session(welcome: &Value) -> SessionId {
    welcome["session"].as_str().unwrap().parse().unwrap()
}

fn game() -> Server {
    start(|config| {
        let toml = "[namespaces.game]\n[[auth.keys]]\nkey = \"0123456789abcdef\"\nuser = \"mina\"";
        let parsed = roomcast::Config::from_toml(toml, "test").unwrap();
        (config.namespaces, config.auth) = (parsed.namespaces, parsed.auth);
    })
}

#[test]
fn a_room_is_made_heard_looked_at_and_closed() {
    let server = start(|_| {});
    let lobby = server.handle().room("lobby");
    assert!(lobby.create(RoomOptions::default()).wait().unwrap());
    assert!(!lobby.create(RoomOptions::default()).wait().unwrap());
    let mut peer = Lines::connect(&server);
    let id = session(&peer.hello());
    peer.join("lobby");
    let position = lobby.publish("news", json!({ "n": 1 })).wait().unwrap();
    let event = peer.expect("event");
    assert_eq!((&event["data"]["n"], &event["at"]["offset"]), (&json!(1), &json!(1)));
    let dropped = lobby.publish_unreliable("position", &7).wait().unwrap();
    assert_eq!(dropped.offset, position.offset + 1);
    assert_eq!(peer.expect("event")["event"], "position");
    assert_eq!(lobby.tell(&[id, SessionId(7)], "psst", "only you").wait(), Ok(1));
    let told = peer.expect("event");
    assert_eq!((&told["event"], told.get("at")), (&json!("psst"), None));
    let members = lobby.members().wait().unwrap();
    assert_eq!((members.members.len(), members.truncated), (1, false));
    let sender = &members.members[0].sender;
    lobby.publish_from(sender, 42, "in its name").wait().unwrap();
    let event = peer.expect("event");
    assert_eq!((&event["event"], &event["from"]["session"]), (&json!(42), &json!(id.to_string())));
    let history = lobby.history(Some(position), 10).wait().unwrap();
    assert_eq!((history.events.len(), history.position.offset), (1, 3));
    assert_eq!(lobby.presence().wait().unwrap().members, 1);
    assert_eq!(lobby.kick(id).wait(), Ok(1));
    assert_eq!(peer.expect("room_closed")["reason"], "kicked");
    assert_eq!(lobby.join(id, ()).wait(), Ok(true));
    peer.expect("joined");
    lobby.leave(id, "bye").wait().unwrap();
    peer.expect("room_closed");
    lobby.join(id, json!({ "seat": 1 })).wait().unwrap();
    peer.expect("joined");
    assert_eq!(server.handle().session(id).rooms().wait().unwrap(), ["lobby"]);
    lobby.delete().wait().unwrap();
    assert_eq!(peer.expect("room_closed")["reason"], "deleted");
    assert!(matches!(lobby.members().wait(), Err(CallError::Absent(_))));
}

#[test]
fn sessions_users_and_namespaces_are_told() {
    let server = game();
    let handle = server.handle();
    let mut peer = Lines::connect(&server);
    peer.send(r#"{"type":"hello","ref":0,"token":"0123456789abcdef"}"#);
    let mina = session(&peer.expect("welcome"));
    handle.session(mina).send("psst", "to you").wait().unwrap();
    assert_eq!(peer.expect("message")["data"], "to you");
    assert_eq!(handle.user("mina").send("psst", ()).wait(), Ok(1));
    assert_eq!(peer.expect("message").get("data"), None);
    assert_eq!(handle.namespace("default").broadcast("all", &3).wait(), Ok(1));
    assert_eq!(peer.expect("message")["event"], "all");
    assert_eq!(handle.namespace("game").broadcast("all", &3).wait(), Ok(0));
    let table = handle.namespace("game").room("table");
    table.create_permanent(RoomOptions::default()).wait().unwrap();
    assert_eq!(handle.namespace("game").rooms().wait().unwrap().rooms[0].room, "game/table");
    assert_eq!(handle.rooms().wait().unwrap().rooms, []);
    handle.session(mina).disconnect().wait().unwrap();
    assert_eq!(peer.expect("goodbye")["code"], 4824);
    until("it is gone", || handle.counters().sessions == 0);
    let absent = handle.session(mina).send("psst", ()).wait().unwrap_err();
    assert!(matches!(absent, CallError::Absent(_)), "{absent}");
}

#[test]
fn what_cannot_be_is_refused_by_what_to_do_next() {
    let server = start(|config| config.limits.rooms = 2);
    let handle = server.handle();
    let invalid = |error: CallError, code| {
        assert!(matches!(&error, CallError::Invalid(refusal) if refusal.code == code), "{error:?}");
    };
    let lobby = handle.room("lobby");
    lobby.create(RoomOptions::default()).wait().unwrap();
    invalid(lobby.publish("", ()).wait().unwrap_err(), ErrorCode::InvalidField);
    // The keys of a JSON object are texts.
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    invalid(lobby.publish("news", &no_json).wait().unwrap_err(), ErrorCode::InvalidField);
    let long = "x".repeat(70_000);
    invalid(lobby.publish("news", &long).wait().unwrap_err(), ErrorCode::PayloadTooLarge);
    let options = RoomOptions { members_max: 0, ..RoomOptions::default() };
    invalid(handle.room("other").create(options).wait().unwrap_err(), ErrorCode::InvalidOption);
    invalid(handle.room("").delete().wait().unwrap_err(), ErrorCode::InvalidName);
    let absent = handle.namespace("nowhere").rooms().wait().unwrap_err();
    assert!(matches!(absent, CallError::Absent(_)), "{absent}");
    let full = |name: usize| handle.room(name.to_string()).create(RoomOptions::default()).wait();
    let busy = (0..8).find_map(|name| full(name).err()).unwrap();
    assert!(matches!(busy, CallError::Busy(_)), "{busy}");
}

#[test]
fn what_one_thread_asks_of_a_room_stays_in_order_whatever_others_ask() {
    let server = start(|_| {});
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    let handle = server.handle();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let lobby = handle.room("lobby");
            scope.spawn(move || {
                for n in 0..200 {
                    drop(lobby.publish("n", json!([thread, n])));
                }
            });
        }
        let mut next = [0; 4];
        for _ in 0..800 {
            let data = peer.expect("event")["data"].take();
            let (thread, n) = (data[0].as_u64().unwrap() as usize, data[1].as_u64().unwrap());
            assert_eq!(n, next[thread]);
            next[thread] += 1;
        }
    });
}

#[test]
fn an_answer_can_be_awaited_in_a_task() {
    let server = start(|_| {});
    let handle = server.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = runtime.block_on(async {
        let lobby = handle.room("lobby");
        lobby.create(RoomOptions::default()).await?;
        let both = (lobby.publish("a", ()), lobby.publish("b", ()));
        assert_eq!((both.0.await?.offset, both.1.await?.offset), (1, 2));
        handle.rooms().await
    });
    assert_eq!(made.unwrap().rooms.len(), 1);
    server.drain_and_stop();
    assert_eq!(runtime.block_on(async { handle.rooms().await }), Err(CallError::Stopped));
}

const SAY: &str = r#"{"type":"publish","ref":9,"room":"lobby","event":"chat"}"#;

/// A server of one worker, with somebody in its room.
fn hooked(
    hook: impl Fn() -> Result<(), roomcast::Refusal> + Send + Sync + 'static,
) -> (ManuallyDrop<Server>, Lines) {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").workers(1);
    let server = builder.before_publish(move |_| hook()).start().unwrap();
    let mut peer = Lines::connect(&server);
    peer.join("lobby");
    // A test that fails does not wait for a worker that will not end.
    (ManuallyDrop::new(server), peer)
}

#[test]
fn a_hook_that_waits_for_its_own_worker_is_refused_and_holds_nobody_up() {
    let handle = Arc::new(OnceLock::<ServerHandle>::new());
    let inside = Arc::clone(&handle);
    let (server, mut peer) = hooked(move || {
        let lobby = inside.get().unwrap().room("lobby");
        lobby.members().wait().map(drop).map_err(|_| roomcast::Refusal::refused("not done"))
    });
    handle.set(server.handle()).unwrap();
    peer.send(SAY);
    assert_eq!(peer.expect("error")["reason"], "internal");
    peer.send(r#"{"type":"ping","ref":10}"#);
    peer.expect("pong");
    ManuallyDrop::into_inner(server).stop();
}

#[test]
fn calls_that_wait_for_a_worker_are_bounded_and_none_of_them_is_lost() {
    let (entered, is_inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (server, mut peer) = hooked(move || {
        entered.send(()).unwrap();
        _ = released.lock().unwrap().recv_timeout(PATIENCE);
        Ok(())
    });
    peer.send(SAY);
    is_inside.recv_timeout(PATIENCE).unwrap();
    let lobby = server.handle().room("lobby");
    let mut asked: Vec<_> = (0..65_536).map(|_| lobby.publish_unreliable("n", ())).collect();
    let busy = lobby.publish_unreliable("n", ()).wait().unwrap_err();
    assert!(matches!(&busy, CallError::Busy(refusal) if refusal.retry_ms.is_some()), "{busy}");
    assert!(busy.to_string().contains("65536 calls"), "{busy}");
    release.send(()).unwrap();
    let last = asked.pop().unwrap().wait().unwrap();
    assert_eq!(last.offset, 65_536 + 1);
    // There is room again.
    assert_eq!(lobby.publish_unreliable("n", ()).wait().unwrap().offset, 65_536 + 2);
    ManuallyDrop::into_inner(server).stop();
}
