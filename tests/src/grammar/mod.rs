//! What each command accepts, as data: one `Row` a command, from which the generator makes valid and invalid calls.

mod connection;
mod generic;
mod server;
mod string;
mod transactions;

use crate::peer::Peer;

/// One place of a command's form.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A literal word; sent in any mixture of cases.
    Word(&'static str),
    Key,
    Value,
    Int,
    /// An offset into a string: never one that makes the server allocate more than a few kilobytes.
    Offset,
    Float,
    /// A relative expiry, in seconds or milliseconds.
    Seconds,
    Millis,
    /// An absolute expiry.
    UnixSeconds,
    UnixMillis,
    Db,
    Pattern,
    Cursor,
    /// A client's name, a user, a library version: text that has rules of its own.
    Name,
    /// What RESTORE takes.
    Payload,
    /// Exactly one of these.
    One(&'static [&'static [Arg]]),
    /// Any of these in any order; now and then one of them twice.
    Any(&'static [&'static [Arg]]),
    /// Between so many and so many repetitions.
    Times(usize, usize, &'static [Arg]),
    /// A whole command of another row, its name included.
    Command,
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As in COMMAND LIST, upper case: `CLIENT|ID`.
    pub name: &'static str,
    pub forms: &'static [&'static [Arg]],
    /// Who answers for it.
    pub peer: Peer,
    /// Whether arguments may be dropped, added and replaced.
    pub mutate: bool,
    /// Whether values of thousands of bytes would take the reference server too long.
    pub small: bool,
    /// Whether expiries may pass meanwhile. Not where the reference looks at keys without minding their time.
    pub brief: bool,
}

impl Row {
    const fn new(name: &'static str, forms: &'static [&'static [Arg]]) -> Row {
        Row { name, forms, peer: Peer::Redis, mutate: true, small: false, brief: true }
    }

    /// A command that the 7.0 server does not have yet.
    const fn later(self) -> Row {
        Row { peer: Peer::Valkey, ..self }
    }

    /// On short values only.
    const fn small(self) -> Row {
        Row { small: true, ..self }
    }

    /// Without expiries that pass.
    const fn lasting(self) -> Row {
        Row { brief: false, ..self }
    }

    /// Only as written: a stray argument would do what the test cannot follow.
    const fn exact(self) -> Row {
        Row { mutate: false, ..self }
    }
}

/// One differential test each.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub rows: &'static [Row],
}

pub const FAMILIES: &[Family] = &[
    Family { name: "string", rows: string::ROWS },
    Family { name: "generic", rows: generic::ROWS },
    Family { name: "connection", rows: connection::ROWS },
    Family { name: "transactions", rows: transactions::ROWS },
    Family { name: "server", rows: server::ROWS },
];

/// Commands no generator can call without losing its connection or its server, and the test that exercises them.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("BGREWRITEAOF", "script save, and durability"),
    ("BGSAVE", "script save, and durability"),
    ("CLIENT|KILL", "script client-kill"),
    ("CLIENT|LIST", "script client-list"),
    ("CLIENT|REPLY", "script client-reply"),
    ("COMMAND", "command_table"),
    ("COMMAND|DOCS", "command_table"),
    ("COMMAND|INFO", "command_table"),
    ("COMMAND|LIST", "command_table"),
    ("DEBUG|CUT", "script save"),
    ("FAILOVER", "failover"),
    ("INFO", "info"),
    ("LASTSAVE", "script save, and durability"),
    ("LATENCY|HISTOGRAM", "script latency-histogram"),
    ("PSYNC", "script replication"),
    ("REPLCONF", "script replication"),
    ("REPLICAOF", "script replication"),
    ("SAVE", "script save, and durability"),
    ("SHUTDOWN", "script shutdown, and hostile's end by SHUTDOWN and by signal"),
    ("SLAVEOF", "script replication"),
    ("SLOWLOG|GET", "script slowlog"),
    ("SYNC", "script replication"),
    ("WAIT", "script replication"),
    ("WAITAOF", "script replication"),
];

pub fn family(name: &str) -> &'static Family {
    FAMILIES.iter().find(|family| family.name == name).expect("the family is one of FAMILIES")
}

pub fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().flat_map(|family| family.rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_upper_case() {
        let mut names: Vec<&str> = rows().map(|row| row.name).chain(ELSEWHERE.iter().map(|e| e.0)).collect();
        assert!(names.iter().all(|name| name.to_ascii_uppercase() == **name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a command stands twice");
    }
}
