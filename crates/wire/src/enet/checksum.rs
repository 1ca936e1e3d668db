//! ENet's checksum: CRC-32 as in zlib (RFC 1952 section 8).

use flate2::Crc;

/// Of several pieces, one behind the other.
pub(super) fn checksum(pieces: &[&[u8]]) -> [u8; 4] {
    let mut crc = Crc::new();
    for piece in pieces {
        crc.update(piece);
    }
    crc.sum().to_be_bytes()
}
