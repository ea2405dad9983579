//! The command line and how it becomes a plan. Names follow redis-benchmark and memtier_benchmark; where those two
//! disagree a short option means what redis-benchmark means by it, except `-t` = threads.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{
    keys::{KeyRange, Pattern},
    plan::{End, KeyShape, Load, PipelineMode, Plan, Ratio},
};

/// Loads a RESP server and measures how it answers.
#[derive(Parser, Debug)]
#[command(name = "torc-loadgen", version, disable_help_flag = true)]
pub struct Cli {
    #[arg(long, action = ArgAction::Help, global = true, help = "Print help")]
    help: Option<bool>,
    #[command(subcommand)]
    pub job: Job,
}

#[derive(Subcommand, Debug)]
pub enum Job {
    /// Send a mix of SET and GET in a closed loop, or at a fixed rate with --rate
    Run(RunArgs),
    /// SET every key of the range once
    Fill(FillArgs),
}

#[derive(Args, Debug)]
pub struct Target {
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,
    #[arg(short = 'p', long, default_value_t = 6379)]
    port: u16,
    /// Connections in all
    #[arg(short = 'c', long)]
    clients: Option<usize>,
    #[arg(short = 't', long, default_value_t = 1)]
    threads: usize,
    /// Most requests outstanding on a connection
    #[arg(short = 'P', long)]
    pipeline: Option<usize>,
    /// CPUs for the threads, e.g. 2,3
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Write the JSON report here
    #[arg(long)]
    pub json_out_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Data {
    #[arg(long, default_value_t = 0)]
    key_minimum: u64,
    #[arg(long, default_value_t = 99_999)]
    key_maximum: u64,
    #[arg(long, default_value = "key:")]
    key_prefix: String,
    /// Bytes of a key, prefix included
    #[arg(long, default_value_t = 16)]
    key_width: usize,
    /// Bytes of a value
    #[arg(short = 'd', long, default_value_t = 16)]
    data_size: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    data: Data,
    /// R = random, S = sequential
    #[arg(long, value_enum, default_value = "R")]
    key_pattern: Pattern,
    #[arg(long, value_enum, default_value = "window")]
    pipeline_mode: PipelineMode,
    /// Arrivals per second in all: open loop, latency from the intended start
    #[arg(long)]
    rate: Option<f64>,
    /// Requests in all
    #[arg(short = 'n', long, conflicts_with = "test_time")]
    requests: Option<u64>,
    /// Seconds [default: 10, if --requests is not given]
    #[arg(long)]
    test_time: Option<f64>,
    /// SET:GET
    #[arg(long, default_value = "1:10", value_parser = parse_ratio)]
    ratio: Ratio,
}

#[derive(Args, Debug)]
pub struct FillArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    data: Data,
}

impl Job {
    /// The plan this command line asks for.
    pub fn plan(&self) -> Result<Plan, String> {
        match self {
            Self::Run(args) => args.plan(),
            Self::Fill(args) => args.plan(),
        }
    }

    pub fn json_out_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Run(args) => args.target.json_out_file.as_ref(),
            Self::Fill(args) => args.target.json_out_file.as_ref(),
        }
    }
}

impl RunArgs {
    fn plan(&self) -> Result<Plan, String> {
        let time = self.test_time.unwrap_or(10.0);
        let length = Duration::try_from_secs_f64(time).map_err(|error| format!("test-time: {error}"))?;
        let load = match (self.rate, self.requests) {
            (Some(rate), Some(requests)) => Load::Open { rate, requests },
            (Some(rate), None) => Load::Open { rate, requests: (rate * time) as u64 },
            (None, Some(requests)) => Load::Closed(End::Requests(requests)),
            (None, None) => Load::Closed(End::Time(length)),
        };
        let keys = self.data.keys(self.key_pattern);
        let base = Plan::closed(self.target.address()?, keys, End::Time(length));
        let plan = Plan { load, mode: self.pipeline_mode, ratio: self.ratio, clients: 50, ..base };
        Ok(self.target.apply(self.data.apply(plan)))
    }
}

impl FillArgs {
    fn plan(&self) -> Result<Plan, String> {
        let keys = self.data.keys(Pattern::Sequential);
        let plan = Plan::fill(self.target.address()?, keys, self.data.data_size);
        Ok(self.target.apply(self.data.apply(plan)))
    }
}

impl Target {
    fn address(&self) -> Result<SocketAddr, String> {
        let at = (self.host.as_str(), self.port);
        let mut found = at.to_socket_addrs().map_err(|error| format!("{}: {error}", self.host))?;
        found.next().ok_or_else(|| format!("{} has no address", self.host))
    }

    fn apply(&self, plan: Plan) -> Plan {
        Plan {
            clients: self.clients.unwrap_or(plan.clients),
            threads: self.threads,
            pipeline: self.pipeline.unwrap_or(plan.pipeline),
            cpus: self.cpus.clone(),
            ..plan
        }
    }
}

impl Data {
    fn keys(&self, pattern: Pattern) -> KeyRange {
        KeyRange { first: self.key_minimum, last: self.key_maximum, pattern }
    }

    fn apply(&self, plan: Plan) -> Plan {
        let key_shape = KeyShape { prefix: self.key_prefix.clone(), width: self.key_width };
        Plan { key_shape, data_size: self.data_size, seed: self.seed, ..plan }
    }
}

fn parse_ratio(text: &str) -> Result<Ratio, String> {
    let parts = text.split_once(':').and_then(|(set, get)| Some((set.parse().ok()?, get.parse().ok()?)));
    parts.map(|(set, get)| Ratio { set, get }).ok_or_else(|| "wanted SET:GET, as in 1:10".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &str) -> Plan {
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        let plan = cli.job.plan().expect(line);
        assert_eq!(plan.check(), Ok(()));
        plan
    }

    #[test]
    fn options_reach_the_plan() {
        let plan =
            plan("loadgen run -h 127.0.0.2 -p 7000 -c 4 -t 2 -P 8 -n 99 --ratio 1:0 -d 32 --key-maximum 9");
        assert_eq!(plan.target, ([127, 0, 0, 2], 7000).into());
        assert_eq!((plan.clients, plan.threads, plan.pipeline, plan.data_size), (4, 2, 8, 32));
        assert_eq!(plan.load, Load::Closed(End::Requests(99)));
        assert_eq!(plan.ratio, Ratio { set: 1, get: 0 });
        assert_eq!(plan.keys.len(), 10);
    }

    #[test]
    fn a_rate_makes_it_an_open_loop_of_the_test_time() {
        let plan = plan("loadgen run --rate 1000 --test-time 2.5");
        assert_eq!(plan.load, Load::Open { rate: 1000.0, requests: 2500 });
    }

    #[test]
    fn fill_sets_each_key_once() {
        let plan = plan("loadgen fill --key-minimum 10 --key-maximum 29 -d 3");
        assert_eq!(plan.load, Load::Closed(End::Requests(20)));
        assert_eq!((plan.ratio, plan.keys.pattern), (Ratio { set: 1, get: 0 }, Pattern::Sequential));
    }
}
