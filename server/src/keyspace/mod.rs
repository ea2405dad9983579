//! One shard's databases: keys, values, expiry, memory accounting, and cuts: what the databases held at
//! one instant, given out while they change.
//!
//! Time and randomness are arguments; nothing here knows commands, sessions or the log.

mod access;
mod cut;
mod entry;
mod expiry;
mod graveyard;
mod ring;
mod store;
mod value;
mod walk;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::structures::{Heap, SlotTable};
use cut::Cut;
use graveyard::Graveyard;

pub use crate::structures::{Ahead, Key, KeyHasher, slot_of};
pub use access::{Access, Usage};
pub use cut::{Chunk, Encoder};
pub use entry::Entry;
pub use expiry::ExpireStep;
pub use ring::Ring;
pub use value::{EMBSTR_MAX, Encode, Encoding, Kind, Value, ValueRef};

/// What a key costs in its table beside its entry: a lane at the usual load.
const LANE_SHARE: usize = 9;

/// One shard's databases.
pub struct Keyspace {
    /// The databases, and behind them as many that nobody sees: data that is loaded aside.
    databases: Vec<SlotTable>,
    slots: Range<usize>,
    hasher: KeyHasher,
    heap: Heap,
    graveyard: Graveyard,
    /// The cut under way.
    cut: Option<Box<Cut>>,
    /// Access bits of new entries, and whether an overwritten entry keeps its own.
    birth: (u32, bool),
    /// The database at which the next `expire_step` begins.
    expire_from: usize,
    /// Reused by `edit` for values that live inside their entry.
    scratch: Vec<u8>,
}

impl Keyspace {
    /// `slots` are those of this shard; keys of others are refused by an assertion. Tables are made when a database is
    /// first written.
    pub fn new(databases: usize, slots: Range<usize>, hasher: KeyHasher) -> Self {
        Self {
            databases: (0..2 * databases).map(|_| SlotTable::default()).collect(),
            slots,
            hasher,
            heap: Heap::new(),
            graveyard: Graveyard::default(),
            cut: None,
            birth: (Access::default().fresh(), false),
            expire_from: 0,
            scratch: Vec::new(),
        }
    }

    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    pub fn databases(&self) -> usize {
        self.databases.len() / 2
    }

    /// The database that takes what is loaded aside for `db`.
    pub fn aside(&self, db: usize) -> usize {
        self.databases() + db
    }

    /// Gives up what was loaded aside.
    pub fn drop_aside(&mut self) {
        (0..self.databases()).for_each(|db| self.clear(self.aside(db)));
    }

    /// Those that are seen.
    fn seen(&self) -> &[SlotTable] {
        &self.databases[..self.databases()]
    }

    pub fn slots(&self) -> Range<usize> {
        self.slots.clone()
    }

    /// The access that new entries are born with; set once per turn, so that writes need no clock.
    pub fn set_birth(&mut self, access: Access) {
        self.birth = (access.fresh(), access.survives_overwrite());
    }

    #[inline]
    fn local(&self, slot: u16) -> usize {
        debug_assert!(self.slots.contains(&(slot as usize)), "a shard is asked for its own slots");
        // Wraps for a slot before the first, which then is beyond the last.
        (slot as usize).wrapping_sub(self.slots.start)
    }

    /// Fetches the header of a key's slot: the first of three stages over a batch, each of which needs what the
    /// one before has fetched.
    #[inline]
    pub fn prefetch_slot(&self, db: usize, slot: u16) {
        self.databases[db].prefetch_slot(self.local(slot));
    }

    /// First stage of a batched lookup: fetches the line of the table where the key's entry is found.
    #[inline]
    pub fn prefetch_bucket(&self, db: usize, slot: u16, hash: u64) {
        self.databases[db].prefetch_bucket(self.local(slot), hash);
    }

    /// Second stage, once the first one's lines have arrived: fetches the entry itself.
    #[inline]
    pub fn prefetch_entry(&self, db: usize, slot: u16, hash: u64) {
        self.databases[db].prefetch_entry(self.local(slot), hash);
    }

    /// The entry, whether or not its time is up.
    #[inline]
    pub fn get(&self, db: usize, key: &Key) -> Option<Entry<'_>> {
        self.databases[db].find(self.local(key.slot), key).map(Entry)
    }

    /// As `get`, and marks the entry as used.
    #[inline]
    pub fn find(&mut self, db: usize, key: &Key, access: Option<&Access>) -> Option<Entry<'_>> {
        let local = self.local(key.slot);
        let table = &mut self.databases[db];
        match access {
            None => table.find(local, key),
            Some(access) => table.find_marked(local, key, |bits| access.used(bits, key.hash)),
        }
        .map(Entry)
    }

    /// Marks the entry as used.
    pub fn touch(&mut self, db: usize, key: &Key, access: &Access) {
        self.find(db, key, Some(access));
    }

    /// Sets the bits that tell an entry's use, if there is the entry.
    pub fn set_access(&mut self, db: usize, key: &Key, bits: u32) {
        let local = self.local(key.slot);
        self.databases[db].find_marked(local, key, |_| bits);
    }

    /// True if the key exists and its time is up at `now` (Unix ms). Cheap where nothing expires.
    #[inline]
    pub fn is_due(&self, db: usize, key: &Key, now: i64) -> bool {
        let (table, local) = (&self.databases[db], self.local(key.slot));
        if table.volatile() == 0 || table.slot_volatile(local) == 0 {
            return false;
        }
        let Some(place) = table.locate(local, key) else { return false };
        table.is_volatile(place) && table.entry(place).expire().is_some_and(|at| at <= now)
    }

    pub fn len(&self, db: usize) -> usize {
        self.databases[db].len()
    }

    /// Keys of all databases.
    pub fn keys(&self) -> usize {
        self.seen().iter().map(SlotTable::len).sum()
    }

    pub fn is_empty(&self, db: usize) -> bool {
        self.databases[db].is_empty()
    }

    /// Keys with an expiry.
    pub fn volatile(&self, db: usize) -> usize {
        self.databases[db].volatile()
    }

    pub fn slot_len(&self, db: usize, slot: u16) -> usize {
        self.databases[db].slot_len(self.local(slot))
    }

    /// Bytes of all entries, values and tables, as the allocator rounds them; what `reap` has yet to free and
    /// cleared databases that a cut still needs included.
    pub fn used_memory(&self) -> usize {
        self.heap.used()
    }

    /// Bytes of one entry, its value and its share of the table.
    pub fn entry_memory(&self, db: usize, key: &Key) -> Option<usize> {
        self.get(db, key).map(|entry| entry.memory() + LANE_SHARE)
    }

    /// Empties the database at once; `reap` frees its memory, once a cut that still needs it has been through it.
    pub fn clear(&mut self, db: usize) {
        let table = std::mem::take(&mut self.databases[db]);
        let unwanted = match &mut self.cut {
            None => Some(table),
            Some(cut) => cut.clear(db, table),
        };
        self.graveyard.bury_table(unwanted.unwrap_or_default());
    }

    pub fn swap(&mut self, a: usize, b: usize) {
        if let Some(cut) = &mut self.cut {
            cut.swap(a, b);
        }
        self.databases.swap(a, b);
    }

    /// Frees what was cleared or removed, about `budget` bytes of it (each small entry counts 256), and gives idle memory back
    /// to the kernel; true if there is more to do. A mebibyte takes some 0.2 ms.
    pub fn reap(&mut self, budget: usize) -> bool {
        self.graveyard.reap(budget, &mut self.heap) || self.heap.trim()
    }

    /// The memory that growth needs next, offered once when little room is left. A thread that may wait some milliseconds should
    /// fault it in (`Ahead::fault_in`): then it lies in huge pages, which halves the cost of a lookup among millions of
    /// keys. Whoever never asks gets pages of 4 KiB, faulted in one by one.
    #[inline]
    pub fn ahead(&mut self) -> Option<Ahead> {
        self.heap.ahead()
    }

    /// Panics if the structure contradicts itself; for tests and simulators.
    pub fn check_invariants(&self) {
        for table in &self.databases {
            table.check_invariants(&self.hasher);
        }
        self.check_cut();
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        self.end_cut();
        for db in 0..self.databases.len() {
            self.clear(db);
        }
        while self.graveyard.reap(usize::MAX, &mut self.heap) {}
    }
}
