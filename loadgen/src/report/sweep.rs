//! A sweep's page and its table: latency against throughput, one line a server.

use super::{
    axis::Axis,
    chart::{Chart, Frame, Points, Ruler},
    compare::Range,
    curves::{Line, draw, largest, latency_ruler},
    page::{Banner, Block, Cell, Figure, Key, Page, Row, Table},
    setup,
    table::aligned,
    units::{self, grouped, latency, micros, percent, quantile, short},
};
use crate::sweep::{MaxRate, Point, SweepReport, Swept};

const FRAME: Frame = Frame { width: 1000.0, height: 440.0 };

/// The table for a terminal: how much each server takes while it meets the objective.
pub fn text(report: &SweepReport) -> String {
    let mut rows: Vec<Vec<String>> = vec![
        ["server", "max rate", "of runs", "knee", "p50 µs", "p99 µs", "bound by"].map(String::from).into(),
    ];
    for (index, swept) in report.servers.iter().enumerate() {
        let at = report.at_knee(index);
        let value = |of: fn(&Point) -> u64| at.map_or("-".into(), |point| micros(of(point)));
        let (median, range) = max_rate(swept.max_rate);
        rows.push(vec![
            swept.name.clone(),
            median,
            range,
            grouped(swept.knee),
            value(|point| point.p50),
            value(|point| point.p99),
            swept.bound.clone(),
        ]);
    }
    let mut text = format!("max rate at {} (requests per second)\n{}", report.slo, aligned(&rows));
    for objection in objections(report) {
        text.push_str(&format!("{objection}\n"));
    }
    text
}

fn max_rate(found: Option<MaxRate>) -> (String, String) {
    let Some(MaxRate { min, median, max }) = found else { return ("-".into(), String::new()) };
    (grouped(median), format!("{} – {}", grouped(min), grouped(max)))
}

fn objections(report: &SweepReport) -> Vec<String> {
    let mut found = Vec::new();
    for (index, swept) in report.servers.iter().enumerate() {
        let name = &swept.name;
        match swept.bound.as_str() {
            "loader" => found.push(format!("{name}: the generator was at its limit, the server may do more")),
            "max-rate" => {
                found.push(format!("{name}: met the objective at the highest rate that was allowed"))
            }
            _ => {}
        }
        if let Some(point) = report.at_knee(index).filter(|point| !point.valid) {
            found.push(format!("{name}: measured badly at its knee: {}", point.reasons.join("; ")));
        }
        let own = || report.points.iter().filter(move |point| point.server == index && point.met);
        let invalid = own().filter(|point| !point.valid).count();
        if invalid > 0 {
            found.push(format!("{name}: {invalid} of {} points that met it are INVALID", own().count()));
        }
    }
    found.extend(report.never_met().map(|swept| format!("{}: never met {}", swept.name, report.slo)));
    found
}

pub fn html(report: &SweepReport) -> Result<String, String> {
    let names: Vec<&str> = report.servers.iter().map(|swept| swept.name.as_str()).collect();
    let mut blocks = vec![Block::Table(rates(report))];
    blocks.extend(curve(report).map(Block::Figure));
    blocks.push(Block::Table(points(report)));
    let mut facts = setup::plan_facts(&report.plan);
    facts.insert(0, ("slo".into(), report.slo.clone()));
    blocks.push(Block::Facts { title: "Plan".into(), rows: facts });
    for swept in &report.servers {
        let title = format!("Server {}", swept.name);
        blocks.push(Block::Facts { title, rows: setup::server_facts(&swept.server) });
    }
    blocks.push(Block::Facts {
        title: "Machine of the generator".into(),
        rows: setup::machine_facts(&report.env),
    });
    let page = Page {
        title: format!("Throughput at {}: {}", report.slo, names.join(", ")),
        subtitle: format!("{} measurements, open loop, latency from the intended start", report.points.len()),
        banner: banner(report),
        tiles: Vec::new(),
        blocks,
        data: serde_json::to_string(report).map_err(|error| error.to_string())?,
    };
    Ok(page.render())
}

fn banner(report: &SweepReport) -> Banner {
    let reasons = objections(report);
    match (report.valid(), reasons.is_empty()) {
        (false, _) => Banner { mood: "bad", word: "INVALID".into(), reasons },
        (true, false) => Banner { mood: "plain", word: "VALID, with reservations".into(), reasons },
        (true, true) => Banner {
            mood: "good",
            word: "VALID".into(),
            reasons: vec!["the limits are the servers', not the generator's".into()],
        },
    }
}

fn rates(report: &SweepReport) -> Table {
    let head =
        ["", "max rate", "knee", "p50 µs", "p99 µs", "p99.9 µs", "hit %", "bound by"].map(String::from);
    let rows = report.servers.iter().enumerate().map(|(index, swept)| {
        let at = report.at_knee(index);
        let value = |of: fn(&Point) -> u64| Cell::new(at.map_or("–".into(), |point| micros(of(point))));
        let (median, range) = max_rate(swept.max_rate);
        let cells = vec![
            Cell::new(&swept.name),
            Cell { note: range, ..Cell::new(median) },
            Cell::new(grouped(swept.knee)),
            value(|point| point.p50),
            value(|point| point.p99),
            value(|point| point.p999),
            Cell::new(at.and_then(|point| point.hit_rate).map_or("–".into(), percent)),
            Cell::new(&swept.bound),
        ];
        Row { class: "", cells }
    });
    Table {
        title: format!("Max rate at {}", report.slo),
        note: "Requests per second. Max rate: the highest fixed rate up to which all met the objective, median and \
               range of the repetitions. Knee: where the search ended, within 2 %, and the latencies there."
            .into(),
        head: head.into(),
        rows: rows.collect(),
    }
}

/// Points of one server at the fixed rates, repetitions of a rate together, by rate.
fn by_rate<'a>(report: &'a SweepReport, server: usize) -> Vec<Vec<&'a Point>> {
    let mut rates: Vec<Vec<&'a Point>> = Vec::new();
    for point in report.points.iter().filter(|point| point.server == server && point.phase == "fixed") {
        match rates.iter_mut().find(|rate| rate[0].rate == point.rate) {
            Some(rate) => rate.push(point),
            None => rates.push(vec![point]),
        }
    }
    rates.sort_by(|a, b| a[0].rate.total_cmp(&b[0].rate));
    rates
}

fn curve(report: &SweepReport) -> Option<Figure> {
    let (mut lines, mut legend) = (Vec::new(), Vec::new());
    for (index, swept) in report.servers.iter().enumerate() {
        let mut line = Line::new(class(index), Points::new());
        let (mut lower, mut upper) = (Points::new(), Points::new());
        for rate in by_rate(report, index) {
            let of = |value: fn(&Point) -> f64| Range::of(rate.iter().map(|point| value(point)).collect());
            let (x, y) = (of(|point| point.achieved)?.median, of(|point| point.value as f64)?);
            line.points.push((x, y.median));
            lower.push((x, y.min));
            upper.push((x, y.max));
        }
        line.band = Some((lower, upper));
        lines.push(line);
        legend.push(Key::new(class(index), &swept.name));
    }
    let name = format!("{} of the response time", quantile(report.quantile));
    let mut shown = vec![Line::new("", vec![(0.0, report.limit_ns as f64)])];
    shown.append(&mut lines);
    let y = latency_ruler(FRAME, &name, &shown);
    let lines = shown.split_off(1);
    lines.iter().find(|line| !line.points.is_empty())?;
    let mut chart =
        Chart::new(FRAME, &format!("{name} against throughput"), throughput_ruler(report, &lines), y);
    draw(&mut chart, &lines);
    chart.limit(report.limit_ns as f64, "limit");
    for (index, (swept, line)) in report.servers.iter().zip(&lines).enumerate() {
        mark(&mut chart, report, index, swept, line);
    }
    legend.push(Key::new("rule limit", format!("objective {}", latency(report.limit_ns as f64))));
    legend.push(Key::new("rule s6", "knee of the server of that colour"));
    legend.push(Key::new("dot hollow s6", "invalid: overloaded, or the generator was"));
    Some(Figure {
        title: format!("{} against throughput", quantile(report.quantile)),
        note: "Medians of the repetitions at the same offered rates, with their range; throughput is what was achieved."
            .into(),
        legend,
        svg: chart.finish(),
    })
}

/// Points, filled where they count, and the knee.
fn mark(chart: &mut Chart, report: &SweepReport, index: usize, swept: &Swept, line: &Line) {
    let class = class(index);
    let rates = by_rate(report, index);
    for (rate, point) in rates.iter().zip(&line.points) {
        let sound = rate.iter().all(|point| point.valid);
        let class = if sound { class.clone() } else { format!("hollow {class}") };
        chart.dots(&[*point], &class);
    }
    if swept.knee > 0.0 {
        chart.upright(swept.knee, &class, &format!("knee of {}: {}/s", swept.name, grouped(swept.knee)));
    }
}

fn throughput_ruler(report: &SweepReport, lines: &[Line]) -> Ruler {
    let knees = report.servers.iter().map(|swept| swept.knee);
    let high = knees.fold(largest(lines, |(x, _)| x).unwrap_or(1.0), f64::max);
    let (from, to) = FRAME.across();
    let axis = Axis::from_zero(high, from, to);
    let ticks = axis.ticks_across(short);
    Ruler { axis, ticks, name: "requests per second achieved".into() }
}

fn points(report: &SweepReport) -> Table {
    let named = quantile(report.quantile);
    let head = ["", "offered/s", "achieved/s", &format!("{named} µs"), "range", "loader CPU", "met", "valid"];
    let mut rows = Vec::new();
    for (index, swept) in report.servers.iter().enumerate() {
        for rate in by_rate(report, index) {
            let of = |value: fn(&Point) -> f64| Range::of(rate.iter().map(|point| value(point)).collect());
            let (Some(achieved), Some(value)) = (of(|point| point.achieved), of(|point| point.value as f64))
            else {
                continue;
            };
            let busiest = rate.iter().map(|point| point.loader_cpu).fold(0.0, f64::max);
            let count = |of: fn(&Point) -> bool| rate.iter().filter(|point| of(point)).count();
            let (met, valid) = (count(|point| point.met), count(|point| point.valid));
            let reasons: Vec<&str> =
                rate.iter().flat_map(|point| &point.reasons).map(String::as_str).collect();
            rows.push(Row {
                class: "",
                cells: vec![
                    Cell::new(&swept.name),
                    Cell::new(grouped(rate[0].rate)),
                    Cell::new(grouped(achieved.median)),
                    Cell::new(micros(value.median as u64)),
                    Cell {
                        class: "quiet",
                        ..Cell::new(format!("{} – {}", micros(value.min as u64), micros(value.max as u64)))
                    },
                    Cell::new(format!("{:.0} %", busiest * 100.0)),
                    Cell::new(format!("{met} of {}", rate.len())),
                    Cell { told: reasons.join("; "), ..Cell::new(format!("{valid} of {}", rate.len())) },
                ],
            });
        }
    }
    Table { title: "Fixed rates".into(), note: String::new(), head: head.map(String::from).into(), rows }
}

fn class(index: usize) -> String {
    format!("s{}", index % 6)
}

/// A measurement as it is told while the sweep goes on.
pub fn line(point: &Point, name: &str, remaining: usize) -> String {
    let judged = match (point.met, point.valid) {
        (true, true) => "met".into(),
        (true, false) => format!("met, INVALID: {}", point.reasons.join("; ")),
        (false, _) => {
            format!("missed{}", point.reasons.first().map_or(String::new(), |reason| format!(": {reason}")))
        }
    };
    let left = if point.phase == "fixed" { format!(", {remaining} to go") } else { String::new() };
    let (rate, value) = (units::rate(point.rate), latency(point.value as f64));
    format!("{} {name} {rate}/s: {value}, {judged}{left}", point.phase)
}
