//! The walls around the pure crates: their dependencies, their bans, and no way around them.

use crate::imports::dependencies;
use crate::source::{code_only, words};

/// What the pure crates may depend on. A new line needs a reason why it opens no socket, reads no
/// clock and draws no chance.
pub const ALLOWED: &[(&str, &[&str])] = &[
    (
        "core",
        &[
            "bytes",
            "compact_str",
            "foldhash",
            "hashbrown",
            "rand_chacha",
            "roomcast-wire",
            "serde",
            "serde_json",
            "slab",
            "subtle",
            "thiserror",
        ],
    ),
    (
        "wire",
        &[
            "base64",
            "bytes",
            "compact_str",
            "flate2",
            "httparse",
            "rmp",
            "serde",
            "serde_json",
            "sha1",
            "simdutf8",
            "siphasher",
            "thiserror",
        ],
    ),
];

/// Bans that may never leave the wall.
const BANS: &[&str] = &[
    "std::collections::HashMap",
    "std::fs::File",
    "std::hash::RandomState",
    "std::io::stderr",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::println",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::thread::sleep",
    "std::thread::spawn",
    "std::time::Instant",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
];

pub fn is_pure(path: &str) -> bool {
    let pure = ["crates/core/src/", "crates/wire/src/"];
    path.ends_with(".rs") && pure.iter().any(|folder| path.starts_with(folder))
}

pub fn check_dependencies(path: &str, manifest: &str, allowed: &[&str]) -> Vec<String> {
    let wrong = dependencies(manifest).filter(|name| !allowed.contains(name));
    wrong.map(|name| format!("{path}: `{name}` is not on the list of the pure crates")).collect()
}

pub fn check_bans(path: &str, clippy: &str) -> Vec<String> {
    let missing = BANS.iter().filter(|ban| !clippy.contains(&format!("path = \"{ban}\"")));
    missing.map(|ban| format!("{path}: the ban of {ban} is missing")).collect()
}

/// What no lint finds, and lints that are switched off.
pub fn check_purity(_: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let waiting = words(&code).filter(|(_, word)| ["async", "await"].contains(word));
    let mut complaints: Vec<_> =
        waiting.map(|(line, word)| format!("line {line}: nothing waits here (`{word}`)")).collect();
    for (number, line) in code.lines().enumerate() {
        if line.contains("clippy::disallowed") {
            complaints.push(format!("line {}: the wall has no door", number + 1));
        }
    }
    complaints
}

/// The lists of a clippy.toml are sorted by path, so that a ban is found and not written twice.
pub fn check_sorted(clippy: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut before = "";
    for line in clippy.lines() {
        let path = line.trim().strip_prefix("{ path = \"").and_then(|rest| rest.split('"').next());
        match path {
            Some(path) if path <= before => complaints.push(format!("{path} is not sorted in")),
            Some(path) => before = path,
            None => before = "",
        }
    }
    complaints
}

pub fn check_lints(manifest: &str) -> Vec<String> {
    if manifest.contains("[lints]\nworkspace = true") {
        return Vec::new();
    }
    vec!["the lints of the workspace are missing: [lints] workspace = true".to_owned()]
}

#[test]
fn a_dependency_off_the_list_is_found() {
    let manifest = "[dependencies]\nbytes.workspace = true\nrand = \"1\"\n";
    let found = check_dependencies("a", manifest, &["bytes"]);
    assert_eq!(found, ["a: `rand` is not on the list of the pure crates"]);
    for (name, list) in ALLOWED {
        assert!(list.is_sorted(), "the list of {name}");
    }
}

#[test]
fn a_missing_ban_is_found() {
    assert_eq!(check_bans("a", "").len(), BANS.len());
    let all = BANS.iter().map(|ban| format!("{{ path = \"{ban}\", reason = \"\" }}\n"));
    let all: Vec<_> = all.collect();
    assert_eq!(check_bans("a", &all.concat()), Vec::<String>::new());
    assert_eq!(check_bans("a", &all[1..].concat()).len(), 1);
}

#[test]
fn waiting_and_switched_off_lints_are_found() {
    assert_eq!(check_purity("", "async fn f() { g().await }").len(), 2);
    assert_eq!(check_purity("", "#[allow(clippy::disallowed_types)]\nfn f() {}").len(), 1);
    assert_eq!(check_purity("", "// async, clippy::disallowed_types\nfn f() {}").len(), 0);
    assert!(is_pure("crates/core/src/room.rs") && !is_pure("crates/core/tests/a.rs"));
}

#[test]
fn an_unsorted_list_is_found() {
    let list = |paths: &[&str]| {
        let lines =
            paths.iter().map(|path| format!("    {{ path = \"{path}\", reason = \"\" }},\n"));
        format!("a = [\n{}]\n", lines.collect::<String>())
    };
    assert_eq!(check_sorted(&list(&["a::b", "a::c"])), Vec::<String>::new());
    assert_eq!(check_sorted(&list(&["a::c", "a::b"])).len(), 1);
    assert_eq!(check_sorted(&list(&["a::b", "a::b"])).len(), 1);
    let two = format!("{}{}", list(&["z"]), list(&["a"]));
    assert_eq!(check_sorted(&two), Vec::<String>::new());
}

#[test]
fn a_crate_without_the_lints_is_found() {
    assert_eq!(check_lints("[package]\n").len(), 1);
    assert_eq!(check_lints("[package]\n\n[lints]\nworkspace = true\n").len(), 0);
}
