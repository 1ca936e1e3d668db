//! Two and three nodes are one server.

use serde_json::json;

use roomcast_client::To;

use super::nats::Nats;
use super::stage::{Ear, Node, client, cluster, run, soon};

/// Rooms enough that every node is home to some.
const ROOMS: usize = 24;

#[test]
fn members_at_different_nodes_hear_one_order() {
    let nats = Nats::start();
    let nodes = cluster(&nats, 2);
    run(async {
        let (a, b) = (client(&nodes[0], "Ann").await, client(&nodes[1], "Bob").await);
        for number in 0..ROOMS {
            let name = format!("room-{number}");
            let ann = a.join(&name).await.unwrap();
            let of_ann = Ear::of(&ann);
            let bob = b.join(&name).await.unwrap();
            assert_eq!(bob.members_at_join(), 2, "{name}");
            let of_bob = Ear::of(&bob);
            of_ann.until_line("joined Bob").await;
            for step in 0..10 {
                let (one, two) = (json!(["a", step]), json!(["b", step]));
                let both = tokio::join!(ann.publish("chat", &one), bob.publish("chat", &two));
                both.0.unwrap();
                both.1.unwrap();
            }
            let whole =
                |lines: &[String]| lines.iter().filter(|l| l.starts_with("said")).count() == 20;
            of_ann.until("all 20", whole).await;
            of_bob.until("all 20", whole).await;
            assert_eq!(of_ann.said(), of_bob.said(), "{name}");
            let members = ann.members().await.unwrap();
            assert_eq!(members.members.len(), 2);
            assert_eq!(bob.presence().await.unwrap().members, 2);
            bob.leave().await.unwrap();
            of_ann.until_line("left Bob").await;
        }
    });
    let received = |node: &Node| node.metric("roomcast_cluster_words_received_total");
    assert!(nodes.iter().all(|node| received(node) > 0));
    let lost = |node: &Node| node.metric("roomcast_cluster_disturbed_total");
    assert_eq!(nodes.iter().map(lost).sum::<u64>(), 0);
}

#[test]
fn what_is_asked_of_one_node_is_answered_for_all() {
    let nats = Nats::start();
    let nodes = cluster(&nats, 3);
    run(async {
        let mut clients = Vec::new();
        for (node, name) in nodes.iter().zip(["Ann", "Bob", "Cid"]) {
            let client = client(node, name).await;
            let ear = Ear::of_client(&client);
            clients.push((client, ear));
        }
        for (number, (client, _)) in clients.iter().enumerate() {
            client.join(&format!("of-{number}")).await.unwrap();
        }
        for (client, _) in &clients {
            let rooms = soon("the list of rooms", client.rooms(None)).await.unwrap();
            let names: Vec<_> = rooms.rooms.iter().map(|room| room.room.to_string()).collect();
            assert_eq!(names, ["of-0", "of-1", "of-2"]);
        }
        // From each to each other.
        for (from, (sender, _)) in clients.iter().enumerate() {
            for (to, (receiver, ear)) in clients.iter().enumerate().filter(|(to, _)| *to != from) {
                let word = format!("{from}-{to}");
                let to = To::Session(receiver.session());
                soon("a message", sender.send(to, "hello", &word)).await.unwrap();
                ear.until_line(&format!("hello \"{word}\"")).await;
            }
        }
    });
}

#[test]
fn every_metric_of_a_cluster_is_documented() {
    let nats = Nats::start();
    let node = Node::start(&nats);
    let documented = include_str!("../../../../docs/metrics.md");
    let (_, text) = node.get("/metrics");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE roomcast_cluster_"));
    let mut count = 0;
    for line in types {
        let (name, kind) = line.split_once(' ').unwrap();
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert!(documented.contains(&format!("`roomcast_cluster_{name}{suffix}`")), "{name}");
        count += 1;
    }
    let rows = documented.lines().filter(|line| line.starts_with("| `roomcast_cluster_")).count();
    assert_eq!(rows, count);
}
