//! The sections of INFO, one row each. Field names are the reference server's wherever it has the field.

use std::fmt::Write as _;

use super::info::Whole;
use super::{Core, Link, LoadFacts, LogFacts, PrimaryFacts, ReplicaFacts, table};
use crate::limits::REDIS_VERSION;

/// One section of INFO.
pub struct Section {
    /// What INFO is asked for.
    pub name: &'static str,
    pub title: &'static str,
    /// Told when nothing is asked for.
    pub default: bool,
    /// Needs `Whole::calls`.
    pub calls: bool,
    /// Appends `name:value` lines.
    pub write: fn(&Whole, &Core, &mut String),
}

const fn section(name: &'static str, title: &'static str, write: fn(&Whole, &Core, &mut String)) -> Section {
    Section { name, title, default: true, calls: false, write }
}

const fn statistics(
    name: &'static str,
    title: &'static str,
    write: fn(&Whole, &Core, &mut String),
) -> Section {
    Section { default: false, calls: true, ..section(name, title, write) }
}

/// In the order in which they are told.
pub const SECTIONS: &[Section] = &[
    section("server", "Server", server),
    section("clients", "Clients", clients),
    section("memory", "Memory", memory),
    section("persistence", "Persistence", persistence),
    section("stats", "Stats", stats),
    section("replication", "Replication", replication),
    section("cpu", "CPU", cpu),
    section("modules", "Modules", |_, _, _| {}),
    statistics("commandstats", "Commandstats", command_stats),
    section("errorstats", "Errorstats", error_stats),
    statistics("latencystats", "Latencystats", latency_stats),
    section("cluster", "Cluster", cluster),
    section("keyspace", "Keyspace", keyspace),
    section("torc", "Torc", torc),
];

/// Appends one line.
fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    write!(text, "{name}:{value}\r\n").expect("writing to a String cannot fail");
}

fn lines(text: &mut String, fields: &[(&str, i64)]) {
    fields.iter().for_each(|(name, value)| line(text, name, value));
}

/// Bytes as people read them: `12.34M`.
fn human(bytes: i64) -> String {
    const UNITS: &[(i64, char)] = &[(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

/// Bytes, and again as people read them.
fn bytes(text: &mut String, name: &str, bytes: i64) {
    line(text, name, bytes);
    line(text, &format!("{name}_human"), human(bytes));
}

fn server(_whole: &Whole, core: &Core, text: &mut String) {
    let node = &core.node;
    let uptime = (core.now_us - node.started).max(0) / 1_000_000;
    line(text, "redis_version", REDIS_VERSION);
    line(text, "torc_version", env!("CARGO_PKG_VERSION"));
    line(text, "redis_mode", "standalone");
    line(text, "os", &node.os);
    line(text, "arch_bits", usize::BITS);
    line(text, "multiplexing_api", "io_uring");
    line(text, "process_id", node.process_id);
    line(text, "run_id", &node.run_id);
    line(text, "tcp_port", node.tcp_port);
    line(text, "server_time_usec", core.now_us);
    line(text, "uptime_in_seconds", uptime);
    line(text, "uptime_in_days", uptime / 86_400);
    line(text, "hz", core.settings.hz);
    line(text, "configured_hz", core.settings.hz);
    line(text, "lru_clock", (core.now / 1000) & 0xff_ffff);
    line(text, "executable", &node.executable);
    line(text, "config_file", &node.config_file);
    line(text, "io_threads_active", 0);
}

fn clients(whole: &Whole, core: &Core, text: &mut String) {
    lines(
        text,
        &[
            ("connected_clients", whole.sum.clients),
            ("cluster_connections", 0),
            ("maxclients", i64::from(core.settings.maxclients)),
            ("blocked_clients", whole.sum.blocked_clients),
            ("tracking_clients", 0),
            ("pubsub_clients", 0),
            ("watching_clients", whole.sum.watching_clients),
            ("clients_in_timeout_table", 0),
            ("total_watched_keys", whole.sum.watched_keys),
            ("total_blocking_keys", 0),
            ("total_blocking_keys_on_nokey", 0),
        ],
    );
    let pause = core.client_pause;
    let left = pause.map_or(0, |pause| (pause.until - core.now).max(0));
    line(text, "paused_reason", pause.map_or("none", |_| "client_pause"));
    line(text, "paused_actions", pause.map_or("none", |pause| if pause.all { "all" } else { "write" }));
    line(text, "paused_timeout_milliseconds", left);
}

fn memory(whole: &Whole, core: &Core, text: &mut String) {
    let (sum, node) = (&whole.sum, &core.node);
    let used = sum.used_memory + sum.clients_memory;
    bytes(text, "used_memory", used);
    bytes(text, "used_memory_rss", node.rss_bytes as i64);
    bytes(text, "used_memory_peak", used.max(node.used_memory_peak as i64));
    line(text, "used_memory_rss_peak", node.peak_rss_bytes);
    line(text, "used_memory_overhead", sum.clients_memory);
    line(text, "used_memory_dataset", sum.used_memory);
    bytes(text, "total_system_memory", node.total_system_memory as i64);
    bytes(text, "maxmemory", core.settings.maxmemory as i64);
    line(text, "maxmemory_policy", core.settings.maxmemory_policy.name());
    line(text, "mem_fragmentation_ratio", format!("{:.2}", node.rss_bytes as f64 / used.max(1) as f64));
    line(text, "mem_fragmentation_bytes", node.rss_bytes as i64 - used);
    line(text, "mem_replication_backlog", node.replication.backlog_length);
    line(text, "mem_clients_slaves", 0);
    line(text, "mem_clients_normal", sum.clients_memory);
    line(text, "mem_aof_buffer", 0);
    line(text, "mem_allocator", "mimalloc");
    line(text, "active_defrag_running", 0);
}

fn persistence(_whole: &Whole, core: &Core, text: &mut String) {
    let log = &core.node.log;
    let status = |failed: bool| if failed { "err" } else { "ok" };
    let running = |runs: bool, since: i64| if runs { core.now / 1000 - since } else { -1 };
    line(text, "loading", i64::from(core.loading));
    line(text, "async_loading", i64::from(log.async_loading));
    // Nothing is forked, so nothing is ever copied on write: what the fields of that name say is true.
    zeros(text, &["current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    let (keys, all) = log.snapshot_keys;
    line(text, "current_fork_perc", format!("{:.2}", percent(keys, all)));
    lines(
        text,
        &[
            ("current_save_keys_processed", keys as i64),
            ("current_save_keys_total", all as i64),
            ("rdb_changes_since_last_save", log.changes_since_save as i64),
            ("rdb_bgsave_in_progress", i64::from(log.saving)),
            ("rdb_last_save_time", log.last_save),
        ],
    );
    line(text, "rdb_last_bgsave_status", status(log.last_save_failed));
    lines(
        text,
        &[
            ("rdb_last_bgsave_time_sec", log.last_save_seconds),
            ("rdb_current_bgsave_time_sec", running(log.saving, log.saving_since)),
            ("rdb_saves", log.saves as i64),
            ("rdb_last_cow_size", 0),
            ("rdb_last_load_keys_expired", log.last_load.expired as i64),
            ("rdb_last_load_keys_loaded", log.last_load.loaded as i64),
            ("aof_enabled", i64::from(core.settings.appendonly)),
            ("aof_rewrite_in_progress", i64::from(log.rewriting)),
            ("aof_rewrite_scheduled", i64::from(log.rewrite_scheduled)),
            ("aof_last_rewrite_time_sec", log.last_rewrite_seconds),
            ("aof_current_rewrite_time_sec", running(log.rewriting, log.rewriting_since)),
        ],
    );
    line(text, "aof_last_bgrewrite_status", status(log.rewrite_failures > 0));
    line(text, "aof_rewrites", log.rewrites);
    line(text, "aof_rewrites_consecutive_failures", log.rewrite_failures);
    line(text, "aof_last_write_status", status(log.last_write_failed));
    zeros(text, &["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
    if core.settings.appendonly {
        append_only(log, text);
    }
    if core.loading || log.async_loading {
        loading(&log.load, core.now / 1000, text);
    }
}

fn append_only(log: &LogFacts, text: &mut String) {
    lines(
        text,
        &[
            ("aof_current_size", log.aof_size as i64),
            ("aof_base_size", log.aof_base_size as i64),
            ("aof_pending_rewrite", 0),
            ("aof_buffer_length", log.pending as i64),
            ("aof_pending_bio_fsync", i64::from(log.flushing)),
            // No write waits for a flush.
            ("aof_delayed_fsync", 0),
            ("log_offset", log.offset as i64),
            ("log_durable_offset", log.durable_offset as i64),
            ("log_oldest_offset", log.oldest_offset.map_or(-1, |offset| offset as i64)),
        ],
    );
    let (writes, bytes) = log.writes_last_second;
    line(text, "aof_write_bytes", log.writes);
    let last = format!("count={writes},avg={}", bytes / writes.max(1));
    line(text, "aof_write_bytes_last_sec", last);
    line(text, "aof_fsync_usec", log.flushes);
}

fn zeros(text: &mut String, names: &[&str]) {
    names.iter().for_each(|name| line(text, name, 0));
}

/// How far loading has come at `now`, Unix seconds.
fn loading(load: &LoadFacts, now: i64, text: &mut String) {
    let LoadFacts { began, bytes, total } = *load;
    let elapsed = (now - began).max(0) as u64;
    // A second, where nothing is known yet.
    let left = if elapsed == 0 { 1 } else { elapsed * total.saturating_sub(bytes) / (bytes + 1) };
    line(text, "loading_start_time", began);
    line(text, "loading_total_bytes", total);
    line(text, "loading_rdb_used_mem", 0);
    line(text, "loading_loaded_bytes", bytes);
    line(text, "loading_loaded_perc", format!("{:.2}", percent(bytes, total)));
    line(text, "loading_eta_seconds", left);
}

/// How much of `all` is done; nothing if that is not known.
fn percent(done: u64, all: u64) -> f64 {
    if all > 0 { done as f64 / all as f64 * 100.0 } else { 0.0 }
}

fn stats(whole: &Whole, core: &Core, text: &mut String) {
    let (sum, replication) = (&whole.sum, &core.node.replication);
    lines(
        text,
        &[
            ("total_connections_received", sum.connections_received),
            ("total_commands_processed", sum.commands_processed),
            ("instantaneous_ops_per_sec", sum.commands_rate),
            ("total_net_input_bytes", sum.net_input_bytes),
            ("total_net_output_bytes", sum.net_output_bytes),
        ],
    );
    line(text, "instantaneous_input_kbps", format!("{:.2}", sum.net_input_rate as f64 / 1024.0));
    line(text, "instantaneous_output_kbps", format!("{:.2}", sum.net_output_rate as f64 / 1024.0));
    lines(
        text,
        &[
            ("rejected_connections", sum.rejected_connections),
            ("sync_full", replication.full_syncs as i64),
            ("sync_partial_ok", replication.partial_syncs as i64),
            ("sync_partial_err", replication.partial_refused as i64),
            ("expired_keys", sum.expired),
            ("evicted_keys", 0),
            ("evicted_clients", 0),
            ("keyspace_hits", sum.hits),
            ("keyspace_misses", sum.misses),
            ("pubsub_channels", 0),
            ("pubsub_patterns", 0),
            ("pubsubshard_channels", 0),
            ("latest_fork_usec", 0),
            ("total_forks", 0),
            ("tracking_total_keys", 0),
            ("tracking_total_items", 0),
            ("tracking_total_prefixes", 0),
            ("total_error_replies", sum.error_replies),
            ("client_query_buffer_limit_disconnections", sum.query_limit_disconnections),
            ("client_output_buffer_limit_disconnections", sum.output_limit_disconnections),
        ],
    );
}

fn replication(_whole: &Whole, core: &Core, text: &mut String) {
    let (facts, settings) = (&core.node.replication, &core.settings);
    line(text, "role", if facts.primary.is_some() { "slave" } else { "master" });
    if let Some(primary) = &facts.primary {
        primary_link(primary, core, text);
    }
    line(text, "connected_slaves", facts.replicas.len());
    let (wanted, lag) = (settings.min_replicas_to_write, i64::from(settings.min_replicas_max_lag));
    if wanted > 0 && lag > 0 {
        let good = facts.online().filter(|replica| replica.lag_seconds <= lag).count();
        line(text, "min_slaves_good_slaves", good);
    }
    for (index, replica) in facts.replicas.iter().enumerate() {
        let ReplicaFacts { ip, port, state, offset, lag_seconds, lag_bytes, lag_ms } = replica;
        let state = state.name();
        let value = format!(
            "ip={ip},port={port},state={state},offset={offset},lag={lag_seconds},\
             lag_bytes={lag_bytes},lag_ms={lag_ms}"
        );
        line(text, &format!("slave{index}"), value);
    }
    line(text, "master_failover_state", facts.failover.name());
    line(text, "master_replid", &facts.replid);
    line(text, "master_replid2", &facts.replid2);
    lines(
        text,
        &[
            ("master_repl_offset", facts.offset as i64),
            ("second_repl_offset", facts.second_offset),
            ("repl_backlog_active", i64::from(facts.backlog_active)),
            ("repl_backlog_size", settings.repl_backlog_size as i64),
            ("repl_backlog_first_byte_offset", facts.backlog_first as i64),
            ("repl_backlog_histlen", facts.backlog_length as i64),
        ],
    );
}

/// What a replica tells of its primary.
fn primary_link(primary: &PrimaryFacts, core: &Core, text: &mut String) {
    let now = core.now / 1000;
    let ago = |then: i64| if then > 0 { (now - then).max(0) } else { -1 };
    let (up, syncing) = (primary.link == Link::Connected, primary.link == Link::Sync);
    line(text, "master_host", &primary.host);
    line(text, "master_port", primary.port);
    line(text, "master_link_status", if up { "up" } else { "down" });
    lines(
        text,
        &[
            ("master_last_io_seconds_ago", if up { ago(primary.last_io) } else { -1 }),
            ("master_sync_in_progress", i64::from(syncing)),
            ("slave_read_repl_offset", primary.offset as i64),
            ("slave_repl_offset", primary.offset as i64),
        ],
    );
    if syncing {
        let (total, read) = (primary.sync_total.max(0), primary.sync_read as i64);
        lines(
            text,
            &[
                ("master_sync_total_bytes", total),
                ("master_sync_read_bytes", read),
                ("master_sync_left_bytes", total - read),
            ],
        );
        let done = percent(primary.sync_read, total as u64);
        line(text, "master_sync_perc", format!("{done:.2}"));
        line(text, "master_sync_last_io_seconds_ago", ago(primary.last_io));
    }
    if !up {
        line(text, "master_link_down_since_seconds", ago(primary.down_since));
    }
    if let Some(error) = &primary.error {
        line(text, "master_link_error", error);
    }
    lines(
        text,
        &[
            ("slave_priority", i64::from(core.settings.replica_priority)),
            ("slave_read_only", i64::from(core.settings.replica_read_only)),
            ("replica_announced", i64::from(core.settings.replica_announced)),
        ],
    );
}

fn cpu(_whole: &Whole, core: &Core, text: &mut String) {
    line(text, "used_cpu_sys", format!("{:.6}", core.node.cpu_system));
    line(text, "used_cpu_user", format!("{:.6}", core.node.cpu_user));
    line(text, "used_cpu_sys_children", "0.000000");
    line(text, "used_cpu_user_children", "0.000000");
}

fn command_stats(whole: &Whole, _core: &Core, text: &mut String) {
    for (row, calls) in &whole.calls {
        let average = calls.nanos as f64 / 1000.0 / calls.calls.max(1) as f64;
        let name = format!("cmdstat_{}", table().row(*row as u16).full_name);
        let value = format!(
            "calls={},usec={},usec_per_call={average:.2},rejected_calls={},failed_calls={}",
            calls.calls,
            calls.nanos / 1000,
            calls.rejected,
            calls.failed
        );
        line(text, &name, value);
    }
}

fn error_stats(whole: &Whole, _core: &Core, text: &mut String) {
    for (kind, count) in &whole.errors {
        line(text, &format!("errorstat_{kind}"), format_args!("count={count}"));
    }
}

fn latency_stats(whole: &Whole, core: &Core, text: &mut String) {
    let percentiles = &core.settings.latency_tracking_info_percentiles;
    for (row, calls) in &whole.calls {
        let Some(latency) = &calls.latency else { continue };
        let percentile = |wanted: &f64| {
            let micros = latency.value_at_percentile(*wanted) as f64 / 1000.0;
            format!("p{wanted}={micros:.3}")
        };
        let values: Vec<String> = percentiles.iter().map(percentile).collect();
        let name = format!("latency_percentiles_usec_{}", table().row(*row as u16).full_name);
        line(text, &name, values.join(","));
    }
}

fn cluster(_whole: &Whole, _core: &Core, text: &mut String) {
    line(text, "cluster_enabled", 0);
}

fn keyspace(whole: &Whole, _core: &Core, text: &mut String) {
    for (index, db) in whole.databases.iter().enumerate().filter(|(_, db)| db.keys > 0) {
        let value = format!("keys={},expires={},avg_ttl={}", db.keys, db.volatile, db.average_ttl);
        line(text, &format!("db{index}"), value);
    }
}

/// What only this server has.
fn torc(whole: &Whole, core: &Core, text: &mut String) {
    line(text, "torc_shards", core.node.shards);
    line(text, "torc_transaction_retries", whole.sum.transaction_retries);
    for (index, shard) in whole.shards.iter().enumerate() {
        let value = format!(
            "keys={},used_memory={},clients={},commands={},ops_per_sec={}",
            shard.keys, shard.used_memory, shard.clients, shard.commands_processed, shard.commands_rate
        );
        line(text, &format!("torc_shard{index}"), value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::super::{LoadFacts, SnapshotLoad, Spread};
    use super::{SECTIONS, human};

    #[test]
    fn bytes_are_readable() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(743_544), "726.12K");
        assert_eq!(human(25_276_502_016), "23.54G");
    }

    #[test]
    fn long_work_is_told_of() {
        let mut shell = Shell::new(1);
        let idle = shell.run("INFO persistence");
        assert!(idle.contains("|current_fork_perc:0.00|current_save_keys_processed:0|"), "{idle}");
        assert!(!idle.contains("loading_"), "{idle}");
        let core = &mut shell.cores[0];
        core.loading = true;
        let log = &mut core.node.log;
        log.snapshot_keys = (1, 8);
        log.load = LoadFacts { began: core.now / 1000 - 10, bytes: 999, total: 4000 };
        log.flushes = Spread { count: 5, mean: 4, p50: 3, p99: 9, p999: 9, max: 10 };
        log.writes_last_second = (4, 400);
        let busy = shell.run("INFO persistence");
        for lines in [
            "|current_fork_perc:12.50|current_save_keys_processed:1|current_save_keys_total:8|",
            "|loading_rdb_used_mem:0|loading_loaded_bytes:999|loading_loaded_perc:24.98|loading_eta_seconds:30|",
            "|aof_fsync_usec:count=5,avg=4,p50=3,p99=9,p99.9=9,max=10|",
            "|aof_write_bytes_last_sec:count=4,avg=100|",
        ] {
            assert!(busy.contains(lines), "{lines} in {busy}");
        }
    }

    /// Scripts read them by name, and some by place.
    #[test]
    fn fields_of_persistence_come_in_the_reference_servers_order() {
        const FIELDS: &str = "loading async_loading current_cow_peak current_cow_size current_cow_size_age \
            current_fork_perc current_save_keys_processed current_save_keys_total rdb_changes_since_last_save \
            rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status rdb_last_bgsave_time_sec \
            rdb_current_bgsave_time_sec rdb_saves rdb_last_cow_size rdb_last_load_keys_expired \
            rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress aof_rewrite_scheduled \
            aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_bgrewrite_status aof_rewrites \
            aof_rewrites_consecutive_failures aof_last_write_status aof_last_cow_size module_fork_in_progress \
            module_fork_last_cow_size aof_current_size aof_base_size aof_pending_rewrite aof_buffer_length \
            aof_pending_bio_fsync aof_delayed_fsync";
        let mut shell = Shell::new(1);
        let log = &mut shell.cores[0].node.log;
        log.last_load = SnapshotLoad { loaded: 7, expired: 2 };
        log.rewrite_failures = 3;
        let text = shell.run("INFO persistence");
        let names: Vec<&str> = text.split('|').filter_map(|line| Some(line.split_once(':')?.0)).collect();
        let expected: Vec<&str> = FIELDS.split_whitespace().collect();
        assert_eq!(names[..expected.len()], expected);
        for lines in [
            "|rdb_last_load_keys_expired:2|rdb_last_load_keys_loaded:7|",
            "|aof_last_bgrewrite_status:err|aof_rewrites:0|aof_rewrites_consecutive_failures:3|",
        ] {
            assert!(text.contains(lines), "{lines} in {text}");
        }
    }

    #[test]
    fn no_field_is_told_twice() {
        let all = Shell::new(1).run("INFO everything");
        let mut names: Vec<&str> = all.split('|').filter_map(|line| Some(line.split_once(':')?.0)).collect();
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty() && names.len() > 100, "{twice:?} of {}", names.len());
    }

    #[test]
    fn section_names_are_unique_and_small() {
        for (index, section) in SECTIONS.iter().enumerate() {
            assert_eq!(section.name, section.title.to_ascii_lowercase());
            assert!(SECTIONS[..index].iter().all(|other| other.name != section.name));
        }
    }
}
