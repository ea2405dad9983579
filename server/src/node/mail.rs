//! What cores send each other. The log core is the last port of the mesh, behind the shards.

use std::os::fd::OwnedFd;

use super::door::Arrival;
use crate::commands::{Ask, Client, Cut, Effects, LogFacts, ReplicationFacts, SyncRequest};
use crate::config::Settings;
use crate::keyspace::Chunk;
use crate::rdb::Codec;
use crate::transaction::Message;

pub enum Mail {
    Connection(Arrival),
    Messages(Vec<Message>),

    // ---- from a shard to the log core ----
    /// What the shard changed in a turn.
    Effects(Effects),
    /// What a session asks of the log core.
    Ask(Ask),
    /// A piece of the shard's part of the cut of this number; `None` at its end.
    Chunk(u64, Option<Chunk>),
    /// A batch of entries is in the keyspace, or what is wrong with it.
    Loaded(Result<(), String>),
    /// The cut of this number has so many keys on this shard.
    CutHolds(u64, u64),
    /// How much of what the log core wanted applied has been.
    Applied(Applied),
    /// Why a command of the log could not be applied.
    ApplyFailed(Box<str>),
    /// A connection that asks to become a replica.
    Replica(Box<Newcomer>),
    /// Settings have changed.
    Settings(Box<Settings>),
    /// No write from before the pause of this number is under way from this core.
    Quiet(u64),

    // ---- from the log core to a shard ----
    /// How far the shard's effects have come.
    Logged(Logged),
    /// To the first shard: begin a cut of this number on all.
    Cut(std::num::NonZeroU64, Cut),
    /// A piece of the cut has been written: the next one may come.
    ChunkTaken(u64),
    /// Nobody wants the rest of the cut of this number.
    EndCut(u64),
    /// Entries of a snapshot for this shard.
    Load(Box<Entries>),
    /// To the first shard: commands of the log to apply.
    Apply(Vec<u8>),
    /// What was loaded aside is not wanted.
    DropAside,
    /// Loading has ended.
    Serve(Serve),
    /// Clients' writes are to wait, in a pause of this number; or go on again.
    Pause(Option<u64>),
    /// Why writes are refused from now on, or that they are not any more.
    WriteFault(Option<Box<str>>),
    /// News for INFO.
    Facts(Box<(LogFacts, ReplicationFacts)>),
}

/// A connection that its shard has handed over. All replies to it have left.
pub struct Newcomer {
    pub socket: OwnedFd,
    pub client: Box<Client>,
    pub request: SyncRequest,
}

/// Numbers of a shard's effects: up to `taken` they are out of memory, up to `durable` on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    pub taken: u64,
    pub durable: u64,
}

/// State of the session that applies the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Bytes executed so far, of all that was ever fed.
    pub bytes: u64,
    /// How many of them belong to commands that have ended on all shards.
    pub settled: u64,
    /// Commands that have yet to end.
    pub outstanding: usize,
    /// The database they have selected.
    pub db: usize,
}

/// How a shard serves once the data is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// Nobody consumes effects.
    Unlogged,
    /// Effects are only counted, for the save points.
    Counted,
    Logged,
}

/// Entries on their way from a snapshot to their home, still encoded.
#[derive(Default)]
pub struct Entries {
    pub bytes: Vec<u8>,
    pub entries: Vec<Encoded>,
}

pub struct Encoded {
    pub db: usize,
    /// Where the key begins in the bytes, the value behind it, and its end.
    pub key: usize,
    pub value: usize,
    pub end: usize,
    pub codec: &'static Codec,
    /// Unix ms.
    pub expire: Option<i64>,
    /// Where the value stands in the file.
    pub offset: u64,
}
