//! What an application made is dropped where other rooms live: a panic there goes no further.
#![allow(clippy::unwrap_used)]

mod common;

use std::pin::Pin;
use std::task::{Context, Poll};

use common::Hub;
use roomcast_core::HubConfig;
use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast_wire::Refusal;
use roomcast_wire::push::ClosedReason;

/// A future that is never done, and panics when it is dropped.
struct Bomb;

impl Future for Bomb {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        // A panic without a word in the test's output.
        std::panic::resume_unwind(Box::new("dropped"));
    }
}

/// A logic that is as bad when it is dropped, and asks for what is not carried out any more.
struct Bombs {
    _own: Bomb,
}

impl RoomLogic for Bombs {
    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        if event.name() == Some("close") {
            ctx.close();
        }
        let _ = ctx.call(1, Bomb);
        match event.name() {
            Some("refuse") => Err(Refusal::refused("no")),
            _ => Ok(Relay::AsIs),
        }
    }

    fn on_close(&mut self, ctx: &mut RoomCtx<'_>, _: ClosedReason) {
        let _ = ctx.call(2, Bomb);
    }
}

fn room_of_bombs() -> Hub {
    let mut config = HubConfig::default();
    config.logics.insert("bombs", |_| Box::new(Bombs { _own: Bomb })).unwrap();
    let namespace = config.namespaces.get_mut("default").unwrap();
    namespace.client_logics = vec!["bombs".to_owned()];
    let mut hub = Hub::new(config);
    hub.open(0);
    for create in [
        r#"{"type":"create","ref":1,"room":"calm","join":true}"#,
        r#"{"type":"create","ref":2,"room":"bombs","join":true,"options":{"logic":"bombs"}}"#,
    ] {
        assert_eq!(hub.ask(0, create)["type"], "joined");
    }
    hub
}

fn say(hub: &mut Hub, room: &str, event: &str) -> String {
    let said = format!(r#"{{"type":"publish","ref":3,"room":"{room}","event":"{event}"}}"#);
    hub.ask(0, said)["type"].as_str().unwrap().to_owned()
}

#[test]
fn a_call_that_is_not_carried_out_any_more_takes_nothing_along() {
    let mut hub = room_of_bombs();
    assert_eq!(say(&mut hub, "bombs", "refuse"), "error");
    assert_eq!(say(&mut hub, "bombs", "close"), "ok", "the call comes after the close");
    assert_eq!(say(&mut hub, "calm", "hello"), "ok");
    assert_eq!(hub.shard.counters().rooms, 1);
}

#[test]
fn a_logic_that_ends_with_the_server_takes_nothing_along() {
    let mut hub = room_of_bombs();
    assert_eq!(say(&mut hub, "bombs", "hello"), "ok");
    drop(hub.shard);
}
