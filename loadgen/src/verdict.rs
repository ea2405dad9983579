//! Whether the figures measure the server: what speaks against them, and which objectives were missed.

use hdrhistogram::{Histogram, serialization::Deserializer};

use crate::{
    document::{Document, Verdict},
    plan::{Load, Plan},
    stats::{Outcome, Second, Trust, latencies, trust},
};

/// Lateness of the loop that is never held against a run, ns.
const LAG_ALLOWED_NS: u64 = 50_000;

/// Beyond it, lateness of the loop is held against a run if it is more than this part of the response p99.
const LAG_SHARE: u64 = 10;

/// Share of a CPU beyond which a thread of the generator is itself the bottleneck.
pub const CPU_ALLOWED: f64 = 0.85;

/// Least share of the offered load that must be answered in its time.
const ACHIEVED: f64 = 0.99;

/// Largest drift between the thirds of a run that are still one steady state.
const DRIFT: f64 = 0.05;

/// How many times the lowest p99 of a third the highest may be, however much the seconds of each differ.
const NOISE: f64 = 10.0;

/// Whole seconds without which no drift can be told: at least two a third.
const STEADY_SECONDS: usize = 6;

/// `p99=1ms`: this quantile of every command's response time must not be above it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Objective {
    /// As it was given.
    pub text: String,
    /// 0 to 1.
    pub quantile: f64,
    pub limit_ns: u64,
}

/// The verdict on what `plan`'s run counted.
pub fn judge(plan: &Plan, outcome: &Outcome) -> Verdict {
    let mut reasons = failures(outcome);
    let loader = loader(outcome);
    reasons.extend(saturation(plan, outcome, loader.is_empty()));
    reasons.extend(loader);
    reasons.extend(drift(outcome));
    reasons.extend(hit_rate(plan, outcome));
    let mut slo_missed = Vec::new();
    for objective in &plan.objectives {
        for command in outcome.commands.iter().filter(|command| command.counts.offered > 0) {
            objective.weigh(&command.name, &command.response, &mut reasons, &mut slo_missed);
        }
    }
    Verdict { valid: reasons.is_empty(), reasons, slo_missed }
}

/// What went wrong with requests and connections.
fn failures(outcome: &Outcome) -> Vec<String> {
    let mut reasons = Vec::new();
    let (counts, incidents) = (outcome.counts(), &outcome.incidents);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if counts.answered() == 0 {
        reasons.push("nothing was answered".into());
    }
    if counts.errors > 0 {
        reasons.push(format!("{} error replies, the first: {}", counts.errors, text(&incidents.error_text)));
    }
    if counts.corrupt > 0 {
        reasons.push(format!(
            "{} corrupt values, the first: {}",
            counts.corrupt,
            text(&incidents.corrupt_text)
        ));
    }
    if counts.unanswered > 0 {
        reasons.push(format!("{} requests were never answered", counts.unanswered));
    }
    if counts.unsent > 0 {
        reasons.push(format!("{} requests were due and never found room to be sent", counts.unsent));
    }
    if incidents.lost > 0 {
        reasons.push(format!(
            "{} connections lost, the first: {}",
            incidents.lost,
            text(&incidents.lost_text)
        ));
    }
    if incidents.strayed > 0 {
        reasons.push(format!(
            "{} reads for replicas only went to primaries that had lost theirs",
            incidents.strayed
        ));
    }
    if incidents.interrupted {
        reasons.push("stopped before its end".into());
    }
    reasons
}

/// What the generator itself could not do.
fn loader(outcome: &Outcome) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(lag) = late(&outcome.lag, outcome.total().response.value_at_quantile(0.99)) {
        reasons.push(format!("the loop ran late: lag p99 {} µs", lag / 1000));
    }
    if outcome.busiest_thread > CPU_ALLOWED {
        let percent = outcome.busiest_thread * 100.0;
        reasons.push(format!("the loader's CPU is spent: {percent:.0} % of one by one thread"));
    }
    reasons
}

/// Whether the generator itself could not do what the run that `document` tells of asked for.
pub fn loader_fault(document: &Document) -> Result<bool, String> {
    let lag = document.lag.histogram()?;
    let late = late(&lag, document.response()?.value_at_quantile(0.99));
    Ok(late.is_some() || document.loader_cpu > CPU_ALLOWED)
}

/// p99 of the lag if it is more than the response p99 allows.
fn late(lag: &Histogram<u64>, response_p99: u64) -> Option<u64> {
    let p99 = lag.value_at_quantile(0.99);
    (!lag.is_empty() && p99 > (response_p99 / LAG_SHARE).max(LAG_ALLOWED_NS)).then_some(p99)
}

fn saturation(plan: &Plan, outcome: &Outcome, loader_sound: bool) -> Option<String> {
    let Load::Open { .. } = plan.load else { return None };
    let counts = outcome.counts();
    let offered = counts.offered as f64 * 1e9 / outcome.scheduled_ns.max(1) as f64;
    let achieved = outcome.rate();
    let who = if loader_sound { "the server is saturated" } else { "less was achieved than offered" };
    (achieved < offered * ACHIEVED)
        .then(|| format!("{who}: {achieved:.0} of {offered:.0} requests per second answered"))
}

fn hit_rate(plan: &Plan, outcome: &Outcome) -> Option<String> {
    let least = plan.min_hit_rate?;
    let reads = outcome.commands.iter().filter(|command| command.reads && command.counts.answered() > 0);
    let worst = reads.min_by(|a, b| a.counts.hit_rate().total_cmp(&b.counts.hit_rate()))?;
    let rate = worst.counts.hit_rate();
    (rate < least).then(|| {
        format!("{} hit {:.2} % of the time, asked for were {:.2} %", worst.name, rate * 100.0, least * 100.0)
    })
}

impl Objective {
    /// Whether the response times of the command `name` keep it: a reason why that cannot be said, or a miss.
    pub fn weigh(
        &self,
        name: &str,
        response: &Histogram<u64>,
        reasons: &mut Vec<String>,
        missed: &mut Vec<String>,
    ) {
        let Self { text, quantile, limit_ns } = self;
        if trust(*quantile, response.len()) == Trust::None {
            reasons.push(format!("{} samples of {name} are too few to judge {text}", response.len()));
            return;
        }
        let value = response.value_at_quantile(*quantile);
        if value > *limit_ns {
            missed.push(format!("{name} missed {text}: {:.3} ms", value as f64 / 1e6));
        }
    }
}

/// Whether the thirds of the run differ: in throughput, in p99 by more than the seconds of each third differ among
/// themselves (the p99 of a second is noisy, and noise is not drift), or in p99 so much that no noise explains it: one
/// bad second among good ones makes that the same run in nobody's eyes.
fn drift(outcome: &Outcome) -> Vec<String> {
    let length =
        if outcome.scheduled_ns > 0 { outcome.scheduled_ns } else { outcome.elapsed_ns } as f64 / 1e9;
    let whole = |second: &&Second| second.seconds > 0.99 && second.t + second.seconds <= length + 1e-6;
    let seconds: Vec<&Second> = outcome.series.iter().filter(whole).collect();
    if seconds.len() < STEADY_SECONDS {
        return Vec::new();
    }
    let third = seconds.len() / 3;
    let thirds =
        [&seconds[..third], &seconds[third..seconds.len() - third], &seconds[seconds.len() - third..]];
    let mut reasons = Vec::new();
    let rate = |seconds: &[&Second]| {
        let ops: u64 = seconds.iter().map(|second| second.counts.answered()).sum();
        ops as f64 / seconds.len() as f64
    };
    let drifted = |what: &str, range: &Range| {
        range.drifted().then(|| format!("no steady state: {what} {}", range.told()))
    };
    reasons.extend(drifted("throughput", &Range::of(thirds.map(rate))));
    let p99 = Range::of(thirds.map(|third| third_p99(third) as f64));
    if apart(&thirds) || p99.greatest > p99.least * NOISE {
        reasons.extend(drifted("p99", &p99));
    }
    reasons
}

/// A figure of the thirds of a run.
struct Range {
    least: f64,
    mean: f64,
    greatest: f64,
}

impl Range {
    fn of(figures: [f64; 3]) -> Self {
        let [a, b, c] = figures;
        Self { least: a.min(b).min(c), mean: (a + b + c) / 3.0, greatest: a.max(b).max(c) }
    }

    fn drifted(&self) -> bool {
        self.greatest - self.least > DRIFT * self.mean
    }

    /// A share of the mean says nothing of large differences: it never gets to 300 %.
    fn told(&self) -> String {
        let Self { least, mean, greatest } = self;
        if *least == 0.0 {
            "is 0 in one third of the run and not in all".into()
        } else if greatest / least >= 2.0 {
            format!("is {} times as high in one third of the run as in another", times(greatest / least))
        } else {
            format!("differs by {:.0} % between thirds of the run", (greatest - least) * 100.0 / mean)
        }
    }
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

fn third_p99(seconds: &[&Second]) -> u64 {
    let mut sum: Histogram<u64> = latencies();
    for bytes in seconds.iter().flat_map(|second| &second.histograms) {
        let read: Result<Histogram<u64>, _> = Deserializer::new().deserialize(&mut bytes.as_slice());
        sum.add(read.expect("written by this program")).expect("same bounds");
    }
    sum.value_at_quantile(0.99)
}

/// Whether the p99s of two thirds' seconds do not overlap at all.
fn apart(thirds: &[&[&Second]; 3]) -> bool {
    let range = |seconds: &[&Second]| {
        let p99 = seconds.iter().map(|second| second.p99);
        (p99.clone().min().unwrap_or(0), p99.max().unwrap_or(0))
    };
    let [a, b, c] = thirds.map(range);
    let disjoint =
        |(low, high): (u64, u64), (other_low, other_high): (u64, u64)| high < other_low || other_high < low;
    disjoint(a, b) || disjoint(b, c) || disjoint(a, c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        keys::{KeyRange, Pattern},
        plan::{Arrival, End},
        stats::{CommandStats, Counts, record},
    };
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
    use std::time::Duration;

    const SECONDS: u64 = 9;
    const PER_SECOND: u64 = 1000;

    fn plan() -> Plan {
        let keys = KeyRange { first: 0, last: 9, pattern: Pattern::Random };
        let end = End::Time(Duration::from_secs(SECONDS));
        let load = Load::Open { rate: PER_SECOND as f64, arrival: Arrival::Constant, end };
        Plan { load, ..Plan::closed(std::net::SocketAddr::from(([127, 0, 0, 1], 1)), keys, end) }
    }

    /// A faultless run in which second `index` had `ops(index)` requests of `us(index)` µs each.
    fn outcome(ops: impl Fn(u64) -> u64, us: impl Fn(u64) -> u64) -> Outcome {
        let mut outcome = Outcome::new(vec![CommandStats::new("GET", true)]);
        outcome.elapsed_ns = SECONDS * 1_000_000_000;
        outcome.scheduled_ns = outcome.elapsed_ns;
        for index in 0..SECONDS {
            let mut response = latencies();
            record(&mut response, us(index) * 1000, ops(index));
            let counts = Counts { offered: PER_SECOND, values: ops(index), ..Counts::default() };
            outcome.commands[0].counts.merge(&counts);
            outcome.commands[0].response.add(&response).expect("same bounds");
            let mut histogram = Vec::new();
            V2DeflateSerializer::new().serialize(&response, &mut histogram).expect("memory takes it");
            outcome.series.push(Second {
                t: index as f64,
                seconds: 1.0,
                counts,
                p50: us(index) * 1000,
                p99: us(index) * 1000,
                max: us(index) * 1000,
                lag_p99: 0,
                cpu: 0.1,
                histograms: vec![histogram],
            });
        }
        outcome
    }

    fn sound() -> Outcome {
        outcome(|_| PER_SECOND, |_| 300)
    }

    fn reasons(outcome: &Outcome) -> String {
        judge(&plan(), outcome).reasons.join("; ")
    }

    #[test]
    fn a_steady_run_at_its_rate_is_valid() {
        assert_eq!(judge(&plan(), &sound()), Verdict { valid: true, ..Verdict::default() });
    }

    #[test]
    fn lag_counts_beyond_50_us_and_beyond_a_tenth_of_the_response_time() {
        let lagging = |lag_us: u64, response_us: u64| {
            let mut outcome = outcome(|_| PER_SECOND, |_| response_us);
            record(&mut outcome.lag, lag_us * 1000, 100);
            reasons(&outcome)
        };
        assert_eq!(lagging(49, 100), "");
        assert!(lagging(60, 100).contains("lag p99 60 µs"));
        assert_eq!(lagging(60, 700), "");
        assert!(lagging(80, 700).contains("ran late"));
    }

    #[test]
    fn reads_that_missed_the_replicas_spoil_the_run() {
        let mut outcome = sound();
        outcome.incidents.strayed = 3;
        assert_eq!(reasons(&outcome), "3 reads for replicas only went to primaries that had lost theirs");
    }

    #[test]
    fn a_spent_cpu_and_a_saturated_server_are_told_apart() {
        let busy = Outcome { busiest_thread: 0.86, ..sound() };
        assert!(reasons(&busy).contains("86 % of one by one thread"));
        let slow = outcome(|_| 980, |_| 300);
        assert!(
            reasons(&slow).starts_with("the server is saturated: 980 of 1000 requests"),
            "{}",
            reasons(&slow)
        );
        let both = Outcome { busiest_thread: 0.9, ..slow };
        assert!(!reasons(&both).contains("saturated") && reasons(&both).contains("less was achieved"));
        assert_eq!(reasons(&outcome(|_| 991, |_| 300)), "");
    }

    #[test]
    fn drift_is_noticed_and_noise_is_not() {
        assert!(
            reasons(&outcome(|second| 1000 + 10 * second, |_| 300)).contains("throughput differs by 6 %")
        );
        assert!(reasons(&outcome(|_| 1000, |second| 300 + 5 * second)).contains("p99 differs by 9 %"));
        assert_eq!(reasons(&outcome(|_| 1000, |second| 300 + second)), "");
        // One bad second, which lifts the p99 of its third, in each of two thirds.
        let noisy = |second| if second == 1 || second == 7 { 900 } else { 300 };
        assert_eq!(reasons(&outcome(|_| 1000, noisy)), "");
    }

    /// However the seconds lie: all bad, or one of them, and its neighbours' worst as bad as its own best.
    #[test]
    fn a_third_six_hundred_times_as_slow_is_never_a_steady_state() {
        let slow = "no steady state: p99 is 600 times as high in one third of the run as in another";
        for bad in [vec![3, 4, 5], vec![4], vec![3, 5], vec![5]] {
            let us = |second| if bad.contains(&second) { 60_000 } else { 100 };
            let said = reasons(&outcome(|_| 1000, us));
            assert!(said.contains(slow), "{bad:?}: {said}");
        }
        // Its first and last second overlap with those beside them.
        let blurred = reasons(&outcome(
            |_| 1000,
            |second| [100, 90, 110, 100, 60_000, 95, 100, 90, 110][second as usize],
        ));
        assert!(blurred.contains("times as high"), "{blurred}");
        // Ten seconds, the middle third is four of them.
        let mut ten = outcome(|_| 1000, |second| if (3..7).contains(&second) { 60_000 } else { 100 });
        let mut last = ten.series[8].clone();
        last.t = 9.0;
        ten.series.push(last);
        ten.elapsed_ns = 10_000_000_000;
        ten.scheduled_ns = ten.elapsed_ns;
        assert!(reasons(&ten).contains(slow), "{}", reasons(&ten));
        let stopped = reasons(&outcome(|second| if second < 6 { 1000 } else { 0 }, |_| 300));
        assert!(stopped.contains("throughput is 0 in one third of the run and not in all"), "{stopped}");
        let doubled = reasons(&outcome(|second| if second < 6 { 300 } else { 1000 }, |_| 300));
        assert!(doubled.contains("throughput is 3.3 times as high in one third"), "{doubled}");
    }

    #[test]
    fn objectives_need_samples_and_are_missed_by_any_command() {
        let mut with = plan();
        let objective = |quantile, limit_ns| Objective { text: "this".into(), quantile, limit_ns };
        with.objectives = vec![objective(0.99, 400_000), objective(0.5, 200_000)];
        let verdict = judge(&with, &sound());
        assert_eq!((verdict.valid, verdict.slo_missed), (true, vec!["GET missed this: 0.300 ms".to_owned()]));
        with.objectives = vec![objective(0.9999, 1)];
        let verdict = judge(&with, &sound());
        assert_eq!(verdict.reasons, ["9000 samples of GET are too few to judge this"]);
    }

    #[test]
    fn misses_beyond_what_was_allowed_spoil_the_run() {
        let mut with = plan();
        with.min_hit_rate = Some(0.9);
        let mut outcome = sound();
        assert!(judge(&with, &outcome).valid);
        outcome.commands[0].counts.nulls = 2000;
        outcome.elapsed_ns = outcome.elapsed_ns * 11 / 9;
        let reasons = judge(&with, &outcome).reasons;
        assert_eq!(reasons, ["GET hit 81.82 % of the time, asked for were 90.00 %"]);
    }
}
