//! Answers: the replies of the native dialect, and the status that goes with each.

use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use roomcast_core::{RoomState, ServerReply};
use roomcast_wire::dialect::native::encode_reply;
use roomcast_wire::name::DEFAULT_NAMESPACE;
use roomcast_wire::{Codec, ErrorCode, Next, Refusal, Reply};

/// A request that is refused.
#[derive(Debug)]
pub(in super::super) struct Fault {
    status: StatusCode,
    refusal: Refusal,
    /// What the path takes, if it was asked in another way.
    allow: Option<&'static str>,
    /// The refusal as the hub has written it, if it was the hub.
    told: Option<BytesMut>,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { status: status_of(refusal.code), refusal, allow: None, told: None }
    }
}

impl Fault {
    pub(super) fn new(
        status: StatusCode,
        code: ErrorCode,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self { status, refusal: Refusal::new(code, message), allow: None, told: None }
    }

    /// What the hub has told.
    pub(in super::super) fn told(status: StatusCode, told: BytesMut) -> Self {
        Self { told: Some(told), ..Self::new(status, ErrorCode::Refused, "") }
    }

    pub(in super::super) fn method(allow: &'static str) -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let text = format!("this path takes {allow}");
        Self { allow: Some(allow), ..Self::new(status, ErrorCode::UnknownType, text) }
    }

    pub(in super::super) fn response(self) -> Response {
        let body = self.told.unwrap_or_else(|| {
            let mut body = BytesMut::new();
            refuse(&self.refusal, &mut body);
            body
        });
        let mut response = json(self.status, body);
        let headers = response.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.refusal.code.next() == Next::Retry {
            // Whole seconds, rounded up (RFC 9110 section 10.2.3).
            let seconds = self.refusal.retry_ms.unwrap_or(0).div_ceil(1_000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The first three digits of a code are the HTTP status that says the same.
pub(super) fn status_of(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.number() / 10).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn json(status: StatusCode, mut body: BytesMut) -> Response {
    body.put_u8(b'\n');
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, Bytes::from(body)).into_response()
}

/// Appends a refusal.
pub(super) fn refuse(refusal: &Refusal, out: &mut BytesMut) {
    let Refusal { code, message, retry_ms } = refusal;
    let (message, retry_ms) = (message.as_ref().into(), *retry_ms);
    write(&Reply::Error { code: *code, message, retry_ms }, out);
}

/// Appends what became of a call. `room`: which it names, as it was written.
///
/// # Errors
/// It was not done.
pub(super) fn reply(
    reply: &ServerReply,
    room: Option<&str>,
    out: &mut BytesMut,
) -> Result<(), Refusal> {
    let room = room.map(full_name).unwrap_or_default();
    let ok = |position, delivered| Reply::Ok { position, delivered };
    match reply {
        ServerReply::Refused(refusal) => return Err(refusal.clone()),
        ServerReply::Done => write(&ok(None, None), out),
        ServerReply::At(position) => write(&ok(Some(*position), None), out),
        ServerReply::Reached(count) => write(&ok(None, Some(*count)), out),
        ServerReply::Created(created) => write(&Reply::Created { room, created: *created }, out),
        ServerReply::Members { members, truncated } => {
            write(&Reply::Members { room, members, truncated: *truncated }, out);
        }
        ServerReply::Presence { members, users } => {
            write(&Reply::Presence { room, members: *members, users: *users }, out);
        }
        ServerReply::History { position, recovery, events } => {
            let (position, recovery) = (*position, *recovery);
            write(&Reply::History { room, position, recovery, events }, out);
        }
        ServerReply::Rooms { rooms, truncated } => {
            write(&Reply::Rooms { rooms, truncated: *truncated }, out);
        }
        ServerReply::Seated { is_new } => {
            value(&serde_json::json!({ "type": "ok", "new": is_new }), out);
        }
        ServerReply::State(state) => value(&room_state(room, state), out),
        ServerReply::Answered(_) | ServerReply::Seats(_) => {
            return Err(Refusal::new(ErrorCode::Internal, "the hub gave another command's reply"));
        }
    }
    Ok(())
}

/// Appends any JSON.
pub(super) fn value(value: &serde_json::Value, out: &mut BytesMut) {
    out.extend_from_slice(value.to_string().as_bytes());
}

fn write(reply: &Reply<'_>, out: &mut BytesMut) {
    encode_reply(Codec::Json, None, reply, out);
}

fn room_state(room: &str, state: &RoomState) -> serde_json::Value {
    serde_json::json!({
        "type": "room",
        "room": room,
        "members": state.members,
        "position": {
            "epoch": state.position.epoch.to_string(),
            "offset": state.position.offset,
        },
        "permanent": state.permanent,
        "creator": state.creator,
        "options": state.options,
    })
}

/// The name by which a room is told.
fn full_name(room: &str) -> &str {
    room.strip_prefix(DEFAULT_NAMESPACE).and_then(|room| room.strip_prefix('/')).unwrap_or(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status() {
        for code in ErrorCode::ALL {
            let status = status_of(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
        assert_eq!(status_of(ErrorCode::RateLimited), 429);
        assert_eq!(status_of(ErrorCode::NoSuchTarget), 404);
        assert_eq!(status_of(ErrorCode::PayloadTooLarge), 413);
        assert_eq!(status_of(ErrorCode::CallTimeout), 504);
    }

    #[test]
    fn rooms_have_the_name_that_clients_hear() {
        let names = ["default/lobby", "lobby", "game/lobby", "default"].map(full_name);
        assert_eq!(names, ["lobby", "lobby", "game/lobby", "default"]);
    }
}
