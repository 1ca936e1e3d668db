//! The HTTP API for back ends: `/api/v1/VERB`.
//!
//! | file | what |
//! |---|---|
//! | `verbs.rs` | the table of verbs |
//! | `given.rs` | what a request says |
//! | `keys.rs` | who may ask, and for what |
//! | `answer.rs` | replies and refusals |
//! | `openapi.rs` | the document of all that |
//!
//! A request becomes a call to the hub, as of the embedding program: what it may do is decided by
//! its key alone. Browsers' pages of other sites get nowhere: nothing here is told to another
//! origin, and a key is no cookie.

mod answer;
mod given;
mod keys;
pub(super) mod openapi;
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use axum::body;
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use roomcast_core::ServerReply;
use roomcast_wire::{ErrorCode, Refusal};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(super) use self::answer::Fault;
use self::given::{Fields, Given};
pub(crate) use self::keys::Keys;
use self::keys::{BATCH, Failures, Key};
pub use self::keys::{api_key_hash, new_api_key};
use self::verbs::{VERBS, Verb, Wanted};
use super::Peer;
use super::routes::check_origin;
use crate::config::suggest::hint;
use crate::config::{ApiConfig, Config, ConfigError};
use crate::handle::ServerHandle;
use crate::server::Shared;
use crate::transport::Site;

/// What every path of the API begins with.
pub(super) const PREFIX: &str = "/api/v1/";

/// A header by which a publish can be repeated without harm.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the body of a batch looks like.
const BATCH_WANTED: &str = "a batch is {\"commands\":[{\"publish\":{…}},…]}";

/// Longest key that is looked at, in bytes. Those that `roomcast config key` makes have 47.
const KEY_BYTES_MAX: usize = 512;

/// What the API of one listener needs.
pub(super) struct Api {
    pub(super) shared: Arc<Shared>,
    pub(super) handle: ServerHandle,
    pub(super) site: Arc<Site>,
}

/// The configured part of the API, as all listeners have it.
#[derive(Debug)]
pub(crate) struct Access {
    keys: Keys,
    failures: Failures,
    batch_max: usize,
    batch_bytes: usize,
}

impl Access {
    /// # Errors
    /// Everything that is wrong with the keys.
    pub(crate) fn load(config: &Config) -> Result<Self, ConfigError> {
        let ApiConfig { batch_max, batch_bytes, .. } = config.api;
        let (keys, failures) = (Keys::load(config)?, Failures::default());
        Ok(Self { keys, failures, batch_max: batch_max as usize, batch_bytes })
    }
}

/// Answers every request below [`PREFIX`].
pub(super) async fn serve(State(api): State<Arc<Api>>, request: Request) -> Response {
    match api.answer(request).await {
        Ok(body) => answer::json(StatusCode::OK, body),
        Err(fault) => fault.response(),
    }
}

/// A command that may be carried out.
struct Prepared {
    wanted: Wanted,
    /// Which room it names, as it was written.
    room: Option<String>,
}

/// A command on its way.
enum Asked {
    Waiting(oneshot::Receiver<ServerReply>, Option<String>),
    Refused(Refusal),
    Info,
}

impl Api {
    async fn answer(&self, request: Request) -> Result<BytesMut, Fault> {
        let key = self.authenticate(&request)?;
        let path = request.uri().path();
        let name = path.strip_prefix(PREFIX).unwrap_or_default();
        if name == BATCH {
            key.check_verb(BATCH)?;
            if request.method() != Method::POST {
                return Err(Fault::method("POST"));
            }
            if idempotency_key(request.headers())?.is_some() {
                let text = "a batch takes no `Idempotency-Key`: give each publish its `key`";
                return Err(verbs::invalid(text).into());
            }
            let body = read_body(request, self.shared.api.batch_bytes, self.patience()).await?;
            return self.batch(key, &body).await;
        }
        let verb = verbs::find(name).ok_or_else(|| unknown(name, StatusCode::NOT_FOUND))?;
        key.check_verb(verb.name)?;
        let header = idempotency_key(request.headers())?;
        let prepared = match *request.method() {
            Method::GET if verb.looks => {
                let pairs = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
                let Query(pairs) = pairs.map_err(|_| malformed("the query cannot be read"))?;
                let body = Bytes::new();
                let given = Given::of_query(verb, &body, &pairs)?;
                prepare(key, verb, &given)?
            }
            Method::POST => {
                let most = self.shared.limits.message_bytes;
                let body = read_body(request, most, self.patience()).await?;
                let fields = read_fields(&body)?;
                let mut given = Given::of_body(verb, &body, &fields)?;
                if let Some(header) = &header {
                    given.set_key(header)?;
                }
                prepare(key, verb, &given)?
            }
            _ if verb.looks => return Err(Fault::method("GET, POST")),
            _ => return Err(Fault::method("POST")),
        };
        let mut out = BytesMut::new();
        self.finish(self.ask(prepared), &mut out).await?;
        Ok(out)
    }

    /// Whose request it is.
    fn authenticate(&self, request: &Request) -> Result<&Key, Fault> {
        let headers = request.headers();
        // A page of another site cannot read what is answered; it should not have it done either.
        check_origin(headers, &self.site.policy)
            .map_err(|message| Refusal::new(ErrorCode::Forbidden, message))?;
        let access = &self.shared.api;
        if access.keys.is_empty() {
            let text = "the API is closed, as no keys are configured: `roomcast config key` makes \
                        one and prints the [[api.keys]] section for the configuration";
            return Err(Refusal::new(ErrorCode::Forbidden, text).into());
        }
        let Some(shown) = headers.get(AUTHORIZATION) else {
            let text = "a key is wanted: `Authorization: Bearer KEY`";
            return Err(Refusal::new(ErrorCode::TokenRequired, text).into());
        };
        let shown = shown.to_str().ok().and_then(|shown| shown.split_once(' '));
        let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let shown = shown.map(|(_, key)| key.trim()).filter(|key| key.len() <= KEY_BYTES_MAX);
        if let Some(key) = shown.and_then(|shown| access.keys.find(shown)) {
            return Ok(key);
        }
        let from = request.extensions().get::<Peer>();
        let from = from.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
        if access.failures.count(self.shared.now(), from) {
            tracing::info!(%from, "a wrong API key");
            let text = "this is no key of the API: [[api.keys]] has the hashes of those that are";
            return Err(Refusal::new(ErrorCode::InvalidToken, text).into());
        }
        let text = "too many wrong keys from this address: wait a second, then use a right one";
        let refusal = Refusal::new(ErrorCode::RateLimited, text);
        Err(Refusal { retry_ms: Some(1_000), ..refusal }.into())
    }

    /// How long a body may take.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.shared.limits.handshake_ms)
    }

    /// Carries out several commands in their order. Publishes that follow each other go to the hub
    /// together, which keeps their order in each room; anything else waits for what is before it.
    async fn batch(&self, key: &Key, body: &Bytes) -> Result<BytesMut, Fault> {
        let commands = read_commands(body, self.shared.api.batch_max)?;
        let mut out = BytesMut::from(&b"{\"type\":\"batch\",\"results\":["[..]);
        let mut waiting = Vec::new();
        for command in commands {
            let asked = match prepare_of_batch(key, body, command) {
                Ok(prepared) if prepared.keeps_order() => self.ask(prepared),
                Ok(prepared) => {
                    self.collect(&mut waiting, &mut out).await;
                    let asked = self.ask(prepared);
                    self.collect(&mut vec![asked], &mut out).await;
                    continue;
                }
                Err(refusal) => Asked::Refused(refusal),
            };
            waiting.push(asked);
        }
        self.collect(&mut waiting, &mut out).await;
        if out.ends_with(b",") {
            out.truncate(out.len() - 1);
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }

    async fn collect(&self, waiting: &mut Vec<Asked>, out: &mut BytesMut) {
        for asked in waiting.drain(..) {
            if let Err(refusal) = self.finish(asked, out).await {
                answer::refuse(&refusal, out);
            }
            out.extend_from_slice(b",");
        }
    }

    fn ask(&self, prepared: Prepared) -> Asked {
        match prepared.wanted {
            Wanted::Info => Asked::Info,
            Wanted::Call(call) => Asked::Waiting(self.handle.call(call), prepared.room),
        }
    }

    /// Waits for what becomes of a command, and appends it.
    async fn finish(&self, asked: Asked, out: &mut BytesMut) -> Result<(), Refusal> {
        match asked {
            Asked::Info => {
                answer::value(&self.info(), out);
                Ok(())
            }
            Asked::Refused(refusal) => Err(refusal),
            Asked::Waiting(reply, room) => {
                let patience = Duration::from_millis(self.shared.limits.call_ms);
                match timeout(patience, reply).await {
                    Ok(Ok(reply)) => answer::reply(&reply, room.as_deref(), out),
                    Ok(Err(_)) => {
                        let text = "the server has stopped";
                        Err(Refusal::new(ErrorCode::Draining, text))
                    }
                    Err(_) => {
                        let text = "nobody knows whether it was done: the hub has not answered in \
                                    time (`limits.call_ms`)";
                        Err(Refusal::new(ErrorCode::CallTimeout, text))
                    }
                }
            }
        }
    }

    fn info(&self) -> serde_json::Value {
        let counters = self.handle.counters();
        serde_json::json!({
            "type": "info",
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": self.shared.now().0,
            "workers": self.shared.counters.len(),
            "connections": self.shared.connections(),
            "sessions": counters.sessions,
            "sessions_dropped": counters.sessions_dropped,
            "rooms": counters.rooms,
            "seats": counters.seats,
            "events_total": counters.events_total,
            "deliveries_total": counters.deliveries_total,
            "draining": self.shared.is_draining(),
        })
    }
}

/// The body, if it is there in time (threat S4) and no larger than it may be.
pub(super) async fn read_body(
    request: Request,
    most: usize,
    patience: Duration,
) -> Result<Bytes, Fault> {
    let too_large = || {
        let text = format!("the body may have {most} bytes");
        Fault::from(Refusal::new(ErrorCode::PayloadTooLarge, text))
    };
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    match timeout(patience, body::to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        // As long as it said: then the connection broke.
        Ok(Err(_)) if length.is_some() => Err(malformed("the body broke off")),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let text = "the body did not come in time (`limits.handshake_ms`)";
            Err(Fault::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Malformed, text))
        }
    }
}

impl Prepared {
    /// Whether it is done in the order in which it is asked: see [`ServerHandle`].
    fn keeps_order(&self) -> bool {
        matches!(self.wanted, Wanted::Call(roomcast_core::ServerCall::Publish { .. }))
    }
}

fn prepare(key: &Key, verb: &'static Verb, given: &Given<'_>) -> Result<Prepared, Refusal> {
    key.check_reach(verb, given)?;
    let wanted = (verb.wanted)(given)?;
    let room = match verb.reach {
        verbs::Reach::Room => Some(given.room()?),
        _ => None,
    };
    Ok(Prepared { wanted, room })
}

/// One command of a batch: `{"publish":{…}}`.
fn prepare_of_batch(key: &Key, body: &Bytes, command: &RawValue) -> Result<Prepared, Refusal> {
    let one =
        "a command is a map of one key: {\"publish\":{\"room\":\"lobby\",\"event\":\"chat\"}}";
    let malformed = |_| Refusal::new(ErrorCode::Malformed, one);
    let command: Fields<'_> = serde_json::from_str(command.get()).map_err(malformed)?;
    let [(name, fields)] = command.0.as_slice() else {
        return Err(Refusal::new(ErrorCode::Malformed, one));
    };
    let verb = verbs::find(name).ok_or_else(|| unknown_verb(name))?;
    key.check_verb(verb.name)?;
    let fields: Fields<'_> = serde_json::from_str(fields.get()).map_err(malformed)?;
    let given = Given::of_body(verb, body, &fields)?;
    prepare(key, verb, &given)
}

fn read_commands(body: &Bytes, most: usize) -> Result<Vec<&RawValue>, Fault> {
    let wanted = BATCH_WANTED;
    let fields = read_fields(body)?;
    let [(name, commands)] = fields.0.as_slice() else { return Err(malformed(wanted)) };
    if name != "commands" {
        return Err(malformed(wanted));
    }
    let commands: &RawValue = commands;
    let commands: Vec<&RawValue> =
        serde_json::from_str(commands.get()).map_err(|_| malformed(wanted))?;
    if commands.len() > most {
        let text = format!(
            "a batch may have {most} commands (`api.batch_max`), this one has {}",
            commands.len()
        );
        return Err(verbs::invalid(text).into());
    }
    Ok(commands)
}

/// An empty body is an empty map.
fn read_fields(body: &Bytes) -> Result<Fields<'_>, Fault> {
    if body.is_empty() {
        return Ok(Fields(Vec::new()));
    }
    serde_json::from_slice(body).map_err(|error| malformed(format!("the body: {error}")))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let wrong = || malformed("`Idempotency-Key` must be one text of ASCII");
    if keys.next().is_some() {
        return Err(wrong());
    }
    let key = key.to_str().map_err(|_| wrong())?.trim();
    // Some write it as a structured field: the quotes are no part of it (RFC 9651 section 3.3.3).
    let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
    Ok(Some(quoted.unwrap_or(key).to_owned()))
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Refusal::new(ErrorCode::Malformed, message).into()
}

fn unknown(name: &str, status: StatusCode) -> Fault {
    let refusal = unknown_verb(name);
    Fault::new(status, refusal.code, refusal.message)
}

fn unknown_verb(name: &str) -> Refusal {
    let names = VERBS.iter().map(|verb| verb.name).chain([BATCH]);
    let meant = hint(name, names.clone());
    let known: Vec<_> = names.collect();
    let name: String = name.chars().take(64).collect();
    let (name, known) = (name.escape_debug(), known.join(", "));
    Refusal::new(ErrorCode::UnknownType, format!("`{name}` is no verb{meant}; there are {known}"))
}
