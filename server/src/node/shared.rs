//! The few numbers all cores share: counters they draw from and figures they publish. No data, no locks.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::session::Counters;

/// One per process.
#[derive(Debug)]
pub struct Shared {
    tickets: AtomicU64,
    clients: AtomicU64,
    slowlogs: AtomicU64,
    /// Connections of all cores, those on their way to a core included.
    connections: AtomicU64,
    /// What each core last published.
    cores: Box<[Published]>,
    /// Somebody asked for the end, so many signals among them; then, once a last snapshot is written, it has begun.
    stop_asked: AtomicBool,
    signals: AtomicU64,
    stopping: AtomicBool,
    /// Cores whose sessions are gone, while stopping.
    drained: AtomicU64,
}

/// A core's own cache line: it writes here once a turn.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Published {
    used_memory: AtomicU64,
    keys: AtomicU64,
    /// Effects so far.
    changes: AtomicU64,
    /// Turns so far, the proof that a core is alive.
    turns: AtomicU64,
}

impl Shared {
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Shared {
            tickets: AtomicU64::new(0),
            clients: AtomicU64::new(0),
            slowlogs: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            cores: (0..cores).map(|_| Published::default()).collect(),
            stop_asked: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            signals: AtomicU64::new(0),
            drained: AtomicU64::new(0),
        })
    }

    pub fn publish(&self, core: usize, used_memory: u64, keys: u64, changes: u64) {
        self.cores[core].used_memory.store(used_memory, Relaxed);
        self.cores[core].keys.store(keys, Relaxed);
        self.cores[core].changes.store(changes, Relaxed);
        self.cores[core].turns.store(self.cores[core].turns.load(Relaxed) + 1, Relaxed);
    }

    pub fn used_memory(&self) -> u64 {
        self.cores.iter().map(|core| core.used_memory.load(Relaxed)).sum()
    }

    pub fn keys(&self) -> u64 {
        self.cores.iter().map(|core| core.keys.load(Relaxed)).sum()
    }

    /// Effects of all shards so far.
    pub fn changes(&self) -> u64 {
        self.cores.iter().map(|core| core.changes.load(Relaxed)).sum()
    }

    /// Turns of every core so far: if all have moved since the last look, none hangs.
    pub fn turns(&self) -> Vec<u64> {
        self.cores.iter().map(|core| core.turns.load(Relaxed)).collect()
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Counts a new connection, unless there are `limit` already.
    pub fn admit(&self, limit: u64) -> bool {
        self.connections.fetch_update(Relaxed, Relaxed, |now| (now < limit).then_some(now + 1)).is_ok()
    }

    pub fn left(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    /// Asks the log core to see to the end.
    pub fn ask_stop(&self) {
        self.stop_asked.store(true, Release);
    }

    /// As above, by a signal.
    pub fn signal(&self) {
        self.signals.fetch_add(1, Relaxed);
        self.ask_stop();
    }

    /// Signals since the last stop that was called off.
    pub fn signals(&self) -> u64 {
        self.signals.load(Relaxed)
    }

    pub fn call_off_stop(&self) {
        self.signals.store(0, Relaxed);
        self.stop_asked.store(false, Release);
    }

    pub fn is_stop_asked(&self) -> bool {
        self.stop_asked.load(Acquire)
    }

    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// A core has no session left. Cores end together: until then each answers the others' messages.
    pub fn drained(&self) {
        self.drained.fetch_add(1, Relaxed);
    }

    pub fn all_drained(&self) -> bool {
        self.drained.load(Relaxed) == self.cores.len() as u64
    }
}

/// A core's way to the counters.
pub struct Drawn(pub Arc<Shared>);

impl Counters for Drawn {
    fn next_ticket(&mut self) -> u64 {
        self.0.tickets.fetch_add(1, Relaxed) + 1
    }

    fn next_client(&mut self) -> u64 {
        self.0.clients.fetch_add(1, Relaxed) + 1
    }

    fn next_slowlog(&mut self) -> u64 {
        self.0.slowlogs.fetch_add(1, Relaxed)
    }
}
