//! The load generator's command line: parse, run, print. Exit codes: 0 the figures are valid, 1 the run was
//! impossible, 3 it ran but its figures do not measure the server.

use std::{
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::Parser;
use torc_loadgen::{cli::Cli, old_report as report, run};

fn main() -> ExitCode {
    match load(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(problem) => {
            eprintln!("torc-loadgen: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn load(cli: &Cli) -> Result<bool, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| error.to_string())?;
    }
    let plan = cli.job.plan()?;
    let outcome = run(&plan, &stop).map_err(|fault| fault.to_string())?;
    print!("{}", report::text(&plan, &outcome));
    if let Some(path) = cli.job.json_out_file() {
        let json = format!("{:#}\n", report::json(&plan, &outcome));
        std::fs::write(path, json).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(outcome.objections().is_empty())
}
