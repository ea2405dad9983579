//! Torc as primary and as replica of itself and of every peer: what one has, the other comes to have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
