//! Commands of an application's own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use roomcast::groups::{GroupSetup, Groups, event};
use roomcast::{Answer, Refusal, Server};
use serde_json::{Value, json};

use super::{CMD, EVENT, TEAM, VER};
use crate::{client, run};

fn call(data: Value) -> Value {
    json!({ "type": "call", "ref": 7, "call": EVENT, "data": data })
}

#[test]
fn a_command_of_ver_and_cmd_is_answered_by_its_handlers_in_turn() {
    let server = Server::builder()
        .listen("tcp://127.0.0.1:0")
        // The first passes on what is not for it, as `next(nil)`, or stops the chain.
        .on_call(event(VER, CMD), |asked| {
            match asked.data.as_ref().and_then(|data| data.read::<u32>().ok()) {
                None => Err(Refusal::refused("a number is wanted")),
                Some(number) if number < 10 => Answer::data(&(number * 2)),
                Some(_) => Ok(Answer::Next),
            }
        })
        .on_call_async(event(VER, CMD), |asked| async move {
            Answer::data(&format!("{} asked", asked.from.session))
        })
        .start()
        .unwrap();
    let (mut mina, mina_id) = client(&server);
    let small = mina.ask(&call(json!(4)));
    assert_eq!((&small["type"], &small["data"]), (&json!("result"), &json!(8)));
    assert_eq!(mina.ask(&call(json!(40)))["data"], format!("{mina_id} asked"));
    let wrong = mina.ask(&call(json!("x")));
    assert_eq!(
        (&wrong["reason"], &wrong["message"]),
        (&json!("refused"), &json!("a number is wanted"))
    );
    let unknown = json!({ "type": "call", "ref": 7, "call": EVENT + 1 });
    assert_eq!(mina.ask(&unknown)["reason"], "no_such_call");
}

#[test]
fn the_server_pushes_to_a_user_and_may_await_an_answer() {
    let server = Server::builder().listen("tcp://127.0.0.1:0").start().unwrap();
    let (mut mina, mina_id) = client(&server);
    let session = server.handle().session(mina_id);
    session.send(event(VER, CMD), "pushed").wait().unwrap();
    let pushed = mina.expect("message");
    assert_eq!((&pushed["event"], &pushed["data"]), (&json!(EVENT), &json!("pushed")));
    let asked = session.call(event(VER, CMD), "where", Duration::from_secs(20));
    let push = mina.expect("call");
    assert_eq!((&push["call"], &push["data"]), (&json!(EVENT), &json!("where")));
    let result = json!({ "type": "result", "id": push["id"], "data": [35, 139] });
    mina.send(&result.to_string());
    assert_eq!(asked.wait().unwrap().unwrap().bytes(), "[35,139]");
}

/// A command of theirs: ver 1, cmd 114.
#[test]
fn a_client_is_put_into_a_random_group_by_a_call() {
    let door: Arc<OnceLock<Groups>> = Arc::default();
    let groups = Arc::clone(&door);
    let server = Server::builder()
        .listen("tcp://127.0.0.1:0")
        .groups(GroupSetup::default())
        .on_call_async(event(1, 114), move |asked| {
            let groups = groups.get().cloned();
            async move {
                let groups = groups.ok_or_else(|| Refusal::refused("not open yet"))?;
                let session = asked.from.session;
                let joined = groups.join_random(session, TEAM, VER, CMD, asked.data).await;
                let (id, is_new) = joined.map_err(|error| Refusal::refused(error.to_string()))?;
                Answer::data(json!({ "group": id, "is_new": is_new }))
            }
        })
        .start()
        .unwrap();
    assert!(door.set(Groups::new(&server.handle())).is_ok());
    let (mut mina, mina_id) = client(&server);
    let (mut tom, tom_id) = client(&server);
    let ask = json!({ "type": "call", "ref": 7, "call": 1 << 16 | 114, "data": "hello" });
    let made = mina.ask(&ask);
    let id = made["data"]["group"].as_str().unwrap().to_owned();
    assert_eq!((made["data"]["is_new"].clone(), id.len()), (json!(true), 52));
    assert_eq!(tom.ask(&ask)["data"], json!({ "group": id, "is_new": false }));
    assert_eq!(mina.expect("event")["data"], "hello");
    let groups = door.get().unwrap();
    let found = run(groups.group(&id)).unwrap().unwrap();
    let members: Vec<_> = found.members.iter().map(|member| member.sender.session).collect();
    assert_eq!(members, [mina_id, tom_id]);
}
