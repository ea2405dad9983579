//! What the log core does first: it reads the files.

use super::*;
use crate::log::Kind;
use crate::rdb::Checksum;

impl LogCore {
    pub(super) fn load(&mut self) -> Result<(), Fault> {
        let began = clock::monotonic_us();
        let dir = PathBuf::from(&self.settings.dir);
        let dump = dir.join(&self.settings.dbfilename);
        if self.settings.appendonly {
            self.load_log(&dir, &dump)?;
        } else if dump.exists() {
            self.load_dump(&dump)?;
        }
        let seconds = (clock::monotonic_us() - began) as f64 / 1e6;
        tracing::info!("the data is there after {seconds:.3} s");
        Ok(())
    }

    /// Runs `load`, of `total` bytes (0: not known), and says what came of it.
    pub(super) fn load_files<T>(
        &mut self,
        total: u64,
        load: impl FnOnce(&mut Loader<'_, Self>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.facts.load = LoadFacts { began: clock::unix_us() / 1_000_000, bytes: 0, total };
        let (ring, databases) = (Ring::new(self.shards), self.settings.databases);
        let compares = self.settings.rdbchecksum;
        let mut loader = Loader::new(self, ring, databases);
        loader.compares = compares;
        let loaded = load(&mut loader)?;
        let (keys, bytes, last) = (loader.keys, loader.bytes, loader.last_snapshot);
        self.facts.last_load = last.unwrap_or(self.facts.last_load);
        tracing::info!("loaded {keys} keys of snapshots and {bytes} bytes of commands");
        Ok(loaded)
    }

    fn load_dump(&mut self, dump: &Path) -> Result<(), Fault> {
        // A replica's keys expire when its primary says so, and a base may be followed by what does something to them.
        let leads = self.settings.replicaof.is_none();
        self.load_files(bytes_of(dump), |loader| {
            loader.expired_before = leads.then(clock::unix_ms);
            loader.snapshot(dump)
        })
    }

    fn load_log(&mut self, dir: &Path, dump: &Path) -> Result<(), Fault> {
        let prefix = self.settings.appendfilename.clone();
        let policy = self.settings.appendfsync;
        let directory = Directory::open(&dir.join(&self.settings.appenddirname))?;
        match find_manifest(&directory, dir, &prefix)? {
            Some(mut manifest) => {
                directory.sweep();
                let (length, at, is_own) = self.load_manifest(&directory, &manifest)?;
                // As the reference counts: what has grown since the start, of whatever there was.
                self.facts.aof_base_size = self.facts.load.total;
                self.aof_elsewhere = self.facts.load.total - length.min(self.facts.load.total);
                let is_known = is_own && self.recall_history(&directory, at);
                manifest.disown_history(|part| !is_known || !directory.path(&part.name).exists());
                self.merger = Merger::new(self.shards, at);
                self.journal = Some(Journal::resume(manifest, length, at, policy));
            }
            None if dump.exists() => {
                tracing::info!("no append-only file yet: beginning it with '{}'", dump.display());
                self.load_dump(dump)?;
                directory.announce_log(&prefix)?;
                self.directory = Some(directory);
                self.found(Manifest::new(&prefix));
                return Ok(());
            }
            None => {
                directory.announce_log(&prefix)?;
                let base = snapshot::empty(Checksum::new(self.settings.rdbchecksum));
                self.journal = Some(Journal::fresh(&prefix, base, 0, policy));
            }
        }
        self.directory = Some(directory);
        self.open_files()?;
        self.note_history();
        Ok(())
    }

    /// The log can be written before anybody is told that the server is ready: later, clients would be refused their writes.
    fn open_files(&mut self) -> Result<(), Fault> {
        let (Some(journal), Some(directory)) = (&mut self.journal, &mut self.directory) else {
            return Ok(());
        };
        let now = now_ms();
        if let Some(Action::Steps(steps)) = journal.next(now) {
            directory.complete(&steps)?;
            journal.stepped(steps.len(), 0, now);
        }
        Ok(())
    }

    /// The stream that was loaded up to offset `at` is the one that this directory's history names, if the base is ours:
    /// another server would have counted its own offsets. False if there is no such name.
    fn recall_history(&mut self, directory: &Directory, at: u64) -> bool {
        let path = directory.path(&history_name(&self.settings.appendfilename));
        let Some(history) = fs::read_to_string(path).ok().and_then(|text| History::parse(&text)) else {
            return false;
        };
        self.primary.history = history;
        if self.settings.replicaof.is_none() {
            // What a crash took away may be written anew, and differently.
            self.primary.history.fork(clock::random_id(), at);
        }
        true
    }

    /// Notes the history's name beside the files of which it is the name.
    pub(super) fn note_history(&mut self) {
        if self.history_due {
            return;
        }
        let Some(directory) = &mut self.directory else { return };
        let name = history_name(&self.settings.appendfilename);
        let (from, bytes) = (temporary(&name), self.primary.history.format().into_bytes());
        // First the old note goes: after a crash it would name bytes that differ. Without one replicas have to begin anew
        // after a restart: no more. A failure has been logged.
        let steps = [
            Step::Remove { name: name.clone() },
            Step::FlushDirectory,
            Step::Put { name: from.clone(), bytes },
            Step::Rename { from, to: name },
            Step::FlushDirectory,
        ];
        directory.carry_out(&steps);
    }

    /// The log begins with the next cut: with it all shards open their outboxes.
    pub(super) fn found(&mut self, manifest: Manifest) {
        self.forget_history();
        self.founding = Some(manifest);
        self.found_due = true;
        self.queue.push_back((Purpose::Rewrite, None));
    }

    /// What the directory holds until it is rewritten is not of the history that will be noted then, nor of any later one.
    pub(super) fn forget_history(&mut self) {
        if let Some(directory) = &mut self.directory {
            let name = history_name(&self.settings.appendfilename);
            directory.carry_out(&[Step::Remove { name }, Step::FlushDirectory]);
        }
        self.history_due = true;
    }

    /// Loads all files of the log; returns the good length of the last increment and the stream's offset there.
    fn load_manifest(
        &mut self,
        directory: &Directory,
        manifest: &Manifest,
    ) -> Result<(u64, u64, bool), Fault> {
        let files: Vec<_> = manifest.files().cloned().collect();
        let last = manifest.last_increment().cloned();
        let torn_allowed = self.settings.aof_load_truncated;
        let mut at = 0;
        let mut length = 0;
        let mut is_own = false;
        let total = files.iter().map(|part| bytes_of(&directory.path(&part.name))).sum();
        self.load_files(total, |loader| {
            for part in &files {
                let is_last = last.as_ref() == Some(part);
                length = loader.log(&directory.path(&part.name), torn_allowed && is_last)?;
                if part.kind == Kind::Base {
                    is_own = loader.is_own;
                }
                if part.kind == Kind::Increment {
                    at = part.start.unwrap_or(at) + length;
                }
            }
            Ok(())
        })?;
        Ok(if last.is_some() { (length, at, is_own) } else { (0, at, is_own) })
    }
}

/// Bytes of a file; 0 if that cannot be told.
fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// The file, in the directory of the log, that names the log's history.
fn history_name(prefix: &str) -> String {
    format!("{prefix}.history")
}

/// The manifest of the log in `directory`, or one that adopts an old-style file in `dir`; `None` if there is no log yet.
pub(super) fn find_manifest(
    directory: &Directory,
    dir: &Path,
    prefix: &str,
) -> Result<Option<Manifest>, Fault> {
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
            directory.refuse_orphans(prefix)?;
            adopt_old_style(directory, dir, prefix)
        }
        Err(error) => Err(Fault::io(format!("cannot read '{}'", path.display()), &error)),
    }
}

fn adopt_old_style(directory: &Directory, dir: &Path, prefix: &str) -> Result<Option<Manifest>, Fault> {
    let (old, moved) = (dir.join(prefix), directory.path(prefix));
    if old.is_file() {
        tracing::info!("taking over the append-only file '{}'", old.display());
        let fault = |error| Fault::io(format!("cannot move '{}'", old.display()), &error);
        fs::rename(&old, &moved).map_err(fault)?;
    } else if !moved.is_file() {
        return Ok(None);
    }
    Ok(Some(Manifest::adopt(prefix, prefix)))
}
