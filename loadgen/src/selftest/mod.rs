//! Measures the instrument: how much load one core gives, what a request costs, how true the rate is and whether the
//! arrivals follow their law, all against a responder that does nothing. Says which bars hold.

mod peer;
mod responder;

use std::{
    sync::{atomic::AtomicBool, mpsc},
    time::Duration,
};

use rand_xoshiro::rand_core::Rng;

use crate::{
    arrivals::exponential_distance,
    clock::Clock,
    engine::{
        Fault,
        recorder::{Exchange, Recorder, Stamps},
        run,
    },
    keys::{KeyRange, Pattern},
    plan::{Arrival, End, Load, Plan},
    replies::Answer,
    report::output,
    stats::Outcome,
    traffic::random::{Purpose, stream},
};
use responder::Responder;

/// The traffic of every measurement: GETs as redis-benchmark -c 50 -r 100000 -d 16 sends them.
const CLIENTS: usize = 50;
const KEYS: u64 = 100_000;
const VALUE_SIZE: usize = 16;

/// How often the generator and redis-benchmark take turns.
const ROUNDS: u32 = 4;

/// Least requests per second at a pipeline of 16 from one core.
const RATE_BAR: f64 = 1.5e6;

/// Largest CPU time of a request, as a share of redis-benchmark's.
const CPU_BAR: f64 = 0.5;

/// Most ns that recording a request may take.
const RECORDING_BAR: f64 = 30.0;

/// Largest error of the rate.
const ACCURACY_BAR: f64 = 0.01;

/// Arrivals per second and their number in the test of the gaps. At a gap of a millisecond the responder's stamps are
/// exact enough: what it sees of a gap is off by microseconds.
const GAPS_RATE: f64 = 1000.0;
const GAPS: usize = 3000;

/// The Kolmogorov-Smirnov distance that independent gaps exceed once in a hundred tests, times the root of their
/// number.
const KS_CRITICAL: f64 = 1.63;

pub struct Settings {
    /// Length of each measurement.
    pub length: Duration,
    /// The CPU of the generator and that of the responder, if there are two.
    pub loader_cpu: usize,
    pub responder_cpu: Option<usize>,
    /// The program to compare with.
    pub redis_benchmark: String,
}

/// What a client does against the responder.
#[derive(Clone, Copy)]
struct Speed {
    rate: f64,
    /// CPU time of a request.
    cpu_ns: f64,
}

impl Speed {
    const WORST: Self = Self { rate: 0.0, cpu_ns: f64::INFINITY };

    fn best(self, other: Self) -> Self {
        Self { rate: self.rate.max(other.rate), cpu_ns: self.cpu_ns.min(other.cpu_ns) }
    }
}

/// One line of the table.
struct Finding {
    what: String,
    found: String,
    /// The bar in words and whether it holds, where there is one.
    bar: Option<(String, bool)>,
}

impl Finding {
    fn plain(what: impl Into<String>, found: String) -> Self {
        Self { what: what.into(), found, bar: None }
    }

    fn judged(what: impl Into<String>, found: String, bar: String, holds: bool) -> Self {
        Self { what: what.into(), found, bar: Some((bar, holds)) }
    }
}

/// Runs all of it and prints the table; whether every bar holds.
pub fn selftest(settings: &Settings, stop: &AtomicBool) -> Result<bool, Fault> {
    let clock = Clock::start();
    let start = || {
        Responder::start(settings.responder_cpu, clock)
            .map_err(|error| Fault::Machine { what: "the responder", error })
    };
    let responder = start()?;
    let bench = Bench { settings, responder: &responder, stop };
    let mut findings = Vec::new();
    let fastest = bench.speeds(&mut findings)?;
    findings.push(recording());
    bench.accuracy(fastest, &mut findings)?;
    drop(responder);
    let fresh = start()?;
    let bench = Bench { settings, responder: &fresh, stop };
    bench.outcome(1, GAPS_RATE, Arrival::Poisson, End::Requests(GAPS as u64 + 1))?;
    findings.push(gaps(fresh.end()));
    output::print(&table(&findings)).map_err(Fault::Plan)?;
    Ok(findings.iter().all(|finding| finding.bar.as_ref().is_none_or(|(_, holds)| *holds)))
}

struct Bench<'a> {
    settings: &'a Settings,
    responder: &'a Responder,
    stop: &'a AtomicBool,
}

impl Bench<'_> {
    fn plan(&self, pipeline: usize, end: End) -> Plan {
        let keys = KeyRange { first: 0, last: KEYS - 1, pattern: Pattern::Random };
        let cpus = vec![self.settings.loader_cpu];
        Plan { clients: CLIENTS, pipeline, cpus, ..Plan::closed(self.responder.address, keys, end) }
    }

    fn outcome(&self, pipeline: usize, rate: f64, arrival: Arrival, end: End) -> Result<Outcome, Fault> {
        let load = Load::Open { rate, arrival, end };
        run(&Plan { load, ..self.plan(pipeline, end) }, self.stop)
    }

    /// Fastest rate and CPU time of a request without pipelining and with sixteen, beside redis-benchmark's. Returns
    /// the rate with sixteen.
    fn speeds(&self, findings: &mut Vec<Finding>) -> Result<f64, Fault> {
        let mut fastest = 0.0;
        for pipeline in [1, 16] {
            let (ours, peer) = self.race(pipeline)?;
            fastest = ours.rate;
            let what = format!("fastest rate, P={pipeline}, one core");
            let found = format!("{fastest:.0}/s");
            findings.push(if pipeline == 16 {
                Finding::judged(what, found, format!(">= {RATE_BAR:.0}/s"), fastest >= RATE_BAR)
            } else {
                Finding::plain(what, found)
            });
            let (what, own) = (format!("CPU per request, P={pipeline}"), format!("{:.0} ns", ours.cpu_ns));
            findings.push(match peer {
                Some(peer) => Finding::judged(
                    what,
                    format!(
                        "{own}; redis-benchmark {:.0} ns at {:.0}/s: {:.2} of it",
                        peer.cpu_ns,
                        peer.rate,
                        ours.cpu_ns / peer.cpu_ns
                    ),
                    format!("<= {CPU_BAR} of redis-benchmark's"),
                    ours.cpu_ns <= peer.cpu_ns * CPU_BAR,
                ),
                None => Finding::plain(what, format!("{own} (no redis-benchmark to compare with)")),
            });
        }
        Ok(fastest)
    }

    /// Both programs in turn, and the best of each: what else the machine does can only make them look worse.
    fn race(&self, pipeline: usize) -> Result<(Speed, Option<Speed>), Fault> {
        let (mut ours, mut peer) = (Speed::WORST, None::<Speed>);
        for _ in 0..ROUNDS {
            let outcome = run(&self.plan(pipeline, End::Time(self.settings.length / ROUNDS)), self.stop)?;
            let requests = outcome.answered().max(1);
            let cpu_ns = outcome.busiest_thread * outcome.elapsed_ns as f64 / requests as f64;
            ours = ours.best(Speed { rate: outcome.rate(), cpu_ns });
            let program = &self.settings.redis_benchmark;
            let (target, cpu) = (self.responder.address, self.settings.loader_cpu);
            if let Some(speed) = peer::redis_benchmark(program, target, pipeline, requests, cpu, self.stop) {
                peer = Some(peer.unwrap_or(Speed::WORST).best(speed));
            }
        }
        Ok((ours, peer))
    }

    /// How far the achieved rate is from the one asked for, up to 80 % of the fastest.
    fn accuracy(&self, fastest: f64, findings: &mut Vec<Finding>) -> Result<(), Fault> {
        let top = fastest * 0.8;
        let steps = [1e3, 1e4, 1e5, 1e6].into_iter().filter(|&rate| rate < top);
        for rate in steps.chain([top]) {
            let end = End::Time(self.settings.length);
            let outcome = self.outcome(16, rate, Arrival::Constant, end)?;
            let error = outcome.rate() / rate - 1.0;
            let lag = |quantile| outcome.lag.value_at_quantile(quantile) as f64 / 1e3;
            findings.push(Finding::judged(
                format!("rate {rate:.0}/s"),
                format!(
                    "{:+.3} %, lag p50 {:.1} µs, p99 {:.1} µs, cpu {:.0} %",
                    error * 100.0,
                    lag(0.5),
                    lag(0.99),
                    outcome.busiest_thread * 100.0
                ),
                format!("within {:.0} %", ACCURACY_BAR * 100.0),
                error.abs() <= ACCURACY_BAR,
            ));
        }
        Ok(())
    }
}

/// Time to record one request of an open loop, whose times are recorded one by one.
fn recording() -> Finding {
    const RUNS: usize = 100;
    const REQUESTS: usize = 100_000;
    let keys = KeyRange { first: 0, last: 1, pattern: Pattern::Random };
    let end = End::Requests(1);
    let load = Load::Open { rate: 1.0, arrival: Arrival::Poisson, end };
    let plan = Plan { load, ..Plan::closed(std::net::SocketAddr::from(([127, 0, 0, 1], 1)), keys, end) };
    let (finished, _slices) = mpsc::channel();
    let (_spare, cleared) = mpsc::channel();
    let mut recorder = Recorder::new(&plan, 0, Exchange { part: 0, finished, cleared });
    // Latencies of 64 µs to a millisecond, as spread as any server's.
    let mut random = stream(1, 0, Purpose::Numbers);
    let times: Vec<u64> = (0..4096).map(|_| 64_000 << (random.next_u64() % 4)).collect();
    let times: Vec<u64> = times.into_iter().map(|time| time + random.next_u64() % time).collect();
    let clock = Clock::start();
    // The best of many runs: what else the machine does can only make it look dearer.
    let mut cost = f64::INFINITY;
    for _ in 0..RUNS {
        let before = clock.ns();
        for round in 0..REQUESTS {
            let now = 2_000_000;
            let sent = now - times[round % times.len()];
            let stamps = Stamps { intended: sent - (round as u64 & 0xFFF), sent };
            recorder.noticed(stamps.intended, sent);
            if recorder.measures(stamps.intended) {
                recorder.reply(0, Answer::Value, 22);
                recorder.times(0, stamps, now, 1);
            }
        }
        cost = cost.min((clock.ns() - before) as f64 / REQUESTS as f64);
    }
    // The recorder is used to its end, so that none of it can be optimised away.
    drop(std::hint::black_box(recorder));
    Finding::judged(
        "recording a request",
        format!("{cost:.1} ns"),
        format!("<= {RECORDING_BAR} ns"),
        cost <= RECORDING_BAR,
    )
}

/// Whether the gaps between requests, as the responder saw them come, are exponential.
fn gaps(stamps: Vec<u64>) -> Finding {
    let mut gaps: Vec<f64> = stamps.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let allowed = KS_CRITICAL / (gaps.len().max(1) as f64).sqrt();
    let distance = exponential_distance(&mut gaps, 1e9 / GAPS_RATE);
    Finding::judged(
        format!("Poisson gaps at {GAPS_RATE:.0}/s"),
        format!("Kolmogorov-Smirnov distance {distance:.4} of {} gaps", gaps.len()),
        format!("<= {allowed:.4} (1 % level)"),
        gaps.len() == GAPS && distance <= allowed,
    )
}

fn table(findings: &[Finding]) -> String {
    let width = |text: fn(&Finding) -> &str| {
        findings.iter().map(|finding| text(finding).chars().count()).max().unwrap_or(0)
    };
    let (what, found) = (width(|finding| &finding.what), width(|finding| &finding.found));
    let line = |finding: &Finding| {
        let bar = match &finding.bar {
            Some((bar, true)) => format!("holds   {bar}"),
            Some((bar, false)) => format!("MISSED  {bar}"),
            None => String::new(),
        };
        let line = format!("{:<what$}  {:<found$}  {bar}", finding.what, finding.found);
        line.trim_end().to_owned() + "\n"
    };
    findings.iter().map(line).collect()
}
