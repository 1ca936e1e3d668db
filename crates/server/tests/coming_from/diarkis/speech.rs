//! What is said in groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use roomcast::groups::{GroupSetup, Groups, NewGroup, Notice, Sending, event};
use roomcast::{EventName, Server, SessionId, testing};
use serde_json::{Value, json};

use super::{CMD, EVENT, HALL, TEAM, VER, join_all, server, team};
use crate::peer::Lines;
use crate::{client, run};

#[test]
fn ver_and_cmd_are_one_number() {
    assert_eq!(event(VER, CMD), EventName::Number(EVENT));
    assert_eq!(event(0, 0), EventName::Number(0));
    assert_eq!(event(u8::MAX, u16::MAX), EventName::Number((1 << 24) - 1));
}

#[test]
fn a_broadcast_goes_to_the_others_and_to_the_sender_if_wanted() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (mut tom, tom_id) = client(&server);
    let id = team(&groups, mina_id);
    join_all(&groups, &id, &[tom_id]);
    let say = |message: Value, how| {
        run(groups.broadcast(&id, mina_id, VER, CMD, message, how)).unwrap();
    };
    say(json!(1), Sending::default());
    say(json!(2), Sending { echo: true, ..Sending::default() });
    for n in [1, 2] {
        let heard = tom.expect("event");
        assert_eq!((&heard["event"], &heard["data"]), (&json!(EVENT), &json!(n)));
        assert_eq!(heard["from"]["session"], mina_id.to_string());
    }
    assert_eq!(mina.expect("event")["data"], 2);
}

#[test]
fn a_broadcast_may_be_unreliable() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let id = team(&groups, mina_id);
    let how = Sending { reliable: false, echo: true };
    run(groups.broadcast(&id, mina_id, VER, CMD, "x", how)).unwrap();
    assert_eq!(mina.expect("event")["reliable"], false);
    run(groups.announce(&id, VER, CMD, "x", false)).unwrap();
    assert_eq!(mina.expect("event")["reliable"], false);
    run(groups.announce(&id, VER, CMD, "x", true)).unwrap();
    assert_eq!(mina.expect("event").get("reliable"), None);
}

#[test]
fn a_broadcast_that_cannot_be_says_so() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let id = team(&groups, mina_id);
    let say = |id: &str, who| run(groups.broadcast(id, who, VER, CMD, "x", Sending::default()));
    assert!(say(&"a".repeat(52), mina_id).is_err());
    assert!(say(&id, SessionId(1)).is_err());
    assert!(run(groups.announce(&"a".repeat(52), VER, CMD, "x", true)).is_err());
    let far_too_long = "x".repeat(100_000);
    assert!(run(groups.announce(&id, VER, CMD, &far_too_long, true)).is_err());
}

#[test]
fn an_announcement_has_no_sender_and_is_not_for_clients() {
    let (server, groups) = server(GroupSetup::default().expose_commands(true));
    let (mut mina, mina_id) = client(&server);
    let id = team(&groups, mina_id);
    run(groups.announce(&id, VER, CMD, "from above", true)).unwrap();
    let heard = mina.expect("event");
    assert_eq!((&heard["data"], heard.get("from")), (&json!("from above"), None));
    let room = format!("groups/{id}");
    let command = json!({ "type": "announce", "ref": 7, "room": room, "event": EVENT });
    assert_eq!(mina.ask(&command)["reason"], "forbidden");
}

#[test]
fn messages_within_an_interval_go_together() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let wish = NewGroup { interval_ms: 200, ..TEAM };
    let id = run(groups.new_group(mina_id, wish)).unwrap();
    mina.expect("joined");
    let began = std::time::Instant::now();
    for n in 0..3 {
        run(groups.announce(&id, VER, CMD, &n, true)).unwrap();
    }
    let heard: Vec<_> = (0..3).map(|_| mina.expect("event")["data"].clone()).collect();
    assert_eq!(heard, [0, 1, 2]);
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
}

#[test]
fn hidden_commands_are_refused() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (mut tom, _) = client(&server);
    let room = format!("groups/{}", team(&groups, mina_id));
    mina.expect("joined");
    let outcome = |peer: &mut Lines, command: Value| peer.ask(&command)["reason"].clone();
    let create = json!({ "type": "create", "ref": 7, "room": "groups/mine", "join": true });
    assert_eq!(outcome(&mut mina, create), "join_not_granted");
    let join = json!({ "type": "join", "ref": 8, "room": room });
    assert_eq!(outcome(&mut tom, join), "join_not_granted");
    let publish = json!({ "type": "publish", "ref": 9, "room": room, "event": EVENT });
    assert_eq!(outcome(&mut mina, publish), "publish_not_allowed");
}

#[test]
fn exposed_commands_carry_their_message() {
    let (server, groups) = server(GroupSetup::default().expose_commands(true));
    let (mut mina, _) = client(&server);
    let (mut tom, tom_id) = client(&server);
    let made = mina.ask(&json!({ "type": "create", "ref": 7, "room": null, "join": true }));
    // Without a room's name the group is one of the default namespace: name the groups' own.
    assert!(!made["room"].as_str().unwrap().starts_with("groups/"));
    let room = format!("groups/{}", "m".repeat(52));
    mina.ask(&json!({ "type": "create", "ref": 8, "room": room, "join": true }));
    let notice = |text: &str| json!({ "event": EVENT, "data": text });
    let join = json!({ "type": "join", "ref": 8, "room": room, "data": notice("tom is here") });
    assert_eq!(tom.ask(&join)["type"], "joined");
    let came = mina.expect("event");
    assert_eq!((&came["event"], &came["data"]), (&json!(EVENT), &json!("tom is here")));
    assert_eq!(came["from"]["session"], tom_id.to_string(), "a client cannot speak as the server");
    assert_eq!(run(groups.latest_group_id(tom_id)).unwrap().unwrap(), "m".repeat(52));
    tom.ask(&json!({ "type": "publish", "ref": 9, "room": room, "event": EVENT, "data": 5 }));
    assert_eq!(mina.expect("event")["data"], 5);
    tom.ask(&json!({ "type": "leave", "ref": 10, "room": room, "data": notice("bye") }));
    let went = mina.expect("event");
    assert_eq!((&went["event"], &went["data"]), (&json!(EVENT), &json!("bye")));
    assert_eq!(went["from"]["session"], tom_id.to_string());
}

/// Tells what happened to whom.
fn telling(word: &'static str) -> impl Fn(&roomcast::groups::Lost<'_>) -> Option<Notice> {
    move |lost| {
        let text = json!({ "group": lost.group, "session": lost.session.to_string() });
        Notice::new(VER, CMD, json!({ word: text }))
    }
}

#[test]
fn the_others_hear_of_who_is_lost_and_who_is_back() {
    let setup = GroupSetup::default()
        .set_on_discard_message(telling("lost"))
        .set_on_rejoin_message(telling("back"));
    let (server, groups) = server(setup);
    let (mut mina, mina_id) = client(&server);
    let mut tom = Lines::connect(&server);
    let welcome = tom.hello();
    let tom_id = crate::session(&welcome);
    let id = team(&groups, mina_id);
    join_all(&groups, &id, &[tom_id]);
    drop(tom);
    let about = json!({ "group": id, "session": tom_id.to_string() });
    let lost = mina.expect("event");
    assert_eq!((&lost["event"], &lost["data"]), (&json!(EVENT), &json!({ "lost": about })));
    let mut tom = Lines::connect(&server);
    let resume = json!({ "session": welcome["session"], "secret": welcome["resume"] });
    let welcome = tom.ask(&json!({ "type": "hello", "ref": 1, "resume": resume }));
    assert_eq!(welcome["resumed"], true);
    tom.ask(&json!({ "type": "join", "ref": 2, "room": format!("groups/{id}") }));
    assert_eq!(mina.expect("event")["data"], json!({ "back": about }));
    // One that leaves is not lost.
    run(groups.leave(&id, tom_id, VER, CMD, ())).unwrap();
    run(groups.announce(&id, VER, CMD, "after", true)).unwrap();
    assert_eq!(mina.expect("event")["data"], "after");
}

/// Once when it is lost, not once more when its seat ends.
#[test]
fn who_does_not_come_back_is_told_of_once() {
    let setup = GroupSetup::default().set_on_discard_message(telling("lost"));
    let server = testing::Server::start(Server::builder().groups(setup)).unwrap();
    let groups = Groups::new(&server.handle());
    let (mut mina, mut tom) = (server.client("Mina"), server.client("Tom"));
    let id = server.run(groups.new_group(mina.session(), TEAM)).unwrap();
    server.run(groups.join(&id, tom.session(), VER, CMD, ())).unwrap();
    mina.expect("joined");
    tom.cut();
    assert!(mina.expect("event")["data"]["lost"].is_object());
    server.advance(Duration::from_secs(61));
    mina.expect_nothing();
    let found = server.run(groups.group(&id)).unwrap().unwrap();
    assert_eq!(found.member_count, 1);
}

#[test]
fn nobody_is_told_of_lost_users_unless_the_application_says_what() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (tom, tom_id) = client(&server);
    let id = team(&groups, mina_id);
    join_all(&groups, &id, &[tom_id]);
    mina.expect("joined");
    drop(tom);
    let dropped = || run(groups.group(&id)).unwrap().unwrap().members[1].dropped;
    crate::peer::until("the link is lost", dropped);
    run(groups.announce(&id, VER, CMD, "after", true)).unwrap();
    assert_eq!(mina.next().unwrap()["data"], "after");
}

#[test]
fn a_tick_is_called_until_its_group_ends() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let id = team(&groups, mina_id);
    let blocked = run(groups.new_group(mina_id, HALL)).unwrap();
    let missing = "a".repeat(52);
    let waits = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&waits);
    run(async {
        assert!(groups.set_on_tick(&missing, 1, |_| async {}).await.is_err());
        // A tick that never ends stops itself and nothing else.
        let slow = move |_| {
            seen.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        };
        groups.set_on_tick(&blocked, 1, slow).await.unwrap();
        let (said, mut ticks) = tokio::sync::mpsc::channel(8);
        let speaker = groups.clone();
        let tick = move |id: String| {
            let (groups, said) = (speaker.clone(), said.clone());
            async move {
                let at = groups.announce(&id, VER, CMD, "tick", true).await;
                _ = said.send((id, at.is_ok())).await;
            }
        };
        groups.set_on_tick(&id, 1, tick).await.unwrap();
        for _ in 0..2 {
            assert_eq!(ticks.recv().await, Some((id.clone(), true)));
        }
        groups.leave(&id, mina_id, VER, CMD, ()).await.unwrap();
        // The closure goes with the task, and with it the other end.
        while ticks.recv().await.is_some() {}
    });
    assert_eq!(waits.load(Ordering::Relaxed), 1);
    assert_eq!(mina.expect("event")["data"], "tick");
}
