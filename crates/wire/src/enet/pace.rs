//! How fast a link is, and what follows from it: when something is sent again, how many bytes may
//! be on their way, and how many unreliable messages are dropped before they are sent.
//!
//! The numbers that ENet's ends tell each other are used as they are meant: interval, acceleration
//! and deceleration of the throttle, the peer's bandwidth. What makes a link a bad one is judged
//! anew. The C library takes a round trip above the lowest mean for a full link, so that an even
//! jitter of 10 ms drops half to nine tenths of what is unreliable and closes the window of what is
//! reliable, which then waits for seconds (docs/performance.md has both). A full link has a queue:
//! the mean itself goes up, or more is lost than arrives.

use super::command::Throttle;
use super::{MTU, WINDOW_MAX, WINDOW_MIN};

/// Round trip until one was measured, in microseconds. The C library reckons in milliseconds, where
/// an eighth of what differs by less than eight is nothing, so that its mean stands still.
const RTT_US: u32 = 500_000;
/// All is let through.
const SCALE: u32 = 32;
/// So much is let through however bad the link is: what is learned of it is learned by this.
const THROUGH_MIN: u32 = 4;
/// Each unreliable message moves the counter by this; those for which it stands above what is let
/// through are dropped. 7 and 32 have no common divisor, so that they are spread evenly.
const STEP: u32 = 7;
/// A mean this far above twice the shortest round trip is a queue, in microseconds: a frame of a
/// game that looks for datagrams once in a frame.
const QUEUE_US: u32 = 20_000;
/// What was overtaken may take this much longer than the round trip, at least, in microseconds.
const OVERTAKEN_US: u32 = 10_000;
/// Reliable bytes on their way at the beginning: those of a dozen datagrams.
const WINDOW_FIRST: u32 = 16_384;
/// What is left of the window where the link is full, in tenths.
const WINDOW_LEFT: u32 = 5;
/// The shortest round trip of a full link is forgotten after so many others.
const JUDGED_AGAIN: u32 = 4;
/// The share that is lost, in 65,536ths, is the mean of about the last 64. An acknowledgement that
/// is lost counts, too: 20 % in both directions look like 36 %.
const LOSS_SCALE: u32 = 65_536;
const LOSS_STEPS: u32 = 64;
/// How often the bandwidth of the peer is compared with what it was sent, in milliseconds.
const BANDWIDTH_INTERVAL_MS: u64 = 1000;
/// A window of the smallest size for so many bytes a second.
const BANDWIDTH_OF_WINDOW: u32 = 65_536;

/// What a client proposes.
pub(super) const THROTTLE: Throttle =
    Throttle { interval_ms: 5000, acceleration: 2, deceleration: 2 };

pub(super) struct Pace {
    rtt_us: u32,
    variance_us: u32,
    is_measured: bool,
    /// The shortest round trip of the last interval and of this one.
    last_shortest_us: u32,
    shortest_us: u32,
    interval_since: Option<u64>,
    /// Whether the link has no room.
    is_full: bool,
    /// What was lost of late, in 65,536ths.
    loss: u32,
    /// How much is let through, in 32nds, and how much may be at most.
    through: u32,
    through_max: u32,
    counter: u32,
    throttle: Throttle,
    /// Reliable bytes that may be on their way: what the link takes, and what the peer does.
    window_bytes: u32,
    window_bytes_max: u32,
    /// When the window was last made smaller; none: never, so that it grows fast.
    narrowed_at: Option<u64>,
    /// What the peer takes, in bytes a second; 0: any.
    bandwidth: u32,
    bandwidth_since: u64,
    sent_bytes: u32,
}

impl Pace {
    pub(super) fn new(throttle: Throttle, bandwidth: u32) -> Self {
        let mut pace = Self {
            rtt_us: RTT_US,
            variance_us: 0,
            is_measured: false,
            last_shortest_us: u32::MAX,
            shortest_us: u32::MAX,
            interval_since: None,
            is_full: false,
            loss: 0,
            through: SCALE,
            through_max: SCALE,
            counter: 0,
            throttle,
            window_bytes: WINDOW_FIRST,
            window_bytes_max: WINDOW_MAX,
            narrowed_at: None,
            bandwidth: 0,
            bandwidth_since: 0,
            sent_bytes: 0,
        };
        pace.set_bandwidth(bandwidth);
        pace
    }

    pub(super) fn set_throttle(&mut self, throttle: Throttle) {
        self.throttle = throttle;
    }

    /// What the peer takes, in bytes a second; 0: any.
    pub(super) fn set_bandwidth(&mut self, bandwidth: u32) {
        self.bandwidth = bandwidth;
        self.window_bytes_max = match bandwidth {
            0 => WINDOW_MAX,
            some => (some / BANDWIDTH_OF_WINDOW * WINDOW_MIN).clamp(WINDOW_MIN, WINDOW_MAX),
        };
        self.window_bytes = self.window_bytes.min(self.window_bytes_max);
        if bandwidth == 0 {
            self.through_max = SCALE;
        }
    }

    /// Reliable bytes that may be on their way.
    pub(super) fn window_bytes(&self) -> u32 {
        self.window_bytes
    }

    /// When something sent now is sent again, in milliseconds from now.
    pub(super) fn timeout_ms(&self) -> u32 {
        self.rtt_us.saturating_add(self.variance_us.saturating_mul(4)).div_ceil(1000)
    }

    /// The same for what something sent later has overtaken: a quarter of the round trip for
    /// those that only took another way (RFC 8985, section 6.2), or more where that is usual.
    pub(super) fn overtaken_ms(&self) -> u32 {
        let slack = (self.rtt_us / 4).max(self.variance_us.saturating_mul(3)).max(OVERTAKEN_US);
        self.rtt_us.saturating_add(slack).div_ceil(1000)
    }

    /// So many bytes were acknowledged after so long.
    pub(super) fn measure(&mut self, now: u64, rtt_ms: u32, bytes: u32) {
        let rtt = rtt_ms.max(1).saturating_mul(1000);
        if self.is_measured {
            let diff = rtt.abs_diff(self.rtt_us);
            self.variance_us = (self.variance_us - self.variance_us / 4).saturating_add(diff / 4);
            self.rtt_us = (self.rtt_us - self.rtt_us / 8).saturating_add(rtt / 8);
        } else {
            self.is_measured = true;
            self.rtt_us = rtt;
            self.variance_us = rtt / 2;
        }
        // A queue of our own is gone soon after less is sent. What stays as slow then is another
        // way, or somebody else's queue.
        let soon_ms = self.rtt_us / 1000 * JUDGED_AGAIN;
        let full_ms = if self.is_full { soon_ms } else { u32::MAX };
        let interval = u64::from(self.throttle.interval_ms.min(full_ms));
        if self.interval_since.is_none_or(|since| now.saturating_sub(since) >= interval) {
            self.last_shortest_us = self.shortest_us;
            self.shortest_us = rtt;
            self.interval_since = Some(now);
        }
        self.shortest_us = self.shortest_us.min(rtt);
        self.loss -= self.loss / LOSS_STEPS;
        self.judge(now);
        if !self.is_full {
            let more = match self.narrowed_at {
                None => bytes,
                // Slowly: by a datagram a round trip.
                Some(_) => bytes.saturating_mul(MTU) / self.window_bytes.max(1),
            };
            let window = self.window_bytes.saturating_add(more);
            self.window_bytes = window.min(self.window_bytes_max);
        }
    }

    /// Something was lost.
    pub(super) fn lose(&mut self, now: u64) {
        self.loss += (LOSS_SCALE - self.loss) / LOSS_STEPS;
        self.judge(now);
    }

    /// Lets more through where the link has room, and less where it is full.
    fn judge(&mut self, now: u64) {
        let shortest = self.last_shortest_us.min(self.shortest_us);
        let jitter = self.variance_us.saturating_mul(2);
        let bound = shortest.saturating_mul(2).saturating_add(jitter).saturating_add(QUEUE_US);
        let was_full = self.is_full;
        self.is_full = self.rtt_us > bound || self.loss > LOSS_SCALE / 2;
        if self.is_full && !was_full {
            (self.last_shortest_us, self.shortest_us) = (shortest, u32::MAX);
            self.interval_since = Some(now);
        }
        if !self.is_full {
            let more = self.through.saturating_add(self.throttle.acceleration);
            self.through = more.min(self.through_max);
            return;
        }
        let less = self.through.saturating_sub(self.throttle.deceleration);
        self.through = less.max(THROUGH_MIN).min(self.through);
        // What is done about it shows a round trip later.
        let rtt_ms = u64::from(self.rtt_us / 1000);
        if self.narrowed_at.is_none_or(|at| now.saturating_sub(at) >= rtt_ms) {
            self.narrowed_at = Some(now);
            self.window_bytes = (self.window_bytes / 10 * WINDOW_LEFT).max(WINDOW_MIN);
        }
    }

    /// Whether the next unreliable message is let through.
    pub(super) fn lets_through(&mut self) -> bool {
        self.counter = (self.counter + STEP) % SCALE;
        self.counter <= self.through
    }

    /// So many bytes are sent now.
    pub(super) fn count(&mut self, now: u64, bytes: usize) {
        if self.bandwidth == 0 {
            return;
        }
        self.sent_bytes = self.sent_bytes.saturating_add(bytes as u32);
        let elapsed = now.saturating_sub(self.bandwidth_since);
        if elapsed < BANDWIDTH_INTERVAL_MS {
            return;
        }
        // After a pause one interval counts, not all of them: what is let through would otherwise
        // be far above what the peer takes.
        let elapsed = elapsed.min(2 * BANDWIDTH_INTERVAL_MS);
        let takes = u64::from(self.bandwidth) * elapsed / 1000;
        let sent = u64::from(self.sent_bytes).max(1);
        let through = (takes * u64::from(SCALE) / sent).clamp(1, u64::from(SCALE));
        self.through_max = through as u32;
        self.through = self.through.min(self.through_max);
        self.bandwidth_since = now;
        self.sent_bytes = 0;
    }
}
