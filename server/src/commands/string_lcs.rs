//! LCS: the longest common subsequence of two strings.
//!
//! Equals the reference server's table of lengths, `L[i][j]` for the first i bytes of the first string and the
//! first j of the second, but keeps only one bit of each cell: whether `L[i][j]` is greater than `L[i][j-1]`.
//! A row follows from the one above by an addition over machine words (bit-parallel LCS, Crochemore and
//! others 2001), and the way back needs no more than those bits: where two bytes differ, `L[i-1][j]` is
//! greater than `L[i][j-1]` exactly if the bit is set.

use super::{Args, Carry, Categories, Command, Ctx, Flags, Group, KeyFlags, KeySpec, Next, Run, Visit};
use crate::keyspace::Key;
use crate::resp::{Refusal, Reply};

pub const COMMANDS: &[Command] = &[LCS];

const LCS: Command = Command {
    name: "lcs",
    full_name: "lcs",
    arity: -3,
    flags: Flags::READONLY,
    keys: &[KeySpec::between(1, 2, KeyFlags::RO.union(KeyFlags::ACCESS))],
    run: Run::Steps(lcs),
    group: Group::String,
    extra_categories: Categories::STRING,
    since: "7.0.0",
    summary: "Finds the longest common subsequence of two strings.",
    complexity: "O(N*M/64) where N and M are the lengths of the strings",
    syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
    ..Command::BASE
};

/// First argument behind the keys.
const OPTIONS: usize = 3;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    min_match_len: i64,
    with_match_len: bool,
}

/// Fetches both strings and the limit of their table, then computes where the session is.
fn lcs(step: usize, args: &mut Args, carries: Vec<Carry>, reply: &mut Reply) -> Result<Next, Refusal> {
    if step == 0 {
        let visit = |key, act| Visit { key, db: None, act, carry: Carry::Nothing };
        return Ok(Next::Visit(vec![visit(1, fetch), visit(2, fetch), visit(1, limit)]));
    }
    let [Carry::Bytes(a), Carry::Bytes(b), Carry::Int(limit)] = &carries[..] else {
        unreachable!("the visits bring two strings and a limit")
    };
    let options = options(args)?;
    // Bytes of the table as the reference server would lay it out: 4 a cell.
    let table = (a.len() as u64 + 1).saturating_mul(b.len() as u64 + 1).saturating_mul(4);
    if table > *limit as u64 {
        return Err(Refusal::err("Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
    }
    if options.len {
        reply.int(Table::last_row(a, b).len() as i64);
    } else if options.idx {
        reply_matches(a, b, &options, reply);
    } else {
        reply.bulk(&Table::whole(a, b).subsequence());
    }
    Ok(Next::Done)
}

fn options(args: &mut Args) -> Result<Options, Refusal> {
    let mut options = Options::default();
    args.seek(OPTIONS);
    while !args.is_empty() {
        if args.option("idx") {
            options.idx = true;
        } else if args.option("len") {
            options.len = true;
        } else if args.option("withmatchlen") {
            options.with_match_len = true;
        } else if args.remaining() >= 2 && args.option("minmatchlen") {
            options.min_match_len = args.int()?;
        } else {
            return Err(Refusal::Syntax);
        }
    }
    if options.idx && options.len {
        return Err(Refusal::err("If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

/// Brings back the string, an empty one if the key is missing.
fn fetch(ctx: &mut Ctx, key: &Key, _: Carry) -> Result<Carry, Refusal> {
    let value =
        ctx.read_string(key).map_err(|_| Refusal::err("The specified keys must contain string values"))?;
    let bytes = value.map_or(Vec::new(), |value| value.to_bytes(&mut itoa::Buffer::new()).to_vec());
    Ok(Carry::Bytes(bytes))
}

/// Brings back the longest string allowed, which bounds the table, too.
fn limit(ctx: &mut Ctx, _: &Key, _: Carry) -> Result<Carry, Refusal> {
    Ok(Carry::Int(ctx.data.max_string as i64))
}

fn reply_matches(a: &[u8], b: &[u8], options: &Options, reply: &mut Reply) {
    let table = Table::whole(a, b);
    let shown = |found: &&Match| found.len() as i64 >= options.min_match_len;
    let matches = table.matches();
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.iter().filter(shown).count());
    for found in matches.iter().filter(shown) {
        reply.array(2 + usize::from(options.with_match_len));
        for (first, last) in [found.a, found.b] {
            reply.array(2);
            reply.int(first as i64);
            reply.int(last as i64);
        }
        if options.with_match_len {
            reply.int(found.len() as i64);
        }
    }
    reply.bulk(b"len");
    reply.int(table.len() as i64);
}

/// A run of bytes that are common and neighbours in both strings: first and last index in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    a: (usize, usize),
    b: (usize, usize),
}

impl Match {
    fn len(&self) -> usize {
        self.a.1 - self.a.0 + 1
    }
}

struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// Words of one row.
    words: usize,
    /// Row after row, from the second on (the first is all zero): bit j-1 is *clear* where `L[i][j] > L[i][j-1]`.
    rows: Vec<u64>,
}

impl<'a> Table<'a> {
    fn whole(a: &'a [u8], b: &'a [u8]) -> Self {
        let mut table = Table { a, b, words: b.len().div_ceil(64), rows: Vec::new() };
        table.rows.reserve_exact(table.words * a.len());
        let masks = Masks::new(a, b);
        let mut row = vec![u64::MAX; table.words];
        for byte in a {
            advance(&mut row, masks.of(*byte));
            table.rows.extend_from_slice(&row);
        }
        table
    }

    /// Only the last row: enough for the length.
    fn last_row(a: &'a [u8], b: &'a [u8]) -> Self {
        let masks = Masks::new(a, b);
        let mut row = vec![u64::MAX; b.len().div_ceil(64)];
        a.iter().for_each(|byte| advance(&mut row, masks.of(*byte)));
        Table { a, b, words: row.len(), rows: row }
    }

    /// The length of the subsequence.
    fn len(&self) -> usize {
        let last = &self.rows[self.rows.len().saturating_sub(self.words)..];
        // Bits past the end of `b` match nothing and stay set.
        last.iter().map(|word| word.count_zeros() as usize).sum()
    }

    fn rises(&self, i: usize, j: usize) -> bool {
        self.rows[(i - 1) * self.words + (j - 1) / 64] >> ((j - 1) % 64) & 1 == 0
    }

    /// The pairs of indexes of the subsequence's bytes, from the last to the first.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        std::iter::from_fn(move || {
            while i > 0 && j > 0 {
                if self.a[i - 1] == self.b[j - 1] {
                    (i, j) = (i - 1, j - 1);
                    return Some((i, j));
                }
                if self.rises(i, j) { i -= 1 } else { j -= 1 }
            }
            None
        })
    }

    fn subsequence(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.pairs().map(|(i, _)| self.a[i]).collect();
        bytes.reverse();
        bytes
    }

    /// The pairs joined to runs, from the last to the first.
    fn matches(&self) -> Vec<Match> {
        let mut matches: Vec<Match> = Vec::new();
        for (i, j) in self.pairs() {
            match matches.last_mut() {
                Some(run) if run.a.0 == i + 1 && run.b.0 == j + 1 => (run.a.0, run.b.0) = (i, j),
                _ => matches.push(Match { a: (i, i), b: (j, j) }),
            }
        }
        matches
    }
}

/// For each byte of the first string, where it stands in the second, as bits.
struct Masks {
    words: usize,
    /// Where a byte's mask starts in `bits`; bytes the first string lacks have none, which bounds memory by
    /// an eighth of the cells.
    start: [u32; 256],
    bits: Vec<u64>,
}

impl Masks {
    const NONE: u32 = u32::MAX;

    fn new(a: &[u8], b: &[u8]) -> Self {
        let mut masks = Masks { words: b.len().div_ceil(64), start: [Self::NONE; 256], bits: Vec::new() };
        for byte in a {
            let start = &mut masks.start[*byte as usize];
            if *start == Self::NONE {
                *start = masks.bits.len() as u32;
                masks.bits.resize(masks.bits.len() + masks.words, 0);
            }
        }
        for (j, byte) in b.iter().enumerate() {
            let start = masks.start[*byte as usize];
            if start != Self::NONE {
                masks.bits[start as usize + j / 64] |= 1 << (j % 64);
            }
        }
        masks
    }

    fn of(&self, byte: u8) -> &[u64] {
        let start = self.start[byte as usize] as usize;
        &self.bits[start..start + self.words]
    }
}

/// Turns row i-1 into row i, given where the i-th byte of the first string stands in the second.
fn advance(row: &mut [u64], mask: &[u64]) {
    let mut carry = false;
    for (word, mask) in row.iter_mut().zip(mask) {
        let matched = *word & mask;
        let (sum, overflow) = word.overflowing_add(matched);
        let (sum, more) = sum.overflowing_add(u64::from(carry));
        carry = overflow || more;
        *word = sum | (*word & !mask);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Match, Table};
    use crate::commands::testing::Shell;

    /// The definition, cell by cell, and the reference's way back through it.
    fn slow(a: &[u8], b: &[u8]) -> (usize, Vec<Match>) {
        let mut lengths = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                lengths[i][j] = if a[i - 1] == b[j - 1] {
                    lengths[i - 1][j - 1] + 1
                } else {
                    lengths[i - 1][j].max(lengths[i][j - 1])
                };
            }
        }
        let (mut i, mut j) = (a.len(), b.len());
        let mut matches: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                match matches.last_mut() {
                    Some(run) if run.a.0 == i && run.b.0 == j => (run.a.0, run.b.0) = (i - 1, j - 1),
                    _ => matches.push(Match { a: (i - 1, i - 1), b: (j - 1, j - 1) }),
                }
                (i, j) = (i - 1, j - 1);
            } else if lengths[i - 1][j] > lengths[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        (lengths[a.len()][b.len()], matches)
    }

    proptest! {
        #[test]
        fn bits_agree_with_the_definition(a in "[abc]{0,90}", b in "[abcd]{0,150}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let (len, matches) = slow(a, b);
            let table = Table::whole(a, b);
            prop_assert_eq!(table.len(), len);
            prop_assert_eq!(Table::last_row(a, b).len(), len);
            prop_assert_eq!(table.matches(), matches);
            prop_assert_eq!(table.subsequence().len(), len);
        }
    }

    #[test]
    fn replies_take_the_forms_asked_for() {
        let mut shell = Shell::new();
        shell.run("mset a ohmytext b mynewtext");
        assert_eq!(shell.run("lcs a b"), "$6 mytext");
        assert_eq!(shell.run("lcs a b len"), ":6");
        assert_eq!(shell.run("lcs a none"), "$0");
        assert_eq!(shell.run("lcs a none len"), ":0");
        let head = "*4 $7 matches";
        let tail = "$3 len :6";
        let (first, second) = ("*2 :4 :7 *2 :5 :8", "*2 :2 :3 *2 :0 :1");
        assert_eq!(shell.run("lcs a b idx"), format!("{head} *2 *2 {first} *2 {second} {tail}"));
        assert_eq!(shell.run("lcs a b idx minmatchlen 4"), format!("{head} *1 *2 {first} {tail}"));
        let with = format!("{head} *2 *3 {first} :4 *3 {second} :2 {tail}");
        assert_eq!(shell.run("lcs a b idx withmatchlen minmatchlen -3"), with);
        assert_eq!(shell.run("lcs none none idx"), "*4 $7 matches *0 $3 len :0");
        shell.resp3 = true;
        assert_eq!(shell.run("lcs none none idx"), "%2 $7 matches *0 $3 len :0");
    }

    #[test]
    fn what_it_refuses() {
        let mut shell = Shell::new();
        shell.run("set a 12345678");
        let both = "-ERR If you want both the length and indexes, please just use IDX.";
        assert_eq!(shell.run("lcs a b idx len"), both);
        assert_eq!(shell.run("lcs a b minmatchlen"), "-ERR syntax error");
        assert_eq!(shell.run("lcs a b minmatchlen x"), "-ERR value is not an integer or out of range");
        assert_eq!(shell.run("lcs a b what"), "-ERR syntax error");
        shell.data.max_string = 9 * 9 * 4;
        assert_eq!(shell.run("lcs a a"), "$8 12345678");
        shell.data.max_string -= 1;
        let refusal = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        assert_eq!(shell.run("lcs a a"), refusal);
    }
}
