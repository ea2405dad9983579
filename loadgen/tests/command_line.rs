//! What the program says of command lines that cannot be, and what it does when nobody reads what it says. No server is
//! needed for any of it.

use std::{
    io,
    process::{Command, Output, Stdio},
};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_torc-loadgen"))
}

fn output(line: &str) -> Output {
    program().args(line.split(' ')).stdin(Stdio::null()).output().expect("the program starts")
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
    for (line, code) in
        [("run -p 1 -n 1", 1), ("run --rate x", 1), ("--version", 0), ("report /nonexistent", 1)]
    {
        let status = program().args(line.split(' ')).stdout(unread()).stderr(unread()).status();
        assert_eq!(status.expect("the program starts").code(), Some(code), "{line}");
    }
}

#[test]
fn a_command_line_that_cannot_be_is_no_missed_objective() {
    for line in ["", "run --nonsense", "run -n 5 --test-time 3", "sweep", "agent --listen a:1", "fly"] {
        let ended = output(line);
        assert_eq!(ended.status.code(), Some(1), "{line}");
        assert!(!ended.stderr.is_empty(), "{line}: it says why");
    }
    for line in ["--help", "--version", "run --help"] {
        let ended = output(line);
        assert_eq!((ended.status.code(), ended.stderr.is_empty()), (Some(0), true), "{line}");
        assert!(!ended.stdout.is_empty(), "{line}");
    }
}
