//! ENet, the reliable UDP of many games, as its C library speaks it from 1.3.0 on: several
//! commands in one datagram, each on one of up to 255 channels (ENet's own word), reliable and in
//! order, unreliable and in order, or unsequenced.
//!
//! Nothing here opens a socket or reads a clock: a [`Connection`] is given datagrams and the time,
//! and hands out datagrams. Both ends are the same; only how they begin differs.
//!
//! Written anew and not bound to the C library or a translation of it: those trust the offsets of
//! fragments and hand out memory that was never written where fragments leave gaps, and answer
//! whoever says a first datagram for 5 to 30 s. Here a message is put together from the pieces
//! that came and nothing else, and nothing is repeated to an address that has not shown that it
//! receives ([`greeting`]).

mod assembly;
mod checksum;
mod command;
mod connection;
mod datagram;
pub mod greeting;
mod incoming;
mod outgoing;
mod pace;
mod range;
mod unsequenced;

pub use command::{Command, Connect, Terms};
pub use connection::{Closed, Connection, Heard, Settings};
pub use datagram::{Datagram, Header, Options};
pub use outgoing::Mode;

/// The number of a peer that has none yet.
pub const PEER_NONE: u16 = 0xfff;

/// Largest datagram, in bytes, before and after decompression.
pub const DATAGRAM_BYTES_MAX: usize = 4096;

/// Most channels of a connection.
pub const CHANNELS_MAX: u32 = 255;

/// Smallest and largest datagram that a peer may ask to be sent, in bytes.
const MTU_MIN: u32 = 576;
const MTU_MAX: u32 = DATAGRAM_BYTES_MAX as u32;

/// What is sent where the peer takes more, in bytes: ENet's own default, which passes through
/// links of 1,400 bytes and more.
pub const MTU: u32 = 1392;

/// Bounds of the bytes that may be on their way unacknowledged.
const WINDOW_MIN: u32 = 4096;
const WINDOW_MAX: u32 = 65_536;

/// What a connection says of itself that belongs to no channel.
const CHANNEL_NONE: u8 = 0xff;
