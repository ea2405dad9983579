//! The types of values that RDB files hold: one row a type.

use std::fmt;
use std::ops::RangeInclusive;

use super::cursor::Cursor;
use super::scan::Part::{self, Bytes, Digits, Length, Module, Text, Times};
use super::{Damage, REDIS_VERSIONS, VALKEY_VERSIONS};
use crate::keyspace::Value;

type Decode = fn(&mut Cursor) -> Result<Value, Damage>;

/// How one type is written.
pub struct Codec {
    /// The byte that stands for it.
    pub kind: u8,
    pub name: &'static str,
    /// Of the files in which the byte has this meaning.
    versions: RangeInclusive<u16>,
    /// What it is made of.
    pub(super) shape: &'static [Part],
    /// `None`: it can be passed over only.
    decode: Option<Decode>,
}

pub(super) const STRING: u8 = 0;

const ANY: RangeInclusive<u16> = *REDIS_VERSIONS.start()..=*VALKEY_VERSIONS.end();

const fn row(kind: u8, name: &'static str, shape: &'static [Part]) -> Codec {
    Codec { kind, name, versions: ANY, shape, decode: None }
}

impl Codec {
    const fn decoded_by(self, decode: Decode) -> Codec {
        Codec { decode: Some(decode), ..self }
    }

    pub fn is_decoded(&self) -> bool {
        self.decode.is_some()
    }

    /// In Redis's files alone.
    const fn of_redis(self) -> Codec {
        Codec { versions: REDIS_VERSIONS, ..self }
    }

    const fn of_valkey(self) -> Codec {
        Codec { versions: VALKEY_VERSIONS, ..self }
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} (type {})", self.name, self.kind)
    }
}

/// An entry's identifier in a stream: milliseconds and a sequence number, big-endian as the key of a tree.
const ENTRY_ID: Part = Bytes(16);
const TIME: Part = Bytes(8);
/// Entries delivered and not acknowledged: identifier, time of delivery, how often.
const PENDING: Part = Times(&[ENTRY_ID, TIME, Length]);
const NODES: Part = Times(&[Text, Text]);
/// Name, when seen, the identifiers of what is pending.
const CONSUMERS: Part = Times(&[Text, TIME, Times(&[ENTRY_ID])]);
/// As `CONSUMERS`, with when it was last given something.
const ACTIVE_CONSUMERS: Part = Times(&[Text, TIME, TIME, Times(&[ENTRY_ID])]);

const CODECS: &[Codec] = &[
    row(STRING, "string", &[Text]).decoded_by(string),
    row(1, "list", &[Times(&[Text])]),
    row(2, "set", &[Times(&[Text])]),
    row(3, "sorted set with scores as text", &[Times(&[Text, Digits])]),
    row(4, "hash", &[Times(&[Text, Text])]),
    row(5, "sorted set", &[Times(&[Text, Bytes(8)])]),
    row(7, "module's value", &[Length, Module]),
    row(9, "hash as a zipmap", &[Text]),
    row(10, "list as a ziplist", &[Text]),
    row(11, "set of integers", &[Text]),
    row(12, "sorted set as a ziplist", &[Text]),
    row(13, "hash as a ziplist", &[Text]),
    row(14, "list of ziplists", &[Times(&[Text])]),
    row(15, "stream", &[NODES, Length, Length, Length, Times(&[Text, Length, Length, PENDING, CONSUMERS])]),
    row(16, "hash as a listpack", &[Text]),
    row(17, "sorted set as a listpack", &[Text]),
    row(18, "list of listpacks", &[Times(&[Length, Text])]),
    // Behind the last identifier: the first, the greatest deleted, and how many there ever were; in a group how
    // many it has read.
    row(
        19,
        "stream with counts",
        &[
            NODES,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Times(&[Text, Length, Length, Length, PENDING, CONSUMERS]),
        ],
    ),
    row(20, "set as a listpack", &[Text]),
    row(
        21,
        "stream with active times",
        &[
            NODES,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Length,
            Times(&[Text, Length, Length, Length, PENDING, ACTIVE_CONSUMERS]),
        ],
    ),
    row(22, "hash with expiring fields", &[Times(&[Text, Text, TIME])]).of_valkey(),
    row(24, "hash with expiring fields", &[TIME, Times(&[Length, Text, Text])]).of_redis(),
    row(25, "hash with expiring fields as a listpack", &[TIME, Text]).of_redis(),
];

/// The type that `kind` stands for in files of `version`.
pub(super) fn find(kind: u8, version: u16) -> Option<&'static Codec> {
    CODECS.iter().find(|codec| codec.kind == kind && codec.versions.contains(&version))
}

#[cfg(any(test, fuzzing))]
pub(super) fn every() -> impl Iterator<Item = &'static Codec> {
    CODECS.iter()
}

/// The value in the bytes behind its key, all of them. The offset of damage is one within them.
pub fn decode(codec: &'static Codec, bytes: &[u8]) -> Result<Value, Damage> {
    let decode = codec.decode.ok_or_else(|| Damage::new(0, format!("{codec:?} is not supported")))?;
    let mut cursor = Cursor::new(bytes);
    let value = decode(&mut cursor)?;
    cursor.finish()?;
    Ok(value)
}

fn string(cursor: &mut Cursor) -> Result<Value, Damage> {
    cursor.string().map(|bytes| Value::string(bytes.into_owned()))
}
