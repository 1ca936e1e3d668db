//! Answers to requests of Engine.IO: payloads, refusals, and what browsers want to know.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER,
    VARY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// Why a request is refused, with the numbers and words of the reference server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    UnknownTransport,
    UnknownSession,
    BadMethod,
    BadRequest,
    Forbidden,
    BadRevision,
    /// No number of its own: the body is larger than `max_payload`.
    TooLarge,
    /// No number of its own: as many connections as may be.
    Busy,
}

impl Failure {
    pub(super) fn response(self, cors: &Cors) -> Response {
        let bad = StatusCode::BAD_REQUEST;
        let (status, code, message) = match self {
            Self::UnknownTransport => (bad, 0, "Transport unknown"),
            Self::UnknownSession => (bad, 1, "Session ID unknown"),
            Self::BadMethod => (bad, 2, "Bad handshake method"),
            Self::BadRequest => (bad, 3, "Bad request"),
            Self::Forbidden => (StatusCode::FORBIDDEN, 4, "Forbidden"),
            Self::BadRevision => (bad, 5, "Unsupported protocol version"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 3, "Payload too large"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, 3, "Too many connections"),
        };
        let body = serde_json::json!({ "code": code, "message": message }).to_string();
        let kind = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = (status, [kind], body).into_response();
        if self == Self::Busy {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        cors.allow(response)
    }
}

/// Packets for the client.
pub(super) fn payload(payload: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, payload).into_response()
}

/// The client's packets have been taken.
pub(super) fn done() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, "ok").into_response()
}

/// What a page of another site, which is allowed here, is told (Fetch standard, section 3.2): its
/// site, none if no page of another site asks. Sites are allowed by name, never all of them, so
/// that they may send along what they know of their users.
#[derive(Debug, Default)]
pub(super) struct Cors(pub(super) Option<HeaderValue>);

impl Cors {
    pub(super) fn allow(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.0 {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let allowed = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
        }
        response
    }

    /// What may be asked, for a browser that asks first.
    pub(super) fn preflight(&self) -> Response {
        let mut response = self.allow(StatusCode::NO_CONTENT.into_response());
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("GET,POST");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static("content-type");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        response
    }
}
