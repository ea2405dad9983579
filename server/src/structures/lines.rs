//! Runs of cache lines for bucket arrays. Thousands of slots grow through the same few sizes at the same time; what
//! they leave must serve the next size, so neighbouring free runs join and the best fit is taken.
//!
//! ```text
//! region (2 MiB) = header | run | free run | run | …                      all in lines of 64 bytes
//! header: owner, number, bit per line: "a free run begins or ends here"
//! free run: its first line holds its length and its links, its last line's last 4 bytes the length again
//! ```
//! May touch regions; knows nothing of what is stored.

use std::ptr::NonNull;

use super::pages::{REGION, Region, Supply, discard};

pub(super) const LINE: usize = 64;
const LINES: usize = REGION / LINE;
/// Free runs up to this long have a list per length; longer ones one per power of two.
const EXACT: usize = 256;
const BINS: usize = EXACT + (LINES / EXACT).ilog2() as usize + 1;
const HEADER_LINES: usize = size_of::<Header>().div_ceil(LINE);
/// Longest run.
pub(super) const MAX_RUN: usize = LINES - HEADER_LINES;
/// Free runs from this length on are given back page by page.
const DISCARD_FROM: usize = 1024;

#[repr(C)]
struct Header {
    owner: usize,
    number: usize,
    /// Bit per line at which a free run begins or ends.
    edges: [u64; LINES / 64],
}

#[repr(C)]
struct FreeRun {
    lines: u32,
    /// Its pages were given back since it came to be.
    discarded: bool,
    next: *mut FreeRun,
    prev: *mut FreeRun,
}

const _: () = assert!(size_of::<FreeRun>() <= LINE - 4);

#[inline]
fn bin_of(lines: usize) -> usize {
    if lines <= EXACT { lines - 1 } else { EXACT + ((lines - 1) / EXACT).ilog2() as usize }
}

/// Allocates runs of whole cache lines.
pub(super) struct Lines {
    mark: Box<u64>,
    bins: [*mut FreeRun; BINS],
    /// Bit per bin that has a run.
    filled: [u64; BINS.div_ceil(64)],
    regions: Vec<Option<Region>>,
    free: usize,
    /// Lines in free runs of `DISCARD_FROM` and more that still hold memory.
    idle: usize,
}

// SAFETY: the free runs that the raw pointers lead to lie in `regions` of the same value.
unsafe impl Send for Lines {}

impl Lines {
    pub(super) fn new() -> Self {
        Lines {
            mark: Box::new(0),
            bins: [std::ptr::null_mut(); BINS],
            filled: [0; BINS.div_ceil(64)],
            regions: Vec::new(),
            free: 0,
            idle: 0,
        }
    }

    fn owner(&self) -> usize {
        (&raw const *self.mark).addr()
    }

    /// First bin from `bin` on that has a run.
    fn filled_from(&self, bin: usize) -> Option<usize> {
        let mut word = bin / 64;
        let mut bits = self.filled[word] & (u64::MAX << (bin % 64));
        loop {
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            bits = *self.filled.get(word)?;
        }
    }

    /// A free run of at least `lines`: the shortest there is, up to `EXACT`.
    fn fit(&self, lines: usize) -> Option<*mut FreeRun> {
        let mut bin = bin_of(lines);
        loop {
            bin = self.filled_from(bin)?;
            let mut run = self.bins[bin];
            while !run.is_null() {
                // SAFETY: members of a bin are free runs of a live region.
                unsafe {
                    if (*run).lines as usize >= lines {
                        return Some(run);
                    }
                    run = (*run).next;
                }
            }
            bin += 1;
            if bin == BINS {
                return None;
            }
        }
    }

    /// A run of `lines` lines with undefined contents.
    pub(super) fn alloc(&mut self, lines: usize, supply: &mut Supply) -> NonNull<u8> {
        assert!(lines > 0 && lines <= MAX_RUN);
        let run = match self.fit(lines) {
            Some(run) => run,
            None => self.add_region(supply),
        };
        // SAFETY: `run` is a free run of at least `lines` lines: taken out of its list it is nobody's, and what
        // lies behind the first `lines` of it goes back as a free run of its own.
        unsafe {
            let whole = (*run).lines as usize;
            self.take_out(run);
            if whole > lines {
                self.put_in(run.byte_add(lines * LINE), whole - lines);
            }
            NonNull::new_unchecked(run.cast())
        }
    }

    /// Takes a run back.
    ///
    /// # Safety
    /// `run` came from `alloc(lines)`, is given back once, and nothing uses it any more.
    pub(super) unsafe fn free(&mut self, run: NonNull<u8>, lines: usize) {
        // SAFETY: the header lies at the region's start. The edge bits tell whether the line before is the end of a
        // free run (whose length is then in its last bytes) and whether the line behind begins one.
        unsafe {
            let header = header_of(run.as_ptr());
            assert!((*header).owner == self.owner(), "a run goes back where it came from");
            let mut start = line_of(run.as_ptr());
            let mut end = start + lines;
            if start > HEADER_LINES && is_edge(header, start - 1) {
                let length = header.cast::<u8>().add(start * LINE - 4).cast::<u32>().read() as usize;
                start -= length;
                self.take_out(header.byte_add(start * LINE).cast());
            }
            if end < LINES && is_edge(header, end) {
                let next = header.byte_add(end * LINE).cast::<FreeRun>();
                end += (*next).lines as usize;
                self.take_out(next);
            }
            self.put_in(header.byte_add(start * LINE).cast(), end - start);
        }
    }

    #[cold]
    fn add_region(&mut self, supply: &mut Supply) -> *mut FreeRun {
        let number = self.regions.iter().position(Option::is_none).unwrap_or(self.regions.len());
        if number == self.regions.len() {
            self.regions.push(None);
        }
        let region = supply.take();
        let header = region.base().cast::<Header>().as_ptr();
        self.regions[number] = Some(region);
        // SAFETY: the region is fresh, and its header and first run lie within it.
        unsafe {
            (&raw mut (*header).owner).write(self.owner());
            (&raw mut (*header).number).write(number);
            (&raw mut (*header).edges).write_bytes(0, 1);
            let run = header.byte_add(HEADER_LINES * LINE).cast::<FreeRun>();
            self.put_in(run, MAX_RUN);
            // Untouched: there is nothing to give back.
            (*run).discarded = true;
            self.idle -= MAX_RUN;
            run
        }
    }

    /// # Safety
    /// The `lines` lines from `run` on lie in one of this value's regions and are nobody's.
    unsafe fn put_in(&mut self, run: *mut FreeRun, lines: usize) {
        let bin = bin_of(lines);
        // SAFETY: the caller's promise; list members are free runs.
        unsafe {
            let next = self.bins[bin];
            run.write(FreeRun { lines: lines as u32, discarded: false, next, prev: std::ptr::null_mut() });
            run.byte_add(lines * LINE - 4).cast::<u32>().write(lines as u32);
            if !next.is_null() {
                (*next).prev = run;
            }
            let header = header_of(run.cast());
            let start = line_of(run.cast());
            set_edge(header, start, true);
            set_edge(header, start + lines - 1, true);
        }
        self.free += lines;
        self.bins[bin] = run;
        self.filled[bin / 64] |= 1 << (bin % 64);
        if lines >= DISCARD_FROM {
            self.idle += lines;
        }
    }

    /// # Safety
    /// `run` is a member of its bin.
    unsafe fn take_out(&mut self, run: *mut FreeRun) {
        // SAFETY: the caller's promise; list members are free runs.
        unsafe {
            let FreeRun { lines, discarded, next, prev } = run.read();
            let lines = lines as usize;
            let bin = bin_of(lines);
            if prev.is_null() {
                self.bins[bin] = next;
                if next.is_null() {
                    self.filled[bin / 64] &= !(1 << (bin % 64));
                }
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            let header = header_of(run.cast());
            let start = line_of(run.cast());
            set_edge(header, start, false);
            set_edge(header, start + lines - 1, false);
            self.free -= lines;
            if lines >= DISCARD_FROM && !discarded {
                self.idle -= lines;
            }
        }
    }

    /// True once a sixteenth of a region is left, growth for another ten thousand keys, and there are so many regions
    /// that a spare one does not show.
    pub(super) fn is_low(&self) -> bool {
        self.free < LINES / 16 && self.regions.len() >= 8
    }

    /// Gives the memory of one long free run back; true if there is more to give.
    pub(super) fn trim(&mut self, supply: &mut Supply) -> bool {
        // One region's worth stays, so that a load that breathes does not fault it in again and again.
        if self.idle <= LINES {
            return false;
        }
        for bin in bin_of(DISCARD_FROM)..BINS {
            let mut run = self.bins[bin];
            while !run.is_null() {
                // SAFETY: members of a bin are free runs of live regions; an empty region has one free run and no other,
                // and after `take_out` nothing refers to it.
                unsafe {
                    let FreeRun { lines, discarded, next, .. } = run.read();
                    let lines = lines as usize;
                    if lines == MAX_RUN {
                        let number = (*header_of(run.cast())).number;
                        self.take_out(run);
                        let region = self.regions[number].take().expect("a run lies in a live region");
                        supply.give_back(region);
                        return self.idle > LINES;
                    }
                    if !discarded && lines >= DISCARD_FROM {
                        // First and last line hold the run's length and links.
                        discard(run.cast::<u8>().add(LINE), (lines - 2) * LINE);
                        (*run).discarded = true;
                        self.idle -= lines;
                        return self.idle > LINES;
                    }
                    run = next;
                }
            }
        }
        false
    }
}

fn header_of(within: *mut u8) -> *mut Header {
    within.map_addr(|addr| addr & !(REGION - 1)).cast()
}

fn line_of(within: *mut u8) -> usize {
    (within.addr() & (REGION - 1)) / LINE
}

/// # Safety
/// `header` is that of a live region.
unsafe fn is_edge(header: *mut Header, line: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { (&raw const (*header).edges[line / 64]).read() >> (line % 64) & 1 == 1 }
}

/// # Safety
/// `header` is that of a live region.
unsafe fn set_edge(header: *mut Header, line: usize, edge: bool) {
    // SAFETY: the caller's promise.
    unsafe {
        let word = &raw mut (*header).edges[line / 64];
        let bit = 1 << (line % 64);
        word.write(if edge { word.read() | bit } else { word.read() & !bit });
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE, Lines, MAX_RUN, Supply};

    #[test]
    fn runs_do_not_overlap_and_join_again() {
        let (mut lines, mut supply) = (Lines::new(), Supply::default());
        let (rounds, longest) = if cfg!(miri) { (60, 4) } else { (30_000, 120) };
        let mut live = Vec::new();
        let mut random = 1u64;
        for _ in 0..rounds {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let length = 1 + (random >> 33) as usize % if random >> 60 == 0 { 2000 } else { longest };
            let run = lines.alloc(length, &mut supply);
            assert_eq!(run.addr().get() % LINE, 0);
            // SAFETY: the run is `length` lines long.
            unsafe { run.write_bytes(random as u8, length * LINE) };
            live.push((run, length, random as u8));
            if live.len() > 100 || (random >> 40).is_multiple_of(3) {
                let (run, length, mark) = live.swap_remove((random >> 20) as usize % live.len());
                // SAFETY: allocated above with this length, and freed once.
                unsafe {
                    assert!((0..length * LINE).step_by(31).all(|at| run.add(at).read() == mark));
                    lines.free(run, length);
                }
            }
        }
        for (run, length, _) in live {
            // SAFETY: as above.
            unsafe { lines.free(run, length) };
        }
        while lines.trim(&mut supply) {}
        for region in lines.regions.iter().flatten() {
            // SAFETY: every run came back, so each region is one free run again.
            unsafe {
                let first = region.base().add(super::HEADER_LINES * LINE).cast::<super::FreeRun>();
                assert_eq!(first.as_ref().lines as usize, MAX_RUN);
            }
        }
    }
}
