//! Runs a plan: connects, lets all threads start at one instant, collects what they record. `open` knows how a
//! connection comes about, `route` which one takes a request, `work` what is to be sent when, `worker` sends it,
//! `recorder` and `collector` count. Nothing here knows what a report looks like.

mod collector;
mod connection;
pub mod open;
pub(crate) mod recorder;
mod route;
mod work;
mod worker;

use std::{
    fmt, io,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::{
    clock::Clock,
    link,
    plan::{Plan, nanos},
    stats::{Connects, Outcome, Second, absorb, latencies, record},
    traffic::Traffic,
};
use collector::Collector;
use open::{Opened, Site};
use recorder::{Exchange, Recorder};
use work::Work;
use worker::{Ended, Kit, Worker};

/// How long a pause goes on before it looks at the stop flag.
const GLANCE: Duration = Duration::from_millis(20);

/// Why a run could not be made at all.
#[derive(Debug)]
pub enum Fault {
    Plan(String),
    /// `connection` is its number and how many there were to be, unless it was the first.
    Connect {
        fault: link::Fault,
        connection: Option<(usize, usize)>,
    },
    Machine {
        what: &'static str,
        error: io::Error,
    },
    /// What goes before the run failed.
    Before {
        what: String,
        problem: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(problem) => out.write_str(problem),
            Self::Connect { fault, connection: None } => write!(out, "{fault}"),
            Self::Connect { fault, connection: Some((number, all)) } => {
                write!(out, "{fault} (connection {number} of {all})")
            }
            Self::Machine { what, error } => write!(out, "{what}: {error}"),
            Self::Before { what, problem } => write!(out, "filling by {what} before the run: {problem}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<link::Fault> for Fault {
    fn from(fault: link::Fault) -> Self {
        Self::Connect { fault, connection: None }
    }
}

/// What a run asks and tells whoever wants it made.
pub struct Hooks<'a> {
    /// Ends the run early when it turns true.
    pub stop: &'a AtomicBool,
    /// Called once every connection is open and every thread ready; the load begins when it returns.
    pub gate: &'a mut dyn FnMut() -> Result<(), String>,
    /// Shown each second of the measured part once it has passed, and what was counted until then.
    pub watch: &'a mut dyn FnMut(&Second, &Outcome),
}

/// Runs `plan` to its end, or until `stop` turns true.
pub fn run(plan: &Plan, stop: &AtomicBool) -> Result<Outcome, Fault> {
    run_watched(plan, stop, &mut |_| ())
}

/// The same; `watch` is shown each second of the measured part once it has passed.
pub fn run_watched(plan: &Plan, stop: &AtomicBool, watch: &mut dyn FnMut(&Second)) -> Result<Outcome, Fault> {
    run_hooked(plan, Hooks { stop, gate: &mut || Ok(()), watch: &mut |second, _| watch(second) })
}

/// The same, started by a gate.
pub fn run_hooked(plan: &Plan, hooks: Hooks<'_>) -> Result<Outcome, Fault> {
    let Hooks { stop, gate, watch } = hooks;
    plan.check().map_err(Fault::Plan)?;
    for before in plan.preliminaries() {
        let filled = run(&before, stop)?;
        let counts = filled.counts();
        if counts.failed() + filled.incidents.lost > 0 || filled.incidents.interrupted {
            let reasons = crate::verdict::judge(&before, &filled).reasons;
            return Err(Fault::Before { what: before.mix[0].name.clone(), problem: reasons.join("; ") });
        }
    }
    let clock = Clock::start();
    let site = Site::explore(plan)?;
    let (opened, connects) = connect(plan, &site, clock, stop)?;
    let mut collector = Collector::new(plan, connects, watch);
    let stage = Stage { plan, site: &site, clock, stop };
    let ended = thread::scope(|scope| drive(scope, &stage, opened, gate, &mut collector))?;
    let mut outcome = collector.finish();
    let measured = ended.first().map_or(0, |part| part.start).saturating_add(plan.unmeasured_ns());
    outcome.started_unix_ms = clock.unix_ms(measured);
    conclude(plan, &mut outcome, ended);
    Ok(outcome)
}

/// The connections of each thread.
type Shares = Vec<Vec<Opened>>;

/// Opens every connection, one after the other with the plan's stagger between.
fn connect(plan: &Plan, site: &Site, clock: Clock, stop: &AtomicBool) -> Result<(Shares, Connects), Fault> {
    let shares: Vec<usize> = (0..plan.threads).map(|thread| plan.clients_of(thread)).collect();
    let all: usize = shares.iter().sum();
    let (mut opened, mut time) = (0, latencies());
    let mut streams = Vec::new();
    for share in shares {
        let mut own = Vec::with_capacity(share);
        for lane in 0..share {
            if opened > 0 && !plan.connect_stagger.is_zero() {
                pause(plan.connect_stagger, stop);
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Fault::Plan("stopped before all connections were open".into()));
            }
            let before = clock.ns();
            let connection = (opened > 0).then_some((opened + 1, all));
            own.push(site.open(lane).map_err(|fault| Fault::Connect { fault, connection })?);
            record(&mut time, clock.ns() - before, 1);
            opened += 1;
        }
        streams.push(own);
    }
    Ok((streams, Connects { opened: opened as u64, time }))
}

/// Sleeps for `time`, or until `stop` turns true.
fn pause(time: Duration, stop: &AtomicBool) {
    let mut left = time;
    while !left.is_zero() && !stop.load(Ordering::Relaxed) {
        let nap = left.min(GLANCE);
        thread::sleep(nap);
        left -= nap;
    }
}

/// What all threads of a run share.
#[derive(Clone, Copy)]
struct Stage<'a> {
    plan: &'a Plan,
    site: &'a Site,
    clock: Clock,
    stop: &'a AtomicBool,
}

/// What the threads agree on: that all of them are ready, and when they start.
struct Start {
    ready: Barrier,
    broken: AtomicBool,
    /// Set by whoever opens the gate, before `begun` lets the threads go on.
    at: AtomicU64,
    begun: Barrier,
}

/// What a thread ended with, and the stamp it started at.
struct Part {
    start: u64,
    ended: Ended,
}

/// Starts a thread for each share of the connections and collects what they record.
fn drive<'scope, 'env: 'scope>(
    scope: &'scope thread::Scope<'scope, 'env>,
    stage: &Stage<'env>,
    shares: Shares,
    gate: &mut dyn FnMut() -> Result<(), String>,
    collector: &mut Collector<'_>,
) -> Result<Vec<Part>, Fault> {
    let start = std::sync::Arc::new(Start {
        ready: Barrier::new(shares.len() + 1),
        broken: AtomicBool::new(false),
        at: AtomicU64::new(0),
        begun: Barrier::new(shares.len() + 1),
    });
    let (finished, slices) = mpsc::channel();
    let (mut threads, mut spares) = (Vec::new(), Vec::new());
    for (part, own) in shares.into_iter().enumerate() {
        let (spare, cleared) = mpsc::channel();
        spares.push(spare);
        let exchange = Exchange { part, finished: finished.clone(), cleared };
        let (start, stage) = (std::sync::Arc::clone(&start), *stage);
        threads.push(scope.spawn(move || live(stage, own, exchange, &start)));
    }
    drop(finished);
    start.ready.wait();
    let opened = if start.broken.load(Ordering::SeqCst) { Ok(()) } else { gate() };
    if opened.is_err() {
        start.broken.store(true, Ordering::SeqCst);
    }
    start.at.store(stage.clock.ns(), Ordering::SeqCst);
    start.begun.wait();
    for mut delivery in slices {
        collector.take(&mut delivery);
        // A thread that has ended needs no slice.
        let _ = spares[delivery.part].send(delivery.slice);
    }
    let parts = threads.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect();
    opened.map_err(Fault::Plan)?;
    parts
}

/// The life of one thread.
fn live(stage: Stage<'_>, own: Vec<Opened>, exchange: Exchange, start: &Start) -> Result<Part, Fault> {
    let Stage { plan, site, clock, stop } = stage;
    let (part, lanes) = (plan.first_part() + exchange.part as u64, own.len() as u64);
    let prepare = || {
        if !plan.cpus.is_empty() {
            let cpu = plan.cpus[exchange.part % plan.cpus.len()];
            pin(&[cpu])
                .map_err(|error| Fault::Plan(format!("cpus: no thread can run on CPU {cpu}: {error}")))?;
        }
        let traffic = Traffic::new(plan, part, plan.all_threads() as u64, lanes);
        Worker::new(Kit { plan, site, clock, stop, traffic, opened: own })
            .map_err(|error| Fault::Machine { what: "epoll", error })
    };
    let prepared = prepare();
    if prepared.is_err() {
        start.broken.store(true, Ordering::SeqCst);
    }
    start.ready.wait();
    start.begun.wait();
    let worker = prepared?;
    if start.broken.load(Ordering::SeqCst) {
        return Ok(Part { start: 0, ended: Ended::default() });
    }
    let at = start.at.load(Ordering::SeqCst);
    let recorder = Recorder::new(plan, at, exchange);
    let ended = worker
        .run(at, Work::new(plan, part, at), recorder)
        .map_err(|error| Fault::Machine { what: "epoll", error })?;
    Ok(Part { start: at, ended })
}

/// Adds what the threads told at their end.
fn conclude(plan: &Plan, outcome: &mut Outcome, parts: Vec<Part>) {
    for Part { start, ended } in parts {
        let measured = start.saturating_add(plan.unmeasured_ns());
        outcome.elapsed_ns = outcome.elapsed_ns.max(ended.last_reply.saturating_sub(measured));
        outcome.scheduled_ns = outcome.scheduled_ns.max(ended.schedule_end.saturating_sub(measured));
        outcome.incidents.merge(ended.incidents);
        outcome.connects.opened += ended.reopened.len();
        absorb(&mut outcome.connects.time, &ended.reopened);
    }
    outcome.elapsed_ns = outcome.elapsed_ns.max(outcome.scheduled_ns);
}

/// Confines the calling thread, and threads and processes it starts later, to `cpus`.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for &cpu in cpus {
        if cpu >= rustix::thread::CpuSet::MAX_CPU {
            return Err(io::Error::other(format!("no CPU {cpu}")));
        }
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Most a run of `plan` takes until its schedule is over, where that is known: for the time left.
pub fn planned_ns(plan: &Plan) -> Option<u64> {
    use crate::plan::{End, Load};
    let measured = match plan.load {
        Load::Closed(End::Time(time)) | Load::Open { end: End::Time(time), .. } => nanos(time),
        Load::Open { rate, end: End::Requests(count), .. } => (count as f64 / rate * 1e9) as u64,
        Load::Closed(End::Requests(_)) => return None,
    };
    Some(measured)
}
