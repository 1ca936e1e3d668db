//! `roomcast serve` as an operator runs it: what it says, what it obeys, how it ends.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running server; ended with its test.
struct Serve {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Serve {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = command(args, env).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// The address in the next line of standard output.
    fn address(&mut self) -> String {
        let line = self.line();
        let url = line.split(' ').nth(2).unwrap_or_else(|| panic!("no URL in {line:?}"));
        url.split_once("://").unwrap().1.to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    let ours =
        std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("ROOMCAST_"));
    for (key, _) in ours {
        command.env_remove(key);
    }
    // A folder without a roomcast.toml.
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).args(args).envs(env.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn refused(args: &[&str]) -> String {
    let output = command(args, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_terminated_server_says_goodbye_and_ends_with_0() {
    let mut serve = Serve::start(&["--listen", "tcp://127.0.0.1:0"], &[]);
    let mut client = TcpStream::connect(serve.address()).unwrap();
    let mut heard = BufReader::new(client.try_clone().unwrap()).lines();
    client.write_all(b"{\"type\":\"join\",\"ref\":1,\"room\":\"lobby\"}\n").unwrap();
    assert!(heard.next().unwrap().unwrap().contains("\"joined\""));
    // Reading the certificate again, where there is none, is nothing to end for.
    serve.signal(Signal::HUP);
    client.write_all(b"{\"type\":\"ping\",\"ref\":2}\n").unwrap();
    assert!(heard.next().unwrap().unwrap().contains("\"ref\":2"));
    serve.signal(Signal::TERM);
    let goodbye = heard.next().unwrap().unwrap();
    assert!(goodbye.contains("\"goodbye\"") && goodbye.contains("retry_ms"), "{goodbye}");
    assert!(heard.next().is_none_or(|end| end.is_err()), "nothing follows a goodbye");
    drop((client, heard));
    assert_eq!(serve.child.wait().unwrap().code(), Some(0));
}

#[test]
fn flags_are_stronger_than_the_environment_and_that_than_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    std::fs::write(&file, "listen = [\"tcp://127.0.0.1:0\"]\n").unwrap();
    let file = file.to_str().unwrap();
    let mut serve = Serve::start(&["serve", "--config", file], &[]);
    assert!(serve.line().starts_with("listening on tcp://127.0.0.1:"));
    let env = [("ROOMCAST_CONFIG", file), ("ROOMCAST_LISTEN", "tcp://[::1]:0")];
    let mut serve = Serve::start(&[], &env);
    assert!(serve.line().starts_with("listening on tcp://[::1]:"));
    let mut serve = Serve::start(&["--listen", "ws://127.0.0.1:0"], &env);
    let line = serve.line();
    assert!(
        line.starts_with("listening on ws://127.0.0.1:") && line.contains("roomcast chat ws://")
    );
}

#[test]
fn nobody_is_exposed_by_accident() {
    let said = refused(&["--listen", "tcp://0.0.0.0:0"]);
    assert!(said.contains("anybody may connect") && said.contains("--insecure"), "{said}");
    let mut serve = Serve::start(&["--listen", "tcp://0.0.0.0:0", "--insecure"], &[]);
    assert!(serve.line().starts_with("listening on tcp://0.0.0.0:"));
}

#[test]
fn what_prevents_a_start_is_said() {
    assert!(refused(&["--listen", "tpc://127.0.0.1:1"]).contains("did you mean `tcp`?"));
    assert!(refused(&["--listen", "wss://127.0.0.1:0"]).contains("need certificate and key"));
    assert!(refused(&["--config", "missing.toml"]).contains("missing.toml: cannot be read"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", taken.local_addr().unwrap());
    assert!(refused(&["--listen", &url]).contains("another program listens there"));
}
