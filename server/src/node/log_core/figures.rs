//! What is told of the log core's work: how much each write takes along and how long flushes last; how far long work has come.

use hdrhistogram::Histogram;

use super::*;
use crate::commands::Spread;

/// How often the server's log says how far long work has come, ms.
const TELL_EVERY_MS: u64 = 5000;

/// Two digits tell sizes and times well enough; what is larger counts as this.
const DIGITS: u8 = 2;
const LARGEST: u64 = 1 << 36;

pub(super) struct DiskFigures {
    /// Bytes.
    writes: Histogram<u64>,
    /// Microseconds.
    flushes: Histogram<u64>,
    /// Writes and their bytes, in the second that began then (ms), and in the one before.
    began: u64,
    second: (u64, u64),
    last_second: (u64, u64),
}

impl Default for DiskFigures {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LARGEST, DIGITS).expect("constant bounds are valid");
        DiskFigures {
            writes: histogram(),
            flushes: histogram(),
            began: 0,
            second: (0, 0),
            last_second: (0, 0),
        }
    }
}

impl DiskFigures {
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.writes.saturating_record(bytes);
        self.second = (self.second.0 + 1, self.second.1 + bytes);
    }

    pub(super) fn flushed(&mut self, us: u64) {
        self.flushes.saturating_record(us);
    }

    pub(super) fn writes(&self) -> Spread {
        spread(&self.writes)
    }

    pub(super) fn flushes(&self) -> Spread {
        spread(&self.flushes)
    }

    /// Writes of the last whole second, and their bytes.
    pub(super) fn last_second(&mut self, now: u64) -> (u64, u64) {
        if now >= self.began + 1000 {
            self.last_second = std::mem::take(&mut self.second);
            self.began = now;
        }
        self.last_second
    }
}

fn spread(histogram: &Histogram<u64>) -> Spread {
    let at = |percentile| histogram.value_at_percentile(percentile);
    Spread {
        count: histogram.len(),
        mean: histogram.mean() as u64,
        p50: at(50.0),
        p99: at(99.0),
        p999: at(99.9),
        max: histogram.max(),
    }
}

impl LogCore {
    /// Says now and then how far work has come that takes long.
    pub(super) fn tell_progress(&mut self, now: u64) {
        if !self.facts.loading && self.snapshot.is_none() {
            self.progress_told = now;
        }
        if now < self.progress_told + TELL_EVERY_MS {
            return;
        }
        self.progress_told = now;
        if self.facts.loading {
            let LoadFacts { bytes, total, .. } = self.facts.load;
            let total = if total > 0 { total.to_string() } else { "?".to_owned() };
            tracing::info!("loading: {bytes} of {total} bytes");
        }
        if let Some(snapshot) = &self.snapshot {
            let (keys, all) = snapshot.keys();
            tracing::info!("{:?}: {keys} of {all} keys, {} bytes", snapshot.purpose, snapshot.size());
        }
    }
}
