//! Reading a file of the log back, piece by piece: whole commands and whole transactions, nothing else.
//!
//! Stricter than a client's connection: no inline commands, every line ending is looked at. Nothing is
//! allocated for a length that has not arrived. A file that merely ends too early, as a crash leaves it, has
//! a torn tail (its caller may cut that off, see [`End::torn`]); anything else wrong is damage.

use std::fmt;

use crate::resp::{Argv, Span};

/// Bytes of one command: offsets within it fit in 32 bits.
const MAX_COMMAND: usize = 1 << 31;

/// Longest `*` or `$` line: ten digits and the rest.
const MAX_LINE: usize = 13;

/// Bytes of an annotation line; the reference server writes some 20.
const MAX_ANNOTATION: usize = 1024;

/// Where and why a file cannot be what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in the file.
    pub offset: u64,
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "offset {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for Damage {}

/// How a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Offset behind the last whole unit; the file's length if nothing is torn.
    pub good: u64,
    /// What the rest is, if there is any: an unfinished command or transaction, or a part of one and then zeros,
    /// as file systems leave where a length reached the disk before the bytes did. Nothing in the rest was ever
    /// acknowledged as durable, if this is the last file of the log; in any other it is damage.
    pub torn: Option<Damage>,
}

/// Whether a file begins as an RDB file, of Redis or of Valkey: a base does, and an old-style log may. Needs its
/// first six bytes.
pub fn begins_as_rdb(head: &[u8]) -> bool {
    head.starts_with(b"REDIS") || head.starts_with(b"VALKEY")
}

/// What is wrong with a command.
pub type Judge = fn(Argv) -> Result<(), String>;

/// Reads one file: `scan` its pieces in order, `finish` at its end. Damage ends it.
#[derive(Debug)]
pub struct Scanner {
    /// Of a file, which may have annotations and end in zeros; the stream of a primary has neither.
    is_file: bool,
    /// Says what is wrong with a whole command, if anything: it does not come out then, nor what it is a part of.
    judge: Judge,
    is_refused: bool,
    /// What may belong to a command that is not whole.
    buffer: Vec<u8>,
    /// Offset in the file of the buffer's first byte.
    base: u64,
    /// Bytes of the buffer that have been read.
    done: usize,
    command: Partial,
    /// The commands of a transaction from MULTI on.
    transaction: Option<Vec<u8>>,
    good: u64,
    /// Damage found where zeros began; they may go on to the file's end.
    zeros: Option<Damage>,
}

/// A command up to where the buffer ended. Offsets count from the command's first byte.
#[derive(Debug, Default)]
struct Partial {
    at: usize,
    missing: Option<usize>,
    spans: Vec<Span>,
}

/// What is at fault at an offset of the buffer.
type Fault = (usize, String);

impl Scanner {
    /// For the commands that begin at `offset` of a file.
    pub fn new(offset: u64) -> Scanner {
        Scanner {
            is_file: true,
            judge: |_| Ok(()),
            is_refused: false,
            buffer: Vec::new(),
            base: offset,
            done: 0,
            command: Partial::default(),
            transaction: None,
            good: offset,
            zeros: None,
        }
    }

    /// With a judge of what comes.
    pub fn judged_by(self, judge: Judge) -> Scanner {
        Scanner { judge, ..self }
    }

    /// For what a primary sends from `offset` of its history on: what comes out is all that came in, byte for byte.
    pub fn of_stream(offset: u64, judge: Judge) -> Scanner {
        Scanner { is_file: false, judge, ..Scanner::new(offset) }
    }

    /// Takes in the next bytes of the file, and appends to `out` all that is whole by now: commands as they stand there,
    /// transactions from MULTI to EXEC. What precedes damage comes out before it is reported.
    pub fn scan(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Damage> {
        self.buffer.extend_from_slice(bytes);
        let scanned = self.scan_buffer(out);
        self.buffer.drain(..self.done);
        self.base += self.done as u64;
        self.done = 0;
        scanned
    }

    fn scan_buffer(&mut self, out: &mut Vec<u8>) -> Result<(), Damage> {
        while self.zeros.is_none() {
            let start = match self.read() {
                Ok(Some(start)) => start,
                Ok(None) => return Ok(()),
                Err(fault) => return self.fail(fault),
            };
            let bytes = &self.buffer[start..self.done];
            let argv = Argv::new(bytes, &self.command.spans);
            if let Err(why) = (self.judge)(argv) {
                self.is_refused = true;
                return Err(self.damage((start, why)));
            }
            let word = if argv.len() == 1 { argv.get(0) } else { &[] };
            let (multi, exec) = (word.eq_ignore_ascii_case(b"multi"), word.eq_ignore_ascii_case(b"exec"));
            match &mut self.transaction {
                None if exec => return Err(self.damage((start, "EXEC without MULTI".to_owned()))),
                Some(_) if multi => return Err(self.damage((start, "MULTI within MULTI".to_owned()))),
                None if multi => self.transaction = Some(bytes.to_vec()),
                None => out.extend_from_slice(bytes),
                Some(transaction) => {
                    transaction.extend_from_slice(bytes);
                    if exec {
                        out.append(transaction);
                        self.transaction = None;
                    }
                }
            }
            self.command.reset();
            self.mark_good();
        }
        self.pass_zeros()
    }

    /// Offset behind the last unit that came out.
    pub fn good(&self) -> u64 {
        self.good
    }

    /// Whether what was reported as damage is a command that the judge refused.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Bytes that came in and are not whole yet.
    pub fn held(&self) -> u64 {
        self.base + self.buffer.len() as u64 - self.good
    }

    fn mark_good(&mut self) {
        if self.transaction.is_none() {
            self.good = self.base + self.done as u64;
        }
    }

    /// The file ends here.
    pub fn finish(self) -> End {
        let ends = |within| Damage {
            offset: self.base + self.buffer.len() as u64,
            what: format!("the file ends within a {within}"),
        };
        let torn = match self.zeros {
            Some(zeros) => Some(zeros),
            None if !self.buffer.is_empty() => Some(ends("command")),
            None => self.transaction.is_some().then(|| ends("transaction")),
        };
        End { good: self.good, torn }
    }

    /// Reads on to the end of a command and says where in the buffer it begins; `None` if it is not whole.
    fn read(&mut self) -> Result<Option<usize>, Fault> {
        while self.is_file && self.buffer.get(self.done) == Some(&b'#') {
            let line = &self.buffer[self.done..];
            match memchr::memchr2(b'\n', 0, &line[..line.len().min(MAX_ANNOTATION)]) {
                Some(zero) if line[zero] == 0 => {
                    return Err((self.done + zero, "a zero in an annotation line".to_owned()));
                }
                Some(end) => {
                    self.done += end + 1;
                    self.mark_good();
                }
                None if line.len() < MAX_ANNOTATION => return Ok(None),
                None => return Err((self.done, "an annotation line without an end".to_owned())),
            }
        }
        let start = self.done;
        let read = self.command.read(&self.buffer[start..]);
        let whole = read.map_err(|(offset, what)| (start + offset, what))?;
        if !whole {
            return Ok(None);
        }
        self.done = start + self.command.at;
        Ok(Some(start))
    }

    fn damage(&self, (offset, what): Fault) -> Damage {
        Damage { offset: self.base + offset as u64, what }
    }

    /// Damage that begins with a zero may be a torn tail: that is known at the end of the file.
    fn fail(&mut self, fault: Fault) -> Result<(), Damage> {
        let from = fault.0;
        let damage = self.damage(fault);
        if !self.is_file || self.buffer.get(from) != Some(&0) {
            return Err(damage);
        }
        self.done = from;
        self.zeros = Some(damage);
        self.pass_zeros()
    }

    fn pass_zeros(&mut self) -> Result<(), Damage> {
        let over = self.buffer[self.done..].iter().any(|byte| *byte != 0);
        self.done = self.buffer.len();
        self.zeros.clone().filter(|_| over).map_or(Ok(()), Err)
    }
}

impl Partial {
    fn reset(&mut self) {
        (self.at, self.missing) = (0, None);
        self.spans.clear();
    }

    /// Reads on in the bytes of the command that are there; true if it is whole.
    fn read(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => match line(bytes, 0, b'*')? {
                Some((0, _)) => return Err((1, "a command without a name".to_owned())),
                Some((count, end)) => {
                    self.at = end;
                    count
                }
                None => return Ok(false),
            },
        };
        while missing > 0 {
            self.missing = Some(missing);
            let Some((length, body)) = line(bytes, self.at, b'$')? else { return Ok(false) };
            let end = body + length;
            if end + 2 > MAX_COMMAND {
                return Err((self.at, format!("an argument of {length} bytes")));
            }
            match bytes.get(end..) {
                Some([b'\r', b'\n', ..]) => {}
                None | Some([] | [b'\r']) => return Ok(false),
                Some([b'\r', ..]) => return Err((end + 1, "no line ending behind an argument".to_owned())),
                Some(_) => return Err((end, "no line ending behind an argument".to_owned())),
            }
            self.spans.push(Span { start: body as u32, len: length as u32 });
            self.at = end + 2;
            missing -= 1;
        }
        Ok(true)
    }
}

/// The line at `at`: its number and where the next line begins; `None` if it is not whole.
fn line(bytes: &[u8], at: usize, sigil: u8) -> Result<Option<(usize, usize)>, Fault> {
    let Some((first, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) else { return Ok(None) };
    if *first != sigil {
        return Err((at, format!("'{}' where '{}' should be", first.escape_ascii(), sigil as char)));
    }
    let mut number = 0;
    for (index, byte) in rest.iter().enumerate() {
        let here = at + 1 + index;
        match byte {
            b'0'..=b'9' if index < MAX_LINE - 3 => number = number * 10 + (byte - b'0') as usize,
            b'\r' if index > 0 => {
                return match rest.get(index + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((number, here + 2))),
                    Some(_) => Err((here + 1, "no line ending behind a length".to_owned())),
                };
            }
            _ => return Err((here, format!("'{}' in a length", byte.escape_ascii()))),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
