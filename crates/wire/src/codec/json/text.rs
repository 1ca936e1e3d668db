//! Strings: how they are read and written.

use bytes::{BufMut, BytesMut};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// How many bytes come before the first `"`, `\` or control character: what may be copied as it
/// is. Eight bytes at a time: most strings have no such byte.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (index, chunk) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        // The highest bit of each byte that is 0 (after the xor) or below 0x20. A borrow can only
        // spoil bytes behind a true hit, and the first hit is the one that counts.
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        if hits & HIGHS != 0 {
            return index * 8 + ((hits & HIGHS).trailing_zeros() / 8) as usize;
        }
    }
    let is_special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    chunks.len() * 8 + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The length of the escape sequence at the start of `rest`. Half of a surrogate pair alone is
/// none: it stands for no character, and readers in some languages refuse the whole frame for it.
pub(super) fn escape_len(rest: &[u8]) -> Option<usize> {
    match rest.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match hex(rest.get(2..6)?)? {
            0xdc00..0xe000 => None,
            0xd800..0xdc00 => {
                let low = rest.get(6..12)?.strip_prefix(b"\\u")?;
                (0xdc00..0xe000).contains(&hex(low)?).then_some(12)
            }
            _ => Some(6),
        },
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let mut number = 0;
    for &digit in digits {
        number = number << 4 | char::from(digit).to_digit(16)?;
    }
    Some(number)
}

/// What a string with escapes says. `inner` was checked.
pub(super) fn unescape(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let len = escape_len(rest.as_bytes().get(plain.len()..).unwrap_or_default()).unwrap_or(1);
        text.push(escaped_char(escape));
        rest = escape.get(len - 1..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

fn escaped_char(escape: &str) -> char {
    let bytes = escape.as_bytes();
    let half = |at: usize| bytes.get(at..at + 4).and_then(hex).unwrap_or(0xfffd);
    match bytes.first() {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let first = half(1);
            let code = match first {
                0xd800..0xdc00 => 0x1_0000 + ((first & 0x3ff) << 10) + (half(7) & 0x3ff),
                _ => first,
            };
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        Some(&byte) => char::from(byte),
        None => char::REPLACEMENT_CHARACTER,
    }
}

/// Appends `text` in quotes, with what has to be escaped.
#[inline]
pub(crate) fn write_text(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_len(rest).min(rest.len()));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { break };
        write_escape(out, byte);
        rest = after;
    }
    out.put_u8(b'"');
}

/// Appends text that is known to need no escapes in quotes.
#[inline]
pub(crate) fn write_plain(out: &mut BytesMut, text: &[u8]) {
    out.put_u8(b'"');
    out.extend_from_slice(text);
    out.put_u8(b'"');
}

#[cold]
fn write_escape(out: &mut BytesMut, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.put_u8(DIGITS[usize::from(byte >> 4)]);
            out.put_u8(DIGITS[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
