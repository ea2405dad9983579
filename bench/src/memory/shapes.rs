//! What a row of the memory table holds, and the commands that make it.

use crate::client::push_command;

use super::Section;

/// Elements of a small collection, which servers pack, and of a large one, which none does any more.
pub const SMALL: u64 = 10;
const LARGE: u64 = 10_000;

/// Elements that one command adds at most.
const AT_ONCE: u64 = 100;

/// Seconds that keys with an expiry have: longer than any run.
const EXPIRY: &str = "1000000";

/// Whether keys have an expiry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    Forever,
    Expiring,
}

/// Keys of one type and size. Their names have 16 bytes.
#[derive(Clone, Copy)]
pub struct Shape {
    pub section: Section,
    pub name: &'static str,
    /// What adds elements to a key.
    pub command: &'static str,
    /// Elements of one key; a string is one.
    pub elements: u64,
    /// Elements that one command takes.
    at_once: u64,
    /// Appends element `nth` of key number `key` to the words of a command.
    element: fn(key: u64, nth: u64, words: &mut Vec<String>),
}

const fn string(name: &'static str, element: fn(u64, u64, &mut Vec<String>)) -> Shape {
    Shape { section: Section::Strings, name, command: "SET", elements: 1, at_once: 1, element }
}

const fn collection(
    section: Section,
    command: &'static str,
    names: [&'static str; 2],
    element: fn(u64, u64, &mut Vec<String>),
) -> [Shape; 2] {
    let [small, large] = names;
    let shape = Shape { section, name: small, command, elements: SMALL, at_once: AT_ONCE, element };
    [shape, Shape { name: large, elements: LARGE, ..shape }]
}

const HASHES: [Shape; 2] = collection(
    Section::Hashes,
    "HSET",
    ["hash of 10: fields of 8 B, values of 16", "hash of 10k: fields of 8 B, values of 16"],
    |_, nth, words| words.extend([format!("f{nth:07}"), text(nth, 16)]),
);
const LISTS: [Shape; 2] = collection(
    Section::Lists,
    "RPUSH",
    ["list of 10: elements of 16 B", "list of 10k: elements of 16 B"],
    |_, nth, words| words.push(text(nth, 16)),
);
const SETS: [Shape; 2] = collection(
    Section::Sets,
    "SADD",
    ["set of 10: members of 16 B", "set of 10k: members of 16 B"],
    |_, nth, words| words.push(text(nth, 16)),
);
const INTEGER_SETS: [Shape; 2] = collection(
    Section::Sets,
    "SADD",
    ["set of 10: integers below 2³²", "set of 10k: integers below 2³²"],
    |_, nth, words| words.push(scattered(nth).to_string()),
);
const SORTED_SETS: [Shape; 2] = collection(
    Section::SortedSets,
    "ZADD",
    ["sorted set of 10: members of 16 B", "sorted set of 10k: members of 16 B"],
    |_, nth, words| words.extend([scattered(nth).to_string(), text(nth, 16)]),
);
const STREAMS: [Shape; 2] = collection(
    Section::Streams,
    "XADD",
    ["stream of 10: one field of 8 B, 16 B", "stream of 10k: one field of 8 B, 16 B"],
    |_, nth, words| words.extend(["*".into(), "field-00".into(), text(nth, 16)]),
);

pub const SHAPES: [Shape; 17] = [
    string("string of 8 B", |key, _, words| words.push(text(key, 8))),
    string("string of 32 B", |key, _, words| words.push(text(key, 32))),
    string("string of 100 B", |key, _, words| words.push(text(key, 100))),
    string("string of 1000 B", |key, _, words| words.push(text(key, 1000))),
    string("integer below 2³²", |key, _, words| words.push(scattered(key).to_string())),
    HASHES[0],
    HASHES[1],
    LISTS[0],
    LISTS[1],
    SETS[0],
    SETS[1],
    INTEGER_SETS[0],
    INTEGER_SETS[1],
    SORTED_SETS[0],
    SORTED_SETS[1],
    one_by_one(STREAMS[0]),
    one_by_one(STREAMS[1]),
];

/// For a command that adds one element.
const fn one_by_one(shape: Shape) -> Shape {
    Shape { at_once: 1, ..shape }
}

/// `size` bytes that are no number and differ by `nth`.
fn text(nth: u64, size: usize) -> String {
    format!("{nth:07x}{}", "v".repeat(size - 7))
}

/// A permutation of the numbers below 2³²: neighbours are far apart.
fn scattered(nth: u64) -> u32 {
    (nth as u32).wrapping_mul(0x9e37_79b1)
}

impl Shape {
    /// What an expiry takes is the key's: it vanishes among many elements.
    pub fn lastings(&self) -> &'static [Lasting] {
        if self.elements > SMALL { &[Lasting::Forever] } else { &[Lasting::Forever, Lasting::Expiring] }
    }

    pub fn title(&self, lasting: Lasting) -> String {
        match lasting {
            Lasting::Forever => self.name.to_owned(),
            Lasting::Expiring => format!("{}, with TTL", self.name),
        }
    }

    /// Appends the commands that make key number `key`; returns how many they are.
    pub fn write(&self, key: u64, lasting: Lasting, out: &mut Vec<u8>) -> usize {
        let name = format!("key:{key:012}");
        let mut requests = 0;
        for first in (0..self.elements).step_by(self.at_once as usize) {
            let mut words = vec![self.command.to_owned(), name.clone()];
            for nth in first..self.elements.min(first + self.at_once) {
                (self.element)(key, nth, &mut words);
            }
            push_command(out, &words);
            requests += 1;
        }
        if lasting == Lasting::Expiring {
            push_command(out, &["EXPIRE", &name, EXPIRY]);
            requests += 1;
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_whole() {
        for shape in SHAPES {
            for &lasting in shape.lastings() {
                let mut out = Vec::new();
                let requests = shape.write(7, lasting, &mut out);
                let text = String::from_utf8(out).expect("ASCII");
                assert_eq!(
                    text.lines().filter(|line| line.starts_with('*') && line.len() > 1).count(),
                    requests
                );
                assert_eq!(text.matches("key:000000000007").count(), requests);
                let fixed = if lasting == Lasting::Expiring { requests - 1 } else { requests };
                assert_eq!(text.matches(shape.command).count(), fixed, "{}", shape.name);
                assert_eq!(text.contains("EXPIRE"), lasting == Lasting::Expiring);
            }
        }
        assert_eq!(text(0xabc, 8), "0000abcv");
        assert_ne!(scattered(1), scattered(2));
    }
}
