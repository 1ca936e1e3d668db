//! Clients of other systems, over real sockets: what was recorded of the originals is replayed, and
//! what the originals got wrong is tried.

#![allow(clippy::unwrap_used)]

#[path = "../gopher/mod.rs"]
mod gopher;
mod machat;
mod msgio;
#[path = "../peer/mod.rs"]
mod peer;
mod together;
mod transcript;
