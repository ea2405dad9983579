//! The rows of transaction control. What they do belongs to the session and the coordinator.

use super::{Categories, Command, Control, Flags, Group, KeyFlags, KeySpec, Run};

/// What all rows of the family share.
const ROW: Command = Command {
    flags: Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE),
    extra_categories: Categories::TRANSACTION,
    group: Group::Transactions,
    ..Command::BASE
};

/// Of those that are fast, and allowed while a script is overdue.
const FAST: Flags = ROW.flags.union(Flags::FAST).union(Flags::ALLOW_BUSY);

pub const COMMANDS: &[Command] = &[
    Command {
        name: "multi",
        full_name: "multi",
        flags: FAST,
        run: Run::Control(Control::Multi),
        since: "1.2.0",
        summary: "Begins a transaction: commands are queued until EXEC.",
        ..ROW
    },
    Command {
        name: "exec",
        full_name: "exec",
        flags: ROW.flags.union(Flags::SKIP_SLOWLOG),
        run: Run::Control(Control::Exec),
        since: "1.2.0",
        summary: "Runs the queued commands as one.",
        complexity: "Depends on the queued commands",
        ..ROW
    },
    Command {
        name: "discard",
        full_name: "discard",
        flags: FAST,
        run: Run::Control(Control::Discard),
        since: "2.0.0",
        summary: "Drops the queued commands and ends the transaction.",
        complexity: "O(N) with N queued commands",
        ..ROW
    },
    Command {
        name: "watch",
        full_name: "watch",
        arity: -2,
        flags: FAST,
        keys: &[KeySpec::rest(1, KeyFlags::RO)],
        run: Run::Control(Control::Watch),
        since: "2.2.0",
        summary: "Makes the next EXEC depend on these keys staying as they are.",
        complexity: "O(1) for each key",
        syntax: "key [key ...]",
        ..ROW
    },
    Command {
        name: "unwatch",
        full_name: "unwatch",
        flags: FAST,
        run: Run::Control(Control::Unwatch),
        since: "2.2.0",
        summary: "Forgets the watched keys.",
        ..ROW
    },
];
