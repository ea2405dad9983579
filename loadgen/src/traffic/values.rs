//! What stands where `__data__` stands: how long values are and what is in them.

use super::{
    random::{Random, below},
    verify,
};
use rand_xoshiro::rand_core::Rng;

/// How long the values are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Sizes {
    Fixed(usize),
    /// Uniform, both ends included.
    Range(usize, usize),
    /// Sizes and their weights.
    Weighted(Vec<(usize, u32)>),
}

/// Largest value: the bound of a bulk string in the protocol.
const LARGEST: usize = 512 << 20;

impl Sizes {
    fn smallest(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Range(size, _) => *size,
            Self::Weighted(list) => list.iter().map(|&(size, _)| size).min().unwrap_or(0),
        }
    }

    pub fn largest(&self) -> usize {
        match self {
            Self::Fixed(size) | Self::Range(_, size) => *size,
            Self::Weighted(list) => list.iter().map(|&(size, _)| size).max().unwrap_or(0),
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        match self {
            Self::Fixed(size) => *size,
            Self::Range(low, high) => low + below(random, (high - low) as u64 + 1) as usize,
            Self::Weighted(list) => {
                let total: u64 = list.iter().map(|&(_, weight)| u64::from(weight)).sum();
                let mut left = below(random, total);
                for &(size, weight) in list {
                    if left < u64::from(weight) {
                        return size;
                    }
                    left -= u64::from(weight);
                }
                unreachable!("the draw is below the sum of the weights")
            }
        }
    }
}

/// What the plan says of values.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DataPlan {
    pub sizes: Sizes,
    /// Every value has its own random bytes, instead of all the same.
    pub random: bool,
    /// Values carry their key, a version and a checksum, and what is read back is checked.
    pub verify: bool,
    /// Seconds that SETs let their keys live: uniform, both ends included.
    pub expiry: Option<(u64, u64)>,
}

impl DataPlan {
    /// Values of `size` bytes, all the same.
    pub fn of(size: usize) -> Self {
        Self { sizes: Sizes::Fixed(size), random: false, verify: false, expiry: None }
    }

    /// Whether every value has the same bytes, which then are part of the template.
    pub fn constant(&self) -> Option<Vec<u8>> {
        match self {
            Self { sizes: Sizes::Fixed(size), random: false, verify: false, .. } => Some(vec![FILLER; *size]),
            _ => None,
        }
    }

    /// What is impossible in it, in words.
    pub fn check(&self) -> Result<(), String> {
        if let Sizes::Range(low, high) = self.sizes
            && low > high
        {
            return Err(format!("data-size-range {low}-{high} ends before it begins"));
        }
        if let Sizes::Weighted(list) = &self.sizes
            && list.iter().all(|&(_, weight)| weight == 0)
        {
            return Err("data-size-list has no size with a weight".into());
        }
        if self.sizes.largest() > LARGEST {
            return Err(format!(
                "values of {} bytes: a bulk string has at most {LARGEST}",
                self.sizes.largest()
            ));
        }
        if let Some((low, high)) = self.expiry
            && (low == 0 || low > high)
        {
            return Err(format!("expiry-range {low}-{high} is not a range of seconds from 1 up"));
        }
        if self.verify && self.sizes.smallest() < verify::HEADER {
            return Err(format!(
                "data-verify needs values of at least {} bytes, for key, version and checksum",
                verify::HEADER
            ));
        }
        Ok(())
    }
}

/// What values are made of that are neither random nor verified, as in redis-benchmark.
const FILLER: u8 = b'x';

/// Random values are cut from a pool at a random place: copying is an order of magnitude cheaper than drawing.
const POOL: usize = 1 << 20;

/// One thread's supply of values.
pub struct Values {
    plan: DataPlan,
    random: Random,
    pool: Vec<u8>,
    /// Of the next verified value: threads count apart, so that no two values of a run share a version.
    version: u64,
}

impl Values {
    pub fn new(plan: &DataPlan, part: u64, mut random: Random) -> Self {
        let mut pool = Vec::new();
        if plan.random {
            pool.resize(POOL + plan.sizes.largest().min(POOL), 0);
            random.fill_bytes(&mut pool);
        }
        Self { plan: plan.clone(), random, pool, version: part << 48 }
    }

    /// Appends the next value, for key number `key`, to `out`.
    pub fn append(&mut self, key: u64, out: &mut Vec<u8>) {
        let size = self.plan.sizes.draw(&mut self.random);
        let start = out.len();
        if self.plan.verify {
            out.resize(start + verify::HEADER, 0);
            self.fill(size - verify::HEADER, out);
            self.version += 1;
            verify::seal(&mut out[start..], key, self.version);
        } else {
            self.fill(size, out);
        }
    }

    fn fill(&mut self, size: usize, out: &mut Vec<u8>) {
        if !self.plan.random {
            out.resize(out.len() + size, FILLER);
            return;
        }
        let mut left = size;
        while left > 0 {
            let from = below(&mut self.random, POOL as u64) as usize;
            let taken = left.min(self.pool.len() - from);
            out.extend_from_slice(&self.pool[from..from + taken]);
            left -= taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::random::{Purpose, stream};

    fn lengths(sizes: Sizes, count: usize) -> Vec<usize> {
        let plan = DataPlan { sizes, random: true, ..DataPlan::of(0) };
        let mut values = Values::new(&plan, 0, stream(5, 0, Purpose::Values));
        let mut out = Vec::new();
        let length = |_| {
            out.clear();
            values.append(0, &mut out);
            out.len()
        };
        (0..count).map(length).collect()
    }

    #[test]
    fn sizes_follow_their_law() {
        assert!(lengths(Sizes::Fixed(7), 10).iter().all(|&size| size == 7));
        let range = lengths(Sizes::Range(3, 5), 3000);
        for size in 3..=5 {
            let share = range.iter().filter(|&&drawn| drawn == size).count();
            assert!((900..1100).contains(&share), "{share} of 3000 have {size} bytes");
        }
        let weighted = lengths(Sizes::Weighted(vec![(10, 1), (2_000_000, 0), (30, 3)]), 4000);
        let small = weighted.iter().filter(|&&size| size == 10).count();
        assert!((900..1100).contains(&small), "{small} of 4000 have 10 bytes");
        assert!(weighted.iter().all(|&size| size == 10 || size == 30));
    }

    #[test]
    fn random_values_differ_and_may_be_larger_than_the_pool() {
        let plan = DataPlan { random: true, ..DataPlan::of(3 * POOL) };
        let mut values = Values::new(&plan, 0, stream(5, 0, Purpose::Values));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        values.append(0, &mut one);
        values.append(0, &mut other);
        assert_eq!((one.len(), other.len()), (3 * POOL, 3 * POOL));
        assert_ne!(one, other);
    }
}
