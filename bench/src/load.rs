//! The loads: what each workload sends, and one run of it by redis-benchmark or by our own generator, with the server's
//! CPU time taken before and after.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::atomic::AtomicBool,
    time::Duration,
};

use torc_loadgen::{
    CommandStats, Outcome, Plan,
    keys::{KeyRange, Pattern},
    plan::{Arrival, End, Load, PipelineMode},
    traffic::{mix::set_get, values::DataPlan},
    verdict,
};

use crate::{
    measure::{cpu_ns, rest},
    results::Metric,
    servers::Server,
};

/// Keys of the request workloads, and bytes of their values: as in redis-benchmark -r 100000 -d 16.
pub const KEYS: u64 = 100_000;
pub const VALUE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    RedisBenchmark,
    Loadgen,
    /// This program's own pipelines: fills and tapes.
    Own,
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Self::RedisBenchmark => "redis-benchmark",
            Self::Loadgen => "torc-loadgen",
            Self::Own => "torc-bench",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Set,
    Get,
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Get => "GET",
        }
    }
}

/// A closed loop of one command.
#[derive(Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub op: Op,
    pub clients: usize,
    pub pipeline: usize,
    /// About three seconds of Redis on the reference machine; our generator sends as many.
    pub requests: u64,
}

pub const SET_P1: &str = "SET c50 P1";
pub const GET_P1: &str = "GET c50 P1";
pub const SET_P16: &str = "SET c50 P16";
pub const GET_P16: &str = "GET c50 P16";
pub const SET_P64: &str = "SET c50 P64";
pub const GET_P64: &str = "GET c50 P64";
pub const GET_C1: &str = "GET c1 P1";

pub const WORKLOADS: [Workload; 7] = [
    Workload { name: SET_P1, op: Op::Set, clients: 50, pipeline: 1, requests: 200_000 },
    Workload { name: GET_P1, op: Op::Get, clients: 50, pipeline: 1, requests: 200_000 },
    Workload { name: SET_P16, op: Op::Set, clients: 50, pipeline: 16, requests: 2_000_000 },
    Workload { name: GET_P16, op: Op::Get, clients: 50, pipeline: 16, requests: 2_000_000 },
    Workload { name: SET_P64, op: Op::Set, clients: 50, pipeline: 64, requests: 4_000_000 },
    Workload { name: GET_P64, op: Op::Get, clients: 50, pipeline: 64, requests: 4_000_000 },
    Workload { name: GET_C1, op: Op::Get, clients: 1, pipeline: 1, requests: 100_000 },
];

pub type Figures = Vec<(Metric, f64)>;

/// One run of `workload` with `requests` requests, and the server's CPU time for it.
pub fn run(
    tool: Tool,
    redis_benchmark: &Path,
    workload: &Workload,
    requests: u64,
    server: &Server,
    stop: &AtomicBool,
) -> Result<Figures, String> {
    let before = cpu_ns(server.pid())?;
    let mut figures = send(tool, redis_benchmark, workload, requests, server, stop)?;
    let spent = cpu_ns(server.pid())? - before;
    figures.push((Metric::CpuUs, spent as f64 / 1000.0 / requests as f64));
    Ok(figures)
}

/// One run of `workload` with `requests` requests, as its clients see it.
pub fn send(
    tool: Tool,
    redis_benchmark: &Path,
    workload: &Workload,
    requests: u64,
    server: &Server,
    stop: &AtomicBool,
) -> Result<Figures, String> {
    match tool {
        Tool::RedisBenchmark => run_redis_benchmark(redis_benchmark, workload, requests, server, stop),
        Tool::Loadgen => run_loadgen(workload, requests, server, stop),
        Tool::Own => unreachable!("a workload is sent by a load generator"),
    }
}

fn run_redis_benchmark(
    program: &Path,
    workload: &Workload,
    requests: u64,
    server: &Server,
    stop: &AtomicBool,
) -> Result<Figures, String> {
    let text = |number: u64| number.to_string();
    let mut child = Command::new(program)
        .args(["-p", &server.address.port().to_string(), "-t", &workload.op.name().to_lowercase(), "--csv"])
        .args(["-c", &text(workload.clients as u64), "-P", &text(workload.pipeline as u64)])
        .args(["-n", &text(requests), "-r", &text(KEYS), "-d", &text(VALUE as u64)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{} (package redis-tools): {error}", program.display()))?;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            if !status.success() {
                return Err(format!("redis-benchmark ended with {status}"));
            }
            break;
        }
        if let Err(interrupted) = rest(Duration::from_millis(20), stop) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(interrupted);
        }
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    parse_csv(&String::from_utf8_lossy(&output.stdout))
}

/// The figures of the one test in redis-benchmark's CSV; latencies come in ms with three decimals.
fn parse_csv(text: &str) -> Result<Figures, String> {
    let mut rows = text
        .lines()
        .map(|line| line.split(',').map(|field| field.trim().trim_matches('"')).collect::<Vec<&str>>());
    let head = rows.find(|row| row.first() == Some(&"test"));
    let row = rows.next();
    let field = |name: &str| {
        let column = head.as_ref()?.iter().position(|title| *title == name)?;
        row.as_ref()?.get(column)?.parse::<f64>().ok()
    };
    let figures = || {
        Some(vec![
            (Metric::RequestsPerSecond, field("rps")?),
            (Metric::P50Us, field("p50_latency_ms")? * 1000.0),
            (Metric::P99Us, field("p99_latency_ms")? * 1000.0),
            (Metric::WorstUs, field("max_latency_ms")? * 1000.0),
        ])
    };
    figures().ok_or_else(|| format!("redis-benchmark's output is not understood: {text}"))
}

fn run_loadgen(
    workload: &Workload,
    requests: u64,
    server: &Server,
    stop: &AtomicBool,
) -> Result<Figures, String> {
    let keys = KeyRange { first: 0, last: KEYS - 1, pattern: Pattern::Random };
    let mix = match workload.op {
        Op::Set => set_get(1, 0),
        Op::Get => set_get(0, 1),
    };
    let plan = Plan {
        clients: workload.clients,
        pipeline: workload.pipeline,
        mode: PipelineMode::Batch,
        mix,
        data: DataPlan::of(VALUE),
        ..Plan::closed(server.address, keys, End::Requests(requests))
    };
    let outcome = drive(&plan, stop)?;
    let stats = only(&outcome);
    if workload.op == Op::Get && stats.counts.hit_rate() < 1.0 {
        return Err(format!("only {:.2} % of the GETs hit", stats.counts.hit_rate() * 100.0));
    }
    let quantile = |quantile| stats.response.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(vec![
        (Metric::RequestsPerSecond, outcome.rate()),
        (Metric::P50Us, quantile(0.5)),
        (Metric::P99Us, quantile(0.99)),
        (Metric::P999Us, quantile(0.999)),
        (Metric::WorstUs, stats.response.max() as f64 / 1000.0),
        (Metric::LoaderPercent, outcome.busiest_thread * 100.0),
    ])
}

/// What was counted of a run of one command.
fn only(outcome: &Outcome) -> &CommandStats {
    &outcome.commands[0]
}

/// SETs every key of `0..keys` with `value` bytes.
pub fn fill(server: &Server, keys: u64, value: usize, stop: &AtomicBool) -> Result<(), String> {
    let range = KeyRange { first: 0, last: keys - 1, pattern: Pattern::Sequential };
    drive(&Plan::fill(server.address, range, value), stop).map(drop)
}

/// SETs keys `0..keys` in order at a constant rate on one deeply pipelined connection. Returns the latencies from the
/// intended start, and the load's own worst lateness in ns.
pub fn set_at_rate(
    server: &Server,
    keys: u64,
    rate: u64,
    stop: &AtomicBool,
) -> Result<(CommandStats, u64), String> {
    let range = KeyRange { first: 0, last: keys - 1, pattern: Pattern::Sequential };
    let plan = Plan {
        // Room for what falls due in a stall of some 10 ms; beyond it requests wait unsent, which counts all the same.
        pipeline: 2048,
        clients: 1,
        load: Load::Open { rate: rate as f64, arrival: Arrival::Constant, end: End::Requests(keys) },
        ..Plan::fill(server.address, range, 32)
    };
    let outcome = drive(&plan, stop)?;
    Ok((only(&outcome).clone(), outcome.lag.max()))
}

/// SETs random keys of the request workloads for `length`, as fast as the server takes them.
pub fn set_for(server: &Server, length: Duration, stop: &AtomicBool) -> Result<Outcome, String> {
    let keys = KeyRange { first: 0, last: KEYS - 1, pattern: Pattern::Random };
    let plan = Plan {
        clients: 50,
        pipeline: 16,
        mix: set_get(1, 0),
        data: DataPlan::of(VALUE),
        ..Plan::closed(server.address, keys, End::Time(length))
    };
    drive(&plan, stop)
}

/// Runs a plan; replies that are errors and requests without reply are faults here.
pub fn drive(plan: &Plan, stop: &AtomicBool) -> Result<Outcome, String> {
    let outcome = torc_loadgen::run(plan, stop).map_err(|fault| fault.to_string())?;
    if outcome.incidents.interrupted || outcome.counts().failed() + outcome.incidents.lost > 0 {
        return Err(verdict::judge(plan, &outcome).reasons.join("; "));
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_of_redis_benchmark_is_read_by_column_name() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
                    \"p99_latency_ms\",\"max_latency_ms\"\n\
                    \"GET\",\"1438848.88\",\"0.306\",\"0.088\",\"0.287\",\"0.431\",\"0.583\",\"1.127\"\n";
        let figures = parse_csv(text).expect("understood");
        assert_eq!(figures[0], (Metric::RequestsPerSecond, 1_438_848.88));
        assert_eq!(figures[1], (Metric::P50Us, 287.0));
        assert_eq!(figures[2], (Metric::P99Us, 583.0));
        assert!(parse_csv("Could not connect\n").is_err());
    }
}
