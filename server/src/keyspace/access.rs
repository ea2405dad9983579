//! The 24 bits by which an entry remembers its use: a clock of seconds (LRU), or minutes and a
//! logarithmic counter (LFU). Arithmetic only: time and randomness come as arguments.

const CLOCK_MASK: u32 = 0xff_ffff;
/// Where a new entry's counter starts, so that it is not the first to be evicted; as in the reference server.
const FRESH_COUNTER: u32 = 5;

/// How an access updates an entry's bits; made once per turn from the settings and the turn's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The bits are the Unix second of the last access, modulo 2^24.
    Lru { now_ms: i64 },
    /// The upper 16 bits are the Unix minute of the last decay, the lower 8 a logarithmic counter.
    Lfu {
        now_ms: i64,
        /// Changes every turn; mixed with the key's hash it decides whether the counter goes up.
        random: u64,
        /// `lfu-log-factor`
        log_factor: u32,
        /// `lfu-decay-time`: minutes that cost the counter one; 0 = never.
        decay_minutes: u32,
    },
}

/// An entry's use as files and RESTORE tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Seconds since the last access.
    Idle(u64),
    /// The logarithmic counter of uses.
    Frequency(u8),
}

impl Default for Access {
    fn default() -> Self {
        Access::Lru { now_ms: 0 }
    }
}

impl Access {
    /// The bits of an entry made now.
    pub fn fresh(&self) -> u32 {
        match *self {
            Access::Lru { now_ms } => seconds(now_ms),
            Access::Lfu { now_ms, .. } => minutes(now_ms) << 8 | FRESH_COUNTER,
        }
    }

    /// The bits of an entry used now, that had `bits`.
    #[inline]
    pub fn used(&self, bits: u32, hash: u64) -> u32 {
        match *self {
            Access::Lru { now_ms } => seconds(now_ms),
            Access::Lfu { .. } => self.counted(bits, hash),
        }
    }

    #[cold]
    fn counted(&self, bits: u32, hash: u64) -> u32 {
        let Access::Lfu { now_ms, random, log_factor, decay_minutes } = *self else { return bits };
        let mut counter = frequency(bits, now_ms, decay_minutes);
        if counter < 255 {
            let steps = (counter as u64).saturating_sub(FRESH_COUNTER as u64) * log_factor as u64 + 1;
            let draw = (random ^ hash).wrapping_add(counter as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            // One chance in `steps`.
            if draw * steps < 1 << 32 {
                counter += 1;
            }
        }
        minutes(now_ms) << 8 | counter as u32
    }

    /// The bits of an entry that has been used so; `None` if they track another kind of use.
    pub fn restored(&self, usage: Usage) -> Option<u32> {
        match (*self, usage) {
            (Access::Lru { now_ms }, Usage::Idle(idle)) => {
                let idle = idle.min(u64::from(CLOCK_MASK)) as u32;
                Some(seconds(now_ms).wrapping_sub(idle) & CLOCK_MASK)
            }
            (Access::Lfu { now_ms, .. }, Usage::Frequency(counter)) => {
                Some(minutes(now_ms) << 8 | u32::from(counter))
            }
            _ => None,
        }
    }

    /// True if an overwritten value keeps the bits of the one before: LFU counts the key, LRU the value's birth.
    pub(super) fn survives_overwrite(&self) -> bool {
        matches!(self, Access::Lfu { .. })
    }
}

fn seconds(now_ms: i64) -> u32 {
    (now_ms / 1000) as u32 & CLOCK_MASK
}

fn minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & 0xffff
}

/// Seconds since the access that LRU `bits` remember; wraps after 194 days.
pub(super) fn idle_seconds(bits: u32, now_ms: i64) -> u64 {
    (seconds(now_ms).wrapping_sub(bits) & CLOCK_MASK) as u64
}

/// The counter in LFU `bits`, less what has decayed since.
pub(super) fn frequency(bits: u32, now_ms: i64, decay_minutes: u32) -> u8 {
    let counter = bits & 0xff;
    let elapsed = minutes(now_ms).wrapping_sub(bits >> 8) & 0xffff;
    let decayed = elapsed.checked_div(decay_minutes).unwrap_or(0);
    counter.saturating_sub(decayed) as u8
}

#[cfg(test)]
mod tests {
    use super::{Access, Usage, frequency, idle_seconds};

    #[test]
    fn idle_time_counts_seconds_and_wraps() {
        let bits = Access::Lru { now_ms: 5_000 }.fresh();
        assert_eq!(idle_seconds(bits, 5_999), 0);
        assert_eq!(idle_seconds(bits, 65_000), 60);
        let late = Access::Lru { now_ms: 0xff_ffff * 1000 }.fresh();
        assert_eq!(idle_seconds(late, 0x100_0002 * 1000), 3);
    }

    #[test]
    fn restored_bits_tell_the_use_they_were_made_of() {
        let lru = Access::Lru { now_ms: 5_000_000 };
        let bits = lru.restored(Usage::Idle(77)).expect("LRU tracks idleness");
        assert_eq!(idle_seconds(bits, 5_000_000), 77);
        let forever = lru.restored(Usage::Idle(u64::MAX)).expect("LRU tracks idleness");
        assert_eq!(idle_seconds(forever, 5_000_000), 0xff_ffff);
        assert_eq!(lru.restored(Usage::Frequency(3)), None);
        let lfu = Access::Lfu { now_ms: 6_000_000, random: 1, log_factor: 10, decay_minutes: 1 };
        let bits = lfu.restored(Usage::Frequency(200)).expect("LFU tracks frequency");
        assert_eq!(frequency(bits, 6_000_000, 1), 200);
        assert_eq!(lfu.restored(Usage::Idle(3)), None);
    }

    #[test]
    fn counters_grow_logarithmically_and_decay() {
        let lfu = |minute: i64, random| Access::Lfu {
            now_ms: minute * 60_000,
            random,
            log_factor: 10,
            decay_minutes: 1,
        };
        let mut bits = lfu(100, 0).fresh();
        assert_eq!(frequency(bits, 100 * 60_000, 1), 5);
        let mut random = 7u64;
        for _ in 0..100_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            bits = lfu(100, random >> 3).used(bits, 42);
        }
        // The reference server's own table gives 142 for a hundred thousand hits at factor 10.
        let counter = frequency(bits, 100 * 60_000, 1);
        assert!((125..=160).contains(&counter), "{counter}");
        assert_eq!(frequency(bits, 110 * 60_000, 1), counter - 10);
        assert_eq!(frequency(bits, 110 * 60_000, 0), counter);
        assert_eq!(frequency(bits, 1000 * 60_000, 1), 0);
    }
}
