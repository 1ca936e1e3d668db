//! Peers that speak Engine.IO, packet by packet, and a server that sends back what it hears.

#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use roomcast::hook::Call;
use roomcast::{Answer, Config, EventName, Server, ServerHandle};
use serde_json::Value;

use crate::peer::{self, Ws, connect, read_head};

/// A server that sends every message back, at `/engine.io/`.
pub fn echo(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config {
        listen: vec!["ws://127.0.0.1:0?dialect=engineio".into()],
        workers: 2,
        ..Config::default()
    };
    change(&mut config);
    let handle: Arc<OnceLock<ServerHandle>> = Arc::default();
    let echoing = Arc::clone(&handle);
    let message = EventName::text("message").unwrap();
    let server = Server::builder()
        .config(config)
        .on_call(message, move |call: &Call| {
            let handle = echoing.get().unwrap();
            let data = call.data.clone().unwrap();
            _ = handle.session(call.from.session).send("message", data);
            Ok(Answer::Data(None))
        })
        .start()
        .unwrap();
    _ = handle.set(server.handle());
    server
}

/// A peer on a WebSocket.
pub struct Socket {
    pub ws: Ws,
}

impl Socket {
    /// Begins a session.
    pub fn connect(address: SocketAddr) -> Self {
        Self::at(address, "/engine.io/?EIO=4&transport=websocket")
    }

    pub fn at(address: SocketAddr, target: &str) -> Self {
        let mut stream = connect(address);
        let request = peer::HANDSHAKE.replacen("/ws", target, 1);
        stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { ws: Ws { stream } }
    }

    /// The packet that opens the session.
    pub fn open(&mut self) -> Value {
        let text = self.next_text();
        serde_json::from_str(text.strip_prefix('0').unwrap()).unwrap()
    }

    pub fn text(&mut self, packet: &str) {
        self.ws.send(packet);
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        self.ws.send_frame(0x82, bytes);
    }

    pub fn next_text(&mut self) -> String {
        let frame = self.ws.next_frame().expect("the connection ended");
        assert_eq!(frame.opcode, 1, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    pub fn next_binary(&mut self) -> Vec<u8> {
        let frame = self.ws.next_frame().expect("the connection ended");
        assert_eq!(frame.opcode, 2, "{frame:?}");
        frame.payload
    }

    pub fn close_code(&mut self) -> u16 {
        self.ws.expect_close()
    }
}

/// A peer on long-polling.
pub struct Poller {
    pub address: SocketAddr,
    pub open: Value,
    pub sid: String,
    path: String,
}

impl Poller {
    /// Begins a session at `/engine.io/`.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_at(address, "/engine.io/")
    }

    pub fn open_at(address: SocketAddr, path: &str) -> Self {
        let (status, body) = ask(address, "GET", &format!("{path}?EIO=4&transport=polling"), "");
        assert_eq!(status, 200, "{body}");
        let open: Value = serde_json::from_str(body.strip_prefix('0').unwrap()).unwrap();
        let sid = open["sid"].as_str().unwrap().to_owned();
        Self { address, open, sid, path: path.to_owned() }
    }

    pub fn target(&self, transport: &str) -> String {
        format!("{}?EIO=4&transport={transport}&sid={}", self.path, self.sid)
    }

    /// Waits for packets.
    pub fn poll(&self) -> (u16, String) {
        ask(self.address, "GET", &self.target("polling"), "")
    }

    pub fn post(&self, payload: &str) -> (u16, String) {
        ask(self.address, "POST", &self.target("polling"), payload)
    }

    /// A poll whose answer is read later.
    pub fn begin_poll(&self) -> TcpStream {
        begin(self.address, "GET", &self.target("polling"), "")
    }

    /// A WebSocket for the session.
    pub fn websocket(&self) -> Socket {
        Socket::at(self.address, &self.target("websocket"))
    }
}

pub fn begin(address: SocketAddr, method: &str, target: &str, body: &str) -> TcpStream {
    let mut stream = connect(address);
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Status and body of the answer to a request that was begun.
pub fn finish(mut stream: TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (status, _, body) = peer::split(&answer);
    (status, body)
}

pub fn ask(address: SocketAddr, method: &str, target: &str, body: &str) -> (u16, String) {
    finish(begin(address, method, target, body))
}
