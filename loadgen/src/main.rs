//! The load generator's command line: parse, run, print. Exit codes: 0 the figures are valid, 1 the run was
//! impossible, 2 an objective was missed, 3 it ran but its figures do not measure the server.

use std::{
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::Parser;
use torc_loadgen::{
    agent::{self, Agent},
    cli::{AgentArgs, Cli, Job, Measurement, Out, Scale, SelftestArgs, compat, without_secrets},
    document::{Document, Verdict},
    engine::run_watched,
    environment,
    plan::Plan,
    progress::Progress,
    report, selftest, summary,
};

fn main() -> ExitCode {
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprintln!("torc-loadgen: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<u8, String> {
    let argv: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let cli = Cli::parse_from(compat::translate(argv.clone())?);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends a program that does not heed the first.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| error.to_string())?;
    }
    let argv = without_secrets(&argv);
    let Some(Measurement { plan, out }) = cli.job.measurement()? else {
        return match &cli.job {
            Job::Agent(args) => serve(args, argv, &stop),
            Job::Selftest(args) => selftest(args, &stop),
            Job::Run(_) | Job::Fill(_) | Job::Verify(_) => unreachable!("these are measurements"),
        };
    };
    match &cli.job {
        Job::Run(args) if !args.scale.agents.is_empty() => lead_agents(&plan, &args.scale, out, argv, &stop),
        _ => load(&plan, out, argv, &stop),
    }
}

fn selftest(args: &SelftestArgs, stop: &AtomicBool) -> Result<u8, String> {
    let holds = selftest::selftest(&args.settings(), stop).map_err(|fault| fault.to_string())?;
    Ok(if holds { 0 } else { 3 })
}

fn load(plan: &Plan, out: &Out, argv: Vec<String>, stop: &AtomicBool) -> Result<u8, String> {
    plan.check()?;
    let server = environment::server(plan).map_err(|fault| fault.to_string())?;
    let env = environment::env(plan, argv);
    let mut progress = Progress::new(plan, out.quiet);
    let ran = run_watched(plan, stop, &mut |second| progress.show(second));
    progress.end();
    let outcome = ran.map_err(|fault| fault.to_string())?;
    let document = summary::document(plan, &outcome, env, server);
    print!("{}", report::text(plan, &outcome, &document.verdict));
    finish(&document, out)
}

fn finish(document: &Document, out: &Out) -> Result<u8, String> {
    if let Some(path) = &out.json_out_file {
        let json = serde_json::to_string_pretty(document).map_err(|error| error.to_string())?;
        std::fs::write(path, json + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(exit_code(&document.verdict, out.fail_on_invalid))
}

/// Waits for leaders until a signal comes.
fn serve(args: &AgentArgs, argv: Vec<String>, stop: &AtomicBool) -> Result<u8, String> {
    let run = |plan: &Plan, hooks: agent::Hooks<'_>| agent::run(plan, hooks, argv.clone());
    let agent = Agent::bind(&args.listen, args.token()?, &run)?;
    println!("waiting for leaders on {}", agent.address());
    agent.serve(stop, &|line| eprintln!("torc-loadgen: {line}"));
    Ok(0)
}

fn lead_agents(
    plan: &Plan,
    scale: &Scale,
    out: &Out,
    argv: Vec<String>,
    stop: &AtomicBool,
) -> Result<u8, String> {
    let token = scale.token()?.ok_or("--agents needs --token-file")?;
    let env = environment::env(plan, argv);
    let led = agent::lead(plan, &scale.agents, &token, stop)?;
    let document = Document { env, ..led };
    print!("{}", report::of_agents(&document)?);
    finish(&document, out)
}

/// Figures that do not measure the server say nothing of an objective either.
fn exit_code(verdict: &Verdict, fail_on_invalid: bool) -> u8 {
    if !verdict.valid && fail_on_invalid {
        3
    } else if !verdict.slo_missed.is_empty() {
        2
    } else {
        0
    }
}
