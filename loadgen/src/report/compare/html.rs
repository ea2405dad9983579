//! The page that lays several runs over each other.

use serde_json::json;

use super::{Comparison, Group, Judgement, all_valid, comparisons, objections};
use crate::{
    document::Document,
    report::{
        chart::{LOW, Points, WIDE},
        curves::{Line, Measure, OverTime, over_time, percentile_plot, percentiles},
        html::{latency_line, length, rate_line},
        page::{Banner, Block, Cell, Figure, Key, Page, Row, Table},
        setup,
    },
};

/// Colours that the style sheet has.
const COLOURS: usize = 8;

pub fn html(groups: &[Group]) -> Result<String, String> {
    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    let runs: usize = groups.iter().map(|group| group.runs.len()).sum();
    let mut blocks = vec![Block::Table(table(groups)?)];
    blocks.extend(percentile_figure(groups)?.map(Block::Figure));
    blocks.extend(throughput(groups).map(Block::Figure));
    blocks.extend(latency(groups).map(Block::Figure));
    blocks.push(setups(groups));
    let data: Vec<_> = groups.iter().map(|group| json!({ "name": group.name, "runs": group.runs })).collect();
    let page = Page {
        title: format!("Comparison: {}", names.join(", ")),
        subtitle: format!("{runs} runs; changes are against {}", names[0]),
        banner: banner(groups),
        tiles: Vec::new(),
        blocks,
        data: json!({ "compare": data }).to_string(),
    };
    Ok(page.render())
}

fn banner(groups: &[Group]) -> Banner {
    let reasons = objections(groups);
    match (all_valid(groups), reasons.is_empty()) {
        (false, _) => Banner { mood: "bad", word: "INVALID".into(), reasons },
        (true, false) => Banner { mood: "plain", word: "VALID, with differences".into(), reasons },
        (true, true) => {
            Banner { mood: "good", word: "VALID".into(), reasons: vec!["the same load in all runs".into()] }
        }
    }
}

fn table(groups: &[Group]) -> Result<Table, String> {
    let mut head = vec![String::new()];
    for (index, group) in groups.iter().enumerate() {
        head.push(group.name.clone());
        if index > 0 {
            head.push("change".into());
        }
    }
    let rows = comparisons(groups)?.into_iter().map(|figure| row(groups, &figure)).collect();
    let repeated = groups.iter().any(|group| group.runs.len() > 1);
    let note = if repeated {
        "Medians of the repetitions, with their range. Coloured where the ranges do not overlap; other changes may be \
         chance."
    } else {
        "One run each: without repetitions nobody knows how much of a change is chance. Give several reports of one \
         name to see."
    };
    Ok(Table { title: "Figures".into(), note: note.into(), head, rows })
}

fn row(groups: &[Group], figure: &Comparison) -> Row {
    let mut cells = vec![Cell::new(format!("{} {}", figure.cmd, figure.metric))];
    for index in 0..groups.len() {
        let (median, range) = figure.shown(index);
        cells.push(Cell { note: range, ..Cell::new(median) });
        if index > 0 {
            let (class, told) = match figure.judge(index) {
                Judgement::Better => ("better", "better: the ranges do not overlap"),
                Judgement::Worse => ("worse", "worse: the ranges do not overlap"),
                Judgement::Same => ("quiet", "within the range of the repetitions, or below half a percent"),
                Judgement::Unknown => ("", ""),
            };
            let text = figure.change(index).unwrap_or("–".into());
            cells.push(Cell { text, told: told.into(), class, ..Cell::default() });
        }
    }
    Row { class: "", cells }
}

fn legend(groups: &[Group]) -> Vec<Key> {
    let keys = groups.iter().enumerate();
    keys.map(|(index, group)| {
        let runs = if group.runs.len() > 1 { format!(" ({} runs)", group.runs.len()) } else { String::new() };
        Key::new(class(index), format!("{}{runs}", group.name))
    })
    .collect()
}

fn class(index: usize) -> String {
    format!("s{}", index % COLOURS)
}

/// The median of several curves with a band from the least to the greatest, point by point as far as all reach.
pub fn banded(class: String, curves: Vec<Points>) -> Line {
    if let [only] = curves.as_slice() {
        return Line::new(class, only.clone());
    }
    let common = curves.iter().map(Vec::len).min().unwrap_or(0);
    let mut line = Line::new(class, Points::new());
    let (mut lower, mut upper) = (Points::new(), Points::new());
    for index in 0..common {
        let x = curves[0][index].0;
        let values = curves.iter().map(|curve| curve[index].1).collect();
        if let Some(range) = super::Range::of(values) {
            line.points.push((x, range.median));
            lower.push((x, range.min));
            upper.push((x, range.max));
        }
    }
    line.band = Some((lower, upper));
    line
}

fn lines(groups: &[Group], curve: impl Fn(&Document) -> Points) -> Vec<Line> {
    let each = groups.iter().enumerate();
    each.map(|(index, group)| banded(class(index), group.runs.iter().map(&curve).collect())).collect()
}

fn percentile_figure(groups: &[Group]) -> Result<Option<Figure>, String> {
    let mut lines = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let mut curves = Vec::new();
        for run in &group.runs {
            let mut curve = percentiles(&run.response()?);
            if group.runs.len() > 1 {
                // The last point lies at each run's own reach, off the steps that all runs share.
                curve.pop();
            }
            curves.push(curve);
        }
        lines.push(banded(class(index), curves));
    }
    let svg = percentile_plot(WIDE, "Response time by percentile of all runs", &lines);
    Ok(svg.map(|svg| Figure {
        title: "Response time by percentile".into(),
        note: format!(
            "All commands together, counted {}. Lines stop where fewer than 100 samples lie beyond; bands span the \
             repetitions.",
            setup::counted_from(&groups[0].runs[0])
        ),
        legend: legend(groups),
        svg,
    }))
}

fn over(
    groups: &[Group],
    what: &OverTime,
    title: &str,
    curve: impl Fn(&Document) -> Points,
) -> Option<Figure> {
    let seconds =
        groups.iter().flat_map(|group| &group.runs).map(|run| length(&run.series)).fold(0.0, f64::max);
    over_time(what, seconds, &lines(groups, curve)).map(|svg| Figure {
        title: title.into(),
        note: String::new(),
        legend: legend(groups),
        svg,
    })
}

fn throughput(groups: &[Group]) -> Option<Figure> {
    let about = "Requests per second achieved over time, of all runs";
    let what =
        OverTime { frame: LOW, about, name: "requests per second", measure: Measure::Rate, limit: None };
    over(groups, &what, "Throughput over time", |run| {
        rate_line(&run.series, "", |interval| interval.ops).points
    })
}

fn latency(groups: &[Group]) -> Option<Figure> {
    let about = "p99 of the response time over time, of all runs";
    let what = OverTime { frame: LOW, about, name: "response time", measure: Measure::Latency, limit: None };
    over(groups, &what, "p99 over time", |run| latency_line(&run.series, "", |interval| interval.p99).points)
}

fn setups(groups: &[Group]) -> Block {
    let rows = groups.iter().map(|group| (group.name.clone(), setup::headline(&group.runs[0]))).collect();
    Block::Facts { title: "Runs".into(), rows }
}
