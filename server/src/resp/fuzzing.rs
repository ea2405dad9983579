//! Fuzz bodies: what must hold for any bytes whatever. The cargo-fuzz targets under `tests/fuzz` and the
//! bounded runs of `cargo test` call the same functions. Compiled for tests and fuzzing only.

use super::glob::glob_match_counting;
use super::{
    Commands, ParseLimits, Parser, ProtocolError, element_len, elements, format_f64, long_double, parse_f64,
    parse_i64,
};
use crate::limits::KEEP_BUFFER;

/// Everything a stream of bytes came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub commands: Vec<Vec<Vec<u8>>>,
    pub error: Option<ProtocolError>,
    /// Bytes of the stream that belong to whole commands; meaningless after an error.
    pub consumed: usize,
}

/// Plays `stream` to a parser in pieces that end at `cuts` (ascending offsets, the stream's end is implied),
/// as a session would: unconsumed bytes are shown again.
pub fn play(stream: &[u8], cuts: impl Iterator<Item = usize>, limits: &ParseLimits) -> Outcome {
    let (mut parser, mut commands) = (Parser::default(), Commands::default());
    let mut outcome = Outcome { commands: Vec::new(), error: None, consumed: 0 };
    for cut in cuts.chain([stream.len()]) {
        loop {
            let buf = &stream[outcome.consumed..cut.max(outcome.consumed)];
            let consumed = match parser.parse(buf, limits, &mut commands) {
                Ok(consumed) => consumed,
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            };
            assert!(consumed <= buf.len(), "consumed more than there was");
            // What is remembered is a small multiple of what was received.
            assert!(parser.memory() <= 1024 + 4 * buf.len(), "{} for {} bytes", parser.memory(), buf.len());
            assert!(commands.memory() <= 8 * KEEP_BUFFER + 4 * buf.len());
            for index in 0..commands.len() {
                assert!(commands.end(index) <= consumed);
                outcome.commands.push(commands.argv(index, buf).iter().map(<[u8]>::to_vec).collect());
            }
            outcome.consumed += consumed;
            if commands.is_empty() {
                assert!(parser.wanted() == 0 || parser.wanted() > buf.len() - consumed);
                break;
            }
        }
    }
    outcome
}

/// The stream's own first bytes choose the limits and where the rest is cut.
pub fn parser(data: &[u8]) {
    let Some((&[flags, step, jitter], stream)) = data.split_first_chunk::<3>() else { return };
    let limits =
        ParseLimits { max_bulk: if flags & 1 == 0 { 512 << 20 } else { 100 }, authenticated: flags & 2 == 0 };
    let whole = play(stream, std::iter::empty(), &limits);
    let mut at = 0;
    let cuts = std::iter::from_fn(|| {
        let wobble = (at as u8).wrapping_mul(jitter) >> 4;
        at += 1 + usize::from(step >> 2) + usize::from(wobble) * usize::from(step & 3);
        (at < stream.len()).then_some(at)
    });
    let mut cut = play(stream, cuts, &limits);
    if whole.error.is_some() {
        // Empty commands right before an error are given up with the connection in one case, consumed in the other.
        cut.consumed = whole.consumed;
    }
    assert_eq!(cut, whole);
    let _ = element_len(stream);
    assert!(elements(stream).map(<[u8]>::len).sum::<usize>() <= stream.len());
}

/// First byte: ignore case or not, and where the pattern ends. Compares with the definition where that is affordable.
pub fn glob(data: &[u8]) {
    let Some((&head, rest)) = data.split_first() else { return };
    let ignore_case = head & 1 == 1;
    let (pattern, text) = rest.split_at(usize::from(head >> 1).min(rest.len()));
    let mut steps = 0;
    let matched = glob_match_counting(pattern, text, ignore_case, &mut steps);
    assert!(steps <= (pattern.len() as u64 + 1) * (text.len() as u64 + 1), "{steps} steps");
    if pattern.len() <= 16 && text.len() <= 16 {
        let expected = if text.is_empty() {
            pattern.is_empty()
        } else {
            matches_by_definition(&elements_of(pattern, ignore_case), text)
        };
        assert_eq!(matched, expected, "{pattern:?} {text:?} {ignore_case}");
    }
}

/// One element of a pattern: a star, or the set of bytes that one byte may be.
enum Element {
    Star,
    OneOf(Box<[bool; 256]>),
}

fn matches_by_definition(pattern: &[Element], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([Element::Star, rest @ ..], _) => {
            (0..=text.len()).any(|skip| matches_by_definition(rest, &text[skip..]))
        }
        (_, []) => false,
        ([Element::OneOf(set), rest @ ..], [byte, tail @ ..]) => {
            set[usize::from(*byte)] && matches_by_definition(rest, tail)
        }
    }
}

fn elements_of(pattern: &[u8], ignore_case: bool) -> Vec<Element> {
    let lower = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    let set =
        |holds: &dyn Fn(u8) -> bool| Element::OneOf(Box::new(std::array::from_fn(|byte| holds(byte as u8))));
    let same = |byte: u8| set(&|other| lower(other) == lower(byte));
    let mut out = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        at += 1;
        out.push(match pattern[at - 1] {
            b'*' => Element::Star,
            b'?' => set(&|_| true),
            b'\\' if at < pattern.len() => {
                at += 1;
                same(pattern[at - 1])
            }
            b'[' => {
                let (class, end) = class_of(pattern, at, ignore_case);
                at = end;
                set(&|byte| class[usize::from(byte)])
            }
            byte => same(byte),
        });
    }
    out
}

/// The set of the class whose inside begins at `at`, and where it ends.
fn class_of(pattern: &[u8], mut at: usize, ignore_case: bool) -> ([bool; 256], usize) {
    let lower = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    let mut set = [false; 256];
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    while at < pattern.len() && pattern[at] != b']' {
        let left = pattern.len() - at;
        if pattern[at] == b'\\' && left >= 2 {
            set[usize::from(pattern[at + 1])] = true;
            at += 2;
            continue;
        }
        let range = left >= 3 && pattern[at + 1] == b'-';
        let (a, b) = (pattern[at] as i8, pattern[at + if range { 2 } else { 0 }] as i8);
        let (low, high) = (lower(a.min(b) as u8) as i8, lower(a.max(b) as u8) as i8);
        for byte in 0..=255 {
            set[usize::from(byte)] |= (low..=high).contains(&(lower(byte) as i8));
        }
        at += if range { 3 } else { 1 };
    }
    set.iter_mut().for_each(|holds| *holds ^= negated);
    (set, (at + 1).min(pattern.len()))
}

/// Any text as every kind of number; the first eight bytes also as a double.
pub fn number(data: &[u8]) {
    if let Some(value) = parse_i64(data) {
        assert_eq!(value.to_string().as_bytes(), data, "only canonical integers are accepted");
    } else if let Ok(text) = str::from_utf8(data)
        && let Ok(value) = text.parse::<i64>()
    {
        assert_ne!(value.to_string(), text, "a canonical integer was refused");
    }
    if let Some(value) = parse_f64(data) {
        assert!(!value.is_nan());
        double(value);
    }
    if let Some((bits, _)) = data.split_first_chunk::<8>() {
        double(f64::from_le_bytes(*bits));
    }
    let cut = data.first().map_or(0, |byte| usize::from(*byte) % data.len());
    let (current, increment) = data.split_at(cut);
    if let Ok(sum) = long_double::add(current, increment) {
        assert_eq!(long_double::add(sum.as_bytes(), b"0"), Ok(sum.clone()), "a sum reads back as itself");
        assert_eq!(long_double::add(increment, current), Ok(sum));
    }
}

fn double(value: f64) {
    let text = format_f64(value);
    if value.is_nan() {
        assert_eq!(text, "nan");
    } else {
        assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
    }
}
