//! Several servers on one thread, on a network that breaks and with power that goes: what must hold whatever happens.
//!
//! A run is a function of its seed, which a failure prints. `TORC_TEST_SEED` repeats one, `TORC_TEST_SEEDS` says
//! how many to try.

mod failover;
mod model;
mod net;
mod node;
mod upstream;
mod waits;

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Replica};
use crate::commands::{Link, ReplicaIdentity, ReplicaState, SyncRequest};
use crate::log::simulation::{Random, seeds};
use net::{Conn, REPLICA};
use node::{Env, Node, Role};

/// Longest time between two turns, ms.
const TURN_MS: u64 = 40;

/// Within this all are to be the same once nothing fails any more, ms. The slowest links carry some 2 kB/s, and chains are of them.
const HEALS_MS: u64 = 400_000;

struct World {
    env: Env,
    nodes: Vec<Node>,
    next_conn: u32,
    /// One step in so many brings a fault.
    faults: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut env = Env {
            random: Random(seed),
            now: 1,
            conns: BTreeMap::new(),
            ids: 0,
            known: BTreeMap::new(),
            due: BTreeMap::new(),
            seen: BTreeMap::new(),
            claims: Vec::new(),
            idleness: 1,
        };
        env.idleness = [1, 5, 30][env.random.below(3)];
        let count = 2 + env.random.below(4);
        let mut nodes: Vec<Node> = Vec::new();
        for index in 0..count {
            let durable = env.random.once_in(2);
            let mut node = Node::new(index, durable, &mut env);
            if index > 0 {
                // Chains as well as stars.
                node.change_role(Role::Follow(env.random.below(index)));
            }
            nodes.push(node);
        }
        let faults = [30, 100, 300][env.random.below(3)];
        World { env, nodes, next_conn: 0, faults }
    }

    fn step(&mut self) {
        self.env.now += 1 + self.env.random.ms(TURN_MS);
        self.connect();
        for node in &mut self.nodes {
            if node.alive && node.frozen_until <= self.env.now && !self.env.random.once_in(4) {
                node.turn(&mut self.env);
            }
        }
        self.env.conns.retain(|_, conn| !conn.is_forgotten());
        self.check();
        self.check_claims();
    }

    fn connect(&mut self) {
        for index in 0..self.nodes.len() {
            let due =
                |upstream: &upstream::Upstream| upstream.connecting.is_some_and(|at| at <= self.env.now);
            let Some(upstream) = self.nodes[index].upstream.as_ref().filter(|upstream| due(upstream)) else {
                continue;
            };
            let target = &self.nodes[upstream.target];
            if !target.alive || !self.nodes[index].alive {
                self.nodes[index].not_connected(&mut self.env);
                continue;
            }
            let lives = [self.nodes[index].life, target.life];
            let conn = Conn::new([index, target.index], lives, &mut self.env.random);
            self.next_conn += 1;
            self.nodes[index].connected(self.next_conn, conn, &mut self.env);
        }
    }

    // ---- what goes wrong ----

    fn fault(&mut self) {
        let World { env, nodes, .. } = self;
        let (index, other) = (env.random.below(nodes.len()), env.random.below(nodes.len()));
        match env.random.below(15) {
            0..=3 => {
                let count = env.conns.len().max(1);
                let which = env.random.below(count);
                if let Some(conn) = env.conns.values_mut().nth(which) {
                    conn.sever(env.now, &mut env.random);
                }
                env.see("a link broke");
            }
            4 => {
                let ms = if env.random.once_in(3) { 9000 } else { 1500 };
                nodes[index].frozen_until = env.now + env.random.ms(ms);
                env.see("a node froze");
            }
            5 | 6 if nodes[index].alive => {
                nodes[index].crash(env);
                env.see("a node crashed");
            }
            5 | 6 => self.restart(index),
            7 if nodes[index].alive => nodes[index].change_role(Role::Lead),
            10..=13 if nodes[index].alive => nodes[index].begin_failover(env),
            14 => nodes[index].end_failover(env),
            8 | 9 if nodes[index].alive && index != other => {
                env.forget_due(index);
                nodes[index].change_role(Role::Follow(other));
            }
            _ => {}
        }
    }

    fn restart(&mut self, index: usize) {
        let count = self.nodes.len();
        let random = &mut self.env.random;
        // What its settings say need not be what it last was.
        let follows = match random.below(4) {
            0 => None,
            1 => Some(random.below(count)).filter(|other| *other != index),
            _ => self.nodes[index].upstream.as_ref().map(|upstream| upstream.target),
        };
        self.nodes[index].restart(follows, &mut self.env);
    }

    // ---- what must hold ----

    fn check(&mut self) {
        for node in self.nodes.iter().filter(|node| node.alive) {
            for facts in node.primary.facts(self.env.now) {
                let Some(conn) = self.env.conns.get(&u32::from(facts.port)) else { continue };
                let replica = &self.nodes[conn.nodes[REPLICA]];
                if self.is_there(conn, node, facts.port) && facts.state == ReplicaState::Online {
                    assert!(replica.applied >= facts.offset, "more is acknowledged than applied");
                    assert!(node.at >= facts.offset, "more is acknowledged than there is");
                }
            }
        }
    }

    /// Whether both ends of a link, which the primary knows by this number, still hold it.
    fn is_there(&self, conn: &Conn, primary: &Node, port: u16) -> bool {
        let replica = &self.nodes[conn.nodes[REPLICA]];
        let upstream = replica.upstream.as_ref().and_then(|upstream| upstream.conn);
        replica.alive && conn.lives == [replica.life, primary.life] && upstream == Some(u32::from(port))
    }

    /// Nothing fails any more; one is the primary, and all others follow it, or one another.
    fn heal(&mut self) {
        let primary = self.env.random.below(self.nodes.len());
        for index in 0..self.nodes.len() {
            if !self.nodes[index].alive {
                self.restart(index);
            }
            self.nodes[index].frozen_until = 0;
            self.nodes[index].end_failover(&mut self.env);
        }
        let mut followed = vec![primary];
        let mut roles = vec![Role::Lead; self.nodes.len()];
        for index in (0..self.nodes.len()).filter(|index| *index != primary) {
            roles[index] = Role::Follow(followed[self.env.random.below(followed.len())]);
            followed.push(index);
        }
        let begin = self.full_syncs();
        let quiet = self.env.now + 8000;
        let end = quiet + HEALS_MS;
        loop {
            let is_quiet = self.env.now >= quiet;
            self.nodes.iter_mut().for_each(|node| node.writes = !is_quiet && node.index == primary);
            // Again, where somebody has been asked to take over meanwhile.
            self.nodes.iter_mut().zip(&roles).for_each(|(node, role)| node.change_role(*role));
            self.step();
            if is_quiet && self.is_settled(primary) {
                break;
            }
            assert!(self.env.now < end, "no convergence: {}", self.story());
        }
        let count = self.full_syncs() - begin;
        // While writes go on, who cannot keep up and finds nothing kept begins anew, perhaps once a second.
        let most = 8 * self.nodes.len() as u64;
        assert!(count <= most, "{count} full syncs to heal: {}", self.story());
    }

    fn full_syncs(&self) -> u64 {
        self.env.seen.get("a full sync begins").map_or(0, |count| *count as u64)
    }

    /// Whether all have the primary's data, by its name.
    fn is_settled(&self, primary: usize) -> bool {
        let leader = &self.nodes[primary];
        let digest = leader.model.digest();
        self.nodes.iter().all(|node| {
            let link = node.upstream.as_ref().map(|upstream| upstream.replica.link());
            let same = node.primary.history.id == leader.primary.history.id && node.model.digest() == digest;
            same && link.is_none_or(|link| link == Link::Connected) && node.is_applied()
        })
    }

    fn story(&self) -> String {
        let tell = |node: &Node| {
            let upstream = node.upstream.as_ref();
            let link = upstream.map(|upstream| (upstream.target, upstream.replica.link(), upstream.conn));
            let history = &node.primary.history;
            let (id, earlier) = (history.id.trim_start_matches('0'), &history.earlier);
            let earlier = earlier.as_ref().map(|(id, end)| (id.trim_start_matches('0').to_owned(), *end));
            format!("\n  {}: {id} {earlier:?} at {} applied {} {link:?}", node.index, node.at, node.applied)
        };
        let nodes: String = self.nodes.iter().map(tell).collect();
        format!("{nodes}\n{:?}", self.env.seen)
    }
}

fn run(seed: u64) -> BTreeMap<&'static str, usize> {
    let mut world = World::new(seed);
    for _ in 0..2 {
        for _ in 0..world.env.random.below(1500) {
            if world.env.random.once_in(world.faults) {
                world.fault();
            }
            world.step();
        }
        world.nodes.iter_mut().for_each(|node| node.writes = true);
        world.heal();
        world.nodes.iter_mut().for_each(|node| node.writes = true);
    }
    world.env.seen
}

#[test]
fn all_become_the_same_and_nobody_takes_one_history_for_another() {
    let seeds = seeds();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let many = seeds.end - seeds.start >= 200;
    for seed in seeds {
        println!("TORC_TEST_SEED={seed}");
        run(seed).into_iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    println!("{seen:#?}");
    let kinds: BTreeSet<&str> = seen.keys().copied().collect();
    assert!(!many || kinds.len() == KINDS, "something never happened: {kinds:?}");
}

/// How many kinds of events a long run sees.
const KINDS: usize = 31;

/// Bytes that might mean something, and might not.
fn nonsense(random: &mut Random) -> Vec<u8> {
    let id = "a".repeat(40);
    let parts = [
        format!("+FULLRESYNC {id} {}\r\n", random.next()),
        format!("+FULLRESYNC {id} 7\r\n$EOF:{id}\r\n"),
        format!("+CONTINUE {id}\r\n"),
        "+PONG\r\n+OK\r\n+OK\r\n".to_owned(),
        format!("${}\r\n", random.below(50)),
        "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$20\r\n18446744073709551615\r\n".to_owned(),
        "REPLCONF ACK 99999 FACK -1 GETACK\r\n*1\r\n$5\r\nMULTI\r\n".to_owned(),
        "*-1\r\n*99999999999\r\n".to_owned(),
        id,
    ];
    let mut bytes: Vec<u8> =
        (0..random.below(8)).flat_map(|_| parts[random.below(parts.len())].bytes()).collect();
    bytes.truncate(random.below(400));
    if !bytes.is_empty() && random.once_in(2) {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    bytes
}

#[test]
fn nonsense_from_a_peer_harms_nobody() {
    for seed in 0..3000 {
        println!("seed {seed}");
        let mut env = World::new(seed).env;
        let mut node = Node::new(0, true, &mut env);
        let replid: Box<str> = node.primary.history.id.as_str().into();
        for id in 0..3 {
            let offset = [i64::MIN, -1, 0, 1, 2, i64::MAX][env.random.below(6)];
            let request = SyncRequest::Partial { replid: replid.clone(), offset };
            let identity = ReplicaIdentity { eof: !env.random.once_in(4), ..ReplicaIdentity::default() };
            node.primary.admit(id, ("".into(), request, identity), (0, Some(0)), 0);
        }
        let mut replica = Replica::new(upstream::manners(), None);
        replica.connected(0);
        for turn in 0..30 {
            let (now, bytes) = (turn * 300, nonsense(&mut env.random));
            replica.received(&bytes, now);
            replica.applied(env.random.next() >> env.random.below(64));
            replica.tick(now);
            while let Some(action) = replica.next_action() {
                if action == Action::Connect {
                    replica.connected(now);
                }
            }
            let id = env.random.below(3) as u32;
            node.primary.received(id, &bytes, now);
            node.primary.tick(now);
            if node.primary.next_send(id).is_some() {
                node.primary.sent(id, now);
            }
            assert!(node.primary.acked(1) == 0, "nothing has been sent");
            node.primary.leaving().into_iter().for_each(|(id, _)| node.primary.gone(id));
        }
    }
}
