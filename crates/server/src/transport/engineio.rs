//! Engine.IO (revision 4) on a WebSocket: what such a connection carries stands in its packets.
//! HTTP long-polling arrives here, too: the HTTP thread turns it into the same frames.

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::Dialect;
use roomcast_wire::engineio::{Packet, PacketError, Query, Transport};
use roomcast_wire::ws::frame::{self, Frame, Opcode, Reader};
use roomcast_wire::ws::handshake::{self, Head};
use roomcast_wire::{CloseCode, Format};

use super::{Fault, Protocol, Received, Site};

/// Whether a request is for the Engine.IO of its listener, with or without the last slash.
pub(super) fn is_asked(head: &Head<'_>, site: &Site) -> bool {
    let Some(path) = &site.engineio_path else { return false };
    head.path() == &**path || path.strip_suffix('/') == Some(head.path())
}

/// A request for Engine.IO: a WebSocket without a session of before begins here, everything else
/// is for HTTP.
pub(super) fn read_head(head: &Head<'_>, site: &Site) -> Result<Received, Fault> {
    let query = Query::read(head.target.split_once('?').map_or("", |(_, query)| query));
    let begins = query.is_revision_4()
        && query.transport() == Some(Transport::WebSocket)
        && query.sid.is_none()
        && head.wants_websocket();
    if !begins {
        return Ok(Received::Request);
    }
    let format = Some(Format::ENGINEIO);
    let accepted =
        handshake::accept(head, &site.policy, false, format).map_err(super::ws::refused)?;
    Ok(Received::Carries { protocol: opened(site.dialect), response: accepted.response() })
}

/// A connection whose WebSocket stands already.
pub(super) fn opened(_: Dialect) -> Box<dyn Protocol> {
    Box::new(Engineio { reader: Reader::new(false), pong: None })
}

struct Engineio {
    reader: Reader,
    /// The payload of the newest ping of the WebSocket that was not answered yet (at most 125
    /// bytes).
    pong: Option<Box<[u8]>>,
}

impl Protocol for Engineio {
    fn read(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Option<Received>, Fault> {
        let received = match self.reader.read(buffer, message_bytes_max)? {
            None => return Ok(None),
            Some(Frame::Text(text)) => read_packet(text)?,
            Some(Frame::Binary(bytes)) => {
                // So that it cannot be taken for a text, which begins with its type.
                let mut marked = BytesMut::with_capacity(1 + bytes.len());
                marked.extend_from_slice(b"b");
                marked.extend_from_slice(&bytes);
                carried(marked.freeze())
            }
            Some(Frame::Ping(payload)) => {
                self.pong = Some(Box::from(&payload[..]));
                Received::Alive
            }
            Some(Frame::Pong) => Received::Alive,
            Some(Frame::Close(code)) => Received::Closed(code),
        };
        Ok(Some(received))
    }

    fn carries_alone(&self) -> Option<Format> {
        Some(Format::ENGINEIO)
    }

    fn answer(&mut self) -> Option<Bytes> {
        let payload = self.pong.take()?;
        let mut out = BytesMut::with_capacity(2 + payload.len());
        frame::write_control(&mut out, Opcode::Pong, &payload);
        Some(out.freeze())
    }

    fn owes_answer(&self) -> bool {
        self.pong.is_some()
    }

    fn closing(&mut self, code: Option<u16>, reason: &str) -> Option<Bytes> {
        let mut out = BytesMut::new();
        match code {
            Some(code) => frame::write_close(&mut out, code, reason),
            None => frame::write_control(&mut out, Opcode::Close, &[]),
        }
        Some(out.freeze())
    }
}

fn read_packet(text: Bytes) -> Result<Received, Fault> {
    Ok(match Packet::read_text(text.clone())? {
        Packet::Text(_) | Packet::Binary(_) => carried(text),
        Packet::Close => Received::Closed(None),
        Packet::Pong(_) => Received::Pong,
        Packet::Upgrade => Received::Upgrade,
        Packet::Noop => Received::Alive,
        Packet::Open(_) | Packet::Ping(_) => {
            return Err(fault("only the server opens and pings (Engine.IO revision 4)"));
        }
    })
}

fn carried(bytes: Bytes) -> Received {
    Received::Carried(bytes)
}

impl From<PacketError> for Fault {
    fn from(error: PacketError) -> Self {
        fault(&error.to_string())
    }
}

fn fault(message: &str) -> Fault {
    Fault { code: CloseCode::Protocol, message: message.to_owned(), answer: Vec::new() }
}
