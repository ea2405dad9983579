//! The arrival schedule of an open loop: request `i` is due at `start + i / rate`, computed from `i` alone, so that
//! neither a slow server nor a late loop can move it, and rounding never adds up.

const NANOS: f64 = 1e9;

#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Stamp of the first arrival, ns.
    start: u64,
    /// ns between arrivals.
    interval: f64,
    /// Arrivals in all.
    total: u64,
}

impl Schedule {
    /// `total` arrivals, `rate` per second from `start` (ns) on.
    pub fn new(start: u64, rate: f64, total: u64) -> Self {
        Self { start, interval: NANOS / rate, total }
    }

    /// When arrival `index` is due, ns.
    pub fn intended(&self, index: u64) -> u64 {
        self.start + (index as f64 * self.interval) as u64
    }

    /// How many arrivals are due at `now`.
    pub fn due(&self, now: u64) -> u64 {
        if now < self.start || self.total == 0 {
            return 0;
        }
        let mut due = (((now - self.start) as f64 / self.interval) as u64 + 1).min(self.total);
        // Division and multiplication round differently: settle on what `intended` says.
        while due > 0 && self.intended(due - 1) > now {
            due -= 1;
        }
        while due < self.total && self.intended(due) <= now {
            due += 1;
        }
        due
    }

    /// When the last arrival is due, ns.
    pub fn end(&self) -> u64 {
        self.intended(self.total.saturating_sub(1))
    }

    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arrival_becomes_due_exactly_at_its_intended_stamp() {
        for rate in [0.5, 3.0, 1000.0, 333_333.3, 7e6] {
            let schedule = Schedule::new(1_000, rate, 5_000);
            for index in 0..5_000 {
                let at = schedule.intended(index);
                assert!(schedule.due(at) > index, "rate {rate}, arrival {index}");
                assert!(schedule.due(at - 1) <= index, "rate {rate}, arrival {index}");
            }
        }
    }

    #[test]
    fn a_long_pause_makes_everything_missed_due_at_its_old_stamps() {
        let schedule = Schedule::new(0, 1000.0, 10_000);
        assert_eq!(schedule.due(2_000_000_000), 2001);
        assert_eq!(schedule.intended(2000), 2_000_000_000);
        assert_eq!(schedule.due(u64::MAX / 2), 10_000);
        assert_eq!(schedule.end(), 9_999_000_000);
    }
}
