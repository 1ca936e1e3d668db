//! `roomcast token create|check` and `roomcast explain`, as a person types them.
#![allow(clippy::unwrap_used)]

mod tokens;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a verb in a folder whose roomcast.toml has one HS256 key.
fn run(folder: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("ROOMCAST_") {
            command.env_remove(key);
        }
    }
    let output = command.current_dir(folder).args(args).stdin(Stdio::null()).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secret = tokens::SECRET;
    let text = format!(
        "[[auth.tokens]]\nalgorithm = \"HS256\"\nsecret = \"{secret}\"\naudience = \"game\"\n\
         [namespaces.game]\nanonymous = false\n"
    );
    std::fs::write(folder.path().join("roomcast.toml"), text).unwrap();
    folder
}

#[test]
fn a_token_is_made_checked_and_explained() {
    let folder = folder();
    let made = run(
        folder.path(),
        &[
            "token",
            "create",
            "--user",
            "mina",
            "--expires",
            "15m",
            "--id",
            "t7",
            "--room",
            "battle-*:join,publish",
            "--room",
            "game/*:presence",
            "--meta",
            "{\"team\":1}",
        ],
    );
    assert_eq!((made.code, made.err.as_str()), (0, ""), "{}", made.out);
    let token = made.out.trim();
    let checked = run(folder.path(), &["token", "check", token]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    for words in ["\"sub\": \"mina\"", "\"team\": 1", "valid: signed by the key of auth.tokens[0]"]
    {
        assert!(checked.out.contains(words), "{words}: {}", checked.out);
    }
    let explained = run(folder.path(), &["explain", token, "battle-7", "--json"]);
    let explained: Value = serde_json::from_str(&explained.out).unwrap();
    let rights = explained["rights"].as_array().unwrap();
    let allowed: Vec<_> = rights.iter().map(|right| right["allowed"] == true).collect();
    assert_eq!(allowed, [true, true, false, false, false, false], "{explained}");
    let because = "rule 1 of your token: `battle-*` allows join, publish, not history";
    assert_eq!(rights[3]["because"], because);
    let explained = run(folder.path(), &["explain", token, "game/lobby"]);
    assert!(explained.out.contains("the namespace `game` wants a token"), "{}", explained.out);
    assert!(explained.out.contains(" presence  yes  rule 2 of your token"), "{}", explained.out);
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let folder = folder();
    let other = tempfile::tempdir().unwrap();
    let key = "another secret of the tests, long enough";
    let args = ["token", "create", "--user", "mina", "--key", key, "--audience", "game"];
    let made = run(other.path(), &args);
    let token = made.out.trim();
    let checked = run(folder.path(), &["token", "check", token]);
    assert_eq!(checked.code, 1);
    assert!(
        checked.out.contains("not valid: no key of this server verifies it"),
        "{}",
        checked.out
    );
    let explained = run(folder.path(), &["explain", token, "lobby"]);
    assert_eq!(explained.code, 1);
    assert!(explained.out.contains("the token is not accepted"), "{}", explained.out);
    // Without a configuration there is nothing to check with, or to sign with.
    let checked = run(other.path(), &["token", "check", token]);
    assert!(checked.code == 1 && checked.err.contains("[[auth.tokens]]"), "{}", checked.err);
    let made = run(other.path(), &["token", "create", "--user", "mina"]);
    assert!(made.code == 1 && made.err.contains("--key"), "{}", made.err);
    let made = run(other.path(), &["token", "create", "--user", "mina", "--key", "short"]);
    assert!(made.code == 1 && made.err.contains("at least 32"), "{}", made.err);
    let made = run(folder.path(), &["token", "create", "--user", "mina", "--room", "lobby:fly"]);
    assert!(made.code == 2 && made.err.contains("`fly` is no right"), "{}", made.err);
}

#[test]
fn a_token_ends_when_it_says_and_not_later_than_the_server_takes() {
    let folder = folder();
    let create =
        |expires| run(folder.path(), &["token", "create", "--user", "mina", "--expires", expires]);
    let made = create("15m");
    let checked = run(folder.path(), &["token", "check", made.out.trim()]);
    let ends = ["ends in 0 h 15 min 0 s (", "ends in 0 h 14 min 5"];
    assert!(ends.iter().any(|ends| checked.out.contains(ends)), "{}", checked.out);
    assert!(checked.out.contains("(taken for 30 s more: `leeway_s`)"), "{}", checked.out);
    // The default of `limits.token_ms` is 31 days, and the leeway counts.
    let made = create("31d");
    assert_eq!(made.code, 1, "{}", made.out);
    assert!(made.err.contains("2678370s at most (`limits.token_ms`"), "{}", made.err);
    assert_eq!(create("2678370s").code, 0);
}

#[test]
fn a_key_set_that_cannot_be_fetched_matters_only_to_its_own_tokens() {
    let folder = folder();
    let file = folder.path().join("roomcast.toml");
    let made = run(folder.path(), &["token", "create", "--user", "mina"]);
    let token = made.out.trim();
    let text = std::fs::read_to_string(&file).unwrap();
    // Nobody listens at port 1.
    let set = "[[auth.tokens]]\nalgorithm = \"ES256\"\njwks_url = \"http://127.0.0.1:1/keys\"\n";
    std::fs::write(&file, format!("{set}{text}")).unwrap();
    for verb in [&["token", "check", token][..], &["explain", token, "lobby"]] {
        let said = run(folder.path(), verb);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains("signed by the key of auth.tokens[1]"), "{}", said.out);
        assert!(said.err.contains("warning: auth.tokens[0].jwks_url"), "{}", said.err);
    }
    let key = "another secret of the tests, long enough";
    let args = ["token", "create", "--user", "mina", "--key", key, "--audience", "game"];
    let foreign = run(folder.path(), &args);
    let said = run(folder.path(), &["token", "check", foreign.out.trim()]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("its key may be in one of them"), "{}", said.out);
}

#[test]
fn tokens_of_private_keys_are_made_too() {
    for (algorithm, word, file) in [
        (jsonwebtoken::Algorithm::RS256, "RS256", "rsa.pem"),
        (jsonwebtoken::Algorithm::ES256, "ES256", "ec.pem"),
        (jsonwebtoken::Algorithm::EdDSA, "EdDSA", "ed.pem"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let pair = tokens::Pair::new(algorithm);
        std::fs::write(folder.path().join(file), &pair.private).unwrap();
        std::fs::write(folder.path().join("public.pem"), &pair.public).unwrap();
        let text =
            format!("[[auth.tokens]]\nalgorithm = \"{word}\"\npublic_key_file = \"public.pem\"\n");
        std::fs::write(folder.path().join("roomcast.toml"), text).unwrap();
        let args = ["token", "create", "--user", "mina", "--algorithm", word, "--key-file", file];
        let made = run(folder.path(), &args);
        assert_eq!(made.code, 0, "{word}: {}", made.err);
        let checked = run(folder.path(), &["token", "check", made.out.trim(), "--json"]);
        assert_eq!(checked.code, 0, "{word}: {}", checked.out);
    }
}
