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
        Self { state }
    }

    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hash(bytes), slot: slot_of(bytes) }
    }
}

/// Slicing tables of CRC16/XMODEM (polynomial 0x1021): `CRC[k][b]` is the CRC of byte `b` followed by `k` zero bytes.
static CRC: [[u16; 256]; 8] = crc_tables();

const fn crc_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
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
    while slice < 8 {
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

#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        // Only the first two bytes meet the running CRC; the other six are independent lookups.
        crc = CRC[7][(eight[0] ^ (crc >> 8) as u8) as usize]
            ^ CRC[6][(eight[1] ^ crc as u8) as usize]
            ^ CRC[5][eight[2] as usize]
            ^ CRC[4][eight[3] as usize]
            ^ CRC[3][eight[4] as usize]
            ^ CRC[2][eight[5] as usize]
            ^ CRC[1][eight[6] as usize]
            ^ CRC[0][eight[7] as usize];
    }
    for &byte in eights.remainder() {
        crc = (crc << 8) ^ CRC[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// The part of the key that decides its slot: what stands between the first `{` and the next `}` if that is not empty.
#[inline]
fn tag(key: &[u8]) -> &[u8] {
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
    use super::{KeyHasher, crc16, slot_of};

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
    fn seeds_decide_the_hash() {
        let (one, same, other) = (KeyHasher::new(1), KeyHasher::new(1), KeyHasher::new(2));
        assert_eq!(one.hash(b"key"), same.hash(b"key"));
        assert_ne!(one.hash(b"key"), other.hash(b"key"));
    }
}
