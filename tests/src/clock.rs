//! The tests' only clock: deadlines for waiting and boxes for time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, on a clock that never goes back.
#[allow(clippy::disallowed_methods)] // the server takes time as an argument; a test around it has nobody to ask
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970, as expiry times of the protocol count them.
#[allow(clippy::disallowed_methods)] // as above
pub fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the machine's clock is past 1970").as_millis() as i64
}

/// Polls `probe` until it yields something or `limit` is over.
pub fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = now();
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long one time-boxed test may run: `TORC_TEST_SECONDS`, else `default` seconds.
pub fn time_box(default: u64) -> Duration {
    let seconds = std::env::var("TORC_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(default))
}
