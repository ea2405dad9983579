//! Tells the replies in a RESP2 byte stream apart without keeping them: where each ends and whether it is an error, a
//! null or something else. Bulk bodies are skipped, arrays are counted down, so memory and depth are bounded whatever
//! the server sends.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Value,
    Null,
    Error,
}

/// Where the parts of replies go.
pub trait Sink {
    /// The text of an error reply, before its end.
    fn error(&mut self, _text: &[u8]) {}

    /// The next bytes of a bulk string, before its end.
    fn body(&mut self, _piece: &[u8]) {}

    /// The end of a reply that took `bytes` of the stream.
    fn reply(&mut self, answer: Answer, bytes: u64);
}

/// The stream is not RESP2; nothing after this point can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Longest header line kept while it arrives in pieces, and of an error text. A type byte, 20 digits and CRLF need 23;
/// the rest is for error texts, of which only the beginning is wanted.
const LINE_KEPT: usize = 256;

#[derive(Default)]
pub struct Skimmer {
    /// Bytes of a bulk body, and its CRLF, still to pass by.
    skip: u64,
    /// Elements still to come until the present reply is whole; 0 = between replies.
    elements: u64,
    answer: Option<Answer>,
    /// A line whose end has not arrived, cut at `LINE_KEPT`.
    line: Vec<u8>,
    /// Bytes of the present reply so far.
    size: u64,
}

impl Skimmer {
    /// Takes the next bytes of the stream and tells `sink` of every reply in them.
    pub fn feed(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        loop {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len() as u64);
                let body = self.skip.saturating_sub(2).min(passed);
                sink.body(&bytes[..body as usize]);
                self.skip -= passed;
                self.size += passed;
                bytes = &bytes[passed as usize..];
                if self.skip > 0 {
                    return Ok(());
                }
                self.element_done(sink);
            }
            let Some(newline) = memchr::memchr(b'\n', bytes) else {
                self.keep(bytes);
                self.size += bytes.len() as u64;
                return Ok(());
            };
            let (head, rest) = bytes.split_at(newline + 1);
            bytes = rest;
            self.size += head.len() as u64;
            if self.line.is_empty() {
                self.line_done(head, sink)?;
            } else {
                self.keep(head);
                let mut line = std::mem::take(&mut self.line);
                let done = self.line_done(&line, sink);
                line.clear();
                self.line = line;
                done?;
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_KEPT.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn line_done(&mut self, line: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        let (&kind, rest) = line.split_first().ok_or(Malformed)?;
        let text = rest.trim_ascii_end();
        match kind {
            b'+' | b':' => self.begin(Answer::Value),
            b'-' => {
                if self.answer.is_none() {
                    sink.error(text);
                }
                self.begin(Answer::Error);
            }
            b'$' => match length(text)? {
                None => self.begin(Answer::Null),
                Some(len) => {
                    self.begin(Answer::Value);
                    self.skip = len + 2;
                    return Ok(());
                }
            },
            b'*' => match length(text)? {
                None => self.begin(Answer::Null),
                Some(len) => {
                    self.begin(Answer::Value);
                    self.elements = self.elements.checked_add(len).ok_or(Malformed)?;
                }
            },
            _ => return Err(Malformed),
        }
        self.element_done(sink);
        Ok(())
    }

    /// An element begins; the outermost one decides what the reply is.
    fn begin(&mut self, answer: Answer) {
        if self.answer.is_none() {
            self.answer = Some(answer);
            self.elements = 1;
        }
    }

    fn element_done(&mut self, sink: &mut impl Sink) {
        self.elements -= 1;
        if self.elements == 0 {
            let answer = self.answer.take().expect("an element was begun by its line");
            sink.reply(answer, std::mem::take(&mut self.size));
        }
    }
}

/// The length of a `$` or `*` header, `None` for -1. The bound keeps sums of lengths far from overflow.
fn length(text: &[u8]) -> Result<Option<u64>, Malformed> {
    if text == b"-1" {
        return Ok(None);
    }
    if text.is_empty() || text.len() > 12 || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(Some(text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"+OK\r\n$-1\r\n-ERR no\r\n$5\r\na\r\nbc\r\n*2\r\n$1\r\nx\r\n*2\r\n:1\r\n-ERR inner\r\n*0\r\n*-1\r\n$0\r\n\r\n:7\r\n";
    const ANSWERS: [Answer; 9] = [
        Answer::Value,
        Answer::Null,
        Answer::Error,
        Answer::Value,
        Answer::Value,
        Answer::Value,
        Answer::Null,
        Answer::Value,
        Answer::Value,
    ];

    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        answers: Vec<Answer>,
        errors: Vec<String>,
        bodies: Vec<u8>,
        bytes: u64,
    }

    impl Sink for Seen {
        fn error(&mut self, text: &[u8]) {
            self.errors.push(String::from_utf8_lossy(text).into_owned());
        }

        fn body(&mut self, piece: &[u8]) {
            self.bodies.extend_from_slice(piece);
        }

        fn reply(&mut self, answer: Answer, bytes: u64) {
            self.answers.push(answer);
            self.bytes += bytes;
        }
    }

    fn skim(pieces: &[&[u8]]) -> Result<Seen, Malformed> {
        let mut skimmer = Skimmer::default();
        let mut seen = Seen::default();
        for piece in pieces {
            skimmer.feed(piece, &mut seen)?;
        }
        Ok(seen)
    }

    #[test]
    fn replies_are_told_apart_wherever_the_stream_is_cut() {
        let whole = skim(&[STREAM]).expect("well-formed");
        assert_eq!(whole.answers, ANSWERS);
        assert_eq!((whole.bodies.as_slice(), whole.bytes), (b"a\r\nbcx".as_slice(), STREAM.len() as u64));
        assert_eq!(whole.errors, ["ERR no"], "an error inside an array is not the reply");
        for first in 0..STREAM.len() {
            for second in first..STREAM.len() {
                let pieces = [&STREAM[..first], &STREAM[first..second], &STREAM[second..]];
                assert_eq!(skim(&pieces).as_ref(), Ok(&whole), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_error_text_that_comes_in_pieces_is_bounded() {
        let (mut skimmer, mut seen) = (Skimmer::default(), Seen::default());
        for byte in format!("-ERR {}\r\n", "y".repeat(10_000)).bytes() {
            skimmer.feed(&[byte], &mut seen).expect("well-formed");
        }
        assert!(seen.errors[0].starts_with("ERR yyy") && seen.errors[0].len() <= LINE_KEPT);
    }

    #[test]
    fn what_is_not_resp2_is_refused() {
        for bytes in [b"hello\r\n".as_slice(), b"$x\r\n", b"$-2\r\n", b"*9999999999999999999\r\n", b"\n"] {
            assert_eq!(skim(&[bytes]), Err(Malformed), "{}", bytes.escape_ascii());
        }
    }
}
