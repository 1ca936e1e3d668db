//! Tokens and what they are bound to: each right by every path, their end, and their revocation.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::Hub;
use roomcast_core::rights::RulesOf;
use roomcast_core::{
    Authenticate, Grants, HubConfig, Identity, Input, NamespaceConfig, Now, Revoked, Rule,
    ServerCall,
};
use roomcast_wire::{CloseCode, ErrorCode, Name, Refusal};

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
