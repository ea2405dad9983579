//! Files of the HdrHistogram family, for the tools that read them: a percentile distribution a command and kind, and
//! the log of one-second intervals.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use crate::document::Document;

/// Both kinds of file are in milliseconds, as those tools draw them.
const NS_PER_MS: f64 = 1e6;
/// Points of a percentile distribution each time the distance to 100 % halves: the Java tools' default.
const TICKS_PER_HALF: u32 = 5;

/// The files, by path, that belong beside each other under `prefix`.
pub fn files(document: &Document, prefix: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let mut files = Vec::new();
    let named = |ending: &str| {
        let mut name = prefix.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    for result in &document.results {
        let cmd = plain(&result.cmd);
        for (kind, latencies) in [("response", &result.response), ("service", &result.service)] {
            let text = distribution(&latencies.histogram()?);
            files.push((named(&format!(".{cmd}.{kind}.hgrm")), text.into_bytes()));
        }
    }
    files.push((named(".hlog"), interval_log(document)?));
    Ok(files)
}

/// Letters, digits, `-` and `_`: fit for a file's name and for a tag.
fn plain(text: &str) -> String {
    let fit = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    text.chars().map(|letter| if fit(letter) { letter } else { '_' }).collect()
}

/// The `.hgrm` text, as HdrHistogram's outputPercentileDistribution writes it.
pub fn distribution(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let ms = |ns: f64| ns / NS_PER_MS;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, q) = (ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _ = write!(text, "{value:>12.6} {q:>14.12} {total:>10}");
        // The last line is 100 %, where there is no such ratio.
        let _ = if q < 1.0 { writeln!(text, " {:>14.2}", 1.0 / (1.0 - q)) } else { writeln!(text) };
    }
    let (mean, deviation) = (ms(histogram.mean()), ms(histogram.stdev()));
    let (max, count) = (ms(histogram.max() as f64), histogram.len());
    let (buckets, within) = (histogram.buckets(), sub_buckets(histogram.sigfig()));
    let _ = writeln!(text, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]");
    let _ = writeln!(text, "#[Max     = {max:>12.6}, Total count    = {count:>12}]");
    let _ = writeln!(text, "#[Buckets = {buckets:>12}, SubBuckets     = {within:>12}]");
    text
}

/// Counters of one bucket: enough for `digits` significant digits in its upper half.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10_u64.pow(u32::from(digits))).next_power_of_two()
}

/// The response times of every second, an interval a command, tagged with its name.
fn interval_log(document: &Document) -> Result<Vec<u8>, String> {
    let names: Vec<String> = document.results.iter().map(|result| plain(&result.cmd)).collect();
    let start = UNIX_EPOCH + Duration::from_millis(document.started_unix_ms);
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("response times of each second, in nanoseconds; Interval_Max in milliseconds")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| format!("interval log: {error}"))?;
    for interval in &document.series {
        let (from, length) = (Duration::from_secs_f64(interval.t), Duration::from_secs_f64(interval.seconds));
        for (name, histogram) in names.iter().zip(interval.histograms()?) {
            let tag = Tag::new(name).ok_or("a command without a name")?;
            log.write_histogram(&histogram, from, length, Some(tag))
                .map_err(|error| format!("interval log: {error:?}"))?;
        }
    }
    drop(log);
    Ok(bytes)
}
