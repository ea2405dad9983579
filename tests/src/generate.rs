//! Seeded sequences of commands for one row of the grammar: valid calls, wrong arity, odd numbers, odd options.

use crate::grammar::{self, Arg, Row};
use crate::payload;
use crate::peer::Peer;
use crate::random::Random;

pub type Args = Vec<Vec<u8>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One command on one of the sequence's connections.
    Call { connection: usize, args: Args },
    /// SCAN from cursor 0 until it is 0 again; `args` follow the cursor. The keys compare as a set.
    Scan { connection: usize, args: Args },
    /// Lets the briefest expiry times pass (`BRIEF_MS` and then some).
    Pause,
}

/// The longest expiry that a sequence waits for; every other one lies minutes ahead or in the past.
pub const BRIEF_MS: i64 = 2;

/// Databases the sequences use.
pub const DATABASES: usize = 4;

const LONG_KEY: [u8; 300] = [b'L'; 300];

/// Few enough that commands meet: plain ones, one tag for two keys, empty, binary, and longer than any inline space.
pub const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"{tag}1",
    b"{tag}2",
    b"key:000000000001",
    b"key:000000000002",
    b"{}odd{",
    b"",
    b"\x00\xff\r\n *$",
    &LONG_KEY,
    b"missing",
];

/// Numbers that a lenient parser takes and the protocol does not, the ends of every integer range, and floats.
const ODD: &[&str] = &[
    "",
    " 1",
    "1 ",
    "+1",
    "01",
    "-0",
    "-01",
    "1e3",
    "0x10",
    "1.0",
    ".5",
    "5.",
    "abc",
    "nan",
    "inf",
    "-inf",
    "+inf",
    "infinity",
    "1e400",
    "1e-400",
    "0.1",
    "3.0e3",
    "--1",
    "-",
    "1,000",
    "9223372036854775806",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890123456789012345678901234567890",
    "4294967296",
    "-4294967296",
    "2147483648",
    "-2147483649",
    "1\0",
    "\u{661}",
];

const PATTERNS: &[&str] = &[
    "*", "?", "", "a", "[a-c]", "[^a]*", "{tag}*", "*1", "key:*2", "\\a", "[a", "[c-a]", "*[", "k??:*", "**",
    "\\", "[]a]", "[^]", "[\\a-]*", "*\r\n*", "A",
];

const NAMES: &[&str] = &["bob", "", "a b", "x\ny", "caf\u{e9}", "default", "~!", "tab\t", "libname", "9.9.9"];

/// What sets the stage for any row: mostly writes on few keys.
const STAGE: &[&str] = &[
    "SET",
    "SET",
    "SET",
    "SET",
    "GET",
    "APPEND",
    "INCR",
    "SETRANGE",
    "EXPIRE",
    "PEXPIREAT",
    "DEL",
    "COPY",
    "RENAME",
    "MSET",
];

pub struct Generator {
    random: Random,
    /// Whether the command under construction set an expiry that is to pass.
    brief: bool,
    /// The sequence's row.
    row: Option<Row>,
}

impl Generator {
    pub fn new(random: Random) -> Self {
        Generator { random, brief: false, row: None }
    }

    /// A sequence with `calls` commands, more than half of them `row`'s.
    pub fn sequence(&mut self, row: &Row, calls: usize) -> Vec<Step> {
        let connections = if grammar::family("transactions").rows.iter().any(|other| other.name == row.name) {
            2
        } else {
            1
        };
        self.row = Some(*row);
        let multi = connections == 2 || self.random.one_in(4);
        let mut steps = Vec::new();
        let mut waiting = false;
        for index in 0..calls {
            let connection = self.random.below(connections);
            // What Valkey answers for stands alone: its strings and transactions differ in places.
            let own = row.peer == Peer::Valkey || index > 3 && !self.random.one_in(3);
            let mut args = if own { self.command(row) } else { self.stage(multi) };
            if self.brief && !args.get(1).is_some_and(|key| KEYS.contains(&&key[..])) {
                // Only keys that the final questions touch may vanish on their own.
                args.resize(args.len().max(2), Vec::new());
                args[1] = self.key();
            }
            let exec = args[0].eq_ignore_ascii_case(b"EXEC");
            steps.push(Step::Call { connection, args });
            // A brief expiry counts from when its command runs: now, or with an EXEC to come.
            if self.brief || exec && waiting {
                steps.push(Step::Pause);
            }
            waiting |= std::mem::take(&mut self.brief);
        }
        if self.random.one_in(3) {
            let args = if self.random.one_in(2) { vec![] } else { vec![b"COUNT".to_vec(), b"3".to_vec()] };
            steps.push(Step::Scan { connection: 0, args });
        }
        steps
    }

    /// Whether an expiry may be over at once or soon.
    fn passes(&self) -> bool {
        self.row.is_none_or(|row| row.brief)
    }

    /// Whether the sequence's row keeps to short values.
    fn is_small(&self) -> bool {
        self.row.is_some_and(|row| row.small)
    }

    /// A command that gives the row something to work on.
    fn stage(&mut self, multi: bool) -> Args {
        match self.random.below(40) {
            0 => vec![b"SELECT".to_vec(), self.random.below(DATABASES).to_string().into_bytes()],
            1..=4 if multi => vec![b"MULTI".to_vec()],
            5..=8 if multi => vec![b"EXEC".to_vec()],
            9 if multi => vec![b"WATCH".to_vec(), self.key()],
            _ => {
                let name = *self.random.pick(STAGE);
                let row =
                    grammar::rows().find(|row| row.name == name).expect("the stage's commands have rows");
                self.valid(row)
            }
        }
    }

    /// A call of `row`, valid three times in four.
    pub fn command(&mut self, row: &Row) -> Args {
        let mut args = self.valid(row);
        if row.mutate && self.random.one_in(4) {
            self.mutate(&mut args, row.name.matches('|').count() + 1);
        }
        args
    }

    fn valid(&mut self, row: &Row) -> Args {
        let mut args: Args = row.name.split('|').map(|word| self.word(word)).collect();
        let form = *self.random.pick(row.forms);
        self.fill(form, &mut args);
        args
    }

    /// Drops, adds or replaces arguments behind the command's own `words`.
    fn mutate(&mut self, args: &mut Args, words: usize) {
        match self.random.below(4) {
            0 => {
                let keep = words + self.random.below(args.len() - words + 1);
                args.truncate(keep);
            }
            1 => (0..1 + self.random.below(3)).for_each(|_| {
                let extra = self.odd();
                args.push(extra);
            }),
            _ if args.len() > words => {
                let index = words + self.random.below(args.len() - words);
                args[index] = self.odd();
            }
            _ => {}
        }
    }

    fn fill(&mut self, form: &[Arg], args: &mut Args) {
        for arg in form {
            match arg {
                Arg::One(forms) => {
                    let form = *self.random.pick(forms);
                    self.fill(form, args);
                }
                Arg::Any(forms) => self.options(forms, args),
                Arg::Times(low, high, form) => {
                    for _ in 0..self.random.between(*low as i64, *high as i64) {
                        self.fill(form, args);
                    }
                }
                Arg::Command => self.whole_command(args),
                leaf => {
                    let bytes = self.leaf(leaf);
                    args.push(bytes);
                }
            }
        }
    }

    fn options(&mut self, forms: &[&[Arg]], args: &mut Args) {
        let mut chosen: Vec<&[Arg]> = forms.iter().copied().filter(|_| self.random.one_in(3)).collect();
        if self.random.one_in(12) {
            chosen.push(*self.random.pick(forms));
        }
        self.random.shuffle(&mut chosen);
        chosen.iter().for_each(|form| self.fill(form, args));
    }

    fn whole_command(&mut self, args: &mut Args) {
        let family = grammar::family(if self.random.one_in(2) { "string" } else { "generic" });
        let row = *self.random.pick(family.rows);
        let command = self.command(&row);
        // Only its words are looked at, so what it would wait for does not matter.
        self.brief = false;
        args.extend(command);
    }

    fn leaf(&mut self, arg: &Arg) -> Vec<u8> {
        match arg {
            Arg::Word(word) => self.word(word),
            Arg::Key => self.key(),
            Arg::Value => self.value(),
            Arg::Int => self.int(),
            Arg::Offset => self.offset(),
            Arg::Float => self.float(),
            Arg::Seconds => self.relative(1),
            Arg::Millis => self.relative(1000),
            Arg::UnixSeconds => self.absolute(1),
            Arg::UnixMillis => self.absolute(1000),
            Arg::Db => self.database(),
            Arg::Pattern => self.random.pick(PATTERNS).as_bytes().to_vec(),
            Arg::Cursor => match self.random.below(6) {
                0 => self.odd(),
                1 => self.random.below(1000).to_string().into_bytes(),
                _ => b"0".to_vec(),
            },
            Arg::Payload => payload::any(&mut self.random),
            Arg::Name => self.random.pick(NAMES).as_bytes().to_vec(),
            Arg::One(_) | Arg::Any(_) | Arg::Times(..) | Arg::Command => {
                unreachable!("`fill` takes these apart")
            }
        }
    }

    fn word(&mut self, word: &str) -> Vec<u8> {
        match self.random.below(6) {
            0 => word.to_ascii_lowercase().into_bytes(),
            1 => {
                let flip = |byte: u8| if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { byte };
                word.bytes().map(|byte| if self.random.one_in(2) { flip(byte) } else { byte }).collect()
            }
            _ => word.as_bytes().to_vec(),
        }
    }

    pub fn key(&mut self) -> Vec<u8> {
        // Half of the draws fall on the first keys, so that two commands often meet.
        let among = if self.random.one_in(2) { 4 } else { KEYS.len() };
        KEYS[self.random.below(among)].to_vec()
    }

    fn odd(&mut self) -> Vec<u8> {
        self.random.pick(ODD).as_bytes().to_vec()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0 => self.odd(),
            1 => vec![],
            2 => (0..self.random.below(20)).map(|_| self.random.next() as u8).collect(),
            // Around the lengths at which encodings change: 20 digits, 44 bytes embedded, 64 and beyond.
            3 => vec![b'x'; *self.random.pick(&[19, 20, 21, 43, 44, 45, 63, 64, 65, 100])],
            4 if !self.is_small() => {
                vec![b'y'; *self.random.pick(&[500, 1000, 1023, 1024, 1025, 4096, 5000])]
            }
            5 | 6 => self.random.between(-20, 20).to_string().into_bytes(),
            7 => (self.random.next() as i64).to_string().into_bytes(),
            8 => format!("{:.3}", self.random.between(-9999, 9999) as f64 / 7.0).into_bytes(),
            _ => {
                self.random.pick(&["hello", "world", "ohmytext", "mynewtext", "foo bar"]).as_bytes().to_vec()
            }
        }
    }

    fn int(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0 | 1 => self.odd(),
            2 => (self.random.next() as i64).to_string().into_bytes(),
            3 => self.random.between(-6000, 6000).to_string().into_bytes(),
            _ => self.random.between(-12, 12).to_string().into_bytes(),
        }
    }

    fn offset(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0 | 1 => self.odd(),
            2 => self.random.pick(&["536870912", "9223372036854775800", "-1"]).as_bytes().to_vec(),
            3 if !self.is_small() => self.random.between(1000, 6000).to_string().into_bytes(),
            _ => self.random.between(0, 60).to_string().into_bytes(),
        }
    }

    fn float(&mut self) -> Vec<u8> {
        match self.random.below(8) {
            0 | 1 => self.odd(),
            2 => self.random.between(-100, 100).to_string().into_bytes(),
            3 => format!("{}e{}", self.random.between(-99, 99), self.random.between(-20, 20)).into_bytes(),
            4 => format!("{}", f64::from_bits(self.random.next() >> 2)).into_bytes(),
            _ => {
                let decimals = self.random.below(18);
                format!("{:.decimals$}", self.random.between(-1_000_000, 1_000_000) as f64 / 977.0)
                    .into_bytes()
            }
        }
    }

    /// An expiry `unit` to the second: brief (milliseconds only), minutes to months ahead, past, or odd.
    fn relative(&mut self, unit: i64) -> Vec<u8> {
        match self.random.below(12) {
            0 => self.odd(),
            1 if self.passes() => self.random.pick(&["0", "-1", "-100000"]).as_bytes().to_vec(),
            2 => (i64::MAX / 1000 - self.random.between(0, 4_000_000_000)).to_string().into_bytes(),
            3 | 4 if unit == 1000 && self.passes() => {
                self.brief = true;
                self.random.between(1, BRIEF_MS).to_string().into_bytes()
            }
            // So wide a range that two expiries of one sequence are never close: GT and LT have one answer.
            _ => (self.random.between(300, 9_000_000) * unit).to_string().into_bytes(),
        }
    }

    fn absolute(&mut self, unit: i64) -> Vec<u8> {
        match self.random.below(10) {
            0 => self.odd(),
            1 if self.passes() => self.random.pick(&["0", "-1", "1", "1000000000"]).as_bytes().to_vec(),
            2 => (i64::MAX / 1000 - self.random.between(0, 4_000_000_000)).to_string().into_bytes(),
            // Years 2096 to 2128: far enough that no relative expiry comes near.
            _ => (self.random.between(4_000_000_000, 5_000_000_000) * unit).to_string().into_bytes(),
        }
    }

    fn database(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0 => self.odd(),
            1 => self.random.pick(&["16", "-1", "15000000000"]).as_bytes().to_vec(),
            _ => self.random.below(DATABASES).to_string().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_sequence_and_all_rows_can_be_generated() {
        for (index, row) in grammar::rows().enumerate() {
            let make = || Generator::new(Random::part(7, index as u64)).sequence(row, 30);
            assert_eq!(make(), make());
        }
    }
}
