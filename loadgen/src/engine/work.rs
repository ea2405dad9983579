//! What a thread is to send, and when: the closed loop's quota or the open loop's arrivals and backlog. Counts, and
//! decides when sending is over; sends nothing itself.

use std::collections::VecDeque;

use super::recorder::Recorder;
use crate::{
    arrivals::Arrivals,
    plan::{End, Load, Plan, nanos},
    traffic::{
        keys::share,
        random::{Purpose, stream},
    },
};

/// Arrivals taken up before the loop looks at the clock and the stop flag again.
const NOTICED_AT_ONCE: usize = 65_536;

pub enum Work {
    Closed(Closed),
    Open(Open),
}

/// As fast as replies come.
pub struct Closed {
    /// Measured requests still to be sent.
    left: u64,
    /// Stamp after which none is sent.
    deadline: u64,
}

/// What the schedule says.
pub struct Open {
    arrivals: Arrivals,
    /// Measured arrivals still to come.
    left: u64,
    /// Stamp at which the schedule ends.
    deadline: u64,
    /// Arrivals that are due and not sent.
    backlog: VecDeque<Due>,
    max_backlog: usize,
    /// No more arrivals will be noticed.
    over: bool,
    /// Stamp of the latest arrival noticed.
    latest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub intended: u64,
    pub noticed: u64,
}

impl Work {
    /// The work of thread `part` of the plan's run, which begins at `start`.
    pub fn new(plan: &Plan, part: u64, start: u64) -> Self {
        let parts = plan.all_threads() as u64;
        let quota = |end| match end {
            End::Requests(total) => share(total, part + 1, parts) - share(total, part, parts),
            End::Time(_) => u64::MAX,
        };
        let deadline = |end| match end {
            End::Requests(_) => u64::MAX,
            End::Time(time) => start.saturating_add(plan.unmeasured_ns()).saturating_add(nanos(time)),
        };
        match plan.load {
            Load::Closed(end) => Self::Closed(Closed { left: quota(end), deadline: deadline(end) }),
            Load::Open { rate, arrival, end } => {
                let random = stream(plan.seed, part, Purpose::Arrivals);
                let own_rate = rate / parts as f64;
                Self::Open(Open {
                    arrivals: Arrivals::new(start, own_rate, plan.ramp.as_secs_f64(), arrival, random),
                    left: quota(end),
                    deadline: deadline(end),
                    backlog: VecDeque::new(),
                    max_backlog: (plan.max_backlog / parts).max(1) as usize,
                    over: false,
                    latest: start,
                })
            }
        }
    }

    /// Nothing more becomes due from `now` on.
    pub fn cut(&mut self, now: u64) {
        match self {
            Self::Closed(closed) => closed.deadline = now,
            Self::Open(open) => {
                open.over = true;
                open.deadline = open.deadline.min(now);
            }
        }
    }

    /// Whether anything is still to be sent.
    pub fn sending(&self, now: u64) -> bool {
        match self {
            Self::Closed(closed) => closed.may_send(now),
            Self::Open(open) => !open.over || !open.backlog.is_empty(),
        }
    }
}

impl Closed {
    pub fn may_send(&self, now: u64) -> bool {
        self.left > 0 && now < self.deadline
    }

    /// Stamp after which none is sent.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Nothing may be sent at `now` or later.
    pub fn expired(&self, now: u64) -> bool {
        now >= self.deadline
    }

    /// One request is sent at `now`.
    pub fn sent(&mut self, recorder: &Recorder, now: u64) {
        // A quota counts what is measured.
        if self.left != u64::MAX && recorder.measures(now) {
            self.left -= 1;
        }
    }
}

impl Open {
    /// Moves what is due at `now` to the backlog, no more than one turn of the loop may; whether that left anything.
    /// What the backlog cannot hold stays to be dropped with `overdue`.
    pub fn notice(&mut self, now: u64, recorder: &mut Recorder) -> bool {
        for _ in 0..NOTICED_AT_ONCE {
            let intended = self.arrivals.next_due();
            if self.over {
                return false;
            } else if intended >= self.deadline {
                self.over = true;
            } else if intended <= now {
                self.arrivals.advance();
                self.latest = intended;
                self.backlog.push_back(Due { intended, noticed: now });
                recorder.noticed(intended, now);
                if self.left != u64::MAX && recorder.measures(intended) {
                    self.left -= 1;
                    self.over = self.left == 0;
                }
            } else {
                return false;
            }
        }
        true
    }

    /// The oldest arrival that is due.
    pub fn first(&self) -> Option<Due> {
        self.backlog.front().copied()
    }

    pub fn take_first(&mut self) -> Option<Due> {
        self.backlog.pop_front()
    }

    /// The oldest arrival, if there are more than the backlog may hold.
    pub fn overdue(&mut self) -> Option<Due> {
        if self.backlog.len() > self.max_backlog { self.backlog.pop_front() } else { None }
    }

    /// Most arrivals that may wait for room.
    pub fn max_backlog(&self) -> usize {
        self.max_backlog
    }

    /// When the next arrival is due, if there is one.
    pub fn next_due(&self) -> Option<u64> {
        (!self.over).then(|| self.arrivals.next_due())
    }

    /// Whether the schedule is over, and the stamp of its end.
    pub fn end(&self) -> Option<u64> {
        let counted = self.latest.saturating_add(self.arrivals.mean_gap());
        let last = if self.deadline == u64::MAX { counted } else { self.deadline };
        self.over.then_some(last)
    }
}
