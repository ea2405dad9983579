//! Runs a plan: connects, shares the work out to the threads, merges what they counted.

use std::{
    fmt,
    net::{SocketAddr, TcpStream},
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use crate::{
    clock::Clock,
    keys::{Keys, share},
    plan::{End, Load, Plan},
    schedule::Schedule,
    stats::Outcome,
    worker::{Work, Worker},
};

/// Why a run could not be made at all.
#[derive(Debug)]
pub enum Fault {
    Plan(String),
    Connect { target: SocketAddr, error: std::io::Error },
    Machine { what: &'static str, error: std::io::Error },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(problem) => out.write_str(problem),
            Self::Connect { target, error } => write!(out, "cannot connect to {target}: {error}"),
            Self::Machine { what, error } => write!(out, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Fault {}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs `plan` to its end, or until `stop` turns true.
pub fn run(plan: &Plan, stop: &AtomicBool) -> Result<Outcome, Fault> {
    plan.check().map_err(Fault::Plan)?;
    let mut streams = Vec::with_capacity(plan.clients);
    for _ in 0..plan.clients {
        let stream = TcpStream::connect_timeout(&plan.target, CONNECT_TIMEOUT)
            .map_err(|error| Fault::Connect { target: plan.target, error })?;
        stream.set_nodelay(true).map_err(|error| Fault::Machine { what: "TCP_NODELAY", error })?;
        streams.push(stream);
    }
    let clock = Clock::start();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for index in (0..plan.threads).rev() {
            let first = share(plan.clients as u64, index as u64, plan.threads as u64) as usize;
            let own = streams.split_off(first);
            threads.push(scope.spawn(move || run_part(plan, clock, stop, index, own)));
        }
        let mut outcome = Outcome::default();
        for thread in threads {
            outcome.merge(thread.join().expect("a worker does not panic")?);
        }
        Ok(outcome)
    })
}

/// The life of thread `index`.
fn run_part(
    plan: &Plan,
    clock: Clock,
    stop: &AtomicBool,
    index: usize,
    streams: Vec<TcpStream>,
) -> Result<Outcome, Fault> {
    if !plan.cpus.is_empty() {
        pin(&[plan.cpus[index % plan.cpus.len()]])
            .map_err(|error| Fault::Machine { what: "pinning a thread", error })?;
    }
    let (part, parts) = (index as u64, plan.threads as u64);
    let quota = |total: u64| share(total, part + 1, parts) - share(total, part, parts);
    let now = clock.ns();
    let work = match plan.load {
        Load::Closed(End::Requests(total)) => Work::Closed { requests: quota(total), deadline: u64::MAX },
        Load::Closed(End::Time(time)) => {
            let length = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            Work::Closed { requests: u64::MAX, deadline: now.saturating_add(length) }
        }
        Load::Open { rate, requests } => {
            // The threads' schedules interleave: thread i starts i arrivals of the whole later.
            let offset = (part as f64 * 1e9 / rate) as u64;
            Work::Open(Schedule::new(now + offset, rate / parts as f64, quota(requests)))
        }
    };
    let keys = Keys::new(plan.keys.part(part, parts), plan.seed.wrapping_add(part));
    let machine = |error| Fault::Machine { what: "epoll", error };
    let busy_before = cpu_ns();
    let worker = Worker::new(plan, clock, stop, work, keys, streams).map_err(machine)?;
    let mut outcome = worker.run().map_err(machine)?;
    outcome.busiest_thread = (cpu_ns() - busy_before) as f64 / (clock.ns() - now).max(1) as f64;
    Ok(outcome)
}

/// Confines the calling thread, and threads and processes it starts later, to `cpus`.
pub fn pin(cpus: &[usize]) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for &cpu in cpus {
        if cpu >= rustix::thread::CpuSet::MAX_CPU {
            return Err(std::io::Error::other(format!("no CPU {cpu}")));
        }
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// CPU time of the calling thread so far, ns; 0 where the kernel keeps no schedstat.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}
