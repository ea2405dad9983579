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
