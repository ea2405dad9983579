//! How connections come about: before the start one after the other, each asked whether it is served, so that what is
//! wrong can be said; amid the load without waiting. In a cluster it finds out which nodes get connections, and how the
//! commands of the mix find theirs.

use std::io;

use super::Fault;
use crate::{
    link::{
        self, Dialer, Link, Peer, ReadFrom, Role, Target,
        slots::{Shard, SlotMap},
    },
    plan::Plan,
    traffic::{mix::CommandPlan, template::KEY},
};

/// A target explored.
pub struct Site {
    pub dialer: Dialer,
    pub cluster: Option<Layout>,
}

/// The nodes of a cluster that get connections, and how requests find theirs.
#[derive(Clone)]
pub struct Layout {
    pub map: SlotMap,
    pub nodes: Vec<Peer>,
    pub routes: Vec<Route>,
}

/// How the requests of one command of the mix find their node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which word is the key; `None` = any node will do.
    pub key: Option<usize>,
    /// Replicas can serve it.
    pub reads: bool,
}

/// A connection that is open and served.
pub struct Opened {
    pub link: Link,
    pub peer: Peer,
}

/// A connection that is being opened: `greeting` is to be sent first, and brings so many replies.
pub struct Opening {
    pub link: Link,
    pub peer: Peer,
    pub greeting: Vec<u8>,
    pub replies: usize,
    pub since: u64,
    /// The attempt before failed.
    pub again: bool,
}

/// Begins, at `since`, to open a connection to `peer`, without waiting.
pub fn begin(dialer: &Dialer, peer: &Peer, since: u64, again: bool) -> io::Result<Opening> {
    let (greeting, replies) = dialer.opening(peer.role);
    Ok(Opening { link: dialer.begin(peer)?, peer: peer.clone(), greeting, replies, since, again })
}

impl Site {
    pub fn explore(plan: &Plan) -> Result<Self, Fault> {
        let dialer = Dialer::new(&plan.target)?;
        let cluster = plan.target.cluster.then(|| layout(&dialer, &plan.mix)).transpose()?;
        if let Some(Layout { nodes, .. }) = &cluster {
            let (each, wanted) = (plan.clients / plan.all_threads(), nodes.len());
            if each < wanted {
                let least = wanted * plan.all_threads();
                return Err(Fault::Plan(format!(
                    "{} clients are too few: each thread connects to each of {wanted} nodes, which takes {least}",
                    plan.clients
                )));
            }
        }
        Ok(Self { dialer, cluster })
    }

    /// The connection of a thread's `lane`.
    pub fn open(&self, lane: usize) -> Result<Opened, link::Fault> {
        let client = match &self.cluster {
            None => self.dialer.client(&self.dialer.target().address, Role::Primary)?,
            Some(Layout { nodes, .. }) => {
                let peer = &nodes[lane % nodes.len()];
                self.dialer.client(&peer.address, peer.role)?
            }
        };
        let peer = client.peer().clone();
        Ok(Opened { link: client.into_link()?, peer })
    }
}

fn layout(dialer: &Dialer, mix: &[CommandPlan]) -> Result<Layout, link::Fault> {
    let mut client = dialer.client(&dialer.target().address, Role::Primary)?;
    let map = client.slots()?;
    if let Some((count, first)) = map.uncovered() {
        let problem = format!("{count} slots are served by no node, the first is {first}");
        return Err(link::Fault::Options(format!(
            "the cluster at {} is not whole: {problem}",
            dialer.target().address
        )));
    }
    let mut routes = Vec::new();
    for command in mix {
        let name = String::from_utf8_lossy(&command.words[0]).into_owned();
        let (reads, first) = client.command(&name)?;
        routes.push(Route { key: key_word(command, first), reads });
    }
    if dialer.target().read_from == ReadFrom::Yes && routes.iter().any(|route| route.reads) {
        has_replicas(&map).map_err(link::Fault::Options)?;
    }
    let nodes = wanted(&map, dialer.target())?;
    Ok(Layout { map, nodes, routes })
}

/// Reads by replicas only need one for every slot: a primary's latency must not pass for a replica's.
fn has_replicas(map: &SlotMap) -> Result<(), String> {
    match map.shards().iter().find(|shard| shard.replicas.is_empty()) {
        Some(Shard { primary, .. }) => Err(format!(
            "--rfr yes reads from replicas only, and the slots of {primary} have none (--rfr all reads from primaries too)"
        )),
        None => Ok(()),
    }
}

/// The word that decides the slot: the one the plan fills a key into, else the one the server takes for a key.
fn key_word(command: &CommandPlan, first: usize) -> Option<usize> {
    let filled = command.words.iter().position(|word| memchr::memmem::find(word, KEY).is_some());
    filled.or(Some(first)).filter(|&word| (1..command.words.len()).contains(&word))
}

/// The nodes that get connections.
pub fn wanted(map: &SlotMap, target: &Target) -> Result<Vec<Peer>, link::Fault> {
    let mut peers = Vec::new();
    for shard in map.shards() {
        peers.push((&shard.primary, Role::Primary));
        if target.read_from != ReadFrom::No {
            peers.extend(shard.replicas.iter().map(|replica| (replica, Role::Replica)));
        }
    }
    let found = peers.into_iter().map(|(address, role)| Peer::find(address, role));
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_decides_is_the_one_the_plan_fills_in() {
        let key = |line: &str, first| key_word(&CommandPlan::parse(line).expect("a command"), first);
        assert_eq!(key("SET __key__ __data__", 1), Some(1));
        assert_eq!(key("EVAL script 1 __key__", 0), Some(3));
        assert_eq!(key("HGET h:{__key__} f", 1), Some(1));
        assert_eq!(key("ZADD board __score__ __rand_int__", 1), Some(1));
        assert_eq!(key("PING", 0), None);
        assert_eq!(key("DBSIZE", 1), None);
    }
}
