//! Values as they go in and out of the keyspace. Knows nothing of how entries lie in memory.

/// What type of value a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
}

/// How a value is stored, as OBJECT ENCODING names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Int,
    Embstr,
    Raw,
}

impl Encoding {
    /// The byte that an entry keeps: kind in the upper half, encoding in the lower.
    pub(super) fn meta(self) -> u8 {
        match self {
            Encoding::Int => 1,
            Encoding::Embstr => 2,
            Encoding::Raw => 3,
        }
    }

    pub(super) fn from_meta(meta: u8) -> Self {
        match meta {
            1 => Encoding::Int,
            2 => Encoding::Embstr,
            _ => Encoding::Raw,
        }
    }

    /// How a string of this length is stored unless it has been edited.
    pub(super) fn of_length(length: usize) -> Self {
        if length <= EMBSTR_MAX { Encoding::Embstr } else { Encoding::Raw }
    }
}

/// How `put_str` chooses the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encode {
    /// An integer if the bytes are exactly how one is printed, else embstr up to 44 bytes, else raw.
    Auto,
    /// As `Auto`, but never an integer.
    Plain,
    /// Raw whatever the length.
    Raw,
}

/// Longest string that OBJECT ENCODING calls embstr, as in the reference server.
pub const EMBSTR_MAX: usize = 44;

/// A value that stands outside the keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Int(i64),
    Str {
        bytes: Vec<u8>,
        /// Its encoding is reported as raw however short it is (the result of an edit).
        raw: bool,
    },
}

impl Value {
    /// The value that these bytes are as a string: an integer if they are exactly how one is printed.
    pub fn string(bytes: Vec<u8>) -> Self {
        canonical_int(&bytes).map_or(Value::Str { bytes, raw: false }, Value::Int)
    }

    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Value::Int(value) => ValueRef::Int(*value),
            Value::Str { bytes, .. } => ValueRef::Str(bytes),
        }
    }
}

/// A value seen in its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl<'a> ValueRef<'a> {
    /// The value as a client sees it; `buf` holds the digits of an integer.
    #[inline]
    pub fn to_bytes<'b>(&self, buf: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            ValueRef::Int(value) => buf.format(value).as_bytes(),
            ValueRef::Str(bytes) => bytes,
        }
    }

    /// Bytes of the value as a client sees it.
    pub fn len(&self) -> usize {
        match *self {
            ValueRef::Int(value) => itoa::Buffer::new().format(value).len(),
            ValueRef::Str(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The integer that `bytes` are the canonical print of: no sign but a minus, no leading zero.
#[inline]
pub(super) fn canonical_int(bytes: &[u8]) -> Option<i64> {
    // i64::MIN has 20 characters.
    if bytes.is_empty() || bytes.len() > 20 {
        return None;
    }
    let (negative, digits) = match bytes[0] {
        b'-' => (true, &bytes[1..]),
        _ => (false, bytes),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut magnitude = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use super::canonical_int;

    #[test]
    fn only_canonical_integers_are_integers() {
        for value in [0, 1, -1, 9, -10, 1234567890, i64::MAX, i64::MIN] {
            assert_eq!(canonical_int(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "-0",
            "01",
            "+1",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(canonical_int(text.as_bytes()), None, "{text}");
        }
    }
}
