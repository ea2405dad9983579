//! The checksum of RDB files and payloads.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64 as the reference server computes it; by carry-less multiplication where the CPU can.
const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Redis;

/// A CRC64 that runs along with the bytes, fed in their order.
#[derive(Clone)]
pub struct Checksum(Digest);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(Digest::new(ALGORITHM))
    }
}

impl Checksum {
    pub fn of(bytes: &[u8]) -> u64 {
        crc_fast::checksum(ALGORITHM, bytes)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}
