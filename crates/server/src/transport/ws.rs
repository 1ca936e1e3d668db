//! WebSocket (RFC 6455) behind an HTTP/1.1 request for `/ws`, or for any path where the listener's
//! dialect has none of its own.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use roomcast_wire::dialect::{Cut, Cutter};
use roomcast_wire::framing::Framing;
use roomcast_wire::ws::frame::{self, Frame, FrameError, Opcode, Reader};
use roomcast_wire::ws::handshake::{self, HEAD_BYTES_MAX, Head, HeadError};
use roomcast_wire::{CloseCode, Format};

use super::{Fault, Protocol, Received, Site, engineio};

/// Where the WebSocket is.
pub(crate) const PATH: &str = "/ws";

pub(super) fn open(site: &Arc<Site>) -> Box<dyn Protocol> {
    Box::new(Ws { stage: Stage::Head { site: Arc::clone(site), seen: 0 }, pong: None })
}

/// A connection whose handshake somebody else has carried out.
pub(super) fn opened(format: Format) -> Box<dyn Protocol> {
    Box::new(Ws { stage: frames(format), pong: None })
}

struct Ws {
    stage: Stage,
    /// The payload of the newest ping that was not answered yet (at most 125 bytes).
    pong: Option<Box<[u8]>>,
}

enum Stage {
    /// The request's head is not complete.
    Head {
        site: Arc<Site>,
        /// How many bytes of it were looked at.
        seen: usize,
    },
    Frames {
        reader: Reader,
        takes: Takes,
        stream: Option<Box<Stream>>,
    },
}

/// Messages that do not end where frames do.
struct Stream {
    cutter: Box<dyn Cutter>,
    /// How the peer is spoken to, and how by its frames: text, binary.
    format: Format,
    by_frame: Option<[Format; 2]>,
    /// What came in frames and is not cut yet. Holds no memory when empty.
    bytes: BytesMut,
}

/// Which frames hold messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Binary,
    Both,
}

impl Protocol for Ws {
    fn read(
        &mut self,
        buffer: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Option<Received>, Fault> {
        let (reader, takes, mut stream) = match &mut self.stage {
            Stage::Head { site, seen } => {
                let site = Arc::clone(site);
                return if has_new_line(buffer, seen) {
                    self.read_head(buffer, &site)
                } else {
                    Ok(None)
                };
            }
            Stage::Frames { reader, takes, stream } => (reader, *takes, stream.as_deref_mut()),
        };
        loop {
            if let Some(stream) = &mut stream
                && let Some(bytes) = stream.cut(message_bytes_max)?
            {
                return Ok(Some(Received::Message(bytes)));
            }
            let (message, is_binary) = match reader.read(buffer, message_bytes_max)? {
                None => return Ok(None),
                Some(Frame::Text(bytes)) if takes != Takes::Binary => (bytes, false),
                Some(Frame::Binary(bytes)) if takes != Takes::Text => (bytes, true),
                Some(Frame::Text(_) | Frame::Binary(_)) => return Err(wrong_kind(takes)),
                Some(Frame::Ping(payload)) => {
                    self.pong = Some(Box::from(&payload[..]));
                    return Ok(Some(Received::Alive));
                }
                Some(Frame::Pong) => return Ok(Some(Received::Alive)),
                Some(Frame::Close(code)) => return Ok(Some(Received::Closed(code))),
            };
            match &mut stream {
                Some(stream) => {
                    stream.bytes.extend_from_slice(&message);
                    if let Some(format) = stream.answers_in(is_binary) {
                        return Ok(Some(Received::Speaks(format)));
                    }
                }
                None => return Ok(Some(Received::Message(message))),
            }
        }
    }

    fn answer(&mut self) -> Option<Bytes> {
        self.pong.take().map(|payload| pong(&payload))
    }

    fn owes_answer(&self) -> bool {
        self.pong.is_some()
    }

    fn closing(&mut self, code: Option<u16>, reason: &str) -> Option<Bytes> {
        if matches!(self.stage, Stage::Head { .. }) {
            return None;
        }
        Some(close(code, reason))
    }
}

/// The frame that answers a ping.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(2 + payload.len());
    frame::write_control(&mut out, Opcode::Pong, payload);
    out.freeze()
}

/// The frame that ends the messages of this side.
pub(super) fn close(code: Option<u16>, reason: &str) -> Bytes {
    let mut out = BytesMut::new();
    match code {
        Some(code) => frame::write_close(&mut out, code, reason),
        None => frame::write_control(&mut out, Opcode::Close, &[]),
    }
    out.freeze()
}

impl Ws {
    fn read_head(&mut self, buffer: &mut BytesMut, site: &Site) -> Result<Option<Received>, Fault> {
        let Some(head) = handshake::read_head(buffer).map_err(refused)? else {
            return Ok(None);
        };
        if engineio::is_asked(&head, site) {
            let received = engineio::read_head(&head, site)?;
            let len = head.len;
            if matches!(received, Received::Carries(_)) {
                buffer.advance(len);
            }
            return Ok(Some(received));
        }
        let fixed = site.dialect.ws_format();
        let path = site.dialect.ws_path().or(fixed.is_none().then_some(PATH));
        if path.is_some_and(|path| path != head.path()) || !head.wants_websocket() {
            return Ok(Some(Received::Request));
        }
        let namespace = match site.dialect.ws_subprotocol_is_namespace() {
            true => Some(named_namespace(&head, &site.namespaces).map_err(refused)?),
            false => None,
        };
        let mut accepted =
            handshake::accept(&head, &site.policy, site.deflate, fixed).map_err(refused)?;
        let subprotocol = namespace.as_deref().map(str::to_owned);
        accepted.headers.extend(subprotocol.map(|name| ("Sec-WebSocket-Protocol", name)));
        let len = head.len;
        buffer.advance(len);
        self.stage = frames(accepted.format);
        let response = accepted.response();
        Ok(Some(Received::Opened { format: accepted.format, response, namespace }))
    }
}

/// The first of the client's subprotocols that is a namespace.
fn named_namespace(head: &Head<'_>, known: &[Arc<str>]) -> Result<Arc<str>, HeadError> {
    let values = head.values("sec-websocket-protocol");
    let mut names = values.flat_map(|value| value.split(|&byte| byte == b','));
    let found = names.find_map(|name| {
        let name = name.trim_ascii();
        known.iter().find(|known| known.as_bytes() == name)
    });
    found.cloned().ok_or_else(|| HeadError {
        status: 400,
        message: "name a namespace of this server as Sec-WebSocket-Protocol, for example default"
            .to_owned(),
    })
}

impl Stream {
    /// The format that a frame brings about; none: it stays as it is.
    fn answers_in(&mut self, is_binary: bool) -> Option<Format> {
        let [text, binary] = self.by_frame?;
        let format = if is_binary { binary } else { text };
        (std::mem::replace(&mut self.format, format) != format).then_some(format)
    }

    fn cut(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Fault> {
        let cut = self.cutter.cut(&mut self.bytes, bytes_max)?;
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
        Ok(match cut {
            Some(Cut::Message(bytes)) => Some(bytes),
            // The handshake has said already how the peer speaks.
            Some(Cut::Begins(_)) | None => None,
        })
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self { code: error.code, message: error.message, answer: Vec::new() }
    }
}

/// Whether a line ended since the last look. A head is read again only then: one endless header
/// is not parsed at every byte (threat S1).
fn has_new_line(buffer: &BytesMut, seen: &mut usize) -> bool {
    let new = buffer.get(*seen..).unwrap_or(buffer);
    let found = new.contains(&b'\n') || buffer.len() > HEAD_BYTES_MAX;
    *seen = buffer.len();
    found
}

fn frames(format: Format) -> Stage {
    let framing = format.framing();
    let deflate = matches!(framing, Framing::WsTextDeflate | Framing::WsBinaryDeflate);
    let takes = match framing {
        _ if format.takes_any_frame() => Takes::Both,
        Framing::WsBinary | Framing::WsBinaryDeflate => Takes::Binary,
        _ => Takes::Text,
    };
    let by_frame = format.ws_formats_by_frame();
    let stream = |cutter| Box::new(Stream { cutter, format, by_frame, bytes: BytesMut::new() });
    let stream = format.ws_stream().map(stream);
    Stage::Frames { reader: Reader::new(deflate), takes, stream }
}

fn wrong_kind(takes: Takes) -> Fault {
    let (wanted, subprotocol) = match takes {
        Takes::Binary => ("binary", "roomcast.v1.msgpack"),
        Takes::Text | Takes::Both => ("text", "roomcast.v1.json"),
    };
    Fault {
        code: CloseCode::Unsupported,
        message: format!("{subprotocol} is spoken in {wanted} frames"),
        answer: Vec::new(),
    }
}

pub(super) fn refused(error: HeadError) -> Fault {
    let answer = handshake::refusal(&error);
    Fault { code: CloseCode::Protocol, message: error.to_string(), answer }
}
