//! Opens a link: socket, TLS, WebSocket.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use roomcast_wire::Codec;
use tokio::net::TcpStream;

pub(crate) use super::tls::Trust;
use super::{BoxIo, Link, enet, tls, udp, ws};
use crate::Error;
use crate::url::{Kind, ServerUrl};

type Dialing = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

/// Opens the stream below everything else, in place of a TCP socket.
#[derive(Clone)]
pub(crate) struct Dialer(pub(crate) Arc<dyn Fn() -> Dialing + Send + Sync>);

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer(..)")
    }
}

/// Opens a link to `url`.
pub(crate) async fn dial(
    url: &ServerUrl,
    codec: Codec,
    trust: &Trust,
    dialer: Option<&Dialer>,
) -> Result<Link, Error> {
    match url.kind {
        Kind::Enet => return enet::connect(url, codec).await,
        Kind::Udp => return udp::connect(url, codec).await,
        Kind::Stream | Kind::WebSocket => {}
    }
    let opened = match dialer {
        Some(dialer) => (dialer.0)().await,
        None => open_tcp(url).await,
    };
    let mut io = opened.map_err(|error| Error::Unreachable {
        address: url.to_string(),
        reason: error.to_string(),
        kind: error.kind(),
    })?;
    if url.tls {
        io = tls::wrap(url, trust, io).await?;
    }
    match url.kind {
        Kind::WebSocket => ws::upgrade(url, codec, io).await,
        Kind::Stream | Kind::Enet | Kind::Udp => Ok(Link::stream(codec, io)),
    }
}

async fn open_tcp(url: &ServerUrl) -> io::Result<BoxIo> {
    let socket = TcpStream::connect((url.host.as_str(), url.port)).await?;
    // Commands are small and somebody waits for each: Nagle's algorithm would hold them back by
    // up to 40 ms.
    socket.set_nodelay(true)?;
    Ok(Box::new(socket))
}
