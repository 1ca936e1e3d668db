//! What sessions were told, to be told again if they come back without having heard it.

use std::collections::VecDeque;

use bytes::Bytes;
use roomcast_wire::{Epoch, Format, Offset};

use crate::config::ReplayBounds;
use crate::io::Now;
use crate::key::SessionKey;

/// What the sessions of one shard were told whose clients [recover](Format::recovers): in shared
/// frames, each with a number of the shard, so that one frame has the same for all its receivers.
#[derive(Debug)]
pub(crate) struct Replays {
    /// None: no client recovers, and nothing is kept.
    bounds: Option<ReplayBounds>,
    epoch: Epoch,
    /// The number that was given last.
    last: u64,
    now: Now,
    /// By the slot of their session.
    table: Vec<Option<Box<Replay>>>,
    /// When the age of what is kept for a session is looked at, oldest first: one look at a time
    /// for each session that has something.
    looks: VecDeque<(Now, SessionKey)>,
}

/// What one session was told.
#[derive(Debug)]
struct Replay {
    session: SessionKey,
    format: Format,
    /// The last number when the session began.
    begun: u64,
    /// All that was told behind this number is still here.
    whole_from: u64,
    /// Of all `frames`, with what each costs beside its bytes.
    bytes: usize,
    frames: VecDeque<Frame>,
    is_looked_at: bool,
}

#[derive(Debug)]
struct Frame {
    number: u64,
    at: Now,
    bytes: Bytes,
}

/// What marks a frame before it is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    /// Stands in it.
    pub offset: Option<Offset>,
    /// It is to be told again.
    kept: bool,
}

impl Frame {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

impl Replays {
    pub fn new(bounds: Option<ReplayBounds>, random: u64) -> Self {
        Self {
            bounds,
            epoch: Epoch::new(random),
            last: 0,
            now: Now::default(),
            table: Vec::new(),
            looks: VecDeque::new(),
        }
    }

    /// Whether what is told in a format can be told again.
    #[inline]
    pub fn keeps(&self, format: Format) -> bool {
        self.bounds.is_some() && format.recovers()
    }

    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// A session begins.
    pub fn begin(&mut self, session: SessionKey, format: Format) {
        if !self.keeps(format) {
            return;
        }
        let at = session.slot as usize;
        if self.table.len() <= at {
            self.table.resize_with(at + 1, || None);
        }
        let (begun, whole_from) = (self.last, self.last);
        let (bytes, frames, is_looked_at) = (0, VecDeque::new(), false);
        let replay = Replay { session, format, begun, whole_from, bytes, frames, is_looked_at };
        self.table[at] = Some(Box::new(replay));
    }

    /// A session is over.
    pub fn end(&mut self, slot: u32) {
        if let Some(place) = self.table.get_mut(slot as usize) {
            *place = None;
        }
        while self.table.last().is_some_and(Option::is_none) {
            self.table.pop();
        }
        if self.table.capacity() > 4 * self.table.len() + 1_024 {
            self.table.shrink_to(2 * self.table.len());
        }
    }

    /// How a session that can come back hears; none: what it is told is not kept.
    pub fn format_of(&self, slot: u32) -> Option<Format> {
        Some(self.table.get(slot as usize)?.as_ref()?.format)
    }

    pub fn has(&self, slot: u32) -> bool {
        self.format_of(slot).is_some()
    }

    /// The mark of what is written next in a format. What may be dropped has the number of what
    /// was told before it: who has heard it has heard that, too.
    pub fn mark(&mut self, format: Format, reliable: bool) -> Mark {
        if !self.keeps(format) {
            return Mark::default();
        }
        self.last += u64::from(reliable);
        let offset = Some(Offset { epoch: self.epoch, number: self.last });
        Mark { offset, kept: reliable }
    }

    /// Keeps a frame for a session that is told it. What is oldest goes if it becomes too much.
    pub fn keep(&mut self, slot: u32, mark: Mark, frame: &Bytes) {
        let is_kept = mark.kept && !frame.is_empty();
        let Some((bounds, offset)) = self.bounds.zip(mark.offset).filter(|_| is_kept) else {
            return;
        };
        let Some(Some(replay)) = self.table.get_mut(slot as usize) else { return };
        let frame = Frame { number: offset.number, at: self.now, bytes: frame.clone() };
        replay.bytes += frame.cost();
        replay.frames.push_back(frame);
        while replay.bytes > bounds.bytes {
            replay.forget_oldest();
        }
        if !replay.is_looked_at && !replay.frames.is_empty() {
            replay.is_looked_at = true;
            self.looks.push_back((self.now.plus(bounds.ms), replay.session));
        }
    }

    /// A client comes back that has heard all up to `offset` (none: nothing). Whether the rest is
    /// still here; then nothing else is.
    pub fn rewind(&mut self, slot: u32, format: Format, offset: Option<Offset>) -> bool {
        let Some(Some(replay)) = self.table.get_mut(slot as usize) else { return false };
        let heard = match offset {
            // One of another life is of a session that the client had before: of this one it has
            // heard nothing, as it would have taken up its offset.
            Some(offset) if offset.epoch == self.epoch => offset.number.max(replay.begun),
            _ => replay.begun,
        };
        if replay.format != format || heard < replay.whole_from || heard > self.last {
            return false;
        }
        while replay.frames.front().is_some_and(|frame| frame.number <= heard) {
            replay.forget_oldest();
        }
        replay.whole_from = heard;
        true
    }

    /// All that is kept for a session, oldest first.
    pub fn frames(&self, slot: u32) -> Vec<Bytes> {
        let replay = self.table.get(slot as usize).and_then(Option::as_ref);
        let frames = replay.into_iter().flat_map(|replay| &replay.frames);
        frames.map(|frame| frame.bytes.clone()).collect()
    }

    /// When [`Replays::forget_old`] is due.
    pub fn next_deadline(&self) -> Option<Now> {
        self.looks.front().map(|(at, _)| *at)
    }

    /// Forgets what nobody can come back for any more. What is younger than its session's look is
    /// looked at next time: nothing stays for longer than twice its age.
    pub fn forget_old(&mut self, now: Now) {
        let Some(bounds) = self.bounds else { return };
        while let Some((_, session)) = self.looks.pop_front_if(|(at, _)| *at <= now) {
            let Some(Some(replay)) = self.table.get_mut(session.slot as usize) else { continue };
            if replay.session != session {
                continue;
            }
            while replay.frames.front().is_some_and(|frame| frame.at.plus(bounds.ms) <= now) {
                replay.forget_oldest();
            }
            replay.is_looked_at = !replay.frames.is_empty();
            if replay.is_looked_at {
                self.looks.push_back((now.plus(bounds.ms), session));
            } else {
                replay.frames = VecDeque::new();
            }
        }
    }
}

impl Replay {
    fn forget_oldest(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.cost();
            self.whole_from = frame.number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ShardId;

    const FORMAT: Format = Format::SOCKETIO_JSON;
    const COST: usize = size_of::<Frame>() + 10;

    fn session(slot: u32) -> SessionKey {
        SessionKey { shard: ShardId::alone(0), slot, generation: slot }
    }

    /// Frames of 10 bytes, of which three are kept for a second.
    fn replays() -> Replays {
        let mut replays = Replays::new(Some(ReplayBounds { bytes: 3 * COST, ms: 1_000 }), 7);
        replays.begin(session(0), FORMAT);
        replays
    }

    fn tell(replays: &mut Replays, text: &'static [u8; 10]) -> Offset {
        let mark = replays.mark(FORMAT, true);
        replays.keep(0, mark, &Bytes::from_static(text));
        mark.offset.unwrap_or_else(|| unreachable!("the format recovers"))
    }

    fn missed(replays: &mut Replays, offset: Option<Offset>) -> Option<Vec<Bytes>> {
        replays.rewind(0, FORMAT, offset).then(|| replays.frames(0))
    }

    #[test]
    fn what_was_not_heard_is_there_in_order() {
        let mut replays = replays();
        let first = tell(&mut replays, b"0123456789");
        let second = tell(&mut replays, b"abcdefghij");
        assert_eq!(missed(&mut replays, None).map(|all| all.len()), Some(2));
        let rest = missed(&mut replays, Some(first));
        assert_eq!(rest, Some(vec![Bytes::from_static(b"abcdefghij")]));
        assert_eq!(missed(&mut replays, Some(second)), Some(vec![]));
        assert_eq!(replays.table[0].as_ref().map(|replay| replay.bytes), Some(0));
        // It has said that it heard them.
        assert_eq!(missed(&mut replays, Some(first)), None);
        assert_eq!(missed(&mut replays, None), None);
    }

    #[test]
    fn what_is_too_much_or_too_old_is_gone_and_that_is_known() {
        let mut replays = replays();
        let offsets: Vec<_> = (0..5).map(|_| tell(&mut replays, b"0123456789")).collect();
        assert!(!replays.rewind(0, FORMAT, None) && !replays.rewind(0, FORMAT, Some(offsets[0])));
        replays.set_now(Now(600));
        let late = tell(&mut replays, b"abcdefghij");
        assert_eq!(replays.next_deadline(), Some(Now(1_000)));
        replays.forget_old(Now(1_000));
        assert_eq!(replays.frames(0), [Bytes::from_static(b"abcdefghij")]);
        assert!(!replays.rewind(0, FORMAT, Some(offsets[3])));
        assert_eq!(missed(&mut replays, Some(offsets[4])).map(|all| all.len()), Some(1));
        replays.forget_old(Now(2_000));
        assert_eq!((replays.next_deadline(), replays.frames(0).len()), (None, 0));
        assert_eq!(missed(&mut replays, Some(late)), Some(vec![]));
    }

    #[test]
    fn a_frame_that_is_larger_than_all_may_be_is_not_kept() {
        let mut replays = replays();
        let mark = replays.mark(FORMAT, true);
        replays.keep(0, mark, &Bytes::from(vec![b'x'; 4 * COST]));
        assert_eq!((replays.frames(0).len(), replays.next_deadline()), (0, None));
        assert!(!replays.rewind(0, FORMAT, None) && replays.rewind(0, FORMAT, mark.offset));
    }

    #[test]
    fn offsets_that_cannot_be_are_no_offsets() {
        let mut replays = replays();
        let told = tell(&mut replays, b"0123456789");
        assert!(!replays.rewind(0, FORMAT, Some(Offset { number: u64::MAX, ..told })));
        assert!(!replays.rewind(0, Format::SOCKETIO_MSGPACK, Some(told)));
        assert!(!replays.rewind(1, FORMAT, Some(told)));
        // Of another life: nothing was heard of this session.
        let foreign = Offset { epoch: Epoch::new(8), number: u64::MAX };
        assert_eq!(missed(&mut replays, Some(foreign)).map(|all| all.len()), Some(1));
        // Of an earlier session of this life.
        replays.begin(session(0), FORMAT);
        tell(&mut replays, b"abcdefghij");
        assert_eq!(missed(&mut replays, Some(told)).map(|all| all.len()), Some(1));
    }

    #[test]
    fn what_may_be_dropped_moves_nothing() {
        let mut replays = replays();
        let told = tell(&mut replays, b"0123456789");
        let mark = replays.mark(FORMAT, false);
        replays.keep(0, mark, &Bytes::from_static(b"volatile"));
        assert_eq!((mark.offset, replays.frames(0).len()), (Some(told), 1));
    }

    #[test]
    fn nothing_is_kept_where_nobody_recovers() {
        let mut off = Replays::new(None, 7);
        off.begin(session(0), FORMAT);
        let mark = off.mark(FORMAT, true);
        off.keep(0, mark, &Bytes::from_static(b"x"));
        assert!(!off.has(0) && mark.offset.is_none() && off.next_deadline().is_none());
        let mut replays = replays();
        replays.begin(session(1), Format::JSON_WS);
        assert!(!replays.has(1) && replays.mark(Format::JSON_WS, true).offset.is_none());
        replays.end(0);
        assert!(replays.table.is_empty());
    }
}
