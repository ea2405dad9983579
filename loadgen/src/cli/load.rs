//! How much load, from how many connections, for how long.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values;
use crate::plan::{Arrival, End, Load, MAX_BACKLOG, PipelineMode, Plan};

/// Another tool whose meanings of conflicting options are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    Memtier,
}

/// Length of a run of which nothing else is said.
const TEST_TIME: Duration = Duration::from_secs(10);

/// How many connections and threads; of every job.
#[derive(Args, Debug)]
pub struct Crowd {
    /// Connections in all [default: 50, to fill 8]
    #[arg(short = 'c', long, value_parser = values::count::<usize>)]
    clients: Option<usize>,
    /// Threads that share them [default: 1]
    #[arg(short = 't', long, value_parser = values::count::<usize>)]
    threads: Option<usize>,
    /// Most requests outstanding on a connection [default: 1, to fill 64]
    #[arg(short = 'P', long, value_parser = values::count::<usize>)]
    pipeline: Option<usize>,
    /// CPUs for the threads, e.g. 2,3
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Time between one connection's opening and the next one's
    #[arg(long, allow_hyphen_values = true, value_parser = values::duration, default_value = "0")]
    connect_stagger: Duration,
    /// Another tool's meanings of -c (per thread), -n (per connection), -s, -P, -h and its defaults
    #[arg(long, value_enum)]
    compat: Option<Compat>,
}

#[derive(Args, Debug)]
pub struct LoadArgs {
    #[command(flatten)]
    crowd: Crowd,
    /// A request for each reply, or a batch when the one before is answered
    #[arg(long, value_enum, default_value = "window")]
    pipeline_mode: PipelineMode,
    /// Arrivals per second in all: open loop, latency from the intended start
    #[arg(long, alias = "rate-limiting", value_parser = values::rate)]
    rate: Option<f64>,
    /// Gaps between arrivals: of independent users (poisson), or all the same [default: poisson]
    #[arg(long, value_enum, requires = "rate")]
    arrival: Option<Arrival>,
    /// Most arrivals that are due and wait for room; those beyond count as errors
    #[arg(long, default_value_t = MAX_BACKLOG, requires = "rate", value_parser = values::count::<u64>)]
    max_backlog: u64,
    /// No connection carries two commands of the mix: each has its weight's share of the connections
    #[arg(long, requires = "rate")]
    apart: bool,
    /// Never sleep: a little more precise, and a whole CPU per thread
    #[arg(long)]
    busy_poll: bool,
    /// Requests in all
    #[arg(short = 'n', long, conflicts_with = "test_time", value_parser = values::count::<u64>)]
    requests: Option<u64>,
    /// Length of the measured part, e.g. 30 or 500ms [default: 10 s, if --requests is not given]
    #[arg(long, allow_hyphen_values = true, value_parser = values::length)]
    test_time: Option<Duration>,
    /// What is due in this time before the measured part is not measured
    #[arg(long, allow_hyphen_values = true, value_parser = values::duration, default_value = "0")]
    warmup: Duration,
    /// Time in which the load comes up, before the warm-up
    #[arg(long, allow_hyphen_values = true, value_parser = values::duration, default_value = "0")]
    ramp: Duration,
    /// Requests after which a connection is closed and opened anew
    #[arg(long, value_parser = values::count::<u64>)]
    reconnect_interval: Option<u64>,
}

impl Crowd {
    pub fn compat(&self) -> Option<Compat> {
        self.compat
    }

    pub fn apply(&self, plan: Plan) -> Plan {
        let memtier = self.compat == Some(Compat::Memtier);
        let threads = self.threads.unwrap_or(if memtier { 4 } else { 1 });
        let clients = self.clients.unwrap_or(plan.clients);
        Plan {
            clients: if memtier { clients.saturating_mul(threads) } else { clients },
            threads,
            pipeline: self.pipeline.unwrap_or(plan.pipeline),
            cpus: self.cpus.clone(),
            connect_stagger: self.connect_stagger,
            ..plan
        }
    }
}

impl LoadArgs {
    pub fn compat(&self) -> Option<Compat> {
        self.crowd.compat
    }

    pub fn apply(&self, plan: Plan) -> Plan {
        let plan = self.crowd.apply(plan);
        // What memtier counts per connection.
        let each = if self.crowd.compat == Some(Compat::Memtier) { plan.clients as u64 } else { 1 };
        let memtier_default = || (each > 1).then_some(10_000);
        let end = match (self.requests, self.test_time) {
            (None, Some(time)) => End::Time(time),
            (requests, _) => match requests.or_else(memtier_default) {
                Some(requests) => End::Requests(requests.saturating_mul(each)),
                None => End::Time(TEST_TIME),
            },
        };
        let arrival = self.arrival.unwrap_or(if each > 1 { Arrival::Constant } else { Arrival::Poisson });
        let open = |rate| Load::Open { rate: rate * each as f64, arrival, end };
        Plan {
            mode: self.pipeline_mode,
            load: self.rate.map_or(Load::Closed(end), open),
            max_backlog: self.max_backlog,
            apart: self.apart,
            busy_poll: self.busy_poll,
            warmup: self.warmup,
            ramp: self.ramp,
            reconnect_interval: self.reconnect_interval,
            ..plan
        }
    }
}
