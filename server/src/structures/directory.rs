//! Many segments of one slot, found by the first bits of the hash (extendible hashing), so that a slot with
//! millions of keys still grows a thousand entries at a time.
//!
//! ```text
//! depth 2: index 00 ─┐
//!                01 ─┴─ segment of depth 1 (prefix 0)      a segment of depth d stands in 2^(depth − d)
//!                10 ─── segment of depth 2 (prefix 10)     neighbouring places of the index
//!                11 ─── segment of depth 2 (prefix 11)
//! ```
//! May touch segments; knows nothing of slots.

use super::due::Due;
use super::hash::KeyHasher;
use super::heap::{Heap, allocation_size};
use super::segment::{MAX_BUCKETS, Segment, capacity};

/// Two halves that together hold no more than this become one again: a quarter of what would split it.
const JOIN: usize = capacity_const(MAX_BUCKETS) / 4;

const fn capacity_const(buckets: usize) -> usize {
    buckets * 8
}

#[derive(Debug)]
pub(super) struct Directory {
    /// Bits of the hash that choose the place in `index`; at least 1.
    depth: u8,
    index: Vec<u32>,
    segments: Vec<Segment>,
    /// Places in `segments` that are not in use.
    vacant: Vec<u32>,
    /// Segments of the full depth; without any the index can be halved.
    deepest: usize,
    /// Beside `segments`.
    dues: Vec<Due>,
    pub(super) len: usize,
    pub(super) volatile: usize,
}

impl Directory {
    /// Splits a slot's only segment.
    pub(super) fn new(segment: Segment, due: Due, hasher: &KeyHasher, heap: &mut Heap) -> Self {
        let (len, volatile) = (segment.len(), segment.volatile());
        let (lower, upper) = segment.split(hasher, heap);
        Directory {
            depth: 1,
            index: vec![0, 1],
            segments: vec![lower, upper],
            vacant: Vec::new(),
            deepest: 2,
            dues: vec![due, due],
            len,
            volatile,
        }
    }

    #[inline]
    pub(super) fn id_of(&self, hash: u64) -> usize {
        self.index[(hash >> (64 - self.depth)) as usize] as usize
    }

    #[inline]
    pub(super) fn segment(&self, id: usize) -> &Segment {
        &self.segments[id]
    }

    #[inline]
    pub(super) fn segment_mut(&mut self, id: usize) -> &mut Segment {
        &mut self.segments[id]
    }

    /// Ids in the order of their prefixes.
    pub(super) fn ids(&self) -> impl Iterator<Item = usize> + '_ {
        let mut last = u32::MAX;
        self.index.iter().filter(move |&&id| std::mem::replace(&mut last, id) != id).map(|&id| id as usize)
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        // Vacant places hold empty segments.
        self.segments.iter()
    }

    pub(super) fn segments_mut(&mut self) -> impl Iterator<Item = &mut Segment> {
        self.segments.iter_mut()
    }

    pub(super) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    pub(super) fn due(&self, id: usize) -> Due {
        self.dues[id]
    }

    pub(super) fn due_mut(&mut self, id: usize) -> &mut Due {
        &mut self.dues[id]
    }

    /// When the first of the segments is due.
    pub(super) fn first_due(&self) -> i64 {
        self.dues.iter().map(|due| due.at).min().unwrap_or(i64::MAX)
    }

    /// Bytes allocated by the directory itself.
    pub(super) fn memory(&self) -> usize {
        allocation_size(size_of::<Directory>())
            + allocation_size(self.index.capacity() * size_of::<u32>())
            + allocation_size(self.segments.capacity() * size_of::<Segment>())
            + allocation_size(self.vacant.capacity() * size_of::<u32>())
            + allocation_size(self.dues.capacity() * size_of::<Due>())
    }

    /// The places of the index that lead to the segment of depth `depth` that holds `hash`.
    fn places(&self, hash: u64, depth: u8) -> std::ops::Range<usize> {
        let spread = self.depth - depth;
        let prefix = if depth == 0 { 0 } else { (hash >> (64 - depth)) as usize };
        prefix << spread..(prefix + 1) << spread
    }

    /// Splits the segment of `hash`.
    pub(super) fn split(&mut self, hash: u64, hasher: &KeyHasher, heap: &mut Heap) {
        let id = self.id_of(hash);
        let depth = self.segments[id].depth();
        if depth == self.depth {
            self.index = self.index.iter().flat_map(|&id| [id, id]).collect();
            self.depth += 1;
            self.deepest = 0;
        }
        let segment = std::mem::replace(&mut self.segments[id], Segment::new(0));
        let (lower, upper) = segment.split(hasher, heap);
        self.segments[id] = lower;
        let other = match self.vacant.pop() {
            Some(other) => {
                self.segments[other as usize] = upper;
                self.dues[other as usize] = self.dues[id];
                other
            }
            None => {
                self.segments.push(upper);
                self.dues.push(self.dues[id]);
                (self.segments.len() - 1) as u32
            }
        };
        let places = self.places(hash, depth);
        let half = places.len() / 2;
        self.index[places][half..].fill(other);
        if depth + 1 == self.depth {
            self.deepest += 2;
        }
    }

    /// Joins the segment of `hash` with the other half of their parent if both are sparse.
    pub(super) fn join(&mut self, hash: u64, hasher: &KeyHasher, heap: &mut Heap) {
        let id = self.id_of(hash);
        let depth = self.segments[id].depth();
        if depth == 0 || self.segments[id].len() > JOIN / 2 {
            return;
        }
        let sibling_hash = hash ^ 1 << (64 - depth);
        let sibling = self.id_of(sibling_hash);
        if self.segments[sibling].depth() != depth
            || self.segments[id].len() + self.segments[sibling].len() > JOIN
        {
            return;
        }
        let mut take = |id: usize| std::mem::replace(&mut self.segments[id], Segment::new(0));
        let (own, other) = (take(id), take(sibling));
        let (lower, upper) = if hash < sibling_hash { (own, other) } else { (other, own) };
        self.segments[id] = Segment::join(lower, upper, hasher, heap);
        self.dues[id] = self.dues[id].join(self.dues[sibling]);
        self.dues[sibling] = Due::NEVER;
        self.vacant.push(sibling as u32);
        let places = self.places(hash, depth - 1);
        self.index[places].fill(id as u32);
        if depth == self.depth {
            self.deepest -= 2;
            self.halve();
        }
    }

    /// Drops bits that no segment needs any more.
    fn halve(&mut self) {
        while self.deepest == 0 && self.depth > 0 {
            self.index = self.index.iter().copied().step_by(2).collect();
            self.depth -= 1;
            self.deepest = self.ids().filter(|&id| self.segments[id].depth() == self.depth).count();
        }
    }

    /// The only segment, once joining has left no other.
    pub(super) fn sole(&mut self) -> Option<(Segment, Due)> {
        if self.depth > 0 {
            return None;
        }
        let id = self.index[0] as usize;
        Some((std::mem::replace(&mut self.segments[id], Segment::new(0)), self.dues[id]))
    }

    pub(super) fn check_invariants(&self, hasher: &KeyHasher) {
        assert_eq!(self.index.len(), 1 << self.depth);
        assert!(self.depth > 0 && self.deepest > 0);
        let (mut len, mut volatile, mut live, mut deepest) = (0, 0, 0, 0);
        for id in self.ids() {
            let segment = &self.segments[id];
            let first = self.index.iter().position(|&other| other as usize == id).expect("listed");
            let prefix = (first as u64) << (64 - self.depth);
            let places = self.places(prefix, segment.depth());
            assert_eq!(places.start, first, "a segment stands at its prefix");
            assert!(self.index[places].iter().all(|&other| other as usize == id));
            let depth = segment.depth();
            segment.check_invariants(hasher, |hash| (hash ^ prefix) >> (64 - depth) == 0);
            let earliest = segment.occupied().filter_map(|at| segment.entry(at).expire()).min();
            assert!(earliest.is_none() || self.dues[id].at < i64::MAX, "what expires is due");
            len += segment.len();
            volatile += segment.volatile();
            live += 1;
            deepest += usize::from(depth == self.depth);
        }
        assert_eq!((len, volatile, deepest), (self.len, self.volatile, self.deepest));
        assert_eq!(live + self.vacant.len(), self.segments.len());
        assert!(self.vacant.iter().all(|&id| self.segments[id as usize].bucket_count() == 0));
        debug_assert!(JOIN <= capacity(MAX_BUCKETS));
    }
}
