//! What cores say to each other.

use std::collections::VecDeque;

use super::Batch;
use crate::commands::{Carry, Ctx};
use crate::keyspace::Key;
use crate::resp::{OwnedArgv, Refusal};
use crate::shard::{Call, LockSet};

/// One attempt of one session's transaction. Answers to an earlier attempt are recognised and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId {
    pub core: usize,
    pub session: u64,
    pub attempt: u64,
}

#[derive(Debug)]
pub enum Message {
    /// Commands for this shard alone, from the sessions of one core.
    Batch(Box<Batch>),
    /// The same batch on its way back, with replies.
    Replies(Box<Batch>),
    /// The reply to a command of a batch that had to wait for a lock.
    Late(Late),
    Schedule(Box<Scheduling>),
    Scheduled {
        id: TransactionId,
        verdict: Verdict,
    },
    Cancel {
        ticket: u64,
    },
    Execute(Box<Executing>),
    Executed(Box<Executed>),
    /// A session lets go of keys it watched.
    Unwatch(Vec<(usize, Vec<u8>)>),
    /// All that its sender has sent before has arrived once this comes back, by this number.
    Fence(u64),
    FenceBack(u64),
}

/// What a shard says to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Granted,
    /// Come back with a new ticket.
    Refused,
    /// Granted, but a watched key has changed: cancel and abort.
    Dirty,
}

#[derive(Debug)]
pub struct Scheduling {
    pub id: TransactionId,
    pub ticket: u64,
    pub locks: LockSet,
    /// Whether any of the transaction writes, on whatever shard.
    pub write: bool,
    /// Watched keys of this shard and the versions that must still hold.
    pub watches: Vec<(usize, Vec<u8>, u64)>,
}

#[derive(Debug)]
pub struct Executing {
    pub id: TransactionId,
    /// 0: outside any transaction, without locks.
    pub ticket: u64,
    /// Counts the transaction's hops.
    pub hop: u32,
    /// Unix ms when the first hop left: for a transaction time stands still, as it does for the reference server's.
    pub now: i64,
    pub works: Vec<(usize, Work)>,
    /// Let go of the locks afterwards.
    pub release: bool,
    /// Answer even if there are no works: the coordinator waits until the transaction is durable.
    pub acknowledge: bool,
    /// With `release` of a transaction that writes: how many shards take part in it; else 0.
    pub parts: usize,
}

#[derive(Debug)]
pub struct Executed {
    pub id: TransactionId,
    pub results: Vec<(usize, WorkResult)>,
}

#[derive(Debug)]
pub struct Late {
    pub session: u64,
    pub reply: u64,
    pub bytes: Vec<u8>,
    /// The session ends behind it.
    pub last: bool,
}

/// One thing to do on a shard. The number beside it in a message says which of the hop's works it is.
pub enum Work {
    /// A whole command, or one shard's part of a split one (`part`: counted by the coordinator, not here).
    Command {
        row: u16,
        db: usize,
        resp3: bool,
        no_touch: bool,
        argv: OwnedArgv,
        part: bool,
    },
    /// One shard's part of a command over every core; `caller` is the id of the client that asked.
    Every {
        row: u16,
        db: usize,
        resp3: bool,
        caller: u64,
        argv: OwnedArgv,
    },
    Visit {
        db: usize,
        key: Vec<u8>,
        act: fn(&mut Ctx, &Key, Carry) -> Result<Carry, Refusal>,
        carry: Carry,
    },
    /// Walks on from `cursor`, looking at about `budget` entries.
    Walk {
        db: usize,
        cursor: u64,
        budget: usize,
        filter: crate::commands::WalkFilter,
    },
    Watch {
        db: usize,
        key: Vec<u8>,
    },
}

#[derive(Debug)]
pub enum WorkResult {
    Reply(Vec<u8>),
    Visited(Result<Carry, Refusal>),
    /// Keys that passed the filter, and the cursor to go on from; 0 at the end of the shard.
    Walked {
        keys: Vec<Vec<u8>>,
        cursor: u64,
    },
    Watched {
        version: u64,
    },
}

impl std::fmt::Debug for Work {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Work::Command { .. } => "Command",
            Work::Every { .. } => "Every",
            Work::Visit { .. } => "Visit",
            Work::Walk { .. } => "Walk",
            Work::Watch { .. } => "Watch",
        };
        formatter.write_str(name)
    }
}

/// Messages on their way out of a core, in order for each receiver; those to itself go round at once.
///
/// Bounded by what may be outstanding: `limits::OUTSTANDING_REPLIES` per session and one transaction each.
#[derive(Debug)]
pub struct Post {
    core: usize,
    queues: Vec<Vec<Message>>,
    /// The batch being packed for each core: the last message in order, not yet closed.
    open: Vec<Option<Box<Batch>>>,
    /// Messages that must not leave before effects of this shard are durable, in the order of those.
    held: VecDeque<(u64, usize, Message)>,
    /// Emptied batches, kept for their buffers.
    spare: Vec<Batch>,
}

/// Emptied batches worth keeping: one to and one from each peer in flight is the common case.
const SPARE_BATCHES: usize = 64;

impl Post {
    pub fn new(core: usize, cores: usize) -> Self {
        Post {
            core,
            queues: (0..cores).map(|_| Vec::new()).collect(),
            open: (0..cores).map(|_| None).collect(),
            held: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    pub fn core(&self) -> usize {
        self.core
    }

    pub fn cores(&self) -> usize {
        self.queues.len()
    }

    /// Sends behind everything sent to the same core before.
    pub fn send(&mut self, to: usize, message: Message) {
        self.close(to);
        self.queues[to].push(message);
    }

    /// Sends once the shard's effects number `seq` are durable; `seq` never goes back.
    pub fn hold(&mut self, seq: u64, to: usize, message: Message) {
        self.held.push_back((seq, to, message));
    }

    /// The shard's effects up to number `seq` are durable: what waited for them leaves.
    pub fn durable(&mut self, seq: u64) {
        while self.held.front().is_some_and(|(due, ..)| *due <= seq) {
            let Some((_, to, message)) = self.held.pop_front() else { return };
            self.send(to, message);
        }
    }

    /// Packs a command into the batch for core `to`; its reply fills slot `reply` of `session`.
    #[inline]
    pub fn pack(&mut self, to: usize, session: u64, reply: u64, call: &Call) {
        let bytes = call.argv.iter().map(<[u8]>::len).sum();
        if self.open[to].as_ref().is_some_and(|batch| !batch.has_room(bytes)) {
            self.close(to);
        }
        let spare = &mut self.spare;
        let batch = self.open[to].get_or_insert_with(|| Box::new(spare.pop().unwrap_or_default()));
        batch.push(session, reply, call);
    }

    fn close(&mut self, to: usize) {
        if let Some(batch) = self.open[to].take() {
            self.queues[to].push(Message::Batch(batch));
        }
    }

    /// Takes back a batch whose replies have been handed out.
    pub fn recycle(&mut self, mut batch: Batch) {
        if self.spare.len() < SPARE_BATCHES && batch.clear() {
            self.spare.push(batch);
        }
    }

    /// All messages for core `to`, in order.
    pub fn take(&mut self, to: usize) -> Vec<Message> {
        self.close(to);
        std::mem::take(&mut self.queues[to])
    }

    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(Vec::is_empty) && self.open.iter().all(Option::is_none)
    }
}
