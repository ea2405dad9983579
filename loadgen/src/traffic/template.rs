//! Requests as bytes. What never changes of a command is encoded once; placeholders of a fixed width are written over
//! it in place, and only arguments of varying length are put together anew for every request.

use super::{
    Numbers,
    keys::Keys,
    random::{below, unit},
    values::DataPlan,
};
use crate::plan::KeyShape;

pub const KEY: &[u8] = b"__key__";

/// The placeholders, by the text that stands for them.
const PLACEHOLDERS: [(&[u8], Filling); 6] = [
    (KEY, Filling::Key),
    (b"__data__", Filling::Data),
    (b"__rand_int__", Filling::RandInt),
    (b"__seq__", Filling::Sequence),
    (b"__score__", Filling::Score),
    (EXPIRY, Filling::Expiry),
];

/// What --expiry-range puts behind SETs; usable in any command.
pub const EXPIRY: &[u8] = b"__expiry__";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filling {
    /// The key: the first of a request is the one it was chosen with, the others are drawn.
    Key,
    Data,
    /// Uniform below the end of the key range, 12 digits as in redis-benchmark.
    RandInt,
    /// Counts up over all threads, 12 digits.
    Sequence,
    /// Uniform in [0, 1), 12 digits behind the point.
    Score,
    /// Seconds to live; without leading zeros, which EX refuses.
    Expiry,
}

/// Digits of `__rand_int__`, `__seq__` and a score's fraction; the highest digits of larger numbers are cut.
const DIGITS: usize = 12;
const SCORE_UNIT: f64 = 1e12;

#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    Filled(Filling),
}

enum Segment {
    /// Bytes of a fixed length, in which the slots are overwritten.
    Fixed { bytes: Vec<u8>, slots: Vec<Slot> },
    /// One argument of varying length, header and all.
    Varying(Vec<Part>),
}

struct Slot {
    filling: Filling,
    digits: std::ops::Range<usize>,
}

pub struct Template {
    segments: Vec<Segment>,
    prefix: Vec<u8>,
    /// Least digits of a key.
    key_digits: usize,
    /// Bytes of a varying argument before its length is known.
    scratch: Vec<u8>,
}

impl Template {
    pub fn new(words: &[Vec<u8>], shape: &KeyShape, data: &DataPlan) -> Self {
        let mut builder = Builder {
            shape,
            data: data.constant(),
            bytes: Vec::new(),
            slots: Vec::new(),
            segments: Vec::new(),
        };
        builder.bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            builder.word(word);
        }
        builder.close();
        Self {
            segments: builder.segments,
            prefix: shape.prefix.clone().into_bytes(),
            key_digits: shape.width.saturating_sub(shape.prefix.len()).max(1),
            scratch: Vec::new(),
        }
    }

    /// Appends one request; `key` is the number of its first key.
    pub fn encode(&mut self, key: u64, keys: &mut Keys, numbers: &mut Numbers, out: &mut Vec<u8>) {
        let mut first = Some(key);
        // `__data__` is the value of the key that stands before it.
        let mut latest = key;
        for segment in &mut self.segments {
            match segment {
                Segment::Fixed { bytes, slots } => {
                    for slot in slots {
                        let number = match slot.filling {
                            Filling::Key => {
                                latest = first.take().unwrap_or_else(|| keys.next_key());
                                latest
                            }
                            filling => numbers.draw(filling),
                        };
                        write_digits(number, &mut bytes[slot.digits.clone()]);
                    }
                    out.extend_from_slice(bytes);
                }
                Segment::Varying(parts) => {
                    let scratch = &mut self.scratch;
                    scratch.clear();
                    for part in parts {
                        match part {
                            Part::Text(text) => scratch.extend_from_slice(text),
                            Part::Filled(Filling::Key) => {
                                latest = first.take().unwrap_or_else(|| keys.next_key());
                                scratch.extend_from_slice(&self.prefix);
                                push_decimal(latest, self.key_digits, scratch);
                            }
                            Part::Filled(filling) => numbers.fill(*filling, latest, scratch),
                        }
                    }
                    out.push(b'$');
                    push_decimal(self.scratch.len() as u64, 1, out);
                    out.extend_from_slice(b"\r\n");
                    out.extend_from_slice(&self.scratch);
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
    }
}

impl Numbers {
    /// Appends what stands for a placeholder that is no key; `key` is the key before it.
    fn fill(&mut self, filling: Filling, key: u64, out: &mut Vec<u8>) {
        match filling {
            Filling::Data => self.values.append(key, out),
            Filling::Score => {
                out.extend_from_slice(b"0.");
                push_decimal(self.draw(filling), DIGITS, out);
            }
            Filling::Expiry => push_decimal(self.draw(filling), 1, out),
            _ => push_decimal(self.draw(filling), DIGITS, out),
        }
    }

    fn draw(&mut self, filling: Filling) -> u64 {
        match filling {
            Filling::RandInt => below(&mut self.random, self.bound),
            Filling::Sequence => {
                let number = self.sequence;
                self.sequence = number.wrapping_add(self.sequence_step);
                number
            }
            Filling::Score => (unit(&mut self.random) * SCORE_UNIT) as u64,
            Filling::Expiry => {
                let (low, high) = self.expiry;
                low + below(&mut self.random, high - low + 1)
            }
            Filling::Key | Filling::Data => unreachable!("they are not drawn here"),
        }
    }
}

struct Builder<'a> {
    shape: &'a KeyShape,
    /// The value, if all have the same.
    data: Option<Vec<u8>>,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    segments: Vec<Segment>,
}

impl Builder<'_> {
    fn word(&mut self, word: &[u8]) {
        let parts = parts(word);
        let varies = |part: &Part| match part {
            Part::Filled(Filling::Key) => self.shape.width == 0,
            Part::Filled(Filling::Data) => self.data.is_none(),
            Part::Filled(Filling::Expiry) => true,
            _ => false,
        };
        if parts.iter().any(varies) {
            self.close();
            self.segments.push(Segment::Varying(parts));
            return;
        }
        let start = self.bytes.len();
        let mut slots = Vec::new();
        for part in parts {
            self.fixed(part, &mut slots);
        }
        let body = self.bytes.split_off(start);
        let head = format!("${}\r\n", body.len());
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(&body);
        self.bytes.extend_from_slice(b"\r\n");
        for slot in slots {
            let digits = slot.digits.start + head.len()..slot.digits.end + head.len();
            self.slots.push(Slot { digits, ..slot });
        }
    }

    fn fixed(&mut self, part: Part, slots: &mut Vec<Slot>) {
        let digits = match part {
            Part::Text(text) => return self.bytes.extend_from_slice(&text),
            Part::Filled(Filling::Data) => {
                return self.bytes.extend_from_slice(self.data.as_deref().unwrap_or_default());
            }
            Part::Filled(Filling::Key) => {
                self.bytes.extend_from_slice(self.shape.prefix.as_bytes());
                self.shape.width - self.shape.prefix.len()
            }
            Part::Filled(Filling::Score) => {
                self.bytes.extend_from_slice(b"0.");
                DIGITS
            }
            Part::Filled(_) => DIGITS,
        };
        let Part::Filled(filling) = part else { return };
        let start = self.bytes.len();
        self.bytes.resize(start + digits, b'0');
        slots.push(Slot { filling, digits: start..start + digits });
    }

    fn close(&mut self) {
        if !self.bytes.is_empty() {
            let (bytes, slots) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.slots));
            self.segments.push(Segment::Fixed { bytes, slots });
        }
    }
}

/// That `word` holds no placeholder but those there are: a misspelt one would be sent as it stands.
pub fn check(word: &[u8]) -> Result<(), String> {
    let texts = parts(word).into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        Part::Filled(_) => None,
    });
    match texts.filter_map(|text| placeholder(&String::from_utf8_lossy(&text)).map(str::to_owned)).next() {
        Some(unknown) => {
            let known = PLACEHOLDERS.map(|(name, _)| String::from_utf8_lossy(name)).join(", ");
            Err(format!("there is no placeholder {unknown}, only {known}"))
        }
        None => Ok(()),
    }
}

/// The first of `text` that looks like a placeholder: letters, digits and single `_` between two `__`.
fn placeholder(text: &str) -> Option<&str> {
    let marks: Vec<usize> = text.match_indices("__").map(|(at, _)| at).collect();
    let named = |pair: &&[usize]| {
        let name = &text[pair[0] + 2..pair[1]];
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    marks.windows(2).find(named).map(|pair| &text[pair[0]..pair[1] + 2])
}

/// Bytes of the largest request of `words`, with keys and values of so many bytes.
pub fn largest(words: &[Vec<u8>], key: usize, value: usize) -> usize {
    let bytes = |part: Part| match part {
        Part::Text(text) => text.len(),
        Part::Filled(Filling::Key) => key,
        Part::Filled(Filling::Data) => value,
        Part::Filled(_) => DIGITS + 2,
    };
    words.iter().flat_map(|word| parts(word)).map(bytes).fold(0, usize::saturating_add)
}

/// A word as text and placeholders.
fn parts(word: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        let found = PLACEHOLDERS
            .iter()
            .filter_map(|&(name, filling)| Some((memchr::memmem::find(rest, name)?, name.len(), filling)))
            .min_by_key(|&(at, ..)| at);
        let Some((at, len, filling)) = found else {
            parts.push(Part::Text(rest.to_vec()));
            break;
        };
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_vec()));
        }
        parts.push(Part::Filled(filling));
        rest = &rest[at + len..];
    }
    parts
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Writes `number` in decimal over all of `digits`. Two digits a step: half of the divisions, and none for the zeros
/// in front, make this a third as dear, and it is done for every key.
fn write_digits(number: u64, digits: &mut [u8]) {
    let mut rest = number;
    let mut end = digits.len();
    while rest > 0 && end >= 2 {
        digits[end - 2..end].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
        end -= 2;
    }
    digits[..end].fill(b'0');
    if end == 1 {
        digits[0] = b'0' + (rest % 10) as u8;
    }
}

/// Appends `number` in decimal with at least `width` digits.
fn push_decimal(number: u64, width: usize, out: &mut Vec<u8>) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let start = out.len();
    out.resize(start + digits.max(width), b'0');
    write_digits(number, &mut out[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{End, Plan},
        traffic::{
            Traffic,
            keys::{KeyRange, Pattern},
            mix::CommandPlan,
            values::Sizes,
        },
    };

    fn plan(commands: &[&str]) -> Plan {
        let keys = KeyRange { first: 7, last: 9, pattern: Pattern::Sequential };
        let mut plan = Plan::closed(std::net::SocketAddr::from(([127, 0, 0, 1], 1)), keys, End::Requests(1));
        plan.key_shape = KeyShape { prefix: "k:".into(), width: 6 };
        plan.data = DataPlan::of(3);
        plan.mix = commands.iter().map(|line| CommandPlan::parse(line).expect(line)).collect();
        plan
    }

    fn sent(plan: &Plan, count: usize) -> String {
        let mut traffic = Traffic::new(plan, 0, 1, 1);
        let mut out = Vec::new();
        for _ in 0..count {
            let request = traffic.choose();
            traffic.encode(request, &mut out);
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn requests_carry_the_key_zero_padded_and_nothing_of_the_request_before() {
        let expected = "*3\r\n$3\r\nSET\r\n$6\r\nk:0007\r\n$3\r\nxxx\r\n\
                        *2\r\n$3\r\nGET\r\n$6\r\nk:0007\r\n\
                        *3\r\n$3\r\nSET\r\n$6\r\nk:0008\r\n$3\r\nxxx\r\n";
        assert_eq!(sent(&plan(&["SET __key__ __data__", "GET __key__"]), 3), expected);
    }

    #[test]
    fn values_of_varying_length_and_keys_without_padding_have_true_headers() {
        let mut varying = plan(&["MSET __key__ <__data__> a__key__ 1"]);
        varying.key_shape.width = 0;
        varying.data.sizes = Sizes::Range(0, 120);
        let text = sent(&varying, 200);
        let mut rest = text.as_str();
        for request in 0..200 {
            let mut words = Vec::new();
            rest = rest.strip_prefix("*5\r\n").expect("five words");
            for _ in 0..5 {
                let (length, after) =
                    rest.strip_prefix('$').and_then(|t| t.split_once("\r\n")).expect("a header");
                let length: usize = length.parse().expect("a length");
                words.push(&after[..length]);
                rest = after[length..].strip_prefix("\r\n").expect("the header's length was true");
            }
            let key = |step: u64| 7 + (2 * request + step) % 3;
            assert_eq!(
                (words[1], words[3]),
                (format!("k:{}", key(0)).as_str(), format!("ak:{}", key(1)).as_str())
            );
            assert!(words[2].starts_with('<') && words[2].ends_with('>'));
        }
        assert_eq!(rest, "");
    }

    #[test]
    fn what_looks_like_a_placeholder_must_be_one() {
        for word in [
            "__key__",
            "a__key____data__",
            "k:{__key__}",
            "__index",
            "a__b",
            "__",
            "____",
            "__a b__",
            "x__:__",
        ] {
            assert_eq!(check(word.as_bytes()), Ok(()), "{word}");
        }
        for (word, unknown) in
            [("__keys__", "__keys__"), ("a:__key__:__Nope_1__", "__Nope_1__"), ("__KEY__", "__KEY__")]
        {
            let problem = check(word.as_bytes()).expect_err(word);
            assert!(problem.contains(unknown) && problem.contains("__rand_int__"), "{problem}");
        }
    }

    #[test]
    fn digits_are_those_of_the_number_cut_at_the_width() {
        for number in (0..2000).chain([99_999, 100_000, 123_456_789, u64::MAX]) {
            for width in 0..25 {
                let mut digits = vec![b'?'; width];
                write_digits(number, &mut digits);
                let whole = format!("{number:0>25}");
                assert_eq!(digits, &whole.as_bytes()[25 - width..], "{number} in {width}");
            }
        }
    }

    #[test]
    fn numbers_fill_their_width() {
        let text = sent(&plan(&["ZADD z __score__ m__rand_int__:__seq__"]), 2);
        let second = text.split("*4").nth(2).expect("two requests");
        let words: Vec<&str> = second.split("\r\n").collect();
        let (score, member) = (words[6], words[8]);
        assert!((0.0..1.0).contains(&score.parse::<f64>().expect("a score")) && score.len() == 14, "{score}");
        let (random, sequence) = member[1..].split_once(':').expect("two numbers");
        assert!(random.parse::<u64>().expect("a number") < 10 && random.len() == 12, "{member}");
        assert_eq!(sequence, "000000000001");
    }
}
