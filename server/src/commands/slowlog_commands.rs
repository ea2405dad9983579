//! SLOWLOG: each core has the log of what ran on it; what is shown is merged by the entries' ids.

use super::help::help_row;
use super::parts::{all_elements, integer, sum};
use super::refusals::subcommand_arity;
use super::{Args, Command, Core, Ctx, Flags, Group, Lock, Merge, Run};
use crate::resp::{Refusal, Reply, elements};

/// What all rows share.
const ROW: Command = Command {
    arity: 2,
    flags: Flags::ADMIN.union(Flags::LOADING).union(Flags::STALE),
    group: Group::Server,
    since: "2.2.12",
    ..Command::BASE
};

/// Entries that GET returns when it is not told how many.
const DEFAULT_COUNT: usize = 10;

pub const COMMANDS: &[Command] = &[Command {
    name: "slowlog",
    full_name: "slowlog",
    arity: -2,
    flags: Flags::empty(),
    summary: "Commands about the log of slow commands.",
    complexity: "Depends on the subcommand",
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "get",
        full_name: "slowlog|get",
        arity: -2,
        run: Run::EveryCore { lock: Lock::None, part: get, merge: Merge::Custom(merge_get) },
        summary: "Returns the newest entries.",
        complexity: "O(N) with N entries returned",
        syntax: "[count]",
        tips: &["request_policy:all_nodes", "nondeterministic_output"],
        ..ROW
    },
    help_row("slowlog|help", Group::Server, "6.2.0"),
    Command {
        name: "len",
        full_name: "slowlog|len",
        run: Run::EveryCore { lock: Lock::None, part: len, merge: Merge::Custom(merge_len) },
        summary: "Returns how many entries there are.",
        tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
        ..ROW
    },
    Command {
        name: "reset",
        full_name: "slowlog|reset",
        run: Run::EveryCore { lock: Lock::None, part: reset, merge: Merge::AllOk },
        summary: "Removes all entries.",
        complexity: "O(N) with N entries",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..ROW
    },
];

/// How many entries to return; -1 asks for all.
fn count(args: &mut Args) -> Result<usize, Refusal> {
    const RANGE: Refusal =
        Refusal::Err(std::borrow::Cow::Borrowed("count should be greater than or equal to -1"));
    if args.is_empty() {
        return Ok(DEFAULT_COUNT);
    }
    if args.remaining() > 1 {
        return Err(subcommand_arity(args.argv()));
    }
    let count = args.int_or(RANGE)?;
    match count {
        -1 => Ok(usize::MAX),
        count => usize::try_from(count).map_err(|_| RANGE),
    }
}

fn get(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let entries = &core.slowlog.entries;
    let count = count(args)?.min(entries.len());
    let reply = &mut ctx.reply;
    reply.array(count);
    for entry in entries.iter().take(count) {
        reply.array(6);
        reply.int(entry.id as i64);
        reply.int(entry.at);
        reply.int(entry.micros);
        reply.array(entry.argv.len());
        entry.argv.iter().for_each(|argument| reply.bulk(argument));
        reply.bulk(entry.addr.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(())
}

fn merge_get(parts: &[&[u8]], core: &Core, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let id = |entry: &[u8]| elements(entry).next().map_or(0, integer);
    let mut entries: Vec<(i64, &[u8])> = all_elements(parts).map(|entry| (id(entry), entry)).collect();
    entries.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
    entries.truncate(count(args)?.min(core.settings.slowlog_max_len));
    reply.array(entries.len());
    entries.iter().for_each(|(_, entry)| reply.raw(entry));
    Ok(())
}

fn len(core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    ctx.reply.int(core.slowlog.entries.len() as i64);
    Ok(())
}

fn merge_len(parts: &[&[u8]], core: &Core, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.int(sum(parts).min(core.settings.slowlog_max_len as i64));
    Ok(())
}

fn reset(core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    core.slowlog.entries.clear();
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::SlowlogEntry;
    use super::super::shell::Shell;

    fn with_entries(per_core: &[&[u64]]) -> Shell {
        let mut shell = Shell::new(per_core.len());
        for (core, ids) in shell.cores.iter_mut().zip(per_core) {
            for id in ids.iter().copied() {
                let argv = vec![b"GET".to_vec(), id.to_string().into_bytes()];
                let (addr, name) = ("1.2.3.4:5".into(), (*b"me").into());
                core.slowlog.push(SlowlogEntry { id, at: 17, micros: 9, argv, addr, name }, 128);
            }
        }
        shell
    }

    #[test]
    fn entries_of_all_cores_come_newest_first() {
        let mut shell = with_entries(&[&[0, 3], &[1], &[2, 4]]);
        assert_eq!(shell.run("SLOWLOG LEN"), ":5|");
        let tail = |id: u64| format!("*6|:{id}|:17|:9|*2|$3|GET|$1|{id}|$9|1.2.3.4:5|$2|me|");
        assert_eq!(shell.run("SLOWLOG GET 2"), format!("*2|{}{}", tail(4), tail(3)));
        assert!(shell.run("SLOWLOG GET -1").starts_with("*5|"));
        assert!(shell.run("SLOWLOG GET").starts_with("*5|"));
        assert_eq!(shell.run("SLOWLOG GET 0"), "*0|");
        shell.run("CONFIG SET slowlog-max-len 3");
        assert_eq!(shell.run("SLOWLOG LEN"), ":3|");
        assert_eq!(shell.run("SLOWLOG GET"), format!("*3|{}{}{}", tail(4), tail(3), tail(2)));
        assert_eq!(shell.run("SLOWLOG RESET"), "+OK|");
        assert_eq!(shell.run("SLOWLOG LEN"), ":0|");
    }

    #[test]
    fn bad_counts_are_refused() {
        let mut shell = Shell::new(2);
        for bad in ["x", "-2", "99999999999999999999"] {
            let refusal = "-ERR count should be greater than or equal to -1|";
            assert_eq!(shell.run(&format!("SLOWLOG GET {bad}")), refusal);
        }
        assert_eq!(shell.run("SLOWLOG x"), "-ERR unknown subcommand 'x'. Try SLOWLOG HELP.|");
    }
}
