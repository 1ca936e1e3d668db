//! The client against scripted servers.
#![allow(clippy::unwrap_used)]

mod calls;
mod commands;
mod fake;
mod fallback;
mod links;
mod reconnect;
mod tokens;
