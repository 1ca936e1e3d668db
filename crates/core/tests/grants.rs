//! Tokens and what they are bound to: each right by every path, their end, and their revocation.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::Hub;
use roomcast_core::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast_core::rights::RulesOf;
use roomcast_core::{
    Act, Authenticate, Grants, HubConfig, Identity, Input, KeyGrant, NamespaceConfig, Now, Revoked,
    Right, Rule, ServerCall,
};
use roomcast_wire::{CloseCode, ErrorCode, Name, Refusal, RoomOptions};

/// Tokens that say in plain text what a signed one would: `user;ROOM:RIGHT,…;…` with `;` between
/// rules, then `@ISSUED-EXPIRES` and `#ID` if wanted.
struct Plain;

impl Authenticate for Plain {
    fn authenticate(&self, _: Now, _: &str, token: &str) -> Result<Identity, Refusal> {
        let invalid = |text: String| Refusal::new(ErrorCode::InvalidToken, text);
        let (token, id) = token.split_once('#').map_or((token, None), |(a, b)| (a, Some(b)));
        let (token, times) = token.split_once('@').map_or((token, None), |(a, b)| (a, Some(b)));
        let (issued, expires) = match times {
            None => (None, None),
            Some(times) => {
                let (issued, expires) = times.split_once('-').unwrap();
                (Some(Now(issued.parse().unwrap())), Some(Now(expires.parse().unwrap())))
            }
        };
        let mut words = token.split(';');
        let user = Name::new(words.next().unwrap()).map_err(|error| invalid(error.to_string()))?;
        let rules: Result<Vec<_>, _> = words
            .map(|rule| {
                let (room, can) = rule.rsplit_once(':').unwrap();
                Rule::new(room, can.split(',').filter(|word| !word.is_empty()))
            })
            .collect();
        let rules = rules.map_err(invalid)?;
        let grants = (!rules.is_empty()).then(|| Arc::new(Grants::new(RulesOf::Token, rules)));
        let token_id = id.map(Into::into);
        let user = Some(user);
        Ok(Identity { user, issued, expires, token_id, grants, ..Identity::default() })
    }
}

fn hub_of(namespaces: BTreeMap<String, NamespaceConfig>) -> Hub {
    let authenticate: Option<Arc<dyn Authenticate>> = Some(Arc::new(Plain));
    Hub::new(HubConfig { namespaces, authenticate, ..HubConfig::default() })
}

struct Closing;

impl RoomLogic for Closing {
    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        _event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        ctx.close();
        Ok(Relay::AsIs)
    }
}

#[test]
fn a_static_room_that_ended_needs_no_right_to_create() {
    let mut namespaces = HubConfig::default().namespaces;
    let options = RoomOptions { logic: Some("closing".into()), ..RoomOptions::default() };
    let rooms = &mut namespaces.get_mut("default").unwrap().static_rooms;
    rooms.insert("hall".to_owned(), options);
    let authenticate: Option<Arc<dyn Authenticate>> = Some(Arc::new(Plain));
    let mut config = HubConfig { namespaces, authenticate, ..HubConfig::default() };
    config.logics.insert("closing", |_| Box::new(Closing)).unwrap();
    let mut hub = Hub::new(config);
    hello(&mut hub, 0, "mina;*:join,publish");
    for _ in 0..2 {
        let joined = hub.ask(0, r#"{"type":"join","ref":2,"room":"hall"}"#);
        assert_eq!(joined["type"], "joined", "{joined}");
        hub.say(0, r#"{"type":"publish","room":"hall","event":"end"}"#);
        hub.end_turn();
    }
    let other = hub.ask(0, r#"{"type":"join","ref":2,"room":"other"}"#);
    assert_eq!(other["reason"], "join_not_granted");
}

#[test]
fn s37_a_revoked_user_does_not_come_back_by_a_key() {
    let key = |key: &str, user: &str| KeyGrant {
        key: key.to_owned(),
        user: Some(Name::new(user).unwrap()),
        admin: false,
        grants: None,
    };
    let keys = vec![key("the key of mina", "mina"), key("the key of zoe", "zoe")];
    let mut hub = Hub::new(HubConfig { keys, ..HubConfig::default() });
    assert_eq!(hello(&mut hub, 0, "the key of mina")["type"], "welcome");
    let revoked = Revoked::User(Name::new("mina").unwrap());
    hub.input(Input::Call { id: 1, call: ServerCall::Revoke { revoked } });
    hub.end_turn();
    assert_eq!(hub.closed.get(&0), Some(&CloseCode::Unauthorized));
    assert_eq!(hello(&mut hub, 1, "the key of mina")["message"], "the token was revoked");
    assert_eq!(hello(&mut hub, 2, "the key of zoe")["type"], "welcome");
}

fn hub() -> Hub {
    hub_of(HubConfig::default().namespaces)
}

/// Opens a link and says `hello` with a token.
fn hello(hub: &mut Hub, link: u32, token: &str) -> serde_json::Value {
    hub.open(link);
    hub.ask(link, format!(r#"{{"type":"hello","ref":1,"token":"{token}"}}"#))
}

#[test]
fn a_join_without_the_right_is_refused_and_names_the_rule() {
    let mut hub = hub();
    assert_eq!(hello(&mut hub, 0, "mina;lobby:join;battle-*:publish")["user"], "mina");
    assert_eq!(hub.ask(0, r#"{"type":"join","ref":2,"room":"lobby"}"#)["type"], "error");
    let refused = hub.ask(0, r#"{"type":"join","ref":3,"room":"battle-7"}"#);
    assert_eq!(refused["reason"], "forbidden");
    let words = "rule 2 of your token: `battle-*` allows publish, not join";
    assert_eq!(refused["message"], words);
    let refused = hub.ask(0, r#"{"type":"join","ref":4,"room":"elsewhere"}"#);
    let words = "no rule of your token names this room, so join is not allowed";
    assert_eq!(refused["message"], words);
    let nobody = "AAAAAAAAAAAAAAAAAAAAAA";
    let send = format!(r#"{{"type":"send","ref":5,"session":"{nobody}","event":"e"}}"#);
    let words = "no rule of your token is for the room `*`, so send is not allowed";
    assert_eq!(hub.ask(0, send)["message"], words);
}

#[test]
fn s37_a_token_that_ends_ends_the_link_and_a_new_one_resumes() {
    let mut hub = hub();
    let welcome = hello(&mut hub, 0, "mina@0-90000");
    hello(&mut hub, 1, "zoe");
    hub.ask(1, r#"{"type":"join","ref":2,"room":"lobby"}"#);
    hub.ask(0, r#"{"type":"join","ref":2,"room":"lobby"}"#);
    hub.advance(89_999);
    assert_eq!(hub.closed.get(&0), None);
    hub.heard(0);
    hub.advance(1);
    assert_eq!(hub.closed.get(&0), Some(&CloseCode::TokenExpired));
    let goodbye = hub.heard(0);
    assert_eq!((goodbye.len(), &goodbye[0]["reason"]), (1, &"token_expired".into()), "{goodbye:?}");
    // Nothing more is delivered, and nothing more is heard.
    hub.ask(1, r#"{"type":"publish","ref":3,"room":"lobby","event":"x"}"#);
    assert!(hub.say(0, r#"{"type":"publish","ref":3,"room":"lobby","event":"y"}"#).is_empty());
    hub.cut(0);
    let (session, secret) = (&welcome["session"], &welcome["resume"]);
    let resume = format!(r#""resume":{{"session":{session},"secret":{secret}}}"#);
    for (link, token, reason) in [
        (2, "mina@0-90000", "invalid_token"),
        (3, "mallory@0-190000", "cannot_resume"),
        (4, "mina@80000-190000", "null"),
    ] {
        hub.open(link);
        let hello = format!(r#"{{"type":"hello","ref":1,"token":"{token}",{resume}}}"#);
        let answer = hub.ask(link, hello);
        assert_eq!(answer["reason"].as_str().unwrap_or("null"), reason, "{answer}");
    }
    let joined = hub.say(4, r#"{"type":"join","ref":2,"room":"lobby"}"#);
    assert_eq!(joined[0]["members"], 2, "the seat was kept: {joined:?}");
}

#[test]
fn s37_what_is_revoked_ends_at_once_and_stays_out() {
    let mut hub = hub();
    hub.now = Now(10_000);
    let revoke = |hub: &mut Hub, revoked| {
        hub.input(Input::Call { id: 1, call: ServerCall::Revoke { revoked } });
        hub.end_turn();
    };
    hello(&mut hub, 0, "mina@5000-99000");
    hello(&mut hub, 1, "zoe@5000-99000#t1");
    let welcome = hello(&mut hub, 2, "ida@5000-99000");
    hello(&mut hub, 3, "eve@5000-99000");
    revoke(&mut hub, Revoked::User(Name::new("mina").unwrap()));
    revoke(&mut hub, Revoked::Token("t1".to_owned()));
    let session = welcome["session"].as_str().unwrap().parse().unwrap();
    revoke(&mut hub, Revoked::Session(session));
    for link in 0..3 {
        assert_eq!(hub.closed.get(&link), Some(&CloseCode::Unauthorized), "{link}");
    }
    assert_eq!(hub.closed.get(&3), None);
    assert_eq!(hub.shard.counters().sessions, 1);
    for (link, token, answer) in [
        (4, "mina@5000-99000", "the token was revoked"),
        (5, "mina@10000-99000", "the token was revoked"),
        (6, "mina@11000-99000", "null"),
        (7, "zoe@12000-99000#t1", "the token was revoked"),
        (8, "zoe@5000-99000#t2", "null"),
        (9, "ida@5000-99000", "null"),
    ] {
        let said = hello(&mut hub, link, token);
        assert_eq!(said["message"].as_str().unwrap_or("null"), answer, "{token}");
    }
    // Nor does a session that began with a good token take up a revoked one.
    let said = hub.ask(6, r#"{"type":"refresh","ref":2,"token":"mina@5000-99000"}"#);
    assert_eq!(said["reason"], "invalid_token");
}

/// Two static rooms, in which the session of link 0 is a member of the first by the server's word
/// and something was said before; somebody called zoe; a key and an admin's key.
fn arena(rules: Option<Vec<Rule>>) -> Hub {
    let room = |name: &str| (name.to_owned(), RoomOptions::default());
    let policy = NamespaceConfig {
        list_rooms: true,
        anonymous_grants: rules,
        static_rooms: BTreeMap::from([room("battle-1"), room("battle-2"), room("other")]),
        ..NamespaceConfig::default()
    };
    let key = |key: &str, admin| KeyGrant {
        key: key.to_owned(),
        user: Some(Name::new("holder").unwrap()),
        admin,
        grants: None,
    };
    let authenticate: Option<Arc<dyn Authenticate>> = Some(Arc::new(Plain));
    let namespaces = BTreeMap::from([("default".to_owned(), policy)]);
    let keys = vec![key("the-key-of-a-holder", false), key("the-key-of-an-admin", true)];
    let mut hub = Hub::new(HubConfig { namespaces, keys, authenticate, ..HubConfig::default() });
    hello(&mut hub, 1, "zoe");
    hub.ask(1, r#"{"type":"join","ref":2,"room":"battle-1"}"#);
    hub.ask(1, r#"{"type":"publish","ref":3,"room":"battle-1","event":"x"}"#);
    hub
}

fn invite(hub: &mut Hub, link: u32, welcome: &serde_json::Value, room: &str) {
    let session = welcome["session"].as_str().unwrap().parse().unwrap();
    let act = Act::Join { data: None, make: false };
    hub.input(Input::Call { id: 9, call: ServerCall::Act { room: room.to_owned(), session, act } });
    hub.end_turn();
    assert!(hub.heard(link).iter().any(|frame| frame["type"] == "joined"));
}

/// Each command with the right it needs, `ROOM` standing for a room.
const VERBS: [(Right, &str); 7] = [
    (Right::Publish, r#""publish","room":"ROOM","event":"x""#),
    (Right::Presence, r#""members","room":"ROOM""#),
    (Right::Presence, r#""presence","room":"ROOM""#),
    (Right::History, r#""history","room":"ROOM""#),
    (Right::Join, r#""join","room":"battle-2""#),
    (Right::Create, r#""create","room":"battle-new""#),
    (Right::Send, r#""send","user":"zoe","event":"x""#),
];

#[test]
fn s27_every_role_has_its_rights_by_every_path_and_no_others() {
    let only = |right: Right| match right {
        Right::Send => "mina;*:send".to_owned(),
        right => format!("mina;battle-*:{}", right.as_str()),
    };
    let mut roles: Vec<(Option<String>, Vec<Right>)> =
        Right::ALL.map(|right| (Some(only(right)), vec![right])).to_vec();
    roles.push((Some("mina;battle-*:".to_owned()), Vec::new()));
    roles.push((Some("mina;other:*".to_owned()), Vec::new()));
    // The first rule that names a room decides: a wider one behind it does not help.
    roles.push((Some("mina;battle-*:;*:*".to_owned()), vec![Right::Send]));
    roles.push((Some("mina".to_owned()), Right::ALL.to_vec()));
    roles.push((Some("the-key-of-a-holder".to_owned()), Right::ALL.to_vec()));
    roles.push((Some("the-key-of-an-admin".to_owned()), Right::ALL.to_vec()));
    roles.push((None, vec![Right::Presence, Right::Join]));
    for (token, rights) in roles {
        let rules =
            token.is_none().then(|| vec![Rule::new("battle-*", ["presence", "join"]).unwrap()]);
        let mut hub = arena(rules);
        hub.open(0);
        let says = token.as_ref().map_or(String::new(), |token| format!(r#","token":"{token}""#));
        let welcome = hub.ask(0, format!(r#"{{"type":"hello","ref":1{says}}}"#));
        invite(&mut hub, 0, &welcome, "battle-1");
        let mut ask = |verb: &str, room: &str| {
            let command = format!(r#"{{"type":{},"ref":2}}"#, verb.replace("ROOM", room));
            let heard = hub.say(0, command);
            let answer = heard.into_iter().find(|frame| frame["ref"] == 2).unwrap();
            (answer["reason"].clone(), answer["message"].clone(), answer)
        };
        // What a recovery would tell is history too; the seat itself was given by the server.
        let since = r#""join","room":"ROOM","since":{"epoch":"AAAAAAAA","offset":0}"#;
        let (reason, _, joined) = ask(since, "battle-1");
        assert_eq!(joined["type"], "joined", "{token:?}");
        assert_eq!(reason == "forbidden", !rights.contains(&Right::History), "{token:?} {joined}");
        let list = ask(r#""rooms""#, "").2["rooms"].as_array().unwrap().len();
        let seen = match rights.contains(&Right::Presence) {
            true if rights == Right::ALL => 3,
            true => 2,
            false => usize::from(token.as_deref() == Some("mina;other:*")),
        };
        let seen = if token.as_deref() == Some("mina;battle-*:;*:*") { 1 } else { seen };
        assert_eq!(list, seen, "rooms of {token:?}");
        for (right, verb) in VERBS {
            let (reason, message, answer) = ask(verb, "battle-1");
            let allowed = rights.contains(&right);
            assert_eq!(answer["type"] != "error", allowed, "{token:?} {verb}: {answer}");
            if !allowed {
                assert_eq!(reason, "forbidden", "{token:?} {verb}: {answer}");
                // Threat S25: the same words for a room that is not there.
                let absent = ask(verb, "battle-absent");
                assert_eq!((absent.0, absent.1), (reason, message), "{token:?} {verb}");
            }
        }
    }
}

#[test]
fn s27_a_room_made_by_joining_needs_the_right_to_make_it() {
    let mut hub = arena(None);
    hello(&mut hub, 0, "mina;battle-*:join");
    let refused = hub.ask(0, r#"{"type":"join","ref":2,"room":"battle-new"}"#);
    assert_eq!(refused["reason"], "join_not_granted");
    hello(&mut hub, 2, "ida;battle-*:create");
    let refused = hub.ask(2, r#"{"type":"create","ref":2,"room":"battle-new","join":true}"#);
    assert_eq!(refused["message"], "rule 1 of your token: `battle-*` allows create, not join");
    hello(&mut hub, 3, "eve;battle-*:create,join");
    let joined = hub.ask(3, r#"{"type":"create","ref":2,"room":"battle-new","join":true}"#);
    assert_eq!(joined["type"], "joined");
    assert_eq!(hub.ask(0, r#"{"type":"join","ref":3,"room":"battle-new"}"#)["type"], "joined");
}

#[test]
fn s27_a_weaker_token_ends_the_seats_it_does_not_cover() {
    let mut hub = arena(None);
    let welcome = hello(&mut hub, 0, "mina;battle-*:*");
    invite(&mut hub, 0, &welcome, "other");
    hub.ask(0, r#"{"type":"join","ref":2,"room":"battle-1"}"#);
    hub.ask(0, r#"{"type":"join","ref":3,"room":"battle-2"}"#);
    hub.heard(1);
    let heard = hub.say(0, r#"{"type":"refresh","ref":4,"token":"mina;battle-2:*"}"#);
    assert_eq!(heard[0]["type"], "ok");
    assert_eq!((&heard[1]["room"], &heard[1]["reason"]), (&"battle-1".into(), &"revoked".into()));
    assert_eq!(heard.len(), 2, "the invited seat stays: {heard:?}");
    let left = hub.heard(1);
    assert_eq!((&left[0]["type"], &left[0]["reason"]), (&"member_left".into(), &"kicked".into()));
    // Nothing of the room reaches it any more, by any path.
    hub.ask(1, r#"{"type":"publish","ref":5,"room":"battle-1","event":"secret"}"#);
    assert!(hub.heard(0).is_empty());
    let refused = hub.ask(0, r#"{"type":"history","ref":5,"room":"battle-1"}"#);
    assert_eq!(refused["reason"], "forbidden");
    // The same when it comes back with a weaker token.
    hub.cut(0);
    hub.open(2);
    let (session, secret) = (&welcome["session"], &welcome["resume"]);
    let resume = format!(r#""resume":{{"session":{session},"secret":{secret}}}"#);
    let hello = format!(r#"{{"type":"hello","ref":1,"token":"mina;x:join",{resume}}}"#);
    let resumed = hub.ask(2, hello);
    assert_eq!(
        (&resumed["resumed"], &resumed["rooms"]),
        (&true.into(), &serde_json::json!(["other"]))
    );
    assert_eq!(hub.ask(2, r#"{"type":"join","ref":2,"room":"other"}"#)["type"], "joined");
    assert_eq!(hub.ask(2, r#"{"type":"join","ref":3,"room":"battle-2"}"#)["reason"], "forbidden");
}

#[test]
fn s37_a_refresh_moves_the_end_and_an_end_too_far_away_is_refused() {
    let mut hub = hub();
    hello(&mut hub, 0, "mina@0-30000");
    hub.advance(20_000);
    let refresh = |expires| format!(r#"{{"type":"refresh","ref":2,"token":"mina@0-{expires}"}}"#);
    assert_eq!(hub.ask(0, refresh(200_000_u64))["type"], "ok");
    assert_eq!(hub.ask(0, refresh(20_000))["reason"], "invalid_token");
    assert_eq!(hub.ask(0, refresh(1 << 40))["reason"], "invalid_token");
    hub.advance(179_999);
    assert_eq!(hub.closed.get(&0), None);
    hub.advance(1);
    assert_eq!(hub.closed.get(&0), Some(&CloseCode::TokenExpired));
}
