//! A node's part in a failover: what `node/log_core/failover.rs` does.

use super::model::command;
use super::node::{Env, Node, Role, cut_ms};
use crate::commands::{FailoverPlan, SyncRequest};
use crate::replication::{Failover, ReplicaId, Step};

/// What a node remembers of handing over, and of being asked to take over.
#[derive(Default)]
pub struct Handing {
    pub over: Option<Failover>,
    /// When the last write that had begun has ended.
    freezes: Option<u64>,
    /// Those that wait until this node leads.
    pub successions: Vec<(ReplicaId, SyncRequest)>,
}

impl Handing {
    /// Whether the stream stands still.
    pub fn is_frozen(&self) -> bool {
        self.over.is_some() && self.freezes.is_none()
    }
}

impl Node {
    pub fn begin_failover(&mut self, env: &mut Env) {
        if self.follows()
            || self.next_role.is_some()
            || self.role_cut.is_some()
            || self.handing.over.is_some()
        {
            return;
        }
        let target = match self.primary.facts(env.now) {
            replicas if env.random.once_in(2) && !replicas.is_empty() => {
                let one = &replicas[env.random.below(replicas.len())];
                Some((one.ip.clone(), one.port))
            }
            _ => None,
        };
        let force = target.is_some() && env.random.once_in(3);
        let timeout_ms = (force || env.random.once_in(2)).then(|| 1 + env.random.ms(3000));
        let Ok(failover) =
            Failover::begin(FailoverPlan { target, timeout_ms, force }, &self.primary, env.now)
        else {
            return;
        };
        self.handing.over = Some(failover);
        self.handing.freezes = Some(env.now + cut_ms(&mut env.random));
    }

    pub fn look_after_failover(&mut self, env: &mut Env) {
        let Some(failover) = &mut self.handing.over else { return };
        if self.handing.freezes.take_if(|at| *at <= env.now).is_some() {
            failover.frozen();
            self.emit(&command(&["REPLCONF", "GETACK", "*"]), env);
        }
        let Some(failover) = &mut self.handing.over else { return };
        match failover.next(&self.primary, self.at, env.now) {
            Some(Step::HandOver((host, port))) => {
                let target = host.parse().expect("the host is a node");
                let has_all = self.primary.caught_up(Some(&(host, port)), self.at).is_some();
                if has_all && self.handing.freezes.is_none() {
                    let offset = self.at as i64 + 1;
                    env.due.insert((self.primary.history.id.clone(), offset), target);
                }
                self.next_role = Some(Role::Follow(target));
            }
            Some(Step::Abort(_)) => {
                self.handing.over = None;
                env.see("a failover took too long");
            }
            None => {}
        }
    }

    /// The one that was to take over will not, or somebody has said so.
    pub fn end_failover(&mut self, env: &mut Env) {
        let Some(failover) = self.handing.over.take() else { return };
        env.see("a failover came to nothing");
        if failover.hands_over() {
            self.next_role = Some(Role::Lead);
        }
    }

    pub fn conclude_failover(&mut self, env: &mut Env) {
        if self.handing.over.take().is_some() {
            env.see("a failover");
        }
    }

    /// Nothing that its primary had when it stopped writing is lost.
    pub fn check_succession(&self, request: &SyncRequest, env: &mut Env) {
        let SyncRequest::Partial { replid, offset } = request else { return };
        let due = env.due.remove(&(replid.to_string(), *offset));
        if due == Some(self.index) {
            assert_eq!(self.at as i64 + 1, *offset, "an acknowledged write is lost");
            env.see("a replica that has everything took over");
        }
    }
}
