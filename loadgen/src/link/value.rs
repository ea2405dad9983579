//! Whole replies, for the conversation before the load: read from a blocking stream, bounded in bytes and depth.
//! The load itself only skims its replies (`replies`).

use std::io::{self, BufRead, ErrorKind, Read};

/// Most bytes of one reply: a cluster of 1,000 nodes describes itself in a fifth of this.
const LONGEST_REPLY: u64 = 4 << 20;

const DEEPEST: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string of any type; also doubles, booleans and big numbers, as they were written.
    Text(Vec<u8>),
    Number(i64),
    Null,
    Error(String),
    /// An array, a set, or a map's keys and values in turn.
    List(Vec<Value>),
}

/// Why no value came.
#[derive(Debug)]
pub enum Unread {
    Io(io::Error),
    /// The stream is not RESP: what stood there instead.
    NotResp(Vec<u8>),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Value {
    /// The next reply of `input`; pushes and attributes are passed over.
    pub fn read(input: &mut impl BufRead) -> Result<Self, Unread> {
        let mut input = input.take(LONGEST_REPLY);
        loop {
            if let Some(value) = read_frame(&mut input, 0)? {
                return Ok(value);
            }
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// In a map: the value of `key`.
    pub fn field(&self, key: &str) -> Option<&Self> {
        let pairs = self.list()?.chunks_exact(2);
        pairs.filter(|pair| pair[0].text() == Some(key)).map(|pair| &pair[1]).next()
    }
}

/// One frame; `None` for a push or an attribute.
fn read_frame<R: BufRead>(input: &mut io::Take<R>, depth: u32) -> Result<Option<Value>, Unread> {
    let line = read_line(input)?;
    let malformed = || Unread::NotResp(line.clone());
    let (&kind, rest) = line.split_first().ok_or_else(malformed)?;
    let text = std::str::from_utf8(rest).unwrap_or_default();
    let number = || text.parse::<i64>().map_err(|_| malformed());
    Ok(Some(match kind {
        b'+' | b',' | b'(' | b'#' => Value::Text(rest.to_vec()),
        b'-' => Value::Error(String::from_utf8_lossy(rest).into_owned()),
        b':' => Value::Number(number()?),
        b'_' => Value::Null,
        b'$' | b'=' | b'!' => match number()? {
            -1 => Value::Null,
            len => {
                let body = read_body(input, u64::try_from(len).map_err(|_| malformed())?)?;
                match kind {
                    b'!' => Value::Error(String::from_utf8_lossy(&body).into_owned()),
                    // A verbatim string starts with its format, as in `txt:`.
                    b'=' => Value::Text(body.get(4..).unwrap_or_default().to_vec()),
                    _ => Value::Text(body),
                }
            }
        },
        b'*' | b'~' | b'%' | b'>' | b'|' => match number()? {
            -1 => Value::Null,
            len => {
                let pairs = matches!(kind, b'%' | b'|');
                let len = len.checked_mul(if pairs { 2 } else { 1 }).ok_or_else(malformed)?;
                let list = read_list(input, u64::try_from(len).map_err(|_| malformed())?, depth)?;
                if matches!(kind, b'>' | b'|') {
                    return Ok(None);
                }
                Value::List(list)
            }
        },
        _ => return Err(malformed()),
    }))
}

fn read_list<R: BufRead>(input: &mut io::Take<R>, len: u64, depth: u32) -> Result<Vec<Value>, Unread> {
    if depth == DEEPEST {
        return Err(too_much("nested too deeply"));
    }
    let mut list = Vec::new();
    while (list.len() as u64) < len {
        list.extend(read_frame(input, depth + 1)?);
    }
    Ok(list)
}

fn read_line<R: BufRead>(input: &mut io::Take<R>) -> Result<Vec<u8>, Unread> {
    let mut line = Vec::new();
    // Not RESP is seen by the first byte: what follows it may lack a line end for ever.
    let first = input.fill_buf()?.first().copied();
    if first.is_some_and(|byte| !b"+-:$*_,(#=!~%>|".contains(&byte)) {
        return Err(Unread::NotResp(input.fill_buf()?.to_vec()));
    }
    input.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(ended(input));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn read_body<R: BufRead>(input: &mut io::Take<R>, len: u64) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    let whole = len.saturating_add(2);
    let taken = input.by_ref().take(whole).read_to_end(&mut body)?;
    if (taken as u64) < whole {
        return Err(ended(input));
    }
    body.truncate(body.len() - 2);
    Ok(body)
}

/// The input ended inside a reply: the peer closed, or the reply is longer than what is read of one.
fn ended<R>(input: &io::Take<R>) -> Unread {
    if input.limit() == 0 {
        too_much("longer than 4 MiB")
    } else {
        Unread::Io(ErrorKind::UnexpectedEof.into())
    }
}

fn too_much(how: &str) -> Unread {
    Unread::Io(io::Error::new(ErrorKind::InvalidData, format!("a reply {how}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value, Unread> {
        Value::read(&mut text.as_bytes())
    }

    #[test]
    fn replies_become_values_and_asides_are_passed_over() {
        let text = |text: &str| Value::Text(text.into());
        let map =
            "|1\r\n+a\r\n:1\r\n>1\r\n+p\r\n%2\r\n$5\r\nproto\r\n:3\r\n+s\r\n*2\r\n_\r\n=6\r\ntxt:hi\r\n";
        let value = read(map).expect("well-formed");
        assert_eq!(value.field("proto").and_then(Value::number), Some(3));
        assert_eq!(value.field("s"), Some(&Value::List(vec![Value::Null, text("hi")])));
        assert_eq!(read("!6\r\nERR no\r\n").ok(), Some(Value::Error("ERR no".into())));
        assert_eq!(read("*-1\r\n").ok(), Some(Value::Null));
    }

    #[test]
    fn whatever_comes_is_refused_within_bounds() {
        for text in
            ["HTTP/1.1 400\r\n", "$x\r\n", "$-2\r\n", "*-7\r\n", "%9223372036854775807\r\n", "SSH-2.0"]
        {
            assert!(matches!(read(text), Err(Unread::NotResp(_))), "{text}");
        }
        let (deep, long) = ("*1\r\n".repeat(1000), format!("$9000000\r\n{}", "x".repeat(8 << 20)));
        let huge = ["*9223372036854775807\r\n:1\r\n", "$9223372036854775807\r\nx", "+never", ""];
        for text in huge.into_iter().chain([deep.as_str(), long.as_str()]) {
            assert!(matches!(read(text), Err(Unread::Io(_))), "{}", &text[..text.len().min(30)]);
        }
    }
}
