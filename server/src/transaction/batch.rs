//! Commands of one core's sessions for one other shard, packed into flat buffers that travel there and back.

use crate::keyspace::Key;
use crate::limits;
use crate::resp::{Argv, Span};
use crate::shard::Call;

/// One command of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub session: u64,
    /// Which of the session's reply slots waits for it.
    pub reply: u64,
    row: u16,
    db: u16,
    resp3: bool,
    no_touch: bool,
    first_span: u32,
    spans: u32,
    /// The routed key: its argument index (0: the command has no key), hash and slot.
    key_index: u32,
    slot: u16,
    hash: u64,
}

/// Where a reply ends, or that it comes later.
const LATE: u64 = u64::MAX;

#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    requests: Vec<Request>,
    replies: Vec<u8>,
    ends: Vec<u64>,
    /// Commands the slow log wants: index and nanoseconds. The session's core knows the client's name.
    pub slow: Vec<(usize, u64)>,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub fn push(&mut self, session: u64, reply: u64, call: &Call) {
        let first_span = self.spans.len() as u32;
        for argument in call.argv.iter() {
            self.spans.push(Span { start: self.bytes.len() as u32, len: argument.len() as u32 });
            self.bytes.extend_from_slice(argument);
        }
        let (key_index, slot, hash) =
            call.routed.map_or((0, 0, 0), |(index, key)| (index as u32, key.slot, key.hash));
        self.requests.push(Request {
            session,
            reply,
            row: call.row,
            db: call.db as u16,
            resp3: call.resp3,
            no_touch: call.no_touch,
            first_span,
            spans: call.argv.len() as u32,
            key_index,
            slot,
            hash,
        });
    }

    /// Whether another command of `bytes` fits: spans are 32 bits wide.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes.len() + bytes < u32::MAX as usize / 2
    }

    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    pub fn call(&self, index: usize) -> Call<'_> {
        let request = &self.requests[index];
        let spans = &self.spans[request.first_span as usize..][..request.spans as usize];
        let argv = Argv::new(&self.bytes, spans);
        let routed = (request.key_index > 0).then(|| {
            let index = request.key_index as usize;
            (index, Key { bytes: argv.get(index), hash: request.hash, slot: request.slot })
        });
        Call {
            row: request.row,
            argv,
            routed,
            db: request.db as usize,
            resp3: request.resp3,
            no_touch: request.no_touch,
        }
    }

    /// What is needed to prefetch command `index`: database, slot and hash of its key.
    #[inline]
    pub fn prefetch_key(&self, index: usize) -> Option<(usize, u16, u64)> {
        let request = &self.requests[index];
        (request.key_index > 0).then_some((request.db as usize, request.slot, request.hash))
    }

    /// Takes the reply buffer out, to be written while the commands are read.
    pub fn take_replies(&mut self) -> (Vec<u8>, Vec<u64>) {
        (std::mem::take(&mut self.replies), std::mem::take(&mut self.ends))
    }

    pub fn put_replies(&mut self, replies: Vec<u8>, ends: Vec<u64>) {
        debug_assert_eq!(ends.len(), self.requests.len());
        (self.replies, self.ends) = (replies, ends);
    }

    /// The entry of `ends` for a reply that ends at `length`.
    pub const fn end(length: usize) -> u64 {
        length as u64
    }

    /// The entry of `ends` for a command that was parked.
    pub const fn late() -> u64 {
        LATE
    }

    /// The replies in order; `None` for one that comes later.
    pub fn replies(&self) -> impl Iterator<Item = (Request, Option<&[u8]>)> {
        let mut start = 0usize;
        self.requests.iter().zip(&self.ends).map(move |(request, &end)| {
            if end == LATE {
                return (*request, None);
            }
            let bytes = &self.replies[start..end as usize];
            start = end as usize;
            (*request, Some(bytes))
        })
    }

    /// Empties the batch; false if its buffers have grown too large to be worth keeping.
    pub fn clear(&mut self) -> bool {
        self.bytes.clear();
        self.spans.clear();
        self.requests.clear();
        self.replies.clear();
        self.ends.clear();
        self.slow.clear();
        self.bytes.capacity() + self.replies.capacity() <= limits::KEEP_BUFFER
    }
}
