//! What may differ between Torc and the reference, and why: the whole list. Everything else compares byte for byte.

use crate::generate::Args;
use crate::reply::Reply;

/// How two replies of one command are compared instead of byte for byte. Errors always compare exactly,
/// except under `Shape`, and an error never equals a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Both integers, or both the same; or arrays of such.
    AnyInt,
    /// Integers at most so far apart; negative ones (no key, no expiry) exact.
    Near(i64),
    /// As `Near`, but exact between the years 2096 and 2130: there the generator puts its absolute times.
    NearTime(i64),
    /// Both strings, or both the same: the text is the server's own.
    AnyText,
    /// The same elements in any order.
    Unordered,
    /// The same pairs in any order; where the value is one of these fields', it may be another.
    Fields(&'static [&'static str]),
    /// Text made of `field:value` or `field=value` words: the peer's fields must all be there, and these may differ.
    Words(&'static [&'static str]),
    /// Aggregates and kinds agree, down to the elements' kinds; texts do not matter.
    Shape,
    /// Both answered, neither with an error.
    Answered,
}

pub struct Allowed {
    /// Command and subcommand in upper case.
    pub command: &'static str,
    pub rule: Rule,
    pub reason: &'static str,
}

const LAG: i64 = 5_000;

const fn allow(command: &'static str, rule: Rule, reason: &'static str) -> Allowed {
    Allowed { command, rule, reason }
}

pub const ALLOWED: &[Allowed] = &[
    allow("TTL", Rule::Near(LAG / 1000), "the servers run one after the other"),
    allow("PTTL", Rule::Near(LAG), "the servers run one after the other"),
    allow("EXPIRETIME", Rule::NearTime(LAG / 1000), "a relative expiry counts from each server's own now"),
    allow("PEXPIRETIME", Rule::NearTime(LAG), "a relative expiry counts from each server's own now"),
    allow("OBJECT IDLETIME", Rule::Near(LAG / 1000), "counts seconds from each server's own now"),
    allow(
        "OBJECT REFCOUNT",
        Rule::AnyInt,
        "which small integers are shared is an economy of the reference's own",
    ),
    allow("KEYS", Rule::Unordered, "the order of keys is unspecified"),
    allow("SCAN", Rule::Shape, "cursors and pages are a server's own; whole scans compare as sets"),
    allow("RANDOMKEY", Rule::AnyText, "random"),
    allow("ROLE", Rule::AnyInt, "the log's offset, which counts whether anybody follows or not"),
    allow("TIME", Rule::Shape, "each server's own clock"),
    allow("CLIENT ID", Rule::AnyInt, "connections are numbered by each server"),
    allow("CLIENT INFO", Rule::Words(CLIENT_FIELDS), "addresses, ages and buffers are the connection's own"),
    allow("CLIENT LIST", Rule::Words(CLIENT_FIELDS), "addresses, ages and buffers are the connection's own"),
    allow("HELLO", Rule::Fields(&["server", "version", "id", "mode", "modules"]), "names another server"),
    allow("COMMAND COUNT", Rule::AnyInt, "commands of other families come later"),
    allow("CONFIG GET", Rule::Fields(&[]), "the order of settings is unspecified"),
    allow("MEMORY DOCTOR", Rule::AnyText, "advice in our own words"),
    allow("MEMORY MALLOC-STATS", Rule::Answered, "another allocator"),
    allow("MEMORY STATS", Rule::Answered, "another allocator, and other parts to count"),
    allow("MEMORY USAGE", Rule::AnyInt, "a smaller figure is the point of the slot table"),
    allow("LOLWUT", Rule::AnyText, "no art here: the version line alone"),
    allow("SLOWLOG LEN", Rule::AnyInt, "which command was slow depends on the machine"),
    allow(
        "DEBUG OBJECT",
        Rule::Words(&["at", "refcount", "lru", "lru_seconds_idle"]),
        "an address, who else holds the object, and two clocks",
    ),
    allow("CLIENT HELP", Rule::Shape, "help texts are our own words"),
    allow("COMMAND HELP", Rule::Shape, "help texts are our own words"),
    allow("CONFIG HELP", Rule::Shape, "help texts are our own words"),
    allow("LATENCY HELP", Rule::Shape, "help texts are our own words"),
    allow("MODULE HELP", Rule::Shape, "help texts are our own words"),
    allow("MEMORY HELP", Rule::Shape, "help texts are our own words"),
    allow("OBJECT HELP", Rule::Shape, "help texts are our own words"),
    allow("SLOWLOG HELP", Rule::Shape, "help texts are our own words"),
];

/// Fields of CLIENT LIST that belong to a connection, not to what was sent over it.
const CLIENT_FIELDS: &[&str] = &[
    "id",
    "addr",
    "laddr",
    "fd",
    "age",
    "idle",
    "qbuf",
    "qbuf-free",
    "argv-mem",
    "multi-mem",
    "rbs",
    "rbp",
    "obl",
    "oll",
    "omem",
    "tot-mem",
    "events",
    "flags",
];

/// The rule for a command; `None` compares bytes.
pub fn rule(args: &Args) -> Option<Rule> {
    let word = |index: usize| args.get(index).map(|word| word.to_ascii_uppercase());
    let (first, second) = (word(0)?, word(1).unwrap_or_default());
    let pair = [&first[..], b" ", &second[..]].concat();
    let entry = ALLOWED.iter().find(|entry| {
        let command = entry.command.as_bytes();
        command == first || command == pair
    });
    entry.map(|entry| entry.rule)
}

/// Whether `ours` is what `theirs`, the peer's reply to `args`, allows.
pub fn agree(args: &Args, theirs: &Reply, ours: &Reply) -> bool {
    theirs == ours || errors_agree(theirs, ours) || rule(args).is_some_and(|rule| rule.agree(theirs, ours))
}

/// The reference words its errors with C strings, in which a quoted argument ends at a zero byte; ours may show more.
fn errors_agree(theirs: &Reply, ours: &Reply) -> bool {
    let (Reply::Error(theirs), Reply::Error(ours)) = (theirs, ours) else { return false };
    let mut zero = false;
    let mut cut = ours.clone();
    cut.retain(|byte| {
        zero = (zero || *byte == 0) && *byte != b'\'';
        !zero
    });
    cut.len() < ours.len() && cut == *theirs
}

/// The years 2096 to 2130, in seconds. Relative expiries end before, 2^31 seconds from now the last of them, or milliseconds
/// short of overflowing.
const ABSOLUTE: std::ops::Range<i64> = 3_976_214_400..5_049_216_000;

impl Rule {
    pub fn agree(self, theirs: &Reply, ours: &Reply) -> bool {
        match (self, theirs, ours) {
            (Rule::AnyInt, Reply::Int(_), Reply::Int(_)) => true,
            (Rule::AnyInt, Reply::Array(a), Reply::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || self.agree(a, b))
            }
            (Rule::Near(lag), Reply::Int(a), Reply::Int(b)) => *a >= 0 && *b >= 0 && (a - b).abs() <= lag,
            (Rule::NearTime(lag), Reply::Int(a), Reply::Int(b)) => {
                let unit = if lag == LAG { 1000 } else { 1 };
                *a >= 0 && *b >= 0 && !ABSOLUTE.contains(&(a / unit)) && (a - b).abs() <= lag
            }
            (Rule::AnyText, Reply::Bulk(_), Reply::Bulk(_)) => true,
            (Rule::AnyText, Reply::Verbatim(_), Reply::Verbatim(_)) => true,
            (Rule::Unordered, Reply::Array(a), Reply::Array(b)) => sorted(a) == sorted(b),
            (Rule::Fields(free), Reply::Map(a), Reply::Map(b))
            | (Rule::Fields(free), Reply::Array(a), Reply::Array(b)) => pairs(a, free) == pairs(b, free),
            (Rule::Words(free), a, b) => match (a.bytes(), b.bytes()) {
                (Some(a), Some(b)) => same_kind(theirs, ours) && words_agree(a, b, free),
                _ => false,
            },
            (Rule::Shape, a, b) => shape(a, b),
            (Rule::Answered, a, b) => !a.is_error() && !b.is_error(),
            _ => false,
        }
    }
}

fn same_kind(a: &Reply, b: &Reply) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn sorted(items: &[Reply]) -> Vec<&Reply> {
    let mut items: Vec<&Reply> = items.iter().collect();
    items.sort();
    items
}

/// Keys and values as sorted pairs, the values of `free` fields left out.
fn pairs<'a>(items: &'a [Reply], free: &[&str]) -> Vec<(&'a Reply, Option<&'a Reply>)> {
    let value = |pair: &'a [Reply]| {
        let is_free = free.iter().any(|field| pair[0].bytes() == Some(field.as_bytes()));
        if is_free { None } else { pair.get(1) }
    };
    let mut pairs: Vec<_> = items.chunks(2).map(|pair| (&pair[0], value(pair))).collect();
    pairs.sort();
    pairs
}

/// Lines and words in parallel; ours may have fields more than theirs, at any place of the line.
fn words_agree(theirs: &[u8], ours: &[u8], free: &[&str]) -> bool {
    let (theirs, ours) = (String::from_utf8_lossy(theirs), String::from_utf8_lossy(ours));
    if theirs.lines().count() != ours.lines().count() {
        return false;
    }
    theirs.lines().zip(ours.lines()).all(|(theirs, ours)| {
        let ours: Vec<&str> = ours.split(' ').collect();
        theirs.split(' ').all(|word| {
            let field = word.split([':', '=']).next().unwrap_or(word);
            let named = |other: &&&str| other.split([':', '=']).next() == Some(field);
            match ours.iter().find(named) {
                Some(other) => free.contains(&field) || *other == word,
                None => false,
            }
        })
    })
}

fn shape(a: &Reply, b: &Reply) -> bool {
    if a.is_error() || b.is_error() {
        return a == b;
    }
    // How many elements depends on the texts, on pages and on clocks; of which kind they are does not.
    same_kind(a, b) && a.elements().iter().zip(b.elements()).all(|(a, b)| shape(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn rules_let_through_what_they_name_and_nothing_else() {
        let text = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        assert!(agree(&args("ttl a"), &Reply::Int(100), &Reply::Int(99)));
        assert!(!agree(&args("ttl a"), &Reply::Int(100), &Reply::Int(-1)));
        assert!(!agree(
            &args("PEXPIRETIME a"),
            &Reply::Int(4_000_000_000_000),
            &Reply::Int(4_000_000_000_001)
        ));
        assert!(agree(
            &args("KEYS *"),
            &Reply::Array(vec![text("a"), text("b")]),
            &Reply::Array(vec![text("b"), text("a")])
        ));
        assert!(!agree(&args("GET a"), &text("1"), &text("2")));
        let role = |role: &str, offset: i64| Reply::Array(vec![text(role), Reply::Int(offset)]);
        assert!(agree(&args("ROLE"), &role("master", 0), &role("master", 7)));
        assert!(!agree(&args("ROLE"), &role("master", 0), &role("slave", 0)));
        assert!(agree(&args("client info"), &text("id=1 db=0"), &text("id=7 db=0 lib-name=")));
        assert!(!agree(&args("client info"), &text("id=1 db=0"), &text("id=7 db=1")));
        assert!(!agree(&args("client info"), &text("id=1 db=0"), &text("id=7")));
        let error = |text: &str| Reply::Error(text.as_bytes().to_vec());
        assert!(agree(&args("x"), &error("ERR 'a' bad"), &error("ERR 'a\0b' bad")));
        assert!(!agree(&args("x"), &error("ERR 'a' bad"), &error("ERR 'ab' bad")));
    }

    #[test]
    fn every_entry_gives_its_reason_once() {
        for (index, entry) in ALLOWED.iter().enumerate() {
            assert!(!entry.reason.is_empty());
            assert!(ALLOWED[..index].iter().all(|other| other.command != entry.command), "{}", entry.command);
        }
    }
}
