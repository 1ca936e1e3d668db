//! What `docs/coming-from-*.md` promise to users of other systems: the tests that the rows of
//! their tables name.
#![allow(clippy::unwrap_used)]

mod diarkis;
mod gomeshstream;
mod machat;
mod nimmsgio;
#[path = "../peer/mod.rs"]
mod peer;
mod simple_chat;

use peer::{Lines, PATIENCE};
use roomcast::{Server, SessionId};
use serde_json::Value;

/// Carries out what a server's own code does, on a thread that may block.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).expect("in time")
}

/// A client whose session can be resumed.
fn client(server: &Server) -> (Lines, SessionId) {
    let mut peer = Lines::connect(server);
    let session = session(&peer.hello());
    (peer, session)
}

fn session(welcome: &Value) -> SessionId {
    welcome["session"].as_str().unwrap().parse().unwrap()
}

impl Lines {
    /// Sends a command and gives its reply; pushes are passed over.
    fn ask(&mut self, command: &Value) -> Value {
        self.send(&command.to_string());
        loop {
            let line = self.next().expect("a reply");
            if line["ref"] == command["ref"] {
                return line;
            }
        }
    }

    /// What it hears before the answer to a `ping`: all that was on its way to it.
    fn heard(&mut self) -> Vec<Value> {
        self.send(r#"{"type":"ping","ref":999}"#);
        let mut heard = Vec::new();
        loop {
            let line = self.next().expect("a pong");
            if line["type"] == "pong" {
                return heard;
            }
            heard.push(line);
        }
    }
}
