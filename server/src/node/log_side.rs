//! A shard's side of the log: effects and pieces of a cut on their way out, loaded data on its way in.

use std::collections::VecDeque;

use super::mail::{Applied, Entries, Logged, Mail, Serve};
use super::progress::Settling;
use crate::commands::{Link, PrimaryFacts};
use crate::config::{AppendFsync, Settings};
use crate::limits::{CUT_CHUNK, EFFECTS_IN_FLIGHT};
use crate::rdb;
use crate::runtime::Port;
use crate::session::{Machine, Unapplied};

/// Pieces of a cut that may be under way: one is written while the next is made.
const CHUNKS: usize = 2;

pub struct LogSide {
    /// The log core's port.
    log: usize,
    serve: Option<Serve>,
    /// Effects sent and not yet taken: their numbers and bytes.
    in_flight: VecDeque<(u64, usize)>,
    bytes_in_flight: usize,
    /// The cut that is being walked, and its pieces under way.
    cut: u64,
    cutting: bool,
    chunks: usize,
    /// Bytes fed to the session that applies the log, and what was last told of it.
    fed: u64,
    settling: Settling,
    told: Applied,
}

impl LogSide {
    pub fn new(log: usize) -> Self {
        LogSide {
            log,
            serve: None,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            cut: 0,
            cutting: false,
            chunks: 0,
            fed: 0,
            settling: Settling::default(),
            told: Applied::default(),
        }
    }

    /// Mail of the log core.
    pub fn take(&mut self, mail: Mail, machine: &mut Machine, port: &mut Port<Mail>) {
        match mail {
            Mail::Logged(logged) => self.logged(logged, machine),
            Mail::Cut(number, kind) => machine.cut(number, kind),
            Mail::ChunkTaken(cut) if cut == self.cut => self.chunks -= 1,
            Mail::EndCut(cut) if cut == machine.shard.data.cut => {
                machine.shard.data.keyspace.end_cut();
                (self.cutting, self.chunks) = (false, 0);
            }
            // Of a cut that has been given up.
            Mail::ChunkTaken(_) | Mail::EndCut(_) => {}
            Mail::Load(entries) => {
                let outcome = load(*entries, machine);
                port.send(self.log, Mail::Loaded(outcome));
            }
            Mail::DropAside => machine.shard.data.keyspace.drop_aside(),
            Mail::Apply(bytes) => {
                self.fed += bytes.len() as u64;
                machine.apply(&bytes);
            }
            Mail::Serve(serve) => self.serve(serve, machine),
            Mail::Pause(Some(number)) => machine.pause_writes(number),
            Mail::Pause(None) => machine.resume_writes(),
            Mail::WriteFault(fault) => machine.core.write_fault = fault,
            Mail::Facts(facts) => {
                let (log, replication) = *facts;
                machine.core.loading = log.loading;
                machine.core.node.log = log;
                machine.core.stale = staleness(&machine.core.settings, replication.primary.as_ref());
                // CONFIG GET shows whom REPLICAOF has named.
                let primary = replication.primary.as_ref();
                machine.core.settings.replicaof =
                    primary.map(|primary| (primary.host.to_string(), primary.port));
                machine.core.node.replication = replication;
            }
            _ => unreachable!("the log core sends a shard nothing else"),
        }
    }

    fn serve(&mut self, serve: Serve, machine: &mut Machine) {
        self.serve = Some(serve);
        match serve {
            Serve::Unlogged => {}
            Serve::Counted => machine.shard.data.outbox.count(),
            // A replica's log is its primary's stream.
            Serve::Logged if machine.core.replica => machine.shard.data.outbox.count(),
            Serve::Logged => machine.shard.data.outbox.open(),
        }
        machine.core.loading = false;
        machine.core.holds_writes = self.holds_writes(machine);
    }

    fn holds_writes(&self, machine: &Machine) -> bool {
        let settings = &machine.core.settings;
        let always = settings.appendonly && settings.appendfsync == AppendFsync::Always;
        self.serve == Some(Serve::Logged) && always
    }

    fn logged(&mut self, logged: Logged, machine: &mut Machine) {
        while let Some(&(_, bytes)) = self.in_flight.front().filter(|(seq, _)| *seq <= logged.taken) {
            self.bytes_in_flight -= bytes;
            self.in_flight.pop_front();
        }
        machine.durable(logged.durable);
    }

    /// Whether so much waits for the disk that no new command may run.
    pub fn is_full(&self) -> bool {
        self.bytes_in_flight > EFFECTS_IN_FLIGHT
    }

    /// Sends what this turn made.
    pub fn send(&mut self, machine: &mut Machine, port: &mut Port<Mail>) {
        if let Some(effects) = machine.shard.data.outbox.drain(Vec::new()) {
            self.in_flight.push_back((effects.seq, effects.bytes.len()));
            self.bytes_in_flight += effects.bytes.len();
            port.send(self.log, Mail::Effects(effects));
        }
        for ask in std::mem::take(&mut machine.core.asks) {
            port.send(self.log, Mail::Ask(ask));
        }
        if let Some(number) = machine.take_quiet() {
            port.send(self.log, Mail::Quiet(number));
        }
        self.walk_cut(machine, port);
        self.tell_applied(machine, port);
    }

    fn walk_cut(&mut self, machine: &mut Machine, port: &mut Port<Mail>) {
        let number = machine.shard.data.cut;
        let keyspace = &mut machine.shard.data.keyspace;
        if self.cut != number {
            (self.cut, self.chunks) = (number, 0);
            let keys = (0..keyspace.databases()).map(|db| keyspace.len(db) as u64).sum();
            port.send(self.log, Mail::CutHolds(number, keys));
        }
        self.cutting |= keyspace.is_cutting();
        if !self.cutting || self.chunks >= CHUNKS {
            return;
        }
        let chunk = keyspace.walk_cut(CUT_CHUNK);
        self.cutting = chunk.is_some();
        self.chunks += usize::from(self.cutting);
        port.send(self.log, Mail::Chunk(number, chunk));
    }

    fn tell_applied(&mut self, machine: &mut Machine, port: &mut Port<Mail>) {
        let applies = self.serve.is_none() || machine.core.replica || machine.core.loading;
        if machine.core.index != 0 || !applies && self.told.bytes == self.fed && self.told.outstanding == 0 {
            return;
        }
        let Unapplied { bytes, replies, transacts, db } = machine.unapplied();
        if let Some(why) = machine.apply_failure.take() {
            port.send(self.log, Mail::ApplyFailed(why));
        }
        let bytes = self.fed - bytes as u64;
        if !transacts {
            self.settling.mark(bytes, replies.end);
        }
        let settled = self.settling.reach(replies.start);
        let outstanding = (replies.end - replies.start) as usize + usize::from(transacts);
        let applied = Applied { bytes, settled, outstanding, db };
        if applied != self.told {
            self.told = applied;
            port.send(self.log, Mail::Applied(applied));
        }
    }

    /// Whether the next turn has something to do even if nothing comes.
    pub fn has_work(&self, machine: &Machine) -> bool {
        machine.shard.data.keyspace.is_cutting() && self.chunks < CHUNKS
    }

    /// Applies what a CONFIG SET changed.
    pub fn apply_settings(&mut self, machine: &mut Machine, port: &mut Port<Mail>) {
        if self.serve.is_none() {
            return;
        }
        machine.core.holds_writes = self.holds_writes(machine);
        let core = &mut machine.core;
        core.stale = staleness(&core.settings, core.node.replication.primary.as_ref());
        if machine.core.index == 0 {
            port.send(self.log, Mail::Settings(Box::new(machine.core.settings.clone())));
        }
    }
}

/// Why what a replica has is too old to be read, if it is: the whole error line.
fn staleness(settings: &Settings, primary: Option<&PrimaryFacts>) -> Option<Box<str>> {
    let primary = primary?;
    if primary.link != Link::Connected && !settings.replica_serve_stale_data {
        let why = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
        return Some(why.into());
    }
    let (bytes, ms) = (settings.replica_max_lag_bytes, settings.replica_max_lag_ms);
    if bytes > 0 && primary.lag_bytes > bytes {
        let lag = primary.lag_bytes;
        return Some(
            format!("STALEREAD This replica is {lag} bytes behind, more than replica-max-lag-bytes").into(),
        );
    }
    if ms > 0 && primary.silent_ms > ms {
        let lag = primary.silent_ms;
        return Some(
            format!("STALEREAD The primary has been silent for {lag} ms, more than replica-max-lag-ms")
                .into(),
        );
    }
    None
}

/// Puts entries of a snapshot into the keyspace, also those whose time is up: a log behind the snapshot may go on with
/// them, and replicas wait to be told that they are gone.
fn load(entries: Entries, machine: &mut Machine) -> Result<(), String> {
    let keyspace = &mut machine.shard.data.keyspace;
    let hasher = keyspace.hasher().clone();
    for entry in &entries.entries {
        let key = &entries.bytes[entry.key..entry.value];
        let value = rdb::decode(entry.codec, &entries.bytes[entry.value..entry.end])
            .map_err(|damage| damage.in_value(key, entry.offset).to_string())?;
        keyspace.put(entry.db, &hasher.key(key), value, entry.expire);
    }
    Ok(())
}
