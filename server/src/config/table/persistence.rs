//! Rows of snapshots and of the append-only file.

use super::{Form, Home, Setting};
use crate::config::values::names;

/// Numbers that the reference server holds in a C `int`.
const INT: i64 = i32::MAX as i64;

pub const PERSISTENCE: &[Setting] = &[
    Setting::server("dir", Form::Text, Home::Text(|s| &mut s.dir), ".", "directory of the data files")
        .protected(),
    Setting::server(
        "save",
        Form::Shape("seconds changes ..."),
        Home::Custom(|s| &mut s.save),
        "3600 1 300 100 60 10000",
        "when to write a snapshot: after so many seconds if so much has changed; \"\": never",
    )
    .repeats(),
    Setting::server(
        "dbfilename",
        Form::Name { of: "dbfilename", kind: "filename" },
        Home::Text(|s| &mut s.dbfilename),
        "dump.rdb",
        "file of the snapshot",
    )
    .protected(),
    Setting::server(
        "rdbcompression",
        Form::Flag,
        Home::Flag(|s| &mut s.rdbcompression),
        "yes",
        "compress strings in snapshots",
    ),
    Setting::server(
        "rdbchecksum",
        Form::Flag,
        Home::Flag(|s| &mut s.rdbchecksum),
        "yes",
        "end snapshots with a checksum, and compare it when they are read",
    )
    .fixed(),
    Setting::server(
        "stop-writes-on-bgsave-error",
        Form::Flag,
        Home::Flag(|s| &mut s.stop_writes_on_bgsave_error),
        "yes",
        "refuse writes while snapshots fail",
    ),
    Setting::server(
        "appendonly",
        Form::Flag,
        Home::Flag(|s| &mut s.appendonly),
        "yes",
        "write every change to the append-only file",
    ),
    Setting::server(
        "appendfilename",
        Form::Name { of: "appendfilename", kind: "filename" },
        Home::Text(|s| &mut s.appendfilename),
        "appendonly.aof",
        "name of the append-only file",
    )
    .fixed(),
    Setting::server(
        "appenddirname",
        Form::Name { of: "appenddirname", kind: "dirname" },
        Home::Text(|s| &mut s.appenddirname),
        "appendonlydir",
        "directory of the append-only files, within dir",
    )
    .fixed(),
    Setting::server(
        "appendfsync",
        Form::Choice(names::<super::super::AppendFsync>),
        Home::Choice(|s| &mut s.appendfsync),
        "everysec",
        "when the append-only file is flushed to the disk; always: before a write is acknowledged",
    ),
    Setting::server(
        "auto-aof-rewrite-percentage",
        Form::Number(0, INT),
        Home::Number(|s| &mut s.auto_aof_rewrite_percentage),
        "100",
        "growth in percent at which the append-only file is rewritten; 0: never",
    ),
    Setting::server(
        "auto-aof-rewrite-min-size",
        Form::Memory(0, i64::MAX),
        Home::Number(|s| &mut s.auto_aof_rewrite_min_size),
        "64mb",
        "size below which it is not rewritten",
    ),
    Setting::server(
        "aof-load-truncated",
        Form::Flag,
        Home::Flag(|s| &mut s.aof_load_truncated),
        "yes",
        "start from a file whose end is torn, without that end",
    ),
];
