//! DUMP and RESTORE: a value as bytes that another server takes.

use super::{Args, Categories, Command, Ctx, Flags, Group, KeyFlags, KeySpec, Run};
use crate::keyspace::{Key, Usage, Value};
use crate::rdb::{self, Payload};
use crate::resp::Refusal;

const BASE: Command = Command { since: "2.6.0", extra_categories: Categories::KEYSPACE, ..Command::BASE };

pub const COMMANDS: &[Command] = &[DUMP, RESTORE, RESTORE_ASKING];

const DUMP: Command = Command {
    name: "dump",
    full_name: "dump",
    arity: 2,
    flags: Flags::READONLY,
    keys: &[KeySpec::at(1, KeyFlags::RO.union(KeyFlags::ACCESS))],
    run: Run::OneShard(dump),
    summary: "Returns a value in the form that RESTORE takes.",
    complexity: "O(N) in the size of the value",
    syntax: "key",
    tips: &["nondeterministic_output"],
    ..BASE
};

const RESTORE: Command = Command {
    name: "restore",
    full_name: "restore",
    arity: -4,
    flags: Flags::WRITE.union(Flags::DENYOOM),
    keys: &[KeySpec::at(1, KeyFlags::OW.union(KeyFlags::UPDATE))],
    run: Run::OneShard(restore),
    extra_categories: Categories::KEYSPACE.union(Categories::DANGEROUS),
    summary: "Makes a key of a value that DUMP returned.",
    complexity: "O(N) in the size of the value",
    syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    ..BASE
};

/// What one server of a cluster sends another for a key that moves.
const RESTORE_ASKING: Command = Command {
    name: "restore-asking",
    full_name: "restore-asking",
    flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::ASKING),
    group: Group::Server,
    since: "3.0.0",
    summary: "As RESTORE, for keys of a cluster that move.",
    ..RESTORE
};

fn dump(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let key = args.key()?;
    let (mut payload, compresses) = (Vec::new(), ctx.data.compresses);
    match ctx.read(&key) {
        Some(entry) => {
            rdb::write_payload(&mut payload, entry.value(), compresses);
            ctx.reply.bulk(&payload);
        }
        None => ctx.reply.null(),
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    usage: Option<Usage>,
}

impl Options {
    fn take(args: &mut Args) -> Result<Self, Refusal> {
        let mut options = Options::default();
        while !args.is_empty() {
            let (idle, frequency) = match options.usage {
                None => (true, true),
                Some(Usage::Idle(_)) => (true, false),
                Some(Usage::Frequency(_)) => (false, true),
            };
            let has_value = args.remaining() >= 2;
            if args.option("replace") {
                options.replace = true;
            } else if args.option("absttl") {
                options.absolute = true;
            } else if has_value && idle && args.option("idletime") {
                let seconds = u64::try_from(args.int()?);
                let refusal = |_| Refusal::err("Invalid IDLETIME value, must be >= 0");
                options.usage = Some(Usage::Idle(seconds.map_err(refusal)?));
            } else if has_value && frequency && args.option("freq") {
                let counter = u8::try_from(args.int()?);
                let refusal = |_| Refusal::err("Invalid FREQ value, must be >= 0 and <= 255");
                options.usage = Some(Usage::Frequency(counter.map_err(refusal)?));
            } else {
                return Err(Refusal::Syntax);
            }
        }
        Ok(options)
    }
}

/// What is wrong is told in the reference server's order: options, the key, the time to live, the payload.
fn restore(ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (key, ttl, bytes) = (args.key()?, args.take()?, args.take()?);
    let options = Options::take(args)?;
    let exists = ctx.lookup(&key).is_some();
    if exists && !options.replace {
        return Err(Refusal::Text("BUSYKEY Target key name already exists.".into()));
    }
    let ttl = crate::resp::parse_i64(ttl).ok_or(Refusal::NotInteger)?;
    if ttl < 0 {
        return Err(Refusal::err("Invalid TTL value, must be >= 0"));
    }
    let payload = Payload::open(bytes).ok_or(Refusal::err("DUMP payload version or checksum are wrong"))?;
    let value = payload.decode().map_err(|_| Refusal::err("Bad data format"))?;
    // A sum beyond all times wraps to one long past, as in the reference server.
    let at = if options.absolute { ttl } else { ttl.wrapping_add(ctx.now) };
    ctx.reply.ok();
    if ttl > 0 && ctx.has_come(at) {
        if ctx.remove(&key) {
            ctx.effect(&[b"DEL", key.bytes]);
        }
        return Ok(());
    }
    let expire = (ttl > 0).then_some(at);
    emit(ctx, &key, bytes, &payload, &value, expire, options.usage);
    ctx.put(&key, value, expire);
    if let Some(usage) = options.usage {
        ctx.set_usage(&key, usage);
    }
    Ok(())
}

/// The effect: whatever the key held before, it holds this now, until that time. In the version that is
/// written everywhere: not every reader of the log knows a later one.
fn emit(
    ctx: &mut Ctx,
    key: &Key,
    bytes: &[u8],
    payload: &Payload,
    value: &Value,
    expire: Option<i64>,
    usage: Option<Usage>,
) {
    let mut written = Vec::new();
    let bytes = if payload.version > rdb::VERSION {
        rdb::write_payload(&mut written, value.view(), ctx.data.compresses);
        &written
    } else {
        bytes
    };
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let time = time.format(expire.unwrap_or(0)).as_bytes();
    let restore: [&[u8]; 6] = [b"RESTORE", key.bytes, time, bytes, b"REPLACE", b"ABSTTL"];
    match usage {
        None => ctx.effect(&restore),
        Some(Usage::Idle(seconds)) => {
            ctx.effect(&[&restore[..], &[b"IDLETIME", count.format(seconds).as_bytes()]].concat());
        }
        Some(Usage::Frequency(counter)) => {
            ctx.effect(&[&restore[..], &[b"FREQ", count.format(counter).as_bytes()]].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Shell;
    use crate::keyspace::Access;

    /// A payload that a reference server of version 7.0 made of `x` a hundred times.
    const LONG: &[u8] = b"\0\xc3\x09\x40\x64\x01xx\xe0\x57\0\x01xx\x0a\0";

    fn dump(shell: &mut Shell, key: &str) -> Vec<u8> {
        let reply = shell.run_raw(&[b"dump", key.as_bytes()]);
        let start = reply.windows(2).position(|two| two == b"\r\n").expect("a bulk has a header") + 2;
        reply[start..reply.len() - 2].to_vec()
    }

    fn restore(shell: &mut Shell, key: &str, ttl: &str, payload: &[u8], options: &str) -> String {
        let fixed: [&[u8]; 4] = [b"restore", key.as_bytes(), ttl.as_bytes(), payload];
        let words: Vec<&[u8]> =
            fixed.into_iter().chain(options.split_whitespace().map(str::as_bytes)).collect();
        shell.run_bytes(&words)
    }

    #[test]
    fn dumps_are_those_of_the_reference() {
        let mut shell = Shell::new();
        shell.run(&format!("set long {}", "x".repeat(100)));
        let dumped = dump(&mut shell, "long");
        assert_eq!(dumped[..dumped.len() - 8], *LONG);
        assert_eq!(shell.run("dump none"), "$-1");
        assert_eq!((shell.data.hits, shell.data.misses), (1, 1));
        shell.run("set ten 10");
        assert_eq!(dump(&mut shell, "ten"), b"\0\xc0\x0a\x0a\0\x6e\x9f\x57\x45\x0e\xae\x63\xbb"[..]);
    }

    #[test]
    fn strings_are_compressed_if_they_shall_be() {
        let mut shell = Shell::new();
        shell.run(&format!("set long {}", "x".repeat(100)));
        let short = dump(&mut shell, "long");
        shell.data.compresses = false;
        let long = dump(&mut shell, "long");
        assert!(short.len() < 30 && long.len() > 100, "{} and {} bytes", short.len(), long.len());
        assert_eq!(restore(&mut shell, "new", "0", &long, ""), "+OK");
    }

    #[test]
    fn what_is_dumped_is_restored() {
        let mut shell = Shell::new();
        for value in ["\"\"", "1", "-129", "70000", "-2147483649", "hello", &"long ".repeat(50)] {
            let value = value.trim();
            shell.run(&format!("set k {}", value.replace(' ', "_")));
            let (dumped, got) = (dump(&mut shell, "k"), shell.run("get k"));
            let encoding = shell.run("object encoding k");
            assert_eq!(restore(&mut shell, "new", "0", &dumped, "replace"), "+OK", "{value}");
            assert_eq!(shell.run("get new"), got);
            assert_eq!(shell.run("object encoding new"), encoding);
            assert_eq!(shell.run("pttl new"), ":-1");
        }
    }

    #[test]
    fn expiry_and_replacement() {
        let mut shell = Shell::new();
        shell.run("set a 1");
        let one = dump(&mut shell, "a");
        let busy = "-BUSYKEY Target key name already exists.";
        assert_eq!(restore(&mut shell, "a", "x", b"", ""), busy);
        assert_eq!(restore(&mut shell, "a", "50", &one, "REPLACE"), "+OK");
        assert_eq!(shell.run("pttl a"), ":50");
        assert_eq!(restore(&mut shell, "b", "1000070", &one, "absttl"), "+OK");
        assert_eq!(shell.run("pttl b"), ":70");
        shell.effects();
        assert_eq!(restore(&mut shell, "b", "1000000", &one, "absttl replace"), "+OK");
        assert_eq!(restore(&mut shell, "c", "1", &one, "absttl"), "+OK");
        assert_eq!(restore(&mut shell, "a", "9223372036854775807", &one, "replace"), "+OK");
        assert_eq!(shell.run("exists a b c"), ":0");
        assert_eq!(shell.effects(), ["DEL b", "DEL a"]);
        shell.run("set a 1 px 10");
        shell.now += 10;
        assert_eq!(restore(&mut shell, "a", "0", &one, ""), "+OK");
    }

    #[test]
    fn effects_name_the_time_and_rebuild_the_value() {
        let (mut shell, mut copy) = (Shell::new(), Shell::new());
        shell.run("set a 1");
        let one = dump(&mut shell, "a");
        shell.run("del a");
        shell.effects();
        restore(&mut shell, "a", "50", &one, "");
        restore(&mut shell, "b", "0", &one, "idletime 5");
        restore(&mut shell, "b", "1000099", &one, "absttl replace freq 7");
        let effects = shell.effects();
        let rest: Vec<_> = effects.iter().map(|line| line.split(' ').collect::<Vec<_>>()).collect();
        assert_eq!(
            (rest[0][..3].join(" "), rest[0][4..].join(" ")),
            ("RESTORE a 1000050".to_owned(), "REPLACE ABSTTL".to_owned())
        );
        assert_eq!(rest[1][4..], ["REPLACE", "ABSTTL", "IDLETIME", "5"]);
        assert_eq!(rest[2][4..], ["REPLACE", "ABSTTL", "FREQ", "7"]);
        restore(&mut shell, "a", "50", &one, "replace");
        restore(&mut shell, "b", "0", LATER, "replace");
        copy.replay(&mut shell);
        assert_eq!(copy.content(), shell.content());
        assert_eq!(copy.run("get b"), "$1 v");
    }

    /// The string `v` as a server of the RDB version 80 dumps it.
    const LATER: &[u8] = b"\0\x01v\x50\0\x5e\x22\x07\x23\x87\x6a\xed\x3a";

    #[test]
    fn use_is_restored_as_the_policy_tracks_it() {
        let mut shell = Shell::new();
        shell.data.access = Access::Lru { now_ms: shell.now };
        shell.data.keyspace.set_birth(shell.data.access);
        shell.run("set a 1");
        let one = dump(&mut shell, "a");
        restore(&mut shell, "b", "0", &one, "IDLETIME 77");
        assert_eq!(shell.run("object idletime b"), ":77");
        restore(&mut shell, "b", "0", &one, "FREQ 77 replace");
        assert_eq!(shell.run("object idletime b"), ":0");
    }

    #[test]
    fn what_is_refused_in_which_order() {
        let mut shell = Shell::new();
        shell.run("set a 1");
        let one = dump(&mut shell, "a");
        let cases: &[(&str, &[u8], &str, &str)] = &[
            ("x", b"x", "what", "ERR syntax error"),
            ("x", b"x", "freq", "ERR syntax error"),
            ("x", b"x", "freq 1 idletime 1", "ERR syntax error"),
            ("x", b"x", "idletime -1", "ERR Invalid IDLETIME value, must be >= 0"),
            ("x", b"x", "freq 256", "ERR Invalid FREQ value, must be >= 0 and <= 255"),
            ("x", b"x", "freq x", "ERR value is not an integer or out of range"),
            ("x", b"x", "freq 1 freq 2", "ERR value is not an integer or out of range"),
            ("-1", b"x", "", "ERR Invalid TTL value, must be >= 0"),
            ("0", b"x", "", "ERR DUMP payload version or checksum are wrong"),
            ("0", b"", "", "ERR DUMP payload version or checksum are wrong"),
            ("0", &one[..one.len() - 1], "", "ERR DUMP payload version or checksum are wrong"),
        ];
        for (ttl, payload, options, text) in cases {
            assert_eq!(restore(&mut shell, "b", ttl, payload, options), format!("-{text}"), "{options}");
        }
        // Checked, but no value: cut off, too long, and a type that is none.
        for body in [&b""[..], b"\0", b"\0\x02a", b"\0\x01aa", b"\x63\x01a", b"\0\xc3\x01\x09a", b"\0\xc4"] {
            let mut payload = [body, b"\x0a\0"].concat();
            payload.extend_from_slice(&crate::rdb::Checksum::of(&payload).to_le_bytes());
            assert_eq!(restore(&mut shell, "b", "0", &payload, ""), "-ERR Bad data format", "{body:?}");
        }
        assert_eq!(shell.run("exists b"), ":0");
    }
}
