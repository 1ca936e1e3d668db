//! Names that mean something elsewhere (S24), as rooms and as people, in every dialect: the real
//! binary refuses them in the dialect's own way or takes them as they are, nobody hears what was
//! said in another room, and its log holds nothing that a terminal would obey.

#![allow(clippy::unwrap_used)]

mod engine;
mod gopher;
mod peer;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use gopher::{Gopher, Heard, Kind};
use peer::{Ws, connect};
use serde_json::{Value, json};

/// What is said in a room that no name here names, and what is said in others.
const ELSEWHERE: &str = "said in another room";
const OWN: &str = "said here";
/// A room for those who were refused one.
const HARBOUR: &str = "harbour";

/// What becomes of a name as that of a room and as that of a person.
const NAMES: [(&str, Fate, Fate); 18] = [
    ("a.*", TAKEN, TAKEN),
    (">", TAKEN, TAKEN),
    ("*", TAKEN, TAKEN),
    ("x y", TAKEN, TAKEN),
    ("$JS.API.>", TAKEN, TAKEN),
    ("..", TAKEN, TAKEN),
    ("%2e%2e%2f", TAKEN, TAKEN),
    ("{}\",\"type\"", TAKEN, TAKEN),
    ("r\r\nPUB", REFUSED, REFUSED),
    ("\0", REFUSED, REFUSED),
    ("a\0b", REFUSED, REFUSED),
    ("\u{1b}[31mred", REFUSED, REFUSED),
    ("a\u{202e}b", REFUSED, REFUSED),
    ("a\u{2066}b", REFUSED, REFUSED),
    ("a\u{200d}b", REFUSED, REFUSED),
    ("", REFUSED, REFUSED),
    // A namespace that is not there.
    ("/", REFUSED, TAKEN),
    ("../a.b", REFUSED, TAKEN),
];
const TAKEN: Fate = Fate::Taken;
const REFUSED: Fate = Fate::Refused;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Taken,
    /// The client can go on; with MaChat it comes again, as every refusal there ends its link.
    Refused,
    Closed,
}

/// What became of a request, and all that was heard until that was known.
#[derive(Debug)]
struct Told(Fate, String);

/// A client of a dialect.
trait Peer {
    /// Introduces itself; none: people have no names in this dialect.
    fn hello(&mut self, name: &str) -> Option<Told>;
    /// Enters a room; where clients cannot, says something that names it.
    fn join(&mut self, room: &str) -> Told;
    /// Says something in a room that it is in, and hears it.
    fn say(&mut self, room: &str, text: &str) -> Told;
}

struct Dialect {
    name: &'static str,
    listener: &'static str,
    connect: fn(SocketAddr) -> Box<dyn Peer>,
    /// Whether its clients can enter rooms by themselves.
    joins: bool,
    /// Whether a name may be left out by one that is empty.
    has_defaults: bool,
}

const DIALECTS: [Dialect; 8] = [
    dialect("native", "tcp://127.0.0.1:0", |at| Box::new(Native::Lines(Lines::connect(at)))),
    dialect("native", "ws://127.0.0.1:0", |at| Box::new(Native::Ws(Ws::over(connect(at))))),
    dialect("socketio", "ws://127.0.0.1:0", |at| Box::new(SocketIo::connect(at))),
    dialect("simple-chat", "tcp://127.0.0.1:0?dialect=simple-chat", |at| {
        Box::new(Gopher::connect(at))
    }),
    Dialect {
        has_defaults: true,
        ..dialect("machat", "tcp://127.0.0.1:0?dialect=machat", |at| Box::new(MaChat::new(at)))
    },
    Dialect {
        joins: false,
        ..dialect("mesh", "ws://127.0.0.1:0?dialect=mesh", |at| Box::new(Mesh::connect(at)))
    },
    Dialect {
        joins: false,
        ..dialect("msgio", "tcp://127.0.0.1:0?dialect=msgio", |at| Box::new(MsgIo::connect(at)))
    },
    Dialect {
        joins: false,
        ..dialect("msgio", "tcp://127.0.0.1:0?dialect=msgio&codec=json", |at| {
            Box::new(MsgIo::connect(at))
        })
    },
];

const fn dialect(
    name: &'static str,
    listener: &'static str,
    connect: fn(SocketAddr) -> Box<dyn Peer>,
) -> Dialect {
    Dialect { name, listener, connect, joins: true, has_defaults: false }
}

#[test]
fn s24_names_with_a_meaning_elsewhere_reach_nothing_elsewhere() {
    let binary = Binary::start();
    let mut canary = binary.connect(0);
    assert_eq!(canary.hello("canary").unwrap().0, TAKEN);
    assert_eq!(canary.join("a.b").0, TAKEN);
    for (number, dialect) in DIALECTS.iter().enumerate() {
        let long = "n".repeat(256);
        for (name, as_room, as_person) in NAMES.into_iter().chain([(&*long, REFUSED, REFUSED)]) {
            let mut fates = (as_room, as_person);
            if name.is_empty() && dialect.has_defaults {
                fates = (TAKEN, TAKEN);
            }
            // What stands before a `:` is a name there.
            if name.contains(':') && dialect.name == "machat" {
                fates.1 = REFUSED;
            }
            let place = format!("{} at {}: {name:?}", dialect.name, dialect.listener);
            attempt(&place, dialect, &mut *binary.connect(number), name, fates, &mut *canary);
        }
        too_large(dialect, || binary.connect(number));
    }
    is_undisturbed(&mut *canary);
    let log = binary.stop();
    assert!(log.contains("link"), "something is logged: {log}");
    let raw = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{2066}\u{200d}".contains(c);
    assert_eq!(log.lines().find(|line| line.contains(raw)), None);
}

fn attempt(
    place: &str,
    dialect: &Dialect,
    peer: &mut dyn Peer,
    name: &str,
    (as_room, as_person): (Fate, Fate),
    canary: &mut dyn Peer,
) {
    let mut heard = String::new();
    if let Some(told) = peer.hello(name) {
        assert_eq!(told.0, as_person, "{place} as a person: {}", told.1);
        heard += &told.1;
        if told.0 == REFUSED {
            assert_eq!(peer.hello("Mina").unwrap().0, TAKEN, "{place}: it goes on");
        }
    }
    let told = peer.join(name);
    let expected = if dialect.joins { as_room } else { REFUSED };
    assert_eq!(told.0, expected, "{place} as a room: {}", told.1);
    heard += &told.1;
    let room = if told.0 == TAKEN { name } else { HARBOUR };
    if told.0 == REFUSED && dialect.joins {
        assert_eq!(peer.join(room).0, TAKEN, "{place}: it goes on");
    }
    is_undisturbed(canary);
    let told = peer.say(room, OWN);
    assert_eq!(told.0 == TAKEN, dialect.joins, "{place}: {}", told.1);
    heard += &told.1;
    assert!(heard.contains(OWN) == dialect.joins, "{place}: {heard}");
    assert!(!heard.contains(ELSEWHERE), "{place}: {heard}");
}

/// A name of 1 MiB is no message of any dialect.
fn too_large(dialect: &Dialect, connect: impl Fn() -> Box<dyn Peer>) {
    let huge = "n".repeat(1 << 20);
    for as_person in [false, true] {
        let mut peer = connect();
        let told = if as_person { peer.hello(&huge) } else { Some(peer.join(&huge)) };
        let Some(Told(fate, heard)) = told else { continue };
        assert_ne!(fate, TAKEN, "{}", dialect.name);
        // It is told why, in few words.
        assert!((1..1_000).contains(&heard.len()), "{}: {heard}", dialect.name);
        assert!(!heard.contains(ELSEWHERE), "{}: {heard}", dialect.name);
    }
}

/// Somebody in another room talks, and hears the answer and that, and nothing else.
fn is_undisturbed(canary: &mut dyn Peer) {
    let Told(fate, heard) = canary.say("a.b", ELSEWHERE);
    assert_eq!(fate, TAKEN, "{heard}");
    assert_eq!(heard.lines().count(), 2, "{heard}");
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

/// The payload of the next text frame, or the code of a close frame.
fn next_text(ws: &mut Ws) -> Option<String> {
    let frame = ws.next_frame()?;
    Some(if frame.opcode == 8 {
        format!("closed: {}", frame.close_code())
    } else {
        String::from_utf8(frame.payload).unwrap()
    })
}

/// Texts that end with `\n`.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn connect(at: SocketAddr) -> Self {
        Self(BufReader::new(connect(at)))
    }

    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap_or(0);
        (read > 0).then(|| line.trim_end_matches('\n').to_owned())
    }
}

enum Native {
    Lines(Lines),
    Ws(Ws),
}

impl Native {
    fn ask(&mut self, message: &Value, good: &str) -> Told {
        let text = message.to_string();
        match self {
            Self::Lines(lines) => send(lines.0.get_mut(), format!("{text}\n").as_bytes()),
            Self::Ws(ws) => send(&mut ws.stream, &peer::frame(0x81, text.as_bytes())),
        }
        let next = || match self {
            Self::Lines(lines) => lines.next(),
            Self::Ws(ws) => next_text(ws),
        };
        told(next, |text| {
            let kind = serde_json::from_str::<Value>(text).unwrap_or_default()["type"].take();
            let fates = [(good, TAKEN), ("error", REFUSED)];
            fates.into_iter().find(|(name, _)| kind == *name).map(|(_, fate)| fate)
        })
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

struct SocketIo {
    socket: engine::Socket,
    is_open: bool,
}

impl SocketIo {
    fn connect(at: SocketAddr) -> Self {
        let mut socket = engine::Socket::at(at, "/socket.io/?EIO=4&transport=websocket");
        socket.open();
        Self { socket, is_open: false }
    }

    fn ask(&mut self, packet: &str, fate: impl Fn(&str) -> Option<Fate>) -> Told {
        send(&mut self.socket.ws.stream, &peer::frame(0x81, packet.as_bytes()));
        told(|| next_text(&mut self.socket.ws), fate)
    }
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
struct MaChat {
    at: SocketAddr,
    lines: Lines,
}

impl MaChat {
    fn new(at: SocketAddr) -> Self {
        Self { at, lines: Lines::connect(at) }
    }

    fn begin(&mut self, name: Option<&str>, room: Option<&str>) -> Told {
        self.lines = Lines::connect(self.at);
        let own = self.lines.0.get_ref().local_addr().unwrap().port().to_string();
        let hello = json!({"name": name.unwrap_or(&own), "room": room.unwrap_or(&own)});
        self.says(&format!("{hello}\nhello\n"))
    }

    fn says(&mut self, bytes: &str) -> Told {
        send(self.lines.0.get_mut(), bytes.as_bytes());
        told(
            || self.lines.next(),
            |line| match line.split_once(':') {
                Some(("error", _)) => Some(REFUSED),
                said => said.is_some().then_some(TAKEN),
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
struct Mesh(Ws);

impl Mesh {
    fn connect(at: SocketAddr) -> Self {
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
struct MsgIo(TcpStream);

impl MsgIo {
    fn connect(at: SocketAddr) -> Self {
        let mut stream = connect(at);
        send(&mut stream, b"msgio");
        Self(stream)
    }

    fn next(&mut self) -> Option<String> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).ok()?;
        let mut body = vec![0; u32::from_le_bytes(len) as usize];
        self.0.read_exact(&mut body).unwrap();
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
        send(&mut self.0, &(body.len() as u32).to_le_bytes());
        send(&mut self.0, body.as_bytes());
        told(|| self.next(), |text| text.contains("\"event\":\"error\"").then_some(REFUSED))
    }
}

/// The real binary, with all that it has to say.
struct Binary {
    process: Child,
    listeners: Vec<SocketAddr>,
    directory: tempfile::TempDir,
}

impl Binary {
    /// One worker: a word is with all who hear it before its own speaker hears it.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        command.args(["serve", "--workers", "1"]).env("ROOMCAST_LOG__LEVEL", "trace");
        for dialect in &DIALECTS {
            command.args(["--listen", dialect.listener]);
        }
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let log = std::fs::File::create(Self::log(&directory)).unwrap();
        let mut process = command.stderr(log).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let listeners = lines.take(DIALECTS.len()).map(|line| {
            let line = line.unwrap();
            line.split_once("://").unwrap().1.split([' ', '?']).next().unwrap().parse().unwrap()
        });
        let listeners = listeners.collect();
        Self { process, listeners, directory }
    }

    fn log(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("log")
    }

    fn connect(&self, dialect: usize) -> Box<dyn Peer> {
        (DIALECTS[dialect].connect)(self.listeners[dialect])
    }

    /// What it has logged.
    fn stop(mut self) -> String {
        _ = self.process.kill();
        self.process.wait().unwrap();
        String::from_utf8(std::fs::read(Self::log(&self.directory)).unwrap()).unwrap()
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
