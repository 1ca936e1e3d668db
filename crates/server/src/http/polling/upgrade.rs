//! A session that began with long-polling goes on over a WebSocket: the client probes it, then
//! says that it takes over, and the worker exchanges its end of the socket pair for the new socket.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use roomcast_wire::ws::frame::{self, Frame, Opcode, Reader};
use roomcast_wire::ws::handshake::{self, Head};
use roomcast_wire::{CloseCode, Format};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::super::stream::Stream;
use super::answer::Failure;
use super::session::Session;
use super::{Polls, Sessions};
use crate::worker::Successor;

/// How long a probe and what follows may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest frame before the WebSocket has taken over, in bytes: `2probe` and `5` are short.
const FRAME_BYTES_MAX: usize = 125;

/// How long a WebSocket may take to hear the last words: that no session is for it, or what the
/// session that it takes over ended with.
const FAREWELL: Duration = Duration::from_secs(1);

/// Answers the request for a WebSocket; the rest is done beside it. Where there is no session, or
/// another WebSocket takes it over or has, that is said on the WebSocket, as by the reference
/// server: a browser does not tell its page why a request for one was refused.
pub(super) fn begin(
    polls: &Polls,
    session: Option<Arc<Session>>,
    request: Request,
) -> Result<Response, Failure> {
    let accepted = {
        let headers = request.headers().iter();
        let head = Head {
            method: request.method().as_str(),
            target: request.uri().path(),
            minor_version: u8::from(request.version() == Version::HTTP_11),
            headers: headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
            len: 0,
        };
        let listening = polls.shared.listeners.get(usize::from(polls.listener));
        let policy = &listening.ok_or(Failure::BadRequest)?.site.policy;
        let accepted = handshake::accept(&head, policy, false, Some(Format::ENGINEIO));
        accepted.map_err(|_| Failure::BadRequest)?
    };
    let session = session.filter(|session| session.begin_upgrade());
    let shared = Arc::clone(&polls.shared);
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Some(session) = session else {
            if let Ok(upgraded) = upgrade.await {
                // Whether it hears it is its own affair.
                _ = timeout(FAREWELL, turn_away(TokioIo::new(upgraded))).await;
            }
            return;
        };
        let outcome = match upgrade.await {
            Ok(upgraded) => carry_out(&shared.polling, &session, upgraded).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a session stays with long-polling");
            session.give_up_upgrade();
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in &accepted.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        // They are written by this crate: tokens and base64.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response.into_response())
}

async fn turn_away(mut stream: TokioIo<Upgraded>) -> io::Result<()> {
    let mut out = BytesMut::new();
    frame::write_close(&mut out, CloseCode::Protocol.number(), "Session ID unknown");
    farewell(&mut stream, &out).await
}

/// Says the last words.
async fn farewell(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    words: &[u8],
) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.shutdown().await?;
    // Unread bytes would make an end a reset, which may overtake the frame.
    let mut unread = [0; FRAME_BYTES_MAX];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

async fn carry_out(
    sessions: &Sessions,
    session: &Arc<Session>,
    upgraded: Upgraded,
) -> io::Result<()> {
    let parts = upgraded.downcast::<TokioIo<Stream>>();
    let parts = parts.map_err(|_| io::Error::from(ErrorKind::Unsupported))?;
    let mut probe = Probe {
        stream: parts.io.into_inner(),
        reader: Reader::new(false),
        buffer: BytesMut::from(parts.read_buf),
    };
    timeout(PATIENCE, probe.run(session)).await??;
    sessions.remove(session.sid);
    let taken = session.take_over().await?;
    if taken.is_over {
        _ = timeout(FAREWELL, farewell(&mut probe.stream, &taken.unsent)).await;
        return Ok(());
    }
    let (stream, tls, read) = probe.stream.into_parts()?;
    let mut unread = std::mem::take(&mut probe.buffer);
    unread.extend_from_slice(&read);
    session.exchange.leave(Successor {
        stream,
        tls,
        admission: taken.admission,
        pair: taken.pair,
        unsent: taken.unsent,
        unread: unread.freeze(),
    });
    session.hand_over().await
}

/// A WebSocket that has not taken over yet.
struct Probe {
    stream: Stream,
    reader: Reader,
    buffer: BytesMut,
}

impl Probe {
    /// Until the client says that it goes on here.
    async fn run(&mut self, session: &Session) -> io::Result<()> {
        let mut probed = false;
        loop {
            match self.next().await? {
                Frame::Text(text) if &text[..] == b"2probe" => {
                    self.say(Opcode::Text, b"3probe").await?;
                    probed = true;
                    session.probe();
                }
                Frame::Text(text) if probed && &text[..] == b"5" => return Ok(()),
                Frame::Ping(payload) => self.say(Opcode::Pong, &payload).await?,
                Frame::Pong => {}
                Frame::Text(_) | Frame::Binary(_) | Frame::Close(_) => {
                    return Err(ErrorKind::InvalidData.into());
                }
            }
        }
    }

    async fn next(&mut self) -> io::Result<Frame> {
        loop {
            let read = self.reader.read(&mut self.buffer, FRAME_BYTES_MAX);
            if let Some(frame) = read.map_err(io::Error::other)? {
                return Ok(frame);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn say(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::new();
        frame::write_header(&mut out, opcode, false, payload.len());
        out.extend_from_slice(payload);
        let said: Bytes = out.freeze();
        self.stream.write_all(&said).await?;
        self.stream.flush().await
    }
}
