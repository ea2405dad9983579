//! The page of one run.

use super::{
    chart::{HALF, LOW, Points, WIDE},
    curves::{Line, Measure, OverTime, over_time, percentile_plot, percentiles, trusted_reach},
    heatmap,
    page::{Banner, Block, Cell, Figure, Key, Page, Row, Table, Tile},
    setup,
    units::{self, grouped, latency, micros, percent, quantile, short},
};
use crate::{
    document::{CommandResult, Document, Interval, Latencies, Quantile, merged},
    stats::{Trust, trust},
    verdict::CPU_ALLOWED,
};

/// Commands that get a colour of their own in the percentile plot, the busiest first.
const COLOURS: usize = 6;
/// Quantiles of the results table, as far as any command has the samples.
const COLUMNS: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.999_99];

/// The page as a whole file.
pub fn html(document: &Document) -> Result<String, String> {
    let page = Page {
        title: format!("Load report: {}", setup::server(document)),
        subtitle: setup::headline(document),
        banner: banner(document),
        tiles: tiles(document)?,
        blocks: blocks(document)?,
        data: serde_json::to_string(document).map_err(|error| error.to_string())?,
    };
    Ok(page.render())
}

fn banner(document: &Document) -> Banner {
    let verdict = &document.verdict;
    let missed = verdict.slo_missed.iter().map(|missed| format!("objective missed: {missed}"));
    let reasons: Vec<String> = verdict.reasons.iter().cloned().chain(missed).collect();
    match (verdict.valid, verdict.slo_missed.is_empty()) {
        (false, _) => Banner { mood: "bad", word: "INVALID".into(), reasons },
        (true, false) => Banner { mood: "bad", word: "VALID, objective missed".into(), reasons },
        (true, true) => {
            let reasons = vec!["the figures measure the server, not the generator".into()];
            Banner { mood: "good", word: "VALID".into(), reasons }
        }
    }
}

fn tiles(document: &Document) -> Result<Vec<Tile>, String> {
    let response = document.response()?;
    let at = |q: f64, note: &str| {
        let found = Quantile::of(&response, q);
        let value = found.as_ref().map_or("–".into(), |found| latency(found.v as f64));
        let note = match found {
            Some(found) if found.trusted => note.to_string(),
            Some(_) => "few samples".into(),
            None => "too few samples".into(),
        };
        Tile::new(&quantile(q), value, note)
    };
    Ok(vec![
        Tile::new("achieved", format!("{}/s", short(document.achieved())), setup::rates(document)),
        at(0.5, "half were faster"),
        at(0.99, "response time"),
        at(0.999, "response time"),
        Tile::new("slowest", latency(response.max() as f64), format!("of {}", short(response.len() as f64))),
        Tile::new("errors", grouped(document.errors() as f64), hits(document)),
    ])
}

fn hits(document: &Document) -> String {
    document.hit_rate().map_or("nothing read".into(), |share| format!("{} % of reads hit", percent(share)))
}

fn blocks(document: &Document) -> Result<Vec<Block>, String> {
    let mut blocks = vec![Block::Table(results(document)?)];
    blocks.extend(percentile_figure(document)?.map(Block::Figure));
    let series = &document.series;
    blocks.extend(throughput(series).map(Block::Figure));
    blocks.extend(latency_figure(series).map(Block::Figure));
    blocks.extend(heatmap::figure(series)?.map(Block::Figure));
    blocks.extend(loader(document));
    let facts = |title: &str, rows| Block::Facts { title: title.into(), rows };
    blocks.push(facts("Connections", setup::connection_facts(document)));
    blocks.push(facts("Plan", setup::plan_facts(&document.plan)));
    blocks.push(facts("Server", setup::server_facts(&document.server)));
    blocks.push(facts("Machine of the generator", setup::machine_facts(&document.env)));
    Ok(blocks)
}

fn results(document: &Document) -> Result<Table, String> {
    let named = ["", "offered/s", "achieved/s", "errors", "hit %"];
    let most = document.results.iter().map(|result| result.response.count).max().unwrap_or(0);
    let columns: Vec<f64> =
        COLUMNS.into_iter().filter(|&q| q == 0.5 || trust(q, most) != Trust::None).collect();
    let head = named.map(String::from).into_iter().chain(columns.iter().copied().map(quantile));
    let mut rows = Vec::new();
    for result in &document.results {
        let errors: u64 = result.errors.values().sum();
        let kinds: Vec<String> =
            result.errors.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
        let mut cells = vec![
            Cell::new(&result.cmd),
            Cell::new(units::rate(result.offered)),
            Cell::new(units::rate(result.achieved)),
            Cell { text: grouped(errors as f64), told: kinds.join(", "), ..Cell::default() },
            Cell::new(result.hit_rate().map_or("–".into(), percent)),
        ];
        cells.extend(latency_cells(&result.response, &columns)?);
        rows.push(Row { class: "", cells });
        if document.is_open() {
            let mut cells = vec![Cell::new("service")];
            cells.resize(named.len(), Cell::default());
            cells.extend(latency_cells(&result.service, &columns)?);
            rows.push(Row { class: "sub", cells });
        }
    }
    let service = if document.is_open() { "; service rows count from the send" } else { "" };
    Ok(Table {
        title: "Results".into(),
        note: format!(
            "Latencies in µs, counted {}{service}. * few samples beyond it, – too few to say.",
            setup::counted_from(document)
        ),
        head: head.chain(["max".into()]).collect(),
        rows,
    })
}

fn latency_cells(latencies: &Latencies, columns: &[f64]) -> Result<Vec<Cell>, String> {
    let histogram = latencies.histogram()?;
    let quantiles = columns.iter().map(|&q| match Quantile::of(&histogram, q) {
        None => Cell { class: "quiet", ..Cell::new("–") },
        Some(found) => {
            let told = format!("95 % interval {} to {} µs", micros(found.ci_lo), micros(found.ci_hi));
            let (mark, class) = if found.trusted { ("", "") } else { ("*", "quiet") };
            Cell { text: format!("{}{mark}", micros(found.v)), told, class, ..Cell::default() }
        }
    });
    Ok(quantiles.chain([Cell::new(micros(latencies.max))]).collect())
}

fn percentile_figure(document: &Document) -> Result<Option<Figure>, String> {
    let mut busiest: Vec<&CommandResult> = document.results.iter().collect();
    busiest.sort_by_key(|result| std::cmp::Reverse(result.response.count));
    let (mut lines, mut legend) = (Vec::new(), Vec::new());
    for (index, result) in busiest.into_iter().take(COLOURS).enumerate() {
        let kinds = [("response", &result.response, ""), ("service", &result.service, " dash")];
        // In a closed loop the two are one.
        for (kind, latencies, dash) in kinds.into_iter().take(if document.is_open() { 2 } else { 1 }) {
            let points = percentiles(&latencies.histogram()?);
            if !points.is_empty() {
                let class = format!("s{index}{dash}");
                legend.push(Key::new(&class, format!("{} {kind}", result.cmd)));
                lines.push(Line::new(class, points));
            }
        }
    }
    let about = "Latency by percentile, response and service";
    let reach = trusted_reach(&merged(document.results.iter().map(|result| &result.response))?);
    Ok(percentile_plot(WIDE, about, &lines).map(|svg| Figure {
        title: "Latency by percentile".into(),
        note: format!(
            "Response counts {}; service from its send. Lines stop where fewer than 100 samples lie beyond ({} \
             requests in all).",
            setup::counted_from(document),
            short(reach * 100.0),
        ),
        legend,
        svg,
    }))
}

/// Points of the series, at the middle of their intervals. A run ends amid a second: what is left of it is too short to
/// draw a rate or a percentile from.
fn along(series: &[Interval], value: impl Fn(&Interval) -> f64) -> Points {
    let longest = series.iter().map(|interval| interval.seconds).fold(0.0, f64::max);
    let telling = series.iter().filter(|interval| interval.seconds >= longest / 2.0);
    telling.map(|interval| (interval.t + interval.seconds / 2.0, value(interval))).collect()
}

pub fn length(series: &[Interval]) -> f64 {
    series.last().map_or(0.0, |last| last.t + last.seconds)
}

pub fn rate_line(series: &[Interval], class: &str, count: impl Fn(&Interval) -> u64) -> Line {
    Line::new(class, along(series, |interval| count(interval) as f64 / interval.seconds.max(1e-9)))
}

/// Seconds in which nothing was answered have no latency and leave no point.
pub fn latency_line(series: &[Interval], class: &str, value: impl Fn(&Interval) -> u64) -> Line {
    let points = along(series, |interval| value(interval) as f64);
    Line::new(class, points.into_iter().filter(|point| point.1 > 0.0).collect())
}

fn throughput(series: &[Interval]) -> Option<Figure> {
    let failed = series.iter().any(|interval| interval.errors > 0);
    let mut lines = vec![
        rate_line(series, "s1 dash", |interval| interval.offered),
        rate_line(series, "s0", |interval| interval.ops),
    ];
    let mut legend = vec![Key::new("s0", "achieved"), Key::new("s1 dash", "offered")];
    if failed {
        lines.push(rate_line(series, "s5", |interval| interval.errors));
        legend.push(Key::new("s5", "failed"));
    }
    let about = "Requests per second offered and achieved over time";
    let what =
        OverTime { frame: LOW, about, name: "requests per second", measure: Measure::Rate, limit: None };
    over_time(&what, length(series), &lines).map(|svg| Figure {
        title: "Throughput over time".into(),
        note: String::new(),
        legend,
        svg,
    })
}

fn latency_figure(series: &[Interval]) -> Option<Figure> {
    let lines = [
        latency_line(series, "s1", |interval| interval.max),
        latency_line(series, "s0", |interval| interval.p99),
        latency_line(series, "s2", |interval| interval.p50),
    ];
    let legend = vec![Key::new("s1", "slowest"), Key::new("s0", "p99"), Key::new("s2", "p50")];
    let about = "p50, p99 and maximum of the response time over time";
    let what = OverTime { frame: LOW, about, name: "response time", measure: Measure::Latency, limit: None };
    over_time(&what, length(series), &lines).map(|svg| Figure {
        title: "Response time over time".into(),
        note: "Of each second on its own.".into(),
        legend,
        svg,
    })
}

/// Whether the generator itself kept up. In a closed loop nothing is due and so nothing is late: the CPU alone.
fn loader(document: &Document) -> Option<Block> {
    let series = &document.series;
    let busy = [Line::new("s3", along(series, |interval| interval.cpu))];
    let late = [latency_line(series, "s4", |interval| interval.lag_p99)];
    let frame = if late[0].points.is_empty() { LOW } else { HALF };
    let about = "CPU of the generator's busiest thread";
    let what =
        OverTime { frame, about, name: "share of a CPU", measure: Measure::Share, limit: Some(CPU_ALLOWED) };
    let cpu = Figure {
        title: "CPU of the generator".into(),
        note: format!("Busiest thread; {} at most over the whole run.", whole_percent(document.loader_cpu)),
        legend: vec![Key::new("s3", "busiest thread"), Key::new("rule limit", whole_percent(CPU_ALLOWED))],
        svg: over_time(&what, length(series), &busy)?,
    };
    let about = "p99 of the generator's own lateness";
    let what = OverTime { frame, about, name: "lag", measure: Measure::Latency, limit: None };
    let Some(svg) = over_time(&what, length(series), &late) else { return Some(Block::Figure(cpu)) };
    let lag = Figure {
        title: "Lateness of the generator".into(),
        note: "From when a request was due until the generator noticed.".into(),
        legend: vec![Key::new("s4", "lag p99")],
        svg,
    };
    Some(Block::Pair { figures: [cpu, lag] })
}

fn whole_percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
