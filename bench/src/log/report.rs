//! The report of `torc-bench log`: RESULTS-log.md and results-log.json.

use crate::{
    Common,
    load::Tool,
    report::{Report, Row, figures_table, of},
    results::{Metric, Results},
    servers::Kind,
};

use super::{
    Options,
    bars::verdicts,
    links::{AWAY, JOIN},
    loading::{AOF_1, AOF_2, RDB_1, RDB_2},
    snapshots::{BGSAVE, FULLSYNC, QUIET},
    writes::{ALONE, ALWAYS_C1, ALWAYS_C50, EVERYSEC, REPLICA},
};

pub fn report(options: &Options, kinds: &[Kind], results: &Results) -> Report {
    let mut tables = writes(results, kinds);
    tables.push_str(&snapshots(results, kinds));
    tables.push_str(&links(results, kinds));
    let Common { server_cpu, load_cpu, .. } = options.common;
    Report {
        title: "Torc's log beside its peers'",
        about: format!(
            "Each server is started fresh on CPU {server_cpu}, all its threads, with its data on a disk; the load and the \
             replicas are on CPU {load_cpu}. All run with repl-diskless-sync-delay 0, rdbcompression no and \
             auto-aof-rewrite-percentage 0. Cells are medians over the repetitions with (min–max). CPU is user + system, \
             from /proc/PID/task/*/schedstat. BGSAVE runs one after the other for as long as the load does. RSS is that \
             of the process and its children: pages that a fork shares count twice, and what it copied, by the server's \
             own account, stands below. A full sync counts from REPLICAOF, a start from the process's to its first answer. \
             `away` cuts a replica's link while the primary takes SETs as fast as it can; `join` has five replicas come \
             at once amid such writes."
        ),
        name: options.sections.results("log", "log"),
        bars: verdicts(results),
        tables,
    }
}

fn writes(results: &Results, kinds: &[Kind]) -> String {
    let (ours, theirs) = (Tool::Loadgen, Tool::RedisBenchmark);
    let cpu = |name: &'static str, tool| (name, of(name, tool, Metric::CpuUs), 3);
    let rows: [Row<'_>; 5] = [
        cpu(ALWAYS_C50, theirs),
        cpu(ALWAYS_C1, ours),
        cpu(EVERYSEC, theirs),
        cpu(ALONE, theirs),
        cpu(REPLICA, theirs),
    ];
    let mut out = figures_table(results, kinds, "Server CPU, µs/request", &rows);
    let shard = |name: &'static str| (name, of(name, theirs, Metric::ShardCpuUs), 3);
    let rows = [shard(ALWAYS_C50), shard(EVERYSEC), shard(ALONE), shard(REPLICA)];
    out.push_str(&figures_table(results, kinds, "– of it the shard's thread", &rows));
    let rows = rows.map(|(name, _, digits)| (name, of(name, theirs, Metric::LogCpuUs), digits));
    out.push_str(&figures_table(results, kinds, "– of it the log core's thread", &rows));
    let rate = |name: &'static str, tool| (name, of(name, tool, Metric::RequestsPerSecond), 0);
    let rows: [Row<'_>; 8] = [
        rate(ALWAYS_C50, theirs),
        rate(ALWAYS_C1, ours),
        rate(EVERYSEC, theirs),
        rate(ALONE, theirs),
        rate(REPLICA, theirs),
        ("– full syncs since its start", of(REPLICA, theirs, Metric::FullSyncs), 0),
        ("away: SET c50 P16", of(AWAY, ours, Metric::RequestsPerSecond), 0),
        ("join: SET c50 P16", of(JOIN, ours, Metric::RequestsPerSecond), 0),
    ];
    out.push_str(&figures_table(results, kinds, "Requests/s", &rows));
    let rows = [
        ("always: SET c50 P1: p50, µs", of(ALWAYS_C50, theirs, Metric::P50Us), 0),
        ("– p99, µs", of(ALWAYS_C50, theirs, Metric::P99Us), 0),
        ("always: SET c1 P1: p50, µs", of(ALWAYS_C1, ours, Metric::P50Us), 0),
        ("– p99, µs", of(ALWAYS_C1, ours, Metric::P99Us), 0),
    ];
    out + &figures_table(results, kinds, "Latency with appendfsync always", &rows)
}

fn snapshots(results: &Results, kinds: &[Kind]) -> String {
    let figures = [
        ("GET p50, µs", Metric::P50Us, 0),
        ("– p99, µs", Metric::P99Us, 0),
        ("– p99.9, µs", Metric::P999Us, 0),
        ("– longest, µs", Metric::WorstUs, 0),
        ("the load's own worst lateness, µs", Metric::LagWorstUs, 0),
        ("peak RSS with children, MiB", Metric::PeakMib, 0),
        ("copied by the last fork, MiB", Metric::CopiedMib, 0),
        ("snapshots written", Metric::Saves, 0),
        ("longest of them, s", Metric::SaveSeconds, 2),
    ];
    let mut out = String::new();
    for workload in [QUIET, BGSAVE] {
        let rows = figures.map(|(name, metric, digits)| (name, of(workload, Tool::Loadgen, metric), digits));
        out.push_str(&figures_table(results, kinds, &format!("{workload}, 5k GET/s"), &rows));
    }
    let row = |name, workload, metric, digits| (name, of(workload, Tool::Loadgen, metric), digits);
    let rows: [Row<'_>; 7] = [
        row("full sync, s", FULLSYNC, Metric::SyncSeconds, 2),
        row("– the primary's peak RSS with children, MiB", FULLSYNC, Metric::PeakMib, 0),
        row("– by how much that is more than before, %", FULLSYNC, Metric::ExtraPercent, 1),
        row("start with RDB, 1 CPU, s", RDB_1, Metric::LoadSeconds, 2),
        row("start with RDB, 2 CPUs, s", RDB_2, Metric::LoadSeconds, 2),
        row("start with AOF, 1 CPU, s", AOF_1, Metric::LoadSeconds, 2),
        row("start with AOF, 2 CPUs, s", AOF_2, Metric::LoadSeconds, 2),
    ];
    out + &figures_table(results, kinds, "Full sync and start-up, 1 GiB", &rows)
}

fn links(results: &Results, kinds: &[Kind]) -> String {
    let figures = [
        ("full syncs", Metric::FullSyncs, 0),
        ("walks (Torc) or forks", Metric::Walks, 0),
        ("partial syncs", Metric::PartialSyncs, 0),
        ("replicas in step in the end", Metric::Converged, 0),
        ("seconds until then", Metric::CatchUpSeconds, 2),
        ("stream meanwhile, MiB", Metric::StreamMib, 0),
    ];
    let mut out = String::new();
    for (title, workload) in [("A replica away", AWAY), ("Five replicas join", JOIN)] {
        let rows = figures.map(|(name, metric, digits)| (name, of(workload, Tool::Loadgen, metric), digits));
        out.push_str(&figures_table(results, kinds, title, &rows));
    }
    out
}
