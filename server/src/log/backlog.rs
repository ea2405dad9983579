//! The last bytes of the stream, by offset, for replicas that were away for a moment.

use std::collections::VecDeque;

/// Holds up to a limit of bytes; its memory grows as they come.
#[derive(Debug)]
pub struct Backlog {
    bytes: VecDeque<u8>,
    limit: usize,
    end: u64,
}

impl Backlog {
    /// Empty, for a stream that goes on at offset `at`.
    pub fn new(limit: usize, at: u64) -> Backlog {
        Backlog { bytes: VecDeque::new(), limit, end: at }
    }

    /// Offset of the oldest byte held.
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Offset behind the newest byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn append(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(self.limit)..];
        let surplus = (self.bytes.len() + kept.len()).saturating_sub(self.limit);
        self.bytes.drain(..surplus);
        let needed = self.bytes.len() + kept.len();
        if needed > self.bytes.capacity() {
            // Doubles like any buffer, but never past the limit.
            let capacity = needed.max(self.bytes.capacity() * 2).min(self.limit);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend(kept);
    }

    /// What follows offset `from`, in two pieces; `None` if the byte there is held no longer, or does not exist yet
    /// and will not be the next.
    pub fn read(&self, from: u64) -> Option<(&[u8], &[u8])> {
        if from < self.start() || from > self.end {
            return None;
        }
        let skip = (from - self.start()) as usize;
        let (older, newer) = self.bytes.as_slices();
        if skip < older.len() {
            Some((&older[skip..], newer))
        } else {
            Some((&newer[skip - older.len()..], &[]))
        }
    }

    /// A smaller limit drops the oldest bytes and their memory.
    pub fn resize(&mut self, limit: usize) {
        self.limit = limit;
        let surplus = self.bytes.len().saturating_sub(limit);
        self.bytes.drain(..surplus);
        self.bytes.shrink_to(limit);
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(backlog: &Backlog, from: u64) -> Vec<u8> {
        let (older, newer) = backlog.read(from).expect("the offset is held");
        [older, newer].concat()
    }

    #[test]
    fn the_newest_bytes_are_held_by_offset() {
        let mut backlog = Backlog::new(4, 100);
        assert_eq!((backlog.start(), backlog.end()), (100, 100));
        assert_eq!(backlog.read(100), Some((&[][..], &[][..])));
        backlog.append(b"abc");
        assert_eq!(all(&backlog, 100), b"abc");
        backlog.append(b"def");
        assert_eq!((backlog.start(), backlog.end()), (102, 106));
        assert_eq!(all(&backlog, 102), b"cdef");
        assert_eq!(all(&backlog, 105), b"f");
        assert_eq!(backlog.read(101), None);
        assert_eq!(backlog.read(107), None);
        backlog.append(b"0123456789");
        assert_eq!(all(&backlog, 112), b"6789");
    }

    #[test]
    fn memory_stays_below_the_limit() {
        let mut backlog = Backlog::new(10_000, 0);
        for _ in 0..1000 {
            backlog.append(&[1; 77]);
            assert!(backlog.memory() <= 10_000);
        }
        backlog.resize(100);
        assert_eq!(backlog.end() - backlog.start(), 100);
        assert!(backlog.memory() <= 1000);
        backlog.resize(0);
        backlog.append(b"gone");
        assert_eq!((backlog.start(), backlog.end()), (77_004, 77_004));
    }

    proptest! {
        #[test]
        fn a_backlog_is_the_end_of_the_stream(
            steps in proptest::collection::vec((0..40_usize, proptest::option::weighted(0.1, 0..60_usize)), 0..60),
        ) {
            let (mut backlog, mut stream, mut floor, mut limit) = (Backlog::new(30, 0), Vec::new(), 0, 30);
            for (length, resize) in steps {
                let bytes: Vec<u8> = (0..length).map(|index| (stream.len() + index) as u8).collect();
                stream.extend_from_slice(&bytes);
                backlog.append(&bytes);
                floor = floor.max(stream.len().saturating_sub(limit));
                if let Some(resize) = resize {
                    limit = resize;
                    backlog.resize(limit);
                    floor = floor.max(stream.len().saturating_sub(limit));
                }
                prop_assert_eq!(backlog.end(), stream.len() as u64);
                prop_assert_eq!(backlog.start(), floor as u64);
                for from in floor..=stream.len() {
                    prop_assert_eq!(&all(&backlog, from as u64)[..], &stream[from..]);
                }
            }
        }
    }
}
