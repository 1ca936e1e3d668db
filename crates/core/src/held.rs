//! A command that waits for the application.

use std::sync::Arc;

use bytes::Bytes;
use roomcast_wire::{Position, Refusal, Resume};

use crate::envelope::CreateWish;
use crate::io::Now;
use crate::key::FullName;
use crate::rights::Grants;

/// A command that waits for the application, kept by its link.
#[derive(Debug)]
pub(crate) struct Held {
    /// Tells the question from earlier ones of the same link.
    pub number: u64,
    /// When waiting is over.
    pub until: Now,
    pub reference: Option<u64>,
    pub command: HeldCommand,
}

/// What the command says that the application cannot change.
#[derive(Debug)]
pub(crate) enum HeldCommand {
    Connect {
        /// Why the session does not begin, if the application does not grant it.
        refusal: Option<Refusal>,
        /// What the token gives: its rules, and whether it is an admin's.
        told: (Option<Arc<Grants>>, bool),
        resume: Option<Resume>,
        /// The first message, if it was no `hello`: carried out when the session has begun.
        first: Option<Bytes>,
    },
    Create {
        join: bool,
    },
    /// The seat in a room that is to be made with it.
    CreateSeat {
        place: (u16, FullName),
        wish: Box<CreateWish>,
    },
    Join {
        since: Option<Position>,
    },
    Leave {
        place: (u16, FullName),
    },
    Publish {
        place: (u16, FullName),
        reliable: bool,
        key: Option<Box<str>>,
        echo: Option<bool>,
    },
    Refresh {
        /// Why the session does not go on, if the application does not grant it.
        refusal: Option<Refusal>,
        /// The token's own rules.
        token_grants: Option<Arc<Grants>>,
    },
}
