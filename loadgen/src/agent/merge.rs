//! Adds the agents' reports up to one: counts are summed, histograms added bucket by bucket, seconds laid over each
//! other. What only some agents measured is in it too, and the verdict says so.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::{
    document::{self, CommandResult, Document, Interval, Latencies, Verdict, encode, merged},
    plan::Plan,
    stats::latencies,
};

/// One agent's share of the result.
pub struct Part {
    name: String,
    report: Option<Document>,
    /// Its seconds, as long as the report is not final.
    seconds: Vec<Interval>,
    lost: Option<String>,
}

impl Part {
    pub fn of(name: &str) -> Self {
        Self { name: name.into(), report: None, seconds: Vec::new(), lost: None }
    }

    /// A second has passed, and this is the report without its series up to now.
    pub fn so_far(&mut self, (second, report): (Interval, Document)) {
        self.seconds.push(second);
        self.report = Some(report);
    }

    pub fn done(&mut self, report: Document) {
        self.seconds.clear();
        self.report = Some(report);
    }

    /// It failed; what it told before stays.
    pub fn lose(&mut self, problem: String) {
        self.lost = Some(problem);
    }
}

/// The parts as one report. Without any it is a fault that names what happened to each agent.
pub fn merge(plan: &Plan, parts: Vec<Part>) -> Result<Document, String> {
    let members = parts.len();
    let mut verdict = Verdict { valid: true, ..Verdict::default() };
    let mut reports = Vec::new();
    for part in parts {
        let Part { name, report, seconds, lost } = part;
        if let Some(problem) = lost {
            let until = if report.is_some() { ", measured until then" } else { "" };
            verdict.reasons.push(format!("agent {name}: {problem}{until}"));
        }
        if let Some(mut report) = report {
            report.series.extend(seconds);
            verdict
                .reasons
                .extend(report.verdict.reasons.iter().map(|reason| format!("agent {name}: {reason}")));
            reports.push(report);
        }
    }
    if reports.is_empty() {
        return Err(verdict.reasons.join("; "));
    }
    let mut whole = add(&reports)?;
    for objective in &plan.objectives {
        for result in &whole.results {
            let response = result.response.histogram()?;
            objective.weigh(&result.cmd, &response, &mut verdict.reasons, &mut verdict.slo_missed);
        }
    }
    verdict.valid = verdict.reasons.is_empty();
    whole.verdict = verdict;
    if let Some(options) = whole.plan.as_object_mut() {
        options.insert("agents".into(), members.into());
    }
    Ok(whole)
}

fn add(reports: &[Document]) -> Result<Document, String> {
    let first = &reports[0];
    let elapsed_ns = reports.iter().map(|report| report.elapsed_ns).max().unwrap_or(0);
    let mut results = Vec::new();
    for (index, result) in first.results.iter().enumerate() {
        let same: Vec<&CommandResult> = reports
            .iter()
            .filter_map(|report| report.results.get(index).filter(|other| other.cmd == result.cmd))
            .collect();
        if same.len() != reports.len() {
            return Err(format!("an agent reports other commands: {} is missing", result.cmd));
        }
        results.push(add_command(&same, elapsed_ns)?);
    }
    let latencies = |pick: fn(&Document) -> &Latencies| -> Result<Latencies, String> {
        Ok(Latencies::from(&merged(reports.iter().map(pick))?))
    };
    Ok(Document {
        elapsed_ns,
        results,
        lag: latencies(|report| &report.lag)?,
        window_full: latencies(|report| &report.window_full)?,
        connect: latencies(|report| &report.connect)?,
        connections: sum(reports, |report| report.connections),
        moved: sum(reports, |report| report.moved),
        asked: sum(reports, |report| report.asked),
        loader_cpu: reports.iter().map(|report| report.loader_cpu).fold(0.0, f64::max),
        series: add_seconds(reports.iter().flat_map(|report| &report.series), first.results.len())?,
        ..first.clone()
    })
}

/// Of numbers that a peer sent, so it must not overflow.
fn sum<T>(parts: &[T], pick: impl Fn(&T) -> u64) -> u64 {
    parts.iter().fold(0, |sum: u64, part| sum.saturating_add(pick(part)))
}

fn add_command(parts: &[&CommandResult], elapsed_ns: u64) -> Result<CommandResult, String> {
    let sum = |pick: fn(&CommandResult) -> u64| sum(parts, |part| pick(part));
    let mut errors = BTreeMap::new();
    for (kind, count) in parts.iter().flat_map(|part| &part.errors) {
        let total: &mut u64 = errors.entry(kind.clone()).or_default();
        *total = total.saturating_add(*count);
    }
    let answered = sum(|part| part.answered);
    Ok(CommandResult {
        cmd: parts[0].cmd.clone(),
        offered: parts.iter().map(|part| part.offered).sum(),
        achieved: answered as f64 * 1e9 / elapsed_ns.max(1) as f64,
        answered,
        hits: sum(|part| part.hits),
        misses: sum(|part| part.misses),
        errors,
        bytes_sent: sum(|part| part.bytes_sent),
        bytes_received: sum(|part| part.bytes_received),
        response: Latencies::from(&merged(parts.iter().map(|part| &part.response))?),
        service: Latencies::from(&merged(parts.iter().map(|part| &part.service))?),
    })
}

/// The seconds that the agents tell while they run, until all that still run have told the same one.
pub struct Underway {
    commands: usize,
    running: usize,
    open: BTreeMap<u64, Vec<Interval>>,
}

impl Underway {
    /// Of `agents` whose plan has so many commands.
    pub fn new(agents: usize, commands: usize) -> Self {
        Self { commands, running: agents, open: BTreeMap::new() }
    }

    /// Takes one agent's second; the whole of it if that was the last one missing.
    pub fn told(&mut self, second: Interval) -> Option<Interval> {
        let number = number(&second);
        self.open.entry(number).or_default().push(second);
        (self.open[&number].len() >= self.running).then(|| self.close(number)).flatten()
    }

    /// An agent tells no more.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// One second of the whole; nothing of it and those before is awaited any more.
    fn close(&mut self, number: u64) -> Option<Interval> {
        let later = self.open.split_off(&(number + 1));
        let parts = std::mem::replace(&mut self.open, later).remove(&number)?;
        add_seconds(parts.iter(), self.commands).ok()?.pop()
    }
}

/// What the same second of all agents has in common: ms since the first measured instant.
fn number(second: &Interval) -> u64 {
    // The cast saturates, so nonsense lands somewhere harmless.
    (second.t * 1000.0).round().min(1e15) as u64
}

/// Seconds of the same number are one second of the whole, in which `commands` are told apart.
fn add_seconds<'a>(
    parts: impl Iterator<Item = &'a Interval>,
    commands: usize,
) -> Result<Vec<Interval>, String> {
    let mut seconds: BTreeMap<u64, (Interval, Vec<Histogram<u64>>)> = BTreeMap::new();
    for second in parts {
        let histograms = second.histograms()?;
        if histograms.len() != commands {
            return Err(format!("an agent reports {} commands in a second of {commands}", histograms.len()));
        }
        match seconds.entry(number(second)) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert((second.clone(), histograms));
            }
            std::collections::btree_map::Entry::Occupied(mut taken) => {
                let (sum, responses) = taken.get_mut();
                for (response, histogram) in responses.iter_mut().zip(&histograms) {
                    document::add(response, histogram)?;
                }
                sum.seconds = sum.seconds.max(second.seconds);
                sum.ops = sum.ops.saturating_add(second.ops);
                sum.offered = sum.offered.saturating_add(second.offered);
                sum.errors = sum.errors.saturating_add(second.errors);
                sum.lag_p99 = sum.lag_p99.max(second.lag_p99);
                sum.cpu = sum.cpu.max(second.cpu);
            }
        }
    }
    let finished = seconds.into_values().map(|(second, responses)| {
        let mut all = latencies();
        responses.iter().try_for_each(|response| document::add(&mut all, response))?;
        Ok(Interval {
            p50: all.value_at_quantile(0.5),
            p99: all.value_at_quantile(0.99),
            max: all.max(),
            hdr_v2_deflate_b64: responses.iter().map(encode).collect(),
            ..second
        })
    });
    finished.collect()
}
