//! The one place of the load generator that reads time. Every stamp is nanoseconds since the run's clock was made, so
//! that stamps of all threads compare and fit one `u64`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that stands at 0 now. Copies of it share the origin.
    #[expect(clippy::disallowed_methods, reason = "the clock behind every time argument of this program")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// What the wall clock showed or will show at stamp `at`, milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "the clock behind every time argument of this program")]
    pub fn unix_ms(&self, at: u64) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        (now + at / 1_000_000).saturating_sub(self.ns() / 1_000_000)
    }

    /// Nanoseconds since `start`; monotonic.
    pub fn ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("no run lasts 584 years")
    }
}
