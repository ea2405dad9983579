//! The command table: one file a family, each with its rows, handlers and tests.
//!
//! A handler knows keys, values and replies, and of the log and of replication only what it asks (`Task`) and is told
//! (`NodeFacts`). It never knows sockets or shards: the row says where it runs, and routing, locks, permissions and
//! documentation derive from the row.

mod args;
mod client;
mod client_commands;
mod client_list;
mod client_pause;
mod command_docs;
mod command_info;
mod config_commands;
mod connection;
mod copy;
mod core;
mod ctx;
mod debug;
mod digest;
mod dump;
mod execute;
mod expire;
mod failover;
mod generic;
mod generic_walk;
mod help;
mod info;
mod info_sections;
mod latency;
mod lookup;
mod memory;
mod object;
mod outbox;
mod parts;
mod persistence;
mod refusals;
mod replication;
mod row;
mod server;
mod slowlog;
mod slowlog_commands;
mod stats;
mod steps;
mod string;
mod string_lcs;
mod string_number;
mod string_set;
mod syntax;
mod transactions;
mod watch;

#[cfg(test)]
mod shell;
#[cfg(test)]
mod testing;

pub use args::Args;
pub use client::{Client, ClientFlags, ReplyMode};
pub use client_pause::ClientPause;
pub use core::{Core, LoadFacts, LogFacts, NodeFacts, SnapshotLoad, Spread};
pub use ctx::{Ctx, Data, Expiry};
pub use debug::Cut;
pub use execute::{execute_local, visit_key};
pub use failover::{FailoverPlan, FailoverState};
pub use generic_walk::{WalkFilter, WalkPlan, walk_step};
pub use lookup::{Recent, Table, table};
pub use outbox::{Effects, Mark, Outbox};
pub use persistence::{Ask, Task};
pub use refusals::{
    admit, admit_now, flags_of_exec, passes_over, refuse_logged, refuse_replicated, refuse_unknown_command,
    refuse_unknown_subcommand,
};
pub use replication::{
    Link, PrimaryFacts, ReplicaFacts, ReplicaIdentity, ReplicaState, ReplicationFacts, SyncRequest,
};
pub use row::{
    Access, Categories, Command, Control, Flags, Group, Handler, KeyFlags, KeyRef, KeySpec, Lock, Merge, Run,
    StepFn, TaskFn, Walk,
};
pub use server::Shutdown;
pub use slowlog::{Slowlog, SlowlogEntry};
pub use stats::{CommandStats, CoreStats};
pub use steps::{Carry, Next, Visit};
pub use watch::WatchTable;

/// Every family of commands. Adding a family is one line here.
pub const FAMILIES: &[&[Command]] = &[
    string::COMMANDS,
    string_set::COMMANDS,
    string_number::COMMANDS,
    string_lcs::COMMANDS,
    generic::COMMANDS,
    generic_walk::COMMANDS,
    copy::COMMANDS,
    dump::COMMANDS,
    expire::COMMANDS,
    object::COMMANDS,
    connection::COMMANDS,
    transactions::COMMANDS,
    server::COMMANDS,
    persistence::COMMANDS,
    replication::COMMANDS,
    failover::COMMANDS,
    command_info::COMMANDS,
    config_commands::COMMANDS,
    info::COMMANDS,
    memory::COMMANDS,
    slowlog_commands::COMMANDS,
    latency::COMMANDS,
    debug::COMMANDS,
];
