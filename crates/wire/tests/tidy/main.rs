//! The house rules that no compiler holds: lengths, imports, walls, leftovers, links. Each rule is
//! a function from text to complaints, shown able to fail by its own tests, and run here over the
//! whole workspace. It stands in this crate because that builds in seconds.
// It reads files; the crate reads none.
#![allow(clippy::disallowed_methods)]

mod examples;
mod imports;
mod leftovers;
mod lengths;
mod links;
mod source;
mod tables;
mod walls;
mod workspace;

use workspace::{Files, read};

/// Fails with one line for each complaint.
#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What a rule says of every file that `wanted` picks.
fn each(
    files: &Files,
    wanted: impl Fn(&str) -> bool,
    rule: impl Fn(&str, &str) -> Vec<String>,
) -> Vec<String> {
    let wanted = files.paths().filter(|path| wanted(path));
    let complaints = wanted.flat_map(|path| {
        let found = rule(path, &read(path));
        found.into_iter().map(move |complaint| format!("{path}: {complaint}"))
    });
    complaints.collect()
}

#[test]
fn the_walk_finds_the_workspace() {
    let files = Files::all();
    for path in
        ["Cargo.toml", "README.md", "crates/wire/src/lib.rs", "crates/wire/tests/tidy/main.rs"]
    {
        assert!(files.paths().any(|found| found == path), "{path} is not among the files");
    }
    assert!(!files.paths().any(|path| path.starts_with("target/")), "target/ is not source");
}

#[test]
fn files_functions_and_lines_are_short() {
    let files = Files::all();
    none(each(&files, lengths::applies, lengths::check));
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let files = Files::all();
    none(each(&files, |path| path.ends_with(".rs"), imports::check));
    none(each(&files, |path| path.ends_with("Cargo.toml"), imports::check_manifest));
}

#[test]
fn the_pure_crates_depend_on_little() {
    for (name, allowed) in walls::ALLOWED {
        let path = format!("crates/{name}/Cargo.toml");
        none(walls::check_dependencies(&path, &read(&path), allowed));
    }
}

#[test]
fn the_pure_crates_have_their_wall() {
    let core = read("crates/core/clippy.toml");
    none(walls::check_bans("crates/core/clippy.toml", &core));
    assert!(core == read("crates/wire/clippy.toml"), "the clippy.toml of wire and core differ");
    let files = Files::all();
    none(each(&files, walls::is_pure, walls::check_purity));
    none(each(&files, |path| path.ends_with("clippy.toml"), |_, text| walls::check_sorted(text)));
}

/// The files with code that the compiler cannot check, each with its reasons.
const UNSAFE: [&str; 1] = ["crates/server/src/cli/memory.rs"];

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let files = Files::all();
    let manifests = |path: &str| {
        let ours = ["crates/", "examples/"].iter().any(|folder| path.starts_with(folder));
        ours && path.ends_with("Cargo.toml")
    };
    none(each(&files, manifests, |_, text| walls::check_lints(text)));
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""), "unsafe code is denied");
}

#[test]
fn unsafe_code_is_where_it_is_known_to_be() {
    let files = Files::all();
    let sources = |path: &str| path.ends_with(".rs") && !path.contains("/tidy/");
    let complaints = each(&files, sources, |path, text| {
        let has_some = text.contains("allow(unsafe_code)");
        let complaint = format!("unsafe code belongs in one of {UNSAFE:?}");
        (has_some && !UNSAFE.contains(&path)).then_some(complaint).into_iter().collect()
    });
    none(complaints);
}

#[test]
fn nothing_is_left_over() {
    let files = Files::all();
    none(each(&files, leftovers::applies, leftovers::check));
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let files = Files::all();
    let complaints = each(
        &files,
        |path| path.ends_with(".md"),
        |path, text| links::check(path, text, |target| files.exists(target)),
    );
    none(complaints);
}

#[test]
fn the_tests_that_documents_name_exist() {
    let files = Files::all();
    let sources = files.paths().filter(|path| path.ends_with(".rs"));
    let functions = sources.flat_map(|path| tables::functions(&read(path)).collect::<Vec<_>>());
    let functions = functions.collect();
    let documents = |path: &str| path.ends_with(".md");
    none(each(&files, documents, |_, text| tables::check(text, &functions)));
}

#[test]
fn what_a_program_can_name_is_shown_by_an_example() {
    let files = Files::all();
    none(examples::check(files.paths(), read));
}

#[test]
fn the_map_stays_short() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= 250, "ARCHITECTURE.md has {lines} lines, 250 are allowed");
}
