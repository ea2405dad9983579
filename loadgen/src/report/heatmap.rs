//! Latency against time, the darkness of a cell the number of requests in it.

use hdrhistogram::Histogram;

use super::{
    axis::Axis,
    chart::{Chart, Frame, Ruler},
    curves::time_ruler,
    page::{Figure, Key},
    units::{latency, short},
};
use crate::document::{Interval, add};

/// Shades of the page's style sheet, `h1` to `h8`.
const SHADES: usize = 8;
/// Cells up the plot, and most of them across it; seconds beyond that share a column.
const ROWS: usize = 44;
const COLUMNS: usize = 180;
const FRAME: Frame = Frame { width: 1000.0, height: 330.0 };

type Corners = [(f64, f64); 2];

struct Column {
    from: f64,
    to: f64,
    histogram: Histogram<u64>,
}

/// None where no interval holds a request.
pub fn figure(series: &[Interval]) -> Result<Option<Figure>, String> {
    let columns = columns(series)?;
    let filled = || columns.iter().filter(|column| !column.histogram.is_empty());
    let low = filled().map(|column| column.histogram.min()).min();
    let high = filled().map(|column| column.histogram.max()).max();
    let (Some(low), Some(high)) = (low, high) else { return Ok(None) };
    let (from, to) = FRAME.upwards();
    let axis = Axis::log(low.max(1) as f64, high as f64, from, to);
    let cells = cells(&columns, &axis);
    let most = cells.iter().map(|cell| cell.1).max().unwrap_or(1);
    let seconds = series.last().map_or(0.0, |interval| interval.t + interval.seconds);
    let y = Ruler { ticks: axis.ticks_upwards(latency), axis, name: "response time".into() };
    let mut chart = Chart::new(FRAME, "Response time against time", time_ruler(FRAME, seconds), y);
    for shade in 1..=SHADES {
        let boxes: Vec<Corners> =
            cells.iter().filter(|cell| shade_of(cell.1, most) == shade).map(|cell| cell.0).collect();
        chart.boxes(&boxes, &format!("h{shade}"));
    }
    Ok(Some(Figure {
        title: "Response times as they came".into(),
        note: "Each cell counts the requests of that moment that took that long. A second band above the first, or a \
               tower, is a stall that averages hide. The legend says how many requests a shade stands for at least."
            .into(),
        legend: legend(most),
        svg: chart.finish(),
    }))
}

fn columns(series: &[Interval]) -> Result<Vec<Column>, String> {
    let together = series.len().div_ceil(COLUMNS).max(1);
    let mut columns = Vec::new();
    for group in series.chunks(together) {
        let mut histogram = group[0].histogram()?;
        for interval in &group[1..] {
            add(&mut histogram, &interval.histogram()?)?;
        }
        let last = &group[group.len() - 1];
        columns.push(Column { from: group[0].t, to: last.t + last.seconds, histogram });
    }
    Ok(columns)
}

/// The cells that hold anything, with how much.
fn cells(columns: &[Column], axis: &Axis) -> Vec<(Corners, u64)> {
    let step = (axis.high / axis.low).powf(1.0 / ROWS as f64);
    let mut cells = Vec::new();
    for column in columns {
        let mut counts = [0_u64; ROWS];
        for value in column.histogram.iter_recorded() {
            let above = (value.value_iterated_to() as f64 / axis.low).max(1.0);
            let row = (above.ln() / step.ln()) as usize;
            counts[row.min(ROWS - 1)] += value.count_since_last_iteration();
        }
        for (row, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let bottom = axis.low * step.powi(i32::try_from(row).unwrap_or(i32::MAX));
            cells.push(([(column.from, bottom), (column.to, bottom * step)], count));
        }
    }
    cells
}

/// Shades step by equal factors, so that a single request shows beside a hundred thousand.
fn shade_of(count: u64, most: u64) -> usize {
    let share = (count.max(1) as f64).ln() / (most.max(2) as f64).ln();
    1 + ((share * SHADES as f64) as usize).min(SHADES - 1)
}

fn legend(most: u64) -> Vec<Key> {
    let least = |shade: usize| (most.max(2) as f64).powf((shade - 1) as f64 / SHADES as f64).ceil();
    let keys = (1..=SHADES).map(|shade| (shade, least(shade)));
    keys.filter(|&(shade, count)| shade == 1 || count > least(shade - 1))
        .map(|(shade, count)| Key::new(format!("h{shade}"), format!("{}+", short(count))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_run_from_one_request_to_the_fullest_cell() {
        assert_eq!((shade_of(1, 100_000), shade_of(100_000, 100_000)), (1, SHADES));
        assert_eq!(shade_of(1, 1), 1);
        let shades: Vec<usize> = (0..=16).map(|power| shade_of(1 << power, 1 << 16)).collect();
        assert!(shades.is_sorted() && (1..=SHADES).all(|shade| shades.contains(&shade)), "{shades:?}");
    }
}
