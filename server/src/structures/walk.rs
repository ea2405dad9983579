//! Ways through a slot table: in scan order, at random, all of it, and to what has expired.

use super::bucket::lanes;
use super::due::Due;
use super::entry::{EntryRef, OwnedEntry};
use super::hash::KeyHasher;
use super::heap::Heap;
use super::segment::{Lane, Segment};
use super::slot_table::{GROUP, Place, Slot, SlotTable};

/// Bits of a hash that make its position in scan order.
pub const POSITION_BITS: u32 = 48;

/// A point in scan order: everything before it was visited. It names hash values, not places in memory, so tables may
/// grow, shrink and split between two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub local: usize,
    /// The first `POSITION_BITS` bits of a hash.
    pub hash: u64,
}

/// What entries are ordered by in scan order: those of one hash share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub local: u32,
    pub hash: u64,
}

impl Rank {
    #[inline]
    pub fn new(local: usize, hash: u64) -> Self {
        Rank { local: local as u32, hash }
    }

    #[inline]
    pub fn position(self) -> Position {
        Position { local: self.local as usize, hash: self.hash >> (64 - POSITION_BITS) }
    }
}

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    pub expired: usize,
    /// Entries with an expiry that were looked at.
    pub examined: usize,
    /// The budget ran out first.
    pub more: bool,
}

impl SlotTable {
    /// Visits entries from `from` on, all that share a home together, until `budget` were seen. None at the end.
    pub fn scan(
        &self,
        from: Position,
        budget: usize,
        hasher: &KeyHasher,
        visit: &mut dyn FnMut(EntryRef<'_>),
    ) -> Option<Position> {
        let mut seen = 0;
        let mut at = self.occupied_from(from);
        while let Some(from) = at
            && seen < budget
        {
            at = self.visit_home(from, hasher, &mut |entry, _| {
                seen += 1;
                visit(entry);
            });
        }
        at
    }

    /// Visits the entries from `from` on that share the first home there, in no order, and returns the position at which the
    /// next home begins; None if no more slot has entries. A position that was returned is never amid entries of one hash.
    pub fn visit_home(
        &self,
        from: Position,
        hasher: &KeyHasher,
        visit: &mut dyn FnMut(EntryRef<'_>, Rank),
    ) -> Option<Position> {
        let Position { local, hash } = self.occupied_from(from)?;
        let segment = self.slots[local].segment(hash << (64 - POSITION_BITS));
        let next = scan_home(segment, hash, hasher, &mut |entry, hash| visit(entry, Rank::new(local, hash)));
        self.occupied_from(Position { local, hash: next })
    }

    /// `from`, or the beginning of the next slot that has entries if its own has none behind it.
    fn occupied_from(&self, from: Position) -> Option<Position> {
        if from.hash >> POSITION_BITS == 0 && self.slots.get(from.local)?.len() > 0 {
            return Some(from);
        }
        let mut local = from.local + 1;
        while local < self.slots.len() {
            if local.is_multiple_of(GROUP) && self.lens[local / GROUP] == 0 {
                local += GROUP;
            } else if self.slots[local].len() == 0 {
                local += 1;
            } else {
                return Some(Position { local, hash: 0 });
            }
        }
        None
    }

    /// Visits every entry of one hash.
    pub fn visit_hash(&self, rank: Rank, hasher: &KeyHasher, visit: &mut dyn FnMut(EntryRef<'_>)) {
        if let Some(slot) = self.slots.get(rank.local as usize) {
            slot.segment(rank.hash).visit_hash(rank.hash, hasher, visit);
        }
    }

    /// Visits every entry of one slot.
    pub fn for_each_in(&self, local: usize, visit: &mut dyn FnMut(EntryRef<'_>)) {
        let mut walk = |segment: &Segment| segment.occupied().for_each(|at| visit(segment.entry(at)));
        match self.slots.get(local) {
            None => {}
            Some(Slot::One(segment)) => walk(segment),
            Some(Slot::Many(directory)) => directory.segments().for_each(walk),
        }
    }

    pub fn for_each(&self, visit: &mut dyn FnMut(EntryRef<'_>)) {
        (0..self.slots.len()).for_each(|local| self.for_each_in(local, visit));
    }

    /// An entry, each as likely as any other if `random` gives uniform words.
    pub fn random(&self, random: &mut dyn FnMut() -> u64) -> Option<EntryRef<'_>> {
        if self.is_empty() {
            return None;
        }
        let mut nth = random() as usize % self.len();
        let group = self.lens.iter().position(|&len| passes(&mut nth, len as usize))?;
        let mut slots = self.slots[group * GROUP..].iter();
        let slot = slots.find(|slot| passes(&mut nth, slot.len()))?;
        let segment = match slot {
            Slot::One(segment) => segment,
            Slot::Many(directory) => directory.segments().find(|segment| passes(&mut nth, segment.len()))?,
        };
        // A lane hit at random is an entry four times in five.
        let (buckets, lanes) = (segment.bucket_count() as u64, super::bucket::LANES as u64);
        for _ in 0..100 {
            let word = random();
            let at = Lane { bucket: (word % buckets) as u32, lane: ((word >> 32) % lanes) as u32 };
            if segment.buckets()[at.bucket as usize].occupied() >> at.lane & 1 == 1 {
                return Some(segment.entry(at));
            }
        }
        segment.occupied().nth(nth).map(|at| segment.entry(at))
    }

    /// When a sweep has something to do at the earliest (Unix ms).
    pub fn first_due(&self) -> Option<i64> {
        (self.first < i64::MAX).then_some(self.first)
    }

    /// Takes out entries that expire at or before `now`, with their ranks, until about `budget` were examined. A
    /// segment is swept whole: that bounds what goes beyond the budget.
    pub fn sweep(
        &mut self,
        now: i64,
        budget: usize,
        hasher: &KeyHasher,
        heap: &mut Heap,
        take: &mut dyn FnMut(OwnedEntry, Rank, &mut Heap),
    ) -> Sweep {
        let mut sweep = Sweep::default();
        if self.first > now {
            return sweep;
        }
        for step in 0..self.firsts.len() {
            let group = (self.sweep_from + step) % self.firsts.len();
            if self.firsts[group] > now {
                continue;
            }
            let slots = group * GROUP..self.slots.len().min((group + 1) * GROUP);
            for local in slots.clone() {
                while self.dues[local].at <= now {
                    if sweep.examined >= budget {
                        self.sweep_from = group;
                        sweep.more = true;
                        return sweep;
                    }
                    self.sweep_slot(local, now, &mut sweep, hasher, heap, take);
                }
            }
            self.firsts[group] = self.dues[slots].iter().map(|due| due.at).min().unwrap_or(i64::MAX);
        }
        self.first = self.firsts.iter().copied().min().unwrap_or(i64::MAX);
        sweep
    }

    /// Sweeps the slot, or one due segment of it, and sets anew when it is due.
    fn sweep_slot(
        &mut self,
        local: usize,
        now: i64,
        sweep: &mut Sweep,
        hasher: &KeyHasher,
        heap: &mut Heap,
        take: &mut dyn FnMut(OwnedEntry, Rank, &mut Heap),
    ) {
        let segment = match &self.slots[local] {
            Slot::One(_) => 0,
            Slot::Many(directory) => {
                let due = (0..directory.segment_count()).find(|&id| directory.due(id).at <= now);
                let Some(id) = due else {
                    self.dues[local].at = directory.first_due();
                    return;
                };
                id as u32
            }
        };
        let mut gone = None;
        let due = self.sweep_segment(local, segment, now, sweep, hasher, &mut |entry, hash| {
            gone = Some(hash);
            take(entry, Rank::new(local, hash), heap);
        });
        match &mut self.slots[local] {
            Slot::One(_) => self.dues[local] = due,
            Slot::Many(directory) => {
                *directory.due_mut(segment as usize) = due;
                self.dues[local] = Due::NEVER;
                self.dues[local].at = directory.first_due();
            }
        }
        if let Some(hash) = gone {
            self.settle(local, hash, hasher, heap);
        }
    }

    fn sweep_segment(
        &mut self,
        local: usize,
        id: u32,
        now: i64,
        sweep: &mut Sweep,
        hasher: &KeyHasher,
        take: &mut dyn FnMut(OwnedEntry, u64),
    ) -> Due {
        let (mut examined, mut expired, mut earliest) = (0, 0, i64::MAX);
        let segment = self.slots[local].segment_at(id);
        let candidates = if segment.volatile() == 0 { 0 } else { segment.bucket_count() };
        let mut fetched = 0;
        for bucket in 0..candidates {
            let segment = self.slots[local].segment_at(id);
            // Entries of the next few buckets arrive while this one's are examined.
            while fetched < candidates.min(bucket + 4) {
                volatile_lanes(segment, fetched).for_each(|at| segment.prefetch_lane(at));
                fetched += 1;
            }
            for lane in 0..super::bucket::LANES as u32 {
                let segment = self.slots[local].segment_at(id);
                let at = Lane { bucket: bucket as u32, lane };
                if segment.buckets()[bucket].occupied() >> lane & 1 == 0 || !segment.is_volatile(at) {
                    continue;
                }
                let entry = segment.entry(at);
                let expire = entry.expire().unwrap_or(i64::MAX);
                examined += 1;
                if expire > now {
                    earliest = earliest.min(expire);
                    continue;
                }
                let hash = hasher.hash(entry.key());
                expired += 1;
                take(self.detach(Place { local: local as u32, segment: id, lane: at }, hash), hash);
            }
        }
        sweep.examined += examined.max(1);
        sweep.expired += expired;
        Due::after_sweep(now, examined, expired, earliest)
    }
}

fn volatile_lanes(segment: &Segment, bucket: usize) -> impl Iterator<Item = Lane> + '_ {
    lanes(segment.buckets()[bucket].occupied())
        .map(move |lane| Lane { bucket: bucket as u32, lane: lane as u32 })
        .filter(|&at| segment.is_volatile(at))
}

/// Whether the `nth` entry is among `len`; if not, counts past them.
fn passes(nth: &mut usize, len: usize) -> bool {
    if *nth < len {
        return true;
    }
    *nth -= len;
    false
}

/// Visits the entries from `position` on that share its home bucket; returns the position at which the next home, or the
/// next segment, begins.
fn scan_home(
    segment: &Segment,
    position: u64,
    hasher: &KeyHasher,
    visit: &mut dyn FnMut(EntryRef<'_>, u64),
) -> u64 {
    let depth = u32::from(segment.depth());
    let width = POSITION_BITS - depth;
    let begin = position >> width << width;
    let end = begin + (1 << width);
    let buckets = segment.buckets();
    if segment.len() == 0 {
        return end;
    }
    let home = segment.home(position << 16);
    let mut at = home;
    segment.prefetch_bucket_entries(at);
    loop {
        // The next bucket's entries arrive while this one's are visited.
        segment.prefetch_bucket_entries(at + 1);
        for lane in lanes(buckets[at].occupied()) {
            let entry = segment.entry(Lane { bucket: at as u32, lane: lane as u32 });
            let hash = hasher.hash(entry.key());
            if segment.home(hash) == home && hash >> 16 >= position {
                visit(entry, hash);
            }
        }
        let last = buckets[at].overflow() == 0;
        at = if at + 1 == buckets.len() { 0 } else { at + 1 };
        if last || at == home {
            break;
        }
    }
    if home + 1 == buckets.len() {
        return end;
    }
    // The first 32-bit place that scales to the next home; see `Segment::home`.
    let place = ((home as u64 + 1) << 32).div_ceil(buckets.len() as u64);
    begin + (place << (16 - depth))
}
