//! What a configuration may not say, each with the words that name the way out.
#![allow(clippy::unwrap_used)]

use roomcast::Config;

fn problems(text: &str) -> Vec<String> {
    let config = Config::from_toml(text, "t").unwrap();
    match config.check() {
        Ok(()) => Vec::new(),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn holds(text: &str) {
    assert_eq!(problems(text), Vec::<String>::new(), "{text}");
}

#[track_caller]
fn fails(text: &str, words: &str) {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{text}: {found:#?}");
    assert!(found[0].contains(words), "{text}: {found:#?}");
}

const KEY: &str = "keys = [{ key = \"0123456789abcdef\" }]";

#[test]
fn an_open_listener_without_a_key_is_refused() {
    holds("listen = [\"ws://[::1]:0\", \"tcp://localhost:0\"]");
    fails("listen = [\"ws://0.0.0.0:0\"]", "--insecure");
    fails("listen = [\"ws://127.0.0.1:0\", \"tcp://[::]:0\"]", "tcp://[::]:0 is open");
    holds("listen = [\"ws://0.0.0.0:0\"]\ninsecure = true");
    holds(&format!("listen = [\"ws://0.0.0.0:0\"]\n[auth]\nanonymous = false\n{KEY}"));
    // A key that is not needed does not help.
    fails(&format!("listen = [\"ws://0.0.0.0:0\"]\n[auth]\n{KEY}"), "anybody may connect");
}

#[test]
fn what_counts_is_the_namespace_of_the_listener() {
    let game = "listen = [\"ws://0.0.0.0:0?namespace=game\"]";
    holds(&format!("{game}\n[auth]\n{KEY}\n[namespaces.game]\nanonymous = false"));
    let open = "[auth]\nanonymous = false\n[namespaces.game]\nanonymous = true";
    fails(&format!("{game}\n{open}"), "anybody may connect");
    fails("listen = [\"ws://[::1]:0?namespace=gaem\"]\n[namespaces.game]", "did you mean `game`?");
}

#[test]
fn a_server_that_nobody_could_use_is_refused() {
    fails("listen = []", "there is no listener");
    fails("[auth]\nanonymous = false", "nobody could connect");
    fails("listen = [\"wx://h:1\"]", "did you mean `ws`?");
}

#[test]
fn recovery_needs_sessions_that_outlive_their_links() {
    holds("[socketio]\nrecovery = true");
    fails("[limits]\nresume_ms = 0\n[socketio]\nrecovery = true", "limits.resume_ms");
    holds("[limits]\nresume_ms = 0");
}

#[test]
fn certificates_come_in_pairs_and_can_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, "").unwrap();
    std::fs::write(&key, "").unwrap();
    let wss = "listen = [\"wss://127.0.0.1:0\"]";
    assert_eq!(problems(wss).len(), 2);
    fails(&format!("{wss}\n[tls]\ncert = {cert:?}"), "tls.key: is missing");
    holds(&format!("{wss}\n[tls]\ncert = {cert:?}\nkey = {key:?}"));
    std::fs::remove_file(&key).unwrap();
    fails(&format!("{wss}\n[tls]\ncert = {cert:?}\nkey = {key:?}"), "cannot be opened");
}

#[test]
fn keys_are_long_different_and_never_shown() {
    let short = "[[auth.keys]]\nkey = \"hunter2\"";
    fails(short, "auth.keys[0].key: has 7 characters, but must have 16 to 8192");
    assert!(!problems(short)[0].contains("hunter2"));
    let one = "[[auth.keys]]\nkey = \"0123456789abcdef\"\n";
    fails(&one.repeat(2), "auth.keys[1].key: is given twice");
    fails(&format!("{one}user = \"a\\tb\""), "auth.keys[0].user");
    let shown = format!("{:?}", Config::from_toml(one, "t").unwrap());
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn the_outbox_holds_two_of_the_largest_messages() {
    fails("[limits]\noutbox_bytes = 131071", "at least twice limits.message_bytes (131072)");
    holds("[limits]\noutbox_bytes = 131072");
}

#[test]
fn origins_hosts_and_log_levels_have_a_form() {
    holds("[http]\norigins = [\"https://a.example\", \"http://b.example:8080\"]");
    for origin in ["a.example", "https://a.example/", "*", "https://*", "https://"] {
        fails(&format!("[http]\norigins = [\"{origin}\"]"), "http.origins");
    }
    holds("[http]\nhosts = [\"game.example\"]");
    fails("[http]\nhosts = [\"game.example:80\"]", "http.hosts");
    for level in ["debug", "info,roomcast=debug", "off", "WARN"] {
        holds(&format!("[log]\nlevel = \"{level}\""));
    }
    fails("[log]\nlevel = \"inof\"", "did you mean `info`?");
    fails("[log]\nlevel = \"info,roomcast=lots\"", "log.level");
}

#[test]
fn every_problem_is_listed() {
    let all = problems(
        "listen = [\"ws://0.0.0.0:0\", \"quic://h:1\"]\nworkers = 2000\n[limits]\nping_ms = 0\n\
         [rooms]\nttl_s = 1\n[namespaces.game.rooms]\nmembers_max = 0\n",
    );
    // The namespaces inherit ttl_s = 1, which is reported where it is written and only there.
    let expected = ["0.0.0.0", "quic", "workers", "limits.ping_ms", "rooms: `ttl_s`"];
    for words in expected {
        assert!(all.iter().any(|line| line.contains(words)), "{words}: {all:#?}");
    }
    assert_eq!(all.len(), expected.len(), "{all:#?}");
}
