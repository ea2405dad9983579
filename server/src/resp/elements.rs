//! Walking replies that are already encoded, to merge what several shards answered.
//!
//! Knows RESP2 and RESP3 framing; never what an element means.

/// Length in bytes of the first whole value of `reply`, whatever is nested in it; None when it is cut
/// short or malformed. Attributes (`|`) count as a part of the value they precede. Counts instead of
/// recursing, so no depth of nesting costs stack.
pub fn element_len(reply: &[u8]) -> Option<usize> {
    let mut missing: u64 = 1;
    let mut at = 0;
    while missing > 0 {
        let (kind, number, body) = header(reply, at)?;
        at = body;
        missing -= 1;
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {}
            b'$' | b'=' | b'!' => {
                if let Some(len) = number? {
                    at = usize::try_from(len).ok()?.checked_add(2)?.checked_add(at)?;
                    if reply.get(at - 2..at)? != b"\r\n" {
                        return None;
                    }
                }
            }
            b'*' | b'~' | b'>' => missing = missing.checked_add(number?.unwrap_or(0))?,
            b'%' => missing = number??.checked_mul(2)?.checked_add(missing)?,
            b'|' => missing = number??.checked_mul(2)?.checked_add(missing)?.checked_add(1)?,
            _ => return None,
        }
    }
    Some(at)
}

/// The elements of the one array, set, map or push that `reply` is, each as raw bytes (a map's keys and
/// values in turn). Nothing for any other value; ends early where the reply is malformed.
pub fn elements(reply: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut missing, mut at) = match header(reply, 0) {
        Some((b'*' | b'~' | b'>', Some(Some(count)), body)) => (count, body),
        Some((b'%', Some(Some(count)), body)) => (count.saturating_mul(2), body),
        _ => (0, 0),
    };
    std::iter::from_fn(move || {
        missing = missing.checked_sub(1)?;
        let rest = &reply[at..];
        let len = element_len(rest)?;
        at += len;
        Some(&rest[..len])
    })
}

/// The line at `at`: its type byte, its number and where the next line begins. The number is None when the
/// line holds none, Some(None) when it is -1 (RESP2's null).
#[inline]
fn header(reply: &[u8], at: usize) -> Option<(u8, Option<Option<u64>>, usize)> {
    let line = reply.get(at..)?;
    let end = memchr::memchr(b'\n', line)?;
    let (&kind, digits) = line[..end].strip_suffix(b"\r")?.split_first()?;
    Some((kind, count(digits), at + end + 1))
}

fn count(digits: &[u8]) -> Option<Option<u64>> {
    if digits == b"-1" {
        return Some(None);
    }
    super::parse_i64(digits).and_then(|number| u64::try_from(number).ok()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_measured() {
        let whole: &[&str] = &[
            "+OK\r\n",
            "-ERR x\r\n",
            ":-12\r\n",
            "$3\r\na\r\n\r\n",
            "$0\r\n\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            "%1\r\n+a\r\n~2\r\n#t\r\n_\r\n",
            "=7\r\ntxt:abc\r\n",
            "!3\r\nERR\r\n",
            ",1.5\r\n",
            "(123456789012345678901234567890\r\n",
            ">2\r\n+message\r\n+x\r\n",
            "|1\r\n+ttl\r\n:5\r\n*1\r\n:1\r\n",
        ];
        for reply in whole {
            let bytes = reply.as_bytes();
            assert_eq!(element_len(bytes), Some(bytes.len()), "{reply:?}");
            for cut in 0..bytes.len() {
                assert_eq!(element_len(&bytes[..cut]), None, "{reply:?} cut at {cut}");
            }
            let followed = [bytes, b":1\r\n"].concat();
            assert_eq!(element_len(&followed), Some(bytes.len()), "{reply:?} followed");
        }
    }

    #[test]
    fn malformed_and_absurd_replies_are_refused() {
        for reply in [
            "",
            "x\r\n",
            "$a\r\n",
            "$-2\r\n",
            "$1\r\nabc",
            "$9223372036854775807\r\nx",
            "%-1\r\n",
            "\r\n",
            "+\n",
        ] {
            assert_eq!(element_len(reply.as_bytes()), None, "{reply:?}");
        }
        assert_eq!(element_len("%9223372036854775807\r\n".repeat(3).as_bytes()), None);
        assert_eq!(element_len(&b"*1\r\n".repeat(1_000_000)), None);
        let deep = [b"*1\r\n".repeat(1_000_000), b":1\r\n".to_vec()].concat();
        assert_eq!(element_len(&deep), Some(deep.len()));
    }

    #[test]
    fn elements_are_the_raw_parts() {
        let reply = b"*3\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n$-1\r\n";
        let parts: Vec<&[u8]> = elements(reply).collect();
        assert_eq!(parts, [&b"$1\r\na\r\n"[..], b"*2\r\n:1\r\n:2\r\n", b"$-1\r\n"]);
        assert_eq!(elements(b"%1\r\n+a\r\n:1\r\n").count(), 2);
        assert_eq!(elements(b"*-1\r\n").count(), 0);
        assert_eq!(elements(b"+OK\r\n").count(), 0);
        assert_eq!(elements(b"*2\r\n:1\r\n").count(), 1);
    }
}
