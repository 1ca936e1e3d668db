//! Pieces that go: repeated until they are acknowledged.
//!
//! A piece is lost when a datagram came that was sent three after it, or one that was sent later
//! and an eighth more than the round trip has passed (RFC 9002 section 6.1), or when nothing is
//! heard of it for a round trip and its usual variation, which doubles with each repetition. Losses
//! make the window smaller by three tenths, once a round trip, and never so small that steady small
//! messages stand still; where the round trip tells that something queues, smaller.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::frame::Ack;
use super::owed::ACK_DELAY;
use super::{PIECE_BYTES_MAX, WINDOW_PIECES};

/// Bytes that are taken before they can be sent. One message more is always taken whole.
const QUEUE_BYTES: usize = 128 << 10;

/// Bytes under way: at first; at least, as long as nothing queues on the way, because losses by
/// chance are no reason to say less; at least where something does; at most.
const WINDOW_FIRST: usize = 16 * PIECE_BYTES_MAX;
const WINDOW_LEAST: usize = 16 * PIECE_BYTES_MAX;
const WINDOW_QUEUED: usize = 4 * PIECE_BYTES_MAX;
const WINDOW_MOST: usize = WINDOW_PIECES * PIECE_BYTES_MAX;

/// Datagrams that may overtake one before it is taken for lost.
const OVERTAKEN: u64 = 3;

/// Until the round trip is known.
const TIMEOUT_FIRST: Duration = Duration::from_millis(300);

/// Beyond the round trip, at least: an acknowledgement that was lost or waits, a worker's turn and
/// the other side's.
const SLACK: Duration = Duration::from_millis(20 + ACK_DELAY.as_millis() as u64);

/// Something queues on the way when the round trip takes so much more than twice the shortest.
const QUEUED: Duration = Duration::from_millis(50);

/// Datagrams of which the time is known when they are acknowledged: more than are sent in a round
/// trip.
const SENT_MAX: usize = 256;

/// A piece is repeated at least so often.
const TIMEOUT_MOST: Duration = Duration::from_secs(2);

/// The pieces of one direction, as the sender sees them.
#[derive(Debug)]
pub(super) struct Outbound {
    /// The number of the first of `pieces`.
    first: u32,
    /// From the first that is not acknowledged to the last that waits.
    pieces: VecDeque<Piece>,
    /// How many of `pieces` were sent at least once.
    begun: usize,
    /// How many of those are lost, and not yet repeated.
    lost: usize,
    /// Of all `pieces` that are not acknowledged.
    bytes: usize,
    /// Of those under way.
    flying: usize,
    window: usize,
    /// Below it the window grows by what is acknowledged, above by a piece a round trip.
    threshold: usize,
    /// Losses of datagrams up to this number have made the window smaller already.
    reduced: u64,
    round_trip: Option<RoundTrip>,
    /// When datagrams were sent that have not been told of. Kept by datagram, not by piece: one
    /// that is repeated too early would never tell how long the way is.
    sent: VecDeque<(u64, Duration)>,
    /// The highest number of a datagram that has come.
    seen: Option<u64>,
    /// No piece is overdue before this.
    deadline: Option<Duration>,
    repeated_total: u64,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    more: bool,
    state: State,
    /// How often it was sent.
    times: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Flying { seq: u64, at: Duration },
    Lost,
    Acknowledged,
}

#[derive(Debug, Clone, Copy)]
struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
    shortest: Duration,
}

/// A piece to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub number: u32,
    pub more: bool,
    pub bytes: Bytes,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            first: 0,
            pieces: VecDeque::new(),
            begun: 0,
            lost: 0,
            bytes: 0,
            flying: 0,
            window: WINDOW_FIRST,
            threshold: WINDOW_MOST,
            reduced: 0,
            round_trip: None,
            sent: VecDeque::new(),
            seen: None,
            deadline: None,
            repeated_total: 0,
        }
    }
}

impl Outbound {
    /// Whether a message more is taken.
    pub fn has_room(&self) -> bool {
        self.bytes < QUEUE_BYTES
    }

    /// Whether so much has gone that a sender who was refused may go on.
    pub fn has_drained(&self) -> bool {
        self.bytes <= QUEUE_BYTES / 2
    }

    /// Whether everything was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Takes a message.
    pub fn push(&mut self, message: &Bytes) {
        let mut rest = message.clone();
        loop {
            let bytes = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            let more = !rest.is_empty();
            self.bytes += bytes.len();
            self.pieces.push_back(Piece { bytes, more, state: State::Waiting, times: 0 });
            if !more {
                return;
            }
        }
    }

    /// The piece to be sent next, if one may be sent that has at most so many bytes; it counts as
    /// sent in the datagram `seq`.
    pub fn send(&mut self, now: Duration, seq: u64, bytes_max: usize) -> Option<Outgoing> {
        let at = match self.lost {
            0 => Some(self.begun),
            _ => self.pieces.iter().position(|piece| piece.state == State::Lost),
        }?;
        let piece = self.pieces.get_mut(at)?;
        let len = piece.bytes.len();
        let fits = self.flying == 0 || self.flying + len <= self.window;
        if len > bytes_max || at >= WINDOW_PIECES || !fits {
            return None;
        }
        if piece.state == State::Lost {
            self.lost -= 1;
            self.repeated_total += 1;
        } else {
            self.begun += 1;
        }
        piece.state = State::Flying { seq, at: now };
        piece.times = piece.times.saturating_add(1);
        self.flying += len;
        let overdue = now + timeout(self.round_trip, piece.times);
        self.deadline = Some(self.deadline.map_or(overdue, |deadline| deadline.min(overdue)));
        let number = self.first.wrapping_add(at as u32);
        Some(Outgoing { number, more: piece.more, bytes: piece.bytes.clone() })
    }

    /// A datagram is sent.
    pub fn note(&mut self, seq: u64, now: Duration) {
        if self.pieces.is_empty() {
            return;
        }
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((seq, now));
    }

    /// The other side says what has come. Returns whether anything of it is news.
    pub fn acknowledge(&mut self, now: Duration, ack: &Ack<'_>) -> bool {
        let count = ack.next.wrapping_sub(self.first) as usize;
        // More than was sent was never sent: an old word, or a lie.
        if count > self.begun {
            return false;
        }
        self.learn(now, ack.seen);
        let mut news = 0;
        for at in 0..self.begun {
            if at < count || ack.has(at - count) {
                news += self.arrived(at);
            }
        }
        while let Some(Piece { state: State::Acknowledged, .. }) = self.pieces.front() {
            self.pieces.pop_front();
            self.first = self.first.wrapping_add(1);
            self.begun -= 1;
        }
        if self.pieces.is_empty() {
            (self.pieces, self.sent) = (VecDeque::new(), VecDeque::new());
            self.deadline = None;
        }
        self.grow(news);
        self.find_lost(|seq, _| seq.saturating_add(OVERTAKEN) <= ack.seen);
        self.find_overdue(now);
        news > 0
    }

    /// How long the way is: told of the very datagram.
    fn learn(&mut self, now: Duration, seen: u64) {
        self.seen = self.seen.max(Some(seen));
        while let Some((seq, at)) = self.sent.pop_front_if(|(seq, _)| *seq <= seen) {
            if seq == seen {
                self.round_trip = Some(RoundTrip::with(self.round_trip, now.saturating_sub(at)));
            }
        }
    }

    /// One piece has come; returns its bytes if that is news, at least 1.
    fn arrived(&mut self, at: usize) -> usize {
        let Some(piece) = self.pieces.get_mut(at) else { return 0 };
        let len = piece.bytes.len();
        match std::mem::replace(&mut piece.state, State::Acknowledged) {
            State::Acknowledged => return 0,
            State::Flying { .. } => self.flying -= len,
            State::Lost => self.lost -= 1,
            State::Waiting => {}
        }
        self.bytes -= len;
        len.max(1)
    }

    fn grow(&mut self, news: usize) {
        if self.window < self.threshold {
            self.window += news;
        } else {
            self.window += news * PIECE_BYTES_MAX / self.window.max(1);
        }
        self.window = self.window.min(WINDOW_MOST);
    }

    /// Takes those for lost that nothing was heard of for too long.
    pub fn tick(&mut self, now: Duration) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.find_overdue(now);
        }
    }

    fn find_overdue(&mut self, now: Duration) {
        let (round_trip, seen) = (self.round_trip, self.seen);
        let due = |seq: u64, at: Duration, times: u32| {
            let overtaken = round_trip.filter(|_| seen.is_some_and(|seen| seq < seen));
            at + overtaken.map_or_else(|| timeout(round_trip, times), RoundTrip::and_an_eighth)
        };
        self.find_lost(|seq, (at, times)| due(seq, at, times) <= now);
        let flying = self.pieces.iter().take(self.begun).filter_map(|piece| match piece.state {
            State::Flying { seq, at } => Some(due(seq, at, piece.times)),
            _ => None,
        });
        self.deadline = flying.min();
    }

    fn find_lost(&mut self, is_lost: impl Fn(u64, (Duration, u32)) -> bool) {
        let mut last = None;
        for piece in self.pieces.iter_mut().take(self.begun) {
            if let State::Flying { seq, at } = piece.state
                && is_lost(seq, (at, piece.times))
            {
                piece.state = State::Lost;
                self.flying -= piece.bytes.len();
                self.lost += 1;
                last = last.max(Some(seq));
            }
        }
        // What was sent before the last reduction says nothing about the smaller window.
        if last.is_some_and(|last| last >= self.reduced) {
            let queued = self.round_trip.is_some_and(RoundTrip::is_queued);
            let least = if queued { WINDOW_QUEUED } else { WINDOW_LEAST };
            self.threshold = (self.window / 10 * 7).max(least);
            self.window = self.threshold;
            self.reduced = u64::MAX;
        }
    }

    /// Datagrams from this number on are sent within the window as it is now.
    pub fn settle_window(&mut self, seq: u64) {
        if self.reduced == u64::MAX {
            self.reduced = seq;
        }
    }

    /// When [`Outbound::tick`] wants to be called.
    pub fn due(&self) -> Option<Duration> {
        self.deadline
    }

    /// How long an answer takes at the most, as far as is known.
    pub fn timeout(&self) -> Duration {
        timeout(self.round_trip, 1)
    }

    /// The way is another: what was learned of the old one does not hold.
    pub fn change_path(&mut self) {
        self.round_trip = None;
        self.sent = VecDeque::new();
        self.window = WINDOW_FIRST;
        self.threshold = WINDOW_MOST;
    }

    /// How often the oldest piece that is not acknowledged was sent.
    pub fn times_of_oldest(&self) -> u32 {
        self.pieces.front().map_or(0, |piece| piece.times)
    }

    /// Pieces sent once more, since the start.
    pub fn repeated_total(&self) -> u64 {
        self.repeated_total
    }
}

impl RoundTrip {
    fn is_queued(self) -> bool {
        self.smoothed > self.shortest * 2 + QUEUED
    }

    /// RFC 9002 section 6.1.2.
    fn and_an_eighth(self) -> Duration {
        (self.smoothed * 9 / 8).max(Duration::from_millis(1))
    }

    /// RFC 6298 section 2.
    fn with(before: Option<Self>, took: Duration) -> Self {
        match before {
            None => Self { smoothed: took, variation: took / 2, shortest: took },
            Some(Self { smoothed, variation, shortest }) => Self {
                shortest: shortest.min(took),
                variation: (variation * 3 + smoothed.abs_diff(took)) / 4,
                smoothed: (smoothed * 7 + took) / 8,
            },
        }
    }
}

fn timeout(round_trip: Option<RoundTrip>, times: u32) -> Duration {
    let once = round_trip.map_or(TIMEOUT_FIRST, |RoundTrip { smoothed, variation, .. }| {
        smoothed + (variation * 4).max(SLACK)
    });
    (once * (1 << times.saturating_sub(1).min(6))).min(TIMEOUT_MOST)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn sent(outbound: &mut Outbound, now: Duration, seq: u64) -> Vec<u32> {
        std::iter::from_fn(|| outbound.send(now, seq, 2_000)).map(|piece| piece.number).collect()
    }

    fn filled(count: usize) -> Outbound {
        let mut outbound = Outbound::default();
        for _ in 0..count {
            outbound.push(&Bytes::from_static(b"message"));
        }
        outbound
    }

    #[test]
    fn a_message_goes_in_pieces_and_room_is_bounded() {
        let mut outbound = Outbound::default();
        outbound.push(&Bytes::from(vec![0; 2 * PIECE_BYTES_MAX + 1]));
        outbound.push(&Bytes::new());
        let pieces: Vec<_> = std::iter::from_fn(|| outbound.send(MS, 0, 2_000)).collect();
        let told: Vec<_> = pieces.iter().map(|p| (p.number, p.more, p.bytes.len())).collect();
        assert_eq!(told, [(0, true, 1_100), (1, true, 1_100), (2, false, 1), (3, false, 0)]);
        while outbound.has_room() {
            outbound.push(&Bytes::from(vec![0; 10_000]));
        }
        assert!(outbound.bytes < QUEUE_BYTES + 10_000 && !outbound.has_drained());
        sent(&mut outbound, MS, 1);
        assert!(outbound.flying <= WINDOW_FIRST);
    }

    #[test]
    fn what_three_later_datagrams_overtook_is_repeated_at_once() {
        let mut outbound = filled(5);
        for seq in 0..5 {
            assert_eq!(outbound.send(MS, seq, 2_000).unwrap().number, seq as u32);
        }
        // Piece 1 is missing.
        assert!(outbound.acknowledge(2 * MS, &Ack { seen: 3, next: 1, bitmap: &[0b11] }));
        assert!(sent(&mut outbound, 2 * MS, 5).is_empty());
        assert!(outbound.acknowledge(2 * MS, &Ack { seen: 4, next: 1, bitmap: &[0b111] }));
        assert_eq!(sent(&mut outbound, 2 * MS, 5), [1]);
        assert_eq!(outbound.repeated_total(), 1);
        assert!(outbound.acknowledge(3 * MS, &Ack { seen: 5, next: 5, bitmap: &[] }));
        assert!(outbound.is_empty() && outbound.flying == 0 && outbound.bytes == 0);
        assert_eq!(outbound.due(), None);
    }

    #[test]
    fn numbers_of_pieces_begin_again_behind_the_last() {
        let mut outbound = Outbound { first: u32::MAX - 1, ..filled(5) };
        assert_eq!(sent(&mut outbound, MS, 0), [u32::MAX - 1, u32::MAX, 0, 1, 2]);
        // The third has not come.
        assert!(outbound.acknowledge(2 * MS, &Ack { seen: 0, next: 0, bitmap: &[0b11] }));
        assert_eq!((outbound.first, outbound.bytes), (0, 7));
        outbound.tick(Duration::from_secs(3));
        assert_eq!(sent(&mut outbound, Duration::from_secs(3), 1), [0]);
        assert!(
            outbound.acknowledge(Duration::from_secs(4), &Ack { seen: 1, next: 3, bitmap: &[] })
        );
        assert!(outbound.is_empty());
    }

    #[test]
    fn what_nothing_is_heard_of_is_repeated_less_and_less_often() {
        let mut outbound = filled(1);
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for seq in 0..6 {
            assert_eq!(sent(&mut outbound, now, seq), [0]);
            let due = outbound.due().unwrap();
            outbound.tick(due - MS);
            assert!(sent(&mut outbound, due - MS, seq).is_empty());
            outbound.tick(due);
            waits.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(waits, [300, 600, 1_200, 2_000, 2_000, 2_000]);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_passed_over() {
        let mut outbound = filled(3);
        assert_eq!(outbound.send(MS, 0, 2_000).unwrap().number, 0);
        for next in [2, 3, u32::MAX, 1 << 31] {
            assert!(!outbound.acknowledge(MS, &Ack { seen: 9, next, bitmap: &[0xff; 32] }));
        }
        assert_eq!((outbound.bytes, outbound.pieces.len()), (21, 3));
    }

    #[test]
    fn losses_make_the_window_smaller_once_a_round_trip_and_never_too_small() {
        let mut outbound = Outbound::default();
        let mut seq = 0;
        for round in 0..20_u64 {
            for _ in 0..10 {
                outbound.push(&Bytes::from_static(&[0; 1_000]));
            }
            let now = Duration::from_secs(3 * round);
            while outbound.send(now, seq, 2_000).is_some() {
                seq += 1;
            }
            let before = outbound.window;
            outbound.tick(now + TIMEOUT_MOST);
            assert!(outbound.window >= before / 10 * 7 - 10);
            outbound.settle_window(seq);
        }
        assert_eq!(outbound.window, WINDOW_LEAST);
    }
}
