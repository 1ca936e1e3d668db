//! Numbered refusals and close codes, each with what the client does next.
//!
//! Rules for the client, whatever the number: [`Next::Fix`], change the command; [`Next::Retry`],
//! the same again later; [`Next::Resume`], connect again and resume the session; [`Next::Stop`],
//! do not connect again by yourself.

use std::borrow::Cow;
use std::fmt;

/// What a client does after a refusal or a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The command is wrong as it stands: change it.
    Fix,
    /// The same command may succeed later.
    Retry,
    /// Connect again and resume the session.
    Resume,
    /// Do not connect again without a person's doing.
    Stop,
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$vdoc:meta])* $variant:ident = $number:literal, $word:literal, $next:ident;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The word on the wire.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What the client does next.
            pub fn next(self) -> Next {
                match self { $(Self::$variant => Next::$next,)* }
            }

            /// The code of a number read from the wire, if it is one of ours.
            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} ({})", self.reason(), self.number())
            }
        }
    };
}

numbered! {
    /// Why a command was refused. The connection stays open.
    ErrorCode {
        /// The frame is not one well-formed map of the codec.
        Malformed = 4000, "malformed", Fix;
        /// `type` is missing or no command.
        UnknownType = 4001, "unknown_type", Fix;
        /// A field is missing, of the wrong kind, or out of bounds.
        InvalidField = 4002, "invalid_field", Fix;
        /// A name is empty, too long, or holds forbidden characters.
        InvalidName = 4003, "invalid_name", Fix;
        /// A room option is unknown or out of bounds.
        InvalidOption = 4004, "invalid_option", Fix;
        /// `hello` came after other frames, or twice.
        HelloNotFirst = 4005, "hello_not_first", Fix;
        /// The namespace does not exist.
        UnknownNamespace = 4006, "unknown_namespace", Fix;
        /// A `hello` with a valid token must come first.
        TokenRequired = 4010, "token_required", Fix;
        /// The token is wrong, expired, or not for this server.
        InvalidToken = 4011, "invalid_token", Fix;
        /// The session is unknown, its time is over, or the secret is wrong: say `hello` without
        /// `resume`.
        CannotResume = 4012, "cannot_resume", Fix;
        /// The command needs a seat in the room (or there is no such room).
        NotAMember = 4030, "not_a_member", Fix;
        /// The session lacks the right.
        Forbidden = 4031, "forbidden", Fix;
        /// Joins of this room are granted by the server only.
        JoinNotGranted = 4032, "join_not_granted", Fix;
        /// Only the server may publish here.
        PublishNotAllowed = 4033, "publish_not_allowed", Fix;
        /// The server's own code refused the command and says why.
        Refused = 4034, "refused", Fix;
        /// No such session or user.
        NoSuchTarget = 4041, "no_such_target", Fix;
        /// Nobody answers calls of this name, or nobody waits for this result.
        NoSuchCall = 4042, "no_such_call", Fix;
        /// Another member of the room has this display name.
        NameTaken = 4090, "name_taken", Fix;
        /// The room has as many members as it may have.
        RoomFull = 4091, "room_full", Retry;
        /// The session is in as many rooms as it may be.
        TooManyRooms = 4092, "too_many_rooms", Fix;
        /// The server or namespace has as many rooms as it may have.
        RoomLimit = 4093, "room_limit", Retry;
        /// The payload is larger than the room allows.
        PayloadTooLarge = 4130, "payload_too_large", Fix;
        /// Too much in too short a time; `retry_ms` says when to go on.
        RateLimited = 4290, "rate_limited", Retry;
        /// The server is at fault; its log has the reason.
        Internal = 5000, "internal", Retry;
        /// The server is about to stop: connect again elsewhere.
        Draining = 5030, "draining", Retry;
        /// What the command needs is not there at the moment: the log of a durable room, say.
        Unavailable = 5031, "unavailable", Retry;
        /// The server's own code took too long to decide.
        HookTimeout = 5040, "hook_timeout", Retry;
        /// Nobody answered the call in time.
        CallTimeout = 5041, "call_timeout", Retry;
    }
}

numbered! {
    /// Why the server closes a link: the code of the WebSocket close frame, and of `goodbye`.
    /// 48xx is not used for [`ErrorCode`]s. RFC 6455 section 7.4 defines those below 4000.
    CloseCode {
        /// Both sides are done.
        Normal = 1000, "normal", Stop;
        /// The peer broke the rules of the framing.
        Protocol = 1002, "protocol_error", Stop;
        /// A kind of frame that this subprotocol has no use for.
        Unsupported = 1003, "unsupported", Stop;
        /// Text that is not UTF-8.
        InvalidText = 1007, "invalid_text", Stop;
        /// A message above the limit.
        TooLarge = 1009, "too_large", Stop;
        /// The outbox was full: the client did not read as fast as its rooms spoke.
        SlowReader = 4800, "slow_reader", Resume;
        /// No sign of life within the deadline.
        NoPong = 4801, "no_pong", Resume;
        /// The server is stopping; wait `retry_ms`, then connect again.
        Drain = 4802, "drain", Resume;
        /// The server is at fault.
        InternalError = 4803, "internal_error", Resume;
        /// The token has expired: get a new one, then resume with it.
        TokenExpired = 4804, "token_expired", Resume;
        /// The session was taken up by a newer connection.
        Replaced = 4820, "replaced", Stop;
        /// Nothing was said within the deadline after connecting.
        Silent = 4821, "silent", Stop;
        /// A token was required or is no longer valid.
        Unauthorized = 4822, "unauthorized", Stop;
        /// Too many frames in a row could not be understood.
        TooManyErrors = 4823, "too_many_errors", Stop;
        /// An operator ended the session.
        Disconnected = 4824, "disconnected", Stop;
        /// This server or address has as many connections as it may have.
        TooManyConnections = 4810, "too_many_connections", Retry;
    }
}

/// A command that was not carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// Which kind.
    pub code: ErrorCode,
    /// For the person who reads it: what was wrong and what to do.
    pub message: Cow<'static, str>,
    /// When trying again makes sense, in milliseconds from now.
    pub retry_ms: Option<u64>,
}

impl Refusal {
    /// A refusal with a message for a person.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_ms: None }
    }

    /// An application's own refusal: [`ErrorCode::Refused`] with a message for a person.
    pub fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Refused, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_read_back_and_do_not_overlap() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert_eq!(CloseCode::from_number(code.number()), None);
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(*code));
            // RFC 6455 section 7.4.2: what an endpoint may send.
            assert!((1000..1012).contains(&code.number()) || (4800..4900).contains(&code.number()));
        }
    }
}
