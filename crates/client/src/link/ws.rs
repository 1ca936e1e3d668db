//! WebSocket links.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink as _, Stream as _};
use roomcast_wire::Codec;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{BoxIo, Ended, Link, LinkEvent, MESSAGE_BYTES_MAX};
use crate::Error;
use crate::url::ServerUrl;

pub(crate) struct WsLink {
    socket: WebSocketStream<BoxIo>,
    out: VecDeque<Message>,
    out_bytes: usize,
    /// Whether something was handed to the socket that may not have been written yet.
    dirty: bool,
}

/// Upgrades an open stream.
pub(crate) async fn upgrade(url: &ServerUrl, codec: Codec, io: BoxIo) -> Result<Link, Error> {
    let failed = |reason: String| Error::Handshake { address: url.to_string(), reason };
    let mut request =
        url.to_string().into_client_request().map_err(|error| failed(error.to_string()))?;
    let subprotocol = match codec {
        Codec::Json => "roomcast.v1.json",
        Codec::MsgPack => "roomcast.v1.msgpack",
    };
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(subprotocol));
    // 16 KiB instead of 128: a client has many small messages, and a load test many clients.
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(16 << 10)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let (socket, _) = client_async_with_config(request, io, Some(config))
        .await
        .map_err(|error| failed(in_words(&error)))?;
    let link = WsLink { socket, out: VecDeque::new(), out_bytes: 0, dirty: false };
    Ok(Link::ws(codec, link))
}

fn in_words(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(body.get(..200).unwrap_or(body));
            format!("HTTP {} {}", response.status(), body.trim()).trim_end().to_owned()
        }
        other => other.to_string(),
    }
}

impl WsLink {
    pub(crate) fn queue(&mut self, message: Bytes) {
        self.out_bytes += message.len();
        // JSON is text; what is not UTF-8 can only be MessagePack.
        let is_text = message.first() == Some(&b'{');
        self.out.push_back(match Utf8Bytes::try_from(message.clone()) {
            Ok(text) if is_text => Message::Text(text),
            _ => Message::Binary(message),
        });
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.out_bytes
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io::Error::other)?;
            let Some(message) = self.out.pop_front() else { break };
            self.out_bytes -= message.len();
            self.dirty = true;
            Pin::new(&mut self.socket).start_send(message).map_err(io::Error::other)?;
        }
        if self.dirty {
            ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(io::Error::other)?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let event = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
            Some(Ok(Message::Text(text))) => LinkEvent::Message(text.into()),
            Some(Ok(Message::Binary(bytes))) => LinkEvent::Message(bytes),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) =
                    frame.map_or((1000, String::new()), |f| (f.code.into(), f.reason.to_string()));
                LinkEvent::Ended(Ended::closed(code, &reason, None))
            }
            Some(Ok(_)) => {
                // The pong that answers a ping waits in the socket.
                self.dirty = true;
                LinkEvent::Alive
            }
            Some(Err(error)) => LinkEvent::Ended(Ended::broken(error.to_string())),
            None => LinkEvent::Ended(Ended::broken("the server ended the link")),
        };
        Poll::Ready(event)
    }

    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.socket).poll_close(cx).map(|_| ())
    }
}
