//! What the machine could not do for us, worded as one line for the operator.

use std::{error::Error, fmt, io};

/// A failure of the machine: one line that names what failed and what to do about it.
#[derive(Debug)]
pub struct Fault {
    line: String,
}

impl Fault {
    /// A fault described in full: what failed, then the remedy.
    pub fn new(line: impl Into<String>) -> Self {
        Fault { line: line.into() }
    }

    /// `what` failed with `error`; the operating system's own words follow.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Fault { line: format!("{what}: {error}") }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line)
    }
}

impl Error for Fault {}
