//! Reads RDB files and streams, item by item, from a buffer that grows.

use std::borrow::Cow;

use super::cursor::{plain_length, text};
use super::scan::Part::{self, Bytes, Length, Module, Text};
use super::scan::Scan;
use super::{Checksum, Codec, Damage, codec, decode, is_known, opcode};
use crate::keyspace::{Usage, Value};

/// `REDIS0010` or `VALKEY080`.
const HEADER: usize = 9;

/// What a file is made of.
#[derive(Debug)]
pub enum Item<'a> {
    /// A fact about the file.
    Aux {
        name: Cow<'a, [u8]>,
        value: Cow<'a, [u8]>,
    },
    /// The database of the entries from here on.
    Select(u64),
    /// A hint: how many keys the database has, and how many of them expire.
    Resize {
        keys: u64,
        expiring: u64,
    },
    Entry(Entry<'a>),
    /// Passed over: whoever loads the file should say so in the log.
    Skipped {
        what: &'static str,
        offset: u64,
    },
    /// The end of the file, its checksum compared. What follows is none of it.
    End,
}

/// A key and its value, which is still as the file has it.
#[derive(Debug)]
pub struct Entry<'a> {
    pub key: Cow<'a, [u8]>,
    pub codec: &'static Codec,
    /// For `decode`, on this core or another.
    pub value: &'a [u8],
    /// Where `value` begins in the file.
    pub offset: u64,
    /// Unix ms.
    pub expire: Option<i64>,
    pub usage: Option<Usage>,
}

impl Entry<'_> {
    /// Whether values of its type can be decoded at all.
    pub fn check(&self) -> Result<(), Damage> {
        if self.codec.is_decoded() { Ok(()) } else { self.decode().map(drop) }
    }

    pub fn decode(&self) -> Result<Value, Damage> {
        decode(self.codec, self.value).map_err(|damage| damage.in_value(&self.key, self.offset))
    }
}

#[derive(Debug)]
pub enum Step<'a> {
    /// The item took the first `used` bytes of the buffer: they must be gone at the next call.
    Item { item: Item<'a>, used: usize },
    /// The buffer does not hold a whole item. It must begin with the same bytes at the next call.
    More,
}

/// Which part of an item the scan is in.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Opcode,
    /// Behind an opcode at this place.
    Operand(u8, usize),
    Key(&'static Codec, usize),
    Value {
        codec: &'static Codec,
        key: usize,
        value: usize,
    },
}

pub struct Reader {
    /// 0 until the header has been read.
    version: u16,
    /// Of the first byte of the buffer, in the file.
    offset: u64,
    checksum: Checksum,
    scan: Scan,
    stage: Stage,
    expire: Option<i64>,
    usage: Option<Usage>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader::new(0)
    }
}

impl Reader {
    /// `offset` is where the header begins, for what is reported.
    pub fn new(offset: u64) -> Self {
        Reader {
            version: 0,
            offset,
            checksum: Checksum::default(),
            scan: Scan::default(),
            stage: Stage::Opcode,
            expire: None,
            usage: None,
        }
    }

    /// Compares no checksum unless `is_on`. Nothing has been read yet.
    pub fn with_checksum(self, is_on: bool) -> Self {
        Reader { checksum: Checksum::new(is_on), ..self }
    }

    /// The version in the header; 0 before that was read.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Where the buffer's first byte stands in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What to report if the file ends after `More` with `left` bytes in the buffer.
    pub fn cut_off(&self, left: usize) -> Damage {
        let end = self.offset.saturating_add(left as u64);
        let what = if left == 0 { "before its end is written" } else { "within an item" };
        Damage::new(end, format!("the file ends {what}"))
    }

    /// The next item of `bytes`, the part of the file that no item has used yet, as far as it is there.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Damage> {
        if self.version == 0 && !self.header(bytes)? {
            return Ok(Step::More);
        }
        let found = self.advance(bytes);
        match found {
            Ok(None) => Ok(Step::More),
            Ok(Some(item)) => {
                let used = self.scan.at();
                if !matches!(item, Item::End) {
                    self.checksum.update(&bytes[..used]);
                }
                self.scan.reset();
                (self.stage, self.expire, self.usage) = (Stage::Opcode, None, None);
                self.offset += used as u64;
                Ok(Step::Item { item, used })
            }
            Err(damage) => Err(Damage { offset: self.offset.saturating_add(damage.offset), ..damage }),
        }
    }

    /// Passes the header; false if it is not all there.
    fn header(&mut self, bytes: &[u8]) -> Result<bool, Damage> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Ok(false);
        };
        let digits = header.strip_prefix(b"REDIS").or_else(|| header.strip_prefix(b"VALKEY"));
        let number = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_digit))
            .map(|digits| digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')));
        let Some(version) = number else {
            return Err(Damage::new(
                self.offset,
                format!("no RDB file begins with \"{}\"", header.escape_ascii()),
            ));
        };
        if !is_known(version) {
            return Err(Damage::new(self.offset, format!("RDB version {version} is not supported")));
        }
        self.version = version;
        self.scan.skip(HEADER);
        Ok(true)
    }

    /// Goes on until an item is whole. The offset of damage is one within `bytes`.
    fn advance<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Item<'a>>, Damage> {
        loop {
            if matches!(self.stage, Stage::Opcode) && !self.opcode(bytes)? {
                return Ok(None);
            }
            if !self.scan.run(bytes)? {
                return Ok(None);
            }
            let at = self.scan.at();
            match self.stage {
                Stage::Opcode => unreachable!("an opcode has just been read"),
                Stage::Operand(opcode, start) => {
                    self.stage = Stage::Opcode;
                    if let Some(item) = self.operand(opcode, bytes, start)? {
                        return Ok(Some(item));
                    }
                }
                Stage::Key(codec, key) => {
                    self.stage = Stage::Value { codec, key, value: at };
                    self.scan.begin(codec.shape);
                }
                Stage::Value { codec, key, value } => {
                    return self.entry(codec, bytes, key, value).map(|entry| Some(Item::Entry(entry)));
                }
            }
        }
    }

    /// Reads the byte that tells what comes; false if it is not there.
    fn opcode(&mut self, bytes: &[u8]) -> Result<bool, Damage> {
        let start = self.scan.at();
        let Some(&byte) = bytes.get(start) else { return Ok(false) };
        self.scan.skip(1);
        let at = start + 1;
        let parts: &'static [Part] = match byte {
            opcode::SLOT_INFO => &[Length, Length, Length],
            opcode::FUNCTION => &[Text],
            opcode::MODULE_AUX => &[Length, Module],
            opcode::IDLE | opcode::SELECT => &[Length],
            opcode::FREQUENCY => &[Bytes(1)],
            opcode::AUX => &[Text, Text],
            opcode::RESIZE => &[Length, Length],
            opcode::EXPIRE_SECONDS => &[Bytes(4)],
            opcode::EXPIRE_MS | opcode::END => &[Bytes(8)],
            kind => {
                let codec = codec::find(kind, self.version);
                let codec = codec.ok_or_else(|| {
                    let what = format!("unknown type or opcode {kind} in RDB version {}", self.version);
                    Damage::new(start as u64, what)
                })?;
                self.stage = Stage::Key(codec, at);
                self.scan.begin(&[Text]);
                return Ok(true);
            }
        };
        self.stage = Stage::Operand(byte, at);
        self.scan.begin(parts);
        Ok(true)
    }

    /// What an opcode comes to with the operands behind it, which begin at `start`: an item, or a part of the entry that follows.
    fn operand<'a>(&mut self, byte: u8, bytes: &'a [u8], start: usize) -> Result<Option<Item<'a>>, Damage> {
        let offset = self.offset.saturating_add(start as u64 - 1);
        let operands = &bytes[start..self.scan.at()];
        let item = match byte {
            opcode::EXPIRE_MS => {
                self.expire = operands.first_chunk().map(|at| i64::from_le_bytes(*at));
                return Ok(None);
            }
            opcode::EXPIRE_SECONDS => {
                self.expire = operands.first_chunk().map(|at| i64::from(i32::from_le_bytes(*at)) * 1000);
                return Ok(None);
            }
            opcode::IDLE => {
                let [seconds] = lengths(operands);
                self.usage = Some(Usage::Idle(seconds));
                return Ok(None);
            }
            opcode::FREQUENCY => {
                self.usage = operands.first().map(|counter| Usage::Frequency(*counter));
                return Ok(None);
            }
            opcode::SLOT_INFO => return Ok(None),
            opcode::FUNCTION => Item::Skipped { what: "a library of functions", offset },
            opcode::MODULE_AUX => Item::Skipped { what: "data of a module", offset },
            opcode::SELECT => {
                let [db] = lengths(operands);
                Item::Select(db)
            }
            opcode::RESIZE => {
                let [keys, expiring] = lengths(operands);
                Item::Resize { keys, expiring }
            }
            opcode::AUX => {
                let (name, used) = string(operands, start)?;
                let (value, _) = string(&operands[used..], start + used)?;
                Item::Aux { name, value }
            }
            _ => {
                self.compare(bytes, start)?;
                Item::End
            }
        };
        Ok(Some(item))
    }

    fn entry<'a>(
        &self,
        codec: &'static Codec,
        bytes: &'a [u8],
        key: usize,
        value: usize,
    ) -> Result<Entry<'a>, Damage> {
        Ok(Entry {
            key: string(&bytes[key..value], key)?.0,
            codec,
            value: &bytes[value..self.scan.at()],
            offset: self.offset.saturating_add(value as u64),
            expire: self.expire,
            usage: self.usage,
        })
    }

    /// Compares the checksum at `at` with that of all before it; 0 says on either side that there is none.
    fn compare(&mut self, bytes: &[u8], at: usize) -> Result<(), Damage> {
        self.checksum.update(&bytes[..at]);
        let told = bytes[at..].first_chunk().map_or(0, |told| u64::from_le_bytes(*told));
        let found = self.checksum.value();
        if told == 0 || found == 0 || told == found {
            return Ok(());
        }
        Err(Damage::new(at as u64, format!("checksum {told:016x} where the bytes before have {found:016x}")))
    }
}

/// Lengths that a scan has passed already.
fn lengths<const COUNT: usize>(mut bytes: &[u8]) -> [u64; COUNT] {
    [(); COUNT].map(|()| {
        let (length, used) = plain_length(bytes).ok().flatten().expect("the scan has passed this length");
        bytes = &bytes[used..];
        length
    })
}

/// A string that a scan has passed already, and the bytes it took. It may still not decompress.
fn string(bytes: &[u8], at: usize) -> Result<(Cow<'_, [u8]>, usize), Damage> {
    let (text, used) = text(bytes).ok().flatten().expect("the scan has passed this string");
    let expanded = text.expand().map_err(|what| Damage::new(at as u64, what))?;
    Ok((expanded, used))
}
