//! The application's own code around commands, over real sockets.

#![allow(clippy::unwrap_used)]

mod peer;

use std::sync::mpsc;

use peer::{Lines, until};
use roomcast::hook::{Connect, Publish};
use roomcast::{Builder, EventName, Heard, HubEvent, Name, Refusal, Server};
use serde_json::Value;

fn start(change: impl FnOnce(Builder) -> Builder) -> Server {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").workers(2);
    change(builder).start().unwrap()
}

fn member(server: &Server) -> Lines {
    let mut peer = Lines::connect(server);
    peer.hello();
    peer.join("lobby");
    peer
}

fn say(peer: &mut Lines, reference: u32, text: &str) {
    peer.send(&format!(
        r#"{{"type":"publish","ref":{reference},"room":"lobby","event":"chat","data":"{text}"}}"#
    ));
}

/// The answer to a command, whatever it is.
fn answer(peer: &mut Lines, reference: u32) -> Value {
    loop {
        let line = peer.next().unwrap();
        if line["ref"] == reference {
            return line;
        }
    }
}

fn no_swearing(said: &mut Publish) -> Result<(), Refusal> {
    match said.data.as_ref().is_some_and(|data| data.bytes().as_ref() == b"\"damn\"") {
        true => Err(Refusal::refused("no swearing")),
        false => Ok(()),
    }
}

/// Marks what went through it.
async fn mark(mut said: Publish, mark: &'static str) -> Result<Publish, Refusal> {
    said.event = EventName::text(&format!("{}{mark}", said.event)).unwrap();
    Ok(said)
}

/// The same, but not at once.
async fn mark_later(said: Publish, text: &'static str) -> Result<Publish, Refusal> {
    tokio::task::yield_now().await;
    mark(said, text).await
}

#[test]
fn hooks_are_asked_in_the_order_of_registration_whatever_their_kind() {
    let server = start(|builder| {
        builder
            .before_publish(no_swearing)
            .before_publish_async(|said| mark(said, "1"))
            .before_publish_async(|said| mark_later(said, "2"))
            .before_publish(|said| {
                said.event = EventName::text(&format!("{}3", said.event)).unwrap();
                Ok(())
            })
    });
    let (mut mina, mut zoe) = (member(&server), member(&server));
    say(&mut mina, 2, "hi");
    let heard = zoe.expect("event");
    assert_eq!((&heard["event"], &heard["data"]), (&"chat123".into(), &"hi".into()));
    say(&mut mina, 3, "damn");
    let refused = answer(&mut mina, 3);
    assert_eq!((&refused["code"], &refused["message"]), (&4034.into(), &"no swearing".into()));
}

/// Every second message takes a way over another thread.
#[test]
fn what_a_session_says_keeps_its_order_though_some_hooks_take_longer() {
    let server = start(|builder| {
        builder.before_publish_async(|said| async move {
            let text = String::from_utf8(said.data.as_ref().unwrap().bytes().to_vec()).unwrap();
            let number: u32 = text.trim_matches('"').parse().unwrap();
            if number.is_multiple_of(2) {
                for _ in 0..number % 7 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(said)
        })
    });
    let (mut mina, mut zoe) = (member(&server), member(&server));
    for number in 0..500 {
        say(&mut mina, number + 2, &number.to_string());
    }
    for number in 0..500 {
        let heard = zoe.expect("event");
        assert_eq!(heard["data"], number.to_string());
        assert_eq!(heard["at"]["offset"], number + 1);
        assert_eq!(answer(&mut mina, number + 2)["type"], "ok");
    }
}

#[test]
fn a_hook_that_panics_refuses_its_command_and_nothing_else() {
    let server = start(|builder| {
        builder
            .before_publish(|said| match said.event == EventName::Number(1) {
                true => panic!("on purpose"),
                false => Ok(()),
            })
            .before_publish_async(|said| async move {
                tokio::task::yield_now().await;
                assert!(said.event != EventName::Number(2), "on purpose");
                Ok(said)
            })
    });
    let mut mina = member(&server);
    for (event, kind) in [(1, "error"), (2, "error"), (3, "ok")] {
        mina.send(&format!(r#"{{"type":"publish","ref":{event},"room":"lobby","event":{event}}}"#));
        let answer = answer(&mut mina, event);
        assert_eq!(answer["type"], kind);
        if kind == "error" {
            assert_eq!(answer["reason"], "internal");
            assert!(!answer["message"].as_str().unwrap().contains("on purpose"));
        }
    }
}

#[test]
fn a_hook_that_never_ends_meets_its_deadline_and_holds_up_nobody_else() {
    let (dropped, gone) = mpsc::channel();
    let mut config = roomcast::Config { workers: 1, ..roomcast::Config::default() };
    config.limits.hook_ms = 50;
    config.listen = vec!["tcp://127.0.0.1:0".into()];
    let server = Server::builder()
        .config(config)
        .before_publish_async(move |said| {
            let dropped = dropped.clone();
            async move {
                if said.event == EventName::Number(1) {
                    let _held = Sends(dropped);
                    std::future::pending::<()>().await;
                }
                Ok(said)
            }
        })
        .start()
        .unwrap();
    let (mut mina, mut zoe) = (member(&server), member(&server));
    mina.send(r#"{"type":"publish","ref":2,"room":"lobby","event":1}"#);
    say(&mut mina, 3, "next");
    say(&mut zoe, 4, "meanwhile");
    assert_eq!(answer(&mut zoe, 4)["type"], "ok");
    let late = answer(&mut mina, 2);
    assert_eq!((&late["reason"], &late["retry"]), (&"hook_timeout".into(), &true.into()));
    assert_eq!(answer(&mut mina, 3)["type"], "ok");
    gone.recv_timeout(peer::PATIENCE).expect("the hook itself goes on for ever");
    until("it is counted", || server.handle().counters().hook_timeouts_total == 1);
}

/// Tells when it is dropped.
struct Sends(mpsc::Sender<()>);

impl Drop for Sends {
    fn drop(&mut self) {
        _ = self.0.send(());
    }
}

#[test]
fn a_server_that_stops_does_not_wait_for_its_hooks() {
    let (asked, is_asked) = mpsc::channel();
    let server = start(|builder| {
        builder.before_publish_async(move |said| {
            asked.send(()).unwrap();
            async move {
                std::future::pending::<()>().await;
                Ok(said)
            }
        })
    });
    let mut mina = member(&server);
    say(&mut mina, 2, "hi");
    is_asked.recv_timeout(peer::PATIENCE).unwrap();
    let stopping = std::thread::spawn(move || server.drain_and_stop());
    assert_eq!(mina.expect("goodbye")["reason"], "drain");
    drop(mina);
    stopping.join().unwrap();
}

#[test]
fn a_hook_lets_in_whom_the_server_does_not_know_and_leads_them() {
    let server = start(|builder| {
        builder
            .before_connect_async(|mut asked: Connect| async {
                tokio::task::yield_now().await;
                if asked.token.as_deref() == Some("sesame") {
                    asked.granted = true;
                    asked.identity.user = Name::new("ali").ok();
                }
                Ok(asked)
            })
            .before_create(|asked| {
                asked.options.members_max = 1;
                Ok(())
            })
            .before_join(|asked| {
                if asked.room == "any" {
                    asked.room = "table".to_owned();
                }
                Ok(())
            })
            .before_leave(|_| Err(Refusal::refused("stay")))
    });
    let mut ali = Lines::connect(&server);
    ali.send(r#"{"type":"hello","ref":1,"token":"wrong"}"#);
    assert_eq!(answer(&mut ali, 1)["reason"], "invalid_token");
    ali.send(r#"{"type":"hello","ref":2,"token":"sesame"}"#);
    assert_eq!(answer(&mut ali, 2)["user"], "ali");
    ali.send(r#"{"type":"create","ref":3,"room":"table","join":true}"#);
    assert_eq!(answer(&mut ali, 3)["type"], "joined");
    ali.send(r#"{"type":"leave","ref":4,"room":"table"}"#);
    assert_eq!(answer(&mut ali, 4)["message"], "stay");
    let mut baba = Lines::connect(&server);
    baba.send(r#"{"type":"join","ref":1,"room":"any"}"#);
    assert_eq!(answer(&mut baba, 1)["reason"], "room_full", "the table has one seat");
}

#[test]
fn what_happens_is_told_to_after_hooks_and_streams_and_a_slow_stream_knows_what_it_lost() {
    let (said, heard) = mpsc::channel();
    let server = start(|builder| {
        builder
            .events(8)
            .after_connect(|_| panic!("on purpose"))
            .after_publish(move |published| said.send(published.room.clone()).unwrap())
    });
    let mut quick = server.handle().events().unwrap();
    let mut slow = server.handle().events().unwrap();
    let mut mina = member(&server);
    for event in ["connected", "created", "joined"] {
        let Some(Heard::Event(told)) = quick.next_blocking() else { panic!("{event}") };
        let is_it = match &*told {
            HubEvent::Connected(_) => event == "connected",
            HubEvent::RoomCreated(made) => event == "created" && made.room == "lobby",
            HubEvent::MemberJoined(_) => event == "joined",
            _ => false,
        };
        assert!(is_it, "{event}: {told:?}");
    }
    for number in 2..22 {
        say(&mut mina, number, "hi");
        assert_eq!(answer(&mut mina, number)["type"], "ok");
        assert_eq!(heard.recv_timeout(peer::PATIENCE).unwrap(), "lobby");
    }
    let Some(Heard::Lost(lost)) = slow.next_blocking() else { panic!("nothing is lost") };
    assert_eq!(lost, 3 + 20 - 8);
    server.stop();
    let rest = std::iter::from_fn(|| slow.next_blocking()).count();
    assert!(rest >= 8, "{rest}");
}
