//! A cut: all databases as they were at one instant, given out piece by piece while commands go on.
//!
//! The walk visits slot after slot and, in a slot, hash after hash: an order that tables keep while they grow, shrink and split, so
//! that whether the walk has passed an entry is a comparison. What changes before the walk has come by is saved early:
//!
//! - An entry that goes is saved as it goes.
//! - Before an entry is made or changed, all entries of its hash are saved and the hash is *settled*: the walk skips whatever it
//!   finds under it, and forgets it behind itself.
//! - The table of a database that is cleared is handed over and walked as it is. A table whose database is swapped stays where it
//!   is in the walk.
//!
//! The invariant: of a hash that is neither passed nor settled, the entries in the table are those of the cut that are not saved.

use std::collections::{BTreeSet, VecDeque};

use super::graveyard::Graveyard;
use super::{Entry, Key, KeyHasher, Keyspace, ValueRef};
use crate::limits::CUT_CHUNK;
use crate::structures::{EntryRef, Position, Rank, SlotTable};

/// Appends an entry in the form in which it is to be saved: key, value, expiry (Unix ms).
pub type Encoder = fn(&mut Vec<u8>, &[u8], ValueRef<'_>, Option<i64>);

/// Whole entries of one database.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The database's number at the cut.
    pub db: usize,
    /// One encoded entry behind another, in no order.
    pub bytes: Vec<u8>,
    pub keys: usize,
    /// Keys with an expiry.
    pub volatile: usize,
}

impl Chunk {
    fn of(db: usize) -> Self {
        Chunk { db, ..Chunk::default() }
    }

    fn push(&mut self, entry: EntryRef<'_>, encode: Encoder) {
        let entry = Entry(entry);
        encode(&mut self.bytes, entry.key(), entry.value(), entry.expire());
        self.keys += 1;
        self.volatile += usize::from(entry.expire().is_some());
    }
}

/// Bytes that meeting an entry, a home or a settled hash counts for, so that skipping is bounded work too.
const VISIT_COST: usize = 64;

/// One step of the walk.
struct Step<'a> {
    chunk: Chunk,
    /// Bytes at which the chunk is full.
    budget: usize,
    visits: usize,
    encode: Encoder,
    hasher: &'a KeyHasher,
    /// What was given out of one home.
    given: Vec<Rank>,
}

impl Step<'_> {
    fn is_full(&self) -> bool {
        self.chunk.bytes.len() >= self.budget
    }

    fn count(&mut self, visits: usize) {
        self.visits = self.visits.saturating_sub(visits);
    }
}

/// How far the walk is in one table.
struct Progress {
    /// Everything before it was given out or saved; `None` at the table's end.
    at: Option<Position>,
    /// Hashes of which everything was given out or saved, those the walk has passed forgotten.
    settled: BTreeSet<Rank>,
}

impl Progress {
    fn is_passed(&self, rank: Rank) -> bool {
        self.at.is_none_or(|at| rank.position() < at)
    }

    /// Whether entries of the cut that are not saved may stand at `rank`.
    fn wants(&self, rank: Rank) -> bool {
        !self.is_passed(rank) && !self.settled.contains(&rank)
    }

    /// Forgets up to `limit` settled hashes behind the walk; returns how many.
    fn forget(&mut self, limit: usize) -> usize {
        let mut forgotten = 0;
        while forgotten < limit && self.settled.first().is_some_and(|&first| self.is_passed(first)) {
            self.settled.pop_first();
            forgotten += 1;
        }
        forgotten
    }

    /// Goes on through `table` as far as `step` may; true at the end.
    fn walk(&mut self, table: &SlotTable, step: &mut Step<'_>) -> bool {
        loop {
            step.count(self.forget(step.visits));
            let Some(at) = self.at else { return self.settled.is_empty() };
            if step.visits == 0 || step.is_full() {
                return false;
            }
            let mut rest = false;
            step.given.clear();
            let next = table.visit_home(at, step.hasher, &mut |entry, rank| {
                step.count(1);
                if self.settled.contains(&rank) {
                    return;
                }
                // A hash that was begun is finished: settled means all of it.
                if step.is_full() && !step.given.contains(&rank) {
                    rest = true;
                    return;
                }
                step.chunk.push(entry, step.encode);
                step.given.push(rank);
            });
            step.count(1);
            if rest {
                // The next step comes back to this home.
                self.settled.extend(step.given.iter());
            } else {
                self.at = next;
            }
        }
    }
}

/// Where the table of a part is.
enum Source {
    /// In this database, which may have another number than at the cut.
    Database(usize),
    /// Here, its database having been cleared.
    Cleared(SlotTable),
}

/// One database of the cut, until the walk is through it.
struct Part {
    early: Chunk,
    source: Source,
    progress: Progress,
}

impl Part {
    fn new(db: usize) -> Self {
        let progress = Progress { at: Some(Position::default()), settled: BTreeSet::new() };
        Part { early: Chunk::of(db), source: Source::Database(db), progress }
    }

    fn take_early(&mut self) -> Chunk {
        let next = Chunk::of(self.early.db);
        std::mem::replace(&mut self.early, next)
    }
}

/// A cut under way.
pub(super) struct Cut {
    encode: Encoder,
    /// Those that the walk is not through, in its order.
    parts: VecDeque<Part>,
    /// How many it is through.
    walked: usize,
    /// For each database which part's table it holds, counted from the first part that there was.
    held: Vec<Option<usize>>,
    /// Full chunks of entries saved early.
    ready: VecDeque<Chunk>,
}

impl Cut {
    fn new(databases: &[SlotTable], encode: Encoder) -> Self {
        let (mut parts, mut held) = (VecDeque::new(), vec![None; databases.len()]);
        for db in (0..databases.len()).filter(|&db| !databases[db].is_empty()) {
            held[db] = Some(parts.len());
            parts.push_back(Part::new(db));
        }
        Cut { encode, parts, walked: 0, held, ready: VecDeque::new() }
    }

    /// The part whose table `db` holds.
    #[inline]
    fn part(&mut self, db: usize) -> Option<&mut Part> {
        let nth = self.held[db]?;
        self.parts.get_mut(nth.checked_sub(self.walked)?)
    }

    /// An entry is about to go; it may have left its table already.
    pub(super) fn before_removal(&mut self, db: usize, rank: Rank, entry: EntryRef<'_>) {
        let encode = self.encode;
        if let Some(part) = self.part(db).filter(|part| part.progress.wants(rank)) {
            part.early.push(entry, encode);
            self.seal_full(db);
        }
    }

    /// An entry is about to be made or changed.
    pub(super) fn before_write(&mut self, db: usize, rank: Rank, table: &SlotTable, hasher: &KeyHasher) {
        let encode = self.encode;
        if let Some(part) = self.part(db).filter(|part| part.progress.wants(rank)) {
            table.visit_hash(rank, hasher, &mut |entry| part.early.push(entry, encode));
            part.progress.settled.insert(rank);
            self.seal_full(db);
        }
    }

    /// Keeps chunks bounded: what is saved early may wait for some time.
    fn seal_full(&mut self, db: usize) {
        if let Some(part) = self.part(db).filter(|part| part.early.bytes.len() >= CUT_CHUNK) {
            let full = part.take_early();
            self.ready.push_back(full);
        }
    }

    /// Takes the table of a database that is cleared, or hands it back if the walk does not need it.
    pub(super) fn clear(&mut self, db: usize, table: SlotTable) -> Option<SlotTable> {
        let Some(part) = self.part(db) else { return Some(table) };
        part.source = Source::Cleared(table);
        self.held[db] = None;
        None
    }

    pub(super) fn swap(&mut self, a: usize, b: usize) {
        self.held.swap(a, b);
        for db in [a, b] {
            if let Some(part) = self.part(db) {
                part.source = Source::Database(db);
            }
        }
    }

    /// The next chunk; `None` once everything was given out.
    fn step(
        &mut self,
        budget: usize,
        databases: &[SlotTable],
        hasher: &KeyHasher,
        graveyard: &mut Graveyard,
    ) -> Option<Chunk> {
        if let Some(chunk) = self.ready.pop_front() {
            return Some(chunk);
        }
        let visits = budget.div_ceil(VISIT_COST).max(1);
        let chunk = Chunk::default();
        let mut step = Step { chunk, budget, visits, encode: self.encode, hasher, given: Vec::new() };
        while let Some(part) = self.parts.front_mut() {
            step.chunk = part.take_early();
            step.chunk.bytes.reserve(budget.min(CUT_CHUNK));
            let table = match &part.source {
                Source::Database(db) => &databases[*db],
                Source::Cleared(table) => table,
            };
            if !part.progress.walk(table, &mut step) {
                return Some(step.chunk);
            }
            self.walked += 1;
            if let Some(Part { source: Source::Cleared(table), .. }) = self.parts.pop_front() {
                graveyard.bury_table(table);
            }
            if step.chunk.keys > 0 {
                return Some(step.chunk);
            }
        }
        None
    }

    /// Bytes held beside the databases, about.
    fn memory(&self) -> usize {
        let early = self.parts.iter().map(|part| &part.early).chain(&self.ready);
        let settled: usize = self.parts.iter().map(|part| part.progress.settled.len()).sum();
        // Nodes of a B-tree are at least half full.
        early.map(|chunk| chunk.bytes.capacity()).sum::<usize>() + settled * 2 * size_of::<Rank>()
    }

    fn check_invariants(&self, databases: usize) {
        assert_eq!(self.held.len(), databases);
        for (nth, part) in self.parts.iter().enumerate() {
            let holders = (0..databases).filter(|&db| self.held[db] == Some(nth + self.walked));
            let source = match part.source {
                Source::Database(db) => Some(db),
                Source::Cleared(_) => None,
            };
            assert!(holders.eq(source), "a table is held once");
            let begun = part.progress.at != Some(Position::default());
            assert!(nth == 0 || !begun, "one part is walked at a time");
            assert_eq!(part.early.keys == 0, part.early.bytes.is_empty());
            assert!(part.early.bytes.len() < CUT_CHUNK, "full chunks are ready");
        }
        assert!(self.ready.iter().all(|chunk| chunk.bytes.len() >= CUT_CHUNK));
    }
}

impl Keyspace {
    /// Begins a cut: `walk_cut` will give out what the databases hold now, each entry once and in the form that `encode` makes,
    /// whatever happens to them meanwhile. There is one cut at a time.
    pub fn begin_cut(&mut self, encode: Encoder) {
        assert!(self.cut.is_none(), "a cut is walked or ended before the next one begins");
        let mut cut = Cut::new(self.seen(), encode);
        // What is aside is no part of it.
        cut.held.resize(self.databases.len(), None);
        self.cut = Some(Box::new(cut));
    }

    pub fn is_cutting(&self) -> bool {
        self.cut.is_some()
    }

    /// Gives out the next entries of the cut: about `budget` bytes of them, or what was saved early if that is more, or none if the
    /// step passed only what the cut does not want. `None` once everything was given out; the cut is over then.
    pub fn walk_cut(&mut self, budget: usize) -> Option<Chunk> {
        let mut cut = self.cut.take()?;
        let chunk = cut.step(budget, &self.databases, &self.hasher, &mut self.graveyard);
        if chunk.is_some() {
            self.cut = Some(cut);
        }
        chunk
    }

    /// Full chunks of what was saved early that wait to be given out. They are as many as changes make them: whoever walks a step
    /// a turn goes on, in that turn, while there are any.
    pub fn cut_waiting(&self) -> usize {
        self.cut.as_ref().map_or(0, |cut| cut.ready.len())
    }

    /// Gives up the cut, if one is under way. `reap` frees what it held.
    pub fn end_cut(&mut self) {
        let Some(cut) = self.cut.take() else { return };
        for part in cut.parts {
            if let Source::Cleared(table) = part.source {
                self.graveyard.bury_table(table);
            }
            self.graveyard.bury_ranks(part.progress.settled);
        }
    }

    /// Bytes that the cut under way holds beside the databases, about; `used_memory` does not count them.
    pub fn cut_memory(&self) -> usize {
        self.cut.as_ref().map_or(0, |cut| cut.memory())
    }

    /// Tells the cut of a key about to be made or changed.
    #[inline]
    pub(super) fn before_write(&mut self, db: usize, key: &Key) {
        if self.cut.is_some() {
            self.save_before_write(db, key);
        }
    }

    #[cold]
    fn save_before_write(&mut self, db: usize, key: &Key) {
        let rank = Rank::new(self.local(key.slot), key.hash);
        if let Some(cut) = &mut self.cut {
            cut.before_write(db, rank, &self.databases[db], &self.hasher);
        }
    }

    pub(super) fn check_cut(&self) {
        if let Some(cut) = &self.cut {
            cut.check_invariants(self.databases.len());
        }
    }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
