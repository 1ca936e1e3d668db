//! Everything of HTTP that is no WebSocket: the page, health, metrics. It runs on a thread of its
//! own; a worker hands a connection over with the bytes it has read.

mod api;
mod cors;
mod page;
mod polling;
mod routes;
mod sdk;
mod sse;
mod stream;
mod webtransport;

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use roomcast_wire::ws::handshake::{HEAD_BYTES_MAX, HEADERS_MAX};
use rustls::ServerConnection;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::api::{Access as ApiAccess, Keys as ApiKeys};
pub use self::api::{api_key_hash, new_api_key};
use self::polling::Peer;
pub(crate) use self::polling::Sessions;
pub(crate) use self::sse::Lines;
use self::sse::Streams;
use self::stream::Stream;
use crate::acceptor::admission::Admission;
use crate::server::Shared;
use crate::worker::{Address, abort_on_panic};

/// Connections that may wait to be taken over.
pub(crate) const QUEUE: usize = 1024;

/// How long one connection may live, whatever it asks. What is asked then is still answered, if
/// that takes no longer than a poll may wait.
const LIFE: Duration = Duration::from_secs(120);

/// A connection whose first bytes are an HTTP request.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<ServerConnection>>,
    /// What was read already.
    pub(crate) read: Box<[u8]>,
    pub(crate) listener: u16,
    /// Counts towards the limits until it is dropped.
    pub(crate) admission: Admission,
}

/// The running thread.
pub(crate) struct Http {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        runtime: Runtime,
        shared: &Arc<Shared>,
        workers: &Arc<[Address]>,
        queue: mpsc::Receiver<Handed>,
    ) -> io::Result<Self> {
        let (shared, workers) = (Arc::clone(shared), Arc::clone(workers));
        let (stop, stopped) = oneshot::channel();
        let thread =
            std::thread::Builder::new().name("roomcast-http".to_owned()).spawn(move || {
                abort_on_panic("HTTP", move || {
                    runtime.block_on(run(shared, workers, queue, stopped));
                    // Requests that are still being answered are cut off: the server has stopped.
                    runtime.shutdown_background();
                });
            })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends all connections.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has ended the process already.
            _ = thread.join();
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    workers: Arc<[Address]>,
    mut queue: mpsc::Receiver<Handed>,
    mut stopped: oneshot::Receiver<()>,
) {
    let routers: Vec<_> = (0..shared.listeners.len())
        .map(|listener| TowerToHyperService::new(routes::router(&shared, &workers, listener)))
        .collect();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            handed = queue.recv() => {
                let Some(handed) = handed else { return };
                let Some(router) = routers.get(usize::from(handed.listener)) else { continue };
                let patience = Duration::from_millis(shared.limits.handshake_ms);
                // A poll waits for the next ping at most.
                let polls = &shared.socketio;
                let poll_ms = polls.ping_interval.saturating_add(polls.ping_timeout);
                let rest = Duration::from_millis(poll_ms);
                tokio::spawn(serve(handed, router.clone(), patience, rest));
            }
        }
    }
}

async fn serve(
    handed: Handed,
    router: TowerToHyperService<axum::Router>,
    patience: Duration,
    rest: Duration,
) {
    let Handed { stream, tls, read, admission, .. } = handed;
    // One that the embedding program brings has no address: it counts as coming from here.
    let address = stream.peer_addr().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip());
    let stream = match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => Stream::new(stream, tls, read),
        Err(error) => return tracing::warn!(%error, "an HTTP connection cannot be watched"),
    };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Also the longest a connection may idle between two requests.
        .header_read_timeout(patience)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let streams = Streams::default();
    let of_requests = streams.clone();
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(address));
        request.extensions_mut().insert(of_requests.clone());
        router.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), answer).with_upgrades();
    tokio::pin!(connection);
    let mut ended = tokio::time::timeout(LIFE, connection.as_mut()).await;
    if ended.is_err() {
        connection.as_mut().graceful_shutdown();
        ended = tokio::time::timeout(rest, connection.as_mut()).await;
        // One that somebody follows a room on lives as long as its peer takes what is sent.
        while ended.is_err() && streams.is_open() {
            ended = tokio::time::timeout(rest, connection.as_mut()).await;
        }
    }
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
    drop(admission);
}

/// A socket pair, one end for tokio and one for a worker: what that does with a socket (read,
/// write, shut down, watch) is the same for both kinds.
fn pair() -> io::Result<(UnixStream, TcpStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, TcpStream::from(OwnedFd::from(theirs))))
}
