//! Takes a sweep's steps on live servers: one run of the engine each.

use std::{sync::atomic::AtomicBool, time::Duration};

use super::{Findings, Phase, Point, Settings, Step, SweepReport, sweep};
use crate::{
    document::{Document, Env, Server},
    engine::run,
    environment,
    link::{Dialer, Role},
    plan::{End, Load, Plan},
    summary,
    verdict::Objective,
};

/// One of the servers, and the plan it is measured by, whose rate and length each step replaces.
#[derive(Clone, Debug)]
pub struct Contestant {
    pub name: String,
    pub plan: Plan,
}

/// Lengths of the measurements; longer where the rate gives too few samples to trust the objective's quantile.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub search: Duration,
    pub fixed: Duration,
}

/// Most that a measurement is stretched for want of samples.
const STRETCH: u32 = 10;

struct Driver<'a> {
    contestants: &'a [Contestant],
    times: Times,
    objective: &'a Objective,
    allow_flush: bool,
    env: &'a Env,
    servers: Vec<Server>,
    /// For which repetition each server was last made ready: 0 for the search, 1 for the first.
    ready: Vec<Option<usize>>,
    stop: &'a AtomicBool,
}

/// What is asked of a sweep beside its servers.
pub struct Order<'a> {
    pub settings: Settings,
    pub times: Times,
    pub objective: &'a Objective,
    pub allow_flush: bool,
}

/// Sweeps live servers, until the end or until `stop` turns true. The report is there even if the sweep ended early;
/// why it did stands beside it.
pub fn drive(
    order: &Order,
    contestants: &[Contestant],
    env: Env,
    stop: &AtomicBool,
    show: &mut dyn FnMut(&Point, usize),
) -> Result<(SweepReport, Option<String>), String> {
    order.settings.check()?;
    let ask_all = contestants.iter().map(|contestant| environment::server(&contestant.plan));
    let servers: Vec<Server> = ask_all.collect::<Result<_, _>>().map_err(|fault| fault.to_string())?;
    let mut driver = Driver {
        contestants,
        times: order.times,
        objective: order.objective,
        allow_flush: order.allow_flush,
        env: &env,
        servers: servers.clone(),
        ready: vec![None; contestants.len()],
        stop,
    };
    let Findings { points, knees, fault } =
        sweep(&order.settings, contestants.len(), order.objective, &mut |step| driver.measure(step), show);
    let named = contestants.iter().map(|contestant| contestant.name.clone()).zip(servers).collect();
    let plan = summary::options(&contestants[0].plan);
    let findings = Findings { points, knees, fault: None };
    Ok((SweepReport::new(order.objective, env, plan, named, &findings), fault))
}

impl Driver<'_> {
    fn measure(&mut self, step: &Step) -> Result<Document, String> {
        let Contestant { name, plan } = &self.contestants[step.server];
        let problem = |text: String| format!("{name} at {:.0}/s: {text}", step.rate);
        let repetition = match step.phase {
            Phase::Search => 0,
            Phase::Fixed { repetition } => repetition + 1,
        };
        let fresh = self.make_ready(step.server, repetition).map_err(problem)?;
        let time = self.length(step);
        let Load::Open { arrival, .. } = plan.load else { return Err("a sweep needs arrivals".into()) };
        let plan = Plan {
            load: Load::Open { rate: step.rate, arrival, end: End::Time(time) },
            prefill: plan.prefill && fresh,
            preparation: plan.preparation.clone().filter(|_| fresh),
            // All servers get the same requests at the same times, every repetition others.
            seed: plan.seed.wrapping_add(repetition as u64),
            // What an overloaded server leaves unanswered need not be waited for longer than it was measured.
            grace: plan.grace.min(time),
            ..plan.clone()
        };
        let outcome = run(&plan, self.stop).map_err(|fault| problem(fault.to_string()))?;
        if outcome.incidents.interrupted {
            return Err("stopped before its end".into());
        }
        Ok(summary::document(&plan, &outcome, self.env.clone(), self.servers[step.server].clone()))
    }

    /// Empties the server where that is allowed, once for the search and for each repetition; whether its keys must be
    /// filled again.
    fn make_ready(&mut self, server: usize, repetition: usize) -> Result<bool, String> {
        let before = self.ready[server].replace(repetition);
        if before == Some(repetition) {
            return Ok(false);
        }
        if self.allow_flush {
            let target = &self.contestants[server].plan.target;
            let client = Dialer::new(target).and_then(|dialer| dialer.client(&target.address, Role::Primary));
            let emptied = client.and_then(|mut client| client.call(&["FLUSHALL"]));
            emptied.map_err(|fault| fault.to_string())?;
        }
        Ok(before.is_none() || self.allow_flush)
    }

    fn length(&self, step: &Step) -> Duration {
        let base = match step.phase {
            Phase::Search => self.times.search,
            Phase::Fixed { .. } => self.times.fixed,
        };
        // A quantile is trusted with a hundred samples beyond it; arrivals are random, hence some more.
        let needed = 115.0 / (1.0 - self.objective.quantile) / step.rate;
        Duration::try_from_secs_f64(needed).map_or(base, |needed| needed.clamp(base, base * STRETCH))
    }
}
