//! ENet: games on the original C library, and those who mean no good.

#![allow(clippy::unwrap_used)]

mod attacks;
#[path = "../../../wire/tests/chances/mod.rs"]
mod chances;
mod game;
mod library;
mod own;
#[path = "../peer/mod.rs"]
mod peer;

use roomcast::Server;

/// A server with ENet and a TCP listener, and the port of the first.
fn start(options: &str) -> (Server, u16) {
    let server = peer::start(|config| {
        config.listen = vec!["tcp://127.0.0.1:0".into(), format!("enet://127.0.0.1:0{options}")];
    });
    let port = peer::address(&server, "enet").port();
    (server, port)
}
