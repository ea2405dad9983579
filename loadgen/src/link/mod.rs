//! How a server is reached: what the user named (`target`), the conversation before the load (`client`), the stream
//! the load runs over (`stream`, `tls`), and which node of a cluster serves a key (`slots`). Nothing here knows what
//! is sent or measured.

pub mod client;
mod fault;
pub mod slots;
mod stream;
pub mod target;
mod tls;
mod uri;
pub mod value;

pub use client::{Client, Dialer, Peer, Role, Spot};
pub use fault::Fault;
pub use stream::Link;
pub use target::{Address, ReadFrom, Target, TlsOptions};
