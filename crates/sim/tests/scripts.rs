//! Every script of `scripts/` gives the same text with one shard, with several, and with several
//! nodes, in JSON and with MessagePack beside it. `UPDATE=1` rewrites what is expected.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use roomcast_sim::script::{self, Variant};
use roomcast_wire::{CloseCode, ErrorCode};

const VARIANTS: [Variant; 6] = [
    Variant { shards: 1, mixed: false, nodes: 1 },
    Variant { shards: 1, mixed: true, nodes: 1 },
    Variant { shards: 3, mixed: false, nodes: 1 },
    Variant { shards: 4, mixed: true, nodes: 1 },
    Variant { shards: 1, mixed: false, nodes: 2 },
    Variant { shards: 2, mixed: true, nodes: 3 },
];

fn scripts() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_script_goes_as_written() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for (path, text) in scripts() {
        let mut expected = text.clone();
        for variant in VARIANTS {
            let played = script::play(&expected, variant);
            let name = path.file_name().unwrap().to_string_lossy();
            match played {
                Ok(played) if played == expected => {}
                Ok(played) if update && variant == VARIANTS[0] => expected = played,
                Ok(played) => {
                    let difference = script::difference(&expected, &played);
                    wrong.push(format!("{name} ({variant:?}), {difference}"));
                }
                Err(error) => wrong.push(format!("{name} ({variant:?}): {error}")),
            }
        }
        if expected != text {
            std::fs::write(&path, expected).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where in what is expected a word stands behind another.
fn said(word: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in scripts() {
        for line in text.lines().filter_map(|line| Some(line.split_once(" < ")?.1)) {
            if let Some(rest) = line.strip_prefix(word) {
                found.extend(rest.split([' ', ')']).next().map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn every_error_code_occurs() {
    // No way is known to make the hub fail from outside.
    let unreachable = [ErrorCode::Internal];
    let said = said("error ");
    let codes = ErrorCode::ALL.iter().filter(|code| !unreachable.contains(code));
    let missing: Vec<_> = codes.filter(|code| !said.contains(code.reason())).collect();
    assert!(missing.is_empty(), "in no script: {missing:?}");
}

#[test]
fn every_close_code_of_the_hub_occurs() {
    // The others belong to framing and transports, or to a hub that is at fault.
    let hub = [
        CloseCode::Normal,
        CloseCode::SlowReader,
        CloseCode::NoPong,
        CloseCode::Drain,
        CloseCode::Replaced,
        CloseCode::Silent,
        CloseCode::Unauthorized,
        CloseCode::TooManyErrors,
        CloseCode::Disconnected,
    ];
    let said = said("goodbye ");
    let missing: Vec<_> = hub.iter().filter(|code| !said.contains(code.reason())).collect();
    assert!(missing.is_empty(), "in no script: {missing:?}");
}

#[test]
fn a_wrong_expectation_is_found() {
    let text = "alice: ping\nalice < gong\n";
    let played = script::play(text, VARIANTS[0]).unwrap();
    assert_ne!(played, text);
    assert!(script::difference(text, &played).contains("- alice < gong\n+ alice < pong"));
}
