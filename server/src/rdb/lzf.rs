//! LZF, the compression of strings in RDB files, after the format's public description.
//!
//! A control byte below 32 is followed by that many literal bytes and one more. Above, its upper three bits are a
//! length less 2 (7: a byte follows that adds to it), its lower five and the byte behind them a distance less 1:
//!
//! ```text
//! 000nnnnn  n+1 literals
//! nnnddddd  dddddddd             copy n+2 bytes from d+1 back      (n = 1..6)
//! 111ddddd  nnnnnnnn  dddddddd   copy n+9 bytes from d+1 back
//! ```
//!
//! What is compressed comes out byte for byte as from the reference server's copy of the C library: the same matches
//! are found by the same hash, which is what DUMP and DEBUG OBJECT show of it.

/// Farthest a copy reaches back.
const REACH: usize = 1 << 13;
const LONGEST_COPY: usize = 264;
const LONGEST_LITERALS: usize = 32;
/// Most bytes that one byte of input can come to: a copy of 264 takes three.
const MOST_GAIN: u64 = 88;

/// The most bytes that a copy may take when so many are left, the last two apart. The library leaves those two alone,
/// but three bytes it has compared already, and where there is room for 17 it compares 16 more before it looks again.
fn longest_copy(left: usize) -> usize {
    match left {
        ..3 => 3,
        17..19 => 19,
        _ => left.min(LONGEST_COPY),
    }
}

/// The last position of each hash of three bytes. The C library has a slot for each of 65536 hashes; here short inputs
/// have fewer slots, and a hash that is not in its own is in one of the next, so that the answers are the same.
struct Positions<'a> {
    data: &'a [u8],
    /// 0 is no position: the library never copies from there.
    slots: Vec<u32>,
    /// A hash has its first slot at its upper bits, once they are mixed.
    shift: u32,
}

impl<'a> Positions<'a> {
    const HASH_BITS: u32 = 16;

    fn new(data: &'a [u8]) -> Self {
        // So sparse that most hashes find their first slot free or their own, unless every hash has its own.
        let bits = (8 * data.len()).next_power_of_two().ilog2().min(Self::HASH_BITS);
        Positions { data, slots: vec![0; 1 << bits], shift: Self::HASH_BITS - bits }
    }

    /// The three bytes at a position.
    fn three(&self, at: usize) -> u32 {
        let three = &self.data[at..at + 3];
        u32::from_be_bytes([0, three[0], three[1], three[2]])
    }

    fn hash(three: u32) -> u16 {
        (three >> 8).wrapping_sub(three.wrapping_mul(5)) as u16
    }

    /// Notes `at` as the last position of its hash. Returns the one before, if the same bytes are there.
    fn replace(&mut self, at: usize) -> Option<usize> {
        let three = self.three(at);
        let hash = Self::hash(three);
        // Multiplied by an odd number, 65536 hashes stay as many.
        let mut slot = usize::from(hash.wrapping_mul(0x9e37) >> self.shift);
        loop {
            let before = self.slots[slot] as usize;
            let other = if before == 0 { three } else { self.three(before) };
            if self.shift == 0 || Self::hash(other) == hash {
                self.slots[slot] = at as u32;
                return (before > 0 && other == three).then_some(before);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }
}

/// Appends `data` compressed, if it comes to no more than `room` bytes; else `out` stays as it was.
pub fn compress(data: &[u8], room: usize, out: &mut Vec<u8>) -> bool {
    if data.len() < 4 || u32::try_from(data.len()).is_err() {
        return false;
    }
    let start = out.len();
    let fits = compress_into(data, room, out);
    if !fits {
        out.truncate(start);
    }
    fits
}

/// Gives up where the library does, which looks ahead in steps of its own.
fn compress_into(data: &[u8], room: usize, out: &mut Vec<u8>) -> bool {
    let mut positions = Positions::new(data);
    let start = out.len();
    // No copy begins at the last two bytes: a hash is of three.
    let last = data.len() - 2;
    // Literals from here to `at` are not written yet.
    let (mut from, mut at) = (0, 0);
    while at < last {
        let before = positions.replace(at).filter(|before| at - before <= REACH);
        let written = out.len() - start;
        let Some(before) = before else {
            if written + 1 + (at - from) >= room {
                return false;
            }
            at += 1;
            if at - from == LONGEST_LITERALS {
                put_literals(&data[from..at], out);
                from = at;
            }
            continue;
        };
        let literals = if from < at { 1 + at - from } else { 0 };
        if written + literals + 4 >= room {
            return false;
        }
        put_literals(&data[from..at], out);
        let most = longest_copy(last - at);
        let length = (3..most).find(|length| data[before + length] != data[at + length]).unwrap_or(most);
        put_copy(at - before, length, out);
        at += length;
        from = at;
        if at < last {
            // Of the positions copied over, the library notes the last two.
            positions.replace(at - 2);
            positions.replace(at - 1);
        }
    }
    if out.len() - start + 1 + (at - from) + 3 > room {
        return false;
    }
    data[from..].chunks(LONGEST_LITERALS).for_each(|literals| put_literals(literals, out));
    true
}

fn put_literals(literals: &[u8], out: &mut Vec<u8>) {
    if !literals.is_empty() {
        out.push(literals.len() as u8 - 1);
        out.extend_from_slice(literals);
    }
}

fn put_copy(back: usize, length: usize, out: &mut Vec<u8>) {
    let (distance, count) = (back - 1, length - 2);
    let high = (distance >> 8) as u8;
    if count < 7 {
        out.extend_from_slice(&[(count << 5) as u8 | high, distance as u8]);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (count - 7) as u8, distance as u8]);
    }
}

/// Whether `from` compressed bytes can come to `to`. Asked before memory is taken for them.
pub fn is_plausible(from: usize, to: u64) -> bool {
    to <= (from as u64).saturating_mul(MOST_GAIN)
}

/// What `data` was before, if that is well formed and `length` bytes.
pub fn decompress(data: &[u8], length: usize) -> Option<Vec<u8>> {
    if !is_plausible(data.len(), length as u64) {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = data;
    while let Some((&control, tail)) = rest.split_first() {
        rest = tail;
        if usize::from(control) < LONGEST_LITERALS {
            let (literals, tail) = rest.split_at_checked(usize::from(control) + 1)?;
            rest = tail;
            if literals.len() > length - out.len() {
                return None;
            }
            out.extend_from_slice(literals);
            continue;
        }
        let mut count = usize::from(control >> 5) + 2;
        if count == 9 {
            let (&more, tail) = rest.split_first()?;
            count += usize::from(more);
            rest = tail;
        }
        let (&low, tail) = rest.split_first()?;
        rest = tail;
        let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
        let from = out.len().checked_sub(distance)?;
        if count > length - out.len() {
            return None;
        }
        // What is copied may reach into what it becomes: each round can take all that is there by then.
        while count > 0 {
            let there = count.min(out.len() - from);
            out.extend_from_within(from..from + there);
            count -= there;
        }
    }
    (out.len() == length).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::{compress, decompress};

    fn compressed(data: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let fits = compress(data, data.len().saturating_sub(4), &mut out);
        let rest = out.split_off(6);
        assert!(out == b"before" && (fits || rest.is_empty()));
        fits.then_some(rest)
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 33) as usize
        };
        let mut packed = 0;
        for round in 0..4000 {
            let most = if round % 100 == 0 { 90_000 } else { [30, 300, 3000][round % 3] };
            let length = random() % most;
            let letters = 1 + random() % 40;
            let data: Vec<u8> = (0..length).map(|_| (random() % letters * (random() % 3)) as u8).collect();
            if let Some(bytes) = compressed(&data) {
                packed += 1;
                assert!(bytes.len() <= data.len() - 4);
                assert_eq!(decompress(&bytes, data.len()).as_ref(), Some(&data));
                assert_eq!(decompress(&bytes, data.len() - 1), None);
                assert_eq!(decompress(&bytes, data.len() + 1), None);
                assert_eq!(decompress(&bytes[..bytes.len() - 1], data.len()), None);
            }
        }
        assert!(packed > 1000, "{packed}");
    }

    #[test]
    fn known_bytes() {
        let long = decompress(&[1, 97, 97, 224, 187, 0, 1, 97, 97], 200);
        assert_eq!(long, Some(vec![b'a'; 200]));
        // As the reference server dumps a hundred times the same letter.
        let dumped = [1, b'x', b'x', 0xe0, 0x57, 0, 1, b'x', b'x'];
        assert_eq!(compressed(&[b'x'; 100]).as_deref(), Some(&dumped[..]));
    }

    #[test]
    fn broken_bytes_are_told() {
        for bytes in [&[][..], &[0], &[31, 1], &[0, 7, 0x20], &[0x20, 0], &[0, 7, 0x20, 1], &[0, 7, 0xe0, 1]]
        {
            assert_eq!(decompress(bytes, 4), None, "{bytes:?}");
        }
        assert_eq!(decompress(&[0, 7, 0x20, 0], 4), Some(vec![7; 4]));
        // Promises more than three bytes can hold: no memory is taken for it.
        assert_eq!(decompress(&[0xe0, 255, 0], 1 << 40), None);
    }
}
