//! A load generator for RESP servers: closed loop (as many requests as connections and pipeline allow) and open loop
//! (a fixed arrival schedule whose latencies count from the *intended* start, so that a stalled server cannot hide its
//! stall). The library is what `torc-bench` drives; the binary wraps it in a command line.
//!
//! `plan` says what to do, `run` does it with one `worker` per thread, `report` renders what came back. Only `clock`
//! reads time. Nothing here knows anything of Torc: every server is spoken to alike.

pub mod cli;
pub mod clock;
mod connection;
pub mod document;
pub mod keys;
pub mod link;
pub mod plan;
pub mod replies;
pub mod report;
pub mod request;
pub mod run;
pub mod schedule;
pub mod stats;
mod worker;

pub use plan::Plan;
pub use run::{Fault, run};
pub use stats::{OpStats, Outcome};
