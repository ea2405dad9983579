//! A bounded hash table of entries: an array of buckets in hash order, so that a place in a scan means the same
//! whatever the array's size. May touch its buckets and entries; knows nothing of slots.
//!
//! A segment of depth d holds the keys of a slot whose hashes share their first d bits. The next 32 bits, scaled to
//! the number of buckets, name a key's home; a full home overflows into the buckets behind it, counted in each
//! that was passed, so that a search stops where nothing has overflowed.

use std::ptr::NonNull;

use super::bucket::{Bucket, LANES, VOLATILE, lanes, tag_of};
use super::entry::{EntryRef, OwnedEntry};
use super::hash::KeyHasher;
use super::heap::Heap;

/// Sizes of bucket arrays, about a quarter apart: the load stays between .72 and .9.
const SIZES: [u16; 20] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 19, 24, 30, 37, 46, 58, 72, 90, 112, 140];
/// A segment that would need more buckets than this is split in two: what one insertion may have to move.
pub(super) const MAX_BUCKETS: usize = if cfg!(any(test, miri)) { 6 } else { 140 };
/// Depth from which segments grow instead of splitting; 2^16 segments of a thousand entries in one slot are before it.
pub(super) const MAX_DEPTH: u8 = 16;

/// Entries that `buckets` buckets take before the array grows.
pub(super) fn capacity(buckets: usize) -> usize {
    if buckets <= 1 { buckets * LANES } else { buckets * LANES * 9 / 10 }
}

/// Buckets for `entries` entries.
pub(super) fn buckets_for(entries: usize) -> usize {
    let listed = SIZES.iter().map(|&size| size as usize).find(|&size| capacity(size) >= entries);
    listed.unwrap_or_else(|| (entries * 10).div_ceil(LANES * 9).next_multiple_of(64))
}

/// A lane of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) bucket: u32,
    pub(super) lane: u32,
}

/// Filler whose impossible values tell a segment from a directory within 16 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Niche {
    Zero = 0,
}

#[derive(Debug)]
#[repr(C)]
pub(super) struct Segment {
    /// `count` buckets; dangling if that is 0.
    buckets: NonNull<Bucket>,
    count: u16,
    len: u16,
    volatile: u16,
    depth: u8,
    niche: Niche,
}

// SAFETY: a segment owns its buckets and, through them, its entries, which are Send.
unsafe impl Send for Segment {}

impl Segment {
    pub(super) const fn new(depth: u8) -> Self {
        Segment { buckets: NonNull::dangling(), count: 0, len: 0, volatile: 0, depth, niche: Niche::Zero }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// Entries with an expiry.
    pub(super) fn volatile(&self) -> usize {
        self.volatile as usize
    }

    pub(super) fn depth(&self) -> u8 {
        self.depth
    }

    pub(super) fn bucket_count(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub(super) fn buckets(&self) -> &[Bucket] {
        // SAFETY: `buckets` leads to `count` initialised buckets, or is dangling and `count` 0.
        unsafe { std::slice::from_raw_parts(self.buckets.as_ptr(), self.count as usize) }
    }

    #[inline]
    fn buckets_mut(&mut self) -> &mut [Bucket] {
        // SAFETY: as in `buckets`, and `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.buckets.as_ptr(), self.count as usize) }
    }

    /// The bucket where a hash belongs.
    #[inline]
    pub(super) fn home(&self, hash: u64) -> usize {
        let place = (hash << self.depth) >> 32;
        ((place * u64::from(self.count)) >> 32) as usize
    }

    #[inline]
    fn entry_at(content: u64) -> NonNull<u8> {
        let address = std::ptr::with_exposed_provenance_mut::<u8>((content & !VOLATILE) as usize);
        debug_assert!(!address.is_null());
        // SAFETY: occupied lanes hold addresses of entries, which are not null; callers ask for no others.
        unsafe { NonNull::new_unchecked(address) }
    }

    fn content_of(entry: OwnedEntry) -> u64 {
        let volatile = entry.view().expire().is_some();
        let address = entry.into_raw().as_ptr().expose_provenance() as u64;
        debug_assert!(address & 7 == 0 && address >> 48 == 0);
        address | (u64::from(volatile) * VOLATILE)
    }

    /// The entry in an occupied lane.
    #[inline]
    pub(super) fn entry(&self, at: Lane) -> EntryRef<'_> {
        let bucket = &self.buckets()[at.bucket as usize];
        assert!(bucket.occupied() >> at.lane & 1 == 1, "an entry stands there");
        // SAFETY: occupied lanes hold entries that this segment owns; they live unchanged while it is borrowed.
        unsafe { EntryRef::from_raw(Self::entry_at(bucket.lane(at.lane as usize))) }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<(Lane, EntryRef<'_>)> {
        let buckets = self.buckets();
        let tag = tag_of(hash);
        let home = self.home(hash);
        let mut at = home;
        loop {
            let bucket = buckets.get(at)?;
            for lane in lanes(bucket.matches(tag)) {
                // SAFETY: tags of empty lanes are 0 and never match: an entry of this segment stands there.
                let entry = unsafe { EntryRef::from_raw(Self::entry_at(bucket.lane(lane))) };
                if entry.has_key(key) {
                    return Some((Lane { bucket: at as u32, lane: lane as u32 }, entry));
                }
            }
            if bucket.overflow() == 0 {
                return None;
            }
            at = if at + 1 == buckets.len() { 0 } else { at + 1 };
            if at == home {
                return None;
            }
        }
    }

    /// Visits every entry of one hash.
    pub(super) fn visit_hash(&self, hash: u64, hasher: &KeyHasher, visit: &mut dyn FnMut(EntryRef<'_>)) {
        let (buckets, home) = (self.buckets(), self.home(hash));
        let mut at = home;
        while let Some(bucket) = buckets.get(at) {
            for lane in lanes(bucket.matches(tag_of(hash))) {
                let entry = self.entry(Lane { bucket: at as u32, lane: lane as u32 });
                if hasher.hash(entry.key()) == hash {
                    visit(entry);
                }
            }
            at = if at + 1 == buckets.len() { 0 } else { at + 1 };
            if bucket.overflow() == 0 || at == home {
                break;
            }
        }
    }

    /// As `find`, and sets the entry's access bits to what `mark` makes of them.
    #[inline]
    pub(super) fn find_marked(
        &mut self,
        hash: u64,
        key: &[u8],
        mark: impl FnOnce(u32) -> u32,
    ) -> Option<EntryRef<'_>> {
        let (_, entry) = self.find(hash, key)?;
        let bits = mark(entry.access());
        // SAFETY: the entry is this segment's, which is borrowed for writing; bits of the header change, nothing moves.
        unsafe { entry.as_owned() }.set_access(bits);
        Some(entry)
    }

    /// Whether the entry in an occupied lane has an expiry, without touching it.
    #[inline]
    pub(super) fn is_volatile(&self, at: Lane) -> bool {
        self.buckets()[at.bucket as usize].lane(at.lane as usize) & VOLATILE != 0
    }

    /// Fetches the line of a hash's home bucket.
    #[inline]
    pub(super) fn prefetch_bucket(&self, hash: u64) {
        prefetch(self.buckets.as_ptr().wrapping_add(self.home(hash)).cast());
    }

    /// Fetches the lines of the first entry whose tag matches.
    #[inline]
    pub(super) fn prefetch_entry(&self, hash: u64) {
        let buckets = self.buckets();
        let home = self.home(hash);
        // Two buckets hold nearly all; the rest are found without help.
        for bucket in buckets.iter().skip(home).take(2) {
            if let Some(lane) = lanes(bucket.matches(tag_of(hash))).next() {
                let entry = (bucket.lane(lane) & !VOLATILE) as usize;
                prefetch(std::ptr::without_provenance(entry));
                // A small entry ends at most in the next line.
                prefetch(std::ptr::without_provenance(entry + 55));
                return;
            }
            if bucket.overflow() == 0 {
                return;
            }
        }
    }

    /// Makes room for one more entry; false if the segment must be split for that.
    #[inline]
    pub(super) fn reserve(&mut self, hasher: &KeyHasher, heap: &mut Heap) -> bool {
        if self.len() < capacity(self.bucket_count()) {
            return true;
        }
        let wanted = buckets_for(self.len() + 1);
        if wanted > MAX_BUCKETS && self.depth < MAX_DEPTH {
            return false;
        }
        self.resize(wanted, hasher, heap);
        true
    }

    /// Puts an entry in whose key is not there yet, after `reserve`.
    pub(super) fn insert(&mut self, hash: u64, entry: OwnedEntry) -> Lane {
        assert!(self.len() < capacity(self.bucket_count()) && self.len < u16::MAX, "room was reserved");
        let content = Self::content_of(entry);
        self.len += 1;
        self.volatile += (content & VOLATILE) as u16;
        self.place(hash, content)
    }

    /// Finds the first empty lane from the hash's home on; there is one, the load being below 1.
    fn place(&mut self, hash: u64, content: u64) -> Lane {
        let mut at = self.home(hash);
        let buckets = self.buckets_mut();
        loop {
            let bucket = &mut buckets[at];
            let empty = bucket.empty();
            if empty != 0 {
                let lane = empty.trailing_zeros();
                bucket.fill(lane as usize, tag_of(hash), content);
                return Lane { bucket: at as u32, lane };
            }
            bucket.add_overflow();
            at = if at + 1 == buckets.len() { 0 } else { at + 1 };
        }
    }

    /// Takes an entry out. The array does not shrink by itself: see `shrink`.
    pub(super) fn remove(&mut self, hash: u64, at: Lane) -> OwnedEntry {
        let home = self.home(hash);
        let count = self.bucket_count();
        let target = at.bucket as usize;
        let bucket = &mut self.buckets_mut()[target];
        assert!(bucket.occupied() >> at.lane & 1 == 1, "an entry stands there");
        let content = bucket.lane(at.lane as usize);
        bucket.vacate(at.lane as usize);
        let mut passed = home;
        while passed != target {
            self.buckets_mut()[passed].drop_overflow();
            passed = if passed + 1 == count { 0 } else { passed + 1 };
        }
        self.len -= 1;
        self.volatile -= (content & VOLATILE) as u16;
        // SAFETY: the lane held the only handle of an entry of this segment, and is empty now.
        unsafe { OwnedEntry::from_raw(Self::entry_at(content)) }
    }

    /// Lets `change` work on the entry in place; it may hand back another in its stead, and does not change its key.
    #[inline]
    pub(super) fn change<R>(&mut self, at: Lane, change: impl FnOnce(&mut OwnedEntry) -> R) -> R {
        let bucket = &mut self.buckets_mut()[at.bucket as usize];
        assert!(bucket.occupied() >> at.lane & 1 == 1, "an entry stands there");
        let old = bucket.lane(at.lane as usize);
        // SAFETY: the lane holds the only handle of the entry; it is written back below before anyone looks.
        let mut entry = unsafe { OwnedEntry::from_raw(Self::entry_at(old)) };
        let result = change(&mut entry);
        let new = Self::content_of(entry);
        if new != old {
            bucket.refill(at.lane as usize, new);
            self.volatile = self.volatile - (old & VOLATILE) as u16 + (new & VOLATILE) as u16;
        }
        result
    }

    /// Calls `visit` with every entry's hash and lane content, its lines fetched ahead.
    fn each_hashed(&self, hasher: &KeyHasher, mut visit: impl FnMut(u64, u64)) {
        const AHEAD: usize = 3;
        let buckets = self.buckets();
        let fetch = |bucket: &Bucket| {
            for lane in lanes(bucket.occupied()) {
                prefetch(std::ptr::without_provenance((bucket.lane(lane) & !VOLATILE) as usize));
            }
        };
        buckets.iter().take(AHEAD).for_each(fetch);
        for (nth, bucket) in buckets.iter().enumerate() {
            if let Some(later) = buckets.get(nth + AHEAD) {
                fetch(later);
            }
            for lane in lanes(bucket.occupied()) {
                let content = bucket.lane(lane);
                // SAFETY: occupied lanes hold entries of this segment.
                let entry = unsafe { EntryRef::from_raw(Self::entry_at(content)) };
                visit(hasher.hash(entry.key()), content);
            }
        }
    }

    /// Moves all entries into an array of `count` buckets, which has room for them.
    fn resize(&mut self, count: usize, hasher: &KeyHasher, heap: &mut Heap) {
        debug_assert!(capacity(count) >= self.len());
        let mut other = Segment::with_buckets(count, self.depth, heap);
        self.each_hashed(hasher, |hash, content| {
            other.place(hash, content);
        });
        other.len = self.len;
        other.volatile = self.volatile;
        std::mem::replace(self, other).free_buckets(heap);
    }

    fn with_buckets(count: usize, depth: u8, heap: &mut Heap) -> Self {
        let mut segment = Segment::new(depth);
        if count > 0 {
            // All-zero buckets are empty ones.
            segment.buckets = heap.alloc_lines(count).cast();
            segment.count = u16::try_from(count).expect("a segment stays far below 65536 buckets");
        }
        segment
    }

    /// Gives the array back, the entries in it having moved or gone.
    fn free_buckets(self, heap: &mut Heap) {
        if self.count > 0 {
            // SAFETY: the array was allocated with this count; `self` ends here.
            unsafe { heap.free_lines(self.buckets.cast(), self.count as usize) };
        }
    }

    /// Gives memory back after removals: a sparse array is replaced by one with a fifth to spare.
    #[inline]
    pub(super) fn shrink(&mut self, hasher: &KeyHasher, heap: &mut Heap) {
        if self.len() * 5 > capacity(self.bucket_count()) * 2 {
            return;
        }
        let wanted = if self.len == 0 { 0 } else { buckets_for(self.len() + self.len() / 4) };
        if wanted < self.bucket_count() {
            self.resize(wanted, hasher, heap);
        }
    }

    /// Splits by the next hash bit: lower half, upper half.
    pub(super) fn split(self, hasher: &KeyHasher, heap: &mut Heap) -> (Segment, Segment) {
        let upper = |hash: u64| (hash << self.depth) >> 63 == 1;
        let mut lens = [0usize; 2];
        self.each_hashed(hasher, |hash, _| lens[upper(hash) as usize] += 1);
        // One more than there are: whoever splits is about to insert.
        let mut halves = lens.map(|len| Segment::with_buckets(buckets_for(len + 1), self.depth + 1, heap));
        self.each_hashed(hasher, |hash, content| {
            let half = &mut halves[upper(hash) as usize];
            half.place(hash, content);
            half.len += 1;
            half.volatile += (content & VOLATILE) as u16;
        });
        self.free_buckets(heap);
        halves.into()
    }

    /// Joins two halves of one segment again.
    pub(super) fn join(lower: Segment, upper: Segment, hasher: &KeyHasher, heap: &mut Heap) -> Segment {
        let len = lower.len() + upper.len();
        let mut joined = Segment::with_buckets(buckets_for(len + len / 4), lower.depth - 1, heap);
        joined.len = lower.len + upper.len;
        joined.volatile = lower.volatile + upper.volatile;
        for half in [lower, upper] {
            half.each_hashed(hasher, |hash, content| {
                joined.place(hash, content);
            });
            half.free_buckets(heap);
        }
        joined
    }

    /// All occupied lanes.
    pub(super) fn occupied(&self) -> impl Iterator<Item = Lane> + '_ {
        self.buckets().iter().enumerate().flat_map(|(bucket, line)| {
            lanes(line.occupied()).map(move |lane| Lane { bucket: bucket as u32, lane: lane as u32 })
        })
    }

    /// Fetches the entry in an occupied lane.
    pub(super) fn prefetch_lane(&self, at: Lane) {
        let content = self.buckets()[at.bucket as usize].lane(at.lane as usize);
        prefetch(std::ptr::without_provenance((content & !VOLATILE) as usize));
    }

    /// Fetches the lines of all entries in a bucket, if there is such a bucket.
    #[inline]
    pub(super) fn prefetch_bucket_entries(&self, bucket: usize) {
        let Some(bucket) = self.buckets().get(bucket) else { return };
        for lane in lanes(bucket.occupied()) {
            let entry = (bucket.lane(lane) & !VOLATILE) as usize;
            prefetch(std::ptr::without_provenance(entry));
            // A small entry ends at most in the next line.
            prefetch(std::ptr::without_provenance(entry + 55));
        }
    }

    /// Takes all entries out, handing them to `take`, and gives the array back.
    pub(super) fn drain(&mut self, heap: &mut Heap, mut take: impl FnMut(OwnedEntry, &mut Heap)) {
        let segment = std::mem::replace(self, Segment::new(self.depth));
        for at in segment.occupied() {
            segment.prefetch_lane(at);
        }
        for at in segment.occupied() {
            let content = segment.buckets()[at.bucket as usize].lane(at.lane as usize);
            // SAFETY: each lane holds the only handle of its entry, and the array goes away without being read again.
            take(unsafe { OwnedEntry::from_raw(Self::entry_at(content)) }, heap);
        }
        segment.free_buckets(heap);
    }

    /// Panics if the counts are not what the buckets say, or an entry cannot be found.
    pub(super) fn check_invariants(&self, hasher: &KeyHasher, of_prefix: impl Fn(u64) -> bool) {
        let (mut len, mut volatile) = (0, 0);
        for at in self.occupied() {
            let entry = self.entry(at);
            let hash = hasher.hash(entry.key());
            assert!(of_prefix(hash), "an entry stands in the segment of its prefix");
            assert_eq!(self.find(hash, entry.key()).map(|(lane, _)| lane), Some(at));
            assert_eq!(self.is_volatile(at), entry.expire().is_some());
            len += 1;
            volatile += usize::from(self.is_volatile(at));
        }
        assert_eq!((len, volatile), (self.len(), self.volatile()));
        assert!(len <= capacity(self.bucket_count()));
    }
}

/// Asks for a cache line without waiting for it. Any address will do: prefetching never faults.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint; it neither reads nor faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
