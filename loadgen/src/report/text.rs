//! The report for a terminal, and the same as CSV.

use super::{
    setup,
    table::aligned,
    units::{grouped, latency, micros, percent, quantile, rate},
};
use crate::document::{Document, Latencies, Quantile};

/// Quantiles of the table unless others are asked for.
pub const COLUMNS: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];

/// The table: a row a command, in an open loop with its service times below. `*` marks a quantile with fewer than 100
/// samples beyond it, `-` stands for one with fewer than 10.
pub fn text(document: &Document, quantiles: &[f64]) -> Result<String, String> {
    let named = ["", "offered", "achieved", "hit%"].map(String::from);
    let columns = quantiles.iter().copied().map(quantile);
    let mut rows = vec![named.into_iter().chain(columns).chain(["max  (µs, response)".into()]).collect()];
    let mut starred = false;
    for result in &document.results {
        let mut cells =
            vec![result.cmd.clone(), rate(result.offered), rate(result.achieved), hits(result.hit_rate())];
        starred |= push_latencies(&mut cells, &result.response, quantiles)?;
        rows.push(cells);
        if document.is_open() {
            let mut cells = vec![" service".into(), String::new(), String::new(), String::new()];
            starred |= push_latencies(&mut cells, &result.service, quantiles)?;
            rows.push(cells);
        }
    }
    // The unit stands beyond the column it explains.
    for row in &mut rows[1..] {
        let last = row.last_mut().expect("every row ends with its maximum");
        last.push_str(&" ".repeat("  (µs, response)".chars().count()));
    }
    let mut text = format!("{}\n{}", setup::headline(document), aligned(&rows));
    text.push_str(&errors(document));
    text.push_str(&verdict(document, starred)?);
    text.push_str(&clock(&document.env.clocksource));
    Ok(text)
}

/// Clock sources that a process reads without entering the kernel.
const FAST_CLOCKS: [&str; 3] = ["tsc", "kvm-clock", "arch_sys_counter"];

/// A warning if every stamp cost a call of the kernel; an unknown clock is none.
fn clock(source: &str) -> String {
    if source.is_empty() || FAST_CLOCKS.contains(&source) {
        return String::new();
    }
    format!(
        "warning: the clock source is {source}: each stamp costs a system call, which the figures contain\n"
    )
}

fn push_latencies(cells: &mut Vec<String>, of: &Latencies, quantiles: &[f64]) -> Result<bool, String> {
    let histogram = of.histogram()?;
    let mut starred = false;
    for &q in quantiles {
        cells.push(match Quantile::of(&histogram, q) {
            None => "-".into(),
            Some(found) if found.trusted => micros(found.v),
            Some(found) => {
                starred = true;
                format!("{}*", micros(found.v))
            }
        });
    }
    cells.push(micros(of.max));
    Ok(starred)
}

fn hits(rate: Option<f64>) -> String {
    rate.map_or("-".into(), percent)
}

/// `errors: GET 5 (MOVED 3, unanswered 2)`, where there are any.
fn errors(document: &Document) -> String {
    let mut parts = Vec::new();
    for result in document.results.iter().filter(|result| !result.errors.is_empty()) {
        let kinds: Vec<String> =
            result.errors.iter().map(|(kind, count)| format!("{kind} {}", grouped(*count as f64))).collect();
        let all: u64 = result.errors.values().sum();
        parts.push(format!("{} {} ({})", result.cmd, grouped(all as f64), kinds.join(", ")));
    }
    if parts.is_empty() { String::new() } else { format!("errors: {}\n", parts.join("; ")) }
}

fn verdict(document: &Document, starred: bool) -> Result<String, String> {
    let mut line = format!("loader: cpu {:.0}% max", document.loader_cpu * 100.0);
    let lag = document.lag.histogram()?;
    if !lag.is_empty() {
        line.push_str(&format!(", lag p99 {}", latency(lag.value_at_quantile(0.99) as f64)));
    }
    let verdict = &document.verdict;
    line.push_str(if verdict.valid { "  VALID" } else { "  INVALID: " });
    line.push_str(&verdict.reasons.join("; "));
    if starred {
        line.push_str("     * below trusted sample count");
    }
    line.push('\n');
    if !document.is_open() {
        line.push_str(
            "closed loop: latency counts from the send; requests a stall held back are in no figure\n",
        );
    }
    for missed in &verdict.slo_missed {
        line.push_str(&format!("objective missed: {missed}\n"));
    }
    Ok(line)
}

/// One line a command, as redis-benchmark -q prints it.
pub fn quiet(document: &Document) -> Result<String, String> {
    let mut text = String::new();
    for result in &document.results {
        let median = result.response.histogram()?.value_at_quantile(0.5) as f64 / 1e6;
        text.push_str(&format!(
            "{}: {:.2} requests per second, p50={median:.3} msec\n",
            result.cmd, result.achieved
        ));
    }
    if !document.verdict.valid {
        text.push_str(&format!("INVALID: {}\n", document.verdict.reasons.join("; ")));
    }
    for missed in &document.verdict.slo_missed {
        text.push_str(&format!("objective missed: {missed}\n"));
    }
    Ok(text)
}

/// Comma-separated values with a head: a row for the response and one for the service times of each command. Latencies
/// are microseconds; a quantile without samples enough is left empty.
pub fn csv(document: &Document, quantiles: &[f64]) -> Result<String, String> {
    let columns: String = quantiles.iter().map(|&q| format!(",{}_us", quantile(q))).collect();
    let mut text = format!(
        "cmd,latency,offered_per_s,achieved_per_s,answered,errors,hit_percent,min_us,mean_us{columns},max_us,valid\n"
    );
    for result in &document.results {
        for (kind, latencies) in [("response", &result.response), ("service", &result.service)] {
            let histogram = latencies.histogram()?;
            let errors: u64 = result.errors.values().sum();
            let us = |ns: f64| format!("{:.3}", ns / 1000.0);
            let mut cells = vec![
                quoted(&result.cmd),
                kind.into(),
                format!("{:.2}", result.offered),
                format!("{:.2}", result.achieved),
                result.answered.to_string(),
                errors.to_string(),
                result.hit_rate().map_or(String::new(), |share| format!("{:.3}", share * 100.0)),
                us(latencies.min as f64),
                us(latencies.mean),
            ];
            cells.extend(
                quantiles
                    .iter()
                    .map(|&q| Quantile::of(&histogram, q).map_or(String::new(), |found| us(found.v as f64))),
            );
            cells.extend([us(latencies.max as f64), document.verdict.valid.to_string()]);
            text.push_str(&cells.join(","));
            text.push('\n');
        }
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}
