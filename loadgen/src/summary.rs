//! An outcome becomes a document: rates, quantiles with their confidence, histograms in their portable encoding.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    document::{CommandResult, Document, Env, Interval, Latencies, SCHEMA, Server},
    plan::{End, Load, Plan},
    stats::{CommandStats, Outcome, Second},
    traffic::values::Sizes,
    verdict::judge,
};

/// The report of `plan`'s run.
pub fn document(plan: &Plan, outcome: &Outcome, env: Env, server: Server) -> Document {
    Document {
        schema: SCHEMA.into(),
        verdict: judge(plan, outcome),
        env,
        server,
        plan: options(plan),
        elapsed_ns: outcome.elapsed_ns,
        started_unix_ms: outcome.started_unix_ms,
        load: if plan.open() { "open" } else { "closed" }.into(),
        results: outcome.commands.iter().map(|command| result(plan, outcome, command)).collect(),
        lag: Latencies::from(&outcome.lag),
        window_full: Latencies::from(&outcome.window_full),
        connections: outcome.connects.opened,
        connect: Latencies::from(&outcome.connects.time),
        moved: outcome.incidents.moved,
        asked: outcome.incidents.asked,
        loader_cpu: outcome.busiest_thread,
        series: outcome.series.iter().map(interval).collect(),
    }
}

fn result(plan: &Plan, outcome: &Outcome, command: &CommandStats) -> CommandResult {
    let counts = &command.counts;
    let achieved = outcome.per_second(counts.answered());
    let offered = counts.offered as f64 * 1e9 / outcome.scheduled_ns.max(1) as f64;
    let mut errors = command.kinds.clone();
    for (kind, count) in
        [("unanswered", counts.unanswered), ("unsent", counts.unsent), ("corrupt", counts.corrupt)]
    {
        if count > 0 {
            errors.insert(kind.into(), count);
        }
    }
    CommandResult {
        cmd: command.name.clone(),
        offered: if plan.open() { offered } else { achieved },
        achieved,
        answered: counts.answered(),
        hits: if command.reads { counts.values } else { 0 },
        misses: if command.reads { counts.nulls } else { 0 },
        errors,
        bytes_sent: counts.bytes_sent,
        bytes_received: counts.bytes_received,
        response: Latencies::from(&command.response),
        service: Latencies::from(&command.service),
    }
}

/// A second as it stands in the series.
pub fn interval(second: &Second) -> Interval {
    Interval {
        t: second.t,
        seconds: second.seconds,
        ops: second.counts.answered(),
        offered: second.counts.offered,
        errors: second.counts.failed(),
        p50: second.p50,
        p99: second.p99,
        max: second.max,
        lag_p99: second.lag_p99,
        cpu: second.cpu,
        hdr_v2_deflate_b64: second.histograms.iter().map(|bytes| BASE64_STANDARD.encode(bytes)).collect(),
    }
}

/// Every option as it was resolved.
pub fn options(plan: &Plan) -> Value {
    let end = |end: End| match end {
        End::Requests(count) => json!({ "requests": count }),
        End::Time(time) => json!({ "seconds": time.as_secs_f64() }),
    };
    let load = match plan.load {
        Load::Closed(until) => json!({ "closed": end(until) }),
        Load::Open { rate, arrival, end: until } => {
            json!({ "open": { "rate": rate, "arrival": format!("{arrival:?}"), "end": end(until) } })
        }
    };
    let sizes = match &plan.data.sizes {
        Sizes::Fixed(size) => json!(size),
        Sizes::Range(low, high) => json!(format!("{low}-{high}")),
        Sizes::Weighted(list) => json!(list),
    };
    let command = |command: &crate::traffic::mix::CommandPlan| {
        let words: Vec<_> = command.words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let pattern = command.pattern.map(|pattern| format!("{pattern:?}"));
        json!({ "name": command.name, "command": words, "weight": command.weight, "key_pattern": pattern })
    };
    json!({
        "target": plan.target.to_string(),
        "resp": if plan.target.resp3 { 3 } else { 2 },
        "tls": plan.target.tls.is_some(),
        "user": plan.target.user,
        "dbnum": plan.target.db,
        "cluster": plan.target.cluster,
        "rfr": format!("{:?}", plan.target.read_from),
        "clients": plan.clients,
        "threads": plan.threads,
        "pipeline": plan.pipeline,
        "pipeline_mode": format!("{:?}", plan.mode),
        "load": load,
        "warmup": plan.warmup.as_secs_f64(),
        "ramp": plan.ramp.as_secs_f64(),
        "connect_stagger": plan.connect_stagger.as_secs_f64(),
        "reconnect_interval": plan.reconnect_interval,
        "max_backlog": plan.max_backlog,
        "apart": plan.apart,
        "busy_poll": plan.busy_poll,
        "key_minimum": plan.keys.first,
        "key_maximum": plan.keys.last,
        "key_pattern": format!("{:?}", plan.keys.pattern),
        "key_zipf_exp": plan.key_law.zipf_exponent,
        "key_stddev": plan.key_law.stddev,
        "key_median": plan.key_law.median,
        "hotspot": format!("{}:{}", plan.key_law.hotspot.keys, plan.key_law.hotspot.requests),
        "scramble": plan.key_law.scramble,
        "key_prefix": plan.key_shape.prefix,
        "key_width": plan.key_shape.width,
        "mix": plan.mix.iter().map(command).collect::<Vec<Value>>(),
        "data_size": sizes,
        "random_data": plan.data.random,
        "data_verify": plan.data.verify,
        "expiry_range": plan.data.expiry,
        "prefill": plan.prefill,
        "preparation": plan.preparation.as_ref().map(|before| {
            json!({ "command": before.command.name, "requests": before.times })
        }),
        "min_hit_rate": plan.min_hit_rate,
        "seed": plan.seed,
        "cpus": plan.cpus,
        "grace": plan.grace.as_secs_f64(),
        "slo": plan.objectives.iter().map(|objective| objective.text.clone()).collect::<Vec<String>>(),
    })
}
