//! Ways through a database: SCAN, RANDOMKEY, all of it.

use super::{Entry, Keyspace};
use crate::limits::SLOTS;
use crate::structures::{POSITION_BITS, Position};

impl Keyspace {
    /// The cursor at which `slot` begins: where to continue on the next shard.
    pub fn cursor_at(slot: u16) -> u64 {
        u64::from(slot) << POSITION_BITS
    }

    /// The slot that `cursor` stands in; `None` if it stands behind the last one.
    pub fn slot_at(cursor: u64) -> Option<u16> {
        let slot = cursor >> POSITION_BITS;
        (slot < SLOTS as u64).then_some(slot as u16)
    }

    /// Visits entries from `cursor` on until about `budget` were seen; returns the next cursor, 0 at the end of this
    /// shard's slots. A cursor is a slot and a hash position: an entry that exists throughout an iteration is visited,
    /// and only once unless it is removed and made again, whatever else comes and goes. Any number is a cursor.
    pub fn scan(&self, db: usize, cursor: u64, budget: usize, visit: &mut dyn FnMut(Entry<'_>)) -> u64 {
        let slot = (cursor >> POSITION_BITS) as usize;
        let from = match slot.checked_sub(self.slots.start) {
            Some(local) => Position { local, hash: cursor & ((1 << POSITION_BITS) - 1) },
            None => Position { local: 0, hash: 0 },
        };
        let table = &self.databases[db];
        let next = table.scan(from, budget.max(1), &self.hasher, &mut |entry| visit(Entry(entry)));
        next.map_or(0, |at| ((self.slots.start + at.local) as u64) << POSITION_BITS | at.hash)
    }

    /// A key chosen by `random` (uniform words), each as likely as any other.
    pub fn random<'a>(&'a self, db: usize, random: &mut dyn FnMut() -> u64) -> Option<Entry<'a>> {
        self.databases[db].random(random).map(Entry)
    }

    /// Visits all entries. For tests and for what may stop the core: it is not sliced.
    pub fn for_each(&self, db: usize, visit: &mut dyn FnMut(Entry<'_>)) {
        self.databases[db].for_each(&mut |entry| visit(Entry(entry)));
    }
}
