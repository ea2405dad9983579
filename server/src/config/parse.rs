//! Texts of a configuration: lines into words, bytes with units, lists of CPUs. Pure functions.

/// CPUs the kernel's fixed affinity mask can name (`CPU_SETSIZE`).
const MAX_CPUS: usize = 1024;

/// A line whose quotes do not close, or with something glued behind a closing quote.
#[derive(Debug, PartialEq, Eq)]
pub struct Unbalanced;

/// Splits a line into words as the reference server does: blanks separate; `"…"` knows `\n \r \t \b \a`,
/// `\xHH` and `\c` for any other `c`; `'…'` knows only `\'`.
pub fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, Unbalanced> {
    let mut words = Vec::new();
    // As for the reference server, a NUL ends the line.
    let mut rest = line.split(|byte| *byte == 0).next().unwrap_or_default();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, taken) = word(rest)?;
        words.push(word);
        rest = &rest[taken..];
    }
}

/// The word at the start of `text` and how many bytes of `text` it took.
fn word(text: &[u8]) -> Result<(Vec<u8>, usize), Unbalanced> {
    let mut word = Vec::new();
    let mut at = 0;
    let mut quote = None;
    while let Some(&byte) = text.get(at) {
        match (quote, byte) {
            (None, b' ' | b'\t' | b'\r' | b'\n') => break,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, _) => word.push(byte),
            (Some(open), _) if byte == open => {
                let ends = text.get(at + 1).is_none_or(|next| next.is_ascii_whitespace());
                return if ends { Ok((word, at + 1)) } else { Err(Unbalanced) };
            }
            (Some(b'"'), b'\\') if at + 1 < text.len() => {
                let (unescaped, taken) = escape(&text[at + 1..]);
                word.push(unescaped);
                at += taken;
            }
            (Some(b'\''), b'\\') if text.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 1;
            }
            (Some(_), _) => word.push(byte),
        }
        at += 1;
    }
    if quote.is_some() {
        return Err(Unbalanced);
    }
    Ok((word, at))
}

/// What stands behind a backslash in double quotes: the byte it means and how many bytes it took.
fn escape(text: &[u8]) -> (u8, usize) {
    let hex = |at: usize| text.get(at).and_then(|byte| (*byte as char).to_digit(16));
    match text[0] {
        b'x' => match (hex(1), hex(2)) {
            (Some(high), Some(low)) => ((high * 16 + low) as u8, 3),
            _ => (b'x', 1),
        },
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        b'b' => (8, 1),
        b'a' => (7, 1),
        other => (other, 1),
    }
}

/// Words as a line that [`words`] would split the same way.
pub fn joined(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        if plain { word.clone() } else { format!("{word:?}") }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A whole number by the reference server's strict rules: no plus sign, no leading zero, no blank.
pub fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits == "0" && digits.len() == text.len()
        || digits.starts_with(|first: char| ('1'..='9').contains(&first));
    if canonical && digits.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Bytes, with an optional unit in any case: `k m g` are powers of 1000, `kb mb gb` of 1024. No digits
/// count as 0, as in the reference server.
pub fn memory(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|byte: char| byte.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    let number: u64 = if number.is_empty() { 0 } else { number.parse().ok()? };
    number.checked_mul(factor)
}

/// CPUs of a list such as `0-3,8,10-20:2`: ascending, each once.
pub fn cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let bad = || format!("argument must be a list of CPUs below {}, such as 0-3,8", MAX_CPUS);
    let number = |text: &str| text.parse::<usize>().ok().filter(|cpu| *cpu < MAX_CPUS).ok_or_else(bad);
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last, step) = (number(first.trim())?, number(last.trim())?, number(step.trim())?);
        if step == 0 || last < first {
            return Err(bad());
        }
        cpus.extend((first..=last).step_by(step));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        let words = words(line.as_bytes()).unwrap();
        words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn words_are_split_and_unquoted() {
        assert_eq!(split(" save  900\t1 \r\n"), ["save", "900", "1"]);
        assert_eq!(split(r#"save "" ''"#), ["save", "", ""]);
        assert_eq!(split(r#"x "a b\n\x41\"\q\xzz" 'it\'s \n'"#), ["x", "a b\nA\"qxzz", r"it's \n"]);
        assert_eq!(split(r#"a"b c" d"#), ["ab c", "d"]);
        assert!(split("").is_empty());
    }

    #[test]
    fn unbalanced_quotes_are_told() {
        for line in [r#"a "b"#, "a 'b", r#"a "b"c"#, "a 'b'c", r#"a "b\"#] {
            assert_eq!(words(line.as_bytes()), Err(Unbalanced), "{line}");
        }
    }

    #[test]
    fn memory_units() {
        let cases = [("1", 1), ("1b", 1), ("1k", 1000), ("1Kb", 1024), ("2m", 2_000_000), ("2MB", 2 << 20)];
        for (text, bytes) in cases.into_iter().chain([("1g", 1_000_000_000), ("1gb", 1 << 30), ("", 0)]) {
            assert_eq!(memory(text), Some(bytes), "{text}");
        }
        for text in ["-1", "+1", " 1", "1 kb", "1kk", "1.5mb", "10%", "99999999999999999999", "99999999999gb"]
        {
            assert_eq!(memory(text), None, "{text}");
        }
    }

    #[test]
    fn integers_are_strict() {
        assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer("0"), Some(0));
        for text in ["", "-", "+7", "007", " 7", "7 ", "-0", "7k", "9223372036854775808"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("3,0-2").unwrap(), [0, 1, 2, 3]);
        assert_eq!(cpu_list("0-6:2,1,1").unwrap(), [0, 1, 2, 4, 6]);
        for text in ["", "a", "2-1", "0-3:0", "1,,2", "99999999", "-1", "0-1023,5000"] {
            assert!(cpu_list(text).is_err(), "{text}");
        }
    }
}
