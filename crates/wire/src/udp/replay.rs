//! Which datagrams of a session have come.

/// Numbers that are remembered behind the highest: older ones are taken for repeated (threat S44).
const WINDOW: u64 = 1_024;

const WORDS: usize = WINDOW as usize / 64;

/// The numbers that came, as far back as [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The number above the highest that came.
    next: u64,
    /// One bit for each number, at its place modulo [`WINDOW`].
    seen: [u64; WORDS],
}

impl Replay {
    /// The highest that came.
    pub fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Whether the number has not come yet and is recent enough to tell.
    pub fn is_new(&self, number: u64) -> bool {
        if number >= self.next {
            // The highest number is never used, so that there is one above each.
            return number < u64::MAX;
        }
        self.next - number <= WINDOW && self.word(number) & bit(number) == 0
    }

    /// Remembers a number that is new.
    pub fn insert(&mut self, number: u64) {
        if number >= self.next {
            let skipped = number - self.next;
            if skipped >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                for between in self.next..number {
                    *self.word_mut(between) &= !bit(between);
                }
            }
            self.next = number.saturating_add(1);
        }
        *self.word_mut(number) |= bit(number);
    }

    fn word(&self, number: u64) -> u64 {
        self.seen[(number / 64) as usize % WORDS]
    }

    fn word_mut(&mut self, number: u64) -> &mut u64 {
        &mut self.seen[(number / 64) as usize % WORDS]
    }
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_number_is_new_once_and_only_within_the_window() {
        let mut replay = Replay::default();
        let mut came = BTreeSet::new();
        let mut random = 7_u64;
        let mut at = 0_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let step = (random >> 33) % 40;
            at += step;
            let number = at.saturating_sub((random >> 40) % 1_400);
            let highest = came.last().copied().unwrap_or(0);
            let recent = number + WINDOW > highest || came.is_empty();
            let expected = recent && !came.contains(&number);
            assert_eq!(replay.is_new(number), expected, "{number} behind {highest}");
            if expected {
                replay.insert(number);
                came.insert(number);
            }
            assert_eq!(replay.highest(), came.last().copied());
        }
    }

    #[test]
    fn the_numbers_end_and_do_not_begin_again() {
        let mut replay = Replay::default();
        replay.insert(u64::MAX - 1);
        assert!(!replay.is_new(u64::MAX) && !replay.is_new(0) && !replay.is_new(u64::MAX - 1));
        assert!(replay.is_new(u64::MAX - 2) && replay.is_new(u64::MAX - WINDOW));
        assert!(!replay.is_new(u64::MAX - WINDOW - 1));
    }
}
