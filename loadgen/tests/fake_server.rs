//! The generator against a server of a few lines inside the test: what it sends must be RESP, what it counts must be
//! what the server did, and a stall of the server must show in every request that fell due meanwhile.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use torc_loadgen::{
    Outcome, Plan,
    keys::{KeyRange, Pattern},
    plan::{End, Load, PipelineMode, Ratio},
    run,
};

/// How the fake server treats each connection.
#[derive(Clone, Copy)]
enum Manner {
    Honest,
    /// Sleeps this long before its first reply.
    StallFirst(Duration),
    /// Closes after this many replies.
    CloseAfter(u64),
    /// Refuses every command.
    Refuse,
}

/// Serves in the background for as long as the test process lives; every connection has its own keys.
fn serve(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || answer(stream.expect("accepted"), manner));
        }
    });
    address
}

fn answer(mut stream: TcpStream, manner: Manner) -> Option<()> {
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let mut input = BufReader::new(stream.try_clone().expect("clone"));
    let mut stored: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for replies in 0.. {
        let command = read_command(&mut input)?;
        match manner {
            Manner::StallFirst(pause) if replies == 0 => thread::sleep(pause),
            Manner::CloseAfter(limit) if replies == limit => return None,
            _ => {}
        }
        let reply = match command.as_slice() {
            _ if matches!(manner, Manner::Refuse) => b"-ERR not today\r\n".to_vec(),
            [name, key, value] if name == b"SET" => {
                stored.insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            [name, key] if name == b"GET" => match stored.get(key) {
                Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
                None => b"$-1\r\n".to_vec(),
            },
            other => panic!("unexpected command {other:?}"),
        };
        stream.write_all(&reply).ok()?;
    }
    None
}

fn read_command(input: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let count = read_number(input, '*')?;
    (0..count)
        .map(|_| {
            let mut bytes = vec![0; read_number(input, '$')? + 2];
            input.read_exact(&mut bytes).ok()?;
            assert!(bytes.ends_with(b"\r\n"));
            bytes.truncate(bytes.len() - 2);
            Some(bytes)
        })
        .collect()
}

fn read_number(input: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok().filter(|&len| len > 0)?;
    Some(line.trim_end().strip_prefix(kind).expect("the header's kind").parse().expect("a length"))
}

fn plan(target: SocketAddr, requests: u64) -> Plan {
    let keys = KeyRange { first: 0, last: 99, pattern: Pattern::Sequential };
    Plan::closed(target, keys, End::Requests(requests))
}

fn outcome(plan: &Plan) -> Outcome {
    run(plan, &AtomicBool::new(false)).expect("the run is possible")
}

#[test]
fn every_request_is_sent_once_and_counted_as_what_it_got() {
    let target = serve(Manner::Honest);
    for mode in [PipelineMode::Window, PipelineMode::Batch] {
        // One connection walks 100 keys; a SET on even numbers, a GET on odd: all GETs miss, all SETs succeed.
        let mixed = Plan { pipeline: 7, mode, ratio: Ratio { set: 1, get: 1 }, ..plan(target, 1001) };
        let counted = outcome(&mixed);
        assert_eq!((counted.set.values, counted.get.nulls, counted.get.values), (501, 500, 0));
        assert_eq!(counted.total().response.len(), 1001);
        assert_eq!(counted.objections(), Vec::<String>::new());
    }
}

#[test]
fn gets_of_keys_that_were_set_are_hits_and_threads_share_the_requests() {
    let target = serve(Manner::Honest);
    // Ten keys: 10 SETs, then GETs of the same ten, on each connection and thread alike.
    let keys = KeyRange { first: 0, last: 9, pattern: Pattern::Sequential };
    let one = Plan { keys, ratio: Ratio { set: 10, get: 90 }, pipeline: 4, ..plan(target, 1000) };
    let counted = outcome(&one);
    assert_eq!((counted.set.answered(), counted.get.answered()), (100, 900));
    assert_eq!(counted.get.hit_rate(), 1.0);
    let many = Plan { clients: 5, threads: 2, pipeline: 16, ..plan(target, 1003) };
    assert_eq!(outcome(&many).get.answered(), 1003);
}

#[test]
fn fill_sets_the_whole_range() {
    let keys = KeyRange { first: 100, last: 5099, pattern: Pattern::Sequential };
    let counted = outcome(&Plan::fill(serve(Manner::Honest), keys, 32));
    assert_eq!((counted.set.values, counted.answered()), (5000, 5000));
}

#[test]
fn a_stalled_server_shows_in_every_request_that_fell_due_meanwhile() {
    let stall = Duration::from_millis(80);
    let load = Load::Open { rate: 1000.0, requests: 200 };
    let counted = outcome(&Plan { load, pipeline: 1, ..plan(serve(Manner::StallFirst(stall)), 0) });
    assert_eq!(counted.get.answered(), 200);
    // The first 40 arrivals fell due in the first 40 ms of the stall and so waited at least its other 40 ms.
    let half = 40_000_000;
    let late = counted.get.response.len() - counted.get.response.count_between(0, half - half / 500);
    assert!(late >= 39, "{late} requests waited half the stall");
    assert!(counted.get.service.max() >= 79_000_000, "the request in flight waited it all");
}

#[test]
fn unanswered_requests_are_counted_with_their_age() {
    let target = serve(Manner::CloseAfter(3));
    let counted = outcome(&Plan { clients: 2, pipeline: 5, ..plan(target, 100) });
    assert_eq!(counted.get.answered() + counted.get.unanswered, counted.get.response.len());
    assert_eq!(counted.lost, 2);
    assert!(counted.get.unanswered > 0);
    assert!(counted.objections().iter().any(|text| text.contains("never answered")));
}

#[test]
fn error_replies_spoil_the_run_and_are_quoted() {
    let counted = outcome(&plan(serve(Manner::Refuse), 10));
    assert_eq!(counted.get.errors, 10);
    assert_eq!(counted.objections(), ["10 error replies, the first: ERR not today"]);
}
