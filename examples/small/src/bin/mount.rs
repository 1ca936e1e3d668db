//! Rooms inside an application of one's own: axum serves its routes and lets WebSocket clients in
//! at `/rooms/ws`. The listener is the application's; the rooms are in the same process, so that a
//! request can speak in them.

use std::net::SocketAddr;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use roomcast::{CallError, Server, ServerHandle};
use serde_json::Value;

async fn page() -> &'static str {
    "my own page; the rooms are at /rooms/ws\n"
}

/// `curl -d '{"text":"deployed"}' -H 'content-type: application/json' ADDRESS/announce/lobby`
async fn announce(
    State(rooms): State<ServerHandle>,
    Path(room): Path<String>,
    Json(data): Json<Value>,
) -> Result<String, (StatusCode, String)> {
    let said = rooms.room(room).publish("news", data).await;
    let status = |error: &CallError| match error {
        CallError::Absent(_) => StatusCode::NOT_FOUND,
        CallError::Invalid(_) => StatusCode::BAD_REQUEST,
        CallError::Refused(_) => StatusCode::FORBIDDEN,
        CallError::Busy(_) | CallError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    };
    said.map(|at| format!("{}\n", at.offset)).map_err(|error| (status(&error), error.to_string()))
}

/// Waits for the end of the input on a thread of its own: tokio does not read terminals.
async fn end_of_input() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        _ = sender.send(());
    });
    _ = receiver.await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let address: SocketAddr = address.parse().context("the address to listen on, IP:PORT")?;
    let server = Server::builder().without_listeners().start()?;
    let app = Router::new()
        .route("/", get(page))
        .route("/announce/{room}", post(announce))
        .with_state(server.handle())
        .nest("/rooms", server.entrance().router());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("ws://{}/rooms/ws", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        () = end_of_input() => {}
    }
    Ok(())
}
