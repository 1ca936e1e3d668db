//! Names a peer may choose: rooms, namespaces, users, display names, events. Parsed once at the
//! door; behind it a [`Name`] is known to be short, valid UTF-8 and free of control characters.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;

use compact_str::CompactString;

/// Longest name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// Length of a generated room name, in ASCII characters.
pub const GENERATED_NAME_LEN: usize = 52;

/// The namespace that is meant when none is named.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no bytes.
    #[error("a name must have at least 1 byte")]
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("a name may have at most {NAME_BYTES_MAX} bytes of UTF-8, this one has {0}")]
    TooLong(usize),
    /// The name holds a control character or one that reorders or hides text.
    #[error("a name may not hold control, direction or zero-width characters (found U+{0:04X})")]
    Forbidden(u32),
    /// The room half of a path holds a second `/`.
    #[error("a room is `room` or `namespace/room`: one `/` at most")]
    Slash,
}

/// A name that was checked: 1 to 255 bytes, no control characters, no bidirectional controls, no
/// zero-width characters (threat S24: names end up in logs, terminals and user interfaces).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(CompactString);

impl Name {
    /// Checks `text` and takes a copy of it. Up to 24 bytes are stored without allocation.
    pub fn new(text: &str) -> Result<Self, NameError> {
        check_name(text)?;
        Ok(Self(CompactString::new(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The default namespace.
    pub fn default_namespace() -> Self {
        Self(CompactString::const_new(DEFAULT_NAMESPACE))
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks a name without taking a copy. Pure ASCII, the common case, is checked in one pass.
pub fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(text.len()));
    }
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Ok(());
    }
    match text.chars().find(|&c| is_forbidden(c)) {
        Some(c) => Err(NameError::Forbidden(c as u32)),
        None => Ok(()),
    }
}

/// Control characters, separators of lines, and what shows nothing by itself
/// (`Default_Ignorable_Code_Point` of Unicode 16, and the annotations at U+FFF9), but for variation
/// selectors: emoji and Japanese family names are written with them.
fn is_forbidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{00ad}'
                | '\u{034f}'
                | '\u{061c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e00ff}'
                | '\u{e01f0}'..='\u{e0fff}'
        )
}

/// A room's address as a client wrote it: `room`, or `namespace/room`. Borrows from the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomPath<'a> {
    text: Cow<'a, str>,
    /// Byte index of the `/`, if the namespace was written.
    slash: Option<u16>,
}

impl<'a> RoomPath<'a> {
    /// A room without a namespace, whose name was checked.
    pub(crate) fn plain(text: Cow<'a, str>) -> Self {
        debug_assert!(check_name(&text).is_ok() && !text.contains('/'));
        Self { text, slash: None }
    }

    /// Checks both halves.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Result<Self, NameError> {
        let text = text.into();
        let slash = text.find('/');
        match slash {
            None => check_name(&text)?,
            Some(at) => {
                check_name(&text[..at])?;
                check_name(&text[at + 1..])?;
                if text[at + 1..].contains('/') {
                    return Err(NameError::Slash);
                }
            }
        }
        // A checked namespace has at most 255 bytes, so the index fits.
        Ok(Self { slash: slash.and_then(|at| u16::try_from(at).ok()), text })
    }

    /// The namespace, if the client wrote one.
    pub fn namespace(&self) -> Option<&str> {
        self.slash.map(|at| &self.text[..usize::from(at)])
    }

    /// The room's own name.
    pub fn room(&self) -> &str {
        match self.slash {
            Some(at) => &self.text[usize::from(at) + 1..],
            None => &self.text,
        }
    }

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same path, owning its text.
    pub fn into_owned(self) -> RoomPath<'static> {
        RoomPath { text: Cow::Owned(self.text.into_owned()), slash: self.slash }
    }
}

/// What an event is called: a word, or a number for clients that count bytes
/// (for example `ver << 16 | cmd`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventName {
    /// A checked name.
    Text(Name),
    /// Any number up to 2^53 - 1, so that JavaScript reads it exactly.
    Number(u64),
}

/// Largest number an event may be called.
pub const EVENT_NUMBER_MAX: u64 = (1 << 53) - 1;

impl EventName {
    /// A word that was checked.
    pub(crate) fn plain(text: &str) -> Self {
        debug_assert!(check_name(text).is_ok());
        Self::Text(Name(CompactString::new(text)))
    }

    /// Checks `text`.
    pub fn text(text: &str) -> Result<Self, NameError> {
        Name::new(text).map(Self::Text)
    }

    /// The word, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(name) => Some(name),
            Self::Number(_) => None,
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_length_and_no_tricks() {
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert_eq!(check_name(&"x".repeat(256)), Err(NameError::TooLong(256)));
        assert_eq!(check_name(&"x".repeat(255)), Ok(()));
        assert_eq!(check_name("a\nb"), Err(NameError::Forbidden(0x0a)));
        assert_eq!(check_name("a\u{7f}"), Err(NameError::Forbidden(0x7f)));
        // One of each run that is not seen, or moves what is.
        for hidden in [
            '\u{80}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{2028}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{3164}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{1bca0}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e01f0}',
        ] {
            let error = Err(NameError::Forbidden(hidden.into()));
            assert_eq!(check_name(&format!("serv{hidden}er")), error, "{hidden:?}");
        }
        for fine in ["Zoë 🍾", "❤\u{fe0f}", "葛\u{e0100}", "ab\u{a0}c", "а"] {
            assert_eq!(check_name(fine), Ok(()), "{fine:?}");
        }
    }

    #[test]
    fn a_path_has_one_slash_at_most() {
        let path = RoomPath::parse("game/lobby").unwrap();
        assert_eq!((path.namespace(), path.room()), (Some("game"), "lobby"));
        let path = RoomPath::parse("lobby").unwrap();
        assert_eq!((path.namespace(), path.room()), (None, "lobby"));
        assert_eq!(RoomPath::parse("a/b/c"), Err(NameError::Slash));
        assert_eq!(RoomPath::parse("/b"), Err(NameError::Empty));
        assert_eq!(RoomPath::parse("a/"), Err(NameError::Empty));
    }
}
