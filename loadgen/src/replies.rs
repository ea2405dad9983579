//! Tells the replies in a RESP2 or RESP3 byte stream apart without keeping them: where each ends and whether it is an
//! error, a null or something else. Bulk bodies are skipped, aggregates are counted down, so memory and depth are
//! bounded whatever the server sends. Pushes and attributes answer no request and are passed over. Not understood are
//! the streamed types (`$?`, `*?`), which no server sends.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Value,
    Null,
    Error,
}

/// Where the parts of replies go.
pub trait Sink {
    /// The text, cut at 256 bytes, of the error reply that `reply` is about to announce.
    fn error(&mut self, _text: &[u8]) {}

    /// The next bytes of a bulk string that is the whole reply.
    fn body(&mut self, _piece: &[u8]) {}

    /// The end of a reply that took `bytes` of the stream, with the asides before it.
    fn reply(&mut self, answer: Answer, bytes: u64);
}

/// The stream is not RESP; nothing after this point can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Longest header line kept while it arrives in pieces, and of an error text. A type byte, 20 digits and CRLF need 23;
/// the rest is for error texts, of which only the beginning is wanted.
const LINE_KEPT: usize = 256;

/// What the elements now counted down belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Reply(Answer),
    /// A push, or an attribute before its reply.
    Aside,
}

/// What becomes of the bulk body that is passing by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    #[default]
    Skipped,
    /// It is the whole reply: shown to the sink.
    Shown,
    /// It is the text of an error reply: kept in `line`.
    Error,
}

/// Bytes after a bulk body.
const CRLF: u64 = 2;

#[derive(Default)]
pub struct Skimmer {
    /// Bytes of a bulk body, and its CRLF, still to pass by.
    skip: u64,
    body: Body,
    /// Elements still to come until the present frame is whole; 0 = between frames.
    elements: u64,
    frame: Option<Frame>,
    /// A line whose end has not arrived, or the text of a bulk error, cut at `LINE_KEPT`.
    line: Vec<u8>,
    /// Bytes since the last reply ended.
    size: u64,
}

impl Skimmer {
    /// Takes the next bytes of the stream and tells `sink` of every reply that ends in them.
    pub fn feed(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        loop {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len() as u64);
                if self.body != Body::Skipped {
                    self.take_body(&bytes[..passed.min(self.skip.saturating_sub(CRLF)) as usize], sink);
                }
                self.skip -= passed;
                self.size += passed;
                bytes = &bytes[passed as usize..];
                if self.skip > 0 {
                    return Ok(());
                }
                if self.body == Body::Error {
                    sink.error(&self.line);
                    self.line.clear();
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

    fn take_body(&mut self, piece: &[u8], sink: &mut impl Sink) {
        match self.body {
            Body::Skipped => {}
            Body::Shown => sink.body(piece),
            Body::Error => self.keep(piece),
        }
    }

    fn line_done(&mut self, line: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        let (&kind, rest) = line.split_first().ok_or(Malformed)?;
        let text = rest.trim_ascii_end();
        match kind {
            b'+' | b':' | b',' | b'(' | b'#' => self.begin(Frame::Reply(Answer::Value)),
            b'_' => self.begin(Frame::Reply(Answer::Null)),
            b'-' => {
                if self.frame.is_none() {
                    sink.error(text);
                }
                self.begin(Frame::Reply(Answer::Error));
            }
            b'$' | b'=' | b'!' => return self.begin_bulk(kind, text, sink),
            b'*' | b'~' | b'%' => {
                let Some(len) = length(text)? else {
                    self.begin(Frame::Reply(Answer::Null));
                    self.element_done(sink);
                    return Ok(());
                };
                self.begin(Frame::Reply(Answer::Value));
                self.expect(if kind == b'%' { 2 * len } else { len })?;
            }
            b'|' | b'>' => return self.begin_aside(kind, text, sink),
            _ => return Err(Malformed),
        }
        self.element_done(sink);
        Ok(())
    }

    fn begin_bulk(&mut self, kind: u8, text: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        let outermost = self.frame.is_none();
        let Some(len) = length(text)? else {
            self.begin(Frame::Reply(Answer::Null));
            self.element_done(sink);
            return Ok(());
        };
        self.body = match kind {
            b'!' if outermost => Body::Error,
            b'$' if outermost => Body::Shown,
            _ => Body::Skipped,
        };
        self.begin(Frame::Reply(if kind == b'!' { Answer::Error } else { Answer::Value }));
        self.skip = len + CRLF;
        Ok(())
    }

    /// A push stands between replies; an attribute also before an element of one, as which it does not count.
    fn begin_aside(&mut self, kind: u8, text: &[u8], sink: &mut impl Sink) -> Result<(), Malformed> {
        let len = length(text)?.ok_or(Malformed)?;
        if self.frame.is_some() {
            return if kind == b'|' { self.expect(2 * len) } else { Err(Malformed) };
        }
        self.begin(Frame::Aside);
        self.expect(if kind == b'|' { 2 * len } else { len })?;
        self.element_done(sink);
        Ok(())
    }

    /// An element begins; the outermost one decides what the frame is.
    fn begin(&mut self, frame: Frame) {
        if self.frame.is_none() {
            self.frame = Some(frame);
            self.elements = 1;
        }
    }

    fn expect(&mut self, more: u64) -> Result<(), Malformed> {
        self.elements = self.elements.checked_add(more).ok_or(Malformed)?;
        Ok(())
    }

    fn element_done(&mut self, sink: &mut impl Sink) {
        self.elements -= 1;
        if self.elements == 0
            && let Frame::Reply(answer) = self.frame.take().expect("an element was begun by its line")
        {
            sink.reply(answer, std::mem::take(&mut self.size));
        }
    }
}

/// The length in a header, `None` for -1. The bound keeps sums of lengths far from overflow.
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

    /// Every type of RESP2 and RESP3, nested ones among them, and pushes and attributes wherever they may stand.
    const STREAM: &[u8] = b"+OK\r\n$-1\r\n-ERR no\r\n$5\r\na\r\nbc\r\n\
        *2\r\n$1\r\nx\r\n*2\r\n:1\r\n-ERR inner\r\n*0\r\n*-1\r\n$0\r\n\r\n:7\r\n\
        _\r\n#t\r\n,1.5\r\n(12345678901234567890123\r\n=7\r\ntxt:abc\r\n!6\r\nBAD \r\n\r\n\
        %2\r\n+a\r\n*1\r\n!3\r\nERR\r\n+b\r\n_\r\n~1\r\n:5\r\n%0\r\n\
        >2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n|1\r\n+ttl\r\n:3\r\n$2\r\nhi\r\n>0\r\n|0\r\n\
        *2\r\n|1\r\n+n\r\n*1\r\n:0\r\n:1\r\n:2\r\n";

    /// What a sink is told, as text: bodies joined, errors, answers.
    #[derive(Default)]
    struct Told {
        answers: Vec<Answer>,
        errors: Vec<String>,
        bodies: String,
        bytes: u64,
    }

    impl Sink for Told {
        fn reply(&mut self, answer: Answer, bytes: u64) {
            self.answers.push(answer);
            self.bytes += bytes;
        }
        fn error(&mut self, text: &[u8]) {
            self.errors.push(String::from_utf8_lossy(text).into_owned());
        }
        fn body(&mut self, piece: &[u8]) {
            self.bodies.push_str(&String::from_utf8_lossy(piece));
        }
    }

    fn skim(pieces: &[&[u8]]) -> Result<Told, Malformed> {
        let mut skimmer = Skimmer::default();
        let mut told = Told::default();
        for piece in pieces {
            skimmer.feed(piece, &mut told)?;
        }
        Ok(told)
    }

    fn answers() -> Vec<Answer> {
        let letters = "VNEVVVNVVNVVVVEVVVVV";
        let answer = |letter| match letter {
            'V' => Answer::Value,
            'N' => Answer::Null,
            _ => Answer::Error,
        };
        letters.chars().map(answer).collect()
    }

    #[test]
    fn replies_are_told_apart_wherever_the_stream_is_cut() {
        for first in 0..=STREAM.len() {
            for second in first..=STREAM.len() {
                let pieces = [&STREAM[..first], &STREAM[first..second], &STREAM[second..]];
                let told = skim(&pieces).expect("well-formed");
                assert_eq!(told.answers, answers(), "cut at {first} and {second}");
                assert_eq!(told.errors, ["ERR no", "BAD \r\n"], "cut at {first} and {second}");
                assert_eq!(told.bodies, "a\r\nbchi", "cut at {first} and {second}");
                assert_eq!(told.bytes, STREAM.len() as u64, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn the_text_of_an_error_is_bounded() {
        let body = "y".repeat(10_000);
        for long in [format!("-ERR {body}\r\n"), format!("!10004\r\nERR {body}\r\n")] {
            let mut skimmer = Skimmer::default();
            let mut told = Told::default();
            for byte in long.bytes() {
                skimmer.feed(&[byte], &mut told).expect("well-formed");
            }
            let [text] = told.errors.as_slice() else { panic!("{} errors", told.errors.len()) };
            assert!(text.starts_with("ERR yyy") && text.len() <= LINE_KEPT);
        }
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        let cases = ["hello\r\n", "$x\r\n", "$-2\r\n", "*9999999999999999999\r\n", "\n", "$?\r\n"];
        let nested = ["*1\r\n>1\r\n", "%-2\r\n", ">-1\r\n", "|-1\r\n", "HTTP/1.1 400 Bad Request\r\n"];
        for text in cases.into_iter().chain(nested) {
            assert!(skim(&[text.as_bytes()]).is_err(), "{}", text.escape_debug());
        }
    }
}
