//! A client of each dialect that takes a name as its own, enters a room by a name, and tells what
//! became of it.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use roomcast_wire::{Codec, Payload};
use serde_json::{Value, json};

use crate::engine::{self, Poller};
use crate::gopher::{self, Gopher, Heard, Kind};
use crate::peer::{self, Ws, connect};

/// What is said in rooms that names here name.
pub const OWN: &str = "said here";
/// A room for those who were refused one.
pub const HARBOUR: &str = "harbour";

pub const TAKEN: Fate = Fate::Taken;
pub const REFUSED: Fate = Fate::Refused;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    Taken,
    /// The client can go on; with MaChat it comes again, as every refusal there ends its link.
    Refused,
    Closed,
}

/// What became of a request, and all that was heard until that was known.
#[derive(Debug)]
pub struct Told(pub Fate, pub String);

/// A client of a dialect.
pub trait Peer {
    /// Introduces itself; none: people have no names in this dialect.
    fn hello(&mut self, name: &str) -> Option<Told>;
    /// Enters a room; where clients cannot, says something that names it.
    fn join(&mut self, room: &str) -> Told;
    /// Says something in a room that it is in, and hears it.
    fn say(&mut self, room: &str, text: &str) -> Told;
}

/// Hears until it is known what became of a request.
fn told(mut next: impl FnMut() -> Option<String>, fate: impl Fn(&str) -> Option<Fate>) -> Told {
    let mut heard = String::new();
    while let Some(text) = next() {
        heard += &text;
        heard.push('\n');
        if let Some(fate) = fate(&text) {
            return Told(fate, heard);
        }
    }
    Told(Fate::Closed, heard)
}

/// Sends what the server may refuse to read to its end.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    _ = stream.write_all(bytes);
}

/// The payload of the next frame, or the code of a close frame.
fn next_text(ws: &mut Ws) -> Option<String> {
    let frame = ws.next_frame()?;
    Some(if frame.opcode == 8 {
        format!("closed: {}", frame.close_code())
    } else {
        String::from_utf8(frame.payload).unwrap()
    })
}

/// Texts both ways: lines, or frames of a WebSocket.
pub enum Texts {
    Lines(BufReader<TcpStream>),
    Frames(Ws),
}

impl Texts {
    pub fn lines(at: SocketAddr) -> Self {
        Self::Lines(BufReader::new(connect(at)))
    }

    pub fn frames(at: SocketAddr, path: &str) -> Self {
        Self::Frames(engine::Socket::at(at, path).ws)
    }

    fn stream(&mut self) -> &mut TcpStream {
        match self {
            Self::Lines(lines) => lines.get_mut(),
            Self::Frames(ws) => &mut ws.stream,
        }
    }

    fn send(&mut self, text: &str) {
        match self {
            Self::Lines(lines) => send(lines.get_mut(), text.as_bytes()),
            Self::Frames(ws) => send(&mut ws.stream, &peer::frame(0x81, text.as_bytes())),
        }
    }

    fn next(&mut self) -> Option<String> {
        let mut text = String::new();
        match self {
            Self::Lines(lines) => {
                lines.read_line(&mut text).ok().filter(|count| *count > 0)?;
            }
            Self::Frames(ws) => text = next_text(ws)?,
        }
        Some(text.trim_end_matches('\n').to_owned())
    }
}

pub struct Native(pub Texts);

impl Native {
    fn ask(&mut self, message: &Value, good: &str) -> Told {
        self.0.send(&format!("{message}\n"));
        told(
            || self.0.next(),
            |text| {
                let kind = serde_json::from_str::<Value>(text).unwrap_or_default()["type"].take();
                let fates = [(good, TAKEN), ("error", REFUSED)];
                fates.into_iter().find(|(name, _)| kind == *name).map(|(_, fate)| fate)
            },
        )
    }
}

impl Peer for Native {
    fn hello(&mut self, name: &str) -> Option<Told> {
        Some(self.ask(&json!({"type": "hello", "ref": 1, "name": name}), "welcome"))
    }

    fn join(&mut self, room: &str) -> Told {
        self.ask(&json!({"type": "join", "ref": 2, "room": room}), "joined")
    }

    fn say(&mut self, room: &str, text: &str) -> Told {
        let data = json!({"text": text});
        let publish =
            json!({"type": "publish", "ref": 3, "room": room, "event": "chat", "data": data});
        self.ask(&publish, "event")
    }
}

/// How the packets of a Socket.IO client are carried.
enum Carrier {
    Frames(engine::Socket),
    /// With the msgpack parser.
    Packed(engine::Socket),
    /// With what has come and was not looked at.
    Polls(Poller, VecDeque<String>),
}

pub struct SocketIo {
    carrier: Carrier,
    is_open: bool,
}

impl SocketIo {
    pub fn frames(at: SocketAddr) -> Self {
        Self { carrier: Carrier::Frames(Self::socket(at)), is_open: false }
    }

    pub fn packed(at: SocketAddr) -> Self {
        Self { carrier: Carrier::Packed(Self::socket(at)), is_open: false }
    }

    pub fn polls(at: SocketAddr) -> Self {
        let poller = Poller::open_at(at, "/socket.io/");
        Self { carrier: Carrier::Polls(poller, VecDeque::new()), is_open: false }
    }

    fn socket(at: SocketAddr) -> engine::Socket {
        let mut socket = engine::Socket::at(at, "/socket.io/?EIO=4&transport=websocket");
        socket.open();
        socket
    }

    fn ask(&mut self, packet: &str, fate: impl Fn(&str) -> Option<Fate>) -> Told {
        match &mut self.carrier {
            Carrier::Frames(socket) => {
                send(&mut socket.ws.stream, &peer::frame(0x81, packet.as_bytes()));
            }
            Carrier::Packed(socket) => {
                send(&mut socket.ws.stream, &peer::frame(0x82, &packed(packet)));
            }
            Carrier::Polls(poller, heard) => {
                let (status, said) = poller.post(packet);
                // A refusal of the post itself is heard, too.
                heard.extend((status != 200).then_some(said));
            }
        }
        told(|| self.next(), fate)
    }

    fn next(&mut self) -> Option<String> {
        match &mut self.carrier {
            Carrier::Frames(socket) => next_text(&mut socket.ws),
            Carrier::Packed(socket) => {
                let frame = socket.ws.next_frame()?;
                Some(match frame.opcode {
                    8 => format!("closed: {}", frame.close_code()),
                    _ => unpacked(frame.payload),
                })
            }
            Carrier::Polls(poller, heard) => {
                if heard.is_empty() {
                    let (status, payload) = poller.poll();
                    let packets = payload.split('\u{1e}').filter(|_| status == 200);
                    heard.extend(packets.map(str::to_owned));
                }
                heard.pop_front()
            }
        }
    }
}

/// A packet as the msgpack parser writes it, from what the other writes.
fn packed(text: &str) -> Vec<u8> {
    let (kind, rest) = text.strip_prefix('4').unwrap().split_at(1);
    let data = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let mut packet = json!({ "type": kind.parse::<u8>().unwrap(), "nsp": "/" });
    packet["data"] = serde_json::from_str(data).unwrap();
    if let Ok(id) = rest[..rest.len() - data.len()].parse::<u64>() {
        packet["id"] = id.into();
    }
    Payload::json(&packet).unwrap().to_codec(Codec::MsgPack).bytes().to_vec()
}

fn unpacked(packet: Vec<u8>) -> String {
    let packet = Payload::new(Codec::MsgPack, Bytes::from(packet)).unwrap();
    let packet: Value = packet.read().unwrap();
    let id = packet.get("id").map(Value::to_string).unwrap_or_default();
    format!("4{}{id}{}", packet["type"], packet["data"])
}

impl Peer for SocketIo {
    fn hello(&mut self, name: &str) -> Option<Told> {
        let told = self.ask(&format!("40{}", json!({ "name": name })), |text| match &text[..2] {
            "40" => Some(TAKEN),
            "44" => Some(REFUSED),
            _ => None,
        });
        self.is_open = told.0 == TAKEN;
        Some(told)
    }

    fn join(&mut self, room: &str) -> Told {
        if !self.is_open {
            self.hello("Mina");
        }
        self.ask(&format!("421{}", json!(["join", room])), |text| {
            let answer = text.strip_prefix("431[")?;
            Some(if answer.contains("\"type\":\"joined\"") { TAKEN } else { REFUSED })
        })
    }

    fn say(&mut self, room: &str, text: &str) -> Told {
        let map = json!({"room": room, "event": "chat", "data": text});
        self.ask(&format!("42{}", json!(["publish", map])), |text| {
            let event = text.strip_prefix("42[\"")?;
            Some(if event.starts_with("chat\"") { TAKEN } else { REFUSED })
        })
    }
}

impl Peer for Gopher {
    fn hello(&mut self, _: &str) -> Option<Told> {
        None
    }

    fn join(&mut self, room: &str) -> Told {
        send(&mut self.stream, &gopher::request(Kind::Join, room));
        match self.next() {
            Some(Heard::Room(Kind::Join, joined)) if joined == room => Told(TAKEN, joined),
            Some(Heard::Post(to, author, text)) if (&*to, &*author) == ("", "server") => {
                Told(REFUSED, text)
            }
            None => Told(Fate::Closed, String::new()),
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, room: &str, text: &str) -> Told {
        self.post(room, text);
        match self.next() {
            Some(Heard::Post(at, author, said)) if at == room && author != "server" => {
                Told(TAKEN, said)
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Every connection begins with a name and a room; so another room is another connection. What it
/// is not asked to be called or to enter is called after its port: names are one member's here.
pub struct MaChat {
    connect: Box<dyn Fn() -> Texts>,
    texts: Texts,
}

impl MaChat {
    pub fn new(connect: impl Fn() -> Texts + 'static) -> Self {
        Self { texts: connect(), connect: Box::new(connect) }
    }

    fn begin(&mut self, name: Option<&str>, room: Option<&str>) -> Told {
        self.texts = (self.connect)();
        let own = self.texts.stream().local_addr().unwrap().port().to_string();
        let hello = json!({"name": name.unwrap_or(&own), "room": room.unwrap_or(&own)});
        self.says(&format!("{hello}\nhello\n"))
    }

    fn says(&mut self, bytes: &str) -> Told {
        self.texts.send(bytes);
        told(
            || self.texts.next(),
            |line| match line.split_once(':') {
                Some(("error", _)) => Some(REFUSED),
                Some(("closed", _)) | None => None,
                Some(_) => Some(TAKEN),
            },
        )
    }
}

impl Peer for MaChat {
    fn hello(&mut self, name: &str) -> Option<Told> {
        Some(self.begin(Some(name), None))
    }

    fn join(&mut self, room: &str) -> Told {
        self.begin(None, Some(room))
    }

    fn say(&mut self, _: &str, text: &str) -> Told {
        self.says(&format!("{text}\n"))
    }
}

/// Its clients are in the rooms that the server gives them: here in none.
pub struct Mesh(Ws);

impl Mesh {
    pub fn connect(at: SocketAddr) -> Self {
        Self(engine::Socket::at(at, "/wsmesh?name=Guest").ws)
    }

    fn ask(&mut self, action: &str, target: &str, text: &str) -> Told {
        let message = json!({"action": action, "message_body": {"x": text}, "target": target});
        send(&mut self.0.stream, &peer::frame(0x81, message.to_string().as_bytes()));
        told(
            || next_text(&mut self.0),
            |text| {
                let refused = text.starts_with("{\"action\":\"error\",");
                (refused || text.contains(OWN)).then_some(if refused { REFUSED } else { TAKEN })
            },
        )
    }
}

impl Peer for Mesh {
    fn hello(&mut self, _: &str) -> Option<Told> {
        None
    }

    fn join(&mut self, room: &str) -> Told {
        match self.ask(room, HARBOUR, "") {
            Told(REFUSED, _) => self.ask("say", room, ""),
            other => other,
        }
    }

    fn say(&mut self, room: &str, text: &str) -> Told {
        self.ask("say", room, text)
    }
}

/// Its clients name events only, and are in the rooms that the server gives them: here in none.
pub enum MsgIo {
    Lengths(TcpStream),
    Frames(Ws),
}

impl MsgIo {
    pub fn lengths(at: SocketAddr) -> Self {
        let mut stream = connect(at);
        send(&mut stream, b"msgio");
        Self::Lengths(stream)
    }

    pub fn frames(at: SocketAddr) -> Self {
        let mut stream = connect(at);
        let names = "Sec-WebSocket-Protocol: default\r\n";
        send(&mut stream, format!("{}{names}\r\n", peer::HANDSHAKE).as_bytes());
        let head = peer::read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self::Frames(Ws { stream })
    }

    fn send(&mut self, body: &[u8]) {
        match self {
            Self::Lengths(stream) => {
                send(stream, &(body.len() as u32).to_le_bytes());
                send(stream, body);
            }
            Self::Frames(ws) => send(&mut ws.stream, &peer::frame(0x81, body)),
        }
    }

    fn next(&mut self) -> Option<String> {
        let stream = match self {
            Self::Lengths(stream) => stream,
            Self::Frames(ws) => return next_text(ws),
        };
        let mut len = [0; 4];
        stream.read_exact(&mut len).ok()?;
        let mut body = vec![0; u32::from_le_bytes(len) as usize];
        stream.read_exact(&mut body).unwrap();
        Some(String::from_utf8(body).unwrap())
    }
}

impl Peer for MsgIo {
    fn hello(&mut self, _: &str) -> Option<Told> {
        None
    }

    fn join(&mut self, room: &str) -> Told {
        self.say(room, "")
    }

    fn say(&mut self, event: &str, text: &str) -> Told {
        let body = json!({"namespace": event, "event": event, "payload": text}).to_string();
        self.send(body.as_bytes());
        told(|| self.next(), |text| text.contains("\"event\":\"error\"").then_some(REFUSED))
    }
}
