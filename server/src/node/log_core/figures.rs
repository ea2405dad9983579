//! What is told of the log core's work: how much each write takes along and how long flushes last; how far long work has come.

use hdrhistogram::Histogram;

use super::*;
use crate::commands::Spread;

/// How often the server's log says how far long work has come, ms.
const TELL_EVERY_MS: u64 = 5000;

/// Two digits tell sizes and times well enough; what is larger counts as this.
const DIGITS: u8 = 2;
const LARGEST: u64 = 1 << 36;

/// Values and how they are distributed, which is worked out anew only if there are new ones.
struct Tally {
    values: Histogram<u64>,
    spread: Spread,
}

#[derive(Default)]
pub(super) struct DiskFigures {
    /// Bytes.
    writes: Tally,
    /// Microseconds.
    flushes: Tally,
    /// Writes and their bytes, in the second that began then (ms), and in the one before.
    began: u64,
    second: (u64, u64),
    last_second: (u64, u64),
}

impl Default for Tally {
    fn default() -> Self {
        let values = Histogram::new_with_bounds(1, LARGEST, DIGITS).expect("constant bounds are valid");
        Tally { values, spread: Spread::default() }
    }
}

impl Tally {
    fn spread(&mut self) -> Spread {
        if self.spread.count != self.values.len() {
            let at = |percentile| self.values.value_at_percentile(percentile);
            self.spread = Spread {
                count: self.values.len(),
                mean: self.values.mean() as u64,
                p50: at(50.0),
                p99: at(99.0),
                p999: at(99.9),
                max: self.values.max(),
            };
        }
        self.spread
    }
}

impl DiskFigures {
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.writes.values.saturating_record(bytes);
        self.second = (self.second.0 + 1, self.second.1 + bytes);
    }

    pub(super) fn flushed(&mut self, us: u64) {
        self.flushes.values.saturating_record(us);
    }

    pub(super) fn writes(&mut self) -> Spread {
        self.writes.spread()
    }

    pub(super) fn flushes(&mut self) -> Spread {
        self.flushes.spread()
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
