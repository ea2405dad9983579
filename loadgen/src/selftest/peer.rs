//! redis-benchmark on the same traffic, for its CPU time.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::{CLIENTS, KEYS, Speed, VALUE_SIZE};
use crate::{clock::Clock, engine::pin};

/// What `program` takes for `requests` GETs with `pipeline`, pinned to `cpu`; none where there is no such program.
pub fn redis_benchmark(
    program: &str,
    target: SocketAddr,
    pipeline: usize,
    requests: u64,
    cpu: usize,
    stop: &AtomicBool,
) -> Option<Speed> {
    let start = || {
        // Its affinity is inherited from this thread.
        pin(&[cpu]).ok()?;
        Command::new(program)
            .args(["-h", &target.ip().to_string(), "-p", &target.port().to_string()])
            .args(["-t", "get", "-c", &CLIENTS.to_string(), "-P", &pipeline.to_string()])
            .args(["-n", &requests.to_string(), "-r", &KEYS.to_string(), "-d", &VALUE_SIZE.to_string(), "-q"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    };
    let clock = Clock::start();
    let child = thread::scope(|scope| scope.spawn(start).join().expect("starting does not panic"))?;
    let cpu_ns = ended(child, stop)?;
    let rate = requests as f64 * 1e9 / clock.ns() as f64;
    Some(Speed { rate, cpu_ns: cpu_ns as f64 / requests as f64 })
}

/// CPU time of `child` once it has ended: the kernel's account stands until the process is waited for.
fn ended(mut child: Child, stop: &AtomicBool) -> Option<u64> {
    let dir = format!("/proc/{}", child.id());
    loop {
        let status = fs::read_to_string(format!("{dir}/stat")).ok()?;
        if status.rsplit(')').next()?.trim_start().starts_with('Z') {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
    let account = fs::read_to_string(format!("{dir}/schedstat")).ok()?;
    let spent = account.split_ascii_whitespace().next()?.parse().ok()?;
    child.wait().ok()?.success().then_some(spent)
}
