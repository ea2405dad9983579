//! One database's keys of one shard: a bounded hash table (or a directory of them) for every slot.
//!
//! ```text
//! slots[local]  16 bytes: a segment (buckets, count, entries, volatile entries, depth) or a boxed directory
//! lens[group]   entries of 128 slots, so that an empty stretch is skipped and the n-th entry is found quickly
//! dues[local]   when the slot has something to expire; firsts[group] the earliest of 128 of them. Made with the
//!               first entry that expires
//! ```
//! May touch segments and entries; knows nothing of databases, kinds of values or the clock.

use super::directory::Directory;
use super::due::Due;
use super::entry::{EntryRef, OwnedEntry};
use super::hash::{Key, KeyHasher};
use super::heap::{Heap, allocation_size};
use super::segment::{Lane, Segment};

/// Slots counted together.
pub(super) const GROUP: usize = 128;

#[derive(Debug)]
pub(super) enum Slot {
    One(Segment),
    Many(Box<Directory>),
}

// A shard's slots must stay in the second-level cache: every lookup begins there.
const _: () = assert!(size_of::<Slot>() == 16);

impl Slot {
    const EMPTY: Slot = Slot::One(Segment::new(0));

    pub(super) fn len(&self) -> usize {
        match self {
            Slot::One(segment) => segment.len(),
            Slot::Many(directory) => directory.len,
        }
    }

    pub(super) fn volatile(&self) -> usize {
        match self {
            Slot::One(segment) => segment.volatile(),
            Slot::Many(directory) => directory.volatile,
        }
    }

    /// The segment that a hash belongs to.
    #[inline]
    pub(super) fn segment(&self, hash: u64) -> &Segment {
        match self {
            Slot::One(segment) => segment,
            Slot::Many(directory) => directory.segment(directory.id_of(hash)),
        }
    }

    #[inline]
    fn segment_mut(&mut self, hash: u64) -> &mut Segment {
        match self {
            Slot::One(segment) => segment,
            Slot::Many(directory) => directory.segment_mut(directory.id_of(hash)),
        }
    }

    pub(super) fn segment_at(&self, id: u32) -> &Segment {
        match self {
            Slot::One(segment) => segment,
            Slot::Many(directory) => directory.segment(id as usize),
        }
    }

    fn segment_at_mut(&mut self, id: u32) -> &mut Segment {
        match self {
            Slot::One(segment) => segment,
            Slot::Many(directory) => directory.segment_mut(id as usize),
        }
    }

    #[inline]
    fn id_of(&self, hash: u64) -> u32 {
        match self {
            Slot::One(_) => 0,
            Slot::Many(directory) => directory.id_of(hash) as u32,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Slot::One(_) => 0,
            Slot::Many(directory) => directory.memory(),
        }
    }
}

/// Where an entry stands; good until the table is next changed.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(super) local: u32,
    pub(super) segment: u32,
    pub(super) lane: Lane,
}

/// The entries of a range of slots, numbered from 0. Must be emptied (`drain`) before it is dropped.
#[derive(Debug)]
pub struct SlotTable {
    pub(super) slots: Vec<Slot>,
    pub(super) lens: Vec<u32>,
    pub(super) dues: Vec<Due>,
    pub(super) firsts: Vec<i64>,
    /// No group is due before this (Unix ms).
    pub(super) first: i64,
    /// The group at which the next sweep begins.
    pub(super) sweep_from: usize,
    len: usize,
    volatile: usize,
    /// Sum of all times of expiry (ms).
    expiries: i128,
}

impl Default for SlotTable {
    /// A table without slots: a database that was never written.
    fn default() -> Self {
        SlotTable {
            slots: Vec::new(),
            lens: Vec::new(),
            dues: Vec::new(),
            firsts: Vec::new(),
            first: i64::MAX,
            sweep_from: 0,
            len: 0,
            volatile: 0,
            expiries: 0,
        }
    }
}

impl SlotTable {
    /// A table of `slots` empty slots.
    pub fn new(slots: usize, heap: &mut Heap) -> Self {
        let mut table = SlotTable::default();
        table.slots.resize_with(slots, || Slot::EMPTY);
        table.lens.resize(slots.div_ceil(GROUP), 0);
        heap.charge(table.fixed_memory());
        table
    }

    /// False if it has no slots yet: a database that was never written.
    #[inline]
    pub fn is_allocated(&self) -> bool {
        !self.slots.is_empty()
    }

    pub(super) fn fixed_memory(&self) -> usize {
        allocation_size(self.slots.capacity() * size_of::<Slot>())
            + allocation_size(self.lens.capacity() * size_of::<u32>())
            + allocation_size(self.dues.capacity() * size_of::<Due>())
            + allocation_size(self.firsts.capacity() * size_of::<i64>())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries with an expiry.
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// Sum of all times of expiry (ms).
    pub fn expiries(&self) -> i128 {
        self.expiries
    }

    pub fn slot_len(&self, local: usize) -> usize {
        self.slots.get(local).map_or(0, Slot::len)
    }

    /// Entries with an expiry in one slot.
    #[inline]
    pub fn slot_volatile(&self, local: usize) -> usize {
        self.slots.get(local).map_or(0, Slot::volatile)
    }

    /// Fetches the header of a slot.
    #[inline]
    pub fn prefetch_slot(&self, local: usize) {
        super::segment::prefetch(self.slots.as_ptr().wrapping_add(local).cast());
    }

    /// Fetches the line of the bucket where `hash` belongs.
    #[inline]
    pub fn prefetch_bucket(&self, local: usize, hash: u64) {
        if let Some(slot) = self.slots.get(local) {
            slot.segment(hash).prefetch_bucket(hash);
        }
    }

    /// Fetches the lines of the entry that `hash` probably means.
    #[inline]
    pub fn prefetch_entry(&self, local: usize, hash: u64) {
        if let Some(slot) = self.slots.get(local) {
            slot.segment(hash).prefetch_entry(hash);
        }
    }

    #[inline]
    pub fn find(&self, local: usize, key: &Key) -> Option<EntryRef<'_>> {
        self.slots.get(local)?.segment(key.hash).find(key.hash, key.bytes).map(|(_, entry)| entry)
    }

    /// As `find`, and sets the entry's access bits to what `mark` makes of them.
    #[inline]
    pub fn find_marked(
        &mut self,
        local: usize,
        key: &Key,
        mark: impl FnOnce(u32) -> u32,
    ) -> Option<EntryRef<'_>> {
        self.slots.get_mut(local)?.segment_mut(key.hash).find_marked(key.hash, key.bytes, mark)
    }

    #[inline]
    pub fn locate(&self, local: usize, key: &Key) -> Option<Place> {
        let slot = self.slots.get(local)?;
        let (lane, _) = slot.segment(key.hash).find(key.hash, key.bytes)?;
        Some(Place { local: local as u32, segment: slot.id_of(key.hash), lane })
    }

    #[inline]
    pub fn entry(&self, place: Place) -> EntryRef<'_> {
        self.slots[place.local as usize].segment_at(place.segment).entry(place.lane)
    }

    /// Whether the entry has an expiry, without touching it.
    #[inline]
    pub fn is_volatile(&self, place: Place) -> bool {
        self.slots[place.local as usize].segment_at(place.segment).is_volatile(place.lane)
    }

    /// Lets `change` work on an entry that keeps its expiry.
    #[inline]
    pub fn change<R>(&mut self, place: Place, change: impl FnOnce(&mut OwnedEntry) -> R) -> R {
        self.slots[place.local as usize].segment_at_mut(place.segment).change(place.lane, change)
    }

    /// Lets `change` work on an entry, replace it, give it an expiry or take that away; the key stays.
    #[inline]
    pub fn change_expiry<R>(
        &mut self,
        place: Place,
        heap: &mut Heap,
        change: impl FnOnce(&mut OwnedEntry, &mut Heap) -> R,
    ) -> R {
        let mut expiries = (None, None);
        let result = self.change(place, |entry| {
            let before = entry.view().expire();
            let result = change(entry, heap);
            expiries = (before, entry.view().expire());
            result
        });
        if expiries.0 != expiries.1 {
            self.expect_expiry(heap);
            self.note_change(place, expiries.0, expiries.1);
        }
        result
    }

    fn note_change(&mut self, place: Place, before: Option<i64>, after: Option<i64>) {
        self.forget_expiry(place.local as usize, before);
        if let Some(at) = after {
            self.note_expiry(place.local as usize, place.segment, at);
        }
    }

    fn forget_expiry(&mut self, local: usize, expire: Option<i64>) {
        if let Some(at) = expire {
            self.volatile -= 1;
            self.expiries -= i128::from(at);
            if let Slot::Many(directory) = &mut self.slots[local] {
                directory.volatile -= 1;
            }
        }
    }

    fn note_expiry(&mut self, local: usize, segment: u32, at: i64) {
        self.volatile += 1;
        self.expiries += i128::from(at);
        let due = match &mut self.slots[local] {
            Slot::One(_) => self.dues[local].note(at),
            Slot::Many(directory) => {
                directory.volatile += 1;
                let due = directory.due_mut(segment as usize).note(at);
                self.dues[local].note(due)
            }
        };
        let first = &mut self.firsts[local / GROUP];
        *first = due.min(*first);
        self.first = due.min(self.first);
    }

    /// Makes the arrays that expiry needs; before the first entry that expires is noted.
    fn expect_expiry(&mut self, heap: &mut Heap) {
        if self.dues.is_empty() {
            self.make_dues(heap);
        }
    }

    #[cold]
    fn make_dues(&mut self, heap: &mut Heap) {
        heap.discharge(self.fixed_memory());
        self.dues = vec![Due::NEVER; self.slots.len()];
        self.firsts = vec![i64::MAX; self.lens.len()];
        heap.charge(self.fixed_memory());
    }

    /// Puts an entry in whose key is not there.
    pub fn insert(
        &mut self,
        local: usize,
        hash: u64,
        entry: OwnedEntry,
        hasher: &KeyHasher,
        heap: &mut Heap,
    ) {
        let expire = entry.view().expire();
        let slot = &mut self.slots[local];
        let mut id = slot.id_of(hash);
        while !slot.segment_at_mut(id).reserve(hasher, heap) {
            let due = self.dues.get(local).copied().unwrap_or(Due::NEVER);
            split(slot, hash, due, hasher, heap);
            id = slot.id_of(hash);
        }
        slot.segment_at_mut(id).insert(hash, entry);
        if let Slot::Many(directory) = slot {
            directory.len += 1;
        }
        self.len += 1;
        self.lens[local / GROUP] += 1;
        if let Some(at) = expire {
            self.expect_expiry(heap);
            self.note_expiry(local, id, at);
        }
    }

    /// Takes an entry out; `hash` is its key's.
    pub fn remove(&mut self, place: Place, hash: u64, hasher: &KeyHasher, heap: &mut Heap) -> OwnedEntry {
        let entry = self.detach(place, hash);
        self.settle(place.local as usize, hash, hasher, heap);
        entry
    }

    /// Takes an entry out without shrinking anything, so that other places stay good.
    pub(super) fn detach(&mut self, place: Place, hash: u64) -> OwnedEntry {
        let local = place.local as usize;
        let entry = self.slots[local].segment_at_mut(place.segment).remove(hash, place.lane);
        if let Slot::Many(directory) = &mut self.slots[local] {
            directory.len -= 1;
        }
        self.len -= 1;
        self.lens[local / GROUP] -= 1;
        self.forget_expiry(local, entry.view().expire());
        entry
    }

    /// Gives back what the segment of `hash` no longer needs after removals.
    pub(super) fn settle(&mut self, local: usize, hash: u64, hasher: &KeyHasher, heap: &mut Heap) {
        let slot = &mut self.slots[local];
        let id = slot.id_of(hash);
        slot.segment_at_mut(id).shrink(hasher, heap);
        let Slot::Many(directory) = slot else { return };
        let before = directory.memory();
        directory.join(hash, hasher, heap);
        match directory.sole() {
            Some((segment, due)) => {
                if let Some(slot_due) = self.dues.get_mut(local) {
                    *slot_due = due;
                }
                *slot = Slot::One(segment);
                heap.discharge(before);
            }
            None => {
                heap.charge(directory.memory());
                heap.discharge(before);
            }
        }
    }

    /// Takes entries out of the table's end, slot by slot, until `budget` were handed to `take`; true once none is left
    /// and the table may be dropped.
    pub fn drain(
        &mut self,
        budget: usize,
        heap: &mut Heap,
        take: &mut dyn FnMut(OwnedEntry, &mut Heap),
    ) -> bool {
        let mut taken = 0;
        if self.len > 0 {
            heap.discharge(self.fixed_memory());
            self.dues = Vec::new();
            self.firsts = Vec::new();
            heap.charge(self.fixed_memory());
        }
        while let Some(slot) = self.slots.last_mut() {
            if taken >= budget {
                return false;
            }
            let before = slot.memory();
            let emptied = match slot {
                Slot::One(segment) => {
                    taken += segment.len();
                    segment.drain(heap, &mut *take);
                    true
                }
                Slot::Many(directory) => {
                    let full = directory.segments_mut().find(|segment| segment.bucket_count() > 0);
                    full.map(|segment| {
                        taken += segment.len();
                        segment.drain(heap, &mut *take);
                    })
                    .is_none()
                }
            };
            if emptied {
                heap.discharge(before);
                self.slots.pop();
            }
        }
        // `pop` keeps the capacity, so this is what was charged.
        heap.discharge(self.fixed_memory());
        *self = SlotTable::default();
        true
    }

    /// Panics if counts, dues or places contradict what the slots hold.
    pub fn check_invariants(&self, hasher: &KeyHasher) {
        let (mut len, mut volatile, mut expiries) = (0, 0, 0i128);
        for (local, slot) in self.slots.iter().enumerate() {
            match slot {
                Slot::One(segment) => segment.check_invariants(hasher, |_| true),
                Slot::Many(directory) => directory.check_invariants(hasher),
            }
            let mut slot_volatile = 0;
            self.for_each_in(local, &mut |entry| {
                if let Some(at) = entry.expire() {
                    slot_volatile += 1;
                    expiries += i128::from(at);
                    assert!(self.dues[local].at < i64::MAX);
                }
            });
            assert_eq!(slot_volatile, slot.volatile());
            len += slot.len();
            volatile += slot_volatile;
        }
        assert_eq!((len, volatile, expiries), (self.len, self.volatile, self.expiries));
        for (nth, slots) in self.slots.chunks(GROUP).enumerate() {
            assert_eq!(slots.iter().map(Slot::len).sum::<usize>(), self.lens[nth] as usize);
        }
        for (nth, dues) in self.dues.chunks(GROUP).enumerate() {
            assert!(dues.iter().all(|due| due.at >= self.firsts[nth]), "a group is due with its first slot");
            assert!(self.firsts[nth] >= self.first, "a table is due with its first group");
        }
    }
}

/// Splits the segment of `hash` within its slot.
#[cold]
fn split(slot: &mut Slot, hash: u64, due: Due, hasher: &KeyHasher, heap: &mut Heap) {
    let before = slot.memory();
    match slot {
        Slot::One(segment) => {
            let segment = std::mem::replace(segment, Segment::new(0));
            *slot = Slot::Many(Box::new(Directory::new(segment, due, hasher, heap)));
        }
        Slot::Many(directory) => directory.split(hash, hasher, heap),
    }
    heap.charge(slot.memory());
    heap.discharge(before);
}

#[cfg(test)]
#[path = "slot_table_tests.rs"]
mod tests;
