//! Which shard is home to which slot.

use std::ops::Range;

use crate::limits::SLOTS;

/// The ring of slots, cut into one run of neighbouring slots for each shard.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    shards: usize,
}

impl Ring {
    pub fn new(shards: usize) -> Self {
        assert!((1..=crate::limits::MAX_SHARDS).contains(&shards));
        Ring { shards }
    }

    pub fn shards(self) -> usize {
        self.shards
    }

    #[inline]
    pub fn home(self, slot: u16) -> usize {
        (slot as usize * self.shards) / SLOTS
    }

    /// The slots of one shard: those that `home` maps to it.
    pub fn slots(self, shard: usize) -> Range<usize> {
        let first = |shard: usize| (shard * SLOTS).div_ceil(self.shards);
        first(shard)..first(shard + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_the_home_whose_range_holds_it() {
        for shards in [1, 2, 3, 5, 7, 64, 127] {
            let ring = Ring::new(shards);
            for slot in 0..SLOTS {
                assert!(ring.slots(ring.home(slot as u16)).contains(&slot), "{shards} shards, slot {slot}");
            }
            assert_eq!((0..shards).map(|shard| ring.slots(shard).len()).sum::<usize>(), SLOTS);
        }
    }
}
