//! Finds tokens and values, and checks their grammar.

use std::borrow::Cow;

use super::text;
use super::{CodecError, Value};

/// Digits of the largest finite number, and more than any sensible number has: only longer ones,
/// and those with an exponent, need a look at whether they are too large.
const DIGITS_SURELY_FINITE: usize = 300;

/// A place in a text that is known to be UTF-8.
pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Whether a line break stood among the blanks passed over.
    breaks: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, breaks: false }
    }

    /// The next value, at most `depth` deep.
    pub(super) fn value(&mut self, depth: usize) -> Result<Value<'a>, CodecError> {
        self.blanks();
        self.breaks = false;
        let start = self.at;
        let escaped = match self.peek() {
            Some(b'{' | b'[') => {
                self.container(depth)?;
                false
            }
            _ => self.scalar()?,
        };
        let raw = self.text.get(start..self.at).unwrap_or_default();
        Ok(Value { raw, escaped, breaks: self.breaks })
    }

    /// A key of a map and its colon.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, CodecError> {
        self.blanks();
        let (inner, escaped) = self.key_token()?;
        Ok(if escaped { Cow::Owned(text::unescape(inner)) } else { Cow::Borrowed(inner) })
    }

    /// The first byte of the next token.
    pub(super) fn peek_token(&mut self) -> Option<u8> {
        self.blanks();
        self.peek()
    }

    /// Passes over the opening bracket of a container.
    pub(super) fn open(&mut self, bracket: u8, what: &str) -> Result<(), CodecError> {
        self.blanks();
        if self.peek() == Some(bracket) {
            self.at += 1;
            return Ok(());
        }
        Err(self.expected(what))
    }

    /// Passes over the closing bracket if it is next.
    pub(super) fn close_if(&mut self, bracket: u8) -> bool {
        self.blanks();
        let closes = self.peek() == Some(bracket);
        self.at += usize::from(closes);
        closes
    }

    /// Passes over a comma (`true`) or the closing bracket (`false`).
    pub(super) fn next_or_close(&mut self, bracket: u8) -> Result<bool, CodecError> {
        self.blanks();
        let next = self.peek();
        if next == Some(b',') || next == Some(bracket) {
            self.at += 1;
            return Ok(next == Some(b','));
        }
        Err(self.expected(if bracket == b'}' { "`,` or `}`" } else { "`,` or `]`" }))
    }

    /// Nothing but blanks may follow.
    pub(super) fn end(&mut self) -> Result<(), CodecError> {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("nothing more after the value")),
        }
    }

    #[cold]
    pub(super) fn too_deep(&self) -> CodecError {
        CodecError::at(self.at, "nested too deep (at most 64 levels)")
    }

    /// A whole container. Which brackets are open is kept in the bits of one number, so that
    /// nesting costs neither stack nor heap.
    fn container(&mut self, depth_max: usize) -> Result<(), CodecError> {
        debug_assert!(depth_max < 128);
        let mut maps: u128 = 0;
        let mut depth = 0;
        loop {
            match self.peek_token() {
                Some(bracket @ (b'{' | b'[')) => {
                    if depth == depth_max {
                        return Err(self.too_deep());
                    }
                    depth += 1;
                    self.at += 1;
                    let is_map = bracket == b'{';
                    maps = maps << 1 | u128::from(is_map);
                    if !self.close_if(if is_map { b'}' } else { b']' }) {
                        if is_map {
                            self.blanks();
                            self.key_token()?;
                        }
                        continue;
                    }
                    depth -= 1;
                    maps >>= 1;
                }
                _ => {
                    self.scalar()?;
                }
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_map = maps & 1 == 1;
                if self.next_or_close(if is_map { b'}' } else { b']' })? {
                    if is_map {
                        self.blanks();
                        self.key_token()?;
                    }
                    break;
                }
                depth -= 1;
                maps >>= 1;
            }
        }
    }

    /// A string and a colon: what stands between the quotes, and whether it has escapes.
    fn key_token(&mut self) -> Result<(&'a str, bool), CodecError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        let inner = self.text.get(start..self.at - 1).unwrap_or_default();
        self.blanks();
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.at += 1;
        Ok((inner, escaped))
    }

    /// Anything but a container; whether it is a string with escapes.
    fn scalar(&mut self) -> Result<bool, CodecError> {
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            _ => return Err(self.expected("a value")),
        }
        Ok(false)
    }

    /// A string; whether it has escapes.
    fn string(&mut self) -> Result<bool, CodecError> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += text::plain_len(self.bytes.get(self.at..).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    match text::escape_len(rest) {
                        Some(len) => self.at += len,
                        None => return Err(self.expected("an escape sequence of RFC 8259")),
                    }
                }
                Some(_) => return Err(self.expected("control characters as \\u00XX")),
                None => return Err(self.expected("the closing quote of a string")),
            }
        }
    }

    fn number(&mut self) -> Result<(), CodecError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.expected("a digit")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        // A number that no double can hold makes some readers refuse the whole frame, which would
        // let one member break the clients of the others.
        if exponent || self.at - start > DIGITS_SURELY_FINITE {
            let text = self.text.get(start..self.at).unwrap_or_default();
            if !text.parse::<f64>().is_ok_and(f64::is_finite) {
                return Err(CodecError::at(start, "a number beyond the range of a double"));
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), CodecError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.expected("a digit")) } else { Ok(()) }
    }

    fn word(&mut self, word: &str) -> Result<(), CodecError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.expected("a value"))
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(byte @ (b' ' | b'\n' | b'\r' | b'\t')) = self.peek() {
            self.breaks |= byte == b'\n' || byte == b'\r';
            self.at += 1;
        }
    }

    #[cold]
    fn expected(&self, what: &str) -> CodecError {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => {
                CodecError::at(self.at, format_args!("expected {what}, found {found:?}"))
            }
            None => CodecError::at(self.at, format_args!("expected {what}, but the text ends")),
        }
    }
}
