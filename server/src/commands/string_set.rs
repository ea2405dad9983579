//! SET and GETEX with their options, and the older commands that set a string with an expiry.

use super::string::reply_string;
use super::{Args, Categories, Command, Ctx, Flags, Group, KeyFlags, KeySpec, Run};
use crate::keyspace::{Encode, Key};
use crate::resp::{Argv, Refusal, parse_i64};

const BASE: Command = Command {
    flags: Flags::WRITE.union(Flags::DENYOOM),
    group: Group::String,
    extra_categories: Categories::STRING,
    ..Command::BASE
};

pub const COMMANDS: &[Command] = &[SET, SETEX, PSETEX, GETEX];

const SET: Command = Command {
    name: "set",
    full_name: "set",
    arity: -3,
    keys: &[KeySpec::at(
        1,
        KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE).union(KeyFlags::VARIABLE_FLAGS),
    )
    .with_notes("RW and ACCESS due to the optional `GET` argument")],
    key_flags: Some(set_key_flags),
    run: Run::OneShard(set),
    summary: "Stores a string, whatever the key held before.",
    syntax: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
             PXAT unix-time-milliseconds | KEEPTTL]",
    ..BASE
};

const SETEX: Command = Command {
    name: "setex",
    full_name: "setex",
    arity: 4,
    keys: &[KeySpec::at(1, KeyFlags::OW.union(KeyFlags::UPDATE))],
    run: Run::OneShard(setex),
    since: "2.0.0",
    summary: "Stores a string for a number of seconds.",
    syntax: "key seconds value",
    ..BASE
};

const PSETEX: Command = Command {
    name: "psetex",
    full_name: "psetex",
    run: Run::OneShard(psetex),
    since: "2.6.0",
    summary: "Stores a string for a number of milliseconds.",
    syntax: "key milliseconds value",
    ..SETEX
};

const GETEX: Command = Command {
    name: "getex",
    full_name: "getex",
    arity: -2,
    flags: Flags::WRITE.union(Flags::FAST),
    keys: &[KeySpec::at(1, KeyFlags::RW.union(KeyFlags::ACCESS).union(KeyFlags::UPDATE))
        .with_notes("RW and UPDATE because it changes the TTL")],
    run: Run::OneShard(getex),
    since: "6.2.0",
    summary: "Reads a string and changes when it expires.",
    syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
    ..BASE
};

/// SET reads what it overwrites only if it is asked to.
fn set_key_flags(argv: Argv) -> KeyFlags {
    let update = if argv.iter().skip(3).any(|option| option.eq_ignore_ascii_case(b"get")) {
        KeyFlags::RW.union(KeyFlags::ACCESS)
    } else {
        KeyFlags::OW
    };
    update.union(KeyFlags::UPDATE)
}

/// How a time of expiry is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
    AtSecond,
    AtMilli,
}

const UNITS: [(&str, Unit); 4] =
    [("ex", Unit::Seconds), ("px", Unit::Millis), ("exat", Unit::AtSecond), ("pxat", Unit::AtMilli)];

/// What an option says about the expiry.
#[derive(Clone, Copy)]
enum Expiry<'a> {
    /// SET clears it, GETEX leaves it alone.
    Unsaid,
    /// KEEPTTL or PERSIST.
    Word,
    /// Not yet looked at: what is wrong with it is found out later than a syntax error.
    Given(Unit, &'a [u8]),
}

#[derive(PartialEq, Eq)]
enum Condition {
    Always,
    Missing,
    Present,
}

struct SetOptions<'a> {
    condition: Condition,
    get: bool,
    expiry: Expiry<'a>,
}

/// Takes one expiry option; `word` is the one that excludes all others. An option may be repeated, and the
/// last one counts.
fn expiry_option<'a>(args: &mut Args<'a>, word: &str, expiry: &mut Expiry<'a>) -> Result<bool, Refusal> {
    if !matches!(expiry, Expiry::Given(..)) && args.option(word) {
        *expiry = Expiry::Word;
        return Ok(true);
    }
    for (name, unit) in UNITS {
        let fits = match *expiry {
            Expiry::Unsaid => true,
            Expiry::Word => false,
            Expiry::Given(given, _) => given == unit,
        };
        if fits && args.option(name) {
            *expiry = Expiry::Given(unit, args.take()?);
            return Ok(true);
        }
    }
    Ok(false)
}

fn set_options<'a>(args: &mut Args<'a>) -> Result<SetOptions<'a>, Refusal> {
    let mut options = SetOptions { condition: Condition::Always, get: false, expiry: Expiry::Unsaid };
    while !args.is_empty() {
        if options.condition != Condition::Present && args.option("nx") {
            options.condition = Condition::Missing;
        } else if options.condition != Condition::Missing && args.option("xx") {
            options.condition = Condition::Present;
        } else if args.option("get") {
            options.get = true;
        } else if !expiry_option(args, "keepttl", &mut options.expiry)? {
            return Err(Refusal::Syntax);
        }
    }
    Ok(options)
}

fn invalid_expiry(name: &'static str) -> Refusal {
    Refusal::Err(format!("invalid expire time in '{name}' command").into())
}

/// The Unix ms that `given` means; it must be positive, as must be what it comes to.
fn expire_time(given: &[u8], unit: Unit, now: i64, name: &'static str) -> Result<i64, Refusal> {
    let given = parse_i64(given).ok_or(Refusal::NotInteger)?;
    let scale = if matches!(unit, Unit::Seconds | Unit::AtSecond) { 1000 } else { 1 };
    let base = if matches!(unit, Unit::Seconds | Unit::Millis) { now } else { 0 };
    (given > 0)
        .then(|| given.checked_mul(scale)?.checked_add(base))
        .flatten()
        .ok_or_else(|| invalid_expiry(name))
}

fn set(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, value) = (args.key()?, args.take()?);
    if !args.is_empty() {
        return set_with_options(ctx, args, &key, value);
    }
    ctx.put_str(&key, value, Encode::Auto, None);
    ctx.effect_as_is(args);
    ctx.reply.ok();
    Ok(())
}

fn set_with_options(ctx: &mut Ctx, args: &mut Args, key: &Key, value: &[u8]) -> Result<(), Refusal> {
    let options = set_options(args)?;
    let at = match options.expiry {
        Expiry::Given(unit, given) => Some(expire_time(given, unit, ctx.now, "set")?),
        Expiry::Unsaid | Expiry::Word => None,
    };
    if options.get {
        reply_string(ctx, key)?;
    }
    let found = ctx.lookup(key).is_some();
    let refused = if found { Condition::Missing } else { Condition::Present };
    if options.condition == refused {
        if !options.get {
            ctx.reply.null();
        }
        return Ok(());
    }
    if !options.get {
        ctx.reply.ok();
    }
    if matches!(options.expiry, Expiry::Word) {
        let kept = ctx.expire_of(key);
        ctx.put_str(key, value, Encode::Auto, kept);
        ctx.effect(&[b"SET", key.bytes, value, b"KEEPTTL"]);
    } else {
        put_until(ctx, key, value, at);
    }
    Ok(())
}

/// Stores a string that expires at `at`, and emits that.
fn put_until(ctx: &mut Ctx, key: &Key, value: &[u8], at: Option<i64>) {
    ctx.put_str(key, value, Encode::Auto, at);
    match at {
        None => ctx.effect(&[b"SET", key.bytes, value]),
        Some(at) => {
            let mut digits = itoa::Buffer::new();
            ctx.effect(&[b"SET", key.bytes, value, b"PXAT", digits.format(at).as_bytes()]);
        }
    }
}

fn setex(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    set_for(ctx, args, Unit::Seconds, "setex")
}

fn psetex(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    set_for(ctx, args, Unit::Millis, "psetex")
}

fn set_for(ctx: &mut Ctx, args: &mut Args, unit: Unit, name: &'static str) -> Result<(), Refusal> {
    let (key, given, value) = (args.key()?, args.take()?, args.take()?);
    let at = expire_time(given, unit, ctx.now, name)?;
    put_until(ctx, &key, value, Some(at));
    ctx.reply.ok();
    Ok(())
}

fn getex(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let mut expiry = Expiry::Unsaid;
    while !args.is_empty() {
        if !expiry_option(args, "persist", &mut expiry)? {
            return Err(Refusal::Syntax);
        }
    }
    // A missing key is answered before a bad time is refused.
    if !reply_string(ctx, &key)? {
        return Ok(());
    }
    match expiry {
        Expiry::Unsaid => {}
        Expiry::Word => {
            if ctx.expire_of(&key).is_some() {
                ctx.set_expire(&key, None);
                ctx.effect(&[b"PERSIST", key.bytes]);
            }
        }
        Expiry::Given(unit, given) => {
            let at = expire_time(given, unit, ctx.now, "getex")?;
            super::expire::expire_at(ctx, &key, at);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Shell;

    #[test]
    fn conditions_and_get_combine() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("set k 1 xx"), "$-1");
        assert_eq!(shell.run("set k 1 nx get"), "$-1");
        assert_eq!(shell.run("get k"), "$1 1");
        assert_eq!(shell.run("set k 2 nx get"), "$1 1");
        assert_eq!(shell.run("set k 2 nx"), "$-1");
        assert_eq!(shell.run("SET k 2 GET XX"), "$1 1");
        assert_eq!(shell.run("set k 3 xx"), "+OK");
        assert_eq!(shell.run("set none 3 xx get"), "$-1");
        assert_eq!(shell.run("exists none"), ":0");
        assert_eq!(shell.effects(), ["SET k 1", "SET k 2", "SET k 3"]);
        for line in ["set k 1 nx xx", "set k 1 xx nx", "set k 1 keepttl ex 1", "set k 1 ex 1 keepttl"] {
            assert_eq!(shell.run(line), "-ERR syntax error", "{line}");
        }
        for line in ["set k 1 ex 1 px 1", "set k 1 ex", "set k 1 persist", "set k 1 2"] {
            assert_eq!(shell.run(line), "-ERR syntax error", "{line}");
        }
        assert_eq!(shell.effects(), [""; 0]);
    }

    #[test]
    fn expiries_become_absolute() {
        let mut shell = Shell::new();
        shell.run("set k 1 ex 10");
        shell.run("set k 1 px 10 px 20 get");
        shell.run("set k 2 keepttl");
        assert_eq!(shell.run("pexpiretime k"), ":1000020");
        shell.run("set k 1 exat 2000");
        shell.run("set k 1 PXAT 9223372036854775807");
        shell.run("setex k 10 v");
        shell.run("psetex k 10 v");
        shell.run("set k 1");
        assert_eq!(shell.run("ttl k"), ":-1");
        let effects = [
            "SET k 1 PXAT 1010000",
            "SET k 1 PXAT 1000020",
            "SET k 2 KEEPTTL",
            "SET k 1 PXAT 2000000",
            "SET k 1 PXAT 9223372036854775807",
            "SET k v PXAT 1010000",
            "SET k v PXAT 1000010",
            "set k 1",
        ];
        assert_eq!(shell.effects(), effects);
    }

    #[test]
    fn invalid_expiries_are_refused() {
        let mut shell = Shell::new();
        shell.run("set k 1");
        for option in ["ex 0", "px -1", "exat 0", "pxat -9223372036854775808", "ex 9223372036854775807"] {
            let line = format!("set k 2 {option}");
            assert_eq!(shell.run(&line), "-ERR invalid expire time in 'set' command", "{line}");
            let line = format!("getex k {option}");
            assert_eq!(shell.run(&line), "-ERR invalid expire time in 'getex' command", "{line}");
            assert_eq!(shell.run(&format!("getex none {option}")), "$-1");
        }
        assert_eq!(shell.run("set k 2 px 9223372036854775807"), "-ERR invalid expire time in 'set' command");
        assert_eq!(shell.run("set k 2 ex x"), "-ERR value is not an integer or out of range");
        assert_eq!(shell.run("getex k ex x"), "-ERR value is not an integer or out of range");
        assert_eq!(shell.run("setex k 0 2"), "-ERR invalid expire time in 'setex' command");
        assert_eq!(shell.run("psetex k -1 2"), "-ERR invalid expire time in 'psetex' command");
        assert_eq!(shell.run("get k"), "$1 1");
        assert_eq!(shell.effects(), ["set k 1"]);
    }

    #[test]
    fn getex_changes_the_expiry() {
        let mut shell = Shell::new();
        shell.run("set k v");
        assert_eq!(shell.run("getex k"), "$1 v");
        assert_eq!(shell.run("getex k persist"), "$1 v");
        assert_eq!(shell.run("getex k ex 10"), "$1 v");
        assert_eq!(shell.run("ttl k"), ":10");
        assert_eq!(shell.run("getex k persist"), "$1 v");
        assert_eq!(shell.run("getex k ex 10 persist"), "-ERR syntax error");
        assert_eq!(shell.run("getex k keepttl"), "-ERR syntax error");
        assert_eq!(shell.run("getex k pxat 1000"), "$1 v");
        assert_eq!(shell.run("exists k"), ":0");
        assert_eq!(shell.effects(), ["set k v", "PEXPIREAT k 1010000", "PERSIST k", "DEL k"]);
    }
}
