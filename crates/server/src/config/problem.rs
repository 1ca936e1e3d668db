//! What is wrong with a configuration, for the person who wrote it.

use std::fmt;

/// A configuration that cannot be used. Prints one line for each problem. See
/// [`Config`](super::Config) for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// All that was found; at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong. See
/// [`Config`](super::Config) for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `roomcast.toml:3:1`, `ROOMCAST_LISTEN`, or a key like `limits.outbox_bytes`.
    pub place: String,
    /// What, and if possible the way out. Never holds a secret.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// `Ok` if nothing was found.
pub(crate) fn none_of(problems: Vec<Problem>) -> Result<(), ConfigError> {
    if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
}
