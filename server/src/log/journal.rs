//! The stream into files: what to write and to flush, and when.
//!
//! One write and one flush are under way at most, possibly both; what comes meanwhile is the next batch, so
//! one flush serves all who wait. A batch ends where `append` ended, behind a whole command or transaction.
//!
//! **A write that fails** keeps its bytes: the file is cut back to the end of the last whole batch, so that never half
//! a batch stands before what follows, and a second later the batch is tried again. Until one succeeds, new
//! writes are to be refused, which bounds what waits.
//!
//! **A flush that fails** condemns its file. The kernel may have dropped what it could not write and calls it
//! clean, so that a second flush succeeds and proves nothing; and a copy of everything since the last flush,
//! to write it elsewhere, would cost memory all the time for what happens never. So nothing more is written
//! there and writes are refused, until a rewrite has made a base that needs nothing of that file. Whether
//! to rewrite at once is the caller's to decide ([`Journal::needs_rewrite`]).
//!
//! **Foundation.** The current increment counts only if the manifest on the disk leads up to it without a
//! gap. Behind a condemned file, and when the log is turned on amid work, it does not yet: then the increment
//! is written but not listed, and nothing becomes durable until the base that founds it is in place.

use std::collections::VecDeque;

use super::{Manifest, Part, Step, temporary};
use crate::config::AppendFsync;

/// Milliseconds after which what failed is tried again.
const RETRY: u64 = 1000;

/// `everysec`: milliseconds that a byte waits for a flush to begin.
const FLUSH_EVERY: u64 = 1000;

/// Bytes at the head of an increment that need not be the stream's.
pub const LONGEST_PRELUDE: u64 = 32;

/// Buffers larger than this are not kept for the next batch.
const KEEP: usize = 1 << 20;

/// What the log core is to do. Each comes back as a completion, whatever became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes into the current increment; ends in `wrote`.
    Write { offset: u64, bytes: Vec<u8> },
    /// Flushes the current increment's data; ends in `flushed`.
    Flush,
    /// Cuts the current increment to this length; ends in `truncated`.
    Truncate { length: u64 },
    /// Ends in `stepped`.
    Steps(Vec<Step>),
}

/// What does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Writing,
    Flushing,
    Rotating,
    /// Putting a finished base in place. The files so far hold, so writes go on.
    Rebasing,
}

/// A failure that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub doing: Doing,
    /// The operating system's number for it.
    pub error: i32,
    /// Writes are to be refused.
    pub refuses: bool,
}

/// Changes in the directory under way, until all of them are done.
#[derive(Debug)]
struct Task {
    goal: Goal,
    steps: VecDeque<Step>,
    /// What the manifest is afterwards.
    manifest: Manifest,
    running: bool,
    error: i32,
    retry_at: u64,
}

#[derive(Debug)]
enum Goal {
    /// `part` becomes the current increment, and the stream goes on in it at offset `at`.
    Open {
        part: Part,
        at: u64,
        /// Offset in the stream of the file's first byte, if that is not known yet.
        start: Option<u64>,
        founded: bool,
    },
    Rebase,
    Clean,
}

/// One log's files.
#[derive(Debug)]
pub struct Journal {
    /// As it is on the disk.
    manifest: Manifest,
    policy: AppendFsync,
    /// The increment that is written to; `None` until the first one is open.
    current: Option<Part>,
    /// Offset in the stream of its first byte. In front of a stream that began elsewhere at a low offset this
    /// wraps; only differences count.
    start: u64,
    founded: bool,
    /// The current increment is condemned.
    condemned: bool,
    /// The error of a flush that failed, until a base makes up for it.
    unsound: Option<i32>,
    /// Offsets in the stream: up to where it has been appended, is in the file, flushed, and durable.
    end: u64,
    written: u64,
    flushed: u64,
    durable: u64,
    /// What has been appended and not given out for writing.
    waiting: Vec<u8>,
    spare: Vec<u8>,
    writing: bool,
    truncating: bool,
    /// The offset that a flush under way will have reached.
    flushing: Option<u64>,
    /// Since when bytes have been waiting for a flush to begin.
    unflushed_since: Option<u64>,
    /// The error of a write that failed and has yet to succeed, and whether half of it is in the file.
    failed: Option<i32>,
    torn: bool,
    retry_at: u64,
    /// The rotation to come.
    cut: Option<u64>,
    /// From the rotation's announcement to the base.
    rewriting: bool,
    /// What the next increment begins with although the stream does not have it there: a file is read by itself.
    prelude: Vec<u8>,
    /// The file that is to become the base.
    base: Option<String>,
    task: Option<Task>,
    closing: bool,
}

impl Journal {
    fn new(manifest: Manifest, policy: AppendFsync, at: u64) -> Journal {
        Journal {
            manifest,
            policy,
            current: None,
            start: at,
            founded: false,
            condemned: false,
            unsound: None,
            end: at,
            written: at,
            flushed: at,
            // What was loaded may be in the kernel's memory only, and so may the names of its files.
            durable: 0,
            waiting: Vec::new(),
            spare: Vec::new(),
            writing: false,
            truncating: false,
            flushing: None,
            unflushed_since: None,
            failed: None,
            torn: false,
            retry_at: 0,
            cut: None,
            rewriting: false,
            prelude: Vec::new(),
            base: None,
            task: None,
            closing: false,
        }
    }

    /// A log that begins at offset `at` of the stream with `base`, an RDB file of the state there.
    pub fn fresh(prefix: &str, base: Vec<u8>, at: u64, policy: AppendFsync) -> Journal {
        let mut journal = Journal::new(Manifest::new(prefix), policy, at);
        let mut manifest = journal.manifest.clone();
        let (first, part) = (manifest.next_base(), manifest.next_increment(0, at));
        let from = temporary(&first.name);
        let mut steps = vec![
            Step::Put { name: from.clone(), bytes: base },
            Step::Rename { from, to: first.name.clone() },
            Step::Open { name: part.name.clone(), length: 0 },
            Step::FlushDirectory,
        ];
        manifest.rebase(first, part.clone());
        steps.extend(manifest.publish());
        journal.start_task(Goal::Open { part, at, start: None, founded: true }, steps, manifest);
        journal
    }

    /// Goes on with the log that was loaded: its last increment is good up to `length`, which is offset `at` of
    /// the stream. Without an increment one is begun.
    pub fn resume(manifest: Manifest, length: u64, at: u64, policy: AppendFsync) -> Journal {
        let mut journal = Journal::new(manifest.clone(), policy, at);
        match manifest.last_increment().cloned() {
            Some(part) => {
                journal.start = at.wrapping_sub(length);
                let steps = vec![Step::Open { name: part.name.clone(), length }, Step::FlushDirectory];
                journal.start_task(Goal::Open { part, at, start: None, founded: true }, steps, manifest);
            }
            None => journal.start_increment(at, true),
        }
        journal
    }

    /// A log that is turned on amid work: everything from offset `at` on is kept, and counts once the base of
    /// the state at `at`, a snapshot that begins now, is in place (`rebase`). `manifest` is what the directory
    /// holds.
    pub fn begin(manifest: Manifest, at: u64, policy: AppendFsync, prelude: Vec<u8>) -> Journal {
        let mut journal = Journal::new(manifest, policy, at);
        journal.rewriting = true;
        journal.set_prelude(prelude);
        journal.start_increment(at, false);
        journal
    }

    pub fn set_policy(&mut self, policy: AppendFsync) {
        self.policy = policy;
    }

    /// Nothing more will come: everything is to be flushed at once, whatever the policy.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// The stream goes on with `bytes`: whole commands and transactions.
    pub fn append(&mut self, bytes: &[u8], now: u64) {
        if bytes.is_empty() {
            return;
        }
        self.waiting.extend_from_slice(bytes);
        self.end += bytes.len() as u64;
        self.unflushed_since.get_or_insert(now);
    }

    /// What the next increment shall begin with, at most [`LONGEST_PRELUDE`] bytes: its reader starts in database 0, the stream
    /// may be in another there.
    pub fn set_prelude(&mut self, prelude: Vec<u8>) {
        assert!(prelude.len() as u64 <= LONGEST_PRELUDE, "no SELECT is that long");
        self.prelude = prelude;
    }

    /// A rewrite begins: what lies behind offset `at`, that of a cut among the bytes appended since `next` was
    /// last called, goes into a new increment. False, and nothing is done, while a rewrite is under way.
    pub fn rotate(&mut self, at: u64) -> bool {
        if self.is_rewriting() {
            return false;
        }
        assert!(self.given() <= at && at <= self.end, "the cut at {at} has been written past");
        self.cut = Some(at);
        self.rewriting = true;
        true
    }

    /// The snapshot of the last rotation's cut is in the file `name`, a [`temporary`] one, whole and flushed.
    pub fn rebase(&mut self, name: String) {
        assert!(self.rewriting && self.base.is_none(), "a base without a rotation");
        self.base = Some(name);
    }

    /// There will be no snapshot of the last rotation's cut. The files so far and the new increment stay the log.
    pub fn abandon(&mut self) {
        assert!(self.base.is_none(), "the base is finished");
        self.rewriting = false;
    }

    /// From `rotate` or `begin` until the base is in place, or abandoned and the rotation over.
    pub fn is_rewriting(&self) -> bool {
        self.rewriting || self.cut.is_some()
    }

    /// Offset up to which the stream is in the file: what a shard had in flight up to there is taken.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Offset up to which the stream survives a loss of power; 0 until the log is founded.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// False while a log that was turned on amid work awaits its base: nothing becomes durable, and no reply
    /// should wait for it.
    pub fn is_founded(&self) -> bool {
        self.founded || self.unsound.is_some()
    }

    /// Bytes in the current increment.
    pub fn length(&self) -> u64 {
        self.written.wrapping_sub(self.start)
    }

    /// The oldest offset of the stream from which on the files have all of it.
    pub fn oldest(&self) -> Option<u64> {
        if !self.is_founded() {
            return None;
        }
        let starts = self.manifest.increments().iter().rev().map_while(|part| part.start);
        let first = starts.last().or(self.current.as_ref().and_then(|part| part.start))?;
        // With its prelude a file may begin before the stream does.
        first.checked_add(LONGEST_PRELUDE)
    }

    /// Files that may have the stream from offset `from` on, with the offset in each, to be tried in order: the first that
    /// goes so far has it. Two, where an increment has just begun: the first bytes of it may be its prelude, and those of
    /// the stream are in the one before.
    pub fn locate(&self, from: u64) -> impl Iterator<Item = (&str, u64)> {
        let parts = self.manifest.increments().iter().chain(&self.current);
        let begun = parts.filter_map(|part| Some((part, part.start?))).filter(|(_, start)| *start <= from);
        let mut last: Option<(&Part, u64)> = None;
        let mut before = None;
        for (part, start) in begun {
            if last.is_none_or(|(last, _)| last.name != part.name) {
                (before, last) = (last, Some((part, start)));
            }
        }
        let surely = |(_, start): &(&Part, u64)| start + LONGEST_PRELUDE <= from;
        let before = before.filter(|_| !last.as_ref().is_some_and(surely));
        let last = last.filter(|last| surely(last) || before.is_some());
        before.into_iter().chain(last).map(move |(part, start)| (part.name.as_str(), from - start))
    }

    /// The files, as the disk has them.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What does not work at present.
    pub fn trouble(&self) -> Option<Trouble> {
        if let Some(error) = self.unsound {
            return Some(Trouble { doing: Doing::Flushing, error, refuses: true });
        }
        if let Some(error) = self.failed {
            return Some(Trouble { doing: Doing::Writing, error, refuses: true });
        }
        let task = self.task.as_ref().filter(|task| task.error != 0)?;
        let opening = matches!(task.goal, Goal::Open { .. });
        let doing = if opening { Doing::Rotating } else { Doing::Rebasing };
        Some(Trouble { doing, error: task.error, refuses: opening })
    }

    /// Only a rewrite makes the log whole, and none is under way: a flush has failed, or the first base was abandoned.
    pub fn needs_rewrite(&self) -> bool {
        let unfounded = !self.founded && self.current.is_some();
        (unfounded || self.unsound.is_some()) && !self.is_rewriting()
    }

    /// Everything appended is durable, and nothing is under way.
    pub fn is_settled(&self) -> bool {
        let busy = self.writing || self.truncating || self.flushing.is_some();
        self.durable == self.end && !busy && self.task.is_none()
    }

    /// When to call `next` even if nothing happens.
    pub fn wake(&self) -> Option<u64> {
        let task = self.task.as_ref().filter(|task| !task.running).map(|task| task.retry_at);
        let write = (self.failed.is_some() && self.may_write()).then_some(self.retry_at);
        let unflushed = self.policy == AppendFsync::Everysec && self.may_flush();
        let flush = self.unflushed_since.filter(|_| unflushed).map(|since| since + FLUSH_EVERY);
        [task, write, flush].into_iter().flatten().min()
    }

    /// The next thing to do now, if there is any.
    pub fn next(&mut self, now: u64) -> Option<Action> {
        self.next_steps(now).or_else(|| self.next_write(now)).or_else(|| self.next_flush(now))
    }

    fn next_steps(&mut self, now: u64) -> Option<Action> {
        if self.task.is_none() {
            self.plan();
        }
        let task = self.task.as_mut().filter(|task| !task.running && task.retry_at <= now)?;
        task.running = true;
        Some(Action::Steps(task.steps.iter().cloned().collect()))
    }

    /// Starts what is due in the directory.
    fn plan(&mut self) {
        if let Some(at) = self.cut {
            let busy = self.writing || self.truncating || self.flushing.is_some();
            if !busy && (self.condemned || self.flushed == at) {
                self.start_increment(at, self.founded && !self.condemned);
            }
        } else if let (Some(name), Some(current)) = (self.base.take(), &self.current) {
            let mut manifest = self.manifest.clone();
            let base = manifest.next_base();
            let mut steps = vec![Step::Rename { from: name, to: base.name.clone() }, Step::FlushDirectory];
            manifest.rebase(base, current.clone());
            steps.extend(manifest.publish());
            self.start_task(Goal::Rebase, steps, manifest);
        } else if self.founded && !self.manifest.history().is_empty() {
            let mut manifest = self.manifest.clone();
            let remove = |part: &Part| Step::Remove { name: part.name.clone() };
            let mut steps: Vec<Step> = manifest.history().iter().map(remove).collect();
            steps.push(Step::FlushDirectory);
            manifest.forget_history();
            steps.extend(manifest.publish());
            self.start_task(Goal::Clean, steps, manifest);
        }
    }

    fn start_increment(&mut self, at: u64, founded: bool) {
        let mut manifest = self.manifest.clone();
        let prelude = std::mem::take(&mut self.prelude);
        let (length, start) = (prelude.len() as u64, at.wrapping_sub(prelude.len() as u64));
        let part = manifest.next_increment(self.current.as_ref().map_or(0, |part| part.seq), start);
        let name = part.name.clone();
        let mut steps = vec![Step::Open { name: name.clone(), length }];
        if length > 0 {
            steps.insert(0, Step::Put { name, bytes: prelude });
        }
        if let Some(unlisted) = self.current.as_ref().filter(|_| !self.founded) {
            steps.push(Step::Remove { name: unlisted.name.clone() });
        }
        steps.push(Step::FlushDirectory);
        if founded {
            manifest.add(part.clone());
            steps.extend(manifest.publish());
        }
        self.start_task(Goal::Open { part, at, start: Some(start), founded }, steps, manifest);
    }

    fn start_task(&mut self, goal: Goal, steps: Vec<Step>, manifest: Manifest) {
        let task = Task { goal, steps: steps.into(), manifest, running: false, error: 0, retry_at: 0 };
        self.task = Some(task);
    }

    /// The first `done` of the steps given out succeeded; the one behind them, if there is one, failed.
    pub fn stepped(&mut self, done: usize, error: i32, now: u64) {
        let task = self.task.as_mut().expect("steps were given out");
        task.running = false;
        task.steps.drain(..done);
        if !task.steps.is_empty() {
            (task.error, task.retry_at) = (error, now + RETRY);
            return;
        }
        let Some(Task { goal, manifest, .. }) = self.task.take() else { return };
        self.manifest = manifest;
        match goal {
            Goal::Open { part, at, start, founded } => {
                // An increment that is gone on with is none that a cut has begun.
                let begun = start.is_some().then_some(at);
                self.cut.take_if(|cut| Some(*cut) == begun);
                self.start = start.unwrap_or(self.start);
                self.opened(part, at, founded);
            }
            Goal::Rebase => {
                self.founded = true;
                self.rewriting = false;
                self.durable = self.flushed;
                if !self.condemned {
                    self.unsound = None;
                }
            }
            Goal::Clean => {}
        }
    }

    fn opened(&mut self, part: Part, at: u64, founded: bool) {
        // Behind a condemned file what lies before the cut is not written: the base will hold it.
        let skipped = (at - self.given()) as usize;
        self.waiting.drain(..skipped);
        self.current = Some(part);
        (self.written, self.flushed) = (at, at);
        (self.condemned, self.torn, self.failed) = (false, false, None);
        self.founded = founded;
        if founded {
            self.durable = at;
        }
    }

    /// Offset up to which the stream has been given out for writing.
    fn given(&self) -> u64 {
        self.end - self.waiting.len() as u64
    }

    fn is_opening(&self) -> bool {
        self.current.is_none() || matches!(self.task, Some(Task { goal: Goal::Open { .. }, .. }))
    }

    fn may_write(&self) -> bool {
        !self.writing && !self.truncating && !self.condemned && !self.is_opening()
    }

    fn next_write(&mut self, now: u64) -> Option<Action> {
        if !self.may_write() || self.failed.is_some() && now < self.retry_at {
            return None;
        }
        if self.torn {
            self.truncating = true;
            return Some(Action::Truncate { length: self.length() });
        }
        let length = (self.cut.unwrap_or(self.end) - self.given()) as usize;
        if length == 0 {
            return None;
        }
        let rest = if length == self.waiting.len() {
            std::mem::take(&mut self.spare)
        } else {
            self.waiting.split_off(length)
        };
        self.writing = true;
        let bytes = std::mem::replace(&mut self.waiting, rest);
        Some(Action::Write { offset: self.length(), bytes })
    }

    /// `count` of the `bytes` to write are in the file; all of them unless `error` is set.
    pub fn wrote(&mut self, mut bytes: Vec<u8>, count: usize, error: i32, now: u64) {
        self.writing = false;
        if error == 0 {
            self.written += bytes.len() as u64;
            self.failed = None;
            bytes.clear();
            if bytes.capacity() <= KEEP {
                self.spare = bytes;
            }
            return;
        }
        bytes.append(&mut self.waiting);
        self.waiting = bytes;
        self.failed = Some(error);
        self.torn = count > 0;
        self.retry_at = if self.torn { now } else { now + RETRY };
    }

    /// The current increment was cut, unless `error` is set.
    pub fn truncated(&mut self, error: i32, now: u64) {
        self.truncating = false;
        self.torn = error != 0;
        self.retry_at = now + RETRY;
    }

    fn may_flush(&self) -> bool {
        self.flushing.is_none() && !self.condemned && self.written > self.flushed
    }

    fn next_flush(&mut self, now: u64) -> Option<Action> {
        let due = match self.policy {
            AppendFsync::Always => true,
            AppendFsync::Everysec => self.unflushed_since.is_some_and(|since| now >= since + FLUSH_EVERY),
            AppendFsync::No => false,
        };
        if !self.may_flush() || !(due || self.closing || self.cut == Some(self.written)) {
            return None;
        }
        self.flushing = Some(self.written);
        // What is on its way to the file has come just now, give or take a write.
        self.unflushed_since = (self.written < self.end).then_some(now);
        Some(Action::Flush)
    }

    /// The flush ended, well unless `error` is set.
    pub fn flushed(&mut self, error: i32) {
        let reached = self.flushing.take().expect("a flush was given out");
        if error != 0 {
            self.condemned = true;
            self.unsound = Some(error);
            return;
        }
        self.flushed = reached;
        if self.founded {
            self.durable = reached;
        }
    }

    pub fn check_invariants(&self) {
        assert!(self.durable <= self.flushed && self.flushed <= self.written && self.written <= self.given());
        assert!(self.writing || self.written == self.given(), "bytes that nobody writes");
        assert!(self.cut.is_none_or(|at| self.given() <= at && at <= self.end));
        assert!(!self.condemned || self.unsound.is_some());
        assert!(self.founded || self.current.is_none() || self.durable <= self.start);
        assert!(!self.torn || self.failed.is_some() || self.condemned);
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
