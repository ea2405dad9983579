//! Several servers, many rates.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args};

use super::{data, load, mix, values};
use crate::{
    link::Target,
    plan::{Arrival, End, Load, Plan},
    sweep::{Contestant, Settings, Times},
    verdict::Objective,
};

#[derive(Args, Debug)]
pub struct SweepArgs {
    /// A server and what to call it; may be repeated
    #[arg(short = 'u', long, required = true, value_name = "NAME=URI", value_parser = named)]
    uri: Vec<(String, Target)>,
    #[command(flatten)]
    crowd: load::Crowd,
    #[command(flatten)]
    data: data::Data,
    #[command(flatten)]
    walk: data::Walk,
    #[command(flatten)]
    mix: mix::Mix,
    /// The objective whose highest rate is looked for, on the response time of all commands together
    #[arg(long, value_parser = values::objective, default_value = "p99=1ms")]
    pub slo: Objective,
    /// Gaps between arrivals: of independent users, or all the same
    #[arg(long, value_enum, default_value = "poisson")]
    arrival: Arrival,
    /// Arrivals per second that the search starts from
    #[arg(long, default_value_t = 1000.0, value_parser = values::rate)]
    start_rate: f64,
    /// Rate that is never exceeded
    #[arg(long, default_value_t = 1e7, value_parser = values::rate)]
    max_rate: f64,
    /// Fixed rates, between a tenth and eleven tenths of the best server's knee
    #[arg(long, default_value_t = 12, value_parser = values::count::<usize>)]
    rates: usize,
    /// Repetitions of every fixed rate
    #[arg(long, default_value_t = 3, value_parser = values::count::<usize>)]
    run_count: usize,
    /// Length of a measurement of the search
    #[arg(long, allow_hyphen_values = true, value_parser = values::length, default_value = "10")]
    search_time: Duration,
    /// Length of a measurement at a fixed rate
    #[arg(long, allow_hyphen_values = true, value_parser = values::length, default_value = "30")]
    test_time: Duration,
    /// What is due in this time before each measurement is not measured
    #[arg(long, allow_hyphen_values = true, value_parser = values::duration, default_value = "2")]
    warmup: Duration,
    /// Empty each server (FLUSHALL) before the search and before each repetition: its data is lost
    #[arg(long)]
    pub allow_flush: bool,
    /// No line for each measurement
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Write the JSON report here
    #[arg(long)]
    pub json_out_file: Option<PathBuf>,
    /// Write the HTML page here
    #[arg(long)]
    pub html_out_file: Option<PathBuf>,
    /// Exit with 3 if the generator was the limit; `false` leaves it at the words
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    pub fail_on_invalid: bool,
}

impl SweepArgs {
    pub fn settings(&self) -> Settings {
        Settings {
            start: self.start_rate,
            least: Settings::default().least.min(self.start_rate),
            most: self.max_rate,
            rates: self.rates,
            repetitions: self.run_count,
            ..Settings::default()
        }
    }

    pub fn times(&self) -> Times {
        Times { search: self.search_time, fixed: self.test_time }
    }

    /// The servers with the plan that all have in common; its rate is the first.
    pub fn contestants(&self) -> Result<Vec<Contestant>, String> {
        let twice = |index: usize| self.uri[..index].iter().any(|(name, _)| *name == self.uri[index].0);
        if let Some(index) = (0..self.uri.len()).find(|&index| twice(index)) {
            return Err(format!("--uri: two servers are called {}", self.uri[index].0));
        }
        let patterns = self.walk.key_pattern;
        let compat = self.crowd.compat();
        let keys = self.data.keys(patterns.others, compat)?;
        let mut mix = self.mix.commands(patterns)?;
        let load =
            Load::Open { rate: self.start_rate, arrival: self.arrival, end: End::Time(self.test_time) };
        self.uri
            .iter()
            .map(|(name, target)| {
                let base =
                    Plan { clients: 50, ..Plan::closed(target.clone(), keys, End::Time(self.test_time)) };
                let plan = self.data.apply(self.walk.apply(self.crowd.apply(base)), compat);
                if plan.data.expiry.is_some() {
                    crate::traffic::mix::expire(&mut mix);
                }
                let preparation = self.mix.preparation(plan.end());
                let plan = Plan { load, warmup: self.warmup, mix: mix.clone(), preparation, ..plan };
                plan.check()?;
                Ok(Contestant { name: name.clone(), plan })
            })
            .collect()
    }
}

/// `torc=redis://127.0.0.1:6379`; the scheme may be left out.
fn named(text: &str) -> Result<(String, Target), String> {
    let (name, uri) = text.split_once('=').ok_or("wanted NAME=URI, as in torc=redis://127.0.0.1:6379")?;
    let target = if uri.contains("://") { uri.parse()? } else { format!("redis://{uri}").parse()? };
    Ok((name.into(), target))
}
