//! What was run, in words: the line above the table, and the facts below the figures. The plan is read as data here,
//! for a report may come from an older or a newer program.

use serde_json::Value;

use super::units::{self, grouped, latency, quantile, short};
use crate::document::{Document, Env, Latencies, Server};

/// `valkey 9.1 | 200 conns = 4 thr x 50 | window 1 | open loop 200,000/s poisson`
pub fn headline(document: &Document) -> String {
    [server(document), connections(document), window(document), load(document)].join(" | ")
}

pub fn server(document: &Document) -> String {
    let server = &document.server;
    let name = if server.name.is_empty() { "unknown server" } else { &server.name };
    let text = format!("{name} {}", server.version);
    format!("{} at {}", text.trim_end(), server.target)
}

fn connections(document: &Document) -> String {
    let (clients, threads) = (number(document, "clients"), number(document, "threads"));
    let each = clients / threads.max(1.0);
    let about = if each.fract() > 0.0 { "~" } else { "" };
    let word = if clients == 1.0 { "conn" } else { "conns" };
    format!("{clients} {word} = {threads} thr x {about}{each:.0}")
}

fn window(document: &Document) -> String {
    let mode = word(document, "pipeline_mode").unwrap_or("window").to_lowercase();
    format!("{mode} {}", number(document, "pipeline").max(1.0))
}

/// How requests were started, and from when their response counts.
pub fn load(document: &Document) -> String {
    if !document.is_open() {
        return "closed loop".into();
    }
    let open = document.plan.pointer("/load/open");
    let rate = open.and_then(|open| open.get("rate")?.as_f64()).unwrap_or(document.offered());
    let arrival = open.and_then(|open| open.get("arrival")?.as_str()).unwrap_or_default().to_lowercase();
    format!("open loop {}/s {arrival}", units::rate(rate)).trim_end().into()
}

/// What the latencies of the report count from.
pub fn counted_from(document: &Document) -> &'static str {
    if document.is_open() {
        "from the moment each request was due"
    } else {
        "from the moment each request was sent: in a closed loop a slow server also slows the load, and the requests \
         it held back are in no figure"
    }
}

/// Every setting of a plan, nested ones by their path.
pub fn plan_facts(plan: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    flatten(String::new(), plan, &mut rows);
    rows
}

pub fn machine_facts(env: &Env) -> Vec<(String, String)> {
    let pinning = if env.pinning.is_empty() { "none".into() } else { format!("{:?}", env.pinning) };
    let facts = [
        ("cpu", env.cpu.clone()),
        ("kernel", env.kernel.clone()),
        ("clock source", env.clocksource.clone()),
        ("frequency governor", env.governor.clone()),
        ("threads on CPUs", pinning),
        ("generator", env.version.clone()),
        ("seed", env.seed.to_string()),
        ("command line", env.argv.join(" ")),
    ];
    facts.into_iter().map(|(name, value)| (name.into(), known(value))).collect()
}

pub fn server_facts(server: &Server) -> Vec<(String, String)> {
    let named = [("target", &server.target), ("name", &server.name), ("version", &server.version)];
    let named = named.into_iter().map(|(name, value)| (name.to_string(), known(value.clone())));
    named.chain(server.config.clone()).collect()
}

/// How the connections came about, and how requests found room on them.
pub fn connection_facts(document: &Document) -> Vec<(String, String)> {
    let spread = |of: &Latencies| {
        let at = |q: f64| of.quantiles.iter().find(|found| found.q == q).map(|found| found.v as f64);
        let percentiles = [0.5, 0.99].map(|q| at(q).map(|ns| format!("{} {}", quantile(q), latency(ns))));
        let known = percentiles.into_iter().flatten().chain([format!("max {}", latency(of.max as f64))]);
        known.collect::<Vec<_>>().join(", ")
    };
    let mut rows = vec![("opened".into(), document.connections.to_string())];
    if document.connect.count > 0 {
        rows.push(("time to open one".into(), spread(&document.connect)));
    }
    if document.window_full.count > 0 {
        let count = grouped(document.window_full.count as f64);
        rows.push((
            "requests that found no room".into(),
            format!("{count}; waited {}", spread(&document.window_full)),
        ));
    }
    for (name, count) in [("sent on after MOVED", document.moved), ("sent on after ASK", document.asked)] {
        if count > 0 {
            rows.push((name.into(), grouped(count as f64)));
        }
    }
    rows
}

fn known(text: String) -> String {
    if text.is_empty() { "not known".into() } else { text }
}

fn flatten(path: String, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(path, field, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push((path, text.clone())),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(format!("{path}.{}", index + 1), item, rows);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) => {
            let words = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), String::from));
            rows.push((path, words.collect::<Vec<_>>().join(" ")));
        }
        // As it was typed: 30, not 30.0.
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            rows.push((path, format!("{:.0}", number.as_f64().unwrap_or_default())));
        }
        other => rows.push((path, other.to_string())),
    }
}

fn number(document: &Document, name: &str) -> f64 {
    document.plan.get(name).and_then(Value::as_f64).unwrap_or(0.0)
}

fn word<'a>(document: &'a Document, name: &str) -> Option<&'a str> {
    document.plan.get(name).and_then(Value::as_str)
}

/// Offered and achieved, as tiles and titles say it.
pub fn rates(document: &Document) -> String {
    if document.is_open() {
        format!("of {}/s offered", short(document.offered()))
    } else {
        "closed loop".into()
    }
}
