//! The directory of the append-only files: locked for this process, changed in small steps.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::log::Step;
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
    /// Opens the directory, made if missing. Refuses one that another process has open.
    pub fn open(path: &Path) -> Result<Directory, Fault> {
        let fault = |error: &io::Error| Fault::io(format!("cannot open '{}'", path.display()), error);
        fs::create_dir_all(path).map_err(|error| fault(&error))?;
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

    /// Carries out steps in order; returns how many succeeded, and the error of the one behind them.
    pub fn carry_out(&mut self, steps: &[Step]) -> (usize, i32) {
        for (done, step) in steps.iter().enumerate() {
            if let Err(error) = self.step(step) {
                tracing::warn!("{}: {step:?}: {error}", self.path.display());
                return (done, error.raw_os_error().unwrap_or(EIO));
            }
        }
        (steps.len(), 0)
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
