//! One member over UDP: a session of `roomcast_wire::udp` and its socket, without a task or a timer
//! of its own.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use mio::net::UdpSocket;
use roomcast_wire::udp::greeting::{Greeted, Greeter};
use roomcast_wire::udp::seal::Key;
use roomcast_wire::udp::session::{Event, Role, Session, Terms};
use roomcast_wire::{CloseCode, Codec};

/// Nothing larger is sent by a benchmark.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// As the clients of this project.
const PING: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(40);

pub struct Peer {
    pub socket: UdpSocket,
    server: SocketAddr,
    begun: Instant,
    state: State,
    /// Messages that came.
    came: VecDeque<Bytes>,
    events: Vec<Event>,
    scratch: Vec<u8>,
}

enum State {
    Greeting(Greeter),
    Open(Box<Session>),
}

impl Peer {
    /// Says the first hello.
    pub fn begin(server: SocketAddr, begun: Instant) -> Result<Self> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        // Random enough against a server that one has started oneself.
        let nonce =
            u64::from(socket.local_addr()?.port()) << 48 | begun.elapsed().as_nanos() as u64;
        let state = State::Greeting(Greeter::new(nonce, Codec::Json, begun.elapsed()));
        let (came, events, scratch) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut peer = Self { socket, server, begun, state, came, events, scratch };
        peer.flush()?;
        Ok(peer)
    }

    /// Whether messages may flow.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Takes a datagram; `false`: there is none.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let count = match self.socket.recv(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error).context("nobody listens there"),
        };
        let (now, datagram) = (self.begun.elapsed(), &buffer[..count]);
        match &mut self.state {
            State::Greeting(greeter) => match greeter.receive(now, datagram) {
                None => self.flush()?,
                Some(Greeted::Refused { code, .. }) => bail!("the server refused it: {code}"),
                Some(Greeted::Accepted { id, key }) => {
                    let terms = Terms {
                        role: Role::Client,
                        message_bytes_max: MESSAGE_BYTES_MAX,
                        ping: PING,
                        silence: SILENCE,
                        secret: Key::new([0; 16]),
                    };
                    let session = Session::new(id, key, terms, self.server, now);
                    self.state = State::Open(Box::new(session));
                }
            },
            State::Open(session) => {
                // What is refused is none of the server's.
                let _ = session.receive(now, self.server, datagram, &mut self.events);
                self.sort_events()?;
            }
        }
        Ok(true)
    }

    fn sort_events(&mut self) -> Result<()> {
        for event in self.events.drain(..) {
            match event {
                Event::Message(message) => self.came.push_back(message),
                Event::Alive | Event::Writable | Event::Moved => {}
                Event::Closed { code, reason } => bail!("the server closed it: {code} {reason}"),
                Event::Lost => bail!("the server went silent"),
                Event::Fault(code) => bail!("the server broke the rules: {code}"),
            }
        }
        Ok(())
    }

    pub fn next_message(&mut self) -> Option<Bytes> {
        self.came.pop_front()
    }

    /// Sends lines, reliably.
    pub fn send(&mut self, lines: &[u8]) -> Result<()> {
        let State::Open(session) = &mut self.state else { bail!("it is not open yet") };
        if !session.send_chunk(Codec::Json, &Bytes::copy_from_slice(lines), true) {
            bail!("the server does not take what is sent");
        }
        self.flush()
    }

    /// Sends what is to be sent now.
    pub fn flush(&mut self) -> Result<()> {
        let now = self.begun.elapsed();
        // A datagram that finds no room or nobody is lost, and repeated if it has to arrive.
        let socket = &self.socket;
        match &mut self.state {
            State::Greeting(greeter) => {
                if let Some(hello) = greeter.transmit(now) {
                    let _ = socket.send(&hello);
                }
            }
            State::Open(session) => session.transmit(now, &mut self.scratch, &mut |_, datagram| {
                let _ = socket.send(datagram);
            }),
        }
        Ok(())
    }

    /// Repetitions and signs of life that are due.
    pub fn tick(&mut self) -> Result<()> {
        let now = self.begun.elapsed();
        if let State::Open(session) = &mut self.state {
            if session.due().is_none_or(|due| due > now) {
                return Ok(());
            }
            session.tick(now, &mut self.events);
            self.sort_events()?;
        }
        self.flush()
    }

    /// Says that it goes.
    pub fn close(&mut self) -> Result<()> {
        if let State::Open(session) = &mut self.state {
            session.close(self.begun.elapsed(), CloseCode::Normal.number(), "");
        }
        self.flush()
    }
}
