//! Replies as values: parsed from raw bytes, compared and printed by the tests.

use std::fmt;

/// One reply of RESP2 or RESP3. Every kind of the wire keeps its own variant: nothing is smoothed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Int(i64),
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    Double(Vec<u8>),
    Bool(bool),
    BigNumber(Vec<u8>),
    BlobError(Vec<u8>),
    Verbatim(Vec<u8>),
    Array(Vec<Reply>),
    Set(Vec<Reply>),
    /// Keys and values by turns.
    Map(Vec<Reply>),
    Push(Vec<Reply>),
    /// The connection was closed, or answered something that is no RESP.
    Closed(String),
}

impl Reply {
    /// Parses one complete reply.
    pub fn parse(bytes: &[u8]) -> Reply {
        let mut at = 0;
        match parse(bytes, &mut at) {
            Some(reply) if at == bytes.len() => reply,
            _ => Reply::Closed(format!("no reply: {}", bytes.escape_ascii())),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_) | Reply::BlobError(_))
    }

    pub fn int(&self) -> Option<i64> {
        match self {
            Reply::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The text of a string-like reply or error.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Simple(b) | Reply::Error(b) | Reply::Bulk(b) | Reply::Double(b) | Reply::BigNumber(b) => {
                Some(b)
            }
            Reply::Verbatim(b) => Some(b.get(4..).unwrap_or(b)),
            _ => None,
        }
    }

    pub fn text(&self) -> String {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    /// The elements of an aggregate; nothing for other replies.
    pub fn elements(&self) -> &[Reply] {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Map(items) | Reply::Push(items) => items,
            _ => &[],
        }
    }
}

/// The children an aggregate's header announces; `None` if the line opens no aggregate.
pub fn children(line: &[u8]) -> Option<usize> {
    let count: i64 = std::str::from_utf8(line.get(1..)?).ok()?.parse().ok()?;
    let count = count.max(0) as usize;
    match line[0] {
        b'*' | b'~' | b'>' => Some(count),
        b'%' => Some(2 * count),
        b'|' => Some(2 * count + 1),
        _ => None,
    }
}

/// Length of the payload that follows the line, its line ending not counted.
pub fn payload(line: &[u8]) -> Option<usize> {
    if !matches!(line.first(), Some(b'$' | b'=' | b'!')) {
        return None;
    }
    let length: i64 = std::str::from_utf8(&line[1..]).ok()?.parse().ok()?;
    usize::try_from(length).ok()
}

fn parse(bytes: &[u8], at: &mut usize) -> Option<Reply> {
    let end = *at + bytes.get(*at..)?.windows(2).position(|pair| pair == b"\r\n")?;
    let line = &bytes[*at..end];
    *at = end + 2;
    let rest = line.get(1..)?;
    if let Some(length) = payload(line) {
        let body = bytes.get(*at..*at + length)?.to_vec();
        *at += length + 2;
        return Some(match line[0] {
            b'$' => Reply::Bulk(body),
            b'=' => Reply::Verbatim(body),
            _ => Reply::BlobError(body),
        });
    }
    match line[0] {
        b'+' => Some(Reply::Simple(rest.to_vec())),
        b'-' => Some(Reply::Error(rest.to_vec())),
        b':' => Some(Reply::Int(std::str::from_utf8(rest).ok()?.parse().ok()?)),
        b'_' => Some(Reply::Null),
        b',' => Some(Reply::Double(rest.to_vec())),
        b'#' => Some(Reply::Bool(rest == b"t")),
        b'(' => Some(Reply::BigNumber(rest.to_vec())),
        b'$' if rest == b"-1" => Some(Reply::NullBulk),
        b'*' if rest == b"-1" => Some(Reply::NullArray),
        kind => {
            let items = (0..children(line)?).map(|_| parse(bytes, at)).collect::<Option<Vec<_>>>()?;
            match kind {
                b'*' => Some(Reply::Array(items)),
                b'~' => Some(Reply::Set(items)),
                b'%' => Some(Reply::Map(items)),
                b'>' => Some(Reply::Push(items)),
                _ => None,
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, items: &[Reply], close: &str| {
            let items: Vec<String> = items.iter().map(Reply::to_string).collect();
            write!(f, "{open}{}{close}", items.join(", "))
        };
        match self {
            Reply::Simple(text) => write!(f, "+{}", text.escape_ascii()),
            Reply::Error(text) => write!(f, "-{}", text.escape_ascii()),
            Reply::Int(n) => write!(f, ":{n}"),
            Reply::Bulk(text) => write!(f, "\"{}\"", text.escape_ascii()),
            Reply::NullBulk => write!(f, "$-1"),
            Reply::NullArray => write!(f, "*-1"),
            Reply::Null => write!(f, "_"),
            Reply::Double(text) => write!(f, ",{}", text.escape_ascii()),
            Reply::Bool(value) => write!(f, "#{value}"),
            Reply::BigNumber(text) => write!(f, "({}", text.escape_ascii()),
            Reply::BlobError(text) => write!(f, "!{}", text.escape_ascii()),
            Reply::Verbatim(text) => write!(f, "={}", text.escape_ascii()),
            Reply::Array(items) => list(f, "[", items, "]"),
            Reply::Set(items) => list(f, "~[", items, "]"),
            Reply::Map(items) => list(f, "%{", items, "}"),
            Reply::Push(items) => list(f, ">[", items, "]"),
            Reply::Closed(why) => write!(f, "<closed: {why}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_every_kind_parse() {
        let cases: &[(&[u8], &str)] = &[
            (b"+OK\r\n", "+OK"),
            (b"-ERR x\r\n", "-ERR x"),
            (b":-3\r\n", ":-3"),
            (b"$3\r\na\r\n\r\n", "\"a\\r\\n\""),
            (b"$-1\r\n", "$-1"),
            (b"*-1\r\n", "*-1"),
            (b"_\r\n", "_"),
            (b",inf\r\n", ",inf"),
            (b"=7\r\ntxt:abc\r\n", "=txt:abc"),
            (b"*2\r\n:1\r\n*0\r\n", "[:1, []]"),
            (b"%1\r\n+k\r\n~1\r\n#t\r\n", "%{+k, ~[#true]}"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(Reply::parse(bytes).to_string(), *shown);
        }
        assert!(matches!(Reply::parse(b"*2\r\n:1\r\n"), Reply::Closed(_)));
    }
}
