//! The bars of the log, snapshots, loading and replication.

use crate::{
    bars::{Verdict, against_peers, always, at_most, within},
    load::Tool,
    report::of,
    results::{Metric, Results},
    servers::Kind,
};

use super::{
    links::{AWAY, JOIN, JOINERS},
    loading::{AOF_1, AOF_2, RDB_1, RDB_2},
    snapshots::{BGSAVE, FULLSYNC, QUIET},
    writes::{ALONE, ALWAYS_C1, ALWAYS_C50, EVERYSEC, REPLICA},
};

pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let (ours, theirs) = (Tool::Loadgen, Tool::RedisBenchmark);
    let mut list = Vec::new();
    for (unit, of, times) in [
        ("requests/s", of(ALWAYS_C50, theirs, Metric::RequestsPerSecond), 1.5),
        ("p50 µs", of(ALWAYS_C1, ours, Metric::P50Us), 1.0),
        ("CPU µs/request", of(EVERYSEC, theirs, Metric::CpuUs), 1.5),
        ("primary's CPU µs/request", of(REPLICA, theirs, Metric::CpuUs), 1.5),
    ] {
        list.push(against_peers(results, unit, of, Kind::Torc, times));
    }
    let shard = |workload| of(workload, theirs, Metric::ShardCpuUs);
    let both = (shard(REPLICA), shard(ALONE));
    list.push(within(results, "shard's CPU µs/request", both, "without a replica", 1.15, 3));
    for (unit, metric, limit, digits) in
        [("peak RSS MiB", Metric::PeakMib, 1.10, 0), ("p99.9 of GET µs", Metric::P999Us, 1.3, 0)]
    {
        let both = (of(BGSAVE, ours, metric), of(QUIET, ours, metric));
        list.push(within(results, unit, both, "without BGSAVE", limit, digits));
    }
    list.push(at_most(results, "longest GET µs", BGSAVE, Metric::WorstUs, 10_000.0, 0));
    list.push(against_peers(results, "s", of(FULLSYNC, ours, Metric::SyncSeconds), Kind::Torc, 2.0));
    list.push(at_most(results, "extra memory %", FULLSYNC, Metric::ExtraPercent, 5.0, 1));
    for (workload, times) in [(RDB_2, 2.0), (AOF_2, 2.0), (RDB_1, 1.0), (AOF_1, 1.0)] {
        let of = of(workload, ours, Metric::LoadSeconds);
        list.push(against_peers(results, "s", of, Kind::Torc, times));
    }
    let count = |workload, metric| of(workload, ours, metric);
    list.push(always(results, "full syncs", count(AWAY, Metric::FullSyncs), "0", |got| got.max == 0.0));
    list.push(always(results, "partial syncs", count(AWAY, Metric::PartialSyncs), "≥ 1", |got| {
        got.min >= 1.0
    }));
    for (workload, replicas) in [(AWAY, 1), (JOIN, JOINERS)] {
        let all = replicas as f64;
        let of = count(workload, Metric::Converged);
        list.push(always(results, "replicas in step", of, &replicas.to_string(), |got| got.min >= all));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(what: &str, figures: &[(&str, Metric, f64)]) -> Option<bool> {
        let mut results = Results::default();
        for &(workload, metric, value) in figures {
            results.add(of(workload, Tool::Loadgen, metric), Kind::Torc, 0, value);
        }
        verdicts(&results).into_iter().find(|verdict| verdict.what.starts_with(what)).expect(what).met
    }

    #[test]
    fn a_snapshot_is_judged_by_the_same_server_without_it() {
        let latency = |with| [(QUIET, Metric::P999Us, 100.0), (BGSAVE, Metric::P999Us, with)];
        let what = "1 GiB, 20k SET/s, BGSAVE: p99.9";
        assert_eq!(met(what, &latency(129.0)), Some(true));
        assert_eq!(met(what, &latency(131.0)), Some(false));
        assert_eq!(met(what, &latency(1.0)[1..]), None);
    }

    #[test]
    fn counts_must_hold_without_any_peer() {
        assert_eq!(met("away: full", &[(AWAY, Metric::FullSyncs, 0.0)]), Some(true));
        assert_eq!(met("away: full", &[(AWAY, Metric::FullSyncs, 1.0)]), Some(false));
        assert_eq!(met("join: replicas", &[(JOIN, Metric::Converged, 4.0)]), Some(false));
    }
}
