//! A server on free ports and peers that speak to it byte by byte.

#![allow(dead_code, clippy::unwrap_used)]

pub mod child;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use roomcast::{Config, Server};
use serde_json::Value;

/// Long enough for a busy machine; a test that passes never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a WebSocket and a TCP listener on this machine.
pub fn start(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config {
        listen: vec!["ws://127.0.0.1:0".into(), "tcp://127.0.0.1:0".into()],
        workers: 2,
        ..Config::default()
    };
    change(&mut config);
    Server::builder().config(config).start().unwrap()
}

/// Where the first listener of a scheme is.
pub fn address(server: &Server, scheme: &str) -> SocketAddr {
    let prefix = format!("{scheme}://");
    let found = server.listeners().iter().find(|listener| listener.url.starts_with(&prefix));
    found.unwrap().address
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Waits until `condition` holds.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// A peer that speaks JSON lines.
pub struct Lines {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Lines {
    pub fn connect(server: &Server) -> Self {
        Self::over(connect(address(server, "tcp")))
    }

    pub fn over(stream: TcpStream) -> Self {
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.write_all(b"\n").unwrap();
    }

    /// The next line; none at the end.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next line; none at the end, however it came.
    pub fn unless_cut(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// The next line of a kind; others are passed over.
    pub fn expect(&mut self, kind: &str) -> Value {
        loop {
            let line = self.next().unwrap_or_else(|| panic!("the link ended before {kind}"));
            if line["type"] == kind {
                return line;
            }
        }
    }

    /// Begins a session that can be resumed.
    pub fn hello(&mut self) -> Value {
        self.send(r#"{"type":"hello","ref":0}"#);
        self.expect("welcome")
    }

    pub fn join(&mut self, room: &str) {
        self.send(&format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#));
        self.expect("joined");
    }
}

/// A peer that speaks WebSocket, one frame at a time.
pub struct Ws {
    pub stream: TcpStream,
}

/// One frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }

    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, 8, "{self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Ws {
    pub fn connect(server: &Server) -> Self {
        Self::over(connect(address(server, "ws")))
    }

    pub fn over(mut stream: TcpStream) -> Self {
        stream.write_all(format!("{HANDSHAKE}\r\n").as_bytes()).unwrap();
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { stream }
    }

    pub fn send(&mut self, text: &str) {
        self.send_frame(0x81, text.as_bytes());
    }

    /// `first` is FIN and opcode.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).unwrap();
    }

    /// The next frame; none at the end.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).unwrap();
                u64::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len).unwrap();
                u64::from_be_bytes(len)
            }
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        Some(Frame { opcode: head[0] & 15, payload })
    }

    /// The next message of a kind; other frames are passed over.
    pub fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next_frame().unwrap_or_else(|| panic!("ended before {kind}"));
            if frame.opcode == 1 && frame.json()["type"] == kind {
                return frame.json();
            }
        }
    }

    /// The code of the close frame; other frames are passed over.
    pub fn expect_close(&mut self) -> u16 {
        loop {
            let frame = self.next_frame().expect("the link ended without a close frame");
            if frame.opcode == 8 {
                return frame.close_code();
            }
        }
    }

    /// Begins a session that can be resumed.
    pub fn hello(&mut self) -> Value {
        self.send(r#"{"type":"hello","ref":0}"#);
        self.expect("welcome")
    }

    pub fn join(&mut self, room: &str) {
        self.send(&format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#));
        self.expect("joined");
    }
}

/// One masked frame; `first` is FIN and opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [0x11, 0x22, 0x33, 0x44];
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// Reads to the end of a head, no byte further.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Sends a request and reads the whole answer: status, head, body.
pub fn http(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    split(&answer)
}

pub fn split(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), head.to_ascii_lowercase(), body.to_owned())
}

pub fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// Whether the server has closed: end of stream or reset, whatever came before.
pub fn is_closed(stream: &mut TcpStream) -> bool {
    let mut scratch = [0; 4096];
    loop {
        match stream.read(&mut scratch) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
