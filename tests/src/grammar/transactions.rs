//! The forms of the [transactions] commands. Their sequences run on two connections, so that a WATCH can fail.

use super::Arg::{Key, Times};
use super::Row;

pub const ROWS: &[Row] = &[
    Row::new("DISCARD", &[&[]]),
    Row::new("EXEC", &[&[]]),
    Row::new("MULTI", &[&[]]),
    Row::new("UNWATCH", &[&[]]),
    Row::new("WATCH", &[&[Times(1, 4, &[Key])]]),
];
