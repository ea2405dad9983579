//! The loop of the log core: the shards' effects into one stream, the stream and the snapshots into files.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Directory, flush_directory};
use super::loading::{Loader, Shards, Underway};
use super::mail::{Mail, Serve};
use super::progress::Progress;
use super::shared::Shared;
use super::snapshot::{self, Asker, Purpose, Snapshot};
use crate::commands::{Ask, LogFacts, Task};
use crate::config::Settings;
use crate::keyspace::Ring;
use crate::log::{Action, Doing, Journal, Manifest, Merged, Merger, manifest_name, temporary};
use crate::resp::Reply;
use crate::runtime::{Event, Fault, FileDone, FileOp, Net, NetOptions, Port, Wait, Waker, clock};
use crate::transaction::{Late, Message};

/// Longest sleep, ms: save points and figures are looked at as often.
const LONGEST_SLEEP_MS: u64 = 100;

/// What the log core is given at start.
pub struct LogParts {
    pub port: Port<Mail>,
    pub shared: Arc<Shared>,
    pub settings: Settings,
    /// Ends the server's wait for a signal, should the log core fail.
    pub waker: Waker,
    /// Called once the data is there and clients are served.
    pub ready: Box<dyn FnOnce() + Send>,
}

/// What a file operation belongs to.
enum Operation {
    JournalWrite,
    JournalFlush,
    /// Of a journal that has been turned off.
    Abandoned,
    /// Of the cut of this number.
    SnapshotWrite(NonZeroU64),
    SnapshotFlush(NonZeroU64),
}

struct LogCore {
    net: Net,
    port: Port<Mail>,
    shared: Arc<Shared>,
    settings: Settings,
    shards: usize,
    /// With `appendonly`. There is no journal before the cut with which a log turned on amid work begins; until then
    /// `founding` is what the directory holds.
    directory: Option<Directory>,
    journal: Option<Journal>,
    founding: Option<Manifest>,
    merger: Merger,
    /// New bytes of the stream, kept for its buffer.
    stream: Vec<u8>,
    /// For each shard: how far its effects have come.
    progress: Vec<Progress>,
    operations: HashMap<FileOp, Operation>,
    snapshot: Option<Snapshot>,
    /// Snapshots that wait for the one under way.
    queue: VecDeque<(Purpose, Option<Asker>)>,
    cuts: u64,
    underway: Underway,
    facts: LogFacts,
    told_facts: Option<LogFacts>,
    /// Why the journal refuses writes, and what the shards were last told of why writes are refused.
    journal_fault: Option<Box<str>>,
    told_fault: Option<Box<str>>,
    /// When the figures were last sent, and when a failed snapshot may be tried again; ms.
    published: u64,
    retry_at: u64,
    /// Effects of all shards when the last snapshot began.
    saved_changes: u64,
    stopping: bool,
}

/// Runs the log core until all shards have ended and the files are closed.
pub async fn run(parts: LogParts) -> Result<(), Fault> {
    let (shared, waker) = (Arc::clone(&parts.shared), parts.waker.clone());
    serve(parts).inspect_err(|_| {
        shared.stop();
        waker.wake();
    })
}

fn serve(parts: LogParts) -> Result<(), Fault> {
    let ready = parts.ready;
    let Some(mut core) = LogCore::start(parts.port, parts.shared, parts.settings)? else { return Ok(()) };
    ready();
    while !core.is_done() {
        core.turn();
    }
    Ok(())
}

impl LogCore {
    /// Loads the data; `None` if the server is told to stop meanwhile.
    fn start(port: Port<Mail>, shared: Arc<Shared>, settings: Settings) -> Result<Option<Self>, Fault> {
        let shards = port.core();
        let net = Net::new(NetOptions { buffers: 2, ..NetOptions::default() }, port.bell())?;
        let now = clock::unix_us() / 1_000_000;
        let mut core = LogCore {
            net,
            port,
            shared,
            settings,
            shards,
            directory: None,
            journal: None,
            founding: None,
            merger: Merger::new(shards, 0),
            stream: Vec::new(),
            progress: vec![Progress::default(); shards],
            operations: HashMap::new(),
            snapshot: None,
            queue: VecDeque::new(),
            cuts: 0,
            underway: Underway::new(shards),
            facts: LogFacts {
                loading: true,
                last_save: now,
                last_save_seconds: -1,
                last_rewrite_seconds: -1,
                ..LogFacts::default()
            },
            told_facts: None,
            journal_fault: None,
            told_fault: None,
            published: 0,
            retry_at: 0,
            saved_changes: 0,
            stopping: false,
        };
        core.publish();
        let loaded = core.load();
        if core.shared.is_stopping() {
            return Ok(None);
        }
        loaded?;
        core.serve(match (&core.journal, core.settings.save.is_empty()) {
            (Some(_), _) => Serve::Logged,
            (None, false) => Serve::Counted,
            (None, true) => Serve::Unlogged,
        });
        core.facts.loading = false;
        core.publish();
        Ok(Some(core))
    }

    fn serve(&mut self, serve: Serve) {
        (0..self.shards).for_each(|shard| self.port.send(shard, Mail::Serve(serve)));
    }

    // ---- loading ----

    fn load(&mut self) -> Result<(), Fault> {
        let began = clock::monotonic_us();
        let dir = PathBuf::from(&self.settings.dir);
        let dump = dir.join(&self.settings.dbfilename);
        if self.settings.appendonly {
            self.load_log(&dir, &dump)?;
        } else if dump.exists() {
            self.load_files(|loader| loader.snapshot(&dump))?;
        }
        let seconds = (clock::monotonic_us() - began) as f64 / 1e6;
        tracing::info!("the data is there after {seconds:.3} s");
        Ok(())
    }

    /// Runs `load` and says what came of it.
    fn load_files<T>(
        &mut self,
        load: impl FnOnce(&mut Loader<'_, Self>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (ring, databases) = (Ring::new(self.shards), self.settings.databases);
        let mut loader = Loader::new(self, ring, databases);
        let loaded = load(&mut loader)?;
        let (keys, bytes) = (loader.keys, loader.bytes);
        tracing::info!("loaded {keys} keys of snapshots and {bytes} bytes of commands");
        Ok(loaded)
    }

    fn load_log(&mut self, dir: &Path, dump: &Path) -> Result<(), Fault> {
        let prefix = self.settings.appendfilename.clone();
        let policy = self.settings.appendfsync;
        let directory = Directory::open(&dir.join(&self.settings.appenddirname))?;
        directory.sweep();
        match find_manifest(&directory, dir, &prefix)? {
            Some(manifest) => {
                let (length, at) = self.load_manifest(&directory, &manifest)?;
                self.merger = Merger::new(self.shards, at);
                self.journal = Some(Journal::resume(manifest, length, at, policy));
            }
            None if dump.exists() => {
                tracing::info!("no append-only file yet: beginning it with '{}'", dump.display());
                self.load_files(|loader| loader.snapshot(dump))?;
                self.found(Manifest::new(&prefix));
            }
            None => self.journal = Some(Journal::fresh(&prefix, snapshot::empty(), 0, policy)),
        }
        self.directory = Some(directory);
        Ok(())
    }

    /// The log begins with the next cut: with it all shards open their outboxes.
    fn found(&mut self, manifest: Manifest) {
        self.founding = Some(manifest);
        self.queue.push_back((Purpose::Rewrite, None));
    }

    /// Loads all files of the log; returns the good length of the last increment and the stream's offset there.
    fn load_manifest(&mut self, directory: &Directory, manifest: &Manifest) -> Result<(u64, u64), Fault> {
        let files: Vec<_> = manifest.files().cloned().collect();
        let last = manifest.last_increment().cloned();
        let torn_allowed = self.settings.aof_load_truncated;
        let mut at = 0;
        let mut length = 0;
        self.load_files(|loader| {
            for part in &files {
                let is_last = last.as_ref() == Some(part);
                length = loader.log(&directory.path(&part.name), torn_allowed && is_last)?;
                if part.kind == crate::log::Kind::Increment {
                    at = part.start.unwrap_or(at) + length;
                }
            }
            Ok(())
        })?;
        Ok(if last.is_some() { (length, at) } else { (0, at) })
    }

    // ---- a turn ----

    fn turn(&mut self) {
        let wait = self.wait();
        self.net.gather(wait, &self.port);
        self.take_events();
        self.take_mail();
        self.merge();
        self.write_journal();
        self.tell_fault();
        self.write_snapshot();
        self.tell_shards();
        self.look_after_snapshots();
        self.port.flush(&mut self.net);
    }

    fn wait(&mut self) -> Wait {
        let now = now_ms();
        let due = self.journal.as_ref().and_then(Journal::wake);
        let ms = due.map_or(LONGEST_SLEEP_MS, |due| due.saturating_sub(now).min(LONGEST_SLEEP_MS));
        if ms == 0 { Wait::Poll } else { Wait::AtMost(ms) }
    }

    fn take_events(&mut self) {
        let mut done = Vec::new();
        while let Some(event) = self.net.next_event() {
            if let Event::File(ended) = event {
                done.push(ended);
            }
        }
        done.into_iter().for_each(|ended| self.file_done(ended));
    }

    fn take_mail(&mut self) {
        while let Some((from, mail)) = self.port.receive() {
            match mail {
                Mail::Effects(effects) => self.merger.push(from, effects),
                Mail::Ask(ask) => self.asked(from, ask),
                Mail::Chunk(cut, chunk) => {
                    if let Some(snapshot) = self.snapshot.as_mut().filter(|one| one.number.get() == cut) {
                        snapshot.take(from, chunk);
                    }
                }
                Mail::Loaded(outcome) => {
                    self.underway.batches[from] -= 1;
                    if let Err(failure) = outcome {
                        self.underway.failure.get_or_insert(failure);
                    }
                }
                Mail::Applied(applied) => self.underway.applied = applied,
                Mail::ApplyFailed(why) => {
                    self.underway
                        .failure
                        .get_or_insert(format!("the append-only file cannot be applied: {why}"));
                }
                Mail::Settings(settings) => self.apply_settings(*settings),
                _ => unreachable!("shards send the log core nothing else"),
            }
        }
    }

    /// Applies what a CONFIG SET changed.
    fn apply_settings(&mut self, settings: Settings) {
        let before = std::mem::replace(&mut self.settings, settings);
        if let Some(journal) = &mut self.journal {
            journal.set_policy(self.settings.appendfsync);
        }
        if self.settings.appendonly == before.appendonly {
            return;
        }
        if self.settings.appendonly {
            if let Err(fault) = self.turn_on() {
                tracing::warn!("the append-only file cannot be turned on: {fault}");
            }
        } else {
            // Effects still come, and nobody keeps them.
            tracing::info!("the append-only file is turned off");
            if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.purpose == Purpose::Rewrite) {
                self.fail_snapshot(&std::io::Error::other("the append-only file is turned off"));
            }
            (self.journal, self.founding, self.directory, self.journal_fault) = (None, None, None, None);
            for operation in self.operations.values_mut() {
                if matches!(operation, Operation::JournalWrite | Operation::JournalFlush) {
                    *operation = Operation::Abandoned;
                }
            }
        }
    }

    fn turn_on(&mut self) -> Result<(), Fault> {
        let (dir, prefix) = (PathBuf::from(&self.settings.dir), self.settings.appendfilename.clone());
        let directory = Directory::open(&dir.join(&self.settings.appenddirname))?;
        let manifest = find_manifest(&directory, &dir, &prefix)?;
        self.found(manifest.unwrap_or_else(|| Manifest::new(&prefix)));
        self.directory = Some(directory);
        Ok(())
    }

    /// Orders what has come and appends it to the log.
    fn merge(&mut self) {
        let LogCore { merger, stream, progress, journal, snapshot, .. } = self;
        stream.clear();
        let mut cut = None;
        merger.merge(stream, &mut |merged| match merged {
            Merged::Cut { number, at } => cut = Some((number, at)),
            Merged::Consumed { shard, seq, at } => progress[shard].consumed.push_back((seq, at)),
        });
        let cut = cut.filter(|(number, _)| {
            snapshot.as_ref().is_some_and(|one| one.number == *number && one.purpose == Purpose::Rewrite)
        });
        if let (Some((_, at)), Some(manifest)) = (cut, self.founding.take_if(|_| cut.is_some())) {
            // What came before is in the snapshot.
            let behind = stream.len() - (merger.at() - at) as usize;
            stream.drain(..behind);
            *journal = Some(Journal::begin(manifest, at, self.settings.appendfsync));
            self.serve(Serve::Logged);
        }
        let LogCore { journal: Some(journal), stream, .. } = self else { return };
        journal.append(stream, now_ms());
        if let Some((_, at)) = cut.filter(|_| !journal.is_rewriting()) {
            journal.rotate(at);
        }
    }

    fn write_journal(&mut self) {
        let (Some(journal), Some(directory)) = (&mut self.journal, &mut self.directory) else { return };
        let now = now_ms();
        while let Some(action) = journal.next(now) {
            match action {
                Action::Write { offset, bytes } => {
                    let file = directory.current.clone().expect("a file is open before it is written");
                    let op = self.net.write(&file, bytes, offset);
                    self.operations.insert(op, Operation::JournalWrite);
                }
                Action::Flush => {
                    let file = directory.current.clone().expect("a file is open before it is flushed");
                    let op = self.net.flush(&file);
                    self.operations.insert(op, Operation::JournalFlush);
                }
                Action::Truncate { length } => journal.truncated(directory.truncate(length), now),
                Action::Steps(steps) => {
                    let (done, error) = directory.carry_out(&steps);
                    journal.stepped(done, error, now);
                }
            }
        }
        let trouble = journal.trouble();
        self.journal_fault = trouble.filter(|trouble| trouble.refuses).map(|trouble| {
            let doing = match trouble.doing {
                Doing::Writing | Doing::Rotating | Doing::Rebasing => "writing to",
                Doing::Flushing => "flushing",
            };
            let error = std::io::Error::from_raw_os_error(trouble.error);
            format!("Errors {doing} the AOF file: {error}").into_boxed_str()
        });
        self.facts.last_write_failed = trouble.is_some();
    }

    /// Tells the shards why writes are refused, if that has changed.
    fn tell_fault(&mut self) {
        let snapshots_fail = self.facts.last_save_failed
            && self.settings.stop_writes_on_bgsave_error
            && !self.settings.save.is_empty();
        let fault = self.journal_fault.as_deref().or_else(|| snapshots_fail.then_some(SNAPSHOTS_FAIL));
        if fault == self.told_fault.as_deref() {
            return;
        }
        match &fault {
            Some(why) => tracing::warn!("writes are refused: {why}"),
            None => tracing::info!("writes are accepted again"),
        }
        let fault: Option<Box<str>> = fault.map(Into::into);
        (0..self.shards).for_each(|shard| self.port.send(shard, Mail::WriteFault(fault.clone())));
        self.told_fault = fault;
    }

    fn file_done(&mut self, done: FileDone) {
        let FileDone { op, bytes, written, error } = done;
        let now = now_ms();
        match self.operations.remove(&op) {
            Some(Operation::JournalWrite) => {
                if let Some(journal) = &mut self.journal {
                    journal.wrote(bytes, written, error, now);
                }
            }
            Some(Operation::JournalFlush) => {
                if let Some(journal) = &mut self.journal {
                    journal.flushed(error);
                }
            }
            Some(Operation::SnapshotWrite(number) | Operation::SnapshotFlush(number))
                if self.snapshot.as_ref().is_none_or(|one| one.number != number) => {}
            Some(Operation::SnapshotWrite(number)) if error == 0 => {
                let Some(snapshot) = &mut self.snapshot else { return };
                for shard in snapshot.wrote(&bytes) {
                    self.port.send(shard, Mail::ChunkTaken(number.get()));
                }
            }
            Some(Operation::SnapshotFlush(_)) if error == 0 => self.finish_snapshot(),
            Some(Operation::SnapshotWrite(_) | Operation::SnapshotFlush(_)) => {
                self.fail_snapshot(&std::io::Error::from_raw_os_error(error));
            }
            Some(Operation::Abandoned) => {}
            None => unreachable!("an operation ends once"),
        }
    }

    /// Tells each shard how far its effects have come, if that is news.
    fn tell_shards(&mut self) {
        let (written, durable) = match &self.journal {
            Some(journal) if journal.is_founded() => (journal.written(), journal.durable()),
            Some(journal) => (journal.written(), journal.written()),
            None => (self.merger.at(), self.merger.at()),
        };
        for (shard, progress) in self.progress.iter_mut().enumerate() {
            if let Some(news) = progress.reach(written, durable) {
                self.port.send(shard, Mail::Logged(news));
            }
        }
    }

    // ---- snapshots ----

    fn asked(&mut self, from: usize, ask: Ask) {
        let asker = ask.reply_to.map(|(session, reply)| Asker { core: from, session, reply });
        let busy = self.snapshot.as_ref().map(|snapshot| snapshot.purpose);
        let rewriting = busy == Some(Purpose::Rewrite);
        let answer: Result<&str, &str> = match ask.task {
            Task::Save | Task::BgSave { .. } if busy == Some(Purpose::Save) => {
                Err("ERR Background save already in progress")
            }
            Task::Save => return self.queue.push_back((Purpose::Save, asker)),
            Task::BgSave { schedule: false } if rewriting => Err(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in \
                 order to schedule a BGSAVE whenever possible.",
            ),
            Task::BgSave { .. } => {
                self.queue.push_back((Purpose::Save, None));
                Ok(if rewriting { "Background saving scheduled" } else { "Background saving started" })
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
        self.answer(asker, answer);
        self.look_after_snapshots();
        self.publish();
    }

    fn answer(&mut self, asker: Option<Asker>, answer: Result<&str, &str>) {
        let Some(Asker { core, session, reply }) = asker else { return };
        let mut bytes = Vec::new();
        let mut writer = Reply::new(&mut bytes, false);
        match answer {
            Ok(line) => writer.simple(line),
            Err(line) => writer.error_line(line),
        }
        let late = Message::Late(Late { session, reply, bytes });
        self.port.send(core, Mail::Messages(vec![late]));
    }

    /// Begins what is due: what was asked for, a save point reached, a log that has grown.
    fn look_after_snapshots(&mut self) {
        let now = now_ms();
        if now >= self.published + LONGEST_SLEEP_MS {
            self.publish();
            if self.snapshot.is_none() && self.queue.is_empty() && now >= self.retry_at && !self.stopping {
                self.queue.extend(self.due().map(|purpose| (purpose, None)));
            }
        }
        if self.snapshot.is_none()
            && let Some((purpose, asker)) = self.queue.pop_front()
        {
            self.begin_snapshot(purpose, asker);
        }
        if !self.stopping && self.shared.is_stop_asked() {
            self.prepare_stop();
        }
        if self.stopping && self.snapshot.is_none() && self.queue.is_empty() && !self.shared.is_stopping() {
            self.shared.stop();
            // It wakes them, and there is no cut to end.
            (0..self.shards).for_each(|shard| self.port.send(shard, Mail::EndCut(0)));
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
        let journal = self.journal.as_ref()?;
        let (size, base) = (self.facts.aof_size, self.facts.aof_base_size.max(1));
        let percentage = u64::from(self.settings.auto_aof_rewrite_percentage);
        let grown = percentage > 0
            && size >= self.settings.auto_aof_rewrite_min_size
            && (size - base.min(size)) * 100 / base >= percentage;
        (grown || journal.needs_rewrite()).then_some(Purpose::Rewrite)
    }

    fn begin_snapshot(&mut self, purpose: Purpose, asker: Option<Asker>) {
        if purpose == Purpose::Rewrite && self.directory.is_none() {
            tracing::info!("there is no append-only file to rewrite");
            return self.ended(purpose, true);
        }
        self.cuts += 1;
        let number = NonZeroU64::MIN.saturating_add(self.cuts);
        let path = match (purpose, &self.directory) {
            (Purpose::Rewrite, Some(directory)) => directory.path(&temporary("base.rdb")),
            _ => PathBuf::from(&self.settings.dir).join(format!("temp-{}.rdb", std::process::id())),
        };
        let now = clock::unix_us() / 1_000_000;
        match File::create(&path) {
            Ok(file) => {
                let facts = (now, self.shared.changes(), self.shards);
                self.snapshot = Some(Snapshot::new(number, purpose, asker, path, file, facts));
                self.port.send(0, Mail::Cut(number));
                tracing::info!("{purpose:?} begins");
            }
            Err(error) => {
                tracing::warn!("cannot create '{}': {error}", path.display());
                self.answer(asker, Err("ERR"));
                self.ended(purpose, false);
            }
        }
        self.publish();
    }

    fn write_snapshot(&mut self) {
        let Some(snapshot) = &mut self.snapshot else { return };
        if let Some((offset, bytes)) = snapshot.next_write() {
            let op = self.net.write(&snapshot.file, bytes, offset);
            self.operations.insert(op, Operation::SnapshotWrite(snapshot.number));
        } else if snapshot.is_written() && !snapshot.flushing {
            snapshot.flushing = true;
            let op = self.net.flush(&snapshot.file);
            self.operations.insert(op, Operation::SnapshotFlush(snapshot.number));
        }
    }

    /// The file is whole and on the disk: gives it its name.
    fn finish_snapshot(&mut self) {
        let Some(snapshot) = self.snapshot.take() else { return };
        let placed = match (snapshot.purpose, &mut self.journal) {
            (Purpose::Rewrite, Some(journal)) => {
                self.facts.aof_base_size = snapshot.size();
                journal.rebase(temporary("base.rdb"));
                Ok(())
            }
            _ => {
                let dir = PathBuf::from(&self.settings.dir);
                let target = dir.join(&self.settings.dbfilename);
                fs::rename(&snapshot.path, target).and_then(|()| flush_directory(&dir))
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
        }
        self.ended(snapshot.purpose, true);
        self.answer(snapshot.asker, Ok("OK"));
    }

    fn fail_snapshot(&mut self, error: &std::io::Error) {
        let Some(snapshot) = self.snapshot.take() else { return };
        tracing::warn!("cannot write '{}': {error}", snapshot.path.display());
        let cut = snapshot.number.get();
        (0..self.shards).for_each(|shard| self.port.send(shard, Mail::EndCut(cut)));
        // It has a temporary name: at worst it stays until the next start.
        let _ = fs::remove_file(&snapshot.path);
        if snapshot.purpose == Purpose::Rewrite
            && let Some(journal) = self.journal.as_mut().filter(|journal| journal.is_rewriting())
        {
            journal.abandon();
        }
        self.ended(snapshot.purpose, false);
        self.answer(snapshot.asker, Err("ERR"));
    }

    fn ended(&mut self, purpose: Purpose, well: bool) {
        if !well {
            self.retry_at = now_ms() + 5000;
        }
        match purpose {
            Purpose::Save => {
                self.facts.saves += 1;
                self.facts.last_save_failed = !well;
            }
            Purpose::Rewrite => {
                self.facts.rewrites += 1;
                self.facts.last_rewrite_failed = !well;
            }
        }
        self.publish();
        self.tell_fault();
    }

    /// Tells all shards what INFO says of the files.
    fn publish(&mut self) {
        self.published = now_ms();
        let facts = &mut self.facts;
        let purpose = self.snapshot.as_ref().map(|snapshot| (snapshot.purpose, snapshot.began));
        facts.saving = matches!(purpose, Some((Purpose::Save, _)));
        facts.rewriting = matches!(purpose, Some((Purpose::Rewrite, _)));
        facts.saving_since = purpose.map_or(0, |(_, began)| began);
        facts.rewriting_since = facts.saving_since;
        facts.rewrite_scheduled = self.queue.iter().any(|(purpose, _)| *purpose == Purpose::Rewrite);
        facts.changes_since_save = self.shared.changes() - self.saved_changes;
        if let Some(journal) = &self.journal {
            facts.aof_size = facts.aof_base_size + journal.length();
            facts.offset = self.merger.at();
            facts.durable_offset = journal.durable();
            facts.pending = facts.offset - journal.written().min(facts.offset);
        }
        if self.told_facts.as_ref() == Some(&self.facts) {
            return;
        }
        for shard in 0..self.shards {
            self.port.send(shard, Mail::Facts(Box::new(self.facts.clone())));
        }
        self.told_facts = Some(self.facts.clone());
    }

    // ---- the end ----

    /// The server is asked to stop: a last snapshot, if the save points say so, before the shards go.
    fn prepare_stop(&mut self) {
        self.stopping = true;
        let due = !self.settings.save.is_empty() && self.shared.changes() > self.saved_changes;
        if self.shared.save_at_stop().unwrap_or(due) {
            self.queue.push_back((Purpose::Save, None));
        }
    }

    /// Whether the shards are gone, their last effects here, and all of them on the disk.
    fn is_done(&mut self) -> bool {
        if !self.shared.all_drained() {
            return false;
        }
        self.take_mail();
        self.merge();
        let Some(journal) = &mut self.journal else { return self.operations.is_empty() };
        journal.close();
        let settled = journal.is_settled() || journal.trouble().is_some();
        settled && self.operations.is_empty()
    }
}

const SNAPSHOTS_FAIL: &str = "Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
     Commands that may modify the data set are disabled, because this instance is configured to report errors \
     during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
     details about the RDB error.";

impl Shards for LogCore {
    fn send(&mut self, shard: usize, mail: Mail) {
        self.port.send(shard, mail);
    }

    fn turn(&mut self) -> Result<(), Fault> {
        self.port.flush(&mut self.net);
        self.net.gather(Wait::AtMost(10), &self.port);
        self.take_events();
        self.take_mail();
        if self.shared.is_stop_asked() {
            self.shared.stop();
            return Err(Fault::new("stopped while loading"));
        }
        Ok(())
    }

    fn state(&mut self) -> &mut Underway {
        &mut self.underway
    }
}

/// Milliseconds of a clock that never goes back.
fn now_ms() -> u64 {
    clock::monotonic_us() / 1000
}

/// The manifest of the log in `directory`, or one that adopts an old-style file in `dir`.
fn find_manifest(directory: &Directory, dir: &Path, prefix: &str) -> Result<Option<Manifest>, Fault> {
    let path = directory.path(&manifest_name(prefix));
    match fs::read(&path) {
        Ok(text) => {
            let manifest = Manifest::parse(prefix, &text)
                .map_err(|error| Fault::new(format!("'{}' is damaged: {error}", path.display())))?;
            if let Some(part) = manifest.files().find(|part| !directory.path(&part.name).exists()) {
                let (manifest, file) = (path.display(), &part.name);
                return Err(Fault::new(format!("'{manifest}' names the file '{file}', which is missing")));
            }
            Ok(Some(manifest))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let old = dir.join(prefix);
            if !old.is_file() {
                return Ok(None);
            }
            tracing::info!("taking over the append-only file '{}'", old.display());
            let fault = |error| Fault::io(format!("cannot move '{}'", old.display()), &error);
            fs::rename(&old, directory.path(prefix)).map_err(fault)?;
            Ok(Some(Manifest::adopt(prefix, prefix)))
        }
        Err(error) => Err(Fault::io(format!("cannot read '{}'", path.display()), &error)),
    }
}
