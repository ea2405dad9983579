//! Lengths and strings as RDB writes them, read from bytes that may end anywhere.
//!
//! ```text
//! 00nnnnnn                     a length below 64
//! 01nnnnnn nnnnnnnn            a length below 16384
//! 10000000 n*4 big-endian      a length of 32 bits
//! 10000001 n*8 big-endian      a length of 64 bits
//! 11000000 i8                  a string that is the decimal text of a number, or
//! 11000001 i16 little-endian
//! 11000010 i32 little-endian
//! 11000011 length length ...   a string compressed: its bytes here, its bytes in truth
//! ```

use std::borrow::Cow;

use super::{Damage, lzf};

type What = Cow<'static, str>;

/// What of the bytes at hand, and how many they are; `None` if they end too early.
type Found<T> = Result<Option<(T, usize)>, What>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Plain(u64),
    /// The lower six bits of a byte that introduces a string written another way.
    Special(u8),
}

pub fn length(bytes: &[u8]) -> Found<Length> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let low = first & 0x3f;
    let found = match (first >> 6, low) {
        (0, _) => Some((Length::Plain(u64::from(low)), 1)),
        (1, _) => rest.first().map(|next| (Length::Plain(u64::from(low) << 8 | u64::from(*next)), 2)),
        (2, 0) => rest.first_chunk().map(|word| (Length::Plain(u64::from(u32::from_be_bytes(*word))), 5)),
        (2, 1) => rest.first_chunk().map(|word| (Length::Plain(u64::from_be_bytes(*word)), 9)),
        (2, _) => return Err(format!("no length begins with {first:#04x}").into()),
        _ => Some((Length::Special(low), 1)),
    };
    Ok(found)
}

/// A length that is one.
pub fn plain_length(bytes: &[u8]) -> Found<u64> {
    match length(bytes)? {
        None => Ok(None),
        Some((Length::Plain(length), used)) => Ok(Some((length, used))),
        Some((Length::Special(mark), _)) => {
            Err(format!("string of kind {mark} where a length belongs").into())
        }
    }
}

/// A string as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    Plain(&'a [u8]),
    Int(i32),
    Compressed { bytes: &'a [u8], length: u64 },
}

pub fn text(bytes: &[u8]) -> Found<Text<'_>> {
    let Some((length, used)) = length(bytes)? else { return Ok(None) };
    let rest = &bytes[used..];
    let found = match length {
        Length::Plain(length) => first(rest, length).map(|text| (Text::Plain(text), used + text.len())),
        Length::Special(0) => rest.first_chunk().map(|int| (Text::Int(i8::from_le_bytes(*int).into()), 2)),
        Length::Special(1) => rest.first_chunk().map(|int| (Text::Int(i16::from_le_bytes(*int).into()), 3)),
        Length::Special(2) => rest.first_chunk().map(|int| (Text::Int(i32::from_le_bytes(*int)), 5)),
        Length::Special(3) => return compressed(bytes),
        Length::Special(mark) => return Err(format!("string of unknown kind {mark}").into()),
    };
    Ok(found)
}

fn compressed(bytes: &[u8]) -> Found<Text<'_>> {
    let Some((here, first_used)) = plain_length(&bytes[1..])? else { return Ok(None) };
    let Some((length, second_used)) = plain_length(&bytes[1 + first_used..])? else { return Ok(None) };
    let head = 1 + first_used + second_used;
    let found = first(&bytes[head..], here);
    Ok(found.map(|bytes| (Text::Compressed { bytes, length }, head + bytes.len())))
}

/// The first `length` bytes, if they are there.
fn first(bytes: &[u8], length: u64) -> Option<&[u8]> {
    bytes.get(..usize::try_from(length).ok()?)
}

impl<'a> Text<'a> {
    /// The string itself.
    pub fn expand(self) -> Result<Cow<'a, [u8]>, What> {
        match self {
            Text::Plain(bytes) => Ok(Cow::Borrowed(bytes)),
            Text::Int(value) => Ok(Cow::Owned(itoa::Buffer::new().format(value).as_bytes().to_vec())),
            Text::Compressed { bytes, length } => {
                let expanded = usize::try_from(length).ok().and_then(|length| lzf::decompress(bytes, length));
                let what = || format!("{} compressed bytes that do not come to {length}", bytes.len()).into();
                expanded.map(Cow::Owned).ok_or_else(what)
            }
        }
    }
}

/// Goes over bytes that should be whole: where they end too early, they are damaged.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn damage(&self, what: impl Into<What>) -> Damage {
        Damage::new(self.at as u64, what)
    }

    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, Damage> {
        let rest = self.rest();
        let (text, used) = match text(rest) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(self.damage(cut_off(rest))),
            Err(what) => return Err(self.damage(what)),
        };
        let expanded = text.expand().map_err(|what| self.damage(what))?;
        self.at += used;
        Ok(expanded)
    }

    /// Refuses what is left over.
    pub fn finish(self) -> Result<(), Damage> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(self.damage(format!("{left} bytes behind the end of the value"))),
        }
    }
}

/// Why a string is not whole.
fn cut_off(bytes: &[u8]) -> What {
    match length(bytes) {
        Ok(Some((Length::Plain(length), used))) => {
            format!("string of {length} bytes where {} are left", bytes.len() - used).into()
        }
        _ => "string cut off".into(),
    }
}
