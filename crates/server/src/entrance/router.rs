//! An axum router for the WebSocket, to be mounted in the embedding program's own application.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE};
use axum::http::{HeaderName, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::rt::TokioIo;
use roomcast_wire::ws::handshake::{self, Accepted, Head, HeadError};

use super::{Entrance, Place, Speaks};
use crate::acceptor::refusal::RETRY_S;
use crate::transport::ws;

impl Entrance {
    /// A router whose `/ws` takes in WebSocket clients; merge it into an axum application, or
    /// nest it under a path. Nothing else is there: clients of Socket.IO and Engine.IO, whose
    /// long-polling would be requests to your application, need a `ws://` listener.
    ///
    /// Pages are let in by their `Origin` as on a `ws://` listener. The `Host` that they name must
    /// be this machine's, or stand in `http.hosts` of the configuration: set it to the names under
    /// which the application is known.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = roomcast::Server::builder().without_listeners().start()?;
    /// let app = Router::new()
    ///     .route("/", get(|| async { "my own page" }))
    ///     .merge(server.entrance().router());
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// tokio::spawn(async { axum::serve(listener, app).await });
    /// # Ok(())
    /// # }
    /// ```
    pub fn router<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        Router::new().route(ws::PATH, any(take_in)).with_state(self.clone())
    }
}

async fn take_in(State(entrance): State<Entrance>, request: Request) -> Response {
    let accepted = match accept(&entrance, &request) {
        Ok(accepted) => accepted,
        Err(error) => return refuse(&error),
    };
    // Before it is agreed on: who cannot be served is told so in HTTP, and may come again.
    match entrance.open(Speaks::WebSocket) {
        Ok(place) => switch(entrance, request, place, &accepted),
        Err(error) => {
            let message = error.to_string();
            let mut response = refuse(&HeadError { status: 503, message });
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_S));
            response
        }
    }
}

fn accept(entrance: &Entrance, request: &Request) -> Result<Accepted, HeadError> {
    let listener = entrance.shared.entrances.of(&entrance.namespace, Speaks::WebSocket);
    let listener = listener.and_then(|at| entrance.shared.listeners.get(usize::from(at)));
    let Some(listener) = listener else {
        let message = format!("there is no namespace `{}`", entrance.namespace);
        return Err(HeadError { status: 404, message });
    };
    let headers = request.headers().iter();
    let head = Head {
        method: request.method().as_str(),
        target: request.uri().path(),
        minor_version: u8::from(request.version() == Version::HTTP_11),
        headers: headers.map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        len: 0,
    };
    let site = &listener.site;
    handshake::accept(&head, &site.policy, site.deflate, site.dialect.ws_format())
}

fn switch(entrance: Entrance, request: Request, place: Place, accepted: &Accepted) -> Response {
    let format = accepted.format;
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let io = TokioIo::new(upgraded);
                if let Err(error) = entrance.add_websocket(io, place, format).await {
                    tracing::debug!(%error, "a client of the router has ended early");
                }
            }
            Err(error) => tracing::debug!(%error, "a WebSocket was agreed on, but not begun"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    for (name, value) in &accepted.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        // They are written by this crate: tokens and base64.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refuse(error: &HeadError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = (status, format!("{}\n", error.message)).into_response();
    if status == StatusCode::UPGRADE_REQUIRED {
        // RFC 9110 section 15.5.22 and RFC 6455 section 4.4 want it said what to upgrade to.
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}
