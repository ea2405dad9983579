//! What is left of a big entry: its pages go back slice by slice, so that freeing it never stops the core.

use super::entry::OwnedEntry;
use super::heap::Heap;
use super::pages::discard;
use crate::limits::REAP_SLICE;

/// An entry that nobody can reach any more.
#[derive(Debug)]
pub struct Remains {
    entry: OwnedEntry,
    /// Bytes of its longest stretch whose pages are still there.
    left: usize,
}

impl Remains {
    pub fn new(mut entry: OwnedEntry) -> Self {
        let (_, left) = entry.longest_stretch();
        Remains { entry, left }
    }

    /// Gives one slice's pages back, from the end; true once nothing but `finish` is left.
    pub fn step(&mut self) -> bool {
        let (start, _) = self.entry.longest_stretch();
        let slice = self.left.min(REAP_SLICE);
        self.left -= slice;
        // SAFETY: the stretch is memory of the entry that freeing it does not read, and nobody else can reach it.
        unsafe { discard(start.add(self.left), slice) };
        self.left == 0
    }

    pub fn finish(self, heap: &mut Heap) {
        self.entry.free(heap);
    }
}
