//! KEYS and SCAN: how their options read, what a walk visits slice by slice and shard after shard, and which
//! entries it shows. Getting from shard to shard is the coordinator's business.

use super::generic::kind_name;
use super::{Args, Categories, Command, Data, Flags, Run, Walk};
use crate::keyspace::{Entry, Keyspace, Ring};
use crate::limits;
use crate::resp::{Refusal, Reply, glob_match};

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
#[derive(Clone, Debug, Default)]
pub struct WalkFilter {
    pattern: Option<Vec<u8>>,
    /// The name of a type as given; one that no type has matches nothing.
    kind: Option<Vec<u8>>,
}

impl WalkFilter {
    fn set_pattern(&mut self, pattern: &[u8]) {
        // What scripts ask for most costs nothing.
        self.pattern = (pattern != b"*").then(|| pattern.to_vec());
    }

    fn shows(&self, entry: &Entry) -> bool {
        let matches = |pattern: &Vec<u8>| glob_match(pattern, entry.key(), false);
        let is_kind = |kind: &Vec<u8>| kind.eq_ignore_ascii_case(kind_name(entry.kind()).as_bytes());
        self.pattern.as_ref().is_none_or(matches) && self.kind.as_ref().is_none_or(is_kind)
    }
}

/// A walk over the shards' keys: what to visit next, and what has been found so far. Cursor 0 is both the
/// first slot's start and the end of all slots.
#[derive(Debug)]
pub struct WalkPlan {
    kind: Walk,
    filter: WalkFilter,
    cursor: u64,
    /// Past the last slot.
    ended: bool,
    /// Entries still to be visited.
    left: usize,
    keys: Vec<Vec<u8>>,
}

impl WalkPlan {
    /// KEYS; `args` stands behind the command's name.
    pub fn keys(args: &mut Args) -> Result<Self, Refusal> {
        let mut plan = WalkPlan::new(Walk::Keys, 0, usize::MAX);
        plan.filter.set_pattern(args.take()?);
        Ok(plan)
    }

    /// One call of SCAN; `args` stands behind the command's name.
    pub fn scan(args: &mut Args) -> Result<Self, Refusal> {
        /// Entries visited unless the client asks for more.
        const DEFAULT_COUNT: usize = 10;
        let cursor = parse_cursor(args.take()?).ok_or(Refusal::err("invalid cursor"))?;
        let mut plan = WalkPlan::new(Walk::Scan, cursor, DEFAULT_COUNT);
        while args.remaining() >= 2 {
            if args.option("count") {
                let count = args.int()?;
                plan.left = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Refusal::Syntax)?;
            } else if args.option("match") {
                plan.filter.set_pattern(args.take()?);
            } else if args.option("type") {
                plan.filter.kind = Some(args.take()?.to_vec());
            } else {
                return Err(Refusal::Syntax);
            }
        }
        args.finish()?;
        Ok(plan)
    }

    fn new(kind: Walk, cursor: u64, left: usize) -> Self {
        // Clients may make cursors up.
        let ended = Keyspace::slot_at(cursor).is_none();
        WalkPlan { kind, filter: WalkFilter::default(), cursor, ended, left, keys: Vec::new() }
    }

    pub fn filter(&self) -> &WalkFilter {
        &self.filter
    }

    fn home(&self, ring: Ring) -> usize {
        ring.home(Keyspace::slot_at(self.cursor).expect("a walk that has not ended stands in a slot"))
    }

    fn budget(&self) -> usize {
        self.left.min(limits::WALK_SLICE)
    }

    /// The shard to visit next, from which cursor on, and how many entries to look at; `None` when done.
    pub fn next(&self, ring: Ring) -> Option<(usize, u64, usize)> {
        (!self.ended && self.left > 0).then(|| (self.home(ring), self.cursor, self.budget()))
    }

    /// Takes in what a visit found, and where on its shard it stopped (0: at the end).
    pub fn absorb(&mut self, mut keys: Vec<Vec<u8>>, cursor: u64, ring: Ring) {
        if cursor != 0 {
            self.left -= self.budget();
            self.cursor = cursor;
        } else {
            // How many entries the shard's rest held is unknown; counting those shown lets a call go on to the
            // next shard, so that a small database is scanned by one call however many shards there are.
            self.left = self.left.saturating_sub(keys.len());
            let next = self.home(ring) + 1;
            self.ended = next == ring.shards();
            self.cursor = if self.ended { 0 } else { Keyspace::cursor_at(ring.slots(next).start as u16) };
        }
        self.keys.append(&mut keys);
    }

    pub fn reply(&self, reply: &mut Reply) {
        if self.kind == Walk::Scan {
            let cursor = if self.ended { 0 } else { self.cursor };
            reply.array(2);
            reply.bulk(itoa::Buffer::new().format(cursor).as_bytes());
        }
        reply.array(self.keys.len());
        self.keys.iter().for_each(|key| reply.bulk(key));
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
    filter: &WalkFilter,
    emit: &mut dyn FnMut(&[u8]),
) -> u64 {
    data.keyspace.scan(db, cursor, budget, &mut |entry| {
        if entry.expire().is_none_or(|at| at > now) && filter.shows(&entry) {
            emit(entry.key());
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{WalkPlan, parse_cursor};
    use crate::commands::testing::Shell;
    use crate::keyspace::Ring;

    #[test]
    fn cursors_read_as_the_reference_reads_them() {
        let cases: [(&[u8], Option<u64>); 12] = [
            (b"0", Some(0)),
            (b"", Some(0)),
            (b"+5", Some(5)),
            (b"-1", Some(u64::MAX)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"7\0x", Some(7)),
            (b" 1", None),
            (b"1 ", None),
            (b"-", None),
            (b"--1", None),
            (b"x", None),
        ];
        cases.into_iter().for_each(|(text, value)| assert_eq!(parse_cursor(text), value, "{text:?}"));
    }

    #[test]
    fn scan_refuses_bad_options() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("scan x count"), "-ERR invalid cursor");
        assert_eq!(shell.run("scan 0 count x"), "-ERR value is not an integer or out of range");
        for line in ["scan 0 count 0", "scan 0 count -1", "scan 0 match", "scan 0 what 1", "scan 0 count 1 x"]
        {
            assert_eq!(shell.run(line), "-ERR syntax error", "{line}");
        }
        assert_eq!(shell.run("scan -1"), "*2 $1 0 *0");
    }

    #[test]
    fn filters_show_what_matches_and_has_not_expired() {
        let mut shell = Shell::new();
        shell.run("mset one 1 two 2 three 3");
        shell.run("set four 4 px 5");
        shell.now += 5;
        assert_eq!(shell.run("keys t*o"), "*1 $3 two");
        assert_eq!(shell.run("keys f*"), "*0");
        assert_eq!(shell.run("keys *").matches('$').count(), 3);
        assert_eq!(shell.run("scan 0 match one type STRING"), "*2 $1 0 *1 $3 one");
        assert_eq!(shell.run("scan 0 type hash"), "*2 $1 0 *0");
        assert_eq!(shell.run("scan 0 type nosuchtype match one"), "*2 $1 0 *0");
    }

    #[test]
    fn a_whole_iteration_names_every_key() {
        let mut shell = Shell::new();
        let mut wanted = BTreeSet::new();
        for number in 0..3000 {
            shell.run(&format!("set key:{number} x"));
            wanted.insert(format!("key:{number}"));
        }
        let (mut cursor, mut seen, mut calls) = (String::from("0"), BTreeSet::new(), 0);
        loop {
            let reply = shell.run(&format!("scan {cursor} count 100"));
            let mut words = reply.split(' ').filter(|word| !word.starts_with(['*', '$']));
            cursor = words.next().expect("a cursor comes first").to_owned();
            seen.extend(words.map(str::to_owned));
            calls += 1;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen, wanted);
        assert!((25..=40).contains(&calls), "{calls} calls of about 100 entries each");
        assert_eq!(shell.run("keys *").matches("key:").count(), 3000);
    }

    #[test]
    fn a_small_database_is_scanned_by_one_call_over_all_shards() {
        let ring = Ring::new(5);
        let mut plan = WalkPlan::new(super::Walk::Scan, 0, 10);
        let mut visited = Vec::new();
        while let Some((shard, _, budget)) = plan.next(ring) {
            visited.push((shard, budget));
            plan.absorb(vec![b"k".to_vec()], 0, ring);
        }
        assert_eq!(visited, [(0, 10), (1, 9), (2, 8), (3, 7), (4, 6)]);
        let mut out = Vec::new();
        plan.reply(&mut crate::resp::Reply::new(&mut out, false));
        assert!(out.starts_with(b"*2\r\n$1\r\n0\r\n*5\r\n"));
    }
}
