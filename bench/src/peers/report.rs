//! The report of `torc-bench peers`: RESULTS.md and results.json.

use crate::{
    Common,
    load::{Tool, WORKLOADS},
    report::{Report, cell, figures_table, of, table},
    results::{Metric, Results},
    servers::Kind,
};

use super::{GROWTH, IDLE, MEMORY_1M, MEMORY_10M, bars::verdicts};

pub fn report(options: &Common, kinds: &[Kind], results: &Results) -> Report {
    let mut tables = String::new();
    for (title, tool, metric, digits) in TABLES {
        tables.push_str(&requests_table(results, kinds, title, tool, metric, digits));
    }
    tables.push_str(&other_table(results, kinds));
    Report {
        title: "Torc beside its peers",
        about: format!(
            "Each server is alone on CPU {}, started fresh for every figure, nothing kept on disk; the load is on CPU {}. \
             Cells are medians over the repetitions with (min–max). CPU is user + system of all threads of the server, \
             from /proc/PID/task/*/schedstat. Ratios are those of the medians, with the extremes of the ratios within one \
             repetition.",
            options.server_cpu, options.load_cpu
        ),
        files: ["results.json", "RESULTS.md"],
        bars: verdicts(results),
        tables,
    }
}

/// The tables of the request workloads: heading, tool, figure, decimals.
const TABLES: [(&str, Tool, Metric, usize); 6] = [
    ("Server CPU, µs/request (redis-benchmark)", Tool::RedisBenchmark, Metric::CpuUs, 3),
    ("Requests/s (redis-benchmark)", Tool::RedisBenchmark, Metric::RequestsPerSecond, 0),
    ("Server CPU, µs/request (torc-loadgen)", Tool::Loadgen, Metric::CpuUs, 3),
    ("p50, µs (torc-loadgen, closed loop)", Tool::Loadgen, Metric::P50Us, 1),
    ("p99, µs (torc-loadgen, closed loop)", Tool::Loadgen, Metric::P99Us, 1),
    ("p99.9, µs (torc-loadgen, closed loop)", Tool::Loadgen, Metric::P999Us, 1),
];

fn requests_table(
    results: &Results,
    kinds: &[Kind],
    title: &str,
    tool: Tool,
    metric: Metric,
    digits: usize,
) -> String {
    let rows = WORKLOADS.iter().map(|workload| {
        let of = of(workload.name, tool, metric);
        let cells = kinds.iter().map(|&kind| cell(results.spread(of, kind), digits));
        (workload.name.to_owned(), cells.chain([cell(results.advantage(of, Kind::Torc), 2)]).collect())
    });
    table(title, kinds, Some("Torc better than the better of Redis, Valkey by"), rows.collect())
}

fn other_table(results: &Results, kinds: &[Kind]) -> String {
    let rows = [
        ("RSS bytes/key, 1M keys of 16 B + 32 B", MEMORY_1M, Metric::BytesPerKey, 1),
        ("RSS bytes/key, 10M keys", MEMORY_10M, Metric::BytesPerKey, 1),
        (
            "growth at a fixed rate: worst command by the server's clock, µs",
            GROWTH,
            Metric::WorstCommandUs,
            0,
        ),
        ("– worst request, µs", GROWTH, Metric::WorstUs, 0),
        ("– the same on keys that exist (machine noise), µs", GROWTH, Metric::ControlWorstUs, 0),
        ("– requests over 2 ms, per million", GROWTH, Metric::SlowPerMillion, 1),
        ("– the same on keys that exist", GROWTH, Metric::ControlSlowPerMillion, 1),
        ("– p99.9, µs", GROWTH, Metric::P999Us, 0),
        ("– the load's own worst lateness, µs", GROWTH, Metric::LagWorstUs, 0),
        ("idle, default settings, all CPUs: % of a core", IDLE, Metric::IdlePercent, 3),
    ];
    let rows =
        rows.map(|(name, workload, metric, digits)| (name, of(workload, Tool::Loadgen, metric), digits));
    figures_table(results, kinds, "Memory, growth, rest", &rows)
}
