//! Seats that the server gives, and what becomes of one whose session's shard is not its room's.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use common::Hub;
use roomcast_core::logic::{RoomCtx, RoomLogic, RoomRef};
use roomcast_core::rights::RulesOf;
use roomcast_core::{
    Act, Grants, HubConfig, Input, KeyGrant, LinkId, NamespaceConfig, Now, Output, Rule,
    ServerCall, ServerReply, Shard, ShardId,
};
use roomcast_wire::push::MemberInfo;
use roomcast_wire::{Format, RoomOptions, SessionId};
use serde_json::Value;

/// Tells everybody who is back.
struct Porter;

impl RoomLogic for Porter {
    fn on_resume(&mut self, ctx: &mut RoomCtx<'_>, _member: &MemberInfo) {
        ctx.publish("back", ());
    }
}

fn session_of(welcome: &Value) -> SessionId {
    welcome["session"].as_str().unwrap().parse().unwrap()
}

fn seat(session: SessionId, room: &str) -> Input {
    let act = Act::Join { data: None, make: false };
    Input::Call { id: 1, call: ServerCall::Act { room: room.to_owned(), session, act } }
}

#[test]
fn a_seat_that_is_held_is_not_given_again() {
    let mut config = HubConfig::default();
    config.logics.insert("porter", |_| Box::new(Porter)).unwrap();
    let options = RoomOptions { logic: Some("porter".into()), ..RoomOptions::default() };
    let namespace = NamespaceConfig { options, ..NamespaceConfig::default() };
    config.namespaces.insert("default".to_owned(), namespace);
    let mut hub = Hub::new(config);
    hub.open(0);
    hub.open(1);
    let session = session_of(&hub.ask(0, r#"{"type":"hello","ref":1}"#));
    for link in [0, 1] {
        hub.ask(link, r#"{"type":"join","ref":2,"room":"hall"}"#);
    }
    hub.heard(0);
    hub.heard(1);
    let seat_again = |hub: &mut Hub| {
        hub.input(seat(session, "hall"));
        hub.end_turn();
        hub.done.pop().unwrap()
    };
    let held = (1, ServerReply::Seated { is_new: false });
    assert_eq!(seat_again(&mut hub), held);
    assert_eq!((hub.heard(0), hub.heard(1)), (Vec::new(), Vec::new()), "nobody hears of it");
    hub.cut(0);
    hub.end_turn();
    assert_eq!(hub.heard(1)[0]["type"], "member_dropped");
    assert_eq!(seat_again(&mut hub), held);
    assert_eq!(hub.heard(1), Vec::<Value>::new(), "it is still gone");
    let members = hub.ask(1, r#"{"type":"members","ref":3,"room":"hall"}"#);
    let dropped =
        members["members"].as_array().unwrap().iter().filter(|one| one["dropped"] == true);
    assert_eq!(dropped.count(), 1, "{members}");
}

/// Two shards; words between them go on their way one at a time.
struct Pair {
    shards: [Shard; 2],
    under_way: VecDeque<(usize, Input)>,
    /// Of rooms whose logics have called.
    lives: Vec<RoomRef>,
    /// What became of the server's calls.
    done: Vec<ServerReply>,
}

impl Pair {
    /// With a link to the first shard.
    fn new(config: HubConfig) -> Self {
        let config = Arc::new(config);
        let shards = [0, 1].map(|number| Shard::new(Arc::clone(&config), ShardId::alone(number)));
        let mut pair =
            Self { shards, under_way: VecDeque::new(), lives: Vec::new(), done: Vec::new() };
        let format = Format::JSON_LINE;
        pair.tell(0, Input::Opened { link: LinkId(0), format, namespace: None });
        pair
    }

    fn tell(&mut self, at: usize, input: Input) -> Vec<Value> {
        self.shards[at].handle(Now(1), input);
        let from = ShardId::alone(at as u16);
        while let Some(output) = self.shards[at].poll_output() {
            match output {
                Output::Envelope { to, envelope } => {
                    self.under_way
                        .push_back((to.worker.into(), Input::Envelope { from, envelope }));
                }
                Output::Task { room, .. } => self.lives.push(room),
                Output::CallDone { reply, .. } => self.done.push(reply),
                _ => {}
            }
        }
        let Some(outbox) = self.shards[at].outbox(LinkId(0)) else { return Vec::new() };
        let mut heard = Vec::new();
        while !outbox.is_empty() {
            let piece = outbox.first().to_vec();
            outbox.consume(piece.len());
            heard.extend(piece);
        }
        let lines = heard.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn say(&mut self, text: impl Into<Bytes>) -> Vec<Value> {
        self.tell(0, Input::Message { link: LinkId(0), bytes: text.into() })
    }

    fn deliver(&mut self, index: usize) -> Vec<Value> {
        let (to, word) = self.under_way.remove(index).unwrap();
        self.tell(to, word)
    }
}

/// Shows the lives of its rooms by a call.
struct Keeper;

impl RoomLogic for Keeper {
    fn on_create(&mut self, ctx: &mut RoomCtx<'_>) {
        assert!(ctx.call(1, async {}));
    }
}

/// The server wants to make a room in a life of it that is over, and asks for no seat: what its
/// session has asked for meanwhile is still on its way, and is given up with it.
#[test]
fn a_room_that_is_not_made_costs_no_seat_that_is_on_its_way() {
    let mut config = HubConfig { shards: 2, ..HubConfig::default() };
    config.logics.insert("keeper", |_| Box::new(Keeper)).unwrap();
    let mut pair = Pair::new(config);
    let call = |pair: &mut Pair, at, call| pair.tell(at, Input::Call { id: 1, call });
    let rooms = ["a", "b", "c", "d", "e", "f", "g", "h"].map(str::to_owned);
    let room = rooms.into_iter().find(|room| {
        pair.under_way.clear();
        let options = RoomOptions { logic: Some("keeper".into()), ..RoomOptions::default() };
        let room = room.clone();
        call(&mut pair, 1, ServerCall::Create { room, options, permanent: false });
        pair.under_way.is_empty()
    });
    let room = room.expect("a room of the second shard");
    call(&mut pair, 1, ServerCall::Delete { room: room.clone() });
    let session = session_of(&pair.say(r#"{"type":"hello","ref":1}"#)[0]);
    let act = Act::Create { options: None, join: false };
    let act = Box::new(ServerCall::Act { room: room.clone(), session, act });
    let life = pair.lives.pop().unwrap();
    call(&mut pair, 0, ServerCall::Within { life, call: act });
    pair.say(format!(r#"{{"type":"join","room":"{room}"}}"#));
    // Both arrive, and the word that no room is made comes back first.
    assert_eq!(pair.under_way.len(), 2);
    pair.deliver(0);
    pair.deliver(0);
    pair.deliver(0);
    let done = pair.done.pop().unwrap();
    assert!(matches!(done, ServerReply::Refused(_)), "another life of the room: {done:?}");
    pair.say(r#"{"type":"bye"}"#);
    while !pair.under_way.is_empty() {
        pair.deliver(0);
    }
    assert_eq!(pair.shards[1].counters().seats, 0);
}

#[test]
fn a_seat_that_was_taken_away_on_its_way_stays_in_its_namespace() {
    let rules = vec![Rule::new("own-*", ["*"]).unwrap()];
    let key = KeyGrant {
        key: "a-key-for-rooms-of-its-own".to_owned(),
        user: None,
        admin: false,
        grants: Some(Arc::new(Grants::new(RulesOf::Key, rules))),
    };
    let other = NamespaceConfig::default();
    let namespaces = BTreeMap::from([
        ("default".to_owned(), NamespaceConfig::default()),
        ("other".to_owned(), other),
    ]);
    let config = HubConfig { shards: 2, namespaces, keys: vec![key], ..HubConfig::default() };
    let mut pair = Pair::new(config);
    let session = session_of(&pair.say(r#"{"type":"hello","ref":1}"#)[0]);
    // A room of the other shard.
    let rooms = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| format!("other/{name}"));
    let asked = rooms.iter().position(|room| {
        pair.under_way.clear();
        let act = Act::Join { data: None, make: true };
        let call = ServerCall::Act { room: room.clone(), session, act };
        pair.tell(0, Input::Call { id: 1, call });
        !pair.under_way.is_empty()
    });
    assert!(asked.is_some(), "a room of the other shard");
    let heard = pair.say(r#"{"type":"refresh","ref":2,"token":"a-key-for-rooms-of-its-own"}"#);
    assert!(heard.iter().any(|one| one["reason"] == "revoked"), "{heard:?}");
    // The wish arrives, and its answer, before the home hears that the seat is taken away.
    assert_eq!(pair.under_way.len(), 2);
    pair.deliver(0);
    pair.deliver(1); // what the others hear
    assert_eq!(pair.deliver(1)[0]["type"], "joined");
    let heard = pair.say(r#"{"type":"rooms","ref":3}"#);
    assert_eq!(heard[0]["rooms"], Value::Array(Vec::new()), "{heard:?}");
    let mut heard = Vec::new();
    while !pair.under_way.is_empty() {
        heard.extend(pair.deliver(0));
    }
    assert_eq!(heard.pop().unwrap()["type"], "room_closed");
}
