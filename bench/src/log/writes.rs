//! SETs with each kind of flushing, and with a replica: what they take of the server's CPU and of their clients' time.

use crate::{
    load::{self, KEYS, Op, Tool, VALUE, Workload},
    measure::{cpu_ns, thread_cpu_ns},
    results::Metric,
    servers::{Contender, Kind, Server},
};

use super::{Bench, PATIENCE, follow};

pub const ALWAYS_C50: &str = "always: SET c50 P1";
pub const ALWAYS_C1: &str = "always: SET c1 P1";
pub const EVERYSEC: &str = "everysec: SET c50 P16";
pub const ALONE: &str = "no replica: SET c50 P16";
pub const REPLICA: &str = "replica: SET c50 P16";

/// Threads of Torc with one shard.
const SHARD_THREAD: &str = "torc-0";
const LOG_THREAD: &str = "torc-log";

const fn sets(name: &'static str, clients: usize, pipeline: usize, requests: u64) -> Workload {
    Workload { name, op: Op::Set, clients, pipeline, requests }
}

pub fn always(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    for (workload, tool) in [
        (sets(ALWAYS_C50, 50, 1, 100_000), Tool::RedisBenchmark),
        (sets(ALWAYS_C1, 1, 1, 10_000), Tool::Loadgen),
    ] {
        for contender in bench.turns() {
            measure(bench, contender, &workload, tool, &arguments, false)?;
        }
    }
    Ok(())
}

pub fn everysec(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    let arguments = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let workload = sets(EVERYSEC, 50, 16, 2_000_000);
    for contender in bench.turns() {
        measure(bench, contender, &workload, Tool::RedisBenchmark, &arguments, false)?;
    }
    Ok(())
}

/// Without a replica and with one, neither with files.
pub fn replica(bench: &mut Bench<'_, '_>) -> Result<(), String> {
    for contender in bench.turns() {
        for (name, followed) in [(ALONE, false), (REPLICA, true)] {
            let workload = sets(name, 50, 16, 2_000_000);
            measure(bench, contender, &workload, Tool::RedisBenchmark, &[], followed)?;
        }
    }
    Ok(())
}

/// CPU time of a server so far: all threads, the shard's, the log core's.
fn times(server: &Server) -> Result<[u64; 3], String> {
    let pid = server.pid();
    Ok([cpu_ns(pid)?, thread_cpu_ns(pid, SHARD_THREAD)?, thread_cpu_ns(pid, LOG_THREAD)?])
}

fn measure(
    bench: &mut Bench<'_, '_>,
    contender: &Contender,
    workload: &Workload,
    tool: Tool,
    arguments: &[&'static str],
    followed: bool,
) -> Result<(), String> {
    let server = bench.primary(contender, arguments)?;
    load::fill(&server, KEYS, VALUE, bench.run.stop)?;
    let replica = if followed { Some(bench.replica(contender)?) } else { None };
    let replicas: Vec<&Server> = replica.iter().collect();
    let in_step = |what: &str| match bench.await_followers(&server, &replicas, PATIENCE) {
        Ok(false) => Err(format!("{}: the replica does not catch up {what}", contender.kind.label())),
        other => other.map(drop),
    };
    if let Some(replica) = &replica {
        follow(replica, server.address)?;
        in_step("before the load")?;
    }
    let requests = bench.run.scaled(workload.requests);
    let before = times(&server)?;
    let program = &bench.run.options.paths.redis_benchmark;
    let mut figures = load::send(tool, program, workload, requests, &server, bench.run.stop)
        .map_err(|problem| format!("{} on {}: {problem}", workload.name, contender.kind.label()))?;
    if followed {
        // What the replica has not been sent yet is work that these requests cause too.
        in_step("after the load")?;
        figures.push((Metric::FullSyncs, server.info("stats")?.number("sync_full")));
    }
    let spent = times(&server)?.into_iter().zip(before).map(|(after, before)| after - before);
    let each = spent.map(|ns| ns as f64 / 1000.0 / requests as f64);
    let metrics = [Metric::CpuUs, Metric::ShardCpuUs, Metric::LogCpuUs];
    let known = if contender.kind == Kind::Torc { 3 } else { 1 };
    figures.extend(metrics.into_iter().zip(each).take(known));
    bench.run.note(workload.name, tool, contender.kind, &figures);
    Ok(())
}
