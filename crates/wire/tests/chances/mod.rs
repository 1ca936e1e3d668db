//! Numbers for tests: the same ones for the same seed, so that a failing test can be replayed.

/// A linear congruential generator (Knuth's MMIX), of which the upper bits are taken.
pub struct Chances(pub u64);

impl Chances {
    /// Below 2³¹.
    pub fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
