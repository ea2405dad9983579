//! OBJECT: how a value is stored and how it was used.

use super::{Args, Categories, Command, Core, Ctx, Flags, KeyFlags, KeySpec, Run};
use crate::keyspace::{Access, Encoding, Entry, ValueRef};
use crate::resp::{Refusal, Reply};

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

const HELP: Command = Command {
    name: "help",
    full_name: "object|help",
    arity: 2,
    flags: Flags::LOADING.union(Flags::STALE),
    run: Run::Session(help),
    extra_categories: Categories::KEYSPACE,
    since: "6.2.0",
    summary: "Lists the subcommands.",
    ..Command::BASE
};

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

const HELP_LINES: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Names how the value of <key> is stored.",
    "FREQ <key>",
    "    Tells the logarithmic count of uses of <key>, under an LFU policy.",
    "IDLETIME <key>",
    "    Tells for how many seconds <key> has not been used, unless under an LFU policy.",
    "REFCOUNT <key>",
    "    Tells how many keys share the value of <key>.",
    "HELP",
    "    Lists these subcommands.",
];

fn help(_: &mut Core, _: usize, _: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    reply.array(HELP_LINES.len());
    HELP_LINES.iter().for_each(|line| reply.simple(line));
    Ok(())
}

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
