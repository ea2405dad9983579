//! Where randomness comes from: one independent stream for each thread and purpose, all decided by the run's seed, so
//! that drawing more numbers for one thing never changes another.

use rand_distr::Distribution;
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};

pub type Random = Xoshiro256PlusPlus;

#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Of the command with this index in the mix.
    Keys(u64),
    Values,
    Numbers,
    Arrivals,
    Permutation,
}

impl Purpose {
    fn number(self) -> u64 {
        match self {
            Self::Values => 1,
            Self::Numbers => 2,
            Self::Arrivals => 3,
            Self::Permutation => 4,
            Self::Keys(index) => 5 + index,
        }
    }
}

/// The stream of `part` (a thread's number) for `purpose`.
pub fn stream(seed: u64, part: u64, purpose: Purpose) -> Random {
    let parts = [seed, part, purpose.number()];
    Random::seed_from_u64(parts.into_iter().fold(0, |state, word| scatter(state ^ word)))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection in which every bit depends on all.
pub fn scatter(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform in `0..bound` up to a bias of bound / 2^64.
pub fn below(random: &mut Random, bound: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Uniform in [0, 1).
pub fn unit(random: &mut Random) -> f64 {
    rand_distr::StandardUniform.sample(random)
}
