//! A seeded bijection of 0..len: spreads the hot keys of a skewed distribution over the whole range without ever
//! mapping two keys to one.

use super::random::{Purpose, scatter, stream};
use rand_xoshiro::rand_core::Rng;

const ROUNDS: usize = 4;

/// A Feistel network over the next even number of bits, walked until it falls into the range: a walk along a cycle of
/// a bijection, and so a bijection of the range. The domain is less than four times the range, so less than four
/// steps are expected.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let mut random = stream(seed, 0, Purpose::Permutation);
        Self { len, half_bits: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| random.next_u64()) }
    }

    /// Where `index`, which is below the length, goes.
    pub fn apply(&self, index: u64) -> u64 {
        debug_assert!(index < self.len);
        let mut walked = self.step(index);
        while walked >= self.len {
            walked = self.step(walked);
        }
        walked
    }

    fn step(&self, index: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (index >> self.half_bits, index & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (scatter(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_index_is_reached_once(len in 1_u64..5000, seed: u64) {
            let permutation = Permutation::new(len, seed);
            let mut seen: Vec<u64> = (0..len).map(|index| permutation.apply(index)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<u64>>());
        }

        #[test]
        fn huge_ranges_stay_in_range_and_apart(len in 1_u64 << 40..u64::MAX, seed: u64) {
            let permutation = Permutation::new(len, seed);
            let images: std::collections::HashSet<u64> = (0..100).map(|index| permutation.apply(index)).collect();
            prop_assert_eq!(images.len(), 100);
            prop_assert!(images.iter().all(|&image| image < len));
        }
    }

    #[test]
    fn neighbours_are_spread() {
        let permutation = Permutation::new(1_000_000, 1);
        let far =
            (0..1000).filter(|&i| permutation.apply(i).abs_diff(permutation.apply(i + 1)) > 1000).count();
        assert!(far > 950, "{far} of 1000 neighbours are far apart");
    }
}
