//! Tests that need more than one room: tidiness, live peers, whole servers.
//!
//! The library holds what those tests share: servers to start (`process`, `peer`, `torc`), a raw client
//! (`client`, `reply`), the generated commands (`grammar`, `generate`, `payload`), what may differ between servers (`allow`),
//! the replay that compares them (`replay`, `shrink`) and the checker of concurrent histories (`history`).
//! It never knows the server's own code: a server is a program with a port.

pub mod allow;
pub mod client;
pub mod clock;
pub mod generate;
pub mod grammar;
pub mod history;
pub mod node;
pub mod payload;
pub mod peer;
pub mod process;
pub mod random;
pub mod replay;
pub mod replicas;
pub mod reply;
pub mod shrink;
pub mod torc;
