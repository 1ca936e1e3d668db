//! A field that people walk on: clients say where they are as often as they like, unreliably;
//! twenty times a second each hears of those near it, and of nobody else.
//!
//! Clients publish `at` with `[x, y]` and `"reliable": false`; they hear `near` with
//! `{"session": [x, y], …}`.

use std::collections::{BTreeMap, HashMap};

use roomcast::{
    Config, LeaveReason, LogicEvent, MemberInfo, Refusal, Relay, RoomCtx, RoomLogic, Server,
    SessionId,
};

/// How far one sees.
const SIGHT: f64 = 100.0;

/// The side of the field.
const FIELD: f64 = 1_000.0;

/// Twenty ticks a second; who comes and goes is told by being seen or not.
const CONFIG: &str = r#"
    [rooms]
    logic = "field"
    tick_ms = 50
    presence = "off"
    history = { size = 0 }
"#;

type Point = [f64; 2];

#[derive(Default)]
struct Field {
    at: HashMap<SessionId, Point>,
    /// What each was told last: who stands still among standing ones hears nothing.
    told: HashMap<SessionId, BTreeMap<String, Point>>,
}

impl Field {
    fn near(&self, session: SessionId, from: Point) -> BTreeMap<String, Point> {
        let sees = |to: &Point| (from[0] - to[0]).hypot(from[1] - to[1]) <= SIGHT;
        let others = self.at.iter().filter(|(other, at)| **other != session && sees(at));
        others.map(|(other, at)| (other.to_string(), *at)).collect()
    }
}

impl RoomLogic for Field {
    fn on_event(&mut self, _: &mut RoomCtx<'_>, event: &LogicEvent<'_>) -> Result<Relay, Refusal> {
        let at: Point = event.data()?;
        if !at.iter().all(|side| (0.0..=FIELD).contains(side)) {
            return Err(Refusal::refused(format!("the field goes from 0 to {FIELD}")));
        }
        // Only the newest matters; it is told at the next tick.
        self.at.insert(event.from.session, at);
        Ok(Relay::Nothing)
    }

    fn on_tick(&mut self, ctx: &mut RoomCtx<'_>, _: u64) {
        for (&session, &from) in &self.at {
            let near = self.near(session, from);
            let told = self.told.entry(session).or_default();
            if *told != near {
                ctx.tell(session, "near", &near);
                *told = near;
            }
        }
    }

    fn on_leave(&mut self, _: &mut RoomCtx<'_>, member: &MemberInfo, _: LeaveReason) {
        self.at.remove(&member.sender.session);
        self.told.remove(&member.sender.session);
    }
}

fn main() -> anyhow::Result<()> {
    let server = Server::builder()
        .config(Config::from_toml(CONFIG, "positions")?)
        .listen(small_examples::url())
        .logic("field", |_| Field::default())
        .start()?;
    small_examples::run(server);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use roomcast::testing;

    use super::*;

    #[test]
    fn one_hears_of_those_near_and_only_when_something_moved() {
        let config = Config::from_toml(CONFIG, "positions").unwrap();
        let builder = Server::builder().config(config).logic("field", |_| Field::default());
        let server = testing::Server::start(builder).unwrap();
        let mut clients = ["Anna", "Ben", "Far"].map(|name| server.client(name));
        for (client, at) in clients.iter_mut().zip([[0.0, 0.0], [60.0, 80.0], [900.0, 900.0]]) {
            client.join("field");
            client.publish("field", "at", at);
        }
        let [mut anna, mut ben, mut far] = clients;
        server.advance(Duration::from_millis(50));
        let ben_is = ben.session().to_string();
        assert_eq!(anna.expect_event("near")["data"][&ben_is], serde_json::json!([60.0, 80.0]));
        ben.expect_event("near");
        far.expect_nothing();
        server.advance(Duration::from_secs(1));
        anna.expect_nothing();
        ben.publish("field", "at", [61.0, 80.0]);
        server.advance(Duration::from_millis(50));
        assert_eq!(anna.expect_event("near")["data"], serde_json::json!({}));
        assert!(far.try_publish("field", "at", [-1.0, 0.0]).is_err());
    }
}
