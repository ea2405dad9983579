//! Strings that are numbers: integers of 64 bits, and the reference's 80-bit floats.

use super::{Args, Categories, Command, Ctx, Flags, Group, KeyFlags, KeySpec, Run};
use crate::keyspace::{Encode, Key, ValueRef};
use crate::resp::long_double::{self, LongDoubleError};
use crate::resp::{Refusal, parse_i64};

const BASE: Command = Command {
    arity: 3,
    flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::FAST),
    keys: &[KeySpec::at(1, KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE))],
    group: Group::String,
    extra_categories: Categories::STRING,
    ..Command::BASE
};

pub const COMMANDS: &[Command] = &[INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT];

const INCR: Command = Command {
    name: "incr",
    full_name: "incr",
    arity: 2,
    run: Run::OneShard(incr),
    summary: "Adds one to an integer; a missing key counts as 0.",
    syntax: "key",
    ..BASE
};

const DECR: Command = Command {
    name: "decr",
    full_name: "decr",
    arity: 2,
    run: Run::OneShard(decr),
    summary: "Subtracts one from an integer; a missing key counts as 0.",
    syntax: "key",
    ..BASE
};

const INCRBY: Command = Command {
    name: "incrby",
    full_name: "incrby",
    run: Run::OneShard(incrby),
    summary: "Adds to an integer; a missing key counts as 0.",
    syntax: "key increment",
    ..BASE
};

const DECRBY: Command = Command {
    name: "decrby",
    full_name: "decrby",
    run: Run::OneShard(decrby),
    summary: "Subtracts from an integer; a missing key counts as 0.",
    syntax: "key decrement",
    ..BASE
};

const INCRBYFLOAT: Command = Command {
    name: "incrbyfloat",
    full_name: "incrbyfloat",
    run: Run::OneShard(incrbyfloat),
    since: "2.6.0",
    summary: "Adds to a floating-point number; a missing key counts as 0.",
    syntax: "key increment-float",
    ..BASE
};

fn incr(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    add(ctx, args, &key, 1)
}

fn decr(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    add(ctx, args, &key, -1)
}

fn incrby(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, increment) = (args.key()?, args.int()?);
    add(ctx, args, &key, increment)
}

fn decrby(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, decrement) = (args.key()?, args.int()?);
    let increment = decrement.checked_neg().ok_or(Refusal::err("decrement would overflow"))?;
    add(ctx, args, &key, increment)
}

fn add(ctx: &mut Ctx, args: &Args, key: &Key, increment: i64) -> Result<(), Refusal> {
    let (before, expire) = match ctx.lookup_string_with_expiry(key)? {
        None => (0, None),
        Some((ValueRef::Int(value), expire)) => (value, expire),
        Some((ValueRef::Str(bytes), expire)) => (parse_i64(bytes).ok_or(Refusal::NotInteger)?, expire),
    };
    let overflow = Refusal::err("increment or decrement would overflow");
    let sum = before.checked_add(increment).ok_or(overflow)?;
    ctx.put_int(key, sum, expire);
    ctx.effect_as_is(args);
    ctx.reply.int(sum);
    Ok(())
}

fn incrbyfloat(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, increment) = (args.key()?, args.take()?);
    let (value, expire) = ctx.lookup_string_with_expiry(&key)?.unwrap_or((ValueRef::Int(0), None));
    let sum = long_double::add(value.to_bytes(&mut itoa::Buffer::new()), increment).map_err(refusal)?;
    ctx.put_str(&key, sum.as_bytes(), Encode::Plain, expire);
    // Adding again could round differently elsewhere; the sum cannot.
    ctx.effect(&[b"SET", key.bytes, sum.as_bytes(), b"KEEPTTL"]);
    ctx.reply.bulk(sum.as_bytes());
    Ok(())
}

fn refusal(error: LongDoubleError) -> Refusal {
    match error {
        LongDoubleError::CurrentNotFloat | LongDoubleError::IncrementNotFloat => Refusal::NotFloat,
        LongDoubleError::NanOrInfinity => Refusal::err("increment would produce NaN or Infinity"),
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Shell;

    #[test]
    fn integers_are_counted_up_and_down() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("incr n"), ":1");
        assert_eq!(shell.run("incrby n 41"), ":42");
        assert_eq!(shell.run("decr n"), ":41");
        assert_eq!(shell.run("decrby n -9"), ":50");
        assert_eq!(shell.run("object encoding n"), "$3 int");
        shell.run("pexpire n 500");
        shell.run("incr n");
        assert_eq!(shell.run("pttl n"), ":500");
        let effects = ["incr n", "incrby n 41", "decr n", "decrby n -9", "PEXPIREAT n 1000500", "incr n"];
        assert_eq!(shell.effects(), effects);
    }

    #[test]
    fn what_is_no_integer_or_would_overflow_is_refused() {
        let mut shell = Shell::new();
        let not_integer = "-ERR value is not an integer or out of range";
        for value in ["", "x", "1.5", "01", "+1", "1e3", "9223372036854775808"] {
            shell.run_bytes(&[b"set", b"s", value.as_bytes()]);
            assert_eq!(shell.run("incr s"), not_integer, "{value}");
            assert_eq!(shell.run_bytes(&[b"incrby", b"none", value.as_bytes()]), not_integer, "{value}");
        }
        shell.run("set max 9223372036854775807");
        shell.run("set min -9223372036854775808");
        shell.effects();
        let overflow = "-ERR increment or decrement would overflow";
        assert_eq!(shell.run("incr max"), overflow);
        assert_eq!(shell.run("decr min"), overflow);
        assert_eq!(shell.run("decrby max -1"), overflow);
        assert_eq!(shell.run("incrby min -9223372036854775808"), overflow);
        assert_eq!(shell.run("decrby max -9223372036854775808"), "-ERR decrement would overflow");
        assert_eq!(shell.effects(), [""; 0]);
    }

    #[test]
    fn floats_are_added_as_long_doubles() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("incrbyfloat f 3.0e3"), "$4 3000");
        assert_eq!(shell.run("object encoding f"), "$6 embstr");
        shell.run("set f 10.50 px 9");
        assert_eq!(shell.run("incrbyfloat f 0.1"), "$4 10.6");
        assert_eq!(shell.run("pttl f"), ":9");
        assert_eq!(shell.effects(), ["SET f 3000 KEEPTTL", "SET f 10.50 PXAT 1000009", "SET f 10.6 KEEPTTL"]);
        assert_eq!(shell.run("incrbyfloat f x"), "-ERR value is not a valid float");
        assert_eq!(shell.run("incrbyfloat f nan"), "-ERR value is not a valid float");
        assert_eq!(shell.run("incrbyfloat f inf"), "-ERR increment would produce NaN or Infinity");
        shell.run("set s x");
        assert_eq!(shell.run("incrbyfloat s 1"), "-ERR value is not a valid float");
    }
}
