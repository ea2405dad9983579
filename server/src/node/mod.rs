//! The process: start-up and shutdown in order, and the loop that drives each core.

mod core_loop;
mod door;
mod logging;
mod pager;
mod shared;
mod start;

pub use start::{Stop, serve};
