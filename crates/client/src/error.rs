//! What can go wrong, by what the caller does next.

use std::time::Duration;

use roomcast_wire::{ErrorCode, Next};

/// What can go wrong.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server said no. [`Refused::next`] says whether the same may succeed later.
    #[error("{0}")]
    Refused(Refused),
    /// No answer within the time that [`Builder::ack_timeout`](crate::Builder::ack_timeout) sets.
    /// Whether the command was carried out is not known.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The link was lost before the answer came. Whether the command was carried out is not
    /// known. The client is connecting again: ask, or repeat what may be repeated.
    #[error("the connection was lost before the answer came ({reason})")]
    Disconnected {
        /// How the link ended.
        reason: String,
    },
    /// The client has ended and will not connect again; make a new one.
    #[error("the client has ended: {reason}")]
    Closed {
        /// Why it ended.
        reason: String,
    },
    /// Nobody answers at the address: is the server running, is the address right?
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// What was dialled.
        address: String,
        /// What the system said.
        reason: String,
        /// The system's kind of error.
        kind: std::io::ErrorKind,
    },
    /// Somebody answers, but not as a roomcast server does: check the URL.
    #[error("{address} does not answer as a roomcast server: {reason}")]
    Handshake {
        /// What was dialled.
        address: String,
        /// What was wrong with the answer.
        reason: String,
    },
    /// [`Builder::token_with`](crate::Builder::token_with) gave no token.
    #[error("no token: {0}")]
    Token(String),
    /// An argument cannot be sent: a name, a URL, an option.
    #[error("{0}")]
    Invalid(String),
    /// A value could not be written to, or read from, a payload.
    #[error("the payload does not fit: {0}")]
    Payload(String),
    /// The server answered with something else than this command's answer: a fault in the server
    /// or in this library.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

impl Error {
    /// The refusal's code, if the server refused and this version knows the code.
    ///
    /// ```no_run
    /// # async fn run(client: roomcast_client::Client) {
    /// use roomcast_client::ErrorCode;
    /// if let Err(error) = client.join("lobby").await {
    ///     if error.code() == Some(ErrorCode::RoomFull) {
    ///         println!("come back later");
    ///     }
    /// }
    /// # }
    /// ```
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refused) => refused.known(),
            _ => None,
        }
    }
}

/// The server's no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({reason}, {code})")]
pub struct Refused {
    /// The number of the protocol.
    pub code: u16,
    /// The word of the protocol.
    pub reason: String,
    /// For a person: what was wrong and what to do.
    pub message: String,
    /// Whether the same may succeed later.
    pub retry: bool,
    /// When trying again makes sense, if the server knows.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// The code, if this version knows it.
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.code)
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        let by_flag = if self.retry { Next::Retry } else { Next::Fix };
        self.known().map_or(by_flag, ErrorCode::next)
    }
}
