//! `torc-bench peers`: Torc beside Redis, Valkey and kevy on one core each, and what the bars say. This file is the
//! command line; `peers` is the procedure, `servers` starts and stops, `load` drives, `measure` reads the kernel's
//! accounts, `results` keeps the figures, `bars` judges them, `report` writes them down.

mod bars;
mod load;
mod measure;
mod peers;
mod report;
mod results;
mod servers;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    Peers(Options),
}

#[derive(Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub paths: Paths,
    /// Repetitions of every measurement
    #[arg(long, default_value_t = 3)]
    pub reps: u32,
    /// A few seconds in all, one repetition: shows that everything works, measures nothing
    #[arg(long)]
    pub quick: bool,
    /// What to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub sections: Vec<Section>,
    /// Which servers take part [default: all that are found]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub servers: Vec<servers::Kind>,
    /// Measure memory with ten million keys too, once
    #[arg(long)]
    pub keys_10m: bool,
    /// Keys of the growth test
    #[arg(long, default_value_t = 10_000_000)]
    pub growth_keys: u64,
    /// SETs per second of the growth test
    #[arg(long, default_value_t = 200_000)]
    pub growth_rate: u64,
    /// CPU of the server under test
    #[arg(long, default_value_t = 0)]
    pub server_cpu: usize,
    /// CPU of the load
    #[arg(long, default_value_t = 1)]
    pub load_cpu: usize,
    /// First of 64 ports used in turn
    #[arg(long, default_value_t = 7140)]
    pub port: u16,
    /// Where results.json and RESULTS.md go [default: bench/, with --quick a temporary directory]
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
    /// redis-benchmark [default: from PATH]
    #[arg(long, default_value = "redis-benchmark", env = "TORC_BENCH_REDIS_BENCHMARK")]
    pub redis_benchmark: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// SET and GET at 50 connections, pipeline 1, 16 and 64, and GET on one connection
    Requests,
    /// RSS per key
    Memory,
    /// Two shards against one
    Shards,
    /// The worst request while the keyspace grows
    Growth,
    /// CPU at rest
    Idle,
}

impl Options {
    pub fn wants(&self, section: Section) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }
}

fn main() -> ExitCode {
    let Job::Peers(options) = Cli::parse().job;
    match peers(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("torc-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn peers(options: &Options) -> Result<(), String> {
    // Signals only raise the flag: every wait looks at it, the error travels up, and the guards end the servers.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| error.to_string())?;
    }
    let environment = report::Environment::read();
    let contenders = servers::find_all(options)?;
    let results = peers::measure(options, &contenders, &stop)?;
    report::write(options, &environment, &contenders, &results)
}
