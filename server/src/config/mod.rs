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
pub use set::SetRefusal;
pub use table::{Change, GROUPS, Group, Home, Missing, Setting, Verdict, find, settings};
pub use values::{BufferLimit, BufferLimits, CpuList, DebugCommand, LogLevel, MaxmemoryPolicy, Supervised};

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
    fn blank() -> Self {
        Settings {
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
            client_output_buffer_limit: BufferLimits::default(),
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
            shards: None,
            server_cpulist: CpuList::default(),
            log_cpulist: CpuList::default(),
            spin_us: 0,
            kept: Kept::new(),
        }
    }

    /// The text of setting `name` (or its alias, in any case) as CONFIG GET prints it.
    pub fn get(&self, name: &str) -> Option<String> {
        let setting = find(name)?;
        // The table holds one accessor per field, and it borrows mutably; CONFIG GET is rare enough to copy.
        Some(setting.text(&mut self.clone()))
    }
}

impl Default for Settings {
    fn default() -> Self {
        let mut settings = Settings::blank();
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
mod tests;
