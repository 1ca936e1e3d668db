//! Names that mean something elsewhere (S24), as rooms and as people, in every dialect: the real
//! binary refuses them in the dialect's own way or takes them as they are, nobody hears what was
//! said in another room, and its log holds nothing that a terminal would obey.

#![allow(clippy::unwrap_used)]

mod engine;
mod gopher;
mod names;
mod peer;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use gopher::Gopher;
use names::{
    Fate, HARBOUR, MaChat, Mesh, MsgIo, Native, OWN, Peer, REFUSED, SocketIo, TAKEN, Texts, Told,
};

/// What is said in a room that no name here names.
const ELSEWHERE: &str = "said in another room";

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

struct Dialect {
    name: &'static str,
    listener: &'static str,
    connect: fn(SocketAddr) -> Box<dyn Peer>,
    /// Whether its clients can enter rooms by themselves.
    joins: bool,
    /// Whether a name may be left out by one that is empty.
    has_defaults: bool,
}

/// Each dialect in all the ways in which it is carried.
const DIALECTS: [Dialect; 12] = [
    dialect("native", "tcp://127.0.0.1:0", |at| Box::new(Native(Texts::lines(at)))),
    dialect("native", "ws://127.0.0.1:0", |at| Box::new(Native(Texts::frames(at, "/ws")))),
    dialect("socketio", "ws://127.0.0.1:0", |at| Box::new(SocketIo::frames(at))),
    dialect("socketio, msgpack", "ws://127.0.0.1:0", |at| Box::new(SocketIo::packed(at))),
    dialect("socketio, polling", "ws://127.0.0.1:0", |at| Box::new(SocketIo::polls(at))),
    dialect("simple-chat", "tcp://127.0.0.1:0?dialect=simple-chat", |at| {
        Box::new(Gopher::connect(at))
    }),
    Dialect {
        has_defaults: true,
        ..dialect("machat", "tcp://127.0.0.1:0?dialect=machat", |at| {
            Box::new(MaChat::new(move || Texts::lines(at)))
        })
    },
    Dialect {
        has_defaults: true,
        ..dialect("machat", "ws://127.0.0.1:0?dialect=machat", |at| {
            Box::new(MaChat::new(move || Texts::frames(at, "/mychat")))
        })
    },
    Dialect {
        joins: false,
        ..dialect("mesh", "ws://127.0.0.1:0?dialect=mesh", |at| Box::new(Mesh::connect(at)))
    },
    Dialect {
        joins: false,
        ..dialect("msgio", "tcp://127.0.0.1:0?dialect=msgio", |at| Box::new(MsgIo::lengths(at)))
    },
    Dialect {
        joins: false,
        ..dialect("msgio", "tcp://127.0.0.1:0?dialect=msgio&codec=json", |at| {
            Box::new(MsgIo::lengths(at))
        })
    },
    Dialect {
        joins: false,
        ..dialect("msgio", "ws://127.0.0.1:0?dialect=msgio", |at| Box::new(MsgIo::frames(at)))
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
