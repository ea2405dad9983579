//! Commands that read some keys, decide, and write others, wherever the keys live.

use super::Ctx;
use crate::keyspace::{Key, Value};
use crate::resp::Refusal;

/// What a visit takes to a key's home, and what it brings back.
#[derive(Debug, Default)]
pub enum Carry {
    #[default]
    Nothing,
    Int(i64),
    Bytes(Vec<u8>),
    /// A value on its way from one key to another, with its expiry in Unix ms.
    Value(Option<(Value, Option<i64>)>),
}

/// One key's part of a hop.
pub struct Visit {
    /// Which argument is the key.
    pub key: usize,
    /// The database, where it is not the session's.
    pub db: Option<usize>,
    /// Runs on the key's home shard.
    pub act: fn(&mut Ctx, &Key, Carry) -> Result<Carry, Refusal>,
    pub carry: Carry,
}

/// What a step decides.
pub enum Next {
    /// One more hop; its carries come back in this order. All visits to a shard run in order.
    Visit(Vec<Visit>),
    /// The reply has been written.
    Done,
}
