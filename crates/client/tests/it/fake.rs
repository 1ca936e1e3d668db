//! A scripted server: the test says what it hears and what it answers, line by line.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roomcast_client::{Builder, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::sync::mpsc;

pub struct Fake {
    links: mpsc::UnboundedReceiver<DuplexStream>,
    /// So many dials fail before the next one is taken.
    pub refusals: Arc<AtomicUsize>,
}

pub struct Line {
    io: BufReader<DuplexStream>,
}

/// A server without a network, and how to connect to it.
pub fn fake() -> (Builder, Fake) {
    fake_at("tcp://fake")
}

/// The same at any address.
pub fn fake_at(url: &str) -> (Builder, Fake) {
    // The test itself is the bound: it holds as many links as the client opens.
    #[allow(clippy::disallowed_methods)]
    let (far_ends, links) = mpsc::unbounded_channel();
    let refusals = Arc::new(AtomicUsize::new(0));
    let refuse = Arc::clone(&refusals);
    let builder = Client::builder(url).dial_with(move || {
        let far_ends = far_ends.clone();
        let refuse = Arc::clone(&refuse);
        async move {
            let lower = |left: usize| left.checked_sub(1);
            if refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lower).is_ok() {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            }
            // Small, so that messages are cut wherever it hurts.
            let (near, far) = tokio::io::duplex(61);
            far_ends.send(far).map_err(io::Error::other)?;
            Ok(near)
        }
    });
    (builder, Fake { links, refusals })
}

impl Fake {
    pub async fn accept(&mut self) -> Line {
        Line { io: BufReader::new(self.links.recv().await.unwrap()) }
    }

    /// Whether nobody wants a link any more.
    pub async fn is_left_alone(&mut self) -> bool {
        self.links.recv().await.is_none()
    }

    /// Takes a link and lets it in as a new session.
    pub async fn welcome(&mut self, resume: &str) -> Line {
        let mut line = self.accept().await;
        let hello = line.hear("hello").await;
        assert_eq!(hello.get("resume"), None, "{hello}");
        line.say(&welcome(&hello, resume, false)).await;
        line
    }
}

pub fn welcome(hello: &Value, resume: &str, resumed: bool) -> Value {
    json!({
        "type": "welcome", "ref": hello["ref"], "session": SESSION, "resume": resume,
        "resumed": resumed, "rooms": [], "ping_ms": 25_000,
        "limits": {"message_bytes": 1000, "rooms": 128, "resume_ms": 60_000},
    })
}

pub const SESSION: &str = "AAAAAAAAAAAAAAAAAAAAAA";
pub const SECRET_1: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
pub const SECRET_2: &str = "AAAAAAAAAAAAAAAAAAAAAg";
pub const EPOCH: &str = "AAAAAAAA";

pub fn at(offset: u64) -> Value {
    json!({"epoch": EPOCH, "offset": offset})
}

pub fn event(offset: u64) -> Value {
    json!({
        "type": "event", "room": "lobby", "event": "chat", "data": {"n": offset},
        "from": {"session": SESSION, "name": "Mina"}, "at": at(offset),
    })
}

pub fn joined(join: &Value, offset: u64) -> Value {
    json!({
        "type": "joined", "ref": join["ref"], "room": join["room"], "position": at(offset),
        "members": 2,
    })
}

pub fn recovered(join: &Value, offset: u64) -> Value {
    let mut joined = joined(join, offset);
    joined["recovered"] = true.into();
    joined
}

pub fn error(command: &Value, code: u16, reason: &str) -> Value {
    json!({
        "type": "error", "ref": command["ref"], "code": code, "reason": reason,
        "message": "as the script says", "retry": false,
    })
}

pub fn goodbye(code: u16, reason: &str) -> Value {
    json!({"type": "goodbye", "code": code, "reason": reason, "message": "as the script says"})
}

impl Line {
    /// The next command, which must be of this type.
    pub async fn hear(&mut self, kind: &str) -> Value {
        let command = self.command().await;
        assert_eq!(command["type"], kind, "heard {command}");
        command
    }

    /// The next command; none at the end of the link.
    pub async fn command(&mut self) -> Value {
        let mut text = String::new();
        self.io.read_line(&mut text).await.unwrap();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub async fn say(&mut self, message: &Value) {
        self.io.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// Hears a join of the lobby and answers it.
    pub async fn let_join(&mut self, offset: u64) -> Value {
        let join = self.hear("join").await;
        self.say(&joined(&join, offset)).await;
        join
    }

    /// Hears nothing more.
    pub async fn ended(&mut self) {
        let mut text = String::new();
        assert_eq!(self.io.read_line(&mut text).await.unwrap_or(0), 0, "heard {text:?}");
    }
}
