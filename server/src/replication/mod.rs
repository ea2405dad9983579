//! Replication: the stream to servers that follow us, and from one that we follow.
//!
//! State machines without I/O: bytes, completions and the time come in, actions go out.

mod failover;
mod history;
mod marks;
mod primary;
mod replica;
#[cfg(test)]
mod simulation;
mod waiters;

pub use failover::{Failover, Step};
pub use history::History;
pub use primary::{Bounds, Next, Primary, ReplicaId};
pub use replica::{Action, Manners, Position, Replica};
pub use waiters::{Goal, Reached, Waiters};
