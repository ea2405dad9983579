//! What the program says of command lines that cannot be, and what it does when nobody reads what it says. No server is
//! needed for any of it.

use std::{
    io,
    process::{Command, Stdio},
};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_torc-loadgen"))
}

/// A pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn nobody_reading_is_no_reason_to_die() {
    // Port 1 refuses; nothing listens there.
    for (line, code) in [("run -p 1 -n 1", 1), ("--version", 0), ("report /nonexistent", 1)] {
        let status = program().args(line.split(' ')).stdout(unread()).stderr(unread()).status();
        assert_eq!(status.expect("the program starts").code(), Some(code), "{line}");
    }
}
