//! The loop of the log core: the shards' effects into one stream, the stream and the snapshots into files.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::files::{Directory, flush_directory};
use super::loading::{Failure, Loader, Shards, Underway};
use super::mail::{Mail, Newcomer, Serve};
use super::progress::Progress;
use super::shared::Shared;
use super::snapshot::{self, Asker, Purpose, Snapshot};
use crate::commands::{Ask, Client, Cut, LoadFacts, LogFacts, ReplicationFacts, Task};
use crate::config::Settings;
use crate::keyspace::Ring;
use crate::log::{
    Action, Doing, Journal, Manifest, Merged, Merger, Part, Step, manifest_name, select, temporary,
};
use crate::replication::{Failover, Goal, History, Primary, ReplicaId, Waiters};
use crate::resp::Reply;
use crate::runtime::{
    ConnId, Event, Fault, FileDone, FileOp, Net, NetOptions, Port, Wait, Waker, clock, process, write_through,
};
use crate::transaction::{Late, Message};

mod failover;
mod figures;
mod following;
mod full_sync;
mod replicas;
mod snapshots;
mod start;
mod stopping;

use failover::Pause;
use figures::DiskFigures;
use following::{Role, Upstream};
use full_sync::Receiving;
use start::find_manifest;
use stopping::Stop;

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
    /// Where the kernel's workers for its files may run.
    pub cpus: Vec<usize>,
}

/// What a file operation belongs to.
enum Operation {
    JournalWrite,
    /// Began then, µs.
    JournalFlush(u64),
    /// Of a journal that has been turned off.
    Abandoned,
    /// Of the cut of this number.
    SnapshotWrite(NonZeroU64),
    SnapshotFlush(NonZeroU64),
    /// Of the primary's snapshot of this number.
    Received(u64),
}

struct LogCore {
    net: Net,
    port: Port<Mail>,
    shared: Arc<Shared>,
    settings: Settings,
    shards: usize,
    /// With `appendonly`. There is no journal before the cut with which a log turned on amid work begins; until then
    /// `founding` is what the directory holds, and `found_due` says whether it is time for that cut.
    directory: Option<Directory>,
    journal: Option<Journal>,
    founding: Option<Manifest>,
    found_due: bool,
    /// Bytes of the log's files besides the one that is written to.
    aof_elsewhere: u64,
    /// Something has become durable that nobody has been told.
    has_news: bool,
    /// The history is to be noted once the files are its own.
    history_due: bool,
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
    figures: DiskFigures,
    /// When the server's log last said how far long work has come, ms.
    progress_told: u64,
    facts: LogFacts,
    told_facts: Option<(LogFacts, ReplicationFacts)>,
    /// Why the journal refuses writes, and what the shards were last told of why writes are refused.
    journal_fault: Option<Box<str>>,
    told_fault: Option<Box<str>>,
    /// When the figures were last sent, and when a failed snapshot may be tried again; ms.
    published: u64,
    retry_at: u64,
    /// Effects of all shards when the last snapshot began.
    saved_changes: u64,
    stop: Option<Stop>,
    /// The stop came amid a load: there is half of something.
    is_half_loaded: bool,
    /// The servers that follow this one, by the numbers of their connections.
    primary: Primary,
    links: Slab<Box<Client>>,
    /// Snapshots that they are being sent, by the numbers of their cuts.
    sync_files: HashMap<u64, Rc<File>>,
    /// Clients that wait for replicas: those that asked in this turn, in the last one, and all before.
    asked_waits: Vec<Wish>,
    ripe_waits: Vec<Wish>,
    waiters: Waiters<Option<Asker>>,
    too_few_replicas: bool,
    /// The server that this one follows; what it is to become, and the cut under way for that.
    upstream: Option<Upstream>,
    /// The cut under way at which its snapshot takes the place of the data.
    swap_cut: Option<NonZeroU64>,
    next_role: Option<Role>,
    role_cut: Option<(NonZeroU64, Cut)>,
    role_askers: Vec<Asker>,
    /// Whether clients' writes wait for that; the replica that is to take over from us, our primary that wants us to.
    pause: Pause,
    failover: Option<Failover>,
    successions: Vec<Newcomer>,
    /// While stopping: how long replicas are waited for, ms.
    part_until: Option<u64>,
}

/// Who waits for what, until when (ms).
type Wish = (Option<Asker>, Goal, Option<u64>);

/// Runs the log core until all shards have ended and the files are closed.
pub async fn run(parts: LogParts) -> Result<(), Fault> {
    let (shared, waker) = (Arc::clone(&parts.shared), parts.waker.clone());
    let served = serve(parts);
    if served.is_err() {
        shared.stop();
    }
    waker.wake();
    served
}

fn serve(parts: LogParts) -> Result<(), Fault> {
    let LogParts { port, shared, settings, ready, cpus, .. } = parts;
    // It has little to do at a time, and on some of that others wait, perhaps a disk.
    process::run_in_short_slices();
    let Some(mut core) = LogCore::start(port, shared, settings, &cpus)? else { return Ok(()) };
    ready();
    while !core.is_done() {
        core.turn();
    }
    Ok(())
}

impl LogCore {
    fn new(port: Port<Mail>, shared: Arc<Shared>, settings: Settings) -> Result<Self, Fault> {
        let shards = port.core();
        let net = Net::new(NetOptions { buffers: 16, ..NetOptions::default() }, port.bell())?;
        let primary = Primary::new(History::new(clock::random_id()), replicas::bounds(&settings));
        let now = clock::unix_us() / 1_000_000;
        Ok(LogCore {
            net,
            port,
            shared,
            settings,
            shards,
            directory: None,
            journal: None,
            founding: None,
            found_due: false,
            aof_elsewhere: 0,
            has_news: false,
            history_due: false,
            merger: Merger::new(shards, 0),
            stream: Vec::new(),
            progress: vec![Progress::default(); shards],
            operations: HashMap::new(),
            snapshot: None,
            queue: VecDeque::new(),
            cuts: 0,
            underway: Underway::new(shards),
            figures: DiskFigures::default(),
            progress_told: 0,
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
            stop: None,
            is_half_loaded: false,
            primary,
            links: Slab::new(),
            sync_files: HashMap::new(),
            asked_waits: Vec::new(),
            ripe_waits: Vec::new(),
            waiters: Waiters::default(),
            too_few_replicas: false,
            upstream: None,
            swap_cut: None,
            next_role: None,
            role_cut: None,
            role_askers: Vec::new(),
            pause: Pause::default(),
            failover: None,
            successions: Vec::new(),
            part_until: None,
        })
    }

    /// Loads the data; `None` if the server is told to stop meanwhile.
    fn start(
        port: Port<Mail>,
        shared: Arc<Shared>,
        settings: Settings,
        cpus: &[usize],
    ) -> Result<Option<Self>, Fault> {
        let mut core = LogCore::new(port, shared, settings)?;
        core.net.spread_workers(cpus);
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
        core.next_role =
            core.settings.replicaof.clone().map(|(host, port)| Role::Follow { host: host.into(), port });
        core.publish();
        Ok(Some(core))
    }

    fn serve(&mut self, serve: Serve) {
        (0..self.shards).for_each(|shard| self.port.send(shard, Mail::Serve(serve)));
    }

    // ---- a turn ----

    fn turn(&mut self) {
        let wait = self.wait();
        self.net.gather(wait, &self.port);
        self.take_events();
        self.take_mail();
        self.merge();
        self.tell_fault();
        self.look_after_failover();
        self.look_after_role();
        self.write_snapshot();
        self.settle_waits();
        self.serve_replicas();
        self.tell_shards();
        self.look_after_snapshots();
        self.port.flush(&mut self.net);
        // Last, for it may take its time.
        self.write_journal();
    }

    fn wait(&mut self) -> Wait {
        let now = now_ms();
        let flush = self.journal.as_ref().and_then(Journal::wake);
        let due = flush.into_iter().chain(self.waiters.next_end()).min();
        let ms = due.map_or(LONGEST_SLEEP_MS, |due| due.saturating_sub(now).min(LONGEST_SLEEP_MS));
        let has_news = std::mem::take(&mut self.has_news);
        if ms == 0 || has_news || !self.ripe_waits.is_empty() { Wait::Poll } else { Wait::AtMost(ms) }
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
                Mail::CutHolds(cut, keys) => {
                    if let Some(snapshot) = self.snapshot.as_mut().filter(|one| one.number.get() == cut) {
                        snapshot.holds(keys);
                        // The shards that have not made it yet are locked until they have.
                        let starter = snapshot.starter.take();
                        self.answer(starter, Ok(STARTED));
                    }
                }
                Mail::Loaded(outcome) => {
                    self.underway.batches[from] -= 1;
                    if let Err(why) = outcome {
                        self.underway.failure.get_or_insert(Failure::Entry(why));
                    }
                }
                Mail::Applied(applied) => self.underway.applied = applied,
                Mail::ApplyFailed(why) if self.follows() => self.diverge(&why),
                Mail::ApplyFailed(why) => {
                    self.underway.failure.get_or_insert(Failure::Command(why));
                }
                Mail::Settings(settings) => self.apply_settings(*settings),
                Mail::Replica(newcomer) => self.welcome(*newcomer),
                Mail::Quiet(number) => self.quiet(number),
                _ => unreachable!("shards send the log core nothing else"),
            }
        }
    }

    /// Applies what a CONFIG SET changed.
    fn apply_settings(&mut self, settings: Settings) {
        let before = std::mem::replace(&mut self.settings, settings);
        self.primary.set_bounds(replicas::bounds(&self.settings));
        let manners = following::manners(&self.settings);
        if let Some(upstream) = &mut self.upstream {
            upstream.set_manners(manners);
        }
        // Writes that come behind the answer to CONFIG SET meet the new bound.
        self.judge_replicas();
        self.tell_fault();
        if let Some(journal) = &mut self.journal {
            journal.set_policy(self.settings.appendfsync);
        }
        for id in self.primary.ids() {
            self.net.set_nodelay(id, !self.settings.repl_disable_tcp_nodelay);
        }
        if self.settings.appendonly == before.appendonly {
            return;
        }
        if self.settings.appendonly {
            self.turn_on_or_refuse();
        } else {
            // Effects still come, and nobody keeps them.
            tracing::info!("the append-only file is turned off");
            if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.purpose == Purpose::Rewrite) {
                self.fail_snapshot(&std::io::Error::other("the append-only file is turned off"));
            }
            let manifest = self.drop_journal().or(self.founding.take());
            if let (Some(mut directory), Some(manifest)) = (self.directory.take(), manifest) {
                // Offsets will have gone on without these files when it is turned on again.
                let remove = |part: &Part| Step::Remove { name: part.name.clone() };
                directory.carry_out(&manifest.history().iter().map(remove).collect::<Vec<_>>());
            }
        }
    }

    /// Nothing more is written to the journal; returns what its directory holds.
    fn drop_journal(&mut self) -> Option<Manifest> {
        for operation in self.operations.values_mut() {
            if matches!(operation, Operation::JournalWrite | Operation::JournalFlush(_)) {
                *operation = Operation::Abandoned;
            }
        }
        self.journal_fault = None;
        self.facts.last_write_failed = false;
        self.journal.take().map(|journal| journal.manifest().clone())
    }

    /// Clients have been told that the file is on: until it is, and that is tried again and again, their writes are refused.
    fn turn_on_or_refuse(&mut self) {
        let turned = self.turn_on();
        self.facts.last_write_failed = turned.is_err();
        self.journal_fault = turned.err().map(|fault| {
            self.retry_at = now_ms() + 1000;
            format!("MISCONF Errors opening the AOF file: {fault}").into_boxed_str()
        });
        self.tell_fault();
    }

    fn turn_on(&mut self) -> Result<(), Fault> {
        let (dir, prefix) = (PathBuf::from(&self.settings.dir), self.settings.appendfilename.clone());
        let directory = Directory::open(&dir.join(&self.settings.appenddirname))?;
        let manifest = find_manifest(&directory, &dir, &prefix)?;
        if manifest.is_none() {
            directory.announce_log(&prefix)?;
        }
        self.directory = Some(directory);
        self.found(manifest.unwrap_or_else(|| Manifest::new(&prefix)));
        Ok(())
    }

    /// Orders what has come, for the files and the replicas.
    fn merge(&mut self) {
        let LogCore { merger, stream, progress, .. } = self;
        stream.clear();
        let mut cut = None;
        merger.merge(stream, &mut |merged| match merged {
            Merged::Cut { number, at } => cut = Some((number, at)),
            Merged::Consumed { shard, seq, at } => progress[shard].consumed.push_back((seq, at)),
        });
        let number = cut.map(|(number, _)| number);
        let purpose = self.snapshot.as_mut().filter(|one| Some(one.number) == number).map(|snapshot| {
            snapshot.is_cut = true;
            snapshot.purpose
        });
        let at = cut.map_or(0, |(_, at)| at);
        if purpose == Some(Purpose::Sync) {
            let start = self.merger.at() - self.stream.len() as u64;
            self.primary.walk_at(at, start, now_ms());
        }
        let mut stream = std::mem::take(&mut self.stream);
        self.primary.append(&stream, self.journal.as_ref().is_some_and(Journal::is_founded));
        let rewrites = purpose == Some(Purpose::Rewrite);
        // Our own stream names its database behind a cut, a primary's does not.
        let names_db = rewrites && self.follows();
        let prelude = if names_db { select(self.underway.applied.db) } else { Vec::new() };
        if let Some(manifest) = self.founding.take_if(|_| rewrites) {
            // What came before is in the snapshot.
            let behind = stream.len() - (self.merger.at() - at) as usize;
            stream.drain(..behind);
            self.found_due = false;
            self.journal = Some(Journal::begin(manifest, at, self.settings.appendfsync, prelude.clone()));
            self.serve(Serve::Logged);
        }
        if let Some(journal) = &mut self.journal {
            journal.append(&stream, now_ms());
            if rewrites && !journal.is_rewriting() {
                journal.set_prelude(prelude);
                journal.rotate(at);
            }
        }
        self.stream = stream;
        if let Some((_, kind)) = self.role_cut.take_if(|(due, _)| Some(*due) == number) {
            self.begin_role(kind, at);
        }
        if number.is_some() && number == self.swap_cut {
            self.swap_cut = None;
        }
    }

    fn write_journal(&mut self) {
        let (Some(journal), Some(directory)) = (&mut self.journal, &mut self.directory) else { return };
        let now = now_ms();
        journal.keep_history(self.settings.repl_backlog_disk_size);
        while let Some(action) = journal.next(now) {
            match action {
                Action::Write { offset, bytes, through } => {
                    let file = directory.current.clone().expect("a file is open before it is written");
                    if through {
                        // All that waits for replies waits for this, and nobody does it sooner than this thread: a
                        // worker would have to be woken, and would wake us. What comes meanwhile is the next batch.
                        self.net.submit_queued();
                        let began = clock::monotonic_us();
                        let (count, error) = write_through(&file, &bytes, offset);
                        self.figures.wrote(count as u64);
                        self.figures.flushed(clock::monotonic_us() - began);
                        journal.wrote(bytes, count, error, now_ms());
                        self.has_news = true;
                        break;
                    }
                    let op = self.net.write(&file, bytes, offset);
                    self.operations.insert(op, Operation::JournalWrite);
                }
                Action::Flush => {
                    let file = directory.current.clone().expect("a file is open before it is flushed");
                    let op = self.net.flush(&file);
                    self.operations.insert(op, Operation::JournalFlush(clock::monotonic_us()));
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
            format!("MISCONF Errors {doing} the AOF file: {error}").into_boxed_str()
        });
        self.facts.last_write_failed = trouble.is_some();
        if self.history_due && self.founding.is_none() && journal.is_founded() && !journal.is_rewriting() {
            self.history_due = false;
            self.note_history();
        }
    }

    /// Tells the shards why writes are refused, if that has changed.
    fn tell_fault(&mut self) {
        let snapshots_fail = self.facts.last_save_failed
            && self.settings.stop_writes_on_bgsave_error
            && !self.settings.save.is_empty();
        let fault = self
            .journal_fault
            .as_deref()
            .or_else(|| snapshots_fail.then_some(SNAPSHOTS_FAIL))
            .or_else(|| self.too_few_replicas.then_some("NOREPLICAS Not enough good replicas to write."));
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
                self.figures.wrote(written as u64);
                if let Some(journal) = &mut self.journal {
                    journal.wrote(bytes, written, error, now);
                }
            }
            Some(Operation::JournalFlush(began)) => {
                self.figures.flushed(clock::monotonic_us() - began);
                if let Some(journal) = &mut self.journal {
                    journal.flushed(error);
                }
            }
            Some(Operation::SnapshotWrite(number) | Operation::SnapshotFlush(number))
                if self.snapshot.as_ref().is_none_or(|one| one.number != number) => {}
            Some(Operation::SnapshotWrite(number)) if error == 0 => {
                let Some(snapshot) = &mut self.snapshot else { return };
                for shard in snapshot.wrote() {
                    self.port.send(shard, Mail::ChunkTaken(number.get()));
                }
            }
            Some(Operation::SnapshotFlush(_)) if error == 0 => self.finish_snapshot(),
            Some(Operation::SnapshotWrite(_) | Operation::SnapshotFlush(_)) => {
                self.fail_snapshot(&std::io::Error::from_raw_os_error(error));
            }
            Some(Operation::Received(number)) => self.received(number, written, error),
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

    // ---- what the shards are told ----

    /// Tells all shards what INFO says of the files.
    fn publish(&mut self) {
        self.published = now_ms();
        self.tell_progress(self.published);
        let facts = &mut self.facts;
        let purpose = self.snapshot.as_ref().map(|snapshot| (snapshot.purpose, snapshot.began));
        facts.saving = matches!(purpose, Some((Purpose::Save, _)));
        facts.rewriting = matches!(purpose, Some((Purpose::Rewrite, _)));
        facts.saving_since = purpose.map_or(0, |(_, began)| began);
        facts.rewriting_since = facts.saving_since;
        facts.snapshot_keys = self.snapshot.as_ref().map_or((0, 0), Snapshot::keys);
        facts.rewrite_scheduled = self.queue.iter().any(|(purpose, _)| *purpose == Purpose::Rewrite);
        facts.changes_since_save = self.shared.changes() - self.saved_changes;
        if let Some(journal) = &self.journal {
            facts.aof_size = self.aof_elsewhere + journal.length();
            facts.offset = self.merger.at();
            facts.durable_offset = journal.durable();
            facts.pending = facts.offset - journal.written().min(facts.offset);
        }
        let flushes = |operation: &Operation| matches!(operation, Operation::JournalFlush(_));
        facts.flushing = self.operations.values().any(flushes);
        facts.oldest_offset = self.journal.as_ref().and_then(Journal::oldest);
        (facts.writes, facts.flushes) = (self.figures.writes(), self.figures.flushes());
        facts.writes_last_second = self.figures.last_second(self.published);
        let facts = (self.facts.clone(), self.replication_facts());
        if self.told_facts.as_ref() == Some(&facts) {
            return;
        }
        for shard in 0..self.shards {
            self.port.send(shard, Mail::Facts(Box::new(facts.clone())));
        }
        self.told_facts = Some(facts);
    }

    fn publish_if_due(&mut self) -> bool {
        let due = now_ms() >= self.published + LONGEST_SLEEP_MS;
        if due {
            self.publish();
        }
        due
    }
}

/// BGSAVE's answer. It comes once the cut is made: what the client sends behind it is not in the snapshot.
const STARTED: &str = "Background saving started";

const SNAPSHOTS_FAIL: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
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
        self.tick_upstream();
        self.publish_if_due();
        if !self.shared.is_stop_asked() {
            return Ok(());
        }
        if self.upstream.is_none() {
            self.shared.stop();
        }
        self.is_half_loaded = self.facts.loading;
        Err(Fault::new("stopped while loading"))
    }

    fn loaded(&mut self, bytes: u64) {
        self.facts.load.bytes += bytes;
        if self.publish_if_due() {
            self.port.flush(&mut self.net);
        }
    }

    fn state(&mut self) -> &mut Underway {
        &mut self.underway
    }
}

/// Milliseconds of a clock that never goes back.
fn now_ms() -> u64 {
    clock::monotonic_us() / 1000
}
