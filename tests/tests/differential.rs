//! Differential test: generated commands on a live reference server and on Torc, replies compared byte for byte.
//!
//! One test a family of commands, each with servers of its own. What may differ stands in `allow`, with reasons.
//! `TORC_TEST_ROW=SET` keeps to one command.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use torc_tests::client::Client;
use torc_tests::generate::{Generator, Step};
use torc_tests::grammar::{self, ELSEWHERE, Family, Row};
use torc_tests::peer::Peer;
use torc_tests::process::Server;
use torc_tests::random::{self, Random};
use torc_tests::replay::{self, Mismatch, Protocol};
use torc_tests::{clock, shrink, torc};

/// Commands of one sequence: long enough to build up state, short enough to shrink quickly.
const CALLS: usize = 60;

/// Commands to reach per row, time permitting.
const TARGET: usize = 4000;

/// Different failures after which a family has failed thoroughly enough.
const ENOUGH: usize = 20;

/// Steps shown of a sequence that does not shrink.
const SHOWN: usize = 20;

/// Failures by cause: how many, and the first one in full.
type Failures = BTreeMap<String, (usize, String)>;

struct Rig {
    peers: HashMap<&'static str, Server>,
    torcs: Vec<(usize, Server)>,
}

fn peer_key(peer: Peer) -> &'static str {
    match peer {
        Peer::Redis => "redis",
        Peer::Valkey => "valkey",
        Peer::Redis8 => "redis 8",
    }
}

impl Rig {
    fn new(rows: &[&Row]) -> Rig {
        let mut peers = HashMap::new();
        for row in rows {
            peers.entry(peer_key(row.peer)).or_insert_with(|| row.peer.start(&[]));
        }
        let torcs =
            torc::shard_counts().into_iter().map(|shards| (shards, torc::start(shards, &[]))).collect();
        Rig { peers, torcs }
    }

    /// Counts the first mismatch of one sequence, if any. All servers play at the same time.
    fn check(&mut self, row: &Row, protocol: Protocol, steps: &[Step], failures: &mut Failures) {
        let peer = &self.peers[peer_key(row.peer)];
        let play = |server| replay::play(server, protocol, steps);
        let (theirs, all) = std::thread::scope(|scope| {
            let others: Vec<_> =
                self.torcs.iter().map(|(_, server)| scope.spawn(move || play(server))).collect();
            let theirs = play(peer).unwrap_or_else(|error| panic!("{}: {error}", peer.name));
            let others = others.into_iter().map(|thread| thread.join().expect("playing does not fail"));
            (theirs, others.collect::<Vec<_>>())
        });
        for ((shards, server), ours) in self.torcs.iter_mut().zip(all) {
            let Some(first) = replay::judge(steps, &theirs, ours) else { continue };
            let known = failures.entry(first.cause()).or_default();
            known.0 += 1;
            if known.0 == 1 && first.is_silence() {
                known.1 = format!("{}: {first}", row.name);
            } else if known.0 == 1 {
                known.1 = format!("{}: {}", row.name, explain(peer, server, protocol, steps, &first));
            }
            if server.alive() && first.is_silence() {
                let others = Client::connect(server.port).map(|mut client| client.line("CLIENT LIST"));
                known.1 += &format!("\nother connections: {others:?}");
            }
            if !server.alive() {
                known.1 += &format!("\n{} ended:\n{}", server.name, tail(&server.log()));
            }
            // The failure may have left it hanging; the next sequence deserves a healthy server.
            *server = torc::start(*shards, &[]);
            return;
        }
    }
}

/// The failing sequence as short as possible, with what both said.
fn explain(peer: &Server, torc: &Server, protocol: Protocol, steps: &[Step], first: &Mismatch) -> String {
    let (cause, mut last) = (first.cause(), first.clone());
    let short = shrink::shrink(&units(steps), Duration::from_secs(15), |units| {
        match replay::differ(peer, torc, protocol, &units.concat()) {
            Some(mismatch) if mismatch.cause() == cause => {
                last = mismatch;
                true
            }
            _ => false,
        }
    });
    let short = short.concat();
    let steady = if short.len() == steps.len() { " (does not shrink: unsteady?)" } else { "" };
    let until = last.step.map_or(short.len(), |step| step + 1);
    let lines: Vec<String> =
        short[until.saturating_sub(SHOWN)..until].iter().map(replay::show_step).collect();
    format!("{} {protocol:?}{steady}\n{last}\n  after:\n    {}", torc.name, lines.join("\n    "))
}

/// What may only go together: a command and the pause that makes its effect certain.
fn units(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut units: Vec<Vec<Step>> = Vec::new();
    for step in steps {
        match (step, units.last_mut()) {
            (Step::Pause, Some(unit)) => unit.push(step.clone()),
            _ => units.push(vec![step.clone()]),
        }
    }
    units
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

fn run(family: &Family) {
    let seed = random::seed(&format!("differential {}", family.name));
    let only = std::env::var("TORC_TEST_ROW").ok();
    let wanted = |row: &&Row| only.as_ref().is_none_or(|only| only.eq_ignore_ascii_case(row.name));
    let rows = served(family.rows.iter().filter(wanted).collect());
    assert!(!rows.is_empty(), "no command of {} is served", family.name);

    let mut rig = Rig::new(&rows);
    let mut failures = Failures::new();
    let start = clock::now();
    let limit = clock::time_box(60);
    let mut round = 0;
    while round * CALLS < TARGET && start.elapsed() < limit && failures.len() < ENOUGH {
        for (index, row) in rows.iter().enumerate() {
            let random = Random::part(seed, ((round as u64) << 16) | index as u64);
            let steps = Generator::new(random).sequence(row, CALLS);
            let protocol = if round % 2 == 0 { Protocol::Resp2 } else { Protocol::Resp3 };
            rig.check(row, protocol, &steps, &mut failures);
        }
        round += 1;
    }
    eprintln!(
        "{}: {} rows, {} commands a row in {:?}",
        family.name,
        rows.len(),
        round * CALLS,
        start.elapsed()
    );
    let report: Vec<String> =
        failures.values().map(|(count, text)| format!("[{count} times] {text}")).collect();
    assert!(report.is_empty(), "TORC_TEST_SEED={seed}: {} causes\n{}", report.len(), report.join("\n"));
}

/// The rows of commands that Torc has.
fn served(rows: Vec<&Row>) -> Vec<&Row> {
    let words: Vec<String> = rows.iter().map(|row| row.name.to_lowercase()).collect();
    let ask = [vec!["COMMAND".to_owned(), "INFO".to_owned()], words].concat();
    let server = torc::start(1, &[]);
    let reply = server.client().call(&ask);
    assert_eq!(reply.elements().len(), rows.len(), "COMMAND INFO answers {reply}");
    let known = reply.elements().iter().map(|info| !info.elements().is_empty());
    rows.into_iter().zip(known).filter(|(_, known)| *known).map(|(row, _)| row).collect()
}

#[test]
fn string() {
    run(grammar::family("string"));
}

#[test]
fn generic() {
    run(grammar::family("generic"));
}

#[test]
fn connection() {
    run(grammar::family("connection"));
}

#[test]
fn transactions() {
    run(grammar::family("transactions"));
}

#[test]
fn server() {
    run(grammar::family("server"));
}

#[test]
fn every_served_command_is_exercised() {
    let server = torc::start(1, &[]);
    if torc::is_stand_in() {
        return;
    }
    let listed: Vec<String> =
        server.client().line("COMMAND LIST").elements().iter().map(|name| name.text()).collect();
    assert!(listed.len() > 40, "COMMAND LIST answers {listed:?}");
    let known = |name: &String| {
        let name = name.to_uppercase();
        let container = |row: &Row| row.name.starts_with(&format!("{name}|"));
        grammar::rows().any(|row| row.name == name || container(row))
            || ELSEWHERE.iter().any(|entry| entry.0 == name)
    };
    let missing: Vec<&String> = listed.iter().filter(|name| !known(name)).collect();
    assert!(missing.is_empty(), "served, but neither in the grammar nor in ELSEWHERE: {missing:?}");
}
