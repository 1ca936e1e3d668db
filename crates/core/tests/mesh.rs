//! Clients that speak GoMeshStream's envelope, beside one that speaks roomcast's own protocol.
#![allow(clippy::unwrap_used)]

mod common;

use common::Hub;
use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast_core::{HookMask, HubConfig, Input, LinkId, LinkLoss, Verdict};
use roomcast_wire::push::MemberInfo;
use roomcast_wire::{CloseCode, ErrorCode, Format, Refusal, SessionId};
use serde_json::{Value, json};

const MINA: u32 = 0;
const JONAS: u32 = 1;
const NATIVE: u32 = 2;

/// Tells each its name, and all what is said, as the original's rooms do.
struct Told;

impl RoomLogic for Told {
    fn on_join(&mut self, ctx: &mut RoomCtx<'_>, member: &MemberInfo) -> Result<(), Refusal> {
        ctx.tell(member.sender.session, "know-yourself", json!({ "n": ctx.member_count() }));
        ctx.tell_except(member.sender.session, "came", json!({}));
        Ok(())
    }

    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        match event.name() {
            Some("refuse-me") => Err(Refusal::refused("no <b>")),
            Some("tell-all") => {
                let all: Vec<SessionId> =
                    ctx.members().iter().map(|member| member.sender.session).collect();
                ctx.tell_some(&all, "told", json!({ "b": 1, "a": 2 }));
                Ok(Relay::Nothing)
            }
            _ => Ok(Relay::AsIs),
        }
    }
}

fn hub() -> Hub {
    let mut config = HubConfig::default();
    config.logics.insert("told", |_| Box::new(Told)).unwrap();
    let default = config.namespaces.get_mut("default").unwrap();
    default.lobby = Some("mesh-global".to_owned());
    default.static_rooms.insert(
        "mesh-global".to_owned(),
        roomcast_wire::RoomOptions { logic: Some("told".into()), ..Default::default() },
    );
    Hub::new(config)
}

/// Opens a mesh link; answers with what it is told and its slug.
fn open(hub: &mut Hub, link: u32) -> (Vec<String>, String) {
    hub.open_as(link, Format::MESH_WS);
    hub.end_turn();
    let heard = heard(hub, link);
    let first: Value = serde_json::from_str(&heard[0]).unwrap();
    let slug = first["target"].as_str().unwrap().to_owned();
    (heard, slug)
}

/// What a mesh link was told, frame by frame.
fn heard(hub: &mut Hub, link: u32) -> Vec<String> {
    let mut bytes = Vec::new();
    if let Some(outbox) = hub.shard.outbox(LinkId(link)) {
        while !outbox.is_empty() {
            let piece = outbox.first().to_vec();
            outbox.consume(piece.len());
            bytes.extend(piece);
        }
    }
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while let [0x81, len, ..] = rest {
        let (start, len) = match len {
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            len => (2, usize::from(*len)),
        };
        frames.push(String::from_utf8(rest[start..start + len].to_vec()).unwrap());
        rest = &rest[start + len..];
    }
    assert!(rest.is_empty(), "{rest:?}");
    frames
}

/// The bytes of one message from the server.
fn envelope(action: &str, body: &str, is_direct: bool, target: &str, sender: &str) -> String {
    let (action, body) = (format!(r#""action":"{action}""#), format!(r#""message_body":{body}"#));
    let target = format!(r#""IsTargetClient":{is_direct},"target":"{target}""#);
    format!(r#"{{{action},{body},{target},"sender":"{sender}"}}"#)
}

const LOBBY: &str = "mesh-global";
const BOT: &str = "bot-of-the-room";

fn say(hub: &mut Hub, link: u32, text: &str) {
    let bytes = text.as_bytes().to_vec().into();
    hub.input(Input::Message { link: LinkId(link), bytes });
    hub.end_turn();
}

#[test]
fn a_client_is_in_the_lobby_from_the_start_and_hears_only_what_the_logic_says() {
    let mut hub = hub();
    let (told, mina) = open(&mut hub, MINA);
    assert_eq!(told, [envelope("know-yourself", r#"{"n":1}"#, true, &mina, BOT)]);
    let (told, jonas) = open(&mut hub, JONAS);
    assert_eq!((told.len(), mina == jonas), (1, false));
    // Not for one client, though one does not hear it.
    assert_eq!(heard(&mut hub, MINA), [envelope("came", "{}", false, LOBBY, BOT)]);
    hub.input(Input::Closed { link: LinkId(JONAS), loss: LinkLoss::Closed });
    hub.end_turn();
    assert!(heard(&mut hub, MINA).is_empty(), "who leaves is told by logics only");
    assert_eq!(hub.shard.counters().sessions, 1);
}

#[test]
fn a_message_comes_back_to_its_sender_and_reaches_every_dialect() {
    let mut hub = hub();
    let (_, mina) = open(&mut hub, MINA);
    open(&mut hub, JONAS);
    hub.open(NATIVE);
    hub.say(NATIVE, r#"{"type":"hello","name":"Nat"}"#);
    heard(&mut hub, MINA);
    heard(&mut hub, JONAS);
    hub.heard(NATIVE);
    say(
        &mut hub,
        MINA,
        r#"{"action":"chat","message_body":{"t":"<hi>"},"target":"mesh-global","sender":"x"}"#,
    );
    let expected = envelope("chat", r#"{"t":"\u003chi\u003e"}"#, false, LOBBY, &mina);
    assert_eq!(heard(&mut hub, MINA), std::slice::from_ref(&expected));
    assert_eq!(heard(&mut hub, JONAS), [expected]);
    let native = hub.heard(NATIVE);
    assert_eq!(
        (&native[0]["event"], &native[0]["data"]),
        (&json!("chat"), &json!({ "t": "<hi>" }))
    );
    let said = hub.say(NATIVE, r#"{"type":"publish","room":"mesh-global","event":"n","data":7}"#);
    assert_eq!(said[0]["event"], "n");
    assert!(heard(&mut hub, MINA)[0].starts_with(r#"{"action":"n","message_body":7,"#));
}

#[test]
fn what_is_said_in_one_turn_comes_in_one_frame_a_line_each() {
    let mut hub = hub();
    let (_, mina) = open(&mut hub, MINA);
    let (_, _) = open(&mut hub, JONAS);
    hub.end_turn();
    heard(&mut hub, MINA);
    for n in 1..=3 {
        let text = format!(
            r#"{{"action":"chat","message_body":{{"n":{n}}},"target":"mesh-global","sender":""}}"#
        );
        let input = Input::Message { link: LinkId(MINA), bytes: text.into() };
        hub.input(input);
    }
    hub.end_turn();
    let line = |n| envelope("chat", &format!(r#"{{"n":{n}}}"#), false, "mesh-global", &mina);
    let all = [line(1), line(2), line(3)].join("\n");
    assert_eq!(heard(&mut hub, JONAS).last().unwrap(), &all);
    assert_eq!(heard(&mut hub, MINA), [all]);
}

#[test]
fn what_is_told_to_some_names_each_of_them() {
    let mut hub = hub();
    let (_, mina) = open(&mut hub, MINA);
    let (_, jonas) = open(&mut hub, JONAS);
    heard(&mut hub, MINA);
    say(&mut hub, MINA, r#"{"action":"tell-all","target":"mesh-global"}"#);
    for (link, slug) in [(MINA, mina), (JONAS, jonas)] {
        assert_eq!(heard(&mut hub, link), [envelope("told", r#"{"a":2,"b":1}"#, true, &slug, BOT)]);
    }
}

#[test]
fn a_client_reaches_another_by_its_slug() {
    let mut hub = hub();
    let (_, mina) = open(&mut hub, MINA);
    let (_, jonas) = open(&mut hub, JONAS);
    heard(&mut hub, MINA);
    let text = format!(
        r#"{{"action":"psst","message_body":{{"x":1}},"IsTargetClient":true,"target":"{jonas}"}}"#
    );
    say(&mut hub, MINA, &text);
    assert!(heard(&mut hub, MINA).is_empty());
    assert_eq!(heard(&mut hub, JONAS), [envelope("psst", r#"{"x":1}"#, true, &jonas, &mina)]);
}

/// The five frames that ended the original's process; here each is answered, and the link goes on.
#[test]
fn the_five_frames_that_ended_the_original_are_answered() {
    let mut hub = hub();
    let (_, mina) = open(&mut hub, MINA);
    for (frame, reason) in [
        (&b"{\"action\":\"a\",\"target\":\"nowhere\"}"[..], "not_a_member"),
        (b"nonsense", "malformed"),
        (b"17", "malformed"),
        (b"\x00\xff", "malformed"),
        (b"{\"action\":\"a\",\"IsTargetClient\":true,\"target\":\"AAAAA000\"}", "no_such_target"),
        (b"{\"action\":\"a\",\"IsTargetClient\":true,\"target\":\"nobody\"}", "no_such_target"),
        (b"{\"action\":\"refuse-me\",\"target\":\"mesh-global\"}", "refused"),
    ] {
        hub.input(Input::Message { link: LinkId(MINA), bytes: frame.into() });
        hub.end_turn();
        let answer = heard(&mut hub, MINA);
        assert_eq!(answer.len(), 1, "{frame:?}: {answer:?}");
        let read: Value = serde_json::from_str(&answer[0]).unwrap();
        assert_eq!(read["message_body"]["reason"], reason, "{frame:?}");
        assert_eq!((&read["action"], &read["target"]), (&json!("error"), &json!(mina)));
        assert_eq!(read["IsTargetClient"], true);
    }
    say(&mut hub, MINA, r#"{"action":"still-here","target":"mesh-global"}"#);
    assert_eq!(heard(&mut hub, MINA).len(), 1);
    assert!(hub.closed.is_empty());
}

#[test]
fn messages_have_at_most_10_000_bytes_from_the_first_on() {
    let mut hub = hub();
    open(&mut hub, MINA);
    assert_eq!(hub.shard.message_bytes_max(LinkId(MINA)), 10_000);
}

#[test]
fn where_a_token_is_wanted_the_link_is_closed_with_a_word_why() {
    let mut config = HubConfig::default();
    config.namespaces.get_mut("default").unwrap().anonymous = false;
    let mut hub = Hub::new(config);
    hub.open_as(MINA, Format::MESH_WS);
    hub.end_turn();
    let told = heard(&mut hub, MINA);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(r#""reason":"token_required"}"#), "{}", told[0]);
    assert!(told[0].contains(r#""target":"","#), "{}", told[0]);
    assert_eq!(hub.closed.get(&MINA), Some(&CloseCode::Unauthorized));
}

#[test]
fn before_connect_decides_whether_a_mesh_session_begins() {
    let mut hub = Hub::new(HubConfig { hooks: HookMask::CONNECT, ..HubConfig::default() });
    hub.open_as(MINA, Format::MESH_WS);
    let (ticket, question) = hub.question();
    assert_eq!(hub.shard.counters().sessions, 0, "the application thinks about it");
    hub.input(Input::Verdict { ticket, verdict: Verdict::Go(question) });
    assert_eq!((hub.shard.counters().sessions, hub.released.len()), (1, 1));
    hub.cut(MINA);
    assert_eq!(hub.shard.counters().sessions, 0, "nobody could resume it");
    hub.open_as(JONAS, Format::MESH_WS);
    let (ticket, _) = hub.question();
    let refusal = Refusal::new(ErrorCode::Refused, "not today");
    hub.input(Input::Verdict { ticket, verdict: Verdict::Refuse(refusal) });
    let told = heard(&mut hub, JONAS);
    assert!(told.len() == 1 && told[0].contains("not today"), "{told:?}");
    assert_eq!(hub.shard.counters().sessions, 0);
    hub.advance(60_000);
    assert_eq!(hub.closed.get(&JONAS), Some(&CloseCode::Unauthorized));
}
