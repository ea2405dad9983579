//! MEMORY: what keys and the server as a whole hold.

use super::help::help_row;
use super::parts::integer;
use super::{Args, Client, Command, Core, Ctx, Flags, Group, KeyFlags, KeySpec, Lock, Merge, Run};
use crate::resp::{Refusal, Reply, elements};

/// What all rows share.
const ROW: Command = Command { arity: 2, group: Group::Server, since: "4.0.0", ..Command::BASE };

const TIPS: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

pub const COMMANDS: &[Command] = &[Command {
    name: "memory",
    full_name: "memory",
    arity: -2,
    summary: "Commands about memory.",
    complexity: "Depends on the subcommand",
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "doctor",
        full_name: "memory|doctor",
        run: Run::EveryCore { lock: Lock::None, part: measure, merge: Merge::Custom(doctor) },
        summary: "Says whether memory looks healthy.",
        tips: TIPS,
        ..ROW
    },
    help_row("memory|help", Group::Server, "4.0.0"),
    Command {
        name: "malloc-stats",
        full_name: "memory|malloc-stats",
        run: Run::Session(malloc_stats),
        summary: "Returns what the allocator tells of itself.",
        tips: TIPS,
        ..ROW
    },
    Command {
        name: "purge",
        full_name: "memory|purge",
        run: Run::EveryCore { lock: Lock::None, part: purge, merge: Merge::AllOk },
        summary: "Gives back at once what was removed and awaits to be freed.",
        complexity: "O(N) with N removed keys that are not freed yet",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        ..ROW
    },
    Command {
        name: "stats",
        full_name: "memory|stats",
        run: Run::EveryCore { lock: Lock::None, part: measure, merge: Merge::Custom(stats) },
        summary: "Returns where memory goes.",
        complexity: "O(N) with N connections",
        tips: TIPS,
        ..ROW
    },
    Command {
        name: "usage",
        full_name: "memory|usage",
        arity: -3,
        flags: Flags::READONLY,
        keys: &[KeySpec::at(2, KeyFlags::RO)],
        run: Run::OneShard(usage),
        summary: "Returns the bytes that a key and its value hold.",
        syntax: "key [SAMPLES count]",
        ..ROW
    },
];

/// Entries know their size exactly, so the number of samples does not matter.
fn usage(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    while !args.is_empty() {
        if !args.option("SAMPLES") || args.int()? < 0 {
            return Err(Refusal::Syntax);
        }
    }
    // Whether the key's time is up does not matter: it holds memory until it is removed.
    let bytes = ctx.data.keyspace.get(ctx.db, &key).map(|entry| entry.memory());
    match bytes {
        Some(bytes) => ctx.reply.int(bytes as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn malloc_stats(
    _core: &mut Core,
    _client: usize,
    _args: &mut Args,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    reply.bulk(b"Stats not supported for the current allocator");
    Ok(())
}

fn purge(_core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    while ctx.data.keyspace.reap(usize::MAX) {}
    ctx.reply.ok();
    Ok(())
}

/// Sums of all shards: bytes of keys and values, bytes of connections, keys.
#[derive(Debug, Default)]
struct Measures {
    used: i64,
    clients: i64,
    keys: i64,
}

fn measure(core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    let keyspace = &ctx.data.keyspace;
    let clients: usize = core.connections().map(Client::memory).sum();
    let keys: usize = (0..keyspace.databases()).map(|db| keyspace.len(db)).sum();
    ctx.reply.array(3);
    for number in [keyspace.used_memory(), clients, keys] {
        ctx.reply.int(number as i64);
    }
    Ok(())
}

fn measures(parts: &[&[u8]]) -> Measures {
    let mut all = Measures::default();
    for part in parts {
        let fields = [&mut all.used, &mut all.clients, &mut all.keys];
        fields.into_iter().zip(elements(part)).for_each(|(sum, raw)| *sum += integer(raw));
    }
    all
}

fn stats(parts: &[&[u8]], core: &Core, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let all = measures(parts);
    let (rss, total) = (core.node.rss_bytes as i64, all.used + all.clients);
    let integers = [
        ("peak.allocated", core.node.used_memory_peak.max(total as u64) as i64),
        ("total.allocated", total),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", all.clients),
        ("aof.buffer", 0),
        ("keys.count", all.keys),
        ("keys.bytes-per-key", if all.keys == 0 { 0 } else { all.used / all.keys }),
        ("dataset.bytes", all.used),
        ("fragmentation.bytes", rss - total),
    ];
    reply.map(integers.len() + 1);
    for (name, value) in integers {
        reply.bulk(name.as_bytes());
        reply.int(value);
    }
    reply.bulk(b"fragmentation");
    reply.double(rss as f64 / total.max(1) as f64);
    Ok(())
}

fn doctor(parts: &[&[u8]], core: &Core, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let all = measures(parts);
    let mut text = String::new();
    let maxmemory = core.settings.maxmemory;
    if maxmemory > 0 && all.used as u64 > maxmemory / 10 * 9 {
        text += "* Keys and values hold more than nine tenths of maxmemory: writes will soon be refused.\n";
    }
    if all.clients > all.used.max(64 << 20) {
        text += "* Connections hold more memory than keys and values: look for large ones in CLIENT LIST.\n";
    }
    if text.is_empty() {
        text += "No problem with memory was found.\n";
    }
    reply.verbatim("txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;

    #[test]
    fn usage_is_told_of_keys_that_exist() {
        let mut shell = Shell::new(2);
        shell.set(0, "small", b"1", None);
        shell.set(0, "big", &[b'x'; 5000], None);
        let bytes = |reply: String| reply.trim_matches([':', '|']).parse::<usize>().unwrap();
        assert!(bytes(shell.run("MEMORY USAGE small")) < 100);
        assert!(bytes(shell.run("MEMORY USAGE big SAMPLES 0")) > 5000);
        assert_eq!(shell.run("MEMORY USAGE missing"), "$-1|");
        for bad in ["big SAMPLES", "big SAMPLES -1", "big x 1"] {
            assert_eq!(shell.run(&format!("MEMORY USAGE {bad}")), "-ERR syntax error|");
        }
        let not_integer = "-ERR value is not an integer or out of range|";
        assert_eq!(shell.run("MEMORY USAGE missing SAMPLES x"), not_integer);
    }

    #[test]
    fn totals_are_summed_over_shards() {
        let mut shell = Shell::new(3);
        (0..20).for_each(|key| shell.set(0, &format!("key{key}"), b"value", None));
        assert!(shell.run("MEMORY STATS").contains("|$10|keys.count|:20|"));
        assert!(shell.run("MEMORY DOCTOR").contains("No problem"));
        shell.run("CONFIG SET maxmemory 1");
        assert!(shell.run("MEMORY DOCTOR").contains("writes will soon be refused"));
        assert_eq!(shell.run("MEMORY PURGE"), "+OK|");
        assert!(shell.run("MEMORY MALLOC-STATS").contains("not supported"));
    }
}
