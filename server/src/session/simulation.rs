//! Many cores on one thread, with messages delayed at random: what must hold whatever the timing.
//!
//! A run is a function of its seed, which a failure prints. `TORC_TEST_SEED` repeats one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::{Counters, Machine, Peer};
use crate::commands::{Core, Data, Expiry, NodeFacts};
use crate::config::Settings;
use crate::keyspace::{KeyHasher, Keyspace, Ring};
use crate::log::simulation::Random;
use crate::log::{Merged, Merger};
use crate::resp::element_len;
use crate::shard::Shard;
use crate::transaction::Message;

#[derive(Default)]
pub(super) struct Sequence(Rc<Cell<u64>>);

impl Counters for Sequence {
    fn next_ticket(&mut self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }

    fn next_client(&mut self) -> u64 {
        self.next_ticket()
    }

    fn next_slowlog(&mut self) -> u64 {
        self.next_ticket()
    }
}

/// A client's side of a connection: what came back, and how many replies it still waits for.
#[derive(Default)]
struct Caller {
    core: usize,
    key: usize,
    received: Vec<u8>,
    waiting: usize,
    replies: VecDeque<Vec<u8>>,
    gone: bool,
}

struct World {
    random: Random,
    machines: Vec<Machine>,
    /// Mail under way, by sender and receiver.
    channels: Vec<Vec<VecDeque<Message>>>,
    callers: Vec<Caller>,
    merger: Merger,
    /// What has been merged, and is durable at once.
    log: Vec<u8>,
}

impl World {
    fn new(seed: u64, cores: usize, callers: usize) -> World {
        let ring = Ring::new(cores);
        let sequence = Rc::new(Cell::new(0));
        let machine = |index| {
            let keyspace = Keyspace::new(16, ring.slots(index), KeyHasher::new(7));
            let mut data = Data::new(keyspace, seed);
            data.outbox.open();
            let facts = NodeFacts { shards: cores, ..NodeFacts::default() };
            let mut core = Core::new(index, Settings::default(), facts, || 0);
            core.now = 1_000_000;
            Machine::new(core, Shard::new(data), ring, Box::new(Sequence(Rc::clone(&sequence))))
        };
        let mut world = World {
            random: Random(seed),
            machines: (0..cores).map(machine).collect(),
            channels: (0..cores).map(|_| (0..cores).map(|_| VecDeque::new()).collect()).collect(),
            callers: Vec::new(),
            merger: Merger::new(cores, 0),
            log: Vec::new(),
        };
        (0..callers).for_each(|caller| world.connect(caller % cores));
        world
    }

    fn connect(&mut self, core: usize) {
        let peer = Peer { fd: 0, addr: "sim:0".into(), laddr: "sim:0".into(), unix: false };
        let key = self.machines[core].connect(peer);
        self.callers.push(Caller { core, key, ..Caller::default() });
    }

    /// Sends command lines in one piece.
    fn send(&mut self, caller: usize, lines: &[String]) {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            words.iter().for_each(|word| {
                bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes())
            });
        }
        let Caller { core, key, .. } = self.callers[caller];
        self.callers[caller].waiting += lines.len();
        self.machines[core].received(key, &bytes);
        self.settle(core);
    }

    /// Ends a core's turn: mail goes on its way, output to the callers.
    fn settle(&mut self, core: usize) {
        let machine = &mut self.machines[core];
        machine.finish_turn();
        for to in (0..self.channels.len()).filter(|&to| to != core) {
            self.channels[core][to].extend(machine.post.take(to));
        }
        while !machine.actions.flush.is_empty() {
            for key in std::mem::take(&mut machine.actions.flush) {
                let Some(buffer) = machine.take_output(key) else { continue };
                let caller =
                    self.callers.iter_mut().find(|one| (one.core, one.key, one.gone) == (core, key, false));
                if let Some(caller) = caller {
                    caller.received.extend_from_slice(&buffer);
                    while let Some(len) = element_len(&caller.received) {
                        caller.replies.push_back(caller.received.drain(..len).collect());
                        caller.waiting -= 1;
                    }
                }
                machine.sent(key, buffer);
            }
            machine.finish_turn();
        }
        machine.actions.close.clear();
        machine.shard.check_locks();
    }

    /// Delivers one message, from a random channel; false if none is under way.
    fn deliver(&mut self) -> bool {
        let cores = self.channels.len();
        let busy: Vec<(usize, usize)> = (0..cores * cores)
            .map(|pair| (pair / cores, pair % cores))
            .filter(|&(from, to)| !self.channels[from][to].is_empty())
            .collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to) = busy[self.random.below(busy.len())];
        let message = self.channels[from][to].pop_front().expect("the channel is busy");
        self.machines[to].message(from, message);
        self.settle(to);
        true
    }

    /// Delivers up to `most` messages.
    fn deliver_some(&mut self, most: usize) {
        for _ in 0..self.random.below(most + 1) {
            self.deliver();
        }
    }

    fn drain(&mut self) {
        while self.deliver() {}
    }

    /// Merges what some of the shards have emitted, and tells them what is durable; false if nothing came of it.
    fn merge(&mut self, all: bool) -> bool {
        for (core, machine) in self.machines.iter_mut().enumerate() {
            if (all || self.random.below(2) == 0)
                && let Some(effects) = machine.shard.data.outbox.drain(Vec::new())
            {
                self.merger.push(core, effects);
            }
        }
        let mut events = Vec::new();
        self.merger.merge(&mut self.log, &mut |event| events.push(event));
        for event in &events {
            let Merged::Consumed { shard, seq, .. } = *event else { continue };
            self.machines[shard].durable(seq);
            self.settle(shard);
        }
        !events.is_empty()
    }

    /// Everything has come to rest: nobody waits, nothing is locked.
    fn check_rest(&self) {
        for (index, caller) in self.callers.iter().enumerate().filter(|(_, caller)| !caller.gone) {
            assert_eq!(caller.waiting, 0, "caller {index} still waits");
        }
        for machine in &self.machines {
            assert!(machine.shard.is_unlocked(), "core {} keeps locks", machine.core.index);
            assert_eq!(machine.shard.parked(), 0);
            machine.participant.check_invariants(&machine.shard);
            machine.shard.data.keyspace.check_invariants();
        }
    }

    /// Transactions took effect in ticket order on every shard.
    fn check_ticket_order(&mut self) {
        for machine in &mut self.machines {
            let effects = machine.shard.data.outbox.drain(Vec::new()).unwrap_or_default();
            let tickets: Vec<u64> =
                effects.marks.iter().map(|mark| mark.ticket).filter(|&ticket| ticket > 0).collect();
            assert!(tickets.is_sorted(), "core {}: {tickets:?}", machine.core.index);
            let seals = effects.marks.iter().filter(|mark| mark.parts > 0);
            let sealed: Vec<u64> = seals.map(|mark| mark.ticket).collect();
            let mut distinct = tickets;
            distinct.dedup();
            assert_eq!(sealed, distinct, "core {}: every ticket is sealed once", machine.core.index);
        }
    }

    fn ask(&mut self, caller: usize, line: &str) -> String {
        self.callers[caller].replies.clear();
        self.send(caller, &[line.to_owned()]);
        self.drain();
        let reply = self.callers[caller].replies.pop_front().expect("a reply came");
        String::from_utf8(reply).expect("replies of these tests are text")
    }
}

/// Runs `test` on many seeds, over 1, 2 and 5 cores.
fn on_many_seeds(test: impl Fn(&mut World)) {
    let given = std::env::var("TORC_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..60, |seed: u64| seed..seed + 1);
    for seed in seeds {
        for cores in [1, 2, 5] {
            println!("seed {seed}, {cores} cores");
            let mut world = World::new(seed, cores, 7);
            test(&mut world);
            world.check_ticket_order();
            world.check_rest();
        }
    }
}

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn mset(value: usize) -> String {
    let pairs: Vec<String> = KEYS.iter().map(|key| format!("{key} {value}")).collect();
    format!("MSET {}", pairs.join(" "))
}

/// Whether an array reply holds the same element throughout.
fn uniform(reply: &[u8]) -> bool {
    let mut elements = crate::resp::elements(reply);
    let first = elements.next();
    elements.all(|element| Some(element) == first)
}

#[test]
fn no_reader_sees_half_an_mset() {
    on_many_seeds(|world| {
        for round in 0..120 {
            let caller = world.random.below(world.callers.len());
            if world.callers[caller].waiting < 3 {
                let lines = match world.random.below(4) {
                    0 => vec![mset(round)],
                    1 => vec![format!("MGET {}", KEYS.join(" "))],
                    2 => vec!["MULTI".into(), mset(round), "EXEC".into()],
                    _ => {
                        let gets = KEYS.iter().map(|key| format!("GET {key}"));
                        std::iter::once("MULTI".into()).chain(gets).chain(["EXEC".into()]).collect()
                    }
                };
                world.send(caller, &lines);
            }
            world.deliver_some(3);
        }
        world.drain();
        for reply in world.callers.iter().flat_map(|caller| &caller.replies) {
            if reply.starts_with(b"*5") {
                assert!(uniform(reply), "{}", String::from_utf8_lossy(reply));
            }
        }
    });
}

#[test]
fn watched_transfers_keep_the_sum() {
    on_many_seeds(|world| {
        world.ask(0, "MSET a 100 b 100 c 100 d 100 e 100");
        let mut plans: Vec<Option<(usize, usize)>> = vec![None; world.callers.len()];
        for _ in 0..200 {
            let caller = world.random.below(world.callers.len());
            if world.callers[caller].waiting == 0 {
                match plans[caller].take() {
                    None => {
                        let (from, to) = (world.random.below(5), world.random.below(5));
                        plans[caller] = Some((from, to));
                        world.callers[caller].replies.clear();
                        world.send(
                            caller,
                            &[
                                format!("WATCH {} {}", KEYS[from], KEYS[to]),
                                format!("MGET {} {}", KEYS[from], KEYS[to]),
                            ],
                        );
                    }
                    Some((from, to)) => transfer(world, caller, from, to),
                }
            }
            world.deliver_some(3);
        }
        world.drain();
        world.send(0, &["DISCARD".to_owned()]);
        world.drain();
        let sum: i64 = KEYS.iter().map(|key| number(&world.ask(0, &format!("INCRBY {key} 0")))).sum();
        assert_eq!(sum, 500);
    });
}

/// Writes back both balances as computed from what was read under WATCH.
fn transfer(world: &mut World, caller: usize, from: usize, to: usize) {
    let read = world.callers[caller].replies.pop_back().expect("the MGET was answered");
    assert!(read.starts_with(b"*2"), "{}", String::from_utf8_lossy(&read));
    let balances: Vec<i64> = crate::resp::elements(&read)
        .map(|bulk| String::from_utf8_lossy(bulk).lines().nth(1).expect("a bulk").parse().expect("a number"))
        .collect();
    let moved = if from == to { 0 } else { 1 };
    world.send(
        caller,
        &[
            "MULTI".into(),
            format!("SET {} {}", KEYS[from], balances[0] - moved),
            format!("SET {} {}", KEYS[to], balances[1] + moved),
            "EXEC".into(),
        ],
    );
}

fn number(reply: &str) -> i64 {
    reply.trim_start_matches(':').trim_end().parse().expect("an integer reply")
}

#[test]
fn increments_are_neither_lost_nor_doubled() {
    on_many_seeds(|world| {
        let mut expected = 0;
        for _ in 0..150 {
            let caller = world.random.below(world.callers.len());
            let (one, other) = (KEYS[world.random.below(5)], KEYS[world.random.below(5)]);
            if world.callers[caller].waiting > 4 {
                world.deliver();
                continue;
            }
            let (lines, added) = match world.random.below(3) {
                0 => (vec![format!("INCR {one}")], 1),
                1 => (
                    vec!["MULTI".into(), format!("INCR {one}"), format!("INCRBY {other} 10"), "EXEC".into()],
                    11,
                ),
                _ => {
                    let reads = format!("MGET {}", KEYS.join(" "));
                    (vec![format!("INCR {one}"), reads, format!("INCRBY {other} 10")], 11)
                }
            };
            world.send(caller, &lines);
            expected += added;
            world.deliver_some(2);
        }
        world.drain();
        let total: i64 = KEYS.iter().map(|key| number(&world.ask(0, &format!("INCRBY {key} 0")))).sum();
        assert_eq!(total, expected);
    });
}

#[test]
fn a_client_that_leaves_midway_keeps_no_lock() {
    on_many_seeds(|world| {
        for round in 0..80 {
            let caller = world.random.below(world.callers.len());
            if !world.callers[caller].gone && world.callers[caller].waiting < 3 {
                world.send(caller, &[mset(round), format!("WATCH {}", KEYS[round % 5]), mset(round + 1)]);
            }
            if world.random.below(12) == 0 {
                let Caller { core, key, gone, .. } = world.callers[caller];
                if !gone {
                    world.callers[caller].gone = true;
                    world.machines[core].broken(key);
                    world.settle(core);
                    world.connect(core);
                }
            }
            world.deliver_some(3);
        }
        world.drain();
        for machine in &world.machines {
            let watching: usize = machine.core.clients.iter().map(|(_, client)| client.watching).sum();
            assert!(watching > 0 || machine.sessions.iter().all(|(_, session)| session.watched.is_empty()));
        }
        let living = world.callers.iter().position(|caller| !caller.gone).expect("new callers came");
        assert_eq!(world.ask(living, "FLUSHALL"), "+OK\r\n");
        assert_eq!(world.ask(living, "DBSIZE"), ":0\r\n");
    });
}

#[test]
fn renames_move_values_and_lose_none() {
    on_many_seeds(|world| {
        world.ask(0, "MSET a 1 b 2 c 3");
        for _ in 0..60 {
            let caller = world.random.below(world.callers.len());
            let (one, other) = (KEYS[world.random.below(5)], KEYS[world.random.below(5)]);
            if world.callers[caller].waiting < 3 {
                world
                    .send(caller, &[format!("RENAMENX {one} {other}"), format!("EXISTS {}", KEYS.join(" "))]);
            }
            world.deliver_some(3);
        }
        world.drain();
        let counts =
            world.callers.iter().flat_map(|caller| &caller.replies).filter(|reply| reply.starts_with(b":"));
        assert!(
            counts.filter(|reply| reply.as_slice() > b":1\r\n".as_slice()).all(|reply| reply == b":3\r\n")
        );
        assert_eq!(world.ask(0, "DBSIZE"), ":3\r\n");
    });
}

/// A key that a transaction gave a moment to live was once gone when the transaction's next hop came.
#[test]
fn for_a_transaction_time_stands_still() {
    on_many_seeds(|world| {
        let lines = ["MULTI", "SET a 1 PX 5", "RENAME a b", "RENAME b c", "PERSIST c", "EXEC"];
        world.send(0, &lines.map(str::to_owned));
        while world.deliver() {
            world.machines.iter_mut().for_each(|machine| machine.core.now += 3);
        }
        let reply = world.callers[0].replies.pop_back().expect("EXEC answers");
        assert_eq!(String::from_utf8_lossy(&reply), "*4\r\n+OK\r\n+OK\r\n+OK\r\n:1\r\n");
    });
}

/// Commands of all kinds; `z` is a time at which some of the keys expire.
fn some_lines(world: &mut World, round: usize) -> Vec<String> {
    let key = |world: &mut World| KEYS[world.random.below(5)];
    let (one, other) = (key(world), key(world));
    let z = 1_000_000 + world.random.below(200);
    let exec = |lines: &[String]| {
        let lines = lines.iter().cloned();
        std::iter::once("MULTI".to_owned()).chain(lines).chain(["EXEC".to_owned()]).collect()
    };
    match world.random.below(8) {
        0 => vec![mset(round)],
        1 => exec(&[mset(round), format!("GET {one}"), format!("DEL {other} {one}")]),
        2 => exec(&[format!("SET {one} {round}"), "FLUSHALL".to_owned(), format!("SET {other} {round}")]),
        3 => vec![format!("SET {one} {round}"), format!("RENAME {one} {other}")],
        4 => vec![format!("SET {one} {round} PXAT {z}"), format!("GET {other}")],
        5 => exec(&KEYS.map(|key| format!("GET {key}"))),
        6 => exec(&[format!("SET {one} {round} PXAT {z}"), format!("RENAME {one} {other}"), mset(round)]),
        _ => vec![format!("APPEND {one} {round}"), format!("MGET {}", KEYS.join(" "))],
    }
}

/// What a hop wrote is durable with its transaction only: a hop's answer that waited for that waited for ever.
#[test]
fn the_log_says_what_the_shards_hold_and_nobody_waits_for_ever() {
    on_many_seeds(|world| {
        world.machines.iter_mut().for_each(|machine| machine.core.holds_writes = true);
        for round in 0..100 {
            let caller = world.random.below(world.callers.len());
            if world.callers[caller].waiting < 3 {
                let lines = some_lines(world, round);
                world.send(caller, &lines);
            }
            world.deliver_some(4);
            if world.random.below(3) == 0 {
                world.merge(false);
            }
            let later = world.random.below(5) as i64;
            world.machines.iter_mut().for_each(|machine| machine.core.now += later);
        }
        world.drain();
        while world.merge(true) {
            world.drain();
        }
        world.check_rest();
        let mut reader = World::new(0, 1, 1);
        reader.machines[0].shard.data.expiry = Expiry::Keep;
        reader.machines[0].open_applier();
        reader.machines[0].apply(&world.log);
        reader.settle(0);
        reader.drain();
        let left = reader.machines[0].unapplied();
        assert!(left.bytes == 0 && left.replies.is_empty() && !left.transacts);
        world.machines.iter_mut().for_each(|machine| machine.shard.data.expiry = Expiry::Keep);
        for key in KEYS {
            let (held, logged) = (world.ask(0, &format!("GET {key}")), reader.ask(0, &format!("GET {key}")));
            assert_eq!(logged, held, "{key}: {}", String::from_utf8_lossy(&world.log));
        }
    });
}
