//! One cache line of a slot table.
//!
//! ```text
//! offset  bytes  what
//! 0       9      tags: 8 hash bits of the entry in each lane, never 0; 0 = the lane is empty
//! 9       1      overflow: entries whose home is this bucket or one before it and that stand behind it
//! 10      9 × 6  lanes: the entry's address (a multiple of 8 below 2^48) | 1 if the entry has an expiry
//! ```
//! Knows nothing of entries but their address.

pub(super) const LANES: usize = 9;
const OVERFLOW: usize = LANES;
/// The lanes' bits in a match.
const EVERY: u32 = (1 << LANES) - 1;
/// Lane bit: the entry has an expiry.
pub(super) const VOLATILE: u64 = 1;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    bytes: [u8; 64],
}

/// The tag of a hash: its low byte, which no other part of the table uses.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    (hash as u8).max(1)
}

impl Bucket {
    /// Lanes whose tag is `tag`, a bit each.
    #[inline]
    pub(super) fn matches(&self, tag: u8) -> u32 {
        equal_bytes(&self.bytes, tag) & EVERY
    }

    #[inline]
    pub(super) fn empty(&self) -> u32 {
        self.matches(0)
    }

    #[inline]
    pub(super) fn occupied(&self) -> u32 {
        !self.empty() & EVERY
    }

    /// What stands in a lane: address and volatile bit.
    #[inline]
    pub(super) fn lane(&self, lane: usize) -> u64 {
        // The word that ends with the lane begins two bytes before it, still within the bucket.
        let at = 8 + lane * 6;
        let word: [u8; 8] = self.bytes[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(word) >> 16
    }

    pub(super) fn fill(&mut self, lane: usize, tag: u8, content: u64) {
        debug_assert!(tag != 0 && content >> 48 == 0);
        self.bytes[lane] = tag;
        let at = 10 + lane * 6;
        self.bytes[at..at + 6].copy_from_slice(&content.to_le_bytes()[..6]);
    }

    /// Replaces what stands in a lane, tag kept.
    pub(super) fn refill(&mut self, lane: usize, content: u64) {
        self.fill(lane, self.bytes[lane], content);
    }

    pub(super) fn vacate(&mut self, lane: usize) {
        self.bytes[lane] = 0;
    }

    #[inline]
    pub(super) fn overflow(&self) -> u8 {
        self.bytes[OVERFLOW]
    }

    pub(super) fn add_overflow(&mut self) {
        self.bytes[OVERFLOW] = self.bytes[OVERFLOW].saturating_add(1);
    }

    pub(super) fn drop_overflow(&mut self) {
        // A saturated count is no count any more: it stays until the array is rebuilt.
        if self.bytes[OVERFLOW] != u8::MAX {
            self.bytes[OVERFLOW] = self.bytes[OVERFLOW].saturating_sub(1);
        }
    }
}

/// A bit for each of the first 16 bytes that equals `byte`.
#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_bytes(bytes: &[u8; 64], byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86-64, and 64 bytes are there to load 16 from.
    unsafe {
        let first = _mm_loadu_si128(bytes.as_ptr().cast());
        _mm_movemask_epi8(_mm_cmpeq_epi8(first, _mm_set1_epi8(byte as i8))) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn equal_bytes(bytes: &[u8; 64], byte: u8) -> u32 {
    scalar_equal_bytes(bytes, byte)
}

/// The same without vector instructions.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn scalar_equal_bytes(bytes: &[u8; 64], byte: u8) -> u32 {
    bytes[..16].iter().enumerate().fold(0, |bits, (at, &other)| bits | u32::from(other == byte) << at)
}

/// The lanes set in `bits`.
#[inline]
pub(super) fn lanes(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (lane < LANES).then_some(lane)
    })
}

#[cfg(test)]
mod tests {
    use super::{Bucket, LANES, equal_bytes, lanes, scalar_equal_bytes, tag_of};

    #[test]
    fn lanes_keep_what_they_are_given() {
        let mut bucket = Bucket { bytes: [0; 64] };
        let content = |lane: usize| 0x7fff_1234_5678_u64 * 8 % (1 << 48) + lane as u64 * 8;
        for lane in 0..LANES {
            bucket.fill(lane, tag_of(lane as u64), content(lane));
        }
        bucket.add_overflow();
        assert_eq!((bucket.empty(), bucket.overflow()), (0, 1));
        // Hashes ending in 0 and 1 share a tag.
        assert_eq!(bucket.matches(1), 0b11);
        assert_eq!(bucket.matches(8), 1 << 8);
        for lane in 0..LANES {
            assert_eq!(bucket.lane(lane), content(lane));
        }
        bucket.vacate(4);
        assert_eq!(lanes(bucket.empty()).collect::<Vec<_>>(), [4]);
        assert_eq!(lanes(bucket.occupied()).count(), LANES - 1);
        bucket.drop_overflow();
        assert_eq!(bucket.overflow(), 0);
    }

    #[test]
    fn vector_and_scalar_matching_agree() {
        let mut bytes = [0u8; 64];
        for seed in 0..200usize {
            bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (seed * 31 + at * seed) as u8 % 7);
            for byte in 0..7 {
                assert_eq!(equal_bytes(&bytes, byte), scalar_equal_bytes(&bytes, byte));
            }
        }
    }
}
