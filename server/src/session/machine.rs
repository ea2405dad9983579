//! One core without its sockets: events in, actions out.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use slab::Slab;

use super::connection::Session;
use super::dispatch::Route;
use super::pause::Pausing;
use crate::commands::{
    Ask, Client, ClientFlags, Core, Cut, Expiry, Recent, Slowlog, SlowlogEntry, SyncRequest, Task,
};
use crate::keyspace::{Access, KeyHasher, Ring};
use crate::limits;
use crate::resp::{Commands, ParseLimits, ProtocolError, Reply};
use crate::shard::Shard;
use crate::transaction::{Batch, Message, Participant, Post, Site, run_batch};

/// Longest string of a command in the log.
const MAX_LOGGED: u64 = 1 << 31;

/// Numbers that all cores draw from together.
pub trait Counters {
    /// A transaction's ticket: increasing over the whole process.
    fn next_ticket(&mut self) -> u64;
    fn next_client(&mut self) -> u64;
    fn next_slowlog(&mut self) -> u64;
}

/// What a turn asks of the network. Sessions are named by key.
#[derive(Debug, Default)]
pub struct Actions {
    /// Sessions with output; `Machine::take_output` hands it out.
    pub flush: Vec<usize>,
    /// Connections to close; the session is gone already.
    pub close: Vec<usize>,
    /// Connections that become replicas'; the session is gone already.
    pub hand_over: Vec<HandOver>,
    /// Stop and resume reading from these.
    pub pause: Vec<usize>,
    pub resume: Vec<usize>,
}

/// A connection on its way to who looks after replicas. All replies to it have left.
#[derive(Debug)]
pub struct HandOver {
    /// Its session's key.
    pub key: usize,
    pub client: Box<Client>,
    pub request: SyncRequest,
}

/// Who connected.
pub struct Peer {
    pub fd: i32,
    pub addr: Box<str>,
    pub laddr: Box<str>,
    pub unix: bool,
}

pub struct Machine {
    pub core: Core,
    pub shard: Shard,
    pub post: Post,
    pub actions: Actions,
    pub(super) participant: Participant,
    pub(super) sessions: Slab<Box<Session>>,
    pub(super) ring: Ring,
    pub(super) hasher: KeyHasher,
    pub(super) counters: Box<dyn Counters>,
    /// Scratch of the batch being executed, kept for its buffers.
    pub(super) commands: Commands,
    pub(super) routes: Vec<Route>,
    pub(super) recent: Recent,
    pub(super) spare: Vec<Vec<u8>>,
    /// Sessions with replies that wait until effects are durable, by the number of those.
    pub(super) held: VecDeque<(u64, u64)>,
    /// Sessions whose output began to wait for replies of other cores.
    pub(super) partial: Vec<u64>,
    /// The session that applies the log, on the core that has it, and what first went wrong with that.
    pub apply_failure: Option<Box<str>>,
    pub(super) applier: Option<usize>,
    /// Cuts that wait for the one under way.
    pub(super) cuts: VecDeque<(NonZeroU64, Cut)>,
    pub(super) pausing: Option<Pausing>,
    /// Distinguishes sessions that had the same key.
    serial: u64,
    /// Where the next sweep of the sessions begins.
    pub(super) swept: usize,
}

impl Machine {
    pub fn new(core: Core, shard: Shard, ring: Ring, counters: Box<dyn Counters>) -> Self {
        let hasher = shard.data.keyspace.hasher().clone();
        let post = Post::new(core.index, ring.shards());
        Machine {
            core,
            shard,
            post,
            actions: Actions::default(),
            participant: Participant::default(),
            sessions: Slab::new(),
            ring,
            hasher,
            counters,
            commands: Commands::default(),
            routes: Vec::new(),
            recent: Recent::default(),
            spare: Vec::new(),
            held: VecDeque::new(),
            partial: Vec::new(),
            apply_failure: None,
            applier: None,
            cuts: VecDeque::new(),
            pausing: None,
            serial: 0,
            swept: 0,
        }
    }

    /// A turn begins: `now_us` is Unix time, `used_memory` that of all shards as last published.
    pub fn begin_turn(&mut self, now_us: i64, used_memory: u64) {
        let Machine { core, shard, .. } = self;
        (core.now_us, core.now) = (now_us, now_us / 1000);
        let limit = core.settings.maxmemory;
        // What a log or a primary has decided to keep is kept.
        core.out_of_memory = limit > 0 && used_memory > limit && !core.loading && !core.replica;
        shard.data.expiry = match core {
            _ if core.loading => Expiry::Keep,
            _ if core.replica || core.frozen || core.client_pause.is_some() => Expiry::Hide,
            _ => Expiry::Remove,
        };
        shard.data.max_string = core.settings.proto_max_bulk_len;
        shard.data.compresses = core.settings.rdbcompression;
        shard.data.access = if core.settings.maxmemory_policy.is_lfu() {
            Access::Lfu {
                now_ms: core.now,
                random: shard.data.next_random(),
                log_factor: core.settings.lfu_log_factor,
                decay_minutes: core.settings.lfu_decay_time,
            }
        } else {
            Access::Lru { now_ms: core.now }
        };
        shard.data.keyspace.set_birth(shard.data.access);
    }

    /// Sessions of clients.
    pub fn sessions(&self) -> usize {
        self.sessions.len() - usize::from(self.applier.is_some())
    }

    /// A connection has been accepted for this core. Its key names it until it is closed.
    pub fn connect(&mut self, peer: Peer) -> usize {
        let id = self.counters.next_client();
        let mut client = Client::new(id, peer.fd, peer.addr, peer.laddr, self.core.now);
        client.flags.set(ClientFlags::UNIX_SOCKET, peer.unix);
        // A password set later concerns later connections, as in the reference server.
        client.flags.set(ClientFlags::AUTHENTICATED, self.core.settings.requirepass.is_empty());
        self.core.stats.connections_received += 1;
        self.insert_session(client)
    }

    /// Sessions that have the same key one after the other differ in their id.
    pub(super) fn next_session_id(&mut self, key: usize) -> u64 {
        self.serial += 1;
        self.serial << 32 | key as u64
    }

    /// The session a message means, if it still exists.
    pub(super) fn session_key(&self, id: u64) -> Option<usize> {
        let key = (id & u64::from(u32::MAX)) as usize;
        self.sessions.get(key).filter(|session| session.id == id).map(|_| key)
    }

    /// Bytes from a client. Commands run at once, borrowed from `bytes`; only what is left over is copied.
    pub fn received(&mut self, key: usize, bytes: &[u8]) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let client = &mut self.core.clients[key];
        client.net_in += bytes.len() as u64;
        client.last_active = self.core.now;
        self.core.stats.net_input_bytes += bytes.len() as u64;
        if session.input.is_empty() {
            let consumed = self.run_input(key, bytes);
            if let Some(session) = self.sessions.get_mut(key) {
                reserve(&mut session.input, bytes.len() - consumed, session.parser.wanted());
                session.input.extend_from_slice(&bytes[consumed..]);
            }
        } else {
            reserve(&mut session.input, bytes.len(), session.parser.wanted());
            session.input.extend_from_slice(bytes);
            self.pump(key);
        }
        self.bound_input(key);
        if self.sessions.get(key).is_some_and(|session| session.sync.is_some()) {
            self.close_if_done(key);
        }
    }

    /// Runs what a session has buffered, as far as nothing stalls it.
    pub(super) fn pump(&mut self, key: usize) {
        let session = &mut self.sessions[key];
        if !session.input.is_empty() && !session.is_stalled() {
            let mut input = std::mem::take(&mut session.input);
            let consumed = self.run_input(key, &input);
            let Some(session) = self.sessions.get_mut(key) else { return };
            if consumed == input.len() {
                input = Default::default();
            } else {
                bytes::Buf::advance(&mut input, consumed);
            }
            session.input = input;
        }
        self.resume_or_finish(key);
    }

    fn resume_or_finish(&mut self, key: usize) {
        let session = &mut self.sessions[key];
        if session.paused && !session.is_stalled() && session.input.len() < limits::PAUSE_INPUT {
            session.paused = false;
            self.actions.resume.push(key);
        }
        self.close_if_done(key);
    }

    /// A client that sends while it is stalled is not read further; one whose half-received command
    /// exceeds the query buffer limit is disconnected.
    fn bound_input(&mut self, key: usize) {
        if self.applier == Some(key) {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.is_stalled() && session.input.len() >= limits::PAUSE_INPUT && !session.paused {
            session.paused = true;
            self.actions.pause.push(key);
        }
        if session.input.len() as u64 > self.core.settings.client_query_buffer_limit {
            self.core.stats.query_limit_disconnections += 1;
            let id = self.core.clients[key].id;
            tracing::warn!(client = id, "closing a client that reached its query buffer limit");
            self.close(key);
        }
    }

    /// Parses and executes; returns the bytes consumed.
    fn run_input(&mut self, key: usize, input: &[u8]) -> usize {
        let mut commands = std::mem::take(&mut self.commands);
        let mut consumed = 0;
        while let Some(session) = self.sessions.get_mut(key) {
            let client = &self.core.clients[key];
            if client.is(ClientFlags::CLOSE_AFTER_REPLY) || client.is(ClientFlags::KILLED) {
                consumed = input.len();
                break;
            }
            if session.is_stalled() || consumed == input.len() {
                break;
            }
            let of_the_log = self.applier == Some(key);
            let limits = ParseLimits {
                // What is in the log was within the limit of its day.
                max_bulk: if of_the_log { MAX_LOGGED } else { self.core.settings.proto_max_bulk_len },
                authenticated: self.core.is_authenticated(key),
            };
            let rest = &input[consumed..];
            match session.parser.parse(rest, &limits, &mut commands) {
                Ok(parsed) if commands.is_empty() => {
                    consumed += parsed;
                    break;
                }
                Ok(parsed) => match self.run_commands(key, &commands, rest) {
                    None => consumed += parsed,
                    Some(stopped) => {
                        consumed += stopped;
                        if let Some(session) = self.sessions.get_mut(key) {
                            session.parser = Default::default();
                        }
                    }
                },
                Err(error) => {
                    self.protocol_error(key, &error);
                    consumed = input.len();
                    break;
                }
            }
        }
        commands.clear();
        self.commands = commands;
        consumed
    }

    fn protocol_error(&mut self, key: usize, error: &ProtocolError) {
        let session = &mut self.sessions[key];
        let (out, start) = session.replies.begin();
        Reply::new(out, false).protocol_error(error);
        session.replies.written(start, false);
        self.core.count_error("ERR");
        self.core.clients[key].flags |= ClientFlags::CLOSE_AFTER_REPLY;
        self.mark_dirty(key);
    }

    /// The client closed its side, or the connection failed. What it asked for before is still answered.
    pub fn hung_up(&mut self, key: usize) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.half_closed = true;
            if session.blocked.is_some() || session.postponed {
                // As in the reference server: what it waits for may never come.
                return self.close(key);
            }
            self.close_if_done(key);
        }
    }

    /// The connection is broken: nothing can be sent any more.
    pub fn broken(&mut self, key: usize) {
        if self.sessions.contains(key) {
            self.close(key);
        }
    }

    pub(super) fn close_if_done(&mut self, key: usize) {
        let session = &self.sessions[key];
        let client = &self.core.clients[key];
        let done = session.transaction.is_none() && session.replies.is_done();
        let asked_to = client.is(ClientFlags::CLOSE_AFTER_REPLY) && done;
        let spent = session.half_closed && done && (session.input.is_empty() || !session.is_stalled());
        if asked_to || spent || client.is(ClientFlags::KILLED) {
            self.close(key);
        } else if done && session.sync.is_some() {
            self.hand_over(key);
        }
    }

    /// Asks for the connection to be handed over and forgets the session.
    fn hand_over(&mut self, key: usize) {
        let Some(request) = self.sessions[key].sync.take() else { return };
        let client = self.core.clients[key].clone();
        self.actions.hand_over.push(HandOver { key, client, request: *request });
        self.forget(key);
    }

    /// Asks for the connection to be closed and forgets the session, once no transaction of its own is
    /// under way: its locks must be let go first.
    pub(super) fn close(&mut self, key: usize) {
        if self.applier == Some(key) {
            return self.fail_apply("the session that applies it was ended");
        }
        let client = &mut self.core.clients[key];
        if !client.is(ClientFlags::KILLED) {
            client.flags |= ClientFlags::KILLED;
            self.actions.close.push(key);
        }
        if self.sessions[key].transaction.is_none() {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: usize) {
        // The key may name another session before the turn ends.
        self.core.doomed.retain(|&doomed| doomed != key);
        self.unwatch(key);
        let session = self.sessions.remove(key);
        self.core.clients.remove(key);
        if let Some(reply) = session.blocked {
            self.core.asks.push(Ask { task: Task::GiveUp, reply_to: Some((session.id, reply)) });
        }
    }

    /// The server is stopping: closes what has nothing left to wait for, or everything if `now`.
    pub fn take_leave(&mut self, now: bool) {
        let keys = self.sessions.iter().map(|(key, _)| key).filter(|key| self.applier != Some(*key));
        for key in keys.collect::<Vec<usize>>() {
            let session = &self.sessions[key];
            let waits = session.transaction.is_some() || !session.replies.is_done();
            if now || !waits || session.blocked.is_some() || session.postponed {
                self.close(key);
            }
        }
    }

    #[inline]
    pub(super) fn mark_dirty(&mut self, key: usize) {
        let session = &mut self.sessions[key];
        if !session.dirty {
            session.dirty = true;
            self.actions.flush.push(key);
        }
    }

    /// The next buffer to send for a session of `Actions::flush`; `None` if one is in flight or none is due.
    pub fn take_output(&mut self, key: usize) -> Option<Vec<u8>> {
        let session = self.sessions.get_mut(key)?;
        session.dirty = false;
        if session.must_wait_for_company(self.core.now_us) {
            self.partial.push(session.id);
            return None;
        }
        let buffer = session.replies.take(&mut self.spare)?;
        self.core.stats.net_output_bytes += buffer.len() as u64;
        self.core.clients[key].net_out += buffer.len() as u64;
        Some(buffer)
    }

    /// A buffer has been sent, whole; it comes back to be used again.
    pub fn sent(&mut self, key: usize, buffer: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.output_progress = self.core.now;
        session.replies.sent(buffer, &mut self.spare);
        if session.replies.unsent() > 0 {
            self.mark_dirty(key);
        }
        self.pump(key);
    }

    /// A message from core `from`.
    pub fn message(&mut self, from: usize, message: Message) {
        let Machine { shard, core, post, participant, .. } = self;
        let mut site = Site { shard, core, post };
        match message {
            Message::Batch(batch) => run_batch(&mut site, batch, from),
            Message::Schedule(scheduling) => participant.schedule(&mut site, *scheduling),
            Message::Cancel { ticket } => participant.cancel(&mut site, ticket),
            Message::Execute(executing) => participant.execute(&mut site, *executing),
            Message::Unwatch(keys) => {
                keys.iter().for_each(|(db, key)| self.shard.data.watches.unwatch(*db, key));
            }
            Message::Replies(batch) => self.replied(*batch),
            Message::Late(late) => {
                if let Some(key) = self.session_key(late.session) {
                    if late.last {
                        self.core.clients[key].flags |= ClientFlags::CLOSE_AFTER_REPLY;
                    }
                    if self.applier == Some(key) {
                        self.heed_reply(b"(one that waited for a lock)", &late.bytes);
                    }
                    self.fill(key, late.reply, &late.bytes);
                    self.pump(key);
                }
            }
            Message::Scheduled { id, verdict } => self.scheduled(id, verdict),
            Message::Executed(executed) => self.executed(*executed),
            Message::Fence(number) => self.post.send(from, Message::FenceBack(number)),
            Message::FenceBack(number) => self.fence_back(number),
        }
    }

    /// Replies of another shard to commands of this core's sessions.
    fn replied(&mut self, batch: Batch) {
        for (index, (request, bytes)) in batch.replies().enumerate() {
            if let (Some(key), Some(bytes)) = (self.session_key(request.session), bytes) {
                if self.applier == Some(key) {
                    self.heed_reply(batch.call(index).argv.get(0), bytes);
                }
                self.fill(key, request.reply, bytes);
            }
        }
        for &(index, nanos) in &batch.slow {
            let session = batch.requests()[index].session;
            let argv = batch.call(index).argv;
            self.log_slow(self.session_key(session), nanos, argv.len(), argv.iter());
        }
        for request in batch.requests() {
            if let Some(key) = self.session_key(request.session) {
                self.pump(key);
            }
        }
        self.post.recycle(batch);
    }

    pub(super) fn fill(&mut self, key: usize, reply: u64, bytes: &[u8]) {
        let session = &mut self.sessions[key];
        session.fill(reply, bytes);
        if session.blocked.take().is_some() {
            // It waited for nothing else.
            self.core.clients[key].flags.remove(ClientFlags::BLOCKED);
        }
        self.bound_output(key);
        if self.sessions[key].replies.unsent() > 0 {
            self.mark_dirty(key);
        }
    }

    /// Replies that wait until effects are durable: as many clients wait, or fewer, if they pipeline.
    pub fn held_replies(&self) -> usize {
        self.held.len()
    }

    /// This shard's effects up to number `seq` are durable: replies that waited for them may leave.
    pub fn durable(&mut self, seq: u64) {
        self.post.durable(seq);
        while self.held.front().is_some_and(|(due, _)| *due <= seq) {
            let Some((_, session)) = self.held.pop_front() else { return };
            let Some(key) = self.session_key(session) else { continue };
            if self.sessions[key].replies.durable(seq) {
                self.bound_output(key);
                self.mark_dirty(key);
                self.pump(key);
            }
        }
    }

    pub(super) fn log_slow<'a>(
        &mut self,
        client: Option<usize>,
        nanos: u64,
        argc: usize,
        argv: impl Iterator<Item = &'a [u8]>,
    ) {
        let client = client.and_then(|key| self.core.clients.get(key));
        let entry = SlowlogEntry {
            id: self.counters.next_slowlog(),
            at: self.core.now / 1000,
            micros: (nanos / 1000) as i64,
            argv: Slowlog::clip(argc, argv),
            addr: client.map(|client| client.addr.clone()).unwrap_or_default(),
            name: client.map(|client| client.name.clone()).unwrap_or_default(),
        };
        let max_len = self.core.settings.slowlog_max_len;
        self.core.slowlog.push(entry, max_len);
    }

    /// Sends what has waited for company long enough; true if some still waits.
    pub(super) fn flush_partial(&mut self) -> bool {
        let mut partial = std::mem::take(&mut self.partial);
        let now = self.core.now_us;
        partial.retain(|&id| {
            let Some(key) = self.session_key(id) else { return false };
            let waits = self.sessions[key].waits_for_company(now);
            if !waits && self.sessions[key].replies.unsent() > 0 {
                self.mark_dirty(key);
            }
            waits
        });
        self.partial = partial;
        !self.partial.is_empty()
    }

    /// Ends a turn: messages to this core itself go round until none is left, condemned clients go.
    pub fn finish_turn(&mut self) {
        let own = self.core.index;
        loop {
            let messages = self.post.take(own);
            if messages.is_empty() && !self.end_client_pause() {
                break;
            }
            messages.into_iter().for_each(|message| self.message(own, message));
        }
        while let Some(key) = self.core.doomed.pop() {
            self.broken(key);
        }
    }
}

/// Makes room for `more` bytes and, where a command has announced its length, for a good part of the
/// rest: doubling, so that a client cannot reserve by announcing alone.
fn reserve(input: &mut bytes::BytesMut, more: usize, wanted: usize) {
    let needed = input.len() + more;
    if needed > input.capacity() && wanted > needed {
        input.reserve(wanted.min(2 * needed) - input.len());
    }
}
