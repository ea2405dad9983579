//! What the operating system says about this process: what INFO reports of the machine.

use std::{fs, mem, ops::Sub, time::Duration};

/// CPU time spent so far, as `getrusage` counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    pub user: Duration,
    pub system: Duration,
}

impl Sub for CpuTime {
    type Output = CpuTime;

    fn sub(self, earlier: CpuTime) -> CpuTime {
        CpuTime {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

pub fn pid() -> u32 {
    std::process::id()
}

/// CPU time of all threads of this process.
pub fn cpu_self() -> CpuTime {
    usage(libc::RUSAGE_SELF)
}

/// CPU time of child processes that ended and were waited for.
pub fn cpu_children() -> CpuTime {
    usage(libc::RUSAGE_CHILDREN)
}

/// CPU time of the calling thread alone.
pub fn cpu_thread() -> CpuTime {
    usage(libc::RUSAGE_THREAD)
}

fn usage(who: libc::c_int) -> CpuTime {
    // SAFETY: `rusage` is plain integers, for which zeroes are a value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live, exclusively borrowed `rusage`.
    let failed = unsafe { libc::getrusage(who, &mut usage) };
    assert_eq!(failed, 0, "getrusage fails only for a bad pointer or an unknown target");
    let span = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    CpuTime { user: span(usage.ru_utime), system: span(usage.ru_stime) }
}

/// Has the calling thread run only when no other wants its CPU, and give way at once when one wakes.
pub fn run_last() {
    // SAFETY: a `sched_param` is plain integers, for which zeroes are a value; SCHED_IDLE wants priority 0.
    let parameters: libc::sched_param = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live `sched_param`; 0 is the calling thread.
    let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    if failed != 0 {
        tracing::debug!("a background thread keeps its priority: {}", std::io::Error::last_os_error());
    }
}

/// How long the kernel lets a thread of short slices go on when others want its CPU, ns: its least.
const SHORT_SLICE_NS: u64 = 100_000;

/// Has the calling thread run at once when it wakes, where another has had its CPU for longer: it asks for little time at a
/// stretch. Linux before 6.12 takes no notice.
pub fn run_in_short_slices() {
    // SAFETY: no pointer is passed; 0 is the calling thread.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SHORT_SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads a live `sched_attr` of the size that it names; 0 is the calling thread.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if failed != 0 {
        tracing::debug!("a thread keeps its slices: {}", std::io::Error::last_os_error());
    }
}

/// Bytes of physical memory the process holds now; 0 where `/proc` is not mounted.
pub fn rss() -> u64 {
    status_bytes("/proc/self/status", "VmRSS:")
}

/// The most bytes of physical memory the process ever held.
pub fn peak_rss() -> u64 {
    status_bytes("/proc/self/status", "VmHWM:")
}

/// Bytes of physical memory of the machine.
pub fn machine_memory() -> u64 {
    status_bytes("/proc/meminfo", "MemTotal:")
}

fn status_bytes(path: &str, field: &str) -> u64 {
    fs::read_to_string(path).ok().and_then(|text| kilobytes(&text, field)).unwrap_or(0) * 1024
}

/// The number behind `field` in the `name: 123 kB` lines of `/proc`.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// File descriptors open now.
pub fn open_files() -> usize {
    // The directory handle that does the counting is itself one of them.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// `Linux 6.1.0 x86_64`, as `uname` words it.
pub fn operating_system() -> String {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/kernel/{name}")).map(|text| text.trim().to_owned())
    };
    let system = read("ostype").unwrap_or_else(|_| "Linux".to_owned());
    let release = read("osrelease").unwrap_or_else(|_| "unknown".to_owned());
    format!("{system} {release} {}", std::env::consts::ARCH)
}

/// Gives memory that this thread has freed back to the kernel. The allocator does so by itself only while
/// it is being used, so that a core which rests after a large value would keep it.
pub fn give_memory_back() {
    // SAFETY: the call takes no pointers and may be made on any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kilobytes_reads_the_proc_format() {
        let text = "Name:\ttorc\nVmHWM:\t  2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kilobytes(text, "VmRSS:"), Some(1024));
        assert_eq!(kilobytes(text, "VmSwap:"), None);
    }

    #[test]
    fn the_process_sees_itself() {
        assert!(rss() > 100 * 1024 && rss() <= machine_memory());
        assert!(peak_rss() >= rss() / 2);
        assert!(open_files() >= 3);
        assert!(operating_system().starts_with("Linux "));
        let before = cpu_thread();
        while (cpu_thread() - before).user + (cpu_thread() - before).system < Duration::from_millis(2) {}
        assert!(cpu_self().user + cpu_self().system >= Duration::from_millis(1));
    }
}
