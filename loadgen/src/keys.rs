//! Which key the next request names. Pure: a seed decides everything, so that the same plan sends the same keys to
//! every server.

/// Inclusive range of key numbers and how it is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub first: u64,
    pub last: u64,
    pub pattern: Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Pattern {
    /// Uniform over the range, independent draws.
    #[value(name = "R")]
    Random,
    /// First to last, then again from the first.
    #[value(name = "S")]
    Sequential,
}

impl KeyRange {
    /// Key numbers in the range.
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }

    /// The range always holds at least its first key.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// What part `part` of `parts` walks: everyone draws from a random range as a whole, a sequential range is cut
    /// so that the parts together visit each key once.
    pub fn part(&self, part: u64, parts: u64) -> Self {
        if self.pattern == Pattern::Random || self.len() < parts {
            return *self;
        }
        let from = |index: u64| self.first + share(self.len(), index, parts);
        Self { first: from(part), last: from(part + 1) - 1, pattern: self.pattern }
    }
}

/// Where part `index` of `parts` equal parts of `total` starts.
pub fn share(total: u64, index: u64, parts: u64) -> u64 {
    let start = u128::from(total) * u128::from(index) / u128::from(parts);
    u64::try_from(start).expect("index <= parts, so at most total")
}

/// An endless walk of one range.
pub struct Keys {
    range: KeyRange,
    next: u64,
    random: Random,
}

impl Keys {
    pub fn new(range: KeyRange, seed: u64) -> Self {
        Self { range, next: range.first, random: Random::new(seed) }
    }

    pub fn next_key(&mut self) -> u64 {
        match self.range.pattern {
            Pattern::Random => self.range.first + self.random.below(self.range.len()),
            Pattern::Sequential => {
                let key = self.next;
                self.next = if key == self.range.last { self.range.first } else { key + 1 };
                key
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): full period, one multiplication chain, and good enough to pick keys.
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound` up to a bias of bound / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: KeyRange = KeyRange { first: 5, last: 9, pattern: Pattern::Sequential };

    #[test]
    fn sequential_walks_the_range_and_wraps() {
        let mut keys = Keys::new(RANGE, 1);
        let walked: Vec<u64> = (0..7).map(|_| keys.next_key()).collect();
        assert_eq!(walked, [5, 6, 7, 8, 9, 5, 6]);
    }

    #[test]
    fn parts_of_a_sequential_range_visit_every_key_once() {
        let whole = KeyRange { first: 3, last: 102, pattern: Pattern::Sequential };
        for parts in [1, 3, 7, 100] {
            let mut seen = Vec::new();
            for part in 0..parts {
                let range = whole.part(part, parts);
                seen.extend(range.first..=range.last);
            }
            assert_eq!(seen, (3..=102).collect::<Vec<u64>>(), "{parts} parts");
        }
    }

    #[test]
    fn random_keys_stay_in_range_reach_its_ends_and_repeat_with_the_seed() {
        let range = KeyRange { pattern: Pattern::Random, ..RANGE };
        let draw = |seed| {
            let mut keys = Keys::new(range, seed);
            (0..200).map(|_| keys.next_key()).collect::<Vec<u64>>()
        };
        let drawn = draw(7);
        assert!(drawn.iter().all(|key| (5..=9).contains(key)));
        assert!((5..=9).all(|key| drawn.contains(&key)));
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
    }
}
