//! Clients that come in crowds, do not read, stop in the middle, or send rubbish.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use torc_tests::client::{self, Client};
use torc_tests::process::Server;
use torc_tests::random::{self, Random};
use torc_tests::{clock, torc};

use crate::{PATIENCE, each_server, info, longest_ping};

const MIB: usize = 1 << 20;

#[test]
fn a_client_that_never_reads_pins_little_and_stops_nobody() {
    each_server(|server| {
        server.client().call(&[b"SET".to_vec(), b"big".to_vec(), vec![b'x'; MIB]]);
        let before = server.resident();
        let mut deaf = TcpStream::connect(("127.0.0.1", server.port)).expect("the server accepts");
        deaf.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket has timeouts");
        let mut sent = 0;
        let longest = longest_ping(server, || {
            // Asks for 400 MiB and reads nothing, until the server stops listening to it or all is sent.
            while sent < 400 && deaf.write_all(&client::encode(&["GET", "big"])).is_ok() {
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(500));
        });
        if !torc::is_stand_in() {
            let grown = server.resident().saturating_sub(before);
            assert!(grown < 100 * MIB, "{}: one deaf client pins {} MiB", server.name, grown / MIB);
        }
        assert!(longest < PATIENCE, "{}: PING took {longest:?}", server.name);

        // All it asked for is still there for it once it listens.
        deaf.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has timeouts");
        let mut left = sent * (MIB + "$1048576\r\n\r\n".len());
        let mut buffer = vec![0; MIB];
        while left > 0 {
            let count = deaf.read(&mut buffer).expect("the replies come");
            assert!(count > 0, "{}: closed with {left} bytes to come", server.name);
            left -= count;
        }
    });
}

#[test]
fn half_closed_clients_get_all_their_replies() {
    each_server(|server| {
        for count in [1, 100, 20_000] {
            let mut client = server.client();
            let sender = client::encode(&["INCR", "count"]).repeat(count);
            let mut stream = server.client();
            stream.line("DEL count");
            std::thread::scope(|scope| {
                let (client, server) = (&mut client, &server);
                let reader = scope.spawn(move || {
                    client.send(&sender).expect("the server takes the pipeline");
                    client.finish_sending().expect("a socket can be half closed");
                    let bytes = client.read_to_end().expect("the replies come");
                    (server.name.clone(), bytes.iter().filter(|byte| **byte == b'\n').count())
                });
                let (name, lines) = reader.join().expect("the reader reads");
                assert_eq!(lines, count, "{name}");
            });
        }
    });
}

#[test]
fn clients_that_leave_in_the_middle_are_forgotten() {
    let seed = random::seed("leaving");
    each_server(|server| {
        let mut random = Random::new(seed);
        for _ in 0..1500 {
            let mut bytes = client::encode(&["SET", "a", "some value"]).repeat(1 + random.below(3));
            bytes.truncate(random.below(bytes.len()));
            let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server accepts");
            stream.write_all(&bytes).expect("the server takes some bytes");
        }
        assert_alone(server);
    });
}

/// Waits until the asking client is the only one left.
fn assert_alone(server: &Server) {
    let alone = || (info(server, "clients", "connected_clients") == "1").then_some(());
    let found = clock::poll(Duration::from_secs(5), alone);
    assert!(
        found.is_some(),
        "{}: {} clients left",
        server.name,
        info(server, "clients", "connected_clients")
    );
}

#[test]
fn rubbish_ends_only_its_own_connection() {
    let seed = random::seed("rubbish");
    each_server(|server| {
        let mut random = Random::new(seed);
        let longest = longest_ping(server, || {
            for _ in 0..300 {
                let bytes: Vec<u8> = (0..random.below(20_000)).map(|_| random.next() as u8).collect();
                let mut client = server.client();
                // The server may have closed before all of it is sent.
                let _ = client.send(&bytes);
                let _ = client.finish_sending();
                client.read_to_end().expect("the connection ends");
            }
        });
        assert!(longest < PATIENCE, "PING took {longest:?}");
        assert_alone(server);
    });
}

#[test]
fn one_client_too_many_is_told_so() {
    for shards in torc::shard_counts() {
        let server = torc::start(shards, &["--maxclients", "10"]);
        // The first of the ten waits until those that started the server are forgotten.
        let mut clients = vec![server.client()];
        let settled = || (connected(&mut clients[0]) == Some(1)).then_some(());
        clock::poll(Duration::from_secs(5), settled).expect("the first clients are forgotten");
        clients.extend((1..10).map(|_| server.client()));
        clients.iter_mut().for_each(|client| assert_eq!(client.line("PING").text(), "PONG"));
        let mut late = server.client();
        let bytes = late.read_to_end().expect("the server closes");
        assert_eq!(bytes, b"-ERR max number of clients reached\r\n", "{}", server.name);
        clients.pop();
        let served = || (server.client().line("PING").text() == "PONG").then_some(());
        clock::poll(Duration::from_secs(5), served).expect("a place is free again");
    }
}

fn connected(client: &mut Client) -> Option<usize> {
    let text = client.line("INFO clients").text();
    text.lines().find_map(|line| line.strip_prefix("connected_clients:")?.parse().ok())
}

#[test]
fn running_out_of_descriptors_is_survived() {
    each_server(|server| {
        let mut first = server.client();
        assert_eq!(first.line("PING").text(), "PONG");
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
            .expect("the server has descriptors")
            .count();
        let pid = Pid::from_raw(server.pid() as i32);
        let limit = Rlimit { current: Some(open as u64 + 5), maximum: getrlimit(Resource::Nofile).maximum };
        prlimit(pid, Resource::Nofile, limit).expect("the child's limits are ours");

        let crowd: Vec<Client> = (0..50).filter_map(|_| Client::connect(server.port).ok()).collect();
        let before = server.cpu_seconds();
        std::thread::sleep(Duration::from_secs(1));
        let spent = server.cpu_seconds() - before;
        assert!(spent < 0.5, "{}: spins {spent} s in a second without descriptors", server.name);
        assert_eq!(first.line("PING").text(), "PONG", "{}: the first client is still served", server.name);
        drop(crowd);
        let served = || Client::connect(server.port).ok().filter(|_| served_quickly(server)).map(drop);
        clock::poll(Duration::from_secs(10), served)
            .expect("new clients are served once descriptors are free");
    });
}

fn served_quickly(server: &Server) -> bool {
    let Ok(mut client) = Client::connect(server.port) else { return false };
    client.set_patience(Duration::from_secs(1)).expect("a socket has timeouts");
    client.line("PING").text() == "PONG"
}
