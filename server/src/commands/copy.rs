//! Values that move or are copied from key to key, wherever the keys live.

use super::{Args, Carry, Categories, Command, Ctx, Flags, KeyFlags, KeySpec, Next, Run, Visit};
use crate::keyspace::{Encoding, Key, Value, ValueRef};
use crate::resp::{Refusal, Reply};

const BASE: Command = Command { extra_categories: Categories::KEYSPACE, ..Command::BASE };
const MOVED: KeyFlags = KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::DELETE);

/// Argument indexes of the two keys.
const SOURCE: usize = 1;
const DESTINATION: usize = 2;

const SAME_OBJECT: Refusal = Refusal::err("source and destination objects are the same");

pub const COMMANDS: &[Command] = &[RENAME, RENAMENX, COPY, MOVE];

const RENAME: Command = Command {
    name: "rename",
    full_name: "rename",
    arity: 3,
    flags: Flags::WRITE,
    keys: &[KeySpec::at(SOURCE, MOVED), KeySpec::at(DESTINATION, KeyFlags::OW.union(KeyFlags::UPDATE))],
    run: Run::Steps(rename),
    summary: "Gives a key another name, which is overwritten if it exists.",
    syntax: "key newkey",
    ..BASE
};

const RENAMENX: Command = Command {
    name: "renamenx",
    full_name: "renamenx",
    arity: 3,
    flags: Flags::WRITE.union(Flags::FAST),
    keys: &[KeySpec::at(SOURCE, MOVED), KeySpec::at(DESTINATION, KeyFlags::OW.union(KeyFlags::INSERT))],
    run: Run::Steps(renamenx),
    summary: "Gives a key another name unless a key has it already.",
    syntax: "key newkey",
    ..BASE
};

const COPY: Command = Command {
    name: "copy",
    full_name: "copy",
    arity: -3,
    flags: Flags::WRITE.union(Flags::DENYOOM),
    keys: &[
        KeySpec::at(SOURCE, KeyFlags::RO.union(KeyFlags::ACCESS)),
        KeySpec::at(DESTINATION, KeyFlags::OW.union(KeyFlags::UPDATE)),
    ],
    run: Run::Steps(copy),
    since: "6.2.0",
    summary: "Copies a key's value and expiry to another key.",
    complexity: "O(N) in the size of the value",
    syntax: "source destination [DB destination-db] [REPLACE]",
    ..BASE
};

const MOVE: Command = Command {
    name: "move",
    full_name: "move",
    arity: 3,
    flags: Flags::WRITE.union(Flags::FAST),
    keys: &[KeySpec::at(1, KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE))],
    run: Run::OneShard(move_key),
    summary: "Moves a key to another database unless the key exists there.",
    syntax: "key db",
    ..BASE
};

fn visit(key: usize, act: fn(&mut Ctx, &Key, Carry) -> Result<Carry, Refusal>, carry: Carry) -> Visit {
    Visit { key, db: None, act, carry }
}

fn is_same(args: &Args) -> bool {
    args.argv().get(SOURCE) == args.argv().get(DESTINATION)
}

fn rename(step: usize, args: &mut Args, mut carries: Vec<Carry>, reply: &mut Reply) -> Result<Next, Refusal> {
    match step {
        0 if is_same(args) => Ok(Next::Visit(vec![visit(SOURCE, must_exist, Carry::Nothing)])),
        0 => Ok(Next::Visit(vec![visit(SOURCE, take, Carry::Nothing)])),
        1 if !is_same(args) => Ok(Next::Visit(vec![visit(DESTINATION, put, carries.remove(0))])),
        _ => {
            reply.ok();
            Ok(Next::Done)
        }
    }
}

fn renamenx(step: usize, _: &mut Args, mut carries: Vec<Carry>, reply: &mut Reply) -> Result<Next, Refusal> {
    match step {
        0 => Ok(Next::Visit(vec![
            visit(SOURCE, must_exist, Carry::Nothing),
            visit(DESTINATION, super::string::exists, Carry::Nothing),
        ])),
        // A key that gets its own name finds the name taken, too.
        1 if matches!(carries[1], Carry::Int(1)) => {
            reply.int(0);
            Ok(Next::Done)
        }
        1 => Ok(Next::Visit(vec![visit(SOURCE, take, Carry::Nothing)])),
        2 => Ok(Next::Visit(vec![visit(DESTINATION, put, carries.remove(0))])),
        _ => {
            reply.int(1);
            Ok(Next::Done)
        }
    }
}

fn must_exist(ctx: &mut Ctx, key: &Key, _: Carry) -> Result<Carry, Refusal> {
    ctx.lookup(key).map(|_| Carry::Nothing).ok_or(Refusal::NoSuchKey)
}

fn take(ctx: &mut Ctx, key: &Key, _: Carry) -> Result<Carry, Refusal> {
    let taken = ctx.take(key).ok_or(Refusal::NoSuchKey)?;
    ctx.effect(&[b"DEL", key.bytes]);
    Ok(Carry::Value(Some(taken)))
}

fn put(ctx: &mut Ctx, key: &Key, carry: Carry) -> Result<Carry, Refusal> {
    let Carry::Value(Some((value, expire))) = carry else { unreachable!("the visit carries the value") };
    ctx.put(key, value, expire);
    ctx.effect_string(key);
    Ok(Carry::Nothing)
}

#[derive(Default)]
struct CopyOptions {
    /// Every database named; the last one counts.
    dbs: Vec<i64>,
    replace: bool,
    /// What is wrong behind them.
    refusal: Option<Refusal>,
}

fn copy_options(args: &mut Args) -> CopyOptions {
    let mut options = CopyOptions::default();
    args.seek(DESTINATION + 1);
    while !args.is_empty() && options.refusal.is_none() {
        if args.option("replace") {
            options.replace = true;
        } else if args.remaining() >= 2 && args.option("db") {
            match args.db() {
                Ok(db) => options.dbs.push(db),
                Err(refusal) => options.refusal = Some(refusal),
            }
        } else {
            options.refusal = Some(Refusal::Syntax);
        }
    }
    options
}

/// Step 0 fetches the value, once the source's shard has found all databases good: that is refused before
/// what is wrong with later options. Step 1 delivers it.
fn copy(step: usize, args: &mut Args, mut carries: Vec<Carry>, reply: &mut Reply) -> Result<Next, Refusal> {
    let mut options = copy_options(args);
    let last = options.dbs.last().copied();
    match step {
        0 => {
            let mut visits: Vec<Visit> =
                options.dbs.iter().map(|db| visit(SOURCE, admit_db, Carry::Int(*db))).collect();
            match (options.refusal, last) {
                (Some(refusal), None) => return Err(refusal),
                (Some(_), Some(_)) => {}
                (None, None) if is_same(args) => return Err(SAME_OBJECT),
                (None, Some(db)) if is_same(args) => {
                    visits.push(visit(SOURCE, duplicate_elsewhere, Carry::Int(db)))
                }
                (None, _) => visits.push(visit(SOURCE, duplicate, Carry::Nothing)),
            }
            Ok(Next::Visit(visits))
        }
        1 => match (options.refusal.take(), carries.pop()) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(value @ Carry::Value(Some(_)))) => {
                let act = if options.replace { put } else { put_new };
                Ok(Next::Visit(vec![Visit {
                    db: last.map(|db| db as usize),
                    ..visit(DESTINATION, act, value)
                }]))
            }
            _ => {
                reply.int(0);
                Ok(Next::Done)
            }
        },
        _ => {
            let refused = matches!(carries[0], Carry::Int(0));
            reply.int(i64::from(!refused));
            Ok(Next::Done)
        }
    }
}

fn admit_db(ctx: &mut Ctx, _: &Key, carry: Carry) -> Result<Carry, Refusal> {
    let Carry::Int(db) = carry else { unreachable!("the visit carries a database") };
    check_db(ctx, db).map(|_| Carry::Nothing)
}

/// Brings back a copy of the value, if there is one.
fn duplicate(ctx: &mut Ctx, key: &Key, _: Carry) -> Result<Carry, Refusal> {
    let copied = ctx.read_source(key).map(|entry| {
        let raw = entry.encoding() == Encoding::Raw;
        let value = match entry.value() {
            ValueRef::Int(value) => Value::Int(value),
            ValueRef::Str(bytes) => Value::Str { bytes: bytes.to_vec(), raw },
        };
        (value, entry.expire())
    });
    Ok(Carry::Value(copied))
}

/// As `duplicate`, for a copy under the same name, which needs another database: the one carried.
fn duplicate_elsewhere(ctx: &mut Ctx, key: &Key, carry: Carry) -> Result<Carry, Refusal> {
    match carry {
        Carry::Int(db) if db == ctx.db as i64 => Err(SAME_OBJECT),
        carry => duplicate(ctx, key, carry),
    }
}

fn put_new(ctx: &mut Ctx, key: &Key, carry: Carry) -> Result<Carry, Refusal> {
    if ctx.lookup(key).is_some() { Ok(Carry::Int(0)) } else { put(ctx, key, carry) }
}

fn check_db(ctx: &Ctx, db: i64) -> Result<usize, Refusal> {
    usize::try_from(db).ok().filter(|db| *db < ctx.data.keyspace.databases()).ok_or(Refusal::DbIndex)
}

fn move_key(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let db = args.db()?;
    let (source, target) = (ctx.db, check_db(ctx, db)?);
    if source == target {
        return Err(SAME_OBJECT);
    }
    let movable = ctx.lookup(&key).is_some() && {
        ctx.db = target;
        let free = ctx.lookup(&key).is_none();
        ctx.db = source;
        free
    };
    if movable {
        let (value, expire) = ctx.take(&key).expect("the key was just looked up");
        ctx.db = target;
        ctx.put(&key, value, expire);
        ctx.db = source;
        ctx.effect_as_is(args);
    }
    ctx.reply.int(i64::from(movable));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Shell;

    #[test]
    fn renaming_takes_value_and_expiry_along() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("rename a b"), "-ERR no such key");
        assert_eq!(shell.run("rename a a"), "-ERR no such key");
        shell.run("set a 1 px 50");
        shell.run("set b 2 px 99");
        shell.effects();
        assert_eq!(shell.run("rename a a"), "+OK");
        assert_eq!(shell.run("renamenx a a"), ":0");
        assert_eq!(shell.run("renamenx a b"), ":0");
        assert_eq!(shell.run("renamenx none b"), "-ERR no such key");
        assert_eq!(shell.run("rename a b"), "+OK");
        assert_eq!(shell.run("get b"), "$1 1");
        assert_eq!(shell.run("pttl b"), ":50");
        assert_eq!(shell.run("renamenx b c"), ":1");
        assert_eq!(shell.run("exists a b c"), ":1");
        shell.now += 50;
        assert_eq!(shell.run("rename c d"), "-ERR no such key");
        let effects = ["DEL a", "SET b 1 PXAT 1000050", "DEL b", "SET c 1 PXAT 1000050", "DEL c"];
        assert_eq!(shell.effects(), effects);
    }

    #[test]
    fn copies_keep_expiry_and_encoding() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("copy a b"), ":0");
        shell.run("append a x");
        shell.run("append a y");
        shell.run("pexpire a 50");
        shell.effects();
        assert_eq!(shell.run("copy a b"), ":1");
        assert_eq!(shell.run("object encoding b"), "$3 raw");
        assert_eq!(shell.run("pttl b"), ":50");
        assert_eq!(shell.run("set a new"), "+OK");
        assert_eq!(shell.run("copy a b"), ":0");
        assert_eq!(shell.run("copy a b replace"), ":1");
        assert_eq!(shell.run("pttl b"), ":-1");
        assert_eq!(shell.run("copy a a db 3"), ":1");
        assert_eq!(shell.run("copy a b DB 3 REPLACE"), ":1");
        let effects = ["SET b xy PXAT 1000050", "set a new", "SET b new", "3: SET a new", "3: SET b new"];
        assert_eq!(shell.effects(), effects);
    }

    #[test]
    fn bad_copies_are_refused() {
        let mut shell = Shell::new();
        shell.run("set a 1");
        let same = "-ERR source and destination objects are the same";
        for line in ["copy a a", "copy none none replace", "copy a a db 0", "move a 0"] {
            assert_eq!(shell.run(line), same, "{line}");
        }
        for line in
            ["copy a b db 16", "copy a a db -1 what", "copy a b db 99 db x", "move a 16", "move none -1"]
        {
            assert_eq!(shell.run(line), "-ERR DB index is out of range", "{line}");
        }
        let range = "-ERR value is out of range, value must between -2147483648 and 2147483647";
        for line in ["copy a b db 2147483648", "move a -2147483649"] {
            assert_eq!(shell.run(line), range, "{line}");
        }
        for line in ["copy a b db", "copy a b what", "copy a a db", "copy a b db 3 what"] {
            assert_eq!(shell.run(line), "-ERR syntax error", "{line}");
        }
        for line in ["copy a b db x", "move a x"] {
            assert_eq!(shell.run(line), "-ERR value is not an integer or out of range", "{line}");
        }
    }

    #[test]
    fn keys_move_between_databases() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("move a 3"), ":0");
        shell.run("set a 1 px 50");
        assert_eq!(shell.run("move a 3"), ":1");
        assert_eq!(shell.run("exists a"), ":0");
        shell.run("set a 2");
        assert_eq!(shell.run("move a 3"), ":0");
        shell.now += 50;
        assert_eq!(shell.run("move a 3"), ":1");
        shell.db = 3;
        assert_eq!(shell.run("get a"), "$1 2");
        assert_eq!(shell.run("ttl a"), ":-1");
        let effects = ["SET a 1 PXAT 1000050", "move a 3", "set a 2", "3: DEL a", "move a 3"];
        assert_eq!(shell.effects(), effects);
    }
}
