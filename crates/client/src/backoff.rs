//! How long to wait before connecting again, and where the chance in it comes from.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use crate::Reconnect;

/// The delay before attempt number `attempt` (from 0): anything from zero to a bound that doubles
/// each time. Full jitter spreads the clients of a server that went away over the whole span;
/// they would come back as one herd otherwise.
pub(crate) fn delay(reconnect: &Reconnect, attempt: u32, random: u64) -> Duration {
    let factor = 2u32.saturating_pow(attempt.min(31));
    let bound = reconnect.base.saturating_mul(factor).min(reconnect.cap);
    // The upper 32 bits as a fraction of 2^32: close enough to uniform for a delay.
    bound.mul_f64((random >> 32) as f64 / f64::from(u32::MAX))
}

/// 64 random bits. The standard library seeds its hashers from the system; no more is needed for
/// delays and for keys that must not collide (they need not be secret).
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reconnect() -> Reconnect {
        Reconnect::default()
    }

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let largest = |attempt| delay(&reconnect(), attempt, u64::MAX);
        assert_eq!(largest(0), Duration::from_millis(250));
        assert_eq!(largest(1), Duration::from_millis(500));
        assert_eq!(largest(6), Duration::from_secs(16));
        assert_eq!(largest(7), Duration::from_secs(20));
        assert_eq!(largest(u32::MAX), Duration::from_secs(20));
    }

    #[test]
    fn the_jitter_reaches_down_to_zero_and_spreads() {
        assert_eq!(delay(&reconnect(), 5, 0), Duration::ZERO);
        let mut buckets = [0u32; 4];
        for _ in 0..1_000 {
            let share = delay(&reconnect(), 20, random()).as_secs_f64() / 20.0;
            buckets[((share * 4.0) as usize).min(3)] += 1;
        }
        // 250 expected in each; 6 standard deviations (14) below.
        assert!(buckets.iter().all(|&count| count > 168), "{buckets:?}");
    }
}
