//! Fuzz bodies: what must hold for any bytes whatever. The cargo-fuzz target under `tests/fuzz` and the bounded runs of
//! `cargo test` call the same functions. Compiled for tests and fuzzing only.

use super::{Damage, Item, Payload, Reader, Step, decode, write_entry, write_payload};
use crate::keyspace::{Usage, Value};

/// An item that owns what it holds; a value that does not decode is its damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    Aux(Vec<u8>, Vec<u8>),
    Select(u64),
    Resize(u64, u64),
    Entry { key: Vec<u8>, value: Result<Value, Damage>, expire: Option<i64>, usage: Option<Usage> },
    Skipped(&'static str, u64),
    End,
}

/// Everything a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub items: Vec<Owned>,
    /// Bytes of the file that items used.
    pub used: usize,
    pub damage: Option<Damage>,
}

impl Owned {
    fn from(item: Item) -> Self {
        match item {
            Item::Aux { name, value } => Owned::Aux(name.into_owned(), value.into_owned()),
            Item::Select(db) => Owned::Select(db),
            Item::Resize { keys, expiring } => Owned::Resize(keys, expiring),
            Item::Skipped { what, offset } => Owned::Skipped(what, offset),
            Item::End => Owned::End,
            Item::Entry(entry) => Owned::Entry {
                value: entry.decode(),
                key: entry.key.into_owned(),
                expire: entry.expire,
                usage: entry.usage,
            },
        }
    }
}

/// Reads a file in pieces that end at `cuts` (ascending offsets, the file's end is implied).
pub fn read(file: &[u8], cuts: impl Iterator<Item = usize>) -> Outcome {
    let mut reader = Reader::default();
    let mut outcome = Outcome { items: Vec::new(), used: 0, damage: None };
    for cut in cuts.chain([file.len()]) {
        loop {
            let bytes = &file[outcome.used..cut.max(outcome.used)];
            match reader.next(bytes) {
                Ok(Step::More) => break,
                Ok(Step::Item { item, used }) => {
                    assert!(0 < used && used <= bytes.len(), "{used} of {}", bytes.len());
                    outcome.used += used;
                    assert_eq!(reader.offset(), outcome.used as u64);
                    outcome.items.push(Owned::from(item));
                    if outcome.items.last() == Some(&Owned::End) {
                        return outcome;
                    }
                }
                Err(damage) => {
                    assert!(damage.offset <= file.len() as u64, "{damage} in {} bytes", file.len());
                    outcome.damage = Some(damage);
                    return outcome;
                }
            }
        }
    }
    outcome.damage = Some(reader.cut_off(file.len() - outcome.used));
    outcome
}

/// The file comes to the same however it is cut, and what it holds can be written again.
pub fn file(data: &[u8]) {
    let Some((&jitter, file)) = data.split_first() else { return };
    let whole = read(file, std::iter::empty());
    let step = 1 + usize::from(jitter);
    let pieces = read(file, (1..).map(|piece| piece * step).take_while(|cut| *cut < file.len()));
    assert_eq!(pieces, whole, "in pieces of {step} bytes");
    for item in &whole.items {
        if let Owned::Entry { key, value: Ok(value), expire, .. } = item {
            rewritten(key, value, *expire);
        }
    }
}

/// An entry reads back as it was written, compressed or not.
pub fn rewritten(key: &[u8], value: &Value, expire: Option<i64>) {
    for compress in [false, true] {
        let mut out = Vec::new();
        super::write_header(&mut out);
        write_entry(&mut out, key, value.view(), expire, compress);
        let outcome = read(&out, std::iter::empty());
        let entry = Owned::Entry { key: key.to_vec(), value: Ok(value.clone()), expire, usage: None };
        assert_eq!(outcome.items, [entry]);
    }
}

/// Any bytes are a payload or none; what one holds can be dumped again. With its checksum mended, too, so that mutations get
/// past it.
pub fn payload(data: &[u8]) {
    let mut mended = data.to_vec();
    mended.extend_from_slice(&super::VERSION.to_le_bytes());
    mended.extend_from_slice(&super::Checksum::of(&mended).to_le_bytes());
    for bytes in [data, &mended] {
        let Some(payload) = Payload::open(bytes) else { continue };
        let Ok(value) = payload.decode() else { continue };
        let mut out = Vec::new();
        write_payload(&mut out, value.view(), true);
        let again = Payload::open(&out).map(|payload| payload.decode());
        assert_eq!(again, Some(Ok(value)));
    }
    // The bytes of any type, without a checksum.
    for codec in super::codec::every() {
        let _ = decode(codec, data);
    }
}
