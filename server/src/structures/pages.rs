//! Address space in regions of 2 MiB, straight from the kernel, so that the blocks cut from it lie at
//! known offsets and empty pages can go back. May call mmap and madvise; knows nothing of what lies in a region.

use std::ptr::NonNull;

/// Bytes and alignment of a region: one huge page of x86-64 and of 4-KiB-granule AArch64.
pub(super) const REGION: usize = 2 << 20;

/// Unit in which memory is given back. Larger pages of other machines make `discard` fail, which loses nothing but memory.
const OS_PAGE: usize = 4096;

/// Regions mapped at once: few at first, then as many as there are, up to this many (1 GiB). Mapping takes the
/// process's memory lock, which another thread may hold for as long as it faults a huge page in, so it must be rare.
const MAX_CHUNK: usize = 512;
const MIN_CHUNK: usize = 16;

/// One region of a `Supply`; it does not go back by itself.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    huge: bool,
}

// SAFETY: a region is plain memory that this value alone owns; nothing in it depends on the thread.
unsafe impl Send for Region {}

impl Region {
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

/// Mapped address space; unmapped on drop.
struct Chunk {
    start: NonNull<u8>,
    len: usize,
}

impl Chunk {
    /// Address space for `regions` regions, or for fewer if the kernel does not grant so many. Out of memory ends the
    /// process, as it does for every Rust allocation.
    fn map(mut regions: usize) -> Chunk {
        loop {
            // One more, for a beginning that is not aligned.
            let len = (regions + 1) * REGION;
            if let Some(start) = NonNull::new(sys::map(len)) {
                // Entries are found through 48-bit pointers.
                assert!((start.addr().get() + len) >> 48 == 0, "the kernel maps above 2^48 only on request");
                return Chunk { start, len };
            }
            if regions == 1 {
                std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; REGION]>());
            }
            regions = regions.div_ceil(2);
        }
    }

    /// The aligned regions within, last first.
    fn regions(&self) -> impl Iterator<Item = NonNull<u8>> + use<> {
        let start = self.start;
        let lead = start.addr().get().next_multiple_of(REGION) - start.addr().get();
        // SAFETY: `lead` is below REGION, and one region more was mapped than is cut.
        (0..self.len / REGION - 1).rev().map(move |nth| unsafe { start.add(lead + nth * REGION) })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: mapped with this length, unmapped once; whoever holds regions of it is dropped with its supply.
        unsafe { sys::unmap(self.start.as_ptr(), self.len) };
    }
}

/// Regions of one kind that are in nobody's use.
#[derive(Default)]
struct Pool {
    chunks: Vec<Chunk>,
    /// Those at the end are handed out first. No memory stands behind any.
    free: Vec<NonNull<u8>>,
    mapped: usize,
}

impl Pool {
    fn take(&mut self, huge: bool) -> Region {
        if self.free.is_empty() {
            let chunk = Chunk::map(self.mapped.clamp(MIN_CHUNK, MAX_CHUNK));
            if huge {
                sys::prefer_huge(chunk.start.as_ptr(), chunk.len);
            }
            self.free.extend(chunk.regions());
            self.mapped += self.free.len();
            self.chunks.push(chunk);
        }
        Region { base: self.free.pop().expect("a chunk has at least one region"), huge }
    }
}

/// Where regions come from: taken when needed, or made ready before, by whoever has another thread to fault them in.
///
/// With ten million keys every lookup misses the TLB twice, and with pages of 4 KiB the page walks cost more than all
/// else (measured: 168 ns a lookup in a prefetched batch, 77 ns with huge pages). But the first touch of a huge page
/// clears 2 MiB: 0.2 ms, and 4 ms in a virtual machine whose host has not backed that memory yet. So only regions that
/// were faulted in ahead lie in huge pages. Nobody forks here: copying huge pages on write, the usual reason against
/// them, does not arise.
#[derive(Default)]
pub(super) struct Supply {
    plain: Pool,
    huge: Pool,
    spare: Option<Region>,
}

// SAFETY: the address space that the raw pointers lead to belongs to this value alone.
unsafe impl Send for Supply {}

impl Supply {
    pub(super) fn take(&mut self) -> Region {
        // A spare one that nobody has got round to yet would be faulted in here and now; it can wait.
        let spare = self.spare.take_if(|spare| sys::is_populated(spare.base.as_ptr()));
        spare.unwrap_or_else(|| self.plain.take(false))
    }

    /// Takes a region back and gives its memory to the kernel.
    ///
    /// # Safety
    /// The region came from this supply, and nothing refers to what was in it.
    pub(super) unsafe fn give_back(&mut self, region: Region) {
        // SAFETY: the caller's promise.
        unsafe { sys::discard(region.base.as_ptr(), REGION) };
        let pool = if region.huge { &mut self.huge } else { &mut self.plain };
        pool.free.push(region.base);
    }

    /// Chooses the region that `take` will return once it is faulted in, unless that has been done.
    pub(super) fn ahead(&mut self) -> Option<Ahead> {
        if self.spare.is_some() {
            return None;
        }
        let region = self.spare.insert(self.huge.take(true));
        Some(Ahead { base: region.base.addr().get() })
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
    use super::{OS_PAGE, REGION};

    /// Null if the kernel refuses.
    pub(super) fn map(len: usize) -> *mut u8 {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        // SAFETY: advice on a fresh mapping: without it a system-wide setting of `always` would have every first
        // touch clear a huge page.
        unsafe { libc::madvise(start, len, libc::MADV_NOHUGEPAGE) };
        start.cast()
    }

    /// A hint; where huge pages are switched off nothing happens.
    pub(super) fn prefer_huge(start: *mut u8, len: usize) {
        // SAFETY: the advice changes how the mapping is backed, not what is in it.
        unsafe { libc::madvise(start.cast(), len, libc::MADV_HUGEPAGE) };
    }

    /// # Safety
    /// The range is what `map` returned, and nothing uses it any more.
    pub(super) unsafe fn unmap(start: *mut u8, len: usize) {
        // SAFETY: the caller's promise.
        unsafe { libc::munmap(start.cast(), len) };
    }

    /// Asks for memory behind the region; contents stay as they are.
    pub(super) fn populate(base: usize) {
        // SAFETY: populating changes nothing that a program can see, whatever is mapped there by now; a kernel
        // before 5.14 refuses, and the region is never used.
        unsafe { libc::madvise(base as *mut _, REGION, libc::MADV_POPULATE_WRITE) };
    }

    /// Whether the region's last page is there, the one that `populate` reaches last.
    pub(super) fn is_populated(base: *mut u8) -> bool {
        let mut resident = 0u8;
        // SAFETY: asks about one page of a live mapping, and the answer takes one byte.
        let answer = unsafe { libc::mincore(base.add(REGION - OS_PAGE).cast(), OS_PAGE, &raw mut resident) };
        answer == 0 && resident & 1 == 1
    }

    /// # Safety
    /// As `super::discard`; both ends are page boundaries.
    pub(super) unsafe fn discard(start: *mut u8, len: usize) {
        // SAFETY: private anonymous memory owned by the caller; the kernel refuses what it cannot discard.
        unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTNEED) };
    }
}

/// Miri knows no mappings: chunks come from the allocator, and discarding writes zeros.
#[cfg(miri)]
mod sys {
    use super::REGION;

    fn layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len, REGION).expect("a few regions")
    }

    pub(super) fn map(len: usize) -> *mut u8 {
        // SAFETY: the layout is not empty.
        unsafe { std::alloc::alloc(layout(len)) }
    }

    pub(super) fn prefer_huge(_start: *mut u8, _len: usize) {}

    /// # Safety
    /// The range is what `map` returned.
    pub(super) unsafe fn unmap(start: *mut u8, len: usize) {
        // SAFETY: allocated with the same layout.
        unsafe { std::alloc::dealloc(start, layout(len)) };
    }

    pub(super) fn populate(_base: usize) {}

    pub(super) fn is_populated(_base: *mut u8) -> bool {
        true
    }

    /// # Safety
    /// As `super::discard`.
    pub(super) unsafe fn discard(start: *mut u8, len: usize) {
        // SAFETY: the caller may write the range.
        unsafe { start.write_bytes(0, len) };
    }
}

#[cfg(test)]
mod tests {
    use super::{MIN_CHUNK, REGION, Supply, discard};

    #[test]
    fn a_spare_region_is_used_once_it_is_there() {
        let mut supply = Supply::default();
        let ahead = supply.ahead().expect("there is no spare yet");
        assert!(supply.ahead().is_none());
        let spare = ahead.base;
        if !cfg!(miri) {
            assert_ne!(supply.take().base().addr().get(), spare, "nothing stands behind it yet");
        }
        ahead.fault_in();
        let region = supply.take();
        assert_eq!(region.base().addr().get(), spare);
        assert!(spare.is_multiple_of(REGION));
        // SAFETY: the region is this test's, and no reference into it is live.
        unsafe {
            let byte = region.base().as_ptr().add(REGION / 2);
            byte.write(7);
            discard(byte.sub(1), 8192);
            assert_eq!(byte.read(), 0);
        }
        assert!(supply.ahead().is_some());
    }

    #[test]
    fn regions_come_back_and_are_handed_out_again() {
        let mut supply = Supply::default();
        let regions: Vec<_> = (0..MIN_CHUNK * 2).map(|_| supply.take()).collect();
        let mut bases: Vec<_> = regions.iter().map(|region| region.base()).collect();
        bases.sort_unstable();
        assert!(bases.windows(2).all(|pair| pair[1].addr().get() - pair[0].addr().get() >= REGION));
        for region in regions {
            // SAFETY: taken above, never used.
            unsafe { supply.give_back(region) };
        }
        let mut again: Vec<_> = (0..MIN_CHUNK * 2).map(|_| supply.take().base()).collect();
        again.sort_unstable();
        assert_eq!(again, bases);
    }
}
