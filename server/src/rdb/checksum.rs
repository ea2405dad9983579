//! The checksum of RDB files and payloads.

use crc::{CRC_64_REDIS, Crc, Digest, Table};

/// Sixteen lanes: 32 KiB of tables, several bytes a cycle.
static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// A CRC64 that runs along with the bytes, fed in their order.
#[derive(Clone)]
pub struct Checksum(Digest<'static, u64, Table<16>>);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(CRC.digest())
    }
}

impl Checksum {
    pub fn of(bytes: &[u8]) -> u64 {
        CRC.checksum(bytes)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u64 {
        self.0.clone().finalize()
    }
}
