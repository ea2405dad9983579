//! Several runs beside each other. Reports of one name are repetitions of one run: they give a range, and a difference
//! that lies within the ranges is none.

mod html;
mod text;

use std::path::Path;

pub use html::html;
pub use text::text;

use super::units::{grouped, micros, percent, quantile};
use crate::document::{CommandResult, Document, Quantile};

/// The repetitions of one run; never empty.
pub struct Group {
    pub name: String,
    pub runs: Vec<Document>,
}

/// Reads reports, each `NAME=PATH` or a path whose file name, less `.json` and a number before it, is the name:
/// `old.1.json` and `old.2.json` are repetitions of `old`.
pub fn read(arguments: &[String]) -> Result<Vec<Group>, String> {
    let mut groups: Vec<Group> = Vec::new();
    for argument in arguments {
        let (name, path) = named(argument);
        let run = Document::read(Path::new(path))?;
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { name: name.into(), runs: vec![run] }),
        }
    }
    Ok(groups)
}

fn named(argument: &str) -> (&str, &str) {
    if let Some((name, path)) = argument.split_once('=') {
        return (name, path);
    }
    let stem = Path::new(argument).file_stem().and_then(|stem| stem.to_str()).unwrap_or(argument);
    match stem.rsplit_once('.') {
        Some((name, number)) if !name.is_empty() && number.parse::<u32>().is_ok() => (name, argument),
        _ => (stem, argument),
    }
}

/// A figure over the repetitions of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub min: f64,
    pub median: f64,
    pub max: f64,
    pub runs: usize,
}

impl Range {
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { min, median, max, runs: values.len() })
    }

    /// Change of the median against `base`, as a share of it.
    pub fn change(&self, base: &Self) -> Option<f64> {
        (base.median != 0.0).then(|| self.median / base.median - 1.0)
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Better,
    Worse,
    /// The repetitions' ranges overlap, or the change is too small to matter.
    Same,
    /// One run each has no range: nobody knows what chance does.
    Unknown,
}

/// Share of a figure below which a change is called none, however narrow the ranges: at a fixed rate all runs achieve
/// about the same, and the last requests of a schedule decide the rest.
const TRIFLE: f64 = 0.005;

#[derive(Clone, Copy, PartialEq)]
enum Good {
    More,
    Less,
}

/// One figure of a command, side by side.
pub struct Comparison {
    pub cmd: String,
    pub metric: String,
    /// One per group.
    pub ranges: Vec<Option<Range>>,
    good: Good,
    pub show: fn(f64) -> String,
}

impl Comparison {
    /// How group `index` stands against the first.
    pub fn judge(&self, index: usize) -> Judgement {
        let (Some(base), Some(other)) = (self.ranges[0], self.ranges[index]) else {
            return Judgement::Unknown;
        };
        if base.runs < 2 || other.runs < 2 {
            Judgement::Unknown
        } else if base.overlaps(&other) || other.change(&base).is_some_and(|change| change.abs() < TRIFLE) {
            Judgement::Same
        } else if (other.median > base.median) == (self.good == Good::More) {
            Judgement::Better
        } else {
            Judgement::Worse
        }
    }

    /// `+3.1 %` of group `index` against the first; from ten times as much on `×12`.
    pub fn change(&self, index: usize) -> Option<String> {
        let change = self.ranges[index]?.change(&self.ranges[0]?)?;
        if change >= 9.0 {
            return Some(format!("×{:.0}", change + 1.0));
        }
        let text = format!("{:+.1} %", change * 100.0);
        Some(if text == "-0.0 %" { "+0.0 %".into() } else { text })
    }

    /// The median and, with repetitions, the range around it.
    pub fn shown(&self, index: usize) -> (String, String) {
        match self.ranges[index] {
            None => ("-".into(), String::new()),
            Some(Range { median, runs: 1, .. }) => ((self.show)(median), String::new()),
            Some(Range { min, median, max, .. }) => {
                ((self.show)(median), format!("{} – {}", (self.show)(min), (self.show)(max)))
            }
        }
    }
}

const LATENCIES: [f64; 4] = [0.5, 0.99, 0.999, 0.9999];

/// Every figure of every command, in the order of the first group that has the command.
pub fn comparisons(groups: &[Group]) -> Result<Vec<Comparison>, String> {
    let mut commands: Vec<&str> = Vec::new();
    for result in groups.iter().flat_map(|group| &group.runs).flat_map(|run| &run.results) {
        if !commands.contains(&result.cmd.as_str()) {
            commands.push(&result.cmd);
        }
    }
    let mut all = Vec::new();
    for cmd in commands {
        let mut add = |metric: String, good, show: fn(f64) -> String, of: &Reading| -> Result<(), String> {
            let ranges = groups.iter().map(|group| range(group, cmd, of)).collect::<Result<Vec<_>, _>>()?;
            if ranges.iter().flatten().any(|range| range.max > 0.0) {
                all.push(Comparison { cmd: cmd.into(), metric, ranges, good, show });
            }
            Ok(())
        };
        add("achieved/s".into(), Good::More, grouped, &|result| Ok(Some(result.achieved)))?;
        for q in LATENCIES {
            add(format!("{} µs", quantile(q)), Good::Less, shown_micros, &|result| {
                Ok(Quantile::of(&result.response.histogram()?, q).map(|found| found.v as f64))
            })?;
        }
        add("max µs".into(), Good::Less, shown_micros, &|result| Ok(Some(result.response.max as f64)))?;
        add("service p99 µs".into(), Good::Less, shown_micros, &|result| {
            Ok(Quantile::of(&result.service.histogram()?, 0.99).map(|found| found.v as f64))
        })?;
        add("hit %".into(), Good::More, percent, &|result| Ok(result.hit_rate()))?;
        add("errors".into(), Good::Less, grouped, &|result| {
            Ok(Some(result.errors.values().sum::<u64>() as f64))
        })?;
    }
    Ok(all)
}

type Reading<'a> = dyn Fn(&CommandResult) -> Result<Option<f64>, String> + 'a;

fn range(group: &Group, cmd: &str, of: &Reading) -> Result<Option<Range>, String> {
    let results = group.runs.iter().filter_map(|run| run.results.iter().find(|result| result.cmd == cmd));
    let values = results.map(of).collect::<Result<Vec<_>, _>>()?;
    Ok(Range::of(values.into_iter().flatten().collect()))
}

fn shown_micros(ns: f64) -> String {
    micros(ns as u64)
}

/// What stands against a comparison: runs that are invalid, plans that differ.
pub fn objections(groups: &[Group]) -> Vec<String> {
    let mut found = Vec::new();
    for group in groups {
        let invalid: Vec<&Document> = group.runs.iter().filter(|run| !run.verdict.valid).collect();
        if let Some(first) = invalid.first() {
            let (name, count, all) = (&group.name, invalid.len(), group.runs.len());
            let reasons = first.verdict.reasons.join("; ");
            found.push(format!("{name}: {count} of {all} runs INVALID: {reasons}"));
        }
    }
    let base = super::setup::plan_facts(&groups[0].runs[0].plan);
    for group in &groups[1..] {
        let other = super::setup::plan_facts(&group.runs[0].plan);
        for (key, value) in &base {
            let theirs = other.iter().find(|(name, _)| name == key).map_or("-", |(_, value)| value);
            // Another target is what comparisons are for, and a seed changes nothing that is compared.
            if theirs != value && !["target", "seed"].contains(&key.as_str()) {
                let (ours, others) = (&groups[0].name, &group.name);
                found.push(format!("not the same load: {key} is {value} in {ours}, {theirs} in {others}"));
            }
        }
    }
    found
}

pub fn all_valid(groups: &[Group]) -> bool {
    groups.iter().flat_map(|group| &group.runs).all(|run| run.verdict.valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_repetitions() {
        assert_eq!(named("out/old.json"), ("old", "out/old.json"));
        assert_eq!(named("out/old.2.json"), ("old", "out/old.2.json"));
        assert_eq!(named("v9.1.json"), ("v9", "v9.1.json"));
        assert_eq!(named("new=a/b.json"), ("new", "a/b.json"));
    }

    #[test]
    fn a_difference_counts_only_outside_the_ranges() {
        let range = |values: &[f64]| Range::of(values.to_vec());
        let compared = |good, base: &[f64], other: &[f64]| {
            let ranges = vec![range(base), range(other)];
            Comparison { cmd: "GET".into(), metric: "m".into(), ranges, good, show: grouped }
        };
        let better = compared(Good::Less, &[10.0, 12.0, 11.0], &[8.0, 9.0, 8.5]);
        assert_eq!((better.judge(1), better.change(1)), (Judgement::Better, Some("-22.7 %".into())));
        assert_eq!(compared(Good::More, &[10.0, 12.0], &[8.0, 9.0]).judge(1), Judgement::Worse);
        assert_eq!(compared(Good::More, &[10.0, 12.0], &[8.0, 10.0]).judge(1), Judgement::Same);
        assert_eq!(compared(Good::More, &[1000.0, 1001.0], &[998.0, 999.0]).judge(1), Judgement::Same);
        assert_eq!(compared(Good::More, &[10.0], &[8.0]).judge(1), Judgement::Unknown);
        assert_eq!(range(&[]), None);
        assert_eq!(range(&[4.0, 1.0]).map(|range| range.median), Some(2.5));
    }
}
