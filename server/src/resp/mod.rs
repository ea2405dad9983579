//! Bytes ↔ commands and replies: RESP2, RESP3 and inline commands.
//!
//! Knows the protocol only: no command, no key, no socket.

mod argv;
mod refusal;

pub use argv::{Argv, OwnedArgv, Span};
pub use refusal::Refusal;
