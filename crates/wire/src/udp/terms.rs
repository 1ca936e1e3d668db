//! What a session is told when it begins, and what it tells.

use std::time::Duration;

use bytes::Bytes;

use super::seal::Key;
use crate::CloseCode;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It began.
    Client,
    /// It accepted.
    Server,
}

/// What a session keeps to.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// On which side this is.
    pub role: Role,
    /// Largest message that may come, in bytes.
    pub message_bytes_max: usize,
    /// After so much silence the peer is asked for a sign of life. A client also speaks at least so
    /// often, so that what translates addresses on the way remembers it.
    pub ping: Duration,
    /// After so much silence the peer is gone.
    pub silence: Duration,
    /// A secret of this side's own, for [`Frame::Challenge`](super::frame::Frame::Challenge).
    pub secret: Key,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message came.
    Message(Bytes),
    /// The peer is there.
    Alive,
    /// After [`Session::send`](super::session::Session::send) had no room: there is some.
    Writable,
    /// The peer has ended the session.
    Closed {
        /// Why, as a number of [`CloseCode`].
        code: u16,
        /// For the person who reads it.
        reason: String,
    },
    /// The peer is silent, or acknowledges nothing.
    Lost,
    /// The peer broke the rules: it is told, and the session ends.
    Fault(CloseCode),
    /// The peer is at another address, and has shown it.
    Moved,
}

/// A datagram that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is none of this session.
    Foreign,
    /// Its tag is wrong.
    Forged,
    /// It came before, or long ago.
    Replayed,
}
