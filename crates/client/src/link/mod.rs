//! One open line to a server: messages in, messages out, whatever is below.

mod address;
mod dial;
mod enet;
mod quic;
mod stream;
mod tls;
mod udp;
mod ws;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use roomcast_wire::limits::MESSAGE_BYTES_CEILING;
use roomcast_wire::{CloseCode, Codec, Next};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use dial::{Dialer, Trust, dial};
use enet::EnetLink;
use quic::QuicLink;
use stream::StreamLink;
use udp::UdpLink;
use ws::WsLink;

/// What a link can stand on: a socket, TLS, a pipe. See
/// [`Builder::dial_with`](crate::Builder::dial_with).
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) type BoxIo = Box<dyn Io>;

/// Largest message taken from a server. Lists and histories may be larger than what a server takes
/// from a client, so the bound is the protocol's own.
const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_CEILING;

/// How long a farewell may take to be written.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) struct Link {
    codec: Codec,
    kind: Kind,
}

enum Kind {
    // Boxed: the state of a WebSocket is several times that of a plain stream.
    Ws(Box<WsLink>),
    Stream(StreamLink),
    Quic(Box<QuicLink>),
    Udp(Box<UdpLink>),
    Enet(Box<EnetLink>),
}

/// What a link tells.
#[derive(Debug, PartialEq)]
pub(crate) enum LinkEvent {
    /// One whole message.
    Message(Bytes),
    /// A sign of life without content.
    Alive,
    /// The end.
    Ended(Ended),
}

/// How a link ended, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) reason: String,
    pub(crate) next: Next,
    /// What the server asked to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Ended {
    /// The network failed: come back with the session.
    pub(crate) fn broken(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), next: Next::Resume, retry_after: None }
    }

    /// The server closed with a code of the protocol, or one that this version does not know.
    pub(crate) fn closed(number: u16, message: &str, retry_ms: Option<u64>) -> Self {
        let code = CloseCode::from_number(number);
        let word = code.map_or_else(|| number.to_string(), |code| code.to_string());
        let reason = if message.is_empty() { word } else { format!("{word}: {message}") };
        Self {
            reason,
            next: code.map_or(Next::Resume, CloseCode::next),
            retry_after: retry_ms.map(Duration::from_millis),
        }
    }
}

impl Link {
    pub(crate) fn ws(codec: Codec, link: WsLink) -> Self {
        Self { codec, kind: Kind::Ws(Box::new(link)) }
    }

    pub(crate) fn stream(codec: Codec, io: BoxIo) -> Self {
        Self { codec, kind: Kind::Stream(StreamLink::new(codec, io)) }
    }

    pub(crate) fn quic(codec: Codec, link: QuicLink) -> Self {
        Self { codec, kind: Kind::Quic(Box::new(link)) }
    }

    pub(crate) fn udp(codec: Codec, link: UdpLink) -> Self {
        Self { codec, kind: Kind::Udp(Box::new(link)) }
    }

    pub(crate) fn enet(codec: Codec, link: EnetLink) -> Self {
        Self { codec, kind: Kind::Enet(Box::new(link)) }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes a message to be written; [`next`](Self::next) writes it.
    pub(crate) fn queue(&mut self, message: Bytes) {
        match &mut self.kind {
            Kind::Ws(link) => link.queue(message),
            Kind::Stream(link) => link.queue(&message),
            Kind::Quic(link) => link.queue(&message),
            Kind::Udp(link) => link.queue(message, true),
            Kind::Enet(link) => link.queue(message, true),
        }
    }

    /// The same for a message that may be lost, where the link has a way for those.
    pub(crate) fn queue_unreliable(&mut self, message: Bytes) {
        match &mut self.kind {
            Kind::Quic(link) => link.queue_unreliable(message),
            Kind::Udp(link) => link.queue(message, false),
            Kind::Enet(link) => link.queue(message, false),
            Kind::Ws(_) | Kind::Stream(_) => self.queue(message),
        }
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        match &self.kind {
            Kind::Ws(link) => link.queued_bytes(),
            Kind::Stream(link) => link.queued_bytes(),
            Kind::Quic(link) => link.queued_bytes(),
            Kind::Udp(link) => link.queued_bytes(),
            Kind::Enet(link) => link.queued_bytes(),
        }
    }

    /// Writes what waits, and reads if `read`. Cancel-safe. Writing and reading go on side by
    /// side, because a server that is full of our messages may need to be read first.
    pub(crate) async fn next(&mut self, read: bool) -> LinkEvent {
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                // What the server said last tells more than the failed write.
                return match self.poll_read(cx) {
                    Poll::Ready(event) if read => Poll::Ready(event),
                    _ => Poll::Ready(LinkEvent::Ended(Ended::broken(error.to_string()))),
                };
            }
            if read { self.poll_read(cx) } else { Poll::Pending }
        })
        .await
    }

    /// Writes what waits and ends the link. Gives up after a while.
    pub(crate) async fn finish(mut self) {
        let farewell = async {
            let flushed = poll_fn(|cx| self.poll_flush(cx)).await;
            if flushed.is_ok() {
                poll_fn(|cx| self.poll_close(cx)).await;
            }
        };
        // Nobody waits for the outcome; the server notices the end of the socket anyway.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Ws(link) => link.poll_flush(cx),
            Kind::Stream(link) => link.poll_flush(cx),
            Kind::Quic(link) => link.poll_flush(cx),
            Kind::Udp(link) => link.poll_flush(cx),
            Kind::Enet(link) => link.poll_flush(cx),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        match &mut self.kind {
            Kind::Ws(link) => link.poll_read(cx),
            Kind::Stream(link) => link.poll_read(cx),
            Kind::Quic(link) => link.poll_read(cx),
            Kind::Udp(link) => link.poll_read(cx),
            Kind::Enet(link) => link.poll_read(cx),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.kind {
            Kind::Ws(link) => link.poll_close(cx),
            Kind::Stream(link) => link.poll_close(cx),
            Kind::Quic(link) => link.poll_close(cx),
            Kind::Udp(link) => link.poll_close(cx),
            Kind::Enet(link) => link.poll_close(cx),
        }
    }
}
