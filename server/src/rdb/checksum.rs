//! The checksum of RDB files and payloads.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-64 as the reference server computes it; by carry-less multiplication where the CPU can.
const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Redis;

/// A CRC64 that runs along with the bytes, fed in their order; or none, whose value is 0.
#[derive(Clone)]
pub struct Checksum(Option<Digest>);

impl Default for Checksum {
    fn default() -> Self {
        Checksum::new(true)
    }
}

impl Checksum {
    /// One that counts if it `is_on`.
    pub fn new(is_on: bool) -> Self {
        Checksum(is_on.then(|| Digest::new(ALGORITHM)))
    }

    pub fn of(bytes: &[u8]) -> u64 {
        crc_fast::checksum(ALGORITHM, bytes)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(digest) = &mut self.0 {
            digest.update(bytes);
        }
    }

    pub fn value(&self) -> u64 {
        self.0.as_ref().map_or(0, Digest::finalize)
    }
}
