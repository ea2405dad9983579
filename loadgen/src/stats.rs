//! What a run counted, and the percentile rules: histograms are merged, never averaged, and a quantile is shown only
//! where enough samples stand behind it.

use hdrhistogram::Histogram;

use crate::{replies::Answer, request::Op};

/// Latencies are kept from 1 ns to this, at three significant digits; longer ones count as this.
pub const LONGEST_NS: u64 = 60_000_000_000;

/// An empty latency histogram (about 220 KiB).
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds are constants")
}

/// Counts `times` latencies of `ns`, clamped to what the histogram can hold.
pub fn record(histogram: &mut Histogram<u64>, ns: u64, times: u64) {
    histogram.record_n(ns.clamp(1, LONGEST_NS), times).expect("clamped to the bounds");
}

/// One operation's side of a run.
#[derive(Clone)]
pub struct OpStats {
    /// Intended start to reply. In a closed loop a request is intended when it is sent, so this is `service`.
    pub response: Histogram<u64>,
    /// Send to reply.
    pub service: Histogram<u64>,
    pub values: u64,
    /// Null replies: a GET that missed.
    pub nulls: u64,
    pub errors: u64,
    /// Requests still without a reply when the run gave up, each counted in `response` with its age at that moment.
    pub unanswered: u64,
}

impl Default for OpStats {
    fn default() -> Self {
        Self { response: latencies(), service: latencies(), values: 0, nulls: 0, errors: 0, unanswered: 0 }
    }
}

impl OpStats {
    /// Counts one reply.
    pub fn count(&mut self, answer: Answer) {
        match answer {
            Answer::Value => self.values += 1,
            Answer::Null => self.nulls += 1,
            Answer::Error => self.errors += 1,
        }
    }

    /// Requests answered, errors included.
    pub fn answered(&self) -> u64 {
        self.values + self.nulls + self.errors
    }

    /// Share of replies that carried a value, 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        self.values as f64 / (self.answered().max(1)) as f64
    }

    pub fn merge(&mut self, other: &Self) {
        self.response.add(&other.response).expect("same bounds");
        self.service.add(&other.service).expect("same bounds");
        self.values += other.values;
        self.nulls += other.nulls;
        self.errors += other.errors;
        self.unanswered += other.unanswered;
    }
}

/// Everything a run counted, all threads together.
#[derive(Clone)]
pub struct Outcome {
    pub set: OpStats,
    pub get: OpStats,
    /// Intended start to the moment the loop noticed it (open loop only): this program's own lateness.
    pub lag: Histogram<u64>,
    /// First request sent to last reply taken, ns.
    pub elapsed_ns: u64,
    /// Largest share of one CPU that a thread of the generator used, 0 to 1.
    pub busiest_thread: f64,
    /// Text of one error reply, if there was any.
    pub error_text: Option<String>,
    /// Connections lost before the end, and why the first was.
    pub lost: u64,
    pub lost_text: Option<String>,
    /// The run was told to stop before its end.
    pub interrupted: bool,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            set: OpStats::default(),
            get: OpStats::default(),
            lag: latencies(),
            elapsed_ns: 0,
            busiest_thread: 0.0,
            error_text: None,
            lost: 0,
            lost_text: None,
            interrupted: false,
        }
    }
}

impl Outcome {
    pub fn op(&self, op: Op) -> &OpStats {
        match op {
            Op::Set => &self.set,
            Op::Get => &self.get,
        }
    }

    pub fn op_mut(&mut self, op: Op) -> &mut OpStats {
        match op {
            Op::Set => &mut self.set,
            Op::Get => &mut self.get,
        }
    }

    /// Both operations as one.
    pub fn total(&self) -> OpStats {
        let mut total = self.set.clone();
        total.merge(&self.get);
        total
    }

    pub fn answered(&self) -> u64 {
        self.set.answered() + self.get.answered()
    }

    /// Answered requests per second.
    pub fn rate(&self) -> f64 {
        self.answered() as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }

    pub fn merge(&mut self, other: Self) {
        self.set.merge(&other.set);
        self.get.merge(&other.get);
        self.lag.add(&other.lag).expect("same bounds");
        self.elapsed_ns = self.elapsed_ns.max(other.elapsed_ns);
        self.busiest_thread = self.busiest_thread.max(other.busiest_thread);
        self.error_text = self.error_text.take().or(other.error_text);
        self.lost += other.lost;
        self.lost_text = self.lost_text.take().or(other.lost_text);
        self.interrupted |= other.interrupted;
    }

    /// Why the figures do not measure the server; empty if they do.
    pub fn objections(&self) -> Vec<String> {
        let mut objections = Vec::new();
        let total = self.total();
        let lag = self.lag.value_at_quantile(0.99);
        let allowed = (total.response.value_at_quantile(0.99) / 10).max(LAG_ALLOWED_NS);
        if !self.lag.is_empty() && lag > allowed {
            objections.push(format!("the loop ran late: lag p99 {} µs", lag / 1000));
        }
        if total.errors > 0 {
            let text = self.error_text.as_deref().unwrap_or_default();
            objections.push(format!("{} error replies, the first: {text}", total.errors));
        }
        if total.unanswered > 0 {
            objections.push(format!("{} requests were never answered", total.unanswered));
        }
        if self.lost > 0 {
            let text = self.lost_text.as_deref().unwrap_or_default();
            objections.push(format!("{} connections lost, the first: {text}", self.lost));
        }
        if self.interrupted {
            objections.push("stopped before its end".into());
        }
        objections
    }
}

/// Lateness of the loop that is never held against a run, ns.
const LAG_ALLOWED_NS: u64 = 50_000;

/// How far a quantile may be believed, taking samples as independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Fewer than 10 samples beyond the quantile: not shown.
    None,
    /// 10 to 99 samples beyond it: shown, marked.
    Some,
    Full,
}

/// How far `quantile` (0 to 1) of `count` samples may be believed.
pub fn trust(quantile: f64, count: u64) -> Trust {
    // Rounded: 1 - 0.999 is not quite 0.001, and exactly 10 samples must count as 10.
    let beyond = (count as f64 * (1.0 - quantile) * 1e6).round() / 1e6;
    if beyond < 10.0 {
        Trust::None
    } else if beyond < 100.0 {
        Trust::Some
    } else {
        Trust::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_three_digits_and_merging_equals_recording_together() {
        let (mut odd, mut even, mut all) = (latencies(), latencies(), latencies());
        for ns in 1..=10_000_u64 {
            record(if ns % 2 == 0 { &mut even } else { &mut odd }, ns * 1000, 1);
            record(&mut all, ns * 1000, 1);
        }
        odd.add(&even).expect("same bounds");
        for (quantile, expected) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (0.999, 9_990_000.0)] {
            let value = all.value_at_quantile(quantile);
            assert_eq!(odd.value_at_quantile(quantile), value);
            assert!((value as f64 / expected - 1.0).abs() < 0.001, "q {quantile}: {value}");
        }
    }

    #[test]
    fn latencies_outside_the_bounds_are_clamped_not_lost() {
        let mut histogram = latencies();
        record(&mut histogram, 0, 2);
        record(&mut histogram, u64::MAX, 3);
        assert_eq!(histogram.len(), 5);
        assert!(histogram.max() >= LONGEST_NS);
    }

    #[test]
    fn a_quantile_needs_ten_samples_beyond_it_to_show_and_a_hundred_to_be_trusted() {
        assert_eq!(trust(0.999, 9_999), Trust::None);
        assert_eq!(trust(0.999, 10_000), Trust::Some);
        assert_eq!(trust(0.999, 99_999), Trust::Some);
        assert_eq!(trust(0.999, 100_000), Trust::Full);
        assert_eq!(trust(0.5, 20), Trust::Some);
    }
}
