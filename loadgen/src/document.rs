//! The report as data, `schema` "loadgen/1": what a run did and what was counted, complete enough that the terminal
//! table, CSV, HTML, comparisons and the merging of several hosts' runs are made from it alone. All stamps and
//! latencies are nanoseconds, times in a series are seconds since the first measured instant.

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2DeflateSerializer},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stats::{Trust, latencies, trust};

pub const SCHEMA: &str = "loadgen/1";

/// Quantiles a report names wherever enough samples stand behind them.
pub const QUANTILES: [f64; 10] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 0.999_99, 0.999_999];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    pub schema: String,
    pub verdict: Verdict,
    pub env: Env,
    pub server: Server,
    /// Every option as it was resolved.
    pub plan: Value,
    pub elapsed_ns: u64,
    /// Wall clock at the first measured instant, milliseconds since 1970; 0 = not known.
    #[serde(default)]
    pub started_unix_ms: u64,
    /// "open" or "closed": whether response counts from the intended start or from the send.
    pub load: String,
    /// One per command of the mix, in the mix's order.
    pub results: Vec<CommandResult>,
    /// Intended start to the moment the generator noticed it, open loop only: its own lateness.
    pub lag: Latencies,
    /// Noticed to sent, of the requests that found every window full, open loop only: the server's lateness.
    #[serde(default)]
    pub window_full: Latencies,
    /// Connections that were open and answering before the start, and how long each took to open.
    #[serde(default)]
    pub connections: u64,
    #[serde(default)]
    pub connect: Latencies,
    /// Requests that a cluster answered with MOVED or ASK and that were sent on; not among the errors.
    #[serde(default)]
    pub moved: u64,
    #[serde(default)]
    pub asked: u64,
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

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    /// Response times of the interval, of each command in the order of the results; each as in `Latencies`.
    pub hdr_v2_deflate_b64: Vec<String>,
}

impl Document {
    /// Reads the report in the file `path`.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let document: Self = serde_json::from_str(&text).map_err(|error| {
            let sweep =
                serde_json::from_str::<Value>(&text).is_ok_and(|report| report.get("points").is_some());
            let what = if sweep {
                "a sweep's report, where a run's is wanted"
            } else {
                "not a report of this program"
            };
            format!("{} is {what}: {error}", path.display())
        })?;
        if document.schema != SCHEMA {
            return Err(format!(
                "{}: schema {:?}, where {SCHEMA:?} is understood",
                path.display(),
                document.schema
            ));
        }
        document.check().map_err(|problem| format!("{}: {problem}", path.display()))?;
        Ok(document)
    }

    /// That every histogram can be read; later nobody knows any more which file it came from.
    fn check(&self) -> Result<(), String> {
        for result in &self.results {
            result.response.histogram()?;
            result.service.histogram()?;
        }
        for latencies in [&self.lag, &self.window_full, &self.connect] {
            latencies.histogram()?;
        }
        self.series.iter().try_for_each(|second| second.histogram().map(|_| ()))
    }

    /// Response times of all commands together.
    pub fn response(&self) -> Result<Histogram<u64>, String> {
        merged(self.results.iter().map(|result| &result.response))
    }

    /// Requests per second asked for, all commands together.
    pub fn offered(&self) -> f64 {
        self.results.iter().map(|result| result.offered).sum()
    }

    /// Requests per second answered, all commands together.
    pub fn achieved(&self) -> f64 {
        self.results.iter().map(|result| result.achieved).sum()
    }

    pub fn errors(&self) -> u64 {
        self.results.iter().flat_map(|result| result.errors.values()).sum()
    }

    /// Share of reads that found their key, 0 to 1; none where nothing was read.
    pub fn hit_rate(&self) -> Option<f64> {
        let of = |count: fn(&CommandResult) -> u64| self.results.iter().map(count).sum::<u64>();
        share(of(|result| result.hits), of(|result| result.misses))
    }

    pub fn is_open(&self) -> bool {
        self.load == "open"
    }
}

impl CommandResult {
    /// Share of reads that found their key, 0 to 1; none where the command reads nothing.
    pub fn hit_rate(&self) -> Option<f64> {
        share(self.hits, self.misses)
    }
}

fn share(hits: u64, misses: u64) -> Option<f64> {
    (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
}

/// The sum of several histograms, without loss.
pub fn merged<'a>(parts: impl Iterator<Item = &'a Latencies>) -> Result<Histogram<u64>, String> {
    sum(parts.map(Latencies::histogram))
}

fn sum(parts: impl Iterator<Item = Result<Histogram<u64>, String>>) -> Result<Histogram<u64>, String> {
    let mut whole = latencies();
    for part in parts {
        add(&mut whole, &part?)?;
    }
    Ok(whole)
}

/// Adds what a report holds, which may be anybody's.
pub fn add(whole: &mut Histogram<u64>, part: &Histogram<u64>) -> Result<(), String> {
    whole.add(part).map_err(|error| format!("histograms of different bounds: {error}"))
}

impl From<&Histogram<u64>> for Latencies {
    fn from(histogram: &Histogram<u64>) -> Self {
        let empty = histogram.is_empty();
        Self {
            unit: "ns".into(),
            count: histogram.len(),
            min: if empty { 0 } else { histogram.min() },
            mean: histogram.mean(),
            max: histogram.max(),
            quantiles: QUANTILES.into_iter().filter_map(|q| Quantile::of(histogram, q)).collect(),
            hdr_v2_deflate_b64: encode(histogram),
        }
    }
}

impl Latencies {
    /// The histogram itself, as it was recorded.
    pub fn histogram(&self) -> Result<Histogram<u64>, String> {
        decode(&self.hdr_v2_deflate_b64)
    }
}

impl Quantile {
    /// Quantile `q` (0 to 1) if there are samples enough to show it.
    pub fn of(histogram: &Histogram<u64>, q: f64) -> Option<Self> {
        let trust = trust(q, histogram.len());
        if trust == Trust::None {
            return None;
        }
        // The rank of a quantile is binomial: 1.96 standard deviations either side hold 95 % of it.
        let count = histogram.len() as f64;
        let spread = 1.96 * (q * (1.0 - q) / count).sqrt();
        Some(Self {
            q,
            v: histogram.value_at_quantile(q),
            ci_lo: histogram.value_at_quantile((q - spread).max(0.0)),
            ci_hi: histogram.value_at_quantile((q + spread).min(1.0)),
            trusted: trust == Trust::Full,
        })
    }
}

impl Interval {
    /// Response times of the interval, of all commands together.
    pub fn histogram(&self) -> Result<Histogram<u64>, String> {
        sum(self.hdr_v2_deflate_b64.iter().map(|text| decode(text)))
    }

    /// Those of each command, in the order of the results.
    pub fn histograms(&self) -> Result<Vec<Histogram<u64>>, String> {
        self.hdr_v2_deflate_b64.iter().map(|text| decode(text)).collect()
    }
}

/// A histogram as text: HdrHistogram V2, DEFLATE, base64.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("memory takes any histogram");
    STANDARD.encode(bytes)
}

/// The histogram that `encode` wrote; no text at all is no samples at all.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    if text.is_empty() {
        return Ok(latencies());
    }
    let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram is not base64: {error}"))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| format!("a histogram cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::record;

    fn spread(count: u64) -> Histogram<u64> {
        let mut histogram = latencies();
        for index in 1..=count {
            record(&mut histogram, index * 1000, 1);
        }
        histogram
    }

    #[test]
    fn a_histogram_survives_the_report_and_merging_two_reports_loses_nothing() {
        let (few, many) = (spread(10), spread(20_000));
        let reported = [Latencies::from(&few), Latencies::from(&many)];
        assert_eq!(reported[1].histogram(), Ok(many.clone()));
        let mut both = few.clone();
        both.add(&many).expect("same bounds");
        assert_eq!(merged(reported.iter()), Ok(both));
        assert_eq!(decode(&encode(&latencies())), Ok(latencies()));
        assert_eq!(decode(""), Ok(latencies()));
        assert!(decode("nonsense!").is_err() && decode("AAAA").is_err());
    }

    #[test]
    fn quantiles_are_those_with_samples_enough_and_their_interval_holds_them() {
        let reported = Latencies::from(&spread(20_000));
        let named: Vec<(f64, bool)> =
            reported.quantiles.iter().map(|found| (found.q, found.trusted)).collect();
        let expected = [
            (0.5, true),
            (0.75, true),
            (0.9, true),
            (0.95, true),
            (0.99, true),
            (0.995, true),
            (0.999, false),
        ];
        assert_eq!(named, expected);
        for found in &reported.quantiles {
            assert!(found.ci_lo < found.v && found.v < found.ci_hi, "{found:?}");
        }
        // 20,000 samples at one a microsecond: the 95 % interval of the median is 1.96 * sqrt(n) / 2 = 139 ranks.
        let median = &reported.quantiles[0];
        assert!((median.ci_lo as f64 / 9_861_000.0 - 1.0).abs() < 0.002, "{median:?}");
    }
}
