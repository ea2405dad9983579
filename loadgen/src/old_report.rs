//! Renders an outcome: lines for people, JSON for programs. Reads no time and measures nothing.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::{
    plan::{Load, Plan},
    request::Op,
    stats::{OpStats, Outcome, Trust, trust},
};

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// The terminal report. Latencies are µs; `*` marks a quantile with fewer than 100 samples beyond it, `-` hides one
/// with fewer than 10.
pub fn text(plan: &Plan, outcome: &Outcome) -> String {
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
    for op in Op::ALL {
        let stats = outcome.op(op);
        if stats.answered() + stats.unanswered > 0 {
            line(row(op.name(), stats, &stats.response, outcome));
            if matches!(plan.load, Load::Open { .. }) {
                line(row(" sent", stats, &stats.service, outcome));
            }
        }
    }
    let cpu = outcome.busiest_thread * 100.0;
    let lag = outcome.lag.value_at_quantile(0.99) / 1000;
    let objections = outcome.objections();
    let verdict =
        if objections.is_empty() { "VALID".into() } else { format!("INVALID: {}", objections.join("; ")) };
    line(format!("loader: cpu {cpu:.0}% max, lag p99 {lag} µs  {verdict}"));
    out
}

fn row(name: &str, stats: &OpStats, latencies: &Histogram<u64>, outcome: &Outcome) -> String {
    let rate = stats.answered() as f64 * 1e9 / outcome.elapsed_ns.max(1) as f64;
    let mut row = format!("{name:<5}{:>11}{rate:>11.0}", stats.answered());
    let hits = if name == Op::Get.name() { format!("{:.1}", stats.hit_rate() * 100.0) } else { "-".into() };
    let _ = write!(row, "{hits:>8}{:>9}", stats.errors);
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

/// The machine-readable report, `schema` "loadgen/1".
pub fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let results: Vec<Value> = Op::ALL
        .into_iter()
        .filter(|&op| outcome.op(op).answered() + outcome.op(op).unanswered > 0)
        .map(|op| {
            let stats = outcome.op(op);
            json!({
                "cmd": op.name(),
                "achieved": stats.answered() as f64 * 1e9 / outcome.elapsed_ns.max(1) as f64,
                "answered": stats.answered(),
                "hits": stats.values,
                "misses": stats.nulls,
                "errors": stats.errors,
                "unanswered": stats.unanswered,
                "response": histogram(&stats.response),
                "service": histogram(&stats.service),
            })
        })
        .collect();
    let objections = outcome.objections();
    json!({
        "schema": "loadgen/1",
        "verdict": { "valid": objections.is_empty(), "reasons": objections },
        "plan": plan_json(plan),
        "elapsed_ns": outcome.elapsed_ns,
        "busiest_thread": outcome.busiest_thread,
        "results": results,
        "lag": histogram(&outcome.lag),
    })
}

fn plan_json(plan: &Plan) -> Value {
    let load = match plan.load {
        Load::Closed(end) => json!({ "closed": format!("{end:?}") }),
        Load::Open { rate, requests } => json!({ "open": { "rate": rate, "requests": requests } }),
    };
    json!({
        "target": plan.target.to_string(),
        "clients": plan.clients,
        "threads": plan.threads,
        "pipeline": plan.pipeline,
        "pipeline_mode": format!("{:?}", plan.mode),
        "load": load,
        "key_minimum": plan.keys.first,
        "key_maximum": plan.keys.last,
        "key_pattern": format!("{:?}", plan.keys.pattern),
        "key_width": plan.key_shape.width,
        "ratio": format!("{}:{}", plan.ratio.set, plan.ratio.get),
        "data_size": plan.data_size,
        "seed": plan.seed,
    })
}

fn histogram(latencies: &Histogram<u64>) -> Value {
    let quantiles: Vec<Value> = QUANTILES
        .into_iter()
        .filter(|&(_, quantile)| trust(quantile, latencies.len()) != Trust::None)
        .map(|(_, quantile)| {
            let trusted = trust(quantile, latencies.len()) == Trust::Full;
            json!({ "q": quantile, "v": latencies.value_at_quantile(quantile), "trusted": trusted })
        })
        .collect();
    json!({
        "unit": "ns",
        "count": latencies.len(),
        "min": if latencies.is_empty() { 0 } else { latencies.min() },
        "mean": latencies.mean(),
        "max": latencies.max(),
        "quantiles": quantiles,
    })
}
