//! One axis of a plot: where a value lies, and which values are worth a tick.

/// Pixels that one character of a tick label takes at most, at the page's label size.
const LETTER: f64 = 7.2;
/// Clear pixels between two tick labels.
const GAP: f64 = 12.0;
/// Pixels from one tick label to the next above it, at least.
const LINE: f64 = 24.0;
/// Pixels of a decade from which 1, 2 and 5 have room, 2 being 0.3 of a decade away.
const ROOMY: f64 = 84.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Linear,
    Log,
}

/// Maps `low..=high` to pixels `from..to`; `to` may be the smaller, as pixels count downwards.
#[derive(Clone, Debug)]
pub struct Axis {
    scale: Scale,
    pub low: f64,
    pub high: f64,
    pub from: f64,
    pub to: f64,
}

/// A value with its label; without one it is a grid line alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    pub label: String,
}

impl Axis {
    /// From zero to the first round number at or above `high`.
    pub fn from_zero(high: f64, from: f64, to: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_up(high / 5.0);
        Self { scale: Scale::Linear, low: 0.0, high: (high / step - 1e-9).ceil() * step, from, to }
    }

    /// Exactly `low` to `high`.
    pub fn exact(scale: Scale, low: f64, high: f64, from: f64, to: f64) -> Self {
        debug_assert!(scale == Scale::Linear || low > 0.0);
        let high = if high > low { high } else { low + 1.0 };
        Self { scale, low, high, from, to }
    }

    /// A log axis between the round numbers (1, 2 or 5 of a decade) around `low..high`.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = round_down(low.max(1e-9));
        let high = round_up(high.max(low * 1.01));
        Self { scale: Scale::Log, low, high: high.max(low * 2.0), from, to }
    }

    /// Pixel of `value`; what lies outside is drawn at the edge.
    pub fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share * (self.to - self.from)
    }

    pub fn length(&self) -> f64 {
        (self.to - self.from).abs()
    }

    /// Round values, as many as fit with their labels one after the other along a horizontal axis.
    pub fn ticks_across(&self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        self.ticks(90.0, |text| text.chars().count() as f64 * LETTER + GAP, label)
    }

    /// Round values, as many as fit above each other.
    pub fn ticks_upwards(&self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        self.ticks(34.0, |_| LINE, label)
    }

    fn ticks(&self, wanted: f64, extent: impl Fn(&str) -> f64, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let values = match self.scale {
            Scale::Log if self.high / self.low >= 8.0 => self.log_values(wanted),
            _ => self.linear_values(wanted),
        };
        self.fitting(values, extent, label)
    }

    /// `values` with their labels, less those whose label would touch the one before.
    pub fn fitting(
        &self,
        values: Vec<f64>,
        extent: impl Fn(&str) -> f64,
        label: impl Fn(f64) -> String,
    ) -> Vec<Tick> {
        let mut ticks: Vec<Tick> = Vec::new();
        for value in values {
            let text = label(value);
            let clear = ticks.last().is_none_or(|last| {
                let needed = (extent(&text) + extent(&last.label)) / 2.0;
                (self.at(value) - self.at(last.value)).abs() >= needed && last.label != text
            });
            if clear {
                ticks.push(Tick { value, label: text });
            }
        }
        ticks
    }

    /// `fitting` for labels beside each other.
    pub fn fitting_across(&self, values: Vec<f64>, label: impl Fn(f64) -> String) -> Vec<Tick> {
        self.fitting(values, |text| text.chars().count() as f64 * LETTER + GAP, label)
    }

    fn linear_values(&self, wanted: f64) -> Vec<f64> {
        let step = round_up((self.high - self.low) / (self.length() / wanted).max(2.0));
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }

    /// 1, 2 and 5 of each decade, only 1, or 1 of every few decades, as the room allows.
    fn log_values(&self, wanted: f64) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let per_decade = self.length() / decades;
        let (mantissas, every): (&[f64], i32) = if per_decade >= ROOMY.max(wanted) {
            (&[1.0, 2.0, 5.0], 1)
        } else {
            (&[1.0], (wanted / 2.0 / per_decade).ceil() as i32)
        };
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        let all = (first..=last).filter(|decade| decade % every == 0);
        all.flat_map(|decade| mantissas.iter().map(move |mantissa| mantissa * 10_f64.powi(decade)))
            .filter(|value| (self.low * 0.999..=self.high * 1.001).contains(value))
            .collect()
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `value`.
pub fn round_up(value: f64) -> f64 {
    let found = neighbours(value).find(|candidate| *candidate >= value * (1.0 - 1e-9));
    found.unwrap_or(value)
}

/// The largest of 1, 2, 5 times a power of ten that is at most `value`.
fn round_down(value: f64) -> f64 {
    neighbours(value).filter(|candidate| *candidate <= value * (1.0 + 1e-9)).last().unwrap_or(value)
}

fn neighbours(value: f64) -> impl Iterator<Item = f64> {
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(move |mantissa| mantissa * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> Vec<String> {
        ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn axes_end_on_round_numbers_and_hold_their_data() {
        let rate = Axis::from_zero(181_790.0, 0.0, 500.0);
        assert_eq!((rate.low, rate.high), (0.0, 200_000.0));
        assert_eq!((rate.at(0.0), rate.at(100_000.0), rate.at(1e9)), (0.0, 250.0, 500.0));
        let latency = Axis::log(61e3, 2.1e6, 300.0, 0.0);
        assert_eq!((latency.low, latency.high), (50e3, 5e6));
        assert!((latency.at(500e3) - 150.0).abs() < 1e-9);
        let flat = Axis::log(100.0, 100.0, 0.0, 1.0);
        assert!(flat.low <= 100.0 && flat.high > 100.0);
        assert_eq!(Axis::from_zero(0.0, 0.0, 1.0).high, 1.0);
    }

    #[test]
    fn ticks_are_round_and_never_touch() {
        let plain = |value: f64| format!("{value}");
        let rate = Axis::from_zero(181_790.0, 0.0, 240.0);
        assert_eq!(labels(rate.ticks_upwards(plain)), ["0", "50000", "100000", "150000", "200000"]);
        let latency = Axis::log(60.0, 9_000.0, 0.0, 400.0);
        assert_eq!(
            labels(latency.ticks_upwards(plain)),
            ["50", "100", "200", "500", "1000", "2000", "5000", "10000"]
        );
        let narrow = Axis::exact(Scale::Log, 1.0, 1e9, 0.0, 300.0);
        for pair in narrow.ticks_across(plain).windows(2) {
            let room = narrow.at(pair[1].value) - narrow.at(pair[0].value);
            assert!(room > (pair[0].label.len() + pair[1].label.len()) as f64 / 2.0 * LETTER, "{pair:?}");
        }
    }

    #[test]
    fn rounding_finds_the_neighbours() {
        assert_eq!([0.7, 1.0, 1.1, 3.0, 6.0].map(round_up), [1.0, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!([0.7, 1.0, 1.1, 3.0, 6.0].map(round_down), [0.5, 1.0, 1.0, 2.0, 5.0]);
    }
}
