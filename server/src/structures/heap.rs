//! All memory of one shard's keys: small blocks, bucket runs, and what comes from the general allocator, counted to
//! the byte as each of them rounds. Knows nothing of what is stored.

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

use super::lines::{LINE, Lines};
use super::pages::{Ahead, Supply};
use super::slab::{MAX_BLOCK, Slab, rounded};

/// Where a shard's entries and tables live. One per keyspace: whatever it handed out comes back to it.
pub struct Heap {
    slab: Slab,
    lines: Lines,
    supply: Supply,
    used: usize,
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap {
    pub fn new() -> Self {
        Heap { slab: Slab::new(), lines: Lines::new(), supply: Supply::default(), used: 0 }
    }

    /// Bytes handed out and not taken back, as rounded by whoever allocated them.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Gives memory that nothing uses back to the kernel, a bounded piece of it; true if there is more.
    pub fn trim(&mut self) -> bool {
        let blocks = self.slab.trim(&mut self.supply);
        self.lines.trim(&mut self.supply) || blocks
    }

    /// The region that growth needs next, once little room is left; the caller has another thread fault it in.
    #[inline]
    pub fn ahead(&mut self) -> Option<Ahead> {
        if self.slab.is_low() || self.lines.is_low() { self.supply.ahead() } else { None }
    }

    /// Counts memory that a value took from the general allocator by itself.
    pub(super) fn charge(&mut self, bytes: usize) {
        self.used += bytes;
    }

    pub(super) fn discharge(&mut self, bytes: usize) {
        debug_assert!(self.used >= bytes);
        self.used -= bytes;
    }

    /// A block for an entry of `bytes` bytes, aligned to 8; `block_size(bytes)` of them may be used.
    #[inline]
    pub(super) fn alloc(&mut self, bytes: usize) -> NonNull<u8> {
        self.used += block_size(bytes);
        if bytes <= MAX_BLOCK { self.slab.alloc(bytes, &mut self.supply) } else { alloc_large(bytes) }
    }

    /// # Safety
    /// `block` came from `alloc` of this heap with a request of the same `block_size`, and nothing uses it any more.
    #[inline]
    pub(super) unsafe fn free(&mut self, block: NonNull<u8>, bytes: usize) {
        self.discharge(block_size(bytes));
        // SAFETY: the caller's promise; the size decides where a block came from.
        unsafe {
            if bytes <= MAX_BLOCK {
                self.slab.free(block, bytes);
            } else {
                std::alloc::dealloc(block.as_ptr(), large_layout(bytes));
            }
        }
    }

    /// `lines` cache lines of zeros.
    pub(super) fn alloc_lines(&mut self, lines: usize) -> NonNull<u8> {
        let run = self.lines.alloc(lines, &mut self.supply);
        // SAFETY: the run is that long and nobody else's.
        unsafe { run.write_bytes(0, lines * LINE) };
        self.used += lines * LINE;
        run
    }

    /// # Safety
    /// `run` came from `alloc_lines(lines)` of this heap, and nothing uses it any more.
    pub(super) unsafe fn free_lines(&mut self, run: NonNull<u8>, lines: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.lines.free(run, lines) };
        self.discharge(lines * LINE);
    }
}

/// The bytes that a block for `bytes` really has.
#[inline]
pub(super) fn block_size(bytes: usize) -> usize {
    if bytes <= MAX_BLOCK { rounded(bytes) } else { allocation_size(bytes) }
}

fn large_layout(bytes: usize) -> Layout {
    Layout::from_size_align(allocation_size(bytes), 8).expect("a key is far shorter than isize::MAX")
}

#[cold]
fn alloc_large(bytes: usize) -> NonNull<u8> {
    let layout = large_layout(bytes);
    // SAFETY: the layout is not empty.
    let block = unsafe { std::alloc::alloc(layout) };
    let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
    assert!(block.as_ptr().addr() >> 48 == 0, "entries are found through 48-bit pointers");
    block
}

/// What the general allocator (mimalloc) makes of a request: two words up to 64 bytes, then four steps to each
/// power of two, whole 64-KiB slices once a block has a page of its own.
pub(super) fn allocation_size(bytes: usize) -> usize {
    const OWN_PAGE: usize = 512 << 10;
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=64 => bytes.next_multiple_of(16),
        65..=OWN_PAGE => {
            let step = 1 << ((bytes - 1).ilog2() - 2);
            bytes.next_multiple_of(step)
        }
        _ => bytes.next_multiple_of(64 << 10),
    }
}

#[cfg(test)]
mod tests {
    use super::{Heap, allocation_size};

    #[test]
    fn requests_round_as_mimalloc_rounds_them() {
        let sizes = [1, 9, 56, 64, 65, 80, 81, 129, 1025, 5000, 600_000];
        let rounded = [8, 16, 64, 64, 80, 80, 96, 160, 1280, 5120, 655_360];
        assert_eq!(sizes.map(allocation_size), rounded);
    }

    #[test]
    fn the_count_returns_to_zero() {
        let mut heap = Heap::new();
        let sizes = [1, 56, 2048, 2049, 100_000];
        let blocks = sizes.map(|bytes| heap.alloc(bytes));
        let run = heap.alloc_lines(3);
        assert_eq!(heap.used(), 8 + 56 + 2048 + 2560 + 114_688 + 192);
        // SAFETY: each is what was allocated above, given back once.
        unsafe {
            for (block, bytes) in blocks.into_iter().zip(sizes) {
                heap.free(block, bytes);
            }
            heap.free_lines(run, 3);
        }
        assert_eq!(heap.used(), 0);
    }
}
