//! A room server and library: clients on any transport join rooms and hear one order.
//!
//! ```no_run
//! let server = roomcast::Server::start(roomcast::Config::default())?;
//! for listener in server.listeners() {
//!     println!("{}", listener.url);
//! }
//! # Ok::<(), roomcast::StartError>(())
//! ```

mod acceptor;
pub mod config;
mod http;
mod metrics;
mod server;
mod tls;
mod transport;
mod worker;

pub use config::Config;
pub use roomcast_core::{Act, Counters, ServerCall, ServerReply};
pub use server::{Listener, Server, ServerHandle, StartError};
pub use tls::CertificateError;
