//! The code that strings of HTTP/2 and HTTP/3 may be written in (RFC 7541 appendix B).
//!
//! It is canonical: codes of one length follow each other in the order of their symbols, and those
//! of the next length go on from there. So the lengths say all.

/// How many bits the code of each byte has. The one behind them, of 30 bits, ends a string and
/// never stands in one.
#[rustfmt::skip]
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
];

/// The longest code, in bits.
const BITS_MAX: usize = 30;

/// What decoding needs, by the length of a code.
struct Table {
    /// The first code of the length.
    first: [u32; BITS_MAX + 1],
    /// How many codes there are of it.
    count: [u32; BITS_MAX + 1],
    /// Where its symbols begin among all.
    start: [usize; BITS_MAX + 1],
    /// The bytes, by length and then by value.
    symbols: [u8; 256],
}

const TABLE: Table = table();

const fn table() -> Table {
    let mut table = Table {
        first: [0; BITS_MAX + 1],
        count: [0; BITS_MAX + 1],
        start: [0; BITS_MAX + 1],
        symbols: [0; 256],
    };
    let (mut code, mut placed, mut bits) = (0, 0, 1);
    while bits <= BITS_MAX {
        code <<= 1;
        table.first[bits] = code;
        table.start[bits] = placed;
        let mut symbol = 0;
        while symbol < 256 {
            if BITS[symbol] as usize == bits {
                table.symbols[placed] = symbol as u8;
                placed += 1;
                code += 1;
                table.count[bits] += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    table
}

/// Reads a string; `None` if it is malformed. It has at most 8/5 of the bytes of `coded`.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(coded.len());
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            if bits > BITS_MAX {
                return None;
            }
            let nth = code.wrapping_sub(TABLE.first[bits]);
            if nth < TABLE.count[bits] {
                out.push(*TABLE.symbols.get(TABLE.start[bits] + nth as usize)?);
                (code, bits) = (0, 0);
            }
        }
    }
    // What is left over are the first bits of the code that ends a string, all ones, fewer than 8.
    (bits < 8 && code == (1 << bits) - 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7541 appendix C.4 and C.6.
        let examples: [(&[u8], &[u8]); 4] = [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
                b"www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], b"no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], b"custom-value"),
            (
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04,
                    0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
                b"Mon, 21 Oct 2013 20:13:21 GMT",
            ),
        ];
        for (coded, text) in examples {
            assert_eq!(decode(coded).as_deref(), Some(text));
        }
    }

    #[test]
    fn padding_and_the_end_of_string_are_checked() {
        assert_eq!(decode(&[]), Some(Vec::new()));
        // `0` and three bits of padding that are not all ones.
        assert_eq!(decode(&[0b0000_0000]), None);
        // A byte of padding only, and the code that ends a string.
        assert_eq!(decode(&[0xff]), None);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None);
    }
}
