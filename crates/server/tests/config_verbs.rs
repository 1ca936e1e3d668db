//! `roomcast config …` as a person runs it.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn roomcast(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    let inherited =
        std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ROOMCAST_"));
    for (key, _) in inherited {
        command.env_remove(key);
    }
    command.current_dir(dir).args(args).envs(env.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn init_writes_a_file_that_check_accepts_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    assert!(roomcast(dir.path(), &["config", "init"], &[]).status.success());
    let checked = roomcast(dir.path(), &["config", "check"], &[]);
    assert_eq!(text(&checked.stdout), "roomcast.toml: ok\n");
    let file = dir.path().join("roomcast.toml");
    std::fs::write(&file, "workers = 3\n").unwrap();
    let again = roomcast(dir.path(), &["config", "init"], &[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "workers = 3\n");
}

#[test]
fn check_lists_each_problem_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.toml"), "wokers = 1\n[limit]\n").unwrap();
    let checked = roomcast(dir.path(), &["config", "check", "a.toml"], &[]);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(
        text(&checked.stderr),
        "a.toml:1:1: unknown key `wokers`; did you mean `workers`?\n\
         a.toml:2:2: unknown key `limit`; did you mean `limits`?\n"
    );
    let by_env = roomcast(dir.path(), &["config", "check"], &[("ROOMCAST_WORKERS", "many")]);
    assert_eq!(by_env.status.code(), Some(1));
    assert!(text(&by_env.stderr).contains("ROOMCAST_WORKERS: must be a whole number"));
    let none = roomcast(dir.path(), &["config", "check"], &[("ROOMCAST_URL", "ws://h:1")]);
    assert_eq!(text(&none.stdout), "defaults: ok\n");
}

#[test]
fn default_prints_what_can_be_used_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let printed = roomcast(dir.path(), &["config", "default"], &[]);
    std::fs::write(dir.path().join("roomcast.toml"), &printed.stdout).unwrap();
    assert!(roomcast(dir.path(), &["config", "check"], &[]).status.success());
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["config", "chekc"][..], &["--lisen", "x"], &["serve", "--workers", "x"]] {
        assert_eq!(roomcast(dir.path(), args, &[]).status.code(), Some(2), "{args:?}");
    }
    let help = text(&roomcast(dir.path(), &["--help"], &[]).stdout);
    assert!(help.contains("Examples:") && help.contains("nc 127.0.0.1 7401"), "{help}");
}
