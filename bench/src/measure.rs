//! The kernel's accounts of a process: CPU time and resident memory. Reads /proc, decides nothing.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// CPU time of all threads of `pid` so far, user and system, ns: the first field of /proc/PID/task/*/schedstat, which
/// counts to the nanosecond where /proc/PID/stat counts ticks of 10 ms. io_uring workers are threads of the process
/// and so included; interrupts served while a thread runs are counted as its time, for every server alike.
pub fn cpu_ns(pid: u32) -> Result<u64, String> {
    let dir = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&dir).map_err(|error| format!("{dir}: {error}"))?.flatten() {
        // A thread may end between the listing and the reading; its time is lost, and tiny.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        sum += text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Resident bytes of `pid`. From smaps_rollup: the counters behind VmRSS lag behind by up to a batch per thread.
pub fn rss_bytes(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| format!("{path} has no Rss line"))
}

/// Waits, unless told to stop.
pub fn rest(length: Duration, stop: &AtomicBool) -> Result<(), String> {
    let step = Duration::from_millis(20);
    let mut left = length;
    while !left.is_zero() {
        check(stop)?;
        thread::sleep(step.min(left));
        left = left.saturating_sub(step);
    }
    check(stop)
}

/// An error once a signal asked this program to end.
pub fn check(stop: &AtomicBool) -> Result<(), String> {
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounts_of_this_process_can_be_read_and_grow() {
        let own = std::process::id();
        let before = cpu_ns(own).expect("schedstat");
        let busy: u64 = (0..20_000_000_u64).map(std::hint::black_box).sum();
        assert!(busy > 0);
        thread::sleep(Duration::from_millis(10));
        assert!(cpu_ns(own).expect("schedstat") > before);
        assert!(rss_bytes(own).expect("smaps_rollup") > 100_000);
        assert!(cpu_ns(u32::MAX).is_err());
    }
}
