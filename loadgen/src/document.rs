//! The report as data, `schema` "loadgen/1": what a run did and what was counted, complete enough that the terminal
//! table, CSV, HTML, comparisons and the merging of several hosts' runs are made from it alone. All stamps and
//! latencies are nanoseconds, times in a series are seconds since the first measured instant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const SCHEMA: &str = "loadgen/1";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    pub schema: String,
    pub verdict: Verdict,
    pub env: Env,
    pub server: Server,
    /// Every option as it was resolved.
    pub plan: Value,
    pub elapsed_ns: u64,
    /// "open" or "closed": whether response counts from the intended start or from the send.
    pub load: String,
    /// One per command of the mix, in the mix's order.
    pub results: Vec<CommandResult>,
    /// Intended start to the moment the generator noticed it, open loop only: its own lateness.
    pub lag: Latencies,
    /// Largest share of a CPU that one thread of the generator used, 0 to 1.
    pub loader_cpu: f64,
    /// One entry a second.
    pub series: Vec<Interval>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the figures measure the server.
    pub valid: bool,
    pub reasons: Vec<String>,
    /// The objectives asked for (`p99=1ms`) that were missed, in words.
    pub slo_missed: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Env {
    pub cpu: String,
    pub kernel: String,
    pub clocksource: String,
    pub governor: String,
    /// CPUs of the threads; empty = not pinned.
    pub pinning: Vec<usize>,
    pub argv: Vec<String>,
    pub seed: u64,
    pub version: String,
}

/// What the server said of itself (HELLO, INFO); empty where it did not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Server {
    pub target: String,
    pub name: String,
    pub version: String,
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandResult {
    pub cmd: String,
    /// Requests per second asked for; in a closed loop what was achieved.
    pub offered: f64,
    /// Requests per second answered.
    pub achieved: f64,
    pub answered: u64,
    pub hits: u64,
    pub misses: u64,
    /// By first word of the error text, and `unanswered`, `corrupt` for what verification refused.
    pub errors: BTreeMap<String, u64>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub response: Latencies,
    pub service: Latencies,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latencies {
    /// Always "ns".
    pub unit: String,
    pub count: u64,
    pub min: u64,
    pub mean: f64,
    pub max: u64,
    /// Only those with enough samples behind them.
    pub quantiles: Vec<Quantile>,
    /// The histogram itself: HdrHistogram V2, DEFLATE, base64.
    pub hdr_v2_deflate_b64: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quantile {
    pub q: f64,
    pub v: u64,
    /// 95 % confidence interval of `v`, samples taken as independent.
    pub ci_lo: u64,
    pub ci_hi: u64,
    pub trusted: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// Seconds since the first measured instant at which the interval begins, and its length.
    pub t: f64,
    pub seconds: f64,
    /// Answered, due by the schedule (closed loop: sent), and failed in it.
    pub ops: u64,
    pub offered: u64,
    pub errors: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
    pub lag_p99: u64,
    /// Of the busiest thread of the generator, 0 to 1.
    pub cpu: f64,
    /// Response times of the interval, as in `Latencies`.
    pub hdr_v2_deflate_b64: String,
}
