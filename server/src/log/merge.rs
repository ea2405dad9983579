//! The effects of all shards into the one stream of RESP commands that the files and the replicas get.
//!
//! Knows no file and no peer. Each shard's order is kept to the byte; effects of different shards are
//! ordered only by the transactions they share.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;

use crate::commands::{Effects, Mark};

/// What a merge made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The cut of this number lies at `at`: the state there is that of all shards when they sealed it.
    Cut { number: NonZeroU64, at: u64 },
    /// All effects of `shard` up to number `seq` lie before `at`.
    Consumed { shard: usize, seq: u64, at: u64 },
}

/// Orders effects. It holds what waits for another shard's share of a transaction, and that is bounded by
/// what a shard may have in flight: a shard at that limit runs no new command, but still the hops of tickets
/// it has granted, so that what others wait for comes.
#[derive(Debug)]
pub struct Merger {
    lanes: Vec<Lane>,
    /// Shards that have sealed a ticket that others have yet to seal.
    sealed: HashMap<u64, usize>,
    /// Tickets that all their shards have sealed.
    ready: Vec<u64>,
    /// Database that the stream's next command would apply to, if its reader knows.
    db: Option<usize>,
    /// The stream's end.
    at: u64,
}

/// What one shard sent.
#[derive(Debug, Default)]
struct Lane {
    arrived: VecDeque<Effects>,
    /// How many marks of the first of `arrived` are done, and where in its bytes they end.
    marks: usize,
    bytes: usize,
    /// `seq` of the last effects that are done, and of the last that arrived.
    done: u64,
    last: u64,
    /// The transaction this shard is in the middle of.
    share: Option<Share>,
    /// What was reported as consumed, and where what can be reported ends.
    reported: u64,
    at: u64,
}

/// A shard's share of a transaction: everything it emitted from the transaction's first effect to its seal.
/// A free-standing effect between the two is taken along: that keeps this shard's order exactly, and such an
/// effect merely becomes visible together with the transaction.
#[derive(Debug)]
struct Share {
    ticket: u64,
    /// `seq` of the effects in which it begins.
    first: u64,
    sealed: bool,
    cut: Option<NonZeroU64>,
    runs: Vec<Run>,
    bytes: Vec<u8>,
}

/// Neighbouring effects of one database and hop.
#[derive(Clone, Copy, Debug)]
struct Run {
    hop: u32,
    db: usize,
    commands: usize,
    /// Where it ends in its share's bytes.
    end: usize,
}

impl Merger {
    /// For a stream that goes on at offset `at`.
    pub fn new(shards: usize, at: u64) -> Merger {
        let lanes = (0..shards).map(|_| Lane::default()).collect();
        Merger { lanes, sealed: HashMap::new(), ready: Vec::new(), db: None, at }
    }

    /// The stream's end.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The database that the stream's next command would apply to, if its reader knows.
    pub fn db(&self) -> Option<usize> {
        self.db
    }

    /// The stream's next command names its database: somebody begins to read at its end.
    /// A cut implies it.
    pub fn forget_db(&mut self) {
        self.db = None;
    }

    /// The stream goes on at offset `at`, wherever it was: nothing is waiting to be merged.
    pub fn jump(&mut self, at: u64) {
        (self.at, self.db) = (at, None);
        self.lanes.iter_mut().for_each(|lane| lane.at = at);
    }

    /// The stream goes on, behind all that has been merged, with `length` bytes of commands that are not the shards'.
    pub fn pass(&mut self, length: usize) {
        self.at += length as u64;
    }

    /// Takes in what `shard` sent, in the order of its numbers.
    pub fn push(&mut self, shard: usize, effects: Effects) {
        let lane = &mut self.lanes[shard];
        assert_eq!(effects.seq, lane.last + 1, "effects of shard {shard} out of order");
        lane.last = effects.seq;
        lane.arrived.push_back(effects);
    }

    /// Appends to `out` all that can be ordered; afterwards tells how far each shard's effects are consumed,
    /// and where cuts lie at once.
    pub fn merge(&mut self, out: &mut Vec<u8>, on: &mut impl FnMut(Merged)) {
        for shard in 0..self.lanes.len() {
            self.advance(shard, out);
        }
        while let Some(ticket) = self.ready.pop() {
            self.finish(ticket, out, on);
        }
        for (shard, lane) in self.lanes.iter_mut().enumerate() {
            let seq = lane.consumed();
            if seq > lane.reported {
                lane.reported = seq;
                on(Merged::Consumed { shard, seq, at: lane.at });
            }
        }
    }

    /// Goes on with a shard's effects up to a seal that others have yet to match.
    fn advance(&mut self, shard: usize, out: &mut Vec<u8>) {
        let Merger { lanes, sealed, ready, db, at } = self;
        let lane = &mut lanes[shard];
        let mut stream = Stream { out, db, at };
        while lane.share.as_ref().is_none_or(|share| !share.sealed) {
            let Some(effects) = lane.arrived.front() else { return };
            let Some(&mark) = effects.marks.get(lane.marks) else {
                lane.done = effects.seq;
                lane.arrived.pop_front();
                (lane.marks, lane.bytes) = (0, 0);
                continue;
            };
            let bytes = &effects.bytes[lane.bytes..mark.end];
            (lane.marks, lane.bytes) = (lane.marks + 1, mark.end);
            if mark.ticket == 0 && lane.share.is_none() {
                stream.select(mark.db);
                stream.put(bytes);
                lane.at = *stream.at;
                continue;
            }
            let share = lane.share.get_or_insert_with(|| Share::new(mark.ticket, effects.seq));
            share.add(&mark, bytes);
            if share.sealed {
                let count = sealed.entry(share.ticket).or_default();
                *count += 1;
                assert!(*count <= mark.parts, "ticket {} is sealed too often", share.ticket);
                if *count == mark.parts {
                    sealed.remove(&share.ticket);
                    ready.push(share.ticket);
                }
            }
        }
    }

    /// Writes a transaction that all its shards have sealed, and goes on with those shards.
    fn finish(&mut self, ticket: u64, out: &mut Vec<u8>, on: &mut impl FnMut(Merged)) {
        let of_ticket = |lane: &mut Lane| lane.share.take_if(|share| share.sealed && share.ticket == ticket);
        let shares: Vec<Option<Share>> = self.lanes.iter_mut().map(of_ticket).collect();
        let mut stream = Stream { out, db: &mut self.db, at: &mut self.at };
        stream.transaction(shares.iter().flatten());
        if let Some(number) = shares.iter().flatten().find_map(|share| share.cut) {
            on(Merged::Cut { number, at: self.at });
            self.db = None;
        }
        let at = self.at;
        for (shard, share) in shares.into_iter().enumerate() {
            if share.is_some() {
                self.lanes[shard].at = at;
                self.advance(shard, out);
            }
        }
    }

    /// Bytes that wait for other shards.
    pub fn held(&self) -> usize {
        self.lanes.iter().map(Lane::held).sum()
    }

    pub fn check_invariants(&self) {
        assert!(self.ready.is_empty(), "a transaction could be written");
        for lane in &self.lanes {
            let waits = lane.share.as_ref().is_some_and(|share| share.sealed);
            assert!(waits || lane.arrived.is_empty(), "effects wait for nothing");
            assert!(lane.reported <= lane.done && lane.done <= lane.last && lane.at <= self.at);
        }
        let waiting = self.lanes.iter().filter(|lane| lane.share.as_ref().is_some_and(|share| share.sealed));
        assert_eq!(waiting.count(), self.sealed.values().sum::<usize>());
    }
}

impl Lane {
    /// Effects up to here are in the stream.
    fn consumed(&self) -> u64 {
        self.share.as_ref().map_or(self.done, |share| self.done.min(share.first - 1))
    }

    fn held(&self) -> usize {
        let arrived: usize = self.arrived.iter().map(|effects| effects.bytes.len()).sum();
        arrived - self.bytes + self.share.as_ref().map_or(0, |share| share.bytes.len())
    }
}

impl Share {
    fn new(ticket: u64, first: u64) -> Share {
        Share { ticket, first, sealed: false, cut: None, runs: Vec::new(), bytes: Vec::new() }
    }

    fn add(&mut self, mark: &Mark, bytes: &[u8]) {
        let own = mark.ticket == self.ticket;
        assert!(own || mark.ticket == 0, "ticket {} amid ticket {}", mark.ticket, self.ticket);
        self.bytes.extend_from_slice(bytes);
        if mark.commands > 0 {
            // What is taken along stays behind the hop that it follows.
            let hop = if own { mark.hop } else { self.runs.last().map_or(0, |run| run.hop) };
            self.runs.push(Run { hop, db: mark.db, commands: mark.commands, end: self.bytes.len() });
        }
        self.sealed = mark.parts > 0;
        self.cut = mark.cut;
    }
}

/// SELECT as the stream has it.
pub fn select(db: usize) -> Vec<u8> {
    let digits = db.to_string();
    format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{digits}\r\n", digits.len()).into_bytes()
}

/// The stream's end and what its reader knows.
struct Stream<'a> {
    out: &'a mut Vec<u8>,
    db: &'a mut Option<usize>,
    at: &'a mut u64,
}

impl Stream<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        *self.at += bytes.len() as u64;
    }

    fn select(&mut self, db: usize) {
        if *self.db == Some(db) {
            return;
        }
        *self.db = Some(db);
        self.put(&select(db));
    }

    /// All shares in the order of their hops: what one hop did on a shard, the next may have undone from
    /// another (FLUSHALL is the effect of one shard).
    fn transaction<'b>(&mut self, shares: impl Iterator<Item = &'b Share>) {
        let mut runs: Vec<(Run, &[u8])> = Vec::new();
        for share in shares {
            let mut start = 0;
            for run in &share.runs {
                runs.push((*run, &share.bytes[start..run.end]));
                start = run.end;
            }
        }
        runs.sort_by_key(|(run, _)| run.hop);
        let Some((first, _)) = runs.first() else { return };
        let whole = runs.iter().map(|(run, _)| run.commands).sum::<usize>() > 1;
        self.select(first.db);
        if whole {
            self.put(b"*1\r\n$5\r\nMULTI\r\n");
        }
        for (run, bytes) in runs {
            self.select(run.db);
            self.put(bytes);
        }
        if whole {
            self.put(b"*1\r\n$4\r\nEXEC\r\n");
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
