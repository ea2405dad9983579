//! The only door to the machine: sockets, threads, the clock, signals, `/proc`.
//!
//! It may touch the kernel and the crates that speak to it, `limits` and `config`. It never knows the
//! protocol, a session, a key or a command: bytes come out of it and go into it. All `unsafe` of the
//! server that is not a data structure lives here.
//!
//! One [`Net`] per core waits for the sockets of that core and for mail of other cores ([`Port`]);
//! how the two share one sleep is written in `net.rs`, and who may wake whom in `bell.rs`.

mod bell;
mod buffers;
pub mod clock;
mod fault;
mod files;
pub mod listen;
mod mesh;
mod net;
#[cfg(test)]
mod net_tests;
mod pace;
pub mod placement;
pub mod preflight;
pub mod process;
mod ring;
pub mod signals;
mod sockets;

pub use bell::Bell;
pub use fault::Fault;
pub use files::{FileDone, FileOp, write_through};
pub use listen::Listener;
pub use mesh::{Mesh, Port};
pub use net::{ACCEPT_PAUSE_MS, ConnId, Event, Inbox, Net, NetOptions, Stats, Wait};
pub use placement::{Plan, spawn};
pub use signals::{Signals, Wake, Waker};
