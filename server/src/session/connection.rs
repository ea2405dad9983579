//! One connection's buffers: unparsed input, ordered replies, and what it waits for.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::BytesMut;

use crate::commands::SyncRequest;
use crate::limits;
use crate::resp::Parser;
use crate::transaction::{Coordinator, Queued, Watched};

/// Commands between MULTI and EXEC.
#[derive(Debug, Default)]
pub struct Multi {
    pub queued: Vec<Queued>,
    pub bytes: usize,
}

/// A reply that cannot leave yet, or that has yet to come.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Waiting {
        /// CLIENT REPLY is off: drop the reply when it comes.
        discard: bool,
    },
    /// A range of the stash.
    Ready { start: usize, end: usize },
    /// As above, but it must not leave before the shard's effects number `seq` are durable.
    Held { start: usize, end: usize, seq: u64 },
}

/// Replies in the order of their commands, although some come late from other cores.
#[derive(Debug, Default)]
pub struct Replies {
    /// Replies that may leave.
    out: Vec<u8>,
    /// Slots of commands whose replies may not leave yet, oldest first; empty in the common case.
    slots: VecDeque<Slot>,
    /// Number of the oldest slot.
    first: u64,
    /// Replies behind a missing one; emptied with the last slot.
    stash: Vec<u8>,
    /// How many of the slots are `Held`, and the effects of this core's shard that are durable.
    held: usize,
    durable: u64,
    /// Bytes handed to the network and not yet reported as sent.
    in_flight: usize,
}

impl Replies {
    /// Where the next local reply is written, and how long that buffer is now: `written` closes it.
    #[inline]
    pub fn begin(&mut self) -> (&mut Vec<u8>, usize) {
        let buffer = if self.slots.is_empty() { &mut self.out } else { &mut self.stash };
        let start = buffer.len();
        (buffer, start)
    }

    /// A local reply that began at `start` is complete; `discard` drops it.
    #[inline]
    pub fn written(&mut self, start: usize, discard: bool) {
        if self.slots.is_empty() {
            if discard {
                self.out.truncate(start);
            }
        } else {
            if discard {
                self.stash.truncate(start);
            }
            self.slots.push_back(Slot::Ready { start, end: self.stash.len() });
        }
    }

    /// As `written`, for a reply that must not leave before the shard's effects number `seq` are durable.
    pub fn written_held(&mut self, start: usize, seq: u64) {
        let mut start = start;
        if self.slots.is_empty() {
            // The stash is empty as well.
            self.stash.extend_from_slice(&self.out[start..]);
            self.out.truncate(start);
            start = 0;
        }
        self.slots.push_back(Slot::Held { start, end: self.stash.len(), seq });
        self.held += 1;
    }

    /// The shard's effects up to number `seq` are durable; true if something may leave now.
    pub fn durable(&mut self, seq: u64) -> bool {
        let before = self.slots.len();
        self.durable = seq;
        self.settle();
        self.slots.len() < before
    }

    /// Reserves the place of a reply that will come from elsewhere; returns its number.
    pub fn reserve(&mut self, discard: bool) -> u64 {
        self.slots.push_back(Slot::Waiting { discard });
        self.first + self.slots.len() as u64 - 1
    }

    /// Takes back the last reservation: the reply is written here after all.
    pub fn unreserve(&mut self) {
        self.slots.pop_back();
    }

    /// The reply number `reply` has come.
    pub fn fill(&mut self, reply: u64, bytes: &[u8]) {
        let index = (reply - self.first) as usize;
        let Slot::Waiting { discard } = self.slots[index] else {
            unreachable!("a reply comes once");
        };
        let bytes = if discard { &[] } else { bytes };
        if index == 0 {
            self.out.extend_from_slice(bytes);
            self.pop();
            self.settle();
        } else {
            let start = self.stash.len();
            self.stash.extend_from_slice(bytes);
            self.slots[index] = Slot::Ready { start, end: self.stash.len() };
        }
    }

    fn pop(&mut self) {
        self.slots.pop_front();
        self.first += 1;
    }

    /// Lets go all replies that no longer wait for an earlier one.
    fn settle(&mut self) {
        while let Some(&slot) = self.slots.front() {
            let (start, end) = match slot {
                Slot::Ready { start, end } => (start, end),
                Slot::Held { start, end, seq } if seq <= self.durable => {
                    self.held -= 1;
                    (start, end)
                }
                Slot::Held { .. } | Slot::Waiting { .. } => break,
            };
            self.out.extend_from_slice(&self.stash[start..end]);
            self.pop();
        }
        if self.slots.is_empty() {
            self.stash.clear();
            if self.stash.capacity() > limits::KEEP_BUFFER {
                self.stash = Vec::new();
            }
        }
    }

    /// Replies that have yet to come, are held back, or wait behind one of those.
    #[inline]
    pub fn outstanding(&self) -> usize {
        self.slots.len()
    }

    /// Their numbers.
    pub fn numbers(&self) -> Range<u64> {
        self.first..self.first + self.slots.len() as u64
    }

    /// As above, without those that are held back: they are bounded by their bytes.
    #[inline]
    fn awaited(&self) -> usize {
        self.slots.len() - self.held
    }

    /// Whether what may leave is the beginning of more that other cores will soon send.
    #[inline]
    fn is_partial(&self) -> bool {
        matches!(self.slots.front(), Some(Slot::Waiting { .. })) && self.out.len() < limits::PARTIAL_OUTPUT
    }

    /// Bytes that wait to be sent or are on their way.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.out.len() + self.in_flight
    }

    /// All bytes this connection pins for replies.
    pub fn memory(&self) -> usize {
        self.out.capacity() + self.stash.capacity() + self.in_flight
    }

    /// What may be sent now, one buffer at a time: `spare` takes the place of the buffer handed out.
    pub fn take(&mut self, spare: &mut Vec<Vec<u8>>) -> Option<Vec<u8>> {
        if self.in_flight > 0 || self.out.is_empty() {
            return None;
        }
        self.in_flight = self.out.len();
        Some(std::mem::replace(&mut self.out, spare.pop().unwrap_or_default()))
    }

    /// The buffer taken before has been sent, or never will be.
    pub fn sent(&mut self, mut buffer: Vec<u8>, spare: &mut Vec<Vec<u8>>) {
        self.in_flight = 0;
        buffer.clear();
        keep(buffer, spare);
        if self.out.is_empty() {
            // An idle connection holds no buffer.
            keep(std::mem::take(&mut self.out), spare);
        }
    }

    pub fn is_done(&self) -> bool {
        self.slots.is_empty() && self.unsent() == 0
    }
}

/// Buffers a core keeps for replies: enough for the sends of a busy turn.
const SPARE_BUFFERS: usize = 256;

fn keep(buffer: Vec<u8>, spare: &mut Vec<Vec<u8>>) {
    let worth_it = buffer.capacity() > 0 && buffer.capacity() <= limits::KEEP_BUFFER;
    if worth_it && spare.len() < SPARE_BUFFERS {
        spare.push(buffer);
    }
}

/// One connection.
pub struct Session {
    /// Unique among the sessions of this core; its low half is the session's key.
    pub id: u64,
    pub parser: Parser,
    /// Bytes received and not yet consumed: half a command, or what waits behind a stall.
    pub input: BytesMut,
    pub replies: Replies,
    /// The one transaction a session may have under way; nothing of its pipeline runs meanwhile.
    pub transaction: Option<Box<Coordinator>>,
    /// Never repeats in a session: answers to an aborted transaction may still be under way to the next.
    pub next_attempt: u64,
    /// Reply slot of the transaction under way, and whether it is an EXEC.
    pub awaited: (u64, bool),
    pub multi: Option<Box<Multi>>,
    pub watched: Vec<Watched>,
    /// Reply slot of a command for whose answer the session waits before it runs another (WAIT).
    pub blocked: Option<u64>,
    /// Its next command is a write, and writes are paused.
    pub postponed: bool,
    /// PSYNC or SYNC came: the session runs nothing more, and goes once its replies have left.
    pub sync: Option<Box<SyncRequest>>,
    /// The next command is a transaction, which waits for the replies to all before it.
    pub barrier: bool,
    /// Replies that may be outstanding: grows with small ones, shrinks with large ones.
    window: usize,
    /// In the list of sessions with something to send.
    pub dirty: bool,
    /// Unix µs since when output waits for replies of other cores that belong behind it; 0: it does not.
    partial_since: i64,
    /// The network has been told to stop reading.
    pub paused: bool,
    /// The client will send nothing more.
    pub half_closed: bool,
    /// Unix ms since when unsent output is over its soft limit; 0: it is not.
    pub over_soft_limit_since: i64,
    /// Unix ms when output last made progress.
    pub output_progress: i64,
}

impl Session {
    pub fn new(id: u64, now: i64) -> Self {
        Session {
            id,
            parser: Parser::default(),
            input: BytesMut::new(),
            replies: Replies::default(),
            transaction: None,
            next_attempt: 0,
            awaited: (0, false),
            multi: None,
            watched: Vec::new(),
            blocked: None,
            postponed: false,
            sync: None,
            barrier: false,
            window: limits::FIRST_WINDOW,
            dirty: false,
            partial_since: 0,
            paused: false,
            half_closed: false,
            over_soft_limit_since: 0,
            output_progress: now,
        }
    }

    /// Whether commands must wait: for a transaction, for replies of other cores, for the client to read; or never run.
    #[inline]
    pub fn is_stalled(&self) -> bool {
        self.transaction.is_some()
            || self.blocked.is_some()
            || self.postponed
            || self.sync.is_some()
            || self.barrier && self.replies.outstanding() > 0
            || self.replies.awaited() >= self.window
            || self.replies.unsent() >= limits::OUTPUT_PAUSE
            || self.replies.held > limits::HELD_REPLIES
    }

    /// Whether the session waits for something that may take its time.
    pub fn is_waiting(&self) -> bool {
        self.transaction.is_some() || self.blocked.is_some() || self.postponed
    }

    /// Output is about to leave at `now` (Unix µs): whether it should wait for replies that belong behind it, which it
    /// does for at most `PARTIAL_WAIT_US`.
    pub fn must_wait_for_company(&mut self, now: i64) -> bool {
        if self.partial_since == 0 && self.replies.is_partial() {
            self.partial_since = now;
        }
        let waits = self.waits_for_company(now);
        if !waits {
            self.partial_since = 0;
        }
        waits
    }

    pub fn waits_for_company(&self, now: i64) -> bool {
        let since = self.partial_since;
        since > 0 && now - since < limits::PARTIAL_WAIT_US && self.replies.is_partial()
    }

    /// Reply number `reply` has come from another core. How many more may be outstanding depends on its size,
    /// so that a client that does not read pins little.
    pub fn fill(&mut self, reply: u64, bytes: &[u8]) {
        self.replies.fill(reply, bytes);
        self.window = match limits::OUTPUT_PAUSE / limits::OUTSTANDING_REPLIES {
            share if bytes.len() <= share => (self.window + 1).min(limits::OUTSTANDING_REPLIES),
            _ => (limits::OUTPUT_PAUSE / bytes.len()).clamp(1, self.window),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(replies: &mut Replies, bytes: &[u8]) {
        let (buffer, start) = replies.begin();
        buffer.extend_from_slice(bytes);
        replies.written(start, false);
    }

    #[test]
    fn replies_leave_in_the_order_of_their_commands() {
        let mut replies = Replies::default();
        local(&mut replies, b"1");
        let two = replies.reserve(false);
        local(&mut replies, b"3");
        let four = replies.reserve(false);
        let five = replies.reserve(true);
        local(&mut replies, b"6");
        assert_eq!(replies.out, b"1");
        replies.fill(four, b"4");
        assert_eq!(replies.out, b"1");
        replies.fill(two, b"2");
        assert_eq!(replies.out, b"1234");
        assert_eq!(replies.outstanding(), 2);
        replies.fill(five, b"5");
        assert_eq!(replies.out, b"12346", "a discarded reply leaves nothing");
        assert!(replies.stash.is_empty());
    }

    #[test]
    fn held_replies_leave_once_durable_and_in_order() {
        let mut replies = Replies::default();
        local(&mut replies, b"1");
        let held = |replies: &mut Replies, bytes: &[u8], seq| {
            let (buffer, start) = replies.begin();
            buffer.extend_from_slice(bytes);
            replies.written_held(start, seq);
        };
        held(&mut replies, b"2", 7);
        local(&mut replies, b"3");
        held(&mut replies, b"4", 8);
        let five = replies.reserve(false);
        assert_eq!(replies.out, b"1");
        assert!(!replies.durable(6));
        assert!(replies.durable(7));
        assert_eq!(replies.out, b"123");
        replies.fill(five, b"5");
        assert_eq!(replies.out, b"123");
        assert!(replies.durable(9));
        assert_eq!(replies.out, b"12345");
        assert!(replies.outstanding() == 0 && replies.stash.is_empty());
    }

    #[test]
    fn one_buffer_is_in_flight_at_a_time() {
        let mut replies = Replies::default();
        let mut spare = Vec::new();
        local(&mut replies, b"one");
        let buffer = replies.take(&mut spare).expect("there is something to send");
        local(&mut replies, b"two");
        assert_eq!(replies.take(&mut spare), None);
        assert_eq!(replies.unsent(), 6);
        replies.sent(buffer, &mut spare);
        assert_eq!(replies.take(&mut spare).as_deref(), Some(&b"two"[..]));
    }
}
