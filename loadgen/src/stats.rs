//! What a run counted, and the percentile rules: histograms are merged, never averaged, and a quantile is shown only
//! where enough samples stand behind it.

use std::collections::BTreeMap;

use hdrhistogram::{Counter, Histogram};

use crate::replies::Answer;

/// Latencies are kept from 1 ns to this, at three significant digits; longer ones count as this.
pub const LONGEST_NS: u64 = 60_000_000_000;

/// What a thread records into: 27,648 counters of 4 bytes, saturating.
pub type Recording = Histogram<u32>;

/// An empty latency histogram.
pub fn latencies<C: Counter>() -> Histogram<C> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("bounds are constants")
}

/// Counts `times` latencies of `ns`, clamped to what the histogram can hold.
pub fn record<C: Counter>(histogram: &mut Histogram<C>, ns: u64, times: C) {
    histogram.record_n(ns.clamp(1, LONGEST_NS), times).expect("clamped to the bounds");
}

/// Adds what a thread recorded to a sum, without loss: both have the same buckets.
pub fn absorb(sum: &mut Histogram<u64>, recorded: &Recording) {
    if !recorded.is_empty() {
        for bucket in recorded.iter_recorded() {
            let count = u64::from(bucket.count_at_value());
            sum.record_n(bucket.value_iterated_to(), count).expect("same bounds");
        }
    }
}

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Due by the schedule; in a closed loop: sent.
    pub offered: u64,
    pub values: u64,
    /// Null replies: a read that missed.
    pub nulls: u64,
    /// Error replies.
    pub errors: u64,
    /// Sent, and still without a reply when the run gave up. Each stands in the response histogram with its age at
    /// that moment.
    pub unanswered: u64,
    /// Due, and never sent for want of room. In the response histogram like the unanswered.
    pub unsent: u64,
    /// Values that verification refused.
    pub corrupt: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

impl Counts {
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

    /// Everything that is not a good reply.
    pub fn failed(&self) -> u64 {
        self.errors + self.unanswered + self.unsent + self.corrupt
    }

    /// Share of replies that carried a value, 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        self.values as f64 / (self.answered().max(1)) as f64
    }

    pub fn merge(&mut self, other: &Self) {
        self.offered += other.offered;
        self.values += other.values;
        self.nulls += other.nulls;
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.corrupt += other.corrupt;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}

/// One command's side of a run.
#[derive(Clone)]
pub struct CommandStats {
    pub name: String,
    /// Its replies are hits and misses.
    pub reads: bool,
    /// Intended start to reply. In a closed loop a request is intended when it is sent, so this is `service`.
    pub response: Histogram<u64>,
    /// Send to reply.
    pub service: Histogram<u64>,
    pub counts: Counts,
    /// Error replies by the first word of their text.
    pub kinds: BTreeMap<String, u64>,
}

impl CommandStats {
    pub fn new(name: &str, reads: bool) -> Self {
        Self {
            name: name.into(),
            reads,
            response: latencies(),
            service: latencies(),
            counts: Counts::default(),
            kinds: BTreeMap::new(),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.response.add(&other.response).expect("same bounds");
        self.service.add(&other.service).expect("same bounds");
        self.counts.merge(&other.counts);
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
    }
}

/// One second of a run.
#[derive(Clone, Debug)]
pub struct Second {
    /// Seconds since the first measured instant, and how long it was.
    pub t: f64,
    pub seconds: f64,
    pub counts: Counts,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
    pub lag_p99: u64,
    /// Useful work of the busiest thread, 0 to 1.
    pub cpu: f64,
    /// Response times of each command, as HdrHistogram V2, DEFLATE.
    pub histograms: Vec<Vec<u8>>,
}

/// How the connections came about.
#[derive(Clone)]
pub struct Connects {
    /// Opened and answering before the start.
    pub opened: u64,
    pub time: Histogram<u64>,
}

/// What came to pass besides answers.
#[derive(Clone, Debug, Default)]
pub struct Incidents {
    /// Text of one error reply, if there was any.
    pub error_text: Option<String>,
    /// What was wrong with the first value that verification refused.
    pub corrupt_text: Option<String>,
    /// Connections lost before the end, and why the first was.
    pub lost: u64,
    pub lost_text: Option<String>,
    /// The run was told to stop before its end.
    pub interrupted: bool,
    /// Requests that a cluster answered with MOVED or ASK and that were sent on.
    pub moved: u64,
    pub asked: u64,
    /// Reads meant for replicas only that a primary served, since a failover had left it none.
    pub strayed: u64,
}

impl Incidents {
    pub fn merge(&mut self, other: Self) {
        self.error_text = self.error_text.take().or(other.error_text);
        self.corrupt_text = self.corrupt_text.take().or(other.corrupt_text);
        self.lost += other.lost;
        self.lost_text = self.lost_text.take().or(other.lost_text);
        self.interrupted |= other.interrupted;
        self.moved += other.moved;
        self.asked += other.asked;
        self.strayed += other.strayed;
    }
}

/// Everything a run counted, all threads together.
#[derive(Clone)]
pub struct Outcome {
    /// In the mix's order.
    pub commands: Vec<CommandStats>,
    /// Intended start to the moment the loop noticed it (open loop only): this program's own lateness.
    pub lag: Histogram<u64>,
    /// Noticed to sent, of the requests that found every window full (open loop only): the server's.
    pub window_full: Histogram<u64>,
    /// Wall clock at the first measured instant, milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What was measured lasted this long, ns: the schedule's length or to the last reply, whichever is longer.
    pub elapsed_ns: u64,
    /// The schedule's length without ramp and warm-up, ns; 0 in a closed loop.
    pub scheduled_ns: u64,
    /// Largest share of one CPU that a thread of the generator used for anything but waiting, 0 to 1.
    pub busiest_thread: f64,
    pub series: Vec<Second>,
    pub connects: Connects,
    pub incidents: Incidents,
}

impl Outcome {
    pub fn new(commands: Vec<CommandStats>) -> Self {
        Self {
            commands,
            lag: latencies(),
            window_full: latencies(),
            started_unix_ms: 0,
            elapsed_ns: 0,
            scheduled_ns: 0,
            busiest_thread: 0.0,
            series: Vec::new(),
            connects: Connects { opened: 0, time: latencies() },
            incidents: Incidents::default(),
        }
    }

    /// The command called `name`, if it is in the mix.
    pub fn command(&self, name: &str) -> Option<&CommandStats> {
        self.commands.iter().find(|command| command.name == name)
    }

    /// All commands as one.
    pub fn total(&self) -> CommandStats {
        let mut total = CommandStats::new("all", false);
        for command in &self.commands {
            total.merge(command);
        }
        total
    }

    /// The counts of all commands.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for command in &self.commands {
            counts.merge(&command.counts);
        }
        counts
    }

    pub fn answered(&self) -> u64 {
        self.counts().answered()
    }

    /// Answered requests per second.
    pub fn rate(&self) -> f64 {
        self.per_second(self.answered())
    }

    /// `count` over the measured time.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 * 1e9 / self.elapsed_ns.max(1) as f64
    }
}

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
    use proptest::prelude::*;

    /// Latencies as they are: most of one order of magnitude, some far out.
    fn samples() -> impl Strategy<Value = Vec<u64>> {
        let sample = prop_oneof![4 => 1_000_u64..100_000, 1 => 1_u64..LONGEST_NS];
        prop::collection::vec(sample, 1..400)
    }

    proptest! {
        #[test]
        fn merging_equals_recording_together(parts in prop::collection::vec(samples(), 1..5)) {
            let (mut merged, mut together) = (latencies::<u64>(), latencies::<u64>());
            for part in &parts {
                let mut own: Recording = latencies();
                for &ns in part {
                    record(&mut own, ns, 1);
                    record(&mut together, ns, 1);
                }
                absorb(&mut merged, &own);
            }
            prop_assert_eq!(merged.len(), together.len());
            prop_assert_eq!((merged.min(), merged.max()), (together.min(), together.max()));
            for permille in 0..=1000 {
                let quantile = f64::from(permille) / 1000.0;
                prop_assert_eq!(merged.value_at_quantile(quantile), together.value_at_quantile(quantile));
            }
        }

        #[test]
        fn percentiles_agree_with_sorting_to_three_digits(mut sorted in samples()) {
            let mut histogram = latencies::<u64>();
            for &ns in &sorted {
                record(&mut histogram, ns, 1);
            }
            sorted.sort_unstable();
            for quantile in [0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
                let rank = ((quantile * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
                let (exact, got) = (sorted[rank - 1] as f64, histogram.value_at_quantile(quantile) as f64);
                prop_assert!((got - exact).abs() <= exact * 0.001 + 1.0, "q {}: {} for {}", quantile, got, exact);
            }
        }
    }

    #[test]
    fn latencies_outside_the_bounds_are_clamped_not_lost() {
        let mut histogram = latencies::<u64>();
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
