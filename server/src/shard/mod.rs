//! One shard: the data of its slots, the locks on them, and what waits for those locks.
//!
//! A plain value. It is told the time, it writes replies into buffers it is given, and it knows neither
//! who sent a command nor how the reply gets back: a parked command carries a `Token` for that.

mod execute;
mod locks;

use std::collections::BTreeSet;

use slab::Slab;

pub use execute::{Call, execute, refuse};
pub use locks::{LockSet, Owner};

use crate::commands::{Command, Data};
use crate::keyspace::KeyHasher;
use crate::resp::{Argv, OwnedArgv};
use locks::Locks;

/// What the shard hands back with a parked command's turn: whom the reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub core: usize,
    pub session: u64,
    pub reply: u64,
}

/// A command of this shard alone that waits for a lock.
#[derive(Debug)]
pub struct Parked {
    pub token: Token,
    pub row: u16,
    pub db: usize,
    pub resp3: bool,
    pub no_touch: bool,
    pub argv: OwnedArgv,
}

/// What became possible when a ticket let go of its locks.
#[derive(Debug)]
pub enum Ready {
    /// The ticket holds all its locks on this shard.
    Granted(u64),
    /// The command may run now; it holds its locks until `Shard::finish`.
    Run(usize, Parked),
}

/// The answer to a ticket that asks for locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Granted,
    /// The grant will come as `Ready::Granted`.
    Queued,
    /// Come back with a new ticket.
    Refused,
}

pub struct Shard {
    pub data: Data,
    locks: Locks,
    parking: Slab<Option<Parked>>,
    /// Tickets of scheduled transactions that write: they take effect in this order.
    writers: BTreeSet<u64>,
    /// The highest ticket of a transaction that has begun to write here.
    begun: u64,
}

impl Shard {
    pub fn new(data: Data) -> Self {
        Shard { data, locks: Locks::default(), parking: Slab::new(), writers: BTreeSet::new(), begun: 0 }
    }

    /// Whether nothing is locked: the usual case, and the only check a command then pays for.
    #[inline]
    pub fn is_unlocked(&self) -> bool {
        self.locks.is_empty()
    }

    /// Whether a command has to wait for locks that others hold.
    pub fn must_wait(&self, set: &LockSet) -> bool {
        self.locks.conflict(set)
    }

    /// Keeps a command until its locks are free.
    pub fn park(&mut self, set: &LockSet, parked: Parked) {
        let place = self.parking.insert(Some(parked));
        let granted = self.locks.park(place, set);
        debug_assert!(!granted, "a command is parked only behind a conflicting lock");
    }

    /// Commands waiting for locks.
    pub fn parked(&self) -> usize {
        self.parking.len()
    }

    /// A ticket asks for its locks on this shard.
    pub fn schedule(&mut self, ticket: u64, set: &LockSet, write: bool) -> Verdict {
        if write && ticket < self.begun {
            return Verdict::Refused;
        }
        match self.locks.schedule(ticket, set) {
            None => Verdict::Refused,
            Some(granted) => {
                if write {
                    self.writers.insert(ticket);
                }
                if granted { Verdict::Granted } else { Verdict::Queued }
            }
        }
    }

    /// Whether `ticket` may execute now: writers take effect in ticket order, so that the logs of all
    /// shards agree on the order of transactions.
    pub fn may_execute(&mut self, ticket: u64) -> bool {
        if !self.writers.contains(&ticket) {
            return true;
        }
        let first = self.writers.first() == Some(&ticket);
        if first {
            self.begun = self.begun.max(ticket);
        }
        first
    }

    /// A ticket is done here, or gives up.
    pub fn release(&mut self, ticket: u64, ready: &mut Vec<Ready>) {
        self.writers.remove(&ticket);
        self.free(Owner::Ticket(ticket), ready);
    }

    /// A parked command has run.
    pub fn finish(&mut self, place: usize, ready: &mut Vec<Ready>) {
        self.parking.remove(place);
        self.free(Owner::Parked(place), ready);
    }

    fn free(&mut self, owner: Owner, ready: &mut Vec<Ready>) {
        let mut granted = Vec::new();
        self.locks.release(owner, &mut granted);
        for owner in granted {
            match owner {
                Owner::Ticket(ticket) => ready.push(Ready::Granted(ticket)),
                Owner::Parked(place) => {
                    let parked = self.parking[place].take().expect("a parked command is granted once");
                    ready.push(Ready::Run(place, parked));
                }
            }
        }
    }

    /// The first writer in ticket order, if any is scheduled.
    pub fn first_writer(&self) -> Option<u64> {
        self.writers.first().copied()
    }

    /// For tests: the locks are in order.
    pub fn check_locks(&self) {
        self.locks.check_invariants();
    }
}

/// The locks a command needs: its keys', by hash.
pub fn lock_set(row: &Command, argv: Argv, hasher: &KeyHasher) -> LockSet {
    let mut set = LockSet::default();
    for key in row.key_refs(argv) {
        set.keys.push((hasher.key(argv.get(key.index)).hash, Command::access(key.flags)));
    }
    set.normalise();
    set
}
