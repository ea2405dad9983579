//! The kernel's accounts of a process: CPU time and resident memory; waiting within bounds. Decides nothing.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use torc_loadgen::clock::Clock;

/// CPU time of all threads of `pid` so far, user and system, ns: the first field of /proc/PID/task/*/schedstat, which
/// counts to the nanosecond where /proc/PID/stat counts ticks of 10 ms. io_uring workers are threads of the process
/// and so included; interrupts served while a thread runs are counted as its time, for every server alike.
pub fn cpu_ns(pid: u32) -> Result<u64, String> {
    Ok(thread_times(pid)?.iter().map(|(_, ns)| ns).sum())
}

/// CPU time of the threads of `pid` that are called `name`, or `name` and a number as executors call theirs.
pub fn thread_cpu_ns(pid: u32, name: &str) -> Result<u64, String> {
    let meant =
        |own: &str| own.strip_prefix(name).is_some_and(|number| number.is_empty() || number.starts_with('-'));
    Ok(thread_times(pid)?.iter().filter(|(own, _)| meant(own)).map(|(_, ns)| ns).sum())
}

/// Name and CPU time of every thread of `pid`.
fn thread_times(pid: u32) -> Result<Vec<(String, u64)>, String> {
    let dir = format!("/proc/{pid}/task");
    let mut times = Vec::new();
    for task in fs::read_dir(&dir).map_err(|error| format!("{dir}: {error}"))?.flatten() {
        let read = |file| fs::read_to_string(task.path().join(file)).ok();
        // A thread may end between the listing and the reading; its time is lost, and tiny.
        let (Some(name), Some(text)) = (read("comm"), read("schedstat")) else { continue };
        let ns = text.split_ascii_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        times.push((name.trim().to_owned(), ns.unwrap_or(0)));
    }
    Ok(times)
}

/// Resident bytes of `pid`. From smaps_rollup: the counters behind VmRSS lag behind by up to a batch per thread.
pub fn rss_bytes(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| format!("{path} has no Rss line"))
}

/// Bytes on line `name` of /proc/PID/status; 0 once the process has ended.
fn status_bytes(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
    line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Resident bytes of `pid` and its children: what a fork shares counts twice. Unlike `rss_bytes` this reads a counter
/// and walks no page tables, which would hold up a server whose latency is being measured.
fn family_bytes(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: u64 = lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>()
        })
        .map(|child| status_bytes(child, "VmRSS:"))
        .sum();
    status_bytes(pid, "VmRSS:") + children
}

/// Watches the memory of a process and its children.
pub struct Peak {
    pid: u32,
    /// Resident bytes of the process when the watch began.
    pub before: u64,
    over: Arc<AtomicBool>,
    watch: Option<JoinHandle<u64>>,
}

impl Peak {
    pub fn watch(pid: u32) -> Result<Self, String> {
        let path = format!("/proc/{pid}/clear_refs");
        // 5: the kernel's own high-water mark begins anew.
        fs::write(&path, "5").map_err(|error| format!("{path}: {error}"))?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let watch = thread::spawn(move || {
            let mut peak = 0;
            while !told.load(Ordering::Relaxed) {
                peak = peak.max(family_bytes(pid));
                thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        Ok(Self { pid, before: family_bytes(pid), over, watch: Some(watch) })
    }

    /// The most bytes there were.
    pub fn end(mut self) -> u64 {
        self.join().max(status_bytes(self.pid, "VmHWM:"))
    }

    fn join(&mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.watch.take().map_or(0, |watch| watch.join().expect("the watch does not panic"))
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.join();
    }
}

/// Asks `test` every `step` for an answer; none within `limit`.
pub fn until<T>(
    limit: Duration,
    step: Duration,
    stop: &AtomicBool,
    mut test: impl FnMut() -> Result<Option<T>, String>,
) -> Result<Option<T>, String> {
    let clock = Clock::start();
    loop {
        if let Some(answer) = test()? {
            return Ok(Some(answer));
        }
        if u128::from(clock.ns()) >= limit.as_nanos() {
            return Ok(None);
        }
        rest(step, stop)?;
    }
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

    #[test]
    fn times_are_told_apart_by_the_name_of_the_thread() {
        let own = std::process::id();
        let named = thread::Builder::new().name("bench-probe-1".into());
        let busy = move || {
            let sum: u64 = (0..20_000_000_u64).map(std::hint::black_box).sum();
            (sum, thread_cpu_ns(own, "bench-probe").expect("schedstat"))
        };
        let (_, spent) = named.spawn(busy).expect("a thread").join().expect("no panic");
        assert!(spent > 0);
        assert_eq!(thread_cpu_ns(own, "bench-pro"), Ok(0));
    }

    #[test]
    fn a_peak_remains_when_its_memory_is_gone() {
        let peak = Peak::watch(std::process::id()).expect("clear_refs");
        let before = peak.before;
        let large = std::hint::black_box(vec![1_u8; 64 << 20]);
        drop(large);
        assert!(peak.end() >= before + (48 << 20));
    }

    #[test]
    fn waiting_ends_with_the_answer_or_the_limit() {
        let (stop, mut asked) = (AtomicBool::new(false), 0);
        let mut third = || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        };
        let step = Duration::from_millis(1);
        assert_eq!(until(Duration::from_secs(60), step, &stop, &mut third), Ok(Some(3)));
        assert_eq!(until(Duration::from_millis(5), step, &stop, &mut third), Ok(None));
    }
}
