//! A game: a program of C on the original library.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::peer::PATIENCE;

/// What a game tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Connected,
    Message(u8, Vec<u8>),
    Disconnected(u32),
    Vanished,
}

pub struct Game {
    process: Child,
    orders: ChildStdin,
    told: Receiver<Told>,
}

/// The compiled program; none: there is no C library of ENet here.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compiled = PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("enet-game");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/enet/game.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-o"]).arg(&program).args([source, "-lenet"]);
        let compiled = compiler.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        assert!(compiled || std::env::var_os("CI").is_none(), "libenet-dev is missing");
        compiled.then_some(program)
    });
    compiled.as_deref()
}

impl Game {
    /// Starts a game that is not connected yet; none: the library is missing, and the test with it.
    pub fn start(port: u16, channels: u8, options: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("skipped: apt-get install libenet-dev build-essential");
            return None;
        };
        let mut command = Command::new(program);
        command.arg(port.to_string()).arg(channels.to_string()).args(options);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(read(&line)).is_err() {
                    break;
                }
            }
        });
        Some(Self { process, orders, told })
    }

    /// The same, connected.
    pub fn connected(port: u16) -> Option<Self> {
        let mut game = Self::start(port, 2, &[])?;
        game.order("connect 0");
        assert_eq!(game.next(), Told::Connected);
        Some(game)
    }

    pub fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
    }

    pub fn send(&mut self, channel: u8, mode: &str, bytes: &[u8]) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.order(&format!("send {channel} {mode} {digits}"));
    }

    pub fn say(&mut self, text: &str) {
        self.send(0, "reliable", text.as_bytes());
    }

    pub fn next(&mut self) -> Told {
        self.told.recv_timeout(PATIENCE).unwrap()
    }

    /// The next message of a kind and the channel on which it came; others are passed over.
    pub fn expect(&mut self, kind: &str) -> (u8, Value) {
        loop {
            match self.next() {
                Told::Message(channel, bytes) => {
                    let message: Value = serde_json::from_slice(&bytes).unwrap();
                    if message["type"] == kind {
                        return (channel, message);
                    }
                }
                other => panic!("{other:?} before {kind}"),
            }
        }
    }

    /// How the connection ends; messages before that are passed over.
    pub fn end(&mut self) -> Told {
        loop {
            match self.next() {
                Told::Message(..) => {}
                end => return end,
            }
        }
    }

    /// The next event of a name and the channel on which it came; others are passed over.
    pub fn event(&mut self, name: &str) -> (u8, Value) {
        loop {
            let (channel, event) = self.expect("event");
            if event["event"] == name {
                return (channel, event);
            }
        }
    }

    pub fn join(&mut self, room: &str) {
        self.say(&format!(r#"{{"type":"join","ref":1,"room":"{room}"}}"#));
        self.expect("joined");
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn read(line: &str) -> Told {
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        ["connected"] => Told::Connected,
        ["vanished"] => Told::Vanished,
        ["disconnected", data] => Told::Disconnected(data.parse().unwrap()),
        ["message", channel, digits] => {
            let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let bytes = (0..digits.len()).step_by(2).map(byte).collect();
            Told::Message(channel.parse().unwrap(), bytes)
        }
        _ => panic!("{line}"),
    }
}
