//! CONFIG. Every core has its own copy of the settings; SET changes all copies at one instant.

use super::help::help_row;
use super::{Args, Command, CommandStats, Core, CoreStats, Ctx, Flags, Group, Lock, Merge, Run};
use crate::resp::{Refusal, Reply, glob_match};

/// What all rows share.
const ROW: Command = Command {
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE),
    group: Group::Server,
    since: "2.0.0",
    ..Command::BASE
};

pub const COMMANDS: &[Command] = &[Command {
    name: "config",
    full_name: "config",
    arity: -2,
    flags: Flags::empty(),
    summary: "Commands about the server's settings.",
    complexity: "Depends on the subcommand",
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "get",
        full_name: "config|get",
        arity: -3,
        run: Run::Session(get),
        summary: "Returns the settings whose names match a pattern.",
        complexity: "O(N) with N settings asked for",
        syntax: "parameter [parameter ...]",
        ..ROW
    },
    help_row("config|help", Group::Server, "5.0.0"),
    Command {
        name: "resetstat",
        full_name: "config|resetstat",
        arity: 2,
        run: Run::EveryCore { lock: Lock::None, part: reset_stat, merge: Merge::AllOk },
        summary: "Sets the counters of INFO to zero.",
        ..ROW
    },
    Command {
        name: "set",
        full_name: "config|set",
        arity: -4,
        run: Run::EveryCore { lock: Lock::Exclusive, part: set, merge: Merge::AllOk },
        summary: "Changes settings, all of them or none.",
        complexity: "O(N) with N settings given",
        syntax: "parameter value [parameter value ...]",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        ..ROW
    },
];

fn get(core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mut globs = Vec::with_capacity(args.remaining());
    while let Some(glob) = args.peek() {
        args.take()?;
        globs.push(glob);
    }
    let found = core.settings.matching(&globs, glob_match);
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    if !args.remaining().is_multiple_of(2) {
        return Err(Refusal::Syntax);
    }
    let mut pairs = Vec::with_capacity(args.remaining() / 2);
    while !args.is_empty() {
        pairs.push((args.take()?, args.take()?));
    }
    core.settings.set(&pairs).map_err(|refusal| Refusal::Err(refusal.to_string().into()))?;
    core.settings_changed = true;
    ctx.reply.ok();
    Ok(())
}

fn reset_stat(core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    core.stats = CoreStats::default();
    core.command_stats.fill(CommandStats::default());
    ctx.data.hits = 0;
    ctx.data.misses = 0;
    ctx.data.expired = 0;
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;

    #[test]
    fn settings_change_on_every_core_or_on_none() {
        let mut shell = Shell::new(3);
        assert_eq!(shell.run("CONFIG GET maxmemory"), "*2|$9|maxmemory|$1|0|");
        assert_eq!(shell.run("CONFIG SET maxmemory 100mb"), "+OK|");
        assert_eq!(shell.run("CONFIG GET MAXMEM?RY nosuch"), "*2|$9|maxmemory|$9|104857600|");
        assert!(
            shell.cores.iter().all(|core| core.settings.maxmemory == 104_857_600 && core.settings_changed)
        );
        assert!(shell.run("CONFIG SET maxmemory 1 nosuch 1").starts_with("-ERR Unknown option or number"));
        assert!(shell.cores.iter().all(|core| core.settings.maxmemory == 104_857_600));
        assert_eq!(shell.run("CONFIG SET maxmemory 1 a"), "-ERR syntax error|");
        assert_eq!(shell.run("CONFIG SET a"), "-ERR wrong number of arguments for 'config|set' command|");
        assert_eq!(shell.run("CONFIG GET nosuch"), "*0|");
    }

    #[test]
    fn counters_start_anew() {
        let mut shell = Shell::new(2);
        shell.cores[1].stats.commands_processed = 7;
        shell.cores[1].command_stats[0].calls = 7;
        shell.data[1].hits = 7;
        assert_eq!(shell.run("CONFIG RESETSTAT"), "+OK|");
        assert_eq!(shell.cores[1].stats.commands_processed, 0);
        assert_eq!(shell.cores[1].command_stats[0].calls, 0);
        assert_eq!(shell.data[1].hits, 0);
    }
}
