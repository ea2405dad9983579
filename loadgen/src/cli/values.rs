//! Values of options as they are typed.

use std::{fmt::Display, str::FromStr, time::Duration};

use crate::{
    plan::MAX_RATE,
    traffic::{keys::Hotspot, values::Sizes},
    verdict::Objective,
};

/// `10` and `2.5` are seconds; `500ms`, `20us`, `3s`, `2m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("{text:?} is no time: wanted seconds, or a number with us, ms, s, m or h");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wanted()),
    };
    let seconds: f64 = digits.parse().map_err(|_| wanted())?;
    Duration::try_from_secs_f64(seconds * unit).map_err(|_| wanted())
}

/// A time that must not be 0.
pub fn length(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| if time.is_zero() { Err("it must be above 0".into()) } else { Ok(time) })
}

/// A number of things of which there must be one at least.
pub fn count<N: FromStr<Err: Display> + Default + PartialEq>(text: &str) -> Result<N, String> {
    let number: N = text.parse().map_err(|error: N::Err| error.to_string())?;
    if number == N::default() { Err("it must be at least 1".into()) } else { Ok(number) }
}

/// Per second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0.0 && *rate <= MAX_RATE);
    rate.ok_or_else(|| format!("wanted a number per second, above 0 and up to {MAX_RATE:e}"))
}

/// `p99=1ms`.
pub fn objective(text: &str) -> Result<Objective, String> {
    let parts = text.split_once('=').and_then(|(name, limit)| {
        let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
        Some((percent, limit))
    });
    let (percent, limit) = parts.ok_or("wanted a percentile and a time, as in p99=1ms")?;
    if !(0.0..100.0).contains(&percent) {
        return Err(format!("p{percent} is no percentile below 100"));
    }
    let limit_ns = crate::plan::nanos(duration(limit)?);
    Ok(Objective { text: text.into(), quantile: percent / 100.0, limit_ns })
}

/// `99.9` as a quantile, 0 to 1.
pub fn percentile(text: &str) -> Result<f64, String> {
    let percent: Option<f64> = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| format!("{text:?} is no percentile from 0 to 100"))
}

/// `32-1024`.
pub fn range(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('-').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    parts.ok_or_else(|| "wanted FROM-TO, as in 32-1024".into())
}

/// `32:9,1024:1`: sizes and their weights.
pub fn size_list(text: &str) -> Result<Sizes, String> {
    let entry = |entry: &str| {
        let (size, weight) = entry.split_once(':')?;
        Some((size.trim().parse().ok()?, weight.trim().parse().ok()?))
    };
    let list: Option<Vec<(usize, u32)>> = text.split(',').map(entry).collect();
    list.map(Sizes::Weighted).ok_or_else(|| "wanted SIZE:WEIGHT,..., as in 32:9,1024:1".into())
}

/// `0.2:0.8`: this share of the keys gets that share of the requests.
pub fn hotspot(text: &str) -> Result<Hotspot, String> {
    let parts = text.split_once(':').and_then(|(keys, requests)| {
        Some(Hotspot { keys: keys.parse().ok()?, requests: requests.parse().ok()? })
    });
    parts.ok_or_else(|| "wanted KEYS:REQUESTS, as in 0.2:0.8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_a_unit() {
        for (text, ns) in
            [("2.5", 2_500_000_000), ("20us", 20_000), ("1ms", 1_000_000), ("2m", 120_000_000_000)]
        {
            assert_eq!(duration(text).map(crate::plan::nanos), Ok(ns), "{text}");
        }
        for text in ["", "ms", "1d", "-1", "1e99"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn objectives_are_a_percentile_and_a_time() {
        let objective = objective("p99.9=500us").expect("well-formed");
        assert!((objective.quantile - 0.999).abs() < 1e-12 && objective.limit_ns == 500_000);
        for text in ["p99", "99=1ms", "p100=1ms", "p99=1"] {
            assert_eq!(super::objective(text).is_ok(), text == "p99=1", "{text}");
        }
    }
}
