//! Several real nodes on a real NATS: one set of rooms, whichever node a client is at, and what
//! becomes of it when nodes and NATS are lost.
#![allow(clippy::unwrap_used)]

mod losses;
#[path = "../nats/mod.rs"]
mod nats;
mod stage;
mod together;
