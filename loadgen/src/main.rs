//! The load generator's command line: parse, run, print. Exit codes: 0 the figures are valid, 1 the run was
//! impossible or its report could not be written, 2 an objective was missed, 3 it ran but its figures do not measure
//! the server.

// They panic where nobody reads any more: `output` has what takes their place.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::{
    fs,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use torc_loadgen::{
    agent::{self, Agent},
    cli::{
        self, AgentArgs, CompareArgs, Job, Measurement, ReportArgs, SelftestArgs, SweepArgs, compat,
        without_secrets,
    },
    document::{Document, Verdict},
    engine::run_watched,
    environment,
    plan::Plan,
    progress::Progress,
    report::{self, compare, compare::Group, output},
    selftest, summary,
    sweep::{self, Order, SweepReport},
};

fn main() -> ExitCode {
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            output::tell(&format!("torc-loadgen: {problem}"));
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<u8, String> {
    let argv: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let cli = match cli::read(compat::translate(argv.clone())?) {
        Ok(cli) => cli,
        // Help and version come this way as well. clap's own code for the rest, 2, says here that an objective was
        // missed.
        Err(said) => {
            // Nobody may be reading.
            let _ = said.print();
            return Ok(u8::from(said.use_stderr()));
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends a program that does not heed the first.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| error.to_string())?;
    }
    let argv = without_secrets(&argv);
    if let Some(measurement) = cli.job.measurement()? {
        return load(&measurement, &argv, &stop);
    }
    match &cli.job {
        Job::Agent(args) => serve(args, argv, &stop),
        Job::Sweep(args) => sweep(args, argv, &stop),
        Job::Compare(args) => compare(args),
        Job::Report(args) => render(args),
        Job::Selftest(args) => selftest(args, &stop),
        Job::Run(_) | Job::Fill(_) | Job::Verify(_) => unreachable!("these are measurements"),
    }
}

/// Waits for leaders until a signal comes.
fn serve(args: &AgentArgs, argv: Vec<String>, stop: &AtomicBool) -> Result<u8, String> {
    let run = |plan: &Plan, hooks: agent::Hooks<'_>| agent::run(plan, hooks, argv.clone());
    let agent = Agent::bind(&args.listen, args.token()?, &run)?;
    output::print(&format!("waiting for leaders on {}\n", agent.address()))?;
    agent.serve(stop, &|line| output::tell(&format!("torc-loadgen: {line}")));
    Ok(0)
}

fn selftest(args: &SelftestArgs, stop: &AtomicBool) -> Result<u8, String> {
    let holds = selftest::selftest(&args.settings(), stop).map_err(|fault| fault.to_string())?;
    Ok(if holds { 0 } else { 3 })
}

/// As many runs as are asked for; the first bad one decides the exit code.
fn load(measurement: &Measurement<'_>, argv: &[String], stop: &AtomicBool) -> Result<u8, String> {
    let out = measurement.out;
    measurement.plan.check()?;
    let output = out.output();
    let mut runs = Vec::new();
    let mut code = 0;
    let mut delivered = Ok(());
    for number in 1..=out.run_count {
        let document = run_once(&measurement.repetition(number - 1), argv, stop)?;
        let own = if out.run_count == 1 { output.clone() } else { output.numbered(number) };
        delivered = delivered.and(own.deliver(&document));
        if code == 0 {
            code = exit_code(&document.verdict, out.shown.fail_on_invalid);
        }
        runs.push(document);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if runs.len() > 1 && output.style == output::Style::Table {
        let group = Group { name: "all runs".into(), runs };
        delivered = delivered.and(compare::text(&[group]).and_then(|text| output::print(&text)));
    }
    delivered.map(|()| code)
}

fn run_once(measurement: &Measurement<'_>, argv: &[String], stop: &AtomicBool) -> Result<Document, String> {
    let Measurement { plan, out, scale } = measurement;
    let env = environment::env(plan, argv.to_vec());
    if let Some(scale) = scale {
        let token = scale.token()?.ok_or("--agents needs --token-file")?;
        let mut progress = Progress::new(plan, out.shown.quiet);
        let led = agent::lead(plan, &scale.agents, &token, stop, &mut |second| progress.show(second));
        progress.end();
        return Ok(Document { env, ..led? });
    }
    let server = environment::server(plan).map_err(|fault| fault.to_string())?;
    let mut progress = Progress::new(plan, out.shown.quiet);
    let ran = run_watched(plan, stop, &mut |second| progress.show(&summary::interval(second)));
    progress.end();
    Ok(summary::document(plan, &ran.map_err(|fault| fault.to_string())?, env, server))
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

fn sweep(args: &SweepArgs, argv: Vec<String>, stop: &AtomicBool) -> Result<u8, String> {
    let contestants = args.contestants()?;
    let order = Order {
        settings: args.settings(),
        times: args.times(),
        objective: &args.slo,
        allow_flush: args.allow_flush,
    };
    let env = environment::env(&contestants[0].plan, argv);
    let mut show = |point: &sweep::Point, remaining: usize| {
        if !args.quiet {
            output::tell(&report::sweep::line(point, &contestants[point.server].name, remaining));
        }
    };
    let (swept, fault) = sweep::drive(&order, &contestants, env, stop, &mut show)?;
    let mut delivered = output::print(&report::sweep::text(&swept));
    if let Some(path) = &args.json_out_file {
        let json = output::json(&swept).and_then(|json| output::write(path, json.as_bytes()));
        delivered = delivered.and(json);
    }
    if let Some(path) = &args.html_out_file {
        let page = report::sweep::html(&swept).and_then(|page| output::write(path, page.as_bytes()));
        delivered = delivered.and(page);
    }
    delivered?;
    match fault {
        Some(problem) => Err(problem),
        None => Ok(sweep_code(&swept, args.fail_on_invalid)),
    }
}

fn compare(args: &CompareArgs) -> Result<u8, String> {
    let groups = compare::read(&args.files)?;
    output::print(&compare::text(&groups)?)?;
    if let Some(path) = &args.html_out_file {
        output::write(path, compare::html(&groups)?.as_bytes())?;
    }
    Ok(if args.fail_on_invalid && !compare::all_valid(&groups) { 3 } else { 0 })
}

fn render(args: &ReportArgs) -> Result<u8, String> {
    let path = &args.file;
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let output = args.shown.output();
    let Some(swept) = SweepReport::parse(&text) else {
        let document = Document::read(path)?;
        output.deliver(&document)?;
        return Ok(exit_code(&document.verdict, args.shown.fail_on_invalid));
    };
    if let Some(option) = output.of_runs_only() {
        return Err(format!("{} is a sweep's report, and {option} is of runs", path.display()));
    }
    output::print(&report::sweep::text(&swept))?;
    if let Some(path) = &output.html {
        output::write(path, report::sweep::html(&swept)?.as_bytes())?;
    }
    Ok(sweep_code(&swept, args.shown.fail_on_invalid))
}

fn sweep_code(swept: &SweepReport, fail_on_invalid: bool) -> u8 {
    if fail_on_invalid && !swept.valid() {
        3
    } else if swept.never_met().next().is_some() {
        2
    } else {
        0
    }
}
