//! The kinds of full sync, and what ends a link: what one side cannot send or the other not take.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use torc_tests::client::Client;
use torc_tests::clock;
use torc_tests::node::Node;
use torc_tests::peer::Peer;
use torc_tests::random::{Random, seed};
use torc_tests::replicas::{PATIENCE, Who, Wire, agree, field, follow, populate, text, write};
use torc_tests::reply::Reply;

/// Waits until INFO replication says so.
fn until(client: &mut Client, name: &str, is: impl Fn(&str) -> bool) -> String {
    let said = || Some(field(client, "replication", name)).filter(|value| is(value));
    let said = clock::poll(PATIENCE, said);
    said.unwrap_or_else(|| panic!("{name}: {}", text(&client.line("INFO replication"))))
}

#[test]
fn a_command_that_is_not_known_here_ends_the_link() {
    let primary = Who::Other(Peer::Redis).start(&[]);
    let replica = Who::Torc(2).start(&["--repl-timeout", "3"]);
    let (mut one, mut two) = (primary.client(), replica.client());
    follow(&mut two, primary.port);
    agree(&mut one, &mut two, "the full sync");
    one.line("SET a 1");
    one.line("PUBLISH nobody hears");
    agree(&mut one, &mut two, "before");
    let end = field(&mut two, "replication", "slave_repl_offset");
    one.line("LPUSH list 1");
    one.line("SET a 2");
    let error = until(&mut two, "master_link_error", |error| !error.is_empty());
    assert_eq!(error, format!("offset {end}: command 'LPUSH' of the primary: it is not known here"));
    assert_eq!(field(&mut two, "replication", "master_link_status"), "down");
    assert_eq!(field(&mut two, "replication", "slave_repl_offset"), end, "it does not count as applied");
    assert_eq!(text(&two.line("GET a")), "1", "nothing behind it is applied");
    let syncs = field(&mut one, "stats", "sync_full");
    // It tries a full sync, once each repl-timeout.
    let error = until(&mut two, "master_link_error", |error| error.contains("snapshot"));
    assert!(error.contains("key \"list\": list of") && error.contains("offset"), "{error}");
    assert_eq!(field(&mut one, "stats", "sync_full"), (syncs.parse::<u32>().unwrap_or(0) + 1).to_string());
    // Once the primary has nothing unknown left, it is followed again.
    one.line("DEL list");
    agree(&mut one, &mut two, "after");
    assert_eq!(field(&mut two, "replication", "master_link_error"), "");
}

#[test]
fn a_command_that_fails_here_alone_ends_the_link() {
    for shards in [1, 2, 3] {
        let primary = Who::Other(Peer::Redis).start(&[]);
        let replica = Who::Torc(shards).start(&["--repl-timeout", "2", "--replica-read-only", "no"]);
        let (mut one, mut two) = (primary.client(), replica.client());
        for key in ["a", "b", "c", "d"] {
            one.line(&format!("SET {key} 1"));
        }
        follow(&mut two, primary.port);
        agree(&mut one, &mut two, "before");
        for round in ["INCR b", "MULTI|INCR a|INCR b|EXEC"] {
            two.line("SET b text");
            round.split('|').for_each(|line| drop(one.line(line)));
            let error = until(&mut two, "master_link_error", |error| !error.is_empty());
            assert!(error.contains("command 'INCR': ERR value is not an integer"), "{error}");
            agree(&mut one, &mut two, "everything anew");
            assert_eq!(field(&mut two, "replication", "master_link_error"), "");
        }
    }
}

/// A replica of a few lines, which reads when it is told to.
fn follow_by_hand(port: u16, lines: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the primary listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(lines.as_bytes()).expect("the primary listens");
    BufReader::new(stream)
}

/// The next line with something in it.
fn line_of(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("the primary speaks") > 0, "it has closed the link");
        if !line.trim().is_empty() {
            return line.trim().to_owned();
        }
    }
}

#[test]
fn a_replica_that_must_know_the_length_is_sent_a_file() {
    let primary = Who::Torc(2).start(&[]);
    let mut one = primary.client();
    populate(&mut one, 20_000, 100);
    for (lines, answers) in [("SYNC\r\n", 0), ("REPLCONF capa psync2\r\nPSYNC ? -1\r\n", 2)] {
        let mut old = follow_by_hand(primary.port, lines);
        for _ in 0..answers {
            line_of(&mut old);
        }
        let length = line_of(&mut old);
        let length = length.strip_prefix('$').and_then(|digits| digits.parse().ok()).expect(&length);
        let mut snapshot = vec![0; length];
        old.read_exact(&mut snapshot).expect("all of it comes");
        assert!(snapshot.starts_with(b"REDIS") && snapshot.len() > 20_000 * 10, "{}", snapshot.len());
        assert_eq!(snapshot[snapshot.len() - 9], 0xff, "and no more");
        one.line("SET behind 1");
        let words: Vec<String> = std::iter::from_fn(|| Some(line_of(&mut old))).take(11).collect();
        assert!(words.contains(&"SET".to_owned()) && words.contains(&"behind".to_owned()), "{words:?}");
    }
    let held = std::fs::read_dir(format!("/proc/{}/fd", primary.pid())).expect("it runs");
    let held = held.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    let held: Vec<_> = held.filter(|path| path.to_string_lossy().contains("temp-sync")).collect();
    assert!(held.is_empty(), "{held:?}");
}

#[test]
fn a_full_sync_through_a_file() {
    let primary = Who::Torc(2).start(&["--repl-diskless-sync", "no", "--repl-diskless-sync-delay", "600"]);
    let mut one = primary.client();
    let mut random = Random::new(seed("file"));
    populate(&mut one, 20_000, 300);
    for who in [Who::Torc(2), Who::Other(Peer::Redis), Who::Other(Peer::Redis8), Who::Other(Peer::Valkey)] {
        write(&mut one, &mut random, 300);
        let replica = who.start(&[]);
        let mut two = replica.client();
        follow(&mut two, primary.port);
        write(&mut one, &mut random, 300);
        agree(&mut one, &mut two, &format!("{who:?}"));
        write(&mut one, &mut random, 300);
        agree(&mut one, &mut two, &format!("{who:?}: stream"));
    }
    assert_eq!(field(&mut one, "stats", "sync_full"), "4");
}

/// Two share a walk, which begins as soon as both wait, and one of them does not read.
#[test]
fn a_replica_that_stalls_a_walk_is_left_and_the_others_go_on() {
    let bounds = ["--repl-diskless-sync-max-replicas", "2", "--repl-diskless-sync-delay", "600"];
    let primary = Who::Torc(2).start(&[&bounds[..], &["--repl-timeout", "16"]].concat());
    let mut one = primary.client();
    populate(&mut one, 100_000, 500);
    let mut lazy = follow_by_hand(primary.port, "REPLCONF capa eof\r\nPSYNC ? -1\r\n");
    assert_eq!(line_of(&mut lazy), "+OK");
    // Its own patience is shorter than the primary's.
    let replica = Who::Other(Peer::Redis).start(&["--repl-timeout", "8"]);
    let mut two = replica.client();
    follow(&mut two, primary.port);
    agree(&mut one, &mut two, "the other one goes on");
    assert_eq!(field(&mut one, "stats", "sync_full"), "2", "they shared the walk, and nobody began again");
    let patience = Some(Duration::from_millis(10));
    lazy.get_ref().set_read_timeout(patience).expect("a socket");
    let mut sink = vec![0; 1 << 16];
    let over = clock::poll(PATIENCE, || match lazy.read(&mut sink) {
        Ok(0) => Some(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(()),
        _ => None,
    });
    assert!(over.is_some(), "it has been left");
}

/// Options of a primary that keeps little of its stream, and whose snapshots are as large as the data.
const FORGETFUL: [&str; 6] = ["--repl-backlog-size", "16kb", "--appendonly", "no", "--rdbcompression", "no"];

/// A replica that follows, has missed too much to go on, and gets a half of the snapshot.
fn half_a_full_sync(one: &mut Client, two: &mut Client, wire: &Wire) {
    follow(two, wire.port);
    one.line("SET old 1");
    agree(one, two, "before");
    wire.cut();
    populate(one, 20_000, 100);
    wire.hold(1_000_000);
    wire.mend();
    until(two, "master_sync_read_bytes", |read| read.parse::<u64>().is_ok_and(|read| read > 500_000));
    assert_eq!(field(two, "replication", "master_sync_in_progress"), "1");
}

#[test]
fn what_there_is_serves_until_the_snapshot_is_here() {
    for primary in [Who::Torc(2), Who::Other(Peer::Redis)] {
        for mode in ["disabled", "on-empty-db", "swapdb"] {
            let (first, second) =
                (primary.start(&FORGETFUL), Who::Torc(2).start(&["--repl-diskless-load", mode]));
            let (mut one, mut two) = (first.client(), second.client());
            let wire = Wire::to(first.port);
            half_a_full_sync(&mut one, &mut two, &wire);
            let place = |two: &mut Client| {
                ["master_replid", "slave_repl_offset"].map(|name| field(two, "replication", name))
            };
            let (before, digest) = (place(&mut two), two.line("DEBUG DIGEST"));
            assert_eq!(text(&two.line("GET old")), "1", "{primary:?} {mode}");
            assert_eq!(field(&mut two, "persistence", "loading"), "0");
            let aside = if mode == "swapdb" { "1" } else { "0" };
            assert_eq!(field(&mut two, "persistence", "async_loading"), aside);
            wire.cut();
            until(&mut two, "master_sync_in_progress", |syncs| syncs == "0");
            assert_eq!(place(&mut two), before, "{primary:?} {mode}");
            assert_eq!(two.line("DEBUG DIGEST"), digest, "{primary:?} {mode}");
            wire.let_go();
            wire.mend();
            agree(&mut one, &mut two, &format!("{primary:?} {mode}"));
            one.line("SET new 1");
            agree(&mut one, &mut two, &format!("{primary:?} {mode}: stream"));
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_loaded_replaces_nothing() {
    for mode in ["disabled", "swapdb"] {
        let (first, second) =
            (Who::Other(Peer::Redis).start(&[]), Who::Torc(2).start(&["--repl-diskless-load", mode]));
        let (mut one, mut two) = (first.client(), second.client());
        one.line("LPUSH list 1");
        two.line("SET old 1");
        follow(&mut two, first.port);
        let error = until(&mut two, "master_link_error", |error| !error.is_empty());
        assert!(error.contains("key \"list\": list of"), "{mode}: {error}");
        assert_eq!(text(&two.line("GET old")), "1", "{mode}");
        assert_eq!(two.line("DBSIZE"), Reply::Int(1), "{mode}");
        assert_eq!(text(&two.line("REPLICAOF NO ONE")), "OK");
        assert_eq!(text(&two.line("SET old 2")), "OK");
    }
}

/// Of the same history, old data is read until the new is there, and then of all shards at once.
/// A primary that hangs up with the first bytes of every snapshot; yields the number of each.
fn quitter() -> (u16, Receiver<usize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (tell, told) = channel();
    let begun = format!("+FULLRESYNC {} 7\r\n$EOF:{}\r\nREDIS0011", "a".repeat(40), "b".repeat(40));
    std::thread::spawn(move || {
        for (number, link) in listener.incoming().flatten().enumerate() {
            let lines = BufReader::new(link.try_clone().expect("a descriptor")).lines();
            for line in lines.map_while(Result::ok) {
                let answer = match line.as_str() {
                    "PING" => "+PONG\r\n",
                    "REPLCONF" => "+OK\r\n",
                    "PSYNC" => &begun,
                    _ => continue,
                };
                (&link).write_all(answer.as_bytes()).expect("it listens");
                if line == "PSYNC" {
                    break;
                }
            }
            link.shutdown(Shutdown::Both).expect("it is open");
            if tell.send(number).is_err() {
                return;
            }
        }
    });
    (port, told)
}

/// Its first bytes and the end of the link came in one turn, and the load that then began waited for the rest for ever.
#[test]
fn a_link_that_ends_as_the_snapshot_begins_is_tried_again() {
    for how in ["disabled", "on-empty-db", "swapdb", "flush-before-load"] {
        let (port, attempts) = quitter();
        let replica = Who::Torc(2).start(&["--repl-diskless-load", how]);
        let mut client = replica.client();
        client.line("SET a 1");
        follow(&mut client, port);
        for expected in 0..4 {
            assert_eq!(attempts.recv_timeout(PATIENCE), Ok(expected), "{how}");
        }
        until(&mut client, "master_link_status", |status| status == "down");
        // An attempt that has just begun to load has its way.
        let ended = || (text(&client.line("REPLICAOF NO ONE")) == "OK").then_some(());
        assert!(clock::poll(PATIENCE, ended).is_some(), "{how}");
        assert!(how == "flush-before-load" || text(&client.line("GET a")) == "1", "{how}");
    }
}

#[test]
fn what_is_loaded_aside_appears_at_one_instant() {
    const MODE: [&str; 2] = ["--repl-diskless-load", "swapdb"];
    for (primary, shards) in [(Who::Torc(1), 3), (Who::Other(Peer::Redis), 2)] {
        let (first, second) = (primary.start(&FORGETFUL), Who::Torc(shards).start(&MODE));
        let (mut one, mut two) = (first.client(), second.client());
        let keys: Vec<String> = (0..20).map(|key| format!("key:{key}")).collect();
        let set = |one: &mut Client, value: &str| {
            let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {value}")).collect();
            assert_eq!(text(&one.line(&format!("MSET {}", pairs.join(" ")))), "OK");
        };
        set(&mut one, "before");
        let wire = Wire::to(first.port);
        half_a_full_sync(&mut one, &mut two, &wire);
        // They come with the next snapshot.
        wire.cut();
        until(&mut two, "master_sync_in_progress", |syncs| syncs == "0");
        set(&mut one, "after");
        wire.hold(1_000_000);
        wire.mend();
        until(&mut two, "master_sync_read_bytes", |read| {
            read.parse::<u64>().is_ok_and(|read| read > 500_000)
        });
        wire.let_go();
        let get = format!("MGET {}", keys.join(" "));
        let mut seen = String::new();
        while seen != "after" {
            let Reply::Array(values) = two.line(&get) else { panic!("it answers all the time") };
            seen = text(&values[0]);
            assert!(values.iter().all(|value| text(value) == seen), "{values:?}");
        }
        agree(&mut one, &mut two, &format!("{primary:?}, {shards} shards"));
        assert_eq!(field(&mut two, "persistence", "async_loading"), "0");
        one.line("SELECT 3");
        one.line("SET other 1");
        agree(&mut one, &mut two, "the stream goes on");
    }
}

/// Of another history it is not read amid the load, but comes back if that fails.
#[test]
fn what_was_there_before_a_failed_load_aside_comes_back() {
    let (first, second) =
        (Who::Torc(2).start(&FORGETFUL), Who::Torc(2).start(&["--repl-diskless-load", "swapdb"]));
    let (mut one, mut two) = (first.client(), second.client());
    populate(&mut one, 20_000, 100);
    two.line("SET old 1");
    let wire = Wire::to(first.port);
    wire.hold(1_000_000);
    follow(&mut two, wire.port);
    let loads = || text(&two.line("GET old")).starts_with("LOADING").then_some(());
    assert!(clock::poll(PATIENCE, loads).is_some());
    wire.cut();
    let back = || (text(&two.line("GET old")) == "1").then_some(());
    assert!(clock::poll(PATIENCE, back).is_some());
    assert_eq!(two.line("DBSIZE"), Reply::Int(1));
    wire.let_go();
    wire.mend();
    agree(&mut one, &mut two, "at last");
}

/// What is half loaded once took the place of the last whole snapshot.
#[test]
fn a_stop_amid_a_load_leaves_the_last_snapshot_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = ["--appendonly", "no", "--save", "1", "1", "--repl-diskless-load", "flush-before-load"];
    let (first, node) = (Who::Torc(2).start(&FORGETFUL), Node::start(dir.path(), 2, &options));
    let (mut one, mut two) = (first.client(), node.client());
    two.line("SET own 1");
    assert_eq!(text(&two.line("SAVE")), "OK");
    let dump = || std::fs::read(dir.path().join("dump.rdb")).expect("it has been written");
    let before = dump();
    populate(&mut one, 20_000, 100);
    let wire = Wire::to(first.port);
    wire.hold(1_000_000);
    follow(&mut two, wire.port);
    let mut read = || field(&mut two, "persistence", "loading_loaded_bytes").parse::<u64>().ok();
    assert!(clock::poll(PATIENCE, || read().filter(|read| *read > 500_000)).is_some());
    node.stop();
    assert!(dump() == before, "it has become {} bytes", dump().len());
}

#[test]
fn a_straight_load_empties_what_there_was() {
    for (mode, has_keys) in [("flush-before-load", true), ("on-empty-db", false)] {
        let (first, second) =
            (Who::Torc(2).start(&FORGETFUL), Who::Torc(2).start(&["--repl-diskless-load", mode]));
        let (mut one, mut two) = (first.client(), second.client());
        let wire = Wire::to(first.port);
        if has_keys {
            half_a_full_sync(&mut one, &mut two, &wire);
        } else {
            populate(&mut one, 20_000, 100);
            wire.hold(1_000_000);
            follow(&mut two, wire.port);
        }
        let loads = || text(&two.line("GET old")).starts_with("LOADING").then_some(());
        assert!(clock::poll(PATIENCE, loads).is_some(), "{mode}");
        let mut read = || field(&mut two, "persistence", "loading_loaded_bytes").parse::<u64>().ok();
        let most = clock::poll(PATIENCE, || read().filter(|read| *read > 500_000));
        assert!(most.is_some_and(|read| read <= 1_100_000), "{mode}: {most:?}");
        wire.cut();
        let empty = || (text(&two.line("DBSIZE")) == "Int(0)").then_some(());
        assert!(clock::poll(PATIENCE, empty).is_some(), "{mode}: half a snapshot is none");
        wire.let_go();
        wire.mend();
        agree(&mut one, &mut two, mode);
    }
}
