//! simple-chat-server's grammar: values of Go's `encoding/gob` on TCP. Every request and every
//! answer is an `Action` and, but for the request for the list of rooms, a value that belongs to
//! it, each a gob stream of its own.
//!
//! `docs/dialects.md` says what is read and written, and what differs from the original.

mod decode;
mod encode;
mod gob;
mod stream;

use bytes::{Bytes, BytesMut};

use self::decode::Action;
pub use self::gob::{FIELDS_MAX, TYPES_MAX};
use super::speech::{SERVER, author, text_of};
use super::{Cutter, DecodeError, Format, Grammar, Receiver, Standing};
use crate::{Push, Reply, Request};

/// simple-chat-server's grammar.
pub(super) struct SimpleChat;

impl Grammar for SimpleChat {
    fn decode<'a>(
        &self,
        _: Format,
        message: &'a Bytes,
        _: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        decode::request(message)
    }

    fn encode_push(&self, _: Format, _: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        match *push {
            Push::Event { room, event } => {
                let author = author(event.from.as_deref());
                encode::post(room, &author, &text_of(&event.name, event.payload.as_ref()), out);
            }
            Push::Message { event, data, from } => {
                encode::post("", &author(from), &text_of(event, data), out);
            }
            Push::RoomClosed { room, reason } => {
                let why = format!("you are no longer in this room: {}", reason.as_str());
                encode::post(room, SERVER, &why, out);
                encode::room(Action::LeaveRoom, room, out);
            }
            Push::Goodbye { message, .. } => encode::post("", SERVER, message, out),
            // Clients know nothing of who comes and goes, and answer no calls.
            _ => {}
        }
    }

    fn encode_reply(
        &self,
        _: Format,
        _: &Receiver<'_>,
        _: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        match reply {
            Reply::Rooms { rooms, .. } => {
                encode::rooms(rooms.iter().map(|line| line.room.as_str()), out);
            }
            Reply::Created { room, .. } => encode::room(Action::CreateRoom, room, out),
            Reply::Joined { room, .. } => encode::room(Action::JoinRoom, room, out),
            Reply::Left { room } => encode::room(Action::LeaveRoom, room, out),
            Reply::Error { message, .. } => encode::post("", SERVER, message, out),
            _ => {}
        }
    }

    fn stream(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::<stream::Requests>::default())
    }

    fn has_ws(&self) -> bool {
        false
    }
}
