//! Small blocks of one shard, in pages of 64 KiB that each hold one size, 8 bytes apart: the general allocator
//! rounds 56 bytes up to 64, and an eighth of the memory per key would go to nothing.
//!
//! ```text
//! region (2 MiB) = 32 pages      page = header (64) | block | block | … | never used yet
//! header: owner, links to the class's other pages with room, first free block, bump offset, blocks in use
//! a free block's first 4 bytes: offset of the page's next free block (0 = none)
//! ```
//! May touch regions; knows nothing of what is stored.

use std::ptr::NonNull;

use super::pages::{REGION, Region, Supply, discard};

const PAGE: usize = 64 << 10;
const PAGES: usize = REGION / PAGE;
const ALL: u32 = u32::MAX;
const HEADER: usize = 64;
/// Empty pages kept touched so that a load that breathes does not fault them in again and again.
const SPARE_PAGES: usize = 16;

/// Largest block; beyond it the general allocator's rounding no longer matters.
pub(super) const MAX_BLOCK: usize = 2048;
const FINE: usize = 256;
const MIDDLE: usize = 1024;
const CLASSES: usize = FINE / 8 + (MIDDLE - FINE) / 32 + (MAX_BLOCK - MIDDLE) / 128;

/// Steps of 8 bytes, then 32, then 128: at most an eighth is lost, and nothing for small entries.
#[inline]
fn class_of(bytes: usize) -> usize {
    debug_assert!(bytes > 0 && bytes <= MAX_BLOCK);
    if bytes <= FINE {
        (bytes - 1) / 8
    } else if bytes <= MIDDLE {
        FINE / 8 + (bytes - 1 - FINE) / 32
    } else {
        FINE / 8 + (MIDDLE - FINE) / 32 + (bytes - 1 - MIDDLE) / 128
    }
}

/// The size that a request is rounded up to.
#[inline]
pub(super) fn rounded(bytes: usize) -> usize {
    if bytes <= FINE {
        bytes.next_multiple_of(8)
    } else if bytes <= MIDDLE {
        bytes.next_multiple_of(32)
    } else {
        bytes.next_multiple_of(128)
    }
}

#[repr(C)]
struct Page {
    /// Address of the owning slab's mark: blocks of another slab are refused.
    owner: usize,
    next: *mut Page,
    prev: *mut Page,
    free: u32,
    bump: u32,
    used: u32,
    size: u32,
    class: u32,
    region: u32,
}

const _: () = assert!(size_of::<Page>() <= HEADER);
const _: () = assert!(PAGES == u32::BITS as usize);

struct SlabRegion {
    region: Region,
    /// Bit per page that belongs to no class.
    free: u32,
    /// Bit per free page that was touched since it was last discarded.
    dirty: u32,
}

/// Allocates blocks of up to `MAX_BLOCK` bytes, aligned to 8.
pub(super) struct Slab {
    /// Its address tells this slab from every other.
    mark: Box<u64>,
    /// Per class, the pages that have room, linked through their headers.
    roomy: [*mut Page; CLASSES],
    regions: Vec<Option<SlabRegion>>,
    /// No region below this one has a free page.
    open: usize,
    free_pages: usize,
    /// Free pages that hold memory.
    dirty_pages: usize,
}

// SAFETY: the pages that the raw pointers lead to belong to `regions` of the same value.
unsafe impl Send for Slab {}

impl Slab {
    pub(super) fn new() -> Self {
        Slab {
            mark: Box::new(0),
            roomy: [std::ptr::null_mut(); CLASSES],
            regions: Vec::new(),
            open: 0,
            free_pages: 0,
            dirty_pages: 0,
        }
    }

    fn owner(&self) -> usize {
        (&raw const *self.mark).addr()
    }

    /// A block of `rounded(bytes)` bytes with undefined contents.
    #[inline]
    pub(super) fn alloc(&mut self, bytes: usize, supply: &mut Supply) -> NonNull<u8> {
        let class = class_of(bytes);
        let mut page = self.roomy[class];
        if page.is_null() {
            page = self.add_page(class, rounded(bytes), supply);
        }
        // SAFETY: pages in `roomy` are live, belong to this slab alone, and have a free block: either in the
        // free list, whose offsets `free` wrote, or behind `bump`. No reference to the header outlives this block.
        unsafe {
            let header = &mut *page;
            let block = if header.free != 0 {
                let block = page.byte_add(header.free as usize).cast::<u8>();
                header.free = block.cast::<u32>().read();
                block
            } else {
                let block = page.byte_add(header.bump as usize).cast::<u8>();
                header.bump += header.size;
                block
            };
            header.used += 1;
            if header.free == 0 && (header.bump + header.size) as usize > PAGE {
                self.unlink(page);
            }
            NonNull::new_unchecked(block)
        }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// `block` came from `alloc` with a request of the same rounded size, is given back once, and nothing uses it any more.
    #[inline]
    pub(super) unsafe fn free(&mut self, block: NonNull<u8>, bytes: usize) {
        let page = block.as_ptr().map_addr(|addr| addr & !(PAGE - 1)).cast::<Page>();
        // SAFETY: the caller's block lies in a page whose header is at the 64-KiB boundary below it.
        unsafe {
            let header = &mut *page;
            assert!(header.owner == self.owner(), "a block goes back to the slab it came from");
            debug_assert_eq!(header.size as usize, rounded(bytes));
            let was_full = header.free == 0 && (header.bump + header.size) as usize > PAGE;
            block.cast::<u32>().write(header.free);
            header.free = (block.addr().get() - page.addr()) as u32;
            header.used -= 1;
            let empty = header.used == 0;
            if was_full {
                self.link(page);
            }
            if empty {
                self.unlink(page);
                self.release(page);
            }
        }
    }

    /// # Safety
    /// `page` is a live page of this slab that is in no list.
    unsafe fn link(&mut self, page: *mut Page) {
        // SAFETY: list members are live pages of this slab.
        unsafe {
            let head = &mut self.roomy[(*page).class as usize];
            (*page).prev = std::ptr::null_mut();
            (*page).next = *head;
            if !head.is_null() {
                (**head).prev = page;
            }
            *head = page;
        }
    }

    /// # Safety
    /// `page` is in its class's list.
    unsafe fn unlink(&mut self, page: *mut Page) {
        // SAFETY: list members are live pages of this slab.
        unsafe {
            let Page { next, prev, class, .. } = *page;
            if prev.is_null() {
                self.roomy[class as usize] = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
        }
    }

    #[cold]
    fn add_page(&mut self, class: usize, size: usize, supply: &mut Supply) -> *mut Page {
        while self.regions.get(self.open).is_some_and(|region| region.as_ref().is_some_and(|r| r.free == 0)) {
            self.open += 1;
        }
        if self.open == self.regions.len() {
            self.regions.push(None);
        }
        let region = self.regions[self.open].get_or_insert_with(|| {
            self.free_pages += PAGES;
            SlabRegion { region: supply.take(), free: ALL, dirty: 0 }
        });
        self.free_pages -= 1;
        let nth = region.free.trailing_zeros();
        region.free &= !(1 << nth);
        self.dirty_pages -= (region.dirty >> nth & 1) as usize;
        region.dirty &= !(1 << nth);
        // SAFETY: page `nth` lies within the region and, its bit having been set, in nobody's use.
        unsafe {
            let page = region.region.base().as_ptr().add(nth as usize * PAGE).cast::<Page>();
            page.write(Page {
                owner: self.owner(),
                next: std::ptr::null_mut(),
                prev: std::ptr::null_mut(),
                free: 0,
                bump: HEADER as u32,
                used: 0,
                size: size as u32,
                class: class as u32,
                region: self.open as u32,
            });
            self.link(page);
            page
        }
    }

    /// # Safety
    /// `page` is a live page of this slab, in no list, without a block in use.
    #[cold]
    unsafe fn release(&mut self, page: *mut Page) {
        // SAFETY: the caller's promise.
        let id = unsafe { (*page).region } as usize;
        let region = self.regions[id].as_mut().expect("a page's region is mapped");
        let bit = 1 << ((page.addr() - region.region.base().addr().get()) / PAGE);
        region.free |= bit;
        region.dirty |= bit;
        self.dirty_pages += 1;
        self.free_pages += 1;
        self.open = self.open.min(id);
    }

    /// True once a quarter of a region is left, room for another eight thousand small entries, and there are so many
    /// regions that a spare one does not show.
    pub(super) fn is_low(&self) -> bool {
        self.free_pages < PAGES / 4 && self.regions.len() >= 32
    }

    /// Gives memory of empty pages back, at most one region's; true if there is more to give.
    pub(super) fn trim(&mut self, supply: &mut Supply) -> bool {
        if self.dirty_pages <= SPARE_PAGES {
            return false;
        }
        // Allocation fills regions from the front, so the back is where pages stay empty.
        let dirty = |region: &Option<SlabRegion>| region.as_ref().is_some_and(|region| region.dirty != 0);
        let id = self.regions.iter().rposition(dirty).expect("dirty pages lie in some region");
        let region = self.regions[id].as_mut().expect("just found");
        self.dirty_pages -= region.dirty.count_ones() as usize;
        if region.free == ALL {
            let empty = self.regions[id].take().expect("just found");
            self.free_pages -= PAGES;
            // SAFETY: none of its pages belongs to a class.
            unsafe { supply.give_back(empty.region) };
        } else {
            for nth in (0..PAGES).filter(|nth| region.dirty >> nth & 1 == 1) {
                // SAFETY: a dirty page is a free one: nothing refers to it.
                unsafe { discard(region.region.base().as_ptr().add(nth * PAGE), PAGE) };
            }
            region.dirty = 0;
        }
        self.dirty_pages > SPARE_PAGES
    }
}

#[cfg(test)]
mod tests {
    use super::{CLASSES, MAX_BLOCK, Slab, Supply, class_of, rounded};

    #[test]
    fn classes_are_dense_and_agree_with_rounding() {
        let mut last = 0;
        for bytes in 1..=MAX_BLOCK {
            let class = class_of(bytes);
            assert!(class == last || class == last + 1);
            last = class;
            assert_eq!(class_of(rounded(bytes)), class);
            assert!(rounded(bytes) >= bytes);
        }
        assert_eq!(last, CLASSES - 1);
        assert_eq!(rounded(56), 56);
    }

    #[test]
    fn blocks_do_not_overlap_and_pages_come_back() {
        let (mut slab, mut supply) = (Slab::new(), Supply::default());
        let rounds = if cfg!(miri) { 100 } else { 20_000 };
        let mut live = Vec::new();
        for nth in 0..rounds {
            let bytes = 1 + nth * 7 % MAX_BLOCK;
            let block = slab.alloc(bytes, &mut supply);
            // SAFETY: the block has room for `bytes`.
            unsafe { block.write_bytes(nth as u8, bytes) };
            live.push((block, bytes, nth as u8));
            if nth % 3 == 2 {
                let (block, bytes, mark) = live.swap_remove(nth / 3 % live.len());
                // SAFETY: allocated above with this size, and freed once.
                unsafe {
                    assert!((0..bytes).step_by(7).all(|at| block.add(at).read() == mark));
                    slab.free(block, bytes);
                }
            }
        }
        for (block, bytes, mark) in live {
            // SAFETY: as above.
            unsafe {
                assert!((0..bytes).step_by(7).all(|at| block.add(at).read() == mark));
                slab.free(block, bytes);
            }
        }
        while slab.trim(&mut supply) {}
        assert!(slab.roomy.iter().all(|page| page.is_null()));
        assert!(slab.dirty_pages <= super::SPARE_PAGES);
    }
}
