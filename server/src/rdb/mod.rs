//! Values ↔ RDB bytes: the entries of a snapshot, the file around them, and the payloads of DUMP and RESTORE.
//!
//! Writing is appending to a `Vec`: [`write_header`], [`write_aux`], [`write_select`], [`write_resize`],
//! [`write_entry`] and [`write_end`], whose checksum the writer has fed with all bytes before. Reading is a [`Reader`]
//! over a buffer that grows: it finds where each item ends without looking into values, so that one core can frame
//! a file and others [`decode`] it. Both are pure; bytes read are hostile until the checksum at the end has been compared,
//! and after it, too: nothing panics, and memory is taken for bytes that are there, not for bytes that were promised.
//!
//! A new type of value is a row in `codec.rs` that has a `decode`, and an arm of `write_value`.

mod checksum;
mod codec;
mod cursor;
mod damage;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod lzf;
mod payload;
mod reader;
mod scan;
mod write;

#[cfg(test)]
mod tests;

pub use checksum::Checksum;
pub use codec::{Codec, decode};
pub use damage::Damage;
pub use payload::{Payload, write_payload};
pub use reader::{Entry, Item, Reader, Step};
pub use write::{
    write_aux, write_end, write_entry, write_header, write_resize, write_select, write_value, written_len,
};

/// The version written: Redis 7.0 reads no later one, and strings, lists, sets, hashes, sorted sets and streams need none.
pub const VERSION: u16 = 10;

/// Versions read. Valkey counts from 80 on, so that its types and Redis's can be told apart.
const REDIS_VERSIONS: std::ops::RangeInclusive<u16> = 6..=12;
const VALKEY_VERSIONS: std::ops::RangeInclusive<u16> = 80..=80;

fn is_known(version: u16) -> bool {
    REDIS_VERSIONS.contains(&version) || VALKEY_VERSIONS.contains(&version)
}

/// What stands before an item that is not just a key and its value.
mod opcode {
    pub const SLOT_INFO: u8 = 0xf4;
    pub const FUNCTION: u8 = 0xf5;
    pub const MODULE_AUX: u8 = 0xf7;
    pub const IDLE: u8 = 0xf8;
    pub const FREQUENCY: u8 = 0xf9;
    pub const AUX: u8 = 0xfa;
    pub const RESIZE: u8 = 0xfb;
    pub const EXPIRE_MS: u8 = 0xfc;
    pub const EXPIRE_SECONDS: u8 = 0xfd;
    pub const SELECT: u8 = 0xfe;
    pub const END: u8 = 0xff;
}
