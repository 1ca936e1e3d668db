//! Keyed tags: SipHash-2-4 with 64 bits of output.

use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

/// Bytes of a tag.
pub const TAG_BYTES: usize = 8;

/// A key of 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// A key of these bytes, which nobody may be able to guess.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As it is sent.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The tag of `bytes`: SipHash-2-4 as its authors write it, least significant byte first.
    pub fn tag(&self, bytes: &[u8]) -> [u8; TAG_BYTES] {
        SipHasher24::new_with_key(&self.0).hash(bytes).to_le_bytes()
    }

    /// Whether `tag` is that of `bytes`. Takes the same time wherever they differ: two words are
    /// compared.
    pub fn verifies(&self, bytes: &[u8], tag: [u8; TAG_BYTES]) -> bool {
        u64::from_le_bytes(self.tag(bytes)) == u64::from_le_bytes(tag)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// An address as bytes: 16 of the IP address (IPv4 mapped into IPv6), 2 of the port.
pub(super) fn address_bytes(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_the_reference() {
        // Vectors of the paper's authors: key 00..0f, input 00, 00 01, ... of each length.
        let key = Key::new(std::array::from_fn(|at| at as u8));
        let input: Vec<u8> = (0..63).collect();
        assert_eq!(key.tag(&[]), [0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72]);
        assert_eq!(key.tag(&input[..1]), [0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74]);
        assert_eq!(key.tag(&input[..15]), [0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1]);
        assert!(key.verifies(&input[..15], key.tag(&input[..15])));
        assert!(!key.verifies(&input[..15], key.tag(&input[..14])));
    }
}
