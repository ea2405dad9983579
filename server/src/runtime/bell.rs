//! The bell of a core: how others wake it, and only when it sleeps.
//!
//! A core that is about to sleep announces it, *then* looks at its mail once more; a core that sent mail
//! publishes it, *then* looks whether the receiver sleeps. Both put a sequentially consistent fence
//! between the two steps, so at least one of them sees the other: no wake-up is lost, and a core that
//! is awake is never rung. Of several senders one wins the ring (`claim`).

use super::Fault;
use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, FromRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering, fence},
    },
};

/// No ring to ring: the core has not built its `Net` yet, or dropped it.
const NO_RING: RawFd = -1;

/// A handle to one core's bell; clones ring the same bell.
#[derive(Clone)]
pub struct Bell {
    shared: Arc<Shared>,
}

/// Own cache lines: every sender reads `sleeping` once per turn.
#[repr(align(128))]
struct Shared {
    sleeping: AtomicBool,
    /// The sleeper's io_uring, for senders that have a ring of their own.
    ring: AtomicI32,
    /// For senders that have none; the sleeper's ring reads it.
    eventfd: File,
}

impl Bell {
    pub(super) fn new() -> Result<Self, Fault> {
        // SAFETY: no pointer is passed. It must block: io_uring would fail a read of an empty
        // non-blocking eventfd instead of waiting for it.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(Fault::io("cannot create an eventfd", &io::Error::last_os_error()));
        }
        // SAFETY: the kernel just made this descriptor and nobody else owns it.
        let eventfd = unsafe { File::from_raw_fd(fd) };
        let shared = Shared { sleeping: AtomicBool::new(false), ring: AtomicI32::new(NO_RING), eventfd };
        Ok(Bell { shared: Arc::new(shared) })
    }

    /// Wakes the core from any thread, whether it sleeps or not.
    pub fn ring(&self) {
        // Fails only when the counter is about to overflow, and then the core has a wake-up due.
        let _ = (&self.shared.eventfd).write(&1u64.to_ne_bytes());
    }

    /// The descriptor that becomes readable when the bell is rung by [`Bell::ring`].
    pub(super) fn eventfd(&self) -> RawFd {
        self.shared.eventfd.as_raw_fd()
    }

    /// Called by the sleeper's `Net` as it comes and goes.
    pub(super) fn set_ring(&self, ring: Option<RawFd>) {
        self.shared.ring.store(ring.unwrap_or(NO_RING), Ordering::Release);
    }

    pub(super) fn ring_fd(&self) -> Option<RawFd> {
        Some(self.shared.ring.load(Ordering::Acquire)).filter(|&fd| fd != NO_RING)
    }

    /// The owner is about to sleep; it must look at its mail after this and before it sleeps.
    #[inline]
    pub(super) fn announce_sleep(&self) {
        self.shared.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    #[inline]
    pub(super) fn announce_awake(&self) {
        self.shared.sleeping.store(false, Ordering::Relaxed);
    }

    /// Whether the caller must wake the owner. The caller has published its mail and then passed a
    /// sequentially consistent fence.
    #[inline]
    pub(super) fn claim(&self) -> bool {
        self.shared.sleeping.load(Ordering::Relaxed) && self.shared.sleeping.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_wins_a_sleeper() {
        let bell = Bell::new().unwrap();
        assert!(!bell.claim(), "an awake core is not rung");
        bell.announce_sleep();
        assert!(bell.claim());
        assert!(!bell.claim(), "it is rung once");
        bell.announce_sleep();
        bell.announce_awake();
        assert!(!bell.claim());
    }
}
