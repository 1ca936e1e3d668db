//! Socket.IO clients that come back, over real sockets: whichever worker takes the new connection.

#![allow(clippy::unwrap_used)]

mod engine;
mod peer;

use engine::{Poller, Socket};
use peer::address;
use roomcast::config::NamespaceSection;
use roomcast::{Config, Server};
use serde_json::Value;

/// Enough that not all come back to the worker they were on.
const CLIENTS: usize = 8;
const WORKERS: usize = 2;

fn server(change: impl FnOnce(&mut Config)) -> Server {
    peer::start(|config| {
        config.workers = WORKERS;
        config.socketio.recovery = true;
        config.namespaces.insert("custom".into(), NamespaceSection::default());
        change(config);
    })
}

fn connect(server: &Server) -> Socket {
    let mut socket = Socket::at(address(server, "ws"), "/socket.io/?EIO=4&transport=websocket");
    socket.open();
    socket
}

/// What a client remembers of a namespace.
#[derive(Debug, Clone, PartialEq)]
struct Memory {
    /// With the comma that ends it in packets; empty: `/`.
    namespace: &'static str,
    sid: String,
    pid: String,
    offset: String,
}

impl Memory {
    fn read(namespace: &'static str, answer: &str) -> Self {
        let told = answer.strip_prefix(&format!("40{namespace}"));
        let told: Value = serde_json::from_str(told.unwrap_or_else(|| panic!("{answer}"))).unwrap();
        let [sid, pid] = ["sid", "pid"].map(|key| told[key].as_str().unwrap().to_owned());
        Self { namespace, sid, pid, offset: String::new() }
    }

    /// The packet that asks for the session again.
    fn packet(&self) -> String {
        let Self { namespace, pid, offset, .. } = self;
        match offset.as_str() {
            "" => format!("40{namespace}{{\"pid\":\"{pid}\"}}"),
            _ => format!("40{namespace}{{\"pid\":\"{pid}\",\"offset\":\"{offset}\"}}"),
        }
    }

    /// The arguments of an event, without the offset.
    fn hear(&mut self, packet: &str) -> Vec<Value> {
        let args = packet.strip_prefix(&format!("42{}", self.namespace));
        let args = args.unwrap_or_else(|| panic!("{packet}"));
        let mut args: Vec<Value> = serde_json::from_str(args).unwrap();
        self.offset = args.pop().unwrap().as_str().unwrap().to_owned();
        args
    }
}

/// Connects to a namespace and joins a room of all.
fn enter(socket: &mut Socket, namespace: &'static str) -> Memory {
    socket.text(&format!("40{namespace}"));
    let memory = Memory::read(namespace, &socket.next_text());
    socket.text(&format!("42{namespace}0[\"join\",\"hall\"]"));
    let answer = socket.next_text();
    assert!(answer.starts_with(&format!("43{namespace}0[{{\"type\":\"joined\"")), "{answer}");
    memory
}

/// Asks something that is always answered.
fn is_served(socket: &mut Socket, namespace: &str) {
    socket.text(&format!("42{namespace}7[\"rooms\"]"));
    let answer = socket.next_text();
    assert!(answer.starts_with(&format!("43{namespace}7[")), "{answer}");
}

fn quiet(config: &mut Config) {
    config.rooms.presence = serde_json::from_str("\"off\"").unwrap();
}

fn say(server: &Server, number: u32) {
    for room in ["hall", "custom/hall"] {
        drop(server.handle().room(room).publish("n", &number));
    }
}

#[test]
fn all_namespaces_of_a_connection_come_back_wherever_it_lands() {
    let server = server(quiet);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = connect(&server);
        clients.push((enter(&mut socket, ""), enter(&mut socket, "/custom,"), socket));
    }
    say(&server, 1);
    let mut memories = Vec::new();
    for (mut main, mut custom, mut socket) in clients {
        for _ in 0..2 {
            let packet = socket.next_text();
            let of = if packet.starts_with("42/") { &mut custom } else { &mut main };
            assert_eq!(of.hear(&packet)[1], 1);
        }
        memories.push([main, custom]);
    }
    peer::until("all are away", || {
        server.handle().counters().sessions_dropped == 2 * CLIENTS as u64
    });
    say(&server, 2);
    // In another order, so that the workers take others than before.
    memories.rotate_left(1);
    let mut sockets = Vec::new();
    for memory in &mut memories {
        let mut socket = connect(&server);
        // At once, as the real client does.
        for own in &*memory {
            socket.text(&own.packet());
        }
        let (mut custom, mut main): (Vec<_>, Vec<_>) =
            (0..4).map(|_| socket.next_text()).partition(|packet| packet[2..].starts_with('/'));
        for (own, told) in memory.iter_mut().zip([&mut main, &mut custom]) {
            let back = Memory::read(own.namespace, &told[0]);
            assert_eq!((&back.sid, &back.pid), (&own.sid, &own.pid));
            assert_eq!(own.hear(&told[1])[1], 2);
            is_served(&mut socket, own.namespace);
        }
        sockets.push(socket);
    }
    say(&server, 3);
    for (socket, memory) in sockets.iter_mut().zip(&mut memories) {
        for _ in 0..2 {
            let packet = socket.next_text();
            let at = usize::from(packet.starts_with("42/"));
            assert_eq!(memory[at].hear(&packet)[1], 3);
        }
    }
    let counters = server.handle().counters();
    assert_eq!((counters.recovered_total, counters.unrecovered_total), (2 * CLIENTS as u64, 0));
    assert_eq!((counters.links, counters.sessions), (2 * CLIENTS as u64, 2 * CLIENTS as u64));
    drop(sockets);
    peer::until("nobody is left", || server.connections() == 0);
}

#[test]
fn a_session_on_long_polling_comes_back_and_is_upgraded_there() {
    let server = server(quiet);
    let mut memories = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = connect(&server);
        memories.push(enter(&mut socket, ""));
    }
    peer::until("all are away", || server.handle().counters().sessions_dropped == CLIENTS as u64);
    say(&server, 1);
    memories.rotate_left(1);
    for own in &mut memories {
        let poller = Poller::open_at(address(&server, "ws"), "/socket.io/");
        assert_eq!(poller.post(&own.packet()).0, 200);
        let mut packets = Vec::new();
        while packets.len() < 2 {
            let (status, payload) = poller.poll();
            assert_eq!(status, 200);
            packets.extend(payload.split('\u{1e}').map(str::to_owned));
        }
        assert_eq!(Memory::read("", &packets[0]).pid, own.pid);
        assert_eq!(own.hear(&packets[1])[1], 1);
        let waiting = poller.begin_poll();
        let mut socket = poller.websocket();
        socket.text("2probe");
        assert_eq!(socket.next_text(), "3probe");
        assert_eq!(engine::finish(waiting), (200, "6".to_owned()));
        socket.text("5");
        is_served(&mut socket, "");
        drop(server.handle().session(own.sid.parse().unwrap()).send("you", &5));
        assert_eq!(own.hear(&socket.next_text())[1], 5);
    }
}

#[test]
fn a_ping_is_asked_for_on_the_worker_that_took_over() {
    let server = server(|config| {
        (config.socketio.ping_interval, config.socketio.ping_timeout) = (200, 400);
    });
    let mut sockets: Vec<_> = (0..CLIENTS).map(|_| connect(&server)).collect();
    let mut memories: Vec<_> = Vec::new();
    for socket in &mut sockets {
        socket.text("40");
        let mut answer = socket.next_text();
        while answer == "2" {
            answer = socket.next_text();
        }
        memories.push(Memory::read("", &answer));
    }
    drop(sockets);
    peer::until("all are away", || server.handle().counters().sessions_dropped == CLIENTS as u64);
    memories.rotate_left(1);
    let back = memories.iter().map(|own| {
        let mut socket = connect(&server);
        socket.text(&own.packet());
        assert_eq!(Memory::read("", &socket.next_text()).pid, own.pid);
        socket
    });
    for mut socket in back.collect::<Vec<_>>() {
        assert_eq!(socket.next_text(), "2");
        assert_eq!(socket.close_code(), 4801, "it was not answered");
    }
}

/// Only clients who take up sessions of two connections on one: there is one worker for both.
#[test]
fn a_line_that_cannot_go_where_its_session_is_begins_anew() {
    let server = server(quiet);
    let mut sockets: Vec<_> = (0..CLIENTS).map(|_| connect(&server)).collect();
    let memories: Vec<_> =
        sockets.iter_mut().map(|socket| [enter(socket, ""), enter(socket, "/custom,")]).collect();
    drop(sockets);
    peer::until("all are away", || {
        server.handle().counters().sessions_dropped == 2 * CLIENTS as u64
    });
    let mut anew = 0;
    for at in 0..CLIENTS {
        let (main, custom) = (&memories[at][0], &memories[(at + 1) % CLIENTS][1]);
        let mut socket = connect(&server);
        socket.text(&main.packet());
        assert_eq!(Memory::read("", &socket.next_text()).pid, main.pid);
        socket.text(&custom.packet());
        let told = Memory::read("/custom,", &socket.next_text());
        anew += u32::from(told.pid != custom.pid);
        is_served(&mut socket, "");
        is_served(&mut socket, "/custom,");
    }
    assert!(anew > 0, "all were on one worker");
}

#[test]
fn what_was_never_given_out_begins_anew_and_costs_nothing_else() {
    let server = server(|_| {});
    let mut watcher = connect(&server);
    let memory = enter(&mut watcher, "");
    let long = "9".repeat(10_000);
    for number in 0..64_u8 {
        let session = format!("{number:020}AA");
        let wrong = match number % 4 {
            // A session that might be on any worker.
            0 => format!("{session}{}", memory.pid.split_at(22).1),
            1 => format!("{}{}", memory.sid, "A".repeat(22)),
            2 => long.clone(),
            _ => String::new(),
        };
        let mut socket = connect(&server);
        let offset = if number % 2 == 0 { &long } else { "connected" };
        socket.text(&format!("40{{\"pid\":\"{wrong}\",\"offset\":\"{offset}\"}}"));
        if wrong.len() + offset.len() > 16_384 {
            assert_eq!(socket.close_code(), 1009);
            continue;
        }
        let told = Memory::read("", &socket.next_text());
        assert!(told.sid != memory.sid && told.pid != wrong);
        is_served(&mut socket, "");
        socket.text("41");
    }
    is_served(&mut watcher, "");
    assert_eq!(server.handle().counters().recovered_total, 0);
}
