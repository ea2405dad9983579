//! The report of `torc-bench peers`: RESULTS.md and results.json.

use crate::{
    load::{Tool, WORKLOADS},
    report::{Report, cell, figures_table, of, table},
    results::{Metric, Results},
    servers::Kind,
    tape,
};

use super::{GROWTH, IDLE, MEMORY_1M, MEMORY_10M, Options, bars::verdicts};

/// What the counts of instructions are, and are not.
const INSTRUCTIONS: &str = "\n\nInstr/req is callgrind's count over a fixed tape (10000 keys of 16 B, values of 16 B, \
    random keys by a seed, one connection, P commands sent together), of the way from bytes received to bytes to send: \
    parsing, lookup, execution, reply. For Redis and Valkey, to which the tape goes over a socket, that is `readQueryFromClient` \
    and what it calls, the wrapper of read(2) and the input buffer's growth included. For Torc it is a turn of a core as \
    its loop makes it, without sockets (the example `tape`), because valgrind lets no other thread run while one waits in \
    io_uring. With an append-only file it is also the way of what is written into the buffer for the file, on Torc's side that of \
    the log core included. Not counted on any side: the kernel, waiting for events, writing to the socket, periodic work; those are in the \
    CPU tables. kevy and the echo floor have no count: where their ways begin and end is not known from outside. Another \
    compiler or other flags give other counts. A server that draws the seed of its hashes at start counts some more or \
    less each time: Redis looks a command up only if it is another than the one before, and which commands share a bucket \
    is the seed's doing.";

pub fn report(options: &Options, kinds: &[Kind], results: &Results) -> Report {
    let mut tables = String::new();
    for (title, names, tool, metric, digits) in TABLES {
        tables.push_str(&requests_table(results, kinds, title, &names(), (tool, metric), digits));
    }
    tables.push_str(&other_table(results, kinds));
    Report {
        title: "Torc beside its peers",
        about: format!(
            "Each server is alone on CPU {}, started fresh for every figure, nothing kept on disk; the load is on CPU {}. \
             Cells are medians over the repetitions with (min–max). CPU is user + system of all threads of the server, \
             from /proc/PID/task/*/schedstat. Ratios are those of the medians, with the extremes of the ratios within one \
             repetition.{}",
            options.common.server_cpu,
            options.common.load_cpu,
            if results.has(Metric::Instructions) { INSTRUCTIONS } else { "" },
        ),
        name: options.sections.results("", "peers"),
        bars: verdicts(results),
        tables,
    }
}

/// A table of request workloads: heading, names of its rows, tool, figure, decimals.
type Requests = (&'static str, fn() -> Vec<&'static str>, Tool, Metric, usize);

const TABLES: [Requests; 7] = [
    ("Server CPU, µs/request (redis-benchmark)", workloads, Tool::RedisBenchmark, Metric::CpuUs, 3),
    ("Server CPU, µs/request (torc-loadgen)", workloads, Tool::Loadgen, Metric::CpuUs, 3),
    (
        "Instr/req: user-space instructions/request, from bytes received to bytes to send",
        tapes,
        Tool::Own,
        Metric::Instructions,
        0,
    ),
    ("Requests/s (redis-benchmark)", workloads, Tool::RedisBenchmark, Metric::RequestsPerSecond, 0),
    ("p50, µs (torc-loadgen, closed loop)", workloads, Tool::Loadgen, Metric::P50Us, 1),
    ("p99, µs (torc-loadgen, closed loop)", workloads, Tool::Loadgen, Metric::P99Us, 1),
    ("p99.9, µs (torc-loadgen, closed loop)", workloads, Tool::Loadgen, Metric::P999Us, 1),
];

fn workloads() -> Vec<&'static str> {
    WORKLOADS.iter().map(|workload| workload.name).collect()
}

fn tapes() -> Vec<&'static str> {
    tape::KINDS.iter().map(|kind| kind.name).collect()
}

fn requests_table(
    results: &Results,
    kinds: &[Kind],
    title: &str,
    names: &[&str],
    (tool, metric): (Tool, Metric),
    digits: usize,
) -> String {
    let rows = names.iter().map(|&name| {
        let of = of(name, tool, metric);
        let cells = kinds.iter().map(|&kind| cell(results.spread(of, kind), digits));
        (name.to_owned(), cells.chain([cell(results.advantage(of, Kind::Torc), 2)]).collect())
    });
    table(title, kinds, &["Torc better than the better of Redis, Valkey by"], rows.collect())
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
