//! Rooms with logics of the program's own, over real sockets.

#![allow(clippy::unwrap_used)]

mod peer;

use std::any::Any;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peer::{Lines, address, connect, read_head, until};
use roomcast::logic::{LogicEvent, Relay, RoomCtx, RoomLogic};
use roomcast::{Config, Refusal, Server};
use serde_json::Value;

/// Waits where it should not, and asks for what waits.
struct Sleepy {
    /// Holds the callback until somebody sends.
    gate: Arc<Mutex<Receiver<()>>>,
}

impl RoomLogic for Sleepy {
    fn on_event(
        &mut self,
        ctx: &mut RoomCtx<'_>,
        event: &LogicEvent<'_>,
    ) -> Result<Relay, Refusal> {
        match event.name() {
            Some("block") => self.gate.lock().unwrap().recv().unwrap(),
            Some("slow") => std::thread::sleep(Duration::from_millis(30)),
            Some("panic") => panic!("as it was told to"),
            Some("call") => assert!(ctx.call(5, async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                42_u32
            })),
            Some("bad call") => assert!(ctx.call(6, async { panic!("in a future") })),
            _ => return Ok(Relay::AsIs),
        }
        Ok(Relay::Nothing)
    }

    fn on_answer(&mut self, ctx: &mut RoomCtx<'_>, call: u64, answer: Box<dyn Any + Send>) {
        let answer: u32 = *answer.downcast().unwrap();
        ctx.publish("answer", &(call, answer));
    }
}

fn start() -> (Server, Sender<()>) {
    let text = "workers = 2\nlisten = [\"tcp://127.0.0.1:0\", \"ws://127.0.0.1:0\"]\n\
                [[namespaces.default.patterns]]\nmatch = \"sleepy*\"\nlogic = \"sleepy\"\n";
    let (open, gate) = channel();
    let gate = Arc::new(Mutex::new(gate));
    let server = Server::builder()
        .config(Config::from_toml(text, "t").unwrap())
        .logic("sleepy", move |_| Sleepy { gate: Arc::clone(&gate) })
        .start()
        .unwrap();
    (server, open)
}

fn member(server: &Server, room: &str) -> Lines {
    let mut peer = Lines::connect(server);
    peer.hello();
    peer.join(room);
    peer
}

fn say(peer: &mut Lines, room: &str, event: &str) {
    peer.send(&format!(r#"{{"type":"publish","ref":7,"room":"{room}","event":"{event}"}}"#));
}

/// A connection to the HTTP thread: it is served whatever the workers are at.
struct Metrics(RefCell<TcpStream>);

impl Metrics {
    fn connect(server: &Server) -> Self {
        let metrics = Self(RefCell::new(connect(address(server, "ws"))));
        metrics.of("roomcast_");
        metrics
    }

    /// The sum of the lines that begin so.
    fn of(&self, line: &str) -> u64 {
        let mut stream = self.0.borrow_mut();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let head = read_head(&mut *stream).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut text = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter(|one| one.starts_with(line));
        lines.map(|one| one.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

#[test]
fn a_call_is_answered_and_a_panic_is_contained() {
    let (server, _open) = start();
    let (mut mina, mut zoe) = (member(&server, "sleepy"), member(&server, "other"));
    say(&mut mina, "sleepy", "call");
    assert_eq!(mina.expect("event")["data"], serde_json::json!([5, 42]));
    say(&mut mina, "sleepy", "bad call");
    assert_eq!(mina.expect("room_closed")["reason"], "failed");
    mina.join("sleepy");
    say(&mut mina, "sleepy", "panic");
    assert_eq!(mina.expect("room_closed")["reason"], "failed");
    let metrics = Metrics::connect(&server);
    until("the counter is published", || metrics.of("roomcast_logics_failed_total") == 2);
    say(&mut zoe, "other", "chat");
    zoe.expect("event");
}

/// What the server logs: the threads of all servers of this file write here.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The first line that says this.
fn logged(message: &str) -> Option<Value> {
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["fields"]["message"] == message)
}

#[test]
fn a_logic_that_takes_long_is_counted_and_one_that_is_stuck_is_shown() {
    tracing_subscriber::fmt().json().with_writer(|| Log).init();
    let (server, open) = start();
    let mut mina = member(&server, "sleepy");
    let metrics = Metrics::connect(&server);
    let slow = || metrics.of("roomcast_logic_slow_total{logic=\"sleepy\"}");
    assert_eq!(metrics.of("roomcast_logics_stuck"), 0);
    let before = slow();
    say(&mut mina, "sleepy", "slow");
    mina.expect("ok");
    assert!(slow() > before);
    let line = logged("a room's logic is slow").unwrap();
    assert_eq!((&line["level"], &line["fields"]["callback"]), (&"WARN".into(), &"on_event".into()));
    say(&mut mina, "sleepy", "block");
    until("the gauge shows it", || metrics.of("roomcast_logics_stuck") == 1);
    until("the log names it", || logged("a room's logic is stuck").is_some());
    let line = logged("a room's logic is stuck").unwrap();
    let named = |key: &str| line["fields"][key].as_str().unwrap_or_default();
    assert_eq!(
        (named("room"), named("logic"), named("callback")),
        ("sleepy", "sleepy", "on_event")
    );
    assert!(line["level"] == "ERROR" && line["fields"]["ms"].as_u64() >= Some(1_000), "{line}");
    open.send(()).unwrap();
    mina.expect("ok");
    until("it is over", || metrics.of("roomcast_logics_stuck") == 0);
}

#[test]
fn a_logic_that_cannot_be_called_so_is_told_of_at_the_start() {
    let builder = Server::builder().listen("tcp://127.0.0.1:0").logic("relay", |_| Nothing);
    let said = builder.start().unwrap_err().to_string();
    assert!(said.contains("`relay` is what a room without logic does"), "{said}");
}

struct Nothing;

impl RoomLogic for Nothing {}
