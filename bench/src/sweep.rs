//! `torc-bench sweep`: how latency grows with throughput, and the highest rate at which each server meets an objective.
//! All stand on one core, and one at a time has work to do.

use std::{sync::atomic::AtomicBool, time::Duration};

use clap::Args;
use serde_json::to_value;
use torc_loadgen::{
    Plan,
    cli::objective,
    environment,
    keys::{KeyRange, Pattern},
    plan::{Arrival, End, Load},
    report,
    sweep::{Contestant, Order, Settings, SweepReport, Times, drive},
    traffic::{mix::set_get, values::DataPlan},
    verdict::Objective,
};

use crate::{
    Common,
    load::{KEYS, VALUE},
    report::{Environment, head, write_file, write_files},
    run::Run,
    servers::{Contender, Kind, Server, Setup, find_all},
};

#[derive(Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// The objective, on the response time of all commands together
    #[arg(long, value_parser = objective, default_value = "p99=1ms")]
    pub slo: Objective,
    /// Seconds of a measurement at a fixed rate; those of the search take half
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Fixed rates, between a tenth and eleven tenths of the best server's knee
    #[arg(long, default_value_t = 12)]
    pub rates: usize,
}

const NAME: &str = "sweep";

/// Sweeps the servers and writes the table, the page and the figures.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<(), String> {
    let common = &options.common;
    let machine = Environment::read();
    let contenders = find_all(common, &Kind::PEERS)?;
    let mut run = Run::new(common, &contenders, stop)?;
    let mut servers = Vec::new();
    for contender in &contenders {
        servers.push(run.start(contender, &Setup::on(&[common.server_cpu]))?);
    }
    let contestant = |(contender, server): (&Contender, &Server)| Contestant {
        name: contender.kind.label().to_lowercase(),
        plan: plan(common, server),
    };
    let contestants: Vec<Contestant> = contenders.iter().zip(&servers).map(contestant).collect();
    let env = environment::env(&contestants[0].plan, std::env::args().collect());
    let (swept, fault) = drive(&order(options), &contestants, env, stop, &mut |point, remaining| {
        eprintln!("{}", report::sweep::line(point, &contestants[point.server].name, remaining));
    })?;
    if let Some(problem) = fault {
        return Err(problem);
    }
    let figures = to_value(&swept).map_err(|error| error.to_string())?;
    let (out, quick) = (common.out.as_deref(), common.quick);
    write_file(out, quick, &format!("RESULTS-{NAME}.html"), &report::sweep::html(&swept)?)?;
    write_files(out, quick, NAME, &figures, &markdown(&machine, options, &contenders, &swept))
}

fn order(options: &Options) -> Order<'_> {
    let quick = options.common.quick;
    let settings = Settings {
        start: 20_000.0,
        rates: if quick { 2 } else { options.rates },
        repetitions: if quick { 1 } else { options.common.reps as usize },
        // A quick run searches to the factor it grows by.
        precision: if quick { Settings::default().growth } else { Settings::default().precision },
        ..Settings::default()
    };
    let fixed = if quick { Duration::from_millis(100) } else { Duration::from_secs(options.seconds) };
    Order { settings, times: Times { search: fixed / 2, fixed }, objective: &options.slo, allow_flush: false }
}

/// Ten GETs to a SET, over keys that are all there.
fn plan(common: &Common, server: &Server) -> Plan {
    let keys = KeyRange { first: 0, last: KEYS - 1, pattern: Pattern::Random };
    let end = End::Time(Duration::from_secs(1));
    Plan {
        clients: 50,
        pipeline: 16,
        load: Load::Open { rate: 1.0, arrival: Arrival::Poisson, end },
        warmup: Duration::from_millis(if common.quick { 10 } else { 500 }),
        mix: set_get(1, 10),
        data: DataPlan::of(VALUE),
        prefill: true,
        ..Plan::closed(server.address, keys, end)
    }
}

fn markdown(
    machine: &Environment,
    options: &Options,
    contenders: &[Contender],
    swept: &SweepReport,
) -> String {
    let versions: Vec<String> =
        contenders.iter().map(|one| format!("{} {}", one.kind.label(), one.version)).collect();
    format!(
        "{}{}, loopback; {}; {}\n\nEach server on CPU {}, all its threads, nothing on disk; the load on CPU {}: open \
         loop, Poisson arrivals, 50 connections with at most 16 requests outstanding each, ten GETs to a SET. The curves \
         are in [RESULTS-{NAME}.html](RESULTS-{NAME}.html).\n\n```\n{}```\n",
        head("How latency grows with throughput", options.common.quick),
        machine.machine(),
        versions.join(", "),
        machine.occasion(),
        options.common.server_cpu,
        options.common.load_cpu,
        report::sweep::text(swept),
    )
}
