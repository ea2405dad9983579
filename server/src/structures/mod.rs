//! The data structures of the keyspace, each with its bytes drawn. May touch raw memory; knows no
//! command, no database, no clock.

mod bucket;
mod directory;
mod due;
mod entry;
mod hash;
mod heap;
mod lines;
mod pages;
mod remains;
mod segment;
mod slab;
mod slot_table;
mod walk;

pub use entry::{Content, Draft, EntryRef, Object, OwnedEntry, Payload};
pub use hash::{Key, KeyHasher, slot_of};
pub use heap::Heap;
pub use pages::Ahead;
pub use remains::Remains;
pub use slot_table::{Place, SlotTable};
pub use walk::{POSITION_BITS, Position, Rank, Sweep};
