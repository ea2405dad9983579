//! The procedure: which server meets which load, in which order. Within every repetition the servers take turns on each
//! measurement, starting with another one each time; each is started fresh for it and is alone on the machine.

use std::{sync::atomic::AtomicBool, time::Duration};

use crate::{
    Options, Section,
    load::{self, Figures, KEYS, Tool, VALUE, WORKLOADS, Workload},
    measure::{cpu_ns, rest, rss_bytes},
    results::{Metric, Of, Results},
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

/// What all measurements share.
struct Bench<'a> {
    options: &'a Options,
    contenders: &'a [Contender],
    stop: &'a AtomicBool,
    results: Results,
    rep: u32,
    /// Servers started so far; picks ports.
    started: u16,
}

/// Makes every measurement the options ask for.
pub fn measure(options: &Options, contenders: &[Contender], stop: &AtomicBool) -> Result<Results, String> {
    pin(&[options.load_cpu])?;
    let mut bench = Bench { options, contenders, stop, results: Results::default(), rep: 0, started: 0 };
    for rep in 0..bench.reps() {
        bench.rep = rep;
        if options.wants(Section::Requests) {
            bench.requests()?;
        }
        if options.wants(Section::Shards) {
            bench.two_shards()?;
        }
        if options.wants(Section::Memory) {
            bench.memory(MEMORY_1M, bench.scaled(1_000_000))?;
        }
        if options.wants(Section::Idle) {
            bench.idle()?;
        }
        if options.wants(Section::Growth) {
            bench.growth()?;
        }
    }
    if options.wants(Section::Memory) && options.keys_10m {
        bench.memory(MEMORY_10M, bench.scaled(10_000_000))?;
    }
    Ok(bench.results)
}

impl<'a> Bench<'a> {
    fn reps(&self) -> u32 {
        if self.options.quick { 1 } else { self.options.reps }
    }

    /// The full count, or a hundredth of it in a quick run.
    fn scaled(&self, count: u64) -> u64 {
        if self.options.quick { count / 100 } else { count }
    }

    /// Those of `kinds` that take part, rotated by the repetition.
    fn turns(&self, kinds: &[Kind]) -> Vec<&'a Contender> {
        let mut turns: Vec<&Contender> =
            self.contenders.iter().filter(|contender| kinds.contains(&contender.kind)).collect();
        if !turns.is_empty() {
            let shift = self.rep as usize % turns.len();
            turns.rotate_left(shift);
        }
        turns
    }

    /// Starts a server on `cpus` with one shard for each.
    fn start(&mut self, contender: &Contender, cpus: &[usize]) -> Result<Server, String> {
        let setup = Setup { cpus: cpus.to_vec(), shards: cpus.len(), defaults: false };
        self.start_as(contender, &setup)
    }

    fn start_as(&mut self, contender: &Contender, setup: &Setup) -> Result<Server, String> {
        self.started = self.started.wrapping_add(1);
        Server::start(contender, setup, self.options.port, self.started, self.stop)
    }

    fn note(&mut self, workload: &str, tool: Tool, server: Kind, figures: &Figures) {
        let mut line = String::new();
        for &(metric, value) in figures {
            self.results.add(Of { workload, tool, metric }, server, self.rep, value);
            line.push_str(&format!(" {}={value:.3}", metric.name()));
        }
        eprintln!("[{}/{}] {workload} {} {}:{line}", self.rep + 1, self.reps(), server.label(), tool.name());
    }

    fn requests(&mut self) -> Result<(), String> {
        for workload in WORKLOADS {
            for tool in [Tool::RedisBenchmark, Tool::Loadgen] {
                for contender in self.turns(&Kind::ALL) {
                    // Fifty busy connections leave no time to spin in.
                    if contender.kind != Kind::TorcNoSpin || workload.clients == 1 {
                        self.request_run(
                            contender,
                            &workload,
                            workload.name,
                            tool,
                            &[self.options.server_cpu],
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
        load::fill(&server, KEYS, VALUE, self.stop)?;
        let requests = self.scaled(workload.requests);
        let program = &self.options.paths.redis_benchmark;
        let figures = load::run(tool, program, workload, requests, &server, self.stop)
            .map_err(|problem| format!("{name} on {}: {problem}", contender.kind.label()))?;
        self.note(name, tool, contender.kind, &figures);
        Ok(())
    }

    /// Torc on both CPUs; the load floats over them too, as there is no third on the reference machine. The figure to
    /// compare with is that of the one shard in `requests`, measured here if that section is left out.
    fn two_shards(&mut self) -> Result<(), String> {
        let (server_cpu, load_cpu) = (self.options.server_cpu, self.options.load_cpu);
        let tool = Tool::RedisBenchmark;
        for workload in WORKLOADS.iter().filter(|workload| workload.pipeline == 16) {
            for contender in self.turns(&[Kind::Torc]) {
                if !self.options.wants(Section::Requests) {
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
        for contender in self.turns(&[Kind::Torc, Kind::Redis, Kind::Valkey, Kind::Kevy]) {
            let server = self.start(contender, &[self.options.server_cpu])?;
            let empty = rss_bytes(server.pid())?;
            load::fill(&server, keys, STORED_VALUE, self.stop)?;
            rest(Duration::from_secs(1), self.stop)?;
            let full = rss_bytes(server.pid())?;
            let each = full.saturating_sub(empty) as f64 / keys as f64;
            self.note(name, Tool::Loadgen, contender.kind, &vec![(Metric::BytesPerKey, each)]);
        }
        Ok(())
    }

    /// CPU at rest with default settings and every CPU of the machine, after it has served some requests.
    fn idle(&mut self) -> Result<(), String> {
        let seconds = if self.options.quick { 1 } else { 10 };
        let cpus = all_cpus()?;
        for contender in self.turns(&[Kind::Torc, Kind::Redis, Kind::Valkey, Kind::Kevy]) {
            let setup = Setup { cpus: cpus.clone(), shards: 1, defaults: true };
            let server = self.start_as(contender, &setup)?;
            load::fill(&server, 10_000, VALUE, self.stop)?;
            rest(Duration::from_secs(1), self.stop)?;
            let before = cpu_ns(server.pid())?;
            rest(Duration::from_secs(seconds), self.stop)?;
            let spent = cpu_ns(server.pid())? - before;
            let percent = spent as f64 / 1e7 / seconds as f64;
            self.note(IDLE, Tool::Loadgen, contender.kind, &vec![(Metric::IdlePercent, percent)]);
        }
        Ok(())
    }

    /// The worst request while keys are added at a fixed rate. The control repeats a fifth of it on keys that exist by
    /// then, where no table grows: what it finds slow is the machine's doing.
    fn growth(&mut self) -> Result<(), String> {
        let (keys, rate) = (self.scaled(self.options.growth_keys), self.options.growth_rate);
        for contender in self.turns(&[Kind::Torc, Kind::Redis, Kind::Valkey]) {
            let server = self.start(contender, &[self.options.server_cpu])?;
            let before = cpu_ns(server.pid())?;
            let (growing, lag) = load::set_at_rate(&server, keys, rate, self.stop)?;
            let spent = cpu_ns(server.pid())? - before;
            let worst_command = server.worst_command_us("SET")?;
            let (control, _) = load::set_at_rate(&server, (keys / 5).max(1), rate, self.stop)?;
            let worst = |stats: &torc_loadgen::OpStats| stats.response.max() as f64 / 1000.0;
            let slow = |stats: &torc_loadgen::OpStats| {
                let fast = stats.response.count_between(0, SLOW_NS);
                (stats.response.len() - fast) as f64 * 1e6 / stats.response.len() as f64
            };
            let figures = vec![
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
            self.note(GROWTH, Tool::Loadgen, contender.kind, &figures);
        }
        Ok(())
    }
}

fn pin(cpus: &[usize]) -> Result<(), String> {
    torc_loadgen::run::pin(cpus).map_err(|error| format!("cannot run on CPU {cpus:?}: {error}"))
}

/// Every CPU of the machine.
fn all_cpus() -> Result<Vec<usize>, String> {
    let path = "/proc/cpuinfo";
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let numbers = text.lines().filter_map(|line| line.strip_prefix("processor"));
    Ok(numbers.filter_map(|rest| rest.trim_start_matches([' ', '\t', ':']).parse().ok()).collect())
}
