//! A load generator for RESP servers: closed loop (as many requests as connections and pipeline allow) and open loop
//! (a fixed arrival schedule whose latencies count from the *intended* start, so that a stalled server cannot hide its
//! stall). The library is what `torc-bench` drives; the binary wraps it in a command line.
//!
//! `plan` says what to do; `traffic` which request comes next and `arrivals` when it is due, both pure; `engine` does
//! it; `stats` is what it counts, `verdict` whether that measures the server, `summary` makes the report's data of it
//! (`document`), which `report` renders; `sweep` runs plans until it knows what a server takes. Only `clock` reads time. Nothing here knows anything of Torc: every server is spoken to alike.

// They panic where nobody reads any more: `report::output` has what takes their place.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod agent;
pub mod arrivals;
pub mod cli;
pub mod clock;
pub mod document;
pub mod engine;
pub mod environment;
pub mod link;
pub mod plan;
pub mod progress;
pub mod replies;
pub mod report;
pub mod selftest;
pub mod stats;
pub mod summary;
pub mod sweep;
pub mod traffic;
pub mod verdict;

pub use engine::{Fault, pin, run};
pub use plan::Plan;
pub use stats::{CommandStats, Outcome};
pub use traffic::keys;
