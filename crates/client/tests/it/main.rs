//! The client against scripted servers.
#![allow(clippy::unwrap_used)]

mod commands;
mod fake;
mod links;
mod reconnect;
