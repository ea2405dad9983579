//! Start-up and shutdown, in order.

use std::sync::Arc;

use super::core_loop::{self, Parts};
use super::log_core::{self, LogParts};
use super::logging::Log;
use super::mail::Mail;
use super::pager::Pager;
use super::shared::{Drawn, Shared};
use crate::commands::{Core, Data, NodeFacts, ReplicationFacts};
use crate::config::{Loaded, Settings, Supervised};
use crate::keyspace::{KeyHasher, Keyspace, Ring};
use crate::runtime::placement::{self, Plan};
use crate::runtime::signals::{Signals, Wake, Waker};
use crate::runtime::{Fault, Listener, Mesh, Port, clock, listen, preflight, process};
use crate::session::Machine;
use crate::shard::Shard;

/// Why the server ended; both are a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Signal,
    Command,
}

/// Tells the service manager that all cores are alive.
pub struct Watchdog {
    every_ms: i64,
    last: i64,
    turns: Vec<u64>,
}

impl Watchdog {
    /// `None` if the service manager does not ask for it.
    fn new() -> Option<Self> {
        let interval = sd_notify::watchdog_enabled()?;
        // Twice per interval, as systemd recommends.
        let every_ms = (interval.as_millis() / 2).clamp(1, 60_000) as i64;
        Some(Watchdog { every_ms, last: 0, turns: Vec::new() })
    }

    /// Says so if it is time and every core has turned since the last time.
    pub fn feed(&mut self, now: i64, shared: &Shared) {
        let turns = shared.turns();
        let all_moved = turns.iter().zip(&self.turns).all(|(now, before)| now > before);
        if now - self.last >= self.every_ms && all_moved {
            (self.last, self.turns) = (now, turns);
            notify(sd_notify::NotifyState::Watchdog);
        }
    }
}

/// Tells the service manager; without one (no NOTIFY_SOCKET) nothing happens.
fn notify(state: sd_notify::NotifyState) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

/// Serves until a signal or SHUTDOWN.
pub fn serve(loaded: Loaded) -> Result<Stop, Fault> {
    let mut settings = loaded.settings;
    let log = Log::start(&settings)?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    check_dir(&settings)?;
    let mut signals = Signals::install()?;
    let plan = Plan::new(settings.shards, settings.server_cpulist.cpus(), settings.log_cpulist.cpus())?;
    let granted = preflight::check(plan.shards.len(), u64::from(settings.maxclients))?;
    if let Some(warning) = granted.warning {
        tracing::warn!("{warning}");
        settings.maxclients = granted.clients as u32;
    }
    let listeners = open_listeners(&settings)?;
    write_pidfile(&settings)?;
    let facts = facts(&settings, &listeners, plan.shards.len(), loaded.file.as_deref());
    let shared = Shared::new(plan.shards.len());
    let spin_us = if plan.exclusive { settings.spin_us } else { 0 };
    announce(&settings, &listeners, &plan, spin_us);

    // The last port is the log core's.
    let mut ports = Mesh::<Mail>::new(plan.shards.len() + 1)?;
    let bells: Vec<_> = ports.iter().map(|port| port.bell()).collect();
    let seeds = Seeds { hash: clock::seed(), random: clock::seed() };
    let pager = Pager::start()?;
    let supervised = settings.supervised != Supervised::No;
    let log_core = {
        let port = ports.pop().ok_or_else(|| Fault::new("a mesh has a port for the log core"))?;
        let (shared, settings, waker) = (Arc::clone(&shared), settings.clone(), signals.waker());
        let ready = Box::new(move || {
            tracing::info!("ready to serve");
            if supervised {
                notify(sd_notify::NotifyState::Ready);
            }
        });
        let parts = LogParts { port, shared, settings, waker, ready, cpus: plan.cpus() };
        placement::spawn("torc-log", plan.log, move || log_core::run(parts))?
    };
    let mut listeners = Some(listeners);
    let mut cores = Vec::new();
    for (port, &cpu) in ports.into_iter().zip(&plan.shards) {
        let spawned = Spawned {
            settings: settings.clone(),
            facts: facts.clone(),
            shared: Arc::clone(&shared),
            listeners: listeners.take().unwrap_or_default(),
            spin_us,
            log: log.clone(),
            waker: signals.waker(),
            pager: pager.clone(),
            seeds,
        };
        let name = format!("torc-{}", port.core());
        cores.push(placement::spawn(&name, Some(cpu), move || core_loop::run(spawned.parts(port)))?);
    }

    let ring = || bells.iter().for_each(|bell| bell.ring());
    let stop = wait_for_stop(&mut signals, &log, &settings, || {
        shared.signal();
        ring();
    });
    shared.ask_stop();
    ring();
    for core in cores {
        core.join()??;
    }
    log_core.join()??;
    remove_pidfile(&settings);
    tracing::info!("bye");
    Ok(stop)
}

/// Until the log core has seen to the end, or a core has failed. What a signal asks for may be called off.
fn wait_for_stop(signals: &mut Signals, log: &Log, settings: &Settings, on_signal: impl Fn()) -> Stop {
    let mut stop = Stop::Command;
    loop {
        match signals.wait() {
            Wake::Terminate => {
                stop = Stop::Signal;
                if settings.supervised != Supervised::No {
                    notify(sd_notify::NotifyState::Stopping);
                }
                on_signal();
            }
            Wake::Closed => return stop,
            Wake::Reopen => log.reopen(settings),
        }
    }
}

/// Numbers that make this process unlike others: all shards hash keys alike.
#[derive(Clone, Copy)]
struct Seeds {
    hash: u64,
    random: u64,
}

/// What moves to a core's thread, where its machine is then built.
struct Spawned {
    settings: Settings,
    facts: NodeFacts,
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    spin_us: u64,
    log: Log,
    waker: Waker,
    pager: Pager,
    seeds: Seeds,
}

impl Spawned {
    fn parts(self, port: Port<Mail>) -> Parts {
        let (index, cores) = (port.core(), port.cores() - 1);
        let watched = index == 0 && self.settings.supervised != Supervised::No;
        let watchdog = if watched { Watchdog::new() } else { None };
        let ring = Ring::new(cores);
        let hasher = KeyHasher::new(self.seeds.hash);
        let keyspace = Keyspace::new(self.settings.databases, ring.slots(index), hasher);
        let shard = Shard::new(Data::new(keyspace, self.seeds.random ^ (index as u64 + 1)));
        let mut core = Core::new(index, self.settings, self.facts, clock::monotonic_ns);
        core.loading = true;
        core.replica = core.settings.replicaof.is_some();
        let counters = Box::new(Drawn(Arc::clone(&self.shared)));
        let mut machine = Machine::new(core, shard, ring, counters);
        if index == 0 {
            machine.open_applier();
        }
        Parts {
            machine,
            port,
            shared: self.shared,
            listeners: self.listeners,
            spin_us: self.spin_us,
            log: self.log,
            waker: self.waker,
            pager: self.pager,
            watchdog,
        }
    }
}

/// A directory that is not there is not made: behind a typing error there would be a server without its data.
fn check_dir(settings: &Settings) -> Result<(), Fault> {
    let dir = &settings.dir;
    let fault = |error| Fault::new(format!("cannot use 'dir {dir}': {error}: create it, or correct 'dir'"));
    std::fs::read_dir(dir).map(drop).map_err(fault)
}

fn open_listeners(settings: &Settings) -> Result<Vec<Listener>, Fault> {
    let backlog = settings.tcp_backlog as i32;
    let mut listeners = Vec::new();
    if settings.port != 0 {
        listeners.extend(listen::tcp(&settings.bind, settings.port, backlog, settings.tcp_keepalive)?);
    }
    if let Some(path) = &settings.unixsocket {
        let mode = (settings.unixsocketperm != 0).then_some(settings.unixsocketperm);
        listeners.push(listen::unix(path, mode, backlog)?);
    }
    if listeners.is_empty() {
        return Err(Fault::new("nothing to listen on: set 'port' or 'unixsocket'"));
    }
    Ok(listeners)
}

fn facts(
    settings: &Settings,
    listeners: &[Listener],
    shards: usize,
    file: Option<&std::path::Path>,
) -> NodeFacts {
    let executable = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    NodeFacts {
        run_id: clock::random_id(),
        replication: ReplicationFacts::alone(&clock::random_id()),
        process_id: process::pid(),
        tcp_port: listeners.iter().find_map(Listener::port).unwrap_or(settings.port),
        config_file: file.map(|file| file.display().to_string()).unwrap_or_default(),
        executable,
        os: process::operating_system(),
        shards,
        started: clock::unix_us(),
        total_system_memory: process::machine_memory(),
        ..NodeFacts::default()
    }
}

fn announce(settings: &Settings, listeners: &[Listener], plan: &Plan, spin_us: u64) {
    let names: Vec<&str> = listeners.iter().map(Listener::name).collect();
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(
        "torc {version}: {} shards on CPUs {:?}, spin {spin_us} µs, {} databases",
        plan.shards.len(),
        plan.shards,
        settings.databases
    );
    tracing::info!("listening on {}", names.join(", "));
}

fn write_pidfile(settings: &Settings) -> Result<(), Fault> {
    let Some(path) = &settings.pidfile else { return Ok(()) };
    let written = std::fs::write(path, format!("{}\n", process::pid()));
    written.map_err(|error| Fault::io(format!("cannot write 'pidfile {}'", path.display()), &error))
}

fn remove_pidfile(settings: &Settings) {
    if let Some(path) = &settings.pidfile {
        // Gone already is as good as removed.
        let _ = std::fs::remove_file(path);
    }
}
