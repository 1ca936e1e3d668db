//! Field sections (RFC 9204), without a dynamic table: this side tells its peer that it has none,
//! so a section that needs one is an error.

use super::table::STATIC;
use super::{H3Error, huffman};

/// Most field lines of a section.
const LINES_MAX: usize = 64;

/// Most bytes of names and values together: what Huffman's code makes of the largest frame.
const BYTES_MAX: usize = 2 * super::FRAME_BYTES_MAX;

/// One field line: its name and value.
pub type Field = (String, String);

/// Reads a field section.
///
/// # Errors
/// It is malformed, needs a dynamic table, or is larger than this side takes.
pub fn decode(section: &[u8]) -> Result<Vec<Field>, H3Error> {
    let mut rest = section;
    // Section 4.5.1: how much of the dynamic table is needed, and from where it is counted.
    let (required, _) = (integer(&mut rest, 8)?, integer(&mut rest, 7)?);
    if required != 0 {
        return Err(H3Error::Decompression);
    }
    let mut fields = Vec::new();
    let mut bytes = 0;
    while let Some(first) = rest.first().copied() {
        // Sections 4.5.2, 4.5.4 and 4.5.6; the other forms point into the dynamic table.
        let field = if first & 0xc0 == 0xc0 {
            let (name, value) = entry(integer(&mut rest, 6)?)?;
            (name.to_owned(), value.to_owned())
        } else if first & 0xd0 == 0x50 {
            let (name, _) = entry(integer(&mut rest, 4)?)?;
            (name.to_owned(), string(&mut rest, 7)?)
        } else if first & 0xe0 == 0x20 {
            (string(&mut rest, 3)?, string(&mut rest, 7)?)
        } else {
            return Err(H3Error::Decompression);
        };
        bytes += field.0.len() + field.1.len();
        fields.push(field);
        if fields.len() > LINES_MAX || bytes > BYTES_MAX {
            return Err(H3Error::ExcessiveLoad);
        }
    }
    Ok(fields)
}

/// Writes a field section, plainly.
pub fn encode(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        write_string(&mut out, 0x20, 3, name);
        write_string(&mut out, 0x00, 7, value);
    }
    out
}

fn entry(index: usize) -> Result<(&'static str, &'static str), H3Error> {
    STATIC.get(index).copied().ok_or(H3Error::Decompression)
}

/// RFC 7541 section 5.1: a number whose first bits are the last `bits` of a byte.
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, H3Error> {
    let mut next = || {
        let (first, behind) = rest.split_first().ok_or(H3Error::Decompression)?;
        *rest = behind;
        Ok(usize::from(*first))
    };
    let most = (1 << bits) - 1;
    let mut value = next()? & most;
    if value < most {
        return Ok(value);
    }
    // Three bytes more reach 2 MiB, which is beyond every length and index here.
    for shift in [0, 7, 14] {
        let byte = next()?;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(H3Error::Decompression)
}

/// RFC 9204 section 4.1.2: the bit before the length says whether Huffman's code is used.
fn string(rest: &mut &[u8], bits: u32) -> Result<String, H3Error> {
    let coded = rest.first().is_some_and(|first| first >> bits & 1 == 1);
    let len = integer(rest, bits)?;
    let (text, behind) = rest.split_at_checked(len).ok_or(H3Error::Decompression)?;
    *rest = behind;
    let text =
        if coded { huffman::decode(text).ok_or(H3Error::Decompression)? } else { text.to_vec() };
    String::from_utf8(text).map_err(|_| H3Error::Message)
}

fn write_string(out: &mut Vec<u8>, pattern: u8, bits: u32, text: &str) {
    let most = (1 << bits) - 1;
    if text.len() < most {
        out.push(pattern | text.len() as u8);
    } else {
        out.push(pattern | most as u8);
        let mut left = text.len() - most;
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_come_back() {
        let long = "x".repeat(700);
        let fields = [(":status", "200"), ("sec-webtransport-http3-draft", &long), ("a", "")];
        let read = decode(&encode(&fields));
        let read = read.unwrap_or_default();
        let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(read, fields);
    }

    #[test]
    fn the_static_table_and_huffman_are_read() {
        // :method CONNECT, :authority by the table's name, then a literal in Huffman's code.
        let mut section = vec![0, 0, 0xc0 | 15, 0x50];
        section.extend([0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4]);
        section.push(0xff);
        let fields = decode(&section).unwrap_or_default();
        let expected = [(":method", "CONNECT"), (":authority", "www.example.com")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_needs_a_dynamic_table_or_ends_early_is_an_error() {
        for section in [
            &[][..],
            &[0],
            &[1, 0],
            &[0, 0, 0x80],
            &[0, 0, 0x40, 0],
            &[0, 0, 0x10],
            &[0, 0, 0xff, 0x80, 0x80, 0x80, 0x80],
            &[0, 0, 0xff, 99 - 63],
            &[0, 0, 0x51],
            &[0, 0, 0x51, 5, b'a'],
        ] {
            assert_eq!(decode(section), Err(H3Error::Decompression), "{section:x?}");
        }
        let many = [("a", "b"); 65];
        assert_eq!(decode(&encode(&many)), Err(H3Error::ExcessiveLoad));
    }
}
