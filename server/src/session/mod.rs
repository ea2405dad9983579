//! Connection life: input to commands, commands to their homes, replies in order.
//!
//! `Machine` is all of one core but its sockets: sans-IO. It is told of bytes, messages and the time, and
//! answers with what to send, to whom to close, and messages for other cores. One thread can therefore
//! run many of them (see the simulation tests), and `node/` drives one per core for real.

mod apply;
mod connection;
mod dispatch;
mod machine;
mod pause;
mod transactions;
mod upkeep;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod waiting_tests;

pub use apply::Unapplied;
pub use machine::{Actions, Counters, HandOver, Machine, Peer};
pub use upkeep::Upkeep;
