//! `torc-bench micro`: the criterion benches of the server crate, run by cargo, and their estimates collected.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    report::{Environment, head, write_files},
    servers::WORKSPACE,
};

#[derive(Args, Clone)]
pub struct Options {
    /// Only benches whose name contains this
    filter: Option<String>,
    /// A few rounds of each: shows that everything works, measures nothing
    #[arg(long)]
    quick: bool,
    /// Where the results go [default: bench/, with --quick a temporary directory]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Rounds of a quick run: the fewest samples, in hardly any time.
const QUICK: [&str; 6] = ["--warm-up-time", "0.01", "--measurement-time", "0.02", "--sample-size", "10"];

pub fn run(options: &Options) -> Result<(), String> {
    let environment = Environment::read();
    let home = TempDir::new().map_err(|error| format!("temporary directory: {error}"))?;
    let status = Command::new("cargo")
        .args(["bench", "--locked", "--package", "torc-server", "--bench", "micro", "--"])
        .args(if options.quick { &QUICK[..] } else { &[] })
        .args(&options.filter)
        .current_dir(WORKSPACE)
        .env("CRITERION_HOME", home.path())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cargo bench: {status}"));
    }
    let mut found = Vec::new();
    collect(home.path(), &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.is_empty() {
        return Err("no bench has that in its name".into());
    }
    let json = json!({
        "schema": "torc-bench-micro/1",
        "environment": environment.json(),
        "quick": options.quick,
        "unit": "ns",
        "benches": found.iter().map(Estimate::json).collect::<Vec<_>>(),
    });
    let table = markdown(&environment, options.quick, &found);
    write_files(options.out.as_deref(), options.quick, "micro", &json, &table)
}

/// What criterion says of one bench, ns.
#[derive(Debug, PartialEq)]
struct Estimate {
    name: String,
    median: f64,
    /// Bounds of the median's confidence interval.
    low: f64,
    high: f64,
    /// Elements of one round, where the bench has more than one.
    elements: Option<f64>,
}

impl Estimate {
    /// From benchmark.json and estimates.json.
    fn parse(benchmark: &Value, estimates: &Value) -> Option<Self> {
        let median = &estimates["median"];
        let interval = &median["confidence_interval"];
        Some(Self {
            name: benchmark["full_id"].as_str()?.to_owned(),
            median: median["point_estimate"].as_f64()?,
            low: interval["lower_bound"].as_f64()?,
            high: interval["upper_bound"].as_f64()?,
            elements: benchmark["throughput"]["Elements"].as_f64().filter(|&count| count > 1.0),
        })
    }

    fn json(&self) -> Value {
        let Self { name, median, low, high, elements } = self;
        json!({ "name": name, "median": median, "low": low, "high": high, "elements": elements })
    }
}

/// Every estimate below `dir`: criterion keeps a bench's last in a folder `new`.
fn collect(dir: &Path, found: &mut Vec<Estimate>) -> Result<(), String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if path.ends_with("new") {
            let read = |name| {
                let path = path.join(name);
                let text =
                    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
            };
            let estimate = Estimate::parse(&read("benchmark.json")?, &read("estimates.json")?);
            found.push(estimate.ok_or_else(|| format!("{} is not understood", path.display()))?);
        } else {
            collect(&path, found)?;
        }
    }
    Ok(())
}

fn markdown(environment: &Environment, quick: bool, found: &[Estimate]) -> String {
    let mut out = head("Parts of Torc by themselves", quick);
    out.push_str(&format!(
        "{}; {}\n\nEstimates of criterion: the median of a round with its 95 % confidence interval, and what that is \
         for each element of the round.\n\n| bench | ns | ns/element |\n|---|---|---|\n",
        environment.machine(),
        environment.occasion()
    ));
    for Estimate { name, median, low, high, elements } in found {
        let each = elements.map_or("–".into(), |count| format!("{:.1}", median / count));
        out.push_str(&format!("| {name} | {median:.1} ({low:.1}–{high:.1}) | {each} |\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterions_estimates_are_read() {
        let benchmark = json!({ "full_id": "parse/GET/16", "throughput": { "Elements": 16 } });
        let estimates = json!({ "median": {
            "confidence_interval": { "confidence_level": 0.95, "lower_bound": 310.0, "upper_bound": 330.0 },
            "point_estimate": 320.0,
        }});
        let estimate = Estimate::parse(&benchmark, &estimates).expect("understood");
        let (low, high) = (310.0, 330.0);
        let wanted = Estimate { name: "parse/GET/16".into(), median: 320.0, low, high, elements: Some(16.0) };
        assert_eq!(estimate, wanted);
        assert_eq!(Estimate::parse(&benchmark, &json!({})), None);
    }
}
