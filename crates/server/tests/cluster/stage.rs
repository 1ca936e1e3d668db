//! Nodes as processes of the real binary, and clients that tell what they hear.

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roomcast_client::{Client, ClientEvent, Reconnect, Room, RoomEvent};
use rustix::process::Signal;
use serde_json::Value;

use super::nats::{self, Nats};

/// Long enough for a busy machine; a test that passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The shortest lease there is.
pub const LEASE: Duration = Duration::from_secs(2);

/// One node.
pub struct Node {
    process: Child,
    pub url: String,
    _directory: tempfile::TempDir,
}

impl Node {
    pub fn start(nats: &Nats) -> Self {
        Self::start_with(nats, &[])
    }

    /// With more of the environment, without `ROOMCAST_`.
    pub fn start_with(nats: &Nats, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        command.args(["serve", "--workers", "2", "--listen", "ws://127.0.0.1:0"]);
        command.env("ROOMCAST_CLUSTER__ENGINE", nats.url());
        command.env("ROOMCAST_CLUSTER__LEASE_S", LEASE.as_secs().to_string());
        command.env("ROOMCAST_LOG__LEVEL", "warn").current_dir(directory.path());
        for (key, value) in settings {
            command.env(format!("ROOMCAST_{key}"), value);
        }
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().starts_with("node "));
        let second = lines.next().unwrap().unwrap();
        let url = second.strip_prefix("listening on ").unwrap().split(' ').next().unwrap();
        Self { process, url: url.to_owned(), _directory: directory }
    }

    /// Ends it as a machine ends that loses its power.
    pub fn kill(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }

    pub fn signal(&self, signal: Signal) {
        nats::signal(&self.process, signal);
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.process.wait().unwrap()
    }

    /// What it says to a GET: its status and its body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.url.strip_prefix("ws://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// One of its metrics of the cluster.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `condition` holds; how long it took.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

/// Nodes of one cluster that see each other and share the homes.
pub fn cluster(nats: &Nats, count: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count).map(|_| Node::start(nats)).collect();
    settled(&nodes);
    nodes
}

pub fn settled(nodes: &[Node]) {
    until("the nodes share the homes", || {
        let see = |node: &Node| node.metric("roomcast_cluster_nodes") == nodes.len() as u64;
        let held = |node: &Node| node.metric("roomcast_cluster_homes");
        nodes.iter().all(see) && nodes.iter().map(held).sum::<u64>() == 256
    });
}

/// Runs clients.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(4 * PATIENCE, future).await.unwrap() })
}

/// Something that is waited for.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}"))
}

pub async fn client(node: &Node, name: &str) -> Client {
    Client::builder(&node.url).name(name).connect().await.unwrap()
}

/// A client that goes to another node when its own has gone.
pub async fn roaming(nodes: &[&Node], name: &str) -> Client {
    let first = nodes.first().unwrap();
    let mut builder = Client::builder(&first.url).name(name);
    for node in &nodes[1..] {
        builder = builder.fall_back_to(&node.url);
    }
    let (base, cap) = (Duration::from_millis(50), Duration::from_millis(200));
    builder.reconnect(Reconnect { base, cap, attempts_max: None }).connect().await.unwrap()
}

/// What a member hears, in short lines.
#[derive(Clone)]
pub struct Ear(Arc<Mutex<Vec<String>>>);

impl Ear {
    pub fn of(room: &Room) -> Self {
        let ear = Self(Arc::default());
        let (lines, room) = (Arc::clone(&ear.0), room.clone());
        tokio::spawn(async move {
            while let Some(event) = room.next_event().await {
                lines.lock().unwrap().push(short(&event));
            }
        });
        ear
    }

    pub fn of_client(client: &Client) -> Self {
        let ear = Self(Arc::default());
        let (lines, mut events) = (Arc::clone(&ear.0), client.events());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let line = match event {
                    ClientEvent::Message(message) => {
                        format!("{} {}", message.name(), message.json())
                    }
                    other => format!("{other:?}"),
                };
                lines.lock().unwrap().push(line);
            }
        });
        ear
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Only what was said, without who came and went.
    pub fn said(&self) -> Vec<String> {
        let lines = self.lines().into_iter();
        lines.filter_map(|line| line.strip_prefix("said ").map(str::to_owned)).collect()
    }

    pub async fn until(&self, what: &str, hears: impl Fn(&[String]) -> bool) {
        let start = Instant::now();
        while !hears(&self.lines()) {
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.lines());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_line(&self, wanted: &str) {
        self.until(wanted, |lines| lines.iter().any(|line| line == wanted)).await;
    }
}

fn short(event: &RoomEvent) -> String {
    match event {
        RoomEvent::Event(event) => {
            let value: Value = serde_json::from_str(&event.json()).unwrap();
            format!("said {value}")
        }
        RoomEvent::MemberJoined(member) => format!("joined {}", member.name()),
        RoomEvent::MemberLeft { from, .. } => format!("left {}", name(from)),
        RoomEvent::MemberDropped(from) => format!("dropped {}", name(from)),
        RoomEvent::MemberResumed(from) => format!("resumed {}", name(from)),
        RoomEvent::Recovered => "recovered".to_owned(),
        RoomEvent::Lost(reason) => format!("lost {reason:?}"),
        other => format!("{other:?}"),
    }
}

fn name(of: &roomcast_client::Sender) -> String {
    of.name.as_ref().map(ToString::to_string).unwrap_or_default()
}
