//! A client byte by byte: honest, on our own half of the protocol, or with anything at all.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use roomcast_wire::enet::{Connection, Datagram, Heard, Mode, Options, Settings};
use serde_json::Value;

use crate::peer::PATIENCE;

pub const SETTINGS: Settings = Settings {
    options: Options { checksum: false, compression: false },
    message_bytes_max: 1 << 20,
    waiting_bytes_max: 1 << 20,
    ping_ms: 500,
};

pub struct Own {
    pub socket: UdpSocket,
    pub connection: Connection,
    began: Instant,
    heard: VecDeque<Heard>,
}

impl Own {
    /// Asks for a connection, from an address on this machine.
    pub fn asking(from: &str, server: SocketAddr, id: u32) -> Self {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect(server).unwrap();
        let connection = Connection::connect(0, SETTINGS, 2, id.to_be_bytes(), 0);
        Self { socket, connection, began: Instant::now(), heard: VecDeque::new() }
    }

    pub fn connected(server: SocketAddr) -> Self {
        // Ports come back soon, and who asks twice in the same words is one.
        let id = RandomState::new().hash_one(0) as u32;
        let mut own = Self::asking("127.0.0.1", server, id);
        assert_eq!(own.next(), Heard::Connected);
        own
    }

    /// A client that is in a room.
    pub fn joined(server: SocketAddr) -> Self {
        let mut own = Self::connected(server);
        own.join();
        own
    }

    pub fn join(&mut self) {
        self.say(r#"{"type":"join","ref":1,"room":"lobby"}"#);
        self.expect("joined");
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// The datagrams that are to be sent now.
    pub fn datagrams(&mut self) -> Vec<Bytes> {
        let now = self.now();
        let mut heard = Vec::new();
        self.connection.tick(now, &mut heard);
        self.heard.extend(heard);
        let mut datagrams = Vec::new();
        let mut out = BytesMut::new();
        while self.connection.transmit(now, &mut out) {
            datagrams.push(out.split().freeze());
        }
        datagrams
    }

    /// Sends what there is and takes what comes within a moment.
    pub fn turn(&mut self) {
        for datagram in self.datagrams() {
            // Loopback says if nobody listens: a server that has stopped.
            let _ = self.socket.send(&datagram);
        }
        self.socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut buffer = [0; 4096];
        if let Ok(count) = self.socket.recv(&mut buffer) {
            let datagram = Datagram::read(&buffer[..count], SETTINGS.options).unwrap();
            let mut heard = Vec::new();
            self.connection.receive(self.now(), &datagram, &mut heard);
            self.heard.extend(heard);
        }
    }

    pub fn next(&mut self) -> Heard {
        let start = Instant::now();
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            assert!(start.elapsed() < PATIENCE, "nothing came");
            self.turn();
        }
    }

    pub fn say(&mut self, text: &str) {
        let text = Bytes::copy_from_slice(text.as_bytes());
        self.connection.send(0, text, Mode::Reliable).unwrap();
    }

    /// The next message of a kind; others are passed over.
    pub fn expect(&mut self, kind: &str) -> Value {
        loop {
            match self.next() {
                Heard::Message { bytes, .. } => {
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    if message["type"] == kind {
                        return message;
                    }
                }
                other => panic!("{other:?} before {kind}"),
            }
        }
    }
}
