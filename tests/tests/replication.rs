//! Torc as primary and as replica of itself and of every peer: what one has, the other comes to have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use torc_tests::client::Client;
use torc_tests::clock;
use torc_tests::peer::Peer;
use torc_tests::process::{Server, free_port};
use torc_tests::random::{Random, seed};
use torc_tests::replicas::{PATIENCE, Who, Wire, agree, field, follow, text, write};
use torc_tests::reply::Reply;

/// A full sync amid writes, the stream, a cut wire and a partial sync, for one pair.
fn pair(primary: Who, replica: Who) {
    let what = format!("{replica:?} of {primary:?}");
    let seed = seed("replication");
    let mut random = Random::new(seed);
    let (first, second) = (primary.start(&[]), replica.start(&[]));
    let (mut one, mut two) = (first.client(), second.client());
    write(&mut one, &mut random, 500);
    two.line("SET of-its-own 1");
    let wire = Wire::to(first.port);
    follow(&mut two, wire.port);
    write(&mut one, &mut random, 500);
    agree(&mut one, &mut two, &format!("{what}, seed {seed}: full sync"));
    assert_eq!(field(&mut two, "replication", "role"), "slave");
    assert_eq!(field(&mut one, "replication", "connected_slaves"), "1");
    assert!(text(&two.line("SET refused 1")).starts_with("READONLY"), "{what}");
    write(&mut one, &mut random, 500);
    agree(&mut one, &mut two, &format!("{what}, seed {seed}: stream"));
    wire.cut();
    write(&mut one, &mut random, 300);
    wire.mend();
    agree(&mut one, &mut two, &format!("{what}, seed {seed}: partial sync"));
    // Figures are refreshed a few times a second.
    let went_on = || (field(&mut one, "stats", "sync_partial_ok") == "1").then_some(());
    assert!(clock::poll(PATIENCE, went_on).is_some(), "{what}: no partial sync");
    assert_eq!(field(&mut one, "stats", "sync_full"), "1", "{what}");
    assert_eq!(text(&two.line("REPLICAOF NO ONE")), "OK");
    assert_eq!(text(&two.line("SET own 1")), "OK", "{what}: it takes writes again");
    assert_eq!(field(&mut two, "replication", "role"), "master");
}

#[test]
fn torc_follows_torc() {
    for (primary, replica) in [(1, 1), (2, 1), (1, 2), (3, 2)] {
        pair(Who::Torc(primary), Who::Torc(replica));
    }
}

#[test]
fn the_peers_follow_torc() {
    for peer in [Peer::Redis, Peer::Redis8, Peer::Valkey] {
        pair(Who::Torc(2), Who::Other(peer));
    }
}

#[test]
fn torc_follows_the_peers() {
    for peer in [Peer::Redis, Peer::Redis8, Peer::Valkey] {
        pair(Who::Other(peer), Who::Torc(2));
    }
}

#[test]
fn a_chain_agrees_and_a_promoted_replica_keeps_its_followers() {
    let servers = [Who::Torc(2), Who::Torc(1), Who::Torc(2)].map(|who| who.start(&[]));
    let mut clients = servers.each_ref().map(Server::client);
    let mut random = Random::new(seed("chain"));
    follow(&mut clients[1], servers[0].port);
    follow(&mut clients[2], servers[1].port);
    write(&mut clients[0], &mut random, 500);
    let [one, two, three] = &mut clients;
    agree(one, two, "the middle");
    agree(two, three, "the end");
    assert_eq!(text(&two.line("REPLICAOF NO ONE")), "OK");
    assert_eq!(text(&two.line("SET own 1")), "OK");
    let syncs = field(two, "stats", "sync_full");
    agree(two, three, "the end follows the promoted one");
    // The old primary follows the new one from where both were the same.
    follow(one, servers[1].port);
    agree(two, one, "the old primary");
    assert_eq!(field(two, "stats", "sync_full"), syncs, "nobody had to begin anew");
}

#[test]
fn wait_counts_replicas_that_have_the_write() {
    for shards in [1, 2] {
        let primary = Who::Torc(shards).start(&[]);
        let mut client = primary.client();
        assert_eq!(client.line("WAIT 0 0"), Reply::Int(0));
        client.line("SET a 1");
        assert_eq!(client.line("WAIT 1 50"), Reply::Int(0), "nobody follows");
        let replicas = [Who::Torc(1), Who::Other(Peer::Redis)].map(|who| who.start(&[]));
        for replica in &replicas {
            follow(&mut replica.client(), primary.port);
            agree(&mut client, &mut replica.client(), "WAIT");
        }
        for number in 0..20 {
            client.line(&format!("SET key:{number} {number}"));
            assert_eq!(client.line("WAIT 2 20000"), Reply::Int(2));
            for replica in &replicas {
                assert_eq!(text(&replica.client().line(&format!("GET key:{number}"))), number.to_string());
            }
        }
        assert_eq!(client.line("WAIT 3 20"), Reply::Int(2));
        // The peer keeps no files.
        assert_eq!(client.line("WAITAOF 1 1 20000"), Reply::Array(vec![Reply::Int(1), Reply::Int(1)]));
    }
}

#[test]
fn writes_need_as_many_replicas_as_are_asked_for() {
    let primary = Who::Torc(2).start(&["--min-replicas-to-write", "1"]);
    let mut client = primary.client();
    let refused = |client: &mut Client| text(&client.line("SET a 1")).starts_with("NOREPLICAS").then_some(());
    clock::poll(PATIENCE, || refused(&mut client)).expect("nobody follows");
    let replica = Who::Torc(1).start(&[]);
    follow(&mut replica.client(), primary.port);
    clock::poll(PATIENCE, || (text(&client.line("SET a 1")) == "OK").then_some(())).expect("one follows");
    drop(replica);
    clock::poll(PATIENCE, || refused(&mut client)).expect("nobody follows any more");
}

#[test]
fn a_link_to_nobody_is_down_and_the_server_serves() {
    let port = free_port();
    let replica = Who::Torc(2).start(&["--replica-serve-stale-data", "no"]);
    let mut client = replica.client();
    client.line("SET a 1");
    follow(&mut client, port);
    let stale = clock::poll(PATIENCE, || text(&client.line("GET a")).starts_with("MASTERDOWN").then_some(()));
    assert!(stale.is_some(), "{}", text(&client.line("GET a")));
    assert_eq!(field(&mut client, "replication", "master_link_status"), "down");
    client.line("CONFIG SET replica-serve-stale-data yes");
    clock::poll(PATIENCE, || (text(&client.line("GET a")) == "1").then_some(())).expect("old data is served");
    client.line("REPLICAOF NO ONE");
    assert_eq!(text(&client.line("SET a 2")), "OK");
}

#[test]
fn a_peer_waits_for_the_disk_of_torc() {
    let primary = Who::Other(Peer::Valkey).start(&[]);
    let replica = Who::Torc(2).start(&[]);
    let mut client = primary.client();
    follow(&mut replica.client(), primary.port);
    agree(&mut client, &mut replica.client(), "WAITAOF");
    client.line("SET a 1");
    assert_eq!(client.line("WAITAOF 0 1 20000"), Reply::Array(vec![Reply::Int(0), Reply::Int(1)]));
}

#[test]
fn a_promotion_amid_writes_names_the_offset_at_which_it_happened() {
    for shards in [1, 2] {
        let [primary, replica] = [Who::Torc(1), Who::Torc(shards)].map(|who| who.start(&[]));
        let (mut one, mut two) = (primary.client(), replica.client());
        follow(&mut two, primary.port);
        one.line("SET a 1");
        agree(&mut one, &mut two, "before");
        drop(primary);
        let stop = Arc::new(AtomicBool::new(false));
        // Refused until the server leads, and taken at once then.
        let write = |mut client: Client, stop: Arc<AtomicBool>| {
            while !stop.load(Ordering::Relaxed) {
                client.line("INCR own");
            }
        };
        let writers = [(); 3].map(|()| {
            let (client, stop) = (replica.client(), Arc::clone(&stop));
            std::thread::spawn(move || write(client, stop))
        });
        let end: u64 = field(&mut two, "replication", "slave_repl_offset").parse().expect("an offset");
        two.line("REPLICAOF NO ONE");
        let second: u64 = field(&mut two, "replication", "second_repl_offset").parse().expect("an offset");
        assert_eq!(second, end + 1);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().expect("it writes"));
    }
}

#[test]
fn links_are_listed_and_come_back_when_they_are_killed() {
    let [primary, replica] = [2, 1].map(|shards| Who::Torc(shards).start(&[]));
    let (mut one, mut two) = (primary.client(), replica.client());
    follow(&mut two, primary.port);
    one.line("SET a 1");
    agree(&mut one, &mut two, "before");
    for (round, (ours, other, flag)) in
        [("replica", "master", 'S'), ("master", "replica", 'M')].into_iter().enumerate()
    {
        let (client, port) = if flag == 'S' { (&mut one, replica.port) } else { (&mut two, primary.port) };
        let listed = || {
            let line = text(&client.line(&format!("CLIENT LIST TYPE {ours}")));
            (line.lines().count() == 1).then_some(line)
        };
        let line = clock::poll(PATIENCE, listed).expect("the link is listed");
        assert!(line.contains(&format!(" flags={flag} ")), "{line}");
        let addr = line.split(' ').find_map(|word| word.strip_prefix("addr=127.0.0.1:")).expect("an address");
        assert!(flag == 'S' || addr == port.to_string(), "{line}");
        assert_eq!(text(&client.line(&format!("CLIENT LIST TYPE {other}"))), "");
        assert!(!text(&client.line("CLIENT LIST TYPE normal")).contains(&format!(" flags={flag} ")));
        assert_eq!(client.line(&format!("CLIENT KILL TYPE {other}")), Reply::Int(0));
        assert_eq!(client.line(&format!("CLIENT KILL TYPE {ours}")), Reply::Int(1));
        let syncs = (round + 1).to_string();
        let again = || (field(&mut one, "stats", "sync_partial_ok") == syncs).then_some(());
        clock::poll(PATIENCE, again).expect("it comes back with a partial sync");
        agree(&mut one, &mut two, "after");
    }
    assert_eq!(field(&mut one, "stats", "sync_full"), "1");
}

#[test]
fn the_backlog_is_released_when_nobody_comes_back() {
    for files in ["no", "yes"] {
        let primary = Who::Torc(2).start(&["--appendonly", files, "--repl-backlog-ttl", "1"]);
        let replica = Who::Torc(1).start(&[]);
        let (mut one, mut two) = (primary.client(), replica.client());
        let wire = Wire::to(primary.port);
        follow(&mut two, wire.port);
        one.line("SET a 1");
        agree(&mut one, &mut two, "before");
        let id = field(&mut one, "replication", "master_replid");
        wire.cut();
        let active = |client: &mut Client| field(client, "replication", "repl_backlog_active");
        clock::poll(PATIENCE, || (active(&mut one) == "0").then_some(())).expect("it is released");
        one.line("SET b 1");
        wire.mend();
        agree(&mut one, &mut two, "after");
        assert_eq!(active(&mut one), "1");
        // What the files have needs no memory.
        let same = field(&mut one, "replication", "master_replid") == id;
        let full = field(&mut one, "stats", "sync_full");
        assert_eq!((same, full.as_str()), if files == "yes" { (true, "1") } else { (false, "2") });
    }
}

#[test]
fn who_waits_for_replicas_is_told_that_the_server_has_become_one() {
    let [primary, other] = [2, 1].map(|shards| Who::Torc(shards).start(&[]));
    let mut waiting = ["WAIT 5 0", "WAITAOF 0 5 0"].map(|line| {
        let mut client = primary.client();
        client.line("SET a 1");
        client.send(format!("{line}\r\n").as_bytes()).expect("it is sent");
        client
    });
    let mut client = primary.client();
    let blocked = || (field(&mut client, "clients", "blocked_clients") == "2").then_some(());
    clock::poll(PATIENCE, blocked).expect("both wait");
    follow(&mut client, other.port);
    for waiting in &mut waiting {
        let told = String::from_utf8(waiting.read_to_end().expect("the connection ends")).expect("text");
        let why = "force unblock from blocking operation, instance state changed (master -> replica?)";
        assert_eq!(told, format!("-UNBLOCKED {why}\r\n"));
    }
}

/// A password that was changed on the primary is followed by the replica's setting, without a new REPLICAOF.
#[test]
fn settings_of_the_link_count_from_the_next_attempt_on() {
    let primary = Who::Torc(1).start(&[]);
    let replica = Who::Torc(2).start(&[]);
    let (mut one, mut two) = (primary.client(), replica.client());
    follow(&mut two, primary.port);
    agree(&mut one, &mut two, "without a password");
    one.line("CONFIG SET requirepass secret");
    one.line("AUTH secret");
    one.line("CLIENT KILL TYPE replica");
    let status = |client: &mut Client| field(client, "replication", "master_link_status");
    assert!(clock::poll(PATIENCE, || (status(&mut two) == "down").then_some(())).is_some());
    two.line("CONFIG SET masterauth secret");
    two.line("CONFIG SET replica-announce-port 4711");
    one.line("SET a 1");
    agree(&mut one, &mut two, "with the password");
    assert!(field(&mut one, "replication", "slave0").contains("port=4711"));
    two.line("CONFIG SET repl-timeout 1");
    primary.signal(Signal::STOP);
    let silent = clock::poll(PATIENCE, || (status(&mut two) == "down").then_some(()));
    primary.signal(Signal::CONT);
    assert!(silent.is_some(), "a primary that is silent for longer than the new bound");
}
