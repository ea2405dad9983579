//! DEBUG: for tests and for looking into a server. `enable-debug-command` says who may call it.

use std::num::NonZeroU64;

use super::digest::{digest_shard, digest_value, merge_digest};
use super::help::help_row;
use super::refusals::subcommand_arity;
use super::server::swap_watched;
use super::{Args, Command, Core, Ctx, Expiry, Flags, Group, KeyFlags, KeySpec, Lock, Merge, Run};
use crate::keyspace::{Encoder, Encoding, ValueRef};
use crate::rdb::{self, written_len};
use crate::resp::{Refusal, parse_f64, parse_i64};

/// What all rows share. The subcommands are documented nowhere but in HELP, as in the reference server.
const ROW: Command = Command {
    flags: Flags::ADMIN
        .union(Flags::NOSCRIPT)
        .union(Flags::LOADING)
        .union(Flags::STALE)
        .union(Flags::UNLISTED),
    group: Group::Server,
    ..Command::BASE
};

const READ: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);

pub const COMMANDS: &[Command] = &[Command {
    name: "debug",
    full_name: "debug",
    arity: -2,
    summary: "Commands for tests and for looking into the server.",
    complexity: "Depends on the subcommand",
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "cut",
        full_name: "debug|cut",
        arity: 3,
        run: Run::EveryCore { lock: Lock::Exclusive, part: cut, merge: Merge::AllOk },
        summary: "Begins a snapshot at one instant of all shards; not for clients.",
        syntax: "number",
        ..ROW
    },
    Command {
        name: "digest",
        full_name: "debug|digest",
        arity: 2,
        run: Run::EveryCore { lock: Lock::Shared, part: digest_shard, merge: Merge::Custom(merge_digest) },
        since: "2.4.0",
        summary: "Returns a hash of all data.",
        complexity: "O(N) with N keys, while which the server does nothing else",
        ..ROW
    },
    Command {
        name: "digest-value",
        full_name: "debug|digest-value",
        arity: -2,
        keys: &[KeySpec::rest(2, READ)],
        run: Run::Split { part: digest_values, merge: Merge::PerKey },
        since: "5.0.0",
        summary: "Returns hashes of the values of keys.",
        complexity: "O(N) with N keys",
        syntax: "key [key ...]",
        ..ROW
    },
    Command { flags: ROW.flags, ..help_row("debug|help", Group::Server, "5.0.0") },
    Command {
        name: "object",
        full_name: "debug|object",
        arity: 3,
        keys: &[KeySpec::at(2, READ)],
        run: Run::OneShard(object),
        since: "1.0.0",
        summary: "Tells how a value is stored.",
        syntax: "key",
        ..ROW
    },
    Command {
        name: "set-active-expire",
        full_name: "debug|set-active-expire",
        arity: 3,
        run: Run::EveryCore { lock: Lock::None, part: set_active_expire, merge: Merge::AllOk },
        since: "2.8.0",
        summary: "Turns the background removal of expired keys on (1) or off (0).",
        syntax: "<0 | 1>",
        ..ROW
    },
    Command {
        name: "sleep",
        full_name: "debug|sleep",
        arity: 3,
        run: Run::EveryCore { lock: Lock::None, part: sleep, merge: Merge::AllOk },
        since: "2.6.0",
        summary: "Stops all cores for a time.",
        complexity: "O(1), while which the server does nothing else",
        syntax: "seconds",
        ..ROW
    },
];

/// What a cut is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The data there is given out.
    Snapshot,
    /// The same, and effects are wanted from there on.
    Stream,
    /// A primary from there on.
    Lead,
    /// A replica from there on: effects are only counted.
    Follow,
    /// Writes are paused already; nothing expires from there on.
    Freeze,
    /// What was loaded aside is the data from there on.
    Swap,
}

impl Cut {
    const ALL: [Cut; 6] = [Cut::Snapshot, Cut::Stream, Cut::Lead, Cut::Follow, Cut::Freeze, Cut::Swap];

    /// As DEBUG CUT takes it.
    pub fn word(self) -> &'static str {
        match self {
            Cut::Snapshot => "SNAPSHOT",
            Cut::Stream => "STREAM",
            Cut::Lead => "LEAD",
            Cut::Follow => "FOLLOW",
            Cut::Freeze => "FREEZE",
            Cut::Swap => "SWAP",
        }
    }
}

/// From here on the shard gives out its data as it is now, and the log knows where in it that lies. Only the log
/// core's own session, which has no client number, can use what is given out.
fn cut(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    if core.caller != 0 {
        return Err(subcommand_arity(args.argv()));
    }
    let number = NonZeroU64::new(args.int()? as u64).ok_or(Refusal::Syntax)?;
    let kind = args.take()?;
    let kind = Cut::ALL.into_iter().find(|each| each.word().as_bytes() == kind).ok_or(Refusal::Syntax)?;
    // No transaction is half done anywhere: what changes hands does so here.
    match kind {
        Cut::Snapshot => {}
        Cut::Stream => ctx.data.outbox.open(),
        Cut::Lead => {
            core.replica = false;
            ctx.data.outbox.open();
        }
        Cut::Follow => {
            core.replica = true;
            ctx.data.outbox.count();
            ctx.data.expiry = Expiry::Hide;
        }
        Cut::Freeze => {
            core.frozen = true;
            ctx.data.expiry = Expiry::Hide;
        }
        Cut::Swap => {
            for db in 0..ctx.data.keyspace.databases() {
                swap_watched(ctx, db, ctx.data.keyspace.aside(db));
            }
            ctx.data.keyspace.drop_aside();
        }
    }
    ctx.data.outbox.cut(number);
    ctx.reply.ok();
    if matches!(kind, Cut::Lead | Cut::Follow | Cut::Freeze | Cut::Swap) {
        return Ok(());
    }
    ctx.data.cut = number.get();
    // One that its reader gave up may not have been told so yet.
    ctx.data.keyspace.end_cut();
    let compressed = |out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, expire: Option<i64>| {
        rdb::write_entry(out, key, value, expire, true);
    };
    let plain = |out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, expire: Option<i64>| {
        rdb::write_entry(out, key, value, expire, false);
    };
    let encode: Encoder = if core.settings.rdbcompression { compressed } else { plain };
    ctx.data.keyspace.begin_cut(encode);
    Ok(())
}

fn digest_values(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    ctx.reply.array(args.remaining());
    while !args.is_empty() {
        let key = args.key()?;
        let digest = digest_value(ctx, &key);
        ctx.reply.simple(&digest);
    }
    Ok(())
}

/// The line of the reference server. There is no address to print, so the key's hash stands in its place.
fn object(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let now = ctx.now;
    // A key whose time is up is of as much interest as any.
    let entry = ctx.data.keyspace.get(ctx.db, &key).ok_or(Refusal::NoSuchKey)?;
    let encoding = match entry.encoding() {
        Encoding::Int => "int",
        Encoding::Embstr => "embstr",
        Encoding::Raw => "raw",
    };
    // The reference server shares these integers among all keys and says so.
    let references = if matches!(entry.value(), ValueRef::Int(0..10_000)) { i32::MAX } else { 1 };
    let idle = entry.idle_seconds(now);
    let clock = (now / 1000 - idle as i64) & 0xff_ffff;
    let line = format!(
        "Value at:{:#x} refcount:{references} encoding:{encoding} serializedlength:{} lru:{clock} lru_seconds_idle:{idle}",
        key.hash,
        written_len(entry.value(), ctx.data.compresses),
    );
    ctx.reply.simple(&line);
    Ok(())
}

/// Anything but a number other than 0 is off, as in the reference server.
fn set_active_expire(_core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    ctx.data.active_expire = parse_i64(args.take()?).is_some_and(|on| on != 0);
    ctx.reply.ok();
    Ok(())
}

/// What is no number of seconds is none.
fn sleep(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    core.sleep_us = (parse_f64(args.take()?).unwrap_or(0.0).max(0.0) * 1e6) as u64;
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use crate::config::DebugCommand;

    fn shell(shards: usize, allowed: DebugCommand) -> Shell {
        let mut shell = Shell::new(shards);
        shell.cores.iter_mut().for_each(|core| core.settings.enable_debug_command = allowed);
        shell
    }

    #[test]
    fn debug_asks_for_permission() {
        let mut no = shell(1, DebugCommand::No);
        let refusal = no.run("DEBUG SLEEP 0");
        assert!(
            refusal.starts_with("-ERR DEBUG command not allowed. If the enable-debug-command option is set")
        );
        assert!(refusal.ends_with("in the configuration file, and then restart the server.|"), "{refusal}");
        let mut local = shell(1, DebugCommand::Local);
        assert_eq!(local.run("DEBUG SLEEP 0"), "+OK|");
        local.cores[0].clients[0].addr = "192.0.2.1:5".into();
        assert_eq!(local.run("DEBUG SLEEP 0"), refusal);
    }

    #[test]
    fn values_are_described() {
        let mut shell = shell(3, DebugCommand::Yes);
        for (value, told) in [
            (&b"12"[..], "encoding:int serializedlength:2 "),
            (b"-300", "encoding:int serializedlength:3 "),
            (b"70000", "encoding:int serializedlength:5 "),
            (b"123456789012", "encoding:int serializedlength:13 "),
            (b"hello", "encoding:embstr serializedlength:6 "),
            (&[b'x'; 100], "encoding:raw serializedlength:13 "),
        ] {
            shell.set(0, "key", value, None);
            let line = shell.run("DEBUG OBJECT key");
            assert!(line.starts_with("+Value at:0x") && line.contains(told), "{line}");
        }
        assert_eq!(shell.run("DEBUG OBJECT nokey"), "-ERR no such key|");
    }

    #[test]
    fn wrong_lines_are_refused_alike() {
        let mut shell = shell(1, DebugCommand::Yes);
        let refusal = |name| {
            format!("-ERR unknown subcommand or wrong number of arguments for '{name}'. Try DEBUG HELP.|")
        };
        assert_eq!(shell.run("DEBUG Foo"), refusal("Foo"));
        assert_eq!(shell.run("DEBUG Object"), refusal("Object"));
        assert_eq!(shell.run("DEBUG"), "-ERR wrong number of arguments for 'debug' command|");
        assert!(shell.run("DEBUG HELP").contains("|+SLEEP seconds|"));
    }

    #[test]
    fn switches_reach_every_core() {
        let mut shell = shell(2, DebugCommand::Yes);
        assert_eq!(shell.run("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK|");
        assert!(shell.data.iter().all(|data| !data.active_expire));
        assert_eq!(shell.run("DEBUG SET-ACTIVE-EXPIRE 1"), "+OK|");
        assert!(shell.data.iter().all(|data| data.active_expire));
        assert_eq!(shell.run("DEBUG SLEEP 0.5"), "+OK|");
        assert!(shell.cores.iter().all(|core| core.sleep_us == 500_000));
        assert_eq!(shell.run("DEBUG SLEEP x"), "+OK|");
        assert!(shell.cores.iter().all(|core| core.sleep_us == 0));
    }
}
