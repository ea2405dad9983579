//! The live line: rate, latency and time left of the last second, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    document::Interval,
    engine::planned_ns,
    plan::{End, Load, Plan},
};

pub struct Progress {
    bar: ProgressBar,
    planned: Option<u64>,
    requests: Option<u64>,
    answered: u64,
}

impl Progress {
    /// Draws to standard error if that is a terminal and `quiet` is not asked for.
    pub fn new(plan: &Plan, quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        bar.set_style(ProgressStyle::with_template("{msg}").expect("a constant"));
        if !plan.unmeasured().is_zero() {
            bar.set_message(format!("warming up for {:.0} s", plan.unmeasured().as_secs_f64()));
        }
        let requests = match plan.load {
            Load::Closed(End::Requests(requests)) => Some(requests),
            _ => None,
        };
        Self { bar, planned: planned_ns(plan), requests, answered: 0 }
    }

    pub fn show(&mut self, second: &Interval) {
        // The stump that a run ends in says nothing of a rate.
        if second.seconds < 0.5 {
            return;
        }
        self.answered += second.ops;
        let rate = second.ops as f64 / second.seconds.max(1e-9);
        let passed = second.t + second.seconds;
        let left = match (self.planned, self.requests) {
            (Some(planned), _) => Some((planned as f64 / 1e9 - passed).max(0.0)),
            (None, Some(requests)) if self.answered > 0 => {
                Some(requests.saturating_sub(self.answered) as f64 * passed / self.answered as f64)
            }
            _ => None,
        };
        let left = left.map_or(String::new(), |seconds| format!("  {} left", whole(seconds)));
        let errors = if second.errors > 0 { format!("  {} errors", second.errors) } else { String::new() };
        self.bar.set_message(format!(
            "{} {rate:.0}/s  p50 {:.0} µs  p99 {:.0} µs{errors}{left}",
            whole(passed),
            second.p50 as f64 / 1e3,
            second.p99 as f64 / 1e3,
        ));
        self.bar.tick();
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn whole(seconds: f64) -> String {
    format!("{seconds:.0}s")
}
