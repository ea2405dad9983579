//! Writing replies: one method per RESP type, in the dialect (RESP2 or RESP3) that the session speaks.
//!
//! Appends to a buffer it is lent; knows no session and no socket.

use super::{ProtocolError, Refusal, format_f64};

/// Bytes left free for an aggregate's header until its length is known: enough for `*9\r\n`.
const HEADER_ROOM: usize = 4;

/// Where a deferred aggregate begins: see [`Reply::start_array`].
#[must_use]
#[derive(Debug)]
pub struct Mark(usize);

/// Appends replies to one output buffer.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    resp3: bool,
}

impl<'a> Reply<'a> {
    /// Appends to `out`, in RESP3 if `resp3`, else in RESP2.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, resp3: bool) -> Self {
        Reply { out, resp3 }
    }

    #[inline]
    pub fn resp3(&self) -> bool {
        self.resp3
    }

    /// What follows is in RESP3, or not: HELLO answers in the protocol it switches to.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// Bytes of the output buffer so far, older replies included.
    #[allow(clippy::len_without_is_empty)] // a position, not a container
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything written since `len` was [`Reply::len`].
    pub fn rewind(&mut self, len: usize) {
        self.out.truncate(len);
    }

    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// `+text`. The text must hold no line break.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.contains(['\r', '\n']));
        self.line(b'+', text.as_bytes());
    }

    /// The error reply of `refusal`.
    #[cold]
    pub fn refuse(&mut self, refusal: &Refusal) {
        self.error_line(&refusal.line());
    }

    /// `-line`, code included. Line breaks (a client's own bytes may be quoted in it) become spaces.
    #[cold]
    pub fn error_line(&mut self, line: &str) {
        self.error_bytes(line.as_bytes());
    }

    /// The last reply of a connection that broke the protocol.
    #[cold]
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        let line = error.line_bytes();
        self.error_bytes(&line);
    }

    /// `-line` of raw bytes, for texts that quote arbitrary bytes of the client. Line breaks become spaces.
    #[cold]
    pub fn error_bytes(&mut self, line: &[u8]) {
        let start = self.out.len();
        self.line(b'-', line);
        let end = self.out.len() - 2;
        for byte in &mut self.out[start..end] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    #[inline]
    pub fn int(&mut self, value: i64) {
        self.number(b':', value);
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(bytes.len()).as_bytes();
        self.out.reserve(bytes.len() + digits.len() + 5);
        self.out.push(b'$');
        self.out.extend_from_slice(digits);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// The decimal digits of `value` as a bulk string.
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    #[inline]
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Header of an array; the caller writes `len` elements behind it.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.number(b'*', len as i64);
    }

    /// Header of a map; the caller writes `pairs` keys and values in turn.
    #[inline]
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 { self.number(b'%', pairs as i64) } else { self.array(pairs * 2) }
    }

    #[inline]
    pub fn set(&mut self, len: usize) {
        self.number(if self.resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// Header of an out-of-band message; RESP2 clients get an array.
    #[inline]
    pub fn push(&mut self, len: usize) {
        self.number(if self.resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// `,value`, or a bulk string for RESP2.
    pub fn double(&mut self, value: f64) {
        let text = format_f64(value);
        if self.resp3 { self.line(b',', text.as_bytes()) } else { self.bulk(text.as_bytes()) }
    }

    /// `#t`/`#f`, or `:1`/`:0` for RESP2.
    pub fn bool(&mut self, value: bool) {
        match (self.resp3, value) {
            (true, true) => self.out.extend_from_slice(b"#t\r\n"),
            (true, false) => self.out.extend_from_slice(b"#f\r\n"),
            (false, value) => self.int(value.into()),
        }
    }

    /// Text with its three-letter format (`txt`, `mkd`); a plain bulk string for RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        debug_assert_eq!(format.len(), 3);
        if !self.resp3 {
            return self.bulk(text);
        }
        self.number(b'=', text.len() as i64 + 4);
        self.out.extend_from_slice(format.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer of any length given by its digits; a bulk string for RESP2.
    pub fn big_number(&mut self, digits: &str) {
        if self.resp3 { self.line(b'(', digits.as_bytes()) } else { self.bulk(digits.as_bytes()) }
    }

    /// Bytes that already are whole replies (or the inside of one) in this session's dialect.
    #[inline]
    pub fn raw(&mut self, reply: &[u8]) {
        self.out.extend_from_slice(reply);
    }

    /// Begins an aggregate whose length is not known yet. Write its elements, then finish it with the
    /// returned mark. Inner ones must be finished before outer ones.
    pub fn start_array(&mut self) -> Mark {
        let mark = Mark(self.out.len());
        self.out.extend_from_slice(&[b'*'; HEADER_ROOM]);
        mark
    }

    /// Ends the aggregate begun at `mark` as an array of `len` elements. From ten elements on the elements
    /// are moved once to make room for the longer header.
    pub fn finish_array(&mut self, mark: Mark, len: usize) {
        self.finish(mark, b'*', len);
    }

    /// Ends the aggregate begun at `mark` as a map of `pairs` pairs.
    pub fn finish_map(&mut self, mark: Mark, pairs: usize) {
        if self.resp3 { self.finish(mark, b'%', pairs) } else { self.finish(mark, b'*', pairs * 2) }
    }

    /// Ends the aggregate begun at `mark` as a set of `len` elements.
    pub fn finish_set(&mut self, mark: Mark, len: usize) {
        self.finish(mark, if self.resp3 { b'~' } else { b'*' }, len);
    }

    fn finish(&mut self, mark: Mark, kind: u8, len: usize) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(len).as_bytes();
        let body = mark.0 + HEADER_ROOM;
        let header = digits.len() + 3;
        let old_end = self.out.len();
        self.out.resize(old_end + header - HEADER_ROOM, 0);
        self.out.copy_within(body..old_end, mark.0 + header);
        self.out[mark.0] = kind;
        self.out[mark.0 + 1..][..digits.len()].copy_from_slice(digits);
        self.out[mark.0 + header - 2..][..2].copy_from_slice(b"\r\n");
    }

    #[inline]
    fn number(&mut self, kind: u8, value: i64) {
        // The headers of nearly all replies: one store instead of three appends.
        if (0..10).contains(&value) {
            self.out.extend_from_slice(&[kind, b'0' + value as u8, b'\r', b'\n']);
        } else {
            self.line(kind, itoa::Buffer::new().format(value).as_bytes());
        }
    }

    #[inline]
    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(resp3: bool, write: impl FnOnce(&mut Reply)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, resp3));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_type_in_both_dialects() {
        type Write = fn(&mut Reply);
        let cases: &[(Write, &str, &str)] = &[
            (|r| r.ok(), "+OK\r\n", "+OK\r\n"),
            (|r| r.simple("QUEUED"), "+QUEUED\r\n", "+QUEUED\r\n"),
            (|r| r.refuse(&Refusal::Syntax), "-ERR syntax error\r\n", "-ERR syntax error\r\n"),
            (|r| r.error_line("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (|r| r.int(9), ":9\r\n", ":9\r\n"),
            (|r| r.int(-1), ":-1\r\n", ":-1\r\n"),
            (|r| r.int(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (|r| r.bulk_int(-10), "$3\r\n-10\r\n", "$3\r\n-10\r\n"),
            (|r| r.null(), "$-1\r\n", "_\r\n"),
            (|r| r.null_array(), "*-1\r\n", "_\r\n"),
            (|r| r.array(10), "*10\r\n", "*10\r\n"),
            (|r| r.map(3), "*6\r\n", "%3\r\n"),
            (|r| r.set(3), "*3\r\n", "~3\r\n"),
            (|r| r.push(3), "*3\r\n", ">3\r\n"),
            (|r| r.double(0.5), "$3\r\n0.5\r\n", ",0.5\r\n"),
            (|r| r.bool(true), ":1\r\n", "#t\r\n"),
            (|r| r.bool(false), ":0\r\n", "#f\r\n"),
            (|r| r.verbatim("txt", b"ab"), "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n"),
            (|r| r.big_number("12"), "$2\r\n12\r\n", "(12\r\n"),
            (|r| r.raw(b"+x\r\n"), "+x\r\n", "+x\r\n"),
        ];
        for (index, (write, resp2, resp3)) in cases.iter().enumerate() {
            assert_eq!(written(false, write), *resp2, "case {index}");
            assert_eq!(written(true, write), *resp3, "case {index}");
        }
    }

    #[test]
    fn deferred_lengths_fit_whatever_they_become() {
        for len in [0, 1, 9, 10, 99, 100, 1000] {
            let deferred = written(true, |reply| {
                reply.ok();
                let outer = reply.start_array();
                let inner = reply.start_array();
                (0..len).for_each(|_| reply.null());
                reply.finish_set(inner, len);
                reply.int(7);
                reply.finish_array(outer, 2);
                reply.ok();
            });
            let expected = format!("+OK\r\n*2\r\n~{len}\r\n{}:7\r\n+OK\r\n", "_\r\n".repeat(len));
            assert_eq!(deferred, expected);
        }
        let map = |reply: &mut Reply| {
            let mark = reply.start_array();
            (0..12).for_each(|_| reply.int(1));
            reply.finish_map(mark, 6);
        };
        assert_eq!(written(false, map), format!("*12\r\n{}", ":1\r\n".repeat(12)));
        assert_eq!(written(true, map), format!("%6\r\n{}", ":1\r\n".repeat(12)));
    }

    #[test]
    fn a_reply_can_be_taken_back() {
        let out = written(false, |reply| {
            reply.ok();
            let before = reply.len();
            reply.bulk(b"half");
            reply.rewind(before);
            reply.refuse(&Refusal::Syntax);
        });
        assert_eq!(out, "+OK\r\n-ERR syntax error\r\n");
    }
}
