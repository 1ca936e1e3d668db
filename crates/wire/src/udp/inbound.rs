//! Pieces that come: in order, each once, joined to messages.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::WINDOW_PIECES;
use super::frame::Ack;

/// Bytes of pieces that wait for one that is missing, beside the largest message that may come:
/// what a window of full pieces needs (threat S43).
const WAITING_BYTES: usize = WINDOW_PIECES * super::PIECE_BYTES_MAX;

/// Memory of its own for a piece that waits, whatever its bytes.
const PIECE_COST: usize = 64;

/// The pieces of one direction, as the receiver sees them.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// The first piece that has not come.
    next: u32,
    /// Pieces behind it, by their distance. The first is always missing.
    waiting: VecDeque<Option<Waiting>>,
    waiting_bytes: usize,
    /// A message whose last piece has not come.
    begun: BytesMut,
}

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    more: bool,
}

/// A message is larger than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Inbound {
    /// Takes a piece; whole messages are appended to `whole`. A piece that came before or that
    /// finds no place is passed over: the sender repeats what is not acknowledged.
    pub fn take(
        &mut self,
        (number, more, bytes): (u32, bool, &[u8]),
        bytes_max: usize,
        whole: &mut VecDeque<Bytes>,
    ) -> Result<(), TooLarge> {
        let distance = number.wrapping_sub(self.next) as usize;
        if distance >= WINDOW_PIECES {
            return Ok(());
        }
        if distance > 0 {
            self.keep(distance, more, bytes, bytes_max);
            return Ok(());
        }
        self.join(bytes, more, bytes_max, whole)?;
        self.waiting.pop_front();
        while let Some(Some(_)) = self.waiting.front()
            && let Some(Some(piece)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= piece.bytes.len() + PIECE_COST;
            self.join(&piece.bytes, piece.more, bytes_max, whole)?;
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Ok(())
    }

    /// Whether something has come that nothing can be done with yet.
    pub fn is_incomplete(&self) -> bool {
        !self.begun.is_empty() || self.waiting_bytes > 0
    }

    /// Whether a piece is missing before one that came.
    pub fn has_gap(&self) -> bool {
        self.waiting_bytes > 0
    }

    /// The first piece that has not come.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Writes what has come into `bitmap`, as [`Ack::bitmap`] has it.
    pub fn ack<'a>(&self, seen: u64, bitmap: &'a mut [u8; WINDOW_PIECES / 8]) -> Ack<'a> {
        let mut len = 0;
        for (at, piece) in self.waiting.iter().skip(1).enumerate() {
            if piece.is_some()
                && let Some(byte) = bitmap.get_mut(at / 8)
            {
                *byte |= 1 << (at % 8);
                len = at / 8 + 1;
            }
        }
        Ack { seen, next: self.next, bitmap: &bitmap[..len] }
    }

    fn keep(&mut self, distance: usize, more: bool, bytes: &[u8], bytes_max: usize) {
        let cost = bytes.len() + PIECE_COST;
        if self.waiting_bytes + cost > WAITING_BYTES.min(bytes_max + PIECE_COST * WINDOW_PIECES) {
            return;
        }
        if self.waiting.len() <= distance {
            self.waiting.resize_with(distance + 1, || None);
        }
        if let Some(place @ None) = self.waiting.get_mut(distance) {
            *place = Some(Waiting { bytes: Bytes::copy_from_slice(bytes), more });
            self.waiting_bytes += cost;
        }
    }

    fn join(
        &mut self,
        bytes: &[u8],
        more: bool,
        bytes_max: usize,
        whole: &mut VecDeque<Bytes>,
    ) -> Result<(), TooLarge> {
        self.next = self.next.wrapping_add(1);
        if self.begun.len() + bytes.len() > bytes_max {
            self.begun = BytesMut::new();
            return Err(TooLarge);
        }
        if more {
            self.begun.extend_from_slice(bytes);
        } else if self.begun.is_empty() {
            whole.push_back(Bytes::copy_from_slice(bytes));
        } else {
            self.begun.extend_from_slice(bytes);
            whole.push_back(std::mem::take(&mut self.begun).freeze());
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn take(inbound: &mut Inbound, number: u32, more: bool, bytes: &[u8]) -> Vec<Bytes> {
        let mut whole = VecDeque::new();
        inbound.take((number, more, bytes), 1_000, &mut whole).unwrap();
        whole.into()
    }

    #[test]
    fn pieces_are_joined_in_order_each_once() {
        let mut inbound = Inbound::default();
        assert!(take(&mut inbound, 2, false, b"three").is_empty());
        assert!(take(&mut inbound, 1, false, b"b").is_empty());
        assert!(take(&mut inbound, 1, false, b"other").is_empty());
        let mut bitmap = [0; 32];
        assert_eq!(inbound.ack(9, &mut bitmap), Ack { seen: 9, next: 0, bitmap: &[0b11] });
        assert!(inbound.is_incomplete());
        assert_eq!(take(&mut inbound, 0, true, b"a"), ["ab", "three"]);
        assert!(take(&mut inbound, 0, true, b"a").is_empty() && !inbound.is_incomplete());
        let mut bitmap = [0; 32];
        assert_eq!(inbound.ack(9, &mut bitmap), Ack { seen: 9, next: 3, bitmap: &[] });
    }

    #[test]
    fn numbers_begin_again_behind_the_last() {
        let mut inbound = Inbound { next: u32::MAX, ..Inbound::default() };
        assert!(take(&mut inbound, 0, false, b"b").is_empty());
        assert_eq!(take(&mut inbound, u32::MAX, false, b"a"), ["a", "b"]);
        assert_eq!(inbound.next(), 1);
    }

    #[test]
    fn what_waits_for_a_missing_piece_is_bounded_in_pieces_and_bytes() {
        let mut inbound = Inbound::default();
        for number in 1..10_000 {
            take(&mut inbound, number, true, &[0; 500]);
        }
        assert!(inbound.waiting.len() <= WINDOW_PIECES);
        assert!(inbound.waiting_bytes <= 1_000 + PIECE_COST * WINDOW_PIECES);
    }

    #[test]
    fn a_message_above_the_limit_is_refused_before_it_is_whole() {
        let mut inbound = Inbound::default();
        take(&mut inbound, 0, true, &[0; 900]);
        let mut whole = VecDeque::new();
        assert_eq!(inbound.take((1, true, &[0; 200]), 1_000, &mut whole), Err(TooLarge));
        assert!(whole.is_empty());
    }
}
