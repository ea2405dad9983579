//! OBJECT: how a value is stored and how it was used.

use super::help::help_row;
use super::{Args, Categories, Command, Ctx, Flags, Group, KeyFlags, KeySpec, Run};
use crate::keyspace::{Access, Encoding, Entry, ValueRef};
use crate::resp::Refusal;

pub const COMMANDS: &[Command] = &[OBJECT];

const OBJECT: Command = Command {
    name: "object",
    full_name: "object",
    arity: -2,
    run: Run::Container,
    since: "2.2.3",
    summary: "Groups the commands that tell how a value is stored.",
    complexity: "That of the subcommand",
    subcommands: &[ENCODING, FREQ, HELP, IDLETIME, REFCOUNT],
    ..Command::BASE
};

const ASK: Command = Command {
    arity: 3,
    flags: Flags::READONLY,
    keys: &[KeySpec::at(2, KeyFlags::RO)],
    extra_categories: Categories::KEYSPACE,
    since: "2.2.3",
    syntax: "key",
    tips: &["nondeterministic_output"],
    ..Command::BASE
};

const ENCODING: Command = Command {
    name: "encoding",
    full_name: "object|encoding",
    run: Run::OneShard(encoding),
    summary: "Names how a value is stored.",
    ..ASK
};

const FREQ: Command = Command {
    name: "freq",
    full_name: "object|freq",
    run: Run::OneShard(freq),
    since: "4.0.0",
    summary: "Tells a value's logarithmic count of uses.",
    ..ASK
};

const HELP: Command =
    Command { extra_categories: Categories::KEYSPACE, ..help_row("object|help", Group::Generic, "6.2.0") };

const IDLETIME: Command = Command {
    name: "idletime",
    full_name: "object|idletime",
    run: Run::OneShard(idletime),
    summary: "Tells for how many seconds a value has not been used.",
    ..ASK
};

const REFCOUNT: Command = Command {
    name: "refcount",
    full_name: "object|refcount",
    run: Run::OneShard(refcount),
    summary: "Tells how many keys share a value.",
    ..ASK
};

const IDLE_TIME_UNTRACKED: &str = "An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
     policies at runtime LRU and LFU data will take some time to adjust.";
const FREQUENCY_UNTRACKED: &str = "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
     between policies at runtime LRU and LFU data will take some time to adjust.";

fn encoding(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let name = ctx.read_no_touch(&key).map(|entry| match entry.encoding() {
        Encoding::Int => "int",
        Encoding::Embstr => "embstr",
        Encoding::Raw => "raw",
    });
    match name {
        Some(name) => ctx.reply.bulk(name.as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn refcount(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    reply_int(ctx, args, |entry| match entry.value() {
        // The reference server shares these integers among all keys and says so.
        ValueRef::Int(0..10_000) => Ok(i64::from(i32::MAX)),
        _ => Ok(1),
    })
}

fn idletime(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (now, access) = (ctx.now, ctx.data.access);
    reply_int(ctx, args, |entry| match access {
        Access::Lru { .. } => Ok(entry.idle_seconds(now) as i64),
        Access::Lfu { .. } => Err(Refusal::err(IDLE_TIME_UNTRACKED)),
    })
}

fn freq(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (now, access) = (ctx.now, ctx.data.access);
    reply_int(ctx, args, |entry| match access {
        Access::Lru { .. } => Err(Refusal::err(FREQUENCY_UNTRACKED)),
        Access::Lfu { decay_minutes, .. } => Ok(i64::from(entry.frequency(now, decay_minutes))),
    })
}

/// Answers with `value` of the entry, or null if there is none; what is not tracked is refused even so late.
fn reply_int(
    ctx: &mut Ctx,
    args: &mut Args,
    value: impl FnOnce(Entry) -> Result<i64, Refusal>,
) -> Result<(), Refusal> {
    let key = args.key()?;
    match ctx.read_no_touch(&key).map(value).transpose()? {
        Some(value) => ctx.reply.int(value),
        None => ctx.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Shell;
    use crate::keyspace::Access;

    #[test]
    fn values_are_described() {
        let mut shell = Shell::new();
        let long = "x".repeat(45);
        let lines = ["set int 12", "set small abc", "set float 1.5", "set shared 9999", "set own 10000"];
        lines.into_iter().for_each(|line| assert_eq!(shell.run(line), "+OK"));
        shell.run(&format!("set long {long}"));
        shell.run(&format!("set limit {}", &long[1..]));
        let encodings =
            [("int", "int"), ("small", "embstr"), ("float", "embstr"), ("long", "raw"), ("limit", "embstr")];
        for (key, encoding) in encodings {
            let reply = format!("${} {encoding}", encoding.len());
            assert_eq!(shell.run(&format!("object encoding {key}")), reply, "{key}");
        }
        assert_eq!(shell.run("object refcount shared"), ":2147483647");
        assert_eq!(shell.run("object refcount own"), ":1");
        assert_eq!(shell.run("object refcount small"), ":1");
        for sub in ["encoding", "refcount", "idletime", "freq"] {
            assert_eq!(shell.run(&format!("object {sub} none")), "$-1");
        }
        assert!(shell.run("object help").starts_with("*11 +OBJECT <subcommand>"));
        assert_eq!(shell.run("object freq"), "-ERR wrong number of arguments for 'object|freq' command");
    }

    #[test]
    fn use_is_told_as_the_policy_tracks_it() {
        let mut shell = Shell::new();
        shell.data.access = Access::Lru { now_ms: shell.now };
        shell.data.keyspace.set_birth(shell.data.access);
        shell.run("set k v");
        shell.now += 5_000;
        assert_eq!(shell.run("object idletime k"), ":5");
        assert!(
            shell.run("object freq k").starts_with("-ERR An LFU maxmemory policy is not selected, access")
        );
        shell.data.access = Access::Lfu { now_ms: shell.now, random: 1, log_factor: 10, decay_minutes: 1 };
        shell.data.keyspace.set_birth(shell.data.access);
        shell.run("set new v");
        assert_eq!(shell.run("object freq new"), ":5");
        assert!(shell.run("object idletime k").starts_with("-ERR An LFU maxmemory policy is selected, idle"));
    }
}
