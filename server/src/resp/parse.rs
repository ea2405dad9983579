//! The incremental command parser: a query buffer's bytes into commands, without copying an argument.
//!
//! Owns no buffer. The caller shows the unconsumed bytes again with more behind them; a command that is
//! long in arguments (or a line that is long) is resumed where it stopped, so that any command is read in
//! linear time however it is cut up. Knows the two request forms, never what a command means.

use std::borrow::Cow;

use super::inline::split_words;
use super::{Argv, Span, parse_i64};
use crate::limits::{
    COMMANDS_PER_BATCH, KEEP_BUFFER, MAX_ARGUMENTS, MAX_INLINE, UNAUTHENTICATED_ARGUMENTS,
    UNAUTHENTICATED_BULK,
};

/// Bytes of one command, far above any query buffer limit: with it every offset of a command that starts
/// in the first `MAX_COMMAND` bytes of a buffer fits in 32 bits.
const MAX_COMMAND: usize = 1 << 31;

/// A half-received command with fewer arguments than this is parsed anew when more of it arrives: cheaper
/// than an allocation to remember them.
const REMEMBER_ARGUMENTS: usize = 32;

/// Bytes of an unfinished line from which on the search for its end is resumed instead of repeated.
const REMEMBER_LINE: usize = 256;

/// What the session's state and the settings allow right now.
#[derive(Clone, Copy, Debug)]
pub struct ParseLimits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub max_bulk: u64,
    /// Until a client has authenticated it may send short commands only.
    pub authenticated: bool,
}

/// One parsed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Index of its first span.
    pub first: u32,
    /// Arguments, the command's name included; at least 1.
    pub argc: u32,
    /// Offset in the buffer just behind the command.
    pub end: u32,
    /// Its arguments lie in the arena, unescaped, instead of in the buffer.
    pub inline: bool,
}

/// The commands of one call of [`Parser::parse`]. Kept by the caller so that its memory is reused.
#[derive(Debug, Default)]
pub struct Commands {
    frames: Vec<Frame>,
    spans: Vec<Span>,
    arena: Vec<u8>,
}

impl Commands {
    #[inline]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Forgets the commands; gives memory back that only an unusually large batch needed.
    #[inline]
    pub fn clear(&mut self) {
        self.frames.clear();
        self.spans.clear();
        self.arena.clear();
        if self.spans.capacity() > KEEP_BUFFER / size_of::<Span>() || self.arena.capacity() > KEEP_BUFFER {
            self.spans = Vec::new();
            self.arena = Vec::new();
        }
    }

    /// Arguments of command `index`. `buf` must be the buffer that was parsed.
    #[inline]
    pub fn argv<'a>(&'a self, index: usize, buf: &'a [u8]) -> Argv<'a> {
        let frame = self.frames[index];
        let spans = &self.spans[frame.first as usize..][..frame.argc as usize];
        Argv::new(if frame.inline { &self.arena } else { buf }, spans)
    }

    /// Offset in the parsed buffer just behind command `index`.
    #[inline]
    pub fn end(&self, index: usize) -> usize {
        self.frames[index].end as usize
    }

    #[inline]
    pub fn frame(&self, index: usize) -> Frame {
        self.frames[index]
    }

    /// Bytes of memory held, for accounting.
    pub fn memory(&self) -> usize {
        self.frames.capacity() * size_of::<Frame>()
            + self.spans.capacity() * size_of::<Span>()
            + self.arena.capacity()
    }
}

/// How the client broke the protocol. The connection is closed after the error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    InvalidMultibulk,
    InvalidBulk,
    /// What stands where an argument's `$` should.
    ExpectedBulk(u8),
    LongMultibulkLine,
    LongBulkLine,
    LongInline,
    UnbalancedQuotes,
    UnauthenticatedMultibulk,
    UnauthenticatedBulk,
}

impl ProtocolError {
    /// The line of the error reply: no leading `-`, no line ending. For logs: a byte that is not ASCII is
    /// shown as U+FFFD.
    pub fn line(&self) -> Cow<'static, str> {
        match *self {
            ProtocolError::InvalidMultibulk => Cow::Borrowed("ERR Protocol error: invalid multibulk length"),
            ProtocolError::InvalidBulk => Cow::Borrowed("ERR Protocol error: invalid bulk length"),
            ProtocolError::ExpectedBulk(got) => {
                let got = if got.is_ascii() { got as char } else { char::REPLACEMENT_CHARACTER };
                Cow::Owned(format!("ERR Protocol error: expected '$', got '{got}'"))
            }
            ProtocolError::LongMultibulkLine => {
                Cow::Borrowed("ERR Protocol error: too big mbulk count string")
            }
            ProtocolError::LongBulkLine => Cow::Borrowed("ERR Protocol error: too big bulk count string"),
            ProtocolError::LongInline => Cow::Borrowed("ERR Protocol error: too big inline request"),
            ProtocolError::UnbalancedQuotes => {
                Cow::Borrowed("ERR Protocol error: unbalanced quotes in request")
            }
            ProtocolError::UnauthenticatedMultibulk => {
                Cow::Borrowed("ERR Protocol error: unauthenticated multibulk length")
            }
            ProtocolError::UnauthenticatedBulk => {
                Cow::Borrowed("ERR Protocol error: unauthenticated bulk length")
            }
        }
    }

    /// [`ProtocolError::line`] with the client's byte as it is.
    pub fn line_bytes(&self) -> Vec<u8> {
        match *self {
            ProtocolError::ExpectedBulk(got) => {
                [b"ERR Protocol error: expected '$', got '", &[got][..], b"'"].concat()
            }
            _ => self.line().into_owned().into_bytes(),
        }
    }
}

/// Where a half-received command stopped. Offsets count from the command's first byte.
#[derive(Debug)]
struct Partial {
    spans: Vec<Span>,
    point: Point,
}

/// A place between two lines of a command.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Offset of the line (or of an argument's `$` line) to read next.
    at: usize,
    /// Arguments still to read; None before the `*` line.
    missing: Option<u32>,
    /// Bytes of the line at `at` that are known to hold no line ending.
    scanned: usize,
}

const START: Point = Point { at: 0, missing: None, scanned: 0 };

/// What one attempt to read a command came to. Offsets count from the command's first byte.
enum Step {
    /// Whole; it ends here. Its spans (none for an empty command) were appended.
    Whole(usize),
    /// More bytes are needed: at least up to `wanted`, if that is known (else 0).
    More { point: Point, wanted: usize },
}

/// Parser state of one connection. No heap memory between commands.
#[derive(Debug, Default)]
pub struct Parser {
    partial: Option<Box<Partial>>,
    wanted: u32,
}

impl Parser {
    /// Parses whole commands from `buf` into `commands` (cleared first), at most `COMMANDS_PER_BATCH`.
    /// Returns the bytes consumed: those of whole commands, empty lines and empty multibulks. The caller
    /// comes back with the rest: at once if there were commands, else once it has received more.
    ///
    /// Commands in front of a protocol error are delivered first; the next call returns the error.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &ParseLimits,
        commands: &mut Commands,
    ) -> Result<usize, ProtocolError> {
        commands.clear();
        self.wanted = 0;
        let mut point = START;
        if let Some(partial) = self.partial.take() {
            commands.spans = partial.spans;
            point = partial.point;
        }
        let mut start = 0;
        let mut first = 0;
        while start < buf.len() && commands.frames.len() < COMMANDS_PER_BATCH && start < MAX_COMMAND {
            let inline = buf[start] != b'*';
            let step = if inline {
                read_inline(&buf[start..], point.scanned, commands)
            } else {
                read_multibulk(buf, start, point, limits, &mut commands.spans)
            };
            match step {
                Ok(Step::Whole(len)) => {
                    start += len;
                    point = START;
                    let argc = commands.spans.len() - first;
                    if argc > 0 {
                        let frame =
                            Frame { first: first as u32, argc: argc as u32, end: start as u32, inline };
                        commands.frames.push(frame);
                        first = commands.spans.len();
                    }
                }
                Ok(Step::More { point, wanted }) => {
                    self.remember(start, first, point, wanted, commands);
                    break;
                }
                Err(error) => {
                    commands.spans.truncate(first);
                    if commands.is_empty() {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        Ok(start)
    }

    /// Bytes the half-received command needs at least, counted from its first byte; 0 if not known. A claim
    /// of the client: a caller that reserves should grow towards it as bytes arrive.
    #[inline]
    pub fn wanted(&self) -> usize {
        self.wanted as usize
    }

    /// Bytes of memory held for a half-received command.
    pub fn memory(&self) -> usize {
        let size = |partial: &Partial| size_of::<Partial>() + partial.spans.capacity() * size_of::<Span>();
        self.partial.as_deref().map_or(0, size)
    }

    #[inline]
    fn remember(&mut self, start: usize, first: usize, point: Point, wanted: usize, commands: &mut Commands) {
        self.wanted = wanted as u32;
        if commands.spans.len() - first < REMEMBER_ARGUMENTS && point.scanned < REMEMBER_LINE {
            commands.spans.truncate(first);
            return;
        }
        // A list that just grew is handed over; one with much room to spare stays and its content is copied.
        let all = first == 0 && commands.spans.len() >= commands.spans.capacity() / 2;
        let mut spans =
            if all { std::mem::take(&mut commands.spans) } else { commands.spans.split_off(first) };
        spans.iter_mut().for_each(|span| span.start -= start as u32);
        self.partial = Some(Box::new(Partial { spans, point }));
    }
}

/// Reads the line at the head of `rest`; its words go to the arena.
#[cold]
fn read_inline(rest: &[u8], scanned: usize, commands: &mut Commands) -> Result<Step, ProtocolError> {
    let window = &rest[..rest.len().min(MAX_INLINE + 1)];
    let Some(offset) = memchr::memchr(b'\n', &window[scanned..]) else {
        if rest.len() > MAX_INLINE {
            return Err(ProtocolError::LongInline);
        }
        return Ok(Step::More { point: Point { scanned: rest.len(), ..START }, wanted: 0 });
    };
    let end = scanned + offset;
    let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    split_words(line, &mut commands.arena, &mut commands.spans)
        .map_err(|_| ProtocolError::UnbalancedQuotes)?;
    Ok(Step::Whole(end + 1))
}

/// Reads the multibulk command that begins at `start`, going on at `point`.
#[inline]
fn read_multibulk(
    buf: &[u8],
    start: usize,
    point: Point,
    limits: &ParseLimits,
    spans: &mut Vec<Span>,
) -> Result<Step, ProtocolError> {
    let mut at = start + point.at;
    let mut scanned = point.scanned;
    let mut missing = match point.missing {
        Some(missing) => missing,
        None => match read_count(&buf[at..], scanned, limits)? {
            Line::Length(count, len) => {
                at += len;
                scanned = 0;
                count as u32
            }
            Line::More(scanned) => return Ok(Step::More { point: Point { scanned, ..START }, wanted: 0 }),
        },
    };
    while missing > 0 {
        let more = |scanned, wanted| {
            let point = Point { at: at - start, missing: Some(missing), scanned };
            Ok(Step::More { point, wanted })
        };
        let (len, body) = match read_bulk_len(&buf[at..], scanned, limits)? {
            Line::Length(len, line) => (len, at + line),
            Line::More(scanned) => return more(scanned, 0),
        };
        scanned = 0;
        // The two bytes behind an argument are skipped unseen, as by the reference server.
        let end = body + len + 2;
        if end - start > MAX_COMMAND {
            return Err(ProtocolError::InvalidBulk);
        }
        if end > buf.len() {
            return more(0, end - start);
        }
        spans.push(Span { start: body as u32, len: len as u32 });
        at = end;
        missing -= 1;
    }
    Ok(Step::Whole(at - start))
}

/// A `*` or `$` line.
enum Line {
    /// Its number and its length in bytes, the ending included.
    Length(usize, usize),
    /// Not whole; so many bytes of it hold no ending. (Its `\r` may have come without the byte behind it.)
    More(usize),
}

/// One to three digits at the head of `digits` with a line ending behind: the common case.
#[inline]
fn short_length(digits: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: u8| byte.wrapping_sub(b'0') as usize;
    match *digits {
        [a @ b'0'..=b'9', b'\r', _, ..] => Some((digit(a), 3)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..] => Some((digit(a) * 10 + digit(b), 4)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', _, ..] => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), 5))
        }
        _ => None,
    }
}

#[inline]
fn read_count(rest: &[u8], scanned: usize, limits: &ParseLimits) -> Result<Line, ProtocolError> {
    if let Some((count, len)) = short_length(&rest[1..])
        && count <= UNAUTHENTICATED_ARGUMENTS
    {
        return Ok(Line::Length(count, len + 1));
    }
    read_long_count(rest, scanned, limits)
}

#[inline(never)]
fn read_long_count(rest: &[u8], scanned: usize, limits: &ParseLimits) -> Result<Line, ProtocolError> {
    let Some(end) = find_line_end(rest, scanned, ProtocolError::LongMultibulkLine)? else {
        return Ok(Line::More(rest.len().saturating_sub(1)));
    };
    let count = parse_i64(&rest[1..end]).ok_or(ProtocolError::InvalidMultibulk)?;
    if count > MAX_ARGUMENTS as i64 {
        return Err(ProtocolError::InvalidMultibulk);
    }
    if count > UNAUTHENTICATED_ARGUMENTS as i64 && !limits.authenticated {
        return Err(ProtocolError::UnauthenticatedMultibulk);
    }
    Ok(Line::Length(count.max(0) as usize, end + 2))
}

#[inline]
fn read_bulk_len(rest: &[u8], scanned: usize, limits: &ParseLimits) -> Result<Line, ProtocolError> {
    if let [b'$', digits @ ..] = rest
        && let Some((len, line)) = short_length(digits)
        && len as u64 <= limits.max_bulk
    {
        return Ok(Line::Length(len, line + 1));
    }
    read_long_bulk_len(rest, scanned, limits)
}

#[inline(never)]
fn read_long_bulk_len(rest: &[u8], scanned: usize, limits: &ParseLimits) -> Result<Line, ProtocolError> {
    let Some(end) = find_line_end(rest, scanned, ProtocolError::LongBulkLine)? else {
        return Ok(Line::More(rest.len().saturating_sub(1)));
    };
    if rest[0] != b'$' {
        return Err(ProtocolError::ExpectedBulk(rest[0]));
    }
    let len = parse_i64(&rest[1..end]).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|len| *len as u64 <= limits.max_bulk).ok_or(ProtocolError::InvalidBulk)?;
    if len > UNAUTHENTICATED_BULK && !limits.authenticated {
        return Err(ProtocolError::UnauthenticatedBulk);
    }
    Ok(Line::Length(len, end + 2))
}

/// Offset of the `\r` of the line at the head of `rest`, once the byte behind it is there too.
fn find_line_end(
    rest: &[u8],
    scanned: usize,
    too_long: ProtocolError,
) -> Result<Option<usize>, ProtocolError> {
    let window = &rest[..rest.len().min(MAX_INLINE + 1)];
    match memchr::memchr(b'\r', &window[scanned..]) {
        Some(offset) if scanned + offset + 2 <= rest.len() => Ok(Some(scanned + offset)),
        None if rest.len() > MAX_INLINE => Err(too_long),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ParseLimits = ParseLimits { max_bulk: 512 << 20, authenticated: true };

    fn parse_all(buf: &[u8], limits: &ParseLimits) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>, usize) {
        let (mut parser, mut commands) = (Parser::default(), Commands::default());
        let (mut out, mut at) = (Vec::new(), 0);
        loop {
            match parser.parse(&buf[at..], limits, &mut commands) {
                Err(error) => return (out, Some(error), at),
                Ok(consumed) => {
                    let argv = |index| commands.argv(index, &buf[at..]).iter().map(<[u8]>::to_vec).collect();
                    out.extend((0..commands.len()).map(argv));
                    at += consumed;
                    if commands.is_empty() {
                        return (out, None, at);
                    }
                }
            }
        }
    }

    fn error_of(buf: &[u8], limits: &ParseLimits) -> Option<String> {
        parse_all(buf, limits).1.map(|error| error.line().into_owned())
    }

    #[test]
    fn errors_are_worded_as_by_the_reference() {
        let ones = "1".repeat(70_000);
        let expected: &[(String, &str)] = &[
            ("*a\r\n".into(), "invalid multibulk length"),
            ("*\r\n".into(), "invalid multibulk length"),
            ("*-0\r\n".into(), "invalid multibulk length"),
            ("*01\r\n".into(), "invalid multibulk length"),
            ("*+1\r\n".into(), "invalid multibulk length"),
            ("* 1\r\n".into(), "invalid multibulk length"),
            ("*2147483648\r\n".into(), "invalid multibulk length"),
            ("*99999999999999999999\r\n".into(), "invalid multibulk length"),
            ("*1\r\nx\r\n".into(), "expected '$', got 'x'"),
            ("*3\r\n$3\r\nSET\r\n$1\r\nx\r\n*1\r\n".into(), "expected '$', got '*'"),
            ("*1\r\n$-1\r\n".into(), "invalid bulk length"),
            ("*1\r\n$\r\n".into(), "invalid bulk length"),
            ("*1\r\n$04\r\n".into(), "invalid bulk length"),
            ("*1\r\n$536870913\r\n".into(), "invalid bulk length"),
            (format!("*{ones}"), "too big mbulk count string"),
            (format!("*1\r\n${ones}"), "too big bulk count string"),
            (format!("*1\r\n{ones}"), "too big bulk count string"),
            (ones.clone(), "too big inline request"),
            ("ECHO \"a\r\n".into(), "unbalanced quotes in request"),
        ];
        for (buf, error) in expected {
            let line = format!("ERR Protocol error: {error}");
            assert_eq!(error_of(buf.as_bytes(), &LIMITS), Some(line), "{}", &buf[..buf.len().min(40)]);
        }
    }

    #[test]
    fn strangers_may_send_short_commands_only() {
        let stranger = ParseLimits { authenticated: false, ..LIMITS };
        let text = |what: &str| Some(format!("ERR Protocol error: unauthenticated {what} length"));
        assert_eq!(error_of(b"*11\r\n", &stranger), text("multibulk"));
        assert_eq!(error_of(b"*10\r\n", &stranger), None);
        assert_eq!(error_of(b"*1\r\n$16385\r\n", &stranger), text("bulk"));
        assert_eq!(error_of(b"*1\r\n$16384\r\n", &stranger), None);
        assert_eq!(error_of(b"*11\r\n$16385\r\n", &LIMITS), None);
    }

    #[test]
    fn an_error_quotes_the_byte_as_it_is() {
        let error = ProtocolError::ExpectedBulk(0xff);
        assert_eq!(error.line_bytes(), b"ERR Protocol error: expected '$', got '\xff'");
        assert_eq!(error.line(), "ERR Protocol error: expected '$', got '\u{fffd}'");
    }

    #[test]
    fn empty_commands_are_skipped_and_errors_wait_for_the_commands_before_them() {
        let buf = b"\r\n\n  \r\n*0\r\n*-1\r\n*-5\r\n*1\r\n$4\r\nPING\r\nECHO 'a b'\n*2\r\n$0\r\n\r\n$1\r\nx\r\n*x\r\n";
        let (commands, error, at) = parse_all(buf, &LIMITS);
        assert_eq!(error, Some(ProtocolError::InvalidMultibulk));
        assert_eq!(at, buf.len() - 4);
        let expected: [&[&[u8]]; 3] = [&[b"PING"], &[b"ECHO", b"a b"], &[b"", b"x"]];
        assert_eq!(commands, expected);
    }

    #[test]
    fn an_idle_parser_is_small_and_a_batch_is_bounded() {
        assert_eq!(size_of::<Parser>(), 16);
        let buf = b"*1\r\n$4\r\nPING\r\n".repeat(100);
        let (mut parser, mut commands) = (Parser::default(), Commands::default());
        let consumed = parser.parse(&buf, &LIMITS, &mut commands).unwrap();
        assert_eq!((commands.len(), consumed), (COMMANDS_PER_BATCH, COMMANDS_PER_BATCH * 14));
        assert_eq!(commands.end(COMMANDS_PER_BATCH - 1), consumed);
        assert_eq!(parser.memory(), 0);
    }

    #[test]
    fn what_is_wanted_is_known_once_the_length_is() {
        let (mut parser, mut commands) = (Parser::default(), Commands::default());
        let buf = b"*2\r\n$3\r\nGET\r\n$100000\r\nabc";
        assert_eq!(parser.parse(buf, &LIMITS, &mut commands), Ok(0));
        assert_eq!(parser.wanted(), buf.len() - 3 + 100_000 + 2);
        assert_eq!(parser.memory(), 0);
    }
}
