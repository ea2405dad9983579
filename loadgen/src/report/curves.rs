//! The figures that more than one page draws: the percentile plot and what runs along the time.

use hdrhistogram::Histogram;

use super::{
    axis::{Axis, Scale, Tick},
    chart::{Chart, Frame, Points, Ruler},
    units::{latency, short},
};

/// A line of a figure: its classes and its points.
pub struct Line {
    pub class: String,
    pub points: Points,
    /// Lower and upper edge of a band around it, where there are repetitions.
    pub band: Option<(Points, Points)>,
}

impl Line {
    pub fn new(class: impl Into<String>, points: Points) -> Self {
        Self { class: class.into(), points, band: None }
    }
}

/// Points of the percentile plot a decade of 1/(1-q).
const STEPS: f64 = 32.0;

/// 1/(1-q) of the last quantile that is trusted, as `stats::trust` has it; below 2 not even the median is.
pub fn trusted_reach(histogram: &Histogram<u64>) -> f64 {
    histogram.len() as f64 / 100.0
}

/// Latency over 1/(1-q), from the least to the last trusted quantile.
pub fn percentiles(histogram: &Histogram<u64>) -> Points {
    let reach = trusted_reach(histogram);
    if reach < 2.0 {
        return Points::new();
    }
    let steps = (reach.log10() * STEPS).floor() as u32;
    let inner = (0..=steps).map(|step| 10_f64.powf(f64::from(step) / STEPS));
    let xs = inner.chain([reach]);
    xs.map(|x| (x, histogram.value_at_quantile(1.0 - 1.0 / x) as f64)).collect()
}

/// Latency, log, over the quantile on an axis of 1/(1-q), log.
pub fn percentile_plot(frame: Frame, about: &str, lines: &[Line]) -> Option<String> {
    let reach = largest(lines, |(x, _)| x)?.max(100.0);
    let (from, to) = frame.across();
    let axis = Axis::exact(Scale::Log, 1.0, reach, from, to);
    let decades = (1..).map(|decade| 10_f64.powi(decade)).take_while(|&x| x <= reach * 1.001);
    let ticks = axis.fitting_across([1.0, 2.0].into_iter().chain(decades).collect(), |x| {
        // 1 - 1/x rounds: as many digits as the tick has nines.
        let digits = (x.log10().round() as usize).saturating_sub(2);
        format!("{:.digits$}%", (1.0 - 1.0 / x) * 100.0)
    });
    let x = Ruler { axis, ticks, name: "share of requests that were at least this fast".into() };
    let mut chart = Chart::new(frame, about, x, latency_ruler(frame, "latency", lines));
    draw(&mut chart, lines);
    Some(chart.finish())
}

/// What is drawn over time and how its values read.
pub struct OverTime<'a> {
    pub frame: Frame,
    pub about: &'a str,
    pub name: &'a str,
    pub measure: Measure,
    /// A level that should not be passed.
    pub limit: Option<f64>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Measure {
    /// ns, on a log axis.
    Latency,
    /// Per second, from zero.
    Rate,
    /// Share of one, from zero to at least one.
    Share,
}

pub fn over_time(what: &OverTime, seconds: f64, lines: &[Line]) -> Option<String> {
    largest(lines, |(x, _)| x)?;
    let y = match what.measure {
        Measure::Latency => latency_ruler(what.frame, what.name, lines),
        Measure::Rate => rate_ruler(what.frame, what.name, lines),
        Measure::Share => share_ruler(what.frame, what.name, lines),
    };
    let mut chart = Chart::new(what.frame, what.about, time_ruler(what.frame, seconds), y);
    draw(&mut chart, lines);
    if let Some(limit) = what.limit {
        chart.limit(limit, "limit");
    }
    Some(chart.finish())
}

pub fn draw(chart: &mut Chart, lines: &[Line]) {
    for line in lines {
        if let Some((lower, upper)) = &line.band {
            chart.band(lower, upper, &line.class);
        }
    }
    for line in lines {
        chart.line(&line.points, &line.class);
    }
}

/// Seconds since the first measured instant.
pub fn time_ruler(frame: Frame, seconds: f64) -> Ruler {
    let (from, to) = frame.across();
    let axis = Axis::exact(Scale::Linear, 0.0, seconds.max(0.1), from, to);
    let ticks = axis.ticks_across(|second| format!("{} s", trimmed(second)));
    Ruler { axis, ticks, name: "time".into() }
}

pub fn latency_ruler(frame: Frame, name: &str, lines: &[Line]) -> Ruler {
    let high = largest(lines, |(_, y)| y).unwrap_or(1e6);
    let low = smallest_positive(lines).unwrap_or(high);
    let (from, to) = frame.upwards();
    // At least a decade: a steady server's line must look steady, not like noise that fills the plot.
    let spread = (10.0 * low / high.max(1.0)).max(1.0).sqrt();
    let axis = Axis::log(low / spread, high * spread, from, to);
    let ticks = axis.ticks_upwards(latency);
    Ruler { axis, ticks, name: name.into() }
}

pub fn rate_ruler(frame: Frame, name: &str, lines: &[Line]) -> Ruler {
    let (from, to) = frame.upwards();
    let axis = Axis::from_zero(largest(lines, |(_, y)| y).unwrap_or(1.0), from, to);
    let ticks = axis.ticks_upwards(short);
    Ruler { axis, ticks, name: name.into() }
}

fn share_ruler(frame: Frame, name: &str, lines: &[Line]) -> Ruler {
    let (from, to) = frame.upwards();
    let axis = Axis::from_zero(largest(lines, |(_, y)| y).unwrap_or(1.0).max(1.0), from, to);
    let ticks: Vec<Tick> = axis.ticks_upwards(|share| format!("{:.0}%", share * 100.0));
    Ruler { axis, ticks, name: name.into() }
}

fn values<'a>(lines: &'a [Line]) -> impl Iterator<Item = (f64, f64)> + 'a {
    let bands = lines.iter().filter_map(|line| line.band.as_ref());
    let edges = bands.flat_map(|(lower, upper)| lower.iter().chain(upper));
    lines.iter().flat_map(|line| &line.points).chain(edges).copied()
}

pub fn largest(lines: &[Line], of: fn((f64, f64)) -> f64) -> Option<f64> {
    values(lines).map(of).filter(|value| value.is_finite()).reduce(f64::max)
}

fn smallest_positive(lines: &[Line]) -> Option<f64> {
    values(lines).map(|(_, y)| y).filter(|&y| y.is_finite() && y > 0.0).reduce(f64::min)
}

fn trimmed(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}
