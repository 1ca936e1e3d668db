//! Rooms in the form of tasks: what a task hears, what it does, and what becomes of a bad one.

#![allow(clippy::unwrap_used)]

mod peer;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use peer::Lines;
use roomcast::testing::{self, Client};
use roomcast::{Builder, Config, RoomEvent, RoomOptions, RoomTask, Server};

/// Relays, greets, and speaks up when nothing happened for three seconds.
async fn host(mut room: RoomTask) {
    let patience = Duration::from_secs(3);
    loop {
        let event = match tokio::time::timeout(patience, room.next()).await {
            Ok(None) => return,
            Ok(Some(event)) => event,
            Err(_) => {
                room.publish("anybody", ()).await.unwrap();
                continue;
            }
        };
        match event {
            RoomEvent::Joined(member) => {
                room.tell(&[member.sender.session], "welcome", room.name()).await.unwrap();
            }
            RoomEvent::Message(said) if said.name() == Some("done") => return,
            RoomEvent::Message(said) if said.name() == Some("break") => panic!("as it was told"),
            RoomEvent::Message(said) => {
                room.publish_from(&said.from, &said.event, said.payload).await.unwrap();
            }
            RoomEvent::Left(member, reason) => {
                let name = member.sender.name.as_deref();
                room.publish("gone", &(name, reason.as_str())).await.unwrap();
            }
            RoomEvent::Tick(number) => {
                room.publish("tick", &number).await.unwrap();
            }
            RoomEvent::Dropped(_) | RoomEvent::Resumed(_) | RoomEvent::Closing(_) => {}
        }
    }
}

fn options() -> RoomOptions {
    RoomOptions { logic: Some("task".into()), ..RoomOptions::default() }
}

fn start(builder: Builder, options: RoomOptions) -> testing::Server {
    let server = testing::Server::start(builder).unwrap();
    server.run(server.handle().room("hall").create(options)).unwrap();
    server
}

fn member(server: &testing::Server, name: &str) -> Client {
    let mut client = server.client(name);
    client.join("hall");
    client
}

#[test]
fn a_task_hears_and_answers() {
    let server = start(Server::builder().room_task("task", host), options());
    let mut anna = member(&server, "Anna");
    assert_eq!(anna.expect_event("welcome")["data"], "hall");
    let mut ben = member(&server, "Ben");
    // Published to the task, not into the room: the reply has no position.
    assert!(anna.publish("hall", "chat", "hi").get("position").is_none());
    let heard = ben.expect_event("chat");
    assert_eq!((&heard["data"], &heard["from"]["name"]), (&"hi".into(), &"Anna".into()));
    ben.leave("hall");
    assert_eq!(anna.expect_event("gone")["data"][0], "Ben");
    anna.take_heard();
    server.advance(Duration::from_millis(2_990));
    anna.expect_nothing();
    server.advance(Duration::from_millis(20));
    anna.expect_event("anybody");
    anna.expect_nothing();
}

#[test]
fn ticks_reach_the_task_and_do_not_pile_up() {
    let ticking = RoomOptions { tick_ms: 100, ..options() };
    let server = start(Server::builder().room_task("task", host), ticking.clone());
    let mut anna = member(&server, "Anna");
    server.advance(Duration::from_secs(1));
    let ticks = anna.take_heard().into_iter().filter(|one| one["event"] == "tick").count();
    assert!((9..=10).contains(&ticks), "{ticks}");
    // A task that sleeps finds one tick, the first that came meanwhile.
    let sleeper = |mut room: RoomTask| async move {
        while let Some(event) = room.next().await {
            if let RoomEvent::Tick(number) = event {
                room.publish("tick", &number).await.unwrap();
                tokio::time::sleep(Duration::from_millis(950)).await;
            }
        }
    };
    let server = start(Server::builder().room_task("task", sleeper), ticking);
    let mut anna = member(&server, "Anna");
    server.advance(Duration::from_secs(2));
    let ticks: Vec<_> =
        anna.take_heard().into_iter().filter(|one| one["event"] == "tick").collect();
    let numbers: Vec<_> = ticks.iter().map(|one| one["data"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 11]);
}

#[test]
fn a_task_that_ends_closes_its_room_and_nothing_else() {
    for (word, reason) in [("done", "ended"), ("break", "failed")] {
        let server = start(Server::builder().room_task("task", host), options());
        let mut anna = member(&server, "Anna");
        anna.join("other");
        anna.publish("hall", word, ());
        assert_eq!(anna.expect("room_closed")["reason"], reason);
        anna.publish("other", "chat", ());
    }
}

/// Tells the test what it hears; stays when the room has ended.
fn witness(told: Sender<String>) -> impl Fn(RoomTask) -> Witness + Send + Sync {
    move |mut room: RoomTask| {
        let told = Told(told.clone());
        Box::pin(async move {
            let told = told;
            while let Some(event) = room.next().await {
                if let RoomEvent::Closing(reason) = event {
                    told.0.send(format!("closing: {reason:?}")).unwrap();
                }
            }
            told.0.send("the end".into()).unwrap();
            std::future::pending::<()>().await;
        })
    }
}

type Witness = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Says when the task is dropped.
struct Told(Sender<String>);

impl Drop for Told {
    fn drop(&mut self) {
        _ = self.0.send("dropped".into());
    }
}

fn all(told: &Receiver<String>) -> Vec<String> {
    told.try_iter().collect()
}

#[test]
fn a_task_hears_of_the_end_and_is_dropped_some_time_after_it() {
    let (sender, told) = channel();
    let server = start(Server::builder().room_task("task", witness(sender)), options());
    server.run(server.handle().room("hall").delete()).unwrap();
    assert_eq!(all(&told), ["closing: Deleted", "the end"]);
    server.advance(Duration::from_millis(4_900));
    assert_eq!(all(&told), Vec::<String>::new());
    server.advance(Duration::from_millis(200));
    assert_eq!(all(&told), ["dropped"]);
}

#[test]
fn a_task_that_does_not_keep_up_is_bounded() {
    let mut config = Config::default();
    config.limits.commands_per_s = 0;
    let asleep = Arc::new(|room: RoomTask| async move {
        std::future::pending::<()>().await;
        drop(room);
    });
    let builder = Server::builder().config(config).room_task("task", move |room| asleep(room));
    let server = start(builder, options());
    let mut anna = member(&server, "Anna");
    let refused = (0..2_000).find_map(|n| anna.try_publish("hall", "chat", n).err()).unwrap();
    assert_eq!(refused.reason(), "rate_limited");
    assert_eq!(refused.reply["retry_ms"], 500);
    assert_eq!(server.client("Ben").try_join("hall").unwrap_err().reason(), "rate_limited");
    // What cannot be refused still has room, but not for ever.
    let mut times = 0;
    while server.take_faults().is_empty() {
        times += 1;
        assert!(times < 1_000, "it piles up");
        anna.resume().unwrap();
        anna.try_join("hall").ok();
    }
    assert!(times > 300, "{times}");
}

#[test]
fn a_task_runs_in_a_server_on_sockets() {
    let server = Server::builder()
        .listen("tcp://127.0.0.1:0")
        .workers(2)
        .room_task("task", host)
        .start()
        .unwrap();
    let hall = server.handle().room("hall");
    hall.create(options()).wait().unwrap();
    let mut peer = Lines::connect(&server);
    peer.join("hall");
    assert_eq!(peer.expect("event")["event"], "welcome");
    peer.send(r#"{"type":"publish","ref":5,"room":"hall","event":"chat","data":"hi"}"#);
    assert_eq!(peer.expect("event")["data"], "hi");
    peer.send(r#"{"type":"publish","ref":6,"room":"hall","event":"done"}"#);
    assert_eq!(peer.expect("room_closed")["reason"], "ended");
}

#[test]
fn a_task_that_outlives_its_room_does_not_speak_in_the_next_one_of_the_name() {
    let (told, hears) = channel();
    let (go, wait) = tokio::sync::watch::channel(false);
    let late = move |mut room: RoomTask| {
        let (told, mut wait) = (told.clone(), wait.clone());
        async move {
            while room.next().await.is_some() {}
            wait.wait_for(|go| *go).await.unwrap();
            let session = roomcast::SessionId(1);
            told.send(room.publish("ghost", ()).await.unwrap_err()).unwrap();
            told.send(room.join(session, ()).await.unwrap_err()).unwrap();
            told.send(room.delete().await.unwrap_err()).unwrap();
        }
    };
    let server = start(Server::builder().room_task("task", late), options());
    let hall = server.handle().room("hall");
    server.run(hall.delete()).unwrap();
    server.run(hall.create(RoomOptions::default())).unwrap();
    let mut anna = member(&server, "Anna");
    go.send(true).unwrap();
    server.advance(Duration::from_millis(10));
    let refused: Vec<_> = hears.try_iter().collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    for error in refused {
        assert!(matches!(error, roomcast::CallError::Absent(_)), "{error}");
    }
    anna.expect_nothing();
    assert_eq!(server.run(hall.state()).unwrap().position.offset, 0);
}
