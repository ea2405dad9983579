//! Writes the results down: results.json for programs, RESULTS.md for people, the same table on the terminal.

use std::{fmt::Write, fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::{
    Options,
    bars::{Verdict, verdicts},
    load::{Tool, WORKLOADS},
    peers::{GROWTH, IDLE, MEMORY_1M, MEMORY_10M},
    results::{Metric, Of, Results, Spread},
    servers::{Contender, Kind},
};

/// Where and how the run was made.
pub struct Environment {
    cpu: String,
    cpus: usize,
    kernel: String,
    date: String,
    commit: String,
    command: String,
    load_average: String,
}

impl Environment {
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cpus: info.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            commit: output("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]),
            command: std::env::args().skip(1).fold("torc-bench".into(), |line, word| line + " " + &word),
            load_average: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// Writes both files and prints the table.
pub fn write(
    options: &Options,
    environment: &Environment,
    contenders: &[Contender],
    results: &Results,
) -> Result<(), String> {
    let table = markdown(options, environment, contenders, results);
    let dir = options.out.clone().unwrap_or_else(|| default_dir(options.quick));
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let json = format!("{:#}\n", json(environment, contenders, results));
    for (name, text) in [("results.json", &json), ("RESULTS.md", &table)] {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    println!("{table}");
    Ok(())
}

/// A quick run must not replace the figures that are kept.
fn default_dir(quick: bool) -> PathBuf {
    if quick { std::env::temp_dir().join("torc-bench-quick") } else { env!("CARGO_MANIFEST_DIR").into() }
}

fn markdown(
    options: &Options,
    environment: &Environment,
    contenders: &[Contender],
    results: &Results,
) -> String {
    let mut out = String::from("# Torc beside its peers\n\n");
    if options.quick {
        out.push_str("**A quick run: it shows that everything works; the figures mean nothing.**\n\n");
    }
    let e = environment;
    let versions: Vec<String> = contenders
        .iter()
        .filter(|contender| !matches!(contender.kind, Kind::TorcNoSpin | Kind::Echo))
        .map(|contender| format!("{} {}", contender.kind.label(), contender.version))
        .collect();
    let _ = write!(
        out,
        "{} × {}, Linux {}, loopback; {}; commit {}, {}, load average {} at the start.\n`{}`\n\n\
         Each server is alone on CPU {}, started fresh for every figure, nothing kept on disk; the load is on CPU {}. \
         Cells are medians over the repetitions with (min–max). CPU is user + system of all threads of the server, \
         from /proc/PID/task/*/schedstat. Ratios are those of the medians, with the extremes of the ratios within one \
         repetition.\n\n",
        e.cpus,
        e.cpu,
        e.kernel,
        versions.join(", "),
        e.commit,
        e.date,
        e.load_average,
        e.command,
        options.server_cpu,
        options.load_cpu
    );
    out.push_str(&bars_table(&verdicts(results)));
    let kinds: Vec<Kind> = contenders.iter().map(|contender| contender.kind).collect();
    for (title, tool, metric, digits) in TABLES {
        out.push_str(&requests_table(results, &kinds, title, tool, metric, digits));
    }
    out.push_str(&other_table(results, &kinds));
    out
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

fn bars_table(list: &[Verdict]) -> String {
    let mut out = String::from(
        "## Bars\n\n| what | Torc | against | ratio | bar | met? |\n|---|---|---|---|---|---|\n",
    );
    for verdict in list {
        let other = verdict.other.as_ref();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            verdict.what,
            cell(verdict.torc, verdict.digits),
            other.map_or("–".into(), |(label, spread)| format!(
                "{label} {}",
                cell(Some(*spread), verdict.digits)
            )),
            cell(verdict.ratio, 2),
            verdict.wanted,
            match verdict.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "not measured",
            },
        );
    }
    out + "\n"
}

fn requests_table(
    results: &Results,
    kinds: &[Kind],
    title: &str,
    tool: Tool,
    metric: Metric,
    digits: usize,
) -> String {
    let rows = WORKLOADS.iter().map(|workload| {
        let of = Of { workload: workload.name, tool, metric };
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
    let rows = rows.into_iter().map(|(name, workload, metric, digits)| {
        let of = Of { workload, tool: Tool::Loadgen, metric };
        let cells = kinds.iter().map(|&kind| cell(results.spread(of, kind), digits));
        (name.to_owned(), cells.collect())
    });
    table("Memory, growth, rest", kinds, None, rows.collect())
}

/// One table with a column per server; rows without any figure are left out, and the whole if none is left.
fn table(title: &str, kinds: &[Kind], last: Option<&str>, rows: Vec<(String, Vec<String>)>) -> String {
    let rows: Vec<_> = rows.into_iter().filter(|(_, cells)| cells.iter().any(|cell| cell != "–")).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heads: Vec<&str> = kinds.iter().map(|kind| kind.label()).chain(last).collect();
    let mut out = format!("## {title}\n\n| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (name, cells) in rows {
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
    out + "\n"
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "–".into(),
        Some(Spread { median, min, max }) if min == max => format!("{median:.digits$}"),
        Some(Spread { median, min, max }) => format!("{median:.digits$} ({min:.digits$}–{max:.digits$})"),
    }
}

fn json(environment: &Environment, contenders: &[Contender], results: &Results) -> Value {
    let e = environment;
    let measurements: Vec<Value> = results
        .list
        .iter()
        .map(|one| {
            json!({
                "workload": one.workload,
                "tool": one.tool.name(),
                "server": one.server.label(),
                "repetition": one.rep + 1,
                "metric": one.metric.name(),
                "value": one.value,
            })
        })
        .collect();
    let bars: Vec<Value> = verdicts(results)
        .into_iter()
        .map(|verdict| {
            json!({
                "what": verdict.what,
                "torc": verdict.torc.map(|spread| spread.median),
                "against": verdict.other.map(|(label, spread)| json!({ "who": label, "value": spread.median })),
                "ratio": verdict.ratio.map(|spread| spread.median),
                "bar": verdict.wanted,
                "met": verdict.met,
            })
        })
        .collect();
    json!({
        "schema": "torc-bench/1",
        "environment": {
            "cpu": e.cpu, "cpus": e.cpus, "kernel": e.kernel, "date": e.date, "commit": e.commit,
            "command": e.command, "load_average": e.load_average,
        },
        "servers": contenders.iter().map(|one| json!({ "name": one.kind.label(), "version": one.version })).collect::<Vec<_>>(),
        "bars": bars,
        "measurements": measurements,
    })
}
