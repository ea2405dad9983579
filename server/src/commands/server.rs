//! The server family's plain commands: databases as a whole, time, shutdown.

use super::help::help_row;
use super::{Args, Ask, Categories, Command, Core, Ctx, Flags, Group, Lock, Merge, Run, Task};
use crate::limits::REDIS_VERSION;
use crate::resp::{Refusal, Reply};

/// What all rows share.
const ROW: Command = Command { group: Group::Server, ..Command::BASE };

const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "dbsize",
        full_name: "dbsize",
        flags: Flags::READONLY.union(Flags::FAST),
        run: Run::EveryCore { lock: Lock::Shared, part: dbsize, merge: Merge::Sum },
        extra_categories: Categories::KEYSPACE,
        summary: "Returns how many keys the database has.",
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        ..ROW
    },
    Command {
        name: "flushall",
        full_name: "flushall",
        arity: -1,
        flags: Flags::WRITE,
        run: Run::EveryCore { lock: Lock::Exclusive, part: flushall, merge: Merge::AllOk },
        extra_categories: Categories::KEYSPACE.union(Categories::DANGEROUS),
        summary: "Removes all keys of all databases.",
        complexity: "O(N) with N keys in all databases",
        syntax: "[ASYNC | SYNC]",
        tips: ALL_SHARDS,
        ..ROW
    },
    Command {
        name: "flushdb",
        full_name: "flushdb",
        arity: -1,
        flags: Flags::WRITE,
        run: Run::EveryCore { lock: Lock::Exclusive, part: flushdb, merge: Merge::AllOk },
        extra_categories: Categories::KEYSPACE.union(Categories::DANGEROUS),
        summary: "Removes all keys of the database.",
        complexity: "O(N) with N keys in the database",
        syntax: "[ASYNC | SYNC]",
        tips: ALL_SHARDS,
        ..ROW
    },
    Command {
        name: "lolwut",
        full_name: "lolwut",
        arity: -1,
        flags: Flags::READONLY.union(Flags::FAST),
        run: Run::Session(lolwut),
        since: "5.0.0",
        summary: "Returns a line with the server's version.",
        syntax: "[VERSION version]",
        ..ROW
    },
    Command {
        name: "module",
        full_name: "module",
        arity: -2,
        since: "4.0.0",
        summary: "Commands about modules, of which there are none.",
        complexity: "Depends on the subcommand",
        subcommands: MODULE,
        ..ROW
    },
    Command {
        name: "shutdown",
        full_name: "shutdown",
        arity: -1,
        flags: Flags::ADMIN
            .union(Flags::NOSCRIPT)
            .union(Flags::LOADING)
            .union(Flags::STALE)
            .union(Flags::NO_MULTI)
            .union(Flags::ALLOW_BUSY),
        run: Run::Node(shutdown),
        summary: "Saves what has to be saved and ends the server.",
        complexity: "O(N) with N keys if they are saved, else O(1)",
        syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        ..ROW
    },
    Command {
        name: "swapdb",
        full_name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST),
        run: Run::EveryCore { lock: Lock::Exclusive, part: swapdb, merge: Merge::AllOk },
        extra_categories: Categories::KEYSPACE.union(Categories::DANGEROUS),
        since: "4.0.0",
        summary: "Lets two databases change places.",
        complexity: "O(N) with N watched keys of the two databases",
        syntax: "index1 index2",
        ..ROW
    },
    Command {
        name: "time",
        full_name: "time",
        flags: Flags::LOADING.union(Flags::STALE).union(Flags::FAST),
        run: Run::Session(time),
        since: "2.6.0",
        summary: "Returns the server's time.",
        tips: &["nondeterministic_output"],
        ..ROW
    },
];

const MODULE: &[Command] = &[
    help_row("module|help", Group::Server, "5.0.0"),
    Command {
        name: "list",
        full_name: "module|list",
        arity: 2,
        flags: Flags::ADMIN.union(Flags::NOSCRIPT),
        run: Run::Session(module_list),
        since: "4.0.0",
        summary: "Lists the loaded modules.",
        complexity: "O(N) with N modules",
        tips: &["nondeterministic_output_order"],
        ..ROW
    },
];

fn dbsize(_core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    ctx.reply.int(ctx.data.keyspace.len(ctx.db) as i64);
    Ok(())
}

/// Takes [ASYNC | SYNC]. Both mean the same: tables are always handed to the reaper and freed in slices.
fn flush_mode(args: &mut Args) -> Result<(), Refusal> {
    if !args.is_empty() && !args.option("ASYNC") && !args.option("SYNC") {
        return Err(Refusal::Syntax);
    }
    args.finish()
}

fn flushall(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    flush_mode(args)?;
    (0..ctx.data.keyspace.databases()).for_each(|db| empty(ctx, db));
    if core.index == 0 {
        ctx.effect(&[b"FLUSHALL"]);
        // What is loaded begins with it, on a replica too, and is no reason to write anything.
        if !core.settings.save.is_empty() && !core.loading && !core.replica {
            core.asks.push(Ask { task: Task::SaveEmpty, reply_to: None });
        }
    }
    ctx.reply.ok();
    Ok(())
}

fn flushdb(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    flush_mode(args)?;
    empty(ctx, ctx.db);
    if core.index == 0 {
        ctx.effect(&[b"FLUSHDB"]);
    }
    ctx.reply.ok();
    Ok(())
}

fn empty(ctx: &mut Ctx, db: usize) {
    touch_watched(ctx, db, db);
    ctx.data.keyspace.clear(db);
}

/// Tells those who watch keys of `db`, which is about to hold what `other` holds, of each that one of them has.
fn touch_watched(ctx: &mut Ctx, db: usize, other: usize) {
    for bytes in ctx.data.watches.keys_of(db) {
        let key = ctx.data.keyspace.hasher().key(&bytes);
        if ctx.data.keyspace.get(db, &key).is_some() || ctx.data.keyspace.get(other, &key).is_some() {
            ctx.data.watches.touch(db, &key);
        }
    }
}

fn swapdb(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let argv = args.argv();
    let first = database(args, "invalid first DB index")?;
    let second = database(args, "invalid second DB index")?;
    let databases = ctx.data.keyspace.databases();
    let valid =
        |index: i32| usize::try_from(index).ok().filter(|index| *index < databases).ok_or(Refusal::DbIndex);
    let (first, second) = (valid(first)?, valid(second)?);
    if first != second {
        swap_watched(ctx, first, second);
        if core.index == 0 {
            ctx.effect(&[b"SWAPDB", argv.get(1), argv.get(2)]);
        }
    }
    ctx.reply.ok();
    Ok(())
}

/// Swaps two databases, which those who watch keys of either hear of.
pub fn swap_watched(ctx: &mut Ctx, first: usize, second: usize) {
    touch_watched(ctx, first, second);
    touch_watched(ctx, second, first);
    ctx.data.keyspace.swap(first, second);
}

fn database(args: &mut Args, refusal: &'static str) -> Result<i32, Refusal> {
    let index = args.int_or(Refusal::err(refusal))?;
    i32::try_from(index).map_err(|_| Refusal::err(refusal))
}

fn time(core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.array(2);
    reply.bulk_int(core.now_us / 1_000_000);
    reply.bulk_int(core.now_us % 1_000_000);
    Ok(())
}

fn lolwut(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    if args.option("VERSION") && !args.is_empty() {
        args.int()?;
    }
    let line = format!("Torc {} (Redis ver. {REDIS_VERSION})\n", env!("CARGO_PKG_VERSION"));
    reply.verbatim("txt", line.as_bytes());
    Ok(())
}

fn module_list(_core: &mut Core, _client: usize, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.array(0);
    Ok(())
}

fn shutdown(_core: &Core, args: &mut Args) -> Result<Task, Refusal> {
    Shutdown::parse(args).map(Task::Shutdown)
}

/// What SHUTDOWN was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// SAVE or NOSAVE; what the settings say if neither.
    pub save: Option<bool>,
    /// Do not wait for replicas.
    pub now: bool,
    /// Do not mind failures to save.
    pub force: bool,
    /// Call a running shutdown off instead.
    pub abort: bool,
}

impl Shutdown {
    pub fn parse(args: &mut Args) -> Result<Shutdown, Refusal> {
        let mut asked = Shutdown::default();
        while !args.is_empty() {
            if args.option("NOSAVE") && asked.save != Some(true) {
                asked.save = Some(false);
            } else if args.option("SAVE") && asked.save != Some(false) {
                asked.save = Some(true);
            } else if args.option("NOW") {
                asked.now = true;
            } else if args.option("FORCE") {
                asked.force = true;
            } else if args.option("ABORT") {
                asked.abort = true;
            } else {
                return Err(Refusal::Syntax);
            }
        }
        if asked.abort && asked != (Shutdown { abort: true, ..Shutdown::default() }) {
            return Err(Refusal::Syntax);
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Args;
    use super::super::shell::Shell;
    use super::Shutdown;
    use crate::keyspace::KeyHasher;
    use crate::resp::{OwnedArgv, Refusal};

    #[test]
    fn databases_are_counted_emptied_and_swapped() {
        let mut shell = Shell::new(3);
        (0..10).for_each(|key| shell.set(0, &format!("key{key}"), b"x", None));
        shell.set(1, "other", b"x", None);
        assert_eq!(shell.run("DBSIZE"), ":10|");
        assert_eq!(shell.run("SWAPDB 0 1"), "+OK|");
        assert_eq!(shell.run("DBSIZE"), ":1|");
        assert_eq!(shell.run("FLUSHDB ASYNC"), "+OK|");
        assert_eq!(shell.run("DBSIZE"), ":0|");
        assert_eq!(shell.run("SWAPDB 1 0"), "+OK|");
        assert_eq!(shell.run("DBSIZE"), ":10|");
        assert_eq!(shell.run("SELECT 3"), "+OK|");
        assert_eq!(shell.run("FLUSHALL sync"), "+OK|");
        assert_eq!(shell.run("SELECT 0"), "+OK|");
        assert_eq!(shell.run("DBSIZE"), ":0|");
        for bad in ["FLUSHALL x", "FLUSHDB ASYNC SYNC"] {
            assert_eq!(shell.run(bad), "-ERR syntax error|");
        }
        assert_eq!(shell.run("SWAPDB a 0"), "-ERR invalid first DB index|");
        assert_eq!(shell.run("SWAPDB 0 a"), "-ERR invalid second DB index|");
        assert_eq!(shell.run("SWAPDB 0 16"), "-ERR DB index is out of range|");
        assert_eq!(shell.run("SWAPDB 99999999999 16"), "-ERR invalid first DB index|");
    }

    #[test]
    fn only_the_first_core_emits_and_watchers_of_what_was_there_are_told() {
        let mut shell = Shell::new(2);
        shell.data.iter_mut().for_each(|data| data.outbox.open());
        let (there, missing) = (shell.home("there"), shell.home("missing"));
        shell.set(0, "there", b"x", None);
        let before = shell.data[there].watches.watch(0, b"there");
        let absent = shell.data[missing].watches.watch(0, b"missing");
        shell.run("FLUSHALL");
        assert_ne!(shell.data[there].watches.version(0, b"there"), Some(before));
        assert_eq!(shell.data[missing].watches.version(0, b"missing"), Some(absent));
        let effects: Vec<Vec<u8>> = shell
            .data
            .iter_mut()
            .map(|data| data.outbox.drain(Vec::new()).unwrap_or_default().bytes)
            .collect();
        assert_eq!(effects, [b"*1\r\n$8\r\nFLUSHALL\r\n".to_vec(), Vec::new()]);
    }

    #[test]
    fn small_answers() {
        let mut shell = Shell::new(1);
        assert_eq!(shell.run("TIME"), "*2|$10|1700000000|$6|123456|");
        assert_eq!(shell.run("MODULE LIST"), "*0|");
        assert_eq!(shell.run("MODULE LOAD x"), "-ERR unknown subcommand 'LOAD'. Try MODULE HELP.|");
        assert!(shell.run("LOLWUT").contains("Redis ver. "));
        assert_eq!(shell.run("LOLWUT VERSION x"), "-ERR value is not an integer or out of range|");
    }

    #[test]
    fn options_of_shutdown() {
        let parse = |line: &str| {
            let argv = OwnedArgv::from_iter(line.split(' ').map(str::as_bytes));
            Shutdown::parse(&mut Args::new(argv.borrow(), 1, &KeyHasher::new(1)))
        };
        assert_eq!(parse("SHUTDOWN"), Ok(Shutdown::default()));
        let asked = Shutdown { save: Some(false), now: true, force: true, abort: false };
        assert_eq!(parse("SHUTDOWN nosave NOW force"), Ok(asked));
        assert_eq!(parse("SHUTDOWN ABORT"), Ok(Shutdown { abort: true, ..Shutdown::default() }));
        for bad in ["SHUTDOWN x", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW", "SHUTDOWN NOSAVE SAVE"] {
            assert_eq!(parse(bad), Err(Refusal::Syntax), "{bad}");
        }
    }
}
