//! Rate limits: GCRA, one number each. A second's worth may come at once.

use crate::io::Now;

const SECOND_NS: u64 = 1_000_000_000;

/// A rate limit: the time, in nanoseconds, at which everything charged so far is paid off.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rate(u64);

impl Rate {
    /// Charges `amount` against `per_second` (0: no bound), whatever the debt. Returns when the
    /// debt is back within a second's worth, if it is not now.
    pub fn charge(&mut self, now: Now, per_second: u64, amount: u64) -> Option<Now> {
        if per_second == 0 {
            return None;
        }
        let now_ns = now.0.saturating_mul(1_000_000);
        let cost = u128::from(amount) * u128::from(SECOND_NS) / u128::from(per_second);
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        self.0 = self.0.max(now_ns).saturating_add(cost);
        let ahead = (self.0 - now_ns).checked_sub(SECOND_NS).filter(|&ns| ns > 0)?;
        Some(now.plus(ahead.div_ceil(1_000_000)))
    }

    /// Charges only if the debt stays within a second's worth.
    ///
    /// # Errors
    /// After how many milliseconds it would.
    pub fn try_charge(&mut self, now: Now, per_second: u64, amount: u64) -> Result<(), u64> {
        let before = *self;
        match self.charge(now, per_second, amount) {
            None => Ok(()),
            Some(until) => {
                *self = before;
                // One event larger than a second's worth would otherwise never pass.
                if before.0 <= now.0.saturating_mul(1_000_000) {
                    self.charge(now, per_second, amount);
                    return Ok(());
                }
                Err(until.0 - now.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_passes_at_once_and_then_at_the_rate() {
        let mut rate = Rate::default();
        for _ in 0..10 {
            assert_eq!(rate.try_charge(Now(5), 10, 1), Ok(()));
        }
        assert_eq!(rate.try_charge(Now(5), 10, 1), Err(100));
        assert_eq!(rate.try_charge(Now(105), 10, 1), Ok(()));
        assert_eq!(rate.try_charge(Now(105), 10, 1), Err(100));
    }

    #[test]
    fn debt_is_paid_off_in_time() {
        let mut rate = Rate::default();
        assert_eq!(rate.charge(Now(0), 100, 100), None);
        assert_eq!(rate.charge(Now(0), 100, 50), Some(Now(500)));
        assert_eq!(rate.charge(Now(10_000), 100, 1), None);
        assert_eq!(rate.charge(Now(0), 0, u64::MAX), None);
    }

    #[test]
    fn what_is_larger_than_a_second_passes_alone() {
        let mut rate = Rate::default();
        assert_eq!(rate.try_charge(Now(0), 10, 100), Ok(()));
        assert!(rate.try_charge(Now(1_000), 10, 1).is_err());
        assert_eq!(rate.try_charge(Now(10_000), 10, 100), Ok(()));
    }
}
