//! What a shard's commands changed, on its way to the log: effects in deterministic form, each a RESP command.

/// Where a run of effects ends, and the transaction it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Offset in the outbox's bytes just behind the run's last effect.
    pub end: usize,
    /// Database the effects apply to.
    pub db: usize,
    /// The ticket of a multi-shard transaction; 0 for a command of this shard alone.
    pub ticket: u64,
}

/// Collects effects for whoever consumes them. While nothing does it is shut, and effects cost one branch.
#[derive(Debug, Default)]
pub struct Outbox {
    open: bool,
    ticket: u64,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

impl Outbox {
    /// Starts collecting. The consumer must `drain` once per turn, which bounds the outbox to a turn's writes.
    pub fn open(&mut self) {
        self.open = true;
    }

    #[inline]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Effects emitted from here on belong to `ticket` (0: to no transaction).
    #[inline]
    pub fn begin(&mut self, ticket: u64) {
        self.ticket = ticket;
    }

    pub fn push<'a>(&mut self, db: usize, count: usize, argv: impl Iterator<Item = &'a [u8]>) {
        use std::io::Write;
        let infallible = "writing to a Vec cannot fail";
        write!(self.bytes, "*{count}\r\n").expect(infallible);
        for argument in argv {
            write!(self.bytes, "${}\r\n", argument.len()).expect(infallible);
            self.bytes.extend_from_slice(argument);
            self.bytes.extend_from_slice(b"\r\n");
        }
        let mark = Mark { end: self.bytes.len(), db, ticket: self.ticket };
        match self.marks.last_mut() {
            Some(last) if last.db == db && last.ticket == mark.ticket => last.end = mark.end,
            _ => self.marks.push(mark),
        }
    }

    /// Takes all that has been collected: the bytes and where each run ends.
    pub fn drain(&mut self) -> (Vec<u8>, Vec<Mark>) {
        (std::mem::take(&mut self.bytes), std::mem::take(&mut self.marks))
    }
}
