//! A client of simple-chat-server that speaks as the original one does: a gob stream of its own
//! for each value, with type ids that are not the server's, and answers read by their definitions.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::peer::connect;

/// What is asked and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    GetRooms,
    Join,
    Post,
    Leave,
    Create,
}

const KINDS: [Kind; 5] = [Kind::GetRooms, Kind::Join, Kind::Post, Kind::Leave, Kind::Create];

/// What the server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Rooms(Vec<String>),
    Room(Kind, String),
    /// Room, author, text.
    Post(String, String, String),
}

impl Heard {
    /// The text of a post.
    pub fn said(&self) -> &str {
        match self {
            Self::Post(_, _, text) => text,
            other => panic!("{other:?}"),
        }
    }
}

pub struct Gopher {
    pub stream: TcpStream,
}

impl Gopher {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(connect(address))
    }

    pub fn over(stream: TcpStream) -> Self {
        Self { stream }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, kind: Kind, room: &str) -> Heard {
        self.send(&request(kind, room));
        self.next().unwrap()
    }

    pub fn post(&mut self, room: &str, text: &str) {
        self.send(&[action(Kind::Post), post(room, "", text)].concat());
    }

    /// The next thing the server says; none at the end.
    pub fn next(&mut self) -> Option<Heard> {
        let action = self.value()?;
        let Value::Struct(action) = action else { panic!("{action:?}") };
        let number = action.get("Name").map_or(0, |number| match number {
            Value::Int(number) => usize::try_from(*number).unwrap(),
            other => panic!("{other:?}"),
        });
        let text = |fields: &BTreeMap<String, Value>, name| match fields.get(name) {
            None => String::new(),
            Some(Value::Text(text)) => text.clone(),
            Some(other) => panic!("{other:?}"),
        };
        Some(match (KINDS[number], self.value().unwrap()) {
            (Kind::GetRooms, Value::List(names)) => Heard::Rooms(names),
            (Kind::Post, Value::Struct(said)) => {
                Heard::Post(text(&said, "Room"), text(&said, "Author"), text(&said, "Message"))
            }
            (kind, Value::Struct(room)) => Heard::Room(kind, text(&room, "Name")),
            other => panic!("{other:?}"),
        })
    }

    /// One stream: definitions, then a value.
    fn value(&mut self) -> Option<Value> {
        let mut types = BTreeMap::new();
        loop {
            let mut message = self.message()?;
            let id = int(&mut message);
            if id < 0 {
                types.insert(-id, define(&mut message));
                assert!(message.is_empty());
                continue;
            }
            return Some(match &types[&id] {
                Type::Strings => {
                    assert_eq!(uint(&mut message), 0, "what stands before all but structs");
                    let count = uint(&mut message);
                    Value::List((0..count).map(|_| text(&mut message)).collect())
                }
                Type::Struct(fields) => read_struct(&mut message, fields),
                Type::Other => panic!("a map as an answer"),
            });
        }
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        let mut first = [0];
        match self.stream.read_exact(&mut first) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
        let mut len = first.to_vec();
        if first[0] >= 0x80 {
            len.resize(1 + usize::from(!first[0]) + 1, 0);
            self.stream.read_exact(&mut len[1..]).unwrap();
        }
        let mut message = vec![0; usize::try_from(uint(&mut len)).unwrap()];
        self.stream.read_exact(&mut message).unwrap();
        Some(message)
    }
}

/// A request with its own definitions, as the original client's: other ids than the server's.
pub fn request(kind: Kind, room: &str) -> Vec<u8> {
    let mut bytes = action(kind);
    if kind != Kind::GetRooms {
        bytes.extend(ROOM);
        bytes.extend(behind_len(&[&b"\xff\x84"[..], &strings(&[room])].concat()));
    }
    bytes
}

pub fn action(kind: Kind) -> Vec<u8> {
    numbered(kind as u8)
}

/// An `Action` with any number from 0 to 63.
pub fn numbered(number: u8) -> Vec<u8> {
    let value = if number == 0 { vec![0] } else { vec![1, number * 2, 0] };
    [ACTION, &behind_len(&[&b"\xff\x82"[..], &value].concat())].concat()
}

pub fn post(room: &str, author: &str, text: &str) -> Vec<u8> {
    let value = [&b"\xff\x8a"[..], &strings(&[room, author, text])].concat();
    [MESSAGE, &behind_len(&value)].concat()
}

const ACTION: &[u8] =
    b"\x1d\xff\x81\x03\x01\x01\x06Action\x01\xff\x82\x00\x01\x01\x01\x04Name\x01\x04\x00\x00\x00";
const ROOM: &[u8] = b"\x28\xff\x83\x03\x01\x01\x04Room\x01\xff\x84\x00\x01\x02\x01\x04Name\x01\
    \x0c\x00\x01\x07Members\x01\xff\x88\x00\x00\x00\x25\xff\x87\x04\x01\x01\x14map[string]\
    chat.User\x01\xff\x88\x00\x01\x0c\x01\xff\x86\x00\x00\x1c\xff\x85\x03\x01\x02\xff\x86\x00\x01\
    \x02\x01\x02ID\x01\x0c\x00\x01\x04Conn\x01\x10\x00\x00\x00";
const MESSAGE: &[u8] = b"\x35\xff\x89\x03\x01\x01\x07Message\x01\xff\x8a\x00\x01\x03\x01\x04Room\
    \x01\x0c\x00\x01\x06Author\x01\x0c\x00\x01\x07Message\x01\x0c\x00\x00\x00";

fn strings(fields: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut delta = 0;
    for field in fields {
        delta += 1;
        if !field.is_empty() {
            out.push(delta);
            out.extend(behind_len(field.as_bytes()));
            delta = 0;
        }
    }
    out.push(0);
    out
}

pub fn behind_len(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len();
    let mut out = match len {
        0..0x80 => vec![len as u8],
        _ => [&[0xfc], &(len as u32).to_be_bytes()[..]].concat(),
    };
    out.extend(bytes);
    out
}

#[derive(Debug)]
enum Value {
    Int(i64),
    Text(String),
    List(Vec<String>),
    Struct(BTreeMap<String, Value>),
}

enum Type {
    Strings,
    Struct(Vec<(String, i64)>),
    Other,
}

/// A definition; of what the answers have, that is.
fn define(message: &mut Vec<u8>) -> Type {
    let sort = uint(message);
    let mut fields = Vec::new();
    let mut element = 0;
    for_each_field(message, |message, at| match (sort, at) {
        (_, 1) => for_each_field(message, |message, at| match at {
            1 => drop(text(message)),
            _ => drop(int(message)),
        }),
        (3, 2) => {
            for _ in 0..uint(message) {
                let (mut name, mut id) = (String::new(), 0);
                for_each_field(message, |message, at| match at {
                    1 => name = text(message),
                    _ => id = int(message),
                });
                fields.push((name, id));
            }
        }
        _ => element = int(message),
    });
    assert_eq!(uint(message), 0);
    match sort {
        2 if element == 6 => Type::Strings,
        3 => Type::Struct(fields),
        _ => Type::Other,
    }
}

fn read_struct(message: &mut Vec<u8>, fields: &[(String, i64)]) -> Value {
    let mut found = BTreeMap::new();
    for_each_field(message, |message, at| {
        let (name, id) = &fields[at - 1];
        let value = match id {
            2 => Value::Int(int(message)),
            6 => Value::Text(text(message)),
            other => panic!("{name} of type {other}"),
        };
        found.insert(name.clone(), value);
    });
    assert!(message.is_empty());
    Value::Struct(found)
}

/// Calls `each` with the number of every field that was sent, from 1.
fn for_each_field(message: &mut Vec<u8>, mut each: impl FnMut(&mut Vec<u8>, usize)) {
    let mut at = 0;
    loop {
        match uint(message) {
            0 => return,
            delta => at += usize::try_from(delta).unwrap(),
        }
        each(message, at);
    }
}

fn uint(message: &mut Vec<u8>) -> u64 {
    let first = message.remove(0);
    if first < 0x80 {
        return first.into();
    }
    let digits = message.drain(..usize::from(!first) + 1);
    digits.fold(0, |number, digit| number << 8 | u64::from(digit))
}

fn int(message: &mut Vec<u8>) -> i64 {
    let number = uint(message);
    let half = (number >> 1).cast_signed();
    if number & 1 == 0 { half } else { !half }
}

fn text(message: &mut Vec<u8>) -> String {
    let len = usize::try_from(uint(message)).unwrap();
    String::from_utf8(message.drain(..len).collect()).unwrap()
}
