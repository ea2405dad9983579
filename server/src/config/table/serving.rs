//! Rows of what Torc does: each names a field that another room reads (a test looks for the reader).

use super::{Form, Home, Setting};
use crate::config::values::names;
use crate::limits;

/// Numbers that the reference server holds in a C `int`.
const INT: i64 = i32::MAX as i64;
const MIB: i64 = 1 << 20;

pub const NETWORK: &[Setting] = &[
    Setting::server(
        "port",
        Form::Number(0, 65535),
        Home::Number(|s| &mut s.port),
        "6379",
        "TCP port; 0: no TCP",
    )
    .fixed(),
    Setting::server(
        "bind",
        Form::Shape("address ..."),
        Home::Custom(|s| &mut s.bind),
        "* -::*",
        "addresses to listen on; -address: skip it where the machine has it not",
    )
    .fixed(),
    Setting::server(
        "unixsocket",
        Form::Text,
        Home::Path(|s| &mut s.unixsocket),
        "",
        "path of a Unix socket to listen on",
    )
    .fixed(),
    Setting::server(
        "unixsocketperm",
        Form::Octal(0o777),
        Home::Number(|s| &mut s.unixsocketperm),
        "0",
        "mode bits of the Unix socket in octal; 0: as the umask says",
    )
    .fixed(),
    Setting::server(
        "tcp-backlog",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.tcp_backlog),
        "511",
        "connections the kernel may hold ready to accept",
    )
    .fixed(),
    Setting::server(
        "tcp-keepalive",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.tcp_keepalive),
        "300",
        "seconds of silence before a connection is probed; 0: never",
    ),
    Setting::server(
        "timeout",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.timeout),
        "0",
        "seconds after which an idle client is disconnected; 0: never",
    ),
    Setting::server(
        "protected-mode",
        Form::Flag,
        Home::Flag(|s| &mut s.protected_mode),
        "yes",
        "without a password, turn away clients of other machines",
    ),
];

pub const CLIENTS: &[Setting] = &[
    Setting::server(
        "maxclients",
        Form::Number(1, u32::MAX as i64),
        Home::Number(|s| &mut s.maxclients),
        "10000",
        "most clients at once",
    ),
    Setting::server(
        "requirepass",
        Form::Text,
        Home::Text(|s| &mut s.requirepass),
        "",
        "password that clients give with AUTH",
    ),
    Setting::server(
        "enable-debug-command",
        Form::Choice(names::<super::super::DebugCommand>),
        Home::Choice(|s| &mut s.enable_debug_command),
        "no",
        "who may call DEBUG",
    )
    .fixed(),
    Setting::server(
        "databases",
        // Every database costs tables on every shard: a typing error shall not eat the machine.
        Form::Number(1, 65536),
        Home::Number(|s| &mut s.databases),
        "16",
        "databases that SELECT can choose from",
    )
    .fixed(),
    Setting::server(
        "proto-max-bulk-len",
        Form::Memory(MIB, i64::MAX),
        Home::Number(|s| &mut s.proto_max_bulk_len),
        "512mb",
        "longest single argument",
    ),
    Setting::server(
        "client-query-buffer-limit",
        Form::Memory(MIB, i64::MAX),
        Home::Number(|s| &mut s.client_query_buffer_limit),
        "1gb",
        "most unread bytes of one client",
    ),
    Setting::server(
        "client-output-buffer-limit",
        Form::Shape("class hard soft seconds ..."),
        Home::Custom(|s| &mut s.client_output_buffer_limit),
        "normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60",
        "unsent bytes at which a client of a class (normal, replica, pubsub) is disconnected",
    ),
];

pub const MEMORY: &[Setting] = &[
    Setting::server(
        "maxmemory",
        Form::Memory(0, i64::MAX),
        Home::Number(|s| &mut s.maxmemory),
        "0",
        "bytes of data at which writes are refused; 0: no limit",
    ),
    Setting::server(
        "maxmemory-policy",
        Form::Choice(names::<super::super::MaxmemoryPolicy>),
        Home::Choice(|s| &mut s.maxmemory_policy),
        "noeviction",
        "what gives way at maxmemory, and whether keys count accesses (lfu) or remember the last (others)",
    )
    .warn(|policy| policy != "noeviction", "nothing is evicted yet; at maxmemory writes are refused"),
    Setting::server(
        "lfu-log-factor",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.lfu_log_factor),
        "10",
        "how many accesses the next step of the access counter takes",
    ),
    Setting::server(
        "lfu-decay-time",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.lfu_decay_time),
        "1",
        "minutes without access that take one step off the access counter; 0: never",
    ),
    Setting::server(
        "active-expire-effort",
        Form::Number(1, 10),
        Home::Number(|s| &mut s.active_expire_effort),
        "1",
        "how much time goes into finding expired keys",
    ),
    Setting::server(
        "hz",
        Form::Rate,
        Home::Number(|s| &mut s.hz),
        "10",
        "how often per second the periodic work of a core runs",
    ),
];

pub const RUNNING: &[Setting] = &[
    Setting::server(
        "loglevel",
        Form::Choice(names::<super::super::LogLevel>),
        Home::Choice(|s| &mut s.loglevel),
        "notice",
        "least important message that is logged",
    ),
    Setting::server(
        "logfile",
        Form::Text,
        Home::Path(|s| &mut s.logfile),
        "",
        "file of the log; empty: standard error",
    )
    .fixed(),
    Setting::server(
        "slowlog-log-slower-than",
        Form::Number(-1, i64::MAX),
        Home::Number(|s| &mut s.slowlog_log_slower_than),
        "10000",
        "microseconds from which SLOWLOG remembers a command; 0: all, -1: none",
    )
    .alias("commandlog-execution-slower-than"),
    Setting::server(
        "slowlog-max-len",
        Form::Number(0, i64::MAX),
        Home::Number(|s| &mut s.slowlog_max_len),
        "128",
        "commands that SLOWLOG remembers",
    )
    .alias("commandlog-slow-execution-max-len"),
    Setting::server(
        "latency-tracking",
        Form::Flag,
        Home::Flag(|s| &mut s.latency_tracking),
        "yes",
        "measure every command for LATENCY HISTOGRAM and INFO",
    ),
    Setting::server(
        "latency-tracking-info-percentiles",
        Form::Shape("percentile ..."),
        Home::Custom(|s| &mut s.latency_tracking_info_percentiles),
        "50 99 99.9",
        "percentiles that INFO shows",
    ),
    Setting::server(
        "supervised",
        Form::Choice(names::<super::super::Supervised>),
        Home::Choice(|s| &mut s.supervised),
        "auto",
        "service manager to tell when the server is ready; auto = the one that started it",
    )
    .fixed(),
    Setting::server(
        "pidfile",
        Form::Text,
        Home::Path(|s| &mut s.pidfile),
        "",
        "file to write the process number to",
    )
    .fixed(),
];

pub const CORES: &[Setting] = &[
    Setting::server(
        "shards",
        Form::Number(0, limits::MAX_SHARDS as i64),
        Home::Auto(|s| &mut s.shards),
        "0",
        "cores that own the keys; 0: one per CPU it may use, less one for the log core from 4 CPUs on",
    )
    .fixed(),
    Setting::server(
        "server-cpulist",
        Form::Shape("cpus"),
        Home::Custom(|s| &mut s.server_cpulist),
        "",
        "CPUs of the shards, as 0-3,8; empty: all it may use",
    )
    .alias("server_cpulist")
    .fixed(),
    Setting::server(
        "log-cpulist",
        Form::Shape("cpus"),
        Home::Custom(|s| &mut s.log_cpulist),
        "",
        "CPUs of the log core; empty: chosen at start",
    )
    .fixed(),
    Setting::server(
        "spin-us",
        // Beyond 10 ms a core that waits would be a busy core.
        Form::Number(0, 10_000),
        Home::Number(|s| &mut s.spin_us),
        "50",
        "microseconds a core looks for work before it sleeps; 0: sleep at once",
    )
    .fixed(),
];
