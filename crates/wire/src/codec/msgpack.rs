//! MessagePack (the specification at msgpack.org, with `bin`, `ext` and UTF-8 in `str`).
//!
//! A declared length is compared with the bytes that are there, never allocated: five bytes that
//! announce four billion elements are an error of five bytes.

use bytes::{BufMut, BytesMut};
use rmp::Marker;

use super::value::{self, Kind};
use super::{CodecError, json};

/// The bytes of one well-formed value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    raw: &'a [u8],
}

impl<'a> Value<'a> {
    pub(crate) fn raw(self) -> &'a [u8] {
        self.raw
    }

    pub(crate) fn kind(self) -> Kind {
        self.head().map_or(Kind::Null, |head| head.kind)
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        let head = self.head().filter(|head| head.kind == Kind::Text)?;
        std::str::from_utf8(self.raw.get(head.len..)?).ok()
    }

    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        let head = self.head().filter(|head| head.kind == Kind::Binary)?;
        self.raw.get(head.len..)
    }

    pub(crate) fn boolean(self) -> Option<bool> {
        match self.raw.first().copied().map(Marker::from_u8)? {
            Marker::True => Some(true),
            Marker::False => Some(false),
            _ => None,
        }
    }

    pub(crate) fn uint(self) -> Option<u64> {
        match number(self.raw)? {
            Number::Unsigned(number) => Some(number),
            Number::Signed(number) => u64::try_from(number).ok(),
            Number::Single(number) => value::whole(number.into()),
            Number::Double(number) => value::whole(number),
        }
    }

    fn head(self) -> Option<Head> {
        head(self.raw, 0).ok()
    }
}

/// The one value that `bytes` hold.
pub(crate) fn read(bytes: &[u8], depth: usize) -> Result<Value<'_>, CodecError> {
    let end = skip(bytes, 0, depth)?;
    check_end(bytes, end)?;
    Ok(Value { raw: bytes })
}

/// Reads the one map that `bytes` hold; see [`value::read_fields`].
pub(crate) fn fields<'a, const N: usize>(
    bytes: &'a [u8],
    names: &[&str; N],
    slots: &mut [Option<value::Value<'a>>; N],
    depth: usize,
) -> Result<(), CodecError> {
    let map = head(bytes, 0)?;
    if map.kind != Kind::Map {
        return Err(CodecError(format!("expected a map, found {}", map.kind.describe())));
    }
    let mut at = map.len;
    for _ in 0..map.body / 2 {
        let key_at = at;
        at = skip(bytes, at, depth)?;
        let key = Value { raw: bytes.get(key_at..at).unwrap_or_default() };
        let value_at = at;
        at = skip(bytes, at, depth)?;
        let Some(key) = key.text() else {
            return Err(CodecError::at(key_at, "the keys of a frame must be strings"));
        };
        let raw = bytes.get(value_at..at).unwrap_or_default();
        value::put(names, slots, key, value::Value::MsgPack(Value { raw }))?;
    }
    check_end(bytes, at)
}

/// Calls `each` with every element of the one array that `bytes` hold.
pub(crate) fn items<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(value::Value<'a>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let array = head(bytes, 0)?;
    if array.kind != Kind::Array {
        return Err(CodecError(format!("expected an array, found {}", array.kind.describe())));
    }
    let mut at = array.len;
    for _ in 0..array.body {
        let start = at;
        at = skip(bytes, at, value::NESTED_DEPTH_MAX)?;
        let raw = bytes.get(start..at).unwrap_or_default();
        each(value::Value::MsgPack(Value { raw }))?;
    }
    check_end(bytes, at)
}

/// What stands before the body of a value.
#[derive(Clone, Copy)]
struct Head {
    kind: Kind,
    /// Bytes of the head: marker, declared length, type of an extension.
    len: usize,
    /// Bytes of the body; of containers how many values are in it (two for each entry of a map).
    body: u64,
}

fn head(bytes: &[u8], at: usize) -> Result<Head, CodecError> {
    let Some(&first) = bytes.get(at) else {
        return Err(ends(bytes));
    };
    let scalar = |kind, body| Ok(Head { kind, len: 1, body });
    let sized = |kind, width: usize, extra: usize| {
        let len = 1 + width + extra;
        let Some(body) = big_endian(bytes, at + 1, width) else { return Err(ends(bytes)) };
        Ok(Head { kind, len, body: if kind == Kind::Map { 2 * body } else { body } })
    };
    match Marker::from_u8(first) {
        Marker::FixPos(_) | Marker::FixNeg(_) => scalar(Kind::Number, 0),
        Marker::FixMap(len) => scalar(Kind::Map, 2 * u64::from(len)),
        Marker::FixArray(len) => scalar(Kind::Array, len.into()),
        Marker::FixStr(len) => scalar(Kind::Text, len.into()),
        Marker::Null => scalar(Kind::Null, 0),
        Marker::True | Marker::False => scalar(Kind::Bool, 0),
        Marker::U8 | Marker::I8 => scalar(Kind::Number, 1),
        Marker::U16 | Marker::I16 => scalar(Kind::Number, 2),
        Marker::U32 | Marker::I32 | Marker::F32 => scalar(Kind::Number, 4),
        Marker::U64 | Marker::I64 | Marker::F64 => scalar(Kind::Number, 8),
        Marker::Str8 => sized(Kind::Text, 1, 0),
        Marker::Str16 => sized(Kind::Text, 2, 0),
        Marker::Str32 => sized(Kind::Text, 4, 0),
        Marker::Bin8 => sized(Kind::Binary, 1, 0),
        Marker::Bin16 => sized(Kind::Binary, 2, 0),
        Marker::Bin32 => sized(Kind::Binary, 4, 0),
        Marker::Array16 => sized(Kind::Array, 2, 0),
        Marker::Array32 => sized(Kind::Array, 4, 0),
        Marker::Map16 => sized(Kind::Map, 2, 0),
        Marker::Map32 => sized(Kind::Map, 4, 0),
        Marker::FixExt1 => Ok(Head { kind: Kind::Extension, len: 2, body: 1 }),
        Marker::FixExt2 => Ok(Head { kind: Kind::Extension, len: 2, body: 2 }),
        Marker::FixExt4 => Ok(Head { kind: Kind::Extension, len: 2, body: 4 }),
        Marker::FixExt8 => Ok(Head { kind: Kind::Extension, len: 2, body: 8 }),
        Marker::FixExt16 => Ok(Head { kind: Kind::Extension, len: 2, body: 16 }),
        Marker::Ext8 => sized(Kind::Extension, 1, 1),
        Marker::Ext16 => sized(Kind::Extension, 2, 1),
        Marker::Ext32 => sized(Kind::Extension, 4, 1),
        Marker::Reserved => Err(CodecError::at(at, "0xc1, which begins no value")),
    }
}

/// Where the value at `at` ends. Recursion is bounded by `depth`: about 1,000 levels would
/// overflow the stack of a 2 MiB thread.
fn skip(bytes: &[u8], at: usize, depth: usize) -> Result<usize, CodecError> {
    let head = head(bytes, at)?;
    let body = at + head.len;
    if matches!(head.kind, Kind::Array | Kind::Map) {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(CodecError::at(at, "nested too deep (at most 64 levels)"));
        };
        let mut at = body;
        for _ in 0..head.body {
            at = skip(bytes, at, depth)?;
        }
        return Ok(at);
    }
    let len = usize::try_from(head.body).unwrap_or(usize::MAX);
    let Some(content) = body.checked_add(len).and_then(|end| bytes.get(body..end)) else {
        return Err(ends(bytes));
    };
    // Some readers refuse a whole frame for one string that is not UTF-8: bytes go into `bin`.
    // Most are short and ASCII, which a look at 16 bytes at a time tells.
    let is_text = || content.is_ascii() || simdutf8::basic::from_utf8(content).is_ok();
    if head.kind == Kind::Text && !is_text() {
        return Err(CodecError::at(body, "a str that is not UTF-8 (use bin for bytes)"));
    }
    Ok(body + len)
}

#[cold]
fn ends(bytes: &[u8]) -> CodecError {
    CodecError(format!("the value goes on after the last of {} bytes", bytes.len()))
}

fn check_end(bytes: &[u8], end: usize) -> Result<(), CodecError> {
    if end == bytes.len() {
        return Ok(());
    }
    Err(CodecError::at(end, format_args!("{} bytes more after the value", bytes.len() - end)))
}

fn big_endian(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let digits = bytes.get(at..at + width)?;
    Some(digits.iter().fold(0, |number, &digit| number << 8 | u64::from(digit)))
}

#[derive(Clone, Copy)]
enum Number {
    Unsigned(u64),
    Signed(i64),
    Single(f32),
    Double(f64),
}

fn number(bytes: &[u8]) -> Option<Number> {
    let digits = |width| big_endian(bytes, 1, width);
    Some(match Marker::from_u8(*bytes.first()?) {
        Marker::FixPos(number) => Number::Unsigned(number.into()),
        Marker::FixNeg(number) => Number::Signed(number.into()),
        Marker::U8 => Number::Unsigned(digits(1)?),
        Marker::U16 => Number::Unsigned(digits(2)?),
        Marker::U32 => Number::Unsigned(digits(4)?),
        Marker::U64 => Number::Unsigned(digits(8)?),
        Marker::I8 => Number::Signed((digits(1)? as i8).into()),
        Marker::I16 => Number::Signed((digits(2)? as i16).into()),
        Marker::I32 => Number::Signed((digits(4)? as i32).into()),
        Marker::I64 => Number::Signed(digits(8)? as i64),
        Marker::F32 => Number::Single(f32::from_bits(digits(4)? as u32)),
        Marker::F64 => Number::Double(f64::from_bits(digits(8)?)),
        _ => return None,
    })
}

/// Appends a checked value in JSON. `false` if it was not well-formed.
pub(crate) fn to_json(bytes: &[u8], out: &mut BytesMut) -> bool {
    to_json_with(bytes, out, &mut json::write_base64)
}

/// Appends a checked value in JSON; `bin` appends what stands for binary data. `false` if it was
/// not well-formed.
pub(crate) fn to_json_with(
    bytes: &[u8],
    out: &mut BytesMut,
    bin: &mut impl FnMut(&mut BytesMut, &[u8]),
) -> bool {
    value_to_json(bytes, 0, out, value::NESTED_DEPTH_MAX, bin) == Some(bytes.len())
}

/// Appends the value at `at`; answers where it ends.
fn value_to_json(
    bytes: &[u8],
    at: usize,
    out: &mut BytesMut,
    depth: usize,
    bin: &mut impl FnMut(&mut BytesMut, &[u8]),
) -> Option<usize> {
    let head = head(bytes, at).ok()?;
    let body = at + head.len;
    if matches!(head.kind, Kind::Array | Kind::Map) {
        let depth = depth.checked_sub(1)?;
        return match head.kind {
            Kind::Array => array_to_json(bytes, (body, head.body), out, depth, bin),
            _ => map_to_json(bytes, (body, head.body / 2), out, depth, bin),
        };
    }
    let end = body.checked_add(usize::try_from(head.body).ok()?)?;
    let content = bytes.get(body..end)?;
    match head.kind {
        Kind::Text => json::write_text(out, &String::from_utf8_lossy(content)),
        Kind::Binary => bin(out, content),
        Kind::Extension => {
            out.extend_from_slice(b"{\"ext\":");
            let kind = *bytes.get(body - 1)? as i8;
            write_signed(out, kind.into());
            out.extend_from_slice(b",\"data\":");
            json::write_base64(out, content);
            out.put_u8(b'}');
        }
        Kind::Number => number_to_json(number(bytes.get(at..)?)?, out),
        Kind::Bool => {
            let word: &[u8] = if bytes.get(at) == Some(&0xc3) { b"true" } else { b"false" };
            out.extend_from_slice(word);
        }
        _ => out.extend_from_slice(b"null"),
    }
    Some(end)
}

fn array_to_json(
    bytes: &[u8],
    (mut at, count): (usize, u64),
    out: &mut BytesMut,
    depth: usize,
    bin: &mut impl FnMut(&mut BytesMut, &[u8]),
) -> Option<usize> {
    out.put_u8(b'[');
    for index in 0..count {
        if index > 0 {
            out.put_u8(b',');
        }
        at = value_to_json(bytes, at, out, depth, bin)?;
    }
    out.put_u8(b']');
    Some(at)
}

fn map_to_json(
    bytes: &[u8],
    (mut at, count): (usize, u64),
    out: &mut BytesMut,
    depth: usize,
    bin: &mut impl FnMut(&mut BytesMut, &[u8]),
) -> Option<usize> {
    out.put_u8(b'{');
    for index in 0..count {
        if index > 0 {
            out.put_u8(b',');
        }
        let start = at;
        at = skip(bytes, at, depth).ok()?;
        key_to_json(bytes.get(start..at)?, out)?;
        out.put_u8(b':');
        at = value_to_json(bytes, at, out, depth, bin)?;
    }
    out.put_u8(b'}');
    Some(at)
}

/// JSON has strings for keys only. Containers are not written as JSON in a string: each level of
/// quotes within quotes would double its escapes, and 64 levels would not fit in any memory.
fn key_to_json(key: &[u8], out: &mut BytesMut) -> Option<()> {
    let head = head(key, 0).ok()?;
    match head.kind {
        Kind::Text => json::write_text(out, &String::from_utf8_lossy(key.get(head.len..)?)),
        Kind::Binary => json::write_base64(out, key.get(head.len..)?),
        Kind::Null | Kind::Bool | Kind::Number => {
            out.put_u8(b'"');
            value_to_json(key, 0, out, 0, &mut json::write_base64)?;
            out.put_u8(b'"');
        }
        Kind::Extension | Kind::Array | Kind::Map => json::write_base64(out, key),
    }
    Some(())
}

fn number_to_json(number: Number, out: &mut BytesMut) {
    let written = match number {
        Number::Unsigned(number) => {
            json::write_uint(out, number);
            return;
        }
        Number::Signed(number) => {
            write_signed(out, number);
            return;
        }
        // Shortest text that reads back as the same number; `null` if it is not finite.
        Number::Single(number) => serde_json::to_writer(out.writer(), &number),
        Number::Double(number) => serde_json::to_writer(out.writer(), &number),
    };
    debug_assert!(written.is_ok());
}

fn write_signed(out: &mut BytesMut, number: i64) {
    if number < 0 {
        out.put_u8(b'-');
    }
    json::write_uint(out, number.unsigned_abs());
}

/// Appends a string.
#[inline]
pub(crate) fn write_text(out: &mut BytesMut, text: &str) {
    write_plain(out, text.as_bytes());
}

/// Appends a string; `text` is UTF-8.
pub(crate) fn write_plain(out: &mut BytesMut, text: &[u8]) {
    match text.len() {
        len @ 0..32 => out.put_u8(Marker::FixStr(len as u8).to_u8()),
        len @ 32..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len => write_long_head(out, 0xda, len),
    }
    out.extend_from_slice(text);
}

/// Appends bytes.
pub(crate) fn write_bin(out: &mut BytesMut, data: &[u8]) {
    match data.len() {
        len @ 0..0x100 => out.extend_from_slice(&[0xc4, len as u8]),
        len => write_long_head(out, 0xc5, len),
    }
    out.extend_from_slice(data);
}

/// Appends `marker` and a u16, or the marker after it and a u32. A length above 4 GiB can't come
/// about: no message is larger than 16 MiB.
fn write_long_head(out: &mut BytesMut, marker: u8, len: usize) {
    match u16::try_from(len) {
        Ok(len) => {
            out.put_u8(marker);
            out.put_u16(len);
        }
        Err(_) => {
            out.put_u8(marker + 1);
            out.put_u32(len as u32);
        }
    }
}

/// Appends the head of an array.
pub(crate) fn write_array(out: &mut BytesMut, len: usize) {
    match len {
        0..16 => out.put_u8(Marker::FixArray(len as u8).to_u8()),
        _ => write_long_head(out, 0xdc, len),
    }
}

/// The elements of a checked array, one after the other, and how many there are.
pub(crate) fn elements(bytes: &[u8]) -> (&[u8], usize) {
    match head(bytes, 0) {
        Ok(array) if array.kind == Kind::Array => {
            (bytes.get(array.len..).unwrap_or_default(), array.body as usize)
        }
        _ => (&[], 0),
    }
}

/// Puts the head of a container before the elements that were written from `start` on.
pub(crate) fn insert_header(out: &mut BytesMut, start: usize, is_map: bool, count: usize) {
    let end = out.len();
    if is_map {
        match count {
            0..16 => out.put_u8(Marker::FixMap(count as u8).to_u8()),
            _ => write_long_head(out, 0xde, count),
        }
    } else {
        write_array(out, count);
    }
    let head = out.len() - end;
    if let Some(container) = out.get_mut(start..) {
        container.rotate_right(head);
    }
}

/// Appends a number in its shortest form.
#[inline]
pub(crate) fn write_uint(out: &mut BytesMut, number: u64) {
    match number {
        0..0x80 => out.put_u8(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => {
            out.put_u8(0xcd);
            out.put_u16(number as u16);
        }
        0x1_0000..0x1_0000_0000 => {
            out.put_u8(0xce);
            out.put_u32(number as u32);
        }
        _ => {
            out.put_u8(0xcf);
            out.put_u64(number);
        }
    }
}

/// Appends a number below 0 in its shortest form.
pub(crate) fn write_negative(out: &mut BytesMut, number: i64) {
    match number {
        -0x20..0 => out.put_i8(number as i8),
        -0x80..-0x20 => {
            out.put_u8(0xd0);
            out.put_i8(number as i8);
        }
        -0x8000..-0x80 => {
            out.put_u8(0xd1);
            out.put_i16(number as i16);
        }
        -0x8000_0000..-0x8000 => {
            out.put_u8(0xd2);
            out.put_i32(number as i32);
        }
        _ => {
            out.put_u8(0xd3);
            out.put_i64(number);
        }
    }
}

/// Appends a double.
pub(crate) fn write_float(out: &mut BytesMut, number: f64) {
    out.put_u8(0xcb);
    out.put_f64(number);
}

/// Appends a boolean.
pub(crate) fn write_bool(out: &mut BytesMut, value: bool) {
    out.put_u8(if value { 0xc3 } else { 0xc2 });
}
