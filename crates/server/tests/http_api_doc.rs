//! Every example of `docs/http-api.md`, run by `sh` and `curl` against the real binary.

#![allow(clippy::unwrap_used)]

mod peer;

use std::process::Command;

use peer::child::{Child, Setup};
use peer::{Lines, connect};
use roomcast::config::api_key_hash;
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../docs/http-api.md");

/// Each block of a language, with the block that follows it.
fn examples() -> Vec<(String, Value)> {
    let after = DOCUMENT.split("```sh\n").skip(1);
    let pairs = after.map(|rest| {
        let (command, rest) = rest.split_once("\n```\n```json\n").expect("an answer below");
        let (answer, _) = rest.split_once("\n```").unwrap();
        (command.to_owned(), serde_json::from_str(answer).expect(answer))
    });
    pairs.collect()
}

/// Whether an answer is as the document shows it: the same keys and kinds, and the same words where
/// they do not differ by run.
fn is_alike(shown: &Value, said: &Value, key: &str) -> bool {
    match (shown, said) {
        (Value::Object(shown), Value::Object(said)) if shown.is_empty() => !said.is_empty(),
        (Value::Object(shown), Value::Object(said)) => {
            shown.len() == said.len()
                && shown.iter().all(|(key, shown)| {
                    said.get(key).is_some_and(|said| is_alike(shown, said, key))
                })
        }
        (Value::Array(shown), Value::Array(said)) => {
            shown.len() == said.len()
                && shown.iter().zip(said).all(|(shown, said)| is_alike(shown, said, key))
        }
        (Value::String(shown), Value::String(said)) => {
            ["epoch", "session", "message"].contains(&key) || shown == said
        }
        (Value::Number(_), Value::Number(_)) if key.ends_with("_ms") || key.ends_with("_total") => {
            true
        }
        (Value::Number(_), Value::Number(_)) if ["workers", "connections"].contains(&key) => true,
        (shown, said) => shown == said,
    }
}

#[test]
fn every_example_does_what_it_shows() {
    let key = "rck_of the document's test";
    let section = format!("[{{ name = \"backend\", hash = \"{}\" }}]", api_key_hash(key));
    let child = Child::start(&Setup {
        listen: &["ws://127.0.0.1:0", "tcp://127.0.0.1:0"],
        settings: &[("API__KEYS", &section)],
        ..Setup::default()
    });
    let mut peer = Lines::over(connect(child.address(1)));
    let session = peer.hello()["session"].as_str().unwrap().to_owned();
    let here = format!("http://{}/", child.address(0));
    let examples = examples();
    for (command, shown) in &examples {
        let command = command.replace("http://127.0.0.1:7400/", &here);
        let command = command.replace("curl ", "curl --silent --show-error ");
        let ran = Command::new("sh")
            .args(["-c", &command])
            .env("KEY", key)
            .env("SESSION", &session)
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.stderr.is_empty(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
        // The last line is the answer of the last request.
        let said: Value = serde_json::from_str(said.lines().last().unwrap()).expect(&said);
        assert!(is_alike(shown, &said, ""), "{command}\nshown: {shown}\nsaid:  {said}");
    }
    let verbs = DOCUMENT.split_once("\n## Verbs\n").unwrap().1.matches("\n### ").count();
    assert_eq!((verbs, examples.len()), (18, 19));
}
