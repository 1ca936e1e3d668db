//! Looking at groups; static groups.

use roomcast::groups::{GroupNode, GroupSetup, Groups, InvalidGroupId, JoinError};
use roomcast::{Config, Server, SessionId};

use super::{CMD, HALL, TEAM, VER, join_all, server, team};
use crate::{client, run};

#[test]
fn groups_of_a_user_are_listed_in_the_order_of_joining() {
    let (server, groups) = server(GroupSetup::default());
    let (mut mina, mina_id) = client(&server);
    mina.join("lobby");
    assert_eq!(run(groups.group_ids(mina_id)).unwrap(), Vec::<String>::new());
    assert_eq!(run(groups.latest_group_id(mina_id)).unwrap(), None);
    let mut ids: Vec<_> = (0..4).map(|_| team(&groups, mina_id)).collect();
    assert_eq!(run(groups.group_ids(mina_id)).unwrap(), ids);
    let hall = run(groups.new_group(mina_id, HALL)).unwrap();
    run(groups.leave(&ids.remove(1), mina_id, VER, CMD, ())).unwrap();
    join_all(&groups, &hall, &[mina_id]);
    ids.push(hall);
    assert_eq!(run(groups.group_ids(mina_id)).unwrap(), ids);
    assert!(run(groups.group_ids(SessionId(1))).is_err());
}

#[test]
fn the_newest_group_is_the_one_made_or_joined_last() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let hall = run(groups.new_group(mina_id, HALL)).unwrap();
    let made = team(&groups, mina_id);
    assert_eq!(run(groups.latest_group_id(mina_id)).unwrap(), Some(made.clone()));
    join_all(&groups, &hall, &[mina_id]);
    assert_eq!(run(groups.latest_group_id(mina_id)).unwrap(), Some(hall.clone()));
    run(groups.leave(&hall, mina_id, VER, CMD, ())).unwrap();
    assert_eq!(run(groups.latest_group_id(mina_id)).unwrap(), Some(made));
}

#[test]
fn a_group_can_be_looked_at() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let (_tom, tom_id) = client(&server);
    let id = team(&groups, mina_id);
    join_all(&groups, &id, &[tom_id]);
    let found = run(groups.group(&id)).unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.ttl_s, found.allow_empty), (id.as_str(), 60, false));
    assert_eq!((found.creator, found.is_static), (Some(mina_id), false));
    let members: Vec<_> = found.members.iter().map(|member| member.sender.session).collect();
    assert_eq!((members, found.member_count), (vec![mina_id, tom_id], 2));
    assert_eq!(run(groups.group(&"a".repeat(52))), Ok(None));
}

#[test]
fn the_nodes_of_a_group_are_this_one() {
    let (server, groups) = server(GroupSetup::default());
    let (_mina, mina_id) = client(&server);
    let hall = run(groups.new_group(mina_id, HALL)).unwrap();
    assert_eq!(run(groups.member_nodes(&hall)).unwrap(), []);
    join_all(&groups, &hall, &[mina_id]);
    assert_eq!(run(groups.member_nodes(&hall)).unwrap(), [GroupNode::This]);
    assert_eq!(run(groups.group(&hall)).unwrap().unwrap().nodes, [GroupNode::This]);
    assert!(run(groups.member_nodes(&"a".repeat(52))).is_err());
}

/// A server with static groups of a configuration file.
fn configured(groups: &str) -> Result<Server, roomcast::StartError> {
    let text = format!("listen = [\"tcp://127.0.0.1:0\"]\nworkers = 1\n{groups}");
    let config = Config::from_toml(&text, "roomcast.toml").unwrap();
    Server::builder().config(config).groups(GroupSetup::default()).start()
}

#[test]
fn static_groups_come_from_the_configuration_and_stay() {
    let world = "w".repeat(52);
    let slow = "s".repeat(52);
    let server = configured(&format!(
        "[namespaces.groups.static.{world}]\nmerge_ms = 50\n\
         [namespaces.groups.static.{slow}]\nmerge_ms = 300\n"
    ));
    let server = server.unwrap();
    let groups = Groups::new(&server.handle());
    let (_mina, mina_id) = client(&server);
    for (id, interval_ms) in [(&world, 0), (&slow, 300)] {
        let found = run(groups.group(id)).unwrap().unwrap();
        assert_eq!((found.is_static, found.interval_ms, found.creator), (true, interval_ms, None));
        join_all(&groups, id, &[mina_id]);
        run(groups.leave(id, mina_id, VER, CMD, ())).unwrap();
        assert!(run(groups.group(id)).unwrap().is_some(), "it ended with its last member");
        let delete = server.handle().room(format!("groups/{id}")).delete();
        assert!(run(delete).is_err());
    }
    assert!(run(groups.new_group(mina_id, TEAM)).unwrap() != world);
}

#[test]
fn static_groups_can_be_given_by_code() {
    let id = "w".repeat(52);
    let setup = GroupSetup::default().static_group(&id, 99).unwrap();
    let (server, groups) = server(setup);
    let (_mina, mina_id) = client(&server);
    let found = run(groups.group(&id)).unwrap().unwrap();
    assert_eq!((found.is_static, found.interval_ms), (true, 0));
    join_all(&groups, &id, &[mina_id]);
    let again = run(groups.join(&id, mina_id, VER, CMD, ()));
    assert_eq!(again, Err(JoinError::AlreadyInGroup));
}

#[test]
fn the_id_of_a_static_group_has_exactly_52_characters() {
    for len in [0, 51, 53] {
        let id = "w".repeat(len);
        let refused = GroupSetup::default().static_group(&id, 0).unwrap_err();
        assert_eq!(refused, InvalidGroupId { id, len });
    }
    let refused = configured("[namespaces.groups.static.short]\nmerge_ms = 300\n").unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("namespaces.groups.static.short") && text.contains("52"), "{text}");
}
