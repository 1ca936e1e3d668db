//! What a page of another site, which is allowed here, is told (Fetch standard, section 3.2). Sites
//! are allowed by name, so that they may send along what they know of their users.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use roomcast_wire::ws::handshake::SitePolicy;

use super::routes::check_origin;

/// The site whose page asks; none if no page of another site does.
#[derive(Debug, Default)]
pub(super) struct Cors(Option<HeaderValue>);

impl Cors {
    /// Pages of other sites may neither read nor send here (threat S15).
    ///
    /// # Errors
    /// In words, which setting allows them.
    pub(super) fn check(headers: &HeaderMap, policy: &SitePolicy) -> Result<Self, String> {
        check_origin(headers, policy).map(|()| Self(headers.get(ORIGIN).cloned()))
    }

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
    pub(super) fn preflight(&self, allowed_headers: &'static str) -> Response {
        let mut response = self.allow(StatusCode::NO_CONTENT.into_response());
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("GET,POST");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static(allowed_headers);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        response
    }
}
