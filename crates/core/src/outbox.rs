//! Bytes waiting for one link.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

/// Bytes waiting for one link, in handles on shared frames: an event is encoded once, however many
/// outboxes it waits in. An idle outbox holds no memory of its own, and one that waits for a
/// single frame allocates nothing.
#[derive(Debug, Default)]
pub struct Outbox {
    first: Option<Chunk>,
    rest: VecDeque<Chunk>,
    /// Of `first`, how much is written already.
    written: usize,
    bytes: usize,
    /// Bytes that a recovery put here beyond the bound; they do not count against it.
    granted: usize,
}

/// Whose bytes wait: only a room's own are dropped by its `slow` rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(pub u64);

impl Tag {
    /// Replies, and everything else that is never dropped.
    pub const NONE: Self = Self(u64::MAX);
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    tag: Tag,
}

impl Outbox {
    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The oldest waiting bytes that stand in one piece; empty if nothing waits.
    pub fn first(&self) -> &[u8] {
        self.first.as_ref().map_or(&[], |chunk| &chunk.bytes[self.written..])
    }

    /// Fills `slices` with the oldest waiting pieces, for a vectored write; returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let pieces = std::iter::once(self.first()).filter(|piece| !piece.is_empty());
        let pieces = pieces.chain(self.rest.iter().map(|chunk| &chunk.bytes[..]));
        for (slot, piece) in slices.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// Adds a control frame of the transport (a pong, a close frame) behind what waits.
    pub fn push_control(&mut self, bytes: Bytes) {
        self.push(bytes, Tag::NONE);
    }

    /// Takes away the oldest `count` bytes: they were written.
    pub fn consume(&mut self, count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        let mut left = self.written + count;
        while let Some(chunk) = &self.first {
            let len = chunk.bytes.len();
            if left < len {
                self.written = left;
                return;
            }
            left -= len;
            self.advance();
        }
        self.written = 0;
        self.granted = 0;
    }

    pub(crate) fn push(&mut self, bytes: Bytes, tag: Tag) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        let chunk = Chunk { bytes, tag };
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.rest.push_back(chunk);
        }
    }

    /// Takes part of what is pushed next out of the bound until the outbox has drained.
    pub(crate) fn grant(&mut self, bytes: usize) {
        self.granted += bytes;
    }

    /// Bytes of recoveries that still wait, if any do.
    pub(crate) fn granted_bytes(&self) -> usize {
        self.granted
    }

    /// Bytes that count against the bound.
    pub(crate) fn counted_bytes(&self) -> usize {
        self.bytes.saturating_sub(self.granted)
    }

    /// Drops the oldest chunk of `tag` that no byte was written of; `false` if there is none.
    pub(crate) fn drop_oldest(&mut self, tag: Tag) -> bool {
        if self.written == 0 && self.first.as_ref().is_some_and(|chunk| chunk.tag == tag) {
            self.bytes -= self.first().len();
            self.advance();
            return true;
        }
        let Some(at) = self.rest.iter().position(|chunk| chunk.tag == tag) else { return false };
        if let Some(chunk) = self.rest.remove(at) {
            self.bytes -= chunk.bytes.len();
        }
        true
    }

    /// Drops everything that no byte was written of.
    pub(crate) fn clear(&mut self) {
        self.rest = VecDeque::new();
        if self.written == 0 {
            self.first = None;
        }
        self.bytes = self.first().len();
        self.granted = 0;
    }

    fn advance(&mut self) {
        self.written = 0;
        self.first = self.rest.pop_front();
        if self.rest.is_empty() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pieces: &[(&'static str, u64)]) -> Outbox {
        let mut outbox = Outbox::default();
        for (piece, tag) in pieces {
            outbox.push(Bytes::from_static(piece.as_bytes()), Tag(*tag));
        }
        outbox
    }

    fn text(outbox: &Outbox) -> String {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = outbox.slices(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(bytes.len(), outbox.bytes());
        String::from_utf8(bytes).unwrap_or_default()
    }

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut outbox = filled(&[("abc", 1), ("de", 2), ("f", 1)]);
        assert_eq!(text(&outbox), "abcdef");
        outbox.consume(2);
        assert_eq!((text(&outbox).as_str(), outbox.first()), ("cdef", &b"c"[..]));
        outbox.consume(2);
        assert_eq!(text(&outbox), "ef");
        outbox.consume(2);
        assert!(outbox.is_empty());
        outbox.consume(5);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_chunk_that_is_partly_written_is_never_dropped() {
        let mut outbox = filled(&[("abc", 1), ("de", 2), ("f", 1)]);
        outbox.consume(1);
        assert!(outbox.drop_oldest(Tag(1)));
        assert_eq!(text(&outbox), "bcde");
        assert!(!outbox.drop_oldest(Tag(1)));
        outbox.clear();
        assert_eq!(text(&outbox), "bc");
        let mut outbox = filled(&[("abc", 1), ("de", 2)]);
        assert!(outbox.drop_oldest(Tag(1)));
        assert_eq!(text(&outbox), "de");
    }

    #[test]
    fn what_a_recovery_puts_in_does_not_count_until_it_is_drained() {
        let mut outbox = filled(&[("abcdef", 1)]);
        outbox.grant(6);
        assert_eq!((outbox.bytes(), outbox.counted_bytes()), (6, 0));
        outbox.push(Bytes::from_static(b"xy"), Tag(1));
        assert_eq!(outbox.counted_bytes(), 2);
        outbox.consume(8);
        outbox.push(Bytes::from_static(b"xy"), Tag(1));
        assert_eq!(outbox.counted_bytes(), 2);
        assert_eq!(outbox.granted_bytes(), 0);
    }

    #[test]
    fn an_idle_outbox_is_small() {
        assert!(size_of::<Outbox>() <= 112, "{}", size_of::<Outbox>());
    }
}
