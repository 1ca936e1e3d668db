//! The page, and the WebSocket beside it: one axum application.

use axum::Router;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use roomcast::Server;

/// Scripts, styles and connections of its own only; in no frame.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Path, kind and text of each file.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
    ("/link.js", "text/javascript; charset=utf-8", include_str!("../page/link.js")),
    ("/main.js", "text/javascript; charset=utf-8", include_str!("../page/main.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../page/style.css")),
    ("/view.js", "text/javascript; charset=utf-8", include_str!("../page/view.js")),
];

/// The page at `/`, its WebSocket at `/ws`.
pub fn app(server: &Server) -> Router {
    let mut app = Router::new().merge(server.entrance().router());
    for &(path, kind, text) in FILES {
        app = app.route(path, get(move || async move { file(kind, text) }));
    }
    app
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 3] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        // They change with the program.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
