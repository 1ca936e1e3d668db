//! The server on a virtual clock: what it promises to those who test with it.

#![allow(clippy::unwrap_used)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use roomcast::hook::Publish;
use roomcast::{LogicEvent, MemberInfo, Refusal, Relay, RoomCtx, RoomLogic, RoomOptions, testing};
use serde_json::json;

/// Draws, counts, looks things up, and breaks when it is told to.
struct Oracle;

impl RoomLogic for Oracle {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, _: &MemberInfo) -> Result<(), Refusal> {
        let drawn = ctx.random_u64() % 1_000;
        ctx.publish("drawn", &drawn);
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        match event.name() {
            Some("break") => panic!("as it was told"),
            Some("look up") => {
                let looked_up = async {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    42_u32
                };
                assert!(ctx.call(1, looked_up));
            }
            _ => {}
        }
        Ok(Relay::AsIs)
    }

    fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, tick: u64) {
        ctx.publish_unreliable("tick", &tick);
    }

    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, _: u64, answer: Box<dyn Any + Send>) {
        let answer = *answer.downcast::<u32>().unwrap();
        ctx.publish("found", json!({ "answer": answer, "at": ctx.now().0 }));
    }
}

fn server(seed: u64) -> testing::Server {
    let builder = roomcast::Server::builder().logic("oracle", |_| Oracle);
    let server = testing::Server::start_with_seed(builder, seed).unwrap();
    let options = RoomOptions { logic: Some("oracle".into()), ..RoomOptions::default() };
    assert!(server.run(server.handle().room("hall").create_permanent(options)).unwrap());
    server
}

fn said_by(panic: Box<dyn Any + Send>) -> String {
    *panic.downcast::<String>().unwrap()
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let server = server(seed);
        let mut anna = server.client("Anna");
        anna.join("hall");
        server.client("Ben").join("hall");
        (anna.session(), anna.expect_event("drawn")["data"].clone(), anna.take_heard())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn ticks_and_calls_come_at_their_time() {
    let server = server(0);
    let mut anna = server.client("Anna");
    anna.join("hall");
    anna.publish("hall", "look up", ());
    server.advance(Duration::from_millis(2_999));
    anna.expect_event("look up");
    anna.expect_nothing();
    server.advance(Duration::from_millis(2));
    let found = anna.expect_event("found");
    assert_eq!(found["data"]["answer"], 42);
    let at = found["data"]["at"].as_u64().unwrap();
    assert!((3_000..=3_001).contains(&at), "{at}");
    assert_eq!(server.now(), Duration::from_millis(3_001));
}

#[test]
fn a_lost_client_is_missed_and_comes_back() {
    let server = server(0);
    let (mut anna, mut ben) = (server.client("Anna"), server.client("Ben"));
    anna.join("hall");
    ben.join("hall");
    ben.cut();
    assert!(!ben.is_connected());
    assert_eq!(anna.expect("member_dropped")["from"]["name"], "Ben");
    // Its shard may be another than the one it connects to now.
    ben.resume().unwrap();
    anna.expect("member_resumed");
    ben.join("hall");
    ben.publish("hall", "chat", "back");
    assert_eq!(anna.expect_event("chat")["data"], "back");
    ben.cut();
    server.advance(Duration::from_secs(61));
    assert_eq!(anna.expect("member_left")["reason"], "lost");
    assert_eq!(ben.resume().unwrap_err().reason(), "cannot_resume");
}

#[test]
fn a_broken_logic_closes_its_room_and_is_told() {
    let server = server(0);
    let mut anna = server.client("Anna");
    anna.join("hall");
    anna.join("other");
    let denied = anna.try_publish("hall", "break", ()).unwrap_err();
    assert_eq!(denied.who, "Anna");
    assert_eq!(anna.expect("room_closed")["reason"], "failed");
    let faults = server.take_faults();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("hall (oracle): ") && faults[0].contains("as it was told"));
    anna.publish("other", "chat", "still here");
}

#[test]
fn hooks_and_handles_work_as_in_a_running_server() {
    let builder = roomcast::Server::builder()
        .before_publish_async(|said: Publish| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(said)
        })
        .before_publish(|said: &mut Publish| match said.event.as_text() {
            Some("rude") => Err(Refusal::refused("not here")),
            _ => Ok(()),
        });
    let server = testing::Server::start(builder).unwrap();
    let mut anna = server.client("Anna");
    anna.join("lobby");
    // The hook thinks: no reply comes before its time.
    let say = |event: &str| json!({ "type": "publish", "room": "lobby", "event": event });
    let reference = anna.say(say("chat"));
    anna.expect_nothing();
    server.advance(Duration::from_millis(101));
    assert_eq!(anna.expect("ok")["ref"], reference);
    anna.say(say("rude"));
    server.advance(Duration::from_millis(101));
    assert_eq!(anna.expect("error")["message"], "not here");
    let lobby = server.handle().room("lobby");
    let members = server.run(lobby.members()).unwrap().members;
    assert_eq!(members[0].sender.session, anna.session());
    server.run(server.handle().session(anna.session()).send("psst", "hi")).unwrap();
    assert_eq!(anna.expect("message")["data"], "hi");
    assert_eq!(server.handle().counters().sessions, 1);
}

#[test]
fn what_was_expected_and_what_came_is_said() {
    let server = server(0);
    let mut anna = server.client("Anna");
    anna.join("hall");
    let wrong = catch_unwind(AssertUnwindSafe(|| anna.expect_event("turn"))).unwrap_err();
    let text = said_by(wrong);
    assert!(text.starts_with("at 0 ms, Anna expected the event \"turn\", but heard:"), "{text}");
    assert!(text.contains("\"event\":\"drawn\""), "{text}");
    let denied = anna.ask(json!({ "type": "leave", "room": "nowhere" })).unwrap_err();
    assert!(denied.to_string().contains("not_a_member"), "{denied}");
    let never = std::future::pending::<()>();
    let text = said_by(catch_unwind(AssertUnwindSafe(|| server.run(never))).unwrap_err());
    assert!(text.contains("advance the clock"), "{text}");
}
