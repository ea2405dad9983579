//! The process: start-up and shutdown in order, and the loop that drives each core.

mod core_loop;
mod door;
mod files;
mod loading;
mod log_core;
mod log_side;
mod logging;
mod mail;
mod pager;
mod progress;
mod shared;
mod snapshot;
mod start;

pub use start::{Stop, serve};
