//! What is wrong with bytes that were read, and where.

use std::borrow::Cow;
use std::fmt;

/// Bytes of a key that a report shows.
const SHOWN: usize = 64;

/// Displays as `offset 1234: string of 99 bytes where 12 are left`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Of the file or stream for a `Reader`, of the bytes given for `decode`.
    pub offset: u64,
    pub what: Cow<'static, str>,
}

impl Damage {
    pub fn new(offset: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Damage { offset, what: what.into() }
    }

    /// Damage within the value of `key`, which begins at `offset`.
    pub fn in_value(self, key: &[u8], offset: u64) -> Self {
        let shown = key[..key.len().min(SHOWN)].escape_ascii();
        let more = if key.len() > SHOWN { "..." } else { "" };
        Damage::new(offset.saturating_add(self.offset), format!("key \"{shown}\"{more}: {}", self.what))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "offset {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for Damage {}
