//! A client on plain UDP whose datagrams a test can see, keep and change.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use roomcast_wire::Codec;
use roomcast_wire::udp::greeting::{Greeted, Greeter};
use roomcast_wire::udp::seal::Key;
use roomcast_wire::udp::session::{Event, Role, Session, Terms};
use serde_json::Value;

use crate::peer::PATIENCE;

/// A socket that waits for an answer no longer than a test may.
pub fn socket(own: &str) -> UdpSocket {
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    socket
}

pub struct Raw {
    pub socket: UdpSocket,
    pub session: Session,
    began: Instant,
    /// Messages that came and nobody has asked for.
    messages: Vec<Value>,
    pub closed: Option<u16>,
    /// Everything that was sent.
    pub sent: Vec<Vec<u8>>,
}

/// Why there is no session.
#[derive(Debug, PartialEq)]
pub struct Refused(pub u16);

impl Raw {
    pub fn connect(server: SocketAddr) -> Self {
        Self::greet(socket("127.0.0.1"), server).unwrap()
    }

    pub fn greet(socket: UdpSocket, server: SocketAddr) -> Result<Self, Refused> {
        let began = Instant::now();
        let nonce = began.elapsed().as_nanos() as u64 ^ socket.local_addr().unwrap().port() as u64;
        let mut greeter = Greeter::new(nonce, Codec::Json, Duration::ZERO);
        let mut buffer = [0; 2_048];
        let mut sent = Vec::new();
        loop {
            assert!(began.elapsed() < PATIENCE, "the server does not answer");
            if let Some(hello) = greeter.transmit(began.elapsed()) {
                socket.send_to(&hello, server).unwrap();
                sent.push(hello);
            }
            let Ok((count, _)) = socket.recv_from(&mut buffer) else { continue };
            match greeter.receive(began.elapsed(), &buffer[..count]) {
                None => {}
                Some(Greeted::Refused { code, .. }) => return Err(Refused(code)),
                Some(Greeted::Accepted { id, key }) => {
                    let terms = Terms {
                        role: Role::Client,
                        message_bytes_max: 1 << 20,
                        ping: Duration::from_secs(15),
                        silence: Duration::from_secs(45),
                        secret: Key::new([0; 16]),
                    };
                    let session = Session::new(id, key, terms, server, began.elapsed());
                    let (messages, closed) = (Vec::new(), None);
                    return Ok(Self { socket, session, began, messages, closed, sent });
                }
            }
        }
    }

    pub fn say(&mut self, message: &str) {
        self.say_as(message, true);
    }

    pub fn say_as(&mut self, message: &str, reliable: bool) {
        assert!(self.session.send(&message.to_owned().into(), reliable));
        self.transmit();
    }

    pub fn transmit(&mut self) {
        let Self { socket, session, sent, .. } = self;
        session.transmit(self.began.elapsed(), &mut Vec::new(), &mut |to, datagram| {
            // What the kernel has no place for is lost, as on any way.
            _ = socket.send_to(datagram, to);
            sent.push(datagram.to_vec());
        });
    }

    /// Lets a few milliseconds pass.
    pub fn turn(&mut self) {
        let mut events = Vec::new();
        let mut buffer = [0; 2_048];
        while let Ok((count, from)) = self.socket.recv_from(&mut buffer) {
            let now = self.began.elapsed();
            _ = self.session.receive(now, from, &buffer[..count], &mut events);
            self.transmit();
        }
        let now = self.began.elapsed();
        if self.session.due().is_some_and(|due| due <= now) {
            self.session.tick(now, &mut events);
        }
        for event in events {
            match event {
                Event::Message(bytes) => {
                    self.messages.push(serde_json::from_slice(&bytes).unwrap());
                }
                Event::Closed { code, .. } => self.closed = Some(code),
                _ => {}
            }
        }
        self.transmit();
    }

    /// The next message of a type; those before it are passed over.
    pub fn expect(&mut self, kind: &str) -> Value {
        self.expect_any(&[kind])
    }

    /// The next message of one of some types.
    pub fn expect_any(&mut self, kinds: &[&str]) -> Value {
        let start = Instant::now();
        let wanted = |message: &Value| kinds.iter().any(|kind| message["type"] == *kind);
        loop {
            if let Some(at) = self.messages.iter().position(wanted) {
                return self.messages.drain(..=at).next_back().unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "no {kinds:?} came");
            self.turn();
        }
    }

    /// Acknowledges what came: nothing is owed to the server any more.
    pub fn rest(&mut self) {
        let soon = |raw: &Self| raw.began.elapsed() + Duration::from_secs(1);
        while self.session.due().is_some_and(|due| due < soon(self)) {
            self.turn();
        }
    }

    /// The close code.
    pub fn end(&mut self) -> u16 {
        let start = Instant::now();
        while self.closed.is_none() {
            assert!(start.elapsed() < PATIENCE, "it does not end");
            self.turn();
        }
        self.closed.unwrap()
    }

    pub fn join(&mut self, room: &str) {
        self.say(&format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#));
        self.expect("joined");
    }
}
