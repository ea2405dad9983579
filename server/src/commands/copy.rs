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

struct CopyOptions {
    db: Option<i64>,
    replace: bool,
}

fn copy_options(args: &mut Args) -> Result<CopyOptions, Refusal> {
    let mut options = CopyOptions { db: None, replace: false };
    args.seek(DESTINATION + 1);
    while !args.is_empty() {
        if args.option("replace") {
            options.replace = true;
        } else if args.remaining() >= 2 && args.option("db") {
            options.db = Some(args.db()?);
        } else {
            return Err(Refusal::Syntax);
        }
    }
    Ok(options)
}

/// Step 0 lets the source's shard check the database, step 1 fetches the value, step 2 delivers it.
fn copy(step: usize, args: &mut Args, mut carries: Vec<Carry>, reply: &mut Reply) -> Result<Next, Refusal> {
    let options = copy_options(args)?;
    match step {
        0 => {
            let act = match (is_same(args), options.db) {
                (true, None) => return Err(SAME_OBJECT),
                (true, Some(_)) => duplicate_elsewhere,
                (false, _) => duplicate,
            };
            Ok(Next::Visit(vec![visit(SOURCE, act, options.db.map_or(Carry::Nothing, Carry::Int))]))
        }
        1 => match carries.remove(0) {
            Carry::Value(None) => {
                reply.int(0);
                Ok(Next::Done)
            }
            value => {
                let act = if options.replace { put } else { put_new };
                // The source's shard has checked that there is such a database.
                let db = options.db.map(|db| db as usize);
                Ok(Next::Visit(vec![Visit { db, ..visit(DESTINATION, act, value) }]))
            }
        },
        _ => {
            let refused = matches!(carries[0], Carry::Int(0));
            reply.int(i64::from(!refused));
            Ok(Next::Done)
        }
    }
}

/// Brings back a copy of the value, if there is one. Carries the number of the copy's database, if one was given.
fn duplicate(ctx: &mut Ctx, key: &Key, carry: Carry) -> Result<Carry, Refusal> {
    if let Carry::Int(db) = carry {
        check_db(ctx, db)?;
    }
    let copied = ctx.read(key).map(|entry| {
        let raw = entry.encoding() == Encoding::Raw;
        let value = match entry.value() {
            ValueRef::Int(value) => Value::Int(value),
            ValueRef::Str(bytes) => Value::Str { bytes: bytes.to_vec(), raw },
        };
        (value, entry.expire())
    });
    Ok(Carry::Value(copied))
}

/// As `duplicate`, for a copy under the same name, which needs another database.
fn duplicate_elsewhere(ctx: &mut Ctx, key: &Key, carry: Carry) -> Result<Carry, Refusal> {
    match carry {
        Carry::Int(db) if check_db(ctx, db)? == ctx.db => Err(SAME_OBJECT),
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
