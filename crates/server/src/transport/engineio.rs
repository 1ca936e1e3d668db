//! Engine.IO (revision 4) on a WebSocket: what such a connection carries stands in its packets.
//! HTTP long-polling arrives here, too: the HTTP thread turns it into the same frames.

use bytes::{Bytes, BytesMut};
use roomcast_wire::dialect::Dialect;
use roomcast_wire::dialect::socketio::{AssembleError, Assembler};
use roomcast_wire::engineio::{Packet, PacketError, Query, Transport};
use roomcast_wire::ws::frame::{Frame, Reader};
use roomcast_wire::ws::handshake::{self, Head};
use roomcast_wire::{CloseCode, Format};

use super::{Fault, Protocol, Received, Site, ws};

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
    let accepted = handshake::accept(head, &site.policy, false, format).map_err(ws::refused)?;
    Ok(Received::Carries(accepted.response()))
}

/// A connection whose WebSocket stands already.
pub(super) fn opened(dialect: Dialect, packet_bytes_max: usize) -> Box<dyn Protocol> {
    let assembler = match dialect {
        Dialect::Engineio => None,
        _ => Some(Assembler::new(packet_bytes_max)),
    };
    Box::new(Engineio { reader: Reader::new(false), assembler, pong: None })
}

struct Engineio {
    reader: Reader,
    /// Puts the packets of Socket.IO together; none: a message stands for itself.
    assembler: Option<Assembler>,
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
        loop {
            let received = match self.reader.read(buffer, message_bytes_max)? {
                None => return Ok(None),
                Some(Frame::Text(text)) => self.read_packet(text)?,
                Some(Frame::Binary(bytes)) => self.message(None, bytes)?,
                Some(Frame::Ping(payload)) => {
                    self.pong = Some(Box::from(&payload[..]));
                    Some(Received::Alive)
                }
                Some(Frame::Pong) => Some(Received::Alive),
                Some(Frame::Close(code)) => Some(Received::Closed(code)),
            };
            if received.is_some() {
                return Ok(received);
            }
        }
    }

    fn carries_alone(&self) -> Option<Format> {
        self.assembler.is_none().then_some(Format::ENGINEIO)
    }

    fn awaits_rest(&self) -> bool {
        self.assembler.as_ref().is_some_and(Assembler::is_waiting)
    }

    fn answer(&mut self) -> Option<Bytes> {
        self.pong.take().map(|payload| ws::pong(&payload))
    }

    fn owes_answer(&self) -> bool {
        self.pong.is_some()
    }

    fn closing(&mut self, code: Option<u16>, reason: &str) -> Option<Bytes> {
        Some(ws::close(code, reason))
    }
}

impl Engineio {
    /// None: the rest of a packet is still to come.
    fn read_packet(&mut self, text: Bytes) -> Result<Option<Received>, Fault> {
        Ok(Some(match Packet::read_text(text.clone())? {
            Packet::Text(data) => return self.message(Some(text), data),
            Packet::Binary(bytes) => return self.message(None, bytes),
            Packet::Close => Received::Closed(None),
            Packet::Pong(_) => Received::Pong,
            Packet::Upgrade => Received::Upgrade,
            Packet::Noop => Received::Alive,
            Packet::Open(_) | Packet::Ping(_) => {
                return Err(fault("only the server opens and pings (Engine.IO revision 4)"));
            }
        }))
    }

    /// A message; `whole`: the packet of a text, with its type.
    fn message(&mut self, whole: Option<Bytes>, data: Bytes) -> Result<Option<Received>, Fault> {
        let Some(assembler) = &mut self.assembler else {
            let bytes = whole.unwrap_or_else(|| marked(&data));
            return Ok(Some(Received::Carried { format: Format::ENGINEIO, bytes }));
        };
        let packet = match whole {
            Some(_) => assembler.text(data)?,
            None => assembler.binary(data)?,
        };
        let whole = assembler.format().zip(packet);
        Ok(whole.map(|(format, bytes)| Received::Carried { format, bytes }))
    }
}

/// A message of bytes behind a mark, so that it cannot be taken for a text, which begins with its
/// type.
fn marked(bytes: &[u8]) -> Bytes {
    let mut marked = BytesMut::with_capacity(1 + bytes.len());
    marked.extend_from_slice(b"b");
    marked.extend_from_slice(bytes);
    marked.freeze()
}

impl From<AssembleError> for Fault {
    fn from(error: AssembleError) -> Self {
        let code = match error {
            AssembleError::TooLarge { .. } => CloseCode::TooLarge,
            _ => CloseCode::Protocol,
        };
        Self { code, message: error.to_string(), answer: Vec::new() }
    }
}

impl From<PacketError> for Fault {
    fn from(error: PacketError) -> Self {
        fault(&error.to_string())
    }
}

fn fault(message: &str) -> Fault {
    Fault { code: CloseCode::Protocol, message: message.to_owned(), answer: Vec::new() }
}
