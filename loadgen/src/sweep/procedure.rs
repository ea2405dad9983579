//! Which rate to try next on which server, given what was met so far. Pure: no server, no clock.
//!
//! First every server's knee is searched: the rate grows by a factor until the objective is missed, then the gap is
//! halved until it is narrow. Then all servers are measured at the same fixed rates, a share of the best knee each, in
//! turns that rotate (ABC, BCA, CAB), so that whatever drifts on the machine touches them alike.

/// How often a rate must be missed to count as missed: one stray stall must not end a search.
const ATTEMPTS: u32 = 2;

/// Fixed rates, and repetitions of each.
const MOST: usize = 1000;

#[derive(Clone, Debug)]
pub struct Settings {
    /// First rate of a search, per second.
    pub start: f64,
    /// Rates are never below or above these.
    pub least: f64,
    pub most: f64,
    /// Factor of the growth.
    pub growth: f64,
    /// A search ends when the lowest missed rate is at most this share above the highest met one.
    pub precision: f64,
    /// Fixed rates, from and to which share of the best knee.
    pub rates: usize,
    pub from: f64,
    pub to: f64,
    pub repetitions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: 1000.0,
            least: 10.0,
            most: 1e8,
            growth: 1.5,
            precision: 0.02,
            rates: 12,
            from: 0.1,
            to: 1.1,
            repetitions: 3,
        }
    }
}

impl Settings {
    /// What makes them impossible, in words for their author.
    pub fn check(&self) -> Result<(), String> {
        let ordered = 0.0 < self.least && self.least <= self.start && self.start <= self.most;
        if !ordered || !self.most.is_finite() {
            Err(format!("start-rate {} is not between {} and max-rate {}", self.start, self.least, self.most))
        } else if !(1..=MOST).contains(&self.repetitions) {
            Err(format!("run-count {} is not between 1 and {MOST}", self.repetitions))
        } else if !(1..=MOST).contains(&self.rates) {
            Err(format!("rates {} is not between 1 and {MOST}", self.rates))
        } else {
            Ok(())
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Index of the server.
    pub server: usize,
    /// Requests per second to offer.
    pub rate: f64,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Search,
    Fixed { repetition: usize },
}

/// What a step showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    Yes,
    /// Too slow, too few answered, or errors.
    No,
    /// The generator itself did not keep up: nothing is known of the server at this rate.
    LoaderFailed,
}

/// Where a server's search ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// Highest rate that met the objective; 0 if none did.
    pub rate: f64,
    /// What kept it from going higher.
    pub bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Server,
    /// The server may be faster than the generator could tell.
    Loader,
    /// `Settings::most` was met.
    MaxRate,
}

#[derive(Clone, Debug, Default)]
struct Search {
    /// Highest rate met, lowest rate missed and why.
    met: Option<f64>,
    missed: Option<(f64, Bound)>,
    /// Times the present rate was missed.
    misses: u32,
}

impl Search {
    /// None when the knee is found.
    fn next(&self, settings: &Settings) -> Option<f64> {
        match (self.met, self.missed) {
            (None, None) => Some(settings.start),
            (Some(met), None) => (met < settings.most).then(|| (met * settings.growth).min(settings.most)),
            (None, Some((missed, _))) => {
                (missed > settings.least).then(|| (missed / settings.growth).max(settings.least))
            }
            (Some(met), Some((missed, _))) => {
                (missed / met - 1.0 > settings.precision).then(|| f64::midpoint(met, missed))
            }
        }
    }

    fn record(&mut self, rate: f64, met: Met) {
        if met == Met::Yes {
            self.met = Some(rate);
            self.misses = 0;
            return;
        }
        self.misses += 1;
        if self.misses == ATTEMPTS {
            let bound = if met == Met::LoaderFailed { Bound::Loader } else { Bound::Server };
            self.missed = Some((rate, bound));
            self.misses = 0;
        }
    }

    fn knee(&self) -> Knee {
        let bound = self.missed.map_or(Bound::MaxRate, |(_, bound)| bound);
        Knee { rate: self.met.unwrap_or(0.0), bound }
    }
}

pub struct Procedure {
    settings: Settings,
    searches: Vec<Search>,
    /// Steps recorded of the search, and of the fixed rates.
    searched: usize,
    fixed: usize,
}

impl Procedure {
    pub fn new(settings: Settings, servers: usize) -> Self {
        Self { settings, searches: vec![Search::default(); servers], searched: 0, fixed: 0 }
    }

    /// The step to take now; none at the end. Says the same until `record` is told what came of it.
    pub fn next(&self) -> Option<Step> {
        let servers = self.searches.len();
        let turns = (0..servers).map(|turn| (self.searched + turn) % servers);
        let searching = turns.filter_map(|server| {
            let rate = self.searches[server].next(&self.settings)?;
            Some(Step { server, rate, phase: Phase::Search })
        });
        searching.take(1).next().or_else(|| self.next_fixed())
    }

    fn next_fixed(&self) -> Option<Step> {
        let (rates, servers) = (self.rates(), self.searches.len());
        let round = self.fixed / servers;
        let repetition = round / rates.len().max(1);
        if rates.is_empty() || repetition >= self.settings.repetitions {
            return None;
        }
        // The order rotates with every rate and, the number of rates being what it may, with every repetition.
        let first = round % rates.len() + repetition;
        let server = (first + self.fixed % servers) % servers;
        Some(Step { server, rate: rates[round % rates.len()], phase: Phase::Fixed { repetition } })
    }

    /// What the step that `next` named has shown.
    pub fn record(&mut self, met: Met) {
        let Some(step) = self.next() else { return };
        match step.phase {
            Phase::Search => {
                self.searches[step.server].record(step.rate, met);
                self.searched = step.server + 1;
            }
            Phase::Fixed { .. } => self.fixed += 1,
        }
    }

    /// In the servers' order; what was found so far if the search is not over.
    pub fn knees(&self) -> Vec<Knee> {
        self.searches.iter().map(Search::knee).collect()
    }

    /// The fixed rates; none where no server met the objective at any rate.
    pub fn rates(&self) -> Vec<f64> {
        let best = self.searches.iter().map(|search| search.knee().rate).fold(0.0, f64::max);
        if best == 0.0 {
            return Vec::new();
        }
        let Settings { rates, from, most, .. } = self.settings;
        let to = self.settings.to.min(most / best);
        let step = (to - from) / (rates.max(2) - 1) as f64;
        (0..rates).map(|index| best * (from + step * index as f64)).collect()
    }

    /// Steps at fixed rates that are still to come once the search is over.
    pub fn remaining(&self) -> usize {
        self.rates().len() * self.searches.len() * self.settings.repetitions - self.fixed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers with a known knee; returns every step taken.
    fn sweep(
        settings: &Settings,
        mut met: impl FnMut(&Step) -> Met,
        servers: usize,
    ) -> (Procedure, Vec<Step>) {
        let mut procedure = Procedure::new(settings.clone(), servers);
        let mut steps = Vec::new();
        while let Some(step) = procedure.next() {
            assert!(steps.len() < 2000, "the procedure must end");
            procedure.record(met(&step));
            steps.push(step);
        }
        (procedure, steps)
    }

    fn below(knees: &[f64]) -> impl Fn(&Step) -> Met + '_ {
        |step| if step.rate <= knees[step.server] { Met::Yes } else { Met::No }
    }

    #[test]
    fn knees_are_found_to_two_percent_wherever_the_search_starts() {
        let knees = [123_456.0, 40_000.0, 777.0, 51.0];
        for start in [100.0, 1000.0, 1e6] {
            let settings = Settings { start, ..Settings::default() };
            let (procedure, steps) = sweep(&settings, below(&knees), knees.len());
            for (found, knee) in procedure.knees().iter().zip(knees) {
                assert!(
                    found.rate <= knee && knee < found.rate * 1.0201,
                    "{found:?} for {knee}, from {start}"
                );
                assert_eq!(found.bound, Bound::Server);
            }
            let searched = steps.iter().filter(|step| step.phase == Phase::Search).count();
            assert!(searched < 60 * knees.len(), "{searched} steps from {start}");
        }
    }

    #[test]
    fn growth_is_by_the_factor_and_a_miss_is_tried_again() {
        let (_, steps) = sweep(&Settings::default(), below(&[2_000.0]), 1);
        let rates: Vec<f64> = steps.iter().take(6).map(|step| step.rate).collect();
        assert_eq!(rates, [1000.0, 1500.0, 2250.0, 2250.0, 1875.0, 2062.5]);
        let mut stalls = 0;
        let (procedure, _) = sweep(
            &Settings::default(),
            |step| {
                stalls += 1;
                if stalls % 2 == 0 && step.rate > 900.0 { Met::No } else { below(&[50_000.0])(step) }
            },
            1,
        );
        assert!(procedure.knees()[0].rate > 49_000.0, "every second try stalls, no two in a row");
    }

    #[test]
    fn fixed_rates_are_the_same_for_all_and_turns_rotate() {
        let knees = [10_000.0, 40_000.0, 30_000.0];
        let settings = Settings { rates: 4, repetitions: 2, ..Settings::default() };
        let (procedure, steps) = sweep(&settings, below(&knees), 3);
        let fixed: Vec<&Step> = steps.iter().filter(|step| step.phase != Phase::Search).collect();
        assert_eq!(fixed.len(), 4 * 2 * 3);
        let best = procedure.knees()[1].rate;
        for (round, turn) in fixed.chunks(3).enumerate() {
            assert!(turn.iter().all(|step| step.rate == turn[0].rate && step.phase == turn[0].phase));
            let expected = (0.1 + round as f64 % 4.0 / 3.0) * best;
            assert!((turn[0].rate / expected - 1.0).abs() < 1e-9, "{} in round {round}", turn[0].rate);
        }
        let orders: Vec<Vec<usize>> =
            fixed.chunks(3).map(|turn| turn.iter().map(|step| step.server).collect()).collect();
        assert_eq!(orders[..3], [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1]]);
        assert_eq!(fixed.last().map(|step| step.phase), Some(Phase::Fixed { repetition: 1 }));
        assert_eq!(procedure.remaining(), 0);
        // In the search, too, no server waits for another to be done.
        let first: Vec<usize> = steps.iter().take(6).map(|step| step.server).collect();
        assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn ends_that_are_not_the_servers_doing_are_told_apart() {
        let settings = Settings { most: 5_000.0, ..Settings::default() };
        let (procedure, _) = sweep(&settings, |_| Met::Yes, 1);
        assert_eq!(procedure.knees(), [Knee { rate: 5_000.0, bound: Bound::MaxRate }]);
        assert_eq!(procedure.rates().last(), Some(&5_000.0));
        let loader = |step: &Step| if step.rate < 3_000.0 { Met::Yes } else { Met::LoaderFailed };
        let (procedure, _) = sweep(&Settings::default(), loader, 1);
        assert_eq!(procedure.knees()[0].bound, Bound::Loader);
        let (procedure, steps) = sweep(&Settings::default(), |_| Met::No, 2);
        assert_eq!(procedure.knees(), [Knee { rate: 0.0, bound: Bound::Server }; 2]);
        assert!(steps.iter().all(|step| step.phase == Phase::Search), "there is no knee to take shares of");
    }

    #[test]
    fn impossible_settings_say_why() {
        assert_eq!(Settings::default().check(), Ok(()));
        let high = Settings { start: 1e9, ..Settings::default() };
        assert!(high.check().expect_err("too high").contains("max-rate"));
        let none = Settings { repetitions: 0, ..Settings::default() };
        assert!(none.check().expect_err("none").contains("run-count"));
        for rates in [0, usize::MAX] {
            let wrong = Settings { rates, ..Settings::default() };
            assert!(wrong.check().expect_err("wrong").contains("rates"));
        }
    }
}
