//! The read view of a key and its value that commands work with. Knows nothing of how it lies in memory.

use super::access;
use super::value::{Encoding, Kind, ValueRef};
use crate::structures::{EntryRef, Object, Payload};

/// A read view of one key and its value.
#[derive(Clone, Copy)]
pub struct Entry<'a>(pub(super) EntryRef<'a>);

impl<'a> Entry<'a> {
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.0.key()
    }

    #[inline]
    pub fn value(&self) -> ValueRef<'a> {
        match self.0.payload() {
            Payload::Bytes(bytes) => ValueRef::Str(bytes),
            Payload::Int(value) => ValueRef::Int(value),
            Payload::Object(Object::Str(bytes)) => ValueRef::Str(bytes),
        }
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        Kind::String
    }

    pub fn encoding(&self) -> Encoding {
        Encoding::from_meta(self.0.meta())
    }

    /// Unix ms.
    #[inline]
    pub fn expire(&self) -> Option<i64> {
        self.0.expire()
    }

    /// Seconds since the last access, if the bits are LRU bits.
    pub fn idle_seconds(&self, now_ms: i64) -> u64 {
        access::idle_seconds(self.0.access(), now_ms)
    }

    /// The access counter as decayed until now, if the bits are LFU bits.
    pub fn frequency(&self, now_ms: i64, decay_minutes: u32) -> u8 {
        access::frequency(self.0.access(), now_ms, decay_minutes)
    }

    /// The 24 bits themselves.
    pub fn access_bits(&self) -> u32 {
        self.0.access()
    }

    /// Bytes allocated for the entry and its value, as the allocator rounds them.
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}
