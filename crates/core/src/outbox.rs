//! Bytes waiting for one link.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Bytes waiting for one link, in handles on shared frames: an event is encoded once, however many
/// outboxes it waits in. An idle outbox holds no memory of its own, and one that waits for a
/// single frame allocates nothing: what is rare stands behind a pointer, so that the rest shares a
/// cache line with what else a delivery needs of a link.
#[derive(Debug, Default)]
pub struct Outbox {
    first: Option<Chunk>,
    rest: Option<Box<Rest>>,
    /// A part of `first` is written already, and no longer in it.
    begun: bool,
}

/// Whose bytes wait: only a room's own are dropped by its `slow` rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(pub u64);

impl Tag {
    /// Replies, and everything else that is never dropped.
    pub const NONE: Self = Self(u64::MAX);

    /// The tag of unreliable bytes: never a room's own (32 bits), never [`Tag::NONE`].
    pub fn unreliable(hash: u64) -> Self {
        Self((hash | 1 << 63) & !1)
    }

    fn is_reliable(self) -> bool {
        self.0 >> 63 == 0 || self == Self::NONE
    }
}

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    tag: Tag,
}

/// What waits behind the first chunk.
#[derive(Debug, Default)]
struct Rest {
    chunks: VecDeque<Chunk>,
    /// Of all `chunks`.
    bytes: usize,
    /// Bytes that a recovery put here beyond the bound; they do not count against it.
    granted: usize,
}

impl Outbox {
    /// How many bytes wait.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.first().len() + self.rest.as_ref().map_or(0, |rest| rest.bytes)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The oldest waiting bytes that stand in one piece; empty if nothing waits.
    #[inline]
    pub fn first(&self) -> &[u8] {
        self.first.as_ref().map_or(&[], |chunk| &chunk.bytes)
    }

    /// The oldest waiting chunk, which is one frame or several whole ones, and whether it has to
    /// arrive. [`consume`](Self::consume) takes it away.
    pub fn front(&self) -> Option<(&Bytes, bool)> {
        self.first.as_ref().map(|chunk| (&chunk.bytes, chunk.tag.is_reliable()))
    }

    /// Fills `slices` with the oldest waiting pieces, for a vectored write; returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let rest = self.rest.iter().flat_map(|rest| &rest.chunks);
        for (slot, chunk) in slices.iter_mut().zip(self.first.iter().chain(rest)) {
            *slot = IoSlice::new(&chunk.bytes);
            count += 1;
        }
        count
    }

    /// Adds a control frame of the transport (a pong, a close frame) behind what waits.
    pub fn push_control(&mut self, bytes: Bytes) {
        self.push(bytes, Tag::NONE);
    }

    /// Adds all that waits in another, in whole chunks. None of them is dropped from then on.
    pub fn append(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        let rest = other.rest.into_iter().flat_map(|rest| rest.chunks);
        for chunk in other.first.into_iter().chain(rest) {
            self.push(chunk.bytes, Tag::NONE);
        }
    }

    /// Takes away the oldest `count` bytes: they were written.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        if self.rest.is_none() && count >= self.first().len() {
            self.first = None;
            self.begun = false;
        } else {
            self.consume_part(count);
        }
    }

    fn consume_part(&mut self, count: usize) {
        let mut left = count;
        while let Some(chunk) = &mut self.first {
            let len = chunk.bytes.len();
            if left < len {
                chunk.bytes.advance(left);
                self.begun |= left > 0;
                return;
            }
            left -= len;
            self.advance();
        }
        self.rest = None;
    }

    #[inline]
    pub(crate) fn push(&mut self, bytes: Bytes, tag: Tag) {
        if bytes.is_empty() {
            return;
        }
        let chunk = Chunk { bytes, tag };
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.push_behind(chunk);
        }
    }

    /// Apart, so that the path of a link that keeps up stays short.
    #[inline(never)]
    fn push_behind(&mut self, chunk: Chunk) {
        let rest = self.rest.get_or_insert_default();
        rest.bytes += chunk.bytes.len();
        rest.chunks.push_back(chunk);
    }

    /// Takes part of what is pushed next out of the bound until the outbox has drained.
    pub(crate) fn grant(&mut self, bytes: usize) {
        self.rest.get_or_insert_default().granted += bytes;
    }

    /// Bytes of recoveries that still wait, if any do.
    pub(crate) fn granted_bytes(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.granted)
    }

    /// Bytes that count against the bound.
    #[inline]
    pub(crate) fn counted_bytes(&self) -> usize {
        self.bytes().saturating_sub(self.granted_bytes())
    }

    /// Drops the oldest chunk of `tag` that no byte was written of; `false` if there is none.
    pub(crate) fn drop_oldest(&mut self, tag: Tag) -> bool {
        if !self.begun && self.first.as_ref().is_some_and(|chunk| chunk.tag == tag) {
            self.advance();
            return true;
        }
        let Some(rest) = &mut self.rest else { return false };
        let Some(at) = rest.chunks.iter().position(|chunk| chunk.tag == tag) else { return false };
        if let Some(chunk) = rest.chunks.remove(at) {
            rest.bytes -= chunk.bytes.len();
        }
        true
    }

    /// Drops everything that no byte was written of.
    pub(crate) fn clear(&mut self) {
        self.rest = None;
        if !self.begun {
            self.first = None;
        }
    }

    fn advance(&mut self) {
        self.begun = false;
        let Some(rest) = &mut self.rest else {
            self.first = None;
            return;
        };
        self.first = rest.chunks.pop_front();
        rest.bytes -= self.first.as_ref().map_or(0, |chunk| chunk.bytes.len());
        if rest.chunks.is_empty() && rest.granted == 0 {
            self.rest = None;
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
    fn a_chunk_says_whether_it_has_to_arrive() {
        let mut outbox = filled(&[("room", 7)]);
        outbox.push(Bytes::from_static(b"newest"), Tag::unreliable(u64::MAX));
        outbox.push_control(Bytes::from_static(b"reply"));
        let mut told = Vec::new();
        while let Some((bytes, reliable)) = outbox.front() {
            told.push((bytes.clone(), reliable));
            outbox.consume(told[told.len() - 1].0.len());
        }
        assert_eq!(told, [("room".into(), true), ("newest".into(), false), ("reply".into(), true)]);
    }

    #[test]
    fn an_idle_outbox_is_small() {
        assert!(size_of::<Outbox>() <= 112, "{}", size_of::<Outbox>());
    }
}
