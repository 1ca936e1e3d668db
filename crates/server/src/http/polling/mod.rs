//! Engine.IO over HTTP long-polling (revision 4). A session is one end of a socket pair; a worker
//! has the other and speaks on it as on a WebSocket. Here frames become payloads and back, so that
//! a session is valid whatever connection its requests come in on.

mod answer;
mod session;
mod upgrade;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use roomcast_core::Now;
use roomcast_wire::dialect::Dialect;
use roomcast_wire::engineio::{Query, Transport};
use tokio::time::timeout;

use self::answer::Failure;
use self::session::{Session, Word};
use super::cors::Cors;
use super::pair;
use crate::acceptor::admission::Admission;
use crate::server::Shared;
use crate::system::random;
use crate::worker::{Address, Exchange, Mail};

/// How often sessions are looked for whose client has gone.
const SWEEP: Duration = Duration::from_secs(1);

/// How long the last words of a worker that has closed wait for a poll, in milliseconds: as long
/// as those on a socket may take to go out.
const LAST_WORDS_MS: u64 = 5_000;

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The sessions of a server, by their secret names. A lock: taken once or twice for each request.
/// Their number is bounded by that of connections: each counts as one.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<u128, Arc<Session>>>,
    sweeping: AtomicBool,
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn get(&self, sid: u128) -> Option<Arc<Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&sid).cloned()
    }

    fn add(&self, session: Arc<Session>) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(session.sid, session);
    }

    fn remove(&self, sid: u128) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&sid);
        // A crowd that has left leaves no table behind.
        if open.capacity() > 4 * open.len() + 64 {
            open.shrink_to_fit();
        }
    }

    /// Ends a session: its worker is told, a poll that waits returns with `word`.
    fn end(&self, session: &Session, word: Word) {
        self.remove(session.sid);
        session.end(word);
    }

    /// Ends those that nobody has used for too long. Returns whether some are left.
    fn sweep(&self, now: Now, unused_ms: u64) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |session: &&Arc<Session>| {
            let longest_ms = if session.is_closed() { LAST_WORDS_MS } else { u64::MAX };
            session.is_unused_since(now.0.saturating_sub(unused_ms.min(longest_ms)))
        };
        let unused: Vec<_> = open.values().filter(is_over).cloned().collect();
        let are_left = open.len() > unused.len();
        drop(open);
        for session in unused {
            self.end(&session, Word::Close);
        }
        are_left
    }
}

/// What the requests of one listener need.
#[derive(Clone)]
pub(super) struct Polls {
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Arc<[Address]>,
    pub(super) listener: u16,
}

/// Answers every request for the path of Engine.IO.
pub(super) async fn serve(State(polls): State<Polls>, request: Request) -> Response {
    let cors = match polls.cors(request.headers()) {
        Ok(cors) => cors,
        Err(failure) => return failure.response(&Cors::default()),
    };
    if request.method() == Method::OPTIONS {
        return cors.preflight("content-type");
    }
    match polls.answer(request).await {
        Ok(response) => cors.allow(response),
        Err(failure) => failure.response(&cors),
    }
}

impl Polls {
    fn cors(&self, headers: &HeaderMap) -> Result<Cors, Failure> {
        let Some(listening) = self.shared.listeners.get(usize::from(self.listener)) else {
            return Err(Failure::BadRequest);
        };
        Cors::check(headers, &listening.site.policy).map_err(|_| Failure::Forbidden)
    }

    async fn answer(&self, request: Request) -> Result<Response, Failure> {
        let uri = request.uri().clone();
        let query = Query::read(uri.query().unwrap_or_default());
        let transport = query.transport().ok_or(Failure::UnknownTransport)?;
        if query.sid.is_none() {
            // A WebSocket that begins a session has been taken by the worker, if it was whole.
            return match transport {
                _ if request.method() != Method::GET => Err(Failure::BadMethod),
                Transport::WebSocket => Err(Failure::BadRequest),
                Transport::Polling if !query.is_revision_4() => Err(Failure::BadRevision),
                Transport::Polling => self.open(&request),
            };
        }
        let found = query.session().and_then(|sid| self.shared.polling.get(sid));
        let session = found.filter(|session| session.listener == self.listener);
        if transport == Transport::WebSocket && query.is_revision_4() {
            return upgrade::begin(self, session, request);
        }
        let session = session.ok_or(Failure::UnknownSession)?;
        if !query.is_revision_4() {
            return Err(Failure::BadRevision);
        }
        match (transport, request.method()) {
            (Transport::Polling, &Method::GET) => self.poll(&session).await,
            (Transport::Polling, &Method::POST) => self.post(&session, request).await,
            _ => Err(Failure::BadMethod),
        }
    }

    fn open(&self, request: &Request) -> Result<Response, Failure> {
        if self.shared.is_draining() {
            return Err(Failure::Busy);
        }
        let peer = request.extensions().get::<Peer>().ok_or(Failure::BadRequest)?;
        let admission = self.shared.admissions.admit(peer.0).map_err(|_| Failure::Busy)?;
        let sid = u128::from_be_bytes(random().ok_or(Failure::Busy)?);
        let (ours, theirs) = pair().map_err(|error| {
            tracing::warn!(%error, "a session cannot begin");
            Failure::Busy
        })?;
        let exchange = Arc::new(Exchange::default());
        let listening = self.shared.listeners.get(usize::from(self.listener));
        if listening.is_some_and(|listening| listening.site.dialect == Dialect::Engineio) {
            // Its session begins with the connection.
            exchange.set_known();
        }
        let worker = self.workers.iter().min_by_key(|worker| worker.links());
        let worker = worker.ok_or(Failure::Busy)?;
        worker.send(Mail::Polled {
            stream: theirs,
            listener: self.listener,
            admission: Admission::of_another(),
            exchange: Arc::clone(&exchange),
        });
        let now = self.shared.now();
        let session =
            Session::new(sid, self.listener, ours, exchange, admission, (now, self.silent_at(now)));
        self.shared.polling.add(Arc::new(session));
        self.keep_sweeping();
        let open = self.shared.socketio.handshake(sid, true);
        Ok(answer::payload(open.packet().into_bytes()))
    }

    /// When a client is silent that has answered now.
    fn silent_at(&self, now: Now) -> Now {
        let settings = &self.shared.socketio;
        now.plus(settings.ping_interval).plus(settings.ping_timeout)
    }

    async fn poll(&self, session: &Arc<Session>) -> Result<Response, Failure> {
        let sessions = &self.shared.polling;
        if session.is_silent_at(self.shared.now()) {
            sessions.end(session, Word::Close);
            return Err(Failure::UnknownSession);
        }
        let Some(mut incoming) = session.begin_poll() else {
            // Two at a time would get their packets in any order.
            sessions.end(session, Word::Close);
            return Err(Failure::BadRequest);
        };
        // A poll that is broken off may have taken packets along: so its session is over.
        let mut broken_off = EndOnDrop { sessions, session: Some(session) };
        let polled = session.poll(&mut incoming).await;
        broken_off.session = None;
        session.use_at(self.shared.now());
        match polled {
            session::Polled::Payload(payload) => Ok(answer::payload(payload)),
            session::Polled::Last(payload) => {
                sessions.end(session, Word::Close);
                Ok(answer::payload(payload))
            }
            session::Polled::Gone => {
                sessions.end(session, Word::Close);
                Err(Failure::UnknownSession)
            }
        }
    }

    async fn post(&self, session: &Arc<Session>, request: Request) -> Result<Response, Failure> {
        let sessions = &self.shared.polling;
        let Some(outgoing) = session.begin_post() else {
            sessions.end(session, Word::Close);
            return Err(Failure::BadRequest);
        };
        let patience = Duration::from_millis(self.shared.socketio.ping_timeout);
        let mut most = self.shared.socketio.max_payload;
        if !session.exchange.is_known() {
            most = most.min(self.shared.limits.message_bytes_unknown_peer);
        }
        let body = timeout(patience, read_body(request, most)).await;
        let body = body.map_err(|_| Failure::BadRequest).and_then(|body| body);
        let body = body.inspect_err(|_| sessions.end(session, Word::Close))?;
        // A post that is broken off may have sent half a frame.
        let mut broken_off = EndOnDrop { sessions, session: Some(session) };
        let silent_at = self.silent_at(self.shared.now());
        let sent = timeout(patience, session.post(body, silent_at)).await;
        broken_off.session = None;
        drop(outgoing);
        session.use_at(self.shared.now());
        match sent {
            Ok(Ok(true)) => Ok(answer::done()),
            Ok(Ok(false)) => {
                // The client has said that it goes.
                sessions.end(session, Word::Noop);
                Ok(answer::done())
            }
            Ok(Err(_)) | Err(_) => {
                sessions.end(session, Word::Close);
                Err(Failure::BadRequest)
            }
        }
    }

    /// Sees to it that somebody looks for sessions whose client has gone, as long as there are
    /// sessions.
    fn keep_sweeping(&self) {
        if self.shared.polling.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let settings = &shared.socketio;
        let unused_ms = settings.ping_interval.saturating_add(settings.ping_timeout);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                if !shared.polling.sweep(shared.now(), unused_ms) {
                    // One that began since then would find nobody.
                    shared.polling.sweeping.store(false, Ordering::Release);
                    if shared.polling.len() == 0
                        || shared.polling.sweeping.swap(true, Ordering::AcqRel)
                    {
                        return;
                    }
                }
            }
        });
    }
}

/// Ends a session unless it was let go.
struct EndOnDrop<'a> {
    sessions: &'a Sessions,
    session: Option<&'a Session>,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            self.sessions.end(session, Word::Close);
        }
    }
}

async fn read_body(request: Request<Body>, most: usize) -> Result<bytes::Bytes, Failure> {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(Failure::TooLarge);
    }
    body::to_bytes(request.into_body(), most).await.map_err(|_| match length {
        // It was as long as it said, so that the connection broke.
        Some(_) => Failure::BadRequest,
        None => Failure::TooLarge,
    })
}
