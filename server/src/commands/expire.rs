//! When keys expire: set, asked and cleared, for values of any type.

use super::{Args, Categories, Command, Ctx, Flags, KeyFlags, KeySpec, Run};
use crate::keyspace::Key;
use crate::resp::Refusal;

const CHANGE: Command = Command {
    arity: -3,
    flags: Flags::WRITE.union(Flags::FAST),
    keys: &[KeySpec::at(1, KeyFlags::RW.union(KeyFlags::UPDATE))],
    extra_categories: Categories::KEYSPACE,
    ..Command::BASE
};
const ASK: Command = Command {
    arity: 2,
    flags: Flags::READONLY.union(Flags::FAST),
    keys: &[KeySpec::at(1, KeyFlags::RO.union(KeyFlags::ACCESS))],
    extra_categories: Categories::KEYSPACE,
    syntax: "key",
    ..Command::BASE
};

pub const COMMANDS: &[Command] =
    &[EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT, PERSIST, TTL, PTTL, EXPIRETIME, PEXPIRETIME];

const EXPIRE: Command = Command {
    name: "expire",
    full_name: "expire",
    run: Run::OneShard(expire),
    summary: "Lets a key expire in a number of seconds.",
    syntax: "key seconds [NX | XX | GT | LT]",
    ..CHANGE
};

const PEXPIRE: Command = Command {
    name: "pexpire",
    full_name: "pexpire",
    run: Run::OneShard(pexpire),
    since: "2.6.0",
    summary: "Lets a key expire in a number of milliseconds.",
    syntax: "key milliseconds [NX | XX | GT | LT]",
    ..CHANGE
};

const EXPIREAT: Command = Command {
    name: "expireat",
    full_name: "expireat",
    run: Run::OneShard(expireat),
    since: "1.2.0",
    summary: "Lets a key expire at a Unix time in seconds.",
    syntax: "key unix-time-seconds [NX | XX | GT | LT]",
    ..CHANGE
};

const PEXPIREAT: Command = Command {
    name: "pexpireat",
    full_name: "pexpireat",
    run: Run::OneShard(pexpireat),
    since: "2.6.0",
    summary: "Lets a key expire at a Unix time in milliseconds.",
    syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
    ..CHANGE
};

const PERSIST: Command = Command {
    name: "persist",
    full_name: "persist",
    arity: 2,
    run: Run::OneShard(persist),
    since: "2.2.0",
    summary: "Keeps a key from expiring.",
    syntax: "key",
    ..CHANGE
};

const TTL: Command = Command {
    name: "ttl",
    full_name: "ttl",
    run: Run::OneShard(ttl),
    summary: "Tells in how many seconds a key expires.",
    tips: &["nondeterministic_output"],
    ..ASK
};

const PTTL: Command = Command {
    name: "pttl",
    full_name: "pttl",
    run: Run::OneShard(pttl),
    since: "2.6.0",
    summary: "Tells in how many milliseconds a key expires.",
    ..TTL
};

const EXPIRETIME: Command = Command {
    name: "expiretime",
    full_name: "expiretime",
    run: Run::OneShard(expiretime),
    since: "7.0.0",
    summary: "Tells at which Unix time, in seconds, a key expires.",
    ..ASK
};

const PEXPIRETIME: Command = Command {
    name: "pexpiretime",
    full_name: "pexpiretime",
    run: Run::OneShard(pexpiretime),
    since: "7.0.0",
    summary: "Tells at which Unix time, in milliseconds, a key expires.",
    ..ASK
};

fn expire(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    change(ctx, args, 1000, ctx.now, "expire")
}

fn pexpire(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    change(ctx, args, 1, ctx.now, "pexpire")
}

fn expireat(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    change(ctx, args, 1000, 0, "expireat")
}

fn pexpireat(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    change(ctx, args, 1, 0, "pexpireat")
}

/// `scale` turns the argument into ms, `base` (Unix ms) is what it counts from.
fn change(ctx: &mut Ctx, args: &mut Args, scale: i64, base: i64, name: &'static str) -> Result<(), Refusal> {
    let (key, given) = (args.key()?, args.take()?);
    let conditions = Conditions::take(args)?;
    let given = crate::resp::parse_i64(given).ok_or(Refusal::NotInteger)?;
    let invalid = || Refusal::Err(format!("invalid expire time in '{name}' command").into());
    let at = given.checked_mul(scale).and_then(|ms| ms.checked_add(base)).ok_or_else(invalid)?;
    let allowed = ctx.lookup(&key).is_some_and(|entry| conditions.allow(entry.expire(), at));
    if allowed {
        expire_at(ctx, &key, at);
    }
    ctx.reply.int(i64::from(allowed));
    Ok(())
}

/// Sets the expiry of an existing key and emits that; a time that has come deletes the key.
pub(super) fn expire_at(ctx: &mut Ctx, key: &Key, at: i64) {
    if ctx.has_come(at) {
        ctx.remove(key);
        ctx.effect(&[b"DEL", key.bytes]);
    } else {
        ctx.set_expire(key, Some(at));
        ctx.effect(&[b"PEXPIREAT", key.bytes, itoa::Buffer::new().format(at).as_bytes()]);
    }
}

#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn take(args: &mut Args) -> Result<Self, Refusal> {
        let mut it = Conditions::default();
        while let Some(argument) = args.peek() {
            let known = [("nx", &mut it.nx), ("xx", &mut it.xx), ("gt", &mut it.gt), ("lt", &mut it.lt)]
                .into_iter()
                .find_map(|(name, flag)| args.option(name).then(|| *flag = true));
            if known.is_none() {
                let argument = argument.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = format!("Unsupported option {}", String::from_utf8_lossy(argument));
                return Err(Refusal::Err(text.into()));
            }
        }
        if it.nx && (it.xx || it.gt || it.lt) {
            return Err(Refusal::err("NX and XX, GT or LT options at the same time are not compatible"));
        }
        if it.gt && it.lt {
            return Err(Refusal::err("GT and LT options at the same time are not compatible"));
        }
        Ok(it)
    }

    /// Whether a key that expires at `current` (never, if `None`) may expire at `at` instead.
    fn allow(&self, current: Option<i64>, at: i64) -> bool {
        match current {
            None => !self.xx && !self.gt,
            Some(current) => !self.nx && (!self.gt || at > current) && (!self.lt || at < current),
        }
    }
}

fn persist(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let had_expiry = ctx.lookup(&key).is_some_and(|entry| entry.expire().is_some());
    if had_expiry {
        ctx.set_expire(&key, None);
        ctx.effect_as_is(args);
    }
    ctx.reply.int(i64::from(had_expiry));
    Ok(())
}

fn ttl(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let now = ctx.now;
    ask(ctx, args, |at| (at - now).saturating_add(500) / 1000)
}

fn pttl(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let now = ctx.now;
    ask(ctx, args, |at| at - now)
}

fn expiretime(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    ask(ctx, args, |at| at.saturating_add(500) / 1000)
}

fn pexpiretime(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    ask(ctx, args, |at| at)
}

/// Answers with `shown` of the time of expiry in Unix ms, -1 if there is none, -2 if there is no key.
fn ask(ctx: &mut Ctx, args: &mut Args, shown: impl Fn(i64) -> i64) -> Result<(), Refusal> {
    let key = args.key()?;
    let answer = match ctx.read_no_touch(&key) {
        None => -2,
        Some(entry) => entry.expire().map_or(-1, shown),
    };
    ctx.reply.int(answer);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::Expiry;
    use crate::commands::testing::Shell;

    #[test]
    fn times_are_set_asked_and_cleared() {
        let mut shell = Shell::new();
        assert_eq!(shell.run("expire k 10"), ":0");
        assert_eq!(shell.run("ttl k"), ":-2");
        shell.run("set k v");
        assert_eq!(shell.run("pttl k"), ":-1");
        assert_eq!(shell.run("persist k"), ":0");
        assert_eq!(shell.run("expire k 10"), ":1");
        assert_eq!(shell.run("pexpiretime k"), ":1010000");
        assert_eq!(shell.run("pexpire k 1499"), ":1");
        assert_eq!(shell.run("ttl k"), ":1");
        assert_eq!(shell.run("expireat k 2000"), ":1");
        assert_eq!(shell.run("expiretime k"), ":2000");
        assert_eq!(shell.run("pexpireat k 1999500"), ":1");
        assert_eq!(shell.run("expiretime k"), ":2000");
        assert_eq!(shell.run("ttl k"), ":1000");
        assert_eq!(shell.run("persist k"), ":1");
        assert_eq!(shell.run("persist none"), ":0");
        let effects = [
            "set k v",
            "PEXPIREAT k 1010000",
            "PEXPIREAT k 1001499",
            "PEXPIREAT k 2000000",
            "PEXPIREAT k 1999500",
            "persist k",
        ];
        assert_eq!(shell.effects(), effects);
    }

    #[test]
    fn a_time_that_has_come_deletes() {
        let mut shell = Shell::new();
        for line in ["expire k 0", "pexpire k -9223372036854775808", "expireat k 1000", "pexpireat k 1000000"]
        {
            shell.run("set k v");
            assert_eq!(shell.run(line), ":1", "{line}");
            assert_eq!(shell.run("exists k"), ":0", "{line}");
            assert_eq!(shell.effects(), ["set k v", "DEL k"]);
        }
    }

    #[test]
    fn a_key_past_its_time_is_gone_and_its_removal_an_effect() {
        let mut shell = Shell::new();
        shell.run("set k v px 10");
        shell.run("set other v px 10");
        shell.effects();
        shell.now += 9;
        assert_eq!(shell.run("pttl k"), ":1");
        shell.now += 1;
        assert_eq!(shell.run("get k"), "$-1");
        assert_eq!(shell.run("incr other"), ":1");
        assert_eq!(shell.effects(), ["DEL k", "DEL other", "incr other"]);
        assert_eq!(shell.data.expired, 2);
    }

    #[test]
    fn a_replica_hides_what_is_due_and_lets_the_primary_decide() {
        let mut shell = Shell::new();
        shell.run("set k 1 px 10");
        shell.run("set gone v px 10");
        shell.now += 10;
        shell.effects();
        shell.data.expiry = Expiry::Hide;
        for (line, reply) in [
            ("get k", "$-1"),
            ("exists k gone", ":0"),
            ("ttl k", ":-2"),
            ("type k", "+none"),
            ("strlen k", ":0"),
            ("getrange k 0 -1", "$0"),
        ] {
            assert_eq!(shell.run(line), reply, "{line}");
        }
        assert_eq!(shell.effects(), [""; 0]);
        // What follows is the primary's.
        assert_eq!(shell.run("incr k"), ":2");
        assert_eq!(shell.run("copy k other"), ":1");
        assert_eq!(shell.run("pexpireat k 5"), ":1");
        assert_eq!(shell.run("persist k"), ":1");
        assert_eq!(shell.run("get k"), "$1 2");
        assert_eq!(shell.run("del gone"), ":1");
        assert_eq!(shell.data.expired, 0);
        shell.data.expiry = Expiry::Keep;
        assert_eq!(shell.run("get other"), "$1 2");
        shell.data.expiry = Expiry::Remove;
        assert_eq!(shell.run("get other"), "$-1");
        assert_eq!(shell.data.expired, 1);
    }

    #[test]
    fn conditions_compare_with_the_present_expiry() {
        let mut shell = Shell::new();
        let mut expect = |cases: &[(&str, &str)]| {
            cases.iter().for_each(|(line, reply)| assert_eq!(&shell.run(line), reply, "{line}"));
        };
        expect(&[("set k v", "+OK"), ("expire k 10 xx", ":0"), ("expire k 10 gt", ":0")]);
        expect(&[("expire k 10 xx lt", ":0"), ("expire k 10 lt", ":1"), ("expire k 20 nx", ":0")]);
        expect(&[("expire k 10 gt", ":0"), ("expire k 10 lt", ":0"), ("expire k 20 XX GT", ":1")]);
        expect(&[("expire k 5 lt", ":1"), ("persist k", ":1"), ("expire k 5 NX nx", ":1")]);
    }

    #[test]
    fn what_is_refused() {
        let mut shell = Shell::new();
        let refuses = |shell: &mut Shell, line: &str, text: &str| {
            assert_eq!(shell.run(line), format!("-ERR {text}"), "{line}");
        };
        let invalid = |name| format!("invalid expire time in '{name}' command");
        refuses(&mut shell, "expire k 9223372036854775807", &invalid("expire"));
        refuses(&mut shell, "expire k -9223372036854775808", &invalid("expire"));
        refuses(&mut shell, "expire k 9223372036854775", &invalid("expire"));
        refuses(&mut shell, "pexpire k 9223372036854775807", &invalid("pexpire"));
        refuses(&mut shell, "expireat k 9223372036854775807", &invalid("expireat"));
        refuses(&mut shell, "expire k x", "value is not an integer or out of range");
        refuses(&mut shell, "expire k x foo", "Unsupported option foo");
        let incompatible = "NX and XX, GT or LT options at the same time are not compatible";
        refuses(&mut shell, "expire k 1 nx xx", incompatible);
        refuses(&mut shell, "expire k 1 gt nx", incompatible);
        refuses(&mut shell, "expire k 1 gt lt", "GT and LT options at the same time are not compatible");
    }
}
