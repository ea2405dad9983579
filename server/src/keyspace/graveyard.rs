//! What was removed but not freed yet: cleared databases, big values, what a cut remembered. Freed in slices; nobody can see it.

use std::collections::{BTreeSet, VecDeque};

use crate::limits::REAP_SLICE;
use crate::structures::{Heap, OwnedEntry, Rank, Remains, SlotTable};

/// Entries with more memory than this are not freed at once.
pub(super) const BIG: usize = 64 << 10;
/// Bytes that freeing a small entry counts for: it costs a cache miss, as much as giving some hundred bytes back.
const ENTRY_COST: usize = 256;
/// Bytes that forgetting a rank counts for.
const RANK_COST: usize = 64;

enum Grave {
    Table(Box<SlotTable>),
    Big(Remains),
    /// What a cut that was given up had settled.
    Ranks(BTreeSet<Rank>),
}

#[derive(Default)]
pub(super) struct Graveyard {
    graves: VecDeque<Grave>,
}

impl Graveyard {
    pub(super) fn bury_table(&mut self, table: SlotTable) {
        if table.is_allocated() {
            self.graves.push_back(Grave::Table(Box::new(table)));
        }
    }

    pub(super) fn bury_ranks(&mut self, ranks: BTreeSet<Rank>) {
        if !ranks.is_empty() {
            self.graves.push_back(Grave::Ranks(ranks));
        }
    }

    /// Frees an entry, now if it is small.
    #[inline]
    pub(super) fn bury(&mut self, entry: OwnedEntry, heap: &mut Heap) {
        if is_big(&entry) {
            self.graves.push_back(Grave::Big(Remains::new(entry)));
        } else {
            entry.free(heap);
        }
    }

    /// Frees about `budget` bytes; true if there is more.
    pub(super) fn reap(&mut self, budget: usize, heap: &mut Heap) -> bool {
        let mut left = budget;
        while left > 0 {
            match self.graves.pop_front() {
                None => break,
                Some(Grave::Big(mut remains)) => {
                    left = left.saturating_sub(REAP_SLICE);
                    if remains.step() {
                        remains.finish(heap);
                    } else {
                        self.graves.push_front(Grave::Big(remains));
                    }
                }
                Some(Grave::Ranks(mut ranks)) => {
                    let taken = left.div_ceil(RANK_COST).min(ranks.len());
                    for _ in 0..taken {
                        ranks.pop_first();
                    }
                    left = left.saturating_sub(taken * RANK_COST);
                    if !ranks.is_empty() {
                        self.graves.push_front(Grave::Ranks(ranks));
                    }
                }
                Some(Grave::Table(mut table)) => {
                    let graves = &mut self.graves;
                    let mut taken = 0;
                    let empty = table.drain(left.div_ceil(ENTRY_COST), heap, &mut |entry, heap| {
                        taken += 1;
                        if is_big(&entry) {
                            graves.push_back(Grave::Big(Remains::new(entry)));
                        } else {
                            entry.free(heap);
                        }
                    });
                    left = left.saturating_sub(taken * ENTRY_COST);
                    if !empty {
                        self.graves.push_front(Grave::Table(table));
                    }
                }
            }
        }
        !self.graves.is_empty()
    }
}

#[inline]
pub(super) fn is_big(entry: &OwnedEntry) -> bool {
    !entry.view().is_small() && entry.view().memory() > BIG
}
