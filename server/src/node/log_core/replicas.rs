//! The servers that follow this one: their connections, what they are sent, and the clients that wait for them.

use std::os::unix::fs::FileExt;

use super::*;
use crate::commands::{ClientFlags, ReplicationFacts, SyncRequest};
use crate::limits::BEHIND_IN_MEMORY;
use crate::node::mail::Newcomer;
use crate::replication::{Bounds, Goal, Next, Reached};

/// How long a stop waits for replicas to be sent the stream's end, ms.
const PARTING_MS: u64 = 2000;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
pub(super) const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// Ends a wait for replicas on a server that has become one.
const UNBLOCKED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// What the settings say about replicas.
pub(super) fn bounds(settings: &Settings) -> Bounds {
    let ms = |seconds: u32| u64::from(seconds) * 1000;
    let unsent = match settings.client_output_buffer_limit.replica.hard {
        0 => BEHIND_IN_MEMORY,
        hard => BEHIND_IN_MEMORY.min(usize::try_from(hard).unwrap_or(usize::MAX)),
    };
    Bounds {
        backlog: settings.repl_backlog_size as usize,
        backlog_ttl_ms: settings.repl_backlog_ttl.saturating_mul(1000),
        most_kept: unsent.max(settings.repl_backlog_size as usize),
        timeout_ms: ms(settings.repl_timeout),
        ping_ms: ms(settings.repl_ping_replica_period),
        diskless: settings.repl_diskless_sync,
        delay_ms: ms(settings.repl_diskless_sync_delay),
        most_waiting: settings.repl_diskless_sync_max_replicas as usize,
        most_lag_ms: ms(settings.min_replicas_max_lag),
    }
}

impl LogCore {
    /// A connection asked to become a replica.
    pub(super) fn welcome(&mut self, newcomer: Newcomer) {
        if matches!(newcomer.request, SyncRequest::TakeOver { .. }) {
            return self.take_over(newcomer);
        }
        let Newcomer { socket, mut client, request } = newcomer;
        if self.facts.loading || self.facts.async_loading || self.failover.is_some() {
            // It was on its way when a full sync of our own began; it comes again.
            return;
        }
        let addr = client.addr.clone();
        tracing::info!("{addr} asks to follow: {request:?}");
        let identity = client.replica.take().map(|identity| *identity).unwrap_or_default();
        client.flags |= ClientFlags::REPLICA;
        let id = self.links.insert(client) as ReplicaId;
        self.net.adopt(socket, id);
        self.net.set_nodelay(id, !self.settings.repl_disable_tcp_nodelay);
        let files = self.journal.as_ref().and_then(Journal::oldest);
        self.primary.admit(id, (addr, request, identity), (self.merger.at(), files), now_ms());
    }

    pub(super) fn take_events(&mut self) {
        let LogCore { net, primary, upstream, links, .. } = self;
        let (mut done, mut gone) = (Vec::new(), Vec::new());
        let now = now_ms();
        while let Some(event) = net.next_event() {
            match event {
                Event::File(ended) => done.push(ended),
                Event::Received { conn, bytes } => {
                    links[conn as usize].last_active = clock::unix_us() / 1000;
                    match upstream.as_mut().filter(|upstream| upstream.is_on(conn)) {
                        Some(upstream) => upstream.received(bytes, now),
                        None => primary.received(conn, bytes, now),
                    }
                }
                Event::Sent { conn, .. } => match upstream.as_mut().filter(|upstream| upstream.is_on(conn)) {
                    Some(upstream) => upstream.sent(),
                    None => primary.sent(conn, now),
                },
                Event::Ended { conn } | Event::Failed { conn, .. } => gone.push(conn),
                Event::Released { conn } => {
                    links.remove(conn as usize);
                }
                _ => unreachable!("the log core accepts and detaches nobody"),
            }
        }
        for conn in gone {
            if self.upstream.as_ref().is_some_and(|upstream| upstream.is_on(conn)) {
                self.leave_upstream("the primary closed it");
            } else {
                tracing::info!("a replica has gone");
                self.primary.gone(conn);
                self.net.close(conn);
            }
        }
        self.obey();
        done.into_iter().for_each(|ended| self.file_done(ended));
    }

    /// Sends every replica what it is due.
    pub(super) fn serve_replicas(&mut self) {
        self.sync_files.retain(|walk, _| self.primary.needs_file(*walk));
        if self.primary.is_alone() {
            return;
        }
        self.primary.mark(now_ms());
        for id in self.primary.ids() {
            let bytes = match self.primary.next_send(id) {
                Some(Next::Send(bytes)) => Some(bytes),
                Some(Next::Read { from, most }) => {
                    let read = self.read_stream(from, most);
                    self.primary.read(id, read)
                }
                Some(Next::ReadFile { walk, from, most }) => {
                    let read = self.read_sync_file(walk, from, most);
                    self.primary.read(id, read)
                }
                None => None,
            };
            if let Some(bytes) = bytes {
                self.net.send(id, bytes);
            }
        }
        for (id, why) in self.primary.leaving() {
            tracing::warn!("leaving a replica: {why}");
            self.primary.gone(id);
            self.net.close(id);
        }
    }

    fn read_sync_file(&self, walk: u64, from: u64, most: usize) -> Result<Vec<u8>, String> {
        let file = self.sync_files.get(&walk).ok_or("the file of its snapshot is gone")?;
        let mut bytes = vec![0; most];
        let count = file.read_at(&mut bytes, from);
        bytes.truncate(count.map_err(|error| format!("cannot read its snapshot: {error}"))?);
        Ok(bytes)
    }

    /// The stream from offset `from` on, out of the files; nothing if it is still on its way there.
    fn read_stream(&self, from: u64, most: usize) -> Result<Vec<u8>, String> {
        let lost = || format!("what it needs, from offset {from} on, is kept nowhere any more");
        let (Some(journal), Some(directory)) = (&self.journal, &self.directory) else { return Err(lost()) };
        if from >= journal.written() {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; most.min((journal.written() - from) as usize)];
        for (name, offset) in journal.locate(from) {
            let path = directory.path(name);
            let read = File::open(&path).and_then(|file| file.read_at(&mut bytes, offset));
            let count = read.map_err(|error| format!("cannot read '{}': {error}", path.display()))?;
            if count > 0 {
                bytes.truncate(count);
                return Ok(bytes);
            }
        }
        Err(lost())
    }

    /// Puts a command of the log core's own into the stream.
    pub(super) fn emit(&mut self, command: &[u8]) {
        if self.follows() || matches!(self.next_role, Some(Role::Follow { .. })) {
            // The stream is the primary's, to the byte, and so may its name be already.
            return;
        }
        self.merger.pass(command.len());
        self.keep(command);
    }

    /// The stream goes on with `bytes`.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.primary.append(bytes, self.journal.as_ref().is_some_and(Journal::is_founded));
        if let Some(journal) = &mut self.journal {
            journal.append(bytes, now_ms());
        }
    }

    /// What is due a few times a second.
    pub(super) fn look_after_replicas(&mut self) {
        let now = now_ms();
        if self.primary.is_forsaken(!self.follows() && self.next_role.is_none(), now) {
            self.forget_stream();
        }
        if self.primary.tick(now) && self.failover.is_none() {
            self.emit(PING);
        }
        let due = !self.is_ending() && now >= self.retry_at && self.primary.wants_walk(now);
        if due && !self.is_sync_queued() {
            self.queue.push_back((Purpose::Sync, None));
        }
        self.judge_replicas();
    }

    /// Whether there are enough of them for clients to write.
    pub(super) fn judge_replicas(&mut self) {
        let wanted = self.settings.min_replicas_to_write as usize;
        self.too_few_replicas = !self.follows() && self.primary.good(now_ms()) < wanted;
    }

    /// Nobody has come back for what memory keeps. Who comes now gets it from the files or, where there are none, begins anew.
    fn forget_stream(&mut self) {
        tracing::info!("nobody follows any more: the backlog is released");
        self.primary.drop_backlog();
        if !self.journal.as_ref().is_some_and(Journal::is_founded) {
            self.primary.begin_anew(History::new(clock::random_id()));
            self.note_history();
        }
    }

    fn is_sync_queued(&self) -> bool {
        self.queue.iter().any(|(purpose, _)| *purpose == Purpose::Sync)
            || self.snapshot.as_ref().is_some_and(|snapshot| snapshot.purpose == Purpose::Sync)
    }

    // ---- who waits for them ----

    /// A client waits for what it has written so far. All of that has been sent to us, but some of it may have come
    /// after the question, so where the stream ends is looked at a turn later.
    pub(super) fn wait_for(&mut self, asker: Option<Asker>, goal: Goal, timeout_ms: u64) {
        if self.follows() {
            // The role changed while the question was on its way.
            return self.unblock(asker);
        }
        let until = (timeout_ms > 0).then(|| now_ms().saturating_add(timeout_ms));
        self.asked_waits.push((asker, goal, until));
    }

    /// The session that waits is gone.
    pub(super) fn give_up(&mut self, asker: Option<Asker>) {
        self.asked_waits.retain(|(waiting, ..)| *waiting != asker);
        self.ripe_waits.retain(|(waiting, ..)| *waiting != asker);
        self.waiters.forget(|waiting| *waiting == asker);
    }

    /// Nobody waits for replicas of a replica.
    pub(super) fn unblock_waits(&mut self) {
        let asked = self.asked_waits.drain(..).chain(self.ripe_waits.drain(..)).map(|(asker, ..)| asker);
        for asker in asked.chain(self.waiters.drain()).collect::<Vec<_>>() {
            self.unblock(asker);
        }
    }

    fn unblock(&mut self, asker: Option<Asker>) {
        self.reply(asker, true, |reply| reply.error_line(UNBLOCKED));
    }

    pub(super) fn settle_waits(&mut self) {
        let at = self.merger.at();
        let ripe = std::mem::replace(&mut self.ripe_waits, std::mem::take(&mut self.asked_waits));
        let asks = !ripe.is_empty();
        for (asker, goal, until) in ripe {
            self.waiters.add(asker, goal, at, until);
        }
        if self.waiters.is_empty() {
            return;
        }
        let LogCore { waiters, primary, journal, .. } = self;
        let durable = journal.as_ref().map_or(0, Journal::durable);
        let reached = |goal: Goal, offset: u64| match goal {
            Goal::Applied { .. } => Reached { local: true, replicas: primary.acked(offset) },
            Goal::Durable { .. } => Reached { local: durable >= offset, replicas: primary.flushed(offset) },
        };
        let settled: Vec<_> = waiters.settle(now_ms(), reached).collect();
        for (asker, goal, Reached { local, replicas }) in settled {
            self.answer_with(asker, |reply| match goal {
                Goal::Applied { .. } => reply.int(replicas as i64),
                Goal::Durable { .. } => {
                    reply.array(2);
                    reply.int(i64::from(local));
                    reply.int(replicas as i64);
                }
            });
        }
        if asks && !self.waiters.is_empty() && !self.primary.is_alone() {
            self.emit(GETACK);
        }
    }

    // ---- figures, and the end ----

    /// The connections that are not being closed.
    fn open_links(&self) -> impl Iterator<Item = (ConnId, &Client)> {
        let replicas = self.primary.ids();
        let upstream = |conn| self.upstream.as_ref().is_some_and(|upstream| upstream.is_on(conn));
        let links = self.links.iter().map(|(conn, client)| (conn as ConnId, &**client));
        links.filter(move |(conn, _)| replicas.contains(conn) || upstream(*conn))
    }

    /// CLIENT KILL. Who is left comes again.
    pub(super) fn end_link(&mut self, client: u64) {
        let found = self.open_links().find(|(_, link)| link.id == client).map(|(conn, _)| conn);
        match found {
            Some(conn) if self.upstream.as_ref().is_some_and(|upstream| upstream.is_on(conn)) => {
                self.leave_upstream("CLIENT KILL");
            }
            Some(conn) => {
                tracing::info!("a replica is left: CLIENT KILL");
                self.primary.gone(conn);
                self.net.close(conn);
            }
            None => {}
        }
    }

    pub(super) fn replication_facts(&self) -> ReplicationFacts {
        let history = &self.primary.history;
        let (earlier, second) = match &history.earlier {
            Some((id, end)) => (id.clone(), *end as i64 + 1),
            None => ("0".repeat(40), -1),
        };
        let backlog = self.primary.backlog();
        ReplicationFacts {
            primary: self.primary_facts(),
            replid: history.id.as_str().into(),
            replid2: earlier.into(),
            second_offset: second,
            offset: self.merger.at(),
            backlog_active: backlog.is_some(),
            backlog_size: self.settings.repl_backlog_size,
            backlog_first: backlog.map_or(0, |backlog| backlog.start() + 1),
            backlog_length: backlog.map_or(0, |backlog| backlog.end() - backlog.start()),
            replicas: self.primary.facts(now_ms()),
            full_syncs: self.primary.full_syncs,
            partial_syncs: self.primary.partial_syncs,
            partial_refused: self.primary.partial_refused,
            failover: self.failover_state(),
            links: self.open_links().map(|(_, client)| client.clone()).collect(),
        }
    }

    /// Whether the replicas have been sent everything, or have had their time.
    pub(super) fn has_parted(&mut self) -> bool {
        self.serve_replicas();
        let until = *self.part_until.get_or_insert_with(|| now_ms() + PARTING_MS);
        self.primary.is_drained() || now_ms() >= until
    }
}
