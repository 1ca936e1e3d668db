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
