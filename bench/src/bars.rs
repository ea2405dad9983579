//! The bars Torc has to clear, each computed from the results: a table of what is compared, and the verdicts.

use crate::{
    load::{GET_C1, GET_P1, GET_P16, GET_P64, SET_P1, SET_P16, SET_P64, Tool},
    peers::{GROWTH, IDLE, MEMORY_1M, MEMORY_10M, on_two_shards},
    results::{Metric, Of, Results, Spread},
    servers::Kind,
};

/// A bar and what the results say of it. Without figures on both sides nothing is said.
pub struct Verdict {
    pub what: String,
    pub torc: Option<Spread>,
    /// What it is compared with, and whose figure that is.
    pub other: Option<(String, Spread)>,
    /// How many times better than `other`; for two shards, how many times the CPU of one.
    pub ratio: Option<Spread>,
    pub wanted: String,
    pub met: Option<bool>,
    pub digits: usize,
}

/// All bars: requests, memory, two shards, growth, rest.
pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let mut list = Vec::new();
    for (workload, times) in
        [(SET_P1, 1.2), (GET_P1, 1.2), (SET_P16, 1.6), (GET_P16, 1.6), (SET_P64, 2.2), (GET_P64, 2.0)]
    {
        let of = Of { workload, tool: Tool::RedisBenchmark, metric: Metric::CpuUs };
        list.push(against_peers(results, "CPU µs/request", of, Kind::Torc, times));
    }
    let of = |tool, metric| Of { workload: GET_C1, tool, metric };
    let (rate, cpu, p50) = (Metric::RequestsPerSecond, Metric::CpuUs, Metric::P50Us);
    list.push(against_peers(results, "requests/s", of(Tool::RedisBenchmark, rate), Kind::Torc, 1.5));
    list.push(against_peers(results, "CPU µs/request", of(Tool::RedisBenchmark, cpu), Kind::TorcNoSpin, 1.0));
    list.push(against_peers(results, "p50 µs", of(Tool::Loadgen, p50), Kind::TorcNoSpin, 1.0));
    for workload in [MEMORY_1M, MEMORY_10M] {
        list.push(at_most(results, "RSS bytes/key", workload, Metric::BytesPerKey, 80.0, 1));
    }
    for workload in [SET_P16, GET_P16] {
        list.push(two_shards(results, workload));
    }
    // The bucket that holds 2 ms ends there. Requests as clients see them are in the table below: on a machine of
    // two cores they show the machine's stalls, with the control or without.
    list.push(at_most(
        results,
        "worst command by the server's clock, µs",
        GROWTH,
        Metric::WorstCommandUs,
        2113.0,
        0,
    ));
    list.push(at_most(results, "CPU % of a core", IDLE, Metric::IdlePercent, 0.5, 3));
    list
}

/// Torc at least `times` better than the better of Redis and Valkey.
fn against_peers(results: &Results, unit: &str, of: Of<'_>, torc: Kind, times: f64) -> Verdict {
    let best = results.best_peer(of);
    let ratio = results.advantage(of, torc);
    let variant = if torc == Kind::TorcNoSpin { ", spin-us 0" } else { "" };
    Verdict {
        what: format!("{}{variant}: {unit}", of.workload),
        torc: results.spread(of, torc),
        other: best.map(|(peer, spread)| (peer.label().to_owned(), spread)),
        ratio,
        wanted: format!("≥ {times}×"),
        met: ratio.map(|ratio| ratio.median >= times),
        digits: if of.metric == Metric::RequestsPerSecond { 0 } else { 3 },
    }
}

/// Torc's figure at most `limit`; the better peer is shown beside it.
fn at_most(
    results: &Results,
    unit: &str,
    workload: &str,
    metric: Metric,
    limit: f64,
    digits: usize,
) -> Verdict {
    let of = Of { workload, tool: Tool::Loadgen, metric };
    let torc = results.spread(of, Kind::Torc);
    let best = results.best_peer(of);
    Verdict {
        what: format!("{workload}: {unit}"),
        torc,
        other: best.map(|(peer, spread)| (peer.label().to_owned(), spread)),
        ratio: results.advantage(of, Kind::Torc),
        wanted: format!("≤ {limit}"),
        met: torc.map(|torc| torc.median <= limit),
        digits,
    }
}

/// CPU per request on two shards at most 1.35 times that on one.
fn two_shards(results: &Results, workload: &str) -> Verdict {
    let two = on_two_shards(workload);
    let of = |workload| Of { workload, tool: Tool::RedisBenchmark, metric: Metric::CpuUs };
    let ratio = results.ratio((of(&two), Kind::Torc), (of(workload), Kind::Torc));
    Verdict {
        what: format!("{two}: CPU µs/request"),
        torc: results.spread(of(&two), Kind::Torc),
        other: results.spread(of(workload), Kind::Torc).map(|spread| ("one shard".into(), spread)),
        ratio,
        wanted: "≤ 1.35×".into(),
        met: ratio.map(|ratio| ratio.median <= 1.35),
        digits: 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(what: &str, figures: &[(&str, Tool, Metric, Kind, f64)]) -> Verdict {
        let mut results = Results::default();
        for &(workload, tool, metric, server, value) in figures {
            results.add(Of { workload, tool, metric }, server, 0, value);
        }
        verdicts(&results).into_iter().find(|verdict| verdict.what.starts_with(what)).expect(what)
    }

    #[test]
    fn a_relative_bar_is_judged_against_the_better_peer() {
        let cpu = |server, value| (SET_P16, Tool::RedisBenchmark, Metric::CpuUs, server, value);
        let peers = [cpu(Kind::Redis, 1.4), cpu(Kind::Valkey, 1.2)];
        let met = |torc| verdict(SET_P16, &[peers[0], peers[1], cpu(Kind::Torc, torc)]).met;
        assert_eq!(met(0.74), Some(true));
        assert_eq!(met(0.76), Some(false));
        assert_eq!(verdict(SET_P16, &peers).met, None);
    }

    #[test]
    fn more_requests_are_better_and_less_memory_is() {
        let rate = |server, value| (GET_C1, Tool::RedisBenchmark, Metric::RequestsPerSecond, server, value);
        let both = [rate(Kind::Redis, 10.0), rate(Kind::Valkey, 20.0), rate(Kind::Torc, 31.0)];
        let judged = verdict("GET c1 P1: requests/s", &both);
        assert_eq!(judged.met, Some(true));
        assert_eq!(judged.other.map(|(label, _)| label), Some("Valkey".into()));
        let bytes = |value| (MEMORY_1M, Tool::Loadgen, Metric::BytesPerKey, Kind::Torc, value);
        assert_eq!(verdict(MEMORY_1M, &[bytes(80.0)]).met, Some(true));
        assert_eq!(verdict(MEMORY_1M, &[bytes(80.1)]).met, Some(false));
    }
}
