//! Rooms over plain HTTP: an answer that goes on, as server-sent events or as lines.
//!
//! | file | what |
//! |---|---|
//! | `follow.rs` | who only follows rooms: hello, joins, positions |
//! | `body.rs` | what a worker says becomes the body of an answer |
//!
//! A line is one end of a socket pair; a worker has the other and speaks on it as on a `tcp://`
//! connection. So tokens, rights, limits and the rule for slow members are those of every session.

mod body;
mod follow;

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::{ErrorCode, Refusal, Secret};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub(super) use self::body::Form;
use self::body::{Down, read_line};
use self::follow::{Head, ROOMS_MAX, Wish, kind_of};
use super::api::{Fault, read_body};
use super::cors::Cors;
use super::pair;
use crate::acceptor::admission::Admission;
use crate::config::suggest::hint;
use crate::entrance::Speaks;
use crate::server::Shared;
use crate::system::random;
use crate::worker::{Address, Mail};

/// Headers that a page of another site, which is allowed here, may send.
const ALLOWED_HEADERS: &str = "authorization,content-type,last-event-id";

const LAST_EVENT_ID: &str = "last-event-id";

/// What is gathered for a follower before its answer begins, in bytes: if rooms have more to tell,
/// a refusal of a later room is told in the stream.
const GATHERED_BYTES: usize = 256 << 10;

/// The lines of a server on which peers speak by POST, by their secret names. A lock: taken once
/// for each request. Each line has a connection, which counts towards the limits.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<u128, Arc<Line>>>);

/// One end of a socket pair.
#[derive(Debug)]
pub(super) struct Line {
    pair: UnixStream,
    /// Held by the post that is being written: each is written whole.
    posting: tokio::sync::Mutex<()>,
    listener: u16,
}

/// Whether an answer of a connection goes on: then the connection lives longer than others.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<AtomicBool>);

/// An answer that goes on; not any more when it is dropped.
struct OpenStream {
    streams: Streams,
    /// Under which name its line can be posted to.
    posted: Option<(Arc<Shared>, u128)>,
}

impl Streams {
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.0.store(false, Ordering::Relaxed);
        if let Some((shared, name)) = self.posted.take() {
            shared.lines.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }
    }
}

/// What the lines of one listener need.
#[derive(Clone)]
pub(super) struct Here {
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Arc<[Address]>,
    pub(super) listener: u16,
    pub(super) form: Form,
}

/// Answers every request for a line.
pub(super) async fn serve(State(here): State<Here>, request: Request) -> Response {
    let cors = match here.cors(request.headers()) {
        Ok(cors) => cors,
        Err(fault) => return fault.response(),
    };
    let answered = match *request.method() {
        Method::OPTIONS => return cors.preflight(ALLOWED_HEADERS),
        Method::GET => match read_wish(&request) {
            Ok(wish) => {
                let streams = request.extensions().get::<Streams>().cloned();
                here.open(wish, streams.unwrap_or_default()).await
            }
            Err(fault) => Err(fault),
        },
        _ => Err(Fault::method("GET")),
    };
    cors.allow(answered.unwrap_or_else(Fault::response))
}

/// Answers every request that speaks on a line.
pub(super) async fn post(State(here): State<Here>, request: Request) -> Response {
    let cors = match here.cors(request.headers()) {
        Ok(cors) => cors,
        Err(fault) => return fault.response(),
    };
    let answered = match *request.method() {
        Method::OPTIONS => return cors.preflight(ALLOWED_HEADERS),
        Method::POST => here.speak(request).await,
        _ => Err(Fault::method("POST")),
    };
    cors.allow(answered.unwrap_or_else(Fault::response))
}

impl Here {
    fn cors(&self, headers: &HeaderMap) -> Result<Cors, Fault> {
        let listening = self.shared.listeners.get(usize::from(self.listener));
        let Some(listening) = listening else {
            return Err(refusal(ErrorCode::Internal, "no site"));
        };
        Cors::check(headers, &listening.site.policy)
            .map_err(|message| Refusal::new(ErrorCode::Forbidden, message).into())
    }

    async fn open(&self, wish: Wish, streams: Streams) -> Result<Response, Fault> {
        if self.shared.is_draining() {
            return Err(refusal(ErrorCode::Draining, "the server is stopping: connect elsewhere"));
        }
        let wrong = |message| Refusal::new(ErrorCode::InvalidField, message);
        let frames = wish.frames().map_err(wrong)?;
        let following = wish.following().map_err(wrong)?;
        let line = Arc::new(self.begin()?);
        streams.0.store(true, Ordering::Relaxed);
        let mut open = OpenStream { streams, posted: None };
        let heartbeat = Duration::from_millis(self.shared.limits.ping_ms);
        if wish.rooms.is_empty() {
            let secret = random().map(u128::from_be_bytes);
            let secret = secret.ok_or_else(|| refusal(ErrorCode::Internal, "no random bytes"))?;
            let lines = &self.shared.lines.0;
            let name = Secret(secret).to_string();
            lines.lock().unwrap_or_else(PoisonError::into_inner).insert(secret, Arc::clone(&line));
            open.posted = Some((Arc::clone(&self.shared), secret));
            let mut down = Down::new(line, self.form, None, heartbeat, open);
            down.push(serde_json::json!({ "type": "open", "line": name }).to_string().as_bytes());
            return Ok(self.respond(down));
        }
        let (of_down, form) = (Arc::clone(&line), self.form);
        let mut down = Down::new(of_down, form, Some(following), heartbeat, open);
        let patience = Duration::from_millis(self.shared.limits.call_ms);
        let begun = timeout(patience, begin_following(&line, &frames, &mut down)).await;
        begun
            .map_err(|_| refusal(ErrorCode::CallTimeout, "the rooms did not answer in time"))??;
        Ok(self.respond(down))
    }

    /// A line to the worker that has the fewest links.
    fn begin(&self) -> Result<Line, Fault> {
        let listening = self.shared.listeners.get(usize::from(self.listener));
        let namespace = listening.and_then(|listening| listening.namespace.as_deref());
        let namespace = namespace.unwrap_or(DEFAULT_NAMESPACE);
        let place = self.shared.entrances.of(namespace, Speaks::Stream);
        let worker = self.workers.iter().min_by_key(|worker| worker.links());
        let (Some(place), Some(worker)) = (place, worker) else {
            return Err(refusal(ErrorCode::UnknownNamespace, "there is no such namespace here"));
        };
        let (ours, theirs) = pair().map_err(|error| {
            tracing::warn!(%error, "a line cannot begin");
            refusal(ErrorCode::Internal, "the system gives no socket pair")
        })?;
        // The connection of the request counts for it.
        let admission = Admission::of_another();
        worker.send(Mail::Accepted { stream: theirs, listener: place, admission });
        Ok(Line { pair: ours, posting: tokio::sync::Mutex::default(), listener: self.listener })
    }

    fn respond(&self, down: Down) -> Response {
        let kind = self.form.media_type();
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static(kind)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // nginx holds back what it may; this asks it not to.
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        (headers, Body::new(down)).into_response()
    }

    /// Commands for the session of a line.
    async fn speak(&self, request: Request) -> Result<Response, Fault> {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default();
        let secret = name.parse::<Secret>().ok();
        let lines = &self.shared.lines.0;
        let line = secret.and_then(|secret| {
            lines.lock().unwrap_or_else(PoisonError::into_inner).get(&secret.0).cloned()
        });
        let line = line.filter(|line| line.listener == self.listener).ok_or_else(|| {
            refusal(ErrorCode::NoSuchTarget, "there is no such line, or not any more: open another")
        })?;
        let limits = &self.shared.limits;
        let patience = Duration::from_millis(limits.handshake_ms);
        let body = read_body(request, limits.message_bytes, patience).await?;
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            let text = "send commands of the native protocol, one JSON map a line";
            return Err(refusal(ErrorCode::Malformed, text));
        }
        let _whole = line.posting.lock().await;
        let mut unfinished = Unfinished(Some(&line));
        let written = timeout(Duration::from_millis(limits.pong_ms), line.write(&body)).await;
        if let Ok(Ok(())) = written {
            unfinished.0 = None;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let text = "the session took nothing more: it has ended, or said too much at once";
        Err(refusal(ErrorCode::NoSuchTarget, text))
    }
}

/// A post of which half a command may be on its way: then its line ends. So it does when the client
/// breaks off the request.
struct Unfinished<'a>(Option<&'a Line>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.0 {
            line.end();
        }
    }
}

impl Line {
    /// Writes commands, with a line break behind the last.
    async fn write(&self, commands: &Bytes) -> io::Result<()> {
        self.write_all(commands).await?;
        if commands.last() == Some(&b'\n') { Ok(()) } else { self.write_all(b"\n").await }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.pair.writable().await?;
            match self.pair.try_write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn end(&self) {
        // It fails if it has ended.
        _ = socket2::SockRef::from(&self.pair).shutdown(std::net::Shutdown::Both);
    }
}

/// Says hello and joins, and waits for what becomes of it: a refusal is then the answer's status,
/// after which browsers do not come again by themselves.
async fn begin_following(
    line: &Line,
    frames: &[serde_json::Value],
    down: &mut Down,
) -> Result<(), Fault> {
    let mut said = String::new();
    for frame in frames {
        said.push_str(&format!("{frame}\n"));
    }
    let broken = |_| refusal(ErrorCode::Internal, "the session ended before it began");
    line.write_all(said.as_bytes()).await.map_err(broken)?;
    let (mut answered, mut gathered) = (0, 0);
    while answered < frames.len() && gathered < GATHERED_BYTES {
        let mut read = std::mem::take(down.unread());
        let heard = read_line(&line.pair, &mut read).await;
        *down.unread() = read;
        let heard = heard.map_err(broken)?;
        gathered += heard.len();
        match kind_of(&heard) {
            Some("error" | "goodbye") => return Err(Fault::told(status_of(&heard), heard)),
            Some("joined" | "welcome") => {
                let head = serde_json::from_slice::<Head<'_>>(&heard);
                // A lobby's seat is given unasked.
                answered += usize::from(head.is_ok_and(|head| head.reference.is_some()));
            }
            _ => {}
        }
        down.push(&heard);
    }
    // What came along with the last of them.
    down.take_lines();
    Ok(())
}

/// The status that goes with an error or a goodbye.
fn status_of(line: &BytesMut) -> StatusCode {
    let head = serde_json::from_slice::<Head<'_>>(line);
    let code = head.ok().and_then(|head| head.code).unwrap_or_default();
    let status = match code {
        1009 => 413,
        // Close codes: `unauthorized`; all others may be over later.
        4822 => 401,
        4800..4900 => 503,
        code => code / 10,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn read_wish(request: &Request) -> Result<Wish, Fault> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let Query(pairs) =
        pairs.map_err(|_| refusal(ErrorCode::Malformed, "the query cannot be read"))?;
    let mut wish = Wish::default();
    for (key, value) in pairs {
        let slot = match key.as_str() {
            "room" if wish.rooms.contains(&value) => {
                return Err(refusal(ErrorCode::InvalidField, "a `room` is named twice"));
            }
            "room" => {
                wish.rooms.push(value);
                continue;
            }
            "token" => &mut wish.token,
            "name" => &mut wish.name,
            "since" => &mut wish.since,
            other => {
                let meant = hint(other, ["room", "token", "name", "since"]);
                let other: String = other.chars().take(64).collect();
                let other = other.escape_debug();
                let text = format!("unknown `{other}`{meant}; there are room, token, name, since");
                return Err(Refusal::new(ErrorCode::InvalidField, text).into());
            }
        };
        if slot.replace(value).is_some() {
            let text = format!("`{key}` stands there twice");
            return Err(Refusal::new(ErrorCode::InvalidField, text).into());
        }
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let bearer = header(AUTHORIZATION.as_str()).and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    wish.token = bearer.map(|(_, token)| token.trim().to_owned()).or(wish.token);
    wish.since = header(LAST_EVENT_ID).map(str::to_owned).or(wish.since);
    if wish.rooms.len() > ROOMS_MAX {
        let text = format!("one follower may name {ROOMS_MAX} rooms: open another for more");
        return Err(Refusal::new(ErrorCode::TooManyRooms, text).into());
    }
    let alone = wish.rooms.is_empty();
    if alone && (wish.token.is_some() || wish.name.is_some() || wish.since.is_some()) {
        let text = "name a `room` to follow. Without one a line is opened, on which the client \
                    says hello by itself";
        return Err(refusal(ErrorCode::InvalidField, text));
    }
    Ok(wish)
}

fn refusal(code: ErrorCode, message: &'static str) -> Fault {
    Refusal::new(code, message).into()
}
