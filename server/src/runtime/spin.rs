//! When a core spins before it sleeps.
//!
//! Waking a sleeping core costs a client tens of microseconds, most of what a single unpipelined
//! client sees of the server. Spinning hides that, but it burns the CPU that a loaded core needs for
//! work. So a core spins only if all of this holds:
//!
//! - `spin-us` is not 0, and no other shard shares the CPU (the caller passes 0 then);
//! - something was received since the last sleep, and within about a millisecond it came from at most
//!   [`FEW`] distinct sources (connections, or the mail of other cores). With more of them the next
//!   request is usually there already, and a wake-up is paid by a whole batch;
//! - spinning has paid off lately: after the nth miss in a row the next 2ⁿ - 1 sleeps (at most
//!   [`MOST_SKIPPED`]) go without. A client that asks every few milliseconds thus costs next to nothing.
//!
//! It spins on memory (the ring's flag for deferred work, the mail), never by entering the kernel.

/// Most sources of work within a window for which a core still spins.
const FEW: u32 = 4;

/// What "lately" means, in microseconds.
const WINDOW_US: u64 = 1000;

/// Most sleeps in a row that go without a spin after misses.
const MOST_SKIPPED: u32 = 63;

pub(super) struct Spin {
    /// Longest spin in microseconds; 0 = never.
    limit_us: u64,
    /// The current window's number: a source of work marked with it has been counted.
    window: u32,
    opened_us: u64,
    /// Distinct sources of work seen in this window and in the one before.
    current: u32,
    previous: u32,
    /// Something was received since the last sleep was considered.
    fresh: bool,
    /// Sleeps still to go without a spin.
    skip: u32,
    /// Sleeps that the next miss makes us skip.
    penalty: u32,
}

impl Spin {
    pub(super) fn new(limit_us: u64) -> Self {
        Spin { limit_us, window: 1, opened_us: 0, current: 0, previous: 0, fresh: false, skip: 0, penalty: 1 }
    }

    /// Something was received from a source of work; `mark` is that source's memory of the window it
    /// was last counted in.
    #[inline]
    pub(super) fn count(&mut self, mark: &mut u32) {
        self.fresh = true;
        if *mark != self.window {
            *mark = self.window;
            self.current += 1;
        }
    }

    /// Microseconds to spin before the sleep that is due at `now_us`; 0 = not at all.
    pub(super) fn budget_us(&mut self, now_us: u64) -> u64 {
        if self.limit_us == 0 {
            return 0;
        }
        if now_us.saturating_sub(self.opened_us) >= WINDOW_US {
            self.previous = self.current;
            self.current = 0;
            self.opened_us = now_us;
            self.window = self.window.wrapping_add(1);
        }
        let idle = !std::mem::take(&mut self.fresh);
        if idle || self.current.max(self.previous) > FEW {
            return 0;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return 0;
        }
        self.limit_us
    }

    /// A spin ended because work came.
    pub(super) fn hit(&mut self) {
        self.penalty = 1;
    }

    /// A spin ended in a sleep.
    pub(super) fn miss(&mut self) {
        self.skip = self.penalty;
        self.penalty = (self.penalty * 2 + 1).min(MOST_SKIPPED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 50;

    #[test]
    fn one_busy_client_is_spun_for_and_silence_is_not() {
        let (mut spin, mut client) = (Spin::new(LIMIT), 0);
        assert_eq!(spin.budget_us(10), 0, "nothing was received yet");
        for turn in 0..100 {
            spin.count(&mut client);
            assert_eq!(spin.budget_us(20 + turn * 30), LIMIT);
            spin.hit();
        }
        assert_eq!(spin.budget_us(4000), 0, "a timer ended the last sleep");
    }

    #[test]
    fn many_clients_are_not_spun_for() {
        let mut spin = Spin::new(LIMIT);
        let mut clients = [0; FEW as usize + 1];
        clients.iter_mut().for_each(|mark| spin.count(mark));
        assert_eq!(spin.budget_us(WINDOW_US), 0);
        spin.count(&mut clients[0]);
        assert_eq!(spin.budget_us(WINDOW_US + 10), 0, "the window before still counts");
        spin.count(&mut clients[0]);
        assert_eq!(spin.budget_us(2 * WINDOW_US), LIMIT);
    }

    #[test]
    fn misses_in_a_row_are_followed_by_ever_more_plain_sleeps() {
        let (mut spin, mut client) = (Spin::new(LIMIT), 0);
        let mut spun = 0;
        for request in 0..1000 {
            spin.count(&mut client);
            if spin.budget_us(request * 5000) > 0 {
                spun += 1;
                spin.miss();
            }
        }
        assert!((5..30).contains(&spun), "{spun} spins for 1000 lone requests");
        let retried = (0..=MOST_SKIPPED).any(|_| {
            spin.count(&mut client);
            spin.budget_us(0) > 0
        });
        assert!(retried, "it never gives up for good");
    }

    #[test]
    fn zero_means_never() {
        let mut spin = Spin::new(0);
        spin.count(&mut 0);
        assert_eq!(spin.budget_us(1_000_000), 0);
    }
}
