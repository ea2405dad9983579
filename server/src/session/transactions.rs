//! A session's transactions: MULTI, EXEC, WATCH, and single commands over several shards.

use super::connection::Multi;
use super::machine::Machine;
use crate::commands::{
    ClientFlags, Control, Flags, ReplyMode, Run, SyncRequest, admit_now, flags_of_exec, table,
};
use crate::limits;
use crate::resp::{Argv, Refusal, Reply};
use crate::transaction::{
    Coordinator, Env, Executed, Message, Outcome, Program, Queued, TransactionId, Verdict,
};

impl Machine {
    /// Starts a transaction; its reply takes the next place, and the session waits for it.
    pub(super) fn transact(&mut self, key: usize, program: Program, exec: bool) {
        let silent = self.core.clients[key].is_silent();
        let session = &mut self.sessions[key];
        session.awaited = (session.replies.reserve(silent), exec);
        let id = TransactionId { core: self.core.index, session: session.id, attempt: session.next_attempt };
        let watched = if exec { std::mem::take(&mut session.watched) } else { Vec::new() };
        let mut env = Env { core: &mut self.core, client: key, ring: self.ring, hasher: &self.hasher };
        let counters = &mut self.counters;
        let mut next_ticket = || counters.next_ticket();
        let (coordinator, outcome) =
            Coordinator::start(id, program, &watched, &mut env, &mut self.post, &mut next_ticket);
        let session = &mut self.sessions[key];
        if exec {
            // Kept until the transaction has ended: the versions must stay on record until then.
            session.watched = watched;
        }
        session.transaction = Some(Box::new(coordinator));
        self.conclude(key, outcome);
    }

    /// The session and its transaction that a message of another core is about.
    fn awaiting(&self, id: TransactionId) -> Option<usize> {
        let key = self.session_key(id.session)?;
        self.sessions[key].transaction.as_ref().filter(|waiting| waiting.id() == id).map(|_| key)
    }

    pub(super) fn scheduled(&mut self, id: TransactionId, verdict: Verdict) {
        let Some(key) = self.awaiting(id) else { return };
        let counters = &mut self.counters;
        let mut env = Env { core: &mut self.core, client: key, ring: self.ring, hasher: &self.hasher };
        let transaction = self.sessions[key].transaction.as_mut().expect("it awaits this verdict");
        let outcome =
            transaction.scheduled(verdict, &mut env, &mut self.post, &mut || counters.next_ticket());
        self.conclude(key, outcome);
        self.resume(key);
    }

    pub(super) fn executed(&mut self, executed: Executed) {
        let Some(key) = self.awaiting(executed.id) else { return };
        let mut env = Env { core: &mut self.core, client: key, ring: self.ring, hasher: &self.hasher };
        let transaction = self.sessions[key].transaction.as_mut().expect("it awaits these results");
        let outcome = transaction.executed(executed.results, &mut env, &mut self.post);
        self.conclude(key, outcome);
        self.resume(key);
    }

    fn resume(&mut self, key: usize) {
        if self.applier == Some(key) {
            self.begin_due_cut();
        }
        if self.sessions[key].transaction.is_none() {
            self.pump(key);
        }
    }

    fn conclude(&mut self, key: usize, outcome: Outcome) {
        let mut bytes = Vec::new();
        let mut established = Vec::new();
        match outcome {
            Outcome::Waiting => return,
            Outcome::Done(reply, watched) => (bytes, established) = (reply, watched),
            Outcome::Aborted => Reply::new(&mut bytes, self.core.clients[key].resp3).null_array(),
        }
        let session = &mut self.sessions[key];
        let ended = session.transaction.take();
        if let Some(ended) = &ended {
            session.next_attempt = ended.id().attempt + 1;
        }
        session.watched.extend(established);
        self.core.clients[key].watching = session.watched.len();
        let (reply, exec) = session.awaited;
        if let Some(ended) = ended.filter(|_| self.applier == Some(key)) {
            self.heed_replies(ended.commands(), &bytes, exec);
        }
        if exec {
            self.leave_multi(key);
            self.unwatch(key);
        }
        self.fill(key, reply, &bytes);
    }

    pub(super) fn control(&mut self, key: usize, control: Control, argv: Argv, row: u16) {
        let outcome = match control {
            Control::Multi => self.multi(key),
            Control::Exec => self.exec(key),
            Control::Discard => self.discard(key),
            Control::Watch => self.watch(key, argv, row),
            Control::Unwatch => {
                self.unwatch(key);
                self.answer(key, |reply| reply.ok());
                Ok(())
            }
            Control::Replicate => self.replicate(key, argv),
        };
        self.core.command_stats[row as usize].record(1, false);
        self.core.stats.commands_processed += 1;
        if let Err(refusal) = outcome {
            let line = refusal.line();
            self.core.count_error(&line);
            self.core.command_stats[row as usize].failed += 1;
            if self.applier == Some(key) {
                self.heed_reply(argv.get(0), format!("-{line}").as_bytes());
            }
            self.answer(key, |reply| reply.error_line(&line));
        }
    }

    fn multi(&mut self, key: usize) -> Result<(), Refusal> {
        let client = &mut self.core.clients[key];
        if client.is(ClientFlags::MULTI) {
            return Err(Refusal::err("MULTI calls can not be nested"));
        }
        client.flags |= ClientFlags::MULTI;
        self.sessions[key].multi = Some(Box::default());
        self.answer(key, |reply| reply.ok());
        Ok(())
    }

    /// Keeps a command for EXEC.
    pub(super) fn queue(&mut self, key: usize, row: u16, argv: Argv) {
        let session = &mut self.sessions[key];
        let multi: &mut Multi = session.multi.get_or_insert_default();
        let argv = argv.to_owned();
        multi.bytes += argv.memory();
        multi.queued.push(Queued { row, argv });
        let client = &mut self.core.clients[key];
        client.queued = multi.queued.len();
        client.multi_bytes = multi.bytes;
        if multi.bytes as u64 > self.core.settings.client_query_buffer_limit
            || multi.queued.len() > limits::MAX_ARGUMENTS
        {
            tracing::warn!(client = client.id, "closing a client that queued too much in MULTI");
            self.core.stats.query_limit_disconnections += 1;
            self.core.doomed.push(key);
        }
        self.answer(key, |reply| reply.simple("QUEUED"));
    }

    /// Leaves the MULTI state.
    pub(super) fn leave_multi(&mut self, key: usize) {
        let client = &mut self.core.clients[key];
        client.flags.remove(ClientFlags::MULTI | ClientFlags::MULTI_ABORTED);
        (client.queued, client.multi_bytes) = (0, 0);
        self.sessions[key].multi = None;
    }

    fn exec(&mut self, key: usize) -> Result<(), Refusal> {
        if !self.core.clients[key].is(ClientFlags::MULTI) {
            return Err(Refusal::err("EXEC without MULTI"));
        }
        let aborted = self.core.clients[key].is(ClientFlags::MULTI_ABORTED);
        let queued = self.sessions[key].multi.take().map(|multi| multi.queued).unwrap_or_default();
        let takes_memory = |queued: &Queued| table().row(queued.row).flags.contains(Flags::DENYOOM);
        let reason = if aborted {
            Some(" previous errors.")
        } else if self.core.out_of_memory && queued.iter().any(takes_memory) {
            Some(": OOM command not allowed when used memory > 'maxmemory'.")
        } else {
            None
        };
        let discarded = match reason {
            Some(reason) => Some(reason.to_owned()),
            None => self.refuse_exec(key, &queued).err().map(|refusal| format!(": {}", refusal.line())),
        };
        if let Some(reason) = discarded {
            self.leave_multi(key);
            self.unwatch(key);
            return Err(Refusal::Text(format!("EXECABORT Transaction discarded because of{reason}").into()));
        }
        // To the commands in it the client is still in MULTI; `conclude` ends that.
        self.transact(key, Program::new(queued, true), true);
        Ok(())
    }

    /// What has become wrong with the queued commands since they were admitted.
    fn refuse_exec(&self, key: usize, queued: &[Queued]) -> Result<(), Refusal> {
        let flags = queued.iter().map(|queued| table().row(queued.row).flags);
        admit_now(flags_of_exec(Flags::STALE | Flags::LOADING, flags), &self.core, key)
    }

    fn discard(&mut self, key: usize) -> Result<(), Refusal> {
        if !self.core.clients[key].is(ClientFlags::MULTI) {
            return Err(Refusal::err("DISCARD without MULTI"));
        }
        self.leave_multi(key);
        self.unwatch(key);
        self.answer(key, |reply| reply.ok());
        Ok(())
    }

    fn watch(&mut self, key: usize, argv: Argv, row: u16) -> Result<(), Refusal> {
        if self.core.clients[key].is(ClientFlags::MULTI) {
            return Err(Refusal::err("WATCH inside MULTI is not allowed"));
        }
        debug_assert!(matches!(table().row(row).run, Run::Control(Control::Watch)));
        let queued = Queued { row, argv: argv.to_owned() };
        self.transact(key, Program::new(vec![queued], false), false);
        Ok(())
    }

    /// Lets go of all watched keys.
    pub(super) fn unwatch(&mut self, key: usize) {
        let watched = std::mem::take(&mut self.sessions[key].watched);
        self.core.clients[key].watching = 0;
        let mut by_home: Vec<Vec<(usize, Vec<u8>)>> = vec![Vec::new(); self.ring.shards()];
        for row in watched {
            let home = self.ring.home(crate::keyspace::slot_of(&row.key));
            by_home[home].push((row.db, row.key));
        }
        for (home, keys) in by_home.into_iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
            self.post.send(home, Message::Unwatch(keys));
        }
    }

    /// PSYNC and SYNC: once its replies have left, the connection is a replica's.
    fn replicate(&mut self, key: usize, argv: Argv) -> Result<(), Refusal> {
        if self.applier == Some(key) {
            self.fail_apply("it asks for replication");
            return Ok(());
        }
        self.sessions[key].sync = Some(Box::new(SyncRequest::parse(&self.core, argv)?));
        Ok(())
    }
}

impl crate::commands::Client {
    /// Whether CLIENT REPLY drops the reply to the command that runs now.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.flags.intersects(ClientFlags::CLOSE_AFTER_REPLY | ClientFlags::KILLED)
    }
}
