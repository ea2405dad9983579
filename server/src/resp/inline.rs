//! Inline commands: one line of words, as typed into a terminal, with shell-like quotes.
//!
//! Knows one whole line; where lines end and how long they may get is the parser's business.

use super::Span;

/// A quote was opened and not closed, or something other than space follows a closing quote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnbalancedQuotes;

/// Splits `line` (no line ending) into words: their unescaped bytes are appended to `arena`, their places
/// in it to `spans`. A line of spaces only has no words.
pub(super) fn split_words(
    line: &[u8],
    arena: &mut Vec<u8>,
    spans: &mut Vec<Span>,
) -> Result<(), UnbalancedQuotes> {
    let mut rest = line;
    loop {
        let blank = rest.iter().take_while(|byte| is_space(**byte)).count();
        rest = &rest[blank..];
        if rest.is_empty() {
            return Ok(());
        }
        let start = arena.len();
        rest = word(rest, arena)?;
        spans.push(Span { start: start as u32, len: (arena.len() - start) as u32 });
    }
}

/// Copies the word at the head of `rest` into `arena`; returns what follows it.
fn word<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [] => return Ok(rest),
            // Vertical tab and form feed separate words only at a word's head: the reference differs there too.
            [b' ' | b'\n' | b'\r' | b'\t', ..] => return Ok(rest),
            [b'"', tail @ ..] => return closed(double_quoted(tail, arena)?),
            [b'\'', tail @ ..] => return closed(single_quoted(tail, arena)?),
            [byte, tail @ ..] => {
                arena.push(*byte);
                rest = tail;
            }
        }
    }
}

/// What follows a closing quote must be a space or the line's end.
fn closed(rest: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match rest {
        [byte, ..] if !is_space(*byte) => Err(UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_value(*high) << 4 | hex_value(*low), tail)
            }
            [b'\\', escaped, tail @ ..] => (unescape(*escaped), tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        arena.push(byte);
        rest = tail;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        arena.push(byte);
        rest = tail;
    }
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// C's `isspace` in the "C" locale.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<Vec<u8>>> {
        let (mut arena, mut spans) = (Vec::new(), Vec::new());
        split_words(line.as_bytes(), &mut arena, &mut spans).ok()?;
        let word = |span: &Span| arena[span.start as usize..][..span.len as usize].to_vec();
        Some(spans.iter().map(word).collect())
    }

    #[test]
    fn words_are_split_and_unescaped_as_by_the_reference() {
        let cases: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[])),
            (" \t\x0b\x0c ", Some(&[])),
            ("PING", Some(&["PING"])),
            (" SET  a\tb ", Some(&["SET", "a", "b"])),
            (r#"E "a\x41\n\t\b\a\r\q\"z""#, Some(&["E", "aA\n\t\x08\x07\rq\"z"])),
            (r"E 'a\'b\n'", Some(&["E", r"a'b\n"])),
            (r#"E a"b c""#, Some(&["E", "ab c"])),
            (r#"E "\xzz""#, Some(&["E", "xzz"])),
            (r#"E "" ''"#, Some(&["E", "", ""])),
            ("E a\x0bb", Some(&["E", "a\x0bb"])),
            ("E \"a\"\x0b\"b\"", Some(&["E", "a", "b"])),
            ("PING\rX", Some(&["PING", "X"])),
            (r#"E "a"b"#, None),
            (r#"E "a"#, None),
            (r#"E "a\"#, None),
            ("E 'a", None),
            ("E 'a'b", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(|word| word.as_bytes().to_vec()).collect());
            assert_eq!(words(line), expected, "{line:?}");
        }
    }
}
