//! JSON in the bytes that Go's `encoding/json` would choose: keys sorted, no blanks, and `<`, `>`,
//! `&` escaped.

use bytes::{BufMut, BytesMut};
use serde_json::{Number, Value};

use crate::{Codec, Payload};

/// Appends a payload; `null` if there is none.
pub(super) fn payload(payload: Option<&Payload>, out: &mut BytesMut) {
    let Some(payload) = payload else { return out.put_slice(b"null") };
    let written = payload.to_codec(Codec::Json);
    match serde_json::from_slice(written.bytes()) {
        Ok(read) => value(&read, out),
        // A payload was checked when it was made, so this is not reached; if it were, the envelope
        // would still be well-formed.
        Err(_) => out.put_slice(b"null"),
    }
}

/// As deep as a payload is nested, which is bounded.
fn value(from: &Value, out: &mut BytesMut) {
    match from {
        Value::Null => out.put_slice(b"null"),
        Value::Bool(true) => out.put_slice(b"true"),
        Value::Bool(false) => out.put_slice(b"false"),
        Value::Number(from) => number(from, out),
        Value::String(from) => text(from, out),
        Value::Array(items) => {
            out.put_u8(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.put_u8(b',');
                }
                value(item, out);
            }
            out.put_u8(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.put_u8(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.put_u8(b',');
                }
                text(key, out);
                out.put_u8(b':');
                value(item, out);
            }
            out.put_u8(b'}');
        }
    }
}

/// Go writes `1.0` as `1`, and very large and very small numbers with a signed exponent.
fn number(from: &Number, out: &mut BytesMut) {
    let float = match from.as_f64() {
        Some(float) if from.is_f64() => float,
        _ => return out.put_slice(from.to_string().as_bytes()),
    };
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let mut written = format!("{float:e}");
        if let Some(at) = written.find('e')
            && !written[at + 1..].starts_with('-')
        {
            written.insert(at + 1, '+');
        }
        return out.put_slice(written.as_bytes());
    }
    out.put_slice(float.to_string().as_bytes());
}

/// Appends a string.
pub(super) fn text(from: &str, out: &mut BytesMut) {
    out.put_u8(b'"');
    for c in from.chars() {
        match c {
            '"' => out.put_slice(b"\\\""),
            '\\' => out.put_slice(b"\\\\"),
            '\n' => out.put_slice(b"\\n"),
            '\r' => out.put_slice(b"\\r"),
            '\t' => out.put_slice(b"\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.put_slice(format!("\\u{:04x}", c as u32).as_bytes());
            }
            c => out.put_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.put_u8(b'"');
}
