//! Very many keys that expire in the same second, and tables that grow and shrink under a scan.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use torc_tests::client::{self, Client};
use torc_tests::process::Server;
use torc_tests::random::{self, Random};
use torc_tests::{clock, torc};

use crate::{PATIENCE, each_server, info, longest_ping};

/// Fewer than a million, so that it fits a test run.
const KEYS: usize = 300_000;

fn pipeline(client: &mut Client, commands: impl Iterator<Item = Vec<String>>) {
    let commands: Vec<Vec<String>> = commands.collect();
    for batch in commands.chunks(5_000) {
        let bytes: Vec<u8> = batch.iter().flat_map(|words| client::encode(words)).collect();
        client.send(&bytes).expect("the server takes a pipeline");
        batch.iter().for_each(|_| assert!(!client.read().expect("a reply").is_error()));
    }
}

#[test]
fn keys_that_expire_together_go_quickly_and_quietly() {
    each_server(|server| {
        let memory =
            |server: &Server| info(server, "memory", "used_memory").parse::<usize>().expect("a number");
        let empty = memory(server);
        let mut client = server.client();
        let when = clock::unix_ms() + 6_000;
        let words = |key: usize| {
            ["SET", &format!("key:{key}"), "some value", "PXAT", &when.to_string()].map(str::to_owned)
        };
        pipeline(&mut client, (0..KEYS).map(|key| words(key).to_vec()));
        let full = memory(server);
        assert!(clock::unix_ms() < when, "{}: filling took longer than the keys live", server.name);
        assert_eq!(client.line("DBSIZE").int(), Some(KEYS as i64));
        let mut gone = None;
        let longest = longest_ping(server, || {
            let left = Duration::from_millis((when - clock::unix_ms()).max(0) as u64);
            std::thread::sleep(left);
            let start = clock::now();
            let empty_again = || (client.line("DBSIZE").int() == Some(0)).then(|| start.elapsed());
            gone = clock::poll(Duration::from_secs(20), empty_again);
        });
        let gone = gone.unwrap_or_else(|| panic!("{}: expired keys stay", server.name));
        eprintln!("{}: {KEYS} keys gone {gone:?} after their time, longest PING {longest:?}", server.name);
        if !torc::is_stand_in() {
            assert!(gone < Duration::from_secs(4), "{}: {gone:?}", server.name);
            let freed = || (memory(server) < empty + (full - empty) / 4).then_some(());
            clock::poll(Duration::from_secs(4), freed).expect("the memory comes back");
        }
        assert!(longest < PATIENCE, "{}: PING took {longest:?}", server.name);
    });
}

/// One whole scan.
fn scan(client: &mut Client, options: &[&str]) -> HashSet<String> {
    let mut keys = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.call(&[&["SCAN", &cursor], options].concat());
        let [next, page] = reply.elements() else { panic!("SCAN answers {reply}") };
        keys.extend(page.elements().iter().map(|key| key.text()));
        cursor = next.text();
        if cursor == "0" {
            return keys;
        }
    }
}

#[test]
fn a_scan_returns_what_stays_while_tables_grow_and_shrink() {
    const STAYING: usize = 3_000;
    const COMING: usize = 60_000;
    let seed = random::seed("scan");
    each_server(|server| {
        let staying: HashSet<String> = (0..STAYING).map(|key| format!("stay:{key}")).collect();
        pipeline(
            &mut server.client(),
            staying.iter().map(|key| ["SET", key, "1"].map(str::to_owned).to_vec()),
        );
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let churn = scope.spawn(|| {
                let mut client = server.client();
                while !over.load(Ordering::Relaxed) {
                    let key = |key: usize| format!("come:{key}");
                    pipeline(
                        &mut client,
                        (0..COMING).map(|number| ["SET", &key(number), "1"].map(str::to_owned).to_vec()),
                    );
                    pipeline(
                        &mut client,
                        (0..COMING).map(|number| ["DEL", &key(number)].map(str::to_owned).to_vec()),
                    );
                }
            });
            let mut client = server.client();
            let mut random = Random::new(seed);
            let start = clock::now();
            let mut scans = 0;
            let limit = clock::time_box(6);
            let mut lost = Vec::new();
            while start.elapsed() < limit && lost.is_empty() {
                let count = random.pick(&["1", "10", "100", "1000", "100000"]);
                let options: &[&str] = match (random.below(3), *count) {
                    (0, count) if count != "1" => &["COUNT", count, "MATCH", "stay:*"],
                    (1, count) if count != "1" => &["COUNT", count, "TYPE", "string"],
                    (_, count) => &["COUNT", if count == "1" { "50" } else { count }],
                };
                let seen = scan(&mut client, options);
                lost = staying.difference(&seen).take(5).cloned().collect();
                scans += 1;
            }
            over.store(true, Ordering::Relaxed);
            churn.join().expect("the other client is served");
            eprintln!("{}: {scans} scans", server.name);
            assert!(lost.is_empty(), "{}, TORC_TEST_SEED={seed}: scan {scans} lost {lost:?}", server.name);
            assert!(scans > 1);
        });
        let seen = scan(&mut server.client(), &["COUNT", "7"]);
        assert_eq!(
            seen, staying,
            "{}: afterwards only what stays is there, once the rest is deleted",
            server.name
        );
    });
}
