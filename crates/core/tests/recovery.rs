//! Clients that come back for what they missed: what is kept, for whom, and how long.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::Hub;
use roomcast_core::config::{KeyGrant, NamespaceConfig};
use roomcast_core::{
    Act, HubConfig, HubEvent, Input, LinkId, LinkLoss, ReplayBounds, ServerCall, ServerReply,
};
use roomcast_wire::{EventName, Format, Name, Payload, SessionId};

const BYTES: usize = 4_096;
const MS: u64 = 90_000;

fn config() -> HubConfig {
    let game = NamespaceConfig::default();
    let key = |key: &str, user: &str| KeyGrant {
        key: key.to_owned(),
        user: Some(Name::new(user).unwrap()),
        admin: false,
        grants: None,
    };
    HubConfig {
        recovery: Some(ReplayBounds { bytes: BYTES, ms: MS }),
        namespaces: BTreeMap::from([("game".to_owned(), game)]),
        keys: vec![key("key-of-mina-12345", "mina"), key("key-of-tom-123456", "tom")],
        events: true,
        ..HubConfig::default()
    }
}

/// A client that remembers what the real ones do.
#[derive(Debug, Clone, Default, PartialEq)]
struct Client {
    link: u32,
    sid: String,
    pid: String,
    offset: String,
    recovered: bool,
    heard: Vec<String>,
}

impl Client {
    /// CONNECT with what it remembers and, perhaps, a token.
    fn connect(&mut self, hub: &mut Hub, link: u32, token: &str) {
        self.open(hub, link, token, None);
    }

    fn open(&mut self, hub: &mut Hub, link: u32, token: &str, namespace: Option<&str>) {
        self.link = link;
        let (format, namespace) = (Format::SOCKETIO_JSON_MAIN, namespace.map(Arc::from));
        hub.input(Input::Opened { link: LinkId(link), format, namespace });
        let mut auth = Vec::new();
        for (key, value) in [("pid", &*self.pid), ("offset", &self.offset), ("token", token)] {
            if !value.is_empty() {
                auth.push(format!("\"{key}\":\"{value}\""));
            }
        }
        self.say(hub, &format!("0{{{}}}", auth.join(",")));
    }

    fn say(&mut self, hub: &mut Hub, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        hub.input(Input::Message { link: LinkId(self.link), bytes });
        self.listen(hub);
    }

    /// Takes what was said to it; returns the new events.
    fn listen(&mut self, hub: &mut Hub) -> Vec<String> {
        hub.end_turn();
        let before = self.heard.len();
        for packet in packets(hub, self.link) {
            if let Some(ids) = packet.strip_prefix("40") {
                let ids: serde_json::Value = serde_json::from_str(ids).unwrap();
                self.sid = ids["sid"].as_str().unwrap().to_owned();
                let pid = ids["pid"].as_str().unwrap_or_default().to_owned();
                self.recovered = !pid.is_empty() && pid == self.pid;
                self.pid = pid;
            } else if let Some(event) = packet.strip_prefix("42[") {
                let mut args: Vec<serde_json::Value> =
                    serde_json::from_str(&format!("[{event}")).unwrap();
                self.offset = args.pop().unwrap().as_str().unwrap().to_owned();
                self.heard.push(serde_json::to_string(&args).unwrap());
            }
        }
        self.heard[before..].to_vec()
    }

    fn id(&self) -> SessionId {
        self.sid.parse().unwrap()
    }
}

/// The text frames that wait for a link.
fn packets(hub: &mut Hub, link: u32) -> Vec<String> {
    let Some(outbox) = hub.shard.outbox(LinkId(link)) else { return Vec::new() };
    let mut packets = Vec::new();
    while !outbox.is_empty() {
        let piece = outbox.first().to_vec();
        outbox.consume(piece.len());
        let head = [2, 4, 10][usize::from(piece[1] >= 126) + usize::from(piece[1] == 127)];
        packets.push(String::from_utf8(piece[head..].to_vec()).unwrap());
    }
    packets
}

fn call(hub: &mut Hub, call: ServerCall) -> ServerReply {
    hub.done.clear();
    hub.input(Input::Call { id: 1, call });
    hub.end_turn();
    hub.done.pop().unwrap().1
}

fn send(hub: &mut Hub, session: SessionId, number: u32, reliable: bool) -> ServerReply {
    let data = Some(Payload::json(&[number]).unwrap().into_arguments());
    let event = EventName::text("n").unwrap();
    call(hub, ServerCall::Send { session, event, data, reliable })
}

fn joined(hub: &mut Hub) -> Client {
    let mut client = Client::default();
    client.connect(hub, 0, "");
    client.say(hub, r#"20["join","hall"]"#);
    client
}

fn publish(hub: &mut Hub, number: u32) {
    let data = Some(Payload::json(&[number]).unwrap().into_arguments());
    let (room, event) = ("hall".to_owned(), EventName::text("n").unwrap());
    call(hub, ServerCall::Publish { room, event, data, from: None, reliable: true, key: None });
}

#[test]
fn everything_said_meanwhile_follows_in_order_once() {
    let mut hub = Hub::new(config());
    let mut mina = joined(&mut hub);
    publish(&mut hub, 1);
    assert_eq!(mina.listen(&mut hub), [r#"["n",1]"#]);
    publish(&mut hub, 2); // in its outbox, and lost with the link
    hub.end_turn();
    hub.cut(0);
    publish(&mut hub, 3);
    let reached = send(&mut hub, mina.id(), 4, true);
    assert_eq!(reached, ServerReply::Reached(1));
    send(&mut hub, mina.id(), 5, false); // volatile: not for who is not there
    let (namespace, event) = ("default".to_owned(), EventName::text("n").unwrap());
    let data = Some(Payload::json(&[6]).unwrap().into_arguments());
    let (data_of_some, name) = (data.clone(), event.clone());
    let all = ServerCall::Broadcast { namespace, event, data, from: None, reliable: true };
    assert_eq!(call(&mut hub, all), ServerReply::Reached(1));
    let (room, to) = ("hall".to_owned(), vec![mina.id()]);
    call(&mut hub, ServerCall::Tell { room, to, event: name, data: data_of_some });
    hub.advance(1_000);
    mina.heard.clear();
    let before = mina.clone();
    mina.connect(&mut hub, 7, "");
    assert!(mina.recovered && mina.sid == before.sid);
    let numbers = [r#"["n",2]"#, r#"["n",3]"#, r#"["n",4]"#, r#"["n",6]"#, r#"["n",6]"#];
    assert_eq!(mina.heard, numbers);
    publish(&mut hub, 7);
    assert_eq!(mina.listen(&mut hub), [r#"["n",7]"#]);
    assert_eq!(hub.shard.counters().recovered_total, 1);
    let resumed = |event: &HubEvent| matches!(event, HubEvent::Connected(one) if one.resumed);
    assert_eq!(hub.events.iter().filter(|event| resumed(event)).count(), 1);
    // Again, with nothing missed.
    hub.cut(7);
    mina.heard.clear();
    mina.connect(&mut hub, 8, "");
    assert!(mina.recovered && mina.heard.is_empty());
}

#[test]
fn a_frame_is_one_buffer_for_all_that_keep_it() {
    let mut hub = Hub::new(config());
    let mut clients = Vec::new();
    for link in 0..3 {
        let mut client = Client::default();
        client.connect(&mut hub, link, "");
        client.say(&mut hub, r#"20["join","hall"]"#);
        clients.push(client);
    }
    for (link, client) in (0..).zip(&mut clients) {
        client.listen(&mut hub);
        hub.cut(link);
    }
    publish(&mut hub, 1);
    for (link, client) in (10..).zip(&mut clients) {
        client.link = link;
        let format = Format::SOCKETIO_JSON_MAIN;
        hub.input(Input::Opened { link: LinkId(link), format, namespace: None });
        let auth = format!("0{{\"pid\":\"{}\",\"offset\":\"{}\"}}", client.pid, client.offset);
        hub.input(Input::Message { link: LinkId(link), bytes: Bytes::from(auth) });
    }
    let mut seen = Vec::new();
    for link in 10..13 {
        let outbox = hub.shard.outbox(LinkId(link)).unwrap();
        while !outbox.is_empty() {
            let (piece, len) = (outbox.first().as_ptr(), outbox.first().len());
            if outbox.first().ends_with(b"]") && outbox.first()[2..].starts_with(b"42[\"n\"") {
                seen.push(piece);
            }
            outbox.consume(len);
        }
    }
    assert!(seen.len() == 3 && seen.iter().all(|at| *at == seen[0]), "{seen:?}");
}

#[test]
fn who_heard_nothing_yet_comes_back_too() {
    let mut hub = Hub::new(config());
    let mut mina = joined(&mut hub);
    assert!(mina.offset.is_empty());
    hub.cut(0);
    publish(&mut hub, 1);
    mina.connect(&mut hub, 1, "");
    assert!(mina.recovered);
    assert_eq!(mina.heard, [r#"["n",1]"#]);
}

#[test]
fn what_is_more_than_may_be_kept_is_not_recovered_and_said_so() {
    let mut hub = Hub::new(config());
    let mut mina = joined(&mut hub);
    publish(&mut hub, 1);
    mina.listen(&mut hub);
    hub.cut(0);
    for number in 0..100 {
        publish(&mut hub, number);
    }
    let old = mina.clone();
    mina.heard.clear();
    mina.connect(&mut hub, 1, "");
    assert!(!mina.recovered && mina.heard.is_empty() && mina.sid != old.sid);
    assert_eq!(hub.shard.counters().unrecovered_total, 1);
    assert_eq!(hub.shard.counters().sessions, 1, "the old one is over");
    publish(&mut hub, 7);
    assert!(mina.listen(&mut hub).is_empty(), "and its seats with it");
    // Its offset is of the session before: of this one it heard nothing, and misses nothing.
    hub.cut(1);
    send(&mut hub, mina.id(), 8, true);
    assert_eq!(mina.offset, old.offset);
    mina.connect(&mut hub, 2, "");
    assert!(mina.recovered);
    assert_eq!(mina.heard, [r#"["n",8]"#]);
}

#[test]
fn after_its_time_a_session_is_over() {
    let mut hub = Hub::new(config());
    let mut mina = joined(&mut hub);
    publish(&mut hub, 1);
    mina.listen(&mut hub);
    hub.cut(0);
    hub.advance(59_999);
    mina.connect(&mut hub, 1, "");
    assert!(mina.recovered);
    hub.cut(1);
    hub.advance(60_000);
    assert_eq!(hub.shard.counters().sessions, 0);
    mina.connect(&mut hub, 2, "");
    assert!(!mina.recovered);
    hub.cut(2);
    hub.advance(10 * MS);
    assert_eq!(hub.shard.next_deadline(), None, "nothing is looked at any more");
}

#[test]
fn what_is_old_is_forgotten_though_the_link_stands() {
    let mut hub = Hub::new(config());
    let mut mina = joined(&mut hub);
    publish(&mut hub, 1);
    hub.advance(2 * MS);
    hub.cut(0);
    let mut late = mina.clone();
    late.connect(&mut hub, 1, "");
    assert!(!late.recovered, "it does not say that it has heard it");
    assert_eq!(mina.listen(&mut hub), [""; 0]);
}

#[test]
fn nobody_else_takes_up_a_session() {
    let mut hub = Hub::new(config());
    let mut mina = Client::default();
    mina.connect(&mut hub, 0, "key-of-mina-12345");
    hub.cut(0);
    let own = mina.clone();
    let mut link = 1;
    let mut try_it = |hub: &mut Hub, tried: Client, token: &str, namespace: Option<&str>| {
        let mut tried = tried;
        tried.open(hub, link, token, namespace);
        assert!(!tried.sid.is_empty(), "it begins anew");
        link += 1;
        tried.recovered
    };
    assert!(!try_it(&mut hub, own.clone(), "key-of-tom-123456", None), "another user");
    assert!(!try_it(&mut hub, own.clone(), "", None), "no user");
    assert!(!try_it(&mut hub, own.clone(), "key-of-mina-12345", Some("game")), "another place");
    let other_secret = format!("{}{}", own.sid, "A".repeat(22));
    let forged = Client { pid: other_secret, ..own.clone() };
    assert!(!try_it(&mut hub, forged, "key-of-mina-12345", None), "another secret");
    let ahead = Client { offset: format!("AAAAAAAA{}", u64::MAX), ..own.clone() };
    assert!(try_it(&mut hub, ahead, "key-of-mina-12345", None), "of another life: nothing heard");
    // A client of another dialect neither: what is kept is not in its words.
    hub.open(99);
    let (session, secret) = own.pid.split_at(22);
    let resume = format!(r#""resume":{{"session":"{session}","secret":"{secret}"}}"#);
    let hello = format!(r#"{{"type":"hello","ref":1,"token":"key-of-mina-12345",{resume}}}"#);
    assert_eq!(hub.ask(99, hello)["reason"], "cannot_resume");
}

#[test]
fn the_newest_of_two_connections_has_the_session() {
    let mut hub = Hub::new(config());
    let mut mina = joined(&mut hub);
    publish(&mut hub, 1);
    mina.listen(&mut hub);
    // The server does not know yet that the link is dead.
    publish(&mut hub, 2);
    let mut twin = mina.clone();
    mina.connect(&mut hub, 1, "");
    assert!(mina.recovered && hub.closed[&0].number() == 4_820);
    publish(&mut hub, 3);
    twin.connect(&mut hub, 2, "");
    assert!(twin.recovered && hub.closed[&1].number() == 4_820);
    assert_eq!(twin.heard, [r#"["n",1]"#, r#"["n",2]"#, r#"["n",3]"#]);
    for link in [0, 1] {
        hub.input(Input::Closed { link: LinkId(link), loss: LinkLoss::Broken });
    }
    publish(&mut hub, 4);
    assert_eq!(twin.listen(&mut hub), [r#"["n",4]"#]);
    let counters = hub.shard.counters();
    assert_eq!((counters.sessions, counters.sessions_dropped), (1, 0));
}

#[test]
fn a_seat_that_is_given_or_taken_meanwhile_counts() {
    let mut hub = Hub::new(config());
    let mut mina = joined(&mut hub);
    hub.cut(0);
    let act = |room: &str, act| ServerCall::Act { room: room.into(), session: mina.id(), act };
    call(&mut hub, act("yard", Act::Join { data: None, make: true }));
    call(&mut hub, act("hall", Act::Leave { data: None }));
    publish(&mut hub, 1);
    let (room, event) = ("yard".to_owned(), EventName::text("y").unwrap());
    call(
        &mut hub,
        ServerCall::Publish { room, event, data: None, from: None, reliable: true, key: None },
    );
    mina.connect(&mut hub, 1, "");
    assert!(mina.recovered && mina.heard.len() == 2, "{:?}", mina.heard);
    assert!(mina.heard[0].starts_with(r#"["room_closed""#), "{:?}", mina.heard);
    assert!(mina.heard[1].starts_with(r#"["y",null"#), "{:?}", mina.heard);
    let seats = call(&mut hub, ServerCall::Seats { session: mina.id() });
    assert_eq!(seats, ServerReply::Seats(vec!["yard".to_owned()]));
}

#[test]
fn a_user_is_told_on_its_way_back() {
    let mut hub = Hub::new(config());
    let mut mina = Client::default();
    mina.connect(&mut hub, 0, "key-of-mina-12345");
    hub.cut(0);
    let (namespace, user) = ("default".to_owned(), Name::new("mina").unwrap());
    let event = EventName::text("u").unwrap();
    let tell = ServerCall::SendToUser { namespace, user, event, data: None };
    assert_eq!(call(&mut hub, tell.clone()), ServerReply::Reached(1));
    mina.connect(&mut hub, 1, "key-of-mina-12345");
    assert_eq!(mina.heard, [r#"["u"]"#]);
    hub.cut(1);
    hub.advance(60_000);
    assert!(matches!(call(&mut hub, tell), ServerReply::Refused(_)), "its user is gone with it");
}

#[test]
fn who_reads_too_slowly_comes_back_for_the_rest_if_it_is_still_there() {
    let mut small = config();
    small.limits.outbox_bytes = 2_048;
    small.recovery = Some(ReplayBounds { bytes: 16_384, ms: MS });
    let mut hub = Hub::new(small);
    let mut mina = joined(&mut hub);
    publish(&mut hub, 0);
    mina.listen(&mut hub);
    hub.shard.set_blocked(LinkId(0), true);
    let mut said = 0;
    while hub.closed.is_empty() {
        said += 1;
        publish(&mut hub, said);
    }
    hub.cut(0);
    mina.heard.clear();
    mina.connect(&mut hub, 1, "");
    assert!(mina.recovered && hub.closed.len() == 1);
    assert_eq!(mina.heard.len(), said as usize);
}

#[test]
fn without_the_setting_nothing_bears_an_offset() {
    let mut hub = Hub::new(HubConfig { recovery: None, ..config() });
    hub.open_as(0, Format::SOCKETIO_JSON_MAIN);
    let pid = "A".repeat(44);
    let auth = format!("0{{\"pid\":\"{pid}\",\"offset\":\"AAAAAAAA1\"}}");
    hub.input(Input::Message { link: LinkId(0), bytes: auth.into() });
    let welcome = packets(&mut hub, 0).remove(0);
    assert!(!welcome.contains("pid"), "{welcome}");
    let join = Bytes::from_static(br#"2["join","hall"]"#);
    hub.input(Input::Message { link: LinkId(0), bytes: join });
    publish(&mut hub, 1);
    assert_eq!(packets(&mut hub, 0), [r#"42["n",1]"#]);
    hub.cut(0);
    assert_eq!(hub.shard.counters().sessions, 0);
}
