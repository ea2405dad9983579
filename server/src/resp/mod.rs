//! Bytes ↔ commands and replies: RESP2, RESP3 and inline commands.
//!
//! Knows the protocol only: no command, no key, no socket.

mod argv;
mod dtoa;
mod elements;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod glob;
mod inline;
pub mod long_double;
mod number;
mod parse;
#[cfg(test)]
mod properties;
mod refusal;
mod reply;

pub use argv::{Argv, OwnedArgv, Span};
pub use elements::{element_len, elements};
pub use glob::glob_match;
pub use number::{format_f64, parse_f64, parse_i64};
pub use parse::{Commands, Frame, ParseLimits, Parser, ProtocolError};
pub use refusal::Refusal;
pub use reply::{Mark, Reply};
