//! The program against a live redis-server: what it counts must be what the server counts, a stall must show where it
//! belongs, and whatever goes wrong must be said in one line.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use torc_loadgen::{
    Plan,
    clock::Clock,
    document::Document,
    keys::{KeyRange, Pattern},
    plan::{Arrival, End, Load},
    run,
};

/// A redis-server of its own on a free port; ends with the test.
struct Redis {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a free port");
        let child = Command::new("redis-server")
            .args([
                "--port",
                &free.port().to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--enable-debug-command", "yes", "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is on PATH");
        let redis = Self { child, address: free, dir };
        assert!(eventually(|| TcpStream::connect(free).is_ok()), "redis-server does not start");
        redis
    }

    fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it is up");
        let words: Vec<&str> = command.split(' ').collect();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        request += "*1\r\n$4\r\nQUIT\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("it closes after QUIT");
        reply
    }

    /// How often the server executed `command`.
    fn calls(&self, command: &str) -> u64 {
        let stats = self.ask("INFO commandstats");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().expect("a field").parse().expect("a number"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Starts the program against this server with the options in `line`.
    fn spawn(&self, line: &str) -> Child {
        let (job, options) = line.split_once(' ').unwrap_or((line, ""));
        Command::new(env!("CARGO_BIN_EXE_torc-loadgen"))
            .args([job, "-q", "-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(options.split(' ').filter(|word| !word.is_empty()))
            .current_dir(self.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    fn load(&self, line: &str) -> Output {
        self.spawn(line).wait_with_output().expect("it ends")
    }

    /// The report of a run with the options in `line`, whatever its verdict.
    fn report(&self, line: &str) -> Document {
        let output = self.load(&format!("{line} --json-out-file report.json"));
        assert_ne!(output.status.code(), Some(1), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        Document::read(&self.dir.path().join("report.json")).expect("the report")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually(mut test: impl FnMut() -> bool) -> bool {
    let clock = Clock::start();
    while clock.ns() < 10_000_000_000 {
        if test() {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn what_is_counted_is_what_the_server_executed() {
    let redis = Redis::start();
    let report = redis.report("run -n 30000 -c 7 -t 2 -P 5 -r 100 --ratio 1:2 --prefill");
    let of = |name: &str| report.results.iter().find(|result| result.cmd == name).expect("in the mix");
    let (set, get) = (of("SET"), of("GET"));
    assert_eq!((set.answered, get.answered), (10_000, 20_000));
    // The filling before it SET each of the 100 keys once.
    assert_eq!((redis.calls("set"), redis.calls("get")), (10_100, 20_000));
    assert_eq!((get.hits, get.misses, set.hits), (20_000, 0, 0));
    assert_eq!((set.response.count, get.response.count), (10_000, 20_000));
    // *3 SET with a key of 16 and a value of 16 bytes, +OK; *2 GET, $16 and the value.
    assert_eq!((set.bytes_sent, set.bytes_received), (590_000, 50_000));
    assert_eq!((get.bytes_sent, get.bytes_received), (720_000, 460_000));
    assert_eq!((report.server.name.as_str(), report.connections), ("redis", 7));
    assert_eq!(report.series.iter().map(|second| second.ops).sum::<u64>(), 30_000);
}

#[test]
fn warm_up_is_sent_and_not_measured() {
    let redis = Redis::start();
    let report = redis
        .report("run --rate 2000 --arrival constant --test-time 1 --warmup 500ms --ratio 0:1 --ramp 500ms");
    let get = &report.results[0];
    assert!((1999..=2001).contains(&get.answered), "{}", get.answered);
    // Half a second of warm-up, and half of what half a second at the full rate has for the ramp.
    let unmeasured = redis.calls("get") - get.answered;
    assert!((1495..=1505).contains(&unmeasured), "{unmeasured}");
}

#[test]
fn a_seed_repeats_a_run_to_the_byte() {
    let redis = Redis::start();
    let digest = |seed: u64| {
        redis.ask("FLUSHALL");
        redis.report(&format!("run -n 5000 -c 1 -P 9 --ratio 1:1 -R --key-pattern Z --seed {seed}"));
        redis.ask("DEBUG DIGEST")
    };
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
}

#[test]
fn repetitions_differ_in_their_seeds_and_each_can_be_repeated() {
    let redis = Redis::start();
    let line = "run -n 3000 -c 1 -P 9 --ratio 1:1 -R --fail-on-invalid false --json-out-file run.json";
    assert!(redis.load(&format!("{line} --seed 5 --run-count 3")).status.success());
    let seed = |file: &str| {
        let document = Document::read(&redis.dir.path().join(file)).expect("the report");
        (document.env.seed, document.plan["seed"].as_u64())
    };
    assert_eq!(
        ["run.1.json", "run.2.json", "run.3.json"].map(seed),
        [5, 6, 7].map(|seed| (seed, Some(seed)))
    );
    let digest = redis.ask("DEBUG DIGEST");
    redis.ask("FLUSHALL");
    for seed in [5, 6, 7] {
        redis.load(&format!("{line} --seed {seed}"));
    }
    assert_eq!(redis.ask("DEBUG DIGEST"), digest);
}

#[test]
fn every_key_pattern_stays_in_its_range_and_sequences_reach_all_of_it() {
    let redis = Redis::start();
    for pattern in ["R", "S", "P", "G", "Z", "H"] {
        redis.ask("FLUSHALL");
        let range = "--key-minimum 50 --key-maximum 149 --scramble";
        redis.report(&format!("run -n 2000 -c 4 -t 2 --ratio 1:0 {range} --key-pattern {pattern}"));
        let keys: u64 = redis.ask("DBSIZE").lines().next().expect("a line")[1..].parse().expect("a number");
        assert!(
            keys <= 100 && (keys == 100 || !["S", "P", "R"].contains(&pattern)),
            "{pattern}: {keys} keys"
        );
        assert_eq!(redis.ask("EXISTS key:000000000049 key:000000000150").lines().next(), Some(":0"));
    }
}

#[test]
fn commands_of_every_kind_are_understood_by_the_server() {
    let redis = Redis::start();
    let tests = "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset,xadd";
    let report = redis.report(&format!("run -n 1600 -c 3 -P 4 --tests {tests} --expiry-range 50-60"));
    for result in &report.results {
        assert_eq!((result.answered, &result.errors), (100, &Default::default()), "{}", result.cmd);
    }
    let ttl = redis.ask(&format!("TTL {}", redis.ask("RANDOMKEY").lines().nth(1).expect("a key")));
    assert!(redis.ask("INFO keyspace").contains("expires=") || ttl.starts_with(":5"), "{ttl}");
}

/// A range of a list that is not there costs the server next to nothing.
#[test]
fn ranges_are_read_from_a_list_that_was_filled_before() {
    let redis = Redis::start();
    for (test, replied) in
        [("lrange_100", 100), ("lrange_300", 300), ("lrange_500", 500), ("lrange_600", 600)]
    {
        redis.ask("FLUSHALL");
        let report = redis.report(&format!("run -n 20 -c 4 -t 2 -d 5 --tests {test}"));
        let range = &report.results[0];
        // *100 and as many values of five bytes.
        assert_eq!((range.answered, range.bytes_received), (20, 20 * (6 + replied * 11)), "{test}");
        assert_eq!(redis.ask("LLEN mylist").lines().next(), Some(":600"), "{test}");
    }
    assert_eq!(redis.calls("lpush"), 4 * 600);
    redis.report("run -n 1000 --tests lrange_100");
    assert_eq!(redis.calls("lpush"), 4 * 600 + 1000, "as many as the run has requests, as redis-benchmark");
}

#[test]
fn verification_names_the_value_that_was_changed_and_the_key_that_is_gone() {
    let redis = Redis::start();
    assert!(redis.load("fill -r 1000 --data-verify --data-size-range 24-200").status.success());
    assert!(redis.load("verify -r 1000").status.success());
    let mixed = redis.report("run -n 20000 -r 1000 -c 9 -t 2 -P 4 --ratio 1:1 --data-verify -d 64 -R");
    assert!(!mixed.results.iter().any(|result| result.errors.contains_key("corrupt")));
    redis.ask("SETRANGE key:000000000077 30 corrupt");
    let output = redis.load("verify -r 1000");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("1 corrupt values, the first: key 77: wrong checksum"), "{text}");
    assert_eq!(output.status.code(), Some(3));
    redis.ask("COPY key:000000000078 key:000000000077 REPLACE");
    let text = String::from_utf8_lossy(&redis.load("verify -r 1000").stdout).into_owned();
    assert!(text.contains("of key 78"), "{text}");
    redis.ask("DEL key:000000000077");
    let output = redis.load("verify -r 1000");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("GET hit 99.90 %") && !text.contains("corrupt"), "{text}");
    assert_eq!(output.status.code(), Some(3));
}

/// Arrivals keep falling due while the server stands still, and each must count from when it was due. At 2,000 a second
/// the 1,000 that fall due in half a second are a quarter of the run: a thousandth of all, four requests, waited all of
/// it but 2 ms, a tenth of all at least three fifths of it. Two connections with one request each have two requests in
/// flight, which is all that the time from the send can see.
#[test]
fn a_stall_shows_in_response_times_and_not_in_service_times() {
    let redis = Redis::start();
    let keys = KeyRange { first: 0, last: 99, pattern: Pattern::Random };
    let end = End::Requests(4000);
    let load = Load::Open { rate: 2000.0, arrival: Arrival::Constant, end };
    let plan = Plan { load, clients: 2, ..Plan::closed(redis.address, keys, end) };
    let outcome = thread::scope(|scope| {
        let running = scope.spawn(|| run(&plan, &AtomicBool::new(false)));
        assert!(eventually(|| redis.calls("get") > 600), "the run does not begin");
        redis.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(500));
        redis.signal(Signal::CONT);
        running.join().expect("it does not panic").expect("the run is possible")
    });
    let get = &outcome.commands[0];
    assert_eq!((get.counts.answered(), get.counts.failed()), (4000, 0));
    let ms = |quantile: f64| get.response.value_at_quantile(quantile) as f64 / 1e6;
    assert!(ms(0.999) >= 490.0, "p99.9 {}", ms(0.999));
    assert!(ms(0.9) >= 290.0, "p90 {}", ms(0.9));
    let service = get.service.value_at_quantile(0.999) as f64 / 1e6;
    assert!(service < ms(0.999) / 2.0, "service p99.9 {service}");
    assert!(outcome.window_full.len() > 900, "the server's windows were full: {}", outcome.window_full.len());
}

#[test]
fn overload_is_accounted_to_the_last_request() {
    let redis = Redis::start();
    let keys = KeyRange { first: 0, last: 99, pattern: Pattern::Random };
    let end = End::Time(Duration::from_millis(300));
    let load = Load::Open { rate: 10_000.0, arrival: Arrival::Constant, end };
    let plan = Plan {
        load,
        clients: 3,
        pipeline: 2,
        max_backlog: 500,
        grace: Duration::from_millis(50),
        ..Plan::closed(redis.address, keys, end)
    };
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            assert!(eventually(|| redis.calls("get") > 100), "the run does not begin");
            redis.signal(Signal::STOP);
        });
        run(&plan, &AtomicBool::new(false)).expect("the run is possible")
    });
    redis.signal(Signal::CONT);
    let counts = outcome.counts();
    assert!((2999..=3001).contains(&counts.offered), "{counts:?}");
    assert_eq!(counts.answered() + counts.unanswered + counts.unsent, counts.offered, "{counts:?}");
    assert_eq!(counts.unanswered, 6, "two on each connection");
    assert!(counts.unsent > 500, "{counts:?}");
    assert_eq!(outcome.total().response.len(), counts.offered);
}

#[test]
fn an_interrupted_run_still_reports() {
    let redis = Redis::start();
    let child = redis.spawn("run --rate 1000 --test-time 60 --json-out-file report.json");
    assert!(eventually(|| redis.calls("get") > 300), "the run does not begin");
    let clock = Clock::start();
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert!(clock.ns() < 5_000_000_000, "it ends at once");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("stopped before its end"), "{text}");
    let report = Document::read(&redis.dir.path().join("report.json")).expect("the report");
    assert!(report.results.iter().map(|result| result.answered).sum::<u64>() >= 300);
    assert!(report.elapsed_ns < 30_000_000_000);
}

#[test]
fn a_server_that_dies_leaves_a_report_of_what_was_measured() {
    let redis = Redis::start();
    let child = redis.spawn("run -c 5 --rate 2000 --test-time 60");
    assert!(eventually(|| redis.calls("get") > 300), "the run does not begin");
    redis.signal(Signal::KILL);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("5 connections lost") && text.contains("GET"), "{text}");
}

#[test]
fn objectives_decide_the_exit_code() {
    let redis = Redis::start();
    let line = "run -n 5000 -c 10 --ratio 0:1";
    // A busy machine may make any run invalid.
    let code = |slo: &str| redis.load(&format!("{line} --slo {slo} --fail-on-invalid false")).status.code();
    assert_eq!((code("p50=1us"), code("p50=50s")), (Some(2), Some(0)));
    // 5,000 samples cannot tell the one slowest in a thousand thousand.
    let output = redis.load(&format!("{line} --slo p99.9999=50s"));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(code("p99.9999=50s"), Some(0));
    let misses = format!("{line} --min-hit-rate 0.5");
    assert!(String::from_utf8_lossy(&redis.load(&misses).stdout).contains("GET hit 0.00 %"));
}

#[test]
fn what_cannot_be_is_said_in_one_line() {
    let redis = Redis::start();
    let problem = |output: Output| {
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.starts_with("torc-loadgen: ") && text.lines().count() == 1, "{text}");
        text
    };
    redis.ask("CONFIG SET requirepass secret");
    assert!(problem(redis.load("run -n 1")).contains("NOAUTH"));
    let free = TcpListener::bind("127.0.0.1:0").and_then(|bound| bound.local_addr()).expect("a free port");
    let elsewhere = |port: u16| {
        let program = env!("CARGO_BIN_EXE_torc-loadgen");
        Command::new(program)
            .args(["run", "-q", "-n", "1", "-p", &port.to_string()])
            .output()
            .expect("it ends")
    };
    assert!(
        problem(elsewhere(free.port())).contains(&format!("127.0.0.1:{}: Connection refused", free.port()))
    );
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = other.local_addr().expect("bound").port();
    let greeter = thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a connection");
        stream.write_all(b"220 mail ready\r\n").expect("sent");
        // Until the other side has read it and gone: an early close would be a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert!(problem(elsewhere(port)).contains("does not speak RESP: it answered \"220 mail"));
    greeter.join().expect("no panic");
    assert!(problem(redis.load("run --tests set,gte")).contains("no test is called"));
    let file = redis.dir.path().join("commands");
    fs::write(&file, "SET __key__ 'open\n").expect("written");
    assert!(problem(redis.load("run --command-file commands")).contains("not closed"));
}
