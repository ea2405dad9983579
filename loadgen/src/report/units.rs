//! Numbers as people read them. Latencies come in nanoseconds.

/// `1234567.0` as `1,234,567`.
pub fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    if number < 0.0 && digits != "0" {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate in full, and with its fraction where it is small: `1,234`, `12.5`, `0.5`.
pub fn rate(number: f64) -> String {
    if number == 0.0 || number.abs() >= 1.0 {
        return significant(number);
    }
    // Two digits behind the zeros.
    let decimals = (1.0 - number.abs().log10().floor()) as usize;
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// Three significant digits, without trailing zeros after the point; from 1,000 on whole numbers.
fn significant(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 99.95 => return grouped(number),
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// A latency with the unit that suits it: `850 ns`, `1.2 ms`.
pub fn latency(ns: f64) -> String {
    let (size, unit) = match ns {
        ns if ns < 999.5 => (1.0, "ns"),
        ns if ns < 999.5e3 => (1e3, "µs"),
        ns if ns < 999.5e6 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{} {unit}", significant(ns / size))
}

/// A latency in microseconds, for a column headed so.
pub fn micros(ns: u64) -> String {
    let us = ns as f64 / 1000.0;
    match us {
        us if us >= 99.95 => grouped(us),
        us if us >= 9.995 => format!("{us:.1}"),
        _ => format!("{us:.2}"),
    }
}

/// A rate or a count, short: `950`, `12.5k`, `1.2M`.
pub fn short(number: f64) -> String {
    match number.abs() {
        size if size < 999.5 => significant(number),
        size if size < 999.5e3 => format!("{}k", significant(number / 1e3)),
        size if size < 999.5e6 => format!("{}M", significant(number / 1e6)),
        _ => format!("{}G", significant(number / 1e9)),
    }
}

/// A share as a percentage: `0.999` as `99.9`.
pub fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A quantile by its usual name: `0.999` as `p99.9`.
pub fn quantile(q: f64) -> String {
    // Rounded: 0.9999 * 100 is not quite 99.99.
    let text = format!("{:.6}", q * 100.0);
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let grouped: Vec<String> = [0.0, 999.0, 1000.0, 1_234_567.4, -4321.0].map(grouped).into();
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567", "-4,321"]);
        let rates: Vec<String> = [0.0, 0.5, 0.0123, 1.0, 12.5, 50.0, 5000.4].map(rate).into();
        assert_eq!(rates, ["0", "0.5", "0.012", "1", "12.5", "50", "5,000"]);
        let latencies: Vec<String> =
            [0.0, 850.0, 999.6, 1000.0, 61_234.0, 999_600.0, 1.5e6, 60e9].map(latency).into();
        assert_eq!(latencies, ["0 ns", "850 ns", "1 µs", "1 µs", "61.2 µs", "1 ms", "1.5 ms", "60 s"]);
        let micros: Vec<String> = [0, 9_876, 61_234, 142_000, 2_114_000].map(micros).into();
        assert_eq!(micros, ["0.00", "9.88", "61.2", "142", "2,114"]);
        let short: Vec<String> = [7.0, 950.0, 12_500.0, 200_000.0, 1.25e6].map(short).into();
        assert_eq!(short, ["7", "950", "12.5k", "200k", "1.25M"]);
        let quantiles: Vec<String> = [0.5, 0.99, 0.999, 0.9999, 0.999_999].map(quantile).into();
        assert_eq!(quantiles, ["p50", "p99", "p99.9", "p99.99", "p99.9999"]);
    }
}
