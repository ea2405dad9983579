//! What one run does: the resolved answer to every option. A plan is checked once (`check`); the rest of the program
//! relies on it.

use std::{net::SocketAddr, time::Duration};

use crate::keys::KeyRange;

#[derive(Clone, Debug)]
pub struct Plan {
    pub target: SocketAddr,
    /// Connections of all threads together.
    pub clients: usize,
    pub threads: usize,
    /// Most requests outstanding on one connection.
    pub pipeline: usize,
    pub mode: PipelineMode,
    pub load: Load,
    pub keys: KeyRange,
    pub key_shape: KeyShape,
    pub ratio: Ratio,
    /// Bytes of a SET's value.
    pub data_size: usize,
    pub seed: u64,
    /// CPUs for the threads, thread i on entry i modulo their number; empty = wherever the process may run.
    pub cpus: Vec<usize>,
    /// How long a run waits, without any reply (closed loop) or past the end of its schedule (open loop), before it
    /// counts what is outstanding as unanswered.
    pub grace: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PipelineMode {
    /// A new request as soon as a reply makes room.
    Window,
    /// A new batch of `pipeline` requests once the whole batch before it was answered, as redis-benchmark does.
    Batch,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// As fast as the replies come, until `end`.
    Closed(End),
    /// `requests` arrivals at a constant `rate` per second, whatever the server does.
    Open { rate: f64, requests: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Requests(u64),
    Time(Duration),
}

/// A key is `prefix` and the key number in decimal, zero-padded so that the whole has `width` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyShape {
    pub prefix: String,
    pub width: usize,
}

/// Of `set + get` requests in a row, the first `set` are SETs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    pub set: u32,
    pub get: u32,
}

impl Plan {
    /// A closed-loop plan of one thread and one connection with the shapes of redis-benchmark (`key:` and twelve
    /// digits); callers override what they need.
    pub fn closed(target: SocketAddr, keys: KeyRange, end: End) -> Self {
        Self {
            target,
            clients: 1,
            threads: 1,
            pipeline: 1,
            mode: PipelineMode::Window,
            load: Load::Closed(end),
            keys,
            key_shape: KeyShape { prefix: "key:".into(), width: 16 },
            ratio: Ratio { set: 0, get: 1 },
            data_size: 16,
            seed: 1,
            cpus: Vec::new(),
            grace: Duration::from_secs(10),
        }
    }

    /// SETs every key of `keys` once.
    pub fn fill(target: SocketAddr, keys: KeyRange, data_size: usize) -> Self {
        Self {
            clients: 8,
            pipeline: 64,
            ratio: Ratio { set: 1, get: 0 },
            data_size,
            ..Self::closed(target, keys, End::Requests(keys.len()))
        }
    }

    /// What makes the plan impossible, in words for its author.
    pub fn check(&self) -> Result<(), String> {
        let digits = self.keys.last.max(1).ilog10() as usize + 1;
        let needed = self.key_shape.prefix.len() + digits;
        let problem = if self.clients == 0 || self.threads == 0 || self.pipeline == 0 {
            "clients, threads and pipeline must be at least 1".into()
        } else if self.clients < self.threads {
            format!("{} connections cannot feed {} threads", self.clients, self.threads)
        } else if self.keys.first > self.keys.last {
            format!("key-minimum {} is above key-maximum {}", self.keys.first, self.keys.last)
        } else if self.keys.last == u64::MAX {
            "key-maximum must be below 2^64 - 1".into()
        } else if needed > self.key_shape.width {
            format!("key-width {} is too narrow: the last key needs {needed} bytes", self.key_shape.width)
        } else if u64::from(self.ratio.set) + u64::from(self.ratio.get) == 0 {
            "ratio 0:0 sends nothing".into()
        } else {
            return self.check_load();
        };
        Err(problem)
    }

    fn check_load(&self) -> Result<(), String> {
        match self.load {
            Load::Open { rate, .. } if !rate.is_finite() || rate <= 0.0 || rate > 1e9 => {
                Err(format!("rate {rate} is not between 0 and 1e9 per second"))
            }
            Load::Open { .. } if self.mode == PipelineMode::Batch => {
                Err("batches have no arrival schedule: pipeline-mode batch excludes rate".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Pattern;

    fn plan() -> Plan {
        let keys = KeyRange { first: 0, last: 999, pattern: Pattern::Random };
        Plan::closed(([127, 0, 0, 1], 6379).into(), keys, End::Requests(10))
    }

    #[test]
    fn impossible_plans_say_why() {
        type Spoil = fn(&mut Plan);
        let cases: [(Spoil, &str); 6] = [
            (|p| p.clients = 0, "at least 1"),
            (|p| p.threads = 2, "cannot feed"),
            (|p| p.keys.first = 1000, "above key-maximum"),
            (|p| p.key_shape.width = 6, "needs 7 bytes"),
            (|p| p.ratio = Ratio { set: 0, get: 0 }, "sends nothing"),
            (|p| p.load = Load::Open { rate: 0.0, requests: 1 }, "not between"),
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
