//! JSON (RFC 8259).
//!
//! The reader finds values without reading what they say: strings borrow, payloads stay bytes. It
//! is our own because one pass has to check the grammar, the depth, doubled keys and line breaks,
//! and to say which field is wrong; `serde_json` serves as its judge in the tests.

mod scan;
mod text;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use self::scan::Scanner;
pub(crate) use self::text::{write_plain, write_text};
use super::CodecError;
use super::msgpack;
use super::value::{self, Kind};
use crate::limits::DEPTH_MAX;

/// The text of one well-formed value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    raw: &'a str,
    /// A string with a `\` in it.
    escaped: bool,
    /// Line breaks between tokens.
    breaks: bool,
}

impl<'a> Value<'a> {
    pub(crate) fn raw(self) -> &'a str {
        self.raw
    }

    pub(crate) fn has_breaks(self) -> bool {
        self.breaks
    }

    pub(crate) fn kind(self) -> Kind {
        match self.raw.as_bytes().first() {
            Some(b'{') => Kind::Map,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::Text,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        Some(if self.escaped { Cow::Owned(text::unescape(inner)) } else { Cow::Borrowed(inner) })
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(crate) fn uint(self) -> Option<u64> {
        if self.kind() != Kind::Number {
            return None;
        }
        match self.raw.parse() {
            Ok(number) => Some(number),
            Err(_) => value::whole(self.raw.parse().ok()?),
        }
    }
}

/// `bytes` as text.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, CodecError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| {
        let position =
            std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        CodecError::at(position, "not UTF-8")
    })
}

/// The one value that `bytes` hold, with blanks around it at most.
pub(crate) fn read(bytes: &[u8], depth: usize) -> Result<Value<'_>, CodecError> {
    let mut scanner = Scanner::new(utf8(bytes)?);
    let value = scanner.value(depth)?;
    scanner.end()?;
    Ok(value)
}

/// The one value that `text` holds, if it is one. A string without escapes, the commonest, is found
/// without the scanner.
#[inline]
pub(crate) fn plain_or_any(text: &str, depth: usize) -> Option<value::Value<'_>> {
    let is_plain = text.strip_prefix('"').is_some_and(|rest| {
        let len = text::plain_len(rest.as_bytes());
        len + 1 == rest.len() && rest.ends_with('"')
    });
    if is_plain {
        return Some(value::Value::Json(Value { raw: text, escaped: false, breaks: false }));
    }
    any(text, depth)
}

#[inline(never)]
fn any(text: &str, depth: usize) -> Option<value::Value<'_>> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value(depth).ok()?;
    scanner.end().is_ok().then_some(value::Value::Json(value))
}

/// Reads the one map that `text` holds; see [`value::read_fields`].
pub(crate) fn fields<'a, const N: usize>(
    text: &'a str,
    names: &[&str; N],
    slots: &mut [Option<value::Value<'a>>; N],
    depth: usize,
) -> Result<(), CodecError> {
    let mut scanner = Scanner::new(text);
    scanner.open(b'{', "a map (`{`)")?;
    if !scanner.close_if(b'}') {
        loop {
            let key = scanner.key()?;
            let found = scanner.value(depth)?;
            value::put(names, slots, &key, value::Value::Json(found))?;
            if !scanner.next_or_close(b'}')? {
                break;
            }
        }
    }
    scanner.end()
}

/// Calls `each` with every element of the one array that `text` holds.
pub(crate) fn items<'a>(
    text: &'a str,
    mut each: impl FnMut(value::Value<'a>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let mut scanner = Scanner::new(text);
    scanner.open(b'[', "an array (`[`)")?;
    if !scanner.close_if(b']') {
        loop {
            let found = scanner.value(value::NESTED_DEPTH_MAX)?;
            each(value::Value::Json(found))?;
            if !scanner.next_or_close(b']')? {
                break;
            }
        }
    }
    scanner.end()
}

/// The same value without line breaks. They only stand between tokens: inside of strings they are
/// written as escapes.
pub(crate) fn without_breaks(text: &str) -> Bytes {
    let blank = |byte: u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
    text.bytes().map(blank).collect()
}

/// Appends a checked value in MessagePack, in the shortest form. `false` if it was not well-formed.
pub(crate) fn to_msgpack(bytes: &[u8], out: &mut BytesMut) -> bool {
    let Ok(text) = utf8(bytes) else { return false };
    let mut scanner = Scanner::new(text);
    value_to_msgpack(&mut scanner, out, value::NESTED_DEPTH_MAX, &mut ()).is_ok()
        && scanner.end().is_ok()
}

/// Appends the one value that `text` holds in MessagePack; what `parts` stand for in it are `bin`.
///
/// # Errors
/// It is not well-formed, or its parts are not all in their places.
pub(crate) fn to_msgpack_with(
    text: &str,
    parts: &mut impl Parts,
    out: &mut BytesMut,
) -> Result<(), CodecError> {
    let mut scanner = Scanner::new(text);
    value_to_msgpack(&mut scanner, out, DEPTH_MAX, parts)?;
    scanner.end()
}

/// What maps of a JSON text stand for binary data.
pub(crate) trait Parts {
    /// Told of the value of each key of a map, in MessagePack.
    fn entry(_place: &mut Place, _key: &str, _value: &[u8]) {}

    /// The binary data in whose place a map stands, if it stands for some.
    ///
    /// # Errors
    /// There are no such data.
    fn take(&mut self, _place: &Place) -> Result<Option<&[u8]>, CodecError> {
        Ok(None)
    }
}

/// No map stands for anything.
impl Parts for () {}

/// What a map has said about standing for something else.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub stands: bool,
    pub number: Option<u64>,
}

fn value_to_msgpack<P: Parts>(
    scanner: &mut Scanner<'_>,
    out: &mut BytesMut,
    depth: usize,
    parts: &mut P,
) -> Result<(), CodecError> {
    let (close, is_map) = match scanner.peek_token() {
        Some(b'{') => (b'}', true),
        Some(b'[') => (b']', false),
        _ => {
            scalar_to_msgpack(scanner.value(depth)?, out);
            return Ok(());
        }
    };
    let Some(depth) = depth.checked_sub(1) else { return Err(scanner.too_deep()) };
    scanner.open(if is_map { b'{' } else { b'[' }, "a value")?;
    // How many elements there are is known after the last, so the header is put in then.
    let start = out.len();
    let mut count = 0;
    let mut place = Place::default();
    if !scanner.close_if(close) {
        loop {
            if is_map {
                let key = scanner.key()?;
                msgpack::write_text(out, &key);
                let value = out.len();
                value_to_msgpack(scanner, out, depth, parts)?;
                P::entry(&mut place, &key, out.get(value..).unwrap_or_default());
            } else {
                value_to_msgpack(scanner, out, depth, parts)?;
            }
            count += 1;
            if !scanner.next_or_close(close)? {
                break;
            }
        }
    }
    match parts.take(&place)? {
        Some(part) if is_map => {
            out.truncate(start);
            msgpack::write_bin(out, part);
        }
        _ => msgpack::insert_header(out, start, is_map, count),
    }
    Ok(())
}

fn scalar_to_msgpack(value: Value<'_>, out: &mut BytesMut) {
    match value.kind() {
        Kind::Text => msgpack::write_text(out, &value.text().unwrap_or_default()),
        Kind::Bool => msgpack::write_bool(out, value.raw == "true"),
        Kind::Number => number_to_msgpack(value.raw, out),
        _ => out.put_u8(0xc0),
    }
}

fn number_to_msgpack(text: &str, out: &mut BytesMut) {
    // "-0" is a number of its own only among the floating ones.
    if let Ok(number) = text.parse::<u64>() {
        msgpack::write_uint(out, number);
    } else if let Some(number) = text.parse::<i64>().ok().filter(|&number| number < 0) {
        msgpack::write_negative(out, number);
    } else {
        msgpack::write_float(out, text.parse().unwrap_or_default());
    }
}

/// Appends a string that holds `bytes` in base64 (RFC 4648 section 4, padded).
pub(crate) fn write_base64(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u8(b'"');
    // A multiple of 3 at a time needs no padding but at the very end.
    for chunk in bytes.chunks(48) {
        let mut buffer = [0; 64];
        let written = STANDARD.encode_slice(chunk, &mut buffer).unwrap_or_default();
        out.extend_from_slice(buffer.get(..written).unwrap_or_default());
    }
    out.put_u8(b'"');
}

/// Appends a number in decimal.
pub(crate) fn write_uint(out: &mut BytesMut, mut number: u64) {
    let mut buffer = [0; 20];
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&buffer[start..]);
}
