//! Rows of what Torc accepts but does not do: an existing `redis.conf` starts it, CONFIG GET shows the
//! values, nothing reads them. A value that asks for a missing feature refuses the start where going on
//! would break a promise (durability, replication, access), and is told in the log elsewhere.
//!
//! A row moves to `serving` with its feature.

use super::{Form, Setting};
use crate::config::form::{any_words, event_classes, oom_scores, shutdown_options};

/// Numbers that the reference server holds in a C `int`.
const INT: i64 = i32::MAX as i64;
const MIB: i64 = 1 << 20;

const SHUTDOWN: Form = Form::Words("default|save|nosave|now|force ...", shutdown_options);

/// A flag that is set.
const YES: fn(&str) -> bool = |text| text == "yes";
/// Any text at all.
const ANY: fn(&str) -> bool = |text| !text.is_empty();
const NONZERO: fn(&str) -> bool = |text| text != "0";

/// Whether a `user` line says more than that anyone may do anything, which a rewritten file always says.
fn restricts(rules: &str) -> bool {
    const OPEN: &[&str] =
        &["on", "nopass", "sanitize-payload", "~*", "&*", "+@all", "allkeys", "allchannels", "allcommands"];
    let mut words = rules.split(' ');
    let default = words.next() == Some("default");
    !(default && words.all(|rule| OPEN.contains(&rule)) && rules.contains(" nopass"))
}

pub const FILES: &[Setting] = &[
    Setting::kept(
        "include",
        Form::Words("path", any_words),
        "",
        "read another file here; * ? [] match several",
    )
    .file_only(),
    Setting::kept(
        "rename-command",
        Form::Words("command name", any_words),
        "",
        "give a command another name or none",
    )
    .file_only()
    .repeats()
    .refuse(ANY, "commands cannot be renamed yet, and a command meant to be hidden must not stay open"),
    Setting::kept("loadmodule", Form::Words("path argument ...", any_words), "", "load a module")
        .file_only()
        .repeats()
        .refuse(ANY, "there are no modules; remove the line"),
    Setting::kept(
        "user",
        Form::Words("name rule ...", any_words),
        "",
        "define a user of the access control list",
    )
    .file_only()
    .repeats()
    .refuse(restricts, "there are no users yet but the default one; use requirepass"),
    Setting::kept(
        "list-max-ziplist-entries",
        Form::Words("number", any_words),
        "",
        "of old files; without meaning",
    )
    .file_only(),
    Setting::kept(
        "list-max-ziplist-value",
        Form::Words("number", any_words),
        "",
        "of old files; without meaning",
    )
    .file_only(),
    Setting::kept(
        "lua-replicate-commands",
        Form::Words("yes|no", any_words),
        "",
        "of old files; without meaning",
    )
    .file_only(),
];

pub const PROCESS: &[Setting] = &[
    Setting::kept("daemonize", Form::Flag, "no", "leave the terminal")
        .fixed()
        .warn(YES, "the server stays in the foreground; let systemd or a shell put it behind"),
    Setting::kept("always-show-logo", Form::Flag, "no", "print a logo").fixed(),
    Setting::kept("set-proc-title", Form::Flag, "yes", "show the state in the process list").fixed(),
    Setting::kept(
        "proc-title-template",
        Form::Text,
        "{title} {listen-addr} {server-mode}",
        "what the process list shows",
    ),
    Setting::kept("syslog-enabled", Form::Flag, "no", "log to the system log")
        .fixed()
        .warn(YES, "the log goes to logfile or standard error"),
    Setting::kept("syslog-ident", Form::Text, "torc", "name in the system log").fixed(),
    Setting::kept(
        "syslog-facility",
        Form::OneOf(&[
            "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        ]),
        "local0",
        "facility of the system log",
    )
    .fixed(),
    Setting::kept(
        "log-format",
        Form::OneOf(&["legacy", "logfmt", "json"]),
        "legacy",
        "form of the log lines",
    )
    .warn(|form| form != "legacy", "log lines have one form"),
    Setting::kept(
        "log-timestamp-format",
        Form::OneOf(&["legacy", "iso8601", "milliseconds"]),
        "legacy",
        "form of the time in the log",
    ),
    Setting::kept("hide-user-data-from-log", Form::Flag, "yes", "keep keys and values out of the log"),
    Setting::kept("crash-log-enabled", Form::Flag, "yes", "write a report of a crash"),
    Setting::kept("crash-memcheck-enabled", Form::Flag, "yes", "test the memory after a crash"),
    Setting::kept("shutdown-on-sigint", SHUTDOWN, "default", "how to shut down on SIGINT")
        .warn(|how| how != "default", "it saves as the save points say"),
    Setting::kept("shutdown-on-sigterm", SHUTDOWN, "default", "how to shut down on SIGTERM")
        .warn(|how| how != "default", "it saves as the save points say"),
    Setting::kept(
        "oom-score-adj",
        Form::OneOf(&["no", "yes", "relative", "absolute"]),
        "no",
        "tell the kernel whom to kill first",
    )
    .warn(|how| how != "no", "the score is left alone; use OOMScoreAdjust= of systemd"),
    Setting::kept(
        "oom-score-adj-values",
        Form::Words("primary replica child", oom_scores),
        "0 200 800",
        "the scores",
    ),
    Setting::kept("disable-thp", Form::Flag, "yes", "no huge pages for this process").fixed(),
    Setting::kept("jemalloc-bg-thread", Form::Flag, "yes", "free memory in a thread of the allocator"),
    Setting::kept("activedefrag", Form::Flag, "no", "move values to close gaps in memory")
        .warn(YES, "values are not moved; freed memory goes back to the system by itself"),
    Setting::kept(
        "active-defrag-ignore-bytes",
        Form::Memory(1, i64::MAX),
        "100mb",
        "gaps that are left alone",
    ),
    Setting::kept(
        "active-defrag-threshold-lower",
        Form::Number(0, 1000),
        "10",
        "percent of gaps at which to start",
    ),
    Setting::kept(
        "active-defrag-threshold-upper",
        Form::Number(0, 1000),
        "100",
        "percent of gaps at which to hurry",
    ),
    Setting::kept("active-defrag-cycle-min", Form::Number(1, 99), "1", "percent of CPU at the start"),
    Setting::kept("active-defrag-cycle-max", Form::Number(1, 99), "25", "percent of CPU in a hurry"),
    Setting::kept("active-defrag-cycle-us", Form::Number(0, 100000), "500", "microseconds of one step"),
    Setting::kept(
        "active-defrag-max-scan-fields",
        Form::Number(1, i64::MAX),
        "1000",
        "members moved in one step",
    ),
    Setting::kept("io-threads", Form::Number(1, 256), "1", "threads for sockets; Torc has shards instead")
        .fixed(),
    Setting::kept("io-threads-do-reads", Form::Flag, "no", "threads read too; Torc has shards instead")
        .fixed(),
    Setting::kept(
        "events-per-io-thread",
        Form::Number(0, INT),
        "2",
        "of threads for sockets; Torc has shards instead",
    ),
    Setting::kept(
        "prefetch-batch-max-size",
        Form::Number(0, 128),
        "16",
        "keys fetched ahead; Torc fetches a whole batch",
    ),
    Setting::kept(
        "max-new-connections-per-cycle",
        Form::Number(1, 1000),
        "10",
        "connections accepted in one turn",
    ),
    Setting::kept(
        "max-new-tls-connections-per-cycle",
        Form::Number(1, 1000),
        "1",
        "TLS connections accepted in one turn",
    ),
    Setting::kept(
        "maxmemory-clients",
        Form::MemoryOrPercent,
        "0",
        "bytes of all client buffers at which clients are closed",
    )
    .warn(NONZERO, "only client-output-buffer-limit and client-query-buffer-limit close clients"),
    Setting::kept("socket-mark-id", Form::Number(0, u32::MAX as i64), "0", "mark of the listening sockets")
        .fixed()
        .warn(NONZERO, "sockets are not marked"),
    Setting::kept("unixsocketgroup", Form::Text, "", "group of the Unix socket")
        .fixed()
        .warn(ANY, "the group is left alone"),
    Setting::kept("mptcp", Form::Flag, "no", "listen for multipath TCP")
        .fixed()
        .warn(YES, "connections are plain TCP"),
    Setting::kept("rdma-bind", Form::Text, "", "addresses for RDMA").fixed().warn(ANY, "there is no RDMA"),
    Setting::kept("rdma-port", Form::Number(0, 65535), "0", "port for RDMA")
        .fixed()
        .warn(NONZERO, "there is no RDMA"),
    Setting::kept("rdma-rx-size", Form::Number(64 * 1024, 16 * MIB), "1048576", "buffer of RDMA").fixed(),
    Setting::kept("rdma-completion-vector", Form::Number(-1, 1024), "-1", "completion vector of RDMA")
        .fixed(),
    Setting::kept("bind-source-addr", Form::Text, "", "address of connections to a primary"),
    Setting::kept(
        "latency-monitor-threshold",
        Form::Number(0, i64::MAX),
        "0",
        "milliseconds from which LATENCY remembers an event",
    )
    .warn(NONZERO, "events are not remembered; LATENCY HISTOGRAM is always there"),
    Setting::kept(
        "commandlog-request-larger-than",
        Form::Number(-1, i64::MAX),
        "1048576",
        "bytes of a request to remember",
    ),
    Setting::kept(
        "commandlog-large-request-max-len",
        Form::Number(0, i64::MAX),
        "128",
        "large requests to remember",
    ),
    Setting::kept(
        "commandlog-reply-larger-than",
        Form::Number(-1, i64::MAX),
        "1048576",
        "bytes of a reply to remember",
    ),
    Setting::kept(
        "commandlog-large-reply-max-len",
        Form::Number(0, i64::MAX),
        "128",
        "large replies to remember",
    ),
    Setting::kept(
        "notify-keyspace-events",
        Form::Words("classes", event_classes),
        "",
        "changes that are published",
    )
    .warn(ANY, "changes are not published yet"),
    Setting::kept(
        "tracking-table-max-keys",
        Form::Number(0, i64::MAX),
        "1000000",
        "keys remembered for client-side caching",
    ),
    Setting::kept(
        "busy-reply-threshold",
        Form::Number(0, i64::MAX),
        "5000",
        "milliseconds after which a script makes others wait no longer",
    )
    .alias("lua-time-limit"),
    Setting::kept("ignore-warnings", Form::Text, "", "warnings to leave out"),
    Setting::kept("locale-collate", Form::Text, "", "order of words for SORT"),
    Setting::kept("availability-zone", Form::Text, "", "where the machine stands, for INFO"),
    Setting::kept(
        "extended-redis-compatibility",
        Form::Flag,
        "no",
        "call itself by the name of the reference server",
    ),
    Setting::kept("import-mode", Form::Flag, "no", "take data in without expiring it")
        .warn(YES, "keys expire as always"),
    Setting::kept("enable-module-command", Form::OneOf(&["no", "yes", "local"]), "no", "who may call MODULE")
        .fixed(),
    Setting::kept(
        "enable-protected-configs",
        Form::OneOf(&["no", "yes", "local"]),
        "no",
        "who may CONFIG SET paths",
    )
    .fixed()
    .warn(|who| who != "no", "paths cannot be set at run time"),
    Setting::kept("bio-cpulist", Form::Text, "", "CPUs of background threads; Torc has log-cpulist")
        .alias("bio_cpulist")
        .fixed(),
    Setting::kept("aof-rewrite-cpulist", Form::Text, "", "CPUs of a log rewrite; Torc has log-cpulist")
        .alias("aof_rewrite_cpulist")
        .fixed(),
    Setting::kept("bgsave-cpulist", Form::Text, "", "CPUs of a snapshot; Torc has log-cpulist")
        .alias("bgsave_cpulist")
        .fixed(),
];

pub const TUNING: &[Setting] = &[
    Setting::kept("hash-max-listpack-entries", Form::Number(0, i64::MAX), "512", "fields of a packed hash")
        .alias("hash-max-ziplist-entries"),
    Setting::kept(
        "hash-max-listpack-value",
        Form::Memory(0, i64::MAX),
        "64",
        "bytes of a value of a packed hash",
    )
    .alias("hash-max-ziplist-value"),
    Setting::kept(
        "list-max-listpack-size",
        Form::Number(i32::MIN as i64, INT),
        "-2",
        "entries of a node of a list, or its size class",
    )
    .alias("list-max-ziplist-size"),
    Setting::kept(
        "list-compress-depth",
        Form::Number(0, INT),
        "0",
        "nodes at the ends of a list that stay plain",
    ),
    Setting::kept(
        "set-max-intset-entries",
        Form::Number(0, i64::MAX),
        "512",
        "members of a packed set of numbers",
    ),
    Setting::kept("set-max-listpack-entries", Form::Number(0, i64::MAX), "128", "members of a packed set"),
    Setting::kept(
        "set-max-listpack-value",
        Form::Number(0, i64::MAX),
        "64",
        "bytes of a member of a packed set",
    ),
    Setting::kept(
        "zset-max-listpack-entries",
        Form::Number(0, i64::MAX),
        "128",
        "members of a packed sorted set",
    )
    .alias("zset-max-ziplist-entries"),
    Setting::kept(
        "zset-max-listpack-value",
        Form::Memory(0, i64::MAX),
        "64",
        "bytes of a member of a packed sorted set",
    )
    .alias("zset-max-ziplist-value"),
    Setting::kept("hll-sparse-max-bytes", Form::Memory(0, i64::MAX), "3000", "bytes of a sparse HyperLogLog"),
    Setting::kept("stream-node-max-bytes", Form::Memory(0, i64::MAX), "4096", "bytes of a node of a stream"),
    Setting::kept(
        "stream-node-max-entries",
        Form::Number(0, i64::MAX),
        "100",
        "entries of a node of a stream",
    ),
    Setting::kept("hash-seed", Form::Text, "", "seed of the hash function").fixed(),
    Setting::kept("vset-force-single-threaded-execution", Form::Flag, "no", "search vectors on one thread"),
    Setting::kept("activerehashing", Form::Flag, "yes", "grow tables between commands; Torc always does"),
    Setting::kept("dynamic-hz", Form::Flag, "yes", "more periodic work with more clients"),
    Setting::kept("lazyfree-lazy-eviction", Form::Flag, "yes", "free big values in slices; Torc always does"),
    Setting::kept("lazyfree-lazy-expire", Form::Flag, "yes", "free big values in slices; Torc always does"),
    Setting::kept(
        "lazyfree-lazy-server-del",
        Form::Flag,
        "yes",
        "free big values in slices; Torc always does",
    ),
    Setting::kept("lazyfree-lazy-user-del", Form::Flag, "yes", "free big values in slices; Torc always does"),
    Setting::kept(
        "lazyfree-lazy-user-flush",
        Form::Flag,
        "yes",
        "free big values in slices; Torc always does",
    ),
    Setting::kept("maxmemory-samples", Form::Number(1, 64), "5", "keys compared to find one to evict"),
    Setting::kept(
        "maxmemory-eviction-tenacity",
        Form::Number(0, 100),
        "10",
        "how long eviction may keep a command waiting",
    ),
];

pub const PERSISTENCE: &[Setting] = &[
    Setting::kept("rdb-del-sync-files", Form::Flag, "no", "remove snapshots made for replicas"),
    Setting::kept("rdb-save-incremental-fsync", Form::Flag, "yes", "flush a snapshot in steps"),
    Setting::kept(
        "rdb-version-check",
        Form::OneOf(&["strict", "relaxed"]),
        "strict",
        "whether newer snapshots are read",
    ),
    Setting::kept(
        "sanitize-dump-payload",
        Form::OneOf(&["no", "yes", "clients"]),
        "no",
        "check values of RESTORE deeply; they always are",
    ),
    Setting::kept("no-appendfsync-on-rewrite", Form::Flag, "no", "do not flush while rewriting"),
    Setting::kept("aof-use-rdb-preamble", Form::Flag, "yes", "begin the file with a snapshot")
        .warn(|text| text == "no", "the append-only file always begins with a snapshot"),
    Setting::kept("aof-timestamp-enabled", Form::Flag, "no", "write the time into the file")
        .warn(YES, "no time is written into the append-only file"),
    Setting::kept("aof-rewrite-incremental-fsync", Form::Flag, "yes", "flush a rewrite in steps"),
    Setting::kept("aof-disable-auto-gc", Form::Flag, "no", "keep old append-only files")
        .warn(YES, "old files go once nothing needs them; repl-backlog-disk-size says how many are kept"),
];

pub const REPLICATION: &[Setting] = &[
    Setting::kept("replica-lazy-flush", Form::Flag, "yes", "empty a replica in slices; Torc always does")
        .alias("slave-lazy-flush"),
    Setting::kept("replica-ignore-maxmemory", Form::Flag, "yes", "leave eviction to the primary")
        .alias("slave-ignore-maxmemory"),
    Setting::kept("replica-ignore-disk-write-errors", Form::Flag, "no", "go on when the disk fails"),
    Setting::kept(
        "replica-full-sync-buffer-limit",
        Form::Memory(0, i64::MAX),
        "0",
        "bytes a replica may collect during a full sync",
    ),
    Setting::kept("repl-mptcp", Form::Flag, "no", "multipath TCP to the primary").fixed(),
    Setting::kept(
        "dual-channel-replication-enabled",
        Form::Flag,
        "no",
        "snapshot and changes on two connections",
    ),
    Setting::kept(
        "propagation-error-behavior",
        Form::OneOf(&["ignore", "panic", "panic-on-replicas"]),
        "ignore",
        "what follows an error in the stream",
    ),
    Setting::kept("cluster-enabled", Form::Flag, "no", "be a node of a cluster").fixed().refuse(
        YES,
        "the cluster protocol is not there yet; all slots are served by the cores of this process",
    ),
    Setting::kept("cluster-config-file", Form::Text, "nodes.conf", "file of the cluster state").fixed(),
    Setting::kept(
        "cluster-node-timeout",
        Form::Number(0, i64::MAX),
        "15000",
        "milliseconds after which a node is lost",
    ),
    Setting::kept("cluster-port", Form::Number(0, 65535), "0", "port of the cluster bus").fixed(),
    Setting::kept("cluster-databases", Form::Number(1, INT), "1", "databases in a cluster").fixed(),
    Setting::kept(
        "cluster-replica-validity-factor",
        Form::Number(0, INT),
        "10",
        "how stale a replica may be for a failover",
    )
    .alias("cluster-slave-validity-factor"),
    Setting::kept("cluster-replica-no-failover", Form::Flag, "no", "never become primary")
        .alias("cluster-slave-no-failover"),
    Setting::kept("cluster-allow-replica-migration", Form::Flag, "yes", "move replicas to primaries without"),
    Setting::kept("cluster-migration-barrier", Form::Number(0, INT), "1", "replicas a primary keeps"),
    Setting::kept("cluster-require-full-coverage", Form::Flag, "yes", "stop when a slot has no node"),
    Setting::kept("cluster-allow-reads-when-down", Form::Flag, "no", "read when the cluster is down"),
    Setting::kept(
        "cluster-allow-pubsubshard-when-down",
        Form::Flag,
        "yes",
        "publish when the cluster is down",
    ),
    Setting::kept("cluster-link-sendbuf-limit", Form::Memory(0, i64::MAX), "0", "unsent bytes of a link"),
    Setting::kept("cluster-announce-ip", Form::Text, "", "address told to others"),
    Setting::kept("cluster-announce-port", Form::Number(0, 65535), "0", "port told to others"),
    Setting::kept("cluster-announce-tls-port", Form::Number(0, 65535), "0", "TLS port told to others"),
    Setting::kept("cluster-announce-bus-port", Form::Number(0, 65535), "0", "bus port told to others"),
    Setting::kept("cluster-announce-hostname", Form::Text, "", "host name told to others"),
    Setting::kept("cluster-announce-human-nodename", Form::Text, "", "name of the node in the log"),
    Setting::kept("cluster-announce-client-ipv4", Form::Text, "", "IPv4 address told to clients"),
    Setting::kept("cluster-announce-client-ipv6", Form::Text, "", "IPv6 address told to clients"),
    Setting::kept("cluster-announce-client-port", Form::Number(0, 65535), "0", "port told to clients"),
    Setting::kept(
        "cluster-announce-client-tls-port",
        Form::Number(0, 65535),
        "0",
        "TLS port told to clients",
    ),
    Setting::kept(
        "cluster-preferred-endpoint-type",
        Form::OneOf(&["ip", "hostname", "unknown-endpoint"]),
        "ip",
        "how nodes are named to clients",
    ),
    Setting::kept(
        "cluster-blacklist-ttl",
        Form::Number(i64::MIN, i64::MAX),
        "60",
        "seconds a forgotten node stays away",
    ),
    Setting::kept(
        "cluster-compatibility-sample-ratio",
        Form::Number(0, 100),
        "0",
        "percent of commands checked for use in a cluster",
    ),
    Setting::kept(
        "cluster-config-save-behavior",
        Form::OneOf(&["sync", "best-effort"]),
        "sync",
        "whether the state file must be written",
    ),
    Setting::kept(
        "cluster-manual-failover-timeout",
        Form::Number(1, INT),
        "5000",
        "milliseconds of a manual failover",
    ),
    Setting::kept(
        "cluster-slot-migration-log-max-len",
        Form::Number(0, i64::MAX),
        "1000",
        "slot migrations to remember",
    ),
    Setting::kept("cluster-slot-stats-enabled", Form::Flag, "no", "count per slot"),
    Setting::kept(
        "slot-migration-max-failover-repl-bytes",
        Form::Number(-1, i64::MAX),
        "0",
        "bytes left at which a slot moves over",
    ),
];

pub const ACCESS: &[Setting] = &[
    Setting::kept("aclfile", Form::Text, "", "file of the access control list")
        .fixed()
        .refuse(ANY, "there are no users yet but the default one; use requirepass"),
    Setting::kept("acllog-max-len", Form::Number(0, i64::MAX), "128", "refused accesses to remember"),
    Setting::kept(
        "acl-pubsub-default",
        Form::OneOf(&["allchannels", "resetchannels"]),
        "resetchannels",
        "channels of a new user",
    ),
    Setting::kept("tls-port", Form::Number(0, 65535), "0", "port for TLS")
        .fixed()
        .refuse(NONZERO, "there is no TLS yet; put stunnel or a proxy in front"),
    Setting::kept("tls-cert-file", Form::Text, "", "certificate"),
    Setting::kept("tls-key-file", Form::Text, "", "private key"),
    Setting::kept("tls-key-file-pass", Form::Text, "", "password of the private key"),
    Setting::kept("tls-client-cert-file", Form::Text, "", "certificate towards a primary"),
    Setting::kept("tls-client-key-file", Form::Text, "", "private key towards a primary"),
    Setting::kept("tls-client-key-file-pass", Form::Text, "", "password of that key"),
    Setting::kept("tls-dh-params-file", Form::Text, "", "Diffie-Hellman parameters"),
    Setting::kept("tls-ca-cert-file", Form::Text, "", "certificates of the authorities"),
    Setting::kept("tls-ca-cert-dir", Form::Text, "", "directory of such certificates"),
    Setting::kept("tls-protocols", Form::Text, "", "versions of TLS"),
    Setting::kept("tls-ciphers", Form::Text, "", "ciphers up to TLS 1.2"),
    Setting::kept("tls-ciphersuites", Form::Text, "", "ciphers of TLS 1.3"),
    Setting::kept(
        "tls-auth-clients",
        Form::OneOf(&["no", "yes", "optional"]),
        "yes",
        "whether clients show a certificate",
    ),
    Setting::kept("tls-auth-clients-user", Form::Text, "off", "user name from the certificate"),
    Setting::kept("tls-replication", Form::Flag, "no", "TLS to the primary"),
    Setting::kept("tls-cluster", Form::Flag, "no", "TLS on the cluster bus"),
    Setting::kept("tls-prefer-server-ciphers", Form::Flag, "no", "the server chooses the cipher"),
    Setting::kept("tls-session-caching", Form::Flag, "yes", "resume sessions"),
    Setting::kept("tls-session-cache-size", Form::Number(0, INT), "20480", "sessions to resume"),
    Setting::kept(
        "tls-session-cache-timeout",
        Form::Number(0, INT),
        "300",
        "seconds a session can be resumed",
    ),
    Setting::kept(
        "tls-auto-reload-interval",
        Form::Number(0, i64::MAX),
        "0",
        "seconds between looks at the certificate",
    ),
];
