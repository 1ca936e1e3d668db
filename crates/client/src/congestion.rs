//! How much may be under way on a QUIC path: one controller for both ends.
//!
//! The controllers that come with QUIC take each lost packet for a full path. That holds for who
//! sends as much as the path carries; a room sends what its members say, and over a radio link the
//! window falls to two packets and everything waits, what is unreliable as well. RFC 9002 section 7
//! leaves the controller open. This one asks first who the limit is:
//!
//! - While the application is, lost packets and longer round trips say something about the path and
//!   nothing about the window; it stays. A loss above a third is taken as congestion all the same.
//! - While the window is, it shrinks once more is lost than the path loses by itself and a little.
//! - It shrinks then, too, when round trips grow, because then a queue does: to what the path
//!   has carried in the round trip that it had without one. Round trips that stay long when next to
//!   nothing is under way are those of another path.
//! - After persistent congestion (RFC 9002 section 7.6) it begins anew from two packets, and marks
//!   (ECN, RFC 8511) shrink it to four fifths.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};

/// Packets of the window at the start (RFC 9002 section 7.2). While the window is the limit it does
/// not fall below that for a loss of up to [`LOSS_LIGHT`].
const PACKETS_START: u64 = 10;
/// Packets that may be under way however long the queue is: others may have made it.
const PACKETS_QUEUED_MIN: u64 = 4;
/// Packets that may always be under way (RFC 9002 section 7.2).
const PACKETS_MIN: u64 = 2;
/// What may be lost beyond what the path loses by itself, as a share.
const LOSS_TOLERATED: f64 = 0.02;
/// The same, before the window may fall below that of the start.
const LOSS_LIGHT: f64 = 0.1;
/// What may be lost while the application is the limit.
const LOSS_HEAVY: f64 = 1.0 / 3.0;
/// How much of what was counted before a round trip still counts after it: some eight of them do,
/// so that one lost packet of ten is no tenth.
const MEMORY: f64 = 7.0 / 8.0;
/// How much longer than the shortest a round trip may be: acknowledgements may wait for 25 ms, and
/// at 50 kB/s each packet takes as long.
const QUEUE: Duration = Duration::from_millis(50);
/// Packets of a round trip from which on its length says something.
const PACKETS_TIMED: u32 = 4;
/// How long a shortest round trip counts, once to twice: paths change.
const SHORTEST_FOR: Duration = Duration::from_secs(30);

/// Makes a controller for each path.
#[derive(Debug, Default)]
pub struct Congestion;

impl ControllerFactory for Congestion {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Window::new(now, mtu.into()))
    }
}

/// The controller of one path.
#[derive(Debug, Clone)]
struct Window {
    mtu: u64,
    bytes: u64,
    /// Below that the window doubles in each round trip in which it is the limit.
    doubling_below: u64,
    round: Round,
    /// What was lost while the application was the limit, and while the window was.
    loss_by_itself: Loss,
    loss_when_full: Loss,
    shortest: [Option<Duration>; 2],
    shortest_since: Instant,
    /// Packets sent until then knew nothing of the last mark.
    marked: Instant,
}

/// One round trip.
#[derive(Debug, Clone)]
struct Round {
    began: Instant,
    acknowledged: u64,
    packets: u32,
    lost: u64,
    shortest: Duration,
    /// The window was the limit.
    is_full: bool,
    /// Something that was sent in it was acknowledged.
    is_over: bool,
}

impl Round {
    fn new(began: Instant) -> Self {
        let (acknowledged, packets, lost, shortest) = (0, 0, 0, Duration::MAX);
        Self { began, acknowledged, packets, lost, shortest, is_full: false, is_over: false }
    }
}

/// Bytes acknowledged and lost, the older the less they count.
#[derive(Debug, Clone, Copy, Default)]
struct Loss {
    acknowledged: f64,
    lost: f64,
}

impl Loss {
    fn add(&mut self, round: &Round) {
        self.acknowledged = self.acknowledged * MEMORY + round.acknowledged as f64;
        self.lost = self.lost * MEMORY + round.lost as f64;
    }

    fn share(self) -> f64 {
        self.lost / (self.acknowledged + self.lost).max(1.0)
    }
}

impl Window {
    fn new(now: Instant, mtu: u64) -> Self {
        Self {
            mtu,
            bytes: PACKETS_START * mtu,
            doubling_below: u64::MAX,
            round: Round::new(now),
            loss_by_itself: Loss::default(),
            loss_when_full: Loss::default(),
            shortest: [None; 2],
            shortest_since: now,
            marked: now,
        }
    }

    fn time(&mut self, now: Instant, round_trip: Duration) {
        if now.saturating_duration_since(self.shortest_since) > SHORTEST_FOR {
            self.shortest = [None, self.shortest[0]];
            self.shortest_since = now;
        }
        let shortest = self.shortest[0].get_or_insert(round_trip);
        *shortest = round_trip.min(*shortest);
        self.round.shortest = round_trip.min(self.round.shortest);
        self.round.packets += 1;
    }

    /// What a whole round trip says.
    fn judge(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::new(now));
        let loss = match round.is_full {
            true => &mut self.loss_when_full,
            false => &mut self.loss_by_itself,
        };
        loss.add(&round);
        let lost = loss.share();
        let shortest = self.shortest.iter().flatten().min().copied().unwrap_or(round.shortest);
        let queue = match round.packets {
            PACKETS_TIMED.. => round.shortest.saturating_sub(shortest),
            _ => Duration::ZERO,
        };
        let queue_max = QUEUE.max(shortest / 4);
        if round.is_full && queue > queue_max {
            if self.bytes <= PACKETS_QUEUED_MIN * self.mtu {
                self.shortest = [Some(round.shortest), None];
                return;
            }
            let took = now.saturating_duration_since(round.began).as_secs_f64().max(1e-3);
            let a_second = round.acknowledged as f64 / took;
            let carries = a_second * (shortest + queue_max).as_secs_f64();
            let carries = carries.clamp(self.bytes as f64 / 2.0, self.bytes as f64 * 0.95);
            self.shrink(carries, PACKETS_QUEUED_MIN);
        } else if round.is_full {
            let too_much = lost - self.loss_by_itself.share();
            if too_much > LOSS_TOLERATED {
                let mut packets = PACKETS_START;
                if too_much > LOSS_LIGHT {
                    packets = PACKETS_MIN;
                    // Half of that is answered now: a path that became narrow at once is not taken
                    // for one that becomes narrower and narrower.
                    self.loss_when_full.lost /= 2.0;
                }
                self.shrink(self.bytes as f64 * (1.0 - lost / 2.0), packets);
            } else if self.bytes >= self.doubling_below {
                self.bytes = self.bytes.saturating_add(self.mtu.max(self.bytes / 16));
            } else if queue > queue_max / 2 {
                self.doubling_below = self.bytes;
            }
        } else if lost > LOSS_HEAVY {
            self.shrink(self.bytes as f64 / 2.0, PACKETS_MIN);
        }
    }

    /// Never below so many packets, unless it is there already.
    fn shrink(&mut self, bytes: f64, packets_min: u64) {
        self.bytes = self.bytes.min((bytes as u64).max(packets_min * self.mtu));
        self.doubling_below = self.bytes;
    }
}

impl Controller for Window {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _: &RttEstimator,
    ) {
        self.time(now, now.saturating_duration_since(sent));
        self.round.acknowledged = self.round.acknowledged.saturating_add(bytes);
        self.round.is_full |= !app_limited;
        self.round.is_over |= sent >= self.round.began;
        if !app_limited && self.bytes < self.doubling_below {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    fn on_end_acks(&mut self, now: Instant, _: u64, _: bool, _: Option<u64>) {
        if self.round.is_over {
            self.judge(now);
        }
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost: u64) {
        self.round.lost += lost;
        if persistent {
            self.doubling_below = PACKETS_START * self.mtu;
            self.bytes = PACKETS_MIN * self.mtu;
        } else if lost == 0 && sent > self.marked {
            self.marked = now;
            self.shrink(self.bytes as f64 * 0.8, PACKETS_MIN);
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu.into();
        self.bytes = self.bytes.max(PACKETS_MIN * self.mtu);
    }

    /// QUIC sends while one more packet stays below the window.
    fn window(&self) -> u64 {
        self.bytes.saturating_add(1)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        PACKETS_START * self.mtu
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
