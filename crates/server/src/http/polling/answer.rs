//! Answers to requests of Engine.IO: payloads and refusals.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::super::cors::Cors;

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
