//! Address space in regions of 2 MiB, straight from the kernel, so that the blocks cut from it lie at
//! known offsets and empty pages can go back. May call mmap, munmap and madvise; knows nothing of what lies in a region.

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes and alignment of a region: one huge page of x86-64 and of 4-KiB-granule AArch64.
pub(super) const REGION: usize = 2 << 20;

/// Unit in which memory is given back. Larger pages of other machines make `discard` fail, which loses nothing but memory.
const OS_PAGE: usize = 4096;

/// One mapped region; unmapped on drop.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
}

// SAFETY: a region is plain memory that this value alone owns; nothing in it depends on the thread.
unsafe impl Send for Region {}

impl Region {
    const LAYOUT: Layout = match Layout::from_size_align(REGION, REGION) {
        Ok(layout) => layout,
        Err(_) => panic!("a power of two"),
    };

    /// Maps a region. Out of memory ends the process, as it does for every Rust allocation.
    fn map() -> Region {
        let Some(base) = NonNull::new(sys::map_aligned()) else { handle_alloc_error(Self::LAYOUT) };
        // Entries are found through 48-bit pointers.
        assert!(base.as_ptr().addr() >> 48 == 0, "the kernel maps above 2^48 only on request");
        Region { base }
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` came from `map_aligned`, is unmapped once, and whoever cut blocks from the region dropped them.
        unsafe { sys::unmap(self.base.as_ptr()) };
    }
}

/// Where regions come from: mapped when needed, or before, by whoever has another thread to fault them in.
///
/// With ten million keys every lookup misses the TLB twice, and with pages of 4 KiB the page walks cost more than all
/// else (measured: 168 ns a lookup in a prefetched batch, 77 ns with huge pages). But the first touch of a huge page
/// clears 2 MiB: 0.2 ms, and 4 ms in a virtual machine whose host has not backed that memory yet. So only regions that
/// are faulted in ahead ask for one. Nobody forks here: copying huge pages on write, the usual reason against
/// them, does not arise.
#[derive(Default)]
pub(super) struct Supply {
    spare: Option<Region>,
}

impl Supply {
    pub(super) fn take(&mut self) -> Region {
        self.spare.take().unwrap_or_else(Region::map)
    }

    /// Maps the region that `take` will return next, unless that has been done.
    pub(super) fn ahead(&mut self) -> Option<Ahead> {
        if self.spare.is_some() {
            return None;
        }
        let region = self.spare.insert(Region::map());
        sys::prefer_huge(region.base.as_ptr());
        Some(Ahead { base: region.base.as_ptr().addr() })
    }
}

/// A region that will soon be used and that no memory stands behind yet.
#[derive(Debug)]
#[must_use = "somebody should fault it in"]
pub struct Ahead {
    base: usize,
}

impl Ahead {
    /// Faults the region in; for a thread that may wait some milliseconds. Right at any time and on any thread: it
    /// changes no contents, and if the region is gone or in use by now nothing is lost but time.
    pub fn fault_in(self) {
        sys::populate(self.base);
    }
}

/// Gives the whole pages within `len` bytes from `start` back to the kernel; their contents become zero.
///
/// # Safety
/// The range is allocated memory that the caller may write, and no reference to it is live.
pub(super) unsafe fn discard(start: *mut u8, len: usize) {
    let from = start.addr().next_multiple_of(OS_PAGE);
    let to = (start.addr() + len) & !(OS_PAGE - 1);
    if from < to {
        // SAFETY: [from, to) lies within the caller's range.
        unsafe { sys::discard(start.with_addr(from), to - from) };
    }
}

#[cfg(not(miri))]
mod sys {
    use super::REGION;

    fn map(len: usize) -> Option<*mut u8> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        (base != libc::MAP_FAILED).then_some(base.cast())
    }

    /// Null if the kernel refuses.
    pub(super) fn map_aligned() -> *mut u8 {
        // The kernel places mappings side by side: once one is aligned, so are the next.
        let Some(base) = map(REGION) else { return std::ptr::null_mut() };
        if base.addr().is_multiple_of(REGION) {
            return base;
        }
        // SAFETY: mapped just above, never handed out.
        unsafe { libc::munmap(base.cast(), REGION) };
        let Some(base) = map(2 * REGION) else { return std::ptr::null_mut() };
        let lead = base.addr().next_multiple_of(REGION) - base.addr();
        // SAFETY: both cuts lie in the fresh mapping, outside the region that is returned; neither is empty-and-wild:
        // a length of zero is refused by the kernel without effect.
        unsafe {
            libc::munmap(base.cast(), lead);
            libc::munmap(base.add(lead + REGION).cast(), REGION - lead);
            base.add(lead)
        }
    }

    /// Asks for memory behind the region; contents stay as they are.
    pub(super) fn populate(base: usize) {
        // SAFETY: populating changes nothing that a program can see, whatever is mapped there by now; a kernel
        // before 5.14 refuses, and the region is then faulted in by its use.
        unsafe { libc::madvise(base as *mut _, REGION, libc::MADV_POPULATE_WRITE) };
    }

    /// A hint; where huge pages are switched off nothing happens.
    pub(super) fn prefer_huge(base: *mut u8) {
        // SAFETY: the advice changes how the region is backed, not what is in it.
        unsafe { libc::madvise(base.cast(), REGION, libc::MADV_HUGEPAGE) };
    }

    /// # Safety
    /// `base` is what `map_aligned` returned, and nothing uses the region any more.
    pub(super) unsafe fn unmap(base: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(base.cast(), REGION) };
    }

    /// # Safety
    /// As `super::discard`; both ends are page boundaries.
    pub(super) unsafe fn discard(start: *mut u8, len: usize) {
        // SAFETY: private anonymous memory owned by the caller; the kernel refuses what it cannot discard.
        unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTNEED) };
    }
}

/// Miri knows no mappings: regions come from the allocator, and discarding writes zeros.
#[cfg(miri)]
mod sys {
    use super::Region;

    pub(super) fn map_aligned() -> *mut u8 {
        // SAFETY: the layout is not empty.
        unsafe { std::alloc::alloc(Region::LAYOUT) }
    }

    pub(super) fn prefer_huge(_base: *mut u8) {}

    pub(super) fn populate(_base: usize) {}

    /// # Safety
    /// `base` is what `map_aligned` returned.
    pub(super) unsafe fn unmap(base: *mut u8) {
        // SAFETY: allocated with the same layout.
        unsafe { std::alloc::dealloc(base, Region::LAYOUT) };
    }

    /// # Safety
    /// As `super::discard`.
    pub(super) unsafe fn discard(start: *mut u8, len: usize) {
        // SAFETY: the caller may write the range.
        unsafe { start.write_bytes(0, len) };
    }
}
