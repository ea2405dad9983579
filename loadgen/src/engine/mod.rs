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
        Barrier, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use crate::{
    clock::Clock,
    plan::{Plan, nanos},
    stats::{Connects, Outcome, Second, latencies, record},
    traffic::{Traffic, keys::share},
};
use collector::Collector;
use open::{Stream, open};
use recorder::{Exchange, Recorder};
use work::Work;
use worker::{Ended, Kit, Worker};

/// Why a run could not be made at all.
#[derive(Debug)]
pub enum Fault {
    Plan(String),
    Connect { target: String, problem: String },
    Machine { what: &'static str, error: io::Error },
    Prefill(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(problem) => out.write_str(problem),
            Self::Connect { target, problem } => write!(out, "cannot connect to {target}: {problem}"),
            Self::Machine { what, error } => write!(out, "{what}: {error}"),
            Self::Prefill(problem) => write!(out, "prefill: {problem}"),
        }
    }
}

impl std::error::Error for Fault {}

/// Runs `plan` to its end, or until `stop` turns true.
pub fn run(plan: &Plan, stop: &AtomicBool) -> Result<Outcome, Fault> {
    run_watched(plan, stop, &mut |_| ())
}

/// The same; `watch` is shown each second of the measured part once it has passed.
pub fn run_watched(plan: &Plan, stop: &AtomicBool, watch: &mut dyn FnMut(&Second)) -> Result<Outcome, Fault> {
    plan.check().map_err(Fault::Plan)?;
    if plan.prefill {
        let filling = plan.prefilling();
        let filled = run(&filling, stop)?;
        let counts = filled.counts();
        if counts.failed() + filled.lost > 0 || filled.interrupted {
            let reasons = crate::verdict::judge(&filling, &filled).reasons;
            return Err(Fault::Prefill(reasons.join("; ")));
        }
    }
    let clock = Clock::start();
    let (streams, connects) = connect(plan, clock, stop)?;
    let mut collector = Collector::new(plan, watch);
    let ended = thread::scope(|scope| drive(scope, plan, clock, stop, streams, &mut collector))?;
    let mut outcome = collector.finish();
    outcome.connects = connects;
    let measured = ended.first().map_or(0, |part| part.start).saturating_add(plan.unmeasured_ns());
    outcome.started_unix_ms = clock.unix_ms(measured);
    conclude(plan, &mut outcome, ended);
    Ok(outcome)
}

/// Opens every connection, one after the other with the plan's stagger between.
fn connect(plan: &Plan, clock: Clock, stop: &AtomicBool) -> Result<(Vec<Stream>, Connects), Fault> {
    let mut streams = Vec::with_capacity(plan.clients);
    let mut time = latencies();
    for index in 0..plan.clients {
        if stop.load(Ordering::Relaxed) {
            return Err(Fault::Plan("stopped before all connections were open".into()));
        }
        if index > 0 && !plan.connect_stagger.is_zero() {
            thread::sleep(plan.connect_stagger);
        }
        let before = clock.ns();
        let stream = open(plan).map_err(|fault| match fault {
            Fault::Connect { target, problem } if index > 0 => {
                let problem = format!("{problem} (connection {} of {})", index + 1, plan.clients);
                Fault::Connect { target, problem }
            }
            fault => fault,
        })?;
        record(&mut time, clock.ns() - before, 1);
        streams.push(stream);
    }
    Ok((streams, Connects { opened: plan.clients as u64, time }))
}

/// What the threads agree on: that all of them are ready, and when they start.
struct Start {
    ready: Barrier,
    broken: AtomicBool,
    at: OnceLock<u64>,
}

/// What a thread ended with, and the stamp it started at.
struct Part {
    start: u64,
    ended: Ended,
}

/// Starts a thread for each share of the connections and collects what they record.
fn drive<'scope, 'env: 'scope>(
    scope: &'scope thread::Scope<'scope, 'env>,
    plan: &'env Plan,
    clock: Clock,
    stop: &'env AtomicBool,
    mut streams: Vec<Stream>,
    collector: &mut Collector<'_>,
) -> Result<Vec<Part>, Fault> {
    let start = std::sync::Arc::new(Start {
        ready: Barrier::new(plan.threads),
        broken: AtomicBool::new(false),
        at: OnceLock::new(),
    });
    let (finished, slices) = mpsc::channel();
    let mut threads = Vec::new();
    let mut spares = vec![None; plan.threads];
    for part in (0..plan.threads).rev() {
        let first = share(plan.clients as u64, part as u64, plan.threads as u64) as usize;
        let own = streams.split_off(first);
        let (spare, cleared) = mpsc::channel();
        spares[part] = Some(spare);
        let exchange = Exchange { part, finished: finished.clone(), cleared };
        let start = std::sync::Arc::clone(&start);
        threads.push(scope.spawn(move || live(plan, clock, stop, own, exchange, &start)));
    }
    drop(finished);
    for mut delivery in slices {
        collector.take(&mut delivery);
        if let Some(spare) = &spares[delivery.part] {
            // A thread that has ended needs no slice.
            let _ = spare.send(delivery.slice);
        }
    }
    threads.into_iter().map(|thread| thread.join().expect("a worker does not panic")).collect()
}

/// The life of one thread.
fn live(
    plan: &Plan,
    clock: Clock,
    stop: &AtomicBool,
    streams: Vec<Stream>,
    exchange: Exchange,
    start: &Start,
) -> Result<Part, Fault> {
    let (part, parts, lanes) = (exchange.part as u64, plan.threads as u64, streams.len() as u64);
    let prepare = || {
        if !plan.cpus.is_empty() {
            pin(&[plan.cpus[exchange.part % plan.cpus.len()]])
                .map_err(|error| Fault::Machine { what: "pinning a thread", error })?;
        }
        let traffic = Traffic::new(plan, part, parts, lanes);
        Worker::new(Kit { plan, clock, stop, traffic, streams })
            .map_err(|error| Fault::Machine { what: "epoll", error })
    };
    let prepared = prepare();
    if prepared.is_err() {
        start.broken.store(true, Ordering::SeqCst);
    }
    start.ready.wait();
    let worker = prepared?;
    if start.broken.load(Ordering::SeqCst) {
        return Ok(Part { start: 0, ended: Ended::default() });
    }
    let at = *start.at.get_or_init(|| clock.ns());
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
        outcome.error_text = outcome.error_text.take().or(ended.error_text);
        outcome.corrupt_text = outcome.corrupt_text.take().or(ended.corrupt_text);
        outcome.lost += ended.lost;
        outcome.lost_text = outcome.lost_text.take().or(ended.lost_text);
        outcome.interrupted |= ended.interrupted;
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
