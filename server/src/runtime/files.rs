//! Writes to files and flushes of files, through the ring of the core that asked: nobody waits for a disk, but who has
//! nothing better to do ([`write_through`]).
//!
//! Knows no paths and no formats. The kernel's workers do what cannot be done at once.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};
use slab::Slab;

/// Names a write or a flush until its completion.
pub type FileOp = u32;

/// Bytes of one write operation.
const PIECE: usize = 1 << 20;

/// Operations in the kernel's hands: each keeps its file open and its bytes in place.
#[derive(Default)]
pub(super) struct Files {
    operations: Slab<Operation>,
}

struct Operation {
    file: Rc<File>,
    bytes: Vec<u8>,
    /// Offset of the first byte in the file; `None` for a flush.
    offset: Option<u64>,
    written: usize,
}

/// How an operation ended.
#[derive(Debug)]
pub struct FileDone {
    pub op: FileOp,
    /// The bytes to write, as they were.
    pub bytes: Vec<u8>,
    /// How many of them are in the file; all unless `error` is set.
    pub written: usize,
    /// The error's number, or 0.
    pub error: i32,
}

/// Writes `bytes` at `offset` of `file` and waits until they are on the disk; what was there before may be not. Returns how
/// many are known to be in the file, and the error's number or 0.
pub fn write_through(file: &File, bytes: &[u8], offset: u64) -> (usize, i32) {
    let mut written = 0;
    while written < bytes.len() {
        let rest = &bytes[written..];
        let part = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        let at = (offset + written as u64) as libc::off_t;
        // SAFETY: the kernel only reads the one part, whose bytes `rest` borrows, and the descriptor is open.
        let result = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const part, 1, at, libc::RWF_DSYNC) };
        match usize::try_from(result) {
            Ok(0) => return (written, libc::ENOSPC),
            Ok(count) => written += count,
            Err(_) => match std::io::Error::last_os_error().raw_os_error() {
                Some(libc::EINTR) => {}
                error => return (written, error.unwrap_or(libc::EIO)),
            },
        }
    }
    (written, 0)
}

impl Files {
    pub(super) fn start(&mut self, file: &Rc<File>, bytes: Vec<u8>, offset: Option<u64>) -> FileOp {
        let operation = Operation { file: Rc::clone(file), bytes, offset, written: 0 };
        self.operations.insert(operation) as FileOp
    }

    /// The entry for what is left of an operation. Its bytes stay where they are until `done` gives them back.
    pub(super) fn entry(&self, op: FileOp) -> squeue::Entry {
        let operation = &self.operations[op as usize];
        let file = types::Fd(operation.file.as_raw_fd());
        match operation.offset {
            None => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
            Some(offset) => {
                let rest = &operation.bytes[operation.written..];
                let length = rest.len().min(PIECE) as u32;
                let entry = opcode::Write::new(file, rest.as_ptr(), length);
                entry.offset(offset + operation.written as u64).build()
            }
        }
    }

    /// Takes in a completion: the operation's end, or `None` if there is more to write.
    pub(super) fn complete(&mut self, op: FileOp, result: i32) -> Option<FileDone> {
        let operation = &mut self.operations[op as usize];
        let interrupted = [-libc::EINTR, -libc::EAGAIN].contains(&result);
        if result > 0 && operation.offset.is_some() {
            operation.written += result as usize;
        }
        let whole = operation.written == operation.bytes.len();
        if interrupted || result > 0 && !whole {
            return None;
        }
        // A write of nothing at all means that the disk has no room.
        let error = if result < 0 {
            -result
        } else if whole {
            0
        } else {
            libc::ENOSPC
        };
        let Operation { bytes, written, .. } = self.operations.remove(op as usize);
        Some(FileDone { op, bytes, written, error })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.operations.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_through_says_how_far_it_came() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        assert_eq!(write_through(&file, b"hello", 0), (5, 0));
        assert_eq!(write_through(&file, b"p, world", 3), (8, 0));
        assert_eq!(std::fs::read(&path).unwrap(), b"help, world");
        let closed = File::open(&path).unwrap();
        assert_eq!(write_through(&closed, b"hello", 0), (0, libc::EBADF));
    }
}
