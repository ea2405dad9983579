//! Glob patterns of KEYS, SCAN, PSUBSCRIBE and CONFIG GET.
//!
//! Knows bytes only. Matching takes at most `pattern.len() * text.len()` steps and no stack: a star that
//! was passed is never reconsidered once a later star has been reached, because whatever the earlier one
//! could still swallow the later one can swallow as well.

/// Whether `pattern` matches all of `text`, by the reference server's rules: `*`, `?`, `[a-z]`, `[^a-z]`,
/// `\` makes the next byte literal, a class without `]` reaches to the pattern's end, and classes compare
/// bytes as signed. `ignore_case` folds ASCII letters. As there, an empty text is matched by the empty pattern only.
pub fn glob_match(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    glob_match_counting(pattern, text, ignore_case, &mut 0)
}

/// [`glob_match`], adding to `steps` how many text bytes were compared with a pattern element.
pub(super) fn glob_match_counting(pattern: &[u8], text: &[u8], ignore_case: bool, steps: &mut u64) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Behind the last star passed: where the pattern goes on, and the first text byte not swallowed by it.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if t == text.len() {
            return pattern[p..].iter().all(|byte| *byte == b'*');
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        *steps += 1;
        if let Some(next) = match_one(pattern, p, text[t], ignore_case) {
            p = next;
            t += 1;
            continue;
        }
        let Some((behind_star, swallowed)) = retry else { return false };
        let Some(candidate) = next_candidate(pattern[behind_star], text, swallowed + 1, ignore_case) else {
            return false;
        };
        (p, t) = (behind_star, candidate);
        retry = Some((behind_star, candidate));
    }
}

/// The first place from `from` on where the element that begins with `first` can match at all.
#[inline]
fn next_candidate(first: u8, text: &[u8], from: usize, ignore_case: bool) -> Option<usize> {
    if from >= text.len() {
        return None;
    }
    if ignore_case || matches!(first, b'[' | b'?' | b'\\' | b'*') {
        return Some(from);
    }
    memchr::memchr(first, &text[from..]).map(|offset| from + offset)
}

/// Matches the one-byte element at `p` (not a star, may be the pattern's end) with `byte`; returns where
/// the next element begins.
#[inline]
fn match_one(pattern: &[u8], p: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let literal = match *pattern.get(p)? {
        b'?' => return Some(p + 1),
        b'[' => return match_class(pattern, p + 1, byte, ignore_case),
        b'\\' if p + 1 < pattern.len() => p + 1,
        _ => p,
    };
    (fold(pattern[literal], ignore_case) == fold(byte, ignore_case)).then_some(literal + 1)
}

/// Matches the class whose inside begins at `p`; returns where the element behind it begins.
fn match_class(pattern: &[u8], mut p: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match &pattern[p..] {
            [] => break,
            // An escaped byte is compared as it is even when case is ignored.
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range(*first, *last, byte, ignore_case);
                p += 3;
            }
            [single, ..] => {
                found |= fold(*single, ignore_case) == fold(byte, ignore_case);
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

/// Bytes are ordered as signed ones: that is what the reference's `char` is.
fn in_range(first: u8, last: u8, byte: u8, ignore_case: bool) -> bool {
    let (low, high) = if first as i8 > last as i8 { (last, first) } else { (first, last) };
    let order = |byte| fold(byte, ignore_case) as i8;
    (order(low)..=order(high)).contains(&order(byte))
}

#[inline]
fn fold(byte: u8, ignore_case: bool) -> u8 {
    if ignore_case { byte.to_ascii_lowercase() } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_the_reference() {
        let cases: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("*", "", false),
            ("*", "a", true),
            ("a*", "a", true),
            ("a***", "a", true),
            ("a?", "a", false),
            ("h[ae]llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hbllo", true),
            ("h\\?llo", "h?llo", true),
            ("h\\?llo", "hallo", false),
            ("a\\", "a\\", true),
            ("[", "[", false),
            ("[^", "x", true),
            ("[a", "a", true),
            ("[a-", "-", true),
            ("[a-c", "b", true),
            ("[]a", "a", false),
            ("[\\]]", "]", true),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxbxx", false),
            ("*[0-9]*x", "ab1cdx", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob_match(pattern.as_bytes(), text.as_bytes(), false), *expected, "{pattern} {text}");
        }
        assert!(glob_match(b"MAX*[A-C]", b"maxmemorb", true));
        assert!(glob_match(b"[\x80-\x01]", b"\xff", false), "bytes in classes are signed");
    }

    #[test]
    fn a_pattern_bomb_is_linear() {
        let text = vec![b'a'; 64 * 1024];
        let pattern = [b"a*".repeat(1000), b"b".to_vec()].concat();
        let mut steps = 0;
        assert!(!glob_match_counting(&pattern, &text, true, &mut steps));
        assert!(steps <= 2 * text.len() as u64, "{steps}");
    }
}
