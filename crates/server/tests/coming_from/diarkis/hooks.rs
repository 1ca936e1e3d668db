//! Hooks before and after the commands of groups.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use roomcast::groups::{GroupSetup, NAMESPACE};
use roomcast::{Builder, Refusal, Server};
use serde_json::{Value, json};

use super::EVENT;
use crate::client;
use crate::peer::until;

/// A server whose clients may make and use groups by themselves.
fn server(hooks: impl FnOnce(Builder) -> Builder) -> Server {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").workers(2);
    hooks(builder.groups(GroupSetup::default().expose_commands(true))).start().unwrap()
}

/// Groups are the rooms of their namespace: other rooms are not asked about.
fn only_open(room: &str) -> Result<(), Refusal> {
    match room.strip_prefix(NAMESPACE) {
        Some(id) if id.starts_with("/closed") => Err(Refusal::refused("not today")),
        _ => Ok(()),
    }
}

fn commands(room: &str) -> [Value; 4] {
    [
        json!({ "type": "create", "ref": 1, "room": room }),
        json!({ "type": "join", "ref": 2, "room": room }),
        json!({ "type": "publish", "ref": 3, "room": room, "event": EVENT }),
        json!({ "type": "leave", "ref": 4, "room": room }),
    ]
}

#[test]
fn a_hook_before_a_command_may_veto_it() {
    let server = server(|builder| {
        builder
            .before_create(|asked| only_open(&asked.room))
            .before_join(|asked| only_open(&asked.room))
            .before_publish(|asked| only_open(&asked.room))
            .before_leave(|asked| only_open(&asked.room))
    });
    let (mut mina, _) = client(&server);
    for command in commands("groups/open") {
        let reply = mina.ask(&command);
        assert_ne!(reply["type"], "error", "{reply}");
    }
    for command in commands("groups/closed") {
        let reply = mina.ask(&command);
        let told = (&reply["reason"], &reply["message"]);
        assert_eq!(told, (&json!("refused"), &json!("not today")), "{command}");
    }
    mina.join("closed");
}

#[test]
fn a_chain_of_hooks_ends_at_the_first_veto() {
    let asked = Arc::new(AtomicU32::new(0));
    let (first, last) = (Arc::clone(&asked), Arc::clone(&asked));
    let server = server(move |builder| {
        builder
            .before_join(move |_| {
                first.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .before_join(|asked| only_open(&asked.room))
            .before_join(move |_| {
                last.fetch_add(100, Ordering::Relaxed);
                Ok(())
            })
    });
    let (mut mina, _) = client(&server);
    let join = |room: &str| json!({ "type": "join", "ref": 2, "room": room });
    assert_eq!(mina.ask(&join("groups/closed"))["reason"], "refused");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(mina.ask(&join("groups/open"))["type"], "joined");
    assert_eq!(asked.load(Ordering::Relaxed), 102);
}

#[test]
fn hooks_after_commands_see_what_was_done() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move |room: &str| seen.lock().unwrap().push(format!("{what} {room}"))
    };
    let (made, came, said, gone) = (note("made"), note("came"), note("said"), note("gone"));
    let server = server(move |builder| {
        builder
            .after_create(move |event| made(&event.room))
            .after_join(move |event| came(&event.room))
            .after_publish(move |event| said(&event.room))
            .after_leave(move |event| gone(&event.room))
    });
    let (mut mina, _) = client(&server);
    for command in commands("groups/open") {
        mina.ask(&command);
    }
    until("all was seen", || seen.lock().unwrap().len() == 4);
    let expected = ["made groups/open", "came groups/open", "said groups/open", "gone groups/open"];
    assert_eq!(*seen.lock().unwrap(), expected);
}
