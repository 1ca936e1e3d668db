//! Who only follows rooms: its session says `hello` and `join` by itself, and its position in every
//! room goes out with each event, so that it can come back.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use roomcast_wire::Position;
use serde::Deserialize;
use serde_json::{Value, json};

/// Most rooms of one follower: their positions stand in every id.
pub(super) const ROOMS_MAX: usize = 16;

/// Where a follower stands.
#[derive(Debug)]
pub(super) struct Following {
    /// In the order in which they were asked for.
    rooms: Vec<Followed>,
}

#[derive(Debug)]
struct Followed {
    /// By its full name, once it was joined.
    name: String,
    at: Option<Position>,
    closed: bool,
}

/// What a follower wants.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) rooms: Vec<String>,
    pub(super) token: Option<String>,
    pub(super) name: Option<String>,
    /// An id that was told, of the same rooms in the same order.
    pub(super) since: Option<String>,
}

/// What is read of a line of the worker. `at` and `position` name the same room's.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(rename = "ref")]
    pub(super) reference: Option<u64>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    at: Option<At<'a>>,
    position: Option<At<'a>>,
    recovered: Option<bool>,
    pub(super) code: Option<u16>,
    retry_ms: Option<u64>,
}

#[derive(Deserialize)]
struct At<'a> {
    epoch: &'a str,
    offset: u64,
}

/// The `type` of a line, which the native dialect always writes first.
pub(super) fn kind_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"type\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

impl Wish {
    /// The frames that a session begins with. Each bears its place as `ref`.
    ///
    /// # Errors
    /// `since` is no id of so many rooms: what one looks like.
    pub(super) fn frames(&self) -> Result<Vec<Value>, String> {
        let mut frames = Vec::new();
        if self.token.is_some() || self.name.is_some() {
            let (token, name) = (&self.token, &self.name);
            frames.push(json!({ "type": "hello", "ref": 0, "token": token, "name": name }));
        }
        for (room, since) in self.rooms.iter().zip(self.positions()?) {
            let since =
                since.map(|at| json!({ "epoch": at.epoch.to_string(), "offset": at.offset }));
            let at = frames.len();
            frames.push(json!({ "type": "join", "ref": at, "room": room, "since": since }));
        }
        Ok(frames)
    }

    fn positions(&self) -> Result<Vec<Option<Position>>, String> {
        match self.since.as_deref().filter(|since| !since.is_empty()) {
            Some(since) => read_id(since, self.rooms.len()),
            None => Ok(vec![None; self.rooms.len()]),
        }
    }

    /// Where the follower stands before anything is said.
    ///
    /// # Errors
    /// As of [`Wish::frames`].
    pub(super) fn following(&self) -> Result<Following, String> {
        let rooms = self.rooms.iter().zip(self.positions()?).map(|(name, at)| {
            let name = name.strip_prefix("default/").unwrap_or(name).to_owned();
            Followed { name, at, closed: false }
        });
        Ok(Following { rooms: rooms.collect() })
    }
}

impl Following {
    /// Notes what a line says about where the follower stands.
    pub(super) fn hear(&mut self, line: &[u8]) {
        let is_known =
            kind_of(line).is_some_and(|kind| matches!(kind, "event" | "joined" | "room_closed"));
        let head = if is_known { serde_json::from_slice::<Head<'_>>(line).ok() } else { None };
        let Some(head) = head else { return };
        let Some(room) = &head.room else { return };
        let named = self.rooms.iter_mut().find(|followed| followed.name == *room);
        let Some(followed) = named else { return };
        followed.closed = head.kind == "room_closed";
        if head.recovered == Some(true) {
            // What was missed comes only now: until then the follower stands where it stood.
            return;
        }
        let at = head
            .at
            .or(head.position)
            .and_then(|at| Some(Position { epoch: at.epoch.parse().ok()?, offset: at.offset }));
        followed.at = at.or(followed.at);
    }

    /// Whether no room is left to follow.
    pub(super) fn is_over(&self) -> bool {
        self.rooms.iter().all(|followed| followed.closed)
    }

    /// Writes what stands above the data of a line.
    pub(super) fn write_head(&self, line: &[u8], out: &mut BytesMut) {
        let kind = kind_of(line).unwrap_or("message");
        if matches!(kind, "event" | "joined") {
            out.extend_from_slice(b"id: ");
            for (at, followed) in self.rooms.iter().enumerate() {
                if at > 0 {
                    out.put_u8(b',');
                }
                if let Some(position) = followed.at {
                    let text = format!("{}:{}", position.epoch, position.offset);
                    out.extend_from_slice(text.as_bytes());
                }
            }
            out.put_u8(b'\n');
        }
        // `error` is what browsers tell of themselves.
        let name = if kind == "error" { "refused" } else { kind };
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.put_u8(b'\n');
        if kind == "goodbye"
            && let Ok(Head { retry_ms: Some(retry_ms), .. }) = serde_json::from_slice(line)
        {
            out.extend_from_slice(format!("retry: {retry_ms}\n").as_bytes());
        }
    }
}

/// Positions as an id has them: `epoch:offset`, or nothing for a room without one, with commas
/// between.
fn read_id(id: &str, rooms: usize) -> Result<Vec<Option<Position>>, String> {
    let wrong = || {
        format!(
            "the position to go on from must be an id that was told for these {rooms} rooms in \
             this order: epoch:offset for each, with commas between"
        )
    };
    let read = id.split(',').map(|at| {
        if at.is_empty() {
            return Ok(None);
        }
        let (epoch, offset) = at.split_once(':').ok_or_else(wrong)?;
        let epoch = epoch.parse().map_err(|_| wrong())?;
        let offset = offset.parse().map_err(|_| wrong())?;
        Ok(Some(Position { epoch, offset }))
    });
    let read: Vec<_> = read.take(rooms + 1).collect::<Result<_, String>>()?;
    if read.len() == rooms { Ok(read) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_out_with_each_event_and_come_back() {
        let wish = Wish { rooms: vec!["a".into(), "default/b".into()], ..Wish::default() };
        let mut following = wish.following().unwrap_or(Following { rooms: Vec::new() });
        let mut out = BytesMut::new();
        let event =
            br#"{"type":"event","room":"b","event":"x","at":{"epoch":"q83vEjRW","offset":7}}"#;
        following.hear(event);
        following.write_head(event, &mut out);
        assert_eq!(&out[..], b"id: ,q83vEjRW:7\nevent: event\n");
        let recovered = concat!(
            r#"{"type":"joined","ref":1,"room":"b","position":{"epoch":"q83vEjRW","#,
            r#""offset":9},"members":1,"recovered":true}"#
        );
        following.hear(recovered.as_bytes());
        assert_eq!(following.rooms[1].at.map(|at| at.offset), Some(7), "8 and 9 are to come");
        let wish = Wish { since: Some(",q83vEjRW:7".into()), ..wish };
        let frames = wish.frames().unwrap_or_default();
        assert_eq!(frames[0]["since"], Value::Null);
        assert_eq!(frames[1]["since"]["offset"], 7);
        for wrong in ["x", ",", ",,", "q83vEjRW:7", ",q83vEjRW:-1", ",q83vEjRW", "a,b,c,d"] {
            let wish =
                Wish { since: Some(wrong.into()), rooms: wish.rooms.clone(), ..Wish::default() };
            assert_eq!(wish.frames().is_err(), wrong != ",", "{wrong}");
        }
    }

    #[test]
    fn a_goodbye_says_when_to_come_back() {
        let following = Following { rooms: Vec::new() };
        let mut out = BytesMut::new();
        let goodbye =
            br#"{"type":"goodbye","code":4802,"reason":"drain","message":"m","retry_ms":731}"#;
        following.write_head(goodbye, &mut out);
        assert_eq!(&out[..], b"event: goodbye\nretry: 731\n");
        out.clear();
        following.write_head(br#"{"type":"error","code":4032}"#, &mut out);
        assert_eq!(&out[..], b"event: refused\n");
    }
}
