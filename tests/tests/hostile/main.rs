//! What careless and hostile clients do, and what a machine does to a server: every bound holds, one line names every
//! refusal to start, and the other clients go on.

mod clients;
mod expiry;
mod files;
mod idle;
mod large;
mod start;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use torc_tests::process::Server;
use torc_tests::{clock, torc};

/// What other clients may wait while one makes trouble. Generous: tests run unoptimised on shared machines; the bench
/// has the bars.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs `trouble` while another client sends PINGs; returns the longest one.
fn longest_ping(server: &Server, trouble: impl FnOnce()) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let mut client = server.client();
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let start = clock::now();
                assert_eq!(client.line("PING").text(), "PONG");
                longest = longest.max(start.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            longest
        });
        // A failure inside must still end the pings, or the scope waits for them for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(trouble));
        over.store(true, Ordering::Relaxed);
        let longest = pings.join().expect("the bystander is served");
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        longest
    })
}

fn each_server(test: impl Fn(&Server)) {
    for shards in torc::shard_counts() {
        test(&torc::start(shards, &[]));
    }
}

/// A field of INFO.
fn info(server: &Server, section: &str, field: &str) -> String {
    let text = server.client().line(&format!("INFO {section}")).text();
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")).map(str::to_owned));
    value.unwrap_or_else(|| panic!("INFO {section} has no {field}:\n{text}"))
}
