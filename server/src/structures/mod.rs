//! The data structures of the keyspace, each with its bytes drawn. May touch raw memory; knows no
//! command, no database, no clock.

mod hash;

pub use hash::{Key, KeyHasher, slot_of};
