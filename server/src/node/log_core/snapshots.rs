//! Snapshots: which is due, and its way into its file or to the replicas.

use super::*;
use crate::node::files::create_unnamed;
use crate::node::snapshot::Sink;
use crate::rdb::Checksum;

/// From a snapshot that failed to the next one.
const RETRY_MS: u64 = 5000;

impl LogCore {
    pub(super) fn asked(&mut self, from: usize, ask: Ask) {
        let asker = ask.reply_to.map(|(session, reply)| Asker { core: from, session, reply });
        let busy = self.snapshot.as_ref().map(|snapshot| snapshot.purpose);
        let rewriting = busy == Some(Purpose::Rewrite);
        let answer: Result<&str, &str> = match ask.task {
            Task::Save | Task::BgSave { .. } if busy == Some(Purpose::Save) => {
                Err("ERR Background save already in progress")
            }
            Task::Save => return self.queue.push_back((Purpose::Save, asker)),
            Task::Shutdown(how) => return self.shutdown(how, asker),
            Task::SaveEmpty => {
                if !self.queue.contains(&(Purpose::Save, None)) {
                    self.queue.push_back((Purpose::Save, None));
                }
                return;
            }
            Task::BgSave { schedule: false } if rewriting => Err(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in \
                 order to schedule a BGSAVE whenever possible.",
            ),
            Task::BgSave { .. } => {
                self.queue.push_back((Purpose::Save, None));
                Ok(if rewriting { "Background saving scheduled" } else { STARTED })
            }
            Task::GiveUp => return self.give_up(asker),
            Task::EndLink(client) => return self.end_link(client),
            Task::ReplicaOf(primary) => {
                let role = primary.map_or(Role::Lead, |(host, port)| Role::Follow { host, port });
                return self.change_role(role, asker);
            }
            Task::Failover(plan) => self.begin_failover(plan),
            Task::AbortFailover => self.abort_failover(),
            Task::Wait { replicas, timeout_ms } => {
                let replicas = usize::try_from(replicas).unwrap_or(0);
                return self.wait_for(asker, Goal::Applied { replicas }, timeout_ms);
            }
            Task::WaitAof { local, replicas, timeout_ms } => {
                let replicas = usize::try_from(replicas).unwrap_or(0);
                return self.wait_for(asker, Goal::Durable { local, replicas }, timeout_ms);
            }
            Task::RewriteAof if !self.settings.appendonly => {
                Err("ERR There is no append-only file to rewrite: appendonly is off")
            }
            Task::RewriteAof if rewriting => {
                Err("ERR Background append only file rewriting already in progress")
            }
            Task::RewriteAof => {
                self.queue.push_back((Purpose::Rewrite, None));
                Ok(match busy {
                    Some(_) => "Background append only file rewriting scheduled",
                    None => "Background append only file rewriting started",
                })
            }
        };
        self.look_after_snapshots();
        self.publish();
        // INFO knows of it when the answer comes.
        match &mut self.snapshot {
            Some(snapshot) if answer == Ok(STARTED) && snapshot.purpose == Purpose::Save => {
                snapshot.starter = asker
            }
            _ => self.answer(asker, answer),
        }
    }

    pub(super) fn answer(&mut self, asker: Option<Asker>, answer: Result<&str, &str>) {
        self.answer_with(asker, |reply| match answer {
            Ok(line) => reply.simple(line),
            Err(line) => reply.error_line(line),
        });
    }

    pub(super) fn answer_with(&mut self, asker: Option<Asker>, write: impl FnOnce(&mut Reply)) {
        self.reply(asker, false, write);
    }

    /// `last`: the connection is closed behind it.
    pub(super) fn reply(&mut self, asker: Option<Asker>, last: bool, write: impl FnOnce(&mut Reply)) {
        let Some(Asker { core, session, reply }) = asker else { return };
        let mut bytes = Vec::new();
        write(&mut Reply::new(&mut bytes, false));
        let late = Message::Late(Late { session, reply, bytes, last });
        self.port.send(core, Mail::Messages(vec![late]));
    }

    /// Begins what is due: what was asked for, a save point reached, a log that has grown.
    pub(super) fn look_after_snapshots(&mut self) {
        if self.facts.loading || self.facts.async_loading {
            return;
        }
        self.look_after_stop();
        let now = now_ms();
        if now >= self.published + LONGEST_SLEEP_MS {
            self.look_after_replicas();
            if self.settings.appendonly && self.directory.is_none() && now >= self.retry_at {
                self.turn_on_or_refuse();
            }
            self.publish();
            if self.snapshot.is_none() && self.queue.is_empty() && now >= self.retry_at && !self.is_ending() {
                self.queue.extend(self.due().map(|purpose| (purpose, None)));
            }
        }
        if self.snapshot.is_none()
            && self.role_cut.is_none()
            && let Some((purpose, asker)) = self.queue.pop_front()
        {
            self.begin_snapshot(purpose, asker);
        }
    }

    fn due(&self) -> Option<Purpose> {
        let changes = self.shared.changes() - self.saved_changes;
        let elapsed = clock::unix_us() / 1_000_000 - self.facts.last_save;
        let reached = self
            .settings
            .save
            .iter()
            .any(|point| changes >= point.changes.max(1) && elapsed > i64::from(point.seconds));
        if reached {
            return Some(Purpose::Save);
        }
        if self.found_due {
            return Some(Purpose::Rewrite);
        }
        let journal = self.journal.as_ref()?;
        let (size, base) = (self.facts.aof_size, self.facts.aof_base_size.max(1));
        let percentage = u64::from(self.settings.auto_aof_rewrite_percentage);
        let grown = percentage > 0
            && size >= self.settings.auto_aof_rewrite_min_size
            && (size - base.min(size)) * 100 / base >= percentage;
        (grown || journal.needs_rewrite()).then_some(Purpose::Rewrite)
    }

    pub(super) fn begin_snapshot(&mut self, purpose: Purpose, asker: Option<Asker>) {
        if purpose == Purpose::Rewrite && self.directory.is_none() {
            tracing::info!("there is no append-only file to rewrite");
            return self.ended(purpose, true);
        }
        match self.sink(purpose) {
            Ok(sink) => {
                self.cuts += 1;
                let number = NonZeroU64::MIN.saturating_add(self.cuts);
                let now = clock::unix_us() / 1_000_000;
                let facts = (now, self.shared.changes(), self.shards);
                let checksum = Checksum::new(self.settings.rdbchecksum);
                let mut snapshot = Snapshot::new(number, purpose, asker, sink, facts, checksum);
                if !self.follows() {
                    snapshot.is_asked = true;
                    let kind = if purpose == Purpose::Save { Cut::Snapshot } else { Cut::Stream };
                    self.port.send(0, Mail::Cut(number, kind));
                }
                self.snapshot = Some(snapshot);
                tracing::info!("{purpose:?} begins");
            }
            Err((path, error)) => {
                tracing::warn!("cannot create '{}': {error}", path.display());
                if purpose == Purpose::Sync {
                    self.primary.abandon_walk();
                    self.retry_at = now_ms() + RETRY_MS;
                }
                self.ended(purpose, false);
                self.answer(asker, Err("ERR"));
            }
        }
        self.publish();
    }

    fn sink(&mut self, purpose: Purpose) -> Result<Sink, (PathBuf, std::io::Error)> {
        let dir = PathBuf::from(&self.settings.dir);
        let (path, file) = match (purpose, &self.directory) {
            (Purpose::Sync, _) if self.primary.begin_walk(clock::random_id()) => return Ok(Sink::Replicas),
            (Purpose::Sync, _) => {
                let path = dir.join(format!("temp-sync-{}.rdb", std::process::id()));
                (path.clone(), create_unnamed(&path))
            }
            (Purpose::Rewrite, Some(directory)) => {
                let path = directory.path(&temporary("base.rdb"));
                (path.clone(), File::create(&path))
            }
            _ => {
                let path = dir.join(format!("temp-{}.rdb", std::process::id()));
                (path.clone(), File::create(&path))
            }
        };
        match file {
            Ok(file) => Ok(Sink::File { path, file: Rc::new(file) }),
            Err(error) => Err((path, error)),
        }
    }

    /// Passes on what the shards have sent.
    pub(super) fn write_snapshot(&mut self) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let is_sync = snapshot.purpose == Purpose::Sync;
        if is_sync && !self.primary.is_walk_wanted() {
            return self.fail_snapshot(&std::io::Error::other("no replica waits for it any more"));
        }
        let Sink::File { file, .. } = &snapshot.sink else { return self.send_snapshot() };
        let file = Rc::clone(file);
        if let Some((offset, bytes)) = snapshot.next_write() {
            let op = self.net.write(&file, bytes, offset);
            self.operations.insert(op, Operation::SnapshotWrite(snapshot.number));
        } else if snapshot.is_written() && is_sync {
            // It is not to outlive us.
            self.finish_snapshot();
        } else if snapshot.is_written() && !snapshot.flushing {
            snapshot.flushing = true;
            let op = self.net.flush(&file);
            self.operations.insert(op, Operation::SnapshotFlush(snapshot.number));
        }
    }

    fn send_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|_| self.primary.takes_piece()) else { return };
        if snapshot.is_writing() {
            let number = snapshot.number.get();
            for shard in snapshot.wrote() {
                self.port.send(shard, Mail::ChunkTaken(number));
            }
        }
        if let Some((_, bytes)) = snapshot.next_write() {
            self.primary.piece(bytes);
        } else if snapshot.is_written() {
            self.finish_snapshot();
        }
    }

    /// The snapshot is whole and where it belongs: a file gets its name.
    pub(super) fn finish_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.take() else { return };
        let placed = match (&snapshot.sink, &mut self.journal) {
            (Sink::Replicas, _) => {
                self.primary.end_walk();
                Ok(())
            }
            (Sink::File { file, .. }, _) if snapshot.purpose == Purpose::Sync => {
                let number = snapshot.number.get();
                self.sync_files.insert(number, Rc::clone(file));
                self.primary.end_file(number, snapshot.size());
                Ok(())
            }
            (Sink::File { .. }, Some(journal)) if snapshot.purpose == Purpose::Rewrite => {
                self.facts.aof_base_size = snapshot.size();
                self.aof_elsewhere = snapshot.size();
                journal.rebase(temporary("base.rdb"));
                Ok(())
            }
            (Sink::File { path, .. }, _) => {
                let dir = PathBuf::from(&self.settings.dir);
                let target = dir.join(&self.settings.dbfilename);
                fs::rename(path, target).and_then(|()| flush_directory(&dir))
            }
        };
        if let Err(error) = placed {
            self.snapshot = Some(snapshot);
            return self.fail_snapshot(&error);
        }
        let now = clock::unix_us() / 1_000_000;
        tracing::info!(
            "{:?} ends: {} bytes in {} s",
            snapshot.purpose,
            snapshot.size(),
            now - snapshot.began
        );
        match snapshot.purpose {
            Purpose::Save => {
                self.saved_changes = snapshot.changes;
                self.facts.last_save = now;
                self.facts.last_save_seconds = now - snapshot.began;
            }
            Purpose::Rewrite => self.facts.last_rewrite_seconds = now - snapshot.began,
            Purpose::Sync => {}
        }
        self.ended(snapshot.purpose, true);
        self.answer(snapshot.asker, Ok("OK"));
    }

    pub(super) fn fail_snapshot(&mut self, error: &std::io::Error) {
        let Some(snapshot) = self.snapshot.take() else { return };
        let cut = snapshot.number.get();
        (0..self.shards).for_each(|shard| self.port.send(shard, Mail::EndCut(cut)));
        match &snapshot.sink {
            Sink::File { path, .. } => {
                tracing::warn!("cannot write '{}': {error}", path.display());
                // It has a temporary name: at worst it stays until the next start.
                let _ = fs::remove_file(path);
            }
            Sink::Replicas => tracing::warn!("the snapshot for replicas ends: {error}"),
        }
        if snapshot.purpose == Purpose::Sync {
            self.primary.abandon_walk();
            if error.raw_os_error().is_some() {
                // A disk that is full now is so when the replicas come back a second later.
                self.retry_at = now_ms() + RETRY_MS;
            }
        }
        if snapshot.purpose == Purpose::Rewrite
            && let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_rewriting())
        {
            journal.abandon();
        }
        self.ended(snapshot.purpose, false);
        self.answer(snapshot.starter, Ok(STARTED));
        self.answer(snapshot.asker, Err("ERR"));
    }

    pub(super) fn ended(&mut self, purpose: Purpose, well: bool) {
        if !well && purpose != Purpose::Sync {
            self.retry_at = now_ms() + RETRY_MS;
        }
        match purpose {
            Purpose::Save => {
                self.facts.saves += 1;
                self.facts.last_save_failed = !well;
                self.saved(well);
            }
            Purpose::Rewrite => {
                self.facts.rewrites += 1;
                self.facts.rewrite_failures = if well { 0 } else { self.facts.rewrite_failures + 1 };
            }
            Purpose::Sync => {}
        }
        self.publish();
        self.tell_fault();
    }
}
