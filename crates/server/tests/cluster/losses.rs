//! What becomes of rooms, members and clients when a node or NATS is lost.

use std::time::{Duration, Instant};

use roomcast_client::{Error, Room};
use rustix::process::Signal;
use serde_json::json;

use super::nats::Nats;
use super::stage::{Ear, LEASE, PATIENCE, client, cluster, roaming, run, settled, until};

/// Rooms enough that every node is home to some.
const ROOMS: usize = 12;

/// Publishes one thing after the other until the other hears it: it may get its seat back later,
/// and is told that something is missing then.
async fn meet(room: &Room, ear: &Ear) {
    for number in 0.. {
        let word = json!(["meet", number]);
        publish(room, &word).await;
        let line = word.to_string();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            if ear.said().contains(&line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(number < 100, "{}: {:?}", room.name(), ear.lines());
    }
}

/// Publishes until it is taken; what it is refused with in between must be retriable.
async fn publish(room: &Room, word: &serde_json::Value) {
    let start = Instant::now();
    loop {
        match room.publish("chat", word).await {
            Ok(_) => return,
            Err(error) => {
                let passing = match &error {
                    // After the loss of its node a client takes its seats again by itself.
                    Error::Refused(refused) => refused.retry || refused.code == 4030,
                    Error::Disconnected { .. } | Error::Timeout(_) => true,
                    _ => false,
                };
                assert!(passing && start.elapsed() < PATIENCE, "{}: {error}", room.name());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn rooms_of_a_killed_node_go_on_elsewhere_within_its_lease_and_a_second() {
    let nats = Nats::start();
    let mut nodes = cluster(&nats, 3);
    run(async {
        let ann = client(&nodes[0], "Ann").await;
        let bob = client(&nodes[1], "Bob").await;
        let cid = client(&nodes[2], "Cid").await;
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            let name = format!("room-{number}");
            let (a, b) = (ann.join(&name).await.unwrap(), bob.join(&name).await.unwrap());
            cid.join(&name).await.unwrap();
            let (of_a, of_b) = (Ear::of(&a), Ear::of(&b));
            rooms.push((a, of_a, b, of_b));
        }
        nodes[2].kill();
        let killed = Instant::now();
        for (a, _, b, _) in &rooms {
            publish(a, &json!("a")).await;
            publish(b, &json!("b")).await;
        }
        let took = killed.elapsed();
        assert!(took < LEASE + Duration::from_millis(1_500), "took {took:?}");
        for (a, of_a, _, of_b) in &rooms {
            meet(a, of_b).await;
            of_a.until("Cid has gone", |lines| {
                lines.iter().any(|line| line == "left Cid" || line.starts_with("lost"))
            })
            .await;
            let members = a.members().await.unwrap();
            assert_eq!(members.members.len(), 2, "no ghost in {}", a.name());
        }
    });
    nodes.pop();
    settled(&nodes);
}

#[test]
fn a_client_of_a_killed_node_goes_on_at_another_and_is_told_what_it_has() {
    let nats = Nats::start();
    let mut nodes = cluster(&nats, 3);
    run(async {
        let ann = client(&nodes[0], "Ann").await;
        let bob = roaming(&[&nodes[2], &nodes[1]], "Bob").await;
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            let name = format!("room-{number}");
            let (a, b) = (ann.join(&name).await.unwrap(), bob.join(&name).await.unwrap());
            let of_b = Ear::of(&b);
            publish(&a, &json!("before")).await;
            of_b.until_line("said \"before\"").await;
            rooms.push((a, b, of_b));
        }
        nodes[2].kill();
        for (a, b, of_b) in &rooms {
            publish(a, &json!("after")).await;
            publish(b, &json!("back")).await;
            of_b.until_line("said \"back\"").await;
            // All of it, once and in order, or it says that something is missing.
            let lines = of_b.lines();
            let said: Vec<_> = lines.iter().filter(|line| line.starts_with("said")).collect();
            let told = lines.iter().any(|line| line.starts_with("lost"));
            let whole = said == ["said \"before\"", "said \"after\"", "said \"back\""];
            assert!(whole || told, "{}: {lines:?}", b.name());
            let mut once = said.clone();
            once.dedup();
            assert_eq!(once, said, "{}", b.name());
        }
    });
}

#[test]
fn without_nats_rooms_refuse_until_it_is_back_and_links_stay() {
    let mut nats = Nats::start();
    let nodes = cluster(&nats, 2);
    run(async {
        let (ann, bob) = (client(&nodes[0], "Ann").await, client(&nodes[1], "Bob").await);
        let (of_client, mut rooms) = (Ear::of_client(&ann), Vec::new());
        for number in 0..ROOMS {
            let name = format!("room-{number}");
            let (a, b) = (ann.join(&name).await.unwrap(), bob.join(&name).await.unwrap());
            let of_b = Ear::of(&b);
            rooms.push((a, b, of_b));
        }
        nats.kill();
        let lost = Instant::now();
        until("readiness fails", || nodes.iter().all(|node| node.get("/health/ready").0 == 503));
        assert!(lost.elapsed() < LEASE + Duration::from_millis(500), "{:?}", lost.elapsed());
        let (_, why) = nodes[0].get("/health/ready");
        assert!(why.contains("lease") && why.contains(&nats.url()), "{why}");
        // Each waits a moment for its home to be there again.
        for (a, _, _) in rooms.iter().take(2) {
            let refused = a.publish("chat", &json!("lost")).await;
            let Err(Error::Refused(refused)) = refused else { panic!("{refused:?}") };
            assert!(refused.retry, "{refused}");
        }
        nats.run();
        for (number, (a, _, of_b)) in rooms.iter().enumerate() {
            meet(a, of_b).await;
            publish(a, &json!(number)).await;
            of_b.until_line(&format!("said {number}")).await;
            assert!(!of_b.said().contains(&"\"lost\"".to_owned()));
        }
        until("all are ready", || nodes.iter().all(|node| node.get("/health/ready").0 == 200));
        assert_eq!(of_client.lines(), [""; 0], "the link was never lost");
    });
}

#[test]
fn a_node_that_is_paused_longer_than_its_lease_comes_back_as_a_stranger() {
    let nats = Nats::start();
    let nodes = cluster(&nats, 2);
    run(async {
        let (ann, bob) = (client(&nodes[0], "Ann").await, client(&nodes[1], "Bob").await);
        let mut rooms = Vec::new();
        for number in 0..ROOMS {
            let name = format!("room-{number}");
            let (a, b) = (ann.join(&name).await.unwrap(), bob.join(&name).await.unwrap());
            let (of_a, of_b) = (Ear::of(&a), Ear::of(&b));
            rooms.push((a, of_a, b, of_b));
        }
        nodes[1].signal(Signal::STOP);
        until("its homes are taken", || nodes[0].metric("roomcast_cluster_homes") == 256);
        for (a, of_a, _, _) in &rooms {
            publish(a, &json!("meanwhile")).await;
            of_a.until_line("said \"meanwhile\"").await;
        }
        nodes[1].signal(Signal::CONT);
        for (number, (a, _, b, of_b)) in rooms.iter().enumerate() {
            publish(b, &json!(["b", number])).await;
            meet(a, of_b).await;
            let lines = of_b.lines();
            let told = lines.iter().any(|line| line.starts_with("lost") || line == "recovered");
            let whole = of_b.said().contains(&"\"meanwhile\"".to_owned());
            assert!(told || whole, "{}: {lines:?}", b.name());
        }
    });
}

#[test]
fn a_node_that_stops_in_good_order_hands_over_at_once() {
    let nats = Nats::start();
    let mut nodes = cluster(&nats, 2);
    let mut leaving = nodes.pop().unwrap();
    leaving.signal(Signal::TERM);
    assert!(leaving.wait().success());
    let took = until("its homes are taken", || nodes[0].metric("roomcast_cluster_homes") == 256);
    assert!(took < Duration::from_secs(1), "took {took:?}");
    assert_eq!(nodes[0].metric("roomcast_cluster_nodes"), 1);
}
