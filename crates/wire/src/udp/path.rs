//! A peer that writes from another address: it has to show that it receives there before it is
//! sent more than it sent (RFC 9000 section 8.2 has the same rule).

use std::net::SocketAddr;
use std::time::Duration;

use super::seal::{Key, TAG_BYTES, address_bytes};

/// How often an address is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// An address that has not shown yet that its owner is there.
#[derive(Debug)]
pub(super) struct Probe {
    pub address: SocketAddr,
    token: [u8; TAG_BYTES],
    /// Bytes that came from there, less those sent.
    credit: usize,
    next: Duration,
}

impl Probe {
    /// `secret` is the server's own: a peer cannot answer for an address that it does not read.
    pub fn new(secret: &Key, id: u64, seq: u64, address: SocketAddr, now: Duration) -> Self {
        let mut said = [0; 18 + 16];
        said[..18].copy_from_slice(&address_bytes(address));
        said[18..26].copy_from_slice(&id.to_be_bytes());
        said[26..].copy_from_slice(&seq.to_be_bytes());
        Self { address, token: secret.tag(&said), credit: 0, next: now }
    }

    /// A datagram came from there.
    pub fn heard(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_add(bytes);
    }

    /// What is to be sent back from there, if it is time to ask with a datagram of so many bytes.
    pub fn ask(&mut self, now: Duration, bytes: usize) -> Option<[u8; TAG_BYTES]> {
        if now < self.next || bytes > self.credit {
            return None;
        }
        self.credit -= bytes;
        self.next = now + ASK_EVERY;
        Some(self.token)
    }

    /// Whether it was sent back from there.
    pub fn is_answer(&self, from: SocketAddr, token: [u8; TAG_BYTES]) -> bool {
        from == self.address && u64::from_le_bytes(token) == u64::from_le_bytes(self.token)
    }
}
