//! Command lines and files, as strings.

use super::*;
use std::fs;

/// Loads a command line whose words are separated by blanks, with `input` behind `-`.
fn try_load(line: &str, input: &str) -> Result<Loaded, String> {
    let words: Vec<OsString> = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
    load_with(words.into_iter(), &mut input.as_bytes()).map_err(|error| error.to_string())
}

fn text(line: &str, input: &str) -> Result<Settings, String> {
    try_load(line, input).map(|loaded| loaded.settings)
}

fn error(line: &str, input: &str) -> String {
    try_load(line, input).expect_err("must not load")
}

#[test]
fn command_line_over_file_over_default() {
    let settings = text("- --port 7000 --bind 127.0.0.1 -::1", "port 6500\nTIMEOUT 9\n").unwrap();
    assert_eq!((settings.port, settings.timeout, settings.hz), (7000, 9, 10));
    assert_eq!(settings.bind, ["127.0.0.1", "-::1"]);
    assert_eq!(text("--timeout 3 -", "timeout 1").unwrap().timeout, 3);
}

#[test]
fn command_line_forms_of_the_reference_server() {
    let one_word = [OsString::from("--port 7001"), OsString::from("--requirepass"), OsString::from("--x y")];
    let settings = load_with(one_word.into_iter(), &mut "".as_bytes()).unwrap().settings;
    assert_eq!((settings.port, settings.requirepass.as_str()), (7001, "--x y"));
    assert_eq!(text("--save --timeout 5", "").unwrap().timeout, 5);
    assert_eq!(text("--SAVE", "").unwrap().get("save").unwrap(), "");
    assert_eq!(text("--slaveof no one", "").unwrap().get("replicaof").unwrap(), "");
}

#[test]
fn help_and_version_are_not_errors() {
    for line in ["--help", "-h", "--version", "-v"] {
        let asked = load_with([OsString::from(line)].into_iter(), &mut "".as_bytes()).unwrap_err();
        assert_eq!(asked.exit_code(), 0, "{line}");
        assert!(asked.to_string().contains("torc-server"), "{line}");
    }
}

#[test]
fn errors_name_place_directive_and_remedy() {
    let cases = [
        ("- ", "port 1\n\nprot 2", "standard input:3: unknown directive 'prot'; did you mean 'port'?"),
        (
            "--port=7123",
            "",
            "command line: unknown directive 'port=7123'; write the value as a word of its own: port 7123",
        ),
        (
            "--zzzzzzzzzz 1",
            "",
            "command line: unknown directive 'zzzzzzzzzz'; remove it, or see torc-server --help for those there are",
        ),
        (
            "--port x",
            "",
            "command line: port x: argument couldn't be parsed into an integer; expected: port 0..65535",
        ),
        ("--port 1 2", "", "command line: port 1 2: wrong number of arguments; expected: port 0..65535"),
        ("--timeout", "", "command line: timeout: wrong number of arguments; expected: timeout number"),
        (
            "--unixsocketperm 999",
            "",
            "command line: unixsocketperm 999: argument couldn't be parsed as an octal number; expected: unixsocketperm mode",
        ),
        (
            "- ",
            "port \"1",
            "standard input:1: quotes do not close in: port \"1; close them, and leave a blank behind",
        ),
        ("- ", "requirepass \"\\xff\"", "standard input:1: not UTF-8 text; save the file as UTF-8"),
        (
            "-x",
            "",
            "command line: '-x' is out of place; write torc-server [file | -] [--directive value ...]",
        ),
        (
            "/nonexistent.conf",
            "",
            "/nonexistent.conf: cannot be read (No such file or directory (os error 2)); correct the path or its permissions",
        ),
        (
            "- ",
            "include /nonexistent.conf",
            "standard input:1: include /nonexistent.conf: cannot be read (No such file or directory (os error 2)); correct the path or its permissions",
        ),
    ];
    for (line, input, expected) in cases {
        assert_eq!(error(line, input), expected);
    }
}

#[test]
fn includes_are_read_in_place_and_may_not_circle() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("a.d.1.conf", "timeout 1\nhz 20\n");
    write("a.d.2.conf", "timeout 2\n");
    write("own.conf", "maxclients 5\n");
    let here = dir.path().display();
    write(
        "main.conf",
        &format!("include {here}/a.d.*.conf\ninclude {here}/none*\ndir {here}\ninclude own.conf\nport 1\n"),
    );
    let main = format!("{here}/main.conf");
    let loaded = try_load(&format!("{main} --port 2"), "").unwrap();
    let settings = loaded.settings;
    assert_eq!((settings.timeout, settings.hz, settings.maxclients, settings.port), (2, 20, 5, 2));
    assert_eq!(loaded.file.unwrap(), Path::new(&main));
    assert_eq!(settings.get("dir").unwrap(), here.to_string());

    write("x.conf", &format!("# first\ninclude {here}/y.conf\n"));
    write("y.conf", &format!("include {here}/x.conf\n"));
    let expected =
        format!("{here}/y.conf:1: include {here}/x.conf: the file includes itself; break the circle");
    assert_eq!(error(&format!("{here}/x.conf"), ""), expected);
}

#[test]
fn repeated_directives_add_up_where_the_reference_adds() {
    let settings = text(
        "-",
        "client-output-buffer-limit normal 1mb 1kb 5\nclient-output-buffer-limit pubsub 1 2 3\ntimeout 1\ntimeout 2",
    );
    let settings = settings.unwrap();
    let limits = settings.client_output_buffer_limit;
    assert_eq!((limits.normal.hard, limits.pubsub.soft, limits.replica.hard), (1 << 20, 2, 256 << 20));
    assert_eq!(settings.timeout, 2);
    assert_eq!(text("-", "save 900 1\nsave 300 10\nsave \"\"").unwrap().get("save").unwrap(), "");
    assert!(error("-", "save \"\"\nsave 900 1\nsave 300 10").contains("save 900 1 300 10: snapshots"));
}

#[test]
fn durability_and_access_are_never_pretended() {
    let refused = [
        "appendonly yes",
        "save 900 1",
        "replicaof 127.0.0.1 1",
        "slaveof 127.0.0.1 1",
        "cluster-enabled yes",
        "tls-port 1",
        "aclfile /x",
        "user a on",
        "rename-command FLUSHALL \"\"",
        "loadmodule /x.so",
        "min-slaves-to-write 1",
    ];
    for line in refused {
        let error = error("-", line);
        assert!(error.starts_with("standard input:1: "), "{error}");
        assert!(!error.contains('\n'));
    }
    let both = error("-", "appendonly yes\ntls-port 6380");
    assert!(
        both.starts_with("standard input:1: appendonly yes: ") && both.ends_with("either: tls-port)"),
        "{both}"
    );
    assert!(text("- --appendonly no --tls-port 0", "appendonly yes\ntls-port 6380").is_ok());
    assert!(text("-", "user default on nopass sanitize-payload ~* &* +@all\naclfile \"\"").is_ok());
}

#[test]
fn what_has_no_effect_is_told_in_one_line() {
    let loaded =
        try_load("-", "syslog-enabled yes\nhz 5\nmaxmemory-policy allkeys-lru\nactivedefrag no").unwrap();
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert!(warning.contains("syslog-enabled (standard input:1): "), "{warning}");
    assert!(
        warning.contains("maxmemory-policy (standard input:3): ") && !warning.contains("hz"),
        "{warning}"
    );
    assert!(try_load("-", "hz 5").unwrap().warnings.is_empty());
}

/// The directives that a distribution's file sets, in its order.
const DISTRIBUTION: &str = "\
# comment

bind 127.0.0.1 -::1
protected-mode yes
port 6379
tcp-backlog 511
timeout 0
tcp-keepalive 300
daemonize yes
pidfile /run/redis/redis-server.pid
loglevel notice
logfile /var/log/redis/redis-server.log
databases 16
always-show-logo no
set-proc-title yes
proc-title-template \"{title} {listen-addr} {server-mode}\"
stop-writes-on-bgsave-error yes
rdbcompression yes
dbfilename dump.rdb
dir /var/lib/redis
replica-serve-stale-data yes
repl-diskless-sync-delay 5
repl-diskless-load disabled
acllog-max-len 128
lazyfree-lazy-eviction no
oom-score-adj no
oom-score-adj-values 0 200 800
disable-thp yes
appendonly no
appendfilename \"appendonly.aof\"
appendfsync everysec
auto-aof-rewrite-min-size 64mb
slowlog-log-slower-than 10000
notify-keyspace-events \"\"
hash-max-listpack-entries 512
list-max-listpack-size -2
client-output-buffer-limit normal 0 0 0
client-output-buffer-limit replica 256mb 64mb 60
client-output-buffer-limit pubsub 32mb 8mb 60
hz 10
dynamic-hz yes
jemalloc-bg-thread yes
";

#[test]
fn a_distributions_file_starts_the_server() {
    let loaded = try_load("-", DISTRIBUTION).unwrap();
    assert_eq!(loaded.settings.logfile.as_deref(), Some(Path::new("/var/log/redis/redis-server.log")));
    assert_eq!(loaded.settings.get("auto-aof-rewrite-min-size").unwrap(), "67108864");
    assert!(loaded.warnings.len() == 1 && loaded.warnings[0].contains("daemonize"), "{:?}", loaded.warnings);
    let as_a_service = try_load("- --supervised systemd --daemonize no", DISTRIBUTION).unwrap();
    assert!(as_a_service.warnings.is_empty());
}
