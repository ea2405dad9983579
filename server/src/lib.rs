//! Torc: a RESP server in which every CPU core owns a ring of hash slots and all that is in them.
//!
//! The rooms stand in dependency order: a room imports only rooms above it (a test enforces it).
//! Up to `shard` nothing is async, reads a clock, or touches a socket, an atomic or a thread-local.

pub mod limits;

pub mod config;

pub mod resp;

pub mod structures;

pub mod keyspace;

pub mod rdb;

pub mod commands;

pub mod shard;

// ---- the await line ----

pub mod runtime;

pub mod transaction;

pub mod log;

pub mod replication;

pub mod session;

pub mod node;
