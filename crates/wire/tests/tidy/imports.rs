//! Which part may name which other.

use crate::source::{code_only, words};

/// A folder, and the words its code may not hold.
struct Row {
    folder: &'static str,
    /// Parts of the folder that may.
    but: &'static [&'static str],
    forbidden: &'static [&'static str],
    reason: &'static str,
}

const TABLE: &[Row] = &[
    Row {
        folder: "crates/client/src/",
        but: &[],
        forbidden: &["roomcast", "roomcast_core", "roomcast_sim"],
        reason: "the client knows the words only: client → wire",
    },
    Row {
        folder: "crates/core/src/",
        but: &[],
        forbidden: &["roomcast", "roomcast_client", "roomcast_sim"],
        reason: "core → wire",
    },
    Row {
        folder: "crates/core/src/",
        but: &[],
        forbidden: &["dialect", "engine", "handshake", "transport", "ws"],
        reason: "the hub knows formats, not how they are spoken or carried",
    },
    Row {
        folder: "crates/server/src/",
        but: &[],
        forbidden: &["roomcast_sim"],
        reason: "server → core + wire + client",
    },
    Row {
        folder: "crates/server/src/",
        but: &[
            "crates/server/src/testing/world.rs",
            "crates/server/src/worker.rs",
            "crates/server/src/worker/",
        ],
        forbidden: &["Shard"],
        reason: "only the worker calls Shard::handle, followed by a full drain",
    },
    Row {
        folder: "crates/server/src/engine/",
        but: &[],
        forbidden: &["Link", "SessionId", "transport"],
        reason: "an engine carries envelopes and knows no session and no link",
    },
    Row {
        folder: "crates/server/src/transport/",
        but: &[],
        forbidden: &["engine", "roomcast_core", "RoomPath", "SessionId"],
        reason: "a transport carries frames and knows no room, session, core or engine",
    },
    Row {
        folder: "crates/sim/src/",
        but: &[],
        forbidden: &["roomcast", "roomcast_client"],
        reason: "sim → core + wire",
    },
    Row {
        folder: "crates/wire/src/",
        but: &[],
        forbidden: &["roomcast", "roomcast_client", "roomcast_core", "roomcast_sim"],
        reason: "wire imports no other crate of ours",
    },
];

/// Crates of ours that each crate may depend on, its tests aside.
const EDGES: &[(&str, &[&str])] = &[
    ("client", &["roomcast-wire"]),
    ("core", &["roomcast-wire"]),
    ("server", &["roomcast-client", "roomcast-core", "roomcast-wire"]),
    ("sim", &["roomcast-core", "roomcast-wire"]),
    ("wire", &[]),
];

pub fn check(path: &str, text: &str) -> Vec<String> {
    let code = code_only(text);
    let rows = TABLE.iter().filter(|row| {
        path.starts_with(row.folder) && !row.but.iter().any(|but| path.starts_with(but))
    });
    let complaints = rows.flat_map(|row| {
        let forbidden = words(&code).filter(|(_, word)| row.forbidden.contains(word));
        forbidden.map(|(line, word)| format!("line {line} names `{word}`: {}", row.reason))
    });
    complaints.collect()
}

pub fn check_manifest(path: &str, text: &str) -> Vec<String> {
    let name = path.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/Cargo.toml"));
    let Some(name) = name else { return Vec::new() };
    let Some((_, allowed)) = EDGES.iter().find(|(edge, _)| *edge == name) else {
        return vec!["a new crate needs its row in the import table".to_owned()];
    };
    let ours = dependencies(text).filter(|dependency| dependency.starts_with("roomcast"));
    let wrong = ours.filter(|dependency| !allowed.contains(dependency));
    wrong.map(|dependency| format!("may not depend on {dependency}")).collect()
}

/// The names under `[dependencies]`.
pub fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#'))
}

#[test]
fn a_forbidden_name_is_found_in_code_but_not_in_comments() {
    let found = check("crates/core/src/room.rs", "use roomcast_wire::dialect::native;\n");
    assert_eq!(
        found,
        ["line 1 names `dialect`: the hub knows formats, not how they are spoken or carried"]
    );
    let comment = "/// Not the transport's, see `roomcast_wire::dialect`.\nfn f() {}\n";
    assert_eq!(check("crates/core/src/room.rs", comment), Vec::<String>::new());
    assert_eq!(check("crates/client/src/lib.rs", "use roomcast_core::Shard;").len(), 1);
    assert_eq!(check("crates/server/src/transport/ws.rs", "\nuse roomcast_core::LinkId;").len(), 1);
    assert_eq!(check("crates/wire/src/push.rs", "roomcast_wire::Push").len(), 0);
}

#[test]
fn only_the_worker_may_drive_a_shard() {
    let code = "fn turn(shard: &mut Shard) { shard.handle(now, input); }";
    assert_eq!(check("crates/server/src/worker.rs", code).len(), 0);
    assert_eq!(check("crates/server/src/worker/turn.rs", code).len(), 0);
    assert_eq!(check("crates/server/src/http/api.rs", code).len(), 1);
    assert_eq!(check("crates/sim/src/world.rs", code).len(), 0);
}

#[test]
fn a_forbidden_edge_between_crates_is_found() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\n# why\nbytes.workspace = true\n\
                    roomcast-core = { path = \"../core\" }\n\n\
                    [dev-dependencies]\nroomcast-sim = \"1\"\n";
    assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["bytes", "roomcast-core"]);
    let found = check_manifest("crates/client/Cargo.toml", manifest);
    assert_eq!(found, ["may not depend on roomcast-core"]);
    assert_eq!(check_manifest("crates/sim/Cargo.toml", manifest).len(), 0);
    assert_eq!(check_manifest("crates/new/Cargo.toml", manifest).len(), 1);
    assert_eq!(check_manifest("fuzz/Cargo.toml", manifest).len(), 0);
}
