//! How fast a link is, and what follows from it: when something is sent again, how many bytes may
//! be on their way, and how many unreliable messages are dropped before they are sent. All as in
//! the C library, so that both ends of a bad link behave alike.

use super::command::Throttle;
use super::{WINDOW_MAX, WINDOW_MIN};

/// Round trip until one was measured, in milliseconds.
const RTT_MS: u32 = 500;
/// All is let through.
const SCALE: u32 = 32;
/// Each unreliable message moves the counter by this; those for which it stands above what is let
/// through are dropped. 7 and 32 have no common divisor, so that they are spread evenly.
const STEP: u32 = 7;
/// How often the bandwidth of the peer is compared with what it was sent, in milliseconds.
const BANDWIDTH_INTERVAL_MS: u64 = 1000;
/// A window of the smallest size for so many bytes a second.
const BANDWIDTH_OF_WINDOW: u32 = 65_536;

/// What a client proposes.
pub(super) const THROTTLE: Throttle =
    Throttle { interval_ms: 5000, acceleration: 2, deceleration: 2 };

pub(super) struct Pace {
    rtt_ms: u32,
    variance_ms: u32,
    is_measured: bool,
    /// Of the last interval.
    last_rtt_ms: u32,
    last_variance_ms: u32,
    /// Of this interval.
    lowest_rtt_ms: u32,
    highest_variance_ms: u32,
    interval_since: Option<u64>,
    /// How much is let through, in 32nds, and how much may be at most.
    through: u32,
    through_max: u32,
    counter: u32,
    throttle: Throttle,
    /// What the peer takes, in bytes a second; 0: any.
    bandwidth: u32,
    bandwidth_since: u64,
    sent_bytes: u32,
    window_bytes: u32,
}

impl Pace {
    pub(super) fn new(throttle: Throttle, bandwidth: u32) -> Self {
        let mut pace = Self {
            rtt_ms: RTT_MS,
            variance_ms: 0,
            is_measured: false,
            last_rtt_ms: RTT_MS,
            last_variance_ms: 0,
            lowest_rtt_ms: RTT_MS,
            highest_variance_ms: 0,
            interval_since: None,
            through: SCALE,
            through_max: SCALE,
            counter: 0,
            throttle,
            bandwidth: 0,
            bandwidth_since: 0,
            sent_bytes: 0,
            window_bytes: WINDOW_MAX,
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
        self.window_bytes = match bandwidth {
            0 => WINDOW_MAX,
            some => (some / BANDWIDTH_OF_WINDOW * WINDOW_MIN).clamp(WINDOW_MIN, WINDOW_MAX),
        };
        if bandwidth == 0 {
            self.through_max = SCALE;
        }
    }

    /// Reliable bytes that may be on their way.
    pub(super) fn window_bytes(&self) -> u32 {
        self.through * self.window_bytes / SCALE
    }

    /// When something sent now is sent again, in milliseconds from now.
    pub(super) fn timeout_ms(&self) -> u32 {
        self.rtt_ms.saturating_add(self.variance_ms.saturating_mul(4))
    }

    /// Something was acknowledged after so long.
    pub(super) fn measure(&mut self, now: u64, rtt_ms: u32) {
        let rtt = rtt_ms.max(1);
        if self.is_measured {
            self.throttle_by(rtt);
            self.variance_ms -= self.variance_ms / 4;
            let diff = rtt.abs_diff(self.rtt_ms);
            self.variance_ms = self.variance_ms.saturating_add(diff / 4);
            if rtt >= self.rtt_ms {
                self.rtt_ms = self.rtt_ms.saturating_add(diff / 8);
            } else {
                self.rtt_ms -= diff / 8;
            }
        } else {
            self.is_measured = true;
            self.rtt_ms = rtt;
            self.variance_ms = rtt.div_ceil(2);
        }
        self.lowest_rtt_ms = self.lowest_rtt_ms.min(self.rtt_ms);
        self.highest_variance_ms = self.highest_variance_ms.max(self.variance_ms);
        let interval = u64::from(self.throttle.interval_ms);
        if self.interval_since.is_none_or(|since| now.saturating_sub(since) >= interval) {
            self.last_rtt_ms = self.lowest_rtt_ms;
            self.last_variance_ms = self.highest_variance_ms.max(1);
            self.lowest_rtt_ms = self.rtt_ms;
            self.highest_variance_ms = self.variance_ms;
            self.interval_since = Some(now);
        }
    }

    fn throttle_by(&mut self, rtt: u32) {
        if self.last_rtt_ms <= self.last_variance_ms {
            self.through = self.through_max;
        } else if rtt <= self.last_rtt_ms {
            let more = self.through.saturating_add(self.throttle.acceleration);
            self.through = more.min(self.through_max);
        } else if rtt > self.last_rtt_ms.saturating_add(self.last_variance_ms.saturating_mul(2)) {
            self.through = self.through.saturating_sub(self.throttle.deceleration);
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
