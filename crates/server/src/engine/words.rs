//! Words on their way out: gathered by each worker during a turn, cut into messages, numbered.
//!
//! ```text
//! message   version u8 · kind u8 · from u16 · from incarnation u64 · number u64 · pieces
//! piece     flags u8 · to worker u16 · from worker u16 · length u32 · bytes      (big endian)
//! ```
//! Messages from one incarnation to another are numbered from 1 on. A beat says the last number,
//! so that the loss of the last message is noticed too.

use std::collections::BTreeMap;

use super::Parcel;

/// Of the form above. Another version is not understood.
pub(super) const VERSION: u8 = 1;

/// Bytes before the first piece.
pub(super) const HEAD: usize = 20;

/// Bytes before a piece's own.
pub(super) const PIECE_HEAD: usize = 9;

/// A piece that begins a word.
pub(super) const FIRST: u8 = 1;

/// A piece that ends a word.
pub(super) const LAST: u8 = 2;

/// Largest message. Half of what a NATS server takes by default, so that the rest is never in
/// question; a word that is larger goes in pieces.
pub(super) const MESSAGE_BYTES: usize = 512 << 10;

/// What a worker gathers for one node before it hands it over within a turn.
const PARCEL_BYTES: usize = 128 << 10;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has words.
    Words = 1,
    /// It says the last number only.
    Beat = 2,
}

/// A turn's words of one worker.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    open: BTreeMap<u16, Vec<u8>>,
    full: Vec<(u16, Vec<u8>)>,
}

impl Sending {
    /// Adds a word; `write` appends its bytes.
    pub(crate) fn add(
        &mut self,
        to: u16,
        to_worker: u16,
        from_worker: u16,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let parcel = self.open.entry(to).or_insert_with(|| vec![0; HEAD]);
        let at = parcel.len();
        put_piece(parcel, FIRST | LAST, to_worker, from_worker, 0);
        write(parcel);
        let length = (parcel.len() - at - PIECE_HEAD) as u32;
        parcel[at + 5..at + PIECE_HEAD].copy_from_slice(&length.to_be_bytes());
        if parcel.len() >= PARCEL_BYTES
            && let Some(full) = self.open.remove(&to)
        {
            self.full.push((to, full));
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }

    /// All parcels, for each node in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (u16, Vec<u8>)> + use<> {
        let full = std::mem::take(&mut self.full);
        full.into_iter().chain(std::mem::take(&mut self.open))
    }
}

fn put_piece(to: &mut Vec<u8>, flags: u8, to_worker: u16, from_worker: u16, length: u32) {
    to.push(flags);
    to.extend_from_slice(&to_worker.to_be_bytes());
    to.extend_from_slice(&from_worker.to_be_bytes());
    to.extend_from_slice(&length.to_be_bytes());
}

/// The numbers of messages to one incarnation of a node.
#[derive(Debug)]
pub(super) struct Outgoing {
    from: u16,
    from_incarnation: u64,
    number: u64,
    /// Something was numbered since the last beat.
    unconfirmed: bool,
}

impl Outgoing {
    pub(super) fn new(from: u16, from_incarnation: u64) -> Self {
        Self { from, from_incarnation, number: 0, unconfirmed: false }
    }

    /// The messages of a parcel.
    pub(super) fn messages(&mut self, parcel: Parcel, bytes_max: usize) -> Vec<Vec<u8>> {
        let bytes_max = bytes_max.clamp(HEAD + PIECE_HEAD + 1, MESSAGE_BYTES);
        if parcel.bytes.len() <= bytes_max {
            return vec![self.number(parcel.bytes)];
        }
        cut(&parcel.bytes, bytes_max).into_iter().map(|message| self.number(message)).collect()
    }

    /// A message will not be sent: the receiver notices that its number is missing.
    pub(super) fn skip(&mut self) {
        self.number += 1;
        self.unconfirmed = true;
    }

    /// A beat, if anything was sent since the last.
    pub(super) fn beat(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.unconfirmed) {
            return None;
        }
        let mut message = vec![0; HEAD];
        self.fill_head(Kind::Beat, &mut message);
        Some(message)
    }

    fn number(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        self.skip();
        self.fill_head(Kind::Words, &mut message);
        message
    }

    fn fill_head(&self, kind: Kind, message: &mut [u8]) {
        message[0] = VERSION;
        message[1] = kind as u8;
        message[2..4].copy_from_slice(&self.from.to_be_bytes());
        message[4..12].copy_from_slice(&self.from_incarnation.to_be_bytes());
        message[12..HEAD].copy_from_slice(&self.number.to_be_bytes());
    }
}

/// Cuts a parcel of ours into messages, each with an empty head.
fn cut(parcel: &[u8], bytes_max: usize) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut message = vec![0; HEAD];
    let mut rest = parcel.get(HEAD..).unwrap_or_default();
    while let Some((head, after)) = rest.split_at_checked(PIECE_HEAD) {
        let (to_worker, from_worker) = (number16(&head[1..3]), number16(&head[3..5]));
        let (mut word, next) = after.split_at(number32(&head[5..9]).min(after.len()));
        let mut flags = FIRST;
        loop {
            let room = bytes_max.saturating_sub(message.len() + PIECE_HEAD);
            // A word that fits into the next message is not cut for what is left of this.
            let fits_later = word.len() > room && word.len() <= bytes_max - HEAD - PIECE_HEAD;
            if message.len() > HEAD && (room == 0 || fits_later) {
                messages.push(std::mem::replace(&mut message, vec![0; HEAD]));
                continue;
            }
            let (piece, left) = word.split_at(room.min(word.len()));
            flags |= if left.is_empty() { LAST } else { 0 };
            put_piece(&mut message, flags, to_worker, from_worker, piece.len() as u32);
            message.extend_from_slice(piece);
            if left.is_empty() {
                break;
            }
            (word, flags) = (left, 0);
        }
        rest = next;
    }
    if message.len() > HEAD {
        messages.push(message);
    }
    messages
}

pub(super) fn number16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u16::from(*byte))
}

pub(super) fn number32(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte))
}

pub(super) fn number64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
