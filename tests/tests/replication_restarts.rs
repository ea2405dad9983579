//! Replication amid stops, kills, restarts and stalls: who can go on goes on, and who cannot begins anew.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{TempDir, tempdir};
use torc_tests::client::Client;
use torc_tests::clock;
use torc_tests::node::Node;
use torc_tests::peer::{self, Peer};
use torc_tests::process::{Server, free_port};
use torc_tests::random::{Random, seed};
use torc_tests::replicas::{PATIENCE, Who, Wire, agree, field, follow, populate, settle, text, write};
use torc_tests::reply::Reply;

fn dir() -> TempDir {
    tempdir().expect("a temporary directory")
}

const NO_DELAY: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

#[test]
fn a_replica_that_is_killed_goes_on_from_its_files() {
    let mut random = Random::new(seed("restart"));
    let primary = Who::Torc(2).start(&[]);
    let (mut one, home) = (primary.client(), dir());
    let port = primary.port.to_string();
    for (round, shards) in [2, 1, 3, 2].into_iter().enumerate() {
        let options = ["--replicaof", "127.0.0.1", &port, "--appendfsync", "always"];
        let replica = Node::start(home.path(), shards, &options);
        let mut two = replica.client();
        write(&mut one, &mut random, 300);
        agree(&mut one, &mut two, &format!("round {round}"));
        assert_eq!(field(&mut one, "stats", "sync_full"), "1", "round {round}");
        // Its next increment begins amid the stream, in whatever database that is in.
        one.line("SELECT 2");
        one.line("SET round 1");
        agree(&mut one, &mut two, &format!("round {round}"));
        two.line("BGREWRITEAOF");
        one.line("INCR round");
        clock::poll(PATIENCE, || {
            (field(&mut two, "persistence", "aof_rewrite_in_progress") == "0").then_some(())
        })
        .expect("the rewrite ends");
        one.line("INCR round");
        agree(&mut one, &mut two, &format!("round {round}"));
        replica.kill();
        write(&mut one, &mut random, 300);
    }
}

/// What a replica has logged is a log that anybody can load.
#[test]
fn a_replicas_files_are_a_log_of_their_own() {
    let mut random = Random::new(seed("files"));
    let primary = Who::Other(Peer::Redis).start(&[]);
    let (mut one, home) = (primary.client(), dir());
    let replica = Node::start(home.path(), 2, &[]);
    let mut two = replica.client();
    write(&mut one, &mut random, 300);
    follow(&mut two, primary.port);
    agree(&mut one, &mut two, "full sync");
    one.line("SELECT 2");
    one.line("SET here 1");
    agree(&mut one, &mut two, "in another database");
    two.line("BGREWRITEAOF");
    clock::poll(PATIENCE, || {
        (field(&mut two, "persistence", "aof_rewrite_in_progress") == "0").then_some(())
    })
    .expect("the rewrite ends");
    one.line("INCR here");
    settle(&mut one);
    agree(&mut one, &mut two, "behind the rewrite");
    let digest = one.line("DEBUG DIGEST");
    replica.stop();
    for peer in [Peer::Redis, Peer::Redis8, Peer::Valkey] {
        let loaded = load(peer, home.path());
        assert_eq!(loaded.client().line("DEBUG DIGEST"), digest, "{peer:?}");
    }
    let again = Node::start(home.path(), 1, &[]);
    assert_eq!(again.client().line("DEBUG DIGEST"), digest);
    again.stop();
}

/// A peer over a copy of a Torc's files.
fn load(peer: Peer, home: &Path) -> Server {
    let from = home.join("appendonlydir");
    Server::start(&format!("{peer:?}"), &peer.program(), |port, dir| {
        let to = dir.join("appendonlydir");
        std::fs::create_dir_all(&to).expect("the directory is ours");
        for file in std::fs::read_dir(&from).expect("the log is there").flatten() {
            std::fs::copy(file.path(), to.join(file.file_name())).expect("the file is ours");
        }
        peer::arguments(port, &["--appendonly", "yes"])
    })
}

#[test]
fn a_primary_that_restarts_keeps_its_replicas() {
    let mut random = Random::new(seed("primary"));
    let (home, port) = (dir(), free_port());
    let replicas = [Who::Torc(2), Who::Other(Peer::Redis)].map(|who| who.start(&[]));
    for (round, shards) in [1, 2, 3].into_iter().enumerate() {
        let options = [&["--appendfsync", "always"][..], &NO_DELAY].concat();
        let primary = Node::start_at(home.path(), port, shards, &options);
        let mut one = primary.client();
        if round == 0 {
            replicas.iter().for_each(|replica| follow(&mut replica.client(), port));
        }
        write(&mut one, &mut random, 300);
        for replica in &replicas {
            agree(&mut one, &mut replica.client(), &format!("round {round}, {}", replica.name));
        }
        let syncs = if round == 0 { "2" } else { "0" };
        assert_eq!(field(&mut one, "stats", "sync_full"), syncs, "round {round}: they go on where they were");
        // A kill loses nothing here that a replica has: `always`.
        if round == 1 { primary.kill() } else { primary.stop() }
    }
}

/// Bytes of increments that rewrites have replaced and that are still there.
fn history(home: &Path) -> u64 {
    let folder = home.join("appendonlydir");
    let manifest = std::fs::read_to_string(folder.join("appendonly.aof.manifest")).expect("the log is there");
    let names = manifest.lines().filter(|line| line.contains("type h")).map(|line| line.split(' ').nth(1));
    // One that is being removed is still named.
    let size = |name| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
    names.map(|name| size(name.expect("a line names its file"))).sum()
}

fn rewrite(client: &mut Client) {
    let before = field(client, "persistence", "aof_rewrites");
    client.line("BGREWRITEAOF");
    let done = || (field(client, "persistence", "aof_rewrites") != before).then_some(());
    clock::poll(PATIENCE, done).expect("the rewrite ends");
}

#[test]
fn a_replica_that_was_away_across_rewrites_goes_on() {
    let (home, port) = (dir(), free_port());
    let options = [&["--repl-backlog-size", "16kb"][..], &NO_DELAY].concat();
    let primary = Node::start_at(home.path(), port, 2, &options);
    let wire = Wire::to(port);
    let replica = Who::Torc(2).start(&[]);
    let (mut one, mut two) = (primary.client(), replica.client());
    write(&mut one, &mut Random::new(seed("away")), 100);
    follow(&mut two, wire.port);
    agree(&mut one, &mut two, "at first");
    wire.cut();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, mut random) = (primary.client(), Random::new(seed("away under load")));
            while !stop.load(Ordering::Relaxed) {
                write(&mut client, &mut random, 20);
            }
        });
        let offset = |client: &mut Client| -> u64 {
            field(client, "replication", "master_repl_offset").parse().expect("a number")
        };
        for _ in 0..2 {
            let much = offset(&mut one) + 50_000;
            clock::poll(PATIENCE, || (offset(&mut one) > much).then_some(())).expect("it is written to");
            rewrite(&mut one);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(history(home.path()) > 100_000, "what was replaced is kept");
    wire.mend();
    agree(&mut one, &mut two, "after two rewrites");
    assert_eq!(field(&mut one, "stats", "sync_full"), "1");
    assert_eq!(field(&mut one, "stats", "sync_partial_ok"), "1");
    // The same across a restart.
    wire.cut();
    write(&mut one, &mut Random::new(seed("away again")), 500);
    rewrite(&mut one);
    write(&mut one, &mut Random::new(seed("away still")), 100);
    primary.stop();
    let primary = Node::start_at(home.path(), port, 1, &options);
    let mut one = primary.client();
    wire.mend();
    agree(&mut one, &mut two, "after a restart");
    assert_eq!(field(&mut one, "stats", "sync_full"), "0");
    // To another server these are files that nobody needs.
    let digest = one.line("DEBUG DIGEST");
    primary.stop();
    assert!(history(home.path()) > 100_000, "it is there over a stop");
    assert_eq!(load(Peer::Redis, home.path()).client().line("DEBUG DIGEST"), digest);
    // As much as is asked for, and no more.
    let primary = Node::start_at(home.path(), port, 2, &options);
    primary.client().line("CONFIG SET repl-backlog-disk-size 0");
    clock::poll(PATIENCE, || (history(home.path()) == 0).then_some(())).expect("history goes");
    rewrite(&mut primary.client());
    let replaced_is_gone = || {
        let files = std::fs::read_dir(home.path().join("appendonlydir")).expect("it is there").flatten();
        let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        (names.filter(|name| name.ends_with(".incr.aof")).count() == 1).then_some(())
    };
    clock::poll(PATIENCE, replaced_is_gone).expect("what is replaced goes");
    primary.stop();
}

#[test]
fn a_frozen_replica_is_fed_from_the_files() {
    let home = dir();
    let primary = Node::start(home.path(), 2, &["--repl-backlog-size", "1mb"]);
    let replica = Who::Torc(1).start(&[]);
    let (mut one, mut two) = (primary.client(), replica.client());
    follow(&mut two, primary.port);
    one.line("SET a 1");
    agree(&mut one, &mut two, "before");
    replica.signal(Signal::STOP);
    let value = "x".repeat(100_000);
    for number in 0..400 {
        assert_eq!(text(&one.line(&format!("SET key:{} {value}", number % 10))), "OK");
    }
    let backlog: usize = field(&mut one, "replication", "repl_backlog_histlen").parse().expect("a number");
    assert!(backlog <= 1 << 20, "40 MB were written, {backlog} bytes are kept in memory");
    replica.signal(Signal::CONT);
    agree(&mut one, &mut two, "after");
    assert_eq!(field(&mut one, "stats", "sync_full"), "1");
    primary.stop();
}

#[test]
fn replicas_that_join_amid_writes_share_a_walk() {
    let home = dir();
    let primary = Node::start(home.path(), 2, &["--appendonly", "no", "--repl-diskless-sync-delay", "1"]);
    populate(&mut primary.client(), 20_000, 200);
    let replicas = [1, 2, 1, 2, 1].map(|shards| Who::Torc(shards).start(&[]));
    let stop = AtomicBool::new(false);
    let mut one = primary.client();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, mut random) = (primary.client(), Random::new(seed("join")));
            while !stop.load(Ordering::Relaxed) {
                write(&mut client, &mut random, 20);
            }
        });
        replicas.iter().for_each(|replica| follow(&mut replica.client(), primary.port));
        let online = || (field(&mut one, "replication", "connected_slaves") == "5").then_some(());
        assert!(clock::poll(PATIENCE, online).is_some(), "all are there");
        for replica in &replicas {
            let mut client = replica.client();
            let up = || (field(&mut client, "replication", "master_link_status") == "up").then_some(());
            assert!(clock::poll(PATIENCE, up).is_some(), "all follow amid the writes");
        }
        stop.store(true, Ordering::Relaxed);
    });
    for replica in &replicas {
        agree(&mut one, &mut replica.client(), &replica.name);
    }
    assert_eq!(field(&mut one, "stats", "sync_full"), "5", "nobody had to begin twice");
    primary.stop();
}

#[test]
fn a_full_sync_that_breaks_off_is_begun_again() {
    let primary = Who::Torc(2).start(&["--appendonly", "no"]);
    let replica = Who::Torc(2).start(&["--repl-diskless-load", "flush-before-load"]);
    let (mut one, mut two) = (primary.client(), replica.client());
    populate(&mut one, 200_000, 500);
    two.line("SET of-its-own 1");
    let wire = Wire::to(primary.port);
    follow(&mut two, wire.port);
    let begun = || text(&two.line("GET a")).starts_with("LOADING").then_some(());
    assert!(clock::poll(PATIENCE, begun).is_some(), "it takes the snapshot in");
    wire.cut();
    let ended = || (!text(&two.line("GET a")).starts_with("LOADING")).then_some(());
    assert!(clock::poll(PATIENCE, ended).is_some(), "half a snapshot is none");
    wire.mend();
    agree(&mut one, &mut two, "at last");
    // Called off by a change of role: what was half there is gone.
    two.line("REPLICAOF NO ONE");
    assert_eq!(two.line("DBSIZE"), Reply::Int(200_000));
}

#[test]
fn a_primary_that_is_stopped_for_long_is_given_up() {
    let home = dir();
    let options = [&["--repl-ping-replica-period", "1"][..], &NO_DELAY].concat();
    let primary = Node::start(home.path(), 1, &options);
    let replica = Who::Torc(1).start(&["--repl-timeout", "5", "--replica-max-lag-ms", "3000"]);
    let (mut one, mut two) = (primary.client(), replica.client());
    follow(&mut two, primary.port);
    one.line("SET a 1");
    agree(&mut one, &mut two, "before");
    assert_eq!(text(&two.line("GET a")), "1");
    let process = Pid::from_raw(primary.pid() as i32).expect("a process");
    kill_process(process, Signal::STOP).expect("it is ours");
    let stale = || text(&two.line("GET a")).starts_with("STALEREAD").then_some(());
    assert!(clock::poll(PATIENCE, stale).is_some(), "what may be old is not read");
    let down = || (field(&mut two, "replication", "master_link_status") == "down").then_some(());
    assert!(clock::poll(PATIENCE, down).is_some(), "silence ends the link");
    kill_process(process, Signal::CONT).expect("it is ours");
    one.line("SET a 2");
    agree(&mut one, &mut two, "after");
    let fresh = || (text(&two.line("GET a")) == "2").then_some(());
    assert!(clock::poll(PATIENCE, fresh).is_some(), "it is read again");
    primary.stop();
}
