//! MaChat's grammar: one JSON object that names client and room, then lines, over TCP and
//! WebSocket alike. What is heard is `name:text`.
//!
//! `docs/dialects.md` says what is read and written, and what differs from the original.

mod hello;
mod stream;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Cutter, DecodeError, Format, Grammar, Receiver, Standing, speech};
use crate::framing::Framing;
use crate::push::Sender;
use crate::{CloseCode, Command, ErrorCode, Push, Refusal, Reply, Request, RoomPath, name};

/// Where its WebSocket is.
pub const WS_PATH: &str = "/mychat";

/// Longest line from a client, in bytes without its end.
pub const LINE_BYTES_MAX: usize = 65_535;

/// What errors begin with. A name is never `error`, so that no speech looks like one.
const ERROR: &str = "error";

/// The `ref` of what brings a client into its room: whether it is refused decides about the link.
const ENTRY: Option<u64> = Some(0);

/// MaChat's grammar.
pub(super) struct MaChat;

impl Grammar for MaChat {
    fn decode<'a>(
        &self,
        _: Format,
        message: &'a Bytes,
        standing: &Standing<'a>,
    ) -> Result<Request<'a>, DecodeError> {
        if standing.session.is_some() && !standing.goes_on {
            let command = line(message, standing);
            return match command {
                Ok(command) => Ok(Request { reference: None, command }),
                Err(refusal) => Err(DecodeError { reference: None, refusal, close: None }),
            };
        }
        match hello::read(message) {
            Ok(hello) => {
                let command = match standing.session {
                    None => {
                        Command::Hello { token: None, name: hello.name, resume: None, data: None }
                    }
                    Some(_) => Command::Join { room: hello.room, since: None, data: None },
                };
                Ok(Request { reference: ENTRY, command })
            }
            Err(refusal) => Err(DecodeError { reference: ENTRY, refusal, close: None }),
        }
    }

    fn encode_push(&self, format: Format, _: &Receiver<'_>, push: &Push<'_>, out: &mut BytesMut) {
        match push {
            Push::Event { event, .. } => {
                let text = speech::text_of(&event.name, event.payload.as_ref());
                said(format, event.from.as_deref(), &text, out);
            }
            Push::Message { event, data, from } => {
                said(format, *from, &speech::text_of(event, *data), out);
            }
            Push::RoomClosed { reason, .. } => {
                error(format, &format!("the room is closed to you: {}", reason.as_str()), out);
            }
            Push::Goodbye { code, .. } if *code == CloseCode::Normal => {}
            Push::Goodbye { message, .. } => error(format, message, out),
            // Who comes and goes is not told, and clients cannot answer.
            _ => {}
        }
    }

    fn encode_reply(
        &self,
        format: Format,
        _: &Receiver<'_>,
        _: Option<u64>,
        reply: &Reply<'_>,
        out: &mut BytesMut,
    ) {
        if let Reply::Error { message, .. } = reply {
            error(format, message, out);
        }
    }

    fn stream(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::new(stream::HelloThenLines::begins(Format::MACHAT_LINE)))
    }

    fn ws_stream(&self) -> Option<Box<dyn Cutter>> {
        Some(Box::<stream::HelloThenLines>::default())
    }

    fn ws_format(&self) -> Option<Format> {
        Some(Format::MACHAT_WS)
    }

    fn ws_path(&self) -> Option<&'static str> {
        Some(WS_PATH)
    }

    fn takes_any_frame(&self) -> bool {
        true
    }

    fn ws_formats_by_frame(&self) -> Option<[Format; 2]> {
        Some([Format::MACHAT_WS, Format::MACHAT_WS_BINARY])
    }

    fn message_bytes_max(&self) -> usize {
        LINE_BYTES_MAX
    }

    fn reads_standing(&self) -> bool {
        true
    }

    fn hello_names_room(&self) -> bool {
        true
    }
}

/// A line is said in the room that the client is in.
fn line<'a>(message: &Bytes, standing: &Standing<'a>) -> Result<Command<'a>, Refusal> {
    let nowhere = || Refusal::new(ErrorCode::NotAMember, "you are in no room");
    let room = standing.room.ok_or_else(nowhere)?;
    // The name is whole; one of the default namespace has none written before it.
    let path = match room.contains('/') || standing.namespace == name::DEFAULT_NAMESPACE {
        true => RoomPath::parse(room),
        false => RoomPath::parse(format!("{}/{room}", name::DEFAULT_NAMESPACE)),
    };
    let room = path.map_err(|_| nowhere())?;
    // What is no UTF-8 is replaced (U+FFFD): it could not stand in JSON.
    let (event, data) = speech::said(&String::from_utf8_lossy(message));
    let data = Some(data);
    Ok(Command::Publish { room, event, data, reliable: true, key: None, echo: Some(true) })
}

fn said(format: Format, from: Option<&Sender>, text: &str, out: &mut BytesMut) {
    write_line(format, out, |out| {
        let name = speech::author(from);
        for c in name.chars() {
            put(out, if c == ':' { '_' } else { c });
        }
        // A client of another dialect may be called what no client of this one may.
        if hello::is_error(&name) {
            out.put_u8(b'_');
        }
        out.put_u8(b':');
        text.chars().for_each(|c| put(out, c));
    });
}

fn error(format: Format, message: &str, out: &mut BytesMut) {
    write_line(format, out, |out| {
        out.put_slice(ERROR.as_bytes());
        out.put_slice(b": ");
        message.chars().for_each(|c| put(out, c));
    });
}

/// A line ends with its `\n` in a WebSocket frame too: clients look for it.
fn write_line(format: Format, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let framing = format.framing();
    framing.frame(out, |out| {
        write(out);
        if framing != Framing::Line {
            out.put_u8(b'\n');
        }
    });
}

/// What would end the line or move the cursor of a terminal is left out.
fn put(out: &mut BytesMut, c: char) {
    if !c.is_control() || c == '\t' {
        out.put_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}
