//! How groups come and go, and who is in them.

use std::time::Duration;

use roomcast::groups::{GroupSetup, Groups, JoinError, LeaveError, NewGroup, NewGroupError};
use roomcast::{Payload, Server, SessionId, testing};
use serde_json::json;

use super::{CMD, EVENT, HALL, TEAM, VER, join_all, server, team};
use crate::peer::{Lines, Ws, address, get, until};
use crate::{client, run};

#[test]
fn a_new_group_has_an_id_of_52_characters() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let ids: Vec<_> = (0..4).map(|_| team(&groups, mina_id)).collect();
    for id in &ids {
        assert!(id.len() == 52 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_eq!(ids.iter().filter(|other| *other == id).count(), 1);
    }
}

#[test]
fn the_join_flag_puts_the_maker_in() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let team = team(&groups, mina_id);
    assert_eq!(mina.expect("joined")["room"], format!("groups/{team}"));
    let hall = run(groups.new_group(mina_id, HALL)).unwrap();
    assert_eq!(mina.heard(), Vec::<serde_json::Value>::new());
    let found = run(groups.group(&hall)).unwrap().unwrap();
    assert_eq!((found.creator, found.member_count), (Some(mina_id), 0));
}

#[test]
fn a_time_to_live_is_more_than_ten_seconds() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    for ttl_s in [0, 9, 10, 86_401, u64::MAX] {
        let refused = run(groups.new_group(mina_id, NewGroup { ttl_s, ..HALL })).unwrap_err();
        assert_eq!(refused, NewGroupError::InvalidTtl { ttl_s });
        assert!(refused.to_string().starts_with("Invalid TTL"), "{refused}");
    }
    let id = run(groups.new_group(mina_id, NewGroup { ttl_s: 11, ..HALL })).unwrap();
    assert_eq!(run(groups.group(&id)).unwrap().unwrap().ttl_s, 11);
}

#[test]
fn a_group_that_may_not_be_empty_needs_its_maker() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let wish = NewGroup { join: false, ..TEAM };
    assert_eq!(run(groups.new_group(mina_id, wish)), Err(NewGroupError::WouldBeEmpty));
    assert_eq!(run(groups.new_group(SessionId(1), TEAM)), Err(NewGroupError::NoSuchUser));
    let id = team(&groups, mina_id);
    run(groups.leave(&id, mina_id, VER, CMD, ())).unwrap();
    assert_eq!(run(groups.group(&id)), Ok(None));
}

#[test]
fn a_group_that_may_be_empty_outlives_its_members() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let id = run(groups.new_group(mina_id, HALL)).unwrap();
    join_all(&groups, &id, &[mina_id]);
    run(groups.leave(&id, mina_id, VER, CMD, ())).unwrap();
    let found = run(groups.group(&id)).unwrap().unwrap();
    assert!(found.allow_empty && found.member_count == 0);
    join_all(&groups, &id, &[mina_id]);
}

#[test]
fn intervals_below_100_ms_are_none() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    for (asked, holds) in [(0, 0), (1, 0), (99, 0), (100, 100), (250, 250)] {
        let wish = NewGroup { interval_ms: asked, ..HALL };
        let id = run(groups.new_group(mina_id, wish)).unwrap();
        assert_eq!(run(groups.group(&id)).unwrap().unwrap().interval_ms, holds, "{asked}");
    }
    let wish = NewGroup { interval_ms: 10_001, ..HALL };
    assert!(matches!(run(groups.new_group(mina_id, wish)), Err(NewGroupError::Refused(_))));
}

#[test]
fn there_are_no_new_groups_on_a_server_that_goes_offline() {
    let (server, groups) = server(GroupSetup::default());
    let ws = address(&server, "ws");
    // It says no goodbye, so that the server is offline for a while.
    let mut stays = Ws::connect(&server);
    let maker = crate::session(&stays.hello());
    stays.join("lobby");
    let drain = std::thread::spawn(move || server.drain_and_stop());
    until("the server is offline", || get(ws, "/health/ready").0 == 503);
    assert_eq!(stays.expect("goodbye")["code"], 4802);
    assert_eq!(run(groups.new_group(maker, HALL)), Err(NewGroupError::Offline));
    drop(stays);
    drain.join().unwrap();
    assert_eq!(run(groups.new_group(maker, HALL)), Err(NewGroupError::Offline));
    assert_eq!(run(groups.join("any", maker, VER, CMD, ())), Err(JoinError::Unreachable));
    assert_eq!(run(groups.leave("any", maker, VER, CMD, ())), Err(LeaveError::Unreachable));
}

#[test]
fn the_others_hear_who_joins_and_leaves() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (mut tom, tom_id) = client(&server);
    let id = team(&groups, mina_id);
    mina.expect("joined");
    run(groups.join(&id, tom_id, VER, CMD, "tom is here")).unwrap();
    let came = mina.expect("event");
    assert_eq!((&came["event"], &came["data"]), (&json!(EVENT), &json!("tom is here")));
    assert_eq!(came["room"], format!("groups/{id}"));
    assert_eq!(came["from"]["session"], tom_id.to_string());
    run(groups.leave(&id, tom_id, VER, 11, json!({ "text": "bye" }))).unwrap();
    let went = mina.expect("event");
    assert_eq!((&went["event"], &went["data"]), (&json!(EVENT + 1), &json!({ "text": "bye" })));
    assert_eq!(went["from"]["session"], tom_id.to_string());
    // Who comes and goes hears nothing of it.
    let heard = tom.heard();
    let kinds: Vec<_> = heard.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["joined", "room_closed"]);
}

#[test]
fn bytes_are_a_message_too() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (_tom, tom_id) = client(&server);
    let id = team(&groups, mina_id);
    run(groups.join(&id, tom_id, VER, CMD, Payload::bin(&[0, 255]))).unwrap();
    assert_eq!(mina.expect("event")["data"], "AP8=");
    run(groups.announce(&id, VER, CMD, Payload::bin(&[1]), true)).unwrap();
    assert_eq!(mina.expect("event")["data"], "AQ==");
}

#[test]
fn an_empty_message_is_no_notice() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (_tom, tom_id) = client(&server);
    let id = team(&groups, mina_id);
    mina.expect("joined");
    run(groups.join(&id, tom_id, VER, CMD, "")).unwrap();
    run(groups.leave(&id, tom_id, VER, CMD, Payload::bin(&[]))).unwrap();
    run(groups.join(&id, tom_id, VER, CMD, ())).unwrap();
    run(groups.announce(&id, VER, CMD, "after", true)).unwrap();
    assert_eq!(mina.next().unwrap()["data"], "after");
}

#[test]
fn a_join_that_cannot_be_says_why() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let id = team(&groups, mina_id);
    mina.expect("joined");
    let join = |id: &str, session| run(groups.join(id, session, VER, CMD, "hi"));
    assert_eq!(join(&id, mina_id), Err(JoinError::AlreadyInGroup));
    let gone = "a".repeat(52);
    assert_eq!(join(&gone, mina_id), Err(JoinError::NoSuchGroup));
    assert!(JoinError::NoSuchGroup.to_string().starts_with("Failed to add a member"));
    assert_eq!(join(&id, SessionId(1)), Err(JoinError::NoSuchUser));
    assert_eq!(
        join(&"x".repeat(300), mina_id).map_err(|error| error.to_string().len() > 9),
        Err(true)
    );
}

#[test]
fn a_leave_that_cannot_be_says_why() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let (_tom, tom_id) = client(&server);
    let id = team(&groups, mina_id);
    let leave = |id: &str, session| run(groups.leave(id, session, VER, CMD, "bye"));
    assert_eq!(leave(&id, tom_id), Err(LeaveError::NotAMember));
    assert_eq!(leave(&"a".repeat(52), tom_id), Err(LeaveError::NoSuchGroup));
    assert_eq!(leave(&id, SessionId(1)), Err(LeaveError::NoSuchUser));
}

#[test]
fn a_user_is_in_as_many_groups_as_the_limit_says() {
    let mut config =
        roomcast::Config { listen: vec!["tcp://127.0.0.1:0".into()], ..Default::default() };
    config.limits.rooms_per_session = 3;
    config.limits.rooms = 4;
    let builder = Server::builder().config(config).workers(1).groups(GroupSetup::default());
    let server = builder.start().unwrap();
    let groups = Groups::new(&server.handle());
    let (_mina, mina_id) = client(&server);
    for _ in 0..3 {
        team(&groups, mina_id);
    }
    let fourth = run(groups.new_group(mina_id, TEAM)).unwrap_err();
    assert!(matches!(fourth, NewGroupError::TooManyGroupsOfUser(_)), "{fourth:?}");
    let hall = run(groups.new_group(mina_id, HALL)).unwrap();
    let joined = run(groups.join(&hall, mina_id, VER, CMD, ())).unwrap_err();
    assert!(matches!(joined, JoinError::TooManyGroupsOfUser(_)), "{joined:?}");
    let fifth = run(groups.new_group(mina_id, HALL)).unwrap_err();
    assert!(matches!(fifth, NewGroupError::TooManyGroups(_)), "{fifth:?}");
}

#[test]
fn who_disconnects_is_in_no_group() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (_tom, tom_id) = client(&server);
    let ids = [team(&groups, mina_id), team(&groups, mina_id)];
    for id in &ids {
        join_all(&groups, id, &[tom_id]);
    }
    mina.send(r#"{"type":"bye"}"#);
    assert_eq!(mina.expect("goodbye")["code"], 1000);
    for id in &ids {
        let count = || run(groups.group(id)).unwrap().unwrap().member_count;
        until("the seat is given up", || count() == 1);
    }
    assert!(run(groups.group_ids(mina_id)).is_err());
}

#[test]
fn members_speak_different_protocols() {
    let (server, groups) = server(GroupSetup::default());
    let (mut tcp, tcp_id) = client(&server);
    let mut ws = Ws::connect(&server);
    let ws_id = crate::session(&ws.hello());
    let id = team(&groups, tcp_id);
    join_all(&groups, &id, &[ws_id]);
    run(groups.announce(&id, VER, CMD, json!([1]), true)).unwrap();
    assert_eq!(tcp.expect("event")["data"], json!([1]));
    assert_eq!(ws.expect("event")["data"], json!([1]));
}

#[test]
fn a_random_join_makes_a_group_if_there_is_none() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    let (_tom, tom_id) = client(&server);
    let random = |session, message| run(groups.join_random(session, TEAM, VER, CMD, message));
    let (made, is_new) = random(mina_id, "first").unwrap();
    assert!(is_new);
    assert_eq!(random(tom_id, "second"), Ok((made.clone(), false)));
    assert_eq!(mina.expect("event")["data"], "second");
    // Who is in every group there is gets one of its own.
    let (other, is_new) = random(tom_id, "third").unwrap();
    assert!(is_new && other != made);
    assert_eq!(random(SessionId(1), ""), Err(NewGroupError::NoSuchUser));
}

/// A session that said no `hello` cannot be resumed; it may be in groups all the same.
#[test]
fn a_client_without_hello_has_groups_too() {
    let (server, groups) = server(GroupSetup::default().expose_commands(true));
    let mut nc = Lines::connect(&server);
    nc.send(r#"{"type":"create","ref":1,"room":"groups/nc","join":true}"#);
    nc.expect("joined");
    let found = run(groups.group("nc")).unwrap().unwrap();
    let ids = run(groups.group_ids(found.creator.unwrap())).unwrap();
    assert_eq!(ids, ["nc"]);
}

#[test]
fn a_group_that_was_empty_for_its_time_has_ended() {
    let builder = Server::builder().groups(GroupSetup::default());
    let server = testing::Server::start(builder).unwrap();
    let groups = Groups::new(&server.handle());
    let client = server.client("Mina");
    let mina = client.session();
    let wish = NewGroup { ttl_s: 11, ..HALL };
    let id = server.run(groups.new_group(mina, wish)).unwrap();
    let is_there = || server.run(groups.group(&id)).unwrap().is_some();
    // The time counts while nobody is in it, and anew each time.
    server.advance(Duration::from_secs(10));
    server.run(groups.join(&id, mina, VER, CMD, ())).unwrap();
    server.advance(Duration::from_secs(100));
    server.run(groups.leave(&id, mina, VER, CMD, ())).unwrap();
    server.advance(Duration::from_secs(10));
    assert!(is_there());
    server.advance(Duration::from_secs(1));
    assert!(!is_there());
}

#[test]
fn a_group_has_many_members_and_a_bound() {
    let mut config = roomcast::Config::default();
    config.rooms.members_max = 300;
    let builder = Server::builder().config(config).groups(GroupSetup::default());
    let server = testing::Server::start(builder).unwrap();
    let groups = Groups::new(&server.handle());
    let clients: Vec<_> = (0..301).map(|n| server.client(&format!("c{n}"))).collect();
    let id = server.run(groups.new_group(clients[0].session(), HALL)).unwrap();
    let join = |at: usize| server.run(groups.join(&id, clients[at].session(), VER, CMD, ()));
    assert!((0..300).all(|at| join(at) == Ok(())));
    let refused = join(300).unwrap_err();
    assert!(matches!(&refused, JoinError::Refused(_)), "{refused:?}");
    assert!(refused.to_string().contains("members_max"), "{refused}");
    assert_eq!(server.run(groups.group(&id)).unwrap().unwrap().member_count, 300);
}
