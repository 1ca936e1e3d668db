//! What may be asked for over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
    ORIGIN, REFERRER_POLICY, UPGRADE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use axum::routing::{any, get, on};
use roomcast_wire::ws::handshake::{Head, SitePolicy};

use super::polling::{self, Polls};
use super::sse::{self, Form};
use super::webtransport::{OFFER, Offer};
use super::{api, page, sdk};
use crate::metrics;
use crate::server::Shared;
use crate::transport::{Site, ws};
use crate::worker::Address;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The routes of one listener.
pub(super) fn router(shared: &Arc<Shared>, workers: &Arc<[Address]>, listener: usize) -> Router {
    let site = shared.listeners.get(listener).map(|l| Arc::clone(&l.site)).unwrap_or_default();
    let here = Here { shared: Arc::clone(shared), listener };
    let mut router = Router::new()
        .route("/", get(page).with_state(here.clone()))
        .route(OFFER, get(webtransport).with_state(here))
        .route(sdk::SCRIPT, get(sdk::script))
        .route(sdk::SOURCE_MAP, get(sdk::source_map))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route(ws::PATH, on(MethodFilter::GET, no_upgrade))
        .with_state(Arc::clone(shared));
    let requests = api::Api {
        shared: Arc::clone(shared),
        handle: shared.handle(workers),
        site: Arc::clone(&site),
    };
    let served = any(api::serve).with_state(Arc::new(requests));
    router = router.route(&api::openapi::path(), get(api::openapi::serve));
    router = router.route(&format!("{}{{*verb}}", api::PREFIX), served);
    for (path, form) in [("/sse", Form::Sse), ("/stream", Form::Ndjson)] {
        let (shared, workers) = (Arc::clone(shared), Arc::clone(workers));
        // There are fewer listeners than 16 bits can number.
        let lines = sse::Here { shared, workers, listener: listener as u16, form };
        router = router
            .route(path, any(sse::serve).with_state(lines.clone()))
            .route(&format!("{path}/{{line}}"), any(sse::post).with_state(lines));
    }
    if let Some(path) = &site.engineio_path {
        let (shared, workers) = (Arc::clone(shared), Arc::clone(workers));
        // There are fewer listeners than 16 bits can number.
        let polls = Polls { shared, workers, listener: listener as u16 };
        let served = any(polling::serve).with_state(polls);
        let bare = path.trim_end_matches('/');
        router = router.route(path, served.clone()).route(bare, served);
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(guard_answers))
        .layer(middleware::from_fn_with_state(site, check_host))
}

/// What the page and its offer are asked of.
#[derive(Clone)]
struct Here {
    shared: Arc<Shared>,
    listener: usize,
}

impl Here {
    fn offer(&self, headers: &HeaderMap) -> Option<Offer> {
        Offer::of(&self.shared, self.listener, headers)
    }

    /// The page's origin, if it may connect: then it may know where, too.
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let site = &self.shared.listeners.get(self.listener)?.site;
        check_origin(headers, &site.policy).ok().map(|()| origin.clone())
    }
}

async fn page(State(here): State<Here>, headers: HeaderMap) -> Response {
    let offer = here.offer(&headers);
    let policy = HeaderValue::try_from(page::policy_with(offer.as_ref().map(Offer::origin)));
    let policy = policy.unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, page::HTML).into_response()
}

/// The certificate's hash changes while the page is open, so it asks each time it connects.
async fn webtransport(State(here): State<Here>, headers: HeaderMap) -> Response {
    let offer = here.offer(&headers);
    let mut response = say(StatusCode::OK, JSON, Offer::json(offer.as_ref()));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(origin) = here.allowed_origin(&headers) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

async fn live() -> Response {
    say(StatusCode::OK, TEXT, "live\n".to_owned())
}

/// Fails as soon as the server is about to stop, and while it has no lease in its cluster, so that
/// nobody new is sent here.
async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    if shared.is_draining() {
        return say(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n".to_owned());
    }
    if let Some(reason) = shared.engine.as_ref().and_then(|engine| engine.state.unready()) {
        return say(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {reason}\n"));
    }
    say(StatusCode::OK, TEXT, "ready\n".to_owned())
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    say(StatusCode::OK, kind, metrics::text(&shared))
}

/// A WebSocket begins with the first request of a connection, and this is a later one or no
/// handshake at all.
async fn no_upgrade() -> Response {
    let message = "a WebSocket handshake is wanted here, as the first request of a connection";
    let mut response = error(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response
}

async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

async fn wrong_method() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes GET only")
}

/// Threat S16: a page of another site that has its own name point here is not answered.
async fn check_host(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST);
    let head = Head {
        method: request.method().as_str(),
        target: request.uri().path(),
        headers: hosts.iter().map(|host| ("host", host.as_bytes())).collect(),
        len: 0,
        minor_version: 1,
    };
    match head.check_host(&site.policy) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::FORBIDDEN);
            error(status, "wrong_host", &refused.message)
        }
    }
}

/// Threat S15: a page of another site, unless it is listed.
///
/// # Errors
/// In words, which setting lists it.
pub(super) fn check_origin(headers: &HeaderMap, policy: &SitePolicy) -> Result<(), String> {
    if !headers.contains_key(ORIGIN) {
        // A page may have something fetched that it cannot read: then browsers name no origin, but
        // say that the page is of another one (Fetch Metadata, section 2.3).
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let is_other = matches!(site, Some(b"cross-site" | b"same-site"));
        if is_other && !policy.origins.iter().any(|allowed| allowed == "*") {
            return Err("pages of other sites may not have this fetched".to_owned());
        }
        return Ok(());
    }
    let named = [("host", HOST), ("origin", ORIGIN)];
    let named = named.iter().flat_map(|(name, key)| {
        headers.get_all(key).iter().map(move |value| (*name, value.as_bytes()))
    });
    let head =
        Head { method: "GET", target: "/", headers: named.collect(), len: 0, minor_version: 1 };
    head.check_origin(policy).map_err(|error| error.message.clone())
}

async fn guard_answers(request: Request, next: Next) -> Response {
    const GUARDS: [(HeaderName, &str); 3] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in GUARDS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn error(status: StatusCode, reason: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": reason, "message": message });
    say(status, JSON, format!("{body}\n"))
}

fn say(status: StatusCode, kind: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}
