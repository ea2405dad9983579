//! KEYS and SCAN: how their options read and which entries a slice of the walk shows. Who walks, slice by
//! slice and shard after shard, is the coordinator's business.

use super::generic::kind_name;
use super::{Args, Categories, Command, Data, Flags, Run, Walk};
use crate::resp::{Refusal, glob_match};

pub const COMMANDS: &[Command] = &[KEYS, SCAN];

const KEYS: Command = Command {
    name: "keys",
    full_name: "keys",
    arity: 2,
    flags: Flags::READONLY,
    run: Run::Walk(Walk::Keys),
    extra_categories: Categories::KEYSPACE.union(Categories::DANGEROUS),
    summary: "Names all keys that match a pattern.",
    complexity: "O(N) in the number of keys of the database",
    syntax: "pattern",
    tips: &["request_policy:all_shards", "nondeterministic_output_order"],
    ..Command::BASE
};

const SCAN: Command = Command {
    name: "scan",
    full_name: "scan",
    arity: -2,
    flags: Flags::READONLY,
    run: Run::Walk(Walk::Scan),
    extra_categories: Categories::KEYSPACE,
    since: "2.8.0",
    summary: "Names the keys of a database, some at each call.",
    complexity: "O(1) a call, O(N) in the number of keys for all calls of an iteration",
    syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
    tips: &["nondeterministic_output", "request_policy:special"],
    ..Command::BASE
};

/// Which keys a walk shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    pattern: Option<&'a [u8]>,
    /// The name of a type as given; one that no type has matches nothing.
    kind: Option<&'a [u8]>,
}

impl<'a> Filter<'a> {
    pub fn pattern(pattern: &'a [u8]) -> Self {
        // The pattern that scripts use most costs nothing.
        Filter { pattern: (pattern != b"*").then_some(pattern), kind: None }
    }
}

/// The arguments of one SCAN call.
#[derive(Clone, Copy, Debug)]
pub struct ScanCall<'a> {
    pub cursor: u64,
    /// How many entries to visit, at least 1.
    pub count: usize,
    pub filter: Filter<'a>,
}

impl<'a> ScanCall<'a> {
    /// `args` stands behind the command's name.
    pub fn parse(args: &mut Args<'a>) -> Result<Self, Refusal> {
        /// Entries visited unless the client asks for more.
        const DEFAULT_COUNT: usize = 10;
        let cursor = parse_cursor(args.take()?).ok_or(Refusal::err("invalid cursor"))?;
        let mut call = ScanCall { cursor, count: DEFAULT_COUNT, filter: Filter::default() };
        while args.remaining() >= 2 {
            if args.option("count") {
                let count = args.int()?;
                call.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Refusal::Syntax)?;
            } else if args.option("match") {
                call.filter.pattern = Filter::pattern(args.take()?).pattern;
            } else if args.option("type") {
                call.filter.kind = Some(args.take()?);
            } else {
                return Err(Refusal::Syntax);
            }
        }
        args.finish()?;
        Ok(call)
    }
}

/// Reads a cursor as C's `strtoul` does, which the reference server uses: nothing at all is 0, a sign is fine
/// and a minus negates modulo 2^64, what follows a zero byte is not seen; white space in front is refused.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let value = digits.iter().try_fold(0, add)?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// Visits about `budget` entries of one shard's database from `cursor` on, names those that `filter` shows to
/// `emit`, and returns the next cursor: 0 at the end. Keys whose time is up are passed over.
pub fn walk_step(
    data: &Data,
    db: usize,
    now: i64,
    cursor: u64,
    budget: usize,
    filter: &Filter,
    emit: &mut dyn FnMut(&[u8]),
) -> u64 {
    data.keyspace.scan(db, cursor, budget, &mut |entry| {
        let key = entry.key();
        let matches = filter.pattern.is_none_or(|pattern| glob_match(pattern, key, false));
        let kind = || kind_name(entry.kind()).as_bytes();
        let of_kind = filter.kind.is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind()));
        if matches && of_kind && entry.expire().is_none_or(|at| at > now) {
            emit(key);
        }
    })
}
