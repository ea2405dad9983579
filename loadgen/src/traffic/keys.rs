//! Which key the next request names. Pure: a seed decides everything.

use rand_distr::{Distribution, Normal, Zipf};

use super::{
    permutation::Permutation,
    random::{Random, below, unit},
};

/// Inclusive range of key numbers and how it is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyRange {
    pub first: u64,
    pub last: u64,
    pub pattern: Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum Pattern {
    /// Uniform over the range, independent draws.
    #[value(name = "R")]
    Random,
    /// First to last, then again from the first; threads share the range.
    #[value(name = "S")]
    Sequential,
    /// As many sequential walks side by side as there are connections, each over its own part of the range.
    #[value(name = "P")]
    Parallel,
    /// Normal around the median, redrawn outside the range.
    #[value(name = "G")]
    Gaussian,
    /// The k-th key of the range with probability in proportion to k^-exponent.
    #[value(name = "Z")]
    Zipf,
    /// A share of the keys, at the front of the range, gets a share of the requests.
    #[value(name = "H")]
    Hotspot,
}

/// The parameters of the distributions.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct KeyLaw {
    pub zipf_exponent: f64,
    /// In keys [a sixth of the range].
    pub stddev: Option<f64>,
    /// Key number [the middle of the range].
    pub median: Option<f64>,
    pub hotspot: Hotspot,
    /// Draws are permuted, so that hot keys do not lie side by side.
    pub scramble: bool,
}

/// `requests` of the requests (0 to 1) go to `keys` of the keys (0 to 1), the rest to the other keys.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hotspot {
    pub keys: f64,
    pub requests: f64,
}

impl Default for KeyLaw {
    fn default() -> Self {
        Self {
            zipf_exponent: 1.0,
            stddev: None,
            median: None,
            hotspot: Hotspot { keys: 0.2, requests: 0.8 },
            scramble: false,
        }
    }
}

impl KeyLaw {
    /// What is impossible in it for `range`, in words.
    pub fn check(&self, range: &KeyRange) -> Result<(), String> {
        let median = self.median.unwrap_or(range.first as f64);
        let within = |share: f64| (0.0..=1.0).contains(&share);
        if !(self.zipf_exponent.is_finite() && self.zipf_exponent > 0.0) {
            Err(format!("key-zipf-exp {} is not above 0", self.zipf_exponent))
        } else if !self.stddev.is_none_or(|stddev| stddev.is_finite() && stddev > 0.0) {
            Err("key-stddev must be above 0".into())
        } else if !(range.first as f64..=range.last as f64).contains(&median) {
            Err(format!("key-median {median} lies outside the keys {} to {}", range.first, range.last))
        } else if !within(self.hotspot.keys) || !within(self.hotspot.requests) {
            Err("hotspot takes two shares between 0 and 1, as in 0.2:0.8".into())
        } else {
            Ok(())
        }
    }
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
}

/// Where part `index` of `parts` equal parts of `total` starts.
pub fn share(total: u64, index: u64, parts: u64) -> u64 {
    let start = u128::from(total) * u128::from(index) / u128::from(parts);
    u64::try_from(start).expect("index <= parts, so at most total")
}

/// Thread `part` of `parts`, which drives `lanes` connections.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub part: u64,
    pub parts: u64,
    pub lanes: u64,
}

/// An endless walk of one range.
pub struct Keys {
    first: u64,
    law: Law,
    permutation: Option<Permutation>,
    random: Random,
}

/// Draws offsets into a range of `len` keys.
enum Law {
    Uniform { len: u64 },
    Walks { walks: Vec<Walk>, turn: usize },
    Gaussian { normal: Normal<f64>, len: u64 },
    Zipf { zipf: Zipf<f64>, len: u64 },
    Hotspot { hot: u64, len: u64, requests: f64 },
}

struct Walk {
    start: u64,
    end: u64,
    next: u64,
}

impl Walk {
    fn step(&mut self) -> u64 {
        let offset = self.next;
        self.next = if offset + 1 == self.end { self.start } else { offset + 1 };
        offset
    }
}

impl Keys {
    /// Everyone draws from a random range as a whole; a sequential one is cut so that the threads (and with
    /// `Parallel` their connections) together visit each key once. `law` was checked.
    pub fn new(range: KeyRange, law: &KeyLaw, part: Part, seed: u64, random: Random) -> Self {
        let permutation = law.scramble.then(|| Permutation::new(range.len(), seed));
        Self { first: range.first, law: Law::new(range, law, part), permutation, random }
    }

    pub fn next_key(&mut self) -> u64 {
        let offset = self.law.draw(&mut self.random);
        self.first + self.permutation.as_ref().map_or(offset, |permutation| permutation.apply(offset))
    }
}

impl Law {
    fn new(range: KeyRange, law: &KeyLaw, part: Part) -> Self {
        let len = range.len();
        match range.pattern {
            Pattern::Random => Self::Uniform { len },
            Pattern::Sequential => Self::walks(len, part, 1),
            Pattern::Parallel => Self::walks(len, part, part.lanes),
            Pattern::Gaussian => {
                let median = law.median.map_or(len as f64 / 2.0, |key| key - range.first as f64);
                let stddev = law.stddev.unwrap_or(len as f64 / 6.0);
                Self::Gaussian { normal: Normal::new(median, stddev).expect("the law was checked"), len }
            }
            Pattern::Zipf => {
                let zipf = Zipf::new(len as f64, law.zipf_exponent).expect("the law was checked");
                Self::Zipf { zipf, len }
            }
            Pattern::Hotspot => {
                let hot = ((len as f64 * law.hotspot.keys).round() as u64).clamp(1, len);
                Self::Hotspot { hot, len, requests: law.hotspot.requests }
            }
        }
    }

    fn walks(len: u64, part: Part, lanes: u64) -> Self {
        let whole = if len < part.parts {
            (0, len)
        } else {
            (share(len, part.part, part.parts), share(len, part.part + 1, part.parts))
        };
        let own = whole.1 - whole.0;
        let lanes = lanes.clamp(1, own);
        let from = |lane| whole.0 + share(own, lane, lanes);
        let walks = (0..lanes)
            .map(|lane| Walk { start: from(lane), end: from(lane + 1), next: from(lane) })
            .collect();
        Self::Walks { walks, turn: 0 }
    }

    fn draw(&mut self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform { len } => below(random, *len),
            Self::Walks { walks, turn } => {
                let offset = walks[*turn].step();
                *turn = if *turn + 1 == walks.len() { 0 } else { *turn + 1 };
                offset
            }
            // The median lies in the range, so at least a good part of one side of the bell does, unless the bell is
            // much wider than the range: then the ends take what falls outside.
            Self::Gaussian { normal, len } => {
                let drawn = std::iter::repeat_with(|| normal.sample(random)).take(REDRAWS);
                let last = *len as f64 - 1.0;
                let mut held = 0.0;
                for offset in drawn {
                    held = offset;
                    if (-0.5..last + 0.5).contains(&offset) {
                        break;
                    }
                }
                held.round().clamp(0.0, last) as u64
            }
            Self::Zipf { zipf, len } => (zipf.sample(random) as u64 - 1).min(*len - 1),
            Self::Hotspot { hot, len, requests } => {
                if unit(random) < *requests || hot == len {
                    below(random, *hot)
                } else {
                    *hot + below(random, *len - *hot)
                }
            }
        }
    }
}

/// Draws of a normal variate before it is clamped into the range.
const REDRAWS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::random::{Purpose, stream};

    const SEED: u64 = 20_261_123;
    const DRAWS: usize = 200_000;

    fn keys(range: KeyRange, law: &KeyLaw, part: u64, parts: u64, lanes: u64) -> Keys {
        let random = stream(SEED, part, Purpose::Keys(0));
        Keys::new(range, law, Part { part, parts, lanes }, SEED, random)
    }

    /// How often each of `len` keys from 10 on comes.
    fn histogram(pattern: Pattern, law: &KeyLaw, len: u64) -> Vec<f64> {
        let range = KeyRange { first: 10, last: 9 + len, pattern };
        let mut keys = keys(range, law, 0, 1, 1);
        let mut counts = vec![0.0; len as usize];
        for _ in 0..DRAWS {
            counts[(keys.next_key() - 10) as usize] += 1.0;
        }
        counts
    }

    /// Pearson's test of `counts` against `law` (probabilities that sum to 1). For many cells chi-squared is normal
    /// with mean n and variance 2n; four deviations are exceeded by chance once in 30,000 seeds, and the seed is fixed.
    fn follows(counts: &[f64], law: impl Fn(usize) -> f64) {
        let chi: f64 = counts
            .iter()
            .enumerate()
            .map(|(cell, count)| {
                let expected = law(cell) * DRAWS as f64;
                (count - expected).powi(2) / expected
            })
            .sum();
        let freedom = counts.len() as f64 - 1.0;
        assert!(
            (chi - freedom).abs() < 4.0 * (2.0 * freedom).sqrt(),
            "seed {SEED}: chi-squared {chi} of {freedom}"
        );
    }

    #[test]
    fn random_keys_are_uniform() {
        follows(&histogram(Pattern::Random, &KeyLaw::default(), 500), |_| 1.0 / 500.0);
    }

    #[test]
    fn zipf_keys_follow_their_exponent() {
        for exponent in [0.5, 0.99, 1.0, 1.5] {
            let law = KeyLaw { zipf_exponent: exponent, ..KeyLaw::default() };
            let weight = |rank: usize| ((rank + 1) as f64).powf(-exponent);
            let sum: f64 = (0..100).map(weight).sum();
            follows(&histogram(Pattern::Zipf, &law, 100), |rank| weight(rank) / sum);
        }
    }

    #[test]
    fn hot_keys_get_their_share_and_all_others_the_rest() {
        let law = KeyLaw { hotspot: Hotspot { keys: 0.1, requests: 0.7 }, ..KeyLaw::default() };
        let counts = histogram(Pattern::Hotspot, &law, 200);
        follows(&counts, |cell| if cell < 20 { 0.7 / 20.0 } else { 0.3 / 180.0 });
    }

    #[test]
    fn gaussian_keys_follow_the_bell_cut_at_the_ends_of_the_range() {
        let law = KeyLaw { stddev: Some(15.0), median: Some(90.0), ..KeyLaw::default() };
        // Cells of one key: the density at the key is close to its integral over it, at a fifteenth of a deviation.
        let density = |cell: usize| (-((cell as f64 + 10.0 - 90.0) / 15.0).powi(2) / 2.0).exp();
        let sum: f64 = (0..100).map(density).sum();
        let counts = histogram(Pattern::Gaussian, &law, 100);
        // The far tail has too few draws for Pearson's test: it starts where 20 are expected.
        let far = (0..100).take_while(|&cell| density(cell) / sum * (DRAWS as f64) < 20.0).count();
        let rest: f64 = (far..100).map(density).sum();
        assert!(counts[..far].iter().sum::<f64>() < 400.0, "seed {SEED}: the tail is too heavy");
        follows(&counts[far..], |cell| density(far + cell) / rest);
        // A bell far wider than the range still ends, and stays inside.
        let wide = KeyLaw { stddev: Some(1e12), ..KeyLaw::default() };
        assert_eq!(histogram(Pattern::Gaussian, &wide, 3).iter().sum::<f64>(), DRAWS as f64);
    }

    #[test]
    fn scrambling_moves_the_hot_keys_and_changes_no_frequency() {
        let plain = histogram(Pattern::Zipf, &KeyLaw::default(), 300);
        let law = KeyLaw { scramble: true, ..KeyLaw::default() };
        let mut scrambled = histogram(Pattern::Zipf, &law, 300);
        assert_ne!(plain, scrambled);
        let mut sorted = plain;
        sorted.sort_by(f64::total_cmp);
        scrambled.sort_by(f64::total_cmp);
        assert_eq!(sorted, scrambled);
    }

    #[test]
    fn sequences_of_all_threads_and_connections_visit_every_key_once_a_round() {
        for (pattern, lanes) in [(Pattern::Sequential, 5), (Pattern::Parallel, 5), (Pattern::Parallel, 1)] {
            for (parts, scramble) in [(1, false), (3, true), (7, false)] {
                let range = KeyRange { first: 3, last: 102, pattern };
                let law = KeyLaw { scramble, ..KeyLaw::default() };
                let mut seen = Vec::new();
                for part in 0..parts {
                    let own = share(100, part + 1, parts) - share(100, part, parts);
                    let mut keys = keys(range, &law, part, parts, lanes);
                    // Lanes differ by one key at most, so that after as many steps as keys only short ones wrapped.
                    seen.extend((0..own / lanes * lanes).map(|_| keys.next_key()));
                }
                let visited = seen.len();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), visited, "{pattern:?}, {parts} threads: a key came twice");
                assert!(visited as u64 > 100 - parts * lanes);
            }
        }
    }

    #[test]
    fn a_sequence_walks_its_range_and_wraps_and_parallel_ones_take_turns() {
        let walk = |pattern, lanes| {
            let range = KeyRange { first: 5, last: 10, pattern };
            let mut keys = keys(range, &KeyLaw::default(), 0, 1, lanes);
            (0..8).map(|_| keys.next_key()).collect::<Vec<u64>>()
        };
        assert_eq!(walk(Pattern::Sequential, 2), [5, 6, 7, 8, 9, 10, 5, 6]);
        assert_eq!(walk(Pattern::Parallel, 2), [5, 8, 6, 9, 7, 10, 5, 8]);
    }
}
