//! Links on QUIC: messages on one stream, those that may be lost as datagrams beside it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig};
use roomcast_wire::{CloseCode, Codec};
use tokio::net::UdpSocket;

use super::address::{self, Failed};
use super::stream::StreamLink;
use super::{Ended, Link, LinkEvent, Trust, tls};
use crate::Error;
use crate::congestion::Congestion;
use crate::url::ServerUrl;

/// What translates addresses on the way forgets silent ones after half a minute or more.
const PING: Duration = Duration::from_secs(15);

/// After so much silence the server is gone.
const SILENCE: Duration = Duration::from_secs(45);

/// Datagrams that wait to be sent: a window at the start. The oldest are dropped, so that what is
/// newest does not wait behind more than that.
const DATAGRAMS_OUT_BYTES: usize = 16 << 10;

/// Datagrams that wait to be read. The oldest are dropped.
const DATAGRAMS_IN_BYTES: usize = 256 << 10;

type NextDatagram = Pin<Box<dyn Future<Output = Result<Bytes, ConnectionError>> + Send>>;

pub(crate) struct QuicLink {
    stream: StreamLink,
    connection: Connection,
    datagram: NextDatagram,
}

/// Opens a link.
pub(crate) async fn connect(url: &ServerUrl, codec: Codec, trust: &Trust) -> Result<Link, Error> {
    let config = config(url, codec, trust)?;
    let link = address::first(url, |server| open(server, url, codec, config.clone())).await?;
    Ok(Link::quic(codec, link))
}

async fn open(
    server: SocketAddr,
    url: &ServerUrl,
    codec: Codec,
    config: ClientConfig,
) -> Result<QuicLink, Failed> {
    let failed =
        |reason: String| Failed::Answered(Error::Handshake { address: url.to_string(), reason });
    let endpoint = Endpoint::client(address::own_for(server))?;
    let connecting = endpoint.connect_with(config, server, &url.host);
    let connecting = connecting.map_err(|error| failed(error.to_string()))?;
    let connection = tokio::select! {
        connection = connecting => connection,
        refused = refused(server) => return Err(refused.into()),
    };
    let connection = connection.map_err(|error| match error {
        ConnectionError::TimedOut => io::Error::from(io::ErrorKind::TimedOut).into(),
        other => failed(other.to_string()),
    })?;
    let (send, receive) = connection.open_bi().await.map_err(|error| failed(error.to_string()))?;
    let stream = StreamLink::new(codec, Box::new(tokio::io::join(receive, send)));
    let datagram = next_datagram(&connection);
    Ok(QuicLink { stream, connection, datagram })
}

/// Ends if the system says that nobody listens there. It does not say so to the socket of a QUIC
/// endpoint, which belongs to no peer; so one that does asks with an empty datagram, which is no
/// packet of QUIC and is passed over.
async fn refused(server: SocketAddr) -> io::Error {
    match ask(server).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => error,
        // Whatever else there is, the handshake tells.
        _ => std::future::pending().await,
    }
}

async fn ask(server: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(address::own_for(server)).await?;
    socket.connect(server).await?;
    socket.send(&[]).await?;
    socket.recv(&mut [0]).await.map(|_| ())
}

fn config(url: &ServerUrl, codec: Codec, trust: &Trust) -> Result<ClientConfig, Error> {
    // What listens on this machine has a certificate that nobody has signed, as its other
    // listeners have none at all: nobody stands between.
    let here = is_loopback(&url.host) && trust.roots.is_empty();
    let mut tls = tls::quic_config(trust, here)?;
    tls.alpn_protocols = vec![match codec {
        Codec::Json => b"roomcast.v1.json".to_vec(),
        Codec::MsgPack => b"roomcast.v1.msgpack".to_vec(),
    }];
    let invalid = |error: String| Error::Invalid(format!("QUIC: {error}"));
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| invalid(error.to_string()))?;
    let mut transport = TransportConfig::default();
    let silence = IdleTimeout::try_from(SILENCE).map_err(|error| invalid(error.to_string()))?;
    transport
        .keep_alive_interval(Some(PING))
        .max_idle_timeout(Some(silence))
        .congestion_controller_factory(Arc::new(Congestion))
        .datagram_send_buffer_size(DATAGRAMS_OUT_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAMS_IN_BYTES));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn next_datagram(connection: &Connection) -> NextDatagram {
    let connection = connection.clone();
    Box::pin(async move { connection.read_datagram().await })
}

impl QuicLink {
    pub(crate) fn queue(&mut self, message: &Bytes) {
        self.stream.queue(message);
    }

    /// As a datagram, or with the others if it is larger than one.
    pub(crate) fn queue_unreliable(&mut self, message: Bytes) {
        let fits = self.connection.max_datagram_size().is_some_and(|max| message.len() <= max);
        if !fits {
            return self.stream.queue(&message);
        }
        // It fails if the connection is gone, which reading tells.
        let _ = self.connection.send_datagram(message);
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.stream.queued_bytes()
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        match self.stream.poll_read(cx) {
            Poll::Ready(LinkEvent::Ended(ended)) => {
                let closed = self.connection.close_reason().as_ref().and_then(closed);
                return Poll::Ready(LinkEvent::Ended(closed.unwrap_or(ended)));
            }
            Poll::Ready(event) => return Poll::Ready(event),
            Poll::Pending => {}
        }
        match self.datagram.as_mut().poll(cx) {
            Poll::Ready(Ok(message)) => {
                self.datagram = next_datagram(&self.connection);
                Poll::Ready(LinkEvent::Message(message))
            }
            Poll::Ready(Err(error)) => {
                let ended = closed(&error).unwrap_or_else(|| Ended::broken(error.to_string()));
                // Asked again, it would panic.
                self.datagram = Box::pin(std::future::pending());
                Poll::Ready(LinkEvent::Ended(ended))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Ends the messages; ready when the server has read them all and said its own last.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.poll_close(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            match self.poll_read(cx) {
                Poll::Ready(LinkEvent::Ended(_)) => return Poll::Ready(()),
                Poll::Ready(LinkEvent::Message(_) | LinkEvent::Alive) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// What the server closed with, if it did.
fn closed(error: &ConnectionError) -> Option<Ended> {
    let ConnectionError::ApplicationClosed(close) = error else { return None };
    let number = u16::try_from(close.error_code.into_inner()).ok()?;
    let reason = String::from_utf8_lossy(&close.reason);
    // The server says the word of the code, which is said here, too.
    let word = CloseCode::from_number(number).map(CloseCode::reason);
    let message = if word == Some(&*reason) { "" } else { &*reason };
    Some(Ended::closed(number, message, None))
}
