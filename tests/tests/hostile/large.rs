//! Single commands that are large or slow by nature: the other clients of the core wait no longer than the copy.

use std::time::Duration;

use torc_tests::client;
use torc_tests::process::Server;
use torc_tests::reply::Reply;
use torc_tests::{clock, torc};

use crate::{PATIENCE, each_server, longest_ping};

#[test]
fn a_hundred_mebibytes_go_in_and_out() {
    each_server(|server| {
        let value: Vec<u8> = (0..100u32 << 20).map(|index| (index % 251) as u8).collect();
        let mut client = server.client();
        let start = clock::now();
        let longest = longest_ping(server, || {
            assert_eq!(client.call(&[b"SET", b"big", &value[..]]).text(), "OK");
            assert_eq!(client.line("STRLEN big").int(), Some(value.len() as i64));
            let reply = client.line("GET big");
            assert!(reply.bytes() == Some(&value[..]), "other bytes came back");
            assert_eq!(client.line("APPEND big x").int(), Some(value.len() as i64 + 1));
            assert_eq!(client.line("DEL big").int(), Some(1));
        });
        eprintln!("{}: 100 MiB in and out in {:?}, longest PING {longest:?}", server.name, start.elapsed());
        assert!(longest < PATIENCE, "{}: PING took {longest:?}", server.name);
        assert!(start.elapsed() < Duration::from_secs(20), "quadratic copying? {:?}", start.elapsed());
    });
}

#[test]
fn large_values_do_not_stay_in_buffers() {
    each_server(|server| {
        let before = server.resident();
        let value = vec![b'x'; 50 << 20];
        let mut clients: Vec<_> = (0..4).map(|_| server.client()).collect();
        for client in &mut clients {
            client.call(&[b"SET", b"big", &value[..]]);
            client.line("GET big");
        }
        clients[0].line("DEL big");
        let small = || (server.resident() < before + (64 << 20)).then_some(());
        // The sessions give up a large buffer at once, the allocator its pages a second later, at the next tick of a second.
        let settled = clock::poll(Duration::from_secs(20), small);
        let grown = server.resident().saturating_sub(before) >> 20;
        assert!(settled.is_some() || torc::is_stand_in(), "{}: {grown} MiB stay", server.name);
    });
}

#[test]
fn a_million_arguments_are_a_command() {
    const COUNT: usize = 1_000_000;
    each_server(|server| {
        let keys: Vec<Vec<u8>> = (0..COUNT).map(|key| format!("key:{key}").into_bytes()).collect();
        let command = |name: &str| client::encode(&[vec![name.as_bytes().to_vec()], keys.clone()].concat());
        let mut client = server.client();
        client.line("SET key:500000 here");
        let start = clock::now();
        let longest = longest_ping(server, || {
            client.send(&command("MGET")).expect("the server takes it");
            let reply = client.read().expect("a reply");
            assert_eq!(reply.elements().len(), COUNT);
            assert_eq!(reply.elements()[500_000].text(), "here");
            client.send(&command("DEL")).expect("the server takes it");
            assert_eq!(client.read().expect("a reply"), Reply::Int(1));
            let pairs: Vec<Vec<u8>> =
                keys.iter().take(COUNT / 2).flat_map(|key| [key.clone(), b"1".to_vec()]).collect();
            client
                .send(&client::encode(&[vec![b"MSET".to_vec()], pairs].concat()))
                .expect("the server takes it");
            assert_eq!(client.read().expect("a reply").text(), "OK");
            client.send(&command("UNLINK")).expect("the server takes it");
            assert_eq!(client.read().expect("a reply"), Reply::Int(COUNT as i64 / 2));
        });
        eprintln!("{}: a million arguments in {:?}, longest PING {longest:?}", server.name, start.elapsed());
        assert_eq!(client.line("DBSIZE").int(), Some(0));
        assert!(longest < 4 * PATIENCE, "{}: PING took {longest:?}", server.name);
    });
}

/// Fills with keys of many equal letters, on which backtracking matchers never end.
fn fill(server: &Server) {
    let mut client = server.client();
    for number in 0..200 {
        client.line(&format!("SET {}{number} 1", "a".repeat(300)));
    }
}

#[test]
fn pattern_bombs_do_not_hang_a_core() {
    if torc::is_stand_in() {
        return;
    }
    each_server(|server| {
        fill(server);
        let mut client = server.client();
        let bomb = format!("{}b", "*a".repeat(40));
        let longest = longest_ping(server, || {
            assert_eq!(client.call(&["KEYS", &bomb]).elements().len(), 0);
            let mut cursor = "0".to_owned();
            loop {
                let reply = client.call(&["SCAN", &cursor, "MATCH", &bomb, "COUNT", "1000"]);
                cursor = reply.elements()[0].text();
                if cursor == "0" {
                    break;
                }
            }
            assert_eq!(client.call(&["KEYS", &format!("{}*", "*a".repeat(100))]).elements().len(), 200);
            assert!(!client.call(&["CONFIG", "GET", &bomb]).is_error());
            assert!(!client.call(&["COMMAND", "LIST", "FILTERBY", "PATTERN", &bomb]).is_error());
        });
        assert!(longest < PATIENCE, "{}: PING took {longest:?}", server.name);
    });
}

#[test]
fn keys_over_a_million_lets_others_through() {
    each_server(|server| {
        let mut client = server.client();
        for start in (0..500_000).step_by(10_000) {
            let bytes: Vec<u8> = (start..start + 10_000)
                .flat_map(|key| client::encode(&["SET", &format!("key:{key}"), "1"]))
                .collect();
            client.send(&bytes).expect("the server takes a pipeline");
            (0..10_000).for_each(|_| assert_eq!(client.read().expect("a reply").text(), "OK"));
        }
        let longest = longest_ping(server, || {
            assert_eq!(client.line("KEYS *99999").elements().len(), 5);
            assert_eq!(client.line("DBSIZE").int(), Some(500_000));
            assert_eq!(client.line("FLUSHALL").text(), "OK");
            assert_eq!(client.line("DBSIZE").int(), Some(0));
        });
        eprintln!("{}: KEYS and FLUSHALL over 500k keys, longest PING {longest:?}", server.name);
        assert!(longest < PATIENCE, "{}: PING took {longest:?}", server.name);
    });
}
