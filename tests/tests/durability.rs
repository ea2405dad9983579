//! Kills servers in the middle of their work and looks at what is there afterwards.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use torc_tests::client::Client;
use torc_tests::node::Node;
use torc_tests::peer::Peer;
use torc_tests::process::free_port;
use torc_tests::random::Random;
use torc_tests::replicas::{PATIENCE, Who, agree, field, follow, populate, settle, text, write};
use torc_tests::reply::Reply;
use torc_tests::{clock, torc};

/// Writers that count up their own keys, one in each of several slots, until the server is gone. Returns when each number of
/// each writer was acknowledged.
fn count_up(port: u16, writers: usize, stop: &AtomicBool) -> Vec<Vec<Instant>> {
    std::thread::scope(|scope| {
        let write = |writer: usize| {
            let mut acknowledged = Vec::new();
            let Ok(mut client) = Client::connect(port) else { return acknowledged };
            while !stop.load(Ordering::Relaxed) {
                let next = acknowledged.len() + 1;
                // Two keys that mostly have different homes: both or neither.
                let line = format!("MSET a:{writer} {next} b:{writer} {next}\r\n");
                if client.send(line.as_bytes()).is_err() {
                    break;
                }
                match client.read_raw() {
                    Ok(reply) if reply == b"+OK\r\n" => acknowledged.push(clock::now()),
                    _ => break,
                }
            }
            acknowledged
        };
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a writer ends")).collect()
    })
}

fn number(client: &mut Client, key: &str) -> u64 {
    match client.line(&format!("GET {key}")) {
        Reply::Bulk(bytes) => String::from_utf8_lossy(&bytes).parse().expect("a number"),
        _ => 0,
    }
}

/// Lets writers count up, kills the server after `wait` and returns when what was acknowledged, and when the kill was.
fn count_up_and_kill(node: Node, writers: usize, wait: Duration) -> (Vec<Vec<Instant>>, Instant) {
    let (stop, port) = (AtomicBool::new(false), node.port);
    std::thread::scope(|scope| {
        let writers = scope.spawn(|| count_up(port, writers, &stop));
        // The moment of the kill is the test's random input, not a wait for anything.
        std::thread::sleep(wait);
        let killed = clock::now();
        node.kill();
        stop.store(true, Ordering::Relaxed);
        (writers.join().expect("the writers end"), killed)
    })
}

/// What each writer has left is whole, and no less than `least`.
fn counted(client: &mut Client, least: &[u64], what: &str) -> Vec<u64> {
    let check = |(writer, least): (usize, &u64)| {
        let (a, b) = (number(client, &format!("a:{writer}")), number(client, &format!("b:{writer}")));
        assert_eq!(a, b, "{what}: a transaction is torn");
        assert!(a >= *least, "{what}: {least} was acknowledged, {a} is there");
        a
    };
    least.iter().enumerate().map(check).collect()
}

/// How many times to kill: `TORC_TEST_KILLS`, else few enough for every day.
fn kills() -> u64 {
    std::env::var("TORC_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(6)
}

#[test]
fn what_was_acknowledged_survives_a_kill_under_always() {
    const WRITERS: usize = 8;
    let seed = torc_tests::random::seed("durability");
    let mut random = Random::new(seed);
    for shards in [1, 2] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut least = vec![0; WRITERS];
        for kill in 0..kills() {
            let options = ["--appendfsync", "always", "--auto-aof-rewrite-min-size", "16kb"];
            let node = Node::start(dir.path(), shards, &options);
            let mut client = node.client();
            counted(&mut client, &least, &format!("kill {kill}, seed {seed}"));
            client.line("FLUSHALL");
            let wait = Duration::from_millis(50 + random.below(250) as u64);
            let (acknowledged, _) = count_up_and_kill(node, WRITERS, wait);
            least = acknowledged.iter().map(|times| times.len() as u64).collect();
        }
        assert!(least.iter().any(|last| *last > 0), "nothing was written");
    }
}

/// A kill takes no page out of the kernel's memory: this is about what the process itself holds back. What a loss of power
/// takes is simulated (`log/simulation`).
#[test]
fn a_kill_under_everysec_loses_a_second_at_most() {
    const WRITERS: usize = 8;
    // The second, and as long as the kill itself may take on a busy machine.
    const MOST: Duration = Duration::from_millis(1200);
    let seed = torc_tests::random::seed("everysec");
    let mut random = Random::new(seed);
    // In memory: a disk that stands still for a second would be measured, too.
    let dir = tempfile::tempdir_in("/dev/shm").expect("a temporary directory");
    for kill in 0..kills() / 2 {
        let options = ["--appendfsync", "everysec", "--auto-aof-rewrite-min-size", "16kb"];
        let shards = 1 + random.below(2);
        let node = Node::start(dir.path(), shards, &options);
        node.client().line("FLUSHALL");
        let wait = MOST + Duration::from_millis(random.below(1500) as u64);
        let (acknowledged, killed) = count_up_and_kill(node, WRITERS, wait);
        let old = |times: &Vec<Instant>| times.partition_point(|time| *time + MOST <= killed) as u64;
        let least: Vec<u64> = acknowledged.iter().map(old).collect();
        assert!(acknowledged.iter().all(|times| !times.is_empty()), "all wrote");
        let node = Node::start(dir.path(), shards, &options);
        let found = counted(&mut node.client(), &least, &format!("kill {kill}, seed {seed}"));
        let lost = acknowledged.iter().zip(&found).map(|(times, found)| {
            times.get(*found as usize).map_or(Duration::ZERO, |time| killed.saturating_duration_since(*time))
        });
        println!("kill {kill}: what was lost came at most {:?} before it", lost.max().unwrap_or_default());
        node.stop();
    }
}

#[test]
fn data_survives_a_stop_a_rewrite_and_a_change_of_shards() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 1, &[]);
    let mut client = node.client();
    for key in 0..2000 {
        client.line(&format!("SET key:{key} value:{key}"));
    }
    client.line("SELECT 3");
    client.line("SET other x PX 100000000");
    client.line("BGREWRITEAOF");
    let rewritten = || {
        let info = text(&node.client().line("INFO persistence"));
        info.contains("aof_rewrite_in_progress:0").then_some(())
    };
    clock::poll(Duration::from_secs(10), rewritten).expect("the rewrite ends");
    client.line("DEL other");
    client.line("MSET one 1 two 2");
    client.line("SELECT 0");
    client.line("DEL key:7");
    let digest = client.line("DEBUG DIGEST");
    node.stop();
    for shards in [2, 5, 1] {
        let node = Node::start(dir.path(), shards, &[]);
        let mut client = node.client();
        assert_eq!(client.line("DEBUG DIGEST"), digest, "{shards} shards");
        assert_eq!(client.line("DBSIZE"), Reply::Int(1999));
        node.stop();
    }
}

#[test]
fn a_torn_end_is_cut_off_and_damage_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 2, &[]);
    let mut client = node.client();
    client.line("SET a 1");
    client.line("MSET b 2 c 2 d 2 e 2");
    node.stop();
    let file = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    let whole = std::fs::read(&file).expect("the increment is there");
    // Somewhere within the transaction: none of it may be there.
    std::fs::write(&file, &whole[..whole.len() - 20]).expect("the file is ours");
    let node = Node::start(dir.path(), 2, &[]);
    let mut client = node.client();
    assert_eq!(text(&client.line("GET a")), "1");
    assert_eq!(client.line("EXISTS b c d e"), Reply::Int(0));
    client.line("SET after 3");
    node.stop();
    let node = Node::start(dir.path(), 1, &[]);
    assert_eq!(node.client().line("DBSIZE"), Reply::Int(2));
    node.stop();

    let mut damaged = std::fs::read(&file).expect("the increment is there");
    damaged[30] ^= 0x55;
    std::fs::write(&file, &damaged).expect("the file is ours");
    let output = Command::new(torc::program())
        .args(torc::arguments(free_port(), 1, &[]))
        .current_dir(dir.path())
        .output()
        .expect("the server starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && log.contains("appendonly.aof.1.incr.aof' is damaged: offset"),
        "{log}"
    );
}

#[test]
fn a_snapshot_is_loaded_without_a_log_and_begins_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 2, &["--appendonly", "no"]);
    let mut client = node.client();
    client.line("MSET a 1 b 2 c 3");
    assert_eq!(client.line("BGSAVE"), Reply::Simple(b"Background saving started".to_vec()));
    let saved = || dir.path().join("dump.rdb").exists().then_some(());
    clock::poll(Duration::from_secs(10), saved).expect("the snapshot is written");
    client.line("DEL c");
    client.line("SET c 4");
    assert_eq!(client.line("SAVE"), Reply::Simple(b"OK".to_vec()));
    assert!(matches!(client.line("LASTSAVE"), Reply::Int(at) if at > 1_700_000_000));
    client.line("SET lost 1");
    node.kill();
    for options in [&["--appendonly", "no"][..], &[][..], &[][..]] {
        let node = Node::start(dir.path(), 1, options);
        assert_eq!(node.client().line("DBSIZE"), Reply::Int(3), "{options:?}");
        assert_eq!(text(&node.client().line("GET c")), "4");
        let founded = || {
            let info = text(&node.client().line("INFO persistence"));
            info.contains("aof_rewrite_in_progress:0").then_some(())
        };
        clock::poll(Duration::from_secs(10), founded).expect("the log is founded");
        node.stop();
    }
}

/// Increments applied twice, or not at all, would show: the snapshot and the log must meet at one instant.
#[test]
fn a_log_turned_on_amid_work_counts_everything_once() {
    for shards in [1, 2, 5] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::start(dir.path(), shards, &["--appendonly", "no"]);
        let stop = AtomicBool::new(false);
        let counts: Vec<i64> = std::thread::scope(|scope| {
            let (node, stop) = (&node, &stop);
            let count = move |writer: usize| {
                let mut client = node.client();
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let Reply::Int(now) = client.line(&format!("INCR counter:{writer}")) else {
                        panic!("an integer")
                    };
                    last = now;
                }
                last
            };
            let writers: Vec<_> = (0..4).map(|writer| scope.spawn(move || count(writer))).collect();
            let mut client = node.client();
            for _ in 0..2 {
                assert_eq!(client.line("CONFIG SET appendonly yes"), Reply::Simple(b"OK".to_vec()));
                let manifest = dir.path().join("appendonlydir/appendonly.aof.manifest");
                let founded = || {
                    let info = text(&node.client().line("INFO persistence"));
                    (manifest.exists() && info.contains("aof_rewrite_in_progress:0")).then_some(())
                };
                clock::poll(Duration::from_secs(20), founded).expect("the log is founded");
                client.line("BGREWRITEAOF");
            }
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().expect("a writer ends")).collect()
        });
        node.stop();
        let node = Node::start(dir.path(), shards, &[]);
        let mut client = node.client();
        for (writer, count) in counts.iter().enumerate() {
            assert_eq!(number(&mut client, &format!("counter:{writer}")), *count as u64, "{shards} shards");
        }
        node.stop();
    }
}

#[test]
fn a_directory_belongs_to_one_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 1, &[]);
    let output = Command::new(torc::program())
        .args(torc::arguments(free_port(), 1, &[]))
        .current_dir(dir.path())
        .output()
        .expect("the server starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && log.contains("another server uses"), "{log}");
    node.stop();
}

/// Pieces of a snapshot that failed were once taken for those of the next.
#[test]
fn a_snapshot_after_one_that_failed_is_whole() {
    for shards in [1, 2] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::start(dir.path(), shards, &["--appendonly", "no"]);
        let mut client = node.client();
        populate(&mut client, 20_000, 100);
        let temporary = dir.path().join(format!("temp-{}.rdb", node.pid()));
        for round in 0..5 {
            std::os::unix::fs::symlink("/dev/full", &temporary).expect("no snapshot is under way");
            assert_eq!(client.line("SAVE"), Reply::Error(b"ERR".to_vec()), "round {round}");
            let refused = client.line("SET a 1");
            assert!(matches!(&refused, Reply::Error(text) if text.starts_with(b"MISCONF")), "{refused:?}");
            assert_eq!(client.line("SAVE"), Reply::Simple(b"OK".to_vec()), "round {round}");
            assert_eq!(client.line(&format!("SET round {round}")), Reply::Simple(b"OK".to_vec()));
        }
        assert_eq!(client.line("SAVE"), Reply::Simple(b"OK".to_vec()));
        let digest = client.line("DEBUG DIGEST");
        node.kill();
        let node = Node::start(dir.path(), shards, &["--appendonly", "no"]);
        assert_eq!(node.client().line("DEBUG DIGEST"), digest);
        node.stop();
    }
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    for shards in [1, 2] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::on_small_disk(dir.path(), 8, shards);
        let mut client = node.client();
        client.line("SET before 1");
        let ballast = node.disk().join("ballast");
        std::fs::write(&ballast, vec![0; 4 << 20]).expect("half of the disk is free");
        let value = "x".repeat(64 << 10);
        let filled = clock::poll(Duration::from_secs(20), || {
            let reply = client.line(&format!("SET big {value}"));
            matches!(reply, Reply::Error(text) if text.starts_with(b"MISCONF")).then_some(())
        });
        filled.expect("the disk is full at last");
        assert_eq!(text(&client.line("GET before")), "1", "reads go on");
        std::fs::remove_file(&ballast).expect("the ballast is ours");
        let written = clock::poll(Duration::from_secs(20), || {
            (client.line("SET after 1") == Reply::Simple(b"OK".to_vec())).then_some(())
        });
        written.expect("writes are taken again");
        let digest = client.line("DEBUG DIGEST");
        client.line("CONFIG SET appendfsync always");
        client.line("SET last 1");
        // The disk ends with the server, so what is on it is looked at elsewhere.
        let copy = tempfile::tempdir().expect("a temporary directory");
        let files = node.disk().join("appendonlydir");
        std::fs::create_dir(copy.path().join("appendonlydir")).expect("the directory is empty");
        for file in
            std::fs::read_dir(files).expect("the log is there").map(|file| file.expect("a file").path())
        {
            let name = file.file_name().expect("a file");
            std::fs::copy(&file, copy.path().join("appendonlydir").join(name)).expect("the file is ours");
        }
        node.stop();
        let node = Node::start(copy.path(), shards, &[]);
        let mut client = node.client();
        assert_eq!(client.line("DEL last"), Reply::Int(1));
        assert_eq!(client.line("DEBUG DIGEST"), digest);
        node.stop();
    }
}

/// The files of a peer move in: its append-only directory, rewritten once and written on, and its snapshot.
#[test]
fn files_of_the_peers_are_loaded() {
    for peer in [Peer::Redis, Peer::Redis8, Peer::Valkey] {
        let seed = torc_tests::random::seed("files");
        let server = peer.start(&["--appendonly", "yes"]);
        let (mut client, mut random) = (server.client(), Random::new(seed));
        write(&mut client, &mut random, 500);
        client.line("BGREWRITEAOF");
        let idle = |client: &mut Client| {
            let info = text(&client.line("INFO persistence"));
            let busy = ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1", "rdb_bgsave_in_progress:1"];
            (!busy.iter().any(|busy| info.contains(busy))).then_some(())
        };
        clock::poll(PATIENCE, || idle(&mut client)).expect("the rewrite ends");
        write(&mut client, &mut random, 500);
        clock::poll(PATIENCE, || idle(&mut client)).expect("nothing else rewrites");
        settle(&mut client);
        assert_eq!(text(&client.line("SAVE")), "OK");
        let digest = client.line("DEBUG DIGEST");
        let dir = server.dir();
        client.send(b"SHUTDOWN NOSAVE\r\n").expect("it listens");
        assert_eq!(client.read_to_end().unwrap_or_default(), b"", "it ends");
        for shards in [1, 3] {
            let home = tempfile::tempdir().expect("a temporary directory");
            std::fs::create_dir(home.path().join("appendonlydir")).expect("it is empty");
            for file in std::fs::read_dir(dir.join("appendonlydir")).expect("the log is there").flatten() {
                let to = home.path().join("appendonlydir").join(file.file_name());
                std::fs::copy(file.path(), to).expect("the file is ours");
            }
            let node = Node::start(home.path(), shards, &[]);
            assert_eq!(node.client().line("DEBUG DIGEST"), digest, "{peer:?}, seed {seed}, append-only file");
            node.stop();
            let home = tempfile::tempdir().expect("a temporary directory");
            std::fs::copy(dir.join("dump.rdb"), home.path().join("dump.rdb")).expect("the file is ours");
            let node = Node::start(home.path(), shards, &["--appendonly", "no"]);
            assert_eq!(node.client().line("DEBUG DIGEST"), digest, "{peer:?}, seed {seed}, snapshot");
            node.stop();
        }
    }
}

/// A key of the base whose time had come at the load was once left out, and what the log did to it with it.
#[test]
fn a_log_goes_on_with_keys_of_its_base_whose_time_is_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 2, &[]);
    let mut client = node.client();
    client.line("SET kept 41 PX 1500");
    client.line("SET gone 1 PX 1500");
    client.line("BGREWRITEAOF");
    let rewritten =
        || text(&client.line("INFO persistence")).contains("aof_rewrite_in_progress:0").then_some(());
    clock::poll(PATIENCE, rewritten).expect("the rewrite ends");
    assert_eq!(client.line("PERSIST kept"), Reply::Int(1));
    node.stop();
    let due = clock::unix_ms() + 1500;
    clock::poll(PATIENCE, || (clock::unix_ms() > due).then_some(())).expect("time goes by");
    let node = Node::start(dir.path(), 1, &[]);
    let mut client = node.client();
    assert_eq!(client.line("INCR kept"), Reply::Int(42));
    clock::poll(PATIENCE, || (client.line("DBSIZE") == Reply::Int(1)).then_some(())).expect("the other goes");
    node.stop();
}

#[test]
fn info_tells_of_the_disk_and_of_replicas_that_lag() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 2, &["--repl-diskless-sync-delay", "0"]);
    let mut client = node.client();
    populate(&mut client, 1000, 100);
    let flushed = || {
        let info = text(&client.line("INFO persistence"));
        (!info.contains("aof_fsync_usec:count=0,")).then_some(info)
    };
    let info = clock::poll(PATIENCE, flushed).expect("a second later it is flushed");
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let writes = value("aof_write_bytes:").expect("writes are told of");
    assert!(!writes.starts_with("count=0,") && writes.contains(",p99.9="), "{writes}");
    let replica = Who::Torc(1).start(&[]);
    let mut two = replica.client();
    follow(&mut two, node.port);
    client.line("SET a 1");
    agree(&mut client, &mut two, "before");
    replica.signal(Signal::STOP);
    client.line("SET a 2");
    let began = clock::now();
    let lag = |client: &mut Client| -> (u64, u64) {
        let line = field(client, "replication", "slave0");
        let number = |name| {
            let number = line.split(',').find_map(|pair| pair.strip_prefix(name));
            number.expect("the line has it").parse().expect("a number")
        };
        (number("lag_bytes="), number("lag_ms="))
    };
    let (bytes, ms) = clock::poll(PATIENCE, || Some(lag(&mut client)).filter(|(_, ms)| *ms > 1500))
        .expect("it falls behind");
    assert!(bytes > 0 && u128::from(ms) <= began.elapsed().as_millis() + 1500, "{bytes} bytes, {ms} ms");
    replica.signal(Signal::CONT);
    clock::poll(PATIENCE, || (lag(&mut client) == (0, 0)).then_some(())).expect("it comes after");
    node.stop();
}

#[test]
fn info_tells_of_the_last_load_and_of_rewrites_that_fail() {
    if torc::is_stand_in() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = Node::start(dir.path(), 2, &["--appendonly", "no", "--save", ""]);
    let mut client = node.client();
    populate(&mut client, 30, 10);
    let due = clock::unix_ms() + 1500;
    client.line(&format!("SET gone 1 PXAT {due}"));
    assert_eq!(text(&client.line("SAVE")), "OK");
    node.stop();
    clock::poll(PATIENCE, || (clock::unix_ms() > due).then_some(())).expect("time goes by");
    // A log begins with the snapshot.
    let node = Node::start(dir.path(), 2, &[]);
    let mut client = node.client();
    let told = |client: &mut Client, name| field(client, "persistence", name);
    assert_eq!(told(&mut client, "rdb_last_load_keys_loaded"), "30");
    assert_eq!(told(&mut client, "rdb_last_load_keys_expired"), "1");
    let rewritten = |client: &mut Client| {
        let ready =
            told(client, "aof_rewrite_in_progress") == "0" && told(client, "aof_rewrite_scheduled") == "0";
        (ready && told(client, "aof_rewrites") != "0").then_some(())
    };
    clock::poll(PATIENCE, || rewritten(&mut client)).expect("the log is founded");
    let taken = dir.path().join("appendonlydir/temp-base.rdb");
    std::fs::create_dir(&taken).expect("the name is free");
    for failures in ["1", "2"] {
        client.line("BGREWRITEAOF");
        let failed = || (told(&mut client, "aof_rewrites_consecutive_failures") == failures).then_some(());
        clock::poll(PATIENCE, failed).expect("the name is taken");
    }
    std::fs::remove_dir(&taken).expect("it is ours");
    client.line("BGREWRITEAOF");
    let mended = || (told(&mut client, "aof_rewrites_consecutive_failures") == "0").then_some(());
    clock::poll(PATIENCE, mended).expect("the name is free");
    node.stop();
}

#[test]
fn a_snapshot_without_a_checksum_is_written_and_read_as_asked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("dump.rdb");
    let options = ["--appendonly", "no", "--rdbchecksum", "no", "--save", ""];
    let node = Node::start(dir.path(), 2, &options);
    node.client().line("SET a 1");
    assert_eq!(text(&node.client().line("SAVE")), "OK");
    node.stop();
    let mut bytes = std::fs::read(&file).expect("it has been saved");
    assert!(bytes.ends_with(&[0; 8]), "no checksum");
    let at = bytes.len() - 1;
    bytes[at] = 1;
    std::fs::write(&file, &bytes).expect("the file is ours");
    let node = Node::start(dir.path(), 1, &options);
    assert_eq!(text(&node.client().line("GET a")), "1", "nobody looks at it");
    node.stop();
    let refused = Command::new(torc::program())
        .args(torc::arguments(free_port(), 1, &["--appendonly", "no"]))
        .current_dir(dir.path())
        .output()
        .expect("the server runs");
    assert!(!refused.status.success(), "a wrong one is damage");
    assert!(String::from_utf8_lossy(&[refused.stderr, refused.stdout].concat()).contains("checksum"));
}
