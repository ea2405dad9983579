//! The loop of one core: sockets and mail in, commands run, replies and mail out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use slab::Slab;

use super::door::{Arrival, Door};
use super::log_side::LogSide;
use super::logging::Log;
use super::mail::{Mail, Newcomer};
use super::pager::Pager;
use super::shared::Shared;
use super::start::Watchdog;
use crate::config::LogLevel;
use crate::runtime::signals::Waker;
use crate::runtime::{ConnId, Event, Fault, Listener, Net, NetOptions, Port, Wait, clock, process};
use crate::session::{HandOver, Machine, Upkeep};
use crate::transaction::Message;

/// What a core is given at start.
pub struct Parts {
    pub machine: Machine,
    pub port: Port<Mail>,
    pub shared: Arc<Shared>,
    /// Core 0 accepts for all.
    pub listeners: Vec<Listener>,
    pub spin_us: u64,
    pub log: Log,
    /// Ends the server's wait for a signal, should the core fail.
    pub waker: Waker,
    pub pager: Pager,
    pub watchdog: Option<Watchdog>,
}

/// Longest sleep: heartbeats and figures stay fresh, at 1 turn a second.
const LONGEST_SLEEP_MS: i64 = 1000;

/// How long a stopping core waits for its clients to take their replies.
const DRAIN_MS: i64 = 1000;

struct CoreLoop {
    net: Net,
    machine: Machine,
    port: Port<Mail>,
    shared: Arc<Shared>,
    door: Door,
    /// For each listener, the path if it is a unix socket.
    unix: Vec<Option<String>>,
    /// Session key of each connection. A number is free again only when the kernel has let go of it,
    /// which may be after its session's key is in use again: hence two numberings.
    conns: Slab<usize>,
    /// Connection of each session key.
    conn_of: Vec<ConnId>,
    accepted: Vec<(usize, std::os::fd::OwnedFd)>,
    /// Connections to hand over as soon as the kernel has let go of them, and those that it has.
    leaving: HashMap<ConnId, HandOver>,
    detached: Vec<(ConnId, std::os::fd::OwnedFd)>,
    log: Log,
    loglevel: LogLevel,
    pager: Pager,
    watchdog: Option<Watchdog>,
    /// Unix ms of the last sweep and of the last look at slow figures.
    swept: i64,
    refreshed: i64,
    /// Set while stopping: when to give up waiting, Unix ms.
    drain_until: Option<i64>,
    drained: bool,
    /// How long to block at the next turn.
    sleep_us: u64,
    log_side: LogSide,
    /// Commands of other cores that wait because too much waits for the disk.
    postponed: VecDeque<(usize, Message)>,
}

/// Runs a core until the process stops. It never yields to glommio's reactor: a shard has no glommio
/// I/O, timers or tasks of its own, so its executor has nothing else to run and the loop may sleep in
/// the network's ring (files are the log core's business).
pub async fn run(parts: Parts) -> Result<(), Fault> {
    let (shared, waker) = (Arc::clone(&parts.shared), parts.waker.clone());
    let mut core = CoreLoop::new(parts).inspect_err(|_| {
        shared.stop();
        waker.wake();
    })?;
    let mut wait = Wait::Poll;
    loop {
        core.net.gather(wait, &core.port);
        core.machine.begin_turn(clock::unix_us(), core.shared.used_memory());
        if !core.log_side.is_full() {
            core.take_events();
        }
        core.take_mail();
        core.machine.finish_turn();
        let upkeep = core.machine.upkeep();
        core.periodic();
        core.act();
        if core.stop_if_done() {
            return Ok(());
        }
        core.net.set_waiting(core.machine.held_replies());
        wait = core.wait(upkeep);
    }
}

impl CoreLoop {
    fn new(parts: Parts) -> Result<Self, Fault> {
        let Parts { machine, port, shared, listeners, spin_us, log, pager, watchdog, .. } = parts;
        let options = NetOptions { spin_us, ..NetOptions::default() };
        let shards = machine.post.cores();
        let mut net = Net::new(options, port.bell())?;
        let mut unix = Vec::new();
        for listener in listeners {
            unix.push((!listener.is_tcp()).then(|| listener.name().to_owned()));
            net.listen(listener);
        }
        let loglevel = machine.core.settings.loglevel;
        Ok(CoreLoop {
            net,
            machine,
            port,
            shared,
            door: Door::default(),
            unix,
            conns: Slab::new(),
            conn_of: Vec::new(),
            accepted: Vec::new(),
            leaving: HashMap::new(),
            detached: Vec::new(),
            log,
            loglevel,
            pager,
            watchdog,
            swept: 0,
            refreshed: 0,
            sleep_us: 0,
            drain_until: None,
            drained: false,
            log_side: LogSide::new(shards),
            postponed: VecDeque::new(),
        })
    }

    fn take_events(&mut self) {
        while let Some(event) = self.net.next_event() {
            match event {
                Event::Received { conn, bytes } => {
                    let key = self.conns[conn as usize];
                    self.machine.received(key, bytes);
                }
                Event::Sent { conn, buf } => self.machine.sent(self.conns[conn as usize], buf),
                Event::Ended { conn } => self.machine.hung_up(self.conns[conn as usize]),
                Event::Failed { conn, .. } => self.machine.broken(self.conns[conn as usize]),
                Event::Released { conn } => {
                    self.conns.remove(conn as usize);
                }
                Event::Detached { conn, socket } => {
                    self.conns.remove(conn as usize);
                    self.detached.push((conn, socket));
                }
                Event::File(_) => unreachable!("a shard has no files"),
                Event::Accepted { listener, socket } => self.accepted.push((listener, socket)),
                Event::AcceptPaused { error, .. } => {
                    let reason = std::io::Error::from_raw_os_error(error);
                    tracing::warn!("accepting new connections pauses: {reason}");
                }
            }
        }
        for (conn, socket) in std::mem::take(&mut self.detached) {
            let Some(HandOver { client, request, .. }) = self.leaving.remove(&conn) else { continue };
            let newcomer = Newcomer { socket, client, request };
            self.port.send(self.machine.post.cores(), Mail::Replica(Box::new(newcomer)));
        }
        for (listener, socket) in std::mem::take(&mut self.accepted) {
            let unix = self.unix[listener].as_deref();
            let admitted = self.door.admit(socket, unix, &mut self.machine.core, &self.shared);
            match admitted {
                Some((to, arrival)) if to == self.machine.core.index => self.adopt(arrival),
                Some((to, arrival)) => self.port.send(to, Mail::Connection(arrival)),
                None => {}
            }
        }
    }

    fn adopt(&mut self, arrival: Arrival) {
        // What is still to be done to sessions that went this turn names them by key, and the new session
        // may get the key of one of them.
        self.act_on_connections();
        let key = self.machine.connect(arrival.peer);
        let conn = self.conns.insert(key) as ConnId;
        if key >= self.conn_of.len() {
            self.conn_of.resize(key + 1, 0);
        }
        self.conn_of[key] = conn;
        self.net.adopt(arrival.socket, conn);
    }

    fn take_mail(&mut self) {
        while !self.log_side.is_full()
            && let Some((from, message)) = self.postponed.pop_front()
        {
            self.machine.message(from, message);
        }
        while let Some((from, mail)) = self.port.receive() {
            match mail {
                Mail::Connection(arrival) => self.adopt(arrival),
                Mail::Messages(messages) => {
                    for message in messages {
                        // A session's transactions wait for its batches, so that nothing of it overtakes them here.
                        let waits = match message {
                            Message::Batch(_) => self.log_side.is_full(),
                            Message::Fence(_) => !self.postponed.is_empty(),
                            _ => false,
                        };
                        if waits {
                            self.postponed.push_back((from, message));
                        } else {
                            self.machine.message(from, message);
                        }
                    }
                }
                mail => self.log_side.take(mail, &mut self.machine, &mut self.port),
            }
        }
    }

    /// Work that is due a few times a second.
    fn periodic(&mut self) {
        let now = self.machine.core.now;
        if let Some(ahead) = self.machine.shard.data.keyspace.ahead() {
            self.pager.ask(ahead);
        }
        let data = &self.machine.shard.data;
        let used = data.keyspace.used_memory() as u64;
        let keys = data.keyspace.keys() as u64;
        self.shared.publish(self.machine.core.index, used, keys, data.outbox.emitted());
        if now - self.swept >= self.sweep_ms() {
            self.swept = now;
            self.machine.sweep_sessions();
            self.machine.finish_turn();
        }
        if now - self.refreshed >= 1000 {
            self.refreshed = now;
            self.refresh();
        }
        self.sleep_if_asked();
        if std::mem::take(&mut self.machine.core.settings_changed) {
            self.apply_settings();
        }
    }

    /// DEBUG SLEEP. With several cores it waits for the next turn: this turn's mail, which asks the others to
    /// sleep, has to leave first.
    fn sleep_if_asked(&mut self) {
        let asked = std::mem::take(&mut self.machine.core.sleep_us);
        let due =
            if self.machine.post.cores() == 1 { asked } else { std::mem::replace(&mut self.sleep_us, asked) };
        if due > 0 {
            clock::block_us(due);
        }
    }

    /// Figures of the process for INFO, and the service manager's watchdog.
    fn refresh(&mut self) {
        let facts = &mut self.machine.core.node;
        facts.rss_bytes = process::rss();
        facts.peak_rss_bytes = process::peak_rss();
        let cpu = process::cpu_self();
        (facts.cpu_user, facts.cpu_system) = (cpu.user.as_secs_f64(), cpu.system.as_secs_f64());
        facts.connected_clients = self.shared.connections();
        facts.used_memory = self.shared.used_memory();
        facts.used_memory_peak = facts.used_memory_peak.max(facts.used_memory);
        self.machine.core.stats.sample(self.machine.core.now);
        process::give_memory_back();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(self.machine.core.now, &self.shared);
        }
    }

    /// Milliseconds between two sweeps of the sessions.
    fn sweep_ms(&self) -> i64 {
        1000 / i64::from(self.machine.core.settings.hz)
    }

    /// Applies what a CONFIG SET changed outside the machine.
    fn apply_settings(&mut self) {
        let wanted = self.machine.core.settings.loglevel;
        if wanted != self.loglevel {
            self.loglevel = wanted;
            self.log.set_level(wanted);
        }
        self.log_side.apply_settings(&mut self.machine, &mut self.port);
    }

    /// Gives the network and the other cores what this turn made.
    fn act(&mut self) {
        // Mail first: others, and the disk, work while this core sends.
        let own = self.machine.core.index;
        self.log_side.send(&mut self.machine, &mut self.port);
        for to in (0..self.machine.post.cores()).filter(|&to| to != own) {
            let messages = self.machine.post.take(to);
            if !messages.is_empty() {
                self.port.send(to, Mail::Messages(messages));
            }
        }
        self.port.flush(&mut self.net);
        self.act_on_connections();
    }

    fn act_on_connections(&mut self) {
        let mut flush = std::mem::take(&mut self.machine.actions.flush);
        for key in flush.drain(..) {
            if let Some(buffer) = self.machine.take_output(key) {
                self.net.send(self.conn_of[key], buffer);
            }
        }
        debug_assert!(self.machine.actions.flush.is_empty(), "sending begets nothing to send");
        self.machine.actions.flush = flush;
        for key in std::mem::take(&mut self.machine.actions.pause) {
            self.net.pause(self.conn_of[key]);
        }
        for key in std::mem::take(&mut self.machine.actions.resume) {
            self.net.resume(self.conn_of[key]);
        }
        for hand_over in std::mem::take(&mut self.machine.actions.hand_over) {
            let conn = self.conn_of[hand_over.key];
            self.leaving.insert(conn, hand_over);
            self.net.detach(conn);
            self.shared.left();
        }
        for key in std::mem::take(&mut self.machine.actions.close) {
            self.net.close(self.conn_of[key]);
            self.shared.left();
        }
    }

    /// While stopping: takes leave of idle clients, and ends when all cores have none left.
    fn stop_if_done(&mut self) -> bool {
        if !self.shared.is_stopping() {
            return false;
        }
        let now = self.machine.core.now;
        let until = *self.drain_until.get_or_insert_with(|| {
            self.net.stop_listening();
            now + DRAIN_MS
        });
        self.machine.take_leave(now >= until);
        self.act();
        if self.machine.sessions() == 0 && !self.drained {
            self.drained = true;
            self.shared.drained();
        }
        self.drained && self.shared.all_drained()
    }

    fn wait(&self, upkeep: Upkeep) -> Wait {
        if upkeep.more
            || self.sleep_us > 0
            || !self.machine.post.is_empty()
            || self.log_side.has_work(&self.machine)
        {
            return Wait::Poll;
        }
        let mut ms = LONGEST_SLEEP_MS;
        if self.drain_until.is_some() || upkeep.partial {
            ms = 1;
        } else if self.machine.sessions() > 0 {
            ms = self.sweep_ms();
        }
        if let Some(due) = upkeep.next_due {
            // At least 1 ms: the next key's time is a lower bound and may already have passed.
            ms = ms.min((due - self.machine.core.now).max(1));
        }
        Wait::AtMost(ms as u64)
    }
}
