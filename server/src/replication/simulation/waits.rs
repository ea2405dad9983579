//! WAITAOF amid all that: what it answers is so, even if all who are counted lose their power at once.

use super::World;
use super::net::REPLICA;
use super::node::{Env, Node};
use crate::commands::ReplicaState;
use crate::replication::{Goal, Reached};

/// An answer: so many have the history up to this offset on their disks.
pub struct Claim {
    node: usize,
    id: String,
    offset: u64,
    reached: Reached,
    /// The links of those who follow, when it was given: some may be left by the time it is looked at.
    links: Vec<u16>,
}

impl Node {
    /// Clients ask, and are answered as `node/log_core/replicas.rs` does.
    pub fn settle_waits(&mut self, env: &mut Env) {
        if self.follows() || self.next_role.is_some() {
            return self.waiters.forget(|_| true);
        }
        // Of nothing at all everybody has everything.
        if self.at > 0 && env.random.once_in(30) {
            let goal = Goal::Durable { local: env.random.once_in(2), replicas: 1 + env.random.below(2) };
            let until = env.now + env.random.ms(3000);
            self.waiters.add(self.at, goal, self.at, Some(until));
        }
        let durable = self.durable_offset().unwrap_or(0);
        let primary = &self.primary;
        let reached = |_, offset| Reached { local: durable >= offset, replicas: primary.flushed(offset) };
        let online = primary.facts(env.now).into_iter().filter(|facts| facts.state == ReplicaState::Online);
        let links: Vec<u16> = online.map(|facts| facts.port).collect();
        for (offset, _, reached) in self.waiters.settle(env.now, reached) {
            // The history may have got a name since it was asked; the offset is the same.
            let id = self.primary.history.id.clone();
            env.claims.push(Claim { node: self.index, id, offset, reached, links: links.clone() });
        }
    }

    /// Whether the files, as a loss of power leaves them at worst, go on from this place in this history.
    fn survives(&self, id: &str, offset: u64) -> bool {
        let Some(end) = self.durable_offset() else { return false };
        let holds = self.disk.note.as_ref().is_some_and(|history| history.holds(id, offset));
        holds && end >= offset && self.surviving_offset() >= offset
    }
}

impl World {
    /// Every answer is true. A replica that has left counts until its primary knows.
    pub fn check_claims(&mut self) {
        for Claim { node, id, offset, reached, links } in std::mem::take(&mut self.env.claims) {
            let primary = &self.nodes[node];
            let local = !reached.local || primary.survives(&id, offset);
            assert!(local, "offset {offset} of {id} is not on the disk of {node}: {}", self.story());
            let survives = |link: &&u16| {
                let conn = self.env.conns.get(&u32::from(**link));
                let there = conn.filter(|conn| self.is_there(conn, primary, **link));
                there.is_none_or(|conn| self.nodes[conn.nodes[REPLICA]].survives(&id, offset))
            };
            let most = links.iter().filter(survives).count();
            let counted = reached.replicas;
            assert!(
                counted <= most,
                "{counted} have offset {offset}, it says, {most} at most do: {}",
                self.story()
            );
            if counted > 0 {
                self.env.see("a wait found replicas with durable files");
            }
        }
    }
}
