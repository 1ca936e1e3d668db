//! Rooms, links and clients in a box.
//!
//! Two ways to use it, both without a clock, a socket or chance of their own:
//!
//! * room scripts ([`script`]): text in, text out; `scripts/*.script`, each a test;
//! * random schedules: one seed gives one world, whose every reply and push is checked against
//!   the guarantees of the README. The seed is the bug report:
//!   `cargo run -p roomcast-sim -- SEED`.

pub mod chance;
pub mod oracle;
pub mod script;
pub mod sim;
pub mod world;
