//! Which CPUs this process has, which shard runs on which, and the pinned threads they run in.
//!
//! Knows glommio, which runs the threads; what runs in them is the caller's future.

use super::{Fault, clock};
use crate::limits;
use glommio::{
    ExecutorJoinHandle, LocalExecutorBuilder, Placement,
    channels::shared_channel::{self, ConnectedReceiver, ConnectedSender},
};
use std::{
    future::{Future, poll_fn},
    mem,
    num::NonZero,
    pin::pin,
    task::Poll,
    thread,
    time::Duration,
};

/// Entries of each of glommio's own rings: a core has no file I/O of its own, the log core little.
const RING_DEPTH: usize = 512;

/// Registered I/O memory of an executor: the least glommio takes. Its default of 10 MiB exceeds the
/// usual memlock limit of 8 MiB.
const IO_MEMORY: usize = 64 << 10;

/// How long a core may keep glommio's tasks and timers waiting while it is busy, in microseconds.
/// A pass costs about 6 µs.
const PASS_EVERY_US: u64 = 10_000;

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

/// Reads `0-3,8` or, with a stride, `0-7:2`. Order is kept: shards are placed in it.
pub fn parse_cpus(list: &str) -> Result<Vec<usize>, Fault> {
    let mut cpus = Vec::new();
    for part in list.split(',').map(str::trim) {
        let range = parse_range(part).ok_or_else(|| {
            Fault::new(format!("cannot read '{part}' in the CPU list '{list}'; write it like 0-3,8 or 0-7:2"))
        })?;
        cpus.extend(range);
    }
    Ok(cpus)
}

fn parse_range(part: &str) -> Option<impl Iterator<Item = usize>> {
    let (range, stride) = part.split_once(':').unwrap_or((part, "1"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    let stride: usize = stride.parse().ok()?;
    let valid = first <= last && last < libc::CPU_SETSIZE as usize && stride > 0;
    valid.then(|| (first..=last).step_by(stride))
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
    /// Places `shards` shards (by default: one for each CPU, less one for the log core from 4 CPUs on)
    /// on the CPUs of `cpulist`, or all that are allowed. More shards than CPUs share them in turn.
    pub fn new(shards: Option<usize>, cpulist: Option<&str>) -> Result<Plan, Fault> {
        let allowed = allowed_cpus()?;
        let cpus = match cpulist {
            None => allowed,
            Some(list) => {
                let wanted = parse_cpus(list)?;
                if let Some(cpu) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
                    return Err(Fault::new(format!(
                        "CPU {cpu} of 'server-cpulist {list}' is not among those this process may use ({allowed:?})"
                    )));
                }
                wanted
            }
        };
        // A container's CPU quota may be less than the CPUs it sees.
        let quota = thread::available_parallelism().map_or(cpus.len(), NonZero::get);
        Ok(Plan::over(&cpus, quota, shards))
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

/// Runs a future in a glommio executor of its own, on a thread pinned to `cpu`. The future is made on
/// that thread, so it may own what cannot move between threads.
pub fn spawn<M, F, T>(name: &str, cpu: usize, make: M) -> Result<Core<T>, Fault>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let handle = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY)
        .preempt_timer(Duration::from_millis(10))
        .spawn(make)
        .map_err(|error| Fault::new(format!("cannot start {name} on CPU {cpu}: {error}")))?;
    Ok(Core { name: name.to_owned(), handle })
}

/// Lets glommio's reactor run now and then beside a future that sleeps in a ring of its own: its
/// timers, channels and foreign wake-ups wait that long.
pub struct Pass {
    sender: ConnectedSender<()>,
    receiver: ConnectedReceiver<()>,
    last_us: u64,
}

impl Pass {
    /// Only inside an executor.
    pub async fn new() -> Pass {
        let (sender, receiver) = shared_channel::new_bounded(1);
        // Each end waits for the other to connect.
        let sender = glommio::spawn_local(sender.connect());
        let receiver = receiver.connect().await;
        Pass { sender: sender.await, receiver, last_us: clock::monotonic_us() }
    }

    /// A pass if one is due: always when the core has `idled`, else every 10 ms. Reading the clock is
    /// the caller's, who has done it anyway.
    pub async fn if_due(&mut self, now_us: u64, idled: bool) {
        if idled || now_us.saturating_sub(self.last_us) >= PASS_EVERY_US {
            self.last_us = now_us;
            self.now().await;
        }
    }

    /// Yields until the reactor was polled once. A channel to ourselves does it: the receive registers
    /// with the reactor, the send makes it ready, and only the reactor wakes it.
    pub async fn now(&self) {
        let mut receive = pin!(self.receiver.recv());
        let mut sent = false;
        poll_fn(|context| {
            let polled = receive.as_mut().poll(context);
            if !mem::replace(&mut sent, true) {
                // The channel is empty between passes, so it has room.
                let _ = self.sender.try_send(());
                return Poll::Pending;
            }
            polled.map(drop)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, rc::Rc};

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!(parse_cpus("0-3, 8").unwrap(), [0, 1, 2, 3, 8]);
        assert_eq!(parse_cpus("1-7:3").unwrap(), [1, 4, 7]);
        assert_eq!(parse_cpus("5").unwrap(), [5]);
        for bad in ["", "a", "3-1", "1-", "0-3:0", "1,,2", "0-99999999"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

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
        let plan = Plan::new(None, None).unwrap();
        assert!(!plan.shards.is_empty() && plan.shards.iter().all(|cpu| allowed.contains(cpu)));
        assert!(Plan::new(None, Some("1000")).is_err());
    }

    #[test]
    fn a_pass_lets_other_tasks_and_timers_run() {
        let cpu = allowed_cpus().unwrap()[0];
        let core = spawn("test", cpu, || async {
            let mut pass = Pass::new().await;
            let ran = Rc::new(Cell::new(0));
            let counter = Rc::clone(&ran);
            glommio::spawn_local(async move {
                glommio::timer::sleep(Duration::from_millis(1)).await;
                counter.set(1);
            })
            .detach();
            let start = clock::monotonic_us();
            while ran.get() == 0 && clock::monotonic_us() - start < 5_000_000 {
                pass.if_due(clock::monotonic_us(), true).await;
            }
            ran.get()
        });
        assert_eq!(core.unwrap().join().unwrap(), 1);
    }
}
