//! Transcripts: what clients of a dialect send and hear, byte by byte, replayed on one shard.
//!
//! A line of a transcript is one of these, `a` being any name of a link:
//!
//! ```text
//! a = socketio-json game   a link of a format opens, in a namespace (or in the default one)
//! a> text                  it sends a message of text: a line, a text frame
//! a>x 00 ff                it sends a message of bytes
//! a< text                  it hears a line or text frame
//! a<x 00 ff                it hears a binary frame
//! a! 1002                  it is closed with this code
//! a-                       its link is lost
//! # a remark
//! ```
//! In what is heard `$word` stands for letters, digits, `-` and `_`: whatever is there the first
//! time, the same from then on. All that is heard stands there: nothing may be left before the
//! next message is sent, nor at the end.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use common::Hub;
use roomcast_core::config::NamespaceConfig;
use roomcast_core::{HubConfig, Input, LinkId, ReplayBounds};
use roomcast_wire::Format;
use roomcast_wire::dialect::Dialect;
use roomcast_wire::dialect::socketio::Assembler;
use roomcast_wire::framing::Framing;
use roomcast_wire::limits::MESSAGE_BYTES_DEFAULT;
use roomcast_wire::ws::frame::{Frame, Reader};

#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Text(String),
    Bytes(Vec<u8>),
}

struct Link {
    id: u32,
    format: Format,
    assembler: Option<Assembler>,
    reader: Reader,
    buffer: BytesMut,
    heard: VecDeque<Heard>,
}

struct Stage {
    hub: Hub,
    links: BTreeMap<String, Link>,
    bound: BTreeMap<String, String>,
}

fn format(word: &str) -> Format {
    match word {
        "mesh" => Format::MESH_WS,
        "native-json" => Format::JSON_LINE,
        "socketio-json" => Format::SOCKETIO_JSON,
        "socketio-msgpack" => Format::SOCKETIO_MSGPACK,
        other => panic!("no format {other:?}"),
    }
}

fn config() -> HubConfig {
    let mut config = HubConfig::default();
    config.namespaces.insert("game".to_owned(), NamespaceConfig::default());
    let meshed =
        NamespaceConfig { lobby: Some("mesh-global".into()), ..NamespaceConfig::default() };
    config.namespaces.insert("meshed".to_owned(), meshed);
    let own = NamespaceConfig { convention: false, anonymous: false, ..NamespaceConfig::default() };
    config.namespaces.insert("own".to_owned(), own);
    config
}

impl Stage {
    fn new(recovery: Option<ReplayBounds>) -> Self {
        let config = HubConfig { recovery, ..config() };
        Self { hub: Hub::new(config), links: BTreeMap::new(), bound: BTreeMap::new() }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (name, rest) = line.split_at(line.find([' ', '>', '<', '!', '-']).unwrap_or(0));
        if let Some(rest) = rest.strip_prefix(" = ") {
            self.open(name, rest);
        } else if let Some(bytes) = rest.strip_prefix(">x ") {
            self.nothing_left()?;
            self.send(name, Heard::Bytes(hex(bytes)))?;
        } else if let Some(text) = rest.strip_prefix("> ") {
            self.nothing_left()?;
            self.send(name, Heard::Text(self.filled(text)))?;
        } else if let Some(bytes) = rest.strip_prefix("<x ") {
            self.expect_bytes(name, bytes)?;
        } else if let Some(text) = rest.strip_prefix("< ") {
            self.expect(name, text)?;
        } else if let Some(code) = rest.strip_prefix("! ") {
            let link = self.links[name].id;
            let found = self.hub.closed.remove(&link).map(|code| code.number().to_string());
            if found.as_deref() != Some(code) {
                return Err(format!("closed with {found:?}"));
            }
        } else if rest == "-" {
            self.nothing_left()?;
            self.hub.cut(self.links[name].id);
            self.turn();
        } else {
            return Err("not a line of a transcript".to_owned());
        }
        Ok(())
    }

    fn open(&mut self, name: &str, words: &str) {
        let (word, namespace) = words.split_once(' ').map_or((words, None), |(a, b)| (a, Some(b)));
        let (id, format) = (self.links.len() as u32, format(word));
        let namespace = namespace.map(Arc::from);
        self.hub.input(Input::Opened { link: LinkId(id), format, namespace });
        let assembles = format.dialect() == Dialect::SocketIo;
        let link = Link {
            id,
            format,
            assembler: assembles.then(|| Assembler::new(MESSAGE_BYTES_DEFAULT)),
            reader: Reader::for_client(false),
            buffer: BytesMut::new(),
            heard: VecDeque::new(),
        };
        assert!(self.links.insert(name.to_owned(), link).is_none(), "{name} is there already");
        self.turn();
    }

    fn send(&mut self, name: &str, message: Heard) -> Result<(), String> {
        let link = self.links.get_mut(name).ok_or("no such link")?;
        let whole = match (&mut link.assembler, message) {
            (Some(assembler), Heard::Text(text)) => assembler.text(text.into()),
            (Some(assembler), Heard::Bytes(bytes)) => assembler.binary(bytes.into()),
            (None, Heard::Text(text)) => Ok(Some(Bytes::from(text))),
            (None, Heard::Bytes(bytes)) => Ok(Some(Bytes::from(bytes))),
        };
        if let Some(bytes) = whole.map_err(|error| error.to_string())? {
            self.hub.input(Input::Message { link: LinkId(link.id), bytes });
        }
        self.turn();
        Ok(())
    }

    fn turn(&mut self) {
        self.hub.end_turn();
        for link in self.links.values_mut() {
            let Some(outbox) = self.hub.shard.outbox(LinkId(link.id)) else { continue };
            while !outbox.is_empty() {
                let piece = outbox.first().to_vec();
                outbox.consume(piece.len());
                link.buffer.extend_from_slice(&piece);
            }
            link.cut();
        }
    }

    fn expect(&mut self, name: &str, pattern: &str) -> Result<(), String> {
        match self.next(name)? {
            Heard::Text(text) if fits(pattern, &text, &mut self.bound) => Ok(()),
            other => Err(format!("heard {other:?}")),
        }
    }

    /// Bytes and patterns as text of a character for each byte, so that one function compares.
    fn expect_bytes(&mut self, name: &str, pattern: &str) -> Result<(), String> {
        let words = pattern.split_whitespace();
        let pattern: String = words
            .map(|word| match word.starts_with('$') {
                true => word.to_owned(),
                false => hex(word).into_iter().map(char::from).collect(),
            })
            .collect();
        match self.next(name)? {
            Heard::Bytes(bytes) => {
                let text: String = bytes.iter().copied().map(char::from).collect();
                let shown: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let fits = fits(&pattern, &text, &mut self.bound);
                if fits { Ok(()) } else { Err(format!("heard {}", shown.join(" "))) }
            }
            other => Err(format!("heard {other:?}")),
        }
    }

    fn next(&mut self, name: &str) -> Result<Heard, String> {
        let link = self.links.get_mut(name).ok_or("no such link")?;
        link.heard.pop_front().ok_or_else(|| "heard nothing".to_owned())
    }

    fn nothing_left(&self) -> Result<(), String> {
        for (name, link) in &self.links {
            if let Some(heard) = link.heard.front() {
                return Err(format!("{name} has heard more: {heard:?}"));
            }
        }
        match self.hub.closed.first_key_value() {
            Some(closed) => Err(format!("closed: {closed:?}")),
            None => Ok(()),
        }
    }

    fn filled(&self, text: &str) -> String {
        let bound = self.bound.iter().rev();
        bound.fold(text.to_owned(), |text, (word, is)| text.replace(&format!("${word}"), is))
    }
}

impl Link {
    fn cut(&mut self) {
        if self.format.framing() == Framing::Line {
            while let Some(at) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(at + 1);
                self.heard.push_back(Heard::Text(String::from_utf8_lossy(&line[..at]).into()));
            }
            return;
        }
        while let Some(frame) = self.reader.read(&mut self.buffer, 1 << 20).unwrap() {
            self.heard.push_back(match frame {
                Frame::Text(text) => Heard::Text(String::from_utf8(text.to_vec()).unwrap()),
                Frame::Binary(data) => Heard::Bytes(data.to_vec()),
                other => panic!("{other:?}"),
            });
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

fn fits(mut pattern: &str, mut text: &str, bound: &mut BTreeMap<String, String>) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    while let Some((plain, rest)) = pattern.split_once('$') {
        let Some(after) = text.strip_prefix(plain) else { return false };
        let (word, behind) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        let is = match bound.get(word) {
            Some(is) => is.clone(),
            None => after[..after.find(|c| !is_part(c)).unwrap_or(after.len())].to_owned(),
        };
        let Some(after) = after.strip_prefix(is.as_str()) else { return false };
        bound.insert(word.to_owned(), is);
        (pattern, text) = (behind, after);
    }
    pattern == text
}

fn replay(file: &str, text: &str, recovery: Option<ReplayBounds>) {
    let mut stage = Stage::new(recovery);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    for (at, line) in lines.filter(|(_, line)| !line.starts_with('#')) {
        if let Err(error) = stage.line(line) {
            panic!("{file}:{}: {line}\n{error}", at + 1);
        }
    }
    if let Err(error) = stage.nothing_left() {
        panic!("{file}: at the end: {error}");
    }
}

#[test]
fn transcripts_replay() {
    for (file, text) in [
        ("mesh.txt", include_str!("transcripts/mesh.txt")),
        ("native.txt", include_str!("transcripts/native.txt")),
        ("socketio.txt", include_str!("transcripts/socketio.txt")),
        ("socketio_binary.txt", include_str!("transcripts/socketio_binary.txt")),
        ("socketio_faults.txt", include_str!("transcripts/socketio_faults.txt")),
    ] {
        replay(file, text, None);
    }
    let recovery = Some(ReplayBounds { bytes: 4_096, ms: 60_000 });
    replay("socketio_recovery.txt", include_str!("transcripts/socketio_recovery.txt"), recovery);
}
