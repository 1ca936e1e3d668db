//! `roomcast config default` and `config init` against the code: complete, exact, and with the
//! bounds that hold.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use roomcast::config::{Config, DEFAULT_TOML, STARTER_TOML, TokenConfig};
use serde_json::Value;

const SECRET: &str = "32 bytes that are no secret to anybody";

/// A key of the printed default: its path, the text of its value, and the comment above it.
struct Entry {
    path: Vec<String>,
    value: String,
    comment: String,
}

/// Reads the printed default line by line. A key that has no default is printed behind a `#`
/// without a blank; `# ` begins a comment.
fn entries(text: &str) -> Vec<Entry> {
    let mut section = Vec::new();
    let mut comment = String::new();
    let mut entries = Vec::new();
    for line in text.lines() {
        if let Some(prose) = line.strip_prefix("# ") {
            comment.push_str(prose);
            comment.push(' ');
            continue;
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') {
            let path = line.trim_matches(['[', ']']).split('.');
            section = path.map(str::to_owned).collect();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let mut path = section.clone();
            path.push(key.to_owned());
            entries.push(Entry { path, value: value.to_owned(), comment: comment.clone() });
        }
        comment.clear();
    }
    entries
}

fn leaves(value: &Value, path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(children) => {
            for (key, child) in children {
                path.push(key.clone());
                leaves(child, path, found);
                path.pop();
            }
        }
        _ => {
            found.insert(path.join("."));
        }
    }
}

#[test]
fn the_printed_default_is_exactly_the_default() {
    assert_eq!(Config::from_toml(DEFAULT_TOML, "default"), Ok(Config::default()));
}

#[test]
fn every_key_is_printed_with_a_comment() {
    let mut keys = BTreeSet::new();
    leaves(&serde_json::to_value(Config::default()).unwrap(), &mut Vec::new(), &mut keys);
    // `keys = []` would forbid the `[[auth.keys]]` sections below it, so its parts are printed.
    keys.remove("auth.keys");
    keys.remove("auth.tokens");
    keys.remove("api.keys");
    keys.extend(["name", "hash", "verbs", "rooms"].map(|key| format!("api.keys.{key}")));
    keys.extend(["key", "user", "admin", "rooms"].map(|key| format!("auth.keys.{key}")));
    let one = toml::from_str::<TokenConfig>("algorithm = \"HS256\"").unwrap();
    let Value::Object(of_token) = serde_json::to_value(one).unwrap() else { panic!() };
    keys.extend(of_token.keys().map(|key| format!("auth.tokens.{key}")));
    let policy = ["anonymous", "anonymous_rooms", "convention", "create", "list_rooms"];
    keys.extend(policy.map(|key| format!("namespaces.game.{key}")));
    let entries = entries(DEFAULT_TOML);
    let printed: BTreeSet<_> = entries.iter().map(|entry| entry.path.join(".")).collect();
    let missing: Vec<_> = keys.difference(&printed).collect();
    assert!(missing.is_empty(), "not printed: {missing:?}");
    for entry in entries.iter().filter(|entry| entry.path.last().unwrap() != "members_max") {
        assert!(!entry.comment.is_empty(), "no comment above {}", entry.path.join("."));
    }
}

/// The bounds that a comment states: the first "LOW to HIGH" in it.
fn stated_bounds(comment: &str) -> Option<(i64, i64)> {
    let words = comment.split([' ', ',', ';', '.']).filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    let mut bounds = words.windows(3).filter(|three| three[1] == "to");
    bounds.find_map(|three| Some((three[0].parse().ok()?, three[2].parse().ok()?)))
}

fn set(path: &[String], number: i64) -> Result<(), String> {
    let (key, section) = path.split_last().unwrap();
    let section = section.join(".");
    let header = match section.as_str() {
        "" => String::new(),
        "auth.tokens" => format!("[[{section}]]\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n"),
        "socketio" => "[limits]\noutbox_bytes = 33554434\n[socketio]\n".to_owned(),
        _ => format!("[{section}]\n"),
    };
    // The outbox must hold two of the largest messages, whichever of the two is looked at.
    let along = match key.as_str() {
        "message_bytes" => "outbox_bytes = 33554434\n",
        "outbox_bytes" => "message_bytes = 1024\n",
        _ => "",
    };
    let text = format!("{header}{along}{key} = {number}\n");
    Config::from_toml(&text, "t")
        .and_then(|config| config.check())
        .map_err(|error| error.to_string())
}

#[test]
fn stated_bounds_are_the_bounds_that_hold() {
    let mut looked_at = 0;
    for entry in entries(DEFAULT_TOML) {
        let Ok(default) = entry.value.parse::<i64>() else { continue };
        if entry.path[0] == "namespaces" {
            continue;
        }
        let name = entry.path.join(".");
        let Some((low, high)) = stated_bounds(&entry.comment) else {
            assert!(entry.comment.contains("0: no bound"), "{name} states no bounds");
            continue;
        };
        assert!((low..=high).contains(&default) || default == 0, "{name}: default {default}");
        assert_eq!(set(&entry.path, low), Ok(()), "{name} at its lowest");
        assert_eq!(set(&entry.path, high), Ok(()), "{name} at its highest");
        assert!(set(&entry.path, high + 1).is_err(), "{name} above {high}");
        // 0 is `off` where the lowest is more.
        let below = if low > 1 { low - 1 } else { -1 };
        assert!(set(&entry.path, below).is_err(), "{name} below {low}");
        looked_at += 1;
    }
    assert!(looked_at >= 30, "only {looked_at} keys have bounds");
}

#[test]
fn the_starter_file_is_the_default_and_holds_when_its_lines_are_used() {
    assert_eq!(Config::from_toml(STARTER_TOML, "starter"), Ok(Config::default()));
    let used: Vec<_> = STARTER_TOML
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        })
        .collect();
    let config = Config::from_toml(&used.join("\n"), "starter").unwrap();
    assert_eq!(config.check(), Ok(()));
    assert!(config.namespaces["default"].r#static.contains_key("lobby"));
}
