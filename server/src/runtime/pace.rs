//! How a core waits for its next work: spin, gather, or simply sleep.
//!
//! Waking a sleeping core costs a client tens of microseconds, most of what a single unpipelined client
//! sees of the server; and every reply sent alone wakes its client alone, which costs this core more
//! than the command did. So what pays depends on the crowd:
//!
//! **Few clients: spin** before sleeping, on memory (the ring's flag for deferred work, the mail), never
//! by entering the kernel. Only if all of this holds:
//! - `spin-us` is not 0, and no other shard shares the CPU (the caller passes 0 then);
//! - something was received since the last sleep, and within about a millisecond it came from at most
//!   [`FEW`] distinct sources (connections, or the mail of other cores). With more of them spinning still
//!   helps a core that has its CPU to itself, but not one of several beside the clients on one machine;
//! - at the pace of the last millisecond there is an even chance that work comes within the spin: half a
//!   piece of it is to be expected;
//! - spinning has paid off lately: after the nth miss in a row the next 2ⁿ - 1 sleeps (at most
//!   [`MOST_SKIPPED`]) go without. A client that asks every few milliseconds thus costs next to nothing.
//!
//! Measured with one unpipelined client and 50 µs: 1.7 times the requests per second of a core that
//! sleeps, at no more CPU per request, for the sleeps and wake-ups saved are worth the spinning.
//!
//! **A crowd: gather.** Once this turn's replies have left, wait until half of the crowd has asked again,
//! or three quarters of those who can: who waits for a reply that is held back does not ask; and serve them
//! together; but no longer than about twice what this turn has taken, and never longer than [`MOST_GATHER_US`].
//! A core that is busy thus gathers ever more, for its turns grow until they serve half of the crowd, and one that
//! is not stays as quick as if it slept. Measured with 50 unpipelined clients in a closed loop it takes a quarter
//! off the CPU of a request, and their median latency does not rise: a core that busy would have kept them
//! queueing. With 50 clients in an open loop of 20,000, 50,000 and 100,000 requests per second the medians are
//! 41, 57 and 220 us, and would be 190, 250 and 265 us if every turn were given 200 us. Only if:
//! - within about a millisecond at least [`CROWD`] distinct sources had work for us;
//! - at the pace of the last millisecond at least one [`COMPANY`]th of a piece of work comes in that time.
//!
//! **Otherwise: sleep** until something happens.

/// Most sources of work within a window for which a core spins.
const FEW: u32 = 8;

/// Fewest sources of work within a window for which a core gathers. With 16 clients it saves a third of the CPU,
/// and the median latency rises by a fifth; with fewer it rises more than it is worth.
const CROWD: u32 = 16;

/// What part of a piece of work a core must expect while gathering: one in so many.
const COMPANY: u64 = 4;

/// What the kernel's part of a piece of work is taken for, in microseconds: its receive and its reply, which are
/// outside of what a turn sees of itself.
const PIECE_US: u64 = 3;

/// How often the time of a turn is given to the gathering after it.
const TURNS: u64 = 2;

/// Longest gathering in microseconds.
const MOST_GATHER_US: u64 = 200;

/// What "lately" means, in microseconds.
const WINDOW_US: u64 = 1000;

/// Most sleeps in a row that go without a spin after misses.
const MOST_SKIPPED: u32 = 63;

pub(super) struct Pace {
    /// Longest spin in microseconds; 0 = never.
    spin_us: u64,
    /// The current window's number: a source of work marked with it has been counted.
    window: u32,
    opened_us: u64,
    current: Seen,
    previous: Seen,
    /// When the turn began, and the pieces of work in it.
    turn_us: u64,
    turn_pieces: u64,
    /// Sources of work that wait for us.
    waiting: u32,
    /// Something was received since the last sleep was considered.
    fresh: bool,
    /// Sleeps still to go without a spin.
    skip: u32,
    /// Sleeps that the next miss makes us skip.
    penalty: u32,
}

/// What a window saw.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Distinct sources of work.
    sources: u32,
    /// Pieces of work, and the microseconds they took to arrive.
    pieces: u64,
    span_us: u64,
}

/// How to gather: until `more` completions have come or `for_us` microseconds have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gather {
    pub more: u32,
    pub for_us: u64,
}

impl Pace {
    pub(super) fn new(spin_us: u64) -> Self {
        Pace {
            spin_us,
            window: 1,
            opened_us: 0,
            current: Seen::default(),
            previous: Seen::default(),
            turn_us: 0,
            turn_pieces: 0,
            waiting: 0,
            fresh: false,
            skip: 0,
            penalty: 1,
        }
    }

    /// A piece of work came; `mark` is its source's memory of the window it was last counted in.
    #[inline]
    pub(super) fn count(&mut self, mark: &mut u32) {
        self.fresh = true;
        self.current.pieces += 1;
        self.turn_pieces += 1;
        if *mark != self.window {
            *mark = self.window;
            self.current.sources += 1;
        }
    }

    /// A wait has ended.
    #[inline]
    pub(super) fn begin_turn(&mut self, now_us: u64) {
        self.turn_us = now_us;
        self.turn_pieces = 0;
    }

    /// So many sources of work wait for replies that are held back.
    pub(super) fn set_waiting(&mut self, sources: usize) {
        self.waiting = u32::try_from(sources).unwrap_or(u32::MAX);
    }

    /// Opens a new window if this one is over.
    fn roll(&mut self, now_us: u64) {
        let span_us = now_us.saturating_sub(self.opened_us);
        if span_us >= WINDOW_US {
            self.previous = Seen { span_us, ..self.current };
            self.current = Seen::default();
            self.opened_us = now_us;
            self.window = self.window.wrapping_add(1);
        }
    }

    fn sources(&self) -> u32 {
        self.current.sources.max(self.previous.sources)
    }

    /// Whether to wait for company after the replies of a turn were sent.
    pub(super) fn gather(&mut self, now_us: u64) -> Option<Gather> {
        self.roll(now_us);
        let spent_us = TURNS * now_us.saturating_sub(self.turn_us);
        let for_us = MOST_GATHER_US.min(PIECE_US * self.turn_pieces + spent_us);
        let Seen { pieces, span_us, .. } = self.previous;
        let crowd = self.sources();
        let able = crowd.saturating_sub(self.waiting);
        let more = (crowd / 2).min(able - able / 4);
        let company = for_us > 0 && COMPANY * pieces * for_us >= span_us;
        (crowd >= CROWD && more > 1 && company).then_some(Gather { more, for_us })
    }

    /// Microseconds to spin before the sleep that is due at `now_us`; 0 = not at all.
    pub(super) fn spin_us(&mut self, now_us: u64) -> u64 {
        if self.spin_us == 0 {
            return 0;
        }
        self.roll(now_us);
        let idle = !std::mem::take(&mut self.fresh);
        let Seen { pieces, span_us, .. } = self.previous;
        let slow = 2 * pieces * self.spin_us < span_us;
        if idle || slow || self.sources() > FEW {
            return 0;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return 0;
        }
        self.spin_us
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
    fn few_clients_are_spun_for_and_silence_is_not() {
        let mut pace = Pace::new(LIMIT);
        assert_eq!(pace.spin_us(10), 0, "nothing was received yet");
        let now_us = crowd(&mut pace, FEW as usize, 30);
        assert_eq!((pace.gather(now_us), pace.spin_us(now_us)), (None, LIMIT));
        assert_eq!(pace.spin_us(now_us), 0, "a timer ended the last sleep");
    }

    #[test]
    fn many_clients_and_a_slow_one_are_not_spun_for() {
        let mut pace = Pace::new(LIMIT);
        let now_us = crowd(&mut pace, FEW as usize + 1, 10);
        assert_eq!(pace.spin_us(now_us), 0);
        let mut pace = Pace::new(LIMIT);
        let now_us = crowd(&mut pace, 1, 2 * LIMIT + 1);
        assert_eq!(pace.spin_us(now_us), 0, "less than half a piece of work within the spin");
    }

    #[test]
    fn misses_in_a_row_are_followed_by_ever_more_plain_sleeps() {
        let (mut pace, mut client) = (Pace::new(LIMIT), 0);
        let mut now_us = crowd(&mut pace, 1, 10);
        let mut spun = 0;
        for _ in 0..1000 {
            now_us += 10;
            pace.count(&mut client);
            if pace.spin_us(now_us) > 0 {
                spun += 1;
                pace.miss();
            }
        }
        assert!((5..30).contains(&spun), "{spun} spins in 1000 misses");
        let retried = (0..=MOST_SKIPPED).any(|_| {
            pace.count(&mut client);
            pace.spin_us(now_us) > 0
        });
        assert!(retried, "it never gives up for good");
    }

    /// `clients` take turns, one piece of work every `every_us`, for ten windows.
    fn crowd(pace: &mut Pace, clients: usize, every_us: u64) -> u64 {
        let mut marks = vec![0; clients];
        let mut now_us = 0;
        for piece in 0..(10 * WINDOW_US / every_us) as usize {
            now_us += every_us;
            pace.gather(now_us);
            pace.begin_turn(now_us);
            pace.count(&mut marks[piece % clients]);
        }
        now_us
    }

    #[test]
    fn nobody_waits_for_a_crowd_that_waits_itself() {
        let mut pace = Pace::new(0);
        let now_us = crowd(&mut pace, 50, 5);
        pace.set_waiting(30);
        let more = pace.gather(now_us).expect("a busy crowd").more;
        assert_eq!(more, 15, "of the 20 who can ask");
        for waiting in [49, 60] {
            pace.set_waiting(waiting);
            assert_eq!(pace.gather(now_us), None);
        }
    }

    #[test]
    fn a_gathering_lasts_no_longer_than_about_twice_the_turn_before_it() {
        let mut pace = Pace::new(0);
        let now_us = crowd(&mut pace, 50, 5);
        let mut gathers = |pieces, spent_us| {
            pace.begin_turn(now_us - spent_us);
            let mut mark = pace.window;
            (0..pieces).for_each(|_| pace.count(&mut mark));
            pace.gather(now_us).map(|gather| gather.for_us)
        };
        assert_eq!(gathers(1, 0), Some(PIECE_US));
        assert_eq!(gathers(9, 20), Some(9 * PIECE_US + TURNS * 20));
        assert_eq!(gathers(1000, 20), Some(MOST_GATHER_US));
        assert_eq!(gathers(0, 0), None, "nobody was served");
    }

    #[test]
    fn a_busy_crowd_is_gathered_and_a_slow_one_is_not() {
        let gathers = |clients, every_us| {
            let mut pace = Pace::new(0);
            let now_us = crowd(&mut pace, clients, every_us);
            pace.gather(now_us).is_some()
        };
        assert!(gathers(50, 5));
        assert!(gathers(50, PIECE_US * COMPANY), "a quarter of a piece in the time of one");
        assert!(!gathers(50, PIECE_US * COMPANY + 2), "less than that");
        assert!(!gathers(CROWD as usize - 1, 5), "not a crowd");
    }

    #[test]
    fn zero_means_no_spin() {
        let mut lone = Pace::new(0);
        lone.count(&mut 0);
        assert_eq!(lone.spin_us(WINDOW_US), 0);
    }
}
