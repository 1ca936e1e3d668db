//! A message that comes in pieces. Only what came is stored: what a peer declares is allocated
//! nowhere, and a message whose pieces leave gaps or overlap is none.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::command::Fragment;

/// Bytes that are reckoned for each stored piece beside its own.
pub(super) const PIECE_BYTES: usize = 96;

/// A piece may be small only if the message has few of them: ENet's smallest datagram has 544
/// bytes of a piece, and who sends a message byte by byte wants to fill tables.
const PIECE_BYTES_MIN: u32 = 256;

pub(super) struct Assembly {
    count: u32,
    total: u32,
    pieces: BTreeMap<u32, (u32, Bytes)>,
    bytes: usize,
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It was new; so many bytes more are stored.
    Stored(usize),
    /// It came before.
    Known,
    /// It does not belong to this message.
    Foreign,
}

/// Whether a piece can be one of a message at all.
pub(super) fn is_possible(fragment: &Fragment) -> bool {
    let Fragment { count, number, total, offset, data, .. } = fragment;
    let end = u64::from(*offset) + data.len() as u64;
    *count >= 1
        && number < count
        && !data.is_empty()
        && end <= u64::from(*total)
        && *count <= total / PIECE_BYTES_MIN + 1
}

impl Assembly {
    pub(super) fn new(fragment: &Fragment) -> Self {
        let Fragment { count, total, .. } = *fragment;
        Self { count, total, pieces: BTreeMap::new(), bytes: 0 }
    }

    /// Takes a piece. It is copied: a small one would otherwise keep its whole datagram alive.
    pub(super) fn add(&mut self, fragment: &Fragment) -> Added {
        let Fragment { count, number, total, offset, ref data, .. } = *fragment;
        if (count, total) != (self.count, self.total) {
            return Added::Foreign;
        }
        if self.pieces.contains_key(&number) {
            return Added::Known;
        }
        // Pieces that overlap would otherwise add up to many times the message.
        let known = self.bytes - self.pieces.len() * PIECE_BYTES;
        if known + data.len() > total as usize {
            return Added::Foreign;
        }
        self.pieces.insert(number, (offset, Bytes::copy_from_slice(data)));
        let added = data.len() + PIECE_BYTES;
        self.bytes += added;
        Added::Stored(added)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.pieces.len() as u64 == u64::from(self.count)
    }

    /// So many sequence numbers are taken by the pieces.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What is reckoned for all stored pieces.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The message; `None`: its pieces do not fit together.
    pub(super) fn join(self) -> Option<Bytes> {
        let mut message = BytesMut::with_capacity(self.bytes);
        for (offset, data) in self.pieces.into_values() {
            if offset as usize != message.len() {
                return None;
            }
            message.extend_from_slice(&data);
        }
        (message.len() == self.total as usize).then(|| message.freeze())
    }
}
