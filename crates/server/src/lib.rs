//! A room server and library: clients on any transport join rooms and hear one order.
//!
//! ```no_run
//! let server = roomcast::Server::builder().start()?;
//! for listener in server.listeners() {
//!     println!("{}", listener.url);
//! }
//! # Ok::<(), roomcast::StartError>(())
//! ```

mod acceptor;
pub mod auth;
mod builder;
pub mod config;
mod entrance;
pub mod groups;
mod handle;
mod hooks;
mod http;
mod metrics;
mod room_task;
mod server;
mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;
mod transport;
mod watch;
mod worker;

pub use builder::Builder;
pub use config::Config;
pub use entrance::{Entrance, EntranceError, Speaks};
pub use handle::{
    Asked, CallError, History, Members, NamespaceHandle, Presence, RoomHandle, Rooms, ServerHandle,
    SessionHandle, UserHandle,
};
pub use hooks::{Answer, Events, Heard};
pub use room_task::{RoomEvent, RoomTask, Said};
pub use roomcast_core::logic::{
    IntoData, IntoEvent, LogicEvent, Logics, Relay, RoomCtx, RoomLogic, RoomSetup,
};
pub use roomcast_core::{Authenticate, Grants, Identity, Revoked, Right, Rule, RulesOf};
pub use roomcast_core::{Counters, HubEvent, Now, RoomState, event, hook, logic};
pub use roomcast_wire::push::{ClosedReason, Event, LeaveReason, MemberInfo, Sender};
pub use roomcast_wire::reply::{Recovery, RoomInfo};
pub use roomcast_wire::{
    Epoch, ErrorCode, EventName, Name, Payload, Position, Refusal, RoomOptions, SessionId,
};
pub use server::{Listener, Server, StartError};
pub use tls::CertificateError;

/// The page's program runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/hooks.md")]
struct HooksPage;

/// The page's program runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/room-logic.md")]
struct RoomLogicPage;
