//! Plain UDP: sessions without TLS, for the smallest devices. Both sides are state machines: they
//! are given the time, random bytes and the datagrams that came, and hand out those to be sent.
//! `docs/protocol.md` has the bytes.
//!
//! [`greeting`] sets a session up without keeping anything for an address that has not shown that
//! it receives; [`session`] is what both sides do then. Every datagram of a session has its number
//! (`replay`) and a tag ([`seal`]); what is reliable goes in numbered pieces (`outbound`,
//! `inbound`).
//!
//! The key travels in the clear when the session begins. The tag keeps out who can send but cannot
//! listen: forged, guessed and repeated datagrams. It does not keep out who reads along.

mod chunk;
pub mod frame;
pub mod greeting;
mod inbound;
mod outbound;
mod owed;
mod path;
mod replay;
pub mod seal;
pub mod session;
mod terms;

/// Largest datagram, in bytes. With the headers of UDP and IPv6 (48 bytes) it fits into the 1,280
/// bytes that every path of IPv6 takes (RFC 8200 section 5).
pub const DATAGRAM_BYTES_MAX: usize = 1_200;

/// Smallest `hello`, in bytes: whatever is answered is smaller (threat S41).
pub const HELLO_BYTES_MIN: usize = 1_200;

/// Largest piece of a reliable message and largest unreliable message, in bytes. Beside it a
/// datagram has place for its own header and tag (25), the piece's (7) and the longest
/// acknowledgement (46).
pub const PIECE_BYTES_MAX: usize = 1_100;

/// Most pieces that are under way, or wait for one that is missing (threat S43).
pub const WINDOW_PIECES: usize = 256;
