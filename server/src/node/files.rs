//! The directory of the append-only files: locked for this process, changed in small steps.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::log::{Step, is_part_name, manifest_name, temporary};
use crate::runtime::Fault;

/// A directory that belongs to this process until it is dropped.
pub struct Directory {
    path: PathBuf,
    /// Holds the lock, and flushes what changes in the directory.
    handle: File,
    /// The increment that is written to.
    pub current: Option<Rc<File>>,
}

impl Directory {
    /// Opens the directory, made if missing, but not what it is in. Refuses one that another process has open.
    pub fn open(path: &Path) -> Result<Directory, Fault> {
        let fault = |error: &io::Error| Fault::io(format!("cannot open '{}'", path.display()), error);
        if !path.is_dir() {
            fs::create_dir(path).map_err(|error| fault(&error))?;
        }
        let handle = File::open(path).map_err(|error| fault(&error))?;
        if let Some(parent) = path.parent() {
            flush_directory(parent).map_err(|error| fault(&error))?;
        }
        match handle.try_lock() {
            Ok(()) => Ok(Directory { path: path.to_owned(), handle, current: None }),
            Err(fs::TryLockError::WouldBlock) => Err(Fault::new(format!(
                "another server uses '{}': stop it, or give this one a 'dir' of its own",
                path.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(fault(&error)),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Carries out steps in order; returns how many succeeded, and the error of the one behind them, which the log tells of.
    pub fn carry_out(&mut self, steps: &[Step]) -> (usize, i32) {
        match self.try_steps(steps) {
            Ok(()) => (steps.len(), 0),
            Err((done, error)) => {
                tracing::warn!("{}", self.fault(&steps[done], &error));
                (done, error.raw_os_error().unwrap_or(EIO))
            }
        }
    }

    /// Carries out all of the steps; says which one failed.
    pub fn complete(&mut self, steps: &[Step]) -> Result<(), Fault> {
        self.try_steps(steps).map_err(|(done, error)| self.fault(&steps[done], &error))
    }

    fn try_steps(&mut self, steps: &[Step]) -> Result<(), (usize, io::Error)> {
        steps.iter().enumerate().try_for_each(|(done, step)| self.step(step).map_err(|error| (done, error)))
    }

    /// Names the file, never what was to be in it: that is the users' data.
    fn fault(&self, step: &Step, error: &io::Error) -> Fault {
        let path = |name| self.path(name).display().to_string();
        let what = match step {
            Step::Put { name, .. } => format!("write '{}'", path(name)),
            Step::Open { name, .. } => format!("open '{}' for writing", path(name)),
            Step::Rename { from, to } => format!("rename '{}' to '{}'", path(from), path(to)),
            Step::Remove { name } => format!("remove '{}'", path(name)),
            Step::FlushDirectory => format!("flush the directory '{}'", self.path.display()),
        };
        Fault::io(format!("cannot {what}"), error)
    }

    fn step(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Put { name, bytes } => {
                let mut file = File::create(self.path(name))?;
                file.write_all(bytes)?;
                file.sync_all()
            }
            Step::Open { name, length } => {
                let file =
                    OpenOptions::new().write(true).create(true).truncate(false).open(self.path(name))?;
                if file.metadata()?.len() > *length {
                    file.set_len(*length)?;
                }
                file.sync_all()?;
                self.current = Some(Rc::new(file));
                Ok(())
            }
            Step::Rename { from, to } => fs::rename(self.path(from), self.path(to)),
            Step::Remove { name } => match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Step::FlushDirectory => self.handle.sync_all(),
        }
    }

    /// Cuts the current increment to `length`; returns the error's number, or 0.
    pub fn truncate(&self, length: u64) -> i32 {
        let Some(file) = &self.current else { return 0 };
        file.set_len(length).err().map_or(0, |error| error.raw_os_error().unwrap_or(EIO))
    }

    /// A log begins here: files of it that are found without a manifest are what a crash left of its foundation, and hold
    /// nothing that counts. Its first manifest takes the place of this note.
    pub fn announce_log(&self, prefix: &str) -> Result<(), Fault> {
        let path = self.path(&temporary(&manifest_name(prefix)));
        let noted =
            File::create(&path).and_then(|note| note.sync_all()).and_then(|()| self.handle.sync_all());
        noted.map_err(|error| Fault::io(format!("cannot write '{}'", path.display()), &error))
    }

    /// Refuses a directory with files of a log whose manifest is gone: a new log would write over them.
    pub fn refuse_orphans(&self, prefix: &str) -> Result<(), Fault> {
        let (manifest, directory) = (manifest_name(prefix), self.path.display());
        if self.path(&temporary(&manifest)).exists() {
            return Ok(());
        }
        let fault = |error| Fault::io(format!("cannot read '{directory}'"), &error);
        let mut orphans = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name();
            orphans.extend(name.into_string().ok().filter(|name| is_part_name(prefix, name)));
        }
        let Some(orphan) = orphans.iter().min() else { return Ok(()) };
        Err(Fault::new(format!(
            "'{directory}' has files of an append-only log, such as '{orphan}', but not their manifest '{manifest}': \
             restore the manifest, or move the files away to begin a new log"
        )))
    }

    /// Removes what an earlier process left half written.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in
            entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"temp-"))
        {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file to write and read back that nobody else finds, and that is gone with its last handle.
pub fn create_unnamed(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// Stands for an error without a number.
const EIO: i32 = 5;

/// Makes what changed in a directory last.
pub fn flush_directory(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_their_manifest_are_no_new_log_but_for_a_foundation() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let directory = Directory::open(dir.path()).expect("it is ours");
        for name in ["a.aof.history", "a.aof", "b.aof.1.base.rdb", "temp-a.aof.1.base.rdb"] {
            fs::write(directory.path(name), "").expect("it is ours");
        }
        directory.refuse_orphans("a.aof").expect("none of them is a part of the log");
        fs::write(directory.path("a.aof.2.incr.aof"), "").expect("it is ours");
        fs::write(directory.path("a.aof.1.base.rdb"), "").expect("it is ours");
        let refusal = directory.refuse_orphans("a.aof").expect_err("they may be all the data").to_string();
        for named in
            [&*dir.path().to_string_lossy(), "'a.aof.1.base.rdb'", "'a.aof.manifest'", "move the files away"]
        {
            assert!(refusal.contains(named), "{refusal}");
        }
        directory.announce_log("a.aof").expect("it is ours");
        directory.refuse_orphans("a.aof").expect("a foundation that ended early");
        directory.sweep();
        directory.refuse_orphans("a.aof").expect_err("the note is gone");
    }

    #[test]
    fn a_step_that_fails_is_told_with_its_file_and_without_its_bytes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut directory = Directory::open(dir.path()).expect("it is ours");
        fs::create_dir(directory.path("taken")).expect("it is ours");
        let at = dir.path().display();
        let taken = || "taken".to_owned();
        let cases = [
            (
                Step::Put { name: taken(), bytes: vec![77; 9] },
                format!("cannot write '{at}/taken': Is a directory"),
            ),
            (
                Step::Open { name: taken(), length: 0 },
                format!("cannot open '{at}/taken' for writing: Is a directory"),
            ),
            (Step::Remove { name: taken() }, format!("cannot remove '{at}/taken': Is a directory")),
            (
                Step::Rename { from: "no".to_owned(), to: taken() },
                format!("cannot rename '{at}/no' to '{at}/taken': No such file"),
            ),
        ];
        for (step, line) in cases {
            let steps = [Step::FlushDirectory, step];
            let fault = directory.complete(&steps).expect_err("it cannot be done").to_string();
            assert!(fault.starts_with(&line) && !fault.contains("77"), "{fault}");
            assert_eq!(directory.carry_out(&steps).0, 1);
        }
    }
}
