//! Commands that leave their session's core: batches to one shard, and transactions over several.
//!
//! Sans-IO: messages in, messages out. `Coordinator` is the session's side of a transaction,
//! `Participant` the shard's side; both run on every core and meet only through `Message`.
//!
//! A transaction asks every shard it touches for its locks under one ticket (`Schedule`), executes in
//! hops once all are granted (`Execute`), and lets go with its last hop. A shard that cannot take the
//! ticket without risking a deadlock refuses it; the coordinator cancels and comes back with a new one.

mod batch;
mod coordinator;
mod message;
mod participant;
mod program;

pub use batch::{Batch, Request};
pub use coordinator::{Coordinator, Outcome};
pub use message::{
    Executed, Executing, Late, Message, Post, Scheduling, TransactionId, Verdict, Work, WorkResult,
};
pub use participant::{Participant, Site, park_if_locked, run_batch};
pub use program::{Env, Program, Queued, Watched};
