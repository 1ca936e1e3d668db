//! Replays what was recorded between an original server and its clients: a client's lines are
//! sent, and what the server here says must be the recorded bytes.
//!
//! A line is `WHO = SCHEME` (connects to the first listener of that scheme, `tcp2` to the
//! second), `WHO > BYTES` (the client sends), `WHO < BYTES` (the server says), or either with `FIN`
//! instead of bytes. `= wait ROOM COUNT` waits for members. Bytes are text with `\n`, `\r`, `\\`
//! and `\x5b`; `{a}` stands for ten digits, which differ from run to run: the same ones wherever
//! the same letter stands. What begins with `#` is a comment.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use roomcast::Server;

use crate::peer::{address, connect, get, until};

/// How many digits stand for `{a}`.
const DIGITS: usize = 10;

/// Plays a recording against a server; answers with how many lines it had.
pub fn replay(server: &Server, recording: &str) -> usize {
    let mut peers: HashMap<&str, TcpStream> = HashMap::new();
    let mut known: HashMap<u16, Vec<u8>> = HashMap::new();
    let mut lines = 0;
    for (at, line) in recording.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        lines += 1;
        let (who, rest) = line.split_once(' ').unwrap();
        let (direction, what) = rest.split_once(' ').unwrap();
        let place = format!("line {}: {line}", at + 1);
        if let Some(what) = line.strip_prefix("= wait ") {
            let (room, members) = what.split_once(' ').unwrap();
            until_members(server, room, members.parse().unwrap());
            continue;
        }
        if direction == "=" {
            peers.insert(who, connect(listener(server, what)));
            continue;
        }
        let stream = peers.get_mut(who).unwrap();
        match (direction, what) {
            (">", "FIN") => stream.shutdown(Shutdown::Write).unwrap(),
            ("<", "FIN") => {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).unwrap();
                assert!(rest.is_empty(), "{place}: {:?}", String::from_utf8_lossy(&rest));
            }
            (">", bytes) => {
                let bytes: Vec<u8> =
                    unescape(bytes).into_iter().map(|unit| unit.try_into().unwrap()).collect();
                stream.write_all(&bytes).unwrap();
            }
            ("<", bytes) => {
                let expected = unescape(bytes);
                let heard = hear(stream, &expected, &place);
                compare(&heard, &expected, &mut known, &place);
            }
            _ => panic!("{place}"),
        }
    }
    lines
}

/// Waits until a room has so many members.
pub fn until_members(server: &Server, room: &str, members: u32) {
    let (namespace, room) = room.split_once('/').unwrap_or(("default", room));
    let room = server.handle().namespace(namespace).room(room);
    until("members are missing", || {
        room.presence().wait().map_or(0, |presence| presence.members) == members
    });
}

/// Waits until no link and no session is left. The connection that asks is not counted.
pub fn nobody_is_left(server: &Server) {
    let ws = address(server, "ws");
    until("links are left", || {
        let (_, _, text) = get(ws, "/metrics");
        ["roomcast_links{", "roomcast_sessions{"].iter().all(|name| {
            let mut lines = text.lines().filter(|line| line.starts_with(name)).peekable();
            lines.peek().is_some() && lines.all(|line| line.ends_with(" 0"))
        })
    });
}

/// The first listener of a scheme, or with a number behind it a later one.
fn listener(server: &Server, which: &str) -> SocketAddr {
    let scheme = which.trim_end_matches(char::is_numeric);
    let number: usize = which[scheme.len()..].parse().unwrap_or(1);
    let prefix = format!("{scheme}://");
    let of_scheme = server.listeners().iter().filter(|one| one.url.starts_with(&prefix));
    of_scheme.skip(number - 1).map(|one| one.address).next().unwrap()
}

fn hear(stream: &mut TcpStream, expected: &[u16], place: &str) -> Vec<u8> {
    let holes = expected.iter().filter(|&&unit| unit >= HOLE).count();
    let mut heard = vec![0; expected.len() - holes + DIGITS * holes];
    let mut filled = 0;
    while filled < heard.len() {
        match stream.read(&mut heard[filled..]) {
            Ok(count) if count > 0 => filled += count,
            other => {
                let text = String::from_utf8_lossy(&heard[..filled]).into_owned();
                panic!("{place}: {other:?} behind {text:?}");
            }
        }
    }
    heard
}

fn compare(heard: &[u8], expected: &[u16], known: &mut HashMap<u16, Vec<u8>>, place: &str) {
    let mut written = Vec::new();
    for &unit in expected {
        if let Ok(byte) = u8::try_from(unit) {
            written.push(byte);
            continue;
        }
        let digits = heard[written.len()..][..DIGITS].to_vec();
        assert!(digits.iter().all(u8::is_ascii_digit), "{place}: {digits:?}");
        written.extend(known.entry(unit).or_insert(digits).iter());
    }
    let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
    assert_eq!(show(heard), show(&written), "{place}");
}

/// A hole, as which it stands with its letter; what is below is a byte.
const HOLE: u16 = 0x100;

fn unescape(text: &str) -> Vec<u16> {
    let mut units = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let [b'{', name @ b'a'..=b'z', b'}', ..] = rest.as_bytes() {
            units.push(HOLE | u16::from(*name));
            rest = &rest[3..];
        } else if let Some(escaped) = rest.strip_prefix('\\') {
            let kind = escaped.chars().next().unwrap();
            units.push(match kind {
                'n' => b'\n'.into(),
                'r' => b'\r'.into(),
                '\\' => b'\\'.into(),
                'x' => u8::from_str_radix(&escaped[1..3], 16).unwrap().into(),
                other => panic!("\\{other}"),
            });
            rest = &escaped[if kind == 'x' { 3 } else { 1 }..];
        } else {
            units.extend(c.to_string().bytes().map(u16::from));
            rest = &rest[c.len_utf8()..];
        }
    }
    units
}
