//! What commands know of the core they run on: settings, connections, statistics.

use slab::Slab;

use super::{
    Ask, Client, ClientFlags, ClientPause, Command, CommandStats, CoreStats, ReplicationFacts, Slowlog, table,
};
use crate::config::Settings;

/// What the log core last told of the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogFacts {
    pub loading: bool,
    pub load: LoadFacts,
    pub last_load: SnapshotLoad,
    /// Data is loaded aside, and what there is serves meanwhile.
    pub async_loading: bool,
    /// Whether a snapshot is being written, and since when (Unix seconds).
    pub saving: bool,
    pub saving_since: i64,
    /// Keys of the snapshot under way, whatever it is for: written, and all.
    pub snapshot_keys: (u64, u64),
    /// Unix seconds of the last snapshot, or of the start.
    pub last_save: i64,
    pub last_save_failed: bool,
    /// Effects since the last snapshot.
    pub changes_since_save: u64,
    pub rewriting: bool,
    pub rewriting_since: i64,
    pub rewrite_scheduled: bool,
    /// Rewrites that failed since one succeeded.
    pub rewrite_failures: u64,
    pub last_write_failed: bool,
    pub saves: u64,
    pub rewrites: u64,
    /// Seconds that the last snapshot and the last rewrite took; -1: none yet.
    pub last_save_seconds: i64,
    pub last_rewrite_seconds: i64,
    /// Bytes of the append-only files, now and after the last rewrite.
    pub aof_size: u64,
    pub aof_base_size: u64,
    /// A flush of them is under way.
    pub flushing: bool,
    /// Bytes that wait to be written.
    pub pending: u64,
    /// End of the log, and how far it is on the disk.
    pub offset: u64,
    pub durable_offset: u64,
    /// The oldest offset that the files have of the stream, if they have any of it.
    pub oldest_offset: Option<u64>,
    /// Bytes of a write to the append-only file; writes of the last second and their bytes; microseconds of a flush.
    pub writes: Spread,
    pub writes_last_second: (u64, u64),
    pub flushes: Spread,
}

/// Keys of the last snapshot that was loaded, and those of it whose time was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotLoad {
    pub loaded: u64,
    pub expired: u64,
}

/// How far loading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadFacts {
    /// Unix seconds.
    pub began: i64,
    /// Bytes read, and all; 0: not known.
    pub bytes: u64,
    pub total: u64,
}

/// How values are distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub count: u64,
    pub mean: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { count, mean, p50, p99, p999, max } = self;
        write!(out, "count={count},avg={mean},p50={p50},p99={p99},p99.9={p999},max={max}")
    }
}

/// Facts of the process that do not change after start, or that node/ refreshes a few times a second.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// 40 hexadecimal digits, new at every start. The replication id is another one.
    pub run_id: String,
    pub process_id: u32,
    pub tcp_port: u16,
    pub config_file: String,
    pub executable: String,
    pub os: String,
    pub shards: usize,
    /// Unix µs.
    pub started: i64,
    pub rss_bytes: u64,
    pub peak_rss_bytes: u64,
    pub total_system_memory: u64,
    /// CPU seconds of the process.
    pub cpu_user: f64,
    pub cpu_system: f64,
    /// Connections of all cores.
    pub connected_clients: u64,
    /// `used_memory` of all shards as last published by each, bytes.
    pub used_memory: u64,
    /// The most that `used_memory` has been.
    pub used_memory_peak: u64,
    pub log: LogFacts,
    pub replication: ReplicationFacts,
}

/// One core's side of the commands: everything but the keyspace.
pub struct Core {
    /// Which core this is, 0 to `node.shards - 1`.
    pub index: usize,
    pub settings: Settings,
    pub node: NodeFacts,
    pub clients: Slab<Box<Client>>,
    /// Id of the client whose `EveryCore` command runs now, on whatever core; set before each part runs.
    pub caller: u64,
    /// What sessions asked of the log core in this turn.
    pub asks: Vec<Ask>,
    /// Session keys of clients that CLIENT KILL or a limit condemned in this turn.
    pub doomed: Vec<usize>,
    /// By row number (`Table::number`).
    pub command_stats: Vec<CommandStats>,
    pub stats: CoreStats,
    pub slowlog: Slowlog,
    /// A monotonic clock, ns, and what it said last: a command's time runs from one reading to the next.
    pub ticks: fn() -> u64,
    pub last_tick: u64,
    /// Whether used memory is over `maxmemory`, as known at the start of this turn.
    pub out_of_memory: bool,
    /// The data is being read from disk: only what needs none of it runs.
    pub loading: bool,
    /// The error line with which writes are refused, if they are.
    pub write_fault: Option<Box<str>>,
    /// This server follows a primary: keys expire by its word, and clients write only if the settings say so.
    pub replica: bool,
    /// No write of a client begins; and, once those that had begun have ended, nothing expires either: the stream stands still.
    pub writes_paused: bool,
    pub frozen: bool,
    /// What CLIENT PAUSE has clients wait with.
    pub client_pause: Option<ClientPause>,
    /// The error line that answers all but commands flagged `STALE`, if the data is too old to show.
    pub stale: Option<Box<str>>,
    /// `appendfsync always`: replies to writes wait until the log is durable past their effects.
    pub holds_writes: bool,
    /// Unix time of this turn: ms, and µs for TIME.
    pub now: i64,
    pub now_us: i64,
    /// DEBUG SLEEP: how long the loop is to block this core, µs.
    pub sleep_us: u64,
    /// Set when settings changed: the loop applies what lives outside (log level, spin, shares).
    pub settings_changed: bool,
}

impl Core {
    pub fn new(index: usize, settings: Settings, node: NodeFacts, ticks: fn() -> u64) -> Self {
        Core {
            index,
            settings,
            node,
            clients: Slab::new(),
            caller: 0,
            asks: Vec::new(),
            doomed: Vec::new(),
            command_stats: vec![CommandStats::default(); table().rows().len()],
            stats: CoreStats::default(),
            slowlog: Slowlog::default(),
            ticks,
            last_tick: 0,
            out_of_memory: false,
            loading: false,
            write_fault: None,
            replica: false,
            writes_paused: false,
            frozen: false,
            client_pause: None,
            stale: None,
            holds_writes: false,
            now: 0,
            now_us: 0,
            sleep_us: 0,
            settings_changed: false,
        }
    }

    /// The connections of this core, without the log's own session.
    pub fn connections(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().map(|(_, client)| &**client).filter(|client| !client.is(ClientFlags::APPLIER))
    }

    /// Whether the client may run commands that need authentication.
    #[inline]
    pub fn is_authenticated(&self, client: usize) -> bool {
        self.clients[client].is(ClientFlags::AUTHENTICATED) || self.settings.requirepass.is_empty()
    }

    /// Whether replies to writes wait for the disk. A replica's writes are its primary's, who has answered them.
    #[inline]
    pub fn holds_replies(&self) -> bool {
        self.holds_writes && !self.replica
    }

    /// Whether some commands wait for the end of a pause.
    #[inline]
    pub fn is_pausing(&self) -> bool {
        self.writes_paused || self.client_pause.is_some()
    }

    /// Whether a command of this row does. EXEC is its caller's to judge, by what is queued.
    pub fn postpones(&self, row: &Command) -> bool {
        self.writes_paused && row.is_write() || self.client_pause.is_some_and(|pause| pause.holds(row))
    }

    /// Whether some commands are refused for the state of the server.
    #[inline]
    pub fn is_restricted(&self) -> bool {
        self.loading || self.replica || self.write_fault.is_some() || self.stale.is_some()
    }

    /// Whether a command that took this long belongs into the slow log.
    #[inline]
    pub fn is_slow(&self, nanos: u64) -> bool {
        let threshold = self.settings.slowlog_log_slower_than;
        threshold >= 0 && nanos / 1000 >= threshold as u64
    }

    /// Counts an error reply by its first word.
    pub fn count_error(&mut self, line: &str) {
        /// Distinct first words kept; beyond it a client could fill memory with made-up ones.
        const MAX_ERROR_KINDS: usize = 128;
        self.stats.error_replies += 1;
        let word = line.split(' ').next().unwrap_or_default();
        if let Some(count) = self.stats.errors.get_mut(word) {
            *count += 1;
        } else if self.stats.errors.len() < MAX_ERROR_KINDS {
            self.stats.errors.insert(word.to_owned(), 1);
        }
    }
}
