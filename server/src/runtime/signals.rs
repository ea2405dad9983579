//! The signals that end the process, taken on the main thread.
//!
//! No handler runs code of ours: `signal-hook` writes to a pipe and [`Signals::wait`] reads it.

use super::Fault;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::{Handle, Signals as Pipe},
};

/// Why [`Signals::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// SIGTERM or SIGINT: end in order.
    Terminate,
    /// SIGHUP: open the log file again.
    Reopen,
    /// A [`Waker`] was used.
    Closed,
}

/// The signals of this process; build it before the first thread so that none is missed.
pub struct Signals {
    pipe: Pipe,
}

impl Signals {
    /// Takes SIGTERM, SIGINT and SIGHUP from now on and ignores SIGPIPE, so that a write to a closed
    /// pipe is an error and not the end.
    pub fn install() -> Result<Self, Fault> {
        // SAFETY: SIG_IGN is a valid disposition for SIGPIPE and installs no handler.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        let pipe = Pipe::new([SIGTERM, SIGINT, SIGHUP])
            .map_err(|error| Fault::io("cannot install the signal handlers", &error))?;
        Ok(Signals { pipe })
    }

    /// What other threads use to end [`Signals::wait`] when the process ends by itself.
    pub fn waker(&self) -> Waker {
        Waker { handle: self.pipe.handle() }
    }

    /// Blocks until a signal comes or a [`Waker`] is used.
    pub fn wait(&mut self) -> Wake {
        match self.pipe.forever().next() {
            Some(SIGHUP) => Wake::Reopen,
            Some(_) => Wake::Terminate,
            None => Wake::Closed,
        }
    }
}

/// Ends [`Signals::wait`] from any thread.
#[derive(Clone)]
pub struct Waker {
    handle: Handle,
}

impl Waker {
    pub fn wake(&self) {
        self.handle.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because signals belong to the whole process.
    #[test]
    fn signals_and_wakers_end_the_wait() {
        let mut signals = Signals::install().unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(signals.wait(), Wake::Terminate);
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(signals.wait(), Wake::Reopen);
        let waker = signals.waker();
        let thread = std::thread::spawn(move || waker.wake());
        assert_eq!(signals.wait(), Wake::Closed);
        thread.join().unwrap();
    }
}
