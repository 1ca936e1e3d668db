//! A command that waits for the application.

use crate::io::Now;
use crate::key::FullName;

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
    Publish {
        namespace: u16,
        room: FullName,
        reliable: bool,
        key: Option<Box<str>>,
        echo: Option<bool>,
    },
}
