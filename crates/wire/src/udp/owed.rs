//! When what came is acknowledged.

use std::time::Duration;

/// How long an acknowledgement may wait for others, or for a datagram that goes anyway. As in QUIC
/// (RFC 9000 section 18.2, `max_ack_delay`).
pub(super) const ACK_DELAY: Duration = Duration::from_millis(25);

/// So many pieces are acknowledged at once: fewer than the smallest window takes, so that it never
/// stands still. 1,000 members each of whom acknowledged each event cost the server 1.6 times what
/// unreliable events did.
const PIECES_MAX: u32 = 4;

/// What is owed to the other side.
#[derive(Debug, Default)]
pub(super) struct Owed {
    pieces: u32,
    due: Option<Duration>,
}

impl Owed {
    /// A piece came that was expected.
    pub fn soon(&mut self, now: Duration) {
        self.pieces += 1;
        let due = if self.pieces >= PIECES_MAX { now } else { now + ACK_DELAY };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// Something came that the other side waits to hear of.
    pub fn at_once(&mut self, now: Duration) {
        self.due = Some(now);
    }

    /// When it has to be said at the latest.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    pub fn is_due(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// It was said.
    pub fn settle(&mut self) {
        *self = Self::default();
    }
}
