//! Renders an outcome as lines for people. Reads no time and measures nothing.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::{
    document::{Document, Verdict},
    plan::{Load, Plan},
    stats::{CommandStats, Outcome, Trust, trust},
};

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// The terminal report. Latencies are µs; `*` marks a quantile with fewer than 100 samples beyond it, `-` hides one
/// with fewer than 10.
pub fn text(plan: &Plan, outcome: &Outcome, verdict: &Verdict) -> String {
    let mut out = String::new();
    let load = match plan.load {
        Load::Closed(_) => "closed loop, latency from send".into(),
        Load::Open { rate, .. } => format!("open loop {rate:.0}/s, latency from intended start"),
    };
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "{} | {} connections, {} threads, pipeline {} | {load}",
        plan.target, plan.clients, plan.threads, plan.pipeline
    ));
    line(format!(
        "{:<5}{:>11}{:>11}{:>8}{:>9}{:>10}{:>10}{:>10}{:>11}",
        "", "requests", "per s", "hit%", "errors", "p50", "p99", "p99.9", "max"
    ));
    for stats in outcome.commands.iter().filter(|stats| stats.counts.offered > 0) {
        line(row(&stats.name, stats, &stats.response, outcome));
        if plan.open() {
            line(row(" sent", stats, &stats.service, outcome));
        }
    }
    let cpu = outcome.busiest_thread * 100.0;
    let lag = outcome.lag.value_at_quantile(0.99) / 1000;
    for missed in &verdict.slo_missed {
        line(missed.clone());
    }
    let verdict =
        if verdict.valid { "VALID".into() } else { format!("INVALID: {}", verdict.reasons.join("; ")) };
    line(format!("loader: cpu {cpu:.0}% max, lag p99 {lag} µs  {verdict}"));
    out
}

fn row(name: &str, stats: &CommandStats, latencies: &Histogram<u64>, outcome: &Outcome) -> String {
    let counts = &stats.counts;
    let rate = outcome.per_second(counts.answered());
    let mut row = format!("{name:<5}{:>11}{rate:>11.0}", counts.answered());
    let hits = if stats.reads { format!("{:.1}", counts.hit_rate() * 100.0) } else { "-".into() };
    let _ = write!(row, "{hits:>8}{:>9}", counts.failed());
    for (_, quantile) in QUANTILES {
        let _ = write!(row, "{:>10}", shown(latencies, quantile));
    }
    let _ = write!(row, "{:>11.1}", latencies.max() as f64 / 1000.0);
    row
}

fn shown(latencies: &Histogram<u64>, quantile: f64) -> String {
    let us = latencies.value_at_quantile(quantile) as f64 / 1000.0;
    match trust(quantile, latencies.len()) {
        Trust::None => "-".into(),
        Trust::Some => format!("{us:.1}*"),
        Trust::Full => format!("{us:.1}"),
    }
}

/// The report of a run that several processes made, from its document alone.
pub fn of_agents(document: &Document) -> Result<String, String> {
    let mut out = format!(
        "{:<10}{:>11}{:>11}{:>9}{:>9}{:>10}{:>11}\n",
        "", "requests", "per s", "errors", "p50", "p99", "max"
    );
    for result in &document.results {
        let response = result.response.histogram()?;
        let us = |ns: u64| ns as f64 / 1000.0;
        let errors: u64 = result.errors.values().sum();
        let _ = writeln!(
            out,
            "{:<10}{:>11}{:>11.0}{errors:>9}{:>9.1}{:>10.1}{:>11.1}",
            result.cmd,
            result.answered,
            result.achieved,
            us(response.value_at_quantile(0.5)),
            us(response.value_at_quantile(0.99)),
            us(response.max()),
        );
    }
    let Verdict { valid, reasons, slo_missed } = &document.verdict;
    let verdict = if *valid { "VALID".into() } else { format!("INVALID: {}", reasons.join("; ")) };
    let _ = writeln!(out, "loader: cpu {:.0}% max  {verdict}", document.loader_cpu * 100.0);
    for missed in slo_missed {
        let _ = writeln!(out, "{missed}");
    }
    Ok(out)
}
