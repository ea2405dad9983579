//! One io_uring: entries go in, completions come out. The one place that enters the kernel for I/O.
//!
//! Knows no socket and no connection. Set up for one thread that runs its own completions
//! (SINGLE_ISSUER | DEFER_TASKRUN): they appear only while that thread is inside the kernel, so no
//! interrupt ever preempts a command, and the kernel says in shared memory (TASKRUN_FLAG) when an
//! entry would be worth it.

use io_uring::{
    CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, squeue,
    types::{SubmitArgs, Timespec},
};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, RawFd},
    ptr::NonNull,
    time::Duration,
};

pub(super) struct Ring {
    // Dropped in this order: the views write to the ring's memory when dropped, the owner unmaps it.
    submission: SubmissionQueue<'static>,
    completion: CompletionQueue<'static>,
    submitter: Submitter<'static>,
    owner: Owner,
    /// Entries for which the submission queue had no room, oldest first. Bounded by what the caller may
    /// have in flight: a receive, a send and a cancellation for each connection.
    backlog: VecDeque<squeue::Entry>,
    /// Flags of an entry that sleeps.
    sleep_flags: EnterFlags,
    /// System calls made.
    pub(super) enters: u64,
}

/// Frees the ring after its views. Not `Send`: the ring belongs to the thread that made it.
struct Owner(NonNull<IoUring>);

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::into_raw` in `Ring::new`, is dropped once, and the views
        // that borrow from it are fields declared before it, hence gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Ring {
    /// A ring for the calling thread with room for `entries` submissions (a power of two) and four
    /// times as many completions.
    pub(super) fn new(entries: u32) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_cqsize(entries * 4)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(entries)?;
        // While it sleeps a core is idle, not waiting for a disk; say so where the kernel lets us.
        let quiet =
            if ring.params().is_feature_no_iowait() { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() };
        let owner = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the box was just leaked, so the reference is unique and valid until `Owner` frees it,
        // which is after the views made from it here are dropped.
        let (mut submitter, submission, completion) = unsafe { &mut *owner.as_ptr() }.split();
        // Saves the kernel a lookup per entry; without it (a full table) entries still work.
        let _ = submitter.register_ring_fd();
        Ok(Ring {
            submission,
            completion,
            submitter,
            owner: Owner(owner),
            backlog: VecDeque::new(),
            sleep_flags: EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | quiet,
            enters: 0,
        })
    }

    pub(super) fn submitter(&self) -> &Submitter<'static> {
        &self.submitter
    }

    /// Has the kernel's workers for this ring run on any of these CPUs.
    pub(super) fn spread_workers(&self, cpus: &[usize]) {
        // SAFETY: a `cpu_set_t` is plain bits, for which zeroes are a value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as usize) {
            // SAFETY: the index is below the number of bits of the set.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
        if let Err(error) = self.submitter.register_iowq_aff(&set) {
            tracing::debug!("the kernel's workers stay where this thread is: {error}");
        }
    }

    /// Queues an entry for the next submission.
    ///
    /// # Safety
    /// Everything the entry points to stays valid, and is not written to (for a receive: not read),
    /// until its last completion was taken or the ring is dropped.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: the caller's promise.
            if unsafe { self.submission.push(&entry) }.is_ok() {
                return;
            }
            self.submit();
            // SAFETY: the caller's promise.
            if self.backlog.is_empty() && unsafe { self.submission.push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Whether entries wait to be submitted.
    #[inline]
    pub(super) fn has_submissions(&mut self) -> bool {
        !self.submission.is_empty() || !self.backlog.is_empty()
    }

    /// Completions that can be taken without entering the kernel.
    #[inline]
    pub(super) fn ready(&mut self) -> usize {
        self.completion.sync();
        self.completion.len()
    }

    /// Whether the kernel has completions for us that only an entry brings out. Reads memory only.
    #[inline]
    pub(super) fn has_deferred(&self) -> bool {
        self.submission.taskrun() || self.submission.cq_overflow()
    }

    /// The next completion that was ready at the last [`Ring::ready`].
    #[inline]
    pub(super) fn pop(&mut self) -> Option<cqueue::Entry> {
        self.completion.next()
    }

    /// Submits what is queued and runs deferred completions; does not wait.
    pub(super) fn submit(&mut self) {
        loop {
            self.submission.sync();
            self.enter(0, EnterFlags::GETEVENTS, &SubmitArgs::new());
            if self.backlog.is_empty() || self.submission.is_full() {
                return;
            }
            while let Some(entry) = self.backlog.pop_front() {
                // SAFETY: the promise made to `Ring::push` when the entry entered the backlog.
                if unsafe { self.submission.push(&entry) }.is_err() {
                    self.backlog.push_front(entry);
                    break;
                }
            }
        }
    }

    /// Submits what is queued, then waits until each of that and `more` besides have completed, or
    /// `timeout` has passed.
    pub(super) fn submit_and_gather(&mut self, more: u32, timeout: Duration) {
        if !self.backlog.is_empty() {
            return self.submit();
        }
        self.submission.sync();
        let timeout = Timespec::from(timeout);
        let want = self.submission.len() as u32 + more;
        self.enter(want, self.sleep_flags, &SubmitArgs::new().timespec(&timeout));
    }

    /// Waits for at least one completion, at most `timeout` if given. Nothing may be left to submit.
    pub(super) fn sleep(&mut self, timeout: Option<Duration>) {
        let timeout = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timeout {
            args = args.timespec(timespec);
        }
        self.enter(1, self.sleep_flags, &args);
    }

    fn enter(&mut self, want: u32, flags: EnterFlags, args: &SubmitArgs<'_, '_>) {
        self.enters += 1;
        // Tells the kernel what was taken; it would think the rest still waits and return at once.
        self.completion.sync();
        let queued = self.submission.len() as u32;
        let result = if flags.contains(EnterFlags::EXT_ARG) {
            // SAFETY: `args` is what EXT_ARG announces and outlives the call.
            unsafe { self.submitter.enter(queued, want, flags.bits(), Some(args)) }
        } else {
            // SAFETY: no argument is passed.
            unsafe { self.submitter.enter::<libc::sigset_t>(queued, want, flags.bits(), None) }
        };
        self.submission.sync();
        if let Err(error) = result {
            // Out of time, a signal, or the kernel short of memory or of completion room: all pass, and
            // what was not submitted is submitted next time. Anything else is a bug of ours.
            let passing = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN, libc::ENOMEM];
            let code = error.raw_os_error().unwrap_or(0);
            assert!(passing.contains(&code), "io_uring_enter: {error}");
        }
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        // SAFETY: the ring lives as long as `self`; a shared reference only reads its descriptor,
        // which the views never write.
        unsafe { self.owner.0.as_ref() }.as_raw_fd()
    }
}
