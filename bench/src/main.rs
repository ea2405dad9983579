//! `torc-bench peers`: Torc beside Redis, Valkey and kevy on one core each; `torc-bench log`: Torc beside Redis and
//! Valkey with files and replicas; `torc-bench memory`: bytes by type and size; and what the bars say. `torc-bench sweep`: latency against throughput. `torc-bench micro`:
//! parts of Torc by themselves. This file is the command line; `peers`, `log`, `memory` and `micro` are the procedures,
//! `run` is what the first three share, `servers` starts and stops, `client` asks and fills, `link` stands between replica
//! and primary, `load` drives, `tape` is what instructions are counted over, `measure` reads the kernel's accounts,
//! `results` keeps the figures, `bars` judges them, `report` writes them down.

mod bars;
mod client;
mod link;
mod load;
mod log;
mod measure;
mod memory;
mod micro;
mod peers;
mod report;
mod results;
mod run;
mod servers;
mod sweep;
mod tape;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::{Args, Parser, Subcommand};

/// Measures Torc against its peers.
#[derive(Parser)]
#[command(name = "torc-bench", version)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Run every server on one core, the load on another, interleaved, and judge the bars
    Peers(peers::Options),
    /// Measure the log, snapshots, loading and replication, and judge the bars
    Log(log::Options),
    /// Search the highest rate at which each server meets an objective, and draw latency against throughput
    Sweep(sweep::Options),
    /// Measure bytes per key and per element, by type and size
    Memory(memory::Options),
    /// Time Torc's parts by themselves: cargo bench, its estimates collected
    Micro(micro::Options),
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct Common {
    #[command(flatten)]
    pub paths: Paths,
    /// Repetitions of every measurement
    #[arg(long, default_value_t = 3)]
    pub reps: u32,
    /// A few seconds in all, one repetition: shows that everything works, measures nothing
    #[arg(long)]
    pub quick: bool,
    /// Which servers take part [default: all that are found]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub servers: Vec<servers::Kind>,
    /// CPU of the server under test
    #[arg(long, default_value_t = 0)]
    pub server_cpu: usize,
    /// CPU of the load
    #[arg(long, default_value_t = 1)]
    pub load_cpu: usize,
    /// First of 64 ports used in turn
    #[arg(long, default_value_t = 7140)]
    pub port: u16,
    /// Where the results go [default: bench/, with --quick a temporary directory]
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Where the programs are, if not where they usually are.
#[derive(Args, Clone)]
pub struct Paths {
    /// torc-server [default: the release build of this workspace]
    #[arg(long, env = "TORC_BENCH_TORC")]
    pub torc: Option<PathBuf>,
    /// redis-server 8.2.3 [default: tests/.deps/redis-server-8]
    #[arg(long, env = "TORC_BENCH_REDIS")]
    pub redis: Option<PathBuf>,
    /// valkey-server 9.1.2 [default: tests/.deps/valkey-server]
    #[arg(long, env = "TORC_BENCH_VALKEY")]
    pub valkey: Option<PathBuf>,
    /// kevy [default: ~/.cargo/bin/kevy; optional]
    #[arg(long, env = "TORC_BENCH_KEVY")]
    pub kevy: Option<PathBuf>,
    /// The echo server, the example of torc-server [default: release/examples/echo; optional]
    #[arg(long, env = "TORC_BENCH_ECHO")]
    pub echo: Option<PathBuf>,
    /// The command tape on one core, the example of torc-server [default: release/examples/tape; optional]
    #[arg(long, env = "TORC_BENCH_TAPE")]
    pub tape: Option<PathBuf>,
    /// redis-benchmark [default: from PATH]
    #[arg(long, default_value = "redis-benchmark", env = "TORC_BENCH_REDIS_BENCHMARK")]
    pub redis_benchmark: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse().job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("torc-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(job: &Job) -> Result<(), String> {
    // Signals only raise the flag: every wait looks at it, the error travels up, and the guards end the servers.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| error.to_string())?;
    }
    match job {
        Job::Peers(options) => peers::run(options, &stop),
        Job::Log(options) => log::run(options, &stop),
        Job::Sweep(options) => sweep::run(options, &stop),
        Job::Memory(options) => memory::run(options, &stop),
        Job::Micro(options) => micro::run(options),
    }
}
