//! The figures as one flat list, and the medians and spreads taken from it. Knows no server and no unit conversion.

use crate::{load::Tool, servers::Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    RequestsPerSecond,
    /// Server CPU, user and system, all threads, µs per request.
    CpuUs,
    P50Us,
    P99Us,
    P999Us,
    /// Longest request.
    WorstUs,
    /// Longest command by the server's own clock: the upper end of its bucket in LATENCY HISTOGRAM.
    WorstCommandUs,
    /// Longest request of the control: the same load on keys that exist already.
    ControlWorstUs,
    /// Requests per million that took over 2 ms.
    SlowPerMillion,
    ControlSlowPerMillion,
    /// The load's own worst lateness.
    LagWorstUs,
    /// Growth of resident memory.
    BytesPerKey,
    BytesPerElement,
    /// Growth of what INFO calls used_memory.
    UsedPerKey,
    UsedPerElement,
    /// Resident memory of the empty server.
    EmptyMib,
    /// User-space instructions per request, of those parts of the server that the report names.
    Instructions,
    /// Of one core.
    IdlePercent,
    /// Of the load's core, by the busiest of its threads.
    LoaderPercent,
    /// CPU of the shard's thread alone (Torc), µs per request.
    ShardCpuUs,
    /// CPU of the log core's thread alone (Torc), µs per request.
    LogCpuUs,
    /// Most resident memory of the server and its children, MiB.
    PeakMib,
    /// By how much of what it had at the start that is more.
    ExtraPercent,
    /// What a fork had to copy, by the server's own account, MiB.
    CopiedMib,
    /// Snapshots written meanwhile.
    Saves,
    SaveSeconds,
    SyncSeconds,
    LoadSeconds,
    /// From the end of the writes, or of the cut, until the replicas had everything.
    CatchUpSeconds,
    FullSyncs,
    PartialSyncs,
    /// Walks of the data (Torc) or forks (others).
    Walks,
    /// Replicas that got everything in the end.
    Converged,
    /// What replicas had to be sent, MiB.
    StreamMib,
}

impl Metric {
    fn more_is_better(self) -> bool {
        matches!(self, Self::RequestsPerSecond | Self::PartialSyncs | Self::Converged)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::CpuUs => "server_cpu_us_per_request",
            Self::P50Us => "p50_us",
            Self::P99Us => "p99_us",
            Self::P999Us => "p99.9_us",
            Self::WorstUs => "worst_us",
            Self::WorstCommandUs => "worst_command_us",
            Self::ControlWorstUs => "control_worst_us",
            Self::SlowPerMillion => "over_2ms_per_million",
            Self::ControlSlowPerMillion => "control_over_2ms_per_million",
            Self::LagWorstUs => "load_lag_worst_us",
            Self::BytesPerKey => "rss_bytes_per_key",
            Self::BytesPerElement => "rss_bytes_per_element",
            Self::UsedPerKey => "used_bytes_per_key",
            Self::UsedPerElement => "used_bytes_per_element",
            Self::EmptyMib => "empty_rss_mib",
            Self::Instructions => "instructions_per_request",
            Self::IdlePercent => "idle_cpu_percent",
            Self::LoaderPercent => "load_cpu_percent",
            Self::ShardCpuUs => "shard_cpu_us_per_request",
            Self::LogCpuUs => "log_cpu_us_per_request",
            Self::PeakMib => "peak_rss_mib",
            Self::ExtraPercent => "extra_memory_percent",
            Self::CopiedMib => "copied_mib",
            Self::Saves => "saves",
            Self::SaveSeconds => "save_seconds",
            Self::SyncSeconds => "sync_seconds",
            Self::LoadSeconds => "load_seconds",
            Self::CatchUpSeconds => "catch_up_seconds",
            Self::FullSyncs => "full_syncs",
            Self::PartialSyncs => "partial_syncs",
            Self::Walks => "walks_or_forks",
            Self::Converged => "converged",
            Self::StreamMib => "stream_mib",
        }
    }
}

/// One figure of one repetition.
#[derive(Clone, Debug)]
pub struct Measurement {
    pub workload: String,
    pub tool: Tool,
    pub server: Kind,
    pub rep: u32,
    pub metric: Metric,
    pub value: f64,
}

#[derive(Default)]
pub struct Results {
    pub list: Vec<Measurement>,
}

/// Which figure is meant.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    pub workload: &'a str,
    pub tool: Tool,
    pub metric: Metric,
}

/// Median and extremes over the repetitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Self { median: lower.midpoint(upper), min, max })
    }
}

impl Results {
    pub fn add(&mut self, of: Of<'_>, server: Kind, rep: u32, value: f64) {
        let Of { workload, tool, metric } = of;
        self.list.push(Measurement { workload: workload.into(), tool, server, rep, metric, value });
    }

    /// Whether there is any such figure.
    pub fn has(&self, metric: Metric) -> bool {
        self.list.iter().any(|one| one.metric == metric)
    }

    fn values(&self, of: Of<'_>, server: Kind) -> impl Iterator<Item = (u32, f64)> {
        let meant = move |one: &&Measurement| {
            one.workload == of.workload
                && one.tool == of.tool
                && one.metric == of.metric
                && one.server == server
        };
        self.list.iter().filter(meant).map(|one| (one.rep, one.value))
    }

    pub fn spread(&self, of: Of<'_>, server: Kind) -> Option<Spread> {
        Spread::of(self.values(of, server).map(|(_, value)| value).collect())
    }

    /// The better of Redis and Valkey, by its median.
    pub fn best_peer(&self, of: Of<'_>) -> Option<(Kind, Spread)> {
        let found = Kind::BAR.iter().filter_map(|&server| Some((server, self.spread(of, server)?)));
        let sign = if of.metric.more_is_better() { -1.0 } else { 1.0 };
        found.min_by(|(_, a), (_, b)| (sign * a.median).total_cmp(&(sign * b.median)))
    }

    /// How many times better `server` is than the best peer.
    pub fn advantage(&self, of: Of<'_>, server: Kind) -> Option<Spread> {
        let (peer, _) = self.best_peer(of)?;
        if of.metric.more_is_better() {
            self.ratio((of, server), (of, peer))
        } else {
            self.ratio((of, peer), (of, server))
        }
    }

    /// `above / below`: the ratio of the medians, and the extremes of the ratios within each repetition, where both
    /// sides met the same weather.
    pub fn ratio(&self, above: (Of<'_>, Kind), below: (Of<'_>, Kind)) -> Option<Spread> {
        let median = self.spread(above.0, above.1)?.median / self.spread(below.0, below.1)?.median;
        let below: Vec<(u32, f64)> = self.values(below.0, below.1).collect();
        let paired = self.values(above.0, above.1).filter_map(|(rep, value)| {
            below.iter().find(|&&(other, _)| other == rep).map(|&(_, other)| value / other)
        });
        let spread = Spread::of(paired.collect())?;
        Some(Spread { median, ..spread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Of<'_> = Of { workload: "w", tool: Tool::Loadgen, metric: Metric::CpuUs };

    fn results() -> Results {
        let mut results = Results::default();
        for (rep, (torc, redis, valkey)) in
            [(1.0, 2.0, 3.0), (2.0, 6.0, 3.0), (1.5, 4.0, 3.5)].into_iter().enumerate()
        {
            let rep = rep as u32;
            results.add(CPU, Kind::Torc, rep, torc);
            results.add(CPU, Kind::Redis, rep, redis);
            results.add(CPU, Kind::Valkey, rep, valkey);
        }
        results
    }

    #[test]
    fn medians_and_extremes() {
        let results = results();
        assert_eq!(results.spread(CPU, Kind::Torc), Some(Spread { median: 1.5, min: 1.0, max: 2.0 }));
        assert_eq!(results.spread(CPU, Kind::Kevy), None);
        assert_eq!(Spread::of(vec![4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    }

    #[test]
    fn the_best_peer_is_the_one_with_the_best_median() {
        let mut results = results();
        assert_eq!(results.best_peer(CPU).map(|(kind, _)| kind), Some(Kind::Valkey));
        assert_eq!(results.advantage(CPU, Kind::Torc).map(|ratio| ratio.median), Some(2.0));
        let rate = Of { metric: Metric::RequestsPerSecond, ..CPU };
        for (server, value) in [(Kind::Redis, 5.0), (Kind::Valkey, 4.0), (Kind::Torc, 15.0)] {
            results.add(rate, server, 0, value);
        }
        assert_eq!(results.best_peer(rate).map(|(kind, _)| kind), Some(Kind::Redis));
        assert_eq!(results.advantage(rate, Kind::Torc).map(|ratio| ratio.median), Some(3.0));
    }

    #[test]
    fn a_ratio_takes_medians_and_pairs_its_extremes_by_repetition() {
        let ratio = results().ratio((CPU, Kind::Redis), (CPU, Kind::Torc));
        assert_eq!(ratio, Some(Spread { median: 4.0 / 1.5, min: 2.0, max: 3.0 }));
    }
}
