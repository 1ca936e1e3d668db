//! From a [`Config`] to what the hub is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use roomcast_core::rights::RulesOf;
use roomcast_core::{Grants, HubConfig, KeyGrant, Limits, Logics, NamespaceConfig, Rule};
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::options::Durability;
use roomcast_wire::{Name, RoomOptions};
use serde_json::Value;

use super::problem::{ConfigError, Problem, none_of};
use super::suggest::hint;
use super::{Config, LimitsConfig, NamespaceSection};
use crate::auth;

impl Config {
    /// What the hub is told, after the same look at everything as in [`Config::check`]; but there
    /// may be no listener, as the embedding program may bring clients.
    ///
    /// # Errors
    /// Every problem that [`Config::check`] finds.
    pub(crate) fn hub_config(
        &self,
        seed: [u8; 32],
        shards: u16,
        logics: Logics,
    ) -> Result<HubConfig, ConfigError> {
        none_of(self.problems(&logics))?;
        let listeners = self.listeners()?;
        let all_loopback =
            !listeners.is_empty() && listeners.iter().all(super::ListenerUrl::is_loopback);
        let mut problems = Vec::new();
        let namespaces = namespaces(self, &logics, all_loopback, &mut problems);
        let keys = keys(self, &mut problems);
        none_of(problems)?;
        let limits = limits(&self.limits);
        let recovery = self.socketio.replay_bounds(&self.limits);
        Ok(HubConfig {
            shards,
            seed,
            namespaces,
            keys,
            limits,
            recovery,
            logics,
            log: self.data_dir.is_some(),
            ..HubConfig::default()
        })
    }

    /// Whether sessions without a key are let into a namespace.
    pub fn is_anonymous_allowed(&self, namespace: &str) -> bool {
        let own = self.namespaces.get(namespace).and_then(|section| section.anonymous);
        own.unwrap_or(self.auth.anonymous)
    }
}

pub(super) fn namespaces(
    config: &Config,
    logics: &Logics,
    all_loopback: bool,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, NamespaceConfig> {
    let always = NamespaceSection::default();
    let mut sections: BTreeMap<&str, &NamespaceSection> =
        config.namespaces.iter().map(|(name, section)| (name.as_str(), section)).collect();
    sections.entry(DEFAULT_NAMESPACE).or_insert(&always);
    let mut read = |name: &str, section: &NamespaceSection| {
        let anonymous = config.is_anonymous_allowed(name);
        let path = format!("namespaces.{name}");
        check_half(&path, name, problems);
        let rooms = format!("{path}.rooms");
        let lay = |path: &str, base: &RoomOptions, patch: &toml::Table, problems: &mut _| {
            let options = overlay(path, base, patch, problems);
            if (&options.logic, &options.logic_config) != (&base.logic, &base.logic_config) {
                check_logic(path, &options, logics, problems);
            }
            if options.durable != base.durable {
                check_durable(config, path, &options, problems);
            }
            options
        };
        let options = lay(&rooms, &config.rooms, &section.rooms, problems);
        let anonymous_grants = anonymous_rules(name, section, problems);
        let static_rooms = section.r#static.iter().map(|(room, patch)| {
            let path = format!("{path}.static.{room}");
            check_half(&path, room, problems);
            (room.clone(), lay(&path, &options, patch, problems))
        });
        let static_rooms = static_rooms.collect();
        let patterns = section.patterns.iter().enumerate().map(|(at, patch)| {
            let path = format!("{path}.patterns[{at}]");
            let mut patch = patch.clone();
            let pattern = match patch.remove("match") {
                Some(toml::Value::String(pattern)) if !pattern.is_empty() => pattern,
                _ => {
                    let text = "`match` must say which rooms: \"battle-*\", for example";
                    problems.push(Problem::new(&path, text));
                    String::new()
                }
            };
            (pattern, lay(&path, &options, &patch, problems))
        });
        let patterns = patterns.collect();
        if let Some(lobby) = &section.lobby {
            check_half(&format!("{path}.lobby"), lobby, problems);
        }
        for name in &section.client_logics {
            check_logic_name(&format!("{path}.client_logics"), name, logics, problems);
        }
        NamespaceConfig {
            anonymous,
            anonymous_grants,
            create: section.create.unwrap_or(true),
            list_rooms: section.list_rooms.unwrap_or(all_loopback && anonymous),
            static_rooms,
            patterns,
            client_logics: section.client_logics.clone(),
            lobby: section.lobby.clone(),
            convention: section.convention.unwrap_or(true),
            options,
        }
    };
    sections.into_iter().map(|(name, section)| (name.to_owned(), read(name, section))).collect()
}

pub(super) fn keys(config: &Config, problems: &mut Vec<Problem>) -> Vec<KeyGrant> {
    let user = |at: usize, text: &str, problems: &mut Vec<Problem>| {
        let place = format!("auth.keys[{at}].user");
        Name::new(text).map_err(|error| problems.push(Problem::new(place, error.to_string()))).ok()
    };
    let grants = config.auth.keys.iter().enumerate().map(|(at, key)| KeyGrant {
        key: key.key.clone(),
        user: key.user.as_deref().and_then(|text| user(at, text, problems)),
        admin: key.admin,
        grants: key.rooms.as_deref().map(|rooms| {
            let rules = auth::rules(rooms).unwrap_or_else(|message| {
                problems.push(Problem::new(format!("auth.keys[{at}].rooms"), message));
                Vec::new()
            });
            Arc::new(Grants::new(RulesOf::Key, rules))
        }),
    });
    grants.collect()
}

/// What sessions without a token may do in the rooms of a namespace.
fn anonymous_rules(
    name: &str,
    section: &NamespaceSection,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Rule>> {
    let rooms = section.anonymous_rooms.as_deref()?;
    let foreign = rooms.iter().find(|rule| rule.room.contains('/'));
    let rules = match foreign {
        _ if name.contains(['*', '?']) => {
            Err("the namespace's name is a pattern itself: name it without * and ?".into())
        }
        Some(rule) => Err(format!("`{}`: the rules are for this namespace only", rule.room)),
        None => auth::rules(rooms),
    };
    let place = format!("namespaces.{name}.anonymous_rooms");
    let wrong = |message| problems.push(Problem::new(place, message));
    Some(rules.map_err(wrong).unwrap_or_default())
}

/// Whether there is the logic that the options name, and whether it can be told what they tell it.
pub(super) fn check_logic(
    path: &str,
    options: &RoomOptions,
    logics: &Logics,
    problems: &mut Vec<Problem>,
) {
    let known = options
        .logic
        .as_deref()
        .is_none_or(|name| check_logic_name(&format!("{path}.logic"), name, logics, problems));
    if known && let Err(text) = logics.check(options) {
        problems.push(Problem::new(path, text));
    }
}

/// Whether there is a log, if the rooms want one.
pub(super) fn check_durable(
    config: &Config,
    path: &str,
    options: &RoomOptions,
    problems: &mut Vec<Problem>,
) {
    if options.durable != Durability::Off && config.data_dir.is_none() {
        let text = "durable rooms need a folder for their log: set `data_dir`";
        problems.push(Problem::new(format!("{path}.durable"), text));
    }
}

fn check_logic_name(path: &str, name: &str, logics: &Logics, problems: &mut Vec<Problem>) -> bool {
    let names = logics.names();
    if names.contains(&name) {
        return true;
    }
    let hint = hint(name, names.iter().copied());
    let text = format!("unknown logic `{name}`{hint} (known: {})", names.join(", "));
    problems.push(Problem::new(path, text));
    false
}

/// A namespace or a room stands on one side of the `/` in `namespace/room`.
fn check_half(path: &str, name: &str, problems: &mut Vec<Problem>) {
    if let Err(error) = Name::new(name) {
        problems.push(Problem::new(path, error.to_string()));
    } else if name.contains('/') {
        problems.push(Problem::new(path, "`/` may not stand in the name"));
    }
}

/// `base` with what `patch` says otherwise. One key at a time, so that a problem names its key.
fn overlay(
    path: &str,
    base: &RoomOptions,
    patch: &toml::Table,
    problems: &mut Vec<Problem>,
) -> RoomOptions {
    let before = problems.len();
    let mut options = base.clone();
    if patch.contains_key("logic") {
        // What another logic is told means nothing to this one.
        options.logic_config = None;
    }
    // Plain structs, enums and a table read from a file: nothing that JSON cannot hold.
    let patch = serde_json::to_value(patch).unwrap_or_default();
    put(path, &patch, &mut Vec::new(), &mut options, problems);
    // What is wrong in the base is reported where it is written.
    if problems.len() == before && base.check().is_ok() {
        problems.extend(options.check().err().map(|message| Problem::new(path, message)));
    }
    options
}

fn put(
    path: &str,
    patch: &Value,
    keys: &mut Vec<String>,
    options: &mut RoomOptions,
    problems: &mut Vec<Problem>,
) {
    let Value::Object(patch) = patch else { return };
    for (key, value) in patch {
        keys.push(key.clone());
        let mut whole = serde_json::to_value(&*options).unwrap_or_default();
        let place = format!("{path}.{}", keys.join("."));
        match slot(&mut whole, keys) {
            Ok(slot) if key != "logic_config" && slot.is_object() && value.is_object() => {
                put(path, value, keys, options, problems);
            }
            Ok(slot) => {
                *slot = value.clone();
                match serde_json::from_value(whole) {
                    Ok(changed) => *options = changed,
                    Err(error) => problems.push(Problem::new(place, error.to_string())),
                }
            }
            Err(hint) => problems.push(Problem::new(place, format!("unknown option{hint}"))),
        }
        keys.pop();
    }
}

/// The value at `keys`, or the hint for the key that is not there.
fn slot<'a>(whole: &'a mut Value, keys: &[String]) -> Result<&'a mut Value, String> {
    keys.iter().try_fold(whole, |value, key| {
        let Value::Object(children) = value else { return Err(String::new()) };
        let hint = hint(key, children.keys().map(String::as_str));
        children.get_mut(key).ok_or(hint)
    })
}

fn limits(config: &LimitsConfig) -> Limits {
    Limits {
        message_bytes: config.message_bytes,
        message_bytes_unknown_peer: config.message_bytes_unknown_peer,
        outbox_bytes: config.outbox_bytes,
        rooms_per_session: config.rooms_per_session,
        rooms: config.rooms,
        sessions_dropped: config.sessions_dropped,
        ping_ms: config.ping_ms,
        pong_ms: config.pong_ms,
        first_message_ms: config.first_message_ms,
        resume_ms: config.resume_ms,
        commands_per_s: config.commands_per_s,
        fanout_bytes_per_s: config.fanout_bytes_per_s,
        creates_per_s: config.creates_per_s,
        errors_in_a_row: config.errors_in_a_row,
        key_ms: config.key_ms,
        keys_per_room: config.keys_per_room,
        token_ms: config.token_ms,
        revocations: config.revocations,
        list_max: config.list_max,
        hook_ms: config.hook_ms,
        hooks_waiting: config.hooks_waiting,
        call_ms: config.call_ms,
        calls_per_session: config.calls_per_session,
        calls_waiting: config.calls_waiting,
        log_waiting_bytes: config.log_waiting_bytes,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hub(text: &str) -> Result<HubConfig, String> {
        let config = Config::from_toml(text, "f.toml").unwrap();
        config.hub_config([7; 32], 2, Logics::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_configuration_is_the_default_hub() {
        let hub = hub("").unwrap();
        assert_eq!((hub.shards, hub.seed), (2, [7; 32]));
        assert_eq!(hub.limits, Limits::default());
        let namespace = &hub.namespaces["default"];
        assert!(namespace.anonymous && namespace.create && namespace.list_rooms);
        assert_eq!(namespace.options, RoomOptions::default());
    }

    #[test]
    fn options_are_laid_over_each_other() {
        let hub = hub("[rooms]\nmembers_max = 9\necho = false\n\
             [namespaces.game.rooms]\nmembers_max = 8\nhistory.size = 7\n\
             [namespaces.game.static.lobby]\nhistory = { age_s = 6 }\n")
        .unwrap();
        let game = &hub.namespaces["game"];
        assert_eq!((game.options.members_max, game.options.echo), (8, false));
        let lobby = &game.static_rooms["lobby"];
        assert_eq!((lobby.members_max, lobby.history.size, lobby.history.age_s), (8, 7, 6));
        assert_eq!(lobby.history.bytes, RoomOptions::default().history.bytes);
        assert_eq!(hub.namespaces["default"].options.members_max, 9);
    }

    #[test]
    fn a_namespace_has_a_lobby_and_patterns_of_rooms() {
        let hub = hub("[namespaces.game]\nlobby = \"hall\"\nclient_logics = [\"relay\"]\n\
             [namespaces.game.rooms]\nmembers_max = 8\n\
             [[namespaces.game.patterns]]\nmatch = \"duel-*\"\nmembers_max = 2\n\
             [[namespaces.game.patterns]]\nmatch = \"*\"\necho = false\n")
        .unwrap();
        let game = &hub.namespaces["game"];
        assert_eq!(
            (game.lobby.as_deref(), &game.client_logics),
            (Some("hall"), &vec!["relay".into()])
        );
        assert_eq!(
            (game.options_of("duel-1").members_max, game.options_of("duel-1").echo),
            (2, true)
        );
        assert_eq!((game.options_of("x").members_max, game.options_of("x").echo), (8, false));
    }

    #[test]
    fn an_unknown_logic_is_named_with_those_there_are() {
        let said = hub("[namespaces.a.rooms]\nlogic = \"relai\"\n").unwrap_err();
        let wanted =
            "namespaces.a.rooms.logic: unknown logic `relai`; did you mean `relay`? (known: ";
        assert!(said.starts_with(wanted), "{said}");
        let said = hub("[rooms]\nlogic = \"nothing\"\n[namespaces.a.rooms]\necho = false\n");
        let said = said.unwrap_err();
        assert!(said.starts_with("rooms.logic: ") && said.lines().count() == 1, "{said}");
        let said = hub("[namespaces.a]\nclient_logics = [\"x\"]\nlobby = \"a/b\"\n\
             [[namespaces.a.patterns]]\nmembers_max = 3\n")
        .unwrap_err();
        for part in ["namespaces.a.client_logics: ", "namespaces.a.lobby: ", "patterns[0]: `match`"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let said = hub("[rooms]\nlogic_config = { a = 1 }\n").unwrap_err();
        assert!(said.starts_with("rooms: `logic_config`"), "{said}");
        let mut logics = Logics::default();
        logics.insert("mine", |_| unreachable!("only looked at")).unwrap();
        let config = Config::from_toml("[rooms]\nlogic = \"mine\"\n", "f.toml").unwrap();
        assert!(config.hub_config([7; 32], 2, logics).is_ok());
    }

    #[test]
    fn a_wrong_option_is_named_by_its_path() {
        let said = hub("[namespaces.game.rooms]\nttl_s = 9\n").unwrap_err();
        assert!(said.starts_with("namespaces.game.rooms: `ttl_s` is 9"), "{said}");
        let said = hub("[namespaces.game.static.lobby]\nhistory.size = \"x\"\n").unwrap_err();
        assert!(said.starts_with("namespaces.game.static.lobby.history.size: "), "{said}");
        let mut config = Config::default();
        let mut section = NamespaceSection::default();
        section.rooms.insert("members_mx".into(), toml::Value::Integer(1));
        config.namespaces.insert("game".into(), section);
        let said = config.hub_config([0; 32], 1, Logics::default()).unwrap_err().to_string();
        assert!(said.contains("rooms.members_mx: unknown option; did you mean `members_max`?"));
        let said = hub("[namespaces.\"a/b\"]\n[namespaces.c.static.\"d\\te\"]\n").unwrap_err();
        assert_eq!(said.lines().count(), 2, "{said}");
    }

    #[test]
    fn rooms_are_listed_only_where_nobody_else_can_ask() {
        let listed = |text: &str| hub(text).unwrap().namespaces["default"].list_rooms;
        assert!(listed("listen = [\"tcp://[::1]:0\"]"));
        assert!(!listed("insecure = true\nlisten = [\"tcp://[::1]:0\", \"ws://0.0.0.0:0\"]"));
        let open = "insecure = true\nlisten = [\"ws://0.0.0.0:0\"]\n";
        assert!(listed(&format!("{open}[namespaces.default]\nlist_rooms = true")));
        assert!(!listed("[auth]\nanonymous = false\nkeys = [{ key = \"0123456789abcdef\" }]"));
    }

    #[test]
    fn keys_reach_the_hub() {
        let hub = hub("[[auth.keys]]\nkey = \"0123456789abcdef\"\nuser = \"ops\"\nadmin = true");
        let hub = hub.unwrap();
        assert_eq!(hub.keys[0].key, "0123456789abcdef");
        assert_eq!((hub.keys[0].user.as_deref(), hub.keys[0].admin), (Some("ops"), true));
    }
}
