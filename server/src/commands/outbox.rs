//! What a shard's commands changed, on its way to the log: effects in deterministic form, each a RESP command.

use std::num::NonZeroU64;

/// A run of effects that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Offset in the bytes just behind the run's last effect.
    pub end: usize,
    /// Database the effects apply to.
    pub db: usize,
    /// The ticket of a transaction; 0 for commands of this shard alone.
    pub ticket: u64,
    /// The transaction's hop: what a later one did comes later, whatever the shard.
    pub hop: u32,
    /// 0, or on the last mark of a ticket, its seal: how many shards take part and seal.
    pub parts: usize,
    /// How many effects.
    pub commands: usize,
    /// On a seal: the transaction is the cut of this number.
    pub cut: Option<NonZeroU64>,
}

/// What one shard changed in one turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// 1, 2, 3, … on each shard.
    pub seq: u64,
    pub bytes: Vec<u8>,
    pub marks: Vec<Mark>,
}

/// What becomes of effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Shut,
    Counting,
    Open,
}

/// Collects effects for whoever consumes them. While nothing does it is shut, and effects cost one branch.
#[derive(Debug, Default)]
pub struct Outbox {
    mode: Mode,
    ticket: u64,
    hop: u32,
    cut: Option<NonZeroU64>,
    /// `seq` of the effects collected now is one more.
    drained: u64,
    /// Effects so far, drained ones included.
    emitted: u64,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

impl Outbox {
    /// Starts collecting. The consumer must `drain` once per turn, which bounds the outbox to a turn's writes.
    pub fn open(&mut self) {
        self.mode = Mode::Open;
    }

    /// Starts counting: nobody wants the effects, only how many there are.
    pub fn count(&mut self) {
        self.mode = Mode::Counting;
    }

    /// Whether effects are to be pushed.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.mode != Mode::Shut
    }

    /// Effects emitted from here on belong to hop `hop` of the transaction `ticket`, until `end`.
    #[inline]
    pub fn begin(&mut self, ticket: u64, hop: u32) {
        (self.ticket, self.hop) = (ticket, hop);
    }

    /// Effects emitted from here on stand free.
    #[inline]
    pub fn end(&mut self) {
        (self.ticket, self.hop) = (0, 0);
    }

    /// The transaction that runs now is a cut.
    pub fn cut(&mut self, number: NonZeroU64) {
        self.cut = Some(number);
    }

    /// This shard's share in the transaction `ticket` of `parts` shards is complete.
    pub fn seal(&mut self, ticket: u64, parts: usize) {
        let cut = self.cut.take();
        if self.mode != Mode::Open && cut.is_none() {
            return;
        }
        match self.marks.last_mut() {
            Some(last) if last.ticket == ticket && last.parts == 0 => (last.parts, last.cut) = (parts, cut),
            _ => {
                let end = self.bytes.len();
                self.marks.push(Mark { end, db: 0, ticket, hop: self.hop, parts, commands: 0, cut });
            }
        }
    }

    pub fn push<'a>(&mut self, db: usize, count: usize, argv: impl Iterator<Item = &'a [u8]>) {
        self.emitted += 1;
        if self.mode != Mode::Open {
            return;
        }
        let mut digits = itoa::Buffer::new();
        let mut line = |bytes: &mut Vec<u8>, sigil: u8, number: usize| {
            bytes.push(sigil);
            bytes.extend_from_slice(digits.format(number).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        };
        line(&mut self.bytes, b'*', count);
        for argument in argv {
            line(&mut self.bytes, b'$', argument.len());
            self.bytes.extend_from_slice(argument);
            self.bytes.extend_from_slice(b"\r\n");
        }
        let (end, ticket, hop) = (self.bytes.len(), self.ticket, self.hop);
        match self.marks.last_mut() {
            Some(last) if (last.db, last.ticket, last.hop, last.parts) == (db, ticket, hop, 0) => {
                last.end = end;
                last.commands += 1;
            }
            _ => self.marks.push(Mark { end, db, ticket, hop, parts: 0, commands: 1, cut: None }),
        }
    }

    /// Effects so far: whether it moved says whether a command wrote.
    #[inline]
    pub fn emitted(&self) -> u64 {
        self.emitted
    }

    /// The number that the effects collected now will have.
    #[inline]
    pub fn seq(&self) -> u64 {
        self.drained + 1
    }

    /// Takes all that has been collected, if anything; `spare` takes its place.
    pub fn drain(&mut self, spare: Vec<u8>) -> Option<Effects> {
        if self.marks.is_empty() {
            return None;
        }
        self.drained += 1;
        let bytes = std::mem::replace(&mut self.bytes, spare);
        Some(Effects { seq: self.drained, bytes, marks: std::mem::take(&mut self.marks) })
    }
}
