//! The hub of roomcast: sessions, rooms, and who hears what.
//!
//! This crate is pure. It opens no socket, reads no clock, draws no chance, takes no lock, spawns
//! nothing and writes no log. Time is the [`Now`] it is given; chance comes from the seed in its
//! configuration. So the same inputs always give the same outputs, and a whole cluster runs in a
//! test.
//!
//! ```text
//! one turn of a worker:
//!     shard.handle(now, input)                  for each input
//!     while let Some(o) = shard.poll_output()   after each input: a full drain
//!     shard.end_turn(now)                       delivers what the turn gathered; drain again
//!     while let Some(link) = shard.take_dirty() { write shard.outbox(link) once }
//! ```

mod audience;
mod bounds;
mod call;
pub mod config;
pub mod contained;
mod counters;
pub mod directory;
mod durable;
pub mod envelope;
pub mod event;
pub mod glob;
mod held;
mod history;
mod homes;
pub mod hook;
pub mod io;
mod key;
mod links;
pub mod logic;
mod names;
pub mod outbox;
mod packed;
mod rate;
pub mod record;
mod repeats;
mod replay;
mod revocations;
pub mod rights;
mod room;
mod session;
mod shard;
mod timers;
mod waiting;

pub use call::{Act, Revoked, RoomState, ServerCall, ServerReply};
pub use config::{HubConfig, KeyGrant, Limits, NamespaceConfig, ReplayBounds};
pub use directory::{Directory, Holder, NodeId, NodeInfo, NodeState, Partition, ShardId};
pub use envelope::{Envelope, PackedError};
pub use event::HubEvent;
pub use hook::{CallTicket, HookMask, Question, Ticket, Verdict};
pub use io::{Counters, Input, LinkId, LinkLoss, Note, Now, Output};
pub use logic::{LogicEvent, Logics, Relay, RoomCtx, RoomLogic, RoomSetup};
pub use outbox::Outbox;
pub use record::{LogEntry, LogNews, Record, Restored};
pub use rights::{Authenticate, Grants, Identity, Right, Rule, RulesOf};
pub use shard::Shard;
