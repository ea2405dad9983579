//! What one run does: the resolved answer to every option. A plan is checked once (`check`); the rest of the program
//! relies on it.

use std::{ops::Range, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    keys::{KeyLaw, KeyRange},
    link::Target,
    traffic::{
        keys::share,
        mix::{self, CommandPlan},
        template,
        values::DataPlan,
    },
    verdict::Objective,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub target: Target,
    /// Which part of the run is this process's; the numbers below are of the whole run, but for the threads.
    pub team: Team,
    /// Connections of all threads together.
    pub clients: usize,
    pub threads: usize,
    /// Most requests outstanding on one connection.
    pub pipeline: usize,
    pub mode: PipelineMode,
    pub load: Load,
    /// What is due before this much of the run has passed is sent and not measured.
    pub warmup: Duration,
    /// How long the load takes to come up to its full strength, evenly, before the warm-up begins.
    pub ramp: Duration,
    /// Between one connection's opening and the next one's.
    pub connect_stagger: Duration,
    /// A connection is closed and opened anew after this many requests.
    pub reconnect_interval: Option<u64>,
    /// Open loop: most arrivals of all threads together that are due and find no room; what is due beyond that counts
    /// as unsent.
    pub max_backlog: u64,
    /// Open loop: no connection carries two commands of the mix. Each has its weight's share of a thread's connections,
    /// so that what one of them waits for on its connection is never another one's reply.
    pub apart: bool,
    /// Never sleep while waiting.
    pub busy_poll: bool,
    pub keys: KeyRange,
    pub key_law: KeyLaw,
    pub key_shape: KeyShape,
    /// In the order of their turns; their weights are not all 0.
    pub mix: Vec<CommandPlan>,
    pub data: DataPlan,
    /// SET every key of the range before the run.
    pub prefill: bool,
    /// Sent in full before the run, for commands that would find nothing to work on.
    pub preparation: Option<Preparation>,
    /// Least share of reads that find a value, 0 to 1, for the figures to count.
    pub min_hit_rate: Option<f64>,
    pub seed: u64,
    /// CPUs for the threads, thread i on entry i modulo their number; empty = wherever the process may run.
    pub cpus: Vec<usize>,
    /// How long a run waits, without any reply (closed loop) or past the end of its schedule (open loop), before it
    /// counts what is outstanding as unanswered.
    pub grace: Duration,
    pub objectives: Vec<Objective>,
}

/// A command that is sent so often, and not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    pub command: CommandPlan,
    pub times: u64,
}

/// Processes that make a run together: each does `threads` of `threads * members` parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// 0 to `members - 1`.
    pub member: usize,
    pub members: usize,
}

impl Team {
    pub const ALONE: Self = Self { member: 0, members: 1 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum PipelineMode {
    /// A new request as soon as a reply makes room.
    Window,
    /// A new batch of `pipeline` requests once the whole batch before it was answered, as redis-benchmark does.
    Batch,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Load {
    /// As fast as the replies come, until `end`.
    Closed(End),
    /// `rate` arrivals per second until `end`, whatever the server does.
    Open { rate: f64, arrival: Arrival, end: End },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Arrival {
    /// Independent of one another, as those of many users are: exponential gaps.
    Poisson,
    /// Equal gaps on each thread.
    Constant,
}

/// Of the measured part of a run, without ramp and warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Requests(u64),
    Time(Duration),
}

/// A key is `prefix` and the key number in decimal, zero-padded so that the whole has `width` bytes; 0 = no padding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShape {
    pub prefix: String,
    pub width: usize,
}

/// Of all threads together; eight bytes each.
pub const MAX_BACKLOG: u64 = 1_000_000;

/// Arrivals per second of all threads together: one a nanosecond.
pub const MAX_RATE: f64 = 1e9;

/// Largest backlog that may be asked for.
const LARGEST_BACKLOG: u64 = 100_000_000;

/// Of all threads together: more than the ports of a dozen addresses.
const MAX_CLIENTS: usize = 1_000_000;

/// Requests outstanding on all connections together.
const MAX_WINDOW: usize = 10_000_000;

/// How long connecting may take by the plan.
const MAX_CONNECTING: Duration = Duration::from_secs(3600);

/// Bytes of a key, and of its prefix alone.
const MAX_KEY: usize = 64 << 10;

/// Bytes of a request: what servers take of one (client-query-buffer-limit).
const MAX_REQUEST: usize = 1 << 30;

/// Bytes of the largest requests of all threads, each of which keeps its own.
const MAX_REQUESTS: usize = 4 << 30;

/// Of one process.
const MAX_THREADS: usize = 1024;

/// Commands of a mix: each has histograms of its own on every thread.
const MAX_COMMANDS: usize = 256;

impl Plan {
    /// A closed-loop plan of GETs by one thread and one connection with the shapes of redis-benchmark (`key:` and
    /// twelve digits); callers override what they need.
    pub fn closed(target: impl Into<Target>, keys: KeyRange, end: End) -> Self {
        Self {
            target: target.into(),
            team: Team::ALONE,
            clients: 1,
            threads: 1,
            pipeline: 1,
            mode: PipelineMode::Window,
            load: Load::Closed(end),
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            connect_stagger: Duration::ZERO,
            reconnect_interval: None,
            max_backlog: MAX_BACKLOG,
            apart: false,
            busy_poll: false,
            keys,
            key_law: KeyLaw::default(),
            key_shape: KeyShape { prefix: "key:".into(), width: 16 },
            mix: mix::set_get(0, 1),
            data: DataPlan::of(16),
            prefill: false,
            preparation: None,
            min_hit_rate: None,
            seed: 1,
            cpus: Vec::new(),
            grace: Duration::from_secs(10),
            objectives: Vec::new(),
        }
    }

    /// SETs every key of `keys` once.
    pub fn fill(target: impl Into<Target>, keys: KeyRange, data_size: usize) -> Self {
        Self {
            clients: 8,
            pipeline: 64,
            mix: mix::set_get(1, 0),
            data: DataPlan::of(data_size),
            ..Self::closed(target, keys, End::Requests(keys.len()))
        }
    }

    /// GETs every key of `keys` once and checks what comes.
    pub fn verify(target: impl Into<Target>, keys: KeyRange) -> Self {
        let data = DataPlan { verify: true, ..DataPlan::of(crate::traffic::verify::HEADER) };
        Self { mix: mix::set_get(0, 1), data, min_hit_rate: Some(1.0), ..Self::fill(target, keys, 0) }
    }

    /// The runs that go before this plan's: same keys, values, connections and threads.
    pub fn preliminaries(&self) -> Vec<Self> {
        let prepare = |Preparation { command, times }: &Preparation| {
            self.preliminary(self.keys, vec![command.clone()], *times)
        };
        let filling = self.prefill.then(|| self.prefilling());
        filling.into_iter().chain(self.preparation.as_ref().map(prepare)).collect()
    }

    fn prefilling(&self) -> Self {
        let keys = KeyRange { pattern: crate::keys::Pattern::Sequential, ..self.keys };
        let mut sets = mix::set_get(1, 0);
        if self.data.expiry.is_some() {
            mix::expire(&mut sets);
        }
        self.preliminary(keys, sets, keys.len())
    }

    fn preliminary(&self, keys: KeyRange, mix: Vec<CommandPlan>, requests: u64) -> Self {
        Self {
            pipeline: self.pipeline.max((MAX_WINDOW / self.clients).min(64)),
            mode: PipelineMode::Window,
            load: Load::Closed(End::Requests(requests)),
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            reconnect_interval: None,
            apart: false,
            keys,
            mix,
            prefill: false,
            preparation: None,
            min_hit_rate: None,
            objectives: Vec::new(),
            ..self.clone()
        }
    }

    /// Ramp and warm-up together.
    pub fn unmeasured(&self) -> Duration {
        self.ramp.saturating_add(self.warmup)
    }

    /// ns after the start at which measuring begins.
    pub fn unmeasured_ns(&self) -> u64 {
        nanos(self.unmeasured())
    }

    pub fn open(&self) -> bool {
        matches!(self.load, Load::Open { .. })
    }

    /// When the measured part is over.
    pub fn end(&self) -> End {
        match self.load {
            Load::Closed(end) | Load::Open { end, .. } => end,
        }
    }

    /// Threads of all members together.
    pub fn all_threads(&self) -> usize {
        self.threads * self.team.members
    }

    /// The number of this process's first thread among all.
    pub fn first_part(&self) -> u64 {
        (self.threads * self.team.member) as u64
    }

    /// Connections of this process's thread `thread`.
    pub fn clients_of(&self, thread: usize) -> usize {
        let (clients, parts) = (self.clients as u64, self.all_threads() as u64);
        let part = self.first_part() + thread as u64;
        (share(clients, part + 1, parts) - share(clients, part, parts)) as usize
    }

    /// Which of a thread's `connections` each command of the mix has, if commands are kept apart.
    pub fn shares(&self, connections: usize) -> Vec<Range<usize>> {
        let all = self.mix.iter().map(|command| u64::from(command.weight)).sum();
        let mut before = 0;
        let bound = |weights| share(connections as u64, weights, all) as usize;
        let ranges = self.mix.iter().map(|command| {
            let first = bound(before);
            before += u64::from(command.weight);
            first..bound(before)
        });
        ranges.collect()
    }

    /// How long a run may go on without telling of a second.
    pub fn silence(&self) -> Duration {
        self.ramp.saturating_add(self.warmup).saturating_add(self.grace)
    }

    /// What makes the plan impossible, in words for its author.
    pub fn check(&self) -> Result<(), String> {
        let problem = if self.clients == 0 || self.threads == 0 || self.pipeline == 0 {
            "clients, threads and pipeline must be at least 1".into()
        } else if self.threads > MAX_THREADS || self.team.members > MAX_THREADS {
            format!("more than {MAX_THREADS} threads")
        } else if self.clients > MAX_CLIENTS {
            format!("clients {} are more than {MAX_CLIENTS}", self.clients)
        } else if self.clients.saturating_mul(self.pipeline) > MAX_WINDOW {
            let (clients, pipeline) = (self.clients, self.pipeline);
            format!(
                "pipeline {pipeline} on {clients} connections: more than {MAX_WINDOW} requests outstanding"
            )
        } else if self.connect_stagger.saturating_mul(self.clients as u32) > MAX_CONNECTING {
            let (stagger, most) = (self.connect_stagger, MAX_CONNECTING);
            format!("connect-stagger {stagger:?} for {} connections: more than {most:?} in all", self.clients)
        } else if self.team.member >= self.team.members {
            "a member of no team".into()
        } else if self.clients < self.all_threads() {
            format!("{} connections cannot feed {} threads", self.clients, self.all_threads())
        } else if self.target.cluster && self.mode == PipelineMode::Batch {
            "a batch goes to one connection, the keys of a cluster to many: pipeline-mode batch excludes cluster".into()
        } else if self.reconnect_interval == Some(0) {
            "reconnect-interval must be at least 1".into()
        } else {
            self.target.check()?;
            self.check_keys()?;
            self.check_mix()?;
            self.data.check()?;
            self.check_sizes()?;
            return self.check_load();
        };
        Err(problem)
    }

    fn check_keys(&self) -> Result<(), String> {
        if self.keys.first > self.keys.last {
            return Err(format!("key-minimum {} is above key-maximum {}", self.keys.first, self.keys.last));
        }
        if self.keys.last == u64::MAX {
            return Err("key-maximum must be below 2^64 - 1".into());
        }
        let Self { key_shape: KeyShape { prefix, width }, .. } = self;
        for (option, bytes) in [("key-width", *width), ("key-prefix", prefix.len())] {
            if bytes > MAX_KEY {
                return Err(format!("{option}: {bytes} bytes, and a key has at most {MAX_KEY}"));
            }
        }
        let digits = self.keys.last.max(1).ilog10() as usize + 1;
        let (needed, width) = (self.key_shape.prefix.len() + digits, self.key_shape.width);
        if width > 0 && needed > width {
            return Err(format!("key-width {width} is too narrow: the last key needs {needed} bytes"));
        }
        self.key_law.check(&self.keys)
    }

    /// That the largest request of the mix can be sent, and kept by every thread.
    fn check_sizes(&self) -> Result<(), String> {
        let (key, value) = (self.key_shape.width.max(self.key_shape.prefix.len()), self.data.sizes.largest());
        let sizes = self.mix.iter().map(|command| template::largest(&command.words, key, value));
        for (bytes, command) in sizes.zip(&self.mix) {
            let all = bytes.saturating_mul(self.threads);
            if bytes > MAX_REQUEST {
                let problem =
                    format!("requests of up to {bytes} bytes, and servers take at most {MAX_REQUEST}");
                return Err(format!("{}: {problem} (data-size, key-width)", command.name));
            } else if all > MAX_REQUESTS {
                let problem = format!("requests of up to {bytes} bytes on each of {} threads", self.threads);
                return Err(format!(
                    "{}: {problem} are more than {MAX_REQUESTS} (data-size, threads)",
                    command.name
                ));
            }
        }
        Ok(())
    }

    fn check_mix(&self) -> Result<(), String> {
        if self.mix.iter().all(|command| command.weight == 0) {
            return Err("a mix whose weights are all 0 sends nothing".into());
        }
        if self.mix.len() > MAX_COMMANDS {
            return Err(format!("{} commands; at most {MAX_COMMANDS} can be measured apart", self.mix.len()));
        }
        let weights: u64 = self.mix.iter().map(|command| u64::from(command.weight)).sum();
        if weights > mix::MAX_WEIGHTS {
            return Err(format!(
                "ratio, command-ratio: weights add up to {weights}, at most {}",
                mix::MAX_WEIGHTS
            ));
        }
        match self.min_hit_rate {
            Some(rate) if !(0.0..=1.0).contains(&rate) => {
                Err(format!("min-hit-rate {rate} is not between 0 and 1"))
            }
            Some(_) if !self.mix.iter().any(CommandPlan::reads) => {
                Err("min-hit-rate asks for hits, but no command of the mix reads".into())
            }
            _ => Ok(()),
        }
    }

    fn check_load(&self) -> Result<(), String> {
        match self.load {
            Load::Open { rate, .. } if !rate.is_finite() || rate <= 0.0 || rate > MAX_RATE => {
                Err(format!("rate {rate} is not between 0 and {MAX_RATE:e} per second"))
            }
            _ if matches!(self.end(), End::Requests(0) | End::Time(Duration::ZERO)) => {
                Err("a run of no requests, or of no time, measures nothing".into())
            }
            Load::Open { .. } if self.mode == PipelineMode::Batch => {
                Err("batches have no arrival schedule: pipeline-mode batch excludes rate".into())
            }
            Load::Open { .. } if !(1..=LARGEST_BACKLOG).contains(&self.max_backlog) => {
                Err(format!("max-backlog {} is not between 1 and {LARGEST_BACKLOG}", self.max_backlog))
            }
            _ if self.apart => self.check_apart(),
            _ => Ok(()),
        }
    }

    fn check_apart(&self) -> Result<(), String> {
        if !self.open() || self.target.cluster {
            return Err("apart is for an open loop (rate) without cluster".into());
        }
        let least = self.clients / self.all_threads();
        for connections in [least, self.clients.div_ceil(self.all_threads())] {
            let mut shares = self.shares(connections).into_iter().zip(&self.mix);
            if let Some((_, none)) = shares.find(|(share, command)| command.weight > 0 && share.is_empty()) {
                let share = format!("a thread's {connections} connections");
                return Err(format!(
                    "apart leaves {} without any of {share}: more clients are needed",
                    none.name
                ));
            }
        }
        Ok(())
    }
}

/// A duration as the clock counts.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Pattern;

    fn plan() -> Plan {
        let keys = KeyRange { first: 0, last: 999, pattern: Pattern::Random };
        Plan::closed(std::net::SocketAddr::from(([127, 0, 0, 1], 6379)), keys, End::Requests(10))
    }

    #[test]
    fn commands_kept_apart_share_the_connections_by_weight() {
        let apart = |mix, clients| Plan {
            mix,
            clients,
            apart: true,
            load: Load::Open { rate: 1.0, arrival: Arrival::Constant, end: End::Requests(1) },
            ..plan()
        };
        let five = apart(mix::set_get(4, 1), 5);
        assert_eq!((five.check(), five.shares(5)), (Ok(()), vec![0..4, 4..5]));
        assert_eq!(apart(mix::set_get(1, 2), 7).shares(7), [0..2, 2..7]);
        let problem = apart(mix::set_get(4, 1), 1).check().expect_err("two of one");
        assert!(problem.contains("leaves SET without any of a thread's 1 connections"), "{problem}");
        let filled = Plan { prefill: true, ..five.clone() };
        assert_eq!(filled.preliminaries()[0].check(), Ok(()), "a filling keeps nothing apart");
        let closed = Plan { load: Load::Closed(End::Requests(1)), ..five };
        assert!(closed.check().expect_err("no rate").contains("open loop"));
    }

    #[test]
    fn impossible_plans_say_why() {
        type Spoil = fn(&mut Plan);
        // Ten values a request.
        fn tens() -> Vec<CommandPlan> {
            vec![crate::traffic::named::command("mset").expect("it exists")]
        }
        let open = |rate| Load::Open { rate, arrival: Arrival::Poisson, end: End::Requests(1) };
        assert!(Plan { load: open(0.0), ..plan() }.check().expect_err("rate").contains("not between"));
        let cases: [(Spoil, &str); 17] = [
            (|p| p.clients = 0, "at least 1"),
            (|p| p.threads = 2, "cannot feed"),
            (|p| p.clients = usize::MAX, "clients 18446744073709551615 are more than"),
            (|p| (p.clients, p.pipeline) = (30, 1_000_000), "pipeline 1000000 on 30 connections"),
            (
                |p| (p.clients, p.connect_stagger) = (50, Duration::from_secs(999)),
                "connect-stagger 999s for 50",
            ),
            (|p| p.key_shape.width = usize::MAX, "key-width: 18446744073709551615 bytes"),
            (|p| p.key_shape = KeyShape { prefix: "k".repeat(70_000), width: 0 }, "key-prefix: 70000 bytes"),
            (|p| (p.mix, p.data) = (tens(), DataPlan::of(200 << 20)), "MSET: requests of up to 2097152"),
            (
                |p| (p.mix, p.data, p.threads, p.clients) = (tens(), DataPlan::of(5 << 20), 100, 100),
                "100 threads",
            ),
            (|p| p.keys.first = 1000, "above key-maximum"),
            (|p| p.key_shape.width = 6, "needs 7 bytes"),
            (|p| p.mix.clear(), "sends nothing"),
            (|p| p.mix = mix::set_get(u32::MAX, 1), "add up to 4294967296"),
            (|p| p.key_law.zipf_exponent = 0.0, "key-zipf-exp"),
            (|p| p.key_law.median = Some(5000.0), "outside the keys"),
            (|p| p.data.verify = true, "at least 24 bytes"),
            (|p| (p.mix, p.min_hit_rate) = (mix::set_get(1, 0), Some(0.5)), "no command of the mix reads"),
        ];
        assert_eq!(plan().check(), Ok(()));
        for (spoil, words) in cases {
            let mut spoilt = plan();
            spoil(&mut spoilt);
            let problem = spoilt.check().expect_err(words);
            assert!(problem.contains(words), "{problem}");
        }
    }
}
