//! What the administrator asked for: one table of settings, from which the command line, the configuration
//! file, CONFIG GET and SET and `--help` derive.
//!
//! May read files (the configuration, its includes). Knows no protocol, no socket and no clock, and it never
//! applies a setting: it holds the values, and every other room reads the fields of [`Settings`].

mod error;
mod form;
mod help;
mod load;
mod parse;
mod set;
mod table;
mod values;

use std::path::PathBuf;

pub use error::{ConfigError, Origin};
pub use form::{Form, Value};
pub use load::{Loaded, load};
pub use parse::{joined, words};
pub use set::SetRefusal;
pub use table::{Change, GROUPS, Group, Home, Missing, Setting, Verdict, find, settings};
pub use values::{
    AppendFsync, BufferLimit, BufferLimits, CpuList, DebugCommand, LogLevel, MaxmemoryPolicy,
    ReplDisklessLoad, SavePoint, Supervised,
};

/// The values of all settings. A field is named as its directive with `_` for `-`; the table says its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// TCP port; 0 = none.
    pub port: u16,
    /// Addresses to listen on. A leading `-` marks one that may be missing on this machine; `*` is every
    /// IPv4 address and `::*` every IPv6 address.
    pub bind: Vec<String>,
    pub unixsocket: Option<PathBuf>,
    /// Mode bits of the socket file; 0 = leave them to the umask.
    pub unixsocketperm: u32,
    pub tcp_backlog: u32,
    /// Seconds between keepalive probes; 0 = none.
    pub tcp_keepalive: u32,
    /// Seconds after which an idle session is closed; 0 = never.
    pub timeout: u32,
    pub protected_mode: bool,
    pub maxclients: u32,
    /// Empty = no password.
    pub requirepass: String,
    pub enable_debug_command: DebugCommand,

    pub databases: usize,
    /// Bytes.
    pub proto_max_bulk_len: u64,
    /// Bytes.
    pub client_query_buffer_limit: u64,
    pub client_output_buffer_limit: BufferLimits,

    /// Bytes of data of all shards together; 0 = no limit.
    pub maxmemory: u64,
    pub maxmemory_policy: MaxmemoryPolicy,
    pub lfu_log_factor: u32,
    /// Minutes; 0 = never decay.
    pub lfu_decay_time: u32,
    /// 1 to 10.
    pub active_expire_effort: u32,
    /// Periodic work per second and shard, 1 to 500.
    pub hz: u32,

    pub loglevel: LogLevel,
    /// `None` = standard error.
    pub logfile: Option<PathBuf>,
    /// Microseconds; 0 = every command, negative = none.
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: usize,
    pub latency_tracking: bool,
    /// Each between 0 and 100.
    pub latency_tracking_info_percentiles: Vec<f64>,
    pub supervised: Supervised,
    pub pidfile: Option<PathBuf>,

    pub dir: String,
    /// Empty = never.
    pub save: Vec<SavePoint>,
    pub dbfilename: String,
    pub rdbcompression: bool,
    pub rdbchecksum: bool,
    pub stop_writes_on_bgsave_error: bool,
    pub appendonly: bool,
    pub appendfilename: String,
    pub appenddirname: String,
    pub appendfsync: AppendFsync,
    /// 0 = never.
    pub auto_aof_rewrite_percentage: u32,
    /// Bytes.
    pub auto_aof_rewrite_min_size: u64,
    pub aof_load_truncated: bool,

    /// Host and port of the primary to follow from the start.
    pub replicaof: Option<(String, u16)>,
    /// Both may be empty.
    pub masteruser: String,
    pub masterauth: String,
    pub replica_serve_stale_data: bool,
    /// How far behind its primary a replica may be and still answer; 0 = any.
    pub replica_max_lag_bytes: u64,
    pub replica_max_lag_ms: u64,
    pub replica_read_only: bool,
    pub replica_priority: u32,
    pub replica_announced: bool,
    /// Empty = the address of the connection.
    pub replica_announce_ip: String,
    /// 0 = `port`.
    pub replica_announce_port: u16,
    /// 0 = none are needed; so is a lag of 0.
    pub min_replicas_to_write: u32,
    /// Seconds.
    pub min_replicas_max_lag: u32,
    /// Seconds.
    pub repl_ping_replica_period: u32,
    pub repl_timeout: u32,
    pub shutdown_timeout: u32,
    pub repl_disable_tcp_nodelay: bool,
    /// Bytes.
    pub repl_backlog_size: u64,
    pub repl_backlog_disk_size: u64,
    /// Seconds; 0 = for ever.
    pub repl_backlog_ttl: u64,
    pub repl_diskless_sync: bool,
    /// Seconds.
    pub repl_diskless_sync_delay: u32,
    /// 0 = any.
    pub repl_diskless_sync_max_replicas: u32,
    pub repl_diskless_load: ReplDisklessLoad,

    /// `None` = one per CPU the process may use, less one for the log core from 4 CPUs on.
    pub shards: Option<usize>,
    /// CPUs of the shards; empty = all the process may use.
    pub server_cpulist: CpuList,
    /// CPUs of the log core; empty = chosen at start.
    pub log_cpulist: CpuList,
    /// Microseconds a core looks for work before it sleeps; 0 = sleep at once.
    pub spin_us: u64,

    kept: Kept,
}

/// Texts of the settings that are accepted but that no room reads yet; a missing one has its default.
type Kept = std::collections::BTreeMap<&'static str, String>;

impl Settings {
    /// Fields before the table has filled them; the compiler keeps this list whole, a test the table.
    const BLANK: Settings = Settings {
        port: 0,
        bind: Vec::new(),
        unixsocket: None,
        unixsocketperm: 0,
        tcp_backlog: 0,
        tcp_keepalive: 0,
        timeout: 0,
        protected_mode: false,
        maxclients: 0,
        requirepass: String::new(),
        enable_debug_command: DebugCommand::No,
        databases: 0,
        proto_max_bulk_len: 0,
        client_query_buffer_limit: 0,
        client_output_buffer_limit: BufferLimits::NONE,
        maxmemory: 0,
        maxmemory_policy: MaxmemoryPolicy::Noeviction,
        lfu_log_factor: 0,
        lfu_decay_time: 0,
        active_expire_effort: 0,
        hz: 0,
        loglevel: LogLevel::Notice,
        logfile: None,
        slowlog_log_slower_than: 0,
        slowlog_max_len: 0,
        latency_tracking: false,
        latency_tracking_info_percentiles: Vec::new(),
        supervised: Supervised::No,
        pidfile: None,
        dir: String::new(),
        save: Vec::new(),
        dbfilename: String::new(),
        rdbcompression: false,
        rdbchecksum: false,
        stop_writes_on_bgsave_error: false,
        appendonly: false,
        appendfilename: String::new(),
        appenddirname: String::new(),
        appendfsync: AppendFsync::Everysec,
        auto_aof_rewrite_percentage: 0,
        auto_aof_rewrite_min_size: 0,
        aof_load_truncated: false,
        replicaof: None,
        masteruser: String::new(),
        masterauth: String::new(),
        replica_serve_stale_data: false,
        replica_max_lag_bytes: 0,
        replica_max_lag_ms: 0,
        replica_read_only: false,
        replica_priority: 0,
        replica_announced: false,
        replica_announce_ip: String::new(),
        replica_announce_port: 0,
        min_replicas_to_write: 0,
        min_replicas_max_lag: 0,
        repl_ping_replica_period: 0,
        repl_timeout: 0,
        shutdown_timeout: 0,
        repl_disable_tcp_nodelay: false,
        repl_backlog_size: 0,
        repl_backlog_disk_size: 0,
        repl_backlog_ttl: 0,
        repl_diskless_sync: false,
        repl_diskless_sync_delay: 0,
        repl_diskless_sync_max_replicas: 0,
        repl_diskless_load: ReplDisklessLoad::Disabled,
        shards: None,
        server_cpulist: CpuList::ALL,
        log_cpulist: CpuList::ALL,
        spin_us: 0,
        kept: Kept::new(),
    };

    /// The text of setting `name` (or its alias, in any case) as CONFIG GET prints it.
    pub fn get(&self, name: &str) -> Option<String> {
        let setting = find(name)?;
        // The table holds one accessor per field, and it borrows mutably; CONFIG GET is rare enough to copy.
        Some(setting.text(&mut self.clone()))
    }
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Settings::BLANK;
        for setting in settings_with_field() {
            let words = setting.form.words_of(setting.default);
            setting.assign(&mut settings, &words).expect("a test parses every default of the table");
        }
        settings
    }
}

fn settings_with_field() -> impl Iterator<Item = &'static Setting> {
    settings().filter(|setting| !setting.is_kept())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_default_parses_and_prints_back() {
        for setting in settings() {
            let mut settings = Settings::default();
            let words = setting.form.words_of(setting.default);
            setting.assign(&mut settings, &words).unwrap_or_else(|why| panic!("{}: {why}", setting.name));
            let text = setting.text(&mut settings);
            let words = setting.form.words_of(&text);
            setting.assign(&mut settings, &words).unwrap_or_else(|why| panic!("{}: {why}", setting.name));
            assert_eq!(setting.text(&mut settings), text, "{}", setting.name);
            let missing = setting.missing.is_some_and(|missing| (missing.wanted)(&text));
            assert!(!missing || setting.change == Change::FileOnly, "{}: default asks for it", setting.name);
        }
    }

    #[test]
    fn names_are_unique_and_documented() {
        let mut names = HashSet::new();
        for setting in settings() {
            assert!(!setting.doc.is_empty() && !setting.doc.ends_with('.'), "{}", setting.name);
            for name in std::iter::once(setting.name).chain(setting.alias) {
                assert!(names.insert(name), "{name} twice");
                assert_eq!(name, name.to_ascii_lowercase());
            }
        }
    }

    /// Names and printed values of the struct's fields, as `Debug` lists them: it cannot forget one.
    fn fields(settings: &Settings) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in format!("{settings:#?}").lines() {
            let own =
                line.strip_prefix("    ").filter(|own| own.starts_with(|c: char| c.is_ascii_lowercase()));
            match own.and_then(|own| own.split_once(": ")) {
                Some((field, value)) => fields.push((field.to_owned(), value.to_owned())),
                None => fields.last_mut().into_iter().for_each(|(_, value)| value.push_str(line)),
            }
        }
        fields
    }

    /// A field that no row fills would keep its blank value for ever; a row on the wrong field would leave one so.
    #[test]
    fn every_field_has_its_row() {
        let fields = fields(&Settings::default()).into_iter().map(|(field, _)| field);
        let fields: HashSet<String> = fields.filter(|field| field != "kept").collect();
        let rows: HashSet<String> = settings().filter_map(Setting::field).collect();
        assert_eq!(fields, rows);
    }

    #[test]
    fn every_row_writes_the_field_of_its_name() {
        let other = |setting: &Setting| match setting.form {
            Form::Flag => if setting.default == "yes" { "no" } else { "yes" }.to_owned(),
            Form::Choice(names) => {
                names().into_iter().find(|name| *name != setting.default).unwrap().to_owned()
            }
            Form::Memory(..) => "2mb".to_owned(),
            Form::Shape("host port") => "a 7".to_owned(),
            Form::Shape("address ...") => "127.0.0.1 -::1".to_owned(),
            Form::Shape("percentile ...") => "12.5".to_owned(),
            Form::Shape("seconds changes ...") => "7 8".to_owned(),
            Form::Shape("class hard soft seconds ...") => "pubsub 1 2 3".to_owned(),
            _ => "7".to_owned(),
        };
        for setting in settings_with_field() {
            let before = Settings::default();
            let mut after = before.clone();
            setting.assign(&mut after, &setting.form.words_of(&other(setting))).unwrap();
            let pairs = fields(&before).into_iter().zip(fields(&after));
            let changed: Vec<_> =
                pairs.filter(|(before, after)| before != after).map(|(before, _)| before.0).collect();
            assert_eq!(changed, [setting.field().unwrap()]);
        }
    }

    #[test]
    fn defaults_are_those_of_the_reference_server() {
        let settings = Settings::default();
        assert_eq!((settings.port, settings.databases, settings.maxclients), (6379, 16, 10000));
        assert_eq!(settings.bind, ["*", "-::*"]);
        assert_eq!(settings.proto_max_bulk_len, crate::limits::MAX_BULK);
        assert_eq!(settings.client_query_buffer_limit, 1 << 30);
        let replica = BufferLimit { hard: 256 << 20, soft: 64 << 20, soft_seconds: 60 };
        assert_eq!(settings.client_output_buffer_limit.replica, replica);
        assert_eq!(settings.maxmemory_policy, MaxmemoryPolicy::Noeviction);
        assert_eq!(settings.latency_tracking_info_percentiles, [50.0, 99.0, 99.9]);
        assert_eq!((settings.shards, settings.spin_us, settings.hz), (None, 50, 10));
        assert!(settings.protected_mode && settings.latency_tracking);
    }
}
