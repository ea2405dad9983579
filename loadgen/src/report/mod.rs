//! Renders reports. Everything is made from a `Document`, so that a file written yesterday reads like a run that has
//! just ended; nothing here measures or reads a clock.

mod axis;
mod chart;
pub mod compare;
mod curves;
pub mod hdr;
mod heatmap;
mod html;
pub mod output;
mod page;
mod setup;
pub mod sweep;
mod table;
mod text;
mod units;

pub use html::html;
pub use text::{COLUMNS, csv, quiet, text};
