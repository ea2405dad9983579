//! The generator against a server of a few lines inside the test: what it sends must be RESP, what it counts must be
//! what the server did, and a stall of the server must show in every request that fell due meanwhile.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use torc_loadgen::{
    Outcome, Plan,
    clock::Clock,
    keys::{KeyRange, Pattern},
    plan::{Arrival, End, Load, PipelineMode},
    run,
    stats::Counts,
    traffic::{mix::set_get, values::DataPlan},
    verdict::judge,
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
    /// Sleeps this long before every reply.
    Slow(Duration),
    /// Reads nothing any more.
    Deaf,
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
    for replies in 0_u64.. {
        let command = read_command(&mut input)?;
        // The first is the PING of an opening connection.
        match manner {
            _ if replies == 0 => {}
            Manner::StallFirst(pause) if replies == 1 => thread::sleep(pause),
            Manner::Slow(pause) => thread::sleep(pause),
            Manner::Deaf => loop {
                thread::park();
            },
            Manner::CloseAfter(limit) if replies > limit => return None,
            _ => {}
        }
        let reply = match command.as_slice() {
            [name] if name == b"PING" => b"+PONG\r\n".to_vec(),
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

/// What was counted of one command.
fn counts(outcome: &Outcome, command: &str) -> Counts {
    outcome.command(command).map(|stats| stats.counts.clone()).unwrap_or_default()
}

fn outcome(plan: &Plan) -> Outcome {
    run(plan, &AtomicBool::new(false)).expect("the run is possible")
}

#[test]
fn every_request_is_sent_once_and_counted_as_what_it_got() {
    let target = serve(Manner::Honest);
    for mode in [PipelineMode::Window, PipelineMode::Batch] {
        // Each command walks the keys on its own, so every GET finds what the SET before it left.
        let mixed = Plan { pipeline: 7, mode, mix: set_get(1, 1), ..plan(target, 1001) };
        let counted = outcome(&mixed);
        let (set, get) = (counts(&counted, "SET"), counts(&counted, "GET"));
        assert_eq!((set.values, get.nulls, get.values), (501, 0, 500));
        assert_eq!(counted.total().response.len(), 1001);
        let answered: u64 = counted.series.iter().map(|second| second.counts.answered()).sum();
        assert_eq!(answered, 1001, "the seconds add up to the run");
        let spent = |reason: &String| reason.contains("CPU is spent");
        let reasons = judge(&mixed, &counted).reasons;
        assert!(reasons.iter().all(spent), "{reasons:?}");
    }
}

#[test]
fn gets_of_keys_that_were_set_are_hits_and_threads_share_the_requests() {
    let target = serve(Manner::Honest);
    // Ten keys, whose SETs are all among the first hundred requests: what is read after them is there.
    let keys = KeyRange { first: 0, last: 9, pattern: Pattern::Sequential };
    let one = Plan { keys, mix: set_get(10, 90), pipeline: 4, ..plan(target, 1000) };
    let counted = outcome(&one);
    let (set, get) = (counts(&counted, "SET"), counts(&counted, "GET"));
    assert_eq!((set.answered(), get.answered()), (100, 900));
    assert!((810..900).contains(&get.values), "{}", get.values);
    let many = Plan { clients: 5, threads: 2, pipeline: 16, ..plan(target, 1003) };
    assert_eq!(outcome(&many).answered(), 1003);
}

/// The fake server keeps keys per connection: a GET finds what was SET on its own.
#[test]
fn commands_kept_apart_share_no_connection() {
    let found = |apart| {
        let load = Load::Open { rate: 2000.0, arrival: Arrival::Constant, end: End::Requests(600) };
        let plan = Plan { clients: 5, mix: set_get(2, 1), load, apart, ..plan(serve(Manner::Honest), 0) };
        let gets = counts(&outcome(&plan), "GET");
        assert_eq!(gets.answered(), 200);
        gets.values
    };
    assert_eq!(found(true), 0);
    assert!(found(false) > 0, "who shares a connection finds its keys");
}

#[test]
fn fill_sets_the_whole_range() {
    let keys = KeyRange { first: 100, last: 5099, pattern: Pattern::Sequential };
    let counted = outcome(&Plan::fill(serve(Manner::Honest), keys, 32));
    assert_eq!((counts(&counted, "SET").values, counted.answered()), (5000, 5000));
}

#[test]
fn a_stalled_server_shows_in_every_request_that_fell_due_meanwhile() {
    let stall = Duration::from_millis(80);
    let load = Load::Open { rate: 1000.0, arrival: Arrival::Constant, end: End::Requests(200) };
    let counted = outcome(&Plan { load, pipeline: 1, ..plan(serve(Manner::StallFirst(stall)), 0) });
    assert_eq!(counted.answered(), 200);
    let get = counted.command("GET").expect("the mix has GETs");
    // The first 40 arrivals fell due in the first 40 ms of the stall and so waited at least its other 40 ms.
    let half = 40_000_000;
    let late = get.response.len() - get.response.count_between(0, half - half / 500);
    assert!(late >= 39, "{late} requests waited half the stall");
    assert!(get.service.max() >= 79_000_000, "the request in flight waited it all");
}

#[test]
fn unanswered_requests_are_counted_with_their_age() {
    let target = serve(Manner::CloseAfter(3));
    let two = Plan { clients: 2, pipeline: 5, ..plan(target, 100) };
    let counted = outcome(&two);
    let get = counted.command("GET").expect("the mix has GETs");
    assert_eq!(get.counts.answered() + get.counts.unanswered, get.response.len());
    assert_eq!(counted.incidents.lost, 2);
    assert!(get.counts.unanswered > 0);
    assert!(judge(&two, &counted).reasons.iter().any(|text| text.contains("never answered")));
}

#[test]
fn error_replies_spoil_the_run_and_are_quoted() {
    let refused = plan(serve(Manner::Refuse), 10);
    let counted = outcome(&refused);
    let get = counted.command("GET").expect("the mix has GETs");
    assert_eq!((get.counts.errors, get.kinds.get("ERR")), (10, Some(&10)));
    let reasons = judge(&refused, &counted).reasons;
    assert!(reasons.contains(&"10 error replies, the first: ERR not today".into()), "{reasons:?}");
}

/// Two hundred replies of five milliseconds each are outstanding when the time is over: those that keep coming must not
/// keep the run from its end.
#[test]
fn a_closed_loop_ends_at_its_deadline_though_replies_keep_coming() {
    let target = serve(Manner::Slow(Duration::from_millis(5)));
    let end = End::Time(Duration::from_millis(100));
    let patient = Plan { pipeline: 1000, load: Load::Closed(end), ..plan(target, 1) };
    let plan = Plan { grace: Duration::from_millis(100), ..patient };
    let clock = Clock::start();
    let outcome = run(&plan, &AtomicBool::new(false)).expect("the run is possible");
    assert!(clock.ns() < 2_000_000_000, "{} ms", clock.ns() / 1_000_000);
    let counts = outcome.counts();
    assert_eq!(counts.answered() + counts.unanswered, counts.offered, "{counts:?}");
    assert!(counts.unanswered > 800, "{counts:?}");
}

#[test]
fn what_a_server_does_not_read_is_not_piled_up() {
    let end = End::Time(Duration::from_millis(300));
    let plan = Plan {
        clients: 4,
        pipeline: 40_000,
        load: Load::Closed(end),
        mix: set_get(1, 0),
        data: DataPlan::of(1000),
        grace: Duration::from_millis(100),
        ..plan(serve(Manner::Deaf), 1)
    };
    let counts = run(&plan, &AtomicBool::new(false)).expect("the run is possible").counts();
    // 4 MiB each, and what the kernel takes.
    assert!((16_000..100_000).contains(&counts.offered), "{counts:?}");
    assert_eq!(counts.unanswered, counts.offered);
}

/// More room than one turn of the loop uses: it is used all the same, and no batch is begun before the last is answered.
#[test]
fn a_window_wider_than_a_turn_is_filled() {
    for (mode, requests) in [(PipelineMode::Window, 30_000), (PipelineMode::Batch, 30_000)] {
        let plan = Plan { pipeline: 10_000, clients: 2, mode, ..plan(serve(Manner::Honest), requests) };
        let outcome = run(&plan, &AtomicBool::new(false)).expect("the run is possible");
        assert_eq!((outcome.counts().answered(), outcome.counts().failed()), (requests, 0), "{mode:?}");
    }
}

#[test]
fn whoever_is_told_to_stop_does_not_go_on_connecting() {
    let plan =
        Plan { clients: 3, connect_stagger: Duration::from_secs(20), ..plan(serve(Manner::Honest), 10) };
    let (stop, clock) = (AtomicBool::new(false), Clock::start());
    let problem = thread::scope(|scope| {
        let running = scope.spawn(|| run(&plan, &stop).err().expect("stopped").to_string());
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        running.join().expect("it does not panic")
    });
    assert!(clock.ns() < 5_000_000_000 && problem.contains("stopped before"), "{problem}");
}
