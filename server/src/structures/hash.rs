//! From key bytes to slot and hash.
//!
//! May use ahash. Knows nothing of tables or values.

use std::hash::{BuildHasher, Hasher};

use crate::limits::SLOTS;

/// A key with what routing and lookup need of it, computed once per command.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    /// The whole key's hash under the process's seed: its place within the slot.
    pub hash: u64,
    /// CRC16 of the key or of its hash tag, modulo 16384.
    pub slot: u16,
}

/// Hashes keys. Every shard of a process must share one seed, since hashes travel between shards.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    state: ahash::RandomState,
    /// Bits of a hash that count: few of them make keys collide.
    #[cfg(test)]
    bits: u32,
}

impl KeyHasher {
    /// The same seed gives the same hashes; a server draws its seed once at start so that clients
    /// cannot choose colliding keys.
    pub fn new(seed: u64) -> Self {
        // Odd multipliers spread one word over the four that ahash wants; it mixes them further itself.
        let word = |odd: u64| seed.wrapping_add(1).wrapping_mul(odd);
        let state = ahash::RandomState::with_seeds(
            word(0x9e37_79b9_7f4a_7c15),
            word(0xc2b2_ae3d_27d4_eb4f),
            word(0x1656_67b1_9e37_79f9),
            word(0xd6e8_feb8_6659_fd93),
        );
        Self {
            state,
            #[cfg(test)]
            bits: u64::BITS,
        }
    }

    /// As `new`, with no more than 2^`bits` different hashes, spread over all of their range.
    #[cfg(test)]
    pub fn coarse(seed: u64, bits: u32) -> Self {
        Self { bits, ..Self::new(seed) }
    }

    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        let hash = hasher.finish();
        #[cfg(test)]
        if self.bits < u64::BITS {
            return (hash & ((1 << self.bits) - 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        hash
    }

    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hash(bytes), slot: slot_of(bytes) }
    }
}

/// Bytes taken at once; 16 tables are 8 KiB, of which the bytes that keys are made of touch less than half.
const SLICES: usize = 16;

/// Slicing tables of CRC16/XMODEM (polynomial 0x1021): `CRC[k][b]` is the CRC of byte `b` followed by `k` zero bytes.
static CRC: [[u16; 256]; SLICES] = crc_tables();

const fn crc_tables() -> [[u16; 256]; SLICES] {
    let mut tables = [[0u16; 256]; SLICES];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[slice - 1][byte];
            tables[slice][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// Only the first two bytes meet the running CRC; the others are independent lookups.
#[inline]
fn crc16_block<const LENGTH: usize>(crc: u16, block: &[u8; LENGTH]) -> u16 {
    let mut next = 0;
    for (at, &byte) in block.iter().enumerate() {
        let byte = match at {
            0 => byte ^ (crc >> 8) as u8,
            1 => byte ^ crc as u8,
            _ => byte,
        };
        next ^= CRC[LENGTH - 1 - at][byte as usize];
    }
    next
}

#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (blocks, rest) = bytes.as_chunks::<SLICES>();
    for block in blocks {
        crc = crc16_block(crc, block);
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        crc = crc16_block(crc, word);
    }
    for &byte in rest {
        crc = (crc << 8) ^ CRC[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// Whether there is a `{` in the key. Keys are short: eight bytes at a time without a call beats a search routine.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    let Some(last) = key.last_chunk::<8>() else { return key.contains(&b'{') };
    const ONES: u64 = u64::MAX / 255;
    let braces = |word: &[u8; 8]| {
        let differing = u64::from_ne_bytes(*word) ^ (ONES * b'{' as u64);
        // A byte of it is zero where the word has a brace: borrowing shows in its top bit.
        differing.wrapping_sub(ONES) & !differing & (ONES << 7)
    };
    let (words, _) = key.as_chunks::<8>();
    // The last word may overlap the one before.
    words.iter().fold(braces(last), |found, word| found | braces(word)) != 0
}

/// The part of the key that decides its slot: what stands between the first `{` and the next `}` if that is not empty.
#[inline]
fn tag(key: &[u8]) -> &[u8] {
    if has_brace(key) { braced(key) } else { key }
}

fn braced(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    match memchr::memchr(b'}', &key[open + 1..]) {
        None | Some(0) => key,
        Some(length) => &key[open + 1..open + 1 + length],
    }
}

/// The key's slot as the reference server's cluster computes it.
#[inline]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::{KeyHasher, crc16, has_brace, slot_of};

    /// Check value of the CRC catalogue and slots printed by `CLUSTER KEYSLOT` of a live reference server.
    #[test]
    fn slots_are_those_of_the_reference() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b""), 0);
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"bar"), 5061);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
    }

    #[test]
    fn sliced_crc_equals_the_bitwise_one() {
        let bytes: Vec<u8> = (0..100u8).map(|byte| byte.wrapping_mul(37)).collect();
        for end in 0..bytes.len() {
            let mut crc = 0u16;
            for &byte in &bytes[..end] {
                crc ^= u16::from(byte) << 8;
                for _ in 0..8 {
                    crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
                }
            }
            assert_eq!(crc16(&bytes[..end]), crc);
        }
    }

    #[test]
    fn a_brace_is_seen_wherever_it_stands() {
        for length in 0..40 {
            // Bytes that differ from a brace in one bit, or by one.
            let plain: Vec<u8> = (0..length).map(|at| [b'z', b'|', b'{' ^ 0x80, 0, 0xff][at % 5]).collect();
            assert!(!has_brace(&plain));
            for at in 0..length {
                let mut key = plain.clone();
                key[at] = b'{';
                assert!(has_brace(&key), "{length} {at}");
            }
        }
    }

    #[test]
    fn seeds_decide_the_hash() {
        let (one, same, other) = (KeyHasher::new(1), KeyHasher::new(1), KeyHasher::new(2));
        assert_eq!(one.hash(b"key"), same.hash(b"key"));
        assert_ne!(one.hash(b"key"), other.hash(b"key"));
    }
}
