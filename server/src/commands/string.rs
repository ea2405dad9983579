//! Strings read and written whole or in part. Options with expiries are in `string_set`, arithmetic in
//! `string_number`.

use super::Categories;
use super::{Args, Carry, Command, Ctx, Flags, Group, KeyFlags, KeySpec, Merge, Next, Run, Visit};
use crate::keyspace::{Encode, Key, Value};
use crate::resp::Refusal;

const BASE: Command = Command { group: Group::String, extra_categories: Categories::STRING, ..Command::BASE };
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE_OOM: Flags = Flags::WRITE.union(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.union(Flags::FAST);
const RO_ACCESS: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);
const RW_ACCESS_UPDATE: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE);
const OW_INSERT: KeyFlags = KeyFlags::OW.union(KeyFlags::INSERT);

pub const COMMANDS: &[Command] =
    &[GET, MGET, STRLEN, GETRANGE, SUBSTR, GETSET, GETDEL, SETNX, MSET, MSETNX, APPEND, SETRANGE];

const GET: Command = Command {
    name: "get",
    full_name: "get",
    arity: 2,
    flags: READ_FAST,
    keys: &[KeySpec::at(1, RO_ACCESS)],
    run: Run::OneShard(get),
    summary: "Reads a string.",
    syntax: "key",
    ..BASE
};

const MGET: Command = Command {
    name: "mget",
    full_name: "mget",
    arity: -2,
    flags: READ_FAST,
    keys: &[KeySpec::rest(1, RO_ACCESS)],
    run: Run::Split { part: mget, merge: Merge::PerKey },
    summary: "Reads several strings at one instant.",
    complexity: "O(N) in the number of keys",
    syntax: "key [key ...]",
    tips: &["request_policy:multi_shard"],
    ..BASE
};

const STRLEN: Command = Command {
    name: "strlen",
    full_name: "strlen",
    arity: 2,
    flags: READ_FAST,
    keys: &[KeySpec::at(1, KeyFlags::RO)],
    run: Run::OneShard(strlen),
    since: "2.2.0",
    summary: "Tells the length of a string in bytes.",
    syntax: "key",
    ..BASE
};

const GETRANGE: Command = Command {
    name: "getrange",
    full_name: "getrange",
    arity: 4,
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1, RO_ACCESS)],
    run: Run::OneShard(getrange),
    since: "2.4.0",
    summary: "Reads a part of a string.",
    complexity: "O(N) in the bytes returned",
    syntax: "key start end",
    ..BASE
};

const SUBSTR: Command = Command {
    name: "substr",
    full_name: "substr",
    deprecated: Some(("2.0.0", "GETRANGE")),
    since: "1.0.0",
    summary: "Reads a part of a string (older name of GETRANGE).",
    ..GETRANGE
};

const GETSET: Command = Command {
    name: "getset",
    full_name: "getset",
    deprecated: Some(("6.2.0", "SET with the GET option")),
    arity: 3,
    flags: WRITE_OOM_FAST,
    keys: &[KeySpec::at(1, RW_ACCESS_UPDATE)],
    run: Run::OneShard(getset),
    summary: "Replaces a string and returns the one before.",
    syntax: "key value",
    ..BASE
};

const GETDEL: Command = Command {
    name: "getdel",
    full_name: "getdel",
    arity: 2,
    flags: Flags::WRITE.union(Flags::FAST),
    keys: &[KeySpec::at(1, KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE))],
    run: Run::OneShard(getdel),
    since: "6.2.0",
    summary: "Reads a string and deletes its key.",
    syntax: "key",
    ..BASE
};

const SETNX: Command = Command {
    name: "setnx",
    full_name: "setnx",
    arity: 3,
    flags: WRITE_OOM_FAST,
    keys: &[KeySpec::at(1, OW_INSERT)],
    run: Run::OneShard(setnx),
    summary: "Stores a string if the key does not exist.",
    syntax: "key value",
    ..BASE
};

const MSET: Command = Command {
    name: "mset",
    full_name: "mset",
    arity: -3,
    flags: WRITE_OOM,
    keys: &[KeySpec::every(1, 2, KeyFlags::OW.union(KeyFlags::UPDATE))],
    run: Run::Split { part: mset, merge: Merge::AllOk },
    since: "1.0.1",
    summary: "Stores several strings at one instant.",
    complexity: "O(N) in the number of keys",
    syntax: "key value [key value ...]",
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    ..BASE
};

const MSETNX: Command = Command {
    name: "msetnx",
    full_name: "msetnx",
    arity: -3,
    flags: WRITE_OOM,
    keys: &[KeySpec::every(1, 2, OW_INSERT)],
    run: Run::Steps(msetnx),
    since: "1.0.1",
    summary: "Stores several strings if none of the keys exists.",
    complexity: "O(N) in the number of keys",
    syntax: "key value [key value ...]",
    tips: &["request_policy:multi_shard", "response_policy:agg_min"],
    ..BASE
};

const APPEND: Command = Command {
    name: "append",
    full_name: "append",
    arity: 3,
    flags: WRITE_OOM_FAST,
    keys: &[KeySpec::at(1, KeyFlags::RW.union(KeyFlags::INSERT))],
    run: Run::OneShard(append),
    since: "2.0.0",
    summary: "Adds to the end of a string, which it creates if need be.",
    complexity: "O(1) amortised: strings keep room to grow",
    syntax: "key value",
    ..BASE
};

const SETRANGE: Command = Command {
    name: "setrange",
    full_name: "setrange",
    arity: 4,
    flags: WRITE_OOM,
    keys: &[KeySpec::at(1, KeyFlags::RW.union(KeyFlags::UPDATE))],
    run: Run::OneShard(setrange),
    since: "2.2.0",
    summary: "Overwrites a part of a string, which grows by zero bytes if need be.",
    complexity: "O(N) in the bytes written and in the zero bytes added",
    syntax: "key offset value",
    ..BASE
};

fn get(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    reply_string(ctx, &key)?;
    Ok(())
}

/// Answers with the string at `key`, or null; true if there is one.
pub(super) fn reply_string(ctx: &mut Ctx, key: &Key) -> Result<bool, Refusal> {
    let (value, reply) = ctx.read_replying(key)?;
    match value {
        Some(value) => reply.bulk(value.to_bytes(&mut itoa::Buffer::new())),
        None => reply.null(),
    }
    Ok(value.is_some())
}

fn mget(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    ctx.reply.array(args.remaining());
    while !args.is_empty() {
        let key = args.key()?;
        if reply_string(ctx, &key).is_err() {
            // A value of another type reads as null here.
            ctx.reply.null();
        }
    }
    Ok(())
}

fn strlen(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let len = ctx.read_string(&key)?.map_or(0, |value| value.len());
    ctx.reply.int(len as i64);
    Ok(())
}

fn getrange(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let (start, end) = (args.int()?, args.int()?);
    let (value, reply) = ctx.read_replying(&key)?;
    let mut digits = itoa::Buffer::new();
    let bytes = value.as_ref().map_or(&b""[..], |value| value.to_bytes(&mut digits));
    reply.bulk(range(bytes, start, end));
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative ones count from the end, -1 being the last byte.
fn range(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = bytes.len() as i64;
    let absolute = |index: i64| if index < 0 { (index + len).max(0) } else { index };
    let (start, end) = (absolute(start), absolute(end).min(len - 1));
    if start > end { b"" } else { &bytes[start as usize..=end as usize] }
}

fn getset(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, value) = (args.key()?, args.take()?);
    reply_string(ctx, &key)?;
    ctx.put_str(&key, value, Encode::Auto, None);
    ctx.effect(&[b"SET", key.bytes, value]);
    Ok(())
}

fn getdel(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    if reply_string(ctx, &key)? {
        ctx.remove(&key);
        ctx.effect(&[b"DEL", key.bytes]);
    }
    Ok(())
}

fn setnx(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, value) = (args.key()?, args.take()?);
    if ctx.lookup(&key).is_some() {
        ctx.reply.int(0);
        return Ok(());
    }
    ctx.put_str(&key, value, Encode::Auto, None);
    ctx.effect(&[b"SET", key.bytes, value]);
    ctx.reply.int(1);
    Ok(())
}

fn mset(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    MSET.check_groups(args.argv().len())?;
    while !args.is_empty() {
        let (key, value) = (args.key()?, args.take()?);
        ctx.put_str(&key, value, Encode::Auto, None);
    }
    ctx.effect_as_is(args);
    ctx.reply.ok();
    Ok(())
}

/// Step 0 asks whether any key exists; step 1 stores them all.
fn msetnx(
    step: usize,
    args: &mut Args,
    carries: Vec<Carry>,
    reply: &mut crate::resp::Reply,
) -> Result<Next, Refusal> {
    let argv = args.argv();
    let visit = |key: usize, act, carry| Visit { key, db: None, act, carry };
    match step {
        0 => {
            MSETNX.check_groups(argv.len())?;
            Ok(Next::Visit(
                (1..argv.len()).step_by(2).map(|key| visit(key, exists, Carry::Nothing)).collect(),
            ))
        }
        1 if carries.iter().any(|carry| matches!(carry, Carry::Int(1))) => {
            reply.int(0);
            Ok(Next::Done)
        }
        1 => {
            let stores = (1..argv.len()).step_by(2);
            let stores = stores.map(|key| visit(key, store, Carry::Bytes(argv.get(key + 1).to_vec())));
            Ok(Next::Visit(stores.collect()))
        }
        _ => {
            reply.int(1);
            Ok(Next::Done)
        }
    }
}

/// Brings back 1 if the key exists, else 0; for a command that is going to write it.
pub(super) fn exists(ctx: &mut Ctx, key: &Key, _: Carry) -> Result<Carry, Refusal> {
    Ok(Carry::Int(i64::from(ctx.lookup(key).is_some())))
}

fn store(ctx: &mut Ctx, key: &Key, carry: Carry) -> Result<Carry, Refusal> {
    let Carry::Bytes(value) = carry else { unreachable!("the visit carries the value") };
    ctx.put_str(key, &value, Encode::Auto, None);
    ctx.effect(&[b"SET", key.bytes, &value]);
    Ok(Carry::Nothing)
}

/// Refuses a string that would get longer than `proto-max-bulk-len`.
fn check_length(ctx: &Ctx, offset: u64, added: usize) -> Result<(), Refusal> {
    match offset.checked_add(added as u64) {
        Some(len) if len <= ctx.data.max_string => Ok(()),
        _ => Err(Refusal::err("string exceeds maximum allowed size (proto-max-bulk-len)")),
    }
}

fn append(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, more) = (args.key()?, args.take()?);
    let before = ctx.lookup_string(&key)?.map(|value| value.len());
    let len = before.unwrap_or(0) + more.len();
    if let Some(before) = before {
        check_length(ctx, before as u64, more.len())?;
        ctx.edit(&key, |bytes| bytes.extend_from_slice(more));
    } else {
        ctx.put_str(&key, more, Encode::Auto, None);
    }
    ctx.effect_as_is(args);
    ctx.reply.int(len as i64);
    Ok(())
}

fn setrange(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let (offset, value) = (args.int()?, args.take()?);
    let Ok(from) = usize::try_from(offset) else { return Err(Refusal::err("offset is out of range")) };
    let before = ctx.lookup_string(&key)?.map(|value| value.len());
    if value.is_empty() {
        ctx.reply.int(before.unwrap_or(0) as i64);
        return Ok(());
    }
    check_length(ctx, offset as u64, value.len())?;
    let end = from + value.len();
    let overwrite = |bytes: &mut Vec<u8>| {
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[from..end].copy_from_slice(value);
    };
    if before.is_some() {
        ctx.edit(&key, overwrite);
    } else {
        let mut bytes = Vec::new();
        overwrite(&mut bytes);
        ctx.put(&key, Value::Str { bytes, raw: true }, None);
    }
    ctx.effect_as_is(args);
    ctx.reply.int(before.unwrap_or(0).max(end) as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Shell;

    #[test]
    fn strings_are_stored_read_and_replaced() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("get k"), "$-1");
        assert_eq!(shell.run("set k v"), "+OK");
        assert_eq!(shell.run("GET k"), "$1 v");
        assert_eq!(shell.run("getset k 12"), "$1 v");
        assert_eq!(shell.run("strlen k"), ":2");
        assert_eq!(shell.run("getdel k"), "$2 12");
        assert_eq!(shell.run("getdel k"), "$-1");
        assert_eq!(shell.run("setnx k a"), ":1");
        assert_eq!(shell.run("setnx k b"), ":0");
        assert_eq!(shell.effects(), ["set k v", "SET k 12", "DEL k", "SET k a"]);
        shell.resp3 = true;
        assert_eq!(shell.run("get none"), "_");
        assert_eq!((shell.data.hits, shell.data.misses), (4, 3));
    }

    #[test]
    fn several_keys_at_once() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("mset a 1 b 2 a 3"), "+OK");
        assert_eq!(shell.run("mget a none b"), "*3 $1 3 $-1 $1 2");
        assert_eq!(shell.run("mset a 1 b"), "-ERR wrong number of arguments for 'mset' command");
        assert_eq!(shell.run("msetnx a 1 b"), "-ERR wrong number of arguments for 'msetnx' command");
        assert_eq!(shell.run("msetnx c 1 b 2"), ":0");
        assert_eq!(shell.run("msetnx c 1 d 2 c 3"), ":1");
        assert_eq!(shell.run("mget c d"), "*2 $1 3 $1 2");
        assert_eq!(shell.effects(), ["mset a 1 b 2 a 3", "SET c 1", "SET d 2", "SET c 3"]);
    }

    #[test]
    fn ranges_are_clipped_to_the_string() {
        let mut shell = Shell::new();
        shell.run("set k hello");
        shell.run("set n 12345");
        let cases = [
            ("0 -1", "hello"),
            ("1 3", "ell"),
            ("-3 -1", "llo"),
            ("-100 1", "he"),
            ("3 100", "lo"),
            ("3 1", ""),
            ("-1 -3", ""),
            ("5 9", ""),
            ("-9 -8", "h"),
            ("0 -9223372036854775808", "h"),
            ("9223372036854775807 -1", ""),
        ];
        for (range, text) in cases {
            assert_eq!(
                shell.run(&format!("getrange k {range}")),
                format!("${} {text}", text.len()).trim(),
                "{range}"
            );
        }
        assert_eq!(shell.run("substr n 1 2"), "$2 23");
        assert_eq!(shell.run("getrange none 0 -1"), "$0");
        assert_eq!(shell.run("getrange none 0 x"), "-ERR value is not an integer or out of range");
    }

    #[test]
    fn strings_grow_up_to_the_limit() {
        let mut shell = Shell::new();
        shell.data.max_string = 10;
        let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
        assert_eq!(shell.run("append k 12"), ":2");
        assert_eq!(shell.run("object encoding k"), "$3 int");
        assert_eq!(shell.run("append k 34"), ":4");
        assert_eq!(shell.run("object encoding k"), "$3 raw");
        assert_eq!(shell.run("append k 1234567"), too_long);
        assert_eq!(shell.run("setrange k 9 xy"), too_long);
        assert_eq!(shell.run("setrange k 9223372036854775807 x"), too_long);
        assert_eq!(shell.run("setrange k -1 x"), "-ERR offset is out of range");
        assert_eq!(shell.run("setrange k 99 \"\""), ":4");
        assert_eq!(shell.run("setrange none 99 \"\""), ":0");
        assert_eq!(shell.run("setrange k 1 xy"), ":4");
        assert_eq!(shell.run("setrange k 5 z"), ":6");
        assert_eq!(shell.run("get k"), "$6 1xy4\0z");
        assert_eq!(shell.run("setrange new 1 z"), ":2");
        assert_eq!(shell.run("object encoding new"), "$3 raw");
        assert_eq!(shell.effects().len(), 5);
    }
}
