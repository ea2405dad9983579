//! Raw bytes, broken and whole, to a live reference server and to Torc: both answer the same bytes and both close, or
//! neither does. Other clients never notice.

use std::io::ErrorKind;
use std::time::Duration;

use torc_tests::client::{self, Client};
use torc_tests::peer::Peer;
use torc_tests::process::Server;
use torc_tests::random::{self, Random};
use torc_tests::replay::split;
use torc_tests::{clock, shrink, torc};

/// What a client may send instead of a command, each on a connection of its own.
fn fragments() -> Vec<Vec<u8>> {
    let long = |byte: u8, count: usize| vec![byte; count];
    let mut all: Vec<Vec<u8>> = WRITTEN.iter().map(|text| text.to_vec()).collect();
    all.extend([
        // An inline line without an end, and a multi-bulk header without one.
        long(b'a', 70_000),
        [b"*".to_vec(), long(b'1', 70_000)].concat(),
        [b"*1\r\n$".to_vec(), long(b'1', 70_000)].concat(),
        [b"PING ".to_vec(), long(b'x', 60_000), b"\r\n".to_vec()].concat(),
        [b"ECHO \"".to_vec(), long(b'"', 1_001), b"\r\n".to_vec()].concat(),
        [b"ECHO ".to_vec(), b"\"'".repeat(500), b"\r\n".to_vec()].concat(),
        b"\r\n".repeat(5_000),
        b"*0\r\n".repeat(5_000),
        b"*-1\r\n".repeat(1_000),
        [b"\r\n".repeat(100), client::encode(&["PING"])].concat(),
        client::encode(&["PING"]).repeat(3_000),
        b"PING\r\n".repeat(3_000),
    ]);
    all
}

const WRITTEN: &[&[u8]] = &[
    b"",
    b"\r\n",
    b"\n",
    b"PING\r\n",
    b"PING\n",
    b"ping howdy\r\n",
    b"  PING  \r\n",
    b"PING \"howdy world\"\r\n",
    b"PING 'it''s'\r\n",
    b"PING 'it\\'s'\r\n",
    b"PING \"\\x41\\n\\t\\\"\\q\"\r\n",
    b"PING \"open\r\n",
    b"PING 'open\r\n",
    b"PING \"a\"b\r\n",
    b"PING 'a'b\r\n",
    b"PING a\"b\"\r\n",
    b"PING a\"b c\"d\r\n",
    b"PING \"\"\r\n",
    b"SET a \"\\x00\\xff\\xzz\\x4\"\r\nGET a\r\n",
    b"PING\0\r\n",
    b"PING a\0b\r\n",
    b"\tPING\x0b\r\n",
    b"PI",
    b"*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPING",
    b"*1\r\n$4\r\nPI",
    b"*1\r\n$4",
    b"*1",
    b"*",
    b"*\r\n",
    b"*1\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    b"*1\n$4\nPING\n",
    b"*1\r\n$3\r\nPING\r\n",
    b"*1\r\n$5\r\nPING\r\n",
    b"*0\r\n*1\r\n$4\r\nPING\r\n",
    b"*-1\r\n*1\r\n$4\r\nPING\r\n",
    b"*-5\r\nPING\r\n",
    b"*abc\r\n",
    b"* 1\r\n$4\r\nPING\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
    b"*01\r\n$4\r\nPING\r\n",
    b"*1 \r\n$4\r\nPING\r\n",
    b"*-0\r\n",
    b"*1048577\r\n",
    b"*2147483647\r\n",
    b"*2147483648\r\n",
    b"*4294967297\r\n",
    b"*9223372036854775807\r\n",
    b"*9223372036854775808\r\n",
    b"*-9223372036854775808\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$-2\r\nPING\r\n",
    b"*1\r\n$abc\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$2147483648\r\n",
    b"*1\r\n$9223372036854775807\r\n",
    b"*1\r\n$9223372036854775808\r\n",
    b"*1\r\n$99999999999999999999999\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*2\r\n$0\r\n\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n:5\r\n",
    b"*2\r\n$4\r\nECHO\r\n+a\r\n",
    b"*2\r\n$4\r\nECHO\r\n*1\r\n$1\r\na\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"$4\r\nPING\r\n",
    b"+PING\r\n",
    b":1\r\n",
    b"-ERR\r\n",
    b"%1\r\n+a\r\n+b\r\n",
    b"_\r\n",
    b"GET\r\n",
    b"GET a b\r\n",
    b"NOSUCH \"a b\" c\r\n",
    b"nosuch\r\nPING\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
    b"PING\r\n*1\r\n$4\r\nPINGPING\r\nPING\r\n",
    b"QUIT\r\nPING\r\n",
    b"*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a 1\r\n",
    b"Host: x\r\nPING\r\n",
    b"*1\r\n$4\r\nPOST\r\n*1\r\n$4\r\nPING\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\xff\xfe\xfd\r\nPING\r\n",
    b"HELLO 3\r\nGET a\r\n*1\r\n$9\r\n",
];

/// What may get other answers. The reference looks for the end of an inline line as in a C string, so a zero byte keeps
/// it waiting for ever; and it believes a command of up to 2^31 arguments, where `limits` has 2^20.
const ALLOWED: &[&[u8]] = &[b"PING\0\r\n", b"PING a\0b\r\n", b"*1048577\r\n", b"*2147483647\r\n"];

/// Sends `bytes` in the given pieces, says that no more will come, and reads until the server closes.
fn converse(server: &Server, bytes: &[u8], cuts: &[usize]) -> Result<Vec<u8>, String> {
    let mut client = server.client();
    client.set_patience(Duration::from_secs(5)).expect("a timeout can be set");
    let mut from = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        // A server that closed after an error resets what comes behind it: then the answer says all.
        if client.send(&bytes[from..cut]).is_err() {
            break;
        }
        from = cut;
    }
    // Fails only when the connection is gone already.
    let _ = client.finish_sending();
    client.read_to_end().map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "does not close".to_owned(),
        _ => error.to_string(),
    })
}

fn shown(answer: &Result<Vec<u8>, String>) -> String {
    match answer {
        Ok(bytes) => bytes[..bytes.len().min(400)].escape_ascii().to_string(),
        Err(error) => format!("<{error}>"),
    }
}

/// HELLO names another server: its answer compares by length of nothing, only by what follows it.
fn without_hello(answer: &Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    let bytes = answer.clone()?;
    let end = bytes.windows(11).position(|window| window == b"$7\r\nmodules").map(|at| at + 17);
    Ok(if bytes.starts_with(b"%7\r\n") { bytes[end.unwrap_or(0)..].to_vec() } else { bytes })
}

#[test]
fn broken_commands_get_the_same_answers() {
    let peer = Peer::Redis.start(&[]);
    let mut wrong = Vec::new();
    for shards in torc::shard_counts() {
        let torc = torc::start(shards, &[]);
        let mut bystander = torc.client();
        for fragment in fragments() {
            let [theirs, ours] = answers(&peer, &torc, &fragment, &[]);
            if without_hello(&theirs) != without_hello(&ours) && !ALLOWED.contains(&&fragment[..]) {
                let sent = fragment[..fragment.len().min(100)].escape_ascii();
                wrong.push(format!(
                    "{shards}: {sent}\n    peer: {}\n    torc: {}",
                    shown(&theirs),
                    shown(&ours)
                ));
            }
            assert_eq!(bystander.line("PING").text(), "PONG", "after {}", fragment.escape_ascii());
        }
    }
    assert!(wrong.is_empty(), "{} answers differ\n{}", wrong.len(), wrong.join("\n"));
}

/// A whole pipeline, for breaking.
fn pipeline(random: &mut Random) -> Vec<u8> {
    let lines = [
        "PING",
        "SET a 1",
        "GET a",
        "GET missing",
        "INCR a",
        "APPEND b xyz",
        "MGET a b c",
        "MSET c 1 d 2",
        "DEL a d",
        "ECHO howdy",
        "MULTI",
        "EXEC",
        "STRLEN b",
        "EXISTS a b c",
        "SELECT 1",
        "TYPE a",
        "GET",
    ];
    let mut bytes = Vec::new();
    for _ in 0..1 + random.below(12) {
        let line = *random.pick(&lines);
        if random.one_in(4) {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(if random.one_in(3) { b"\n" } else { b"\r\n" });
        } else {
            bytes.extend(client::encode(&split(line)));
        }
    }
    bytes
}

/// Flips, drops, doubles or inserts a few bytes, or cuts the end off.
fn break_bytes(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(3) {
        let at = random.below(bytes.len().max(1));
        match random.below(5) {
            _ if bytes.is_empty() => {}
            // Never zero: see `ALLOWED`.
            0 => bytes[at] = random.between(1, 255) as u8,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *random.pick(b"*$\r\n0123456789-:+ \"'\x01\xff")),
            3 => bytes[at] = *random.pick(b"*$\r\n0123456789-"),
            _ => bytes.truncate(at),
        }
    }
}

/// Empties both servers, then lets them answer.
fn answers(peer: &Server, torc: &Server, bytes: &[u8], cuts: &[usize]) -> [Result<Vec<u8>, String>; 2] {
    [peer, torc].map(|server| {
        server.client().line("FLUSHALL");
        converse(server, bytes, cuts)
    })
}

/// The bytes that get different answers, as few as possible, and the answers.
fn explain(peer: &Server, torc: &Server, bytes: &[u8], cuts: &[usize]) -> String {
    let mut last = answers(peer, torc, bytes, cuts);
    let short = shrink::shrink(bytes, Duration::from_secs(10), |bytes| {
        let both = answers(peer, torc, bytes, &[]);
        let differ = both[0] != both[1];
        if differ {
            last = both;
        }
        differ
    });
    let [theirs, ours] = [shown(&last[0]), shown(&last[1])];
    let (all, short) = (bytes.escape_ascii(), short.escape_ascii());
    format!("{}: {all}\n  cuts {cuts:?}\n  short: {short}\n    peer: {theirs}\n    torc: {ours}", torc.name)
}

#[test]
fn mutated_pipelines_in_any_pieces_get_the_same_answers() {
    let seed = random::seed("protocol");
    let peer = Peer::Redis.start(&[]);
    for shards in torc::shard_counts() {
        let torc = torc::start(shards, &[]);
        let (start, limit) = (clock::now(), clock::time_box(10));
        let mut number = 0;
        while start.elapsed() < limit {
            let mut random = Random::part(seed, number);
            let mut bytes = pipeline(&mut random);
            break_bytes(&mut bytes, &mut random);
            let mut cuts: Vec<usize> = (0..random.below(4)).map(|_| random.below(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let [theirs, ours] = answers(&peer, &torc, &bytes, &cuts);
            if theirs != ours {
                panic!("TORC_TEST_SEED={seed}, number {number}\n{}", explain(&peer, &torc, &bytes, &cuts));
            }
            number += 1;
        }
        eprintln!("{}: {number} pipelines", torc.name);
    }
}

#[test]
fn a_command_may_arrive_byte_by_byte() {
    for shards in torc::shard_counts() {
        let torc = torc::start(shards, &[]);
        let mut client: Client = torc.client();
        for command in [vec!["SET", "a", "howdy\r\nworld"], vec!["GET", "a"], vec!["MGET", "a", "b", "a"]] {
            for byte in client::encode(&command) {
                client.send(&[byte]).expect("the server takes a byte");
            }
            assert!(!client.read().expect("a reply").is_error());
        }
    }
}
