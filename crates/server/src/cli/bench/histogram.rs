//! Latencies in buckets: 64 for each power of two, so that a value is off by at most 1.6 %.

const STEPS_BITS: u32 = 6;
const STEPS: u64 = 1 << STEPS_BITS;

/// How many values fell where.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; bucket(u64::MAX) + 1], count: 0, max: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, value: u64) {
        self.buckets[bucket(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that `share` of all values do not exceed; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return upper_end(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    (u64::from(shift) * STEPS + (value >> shift)) as usize
}

fn upper_end(bucket: usize) -> u64 {
    let shift = (bucket as u64 / STEPS).saturating_sub(1);
    let low = (bucket as u64 - shift * STEPS) << shift;
    low + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_close_to_their_values() {
        let mut last = 0;
        for value in (0..5_000).chain((13..60).map(|bits| (1 << bits) + 12_345)) {
            let index = bucket(value);
            assert!(index >= last, "{value}");
            last = index;
            let upper = upper_end(index);
            assert!(upper >= value && upper - value <= value / 64, "{value} {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        for value in 1..=1_000 {
            histogram.add(value * 1_000);
        }
        let close = |share: f64, value: f64| {
            let found = histogram.quantile(share) as f64;
            assert!((found / value - 1.0).abs() < 0.02, "{share} {found}");
        };
        close(0.5, 500_000.0);
        close(0.99, 990_000.0);
        assert_eq!(histogram.quantile(1.0), 1_000_000);
        assert_eq!(Histogram::default().quantile(0.99), 0);
    }
}
