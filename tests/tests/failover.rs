//! FAILOVER between Torc and itself and the peers: no full sync, and no acknowledged write is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use torc_tests::client::Client;
use torc_tests::clock;
use torc_tests::peer::Peer;
use torc_tests::process::Server;
use torc_tests::random::{Random, seed};
use torc_tests::replicas::{PATIENCE, Who, Wire, agree, field, follow, text, write};
use torc_tests::reply::Reply;

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    assert!(clock::poll(PATIENCE, || holds().then_some(())).is_some(), "{what}");
}

fn state(client: &mut Client) -> String {
    field(client, "replication", "master_failover_state")
}

fn is_primary(client: &mut Client) -> bool {
    field(client, "replication", "role") == "master"
}

fn line(client: &mut Client, line: &str) -> String {
    text(&client.line(line))
}

/// A primary and its replica, which agree.
fn pair(primary: Who, replica: Who) -> [Server; 2] {
    let servers = [primary.start(&[]), replica.start(&[])];
    follow(&mut servers[1].client(), servers[0].port);
    write(&mut servers[0].client(), &mut Random::new(seed("failover")), 300);
    agree(&mut servers[0].client(), &mut servers[1].client(), "a pair");
    servers
}

/// Counts up one key on whichever of the servers takes writes, with a transaction over many shards now and then, and returns
/// how often that was acknowledged.
fn count(ports: [u16; 2], key: String, stop: Arc<AtomicBool>) -> JoinHandle<i64> {
    std::thread::spawn(move || {
        let (mut acknowledged, mut turn) = (0, 0);
        let mut client = Client::connect(ports[0]).expect("it serves");
        while !stop.load(Ordering::Relaxed) {
            let reply = if acknowledged % 8 == 0 {
                client.line("MULTI");
                client.line(&format!("INCR {key}"));
                client.line(&format!("MSET {key}:a x {key}:b y {key}:c z"));
                client.line("EXEC")
            } else {
                client.line(&format!("INCR {key}"))
            };
            match reply {
                Reply::Int(_) | Reply::Array(_) => acknowledged += 1,
                _ => {
                    turn += 1;
                    client = Client::connect(ports[turn % 2]).expect("it serves");
                }
            }
        }
        acknowledged
    })
}

/// To and fro amid writes.
fn to_and_fro(one: Who, two: Who) {
    let what = format!("{one:?} and {two:?}");
    let servers = pair(one, two);
    let mut clients = servers.each_ref().map(Server::client);
    let ports = servers.each_ref().map(|server| server.port);
    let stop = Arc::new(AtomicBool::new(false));
    let key = |number: usize| format!("counted:{number}");
    let writers: Vec<_> = (0..4).map(|number| count(ports, key(number), Arc::clone(&stop))).collect();
    let full =
        |clients: &mut [Client; 2]| clients.each_mut().map(|client| field(client, "stats", "sync_full"));
    let before = full(&mut clients);
    for round in 0..4 {
        let [old, new] = [round % 2, 1 - round % 2];
        until(&format!("{what}: the replica is connected"), || {
            field(&mut clients[old], "replication", "slave0").contains("state=online")
        });
        let command = match round {
            0 | 1 => "FAILOVER".to_owned(),
            _ => format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 20000", ports[new]),
        };
        assert_eq!(line(&mut clients[old], &command), "OK", "{what}, round {round}");
        until(&format!("{what}, round {round}: the replica leads"), || is_primary(&mut clients[new]));
        until(&format!("{what}, round {round}: the primary follows"), || {
            field(&mut clients[old], "replication", "master_link_status") == "up"
        });
        assert_eq!(state(&mut clients[old]), "no-failover");
        // Writes go on there.
        until(&format!("{what}, round {round}: writes go on"), || {
            let now = line(&mut clients[new], "GET counted:0");
            std::thread::sleep(Duration::from_millis(5));
            now != line(&mut clients[new], "GET counted:0")
        });
    }
    stop.store(true, Ordering::Relaxed);
    let counts: Vec<i64> = writers.into_iter().map(|writer| writer.join().expect("it counts")).collect();
    let [first, second] = &mut clients;
    agree(first, second, &what);
    for (number, acknowledged) in counts.into_iter().enumerate() {
        let there: i64 = line(first, &format!("GET {}", key(number))).parse().expect("a number");
        assert!(acknowledged > 0 && there >= acknowledged, "{what}: {there} of {acknowledged}");
    }
    assert_eq!(full(&mut clients), before, "{what}: nobody had to begin anew");
}

#[test]
fn torc_hands_over_to_torc() {
    for (one, two) in [(1, 1), (3, 2)] {
        to_and_fro(Who::Torc(one), Who::Torc(two));
    }
}

#[test]
fn torc_and_the_peers_hand_over_to_each_other() {
    for peer in [Peer::Redis, Peer::Redis8, Peer::Valkey] {
        to_and_fro(Who::Torc(2), Who::Other(peer));
    }
}

#[test]
fn a_peer_hands_over_to_torc() {
    to_and_fro(Who::Other(Peer::Redis), Who::Torc(2));
}

/// Lets the replica stand still, so that it acknowledges nothing.
fn hold(replica: &Server, seconds: u32) -> JoinHandle<()> {
    let mut client = replica.client();
    std::thread::spawn(move || drop(client.line(&format!("DEBUG SLEEP {seconds}"))))
}

#[test]
fn writes_wait_and_go_on_after_every_end() {
    for replica in [Who::Other(Peer::Redis), Who::Torc(1)] {
        let servers = pair(Who::Torc(2), replica);
        let [mut client, mut other] = [servers[0].client(), servers[1].client()];
        let to = format!("FAILOVER TO 127.0.0.1 {}", servers[1].port);
        let port = servers[0].port;
        let writing = |what: &'static str| {
            std::thread::spawn(move || line(&mut Client::connect(port).expect("it serves"), what))
        };
        for (end, option) in [("time", " TIMEOUT 700"), ("a word", "")] {
            let held = hold(&servers[1], 3);
            std::thread::sleep(Duration::from_millis(100));
            line(&mut client, "SET behind 1");
            assert_eq!(line(&mut client, &format!("{to}{option}")), "OK");
            assert_eq!(state(&mut client), "waiting-for-sync", "{replica:?}");
            assert!(line(&mut client, "FAILOVER").contains("already in progress"));
            assert!(line(&mut client, "REPLICAOF NO ONE").contains("not allowed while failing over"));
            assert!(is_primary(&mut client));
            let writes = [writing("SET a 1"), writing("MSET a 1 b 2 c 3"), writing("DEL a b")];
            // Reads and refusals do not wait.
            assert_eq!(line(&mut client, "GET behind"), "1");
            assert!(line(&mut client, "SET a").contains("wrong number"));
            until("writes wait", || field(&mut client, "clients", "blocked_clients") == "3");
            if option.is_empty() {
                assert_eq!(line(&mut client, "FAILOVER ABORT"), "OK");
            }
            for write in writes {
                let reply = write.join().expect("it is answered");
                assert!(!reply.starts_with("READONLY"), "{replica:?}, ended by {end}: {reply}");
            }
            assert_eq!(state(&mut client), "no-failover");
            assert_eq!(line(&mut client, "SET own 1"), "OK");
            held.join().expect("it wakes");
            agree(&mut client, &mut other, &format!("{replica:?}, ended by {end}"));
        }
        assert_eq!(field(&mut client, "stats", "sync_full"), "1");
        // By force, whatever it lacks: it has it by the time it hears of it.
        let held = hold(&servers[1], 2);
        std::thread::sleep(Duration::from_millis(100));
        line(&mut client, "SET behind 2");
        assert_eq!(line(&mut client, &format!("{to} FORCE TIMEOUT 300")), "OK");
        until("by force", || state(&mut client) == "failover-in-progress");
        let write = writing("SET late 1");
        held.join().expect("it wakes");
        until("it leads", || is_primary(&mut other));
        assert!(write.join().expect("it is answered").starts_with("READONLY"), "{replica:?}");
        agree(&mut other, &mut client, &format!("{replica:?} by force"));
        assert_eq!(line(&mut other, "GET behind"), "2");
    }
}

#[test]
fn a_replica_that_declines_leaves_the_primary_in_charge() {
    let servers = [Who::Torc(2), Who::Torc(1)].map(|who| who.start(&[]));
    let [mut client, mut other] = servers.each_ref().map(Server::client);
    // The primary's way to the replica.
    let wire = Wire::to(servers[1].port);
    line(&mut other, &format!("CONFIG SET replica-announce-port {}", wire.port));
    follow(&mut other, servers[0].port);
    agree(&mut client, &mut other, "a pair");
    assert_eq!(line(&mut other, "FAILOVER"), "ERR FAILOVER is not valid when server is a replica.");
    let id = field(&mut client, "replication", "master_replid");
    let refused = line(&mut client, &format!("PSYNC {id} 1 FAILOVER"));
    assert_eq!(refused, "ERR PSYNC FAILOVER can't be sent to a master.");
    let refused = line(&mut other, "PSYNC abc 1 FAILOVER");
    assert_eq!(refused, "ERR PSYNC FAILOVER replid must match my replid.");
    let to = format!("FAILOVER TO 127.0.0.1 {}", wire.port);
    for declines in [false, true] {
        wire.cut();
        until("the replica is there", || line(&mut client, &to) == "OK");
        until("it is not reached", || state(&mut client) == "failover-in-progress");
        assert!(line(&mut client, "PSYNC ? -1").starts_with("NOMASTERLINK"));
        if declines {
            // It is a primary by the time it is asked.
            assert_eq!(line(&mut other, "REPLICAOF NO ONE"), "OK");
            wire.mend();
        } else {
            until("it ends", || line(&mut client, "FAILOVER ABORT") == "OK");
        }
        until("it is over", || state(&mut client) == "no-failover" && is_primary(&mut client));
        until("writes go on", || line(&mut client, "SET own 1") == "OK");
        if !declines {
            agree(&mut client, &mut other, "after ABORT");
        }
    }
    assert!(is_primary(&mut other));
    assert_eq!(field(&mut client, "stats", "sync_full"), "1");
}
