//! Can this machine run us? Asked once, before any thread starts, so that every "no" is one clear line.
//!
//! Knows the kernel's features and limits; settings come in as numbers.

use super::{Fault, buffers::Buffers, ring::Ring};
use std::{fs, io, mem};

/// The oldest kernel with everything used: DEFER_TASKRUN came with it.
const KERNEL: &str = "Linux 6.1";

/// glommio 0.9.0 refuses to start an executor below this soft RLIMIT_MEMLOCK.
const MEMLOCK: u64 = 512 * 1024;

/// Descriptors that are not clients: standard streams, listeners, log files, replicas being fed.
const RESERVED_FILES: u64 = 32;

/// Descriptors of one core: its ring and eventfd, glommio's three rings, eventfds and blocking thread.
const FILES_PER_CORE: u64 = 12;

/// What the machine allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Clients that can be served at once: what was asked for, or fewer.
    pub clients: u64,
    /// Why fewer; a line for the log.
    pub warning: Option<String>,
}

/// Checks everything for a server of `cores` cores and `clients` clients, and raises the limits that
/// may be raised.
pub fn check(cores: usize, clients: u64) -> Result<Granted, Fault> {
    io_uring()?;
    memlock()?;
    files(cores, clients)
}

/// Whether the io_uring features used are there and permitted.
pub fn io_uring() -> Result<(), Fault> {
    // The features of a core's own ring, at their smallest.
    let probe = Ring::new(8).and_then(|ring| Buffers::new(&ring, 8, 64).map(|buffers| (ring, buffers)));
    match probe {
        Ok((ring, buffers)) => {
            drop(ring);
            drop(buffers);
            Ok(())
        }
        Err(error) => Err(ring_fault(&error)),
    }
}

/// Why an io_uring could not be had, with the remedy: other processes may have taken what was there at the check.
pub(super) fn ring_fault(error: &io::Error) -> Fault {
    io_uring_fault(error, &read_trimmed("/proc/sys/kernel/io_uring_disabled"))
}

fn io_uring_fault(error: &io::Error, disabled: &str) -> Fault {
    let release = read_trimmed("/proc/sys/kernel/osrelease");
    let line = match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), "1") => {
            "io_uring is limited to a group: sysctl kernel.io_uring_disabled is 1; set it to 0, or add this \
             user to the group of kernel.io_uring_group"
                .to_owned()
        }
        (Some(libc::EPERM), "2") => {
            "io_uring is switched off: sysctl kernel.io_uring_disabled is 2; set it to 0".to_owned()
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "io_uring is not permitted here, most likely by a seccomp profile (containers often have one); \
             allow io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        (Some(libc::ENOSYS), _) => {
            format!("kernel {release} has no io_uring, or a sandbox hides it; {KERNEL} or later is needed")
        }
        (Some(libc::EINVAL), _) => format!(
            "kernel {release} is too old: {KERNEL} or later is needed for io_uring with DEFER_TASKRUN and provided buffer rings"
        ),
        (Some(libc::ENOMEM), _) => {
            "no memory for an io_uring; raise RLIMIT_MEMLOCK ('ulimit -l', LimitMEMLOCK= in systemd), which all              processes of a user share, or the memory limit"
                .to_owned()
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            "no file descriptor left for an io_uring; raise RLIMIT_NOFILE ('ulimit -n')".to_owned()
        }
        _ => return Fault::io("cannot create an io_uring", error),
    };
    Fault::new(line)
}

fn read_trimmed(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// A soft limit and the hard one above it.
#[derive(Clone, Copy)]
struct Limit {
    soft: u64,
    hard: u64,
}

type Resource = libc::__rlimit_resource_t;

fn limit(resource: Resource) -> io::Result<Limit> {
    // SAFETY: an `rlimit` is plain integers, for which zeroes are a value.
    let mut limit: libc::rlimit = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live, exclusively borrowed `rlimit`.
    match unsafe { libc::getrlimit(resource, &mut limit) } {
        0 => Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises the soft limit to `wanted`, the hard one too if it must and we may; returns the soft limit
/// that holds afterwards.
fn raise(resource: Resource, wanted: u64) -> io::Result<u64> {
    let now = limit(resource)?;
    if now.soft >= wanted {
        return Ok(now.soft);
    }
    let hard = now.hard.max(wanted);
    for (soft, hard) in [(wanted, hard), (wanted.min(now.hard), now.hard)] {
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: the pointer is to a live `rlimit`.
        if unsafe { libc::setrlimit(resource, &limit) } == 0 {
            return Ok(soft);
        }
    }
    Ok(now.soft)
}

fn memlock() -> Result<(), Fault> {
    let failed = |error| Fault::io("cannot read RLIMIT_MEMLOCK", &error);
    let granted = raise(libc::RLIMIT_MEMLOCK, MEMLOCK).map_err(failed)?;
    if granted >= MEMLOCK {
        return Ok(());
    }
    Err(Fault::new(format!(
        "RLIMIT_MEMLOCK is {} KiB, at least {} KiB is needed; raise it ('ulimit -l', LimitMEMLOCK= in systemd)",
        granted / 1024,
        MEMLOCK / 1024
    )))
}

fn files(cores: usize, clients: u64) -> Result<Granted, Fault> {
    let own = RESERVED_FILES + FILES_PER_CORE * cores as u64;
    let failed = |error| Fault::io("cannot read RLIMIT_NOFILE", &error);
    let granted = raise(libc::RLIMIT_NOFILE, own + clients).map_err(failed)?;
    let possible = granted.saturating_sub(own);
    if possible >= clients {
        return Ok(Granted { clients, warning: None });
    }
    if possible == 0 {
        return Err(Fault::new(format!(
            "RLIMIT_NOFILE is {granted}, and {own} descriptors are needed before the first client; raise it \
             ('ulimit -n', LimitNOFILE= in systemd)"
        )));
    }
    let warning = format!(
        "maxclients lowered from {clients} to {possible}: RLIMIT_NOFILE is {granted}, {} is needed; raise it \
         ('ulimit -n', LimitNOFILE= in systemd)",
        own + clients
    );
    Ok(Granted { clients: possible, warning: Some(warning) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_passes() {
        let granted = check(2, 100).unwrap();
        assert_eq!(granted, Granted { clients: 100, warning: None });
    }

    #[test]
    fn every_refusal_names_a_remedy() {
        let line = |code, disabled| io_uring_fault(&io::Error::from_raw_os_error(code), disabled).to_string();
        assert!(line(libc::EPERM, "2").contains("set it to 0"));
        assert!(line(libc::EPERM, "1").contains("io_uring_group"));
        assert!(line(libc::EPERM, "0").contains("seccomp"));
        assert!(line(libc::EINVAL, "0").contains("too old"));
        assert!(line(libc::ENOMEM, "0").contains("LimitMEMLOCK"));
        assert!(line(libc::ENOSYS, "").contains("no io_uring"));
        assert!([libc::EPERM, libc::EINVAL].iter().all(|&code| !line(code, "0").contains('\n')));
    }
}
