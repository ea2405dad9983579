//! Rows of replication.

use super::{Form, Home, Setting};
use crate::config::values::names;

/// Numbers that the reference server holds in a C `int`.
const INT: i64 = i32::MAX as i64;

pub const REPLICATION: &[Setting] = &[
    Setting::server(
        "replicaof",
        Form::Shape("host port"),
        Home::Custom(|s| &mut s.replicaof),
        "",
        "the primary to follow; no one: none",
    )
    .alias("slaveof")
    .fixed(),
    Setting::server(
        "masteruser",
        Form::Text,
        Home::Text(|s| &mut s.masteruser),
        "",
        "user name for the primary",
    )
    .alias("primaryuser"),
    Setting::server(
        "masterauth",
        Form::Text,
        Home::Text(|s| &mut s.masterauth),
        "",
        "password for the primary",
    )
    .alias("primaryauth"),
    Setting::server(
        "replica-serve-stale-data",
        Form::Flag,
        Home::Flag(|s| &mut s.replica_serve_stale_data),
        "yes",
        "answer while the primary is away",
    )
    .alias("slave-serve-stale-data"),
    Setting::server(
        "replica-max-lag-bytes",
        Form::Memory(0, i64::MAX),
        Home::Number(|s| &mut s.replica_max_lag_bytes),
        "0",
        "bytes behind the primary at which a replica answers no more; 0: any",
    ),
    Setting::server(
        "replica-max-lag-ms",
        Form::Number(0, i64::MAX),
        Home::Number(|s| &mut s.replica_max_lag_ms),
        "0",
        "milliseconds behind the primary at which a replica answers no more; 0: any",
    ),
    Setting::server(
        "replica-read-only",
        Form::Flag,
        Home::Flag(|s| &mut s.replica_read_only),
        "yes",
        "take writes from the primary only",
    )
    .alias("slave-read-only"),
    Setting::server(
        "replica-priority",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.replica_priority),
        "100",
        "rank for a failover",
    )
    .alias("slave-priority"),
    Setting::server(
        "replica-announced",
        Form::Flag,
        Home::Flag(|s| &mut s.replica_announced),
        "yes",
        "let Sentinel see this replica",
    ),
    Setting::server(
        "replica-announce-ip",
        Form::Text,
        Home::Text(|s| &mut s.replica_announce_ip),
        "",
        "address told to the primary",
    )
    .alias("slave-announce-ip"),
    Setting::server(
        "replica-announce-port",
        Form::Number(0, 65535),
        Home::Number(|s| &mut s.replica_announce_port),
        "0",
        "port told to the primary; 0: the own one",
    )
    .alias("slave-announce-port"),
    Setting::server(
        "min-replicas-to-write",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.min_replicas_to_write),
        "0",
        "replicas without which writes are refused",
    )
    .alias("min-slaves-to-write"),
    Setting::server(
        "min-replicas-max-lag",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.min_replicas_max_lag),
        "10",
        "seconds of silence after which a replica does not count",
    )
    .alias("min-slaves-max-lag"),
    Setting::server(
        "repl-ping-replica-period",
        Form::Number(1, INT),
        Home::Number(|s| &mut s.repl_ping_replica_period),
        "10",
        "seconds between signs of life",
    )
    .alias("repl-ping-slave-period"),
    Setting::server(
        "repl-timeout",
        Form::Number(1, INT),
        Home::Number(|s| &mut s.repl_timeout),
        "60",
        "seconds of silence that end a link",
    ),
    Setting::server(
        "shutdown-timeout",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.shutdown_timeout),
        "10",
        "seconds to wait for replicas at shutdown",
    ),
    Setting::server(
        "repl-disable-tcp-nodelay",
        Form::Flag,
        Home::Flag(|s| &mut s.repl_disable_tcp_nodelay),
        "no",
        "fewer and larger packets to replicas",
    ),
    Setting::server(
        "repl-backlog-size",
        Form::Memory(1, i64::MAX),
        Home::Number(|s| &mut s.repl_backlog_size),
        "10mb",
        "bytes of history kept for replicas that come back",
    ),
    Setting::server(
        "repl-backlog-disk-size",
        Form::Memory(0, i64::MAX),
        Home::Number(|s| &mut s.repl_backlog_disk_size),
        "1gb",
        "bytes of append-only files kept for them once a rewrite has replaced these; 0: none",
    ),
    Setting::server(
        "repl-backlog-ttl",
        Form::Number(0, i64::MAX),
        Home::Number(|s| &mut s.repl_backlog_ttl),
        "3600",
        "seconds it is kept in memory without replicas; 0: for ever",
    ),
    Setting::server(
        "repl-diskless-sync",
        Form::Flag,
        Home::Flag(|s| &mut s.repl_diskless_sync),
        "yes",
        "send a snapshot without writing it",
    ),
    Setting::server(
        "repl-diskless-sync-max-replicas",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.repl_diskless_sync_max_replicas),
        "0",
        "replicas that end the wait for more; 0: none do",
    ),
    Setting::server(
        "repl-diskless-sync-delay",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.repl_diskless_sync_delay),
        "5",
        "seconds to wait for more replicas before a snapshot",
    ),
    Setting::server(
        "repl-diskless-load",
        Form::Choice(names::<super::super::ReplDisklessLoad>),
        Home::Choice(|s| &mut s.repl_diskless_load),
        // Not the reference server's: straight where there is nothing to lose.
        "on-empty-db",
        "load a primary's snapshot without writing it",
    ),
];
