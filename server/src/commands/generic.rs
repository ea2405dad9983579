//! Keys as a whole, whatever the type of their values: deleted, counted, named.

use super::parts::integer;
use super::{Args, Categories, Command, Core, Ctx, Flags, KeyFlags, KeySpec, Lock, Merge, Run};
use crate::keyspace::Kind;
use crate::resp::{Refusal, Reply, elements};

const BASE: Command = Command { extra_categories: Categories::KEYSPACE, ..Command::BASE };
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const SUMMED: &[&str] = &["request_policy:multi_shard", "response_policy:agg_sum"];

pub const COMMANDS: &[Command] = &[DEL, UNLINK, EXISTS, TOUCH, TYPE, RANDOMKEY];

const DEL: Command = Command {
    name: "del",
    full_name: "del",
    arity: -2,
    flags: Flags::WRITE,
    keys: &[KeySpec::rest(1, KeyFlags::RM.union(KeyFlags::DELETE))],
    run: Run::Split { part: del, merge: Merge::Sum },
    summary: "Deletes keys.",
    complexity: "O(N) in the number of keys; big values are freed in the background",
    syntax: "key [key ...]",
    tips: SUMMED,
    ..BASE
};

const UNLINK: Command = Command {
    name: "unlink",
    full_name: "unlink",
    flags: Flags::WRITE.union(Flags::FAST),
    since: "4.0.0",
    summary: "Deletes keys and frees their values in the background.",
    complexity: "O(1) a key",
    ..DEL
};

const EXISTS: Command = Command {
    name: "exists",
    full_name: "exists",
    arity: -2,
    flags: READ_FAST,
    keys: &[KeySpec::rest(1, KeyFlags::RO)],
    run: Run::Split { part: exists, merge: Merge::Sum },
    summary: "Counts how many of the keys exist.",
    complexity: "O(N) in the number of keys",
    syntax: "key [key ...]",
    tips: SUMMED,
    ..BASE
};

const TOUCH: Command = Command {
    name: "touch",
    full_name: "touch",
    run: Run::Split { part: touch, merge: Merge::Sum },
    since: "3.2.1",
    summary: "Marks keys as just used and counts those that exist.",
    ..EXISTS
};

const TYPE: Command = Command {
    name: "type",
    full_name: "type",
    arity: 2,
    flags: READ_FAST,
    keys: &[KeySpec::at(1, KeyFlags::RO)],
    run: Run::OneShard(type_of),
    summary: "Names the type of a key's value.",
    syntax: "key",
    ..BASE
};

const RANDOMKEY: Command = Command {
    name: "randomkey",
    full_name: "randomkey",
    flags: Flags::READONLY,
    run: Run::EveryCore { lock: Lock::None, part: draw, merge: Merge::Custom(choose) },
    summary: "Names a key chosen at random.",
    tips: &["request_policy:all_shards", "nondeterministic_output"],
    ..BASE
};

fn del(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let mut deleted = 0;
    while !args.is_empty() {
        let key = args.key()?;
        if ctx.remove(&key) {
            ctx.effect(&[b"DEL", key.bytes]);
            deleted += 1;
        }
    }
    ctx.reply.int(deleted);
    Ok(())
}

fn exists(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let mut found = 0;
    while !args.is_empty() {
        let key = args.key()?;
        found += i64::from(ctx.read_no_touch(&key).is_some());
    }
    ctx.reply.int(found);
    Ok(())
}

fn touch(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let mut found = 0;
    while !args.is_empty() {
        let key = args.key()?;
        found += i64::from(ctx.read(&key).is_some());
    }
    ctx.reply.int(found);
    Ok(())
}

fn type_of(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let kind = ctx.read_no_touch(&key).map_or("none", |entry| kind_name(entry.kind()));
    ctx.reply.simple(kind);
    Ok(())
}

/// The type as TYPE and SCAN name it.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
    }
}

/// One shard's part of RANDOMKEY: how many keys it has, a random number, and one of the keys.
fn draw(_: &mut Core, ctx: &mut Ctx, _: &mut Args) -> Result<(), Refusal> {
    let key = ctx.random_key();
    let (len, random) = (ctx.data.keyspace.len(ctx.db), ctx.data.next_random());
    ctx.reply.array(3);
    ctx.reply.int(len as i64);
    ctx.reply.int((random >> 1) as i64);
    match key {
        Some(key) => ctx.reply.bulk(&key),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// Chooses among the shards' keys; a shard's chance is its share of all keys.
fn choose(parts: &[&[u8]], _: &Core, _: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let (mut keys, mut total, mut random) = (Vec::new(), 0, 0);
    for part in parts {
        let mut elements = elements(part);
        let mut next = || elements.next().expect("a part of RANDOMKEY has three elements");
        total += integer(next());
        random ^= integer(next());
        keys.push((total, next()));
    }
    let chosen = random % total.max(1);
    match keys.iter().find(|(upto, _)| chosen < *upto) {
        Some((_, key)) => reply.raw(key),
        None => reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::choose;
    use crate::commands::Args;
    use crate::commands::testing::Shell;
    use crate::keyspace::KeyHasher;
    use crate::resp::{OwnedArgv, Reply};

    #[test]
    fn keys_are_counted_and_deleted() {
        let mut shell = Shell::new();
        shell.run("mset a 1 b 2 c 3");
        shell.effects();
        assert_eq!(shell.run("exists a a none"), ":2");
        assert_eq!(shell.run("touch a b none"), ":2");
        assert_eq!(shell.run("type a"), "+string");
        assert_eq!(shell.run("type none"), "+none");
        assert_eq!(shell.run("del a none a"), ":1");
        assert_eq!(shell.run("unlink b c"), ":2");
        assert_eq!(shell.effects(), ["DEL a", "DEL b", "DEL c"]);
    }

    #[test]
    fn a_random_key_is_one_that_has_not_expired() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("randomkey"), "$-1");
        shell.run("set a 1");
        shell.run("set b 1 px 5");
        shell.now += 10;
        for _ in 0..50 {
            assert_eq!(shell.run("randomkey"), "$1 a");
        }
        shell.run("del a");
        assert_eq!(shell.run("randomkey"), "$-1");
    }

    #[test]
    fn a_shards_chance_is_its_share_of_keys() {
        let shell = Shell::new();
        let hasher = KeyHasher::new(1);
        let argv: OwnedArgv = [&b"randomkey"[..]].into_iter().collect();
        let mut chosen = |random: i64| {
            let first = b"*3\r\n:1\r\n:0\r\n$1\r\na\r\n";
            let empty = b"*3\r\n:0\r\n:0\r\n$-1\r\n";
            let last = format!("*3\r\n:3\r\n:{random}\r\n$1\r\nb\r\n");
            let parts: [&[u8]; 3] = [first, empty, last.as_bytes()];
            let mut out = Vec::new();
            let mut args = Args::new(argv.borrow(), 1, &hasher);
            choose(&parts, &shell.core, &mut args, &mut Reply::new(&mut out, false)).expect("it chooses");
            out[4]
        };
        let counts = (0..4).map(&mut chosen).filter(|key| *key == b'a').count();
        assert_eq!(counts, 1, "of four keys one is on the first shard");
    }
}
