//! Puts packets together that came in several messages.

use bytes::{BufMut, Bytes, BytesMut};

use super::packet::{self, Head, Kind};
use crate::Format;
use crate::codec::json::{self, Parts, Place};
use crate::codec::write::{Map, MsgPack, key};
use crate::codec::{CodecError, msgpack};

/// Most attachments of a packet (threat S19). As many as the reference parser takes.
pub const ATTACHMENTS_MAX: usize = 10;

/// How long the attachments of a packet may take if nothing else is said, in milliseconds from its
/// text on.
pub const ASSEMBLE_MS: u64 = 10_000;

/// Puts the packets of one connection together: a text with the binary messages that belong to it,
/// in the order in which they come. What it gives out is a whole packet for
/// [`namespace_of`](super::namespace_of) and [`Format::decode`]. The first message of a connection
/// says which parser its client has.
#[derive(Debug)]
pub struct Assembler {
    bytes_max: usize,
    format: Option<Format>,
    /// Most packets have no attachments, and most connections wait for none.
    open: Option<Box<Open>>,
}

/// A packet whose attachments are on their way. Nothing is set aside for those that are announced,
/// and what has come is copied: a small piece of a read buffer would keep all of it alive.
#[derive(Debug)]
struct Open {
    text: Bytes,
    wanted: usize,
    bytes: usize,
    parts: Vec<Bytes>,
}

/// Why nothing can be read after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A binary message that no text has announced.
    #[error("a binary message that no packet has announced")]
    Unannounced,
    /// A text while attachments are still to come.
    #[error("a text message where an attachment was announced")]
    Interleaved,
    /// A text from a client that began with the msgpack parser.
    #[error("a text message from a client that began with the msgpack parser")]
    OtherParser,
    /// More than the whole packet may have.
    #[error("a packet of {size} bytes; at most {limit} are allowed")]
    TooLarge {
        /// How many it has so far.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The packet is not well-formed.
    #[error("{0}")]
    Malformed(#[from] CodecError),
}

impl Assembler {
    /// Packets have at most `bytes_max` bytes, attachments counted.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, format: None, open: None }
    }

    /// What the client speaks; none before its first message.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Whether a packet is not whole yet: [`ASSEMBLE_MS`] is how long that may be.
    pub fn is_waiting(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a text message (without the `4` of Engine.IO). A packet without attachments comes
    /// back as it is.
    ///
    /// # Errors
    /// Nothing can be read after it.
    pub fn text(&mut self, text: Bytes) -> Result<Option<Bytes>, AssembleError> {
        match self.format {
            _ if self.open.is_some() => return Err(AssembleError::Interleaved),
            Some(Format::SOCKETIO_MSGPACK) => return Err(AssembleError::OtherParser),
            _ => self.format = Some(Format::SOCKETIO_JSON),
        }
        let bytes = self.count(text.len())?;
        if !matches!(text.first(), Some(b'5' | b'6')) {
            return Ok(Some(text));
        }
        let wanted = packet::head(json::utf8(&text)?)?.attachments;
        if wanted == 0 {
            return Ok(Some(text));
        }
        let text = Bytes::copy_from_slice(&text);
        self.open = Some(Box::new(Open { text, wanted, bytes, parts: Vec::new() }));
        Ok(None)
    }

    /// Takes a binary message: an attachment, or a packet of the msgpack parser.
    ///
    /// # Errors
    /// Nothing can be read after it.
    pub fn binary(&mut self, data: Bytes) -> Result<Option<Bytes>, AssembleError> {
        let Some(open) = &mut self.open else {
            if self.format == Some(Format::SOCKETIO_JSON) {
                return Err(AssembleError::Unannounced);
            }
            if packet::is_text(&data) {
                return Err(CodecError("a packet in bytes is a map".to_owned()).into());
            }
            self.format = Some(Format::SOCKETIO_MSGPACK);
            self.count(data.len())?;
            return Ok(Some(data));
        };
        open.bytes += data.len();
        open.parts.push(Bytes::copy_from_slice(&data));
        let (bytes, whole) = (open.bytes, open.parts.len() == open.wanted);
        self.count(bytes)?;
        match self.open.take_if(|_| whole) {
            Some(open) => Ok(Some(open.packet()?)),
            None => Ok(None),
        }
    }

    fn count(&self, size: usize) -> Result<usize, AssembleError> {
        let limit = self.bytes_max;
        if size > limit { Err(AssembleError::TooLarge { size, limit }) } else { Ok(size) }
    }
}

impl Open {
    /// The packet as the msgpack parser would have written it, each attachment in its place.
    fn packet(&self) -> Result<Bytes, CodecError> {
        let Head { kind, namespace, id, rest, .. } = packet::head(json::utf8(&self.text)?)?;
        let mut data = BytesMut::with_capacity(self.bytes + 5 * self.parts.len());
        let mut attached = Attached { parts: &self.parts, taken: 0 };
        json::to_msgpack_with(rest, &mut attached, &mut data)?;
        if attached.taken.count_ones() as usize != self.parts.len() {
            return Err(CodecError("an attachment has no place in its packet".to_owned()));
        }
        let mut out = BytesMut::with_capacity(data.len() + namespace.len() + 48);
        Map::<MsgPack>::write(&mut out, |map| {
            map.uint(key!("type"), if kind == Kind::Ack { 3 } else { 2 });
            map.text(key!("nsp"), namespace);
            if let Some(id) = id {
                map.uint(key!("id"), id);
            }
            map.value(key!("data"), |out| out.put_slice(&data));
        });
        Ok(out.freeze())
    }
}

/// The attachments, each of which stands in one place: a second would let a small packet say a
/// large one over and over.
struct Attached<'a> {
    parts: &'a [Bytes],
    /// A bit for each.
    taken: u32,
}

impl Parts for Attached<'_> {
    fn entry(place: &mut Place, key: &str, value: &[u8]) {
        match key {
            "_placeholder" => place.stands = value == [0xc3],
            "num" => place.number = msgpack::read(value, 0).ok().and_then(msgpack::Value::uint),
            _ => {}
        }
    }

    fn take(&mut self, place: &Place) -> Result<Option<&[u8]>, CodecError> {
        if !place.stands {
            return Ok(None);
        }
        let wrong = || CodecError("a placeholder without an attachment of its own".to_owned());
        let at = place.number.and_then(|at| usize::try_from(at).ok()).ok_or_else(wrong)?;
        let part = self.parts.get(at).ok_or_else(wrong)?;
        if self.taken & 1 << at != 0 {
            return Err(wrong());
        }
        self.taken |= 1 << at;
        Ok(Some(part))
    }
}
