//! What the parts of an every-core command bring home: raw RESP, written by handlers of this crate.
//!
//! Reading them is therefore lenient: what is not there reads as zero or empty.

use crate::resp::{elements, parse_i64};

/// The value of a `:n` reply.
pub fn integer(raw: &[u8]) -> i64 {
    line(raw).and_then(parse_i64).unwrap_or_default()
}

/// The bytes of a `$n` reply.
pub fn bulk(raw: &[u8]) -> &[u8] {
    let Some(len) = line(raw).and_then(parse_i64) else { return &[] };
    let start = memchr::memchr(b'\n', raw).map_or(0, |end| end + 1);
    raw.get(start..start + len.max(0) as usize).unwrap_or_default()
}

/// The elements of all parts, each an array, in shard order.
pub fn all_elements<'a>(parts: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    parts.iter().flat_map(|part| elements(part))
}

/// The sum of parts that are integers.
pub fn sum(parts: &[&[u8]]) -> i64 {
    parts.iter().map(|part| integer(part)).sum()
}

/// What stands on the first line behind the type byte.
fn line(raw: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\r', raw)?;
    raw.get(1..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_back() {
        assert_eq!(integer(b":-42\r\n"), -42);
        assert_eq!(bulk(b"$5\r\nhe\r\no\r\n"), b"he\r\no");
        assert_eq!(bulk(b"$0\r\n\r\n"), b"");
        assert_eq!(sum(&[b":1\r\n", b":2\r\n"]), 3);
        let parts: [&[u8]; 2] = [b"*2\r\n:1\r\n:2\r\n", b"*1\r\n:3\r\n"];
        assert_eq!(all_elements(&parts).map(integer).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
