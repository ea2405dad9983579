//! Runs made by several processes: in this one with reports made up, so that sums can be checked to the bucket; as
//! processes against a live server; and in network namespaces, as hosts of their own.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use torc_loadgen::{
    Outcome, Plan,
    agent::wire::{Hello, PROTOCOL, STRANGER_BYTES, Wire, Word},
    agent::{self, Agent, Hooks, Token, lead},
    document::{Document, Env, Interval, Latencies},
    keys::{KeyRange, Pattern},
    plan::End,
    stats::{CommandStats, Incidents, latencies, record},
    summary,
};

use crate::servers::{Server, until};

const SECRET: &str = "a secret of two dozen ch";

fn token(dir: &Path) -> Token {
    fs::write(dir.join("token"), SECRET).expect("written");
    Token::read(&dir.join("token")).expect("long enough")
}

fn plan() -> Plan {
    let keys = KeyRange { first: 0, last: 999, pattern: Pattern::Random };
    Plan {
        clients: 4,
        ..Plan::closed(std::net::SocketAddr::from(([127, 0, 0, 1], 1)), keys, End::Requests(1000))
    }
}

/// A report of 100 times `member + 1` requests.
fn made_up(plan: &Plan) -> Document {
    let mut command = CommandStats::new("GET", true);
    for ns in 1..=100 * (plan.team.member as u64 + 1) {
        record(&mut command.response, ns * 1000, 1);
        record(&mut command.service, ns * 500, 1);
        command.counts.values += 1;
        command.counts.offered += 1;
    }
    command.counts.errors = 7;
    command.kinds.insert("ERR".into(), 7);
    let outcome = Outcome {
        elapsed_ns: 1_000_000_000,
        incidents: Incidents { moved: 2, ..Incidents::default() },
        ..Outcome::new(vec![command])
    };
    summary::document(plan, &outcome, Env::default(), torc_loadgen::document::Server::default())
}

/// Runs `test` with the addresses of `count` agents of this process that carry plans out with `run`.
fn with_agents(count: usize, run: &agent::Runner<'_>, test: impl FnOnce(&[String], &Token)) {
    let dir = tempfile::tempdir().expect("a directory");
    let token = token(dir.path());
    let stop = AtomicBool::new(false);
    let agents: Vec<Agent> =
        (0..count).map(|_| Agent::bind("127.0.0.1:0", token.clone(), run).expect("a free port")).collect();
    thread::scope(|scope| {
        for agent in &agents {
            scope.spawn(|| agent.serve(&stop, &|_| ()));
        }
        let names: Vec<String> = agents.iter().map(|agent| agent.address().to_string()).collect();
        let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&names, &token)));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = tested {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn the_sum_of_the_agents_reports_is_exact_and_they_start_together() {
    let (ready, started) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = |plan: &Plan, hooks: Hooks<'_>| {
        if plan.team.member == 1 {
            // One that is late: the other must wait for it.
            thread::sleep(Duration::from_millis(100));
            assert_eq!(started.load(Ordering::SeqCst), 0);
        }
        ready.fetch_add(1, Ordering::SeqCst);
        (hooks.gate)()?;
        started.fetch_add(1, Ordering::SeqCst);
        assert_eq!(ready.load(Ordering::SeqCst), 2);
        Ok(made_up(plan))
    };
    with_agents(2, &run, |names, token| {
        let plan = plan();
        let sum = lead(&plan, names, token, &AtomicBool::new(false), &mut |_| {}).expect("a report");
        let (mut response, mut service) = (latencies(), latencies());
        for ns in (1..=100_u64).chain(1..=200) {
            record::<u64>(&mut response, ns * 1000, 1);
            record::<u64>(&mut service, ns * 500, 1);
        }
        let [result] = sum.results.as_slice() else { panic!("one command") };
        assert_eq!(result.response.histogram(), Ok(response.clone()));
        assert_eq!(result.service.histogram(), Ok(service));
        assert_eq!(result.response.hdr_v2_deflate_b64, Latencies::from(&response).hdr_v2_deflate_b64);
        assert_eq!((result.answered, result.hits, result.errors["ERR"]), (314, 300, 14));
        assert_eq!((result.achieved, sum.moved, sum.plan["agents"].as_u64()), (314.0, 4, Some(2)));
        let reasons = sum.verdict.reasons.join("; ");
        assert!(
            names.iter().all(|name| reasons.contains(&format!("agent {name}: 7 error replies"))),
            "{reasons}"
        );
    });
}

/// A second from `t` on in which `response` was measured.
fn second(t: f64, response: &[u64]) -> Interval {
    let mut histogram = latencies();
    response.iter().for_each(|&ns| record::<u64>(&mut histogram, ns, 1));
    let bytes = Latencies::from(&histogram).hdr_v2_deflate_b64;
    let ops = response.len() as u64;
    Interval { t, seconds: 1.0, ops, errors: 1, hdr_v2_deflate_b64: vec![bytes], ..Interval::default() }
}

#[test]
fn a_second_is_told_once_all_agents_have_passed_it() {
    let run = |plan: &Plan, hooks: Hooks<'_>| {
        (hooks.gate)()?;
        for t in 0..3 {
            let ns = 1_000_000 * (plan.team.member as u64 + 1);
            (hooks.watch)(second(f64::from(t), &vec![ns; 10 * (plan.team.member + 1)]), made_up(plan));
        }
        Ok(made_up(plan))
    };
    with_agents(2, &run, |names, token| {
        let mut told = Vec::new();
        let mut watch = |second: &Interval| told.push((second.t, second.ops, second.errors, second.p50));
        lead(&plan(), names, token, &AtomicBool::new(false), &mut watch).expect("a report");
        let p50 = told.first().map_or(0, |first| first.3);
        assert!((1_990_000..2_010_000).contains(&p50), "of twenty at 2 ms and ten at 1 ms: {p50} ns");
        assert_eq!(told, [0.0, 1.0, 2.0].map(|t| (t, 30, 2, p50)));
    });
}

#[test]
fn who_may_not_lead_is_told_why_and_nothing_a_peer_sends_ends_an_agent() {
    let run = |plan: &Plan, hooks: Hooks<'_>| {
        (hooks.gate)()?;
        Ok(made_up(plan))
    };
    with_agents(2, &run, |names, token| {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("other"), "another secret than that").expect("written");
        let other = Token::read(&dir.path().join("other")).expect("long enough");
        let never = AtomicBool::new(false);
        let refused = lead(&plan(), names, &other, &never, &mut |_| {}).expect_err("the wrong token");
        assert_eq!(refused, format!("agent {}: wrong token; agent {}: wrong token", names[0], names[1]));

        let hello = Hello { protocol: PROTOCOL, version: "0.0.1\n".into(), token: SECRET.into() };
        let stream = TcpStream::connect(&names[0]).expect("connected");
        let mut wire = Wire::new(stream, Duration::from_secs(5)).expect("options");
        wire.send(&hello).expect("sent");
        let Ok(Word::Refused(why)) = wire.receive(STRANGER_BYTES) else { panic!("refused") };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(why, format!("the agent is version {version}, the leader version 0.0.1\\n"));

        for rubbish in ["GET / HTTP/1.1\r\n\r\n", "\0\0\0\u{2}{]", "\0\0\u{f}\u{7f}[[[["] {
            TcpStream::connect(&names[0])
                .and_then(|mut peer| peer.write_all(rubbish.as_bytes()))
                .expect("sent");
        }
        lead(&plan(), names, token, &never, &mut |_| {}).expect("the agents still serve");
        let gone = [names[0].clone(), "127.0.0.1:1".into()];
        let refused = lead(&plan(), &gone, token, &never, &mut |_| {}).expect_err("nobody there");
        assert!(refused.starts_with("agent 127.0.0.1:1: cannot connect"), "{refused}");
        // Whoever had welcomed the leader that gave up is free again.
        until("the agent is free", || lead(&plan(), names, token, &never, &mut |_| {}).is_ok());
        let many = lead(&Plan { threads: 3, ..plan() }, names, token, &never, &mut |_| {})
            .expect_err("too few connections");
        assert!(many.contains("4 connections cannot feed 6 threads"), "{many}");
    });
}

/// An agent as a process of its own, ended with this value.
struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// `host` is a command line prefix that runs it elsewhere.
    fn start(host: &[&str], listen: &str, token: &Path) -> Self {
        let binary = env!("CARGO_BIN_EXE_torc-loadgen");
        let words = [host, &[binary, "agent", "--listen", listen, "--token-file"]].concat();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg(token)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let name = line.trim().rsplit(' ').next().expect("an address").to_owned();
        assert!(name.contains(':'), "{line}");
        Self { child, name }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The leader's output and its report.
fn led(host: &[&str], agents: &[&str], token: &Path, options: &str) -> (Output, Document) {
    let report = token.with_file_name("report.json");
    let binary = env!("CARGO_BIN_EXE_torc-loadgen");
    let words = [host, &[binary, "run"]].concat();
    let out = Command::new(words[0])
        .args(&words[1..])
        .args(options.split(' '))
        .args(["--agents", &agents.join(",")])
        .arg("--token-file")
        .arg(token)
        .arg("--json-out-file")
        .arg(&report)
        .output()
        .expect("started");
    let document = Document::read(&report).unwrap_or_else(|problem| panic!("{problem}: {out:?}"));
    (out, document)
}

#[test]
fn an_agent_that_dies_is_named_and_what_it_measured_is_not_lost() {
    let server = Server::start(&[]);
    let dir = tempfile::tempdir().expect("a directory");
    token(dir.path());
    let token = dir.path().join("token");
    let [stays, mut dies] = [(); 2].map(|()| Process::start(&[], "127.0.0.1:0", &token));
    let name = dies.name.clone();
    let (told, killed) = channel();
    let (out, document) = thread::scope(|scope| {
        let (server, dies_child) = (&server, &mut dies.child);
        scope.spawn(move || {
            // At 2,000 a second of both: the first second of each has been reported.
            until("half the run is over", || server.info("cmdstat_get") > 3_000);
            let _ = dies_child.kill();
            let _ = told.send(());
        });
        let options = format!("-p {} -c 8 --rate 2000 --test-time 3 --ratio 0:1", server.port);
        led(&[], &[&stays.name, &name], &token, &options)
    });
    killed.recv().expect("it was killed");
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    let reasons = document.verdict.reasons.join("; ");
    assert!(
        reasons.contains(&format!("agent {name}: it closed the connection, measured until then")),
        "{reasons}"
    );
    // 3,000 of the one that stayed, and at least a second's 1,000 of the other.
    let answered = document.results[0].answered;
    assert!((3_800..5_900).contains(&answered), "{answered} answered: {reasons}");
    assert_eq!(
        document.results[0].response.count,
        answered + document.results[0].errors.values().sum::<u64>()
    );
    let offered = document.results[0].offered;
    assert!((1_800.0..2_200.0).contains(&offered), "{offered} offered");
    let first = &document.series[0];
    assert!((1_800..2_200).contains(&first.ops), "{} in the first second", first.ops);
}

/// Hosts of this machine: a hub that has the server and the leader, and two others. Undone with this value.
struct Hosts {
    names: [String; 3],
}

impl Hosts {
    /// `None` where it is not permitted.
    fn make() -> Option<Self> {
        let names = ["hub", "a", "b"].map(|name| format!("lg{}{name}", std::process::id()));
        let hosts = Self { names };
        let [hub, a, b] = &hosts.names;
        for name in &hosts.names {
            ip(&format!("netns add {name}")).ok()?;
            ip(&format!("-n {name} link set lo up")).ok()?;
        }
        for (index, name) in [a, b].into_iter().enumerate() {
            ip(&format!("-n {hub} link add v{index} type veth peer name v netns {name}")).ok()?;
            ip(&format!("-n {hub} addr add 10.9.{index}.1/24 dev v{index}")).ok()?;
            ip(&format!("-n {name} addr add 10.9.{index}.2/24 dev v")).ok()?;
            ip(&format!("-n {hub} link set v{index} up")).ok()?;
            ip(&format!("-n {name} link set v up")).ok()?;
            ip(&format!("-n {name} route add default via 10.9.{index}.1")).ok()?;
        }
        Some(hosts)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(line: &str) -> Result<(), String> {
    let out = Command::new("ip").args(line.split(' ')).output().map_err(|error| error.to_string())?;
    let problem = || format!("ip {line}: {}", String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(()) } else { Err(problem()) }
}

#[test]
fn agents_on_hosts_of_their_own_make_one_run() {
    let Some(hosts) = Hosts::make() else {
        println!("skipped: network namespaces are not permitted here");
        return;
    };
    let [hub, a, b] = hosts.names.each_ref().map(|name| ["ip", "netns", "exec", name]);
    let dir = tempfile::tempdir().expect("a directory");
    token(dir.path());
    let token = dir.path().join("token");
    let server = dir.path().join("server.sock");
    let mut redis = Command::new(hub[0])
        .args(&hub[1..])
        .args([
            "redis-server",
            "--port",
            "6379",
            "--bind",
            "10.9.0.1",
            "--save",
            "",
            "--protected-mode",
            "no",
        ])
        .arg("--unixsocket")
        .arg(&server)
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    until("the server is up", || server.exists());
    let first = Process::start(&a, "10.9.0.2:7380", &token);
    let second = Process::start(&b, "10.9.1.2:7380", &token);
    let options = "-h 10.9.0.1 -c 10 -t 1 -n 20000 -P 4 --key-maximum 999 --prefill --fail-on-invalid false";
    let (out, document) = led(&hub, &[&first.name, &second.name], &token, options);
    let stats = Command::new("redis-cli").arg("-s").arg(&server).args(["info", "commandstats"]).output();
    let _ = redis.kill();
    let _ = redis.wait();
    assert!(out.status.success(), "{out:?}");
    let answered: u64 = document.results.iter().map(|result| result.answered).sum();
    let counted: u64 = document.results.iter().map(|result| result.response.count).sum();
    let in_series: u64 = document.series.iter().map(|second| second.ops).sum();
    assert_eq!((answered, counted, in_series), (20_000, 20_000, 20_000), "{:?}", document.verdict);
    assert_eq!((document.connections, document.plan["agents"].as_u64()), (10, Some(2)));
    let stats = String::from_utf8(stats.expect("redis-cli is installed").stdout).expect("text");
    for result in &document.results {
        let filled = if result.cmd == "SET" { 1000 } else { 0 };
        let line = format!("cmdstat_{}:calls={},", result.cmd.to_lowercase(), result.answered + filled);
        assert!(stats.contains(&line), "{line} is not in {stats}");
    }
}
