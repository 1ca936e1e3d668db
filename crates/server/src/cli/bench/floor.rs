//! The floor: what a server cannot do without, and nothing else.
//!
//! One epoll loop, one `recv` for each link that has something, one `send` for each member that
//! gets something in a turn, with everything that turn has for it. The bytes of an event are sent
//! as they came: no names, no checks, no order, no seats. What any server costs above this is its
//! own doing.

use std::io::{ErrorKind, Read, Write};
use std::process::ExitCode;

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::frames::{self, CLOSE, TEXT};
use super::links::head_len;

const LISTENER: Token = Token(usize::MAX);

/// Room numbers above this all mean the same room.
const ROOMS_MAX: usize = 1 << 20;

/// RFC 6455's own example of a key, which the generator always sends, has this answer.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Serves until it is killed, which happens at the latest when its parent ends.
pub fn run() -> Result<ExitCode> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    println!("listening on ws://{}/", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1_024);
    let mut floor = Floor::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                floor.accept(&listener, &poll)?;
                continue;
            }
            let id = event.token().0;
            if event.is_writable() {
                floor.writable(id);
            }
            if event.is_readable() {
                floor.readable(id, &mut buffer);
            }
        }
        floor.flush();
    }
}

#[derive(Default)]
struct Floor {
    links: Slab<Link>,
    rooms: Vec<Room>,
    dirty: Vec<usize>,
    dead: Vec<usize>,
}

struct Link {
    stream: TcpStream,
    upgraded: bool,
    room: Option<usize>,
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

#[derive(Default)]
struct Room {
    members: Vec<usize>,
    /// What this turn has for every member.
    turn: Vec<u8>,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let entry = self.links.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(entry.key()), interest)?;
            let (unread, unsent) = (Vec::new(), Vec::new());
            entry.insert(Link { stream, upgraded: false, room: None, unread, unsent });
        }
    }

    fn writable(&mut self, id: usize) {
        let Some(link) = self.links.get_mut(id) else { return };
        if !link.unsent.is_empty() {
            let waiting = std::mem::take(&mut link.unsent);
            link.send(&waiting);
        }
    }

    fn readable(&mut self, id: usize, buffer: &mut [u8]) {
        loop {
            let Some(link) = self.links.get_mut(id) else { return };
            let count = match link.stream.read(buffer) {
                Ok(0) => return self.dead.push(id),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.dead.push(id),
            };
            let outcome = if link.unread.is_empty() {
                self.digest(id, &buffer[..count]).map(|used| buffer[used..count].to_vec())
            } else {
                let mut unread = std::mem::take(&mut link.unread);
                unread.extend_from_slice(&buffer[..count]);
                self.digest(id, &unread).map(|used| unread.split_off(used))
            };
            match outcome {
                Some(unread) => self.links[id].unread = unread,
                None => return self.dead.push(id),
            }
            if count < buffer.len() {
                return;
            }
        }
    }

    /// Handles what is complete in `bytes` and returns how much that was; `None`: the link ends.
    fn digest(&mut self, id: usize, bytes: &[u8]) -> Option<usize> {
        let link = &mut self.links[id];
        let mut used = 0;
        if !link.upgraded {
            let Some(len) = head_len(bytes) else { return Some(0) };
            link.upgraded = true;
            link.send(UPGRADED);
            used = len;
        }
        while used < bytes.len() {
            let Some(frame) = frames::read_frame(&bytes[used..]).ok()? else { break };
            let payload = &bytes[used + frame.start..used + frame.end];
            used += frame.end;
            if frame.opcode == CLOSE {
                return None;
            }
            // The generator masks with zeros here: nothing to undo.
            if payload.first() == Some(&b'{') {
                self.join(id, payload);
            } else if let Some(room) = self.links[id].room {
                let turn = &mut self.rooms[room].turn;
                if turn.is_empty() {
                    self.dirty.push(room);
                }
                frames::write_frame(turn, TEXT, None, payload);
            }
        }
        Some(used)
    }

    fn join(&mut self, id: usize, message: &[u8]) {
        let digits = message.iter().filter(|byte| byte.is_ascii_digit());
        let room = digits
            .fold(0, |room: usize, digit| room.saturating_mul(10) + usize::from(digit - b'0'));
        let room = room.min(ROOMS_MAX);
        if room >= self.rooms.len() {
            self.rooms.resize_with(room + 1, Room::default);
        }
        self.rooms[room].members.push(id);
        self.links[id].room = Some(room);
        let mut joined = Vec::new();
        frames::write_frame(&mut joined, TEXT, None, br#"{"joined":true}"#);
        self.links[id].send(&joined);
    }

    fn flush(&mut self) {
        for room in self.dirty.drain(..) {
            let room = &mut self.rooms[room];
            for &member in &room.members {
                if let Some(link) = self.links.get_mut(member) {
                    link.send(&room.turn);
                }
            }
            room.turn.clear();
        }
        for id in self.dead.drain(..) {
            if let Some(link) = self.links.try_remove(id)
                && let Some(room) = link.room
            {
                self.rooms[room].members.retain(|&member| member != id);
            }
        }
    }
}

impl Link {
    /// One `send`; what does not fit waits for the socket. A dead link shows when it is read.
    fn send(&mut self, bytes: &[u8]) {
        if !self.unsent.is_empty() {
            return self.unsent.extend_from_slice(bytes);
        }
        match self.stream.write(bytes) {
            Ok(count) => self.unsent.extend_from_slice(&bytes[count..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.unsent.extend_from_slice(bytes);
            }
            Err(_) => {}
        }
    }
}
