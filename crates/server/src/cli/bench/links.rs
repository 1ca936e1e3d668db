//! Thousands of client links on one thread: non-blocking sockets in one vector, one read buffer,
//! no memory for a link that has nothing half read or half written.

use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::frames::{self, CLOSE, PING, PONG, TEXT};
use super::peer::Peer;
use super::speech::{Framing, Speech};

/// How long the links of rooms may take to be ready.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Links that are opened at the same time; listeners queue at least 128.
const OPENING_MAX: usize = 100;
/// How often peers of UDP are looked after: acknowledgements wait for 25 ms.
const TICK: Duration = Duration::from_millis(5);

/// Where the other side listens and how it talks.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// The host of the URL, for the `Host` header.
    pub host: String,
    pub path: String,
    pub framing: Framing,
    pub speech: Speech,
}

/// Who listens to the links.
pub trait Ear {
    /// A link has its seat (or, without a room, its session).
    fn ready(&mut self, id: usize, offset: u64);
    /// What is told next arrived at this time, since 1970; if the kernel was asked to tell.
    fn arrived(&mut self, _at: Duration) {}
    /// A message came on a ready link.
    fn message(&mut self, id: usize, message: &[u8]) -> Result<()>;
}

/// All links of one run; each is known by its number in the order of opening.
pub struct Links {
    endpoint: Endpoint,
    poll: Poll,
    events: Events,
    links: Vec<Link>,
    buffer: Box<[u8]>,
    opening: usize,
    /// Whether the kernel is asked when bytes arrived.
    stamps: bool,
    begun: Instant,
    /// When peers of UDP were looked after last.
    ticked: Instant,
}

struct Link {
    line: Line,
    stage: Stage,
    room: Option<u32>,
}

enum Line {
    Stream(Stream),
    Peer(Box<Peer>),
}

struct Stream {
    stream: TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Upgrading,
    Greeting,
    Joining,
    Ready,
}

impl Links {
    pub fn new(endpoint: Endpoint) -> Result<Self> {
        Ok(Self {
            endpoint,
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            links: Vec::new(),
            buffer: vec![0; 256 << 10].into_boxed_slice(),
            opening: 0,
            stamps: false,
            begun: Instant::now(),
            ticked: Instant::now(),
        })
    }

    /// How many links are on their way to be ready.
    pub fn opening(&self) -> usize {
        self.opening
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Starts one more link, which will join the room if one is given.
    pub fn open(&mut self, room: Option<u32>) -> Result<usize> {
        let (address, id) = (self.endpoint.address, self.links.len());
        let (registry, token) = (self.poll.registry(), Token(id));
        let cannot = || format!("cannot connect to {address}");
        let line = if self.endpoint.framing == Framing::Datagrams {
            let mut peer = Peer::begin(address, self.begun).with_context(cannot)?;
            registry.register(&mut peer.socket, token, Interest::READABLE)?;
            Line::Peer(Box::new(peer))
        } else {
            let mut stream = TcpStream::connect(address).with_context(cannot)?;
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Line::Stream(Stream { stream, unread: Vec::new(), unsent: Vec::new() })
        };
        self.links.push(Link { line, stage: Stage::Connecting, room });
        self.opening += 1;
        Ok(id)
    }

    /// Opens so many links, `members` in each room, and waits until all have their seats.
    ///
    /// # Errors
    /// They have not after a minute.
    pub fn open_rooms(&mut self, count: usize, members: u32, ear: &mut impl Ear) -> Result<()> {
        let until = Instant::now() + OPEN_MAX;
        while self.len() < count || self.opening() > 0 {
            while self.len() < count && self.opening() < OPENING_MAX {
                self.open(Some(self.len() as u32 / members))?;
            }
            self.turn(Some(Duration::from_millis(100)), ear)?;
            if Instant::now() > until {
                bail!("{} of {count} links are not ready after a minute", self.opening());
            }
        }
        Ok(())
    }

    /// From now on the ear is told when something arrived. Of bytes that are read together the last
    /// ones count.
    pub fn stamp_arrivals(&mut self) -> Result<()> {
        self.stamps = true;
        for link in &self.links {
            match &link.line {
                Line::Stream(line) => {
                    setsockopt(&line.stream, sockopt::ReceiveTimestampns, &true)?;
                }
                Line::Peer(_) => bail!("arrivals of datagrams are not stamped"),
            }
        }
        Ok(())
    }

    /// Waits for what comes, at most so long, and tells the ear.
    pub fn turn(&mut self, timeout: Option<Duration>, ear: &mut impl Ear) -> Result<()> {
        self.look_after_peers()?;
        if let Err(error) = self.poll.poll(&mut self.events, timeout) {
            if error.kind() == ErrorKind::Interrupted {
                return Ok(());
            }
            return Err(error.into());
        }
        let Self { endpoint, events, links, buffer, opening, stamps, .. } = self;
        for event in events.iter() {
            let id = event.token().0;
            let Some(link) = links.get_mut(id) else { continue };
            if event.is_writable() {
                link.writable(endpoint).with_context(|| format!("link {id} broke"))?;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                let was_ready = link.stage == Stage::Ready;
                link.readable(id, endpoint, (buffer, *stamps), ear)
                    .with_context(|| format!("link {id} broke"))?;
                if !was_ready && link.stage == Stage::Ready {
                    *opening -= 1;
                }
            }
        }
        Ok(())
    }

    fn look_after_peers(&mut self) -> Result<()> {
        if self.endpoint.framing != Framing::Datagrams || self.ticked.elapsed() < TICK {
            return Ok(());
        }
        self.ticked = Instant::now();
        for (id, link) in self.links.iter_mut().enumerate() {
            if let Line::Peer(peer) = &mut link.line {
                peer.tick().with_context(|| format!("link {id} broke"))?;
            }
        }
        Ok(())
    }

    /// Writes whole frames to a ready link; what the socket does not take waits.
    pub fn send(&mut self, id: usize, bytes: &[u8]) -> Result<()> {
        self.links[id].send(bytes).with_context(|| format!("link {id} broke"))
    }

    /// Ends all links in good order; the sockets close with them.
    pub fn close(mut self) {
        let mut frame = Vec::new();
        let key = Some(self.endpoint.speech.key());
        frames::write_frame(&mut frame, CLOSE, key, &1_000_u16.to_be_bytes());
        for link in &mut self.links {
            // Nobody waits for the answer, so a link that is gone already is fine too.
            match &mut link.line {
                Line::Stream(line) if self.endpoint.framing == Framing::WebSocket => {
                    let _ = line.send(&frame);
                }
                Line::Stream(_) => {}
                Line::Peer(peer) => {
                    let _ = peer.close();
                }
            }
        }
    }
}

impl Stream {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent.extend_from_slice(&bytes[sent..]);
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads, and tells the ear when the last of what was read arrived.
    fn read_stamped(&mut self, buffer: &mut [u8], ear: &mut impl Ear) -> io::Result<usize> {
        let mut space = cmsg_space!(TimeSpec);
        let mut into = [IoSliceMut::new(buffer)];
        let (fd, flags) = (self.stream.as_raw_fd(), MsgFlags::empty());
        let read = recvmsg::<()>(fd, &mut into, Some(&mut space), flags)?;
        for told in read.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(at) = told {
                ear.arrived(at.into());
            }
        }
        Ok(read.bytes)
    }
}

impl Link {
    fn writable(&mut self, endpoint: &Endpoint) -> Result<()> {
        let Line::Stream(line) = &mut self.line else { return Ok(()) };
        if self.stage == Stage::Connecting {
            if let Some(error) = line.stream.take_error()? {
                return Err(error).context("cannot connect");
            }
            line.stream.set_nodelay(true)?;
            if endpoint.framing != Framing::WebSocket {
                return self.greet(endpoint);
            }
            self.stage = Stage::Upgrading;
            return self.send(upgrade_request(endpoint).as_bytes());
        }
        if line.unsent.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut line.unsent);
        line.send(&waiting)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.line {
            Line::Stream(line) => line.send(bytes),
            Line::Peer(peer) => peer.send(bytes),
        }
    }

    fn say(&mut self, endpoint: &Endpoint, message: &str) -> Result<()> {
        let mut bytes = Vec::with_capacity(message.len() + 8);
        match endpoint.framing {
            Framing::WebSocket => {
                let key = Some(endpoint.speech.key());
                frames::write_frame(&mut bytes, TEXT, key, message.as_bytes());
            }
            Framing::Lines | Framing::Datagrams => {
                bytes.extend_from_slice(message.as_bytes());
                bytes.push(b'\n');
            }
        }
        self.send(&bytes)
    }

    fn readable(
        &mut self,
        id: usize,
        endpoint: &Endpoint,
        (buffer, stamps): (&mut [u8], bool),
        ear: &mut impl Ear,
    ) -> Result<()> {
        if matches!(self.line, Line::Peer(_)) {
            return self.hear_peer(id, endpoint, buffer, ear);
        }
        loop {
            let Line::Stream(line) = &mut self.line else { return Ok(()) };
            let read = match stamps {
                true => line.read_stamped(buffer, ear),
                false => line.stream.read(buffer),
            };
            let count = match read {
                Ok(0) => bail!("the server closed it while {:?}", self.stage),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let mut unread = std::mem::take(&mut line.unread);
            let left = if unread.is_empty() {
                let used = self.digest(id, endpoint, &buffer[..count], ear)?;
                unread.extend_from_slice(&buffer[used..count]);
                unread
            } else {
                unread.extend_from_slice(&buffer[..count]);
                let used = self.digest(id, endpoint, &unread, ear)?;
                unread.split_off(used)
            };
            if let Line::Stream(line) = &mut self.line {
                line.unread = left;
            }
            // A short read empties the socket: the next edge tells of anything later.
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Takes all datagrams that came, then answers them together.
    fn hear_peer(
        &mut self,
        id: usize,
        endpoint: &Endpoint,
        buffer: &mut [u8],
        ear: &mut impl Ear,
    ) -> Result<()> {
        loop {
            let Line::Peer(peer) = &mut self.line else { return Ok(()) };
            if !peer.receive(buffer)? {
                return peer.flush();
            }
            if self.stage == Stage::Connecting && peer.is_open() {
                self.greet(endpoint)?;
                if self.stage == Stage::Ready {
                    ear.ready(id, 0);
                }
            }
            while let Line::Peer(peer) = &mut self.line
                && let Some(message) = peer.next_message()
            {
                self.heard(id, endpoint, &message, ear)?;
            }
        }
    }

    /// Handles all that is complete in `bytes`; returns how much of them that was.
    fn digest(
        &mut self,
        id: usize,
        endpoint: &Endpoint,
        bytes: &[u8],
        ear: &mut impl Ear,
    ) -> Result<usize> {
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            let Some(len) = head_len(bytes) else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                bail!("no WebSocket: {}", String::from_utf8_lossy(&bytes[..len]).trim_end());
            }
            used = len;
            self.greet(endpoint)?;
            if self.stage == Stage::Ready {
                ear.ready(id, 0);
            }
        }
        while used < bytes.len() {
            let rest = &bytes[used..];
            match endpoint.framing {
                Framing::Lines | Framing::Datagrams => {
                    let Some(len) = rest.iter().position(|&byte| byte == b'\n') else { break };
                    self.heard(id, endpoint, &rest[..len], ear)?;
                    used += len + 1;
                }
                Framing::WebSocket => {
                    let Some(frame) = frames::read_frame(rest)? else { break };
                    let payload = &rest[frame.start..frame.end];
                    match frame.opcode {
                        CLOSE => bail!("the server closed it: {}", close_text(payload)),
                        PING => {
                            let mut pong = Vec::new();
                            let key = Some(endpoint.speech.key());
                            frames::write_frame(&mut pong, PONG, key, payload);
                            self.send(&pong)?;
                        }
                        PONG => {}
                        _ => self.heard(id, endpoint, payload, ear)?,
                    }
                    used += frame.end;
                }
            }
        }
        Ok(used)
    }

    fn heard(
        &mut self,
        id: usize,
        endpoint: &Endpoint,
        message: &[u8],
        ear: &mut impl Ear,
    ) -> Result<()> {
        if let Some(answer) = endpoint.speech.answer(message) {
            return self.say(endpoint, answer);
        }
        match self.stage {
            Stage::Ready => ear.message(id, message)?,
            Stage::Greeting if endpoint.speech.is_welcome(message)? => {
                self.join(endpoint)?;
                if self.stage == Stage::Ready {
                    ear.ready(id, 0);
                }
            }
            Stage::Joining => {
                if let Some(offset) = endpoint.speech.is_joined(message)? {
                    self.stage = Stage::Ready;
                    ear.ready(id, offset);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn greet(&mut self, endpoint: &Endpoint) -> Result<()> {
        match endpoint.speech.hello() {
            Some(hello) => {
                self.stage = Stage::Greeting;
                self.say(endpoint, hello)
            }
            None => self.join(endpoint),
        }
    }

    fn join(&mut self, endpoint: &Endpoint) -> Result<()> {
        match self.room {
            Some(room) => {
                self.stage = Stage::Joining;
                self.say(endpoint, &endpoint.speech.join(room))
            }
            None => {
                self.stage = Stage::Ready;
                Ok(())
            }
        }
    }
}

fn upgrade_request(endpoint: &Endpoint) -> String {
    let protocol = match endpoint.speech {
        Speech::Native => "Sec-WebSocket-Protocol: roomcast.v1.json\r\n",
        Speech::SocketIo | Speech::Bare => "",
    };
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         {protocol}\r\n",
        endpoint.path, endpoint.host,
    )
}

/// The length of an HTTP head, its empty line included; `None` if that has not come.
pub fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn close_text(payload: &[u8]) -> String {
    match payload.split_first_chunk() {
        Some((&code, reason)) => {
            format!("{} {}", u16::from_be_bytes(code), String::from_utf8_lossy(reason))
        }
        None => "without a code".to_owned(),
    }
}
