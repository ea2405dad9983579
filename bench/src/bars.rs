//! What a bar is, and the kinds of them: each compares figures of the results and says whether Torc clears it.

use crate::{
    load::Tool,
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

/// Torc at least `times` better than the better of Redis and Valkey.
pub fn against_peers(results: &Results, unit: &str, of: Of<'_>, torc: Kind, times: f64) -> Verdict {
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
pub fn at_most(
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

/// Torc's first figure at most `limit` times its second, which is called `other`.
pub fn within(
    results: &Results,
    unit: &str,
    (of, base): (Of<'_>, Of<'_>),
    other: &str,
    limit: f64,
    digits: usize,
) -> Verdict {
    let ratio = results.ratio((of, Kind::Torc), (base, Kind::Torc));
    Verdict {
        what: format!("{}: {unit}", of.workload),
        torc: results.spread(of, Kind::Torc),
        other: results.spread(base, Kind::Torc).map(|spread| (other.to_owned(), spread)),
        ratio,
        wanted: format!("≤ {limit}×"),
        met: ratio.map(|ratio| ratio.median <= limit),
        digits,
    }
}

/// A count that must hold in every repetition.
pub fn always(
    results: &Results,
    unit: &str,
    of: Of<'_>,
    wanted: &str,
    holds: impl Fn(Spread) -> bool,
) -> Verdict {
    let torc = results.spread(of, Kind::Torc);
    Verdict {
        what: format!("{}: {unit}", of.workload),
        torc,
        other: results.best_peer(of).map(|(peer, spread)| (peer.label().to_owned(), spread)),
        ratio: None,
        wanted: wanted.to_owned(),
        met: torc.map(holds),
        digits: 0,
    }
}
