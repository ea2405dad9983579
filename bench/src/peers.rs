//! `torc-bench peers`: every server in memory, on one core. Each is started fresh for every measurement and is alone on
//! the machine.

mod bars;
mod instructions;
mod report;

use std::{sync::atomic::AtomicBool, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    Common,
    load::{self, KEYS, Tool, VALUE, WORKLOADS, Workload},
    measure::{cpu_ns, rest, rss_bytes},
    results::Metric,
    run::{self, Run, Sections, pin},
    servers::{Contender, Kind, Server, Setup},
};

/// Names of the measurements that are not request workloads.
pub const MEMORY_1M: &str = "1M keys";
pub const MEMORY_10M: &str = "10M keys";
pub const GROWTH: &str = "growth";
pub const IDLE: &str = "idle";

/// The two-shard counterpart of a workload.
pub fn on_two_shards(workload: &str) -> String {
    format!("{workload}, 2 shards")
}

/// Bytes of a value in the memory and growth measurements.
const STORED_VALUE: usize = 32;

/// Longest request that the growth bar allows.
const SLOW_NS: u64 = 2_000_000;

#[derive(Args, Clone)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub sections: Sections<Section>,
    /// Measure memory with ten million keys too, once
    #[arg(long)]
    pub keys_10m: bool,
    /// Keys of the growth test
    #[arg(long, default_value_t = 10_000_000)]
    pub growth_keys: u64,
    /// SETs per second of the growth test
    #[arg(long, default_value_t = 200_000)]
    pub growth_rate: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// SET and GET at 50 connections, pipeline 1, 16 and 64, and GET on one connection
    Requests,
    /// Instructions per request, counted by callgrind
    Instructions,
    /// Two shards against one
    Shards,
    /// RSS per key
    Memory,
    /// CPU at rest
    Idle,
    /// The worst request while the keyspace grows
    Growth,
}

struct Bench<'a, 'r> {
    options: &'a Options,
    run: &'a mut Run<'r>,
}

/// Makes every measurement the options ask for and writes the report.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<(), String> {
    let common = &options.common;
    run::carry_out(
        common,
        &Kind::ALL,
        stop,
        |run| measure(options, run),
        |kinds, results, ()| report::report(options, kinds, results),
    )
}

fn measure(options: &Options, run: &mut Run<'_>) -> Result<(), String> {
    run.repeat(&options.sections, |run, section| Bench { options, run }.measure(section))?;
    if options.sections.wants(&Section::Memory) && options.keys_10m {
        let keys = run.scaled(10_000_000);
        Bench { options, run }.memory(MEMORY_10M, keys)?;
    }
    Ok(())
}

impl Bench<'_, '_> {
    fn measure(&mut self, section: Section) -> Result<(), String> {
        match section {
            Section::Requests => self.requests(),
            Section::Instructions => {
                instructions::count(self.run, self.options.sections.names(&Section::Instructions))
            }
            Section::Shards => self.two_shards(),
            Section::Memory => self.memory(MEMORY_1M, self.run.scaled(1_000_000)),
            Section::Idle => self.idle(),
            Section::Growth => self.growth(),
        }
    }

    /// Starts a server on `cpus` with one shard for each.
    fn start(&mut self, contender: &Contender, cpus: &[usize]) -> Result<Server, String> {
        self.run.start(contender, &Setup::on(cpus))
    }

    fn requests(&mut self) -> Result<(), String> {
        for workload in WORKLOADS {
            for tool in [Tool::RedisBenchmark, Tool::Loadgen] {
                for contender in self.run.turns(&Kind::ALL) {
                    // Fifty busy connections leave no time to spin in.
                    if contender.kind != Kind::TorcNoSpin || workload.clients == 1 {
                        self.request_run(
                            contender,
                            &workload,
                            workload.name,
                            tool,
                            &[self.run.options.server_cpu],
                        )?;
                    }
                }
            }
        }
        Ok(())
    }

    fn request_run(
        &mut self,
        contender: &Contender,
        workload: &Workload,
        name: &str,
        tool: Tool,
        cpus: &[usize],
    ) -> Result<(), String> {
        let server = self.start(contender, cpus)?;
        load::fill(&server, KEYS, VALUE, self.run.stop)?;
        let requests = self.run.scaled(workload.requests);
        let program = &self.run.options.paths.redis_benchmark;
        let figures = load::run(tool, program, workload, requests, &server, self.run.stop)
            .map_err(|problem| format!("{name} on {}: {problem}", contender.kind.label()))?;
        self.run.note(name, tool, contender.kind, &figures);
        Ok(())
    }

    /// Torc on both CPUs; the load floats over them too, as there is no third on the reference machine. The figure to
    /// compare with is that of the one shard in `requests`, measured here if that section is left out.
    fn two_shards(&mut self) -> Result<(), String> {
        let Common { server_cpu, load_cpu, .. } = *self.run.options;
        let tool = Tool::RedisBenchmark;
        for workload in WORKLOADS.iter().filter(|workload| workload.pipeline == 16) {
            for contender in self.run.turns(&[Kind::Torc]) {
                if !self.options.sections.wants(&Section::Requests) {
                    self.request_run(contender, workload, workload.name, tool, &[server_cpu])?;
                }
                pin(&[server_cpu, load_cpu])?;
                let name = on_two_shards(workload.name);
                self.request_run(contender, workload, &name, tool, &[server_cpu, load_cpu])?;
                pin(&[load_cpu])?;
            }
        }
        Ok(())
    }

    /// Resident memory of `keys` keys of 16 bytes with values of 32, less what the empty server has.
    fn memory(&mut self, name: &str, keys: u64) -> Result<(), String> {
        for contender in self.run.turns(&Kind::STORES) {
            let server = self.start(contender, &[self.run.options.server_cpu])?;
            let empty = rss_bytes(server.pid())?;
            load::fill(&server, keys, STORED_VALUE, self.run.stop)?;
            rest(Duration::from_secs(1), self.run.stop)?;
            let full = rss_bytes(server.pid())?;
            let each = full.saturating_sub(empty) as f64 / keys as f64;
            self.run.note(name, Tool::Loadgen, contender.kind, &[(Metric::BytesPerKey, each)]);
        }
        Ok(())
    }

    /// CPU at rest with default settings and every CPU of the machine, after it has served some requests.
    fn idle(&mut self) -> Result<(), String> {
        let seconds = if self.run.options.quick { 1 } else { 10 };
        let cpus = all_cpus()?;
        for contender in self.run.turns(&Kind::STORES) {
            let setup = Setup { shards: 1, defaults: true, ..Setup::on(&cpus) };
            let server = self.run.start(contender, &setup)?;
            load::fill(&server, 10_000, VALUE, self.run.stop)?;
            rest(Duration::from_secs(1), self.run.stop)?;
            let before = cpu_ns(server.pid())?;
            rest(Duration::from_secs(seconds), self.run.stop)?;
            let spent = cpu_ns(server.pid())? - before;
            let percent = spent as f64 / 1e7 / seconds as f64;
            self.run.note(IDLE, Tool::Loadgen, contender.kind, &[(Metric::IdlePercent, percent)]);
        }
        Ok(())
    }

    /// The worst request while keys are added at a fixed rate. The control repeats a fifth of it on keys that exist by
    /// then, where no table grows: what it finds slow is the machine's doing.
    fn growth(&mut self) -> Result<(), String> {
        let (keys, rate) = (self.run.scaled(self.options.growth_keys), self.options.growth_rate);
        for contender in self.run.turns(&Kind::PEERS) {
            let server = self.start(contender, &[self.run.options.server_cpu])?;
            let before = cpu_ns(server.pid())?;
            let (growing, lag) = load::set_at_rate(&server, keys, rate, self.run.stop)?;
            let spent = cpu_ns(server.pid())? - before;
            let worst_command = server.worst_command_us("SET")?;
            let (control, _) = load::set_at_rate(&server, (keys / 5).max(1), rate, self.run.stop)?;
            let worst = |stats: &torc_loadgen::CommandStats| stats.response.max() as f64 / 1000.0;
            let slow = |stats: &torc_loadgen::CommandStats| {
                let fast = stats.response.count_between(0, SLOW_NS);
                (stats.response.len() - fast) as f64 * 1e6 / stats.response.len() as f64
            };
            let figures = [
                (Metric::WorstCommandUs, worst_command),
                (Metric::WorstUs, worst(&growing)),
                (Metric::ControlWorstUs, worst(&control)),
                (Metric::SlowPerMillion, slow(&growing)),
                (Metric::ControlSlowPerMillion, slow(&control)),
                (Metric::P99Us, growing.response.value_at_quantile(0.99) as f64 / 1000.0),
                (Metric::P999Us, growing.response.value_at_quantile(0.999) as f64 / 1000.0),
                (Metric::LagWorstUs, lag as f64 / 1000.0),
                (Metric::CpuUs, spent as f64 / 1000.0 / keys as f64),
            ];
            self.run.note(GROWTH, Tool::Loadgen, contender.kind, &figures);
        }
        Ok(())
    }
}

/// Every CPU of the machine.
fn all_cpus() -> Result<Vec<usize>, String> {
    let path = "/proc/cpuinfo";
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let numbers = text.lines().filter_map(|line| line.strip_prefix("processor"));
    Ok(numbers.filter_map(|rest| rest.trim_start_matches([' ', '\t', ':']).parse().ok()).collect())
}
