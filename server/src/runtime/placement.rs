//! Which CPUs this process has, which shard runs on which, and the pinned threads they run in.
//!
//! Knows glommio, which runs the threads; what runs in them is the caller's future.

use super::Fault;
use crate::limits;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use std::{future::Future, mem, num::NonZero, thread, time::Duration};

/// Entries of each of glommio's own rings: a core has no file I/O of its own, the log core little.
const RING_DEPTH: usize = 512;

/// Registered I/O memory of an executor: the least glommio takes. Its default of 10 MiB exceeds the
/// usual memlock limit of 8 MiB.
const IO_MEMORY: usize = 64 << 10;

/// From this many CPUs on one is left to the log core.
const LOG_CPU_FROM: usize = 4;

/// The CPUs this thread may run on, ascending.
pub fn allowed_cpus() -> Result<Vec<usize>, Fault> {
    // SAFETY: a `cpu_set_t` is plain bits, for which zeroes are a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer and the size are those of one live `cpu_set_t`; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(Fault::io("cannot read the CPUs this process may use", &error));
    }
    // SAFETY: every index is below the number of bits of the set.
    let cpus = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
    Ok(cpus.collect())
}

/// Where everything runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The CPU of each shard, in shard order.
    pub shards: Vec<usize>,
    /// The CPU left for the log core, if there is one to spare.
    pub log: Option<usize>,
    /// Whether every shard has a CPU to itself. If not, none may spin.
    pub exclusive: bool,
}

impl Plan {
    /// All CPUs in use.
    pub fn cpus(&self) -> Vec<usize> {
        self.shards.iter().copied().chain(self.log).collect()
    }

    /// Places `shards` shards (by default: one for each CPU, less one for the log core from 4 CPUs on)
    /// on the CPUs of `server`, or on all that are allowed but those of `log`, the log core's. More shards
    /// than CPUs share them in turn.
    pub fn new(shards: Option<usize>, server: &[usize], log: &[usize]) -> Result<Plan, Fault> {
        let allowed = allowed_cpus()?;
        for (name, cpus) in [("server-cpulist", server), ("log-cpulist", log)] {
            if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(Fault::new(format!(
                    "CPU {cpu} of '{name}' is not among those this process may use ({allowed:?})"
                )));
            }
        }
        let mut cpus = if server.is_empty() { allowed } else { server.to_vec() };
        if server.is_empty() && cpus.iter().any(|cpu| !log.contains(cpu)) {
            cpus.retain(|cpu| !log.contains(cpu));
        }
        // A container's CPU quota may be less than the CPUs it sees.
        let quota = thread::available_parallelism().map_or(cpus.len(), NonZero::get);
        let mut plan = Plan::over(&cpus, quota, shards);
        plan.log = log.first().copied().or(plan.log);
        Ok(plan)
    }

    /// As above for given CPUs, of which at most `quota` can be busy at once.
    fn over(cpus: &[usize], quota: usize, shards: Option<usize>) -> Plan {
        let usable = cpus.len().min(quota).max(1);
        let default = if usable >= LOG_CPU_FROM { usable - 1 } else { usable };
        let count = shards.unwrap_or(default).clamp(1, limits::MAX_SHARDS);
        Plan {
            shards: cpus.iter().copied().cycle().take(count).collect(),
            log: cpus.get(count).copied(),
            exclusive: count <= usable,
        }
    }
}

/// A thread that [`spawn`] started.
pub struct Core<T: Send + 'static> {
    name: String,
    handle: ExecutorJoinHandle<T>,
}

impl<T: Send + 'static> Core<T> {
    /// Waits for the thread's future to end.
    pub fn join(self) -> Result<T, Fault> {
        self.handle.join().map_err(|error| Fault::new(format!("{} ended badly: {error}", self.name)))
    }
}

/// Runs a future in a glommio executor of its own, on a thread pinned to `cpu` if one is given. The future is made
/// on that thread, so it may own what cannot move between threads.
pub fn spawn<M, F, T>(name: &str, cpu: Option<usize>, make: M) -> Result<Core<T>, Fault>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let handle = LocalExecutorBuilder::new(placement)
        .name(name)
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY)
        .preempt_timer(Duration::from_millis(10))
        .spawn(make)
        .map_err(|error| Fault::new(format!("cannot start {name}: {error}")))?;
    Ok(Core { name: name.to_owned(), handle })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_placed_in_turn() {
        let plan = |cpus: &[usize], shards| Plan::over(cpus, cpus.len(), shards);
        assert_eq!(plan(&[0, 1], None), Plan { shards: vec![0, 1], log: None, exclusive: true });
        assert_eq!(plan(&[2, 3, 4, 5], None), Plan { shards: vec![2, 3, 4], log: Some(5), exclusive: true });
        let crowded = plan(&[0, 1], Some(5));
        assert_eq!(crowded, Plan { shards: vec![0, 1, 0, 1, 0], log: None, exclusive: false });
        assert_eq!(plan(&[0, 1], Some(1)).log, Some(1));
        let throttled = Plan::over(&[0, 1, 2, 3, 4, 5, 6, 7], 2, None);
        assert_eq!((throttled.shards.len(), throttled.exclusive), (2, true));
    }

    #[test]
    fn the_plan_uses_allowed_cpus_only() {
        let allowed = allowed_cpus().unwrap();
        let plan = Plan::new(None, &[], &[]).unwrap();
        assert!(!plan.shards.is_empty() && plan.shards.iter().all(|cpu| allowed.contains(cpu)));
        assert!(Plan::new(None, &[1000], &[]).is_err());
    }
}
