//! Reports made up for tests: a seed and a shape decide everything, no clock and no server has a part in them.
#![allow(dead_code, reason = "each test file uses its own share")]

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::json;
use torc_loadgen::{
    document::{self, CommandResult, Document, Env, Interval, Latencies, SCHEMA, Server, Verdict},
    stats::{latencies, record},
    sweep::{Settings, Step, SweepReport, sweep},
    verdict::Objective,
};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    /// Uniform in 0..1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }

    /// A latency around `median` ns with a long tail.
    fn latency(&mut self, median: f64) -> u64 {
        let normal: f64 = (0..6).map(|_| self.roll()).sum::<f64>() - 3.0;
        let tail = if self.roll() < 0.004 { 6.0 * self.roll() } else { 0.0 };
        (median * (normal * 0.55 + tail).exp()) as u64
    }
}

pub struct Shape {
    pub seed: u64,
    pub commands: &'static [&'static str],
    pub seconds: u64,
    /// Requests a second of all commands together.
    pub rate: u64,
    pub open: bool,
    /// Median of the service time, ns.
    pub median: f64,
    /// The second in which the server stands still for half of it.
    pub stall: Option<u64>,
    pub valid: bool,
}

pub const STEADY: Shape = Shape {
    seed: 1,
    commands: &["GET", "SET"],
    seconds: 30,
    rate: 20_000,
    open: true,
    median: 61_000.0,
    stall: None,
    valid: true,
};

impl Shape {
    pub fn document(&self) -> Document {
        let mut dice = Dice(self.seed);
        let mut kinds = vec![(latencies(), latencies()); self.commands.len()];
        let mut series = Vec::new();
        for second in 0..self.seconds {
            series.push(self.second(second, &mut dice, &mut kinds));
        }
        let mut lag = latencies();
        if self.open {
            (0..self.rate * self.seconds / 10).for_each(|_| record(&mut lag, dice.latency(1_500.0), 1));
        }
        let results = self.commands.iter().zip(&kinds).map(|(cmd, kinds)| self.result(cmd, kinds)).collect();
        Document {
            moved: 0,
            asked: 0,
            schema: SCHEMA.into(),
            verdict: self.verdict(),
            env: env(),
            server: server(),
            plan: self.plan(),
            elapsed_ns: self.seconds * 1_000_000_000,
            started_unix_ms: 1_790_000_000_000,
            load: if self.open { "open" } else { "closed" }.into(),
            results,
            lag: Latencies::from(&lag),
            window_full: Latencies::default(),
            connections: 200,
            connect: Latencies::default(),
            loader_cpu: 0.61,
            series,
        }
    }

    fn second(
        &self,
        second: u64,
        dice: &mut Dice,
        kinds: &mut [(Histogram<u64>, Histogram<u64>)],
    ) -> Interval {
        let mut all = latencies::<u64>();
        let mut each = vec![latencies(); kinds.len()];
        let count = self.rate + (dice.roll() * self.rate as f64 * 0.02) as u64;
        for index in 0..count {
            // Nine reads to a write, whatever the commands are.
            let which =
                if index % 10 == 0 { kinds.len() - 1 } else { index as usize % kinds.len().max(2) / 2 };
            let service = dice.latency(self.median);
            let due = index as f64 / count as f64;
            let stalled = self.open && self.stall == Some(second) && due < 0.5;
            let queued = if self.open { dice.latency(self.median / 12.0) } else { 0 };
            let waited = queued + if stalled { ((0.5 - due) * 1e9) as u64 } else { 0 };
            record(&mut kinds[which].0, service + waited, 1);
            record(&mut kinds[which].1, service, 1);
            record(&mut each[which], service + waited, 1);
            record(&mut all, service + waited, 1);
        }
        let offered = self.rate + (dice.roll() * 200.0) as u64;
        Interval {
            t: second as f64,
            seconds: 1.0,
            ops: count,
            offered,
            errors: 0,
            p50: all.value_at_quantile(0.5),
            p99: all.value_at_quantile(0.99),
            max: all.max(),
            lag_p99: if self.open { dice.latency(4_000.0) } else { 0 },
            cpu: 0.5 + dice.roll() * 0.11,
            hdr_v2_deflate_b64: each.iter().map(document::encode).collect(),
        }
    }

    fn result(&self, cmd: &str, (response, service): &(Histogram<u64>, Histogram<u64>)) -> CommandResult {
        let answered = response.len();
        let achieved = answered as f64 / self.seconds as f64;
        let read = cmd == "GET";
        CommandResult {
            cmd: cmd.into(),
            offered: if self.open { achieved * 1.0002 } else { achieved },
            achieved,
            answered,
            hits: if read { answered - answered / 1000 } else { 0 },
            misses: if read { answered / 1000 } else { 0 },
            errors: if self.valid { BTreeMap::new() } else { BTreeMap::from([("unanswered".into(), 7)]) },
            bytes_sent: answered * 40,
            bytes_received: answered * 24,
            response: Latencies::from(response),
            service: Latencies::from(service),
        }
    }

    fn verdict(&self) -> Verdict {
        if self.valid {
            return Verdict { valid: true, ..Verdict::default() };
        }
        Verdict {
            valid: false,
            reasons: vec!["7 requests were never answered".into(), "a thread used 97 % of a CPU".into()],
            slo_missed: vec!["p99 = 1.42 ms, wanted 1 ms".into()],
        }
    }

    fn plan(&self) -> serde_json::Value {
        json!({
            "clients": 200, "threads": 4, "pipeline": 1, "pipeline_mode": "window",
            "load": if self.open {
                json!({ "open": { "rate": self.rate, "arrival": "Poisson", "end": { "seconds": self.seconds } } })
            } else {
                json!({ "closed": { "seconds": self.seconds } })
            },
            "warmup": 5, "seed": self.seed,
            "keys": { "minimum": 0, "maximum": 99_999, "pattern": "Z", "zipf_exp": 0.99 },
            "commands": ["GET __key__", "SET __key__ __data__"], "data_size": 32,
        })
    }
}

fn env() -> Env {
    Env {
        cpu: "Intel(R) Xeon(R) Platinum 8488C, 2 CPUs".into(),
        kernel: "Linux 6.1.0".into(),
        clocksource: "tsc".into(),
        governor: "performance".into(),
        pinning: vec![2, 3],
        argv: "torc-loadgen run -h 10.0.0.7 --rate 20000 -c 200 -t 4".split(' ').map(String::from).collect(),
        seed: 1,
        version: "0.1.0".into(),
    }
}

fn server() -> Server {
    Server {
        target: "10.0.0.7:6379".into(),
        name: "valkey".into(),
        version: "9.1.2".into(),
        config: BTreeMap::from([
            ("appendonly".into(), "no".into()),
            ("io-threads".into(), "1".into()),
            ("maxmemory-policy".into(), "noeviction".into()),
        ]),
    }
}

/// A server of `capacity` requests a second that queues as one with random arrivals does, offered `rate` for a second.
pub fn modelled(capacity: f64, rate: f64, seed: u64) -> Document {
    let load = (rate / capacity).min(0.999);
    let answered = rate.min(capacity);
    let median = 40_000.0 / (1.0 - load).max(0.002);
    let shape = Shape { seed, seconds: 1, rate: answered as u64, median, commands: &["GET"], ..STEADY };
    let mut run = shape.document();
    run.results[0].offered = rate;
    run.results[0].achieved = answered;
    run.series.clear();
    if answered < rate * 0.99 {
        run.verdict = Verdict {
            valid: false,
            reasons: vec![format!(
                "the server is saturated: {answered:.0} of {rate:.0} requests per second answered"
            )],
            slo_missed: Vec::new(),
        };
    }
    run
}

/// A sweep over modelled servers, by name and capacity.
pub fn swept(servers: &[(&str, f64)], settings: &Settings) -> SweepReport {
    let objective = Objective { text: "p99=1ms".into(), quantile: 0.99, limit_ns: 1_000_000 };
    let mut seed = 0;
    let mut measure = |step: &Step| {
        seed += 1;
        Ok(modelled(servers[step.server].1, step.rate, seed))
    };
    let findings = sweep(settings, servers.len(), &objective, &mut measure, &mut |_, _| {});
    assert_eq!(findings.fault, None);
    let named = servers.iter().map(|(name, _)| ((*name).to_string(), server())).collect();
    SweepReport::new(&objective, env(), STEADY.plan(), named, &findings)
}
