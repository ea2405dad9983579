//! The receive buffers that all connections of a core share.
//!
//! The kernel takes one only when bytes arrive, so an idle connection holds none. Layout shared with it:
//!
//! ```text
//! ring:   | addr:u64 len:u32 bid:u16 (tail:u16 in entry 0 only) | x count
//! memory: | buffer 0 | buffer 1 | ... | buffer count-1 |          size bytes each
//! ```

use super::ring::Ring;
use io_uring::types::BufRingEntry;
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    io,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU16, Ordering},
};

/// The one group of buffers a ring has.
pub(super) const GROUP: u16 = 0;

/// The kernel wants the ring page-aligned.
const PAGE: usize = 4096;

pub(super) struct Buffers {
    ring: Pages,
    memory: Pages,
    /// A power of two.
    count: u16,
    size: usize,
    /// Buffers ever given to the kernel, modulo 2^16.
    tail: u16,
}

impl Buffers {
    /// Gives `count` (a power of two) buffers of `size` bytes to the kernel. The result must be dropped
    /// after `ring`, which writes into it.
    pub(super) fn new(ring: &Ring, count: u16, size: usize) -> io::Result<Self> {
        assert!(count.is_power_of_two() && size > 0);
        let mut buffers = Buffers {
            ring: Pages::new(usize::from(count) * size_of::<BufRingEntry>()),
            memory: Pages::new(usize::from(count) * size),
            count,
            size,
            tail: 0,
        };
        let address = buffers.ring.start.as_ptr() as u64;
        // SAFETY: the pages hold `count` entries and outlive the ring by the contract of this function.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, GROUP, 0) }?;
        (0..count).for_each(|id| buffers.give_back(id));
        Ok(buffers)
    }

    /// The first `len` bytes of buffer `id`, which the kernel handed to us.
    #[inline]
    pub(super) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count && len <= self.size, "the kernel names a buffer we gave it");
        // SAFETY: in bounds by the assertion, initialised (zeroed, then written by the kernel), and not
        // written while `self` is borrowed: the kernel gets it back through `give_back(&mut self)`.
        unsafe { slice::from_raw_parts(self.memory.start.as_ptr().add(usize::from(id) * self.size), len) }
    }

    /// Lets the kernel fill buffer `id` again.
    #[inline]
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(id < self.count, "the kernel names a buffer we gave it");
        let base = self.ring.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is below `count` because that is a power of two.
        let entry = unsafe { &mut *base.add(usize::from(self.tail & (self.count - 1))) };
        // SAFETY: in bounds by the assertion.
        let start = unsafe { self.memory.start.as_ptr().add(usize::from(id) * self.size) };
        entry.set_addr(start as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a field of entry 0, aligned for u16, and shared with the kernel only as
        // an atomic. Release: the entry above is visible before it.
        let tail = unsafe { &*BufRingEntry::tail(base).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed memory on page boundaries.
struct Pages {
    start: NonNull<u8>,
    layout: Layout,
}

impl Pages {
    fn new(len: usize) -> Self {
        let layout = Layout::from_size_align(len, PAGE).expect("buffer sizes are far below isize::MAX");
        // SAFETY: no caller asks for zero bytes.
        let start = unsafe { alloc_zeroed(layout) };
        Pages { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `Pages::new` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
