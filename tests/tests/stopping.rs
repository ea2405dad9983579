//! The end of a server, and what must be on the disk by then; what is said to be on, and is not.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use torc_tests::client::Client;
use torc_tests::clock;
use torc_tests::node::Node;
use torc_tests::peer::Peer;
use torc_tests::process::Server;
use torc_tests::replicas::{PATIENCE, Who, agree, field, follow, text};

const REFUSED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// Without an append-only file and with a save point that is not reached by itself.
const SNAPSHOTS: [&str; 4] = ["--appendonly", "no", "--save", "3600 1"];

fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    clock::poll(PATIENCE, probe).unwrap_or_else(|| panic!("{what}"))
}

fn logged(server: &Server, line: &str, times: usize) {
    until(&format!("{line}: {}", server.log()), || {
        (server.log().matches(line).count() >= times).then_some(())
    });
}

#[test]
fn a_stop_that_cannot_save_is_called_off() {
    for who in [Who::Torc(1), Who::Torc(2), Who::Other(Peer::Redis)] {
        let mut server = who.start(&SNAPSHOTS);
        let mut client = server.client();
        client.line("SET a 1");
        // Nothing can be given this name.
        let in_the_way = server.dir().join("dump.rdb");
        fs::create_dir(&in_the_way).expect("a directory");
        assert_eq!(text(&client.line("SHUTDOWN")), REFUSED, "{who:?}");
        server.signal(Signal::TERM);
        if let Who::Torc(_) = who {
            logged(&server, "the stop is called off", 2);
            assert_eq!(text(&client.line("SHUTDOWN ABORT")), "ERR No shutdown in progress.");
        }
        assert_eq!(text(&client.line("GET a")), "1", "{who:?}");
        client.send(b"SHUTDOWN FORCE\r\n").expect("it listens");
        assert!(server.wait(PATIENCE).expect("it ends").success(), "{who:?}");
    }
}

#[test]
fn a_stop_waits_for_replicas_unless_it_is_called_off() {
    for who in [Who::Torc(2), Who::Other(Peer::Redis)] {
        let mut primary = who.start(&["--shutdown-timeout", "60"]);
        let replica = Who::Torc(1).start(&[]);
        let (mut one, mut two, mut asker) = (primary.client(), replica.client(), primary.client());
        follow(&mut two, primary.port);
        agree(&mut one, &mut two, "before");
        replica.signal(Signal::STOP);
        one.line("SET a 1");
        asker.send(b"SHUTDOWN\r\n").expect("it listens");
        until("there is a stop to call off", || (text(&one.line("SHUTDOWN ABORT")) == "OK").then_some(()));
        assert_eq!(text(&asker.read().expect("an answer")), REFUSED, "{who:?}");
        assert_eq!(text(&one.line("SET a 2")), "OK", "writes go on");
        asker.send(b"SHUTDOWN\r\n").expect("it listens");
        replica.signal(Signal::CONT);
        assert!(primary.wait(PATIENCE).expect("it ends").success(), "{who:?}");
        assert_eq!(text(&two.line("GET a")), "2", "{who:?}");
    }
}

#[test]
fn a_stop_waits_no_longer_than_it_may() {
    let mut primary = Who::Torc(2).start(&["--shutdown-timeout", "1"]);
    let replica = Who::Torc(1).start(&[]);
    let (mut one, mut two) = (primary.client(), replica.client());
    follow(&mut two, primary.port);
    agree(&mut one, &mut two, "before");
    replica.signal(Signal::STOP);
    one.line("SET a 1");
    primary.signal(Signal::TERM);
    assert!(primary.wait(Duration::from_secs(20)).expect("it ends").success());
    replica.signal(Signal::CONT);
}

/// What the client sends behind SAVE or BGSAVE in one piece is not in the snapshot; whatever else is kept, or is not.
#[test]
fn a_snapshot_ends_where_it_was_asked_for() {
    for (shards, points) in [(1, "3600 1"), (3, "3600 1"), (1, ""), (3, "")] {
        for command in ["SAVE", "BGSAVE"] {
            let dir = tempfile::tempdir().expect("a directory");
            let node = Node::start(dir.path(), shards, &["--appendonly", "no", "--save", points]);
            let mut client = node.client();
            client.line("SET a old");
            client.send(format!("{command}\r\nSET a new\r\nSET b new\r\n").as_bytes()).expect("it listens");
            let replies: Vec<String> = (0..3).map(|_| text(&client.read().expect("a reply"))).collect();
            assert_eq!(replies[1..], ["OK", "OK"], "{command}");
            until("it ends", || {
                (field(&mut client, "persistence", "rdb_bgsave_in_progress") == "0").then_some(())
            });
            node.kill();
            let node = Node::start(dir.path(), shards, &SNAPSHOTS);
            let mut client = node.client();
            assert_eq!(text(&client.line("GET a")), "old", "{command}");
            assert_eq!(client.line("DBSIZE").int(), Some(1), "{command}");
        }
    }
}

/// With save points the last snapshot must not bring back what FLUSHALL removed.
#[test]
fn a_flush_of_everything_is_saved() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path(), 2, &SNAPSHOTS);
    let mut client = node.client();
    client.line("SET a 1");
    assert_eq!(text(&client.line("SAVE")), "OK");
    let saves = |client: &mut Client| field(client, "persistence", "rdb_saves");
    let before = saves(&mut client);
    client.line("FLUSHALL");
    until("it is saved", || (saves(&mut client) != before).then_some(()));
    node.kill();
    let node = Node::start(dir.path(), 2, &SNAPSHOTS);
    assert_eq!(node.client().line("DBSIZE").int(), Some(0));
}

#[test]
fn writes_are_refused_while_an_append_only_file_that_was_turned_on_cannot_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path(), 2, &["--appendonly", "no"]);
    let mut client = node.client();
    let in_the_way = dir.path().join("appendonlydir");
    fs::write(&in_the_way, "").expect("a file");
    client.line("CONFIG SET appendonly yes");
    let mut set = || text(&client.line("SET a 1"));
    until("it is refused", || set().starts_with("MISCONF Errors opening the AOF file: ").then_some(()));
    fs::remove_file(&in_the_way).expect("it is there");
    until("it goes on", || (set() == "OK").then_some(()));
    let on = |client: &mut Client| field(client, "persistence", "aof_rewrite_in_progress") == "0";
    until("it is on", || on(&mut client).then_some(()));
    assert_eq!(field(&mut client, "persistence", "aof_last_write_status"), "ok");
    node.stop();
    let node = Node::start(dir.path(), 2, &["--appendonly", "yes"]);
    assert_eq!(text(&node.client().line("GET a")), "1");
}

/// Else every restart is followed by a rewrite as soon as the least size is written.
#[test]
fn what_the_files_hold_at_start_is_what_growth_is_measured_from() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path(), 2, &[]);
    let mut client = node.client();
    client.call(&["SET", "a", &"x".repeat(100_000)]);
    client.line("BGREWRITEAOF");
    until("it ends", || (field(&mut client, "persistence", "aof_rewrite_in_progress") == "0").then_some(()));
    client.call(&["SET", "b", &"y".repeat(50_000)]);
    node.stop();
    let files = fs::read_dir(dir.path().join("appendonlydir")).expect("a directory").flatten();
    let listed =
        files.filter(|file| file.path().extension().is_some_and(|kind| kind == "aof" || kind == "rdb"));
    let on_disk: u64 = listed.map(|file| file.metadata().expect("a file").len()).sum();
    let node = Node::start(dir.path(), 2, &[]);
    let size = |name: &str| field(&mut node.client(), "persistence", name).parse::<u64>().expect("a number");
    let base = size("aof_base_size");
    assert!((50_000..=on_disk).contains(&base), "{base} of {on_disk}, which has replaced increments as well");
    assert_eq!(size("aof_current_size"), base);
}

#[test]
fn a_failover_that_cannot_be_is_refused_within_exec_as_well() {
    let primary = Who::Torc(2).start(&[]);
    let mut client = primary.client();
    for line in ["MULTI", "FAILOVER", "FAILOVER ABORT"] {
        client.line(line);
    }
    let replies = client.line("EXEC");
    let texts: Vec<String> = replies.elements().iter().map(text).collect();
    assert_eq!(texts, ["ERR FAILOVER requires connected replicas.", "ERR No failover in progress."]);
}
