//! The clocks and the entropy of the machine: the one place that reads them.
//!
//! Everything above the runtime takes time and randomness as arguments.

use std::{
    hash::{BuildHasher, Hasher},
    sync::LazyLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// What [`monotonic_us`] counts from.
#[expect(clippy::disallowed_methods, reason = "this room is where time comes from")]
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since 1970 by the wall clock, which may jump.
#[expect(clippy::disallowed_methods, reason = "this room is where time comes from")]
pub fn unix_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_micros() as i64,
        Err(before) => -(before.duration().as_micros() as i64),
    }
}

/// Milliseconds since 1970 by the wall clock: the unit of every expiry.
pub fn unix_ms() -> i64 {
    unix_us().div_euclid(1000)
}

/// Microseconds since the process first asked; never goes back. For durations only.
#[expect(clippy::disallowed_methods, reason = "this room is where time comes from")]
#[inline]
pub fn monotonic_us() -> u64 {
    let origin = *ORIGIN;
    Instant::now().duration_since(origin).as_micros() as u64
}

/// Reads the CPU's counter where it is steady, else the kernel's clock: a third of the price, and commands
/// are timed one by one.
static COUNTER: LazyLock<(quanta::Clock, u64)> = LazyLock::new(|| {
    let clock = quanta::Clock::new();
    let origin = clock.raw();
    (clock, origin)
});

/// Nanoseconds since the process first asked; never goes back. For durations only. The first call measures
/// the counter's rate, which takes some milliseconds.
#[inline]
pub fn monotonic_ns() -> u64 {
    let (clock, origin) = &*COUNTER;
    clock.delta_as_nanos(*origin, clock.raw())
}

/// Blocks the calling thread, and with it all it serves: DEBUG SLEEP does exactly that.
pub fn block_us(us: u64) {
    std::thread::sleep(std::time::Duration::from_micros(us));
}

/// A fresh 64-bit seed from the kernel's entropy, through the hasher's own seeding.
pub fn seed() -> u64 {
    let mut hasher = ahash::RandomState::new().build_hasher();
    hasher.write_u64(unix_us() as u64);
    hasher.finish()
}

/// 40 random hexadecimal digits: names a run, a history, an end mark.
pub fn random_id() -> String {
    format!("{:016x}{:016x}{:08x}", seed(), seed(), seed() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_on_their_units() {
        let (ms, us) = (unix_ms(), unix_us());
        assert!((us / 1000 - ms).abs() < 1000, "{ms} ms against {us} us");
        let first = monotonic_us();
        assert!(monotonic_us() >= first);
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(seed(), seed());
    }
}
